//! What does `run.toml` say?

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::depth::{Depth, DepthPer, DepthRule};
use super::optimizer::{OptimizerKind, OptimizerSettings};
use super::rate::WarmUp;
use super::settings::{Decay, Settings, batch_size};
use crate::data::{ArgumentError, Augmentation, DataError, Mixing, Normalization, Preparation, Source};
use crate::graph::{Precision, Recompute};
use crate::models::{Model, shown_name};
use crate::weights::{NameOptions, Rename, WeightsError};

/// All settings of a training run as text and numbers, as `run.toml` stores
/// them. [`Settings`] has the same as typed values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Model name and options, or the text of a network in a file.
    pub model: String,
    /// Data source.
    pub data: String,
    /// To which size images are scaled.
    pub resize: Option<String>,
    /// Pixels, in height and width, cut out of the middle of images.
    pub crop: Option<usize>,
    /// Black pixels added on each side of images.
    pub pad: Option<usize>,
    /// Number of channels that images get.
    pub channels: Option<usize>,
    /// Mean of the images' channels, or a named set; `None`: the data set's.
    pub mean: Option<String>,
    /// Standard deviation, or a named set.
    pub std: Option<String>,
    /// Passes over the training images.
    pub epochs: u32,
    /// Stop after this number of steps instead.
    pub steps: Option<u32>,
    /// Images in a batch.
    pub batch_size: u32,
    /// Parts that every batch is cut into.
    pub shards: u32,
    /// How activations and their gradients are stored.
    pub precision: Precision,
    /// Learning rate.
    pub lr: f64,
    /// The learning rate over the run.
    pub schedule: String,
    /// Steps of warm-up.
    pub warmup: u32,
    /// Epochs of warm-up, instead of steps.
    pub warmup_epochs: Option<f64>,
    /// A constant learning rate during warm-up.
    pub warmup_lr: Option<f64>,
    /// Momentum.
    pub momentum: f64,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// Which parameters decay.
    pub decay: Decay,
    /// The optimiser.
    pub optimizer: OptimizerKind,
    /// AdamW: the part of the mean gradient that stays in a step.
    pub beta1: f64,
    /// AdamW: the part of the mean square that stays.
    pub beta2: f64,
    /// AdamW: added to the root of the mean square; LARS: to the norm of the gradient.
    pub eps: f64,
    /// LARS: the trust coefficient.
    pub trust: f64,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// The part of the moving average of the weights that stays in a step.
    pub ema: Option<f64>,
    /// The part of every target that is spread over all classes.
    pub label_smoothing: f64,
    /// α of mixup; 0 for none.
    pub mixup: f64,
    /// α of CutMix; 0 for none.
    pub cutmix: f64,
    /// Side of the square that is cut out of every training image, pixels; 0 for none.
    pub cutout: u32,
    /// Stochastic depth: survival probability of the last block.
    pub stochastic_depth: Option<f64>,
    /// Survival probability of the other blocks.
    pub depth_rule: DepthRule,
    /// What one draw of stochastic depth is for.
    pub depth_per: DepthPer,
    /// Train this number of blocks in each mini-batch.
    pub sample_blocks: Option<usize>,
    /// What the backward pass recomputes instead of reading it from memory.
    pub recompute: Recompute,
    /// Seed of everything random.
    pub seed: u64,
    /// Use only the first training images, this number of them.
    pub limit_train: Option<usize>,
    /// Use only the first test images, this number of them.
    pub limit_test: Option<usize>,
    /// Training images that are held out for validation; 0 for none.
    pub validation: usize,
    /// Weights file to start from.
    pub init: Option<PathBuf>,
    /// The table of tensors of that file to take.
    pub table: Option<String>,
    /// Names of that file to translate, as FROM=TO.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rename: Vec<String>,
    /// Random changes to training images.
    pub augment: String,
    /// How crops are padded.
    pub padding: String,
    /// Whether each epoch has a random order of its own.
    pub shuffle: bool,
    /// Whether `steps.csv` is written.
    pub log_steps: bool,
    /// Whether `gradients.csv` is written.
    pub log_gradients: bool,
    /// Whether event files of TensorBoard are written.
    pub tensorboard: bool,
    /// Whether they also have histograms of the weights after each epoch.
    pub tensorboard_histograms: bool,
    /// Steps between checkpoints, in addition to the one after each epoch.
    pub checkpoint_every: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Config::from(&Settings::default())
    }
}

