//! `residua train`: how is a network trained?

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args as _, Command, FromArgMatches as _};
use serde::Serialize;
use toml::{Table, Value};

use super::args::AdapterArgs;
use super::arguments::expand;
use super::deliver::quoted;
use super::exit::CliError;
use super::json::json_line;
use super::knobs::check_settings;
use super::launcher::check_alone;
use super::log_lines::{LogArgs, LogLines};
use super::network::model_text;
use super::progress::{bar, note};
use super::signals;
use super::trained::RUNS;
use super::tuning::TuningReporter;
use crate::data::{Normalization, Source};
use crate::graph::{Graph, Precision, Recompute};
use crate::models::ModelSpec;
use crate::models::published::Catalogue;
use crate::schedule::Footprint;
use crate::shown::shown_path;
use crate::studies::Comparison;
use crate::train::{
    Config, Decay, Depth, DepthPer, DepthRule, EpochRow, Event, OptimizerKind, ReadWeights, Record, Run, RunDirectory,
    Settings, TestResult, TrainError, Trainer, absolute_data, input_of, only_model, read_config,
};
use crate::tuning::{KernelSource, read_tuning_file};
use crate::weights::{self, NameOptions, Rename, WeightsError};

/// The settings of a training run. What is not given is taken from --config, else
/// from the default.
///
/// Serialized, it is the table of the settings that were given: the flags' names
/// and values, which are the keys and values of `run.toml` except where
/// [`Self::over`] says otherwise. A new setting is a field here, one of `Config`
/// and one of `Settings`; the compiler and the tests report one that is missing.
#[derive(Debug, clap::Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SettingArgs {
    /// Model, followed by its options, as in resnet20:shortcut=B; `residua models`
    /// lists the names; or a file that describes a network, NAME.toml [default:
    /// wrn-16-1]
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// Images: synthetic, or a folder or file, whose kind is recognised by what lies
    /// in it (CIFAR, SVHN, MNIST, a folder for each class, …; see `residua data
    /// --help`), or KIND:PATH, as cifar10:DIR [default: synthetic]
    #[arg(long, value_name = "SPEC")]
    data: Option<String>,
    /// Scale every image: its shorter side to N pixels, or to HxW, as in 32x32
    /// [default: as it is]
    #[arg(long, value_name = "N|HxW")]
    resize: Option<String>,
    /// Cut N×N pixels out of the middle of every image, after --resize [default: all
    /// of it]
    #[arg(long, value_name = "N")]
    crop: Option<usize>,
    /// Add N black pixels on each side of every image, after --crop: 2 makes 32×32
    /// of MNIST's 28×28 [default: 0]
    #[arg(long, value_name = "N")]
    pad: Option<usize>,
    /// Number of channels of every image: 3 repeats a single channel, 1 makes images
    /// grey [default: the data set's]
    #[arg(long, value_name = "1|3")]
    channels: Option<usize>,
    /// Mean of each channel, of pixel values in [0, 1], as in 0.485,0.456,0.406;
    /// or a named set: cifar10, cifar10-legacy, cifar100, svhn, mnist,
    /// fashion-mnist, stl10, tiny-imagenet, imagenet, none
    /// [default: the data set's]
    #[arg(long, value_name = "LIST|NAME", allow_hyphen_values = true)]
    mean: Option<String>,
    /// Standard deviation of each channel, or a named set [default: as for --mean]
    #[arg(long, value_name = "LIST|NAME", allow_hyphen_values = true)]
    std: Option<String>,
    /// Passes over the training images [default: 10; 2 for synthetic]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Stop after N steps instead of --epochs [default: after --epochs]
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
    /// Images in a batch, on however many shards [default: 128; 32 for synthetic]
    #[arg(long, value_name = "N")]
    batch_size: Option<u32>,
    /// Cut every batch into N parts, which are computed one after the other in the memory
    /// of one, and add their gradients: a batch may be larger than the memory holds. Batch
    /// norm uses the statistics of each part; all else is of the whole batch [default: 1]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// How activations and their gradients are stored: f32, or f16 with loss
    /// scaling, in half the memory; arithmetic and parameters have 32 bits in
    /// both [default: f32]
    #[arg(long, value_name = "WHAT", value_enum)]
    precision: Option<Precision>,
    /// Learning rate [default: 0.1 for sgd, 0.001 for adamw, 1 for lars]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    lr: Option<f64>,
    /// Learning rate over the run: constant, cosine, multi-step (times 0.1 at a
    /// half and at three quarters) or multi-step:EPOCHS@FACTOR, as in
    /// multi-step:60,120,160@0.2; polynomial:POWER, to 0, a line where POWER is left out;
    /// one-cycle:PART, a rise in this part of the run (0.3), then a fall [default: cosine]
    #[arg(long, value_name = "SHAPE")]
    schedule: Option<String>,
    /// Steps of warm-up, over which the learning rate rises linearly [default: 0]
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u32>,
    /// Length of the warm-up in epochs instead of steps, as in 0.5 [default: --warmup]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    warmup_epochs: Option<f64>,
    /// Constant learning rate during the warm-up [default: it rises linearly]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    warmup_lr: Option<f64>,
    /// Momentum [default: 0.9]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    momentum: Option<f64>,
    /// Nesterov momentum
    #[arg(long)]
    #[serde(skip_serializing_if = "not")]
    nesterov: bool,
    /// Weight decay [default: 0.0005 for sgd and lars, 0.01 for adamw]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    weight_decay: Option<f64>,
    /// Which parameters decay: all, or the weights of convolutions and linear
    /// layers only, as usual with adamw and lars [default: all]
    #[arg(long, value_name = "WHAT", value_enum)]
    decay: Option<Decay>,
    /// Optimiser: sgd with momentum; adamw (Loshchilov and Hutter 2019); lars, sgd whose
    /// rate for the weights of each convolution and linear layer follows from their norm
    /// (You et al. 2017) [default: sgd]
    #[arg(long, value_name = "NAME", value_enum)]
    optimizer: Option<OptimizerKind>,
    /// Part of adamw's mean gradient that stays in a step [default: 0.9]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    beta1: Option<f64>,
    /// Part of adamw's mean square that stays in a step [default: 0.999]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    beta2: Option<f64>,
    /// Added by adamw to the root of the mean square, by lars to the norm of a gradient
    /// [default: 1e-8]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    eps: Option<f64>,
    /// Trust coefficient of lars [default: 0.001]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    trust: Option<f64>,
    /// Largest norm of all gradients together, without weight decay; longer gradients are
    /// scaled to it [default: any]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    clip_norm: Option<f64>,
    /// Average weights and running statistics over the steps, and keep the part DECAY of
    /// the average in each; the averages are tested and saved [default: no average]
    #[arg(long, value_name = "DECAY", allow_hyphen_values = true)]
    ema: Option<f64>,
    /// Spread this part of every training target over all classes; the test loss stays
    /// that of the labels [default: 0]
    #[arg(long, value_name = "E", allow_hyphen_values = true)]
    label_smoothing: Option<f64>,
    /// Mix training images and their targets in pairs (mixup, Zhang et al. 2018) by a
    /// part of the distribution Beta(ALPHA, ALPHA); with --cutmix, one of the two is drawn
    /// for each batch [default: 0, not mixed]
    #[arg(long, value_name = "ALPHA", allow_hyphen_values = true)]
    mixup: Option<f64>,
    /// Replace a rectangle of every training image by that of another (CutMix, Yun et al.
    /// 2019), whose area is drawn by Beta(ALPHA, ALPHA) [default: 0, not mixed]
    #[arg(long, value_name = "ALPHA", allow_hyphen_values = true)]
    cutmix: Option<f64>,
    /// Cut a square with sides of this many pixels out of every training image (DeVries
    /// and Taylor 2017) [default: 0, nothing]
    #[arg(long, value_name = "PIXELS")]
    cutout: Option<u32>,
    /// Dropout probability in the blocks of a wide ResNet [default: the model's]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    dropout: Option<f64>,
    /// Stochastic depth: probability that the last block runs in a mini-batch;
    /// at test, branches are scaled by their probabilities [default: every block
    /// runs]
    #[arg(long, value_name = "P_L", allow_hyphen_values = true)]
    stochastic_depth: Option<f64>,
    /// Survival probability of the other blocks: falling linearly from 1 to P_L,
    /// or P_L for all [default: linear]
    #[arg(long, value_name = "RULE", value_enum)]
    depth_rule: Option<DepthRule>,
    /// What one draw of stochastic depth applies to: a mini-batch, as in the paper
    /// (blocks that do not run cost nothing), or an image, as in timm [default: batch]
    #[arg(long, value_name = "WHAT", value_enum)]
    depth_per: Option<DepthPer>,
    /// Train exactly N blocks, chosen at random, in each mini-batch [default: all]
    #[arg(long, value_name = "N", conflicts_with = "stochastic_depth")]
    sample_blocks: Option<usize>,
    /// What the backward pass recomputes instead of reading it from memory: less
    /// memory, more time, the same bits [default: none]
    #[arg(long, value_name = "WHAT", value_enum)]
    recompute: Option<Recompute>,
    /// Seed of initial weights, order, augmentation, dropout and synthetic images
    /// [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Use only the first N training images [default: all]
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Use only the first N test images [default: all]
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
    /// Hold N training images out, drawn by the seed: after each epoch they are evaluated
    /// instead of the test images, the best weights are those with the smallest error on
    /// them, and the test images are evaluated once at the end, with these weights
    /// [default: 0]
    #[arg(long, value_name = "N")]
    validation: Option<usize>,
    /// Weights file to start from; model, normalisation and stochastic depth are
    /// those that the file says, unless they are given; with another number of
    /// classes, the last layer starts anew [default: drawn from the seed]
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Of the weights of --init: key of the table of tensors, such as state_dict, or
    /// the first part of their names [default: the most usual one]
    #[arg(long, value_name = "KEY")]
    table: Option<String>,
    /// Of the weights of --init: read the tensors or layers named FROM as TO; may be
    /// repeated. A FROM that ends with a dot is a beginning of names [default: none]
    #[arg(long, value_name = "FROM=TO", action = clap::ArgAction::Append)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rename: Vec<String>,
    /// Random changes to training images: none, flip (left-right), crop-flip (padded by 4
    /// pixels); after it, joined by +: resized-crop (a rectangle of 8 to 100 % of the area,
    /// scaled to the image's size), color-jitter:X (brightness, contrast and saturation
    /// times 1 − X to 1 + X), and one of autoaugment (that of CIFAR-10), randaugment:N,M (N
    /// operations of magnitude M of 30), trivialaugment. Without the first word, crop-flip,
    /// and flip with resized-crop [default: crop-flip]
    #[arg(long, value_name = "KIND")]
    augment: Option<String>,
    /// How crops are padded: zero (black) or reflect [default: zero]
    #[arg(long, value_name = "KIND")]
    padding: Option<String>,
    /// Take the images in the order of the data set [default: a random order in
    /// each epoch]
    #[arg(long)]
    #[serde(skip_serializing_if = "not")]
    no_shuffle: bool,
    /// Write steps.csv: step, loss, error, learning rate
    #[arg(long)]
    #[serde(skip_serializing_if = "not")]
    log_steps: bool,
    /// Write gradients.csv: step, mean absolute gradient of the first convolution,
    /// at 16 steps of each epoch
    #[arg(long)]
    #[serde(skip_serializing_if = "not")]
    log_gradients: bool,
    /// Write event files for TensorBoard: loss, errors, learning rate, images per
    /// second for each epoch; with --log-steps also for each step
    #[arg(long)]
    #[serde(skip_serializing_if = "not")]
    tensorboard: bool,
    /// Also write histograms of all weights after each epoch to the event files
    #[arg(long)]
    #[serde(skip_serializing_if = "not")]
    tensorboard_histograms: bool,
    /// Steps between checkpoints, in addition to the one after each epoch
    /// [default: none in addition]
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u32>,
    /// Settings from a file such as a run's run.toml [default: the defaults here]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// The settings of a paper, by the name of its networks; other flags stand over them,
    /// and `residua models` says where each is from. Its data set is to be given by --data
    /// [default: the defaults here]
    #[arg(long, value_name = "NAME", value_parser = recipe_names(), conflicts_with = "config")]
    #[serde(skip)]
    recipe: Option<String>,
}

