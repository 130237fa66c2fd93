//! What can go wrong in training and evaluation?

use std::fmt;
use std::path::PathBuf;

use super::finite::NotFinite;
use crate::data::DataError;
use crate::files::{LockError, WriteError};
use crate::gpu::GpuError;
use crate::graph::{NameError, RouteError};
use crate::models::ModelError;
use crate::reference::ReferenceError;
use crate::schedule::SessionError;
use crate::shown::shown_path;
use crate::tuning::TuningError;
use crate::weights::WeightsError;

/// An error of training or evaluation.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model's name, options or size.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A weights file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The device.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Tuned kernels, or a file of them.
    #[error(transparent)]
    Tuning(TuningError),
    /// A run that needs more memory than the device has.
    #[error(
        "a run with batches of {batch} images{} needs {} MiB of device memory at the peak, and the device has {} MiB; {}{}",
        in_shards(*.shards),
        .planned.div_ceil(1 << 20),
        .limit >> 20,
        what_fits(*.fits),
        or_in_shards(*.fitting_shards)
    )]
    OutOfMemory {
        /// Images in a batch.
        batch: usize,
        /// Parts that each batch is cut into.
        shards: usize,
        /// Bytes at the peak, as planned.
        planned: u64,
        /// Bytes that the device has, or gave before it refused more.
        limit: u64,
        /// The largest batch that fits in so many shards; `None` where not even one image
        /// does.
        fits: Option<usize>,
        /// The smallest number of shards with which this batch fits; `None` where none
        /// does.
        fitting_shards: Option<usize>,
    },
    /// The f64 reference on the CPU.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The route.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A file of the run directory.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The directory of a run.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A setting with a value that it cannot have.
    #[error("{} {problem}", in_words(.setting))]
    Value {
        /// The setting, as the key of `run.toml` and the flag of the programs
        /// are named: `batch-size`.
        setting: &'static str,
        /// The value, what is wrong with it, and what to do.
        problem: String,
    },
    /// An image that the set does not have.
    #[error("image {index} was asked for, but the set has {images} images")]
    NoSuchImage {
        /// The index asked for, from 0.
        index: u32,
        /// The number of images.
        images: usize,
    },
    /// A layer or block that the network does not have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Images were asked for before any were loaded.
    #[error("no images are loaded: load a set before the first step or evaluation")]
    NoImages,
    /// A [`StopToken`](crate::stop::StopToken) asked to stop. What was computed
    /// until then is stored.
    #[error("stopped before the end")]
    Stopped,
    /// The loss is infinite or not a number.
    #[error(
        "training diverged: the loss of step {step} is {loss} (learning rate {lr}); the last checkpoint is \
         unchanged"
    )]
    Diverged {
        /// The step, from 1.
        step: u32,
        /// Its loss.
        loss: f32,
        /// Its learning rate.
        lr: f64,
    },
    /// The loss was still finite, but the weights are not.
    #[error(
        "training diverged: after step {step} tensor {tensor} holds {value} (learning rate {lr}); the last checkpoint \
         is unchanged"
    )]
    DivergedWeights {
        /// The step, from 1.
        step: u32,
        /// The first tensor that is not finite.
        tensor: String,
        /// Its first value that is not.
        value: f32,
        /// The step's learning rate.
        lr: f64,
    },
    /// Gradients overflow their 16 bits even where the loss is not scaled.
    #[error(
        "training diverged: by step {step} gradients overflow 16 bits at every loss scale (learning rate {lr}); the last \
         checkpoint is unchanged"
    )]
    DivergedGradients {
        /// The last step whose loss was read, from 1.
        step: u32,
        /// Its learning rate.
        lr: f64,
    },
    /// The training loss was finite, but not a loss of the evaluation after an
    /// epoch.
    #[error("training diverged: after step {step} {source} (learning rate {lr}); the last checkpoint is unchanged")]
    DivergedTest {
        /// The step, from 1.
        step: u32,
        /// The image, and the layer.
        source: NotFinite,
        /// The step's learning rate.
        lr: f64,
    },
    /// An evaluation with values that are not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// A running variance that no training could have computed.
    #[error("{path}: tensor {tensor} holds {value}, but a variance is never negative")]
    NegativeVariance {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its first negative value.
        value: f32,
    },
    /// Tensors of a file that the model does not have, or the other way round.
    #[error("{path}: {problem}; is it a file of the model {model}?")]
    Misfit {
        /// The weights file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
        /// The model.
        model: String,
    },
    /// A weights file whose record cannot be used.
    #[error("{path}: the record of its training cannot be used: {problem}")]
    Record {
        /// The weights file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A weights file that says something else than what is asked for.
    #[error("{path}: the file says {said}, not {asked}; leave that out, or name another file")]
    Contradiction {
        /// The weights file.
        path: PathBuf,
        /// What the file says, where the two differ: `shortcut=A`.
        said: String,
        /// What was asked for.
        asked: String,
    },
    /// A weights file that does not say something that it is opened with.
    #[error("{path}: the file does not say {what}")]
    Unsaid {
        /// The weights file.
        path: PathBuf,
        /// What is missing.
        what: Unsaid,
    },
    /// A weights file that does not say which of several models it is of.
    #[error(
        "{}: the file does not say its model, and these have its tensors: {models}; they differ in what has no parameters",
        shown_path(path)
    )]
    SeveralModels {
        /// The weights file.
        path: PathBuf,
        /// The models.
        models: String,
    },
    /// Images that are not those of the run, which is to continue with them.
    #[error("{source_name} does not hold the images of this run: {problem}; continue it with its own")]
    OtherImages {
        /// The data set that was named.
        source_name: String,
        /// What differs.
        problem: &'static str,
    },
    /// Images that weights are not for.
    #[error("{path}: the file says {said}, but {source_name} has {found}")]
    Unfit {
        /// The weights file.
        path: PathBuf,
        /// The data set.
        source_name: String,
        /// What the weights are for.
        said: String,
        /// What the data set has.
        found: String,
    },
    /// A network that another program defines.
    #[error(
        "{path}: the network '{name}' of this run is not one of this program's; open the run by the program that \
         defines the network"
    )]
    ForeignNetwork {
        /// The run's directory.
        path: PathBuf,
        /// The network's name.
        name: String,
    },
    /// A new run in the directory of another one.
    #[error("{path}: a run is there already")]
    RunExists {
        /// The directory.
        path: PathBuf,
    },
    /// A directory without a run.
    #[error("{path}: no run is there (no run.toml)")]
    NoRun {
        /// The directory.
        path: PathBuf,
    },
    /// A folder without directories of runs.
    #[error("{path}: no run is there")]
    NoRuns {
        /// The folder.
        path: PathBuf,
    },
    /// A run directory that cannot be used.
    #[error("{path}: {problem}")]
    Run {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// What a weights file does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaid {
    /// Its model.
    Model,
    /// The images that it was trained on.
    Data,
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsaid::Model => "which model it is",
            Unsaid::Data => "which images it was trained on",
        })
    }
}

