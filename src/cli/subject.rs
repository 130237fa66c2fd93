//! Which trained network is looked at, and on which images?

use std::cell::OnceCell;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::{AdapterArgs, SubjectArgs};
use super::exit::CliError;
use super::tuning::TuningTeller;
use crate::data::{Normalization, Source, Splits, TestSplit};
use crate::graph::{BlockId, Route};
use crate::models::ModelSpec;
use crate::train::{
    Config, Engine, RunDirectory, Split, TrainError, TrainOptions, Workload, checkpoint, choose_kernels, input_of,
    open, weights_of,
};
use crate::weights::hash;

/// A network with its weights set and the test images loaded.
pub struct Subject {
    /// The network on its device.
    pub engine: Box<dyn Engine>,
    /// The model.
    pub model: ModelSpec,
    /// The weights file.
    pub weights: PathBuf,
    /// The images.
    pub test: TestSplit,
    /// Training images that are loaded.
    pub training_images: usize,
    /// How they are normalised.
    pub normalization: Normalization,
    /// Where they came from.
    pub source: String,
    /// Images computed at once.
    pub batch_size: NonZeroUsize,
    /// The run, if there is one.
    pub run: Option<RunDirectory>,
    /// The route of the whole network: branches of a network trained with
    /// stochastic depth are scaled.
    pub route: Route,
    hash: OnceCell<String>,
}

/// Where runs are, unless told otherwise.
pub const RUNS: &str = "runs";

impl Subject {
    /// Opens what `args` name on the adapter of `adapter`, with the test images.
    pub fn open(args: &SubjectArgs, adapter: &AdapterArgs) -> Result<Self, CliError> {
        Self::open_with(args, adapter, false)
    }

    /// As [`Self::open`]; with `training`, also with the training images and
    /// able to run in training mode (without dropout: studies look at the
    /// network as it is).
    pub fn open_with(args: &SubjectArgs, adapter: &AdapterArgs, training: bool) -> Result<Self, CliError> {
        let batch_size = NonZeroUsize::new(args.images.batch_size as usize).filter(|size| size.get() <= 65_536);
        let batch_size = batch_size
            .ok_or_else(|| CliError::argument(format!("--batch-size {}: not 1 to 65536", args.images.batch_size)))?;
        let run = match (&args.weights, &args.run) {
            (Some(_), _) => None,
            (None, Some(path)) => Some(RunDirectory::open(path)?),
            (None, None) => Some(RunDirectory::newest(Path::new(RUNS))?),
        };
        let config = run.as_ref().map(RunDirectory::read_config).transpose()?;
        let weights = match (&args.weights, &run) {
            (Some(path), _) => path.clone(),
            (None, Some(run)) => weights_of(run, args.checkpoint == "best"),
            (None, None) => unreachable!("without weights there is a run"),
        };
        let model: ModelSpec = match (&args.model, &config) {
            (Some(name), _) => name.parse()?,
            (None, Some(config)) => config.model.parse()?,
            (None, None) => return Err(CliError::argument("--weights needs --model NAME")),
        };
        let source = args
            .data
            .clone()
            .or_else(|| config.as_ref().map(|config| config.data.clone()));
        let source = source.ok_or_else(|| CliError::argument("--weights needs --data SPEC, such as cifar10:DIR"))?;
        let data: Source = source.parse().map_err(crate::data::DataError::from)?;
        let seed = config.as_ref().map_or(0, |config| config.seed);
        let limit = args
            .images
            .limit_test
            .or(config.as_ref().and_then(|config| config.limit_test));
        let (test, train) = if training {
            let limit_train = config.as_ref().and_then(|config| config.limit_train);
            let Splits {
                train,
                test,
                normalization,
            } = data.load(limit_train, limit, seed)?;
            (TestSplit { test, normalization }, Some(train))
        } else {
            (data.load_test(limit, seed)?, None)
        };
        // The normalisation is a part of the model's record.
        let recorded = config
            .as_ref()
            .map(|config: &Config| config.normalization(&test.normalization));
        let default = recorded.transpose()?.unwrap_or_else(|| test.normalization.clone());
        let asked = Normalization::resolve(args.images.mean.as_deref(), args.images.std.as_deref(), &default);
        let normalization = asked.map_err(crate::data::DataError::from)?;
        let input = input_of(&test.test);
        let learning = training.then(TrainOptions::default);
        let built = model.with("dropout", "0").unwrap_or_else(|_| model.clone());
        let mut engine = open(&adapter.choice(), &built, &input, learning)?;
        checkpoint::load(engine.as_mut(), &weights, &model.to_string())?;
        // A study knows later how often it looks at the images: by one look,
        // what is known of the device is used, and long ones time the rest.
        let work = Workload {
            training,
            batch: batch_size.get(),
            images: test.test.len() as u64,
        };
        let mut teller = TuningTeller::new(&model.to_string());
        choose_kernels(engine.as_mut(), &adapter.kernels(), &work, &mut |news| {
            teller.tell(news)
        })?;
        engine.load(Split::Test, &test.test, &normalization)?;
        if let Some(train) = &train {
            engine.load(Split::Train, train, &normalization)?;
        }
        let depth = config
            .as_ref()
            .map(Config::check)
            .transpose()?
            .map(|settings| settings.depth);
        Ok(Subject {
            hash: OnceCell::new(),
            route: depth.unwrap_or_default().test_route(engine.graph()),
            training_images: train.map_or(0, |train| train.len()),
            engine,
            model,
            weights,
            test,
            normalization,
            source,
            batch_size,
            run,
        })
    }