impl From<&Settings> for Config {
    fn from(settings: &Settings) -> Self {
        let normalization = settings.normalization.as_ref().map(Normalization::to_text);
        let (mean, std) = normalization.map_or((None, None), |[mean, std]| (Some(mean), Some(std)));
        let preparation = settings.data.preparation();
        let (stochastic_depth, depth_rule, depth_per, sample_blocks) = settings.depth.settings();
        Config {
            model: settings.model.text(),
            data: settings.data.to_string(),
            resize: preparation.resize.map(|resize| resize.to_string()),
            crop: preparation.crop,
            pad: (preparation.pad > 0).then_some(preparation.pad),
            channels: preparation.channels,
            mean,
            std,
            epochs: settings.epochs,
            steps: settings.steps,
            // A larger number stays out of range, so that it is still refused.
            batch_size: u32::try_from(settings.batch_size.get()).unwrap_or(u32::MAX),
            shards: u32::try_from(settings.shards.get()).unwrap_or(u32::MAX),
            precision: settings.precision,
            lr: settings.learning_rate,
            schedule: settings.schedule.to_string(),
            warmup: settings.warm_up.steps,
            warmup_epochs: settings.warm_up_epochs,
            warmup_lr: settings.warm_up.rate,
            momentum: settings.momentum,
            nesterov: settings.nesterov,
            weight_decay: settings.weight_decay,
            decay: settings.decay,
            optimizer: settings.optimizer.kind,
            beta1: settings.optimizer.beta1,
            beta2: settings.optimizer.beta2,
            eps: settings.optimizer.eps,
            trust: settings.optimizer.trust,
            clip_norm: settings.clip_norm,
            ema: settings.ema,
            label_smoothing: settings.label_smoothing,
            mixup: settings.mixing.mixup,
            cutmix: settings.mixing.cutmix,
            cutout: settings.mixing.cutout,
            stochastic_depth,
            depth_rule,
            depth_per,
            sample_blocks,
            recompute: settings.recompute,
            seed: settings.seed,
            limit_train: settings.limit_train,
            limit_test: settings.limit_test,
            validation: settings.validation,
            init: settings.init.clone(),
            table: settings.init_names.table.clone(),
            rename: settings.init_names.renames.iter().map(Rename::to_string).collect(),
            augment: Augmentation {
                augment: settings.augment,
                distortions: settings.distortions,
            }
            .to_string(),
            padding: settings.padding.to_string(),
            shuffle: settings.shuffle,
            log_steps: settings.log_steps,
            log_gradients: settings.log_gradients,
            tensorboard: settings.tensorboard,
            tensorboard_histograms: settings.tensorboard_histograms,
            checkpoint_every: settings.checkpoint_every,
        }
    }
}

impl From<Settings> for Config {
    fn from(settings: Settings) -> Self {
        Config::from(&settings)
    }
}

impl Config {
    /// The defaults for a data source, as [`Settings::for_data`]; for text that
    /// names no data source, the defaults of any other than the built-in one.
    pub fn for_data(data: &str) -> Self {
        let settings = data.parse().map(Settings::for_data).unwrap_or_default();
        Config {
            data: data.to_string(),
            ..Config::from(&settings)
        }
    }