/// The names that `--recipe` takes.
fn recipe_names() -> PossibleValuesParser {
    let recipes = Catalogue::built_in().named_recipes();
    PossibleValuesParser::new(recipes.map(|(name, _)| name))
}

/// `base` with the settings of the recipe `name`.
fn with_recipe(name: &str, base: Config) -> Result<Config, CliError> {
    let catalogue = Catalogue::built_in();
    let Some((_, recipe)) = catalogue.named_recipes().find(|(known, _)| *known == name) else {
        return Err(CliError::argument(format!("--recipe {name} is not known")));
    };
    let words = recipe.flags.split_whitespace();
    let command = SettingArgs::augment_args(Command::new("recipe").no_binary_name(true));
    let matches = command.try_get_matches_from(words).map_err(CliError::argument)?;
    let settings = SettingArgs::from_arg_matches(&matches).map_err(CliError::argument)?;
    let base = Config {
        model: recipe.model.clone().unwrap_or(base.model),
        ..base
    };
    let at = recipe.at.as_deref().map_or_else(String::new, |at| format!(", {at}"));
    note(format_args!(
        "recipe of {}{at}: {}",
        catalogue.cite(&recipe.source),
        recipe.flags
    ));
    for difference in &recipe.missing {
        note(format_args!("unlike it: {difference}"));
    }
    settings.over(base)
}

