//! Which trained network is studied, with which weights and on which images?

use std::cell::OnceCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde_json::json;

use super::config::Config;
use super::depth::Depth;
use super::directory::RunDirectory;
use super::engine::Engine;
use super::error::TrainError;
use super::open::{Adapter, TrainOptions, open};
use super::run::weights_of;
use super::settings::batch_size;
use super::trainer::input_of;
use super::tuning::choose_kernels;
use super::{Split, checkpoint};
use crate::data::{DataError, ImageSet, Normalization, Preparation, Source, Splits, TestSplit};
use crate::graph::{BlockId, Route};
use crate::models::{Model, ModelSpec};
use crate::stop::StopToken;
use crate::tuning::{KernelSource, TuningEvent, Workload};
use crate::weights::{NameOptions, hash};

/// Images per batch unless another number is given.
const BATCH_SIZE: u32 = 128;

/// Which trained network to open, and how: the weights, the images, the
/// adapter.
///
/// ```no_run
/// use residua::train::{Adapter, TrainError, TrainedNetworkOptions};
///
/// # fn main() -> Result<(), TrainError> {
/// let network = TrainedNetworkOptions::from_weights("resnet20.safetensors", "resnet20", "cifar10:data")
///     .mean("imagenet")
///     .std("imagenet")
///     .limit_test(1000)
///     .adapter(Adapter::Reference)
///     .open()?;
/// println!("{} on {} images", network.label(), network.images());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedNetworkOptions {
    weights: WeightsSource,
    model: Option<Model>,
    best: bool,
    data: Option<String>,
    preparation: Option<Preparation>,
    limit_test: Option<usize>,
    mean: Option<String>,
    std: Option<String>,
    batch_size: u32,
    training_images: bool,
    adapter: Adapter,
    kernels: KernelSource,
    names: NameOptions,
    stop: StopToken,
}

/// Where the weights are stored.
#[derive(Debug, Clone, PartialEq)]
enum WeightsSource {
    /// In a run's directory, which also records the model and the data.
    Run(PathBuf),
    /// In a file, as parameters of a model.
    File { path: PathBuf, model: String },
}

impl TrainedNetworkOptions {
    fn new(weights: WeightsSource) -> Self {
        TrainedNetworkOptions {
            weights,
            model: None,
            best: false,
            data: None,
            preparation: None,
            limit_test: None,
            mean: None,
            std: None,
            batch_size: BATCH_SIZE,
            training_images: false,
            adapter: Adapter::default(),
            kernels: KernelSource::default(),
            names: NameOptions::default(),
            stop: StopToken::default(),
        }
    }

    /// The last weights of the run in `directory`, with the run's model, data
    /// and normalisation.
    pub fn from_run(directory: impl Into<PathBuf>) -> Self {
        Self::new(WeightsSource::Run(directory.into()))
    }

    /// The weights file `path` as parameters of `model` (`resnet20`), with the
    /// images of `data` (`cifar10:DIR`).
    pub fn from_weights(path: impl Into<PathBuf>, model: impl Into<String>, data: impl Into<String>) -> Self {
        let (path, model) = (path.into(), model.into());
        Self::new(WeightsSource::File { path, model }).data(data)
    }

    /// These options for the run in `directory`.
    #[must_use]
    pub fn with_run(mut self, directory: impl Into<PathBuf>) -> Self {
        self.weights = WeightsSource::Run(directory.into());
        self
    }

    /// These options for the weights file `path` as parameters of `model`.
    #[must_use]
    pub fn with_weights(mut self, path: impl Into<PathBuf>, model: impl Into<String>) -> Self {
        self.weights = WeightsSource::File {
            path: path.into(),
            model: model.into(),
        };
        self
    }

    /// The network that the weights belong to, instead of the built-in one
    /// that the run or [`Self::from_weights`] names: needed for a network of
    /// one's own ([`Model::own`]). A run must be a run of it.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<Model>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// The run's weights with the smallest test error instead of the last.
    /// Without effect on a weights file.
    #[must_use]
    pub fn best(mut self, yes: bool) -> Self {
        self.best = yes;
        self
    }

