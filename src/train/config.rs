//! What is a run told to do?

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::depth::{Depth, DepthPer, DepthRule};
use super::open::TrainOptions;
use super::rate::{Schedule, WarmUp};
use crate::data::{Augment, Normalization, Padding, Source, Splits};
use crate::graph::{Param, ParamKind, Precision, Recompute};
use crate::models::{Model, ModelSpec};

/// Which parameters weight decay is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Every parameter, as the papers' code has it.
    #[default]
    All,
    /// Convolution and linear weights only.
    Weights,
}

impl Decay {
    /// The rule as a function.
    pub fn rule(self) -> fn(&Param) -> bool {
        match self {
            Decay::All => |_| true,
            Decay::Weights => |param| matches!(param.kind, ParamKind::ConvWeight | ParamKind::LinearWeight),
        }
    }
}

/// All settings of a training run, as `run.toml` holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Model name and options.
    pub model: String,
    /// Data source.
    pub data: String,
    /// Mean of the images' channels, or a named set; the data's own if none.
    pub mean: Option<String>,
    /// Standard deviation, or a named set.
    pub std: Option<String>,
    /// Passes over the training images.
    pub epochs: u32,
    /// Stop after so many steps instead.
    pub steps: Option<u32>,
    /// Images in a batch.
    pub batch_size: u32,
    /// How activations and their gradients are stored.
    pub precision: Precision,
    /// Learning rate.
    pub lr: f64,
    /// Its shape over the run.
    pub schedule: String,
    /// Steps of warm-up.
    pub warmup: u32,
    /// A constant learning rate during warm-up.
    pub warmup_lr: Option<f64>,
    /// Momentum.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// What it is for.
    pub decay: Decay,
    /// Stochastic depth: survival probability of the last block.
    pub stochastic_depth: Option<f64>,
    /// How the other blocks' survival follows.
    pub depth_rule: DepthRule,
    /// What one draw of stochastic depth is for.
    pub depth_per: DepthPer,
    /// Train so many blocks a mini-batch.
    pub sample_blocks: Option<usize>,
    /// What is made again for the way back instead of being kept.
    pub recompute: Recompute,
    /// Seed of all that is random.
    pub seed: u64,
    /// Use only the first so many training images.
    pub limit_train: Option<usize>,
    /// Use only the first so many test images.
    pub limit_test: Option<usize>,
    /// Weights to start from.
    pub init: Option<PathBuf>,
    /// Random changes to training images.
    pub augment: String,
    /// How crops are padded.
    pub padding: String,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Whether `steps.csv` is kept.
    pub log_steps: bool,
    /// Whether `gradients.csv` is kept.
    pub log_gradients: bool,
    /// Steps between checkpoints, besides the one at each epoch's end.
    pub checkpoint_every: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            model: "wrn-16-1".into(),
            data: "synthetic".into(),
            mean: None,
            std: None,
            epochs: 10,
            steps: None,
            batch_size: 128,
            precision: Precision::F32,
            lr: 0.1,
            schedule: "cosine".into(),
            warmup: 0,
            warmup_lr: None,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
            decay: Decay::All,
            stochastic_depth: None,
            depth_rule: DepthRule::Linear,
            depth_per: DepthPer::Batch,
            sample_blocks: None,
            recompute: Recompute::None,
            seed: 0,
            limit_train: None,
            limit_test: None,
            init: None,
            augment: "crop-flip".into(),
            padding: "zero".into(),
            shuffle: true,
            log_steps: false,
            log_gradients: false,
            checkpoint_every: None,
        }
    }
}

/// A configuration whose every value has been looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The model.
    pub model: Model,
    /// The data.
    pub data: Source,
    /// Images in a batch.
    pub batch_size: NonZeroUsize,
    /// The learning rate's shape.
    pub schedule: Schedule,
    /// Its beginning.
    pub warm_up: WarmUp,
    /// Random changes to training images.
    pub augment: Augment,
    /// How crops are padded.
    pub padding: Padding,
    /// Which blocks run.
    pub depth: Depth,
    /// Which parameters decay.
    pub decay: Decay,
    /// What is made again for the way back.
    pub recompute: Recompute,
    /// How activations and their gradients are stored.
    pub precision: Precision,
}

impl Settings {
    /// What an engine must know that trains so.
    pub fn learning(&self) -> TrainOptions {
        TrainOptions {
            decay: self.decay,
            depth: self.depth,
            recompute: self.recompute,
            precision: self.precision,
        }
    }
}

impl Settings {
    /// Whether a model with so many blocks can be trained as asked.
    pub fn check_blocks(&self, blocks: usize) -> Result<(), TrainError> {
        match self.depth {
            Depth::Sampled(count) if count > blocks => Err(TrainError::Argument(format!(
                "--sample-blocks {count}: the model has {blocks} blocks"
            ))),
            _ => Ok(()),
        }
    }
}

