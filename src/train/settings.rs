//! With which settings is a network trained?

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::depth::Depth;
use super::engine::StepRules;
use super::open::TrainOptions;
use super::optimizer::OptimizerSettings;
use super::rate::{Schedule, WarmUp};
use crate::data::{
    Augment, Batches, DataError, Distortions, ImageOrder, Mixing, Normalization, Padding, Source, Splits,
};
use crate::graph::{Graph, Param, Precision, Recompute};
use crate::kernels::UpdateRule;
use crate::models::Model;
use crate::weights::NameOptions;

/// The largest number of images in a batch.
const LARGEST_BATCH: usize = 65_536;
/// The largest number of epochs.
const MOST_EPOCHS: u32 = 1_000_000;
/// The largest seed: `run.toml` stores integers with 64 bits and a sign.
const LARGEST_SEED: u64 = i64::MAX as u64;

/// `images` as the number of images in a batch.
///
/// # Errors
/// [`TrainError::Value`] if it is not between 1 and 65536.
pub fn batch_size(images: usize) -> Result<NonZeroUsize, TrainError> {
    NonZeroUsize::new(images)
        .filter(|size| size.get() <= LARGEST_BATCH)
        .ok_or_else(|| {
            TrainError::value(
                "batch-size",
                format!("{images} is not between 1 and {LARGEST_BATCH} images"),
            )
        })
}

/// Which parameters weight decay applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Every parameter, as in the papers' code.
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
            Decay::Weights => |param| param.kind.is_weight(),
        }
    }
}

/// All settings of a training run, as typed values.
///
/// [`Config`](super::Config) is the same as text, which `run.toml` stores: a
/// configuration is made of settings by `Config::from`, and read as settings by
/// [`Config::settings`](super::Config::settings).
///
/// ```
/// use residua::data::Augment;
/// use residua::train::{Config, Depth, DepthRule, Schedule, Settings};
///
/// # fn main() -> Result<(), residua::train::TrainError> {
/// let settings = Settings {
///     model: "resnet20".parse()?,
///     epochs: 5,
///     schedule: Schedule::MultiStep { epochs: vec![3.0, 4.0], factor: 0.1 },
///     depth: Depth::Stochastic { p_last: 0.5, rule: DepthRule::Linear },
///     augment: Augment::Flip,
///     ..Settings::default()
/// };
/// let config = Config::from(&settings);
/// assert_eq!(config.schedule, "multi-step:3,4@0.1");
/// assert_eq!(config.settings()?, settings);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The network: a built-in one, or one of your own ([`Model::own`]).
    pub model: Model,
    /// The images.
    pub data: Source,
    /// Mean and standard deviation of the images; `None`: those of the data
    /// set.
    pub normalization: Option<Normalization>,
    /// Passes over the training images, from 1 to 1000000.
    pub epochs: u32,
    /// Stop after this number of steps instead of `epochs`.
    pub steps: Option<u32>,
    /// Images in a batch, from 1 to 65536.
    pub batch_size: NonZeroUsize,
    /// Parts that every batch is cut into, in order, up to its images. They are computed
    /// one after the other, in the memory of one, and each has a batch norm of its own.
    pub shards: NonZeroUsize,
    /// How activations and their gradients are stored.
    pub precision: Precision,
    /// Learning rate, from 0 to 1000000.
    pub learning_rate: f64,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// The learning rate at the beginning of the run.
    pub warm_up: WarmUp,
    /// The length of the warm-up in epochs, from 0 to 1000, instead of in steps.
    pub warm_up_epochs: Option<f64>,
    /// Momentum, from 0 to 1.
    pub momentum: f64,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
    /// Weight decay, from 0 to 1000.
    pub weight_decay: f64,
    /// Which parameters decay.
    pub decay: Decay,
    /// How parameters follow from gradients.
    pub optimizer: OptimizerSettings,
    /// The largest norm of all gradients together, above 0; `None`: any.
    pub clip_norm: Option<f64>,
    /// The part of the moving average of the weights that stays in a step, below 1;
    /// `None`: weights are not averaged. The averages are tested and saved.
    pub ema: Option<f64>,
    /// The part of every target that is spread over all classes, below 1.
    pub label_smoothing: f64,
    /// How images are changed and mixed beside crops and flips.
    pub mixing: Mixing,
    /// Which blocks run in a training step.
    pub depth: Depth,
    /// What the backward pass recomputes instead of reading it from memory.
    pub recompute: Recompute,
    /// Seed of initial weights, order, augmentation, dropout and synthetic
    /// images; below 2⁶³.
    pub seed: u64,
    /// Use only the first training images, this number of them.
    pub limit_train: Option<usize>,
    /// Use only the first test images, this number of them.
    pub limit_test: Option<usize>,
    /// The number of training images, drawn by the seed, that are held out: the run
    /// evaluates them after each epoch, and the test images once at its end. 0: it
    /// evaluates the test images after each epoch.
    pub validation: usize,
    /// Weights file to start from; `None`: weights are drawn from the seed.
    pub init: Option<PathBuf>,
    /// How the names in that file are to be understood.
    pub init_names: NameOptions,
    /// Crops and flips of training images.
    pub augment: Augment,
    /// Operations that follow them.
    pub distortions: Distortions,
    /// How crops are padded.
    pub padding: Padding,
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