    /// The images: `synthetic`, `cifar10:DIR`, ….
    #[must_use]
    pub fn data(mut self, source: impl Into<String>) -> Self {
        self.data = Some(source.into());
        self
    }

    /// How every image is changed when it is loaded. The default is the run's,
    /// else images stay as they are.
    #[must_use]
    pub fn preparation(mut self, preparation: Preparation) -> Self {
        self.preparation = Some(preparation);
        self
    }

    /// How a run has changed its images when it loaded them; of a weights file
    /// nothing is recorded.
    ///
    /// # Errors
    /// Where the run's configuration cannot be read.
    pub fn recorded_preparation(&self) -> Result<Preparation, TrainError> {
        match &self.weights {
            WeightsSource::Run(directory) => RunDirectory::open(directory)?.read_config()?.preparation(),
            WeightsSource::File { .. } => Ok(Preparation::default()),
        }
    }

    /// Only the first `images` test images.
    #[must_use]
    pub fn limit_test(mut self, images: usize) -> Self {
        self.limit_test = Some(images);
        self
    }

    /// The mean of each channel, for pixel values in [0, 1]: numbers separated
    /// by commas, or a named set (`cifar10`, `imagenet`). The default is the
    /// run's, else the data set's own.
    #[must_use]
    pub fn mean(mut self, mean: impl Into<String>) -> Self {
        self.mean = Some(mean.into());
        self
    }

    /// The standard deviation of each channel, as [`Self::mean`].
    #[must_use]
    pub fn std(mut self, std: impl Into<String>) -> Self {
        self.std = Some(std.into());
        self
    }

    /// The mean and the standard deviation of each channel.
    #[must_use]
    pub fn normalization(self, normalization: &Normalization) -> Self {
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        self.mean(list(normalization.mean())).std(list(normalization.std()))
    }

    /// Images per batch, from 1 to 65,536.
    #[must_use]
    pub fn batch_size(mut self, images: u32) -> Self {
        self.batch_size = images;
        self
    }

    /// Whether to load the training images too, and to be able to run in
    /// training mode. Path studies and recalibration of batch norms need
    /// this. Dropout is off: studies measure the network as it is.
    #[must_use]
    pub fn training_images(mut self, yes: bool) -> Self {
        self.training_images = yes;
        self
    }

    /// How the names in the weights file are to be understood.
    #[must_use]
    pub fn names(mut self, names: NameOptions) -> Self {
        self.names = names;
        self
    }

    /// What computes; the default is the best device.
    #[must_use]
    pub fn adapter(mut self, adapter: Adapter) -> Self {
        self.adapter = adapter;
        self
    }

    /// How kernels are chosen; by default each is the default algorithm.
    #[must_use]
    pub fn kernels(mut self, kernels: KernelSource) -> Self {
        self.kernels = kernels;
        self
    }

    /// What the network heeds: once `stop` asks to stop, evaluations and studies
    /// end with [`TrainError::Stopped`], and results that were recorded stay.
    #[must_use]
    pub fn heed(mut self, stop: StopToken) -> Self {
        self.stop = stop;
        self
    }

    /// The model: the given one, else the one that the run's configuration or
    /// [`Self::from_weights`] names.
    ///
    /// # Errors
    /// Where the run's configuration cannot be read, the name is unknown
    /// ([`TrainError::ForeignNetwork`] for a run's), or the run is one of
    /// another network.
    pub fn model(&self) -> Result<Model, TrainError> {
        match (&self.weights, &self.model) {
            (WeightsSource::Run(directory), None) => Ok(RunDirectory::open(directory)?.read_model()?.into()),
            (WeightsSource::Run(directory), Some(model)) => {
                let run = RunDirectory::open(directory)?;
                let recorded = run.read_config()?.model;
                let same = match model.spec() {
                    Some(spec) => recorded.parse().as_ref() == Ok(spec),
                    None => recorded == model.name(),
                };
                match same {
                    true => Ok(model.clone()),
                    false => Err(TrainError::Run {
                        path: run.path().to_path_buf(),
                        problem: format!("this is a run of {recorded}, not of {model}"),
                    }),
                }
            }
            (WeightsSource::File { .. }, Some(model)) => Ok(model.clone()),
            (WeightsSource::File { model, .. }, None) => Ok(model.parse::<ModelSpec>()?.into()),
        }
    }