    /// The network's name in figures: the model, and the run if there is one.
    pub fn label(&self) -> String {
        let run = self.run.as_ref().and_then(|run| run.path().file_name());
        match run {
            Some(run) => format!("{} ({})", self.model, run.to_string_lossy()),
            None => self.model.to_string(),
        }
    }

    /// What a study's results depend on besides its own settings: results of
    /// another network, of other images or from another adapter are not its own.
    pub fn identity(&self) -> Result<serde_json::Map<String, serde_json::Value>, CliError> {
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
        Ok(pairs.map(|(key, value)| (key.to_string(), value)).into_iter().collect())
    }

    /// Where results come from, for a report.
    pub fn facts(&self, seed: u64) -> Result<Vec<(String, String)>, CliError> {
        let facts = [
            ("command", command_line()),
            ("model", self.model.to_string()),
            ("weights", self.weights.display().to_string()),
            ("weights SHA-256", self.weights_hash()?),
            ("data", self.source.clone()),
            ("test images", self.images().to_string()),
            ("adapter", self.engine.name()),
            ("seed", seed.to_string()),
            ("version", format!("residua {}", env!("CARGO_PKG_VERSION"))),
        ];
        Ok(facts.map(|(what, value)| (what.to_string(), value)).to_vec())
    }

    /// The hash of the weights file, which is read for it once.
    fn weights_hash(&self) -> Result<String, CliError> {
        if let Some(known) = self.hash.get() {
            return Ok(known.clone());
        }
        let hash = hash(&self.weights).map_err(TrainError::from)?;
        Ok(self.hash.get_or_init(|| hash).clone())
    }

    /// Number of test images.
    pub fn images(&self) -> usize {
        self.test.test.len()
    }
}

/// The command that was given, so that it can be given again.
pub fn command_line() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%~".contains(c);
    let quoted = |argument: std::ffi::OsString| {
        let argument = argument.to_string_lossy().into_owned();
        if !argument.is_empty() && argument.chars().all(plain) {
            argument
        } else {
            format!("'{}'", argument.replace('\'', "'\\''"))
        }
    };
    let mut arguments: Vec<String> = std::env::args_os().map(quoted).collect();
    if let Some(program) = arguments.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_string();
    }
    arguments.join(" ")
}