impl Default for Settings {
    /// wrn-16-1 on the built-in images, 10 epochs with batches of 128.
    fn default() -> Self {
        Settings {
            model: "wrn-16-1".parse().expect("the default model exists"),
            data: Source::default(),
            normalization: None,
            epochs: 10,
            steps: None,
            batch_size: NonZeroUsize::new(128).expect("not 0"),
            shards: NonZeroUsize::MIN,
            precision: Precision::F32,
            learning_rate: 0.1,
            schedule: Schedule::Cosine,
            warm_up: WarmUp::default(),
            warm_up_epochs: None,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
            decay: Decay::All,
            optimizer: OptimizerSettings::default(),
            clip_norm: None,
            ema: None,
            label_smoothing: 0.0,
            mixing: Mixing::default(),
            depth: Depth::Constant,
            recompute: Recompute::None,
            seed: 0,
            limit_train: None,
            limit_test: None,
            validation: 0,
            init: None,
            init_names: NameOptions::default(),
            augment: Augment::CropFlip,
            distortions: Distortions::default(),
            padding: Padding::Zero,
            shuffle: true,
            log_steps: false,
            log_gradients: false,
            tensorboard: false,
            tensorboard_histograms: false,
            checkpoint_every: None,
        }
    }
}

impl Settings {
    /// The defaults for a data source. The built-in images are few: more and
    /// smaller steps learn them sooner, so that they get 2 epochs with batches
    /// of 32.
    pub fn for_data(data: Source) -> Self {
        let default = Settings::default();
        match data {
            Source::Synthetic { .. } => Settings {
                data,
                epochs: 2,
                batch_size: NonZeroUsize::new(32).expect("not 0"),
                ..default
            },
            _ => Settings { data, ..default },
        }
    }

    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// [`TrainError::Value`] for the first one that is not.
    pub fn check(&self) -> Result<(), TrainError> {
        batch_size(self.batch_size.get())?;
        if self.shards > self.batch_size {
            let problem = format!(
                "{} are more than a batch of {} images has",
                self.shards, self.batch_size
            );
            return Err(TrainError::value("shards", problem));
        }
        if self.epochs == 0 || self.epochs > MOST_EPOCHS {
            let problem = format!("{} is not between 1 and {MOST_EPOCHS}", self.epochs);
            return Err(TrainError::value("epochs", problem));
        }
        if self.seed > LARGEST_SEED {
            let problem = format!("{} is not between 0 and {LARGEST_SEED}", self.seed);
            return Err(TrainError::value("seed", problem));
        }
        for (setting, steps) in [("steps", self.steps), ("checkpoint-every", self.checkpoint_every)] {
            if steps == Some(0) {
                return Err(TrainError::value(setting, "0 is too few: at least one step is needed"));
            }
        }
        let within = |setting, value: f64, most: f64| match (0.0..=most).contains(&value) {
            true => Ok(()),
            false => Err(TrainError::value(
                setting,
                format!("{value} is not between 0 and {most}"),
            )),
        };
        within("lr", self.learning_rate, 1e6)?;
        within("warmup-lr", self.warm_up.rate.unwrap_or(0.0), 1e6)?;
        within("warmup-epochs", self.warm_up_epochs.unwrap_or(0.0), 1e3)?;
        within("weight-decay", self.weight_decay, 1e3)?;
        within("momentum", self.momentum, 1.0)?;
        self.optimizer.check()?;
        if self.clip_norm.is_some_and(|norm| !(norm > 0.0 && norm <= 1e6)) {
            let problem = format!("{} is not above 0, and at most 1000000", self.clip_norm.unwrap_or(0.0));
            return Err(TrainError::value("clip-norm", problem));
        }
        for (setting, part) in [
            ("ema", self.ema.unwrap_or(0.0)),
            ("label-smoothing", self.label_smoothing),
        ] {
            if !(0.0..1.0).contains(&part) {
                return Err(TrainError::value(
                    setting,
                    format!("{part} is not 0 or more, and below 1"),
                ));
            }
        }
        within("augment", self.distortions.color_jitter, 1.0)?;
        if !self.distortions.policy.is_valid() {
            let problem = "randaugment has 1 to 8 operations of a magnitude from 0 to 30";
            return Err(TrainError::value("augment", problem.to_string()));
        }
        within("mixup", self.mixing.mixup, 100.0)?;
        within("cutmix", self.mixing.cutmix, 100.0)?;
        within("cutout", self.mixing.cutout.into(), 4096.0)?;
        match self.depth {
            Depth::Stochastic { p_last, .. } | Depth::BySample { p_last, .. } if !(p_last > 0.0 && p_last <= 1.0) => {
                let problem = format!("{p_last} is not a probability above 0, at most 1");
                Err(TrainError::value("stochastic-depth", problem))
            }
            Depth::Sampled(0) => Err(TrainError::value(
                "sample-blocks",
                "0 is too few: at least one must run",
            )),
            _ => Ok(()),
        }
    }