    /// Opens the network with its weights and images.
    ///
    /// # Errors
    /// Where a value is out of range, a file cannot be read or does not fit
    /// the model, or the adapter cannot be opened.
    pub fn open(&self) -> Result<TrainedNetwork, TrainError> {
        self.open_with(&mut |_| {})
    }

    /// As [`Self::open`]; reports to `report` while kernels are chosen.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(&self, report: &mut dyn FnMut(&TuningEvent)) -> Result<TrainedNetwork, TrainError> {
        let batch_size = batch_size(self.batch_size as usize)?;
        let model = self.model()?;
        let (run, weights) = match &self.weights {
            WeightsSource::Run(directory) => {
                let run = RunDirectory::open(directory)?;
                let config = run.read_config()?;
                let weights = weights_of(&run, self.best);
                (Some((run, config)), weights)
            }
            WeightsSource::File { path, .. } => (None, path.clone()),
        };
        let config = run.as_ref().map(|(_, config)| config);
        let source = self.data.clone().or_else(|| config.map(|config| config.data.clone()));
        let source = source.unwrap_or_default();
        let recorded = config.map(Config::preparation).transpose()?;
        let preparation = self.preparation.or(recorded).unwrap_or_default();
        let (test, train) = self.load(&source, preparation, config)?;
        let normalization = self.normalization_of(&test, config)?;
        let input = input_of(&test.images);
        let training = self.training_images.then(TrainOptions::default);
        let mut engine = open(&self.adapter, &model.without_dropout(), &input, training)?;
        let notes = checkpoint::load(engine.as_mut(), &weights, &model.to_string(), &self.names)?;
        engine.heed(self.stop.clone());
        // How often a study evaluates all images is not known here. Count them
        // once: that is enough to use what the tuning cache holds, and a large
        // set of images still repays timing the rest.
        let work = Workload {
            training: self.training_images,
            batch: batch_size.get(),
            images: test.images.len() as u64,
        };
        choose_kernels(engine.as_mut(), &self.kernels, &work, report)?;
        engine.load(Split::Test, &test.images, &normalization)?;
        if let Some(train) = &train {
            engine.load(Split::Train, train, &normalization)?;
        }
        let depth = match config {
            Some(config) => config.settings_for(model.clone())?.depth,
            None => Depth::default(),
        };
        Ok(TrainedNetwork {
            hash: OnceCell::new(),
            notes,
            route: depth.test_route(engine.graph()),
            training_images: train.map_or(0, |train| train.len()),
            engine,
            model,
            weights,
            test,
            normalization,
            source,
            preparation,
            batch_size,
            run: run.map(|(run, _)| run),
        })
    }

    /// The test images and, where they are asked for, the training images.
    fn load(
        &self,
        source: &str,
        preparation: Preparation,
        config: Option<&Config>,
    ) -> Result<(TestSplit, Option<ImageSet>), TrainError> {
        let data: Source = source.parse().map_err(DataError::from)?;
        let data = data.with_preparation(preparation).map_err(DataError::from)?;
        let seed = config.map_or(0, |config| config.seed);
        let limit = self.limit_test.or(config.and_then(|config| config.limit_test));
        if !self.training_images {
            return Ok((data.load_test(limit, seed)?, None));
        }
        let limit_train = config.and_then(|config| config.limit_train);
        let Splits {
            train,
            test,
            normalization,
            measured,
        } = data.load(limit_train, limit, seed)?;
        Ok((
            TestSplit {
                images: test,
                normalization,
                measured,
            },
            Some(train),
        ))
    }

    /// The normalisation given, else the run's, else the data set's own.
    fn normalization_of(&self, test: &TestSplit, config: Option<&Config>) -> Result<Normalization, TrainError> {
        let recorded = config.map(|config| config.normalization(&test.normalization));
        let default = recorded.transpose()?.unwrap_or_else(|| test.normalization.clone());
        let resolved = Normalization::resolve(self.mean.as_deref(), self.std.as_deref(), &default);
        Ok(resolved.map_err(DataError::from)?)
    }
}