/// A training: its settings, its directory and its device.
#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    #[command(flatten)]
    settings: SettingArgs,
    /// Directory of the run [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in DIR with its own settings, to the same bits as if it
    /// had never stopped; with --epochs or --steps, as a run of that length: by
    /// the schedules constant and multi-step:EPOCHS to the weights that it would
    /// have had, by others with the learning rates that such a run has from here on;
    /// with --data, the same images at another place [default: a new run]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "recipe"])]
    resume: Option<PathBuf>,
    /// Continue the run in --out if there is one, with the same settings and the kernels
    /// that it began with; else begin it there. SIGTERM ends the command with exit code 75: a scheduler may start it again
    #[arg(long = "continue", requires = "out", conflicts_with = "resume")]
    go_on: bool,
    /// Use the kernels of another run (its tuning.toml), or of a file from
    /// `residua tune --export` [default: those of the tuning cache]
    #[arg(long, value_name = "FILE", conflicts_with = "no_autotune")]
    tuning: Option<PathBuf>,
    /// Where the device is lost (a driver stops work that takes long, or is reset), go on
    /// from the last checkpoint on a fresh device, to the same bits; at most N times
    /// without a checkpoint in between, 3 if N is left out [default: the run ends]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3")]
    auto_resume: Option<u32>,
    /// Print the settings, the memory, the number of steps and the time that they will
    /// take, from a few steps with the default kernels, and write nothing
    #[arg(long, conflicts_with_all = ["out", "resume", "auto_resume"])]
    dry_run: bool,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Whether a switch was not given.
fn not(switch: &bool) -> bool {
    !switch
}

impl SettingArgs {
    /// The settings that were asked for.
    pub fn config(&self) -> Result<Config, CliError> {
        Ok(self.config_and_init()?.0)
    }

