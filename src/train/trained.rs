//! Which trained network is studied, with which weights and on which images?

use std::cell::OnceCell;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::depth::Depth;
use super::directory::RunDirectory;
use super::engine::Engine;
use super::error::{TrainError, Unsaid};
use super::open::{Adapter, TrainOptions, open};
use super::read_weights::{ReadWeights, only_model};
use super::record::{Record, RecordedData, absolute_data};
use super::run::weights_of;
use super::settings::batch_size;
use super::trainer::input_of;
use super::tuning::choose_kernels;
use super::{Split, checkpoint};
use crate::data::{DataError, ImageSet, Normalization, Preparation, Source, Splits, TestSplit};
use crate::graph::{BlockId, Route};
use crate::models::{Model, ModelError, ModelSpec, shown_name};
use crate::stop::StopToken;
use crate::tuning::{KernelSource, TuningEvent, Workload};
use crate::weights::{NameOptions, WeightsFile};

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
    model_name: Option<String>,
    best: bool,
    data: Option<String>,
    preparation: Option<Preparation>,
    limit_test: Option<usize>,
    mean: Option<String>,
    std: Option<String>,
    /// Where neither the options nor the file say how images are normalised.
    usual_normalization: Option<Normalization>,
    seed: Option<u64>,
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
    /// In a run's directory.
    Run(PathBuf),
    /// In a file.
    File(PathBuf),
}

impl TrainedNetworkOptions {
    fn new(weights: WeightsSource) -> Self {
        TrainedNetworkOptions {
            weights,
            model: None,
            model_name: None,
            best: false,
            data: None,
            preparation: None,
            limit_test: None,
            mean: None,
            std: None,
            usual_normalization: None,
            seed: None,
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

    /// The weights file `path`, whose [`Record`] says the rest: model, data,
    /// normalisation, survival probabilities. What it does not say must be
    /// given.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self::new(WeightsSource::File(path.into()))
    }

    /// The weights file `path` as parameters of `model` (`resnet20`), with the
    /// images of `data` (`cifar10:DIR`). A file that says its model must say
    /// the same.
    pub fn from_weights(path: impl Into<PathBuf>, model: impl Into<String>, data: impl Into<String>) -> Self {
        Self::from_file(path).model_name(model).data(data)
    }

    /// These options for the run in `directory`.
    #[must_use]
    pub fn with_run(mut self, directory: impl Into<PathBuf>) -> Self {
        self.weights = WeightsSource::Run(directory.into());
        (self.model_name, self.model) = (None, None);
        self
    }

    /// These options for the weights file `path`, whose record says its model.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.weights = WeightsSource::File(path.into());
        (self.model_name, self.model) = (None, None);
        self
    }

    /// The model by its name (`resnet20`). A run or file that says its model
    /// must say the same.
    #[must_use]
    pub fn model_name(mut self, name: impl Into<String>) -> Self {
        self.model_name = Some(name.into());
        self
    }

    /// The images of `network`: the same data set, number of images and, for
    /// synthetic images, seed. Where the weights do not say how images are
    /// normalised, it is as for `network`.
    #[must_use]
    pub fn images_of(mut self, network: &TrainedNetwork) -> Self {
        self.data = Some(network.source.clone());
        self.preparation = Some(network.preparation);
        self.limit_test = Some(network.images());
        self.seed = Some(network.seed);
        self.usual_normalization = Some(network.normalization.clone());
        self
    }

    /// The network that the weights belong to, instead of the built-in one
    /// that the run or the file names: needed for a network of
    /// one's own ([`Model::own`]). A run or file that says its model must say
    /// the same.
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