    /// Checks that a model with the evaluation graph `graph` can be trained with
    /// these settings.
    ///
    /// # Errors
    /// If more blocks are to be sampled than there are, or blocks are to be left
    /// out that are paths of a mean.
    pub fn check_blocks(&self, graph: &Graph) -> Result<(), TrainError> {
        let blocks = graph.blocks.len();
        match self.depth {
            Depth::Constant => Ok(()),
            _ if !graph.means.is_empty() => {
                let setting = match self.depth {
                    Depth::Sampled(_) => "sample-blocks",
                    _ => "stochastic-depth",
                };
                let problem = "the blocks of the model are paths of means; leave out paths by its option drop-path";
                Err(TrainError::value(setting, problem))
            }
            Depth::Sampled(count) if count > blocks => Err(TrainError::value(
                "sample-blocks",
                format!("{count} is too many: the model has {blocks} blocks"),
            )),
            _ => Ok(()),
        }
    }

    /// The images of the largest shard: how many are computed at a time, in training and
    /// in the tests of a run.
    pub fn shard_size(&self) -> NonZeroUsize {
        self.batch_size.div_ceil(self.shards)
    }

    /// How `images` training images are divided into batches.
    pub fn batches(&self, images: usize) -> Batches {
        Batches {
            images: images as u32,
            batch_size: self.batch_size,
            order: match self.shuffle {
                true => ImageOrder::Shuffled,
                false => ImageOrder::Sequential,
            },
            augment: self.augment,
            seed: self.seed,
        }
    }

    /// The warm-up, where an epoch has `per_epoch` steps.
    pub fn warm_up_of(&self, per_epoch: u32) -> WarmUp {
        match self.warm_up_epochs {
            Some(epochs) => WarmUp {
                steps: (epochs * f64::from(per_epoch)).round() as u32,
                ..self.warm_up
            },
            None => self.warm_up,
        }
    }

    /// The settings that the engine needs.
    pub fn train_options(&self) -> TrainOptions {
        TrainOptions {
            decay: self.decay,
            depth: self.depth,
            recompute: self.recompute,
            precision: self.precision,
            rules: StepRules {
                update: UpdateRule {
                    optimizer: self.optimizer.optimizer(),
                    clip: self.clip_norm,
                    average: self.ema,
                },
                mixing: self.mixing,
                distortions: self.distortions,
                shards: self.shards,
            },
            smoothing: self.label_smoothing,
        }
    }