    /// The settings, and the weights of `init` where its file was read for them.
    fn config_and_init(&self) -> Result<(Config, Option<ReadWeights>), CliError> {
        let mut base = match &self.config {
            Some(file) => read_config(file)?,
            None => Config::for_data(self.data.as_deref().unwrap_or("synthetic")),
        };
        if let Some(name) = &self.recipe {
            base = with_recipe(name, base)?;
        }
        let read = match (&self.init, &self.config) {
            (Some(init), None) => Some(self.start_from(&expanded(init)?, &mut base)?),
            _ => None,
        };
        let mut config = self.over(base)?;
        config.data = settled(&config.data)?;
        if let Some(init) = &mut config.init {
            *init = expanded(init)?;
        }
        Ok((config, read))
    }

    /// Lets `config` have what the record of the weights file `init` says and
    /// no flag does: model, normalisation, stochastic depth. Where neither says the
    /// model, it is the one that has the file's tensors. Returns what was read.
    fn start_from(&self, init: &Path, config: &mut Config) -> Result<ReadWeights, CliError> {
        let contents = weights::contents(init)?;
        let record = Record::read(&contents.facts, init)?;
        let mut taken = Vec::new();
        let read = match (&record.model, &self.model) {
            (None, None) => {
                let renames: Result<Vec<Rename>, WeightsError> = self.rename.iter().map(|text| text.parse()).collect();
                let names = NameOptions {
                    table: self.table.clone(),
                    renames: renames.map_err(CliError::argument)?,
                };
                let (model, weights, line) = only_model(contents, &names, init)?;
                note(format_args!("{}: {line}", shown_path(init)));
                config.model = model.text();
                ReadWeights::Canonical(weights)
            }
            _ => ReadWeights::Contents(contents),
        };
        let model = record.model.as_deref().and_then(|name| name.parse::<ModelSpec>().ok());
        if let (Some(model), None) = (model, &self.model) {
            config.model = model.text();
            taken.push(model.to_string());
        }
        // One of the two may be given alone: it then decides about the other.
        if let (Some(normalization), None, None) = (record.normalization(), &self.mean, &self.std) {
            taken.push(normalization.to_string());
            let text = normalization.to_text();
            (config.mean, config.std) = (Some(text[0].clone()), Some(text[1].clone()));
        }
        let is_open = self.stochastic_depth.is_none() && self.sample_blocks.is_none();
        if let (true, Some(p_last)) = (is_open, record.stochastic_depth) {
            config.stochastic_depth = Some(p_last);
            config.depth_rule = record.depth_rule.unwrap_or_default();
            config.depth_per = record.depth_per.unwrap_or_default();
            taken.push(format!(
                "stochastic depth {p_last} ({}, by {})",
                config.depth_rule, config.depth_per
            ));
        }
        if !taken.is_empty() {
            note(format_args!("as {} says: {}", shown_path(init), taken.join("; ")));
        }
        Ok(read)
    }

    /// The settings that were given, by their flags.
    pub fn given(&self) -> Result<Table, CliError> {
        Table::try_from(self).map_err(CliError::argument)
    }

    /// `base` with the settings that were given.
    fn over(&self, base: Config) -> Result<Config, CliError> {
        let mut given = self.given()?;
        let mut table = Table::try_from(&base).map_err(CliError::argument)?;
        // A given number of epochs replaces the number of steps of a configuration file.
        if given.contains_key("epochs") {
            table.remove("steps");
        }
        if given.remove("no-shuffle").is_some() {
            given.insert("shuffle".into(), false.into());
        }
        if let Some(init) = &self.init {
            given.insert(
                "init".into(),
                Value::try_from(absolute(init)).map_err(CliError::argument)?,
            );
        }
        if let Some(data) = self.data.as_deref().and_then(|data| data.parse::<Source>().ok()) {
            given.insert("data".into(), data.absolute().to_string().into());
        }
        let dropout = given.remove("dropout");
        // Another optimiser has other usual rates.
        if let Some(kind) = self.optimizer.filter(|kind| *kind != base.optimizer) {
            table.insert("lr".into(), kind.learning_rate().into());
            table.insert("weight-decay".into(), kind.weight_decay().into());
        }
        table.extend(given);
        let mut config: Config = table
            .try_into()
            .map_err(|error: toml::de::Error| CliError::argument(error.message()))?;
        config.model = model_text(&config.model)?;
        if let Some(p) = dropout {
            let model = config.model.parse::<ModelSpec>()?;
            config.model = model.with("dropout", &p.to_string())?.text();
        }
        Ok(config)
    }
}

/// The data set `text` with its path from the root, so that a run names the same
/// files in every working directory.
fn settled(text: &str) -> Result<String, CliError> {
    Ok(absolute_data(&expand(text)?))
}

/// `path` with the home directory instead of a `~` at its beginning.
fn expanded(path: &Path) -> Result<PathBuf, CliError> {
    match path.starts_with("~") {
        true => Ok(expand(&path.to_string_lossy())?.into()),
        false => Ok(path.to_path_buf()),
    }
}

/// `path` from the root, so that it is valid in every working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Whether the run in `directory` has a checkpoint to go on from.
///
/// # Errors
/// Where it has other settings than `config`.
fn has_begun(directory: &RunDirectory, config: &Config) -> Result<bool, CliError> {
    if directory.has_no_checkpoint() {
        return Ok(false);
    }
    match directory.read_config()?.difference(config) {
        None => Ok(true),
        Some(other) => Err(CliError::failure(format_args!(
            "{}: the run there has other settings: {other}; choose another directory, or leave --continue out and use \
             --resume",
            shown_path(directory.path())
        ))),
    }
}