    /// How the images of the training were changed when they were loaded, as the
    /// run or the file says.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn recorded_preparation(&self) -> Result<Preparation, TrainError> {
        match self.find()?.record.data {
            Some(data) => data.preparation(),
            None => Ok(Preparation::default()),
        }
    }

    /// The number of test images that the training was limited to, as the run or the
    /// file says.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn recorded_limit_test(&self) -> Result<Option<usize>, TrainError> {
        Ok(self.find()?.record.data.and_then(|data| data.limit_test))
    }

    /// Only the first `images` test images.
    #[must_use]
    pub fn limit_test(mut self, images: usize) -> Self {
        self.limit_test = Some(images);
        self
    }

    /// The mean of each channel, for pixel values in [0, 1]: numbers separated
    /// by commas, or a named set (`cifar10`, `imagenet`). The default is what
    /// the run or the file says, else the data set's own.
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

    /// Reads the weights and finds out which model they belong to.
    ///
    /// # Errors
    /// Where a file cannot be read; where it does not say its model, none is given,
    /// and no built-in model ([`TrainError::Unsaid`]) or several
    /// ([`TrainError::SeveralModels`]) have its tensors; where it says another model
    /// ([`TrainError::Contradiction`]); where the name is unknown
    /// ([`TrainError::ForeignNetwork`] for a recorded one).
    pub fn find(&self) -> Result<FoundNetwork<'_>, TrainError> {
        let (run, path) = match &self.weights {
            WeightsSource::Run(directory) => {
                let run = RunDirectory::open(directory)?;
                let path = weights_of(&run, self.best)?;
                (Some(run), path)
            }
            WeightsSource::File(path) => (None, path.clone()),
        };
        let config = run.as_ref().map(RunDirectory::read_config).transpose()?;
        let file = WeightsFile::open(&path)?;
        let contents = file.contents()?;
        let mut record = Record::read(&contents.facts, &path)?;
        if let Some(config) = &config {
            // Files of versions without a record leave this to the run.
            record = record.or(Record::of_config(config));
        }
        let recorded = config.as_ref().map(|config| config.model.as_str());
        let said = record.model.as_deref();
        if let Some(asked) = self.asked_model(said.or(recorded))? {
            for recorded in [recorded, record.model.as_deref()].into_iter().flatten() {
                agree(recorded, &asked, &path)?;
            }
        }
        if let (Some(run), Some(own), Some(recorded)) = (&run, recorded, &record.model)
            && let Ok(own) = own.parse::<Model>()
            && let Err(TrainError::Contradiction { said, asked, .. }) = agree(recorded, &own, &path)
        {
            return Err(TrainError::Run {
                path: run.path().to_path_buf(),
                problem: format!("its run.toml says {asked}, but its weights say {said}; restore what was changed"),
            });
        }
        let (model, read, note) = match self.resolve_model(record.model.as_deref(), &path)? {
            Some(model) => (model, ReadWeights::Contents(contents), None),
            None => {
                let (model, weights, note) = only_model(contents, &self.names, &path)?;
                (model.into(), ReadWeights::Canonical(weights), Some(note))
            }
        };
        Ok(FoundNetwork {
            options: self,
            run,
            path,
            file,
            read,
            record,
            model,
            note,
        })
    }

    /// The model that was asked for. A network in a file that the weights say may
    /// also be asked for by the name under which programs show it.
    fn asked_model(&self, recorded: Option<&str>) -> Result<Option<Model>, TrainError> {
        match (&self.model, &self.model_name) {
            (Some(model), _) => Ok(Some(model.clone())),
            (None, Some(name)) => match recorded {
                Some(recorded) if shown_name(recorded) == *name => Ok(Some(recorded.parse()?)),
                _ => Ok(Some(name.parse()?)),
            },
            (None, None) => Ok(None),
        }
    }

    /// The model that was asked for or recorded, if there is one.
    fn resolve_model(&self, recorded: Option<&str>, path: &Path) -> Result<Option<Model>, TrainError> {
        let (name, path) = match (self.asked_model(recorded)?, recorded) {
            (Some(asked), _) => return Ok(Some(asked)),
            (None, Some(name)) => (name.to_string(), path.to_path_buf()),
            (None, None) => return Ok(None),
        };
        name.parse().map(Some).map_err(|error| match error {
            ModelError::UnknownModel { .. } => TrainError::ForeignNetwork { path, name },
            error => TrainError::Model(error),
        })
    }

    /// Opens the network with its weights and images.
    ///
    /// # Errors
    /// As [`Self::find`] and [`FoundNetwork::open`].
    pub fn open(&self) -> Result<TrainedNetwork, TrainError> {
        self.find()?.open(&mut |_| {})
    }
}

/// Refuses weights that are of the `recorded` model where `asked` is another
/// one.
pub(super) fn agree(recorded: &str, asked: &Model, path: &Path) -> Result<(), TrainError> {
    let difference = match (recorded.parse::<ModelSpec>(), asked.spec()) {
        (Ok(said), Some(asked)) => said.difference(asked),
        _ => (recorded != asked.name()).then(|| (recorded.to_string(), asked.name())),
    };
    match difference {
        None => Ok(()),
        Some((said, asked)) => Err(TrainError::Contradiction {
            path: path.to_path_buf(),
            said,
            asked,
        }),
    }
}

/// Weights that were read and whose model is known, before a device or the
/// images are opened.
pub struct FoundNetwork<'a> {
    options: &'a TrainedNetworkOptions,
    run: Option<RunDirectory>,
    path: PathBuf,
    file: WeightsFile,
    read: ReadWeights,
    record: Record,
    model: Model,
    /// What to say about the model.
    note: Option<String>,
}