    /// The images that are evaluated after each epoch: "test" or "validation".
    pub fn evaluated(&self) -> &'static str {
        match self.validation {
            0 => "test",
            _ => "validation",
        }
    }

    /// The first setting in which `wanted` differs from this, with both values, in words.
    pub fn difference(&self, wanted: &Self) -> Option<String> {
        if self == wanted {
            return None;
        }
        let table = |config: &Config| toml::Table::try_from(config).unwrap_or_default();
        let (found, wanted) = (table(self), table(wanted));
        let shown = |value: Option<&toml::Value>| value.map_or_else(|| "none".to_string(), toml::Value::to_string);
        let differs = |key: &&String| found.get(*key) != wanted.get(*key);
        let words = |key: &String| format!("{key} is {}, not {}", shown(found.get(key)), shown(wanted.get(key)));
        Some(
            wanted
                .keys()
                .chain(found.keys())
                .find(differs)
                .map_or_else(|| "a value that has no name".to_string(), words),
        )
    }

    /// Reads every value.
    ///
    /// # Errors
    /// For the first value that cannot be read or is out of its range.
    pub fn settings(&self) -> Result<Settings, TrainError> {
        self.settings_for(self.model.parse()?)
    }

    /// As [`Config::settings`], with `model` instead of the one that
    /// [`Config::model`] names.
    ///
    /// # Errors
    /// As [`Config::settings`].
    pub fn settings_for(&self, model: Model) -> Result<Settings, TrainError> {
        // By name, so that the compiler reports a setting that is not read.
        let Config {
            model: _,
            data: _,
            resize: _,
            crop: _,
            pad: _,
            channels: _,
            mean,
            std,
            epochs,
            steps,
            batch_size: images,
            shards,
            precision,
            lr,
            schedule,
            warmup,
            warmup_epochs,
            warmup_lr,
            momentum,
            nesterov,
            weight_decay,
            decay,
            optimizer,
            beta1,
            beta2,
            eps,
            trust,
            clip_norm,
            ema,
            label_smoothing,
            mixup,
            cutmix,
            cutout,
            stochastic_depth,
            depth_rule: rule,
            depth_per,
            sample_blocks,
            recompute,
            seed,
            limit_train,
            limit_test,
            validation,
            init,
            table,
            rename,
            augment,
            padding,
            shuffle,
            log_steps,
            log_gradients,
            tensorboard,
            tensorboard_histograms,
            checkpoint_every,
        } = self;
        let Augmentation { augment, distortions } = augment.parse().map_err(argument)?;
        let renames: Result<Vec<Rename>, _> = rename.iter().map(|text| text.parse()).collect();
        let depth = Depth::of_settings(*stochastic_depth, *rule, *depth_per, *sample_blocks)?;
        let data = self.source()?;
        let normalization = match (mean, std) {
            (None, None) => None,
            (mean, std) => {
                let (mean, std) = (mean.as_deref(), std.as_deref());
                let resolved = match data.published_normalization() {
                    Some(default) => Normalization::resolve(mean, std, &default),
                    None => Normalization::resolve_alone(mean, std),
                };
                Some(resolved.map_err(argument)?)
            }
        };
        let settings = Settings {
            model,
            data,
            normalization,
            epochs: *epochs,
            steps: *steps,
            batch_size: batch_size(*images as usize)?,
            shards: NonZeroUsize::new(*shards as usize)
                .ok_or_else(|| TrainError::value("shards", "0 is too few: a batch has at least one"))?,
            precision: *precision,
            learning_rate: *lr,
            schedule: schedule
                .parse()
                .map_err(|problem: String| TrainError::value("schedule", problem))?,
            warm_up: WarmUp {
                steps: *warmup,
                rate: *warmup_lr,
            },
            warm_up_epochs: *warmup_epochs,
            momentum: *momentum,
            nesterov: *nesterov,
            weight_decay: *weight_decay,
            decay: *decay,
            optimizer: OptimizerSettings {
                kind: *optimizer,
                beta1: *beta1,
                beta2: *beta2,
                eps: *eps,
                trust: *trust,
            },
            clip_norm: *clip_norm,
            ema: *ema,
            label_smoothing: *label_smoothing,
            mixing: Mixing {
                mixup: *mixup,
                cutmix: *cutmix,
                cutout: *cutout,
            },
            depth,
            recompute: *recompute,
            seed: *seed,
            limit_train: *limit_train,
            limit_test: *limit_test,
            validation: *validation,
            init: init.clone(),
            init_names: NameOptions {
                table: table.clone(),
                renames: renames.map_err(|error: WeightsError| TrainError::value("rename", error.to_string()))?,
            },
            augment,
            distortions,
            padding: padding.parse().map_err(argument)?,
            shuffle: *shuffle,
            log_steps: *log_steps,
            log_gradients: *log_gradients,
            tensorboard: *tensorboard,
            tensorboard_histograms: *tensorboard_histograms,
            checkpoint_every: *checkpoint_every,
        };
        settings.check()?;
        Ok(settings)
    }

    /// How programs show the model: by its name.
    pub fn model_name(&self) -> String {
        shown_name(&self.model)
    }

    /// How images are changed when they are loaded.
    ///
    /// # Errors
    /// For sizes that cannot be read or are out of their range.
    pub fn preparation(&self) -> Result<Preparation, TrainError> {
        let resize = self.resize.as_deref().map(str::parse).transpose();
        let preparation = Preparation {
            resize: resize.map_err(argument)?,
            crop: self.crop,
            pad: self.pad.unwrap_or(0),
            channels: self.channels,
        };
        preparation.check().map_err(argument)?;
        Ok(preparation)
    }

    /// The data set, with its images changed as these settings say.
    ///
    /// # Errors
    /// For text that names no data set, and sizes out of their range.
    pub fn source(&self) -> Result<Source, TrainError> {
        let data: Source = self.data.parse().map_err(argument)?;
        data.with_preparation(self.preparation()?).map_err(argument)
    }

    /// Steps of the whole run, where an epoch has `per_epoch`.
    pub fn total_steps(&self, per_epoch: u32) -> u32 {
        self.steps.unwrap_or_else(|| per_epoch.saturating_mul(self.epochs))
    }

    /// The normalisation of the images; `default` is the data set's.
    ///
    /// # Errors
    /// For text that is no list of numbers, one for each channel.
    pub fn normalization(&self, default: &Normalization) -> Result<Normalization, TrainError> {
        Normalization::resolve(self.mean.as_deref(), self.std.as_deref(), default).map_err(argument)
    }
}