/// The settings that may change when a run is resumed.
const LENGTH: [&str; 2] = ["epochs", "steps"];

/// What a run with these settings would take, in text or JSON.
fn dry_run(args: &TrainArgs) -> Result<String, CliError> {
    let (config, _) = args.settings.config_and_init()?;
    check_settings(&args.settings.given()?, std::iter::once(&config))?;
    let mut trainer = Trainer::open_config(config, &args.adapter.choice())?;
    trainer.heed(signals::stop());
    if let Some(path) = &args.tuning {
        trainer.choose_kernels(&KernelSource::Replay(read_tuning_file(path)?), &mut |_| {})?;
    }
    let seconds = match trainer.time_steps() {
        Ok(seconds) => seconds,
        Err(error) => return Err(trainer.explained(error).into()),
    };
    let (per_epoch, steps) = trainer.steps();
    let planned = trainer.footprint();
    let config = trainer.config();
    let all = seconds * f64::from(steps);
    let parameters = trainer.engine.graph().parameter_count();
    if args.json {
        // Without the settings that are not set.
        let settings = Table::try_from(config).map_err(CliError::argument)?;
        let mut plan = serde_json::json!({
            "model": config.model_name(),
            "parameters": parameters,
            "adapter": trainer.engine.name(),
            "settings": settings,
            "steps": steps,
            "steps_per_epoch": per_epoch,
            "seconds_per_step": seconds,
            "seconds": all,
        });
        if let Some(validation) = &trainer.splits.validation {
            plan["validation_images"] = validation.len().into();
        }
        if let Some(planned) = planned {
            plan["memory"] = planned.total().into();
        }
        return json_line(&plan);
    }
    let settings = toml::to_string(config).map_err(CliError::argument)?;
    let memory = planned.map_or_else(String::new, |planned| format!("{}\n", memory_in_words(&planned)));
    let held = trainer.splits.validation.as_ref();
    let held = held.map_or_else(String::new, |held| format!(", {} held out for validation", held.len()));
    Ok(format!(
        "{settings}\n{} ({parameters} parameters) on {}\n{memory}{steps} steps, {per_epoch} in an epoch of {} images{held}\n\
         time: {} a step, {} in all, without tests\n",
        config.model_name(),
        trainer.engine.name(),
        trainer.splits.train.len(),
        duration(seconds),
        duration(all)
    ))
}