    /// Loads the images.
    ///
    /// # Errors
    /// If files are missing or damaged, a limit is 0, or no image is left to train on.
    pub fn load(&self) -> Result<Splits, TrainError> {
        let splits = self.data.load(self.limit_train, self.limit_test, self.seed)?;
        if self.distortions.operations() > 0 && ![1, 3].contains(&splits.train.channels) {
            let problem = format!(
                "changes whole images with 1 or 3 channels, not {}; use none, flip or crop-flip",
                splits.train.channels
            );
            return Err(TrainError::value("augment", problem));
        }
        match self.validation {
            0 => Ok(splits),
            count => Ok(splits.hold_out(count, self.seed).map_err(DataError::from)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Policy;
    use crate::graph::Mode;
    use crate::models::InputShape;
    use crate::train::{Config, OptimizerKind};

    #[test]
    fn values_out_of_range_are_named_by_setting_and_value() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        let policy = |operations, magnitude| Policy::Rand { operations, magnitude };
        for policy in [policy(9, 3), policy(0, 3), policy(2, 31)] {
            let mut settings = Settings::default();
            settings.distortions.policy = policy;
            assert!(settings.check().unwrap_err().to_string().contains("randaugment"));
        }
        let large = NonZeroUsize::new(65_537).unwrap();
        assert!(
            batch_size(0)
                .unwrap_err()
                .to_string()
                .starts_with("batch size 0 is not")
        );
        let settings = Settings {
            batch_size: large,
            ..Settings::default()
        };
        assert!(settings.check().unwrap_err().to_string().contains("batch size 65537"));
        assert_eq!(
            with(|s| s.shards = NonZeroUsize::new(129).unwrap()),
            "shards 129 are more than a batch of 128 images has"
        );
        assert_eq!(with(|s| s.epochs = 0), "epochs 0 is not between 1 and 1000000");
        assert!(with(|s| s.steps = Some(0)).contains("steps 0"));
        assert!(with(|s| s.checkpoint_every = Some(0)).contains("checkpoint every 0"));
        assert!(with(|s| s.learning_rate = f64::NAN).contains("learning rate NaN"));
        assert!(with(|s| s.learning_rate = -0.1).contains("learning rate -0.1"));
        assert!(with(|s| s.momentum = 1.5).contains("momentum 1.5"));
        assert_eq!(with(|s| s.ema = Some(1.0)), "ema 1 is not 0 or more, and below 1");
        assert!(with(|s| s.label_smoothing = f64::NAN).contains("label smoothing NaN"));
        assert!(with(|s| s.clip_norm = Some(0.0)).contains("clip norm 0"));
        assert!(with(|s| s.mixing.mixup = -0.5).contains("mixup -0.5"));
        assert!(with(|s| s.mixing.cutout = 5000).contains("cutout 5000"));
        assert!(with(|s| s.optimizer.beta2 = 1.0).contains("beta2 1 is"));
        assert!(with(|s| s.optimizer.trust = 0.0).contains("trust 0 is"));
        assert!(with(|s| s.seed = u64::MAX).contains("seed 18446744073709551615"));
        let none = |s: &mut Settings| s.depth = Depth::Sampled(0);
        assert!(with(none).contains("sample blocks 0"));
    }

    #[test]
    fn blocks_that_are_paths_of_a_mean_are_left_out_by_the_model() {
        let problem = |model: &str, depth: Depth| {
            let model: Model = model.parse().unwrap();
            let graph = model.build(&InputShape::default(), Mode::Eval).unwrap().graph;
            let settings = Settings {
                depth,
                ..Settings::default()
            };
            settings.check_blocks(&graph).err().map(|error| error.to_string())
        };
        let rule = crate::train::DepthRule::Linear;
        let stochastic = Depth::Stochastic { p_last: 0.5, rule };
        for depth in [stochastic, Depth::BySample { p_last: 0.5, rule }, Depth::Sampled(1)] {
            let refused = problem("fractalnet-2-4", depth).unwrap();
            assert!(refused.contains("option drop-path"), "{refused}");
            assert_eq!(problem("resnet8", depth), None);
        }
        assert_eq!(problem("fractalnet-2-4", Depth::Constant), None);
        assert!(problem("resnet8", Depth::Sampled(4)).unwrap().contains("4 is too many"));
    }

    #[test]
    fn settings_survive_their_text() {
        let settings = [
            Settings::default(),
            Settings::for_data("cifar100:some folder".parse().unwrap()),
            Settings {
                model: "wrn-16-2:dropout=0.3".parse().unwrap(),
                normalization: Normalization::named("cifar10-legacy", 3),
                schedule: Schedule::MultiStep {
                    epochs: vec![1.5, 60.0],
                    factor: 0.2,
                },
                warm_up: WarmUp {
                    steps: 400,
                    rate: Some(0.01),
                },
                depth: Depth::BySample {
                    p_last: 0.8,
                    rule: crate::train::DepthRule::Uniform,
                },
                padding: Padding::Reflect,
                shuffle: false,
                optimizer: OptimizerSettings {
                    kind: OptimizerKind::AdamW,
                    beta1: 0.8,
                    beta2: 0.99,
                    eps: 1e-6,
                    trust: 0.02,
                },
                warm_up_epochs: Some(1.5),
                clip_norm: Some(2.0),
                shards: NonZeroUsize::new(3).unwrap(),
                ema: Some(0.99),
                validation: 500,
                distortions: Distortions {
                    resized_crop: true,
                    color_jitter: 0.4,
                    policy: Policy::Rand {
                        operations: 3,
                        magnitude: 12,
                    },
                },
                label_smoothing: 0.1,
                mixing: Mixing {
                    mixup: 0.2,
                    cutmix: 1.0,
                    cutout: 16,
                },
                ..Settings::default()
            },
        ];
        for settings in settings {
            let text = toml::to_string(&Config::from(&settings)).unwrap();
            let config: Config = toml::from_str(&text).unwrap();
            assert_eq!(config.settings().unwrap(), settings, "{text}");
        }
    }
}