impl FoundNetwork<'_> {
    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Opens the network on the adapter with its images; reports to `report`
    /// while kernels are chosen.
    ///
    /// # Errors
    /// Where a value is out of range, a file cannot be read or does not fit
    /// the model, or the adapter cannot be opened.
    pub fn open(self, report: &mut dyn FnMut(&TuningEvent)) -> Result<TrainedNetwork, TrainError> {
        let options = self.options;
        let batch_size = batch_size(options.batch_size as usize)?;
        let mut notes = Vec::new();
        let images = self.images(&mut notes)?;
        let FoundNetwork {
            run,
            path,
            file,
            read,
            mut record,
            model,
            note,
            ..
        } = self;
        notes.extend(note);
        let says_model = record.model.is_some();
        let input = input_of(&images.test.images);
        let training = options.training_images.then(TrainOptions::default);
        let mut engine = open(&options.adapter, &model.without_dropout(), &input, training)?;
        let read = checkpoint::set_read(engine.as_mut(), read, &path, &model.to_string(), &options.names)?;
        notes.extend(read.notes);
        engine.heed(options.stop.clone());
        if let (None, Some([mean, std])) = (record.normalization(), read.normalization) {
            (record.mean, record.std) = (Some(mean), Some(std));
        }
        // How often a study evaluates all images is not known here. Count them
        // once: that is enough to use what the tuning cache holds, and a large
        // set of images still repays timing the rest.
        let work = Workload {
            training: options.training_images,
            batch: batch_size.get(),
            images: images.test.images.len() as u64,
        };
        choose_kernels(engine.as_mut(), &options.kernels, &work, report)?;
        let recorded = record.normalization();
        let own = &images.test.normalization;
        let default = recorded
            .as_ref()
            .or(options.usual_normalization.as_ref())
            .unwrap_or(own);
        let normalization = Normalization::resolve(options.mean.as_deref(), options.std.as_deref(), default)
            .map_err(DataError::from)?;
        match &recorded {
            Some(recorded) if *recorded != normalization => notes.push(format!(
                "images are normalised by {normalization} as asked, not by the {recorded} of the file"
            )),
            Some(_) => {}
            None => notes.push(open_choices(&normalization, (!says_model).then_some(&model))),
        }
        let depth = record.depth()?;
        engine.load(Split::Test, &images.test.images, &normalization)?;
        if let Some(train) = &images.train {
            engine.load(Split::Train, train, &normalization)?;
        }
        Ok(TrainedNetwork {
            hash: OnceCell::new(),
            file,
            depth,
            route: depth.test_route(engine.graph()),
            training_images: images.train.map_or(0, |train| train.len()),
            engine,
            model,
            weights: path,
            test: images.test,
            normalization,
            source: images.source,
            preparation: images.preparation,
            seed: images.seed,
            batch_size,
            run,
            notes,
        })
    }

    /// Loads the images, and compares them with those of the record.
    fn images(&self, notes: &mut Vec<String>) -> Result<Images, TrainError> {
        let (options, record) = (self.options, &self.record);
        let recorded = record.data.as_ref();
        let given = options.data.as_deref().map(absolute_data);
        let own = recorded.map(|data| data.source.clone());
        let is_other = given.is_some() && own.is_some() && given != own;
        let Some(source) = given.or(own) else {
            return Err(TrainError::Unsaid {
                path: self.path.clone(),
                what: Unsaid::Data,
            });
        };
        let data: Source = source.parse().map_err(DataError::from)?;
        let preparation = match (options.preparation, recorded) {
            (Some(asked), _) => asked,
            (None, Some(recorded)) if matches!(data, Source::Files(_)) => recorded.preparation()?,
            (None, _) => Preparation::default(),
        };
        let data = data.with_preparation(preparation).map_err(DataError::from)?;
        let seed = options.seed.or(record.seed).unwrap_or(0);
        let limit_train = recorded.and_then(|data| data.limit_train);
        let limit_test = options.limit_test.or(recorded.and_then(|data| data.limit_test));
        let known_test = recorded.and_then(|data| data.test.as_ref());
        // Of other files, as many images are read as the record can be compared
        // with.
        let read_test = match (limit_test, known_test) {
            (Some(limit), Some(known)) if is_other && limit > 0 => Some(limit.max(known.images)),
            _ => limit_test,
        };
        let (mut test, train) = if options.training_images {
            let mut splits = data.load(limit_train, read_test, seed)?;
            // Of the network's own images, those that it was trained on; they may have moved.
            if let Some(count) = recorded.and_then(|data| data.validation) {
                let own = record.seed.unwrap_or(seed);
                let known_train = recorded.and_then(|data| data.train.as_ref());
                let is_known = |held: &Splits| known_train.and_then(|known| known.matches(&held.train)) == Some(true);
                if !is_other {
                    splits = splits.hold_out(count, own).map_err(DataError::from)?;
                } else if let Some(held) = splits.clone().hold_out(count, own).ok().filter(is_known) {
                    splits = held;
                }
            }
            let Splits {
                train,
                test,
                normalization,
                measured,
                ..
            } = splits;
            let test = TestSplit {
                images: test,
                normalization,
                measured,
            };
            (test, Some(train))
        } else {
            (data.load_test(read_test, seed)?, None)
        };
        self.check_fit(&source, &test.images, notes)?;
        if let Some(recorded) = recorded {
            notes.extend(other_images(recorded, &source, &test.images, train.as_ref()));
        }
        if let Some(limit) = limit_test {
            test.images = test.images.take(limit);
        }
        Ok(Images {
            source,
            preparation,
            seed,
            test,
            train,
        })
    }

    /// Refuses images with other channels or another number of classes than the
    /// file says.
    fn check_fit(&self, source: &str, set: &ImageSet, notes: &mut Vec<String>) -> Result<(), TrainError> {
        let unfit = |said: String, found: String| {
            Err(TrainError::Unfit {
                path: self.path.clone(),
                source_name: source.to_string(),
                said,
                found,
            })
        };
        let counted = |count: usize, what: &str| format!("{count} {what}");
        if let Some(classes) = &self.record.classes
            && classes.len() != set.classes()
        {
            return unfit(counted(classes.len(), "classes"), counted(set.classes(), "classes"));
        }
        let Some([channels, height, width]) = self.record.input else {
            return Ok(());
        };
        if channels != set.channels {
            return unfit(counted(channels, "channels"), counted(set.channels, "channels"));
        }
        if (height, width) != (set.height, set.width) {
            notes.push(format!(
                "the images have {}×{} pixels; the network was trained on {height}×{width}",
                set.height, set.width
            ));
        }
        if self
            .record
            .classes
            .as_ref()
            .is_some_and(|classes| *classes != set.class_names)
        {
            notes.push(format!(
                "the classes of {source} have other names than those of the training"
            ));
        }
        Ok(())
    }
}