/// A time with the largest unit that it has one of.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", 1e3 * s),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} hours", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// Trains a new run, or continues one; returns what goes to standard output.
pub fn train(args: &TrainArgs) -> Result<String, CliError> {
    if args.dry_run {
        return dry_run(args);
    }
    check_alone()?;
    let mut resume = args.resume.is_some();
    let (config, directory, init) = match &args.resume {
        Some(path) => {
            let given = args.settings.given()?;
            let out = args.out.is_some().then_some("out");
            let tuning = args.tuning.is_some().then_some("tuning");
            let settings = given.keys().map(String::as_str);
            // Data may have moved; whether it is the same is checked.
            let mut fixed = settings.filter(|flag| !LENGTH.contains(flag) && *flag != "data");
            if let Some(flag) = fixed.next().or(out).or(tuning) {
                return Err(CliError::argument(format!(
                    "--{flag} cannot be changed with --resume; start a new run"
                )));
            }
            let run = RunDirectory::resume(path)?;
            run.read_model()?;
            let mut config = args.settings.over(run.read_config()?)?;
            if args.settings.data.is_some() {
                config.data = settled(&config.data)?;
            }
            check_settings(&given, std::iter::once(&config))?;
            config.settings()?;
            if args.adapter.no_autotune && !run.read_tuning()?.is_empty() {
                return Err(CliError::argument(
                    "--no-autotune has no effect with --resume: the run keeps the kernels of its tuning.toml",
                ));
            }
            (config, run, None)
        }
        None => {
            let (config, init) = args.settings.config_and_init()?;
            check_settings(&args.settings.given()?, std::iter::once(&config))?;
            config.settings()?;
            // The directory is this run's before anything that takes time.
            let directory = match &args.out {
                Some(out) if args.go_on => {
                    signals::expect_requeue();
                    let directory = RunDirectory::begin_or_resume(out)?;
                    resume = has_begun(&directory, &config)?;
                    directory
                }
                Some(out) => RunDirectory::create(out)?,
                None => RunDirectory::create_under(Path::new(RUNS), &config.model_name(), &config.data)?,
            };
            (config, directory, init)
        }
    };
    if let Some(line) = directory.note() {
        note(format_args!("{line}"));
    }
    let mut trainer = Trainer::open_config(config, &args.adapter.choice())?;
    trainer.heed(signals::stop());
    if let Some(init) = init {
        trainer.start_from(init);
    }
    let (config, settings, made_by) = (trainer.config().clone(), trainer.settings.clone(), trainer.made_by());
    if trainer.splits.measured && config.mean.is_none() && config.std.is_none() {
        note_measured(&trainer.splits.normalization, "training");
    }
    let held = trainer.splits.validation.as_ref();
    note(format_args!(
        "{} ({} parameters) on {} training{} and {} test images of {}, by {}",
        settings.model,
        trainer.engine.graph().parameter_count(),
        trainer.splits.train.len(),
        held.map_or_else(String::new, |held| format!(", {} validation", held.len())),
        trainer.splits.test.len(),
        config.data,
        made_by.adapter
    ));
    let spec = settings.model.spec();
    if let Some(line) = spec.and_then(|spec| spec.note(&input_of(&trainer.splits.train))) {
        note(format_args!("{line}"));
    }
    if let Some(line) = shard_note(&settings, trainer.engine.graph()) {
        note(format_args!("{line}"));
    }
    if let Depth::Stochastic { p_last, rule } | Depth::BySample { p_last, rule } = settings.depth {
        let blocks = trainer.engine.graph().blocks.len();
        note(format_args!(
            "stochastic depth, {rule} to {p_last}: {:.2} of {blocks} blocks run on average",
            settings.depth.expected(blocks)
        ));
    }
    if !resume {
        let kernels = match &args.tuning {
            Some(path) => KernelSource::Replay(read_tuning_file(path)?),
            None => args.adapter.kernels(),
        };
        let mut reporter = TuningReporter::new(&config.model_name());
        reporter.reports_short = true;
        let chosen = trainer.choose_kernels(&kernels, &mut |event| reporter.report(event));
        let unbegun = || "stopped before the first step".to_string();
        chosen.map_err(|error| CliError::from(error).or_stopped(unbegun))?;
    }
    let planned = trainer.footprint();
    if let Some(planned) = planned {
        note(format_args!("{}", memory_in_words(&planned)));
    }
    let mut attempts = Attempts::new(args.auto_resume);
    let Ended { epochs, test: tested } = loop {
        let mut begun_at = 0;
        let trained = train_once(args, &mut trainer, &directory, resume, &mut begun_at);
        let error = match trained {
            Ok(ended) => break ended,
            Err(TrainingEnd { error, done, of }) => match error.is_lost() && attempts.allow(begun_at) {
                true => error,
                false => {
                    let resume = format!("residua train --resume {}", quoted(directory.path().as_os_str()));
                    let stopped = || format!("stopped after step {done} of {of}; `{resume}` continues");
                    return Err(CliError::from(trainer.explained(error)).or_stopped(stopped));
                }
            },
        };
        note(format_args!(
            "{error}; attempt {} of {} on a fresh device",
            attempts.taken, attempts.most
        ));
        trainer = trainer.reopen(&args.adapter.choice())?;
        resume = true;
    };
    let last = epochs.last().copied();
    let best = epochs.iter().map(|row| row.test_error).fold(f64::INFINITY, f64::min);
    let Some(last) = last else {
        return Ok(String::new());
    };
    let reported = trainer
        .engine
        .device_session()
        .and_then(|session| session.gpu().reported());
    let test = &trainer.splits.test;
    let wrong = match &tested {
        Some(tested) => tested.wrong,
        None => (last.test_error * test.len() as f64).round() as usize,
    };
    let preparation = settings.data.preparation();
    let beside = settings
        .model
        .spec()
        .and_then(|spec| Comparison::new(spec, settings.depth, test, &preparation, wrong));
    if args.json {
        let mut results = serde_json::json!({
            "run": directory.path().to_string_lossy(),
            "model": config.model_name(),
            "epochs": last.epoch,
            "train_loss": last.train_loss,
            "train_error": last.train_error,
            "test_loss": last.test_loss,
            "test_error": last.test_error,
            "best_test_error": best,
            "images_per_second": last.images_per_second,
            "adapter": made_by.adapter,
            "memory": planned.map(|planned| serde_json::json!({
                "planned": planned.total(),
                "reported": reported.map(|reported| reported.used),
                "reserved": reported.map(|reported| reported.reserved),
            })),
        });
        if let Some(tested) = &tested {
            // Evaluated after each epoch, and the test of the best weights.
            results["validation_loss"] = last.test_loss.into();
            results["validation_error"] = last.test_error.into();
            results["best_validation_error"] = tested.validation_error.into();
            results["best_epoch"] = tested.epoch.into();
            results["test_loss"] = tested.loss.into();
            results["test_error"] = tested.error.into();
            // No other epoch was tested.
            results.as_object_mut().map(|results| results.remove("best_test_error"));
        }
        if let Some(beside) = beside {
            results["published"] = beside.json();
        }
        return json_line(&results);
    }
    let beside = beside.map_or_else(String::new, |beside| format!("{}\n", beside.line()));
    if let Some(tested) = tested {
        return Ok(format!(
            "{}: test error {:.2} %, by the weights of epoch {}, whose validation error of {:.2} % is the smallest\n{beside}",
            shown_path(directory.path()),
            100.0 * tested.error,
            tested.epoch,
            100.0 * tested.validation_error
        ));
    }
    Ok(format!(
        "{}: test error {:.2} % (best epoch {:.2} %)\n{beside}",
        shown_path(directory.path()),
        100.0 * last.test_error,
        100.0 * best
    ))
}

/// The fewest images whose batch norm is not worth a note.
const FEW_IMAGES: usize = 8;

/// That batch norm has the statistics of few images, because shards are small.
fn shard_note(settings: &Settings, graph: &Graph) -> Option<String> {
    let (batch, shards) = (settings.batch_size.get(), settings.shards.get());
    let (fewest, most) = (batch / shards, settings.shard_size().get());
    let is_few = shards > 1 && fewest < FEW_IMAGES && !graph.states.is_empty();
    let images = match fewest == most {
        true => fewest.to_string(),
        false => format!("{fewest} to {most}"),
    };
    is_few.then(|| format!("batch norm has the statistics of {images} images, those of a shard"))
}

