//! Training and evaluation: the loop, learning rates, checkpoints, metrics.

pub mod checkpoint;
mod classification;
mod config;
mod curves;
mod depth;
mod directory;
mod engine;
mod error;
mod evaluate;
mod events;
mod export;
mod finite;
mod gradient_log;
mod init;
mod open;
mod optimizer;
mod origin;
mod rate;
mod read_weights;
mod record;
mod reference_engine;
mod run;
mod settings;
mod survival;
mod trained;
mod trainer;
mod tuning;

pub use crate::data::Split;
pub use crate::schedule::Slot;
pub use classification::{
    CALIBRATION_BINS, Calibration, CalibrationBin, ClassificationReport, ImageResult, TOP5, predicted, probabilities,
    rank,
};
pub use config::Config;
pub use curves::curves;
pub use depth::{Depth, DepthPer, DepthRule};
pub use directory::{EpochRow, Extension, GradientRow, MadeBy, RunDirectory, StepRow, TestResult, read_config};
pub use engine::{BatchRef, DeviceEngine, Engine, Scores, StepPlan, StepRules};
pub use error::{TrainError, Unsaid};
pub use evaluate::{BatchReceiver, Outcome, evaluate, evaluate_with_logits, rank_images, read_activations};
pub use export::export;
pub use finite::{LOSS, NotFinite, first_not_finite, locate, require_finite};
pub use init::initialise;
pub use open::{Adapter, TrainOptions, open};
pub use optimizer::{OptimizerKind, OptimizerSettings};
pub use origin::{Origin, TableRows};
pub use rate::{Rate, Schedule, WarmUp};
pub use read_weights::{ReadWeights, only_model};
pub use record::{Fingerprint, Record, RecordedData, absolute_data};
pub use reference_engine::ReferenceEngine;
pub use run::{Begin, Event, Run};
pub use settings::{Decay, Settings, batch_size};
pub use survival::fold_survival;
pub use trained::{TrainedNetwork, TrainedNetworkOptions};
pub use trainer::Trainer;
pub(crate) use trainer::input_of;
pub use tuning::choose_kernels;