fn argument(error: ArgumentError) -> TrainError {
    TrainError::Data(DataError::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_survives_toml() {
        let config = Config::default();
        assert_eq!((config.model.as_str(), config.data.as_str()), ("wrn-16-1", "synthetic"));
        assert_eq!(
            (config.schedule.as_str(), config.augment.as_str()),
            ("cosine", "crop-flip")
        );
        config.settings().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn values_out_of_range_are_named() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.settings().unwrap_err().to_string()
        };
        assert!(with(|c| c.batch_size = 0).contains("batch size 0"));
        assert!(with(|c| c.shards = 0).contains("shards 0"));
        assert!(with(|c| c.epochs = 0).contains("epochs 0"));
        assert!(with(|c| c.steps = Some(0)).contains("steps 0"));
        assert!(with(|c| c.lr = f64::NAN).contains("learning rate NaN"));
        assert!(with(|c| c.lr = -0.1).contains("learning rate -0.1"));
        assert!(with(|c| c.momentum = 1.5).contains("momentum 1.5"));
        assert!(with(|c| c.model = "resnet21".into()).contains("21"));
        assert!(with(|c| c.mean = Some("0.5".into())).contains("mean '0.5'"));
        let both = |c: &mut Config| (c.stochastic_depth, c.sample_blocks) = (Some(0.5), Some(1));
        assert!(with(both).contains("sample blocks 1"));
        assert!(toml::from_str::<Config>("learning-rate = 1").is_err());
    }

    #[test]
    fn the_built_in_images_have_other_defaults() {
        let small = Config::for_data("synthetic:96,32");
        assert_eq!(
            (small.batch_size, small.epochs, small.data.as_str()),
            (32, 2, "synthetic:96,32")
        );
        let large = Config::for_data("cifar10:folder");
        assert_eq!((large.batch_size, large.epochs), (128, 10));
        assert_eq!(Config::for_data("nonsense").data, "nonsense");
    }

    #[test]
    fn the_first_setting_that_differs_is_named() {
        let config = Config::default();
        let other = Config {
            stochastic_depth: Some(0.5),
            ..config.clone()
        };
        assert_eq!(config.difference(&config), None);
        assert_eq!(config.difference(&other).unwrap(), "stochastic-depth is none, not 0.5");
        assert_eq!(other.difference(&config).unwrap(), "stochastic-depth is 0.5, not none");
    }
}