/// How often a lost device may be replaced.
struct Attempts {
    /// The most times without a checkpoint in between.
    most: u32,
    /// Times since the last checkpoint.
    taken: u32,
    /// The step at which the last attempt began.
    begun_at: Option<u32>,
}

impl Attempts {
    fn new(most: Option<u32>) -> Self {
        Attempts {
            most: most.unwrap_or(0),
            taken: 0,
            begun_at: None,
        }
    }

    /// Whether there is another attempt after one that began at step `begun_at`.
    fn allow(&mut self, begun_at: u32) -> bool {
        if self.begun_at.is_none_or(|before| begun_at > before) {
            self.taken = 0;
        }
        self.begun_at = Some(begun_at);
        self.taken += 1;
        self.taken <= self.most
    }
}

/// Why a training ended, and where.
struct TrainingEnd {
    error: TrainError,
    done: u32,
    of: u32,
}

impl<E: Into<TrainError>> From<E> for TrainingEnd {
    fn from(error: E) -> Self {
        TrainingEnd {
            error: error.into(),
            done: 0,
            of: 0,
        }
    }
}

/// What a training that came to its end gives.
struct Ended {
    epochs: Vec<EpochRow>,
    /// The test of the best weights, where there are validation images.
    test: Option<TestResult>,
}

/// Starts or resumes a run and trains to its end. `begun_at` becomes the step at which
/// it begins.
fn train_once(
    args: &TrainArgs,
    trainer: &mut Trainer,
    directory: &RunDirectory,
    resume: bool,
    begun_at: &mut u32,
) -> Result<Ended, TrainingEnd> {
    let mut run = match resume {
        true => trainer.resume(directory)?,
        false => trainer.start(directory)?,
    };
    for line in run.notes() {
        note(line);
    }
    let (done, of) = run.progress();
    *begun_at = done;
    match done == of {
        true => note(format_args!(
            "already complete: {done} steps; --epochs N or --steps N goes on"
        )),
        false => run.rate_beyond_end().iter().for_each(note),
    }
    if let Err(error) = follow(&mut run, args.log.lines()) {
        let (done, of) = run.progress();
        return Err(TrainingEnd { error, done, of });
    }
    if let Some(loss) = run.loss_scale()? {
        note(format_args!(
            "loss scale {} at the end; {} of {} steps overflowed and were skipped",
            loss.scale, loss.skipped, of
        ));
    }
    Ok(Ended {
        epochs: run.epochs().to_vec(),
        test: run.test().cloned(),
    })
}

/// Says the mean and standard deviation that were measured on images.
pub fn note_measured(normalization: &Normalization, images: &str) {
    let list = |values: &[f32]| {
        let words: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
        words.join(",")
    };
    note(format_args!(
        "no mean and standard deviation are published for these images; measured on the {images} images: mean {}, std {}",
        list(normalization.mean()),
        list(normalization.std())
    ));
}

/// The device memory of a run, in a line.
fn memory_in_words(planned: &Footprint) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "memory: {:.1} MiB at the peak ({:.1} MiB of activations and their gradients, {:.1} MiB of parameters, gradients \
         and momenta, {:.1} MiB of images)",
        mib(planned.total()),
        mib(planned.activations),
        mib(planned.weights),
        mib(planned.images)
    )
}