/// What to say about images of `source`, compared with the recorded ones.
fn other_images(recorded: &RecordedData, source: &str, test: &ImageSet, train: Option<&ImageSet>) -> Option<String> {
    let same_test = recorded.test.as_ref().and_then(|known| known.matches(test));
    let same_train = recorded
        .train
        .as_ref()
        .zip(train)
        .and_then(|(known, set)| known.matches(set));
    let differs = same_test == Some(false) || same_train == Some(false);
    let own = &recorded.source;
    match (own == source, differs, same_test) {
        (true, false, _) => None,
        (true, true, _) => Some(format!(
            "the images of {own} have changed since the training: labels or sizes are others"
        )),
        (false, false, Some(true)) => Some(format!(
            "images of {source} instead of {own}: labels and sizes are the same"
        )),
        (false, ..) => Some(format!("images of {source} instead of {own}: they are other images")),
    }
}

/// What is chosen for a file that does not say it: the normalisation and, where
/// its model was asked for, which of the models that its tensors fit.
fn open_choices(normalization: &Normalization, model: Option<&Model>) -> String {
    let mut text = format!("the file does not say how images are normalised: by {normalization} here");
    let look_alikes = model.and_then(Model::spec).map(ModelSpec::look_alikes);
    if let (Some(model), Some(others)) = (model, look_alikes.filter(|others| !others.is_empty())) {
        let others: Vec<String> = others.iter().map(ModelSpec::to_string).collect();
        text.push_str(&format!(
            "; nor which of the models with these tensors it is: {model} here, else {}",
            others.join(", ")
        ));
    }
    text
}

/// The images of a network.
struct Images {
    source: String,
    preparation: Preparation,
    seed: u64,
    test: TestSplit,
    train: Option<ImageSet>,
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
    /// The seed that synthetic images depend on.
    pub seed: u64,
    /// Images per batch.
    pub batch_size: NonZeroUsize,
    /// The run, if the weights are a run's.
    pub run: Option<RunDirectory>,
    /// Which blocks ran in training, as the file says: all, where it does not.
    pub depth: Depth,
    /// The route of the whole network. In a network trained with stochastic
    /// depth, the branches are scaled by their survival probabilities.
    pub route: Route,
    /// What a user should know about how the weights were read, one line each.
    pub notes: Vec<String>,
    /// The weights file as it was read.
    file: WeightsFile,
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

    /// The hash of the weights file that was read, computed when it is first needed.
    fn weights_hash(&self) -> Result<String, TrainError> {
        if let Some(known) = self.hash.get() {
            return Ok(known.clone());
        }
        let hash = self.file.hash()?;
        Ok(self.hash.get_or_init(|| hash).clone())
    }
}
