//! Which trained network is looked at, and on which images?

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::args::{AdapterArgs, SubjectArgs};
use super::exit::CliError;
use crate::data::{Normalization, Source, TestSplit};
use crate::graph::Route;
use crate::models::{InputShape, ModelSpec};
use crate::train::{Config, Engine, Part, RunDirectory, checkpoint, open, weights_of};

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
}

/// Where runs are, unless told otherwise.
pub const RUNS: &str = "runs";

impl Subject {
    /// Opens what `args` name on the adapter of `adapter`.
    pub fn open(args: &SubjectArgs, adapter: &AdapterArgs) -> Result<Self, CliError> {
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
        let test = data.load_test(limit, seed)?;
        // The normalisation is a part of the model's record.
        let recorded = config
            .as_ref()
            .map(|config: &Config| config.normalization(&test.normalization));
        let default = recorded.transpose()?.unwrap_or_else(|| test.normalization.clone());
        let asked = Normalization::resolve(args.images.mean.as_deref(), args.images.std.as_deref(), &default);
        let normalization = asked.map_err(crate::data::DataError::from)?;
        let input = InputShape {
            channels: test.test.channels,
            height: test.test.height,
            width: test.test.width,
            classes: test.test.classes(),
        };
        let mut engine = open(&adapter.choice(), &model, &input, None)?;
        checkpoint::load(engine.as_mut(), &weights, &model.to_string())?;
        engine.load(Part::Test, &test.test, &normalization)?;
        let depth = config
            .as_ref()
            .map(Config::check)
            .transpose()?
            .map(|settings| settings.depth);
        Ok(Subject {
            route: depth.unwrap_or_default().test_route(engine.graph()),
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

    /// Number of test images.
    pub fn images(&self) -> usize {
        self.test.test.len()
    }
}