/// Trains with a progress bar and a line for every epoch.
fn follow(run: &mut Run, mut lines: LogLines) -> Result<(), TrainError> {
    let (done, of) = run.progress();
    let bar = bar(u64::from(of), "steps");
    bar.set_position(u64::from(done));
    bar.reset_eta();
    let images = run.images_per_step();
    let evaluated = run.evaluated();
    let mut compiling = true;
    let trained = run.train(|event| {
        match event {
        Event::Step { done, of, loss, error } => {
            bar.set_position(u64::from(*done));
            // Speed and time left count from the end of compilation.
            if std::mem::take(&mut compiling) {
                bar.reset_eta();
            }
            let losses = loss.zip(*error).map(|(loss, error)| format!("loss {loss:.3}, error {:.1} %", 100.0 * error));
            let speed = Some(bar.per_sec() * images).filter(|speed| *speed >= 1.0);
            let speed = speed.map(|speed| format!("{speed:.0} images/s"));
            let state = [losses, speed].into_iter().flatten().collect::<Vec<_>>().join(" · ");
            lines.write(|| format!("step {done} of {of}: {state}"));
            bar.set_message(state);
        }
        Event::Compiling => {
            compiling = true;
            bar.set_message("compiling kernels");
        }
        Event::Epoch(row) => bar.suspend(|| {
            note(format_args!(
                "epoch {:3}: loss {:.4}, error {:6.2} % · {evaluated} loss {:.4}, error {:6.2} % · lr {:.4} · {:.0} images/s",
                row.epoch,
                row.train_loss,
                100.0 * row.train_error,
                row.test_loss,
                100.0 * row.test_error,
                row.lr,
                row.images_per_second
            ));
        }),
    }
    });
    bar.finish_and_clear();
    trained
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Command {
        SettingArgs::augment_args(Command::new("settings"))
    }

    fn parsed(arguments: &[&str]) -> SettingArgs {
        let arguments = ["settings"].iter().chain(arguments);
        let matches = settings().try_get_matches_from(arguments).unwrap();
        SettingArgs::from_arg_matches(&matches).unwrap()
    }

    /// A value of the setting `flag` that is not its default.
    fn value(flag: &str) -> &'static str {
        match flag {
            "model" => "wrn-10-2",
            "data" => "cifar10:folder",
            "mean" | "std" => "imagenet",
            "precision" => "f16",
            "schedule" => "constant",
            "decay" => "weights",
            "depth-rule" => "uniform",
            "depth-per" => "sample",
            "recompute" => "blocks",
            "init" => "weights.safetensors",
            "rename" => "encoder.=",
            "augment" => "flip",
            "padding" => "reflect",
            "optimizer" => "adamw",
            "lr" | "warmup-lr" | "momentum" | "weight-decay" | "dropout" | "stochastic-depth" => "0.25",
            _ => "7",
        }
    }

    #[test]
    fn every_flag_changes_the_settings_and_is_refused_with_resume() {
        let command = settings();
        let mut keys: Vec<String> = Vec::new();
        for argument in command.get_arguments() {
            let flag = argument.get_long().expect("settings have long flags");
            if ["config", "recipe"].contains(&flag) {
                continue;
            }
            let long = format!("--{flag}");
            let words = match argument.get_action().takes_values() {
                true => vec![long.as_str(), value(flag)],
                false => vec![long.as_str()],
            };
            let given = parsed(&words);
            assert_ne!(
                given.over(Config::default()).unwrap(),
                Config::default(),
                "{flag} is ignored"
            );
            assert_eq!(given.given().unwrap().keys().collect::<Vec<_>>(), [flag]);
            keys.push(flag.to_string());
        }
        assert!(parsed(&[]).given().unwrap().is_empty());

        assert_eq!(parsed(&[]).over(Config::default()).unwrap(), Config::default());

        // Every key of run.toml has a flag. The error for an unknown key lists all
        // keys, also those of settings that are `None` and therefore not written.
        let unknown = toml::from_str::<Config>("unknown = 1").unwrap_err().to_string();
        let (_, known) = unknown.split_once("expected one of ").expect("a list of keys");
        let known = known.split('`').skip(1).step_by(2);
        let mut written: Vec<String> = known.map(|key| key.replace("shuffle", "no-shuffle")).collect();
        written.push("dropout".into());
        keys.sort();
        written.sort();
        assert_eq!(written, keys);
    }

    #[test]
    fn recipes_are_defaults_that_flags_stand_over() {
        let names: Vec<&str> = Catalogue::built_in().named_recipes().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "resnet",
                "preact",
                "wrn",
                "wrn-svhn",
                "stochastic-depth",
                "resnext",
                "densenet",
                "fusenet",
                "dpn",
                "torchvision"
            ]
        );
        for name in names {
            // The built-in images are not scaled, as the recipe for ImageNet asks.
            let config = parsed(&["--recipe", name, "--data", "cifar10:folder"])
                .config()
                .unwrap();
            config.settings().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let wrn = parsed(&["--recipe", "wrn"]).config().unwrap();
        assert_eq!((wrn.model.as_str(), wrn.epochs, wrn.nesterov), ("wrn-28-10", 200, true));
        assert_eq!(wrn.schedule, "multi-step:60,120,160@0.2");
        assert_eq!((wrn.padding.as_str(), wrn.weight_decay), ("reflect", 5e-4));
        let over = [
            "--recipe", "resnet", "--epochs", "3", "--model", "resnet8", "--lr", "0.2",
        ];
        let other = parsed(&over).config().unwrap();
        assert_eq!((other.steps, other.epochs, other.lr), (None, 3, 0.2));
        assert_eq!((other.model.as_str(), other.weight_decay), ("resnet8", 1e-4));
    }

    #[test]
    fn what_is_given_stands_over_the_file() {
        let base = Config {
            steps: Some(30),
            nesterov: true,
            shuffle: false,
            lr: 0.3,
            ..Config::default()
        };
        let over = |arguments: &[&str]| parsed(arguments).over(base.clone()).unwrap();
        assert_eq!(over(&[]), base);
        let epochs = over(&["--epochs", "3"]);
        assert_eq!((epochs.epochs, epochs.steps, epochs.nesterov), (3, None, true));
        let steps = over(&["--epochs", "3", "--steps", "5", "--lr", "NaN"]);
        assert_eq!((steps.steps, steps.shuffle, steps.lr.is_nan()), (Some(5), false, true));
        let adaptive = over(&["--optimizer", "adamw", "--weight-decay", "0.3"]);
        assert_eq!((adaptive.lr, adaptive.weight_decay), (0.001, 0.3));
        assert_eq!(over(&["--optimizer", "sgd"]).lr, 0.3, "the optimiser of the file");
        assert_eq!(over(&["--dropout", "0.3"]).model, "wrn-16-1:dropout=0.3");
        assert!(over(&["--init", "weights"]).init.unwrap().is_absolute());
        let data = over(&["--data", "cifar10:images"]).data;
        assert!(
            Path::new(data.strip_prefix("cifar10:").unwrap()).is_absolute(),
            "{data}"
        );
        let built_in = parsed(&["--data", "synthetic:96,32"]).config().unwrap();
        assert_eq!((built_in.batch_size, built_in.epochs), (32, 2));
    }
}