impl TrainError {
    /// An error of the setting `setting`; `problem` begins with its value.
    pub(crate) fn value(setting: &'static str, problem: impl Into<String>) -> Self {
        TrainError::Value {
            setting,
            problem: problem.into(),
        }
    }

    /// The step (from 1) at which training diverged, if that is what happened.
    pub fn diverged_at(&self) -> Option<u32> {
        match self {
            TrainError::Diverged { step, .. }
            | TrainError::DivergedWeights { step, .. }
            | TrainError::DivergedGradients { step, .. }
            | TrainError::DivergedTest { step, .. } => Some(*step),
            _ => None,
        }
    }

    /// Whether the device was lost: a fresh one can go on from the last checkpoint.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            TrainError::Session(SessionError::Gpu(GpuError::Lost { .. } | GpuError::Dropped { .. }))
        )
    }

    /// Whether a [`StopToken`](crate::stop::StopToken) asked to stop.
    pub fn is_stopped(&self) -> bool {
        match self {
            TrainError::Stopped | TrainError::Session(SessionError::Gpu(GpuError::Stopped)) => true,
            TrainError::Tuning(error) => error.is_stopped(),
            _ => false,
        }
    }

    /// Whether the arguments are at fault, rather than files or the device.
    pub fn is_argument(&self) -> bool {
        match self {
            TrainError::Model(ModelError::File { .. }) => false,
            TrainError::Model(_)
            | TrainError::Route(_)
            | TrainError::Name(_)
            | TrainError::Value { .. }
            | TrainError::Contradiction { .. }
            | TrainError::Unsaid { .. }
            | TrainError::SeveralModels { .. }
            | TrainError::Unfit { .. } => true,
            TrainError::Tuning(error) => matches!(error, TuningError::OtherDevices { .. }),
            TrainError::Data(error) => matches!(error, DataError::Argument(_)),
            TrainError::Session(SessionError::Route(_) | SessionError::Name(_))
            | TrainError::Reference(ReferenceError::Route(_)) => true,
            TrainError::Weights(error) => matches!(error, WeightsError::NoDialect { .. }),
            _ => false,
        }
    }
}

/// What to do where a batch is too large.
fn what_fits(fits: Option<usize>) -> String {
    match fits {
        Some(1) => "a batch of one image fits".to_string(),
        Some(images) => format!("batches of {images} images fit"),
        None => "no batch fits, use a smaller network or a device with more memory".to_string(),
    }
}

/// In how many shards a batch is, where there are several.
fn in_shards(shards: usize) -> String {
    match shards {
        1 => String::new(),
        shards => format!(" in {shards} shards"),
    }
}

/// With how many shards the batch fits.
fn or_in_shards(shards: Option<usize>) -> String {
    shards.map_or_else(String::new, |shards| format!(", and this batch in {shards} shards"))
}

/// A setting's name in a sentence.
fn in_words(setting: &str) -> String {
    match setting {
        "lr" => "learning rate".to_string(),
        "warmup-lr" => "learning rate of the warm-up".to_string(),
        _ => setting.replace('-', " "),
    }
}

impl From<TuningError> for TrainError {
    fn from(error: TuningError) -> Self {
        match error {
            TuningError::Session(error) => TrainError::Session(error),
            error => TrainError::Tuning(error),
        }
    }
}

impl From<GpuError> for TrainError {
    fn from(error: GpuError) -> Self {
        TrainError::Session(error.into())
    }
}