impl Config {
    /// The defaults for a data source: the built-in images are few, and many
    /// small steps learn them sooner.
    pub fn for_data(data: &str) -> Self {
        let built_in = matches!(data.parse(), Ok(Source::Synthetic { .. }));
        Config {
            data: data.to_string(),
            batch_size: if built_in { 32 } else { 128 },
            epochs: if built_in { 2 } else { 10 },
            ..Config::default()
        }
    }

    /// Looks at every value: an error names the first that is out of range.
    pub fn check(&self) -> Result<Settings, TrainError> {
        self.check_for(self.model.parse::<ModelSpec>()?.into())
    }

    /// As [`Config::check`], for `model` instead of the one named by
    /// [`Config::model`].
    pub fn check_for(&self, model: Model) -> Result<Settings, TrainError> {
        let argument = TrainError::Argument;
        let batch_size = NonZeroUsize::new(self.batch_size as usize)
            .filter(|size| size.get() <= 65_536)
            .ok_or_else(|| {
                argument(format!(
                    "--batch-size {} is not between 1 and 65536 images",
                    self.batch_size
                ))
            })?;
        if self.epochs == 0 || self.epochs > 1_000_000 {
            return Err(argument(format!(
                "--epochs {} is not between 1 and 1000000",
                self.epochs
            )));
        }
        for (flag, count) in [("--steps", self.steps), ("--checkpoint-every", self.checkpoint_every)] {
            if count == Some(0) {
                return Err(argument(format!("{flag} 0: at least one step is needed")));
            }
        }
        let within = |flag: &str, value: f64, most: f64| {
            if (0.0..=most).contains(&value) {
                Ok(())
            } else {
                Err(argument(format!("{flag} {value} is not between 0 and {most}")))
            }
        };
        within("--lr", self.lr, 1e6)?;
        within("--warmup-lr", self.warmup_lr.unwrap_or(0.0), 1e6)?;
        within("--weight-decay", self.weight_decay, 1e3)?;
        within("--momentum", self.momentum, 1.0)?;
        let depth = match (self.stochastic_depth, self.sample_blocks) {
            (None, None) => Depth::Constant,
            (Some(p_last), None) if p_last > 0.0 && p_last <= 1.0 => {
                let rule = self.depth_rule;
                match self.depth_per {
                    DepthPer::Batch => Depth::Stochastic { p_last, rule },
                    DepthPer::Sample => Depth::BySample { p_last, rule },
                }
            }
            (Some(p), None) => {
                return Err(argument(format!(
                    "--stochastic-depth {p} is not a probability above 0, at most 1"
                )));
            }
            (None, Some(count)) if count > 0 => Depth::Sampled(count),
            (None, Some(count)) => return Err(argument(format!("--sample-blocks {count}: at least one must run"))),
            (Some(_), Some(_)) => {
                return Err(argument(
                    "--stochastic-depth and --sample-blocks exclude each other".into(),
                ));
            }
        };
        Ok(Settings {
            depth,
            decay: self.decay,
            recompute: self.recompute,
            precision: self.precision,
            model,
            data: self
                .data
                .parse::<Source>()
                .map_err(|error| TrainError::Data(error.into()))?,
            batch_size,
            schedule: self.schedule.parse().map_err(argument)?,
            warm_up: WarmUp {
                steps: self.warmup,
                rate: self.warmup_lr,
            },
            augment: self
                .augment
                .parse()
                .map_err(|error: crate::data::ArgumentError| TrainError::Data(error.into()))?,
            padding: self
                .padding
                .parse()
                .map_err(|error: crate::data::ArgumentError| TrainError::Data(error.into()))?,
        })
    }

    /// The images of a configuration with these `settings`.
    pub fn load(&self, settings: &Settings) -> Result<Splits, TrainError> {
        Ok(settings.data.load(self.limit_train, self.limit_test, self.seed)?)
    }

    /// Steps of the whole run, where an epoch has `per_epoch`.
    pub fn total_steps(&self, per_epoch: u32) -> u32 {
        self.steps.unwrap_or_else(|| per_epoch.saturating_mul(self.epochs))
    }

    /// The normalisation that `--mean` and `--std` ask for.
    pub fn normalization(&self, default: &Normalization) -> Result<Normalization, TrainError> {
        Normalization::resolve(self.mean.as_deref(), self.std.as_deref(), default)
            .map_err(|error| TrainError::Data(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_survives_toml() {
        let config = Config::default();
        config.check().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn values_out_of_range_are_named() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(with(|c| c.batch_size = 0).contains("--batch-size 0"));
        assert!(with(|c| c.epochs = 0).contains("--epochs 0"));
        assert!(with(|c| c.steps = Some(0)).contains("--steps 0"));
        assert!(with(|c| c.lr = f64::NAN).contains("--lr NaN"));
        assert!(with(|c| c.lr = -0.1).contains("--lr -0.1"));
        assert!(with(|c| c.momentum = 1.5).contains("--momentum 1.5"));
        assert!(with(|c| c.model = "resnet21".into()).contains("21"));
        assert!(toml::from_str::<Config>("learning-rate = 1").is_err());
    }
}