/// A network with its trained weights on an adapter, and the images that it
/// is studied on.
pub struct TrainedNetwork {
    /// The network on its adapter.
    pub engine: Box<dyn Engine>,
    /// The model.
    pub model: Model,
    /// The weights file.
    pub weights: PathBuf,
    /// The test images.
    pub test: TestSplit,
    /// Number of training images that are loaded; 0 unless they were asked
    /// for.
    pub training_images: usize,
    /// How images are normalised.
    pub normalization: Normalization,
    /// The data set, as it was named: `cifar10:DIR`.
    pub source: String,
    /// How every image is changed when it is loaded.
    pub preparation: Preparation,
    /// Images per batch.
    pub batch_size: NonZeroUsize,
    /// The run, if the weights are a run's.
    pub run: Option<RunDirectory>,
    /// The route of the whole network. In a network trained with stochastic
    /// depth, the branches are scaled by their survival probabilities.
    pub route: Route,
    /// What a user should know about how the weights were read, one line each.
    pub notes: Vec<String>,
    hash: OnceCell<String>,
}

impl TrainedNetwork {
    /// Number of test images.
    pub fn images(&self) -> usize {
        self.test.images.len()
    }

    /// The network's name in reports: the model, and the run if there is one.
    pub fn label(&self) -> String {
        let run = self.run.as_ref().and_then(|run| run.path().file_name());
        match run {
            Some(run) => format!("{} ({})", self.model, run.to_string_lossy()),
            None => self.model.to_string(),
        }
    }

    /// What the results of a study depend on, apart from the study's own
    /// settings. Results with another identity must not be mixed with these.
    ///
    /// # Errors
    /// Where the weights file cannot be read.
    pub fn identity(&self) -> Result<serde_json::Map<String, serde_json::Value>, TrainError> {
        let gains: Vec<[f32; 2]> = (0..self.route.len())
            .map(|index| self.route.gains(BlockId(index)))
            .map(|gains| [gains.branch, gains.shortcut])
            .collect();
        let pairs = [
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("model", json!(self.model.to_string())),
            ("weights-sha256", json!(self.weights_hash()?)),
            ("data", json!(self.source)),
            ("images", json!(self.images())),
            ("mean", json!(self.normalization.mean())),
            ("std", json!(self.normalization.std())),
            ("gains", json!(gains)),
            ("adapter", json!(self.engine.name())),
        ];
        let mut pairs: serde_json::Map<_, _> = pairs.map(|(key, value)| (key.to_string(), value)).into_iter().collect();
        if !self.preparation.is_none() {
            pairs.insert("prepared".into(), json!(self.preparation.to_string()));
        }
        Ok(pairs)
    }

    /// Where results come from, for a report: pairs of a name and a value.
    /// `command` is the command line of the program, `seed` the study's.
    ///
    /// # Errors
    /// Where the weights file cannot be read.
    pub fn provenance(&self, command: &str, seed: u64) -> Result<Vec<(String, String)>, TrainError> {
        let facts = [
            ("command", command.to_string()),
            ("model", self.model.to_string()),
            ("weights", self.weights.display().to_string()),
            ("weights SHA-256", self.weights_hash()?),
            ("data", self.source.clone()),
            ("test images", self.images().to_string()),
            ("adapter", self.engine.name()),
            ("seed", seed.to_string()),
            ("version", format!("residua {}", env!("CARGO_PKG_VERSION"))),
        ];
        Ok(facts.map(|(name, value)| (name.to_string(), value)).to_vec())
    }

    /// The hash of the weights file, which is read for it only once.
    fn weights_hash(&self) -> Result<String, TrainError> {
        if let Some(known) = self.hash.get() {
            return Ok(known.clone());
        }
        let hash = hash(&self.weights)?;
        Ok(self.hash.get_or_init(|| hash).clone())
    }
}
