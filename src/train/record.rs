//! What do the numbers of a weights file depend on, besides its tensors?
//!
//! A file that Residua writes has a record of it in its metadata. Whoever opens
//! the file needs no other source: neither the run's directory nor arguments.
//! `docs/weights.md` describes the format.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::depth::{Depth, DepthPer, DepthRule};
use super::trained::agree;
use super::{Config, TrainError};
use crate::data::{ImageSet, Normalization, Preparation, Source, Splits};
use crate::graph::{Mode, Precision};
use crate::models::{InputShape, Model, ModelSpec};
use crate::weights::{self, Container, Layout};

/// The format that this version writes. A change that older programs would
/// misread increases it; a new key does not.
const FORMAT: u32 = 1;

/// What the numbers of a weights file depend on. `None` is what a file does not
/// say: one of another program says nothing.
///
/// Keys are named as in `run.toml`, where it has them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Record {
    /// The program's version.
    pub version: Option<String>,
    /// The model, with the value of every option: `resnet8:shortcut=A`.
    pub model: Option<String>,
    /// C, H, W of an image.
    pub input: Option<[usize; 3]>,
    /// The name of each class, in the order of the logits.
    pub classes: Option<Vec<String>>,
    /// The mean of each channel, for pixel values in [0, 1].
    pub mean: Option<Vec<f32>>,
    /// The standard deviation of each channel.
    pub std: Option<Vec<f32>>,
    /// Stochastic depth: the survival probability of the last block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stochastic_depth: Option<f64>,
    /// How the probabilities of the other blocks follow from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth_rule: Option<DepthRule>,
    /// What one draw of stochastic depth is for. At test, branches are scaled
    /// by their probabilities where it is a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth_per: Option<DepthPer>,
    /// The number of blocks that were trained in each mini-batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_blocks: Option<usize>,
    /// How activations were stored in training. Evaluation stores them in 32
    /// bits.
    pub precision: Option<Precision>,
    /// The seed of training; synthetic images depend on it, too.
    pub seed: Option<u64>,
    /// Steps of training.
    pub step: Option<u32>,
    /// The images that the network was trained and tested on.
    pub data: Option<RecordedData>,
}

/// The images that a network was trained and tested on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordedData {
    /// The data set, with its path from the root: `cifar10:/data/cifar10`.
    pub source: String,
    /// Only the first training images, this number of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_train: Option<usize>,
    /// Only the first test images, this number of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_test: Option<usize>,
    /// Training images that were held out for validation, drawn by the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// Pixels, or height and width, that images were scaled to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<String>,
    /// Pixels, in height and width, that were cut out of the middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// Black pixels that were added on each side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad: Option<usize>,
    /// The number of channels that images were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Which training images they were.
    #[serde(default)]
    pub train: Option<Fingerprint>,
    /// Which test images they were.
    #[serde(default)]
    pub test: Option<Fingerprint>,
}

/// Which images of a split were used: a hash of their labels and sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The number of images.
    pub images: usize,
    /// [`ImageSet::fingerprint`] of these images.
    pub sha256: String,
}

impl Fingerprint {
    /// The fingerprint of a set.
    pub fn of(set: &ImageSet) -> Self {
        Fingerprint {
            images: set.len(),
            sha256: set.fingerprint(),
        }
    }

    /// Whether the first images of `set` are those of this fingerprint; `None`
    /// if `set` has fewer.
    pub fn matches(&self, set: &ImageSet) -> Option<bool> {
        let labels = set.labels.get(..self.images)?.to_vec();
        // The pixels are not hashed, so they need not be copied.
        let first = ImageSet {
            images: Vec::new(),
            labels,
            name: set.name.clone(),
            class_names: set.class_names.clone(),
            ..*set
        };
        Some(first.fingerprint() == self.sha256)
    }
}

impl RecordedData {
    /// How every image was changed when it was loaded.
    ///
    /// # Errors
    /// For values out of their range.
    pub fn preparation(&self) -> Result<Preparation, TrainError> {
        let config = Config {
            resize: self.resize.clone(),
            crop: self.crop,
            pad: self.pad,
            channels: self.channels,
            ..Config::default()
        };
        config.preparation()
    }

    /// In which split the images of `splits` are others than those of this
    /// record; `None` if they are the same, or the record does not say.
    pub(super) fn difference(&self, splits: &Splits) -> Option<&'static str> {
        let differs = |known: &Option<Fingerprint>, set: &ImageSet| {
            known.as_ref().is_some_and(|known| *known != Fingerprint::of(set))
        };
        match (differs(&self.train, &splits.train), differs(&self.test, &splits.test)) {
            (true, _) => Some("labels or sizes of the training images are others"),
            (_, true) => Some("labels or sizes of the test images are others"),
            _ => None,
        }
    }
}

/// The record in the metadata of a file.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    record: Record,
}

impl Record {
    /// The record of a network that is trained with `config` on the images of
    /// `splits`, before the first step.
    pub(super) fn of(
        model: &Model,
        config: &Config,
        depth: Depth,
        splits: &Splits,
        normalization: &Normalization,
    ) -> Self {
        let images = &splits.train;
        let mut record = Record {
            input: Some([images.channels, images.height, images.width]),
            classes: Some(images.class_names.clone()),
            step: Some(0),
            ..Self::of_config(config)
        };
        record.set_model(model);
        record.set_normalization(normalization);
        record.set_depth(depth);
        if let Some(data) = &mut record.data {
            data.train = Some(Fingerprint::of(&splits.train));
            data.test = Some(Fingerprint::of(&splits.test));
        }
        record
    }

    /// What a run's configuration says: it stands in for the record that files of
    /// earlier versions do not have.
    pub(super) fn of_config(config: &Config) -> Self {
        let default = config.source().ok().and_then(|data| data.published_normalization());
        let normalization = default.and_then(|default| config.normalization(&default).ok());
        let mut record = Record {
            version: Some(env!("CARGO_PKG_VERSION").to_string()),
            model: Some(config.model.clone()),
            stochastic_depth: config.stochastic_depth,
            depth_rule: config.stochastic_depth.map(|_| config.depth_rule),
            depth_per: config.stochastic_depth.map(|_| config.depth_per),
            sample_blocks: config.sample_blocks,
            precision: Some(config.precision),
            seed: Some(config.seed),
            data: Some(RecordedData {
                source: absolute_data(&config.data),
                limit_train: config.limit_train,
                limit_test: config.limit_test,
                validation: (config.validation > 0).then_some(config.validation),
                resize: config.resize.clone(),
                crop: config.crop,
                pad: config.pad,
                channels: config.channels,
                train: None,
                test: None,
            }),
            ..Record::default()
        };
        if let Some(normalization) = normalization {
            record.set_normalization(&normalization);
        }
        record
    }

    /// The record of weights of `model` for images of shape `input`, of which
    /// nothing else is known.
    pub fn of_model(model: &Model, input: &InputShape) -> Self {
        let mut record = Record {
            version: Some(env!("CARGO_PKG_VERSION").to_string()),
            input: Some([input.channels, input.height, input.width]),
            ..Record::default()
        };
        record.set_model(model);
        record
    }

    fn set_model(&mut self, model: &Model) {
        self.model = Some(model.spec().map_or_else(|| model.name(), ModelSpec::in_full));
    }

    fn set_normalization(&mut self, normalization: &Normalization) {
        self.mean = Some(normalization.mean().to_vec());
        self.std = Some(normalization.std().to_vec());
    }

    /// Records which blocks ran in training.
    pub(super) fn set_depth(&mut self, depth: Depth) {
        let (stochastic_depth, rule, per, sample_blocks) = depth.settings();
        let is_stochastic = stochastic_depth.is_some();
        self.stochastic_depth = stochastic_depth;
        self.depth_rule = is_stochastic.then_some(rule);
        self.depth_per = is_stochastic.then_some(per);
        self.sample_blocks = sample_blocks;
    }

    /// The normalisation of the images; `None` if the file does not say.
    pub fn normalization(&self) -> Option<Normalization> {
        let (mean, std) = (self.mean.clone()?, self.std.clone()?);
        Normalization::new(mean, std).ok()
    }

    /// Refuses a file that says another model than `asked`.
    ///
    /// # Errors
    /// [`TrainError::Contradiction`], which names the difference.
    pub fn check_model(&self, asked: &Model, path: &Path) -> Result<(), TrainError> {
        self.model
            .as_ref()
            .map_or(Ok(()), |recorded| agree(recorded, asked, path))
    }

    /// Adds what is known about a file besides its metadata, where the record
    /// does not say it: its model and its normalisation.
    pub fn complete(&mut self, model: Option<&Model>, normalization: Option<[Vec<f32>; 2]>) {
        let [mean, std] = normalization.map_or([None, None], |values| values.map(Some));
        let mut known = Record {
            version: Some(env!("CARGO_PKG_VERSION").to_string()),
            mean,
            std,
            ..Record::default()
        };
        if let Some(model) = model {
            known.set_model(model);
        }
        *self = std::mem::take(self).or(known);
        // A model that was given has been compared with the file's.
        if let Some(model) = model {
            self.set_model(model);
        }
    }

    /// Which blocks ran in training: all, where the file does not say.
    ///
    /// # Errors
    /// For a combination that no run can have.
    pub fn depth(&self) -> Result<Depth, TrainError> {
        Depth::of_settings(
            self.stochastic_depth,
            self.depth_rule.unwrap_or_default(),
            self.depth_per.unwrap_or_default(),
            self.sample_blocks,
        )
    }

    /// This record, with what `other` says where this one says nothing.
    pub(super) fn or(self, other: Record) -> Record {
        // A file with a format of records says everything about its depth.
        let depth = match self.precision.is_some() {
            true => &self,
            false => &other,
        };
        let (stochastic_depth, depth_rule, depth_per, sample_blocks) = (
            depth.stochastic_depth,
            depth.depth_rule,
            depth.depth_per,
            depth.sample_blocks,
        );
        let (mean, std) = match (&self.mean, &self.std) {
            (Some(_), Some(_)) => (self.mean, self.std),
            _ => (other.mean, other.std),
        };
        Record {
            version: self.version.or(other.version),
            model: self.model.or(other.model),
            input: self.input.or(other.input),
            classes: self.classes.or(other.classes),
            mean,
            std,
            stochastic_depth,
            depth_rule,
            depth_per,
            sample_blocks,
            precision: self.precision.or(other.precision),
            seed: self.seed.or(other.seed),
            step: self.step.or(other.step),
            data: self.data.or(other.data),
        }
    }

    /// The metadata that holds this record. Equal records give equal bytes;
    /// there is no date among them.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let stored = Stored {
            format: FORMAT,
            record: self.clone(),
        };
        let text = serde_json::to_string(&stored).expect("a record has text keys only");
        let mut metadata = BTreeMap::from([("record".to_string(), text)]);
        // What versions without a record read, and a person finds first.
        let short = |name: &String| {
            name.parse()
                .map_or_else(|_| name.clone(), |spec: ModelSpec| spec.to_string())
        };
        metadata.extend(self.version.clone().map(|version| ("residua".to_string(), version)));
        metadata.extend(self.model.as_ref().map(|model| ("model".to_string(), short(model))));
        metadata
    }

    /// The record of the weights file `path`.
    ///
    /// # Errors
    /// Where the file cannot be read, and as [`Self::read`].
    pub fn of_file(path: &Path) -> Result<Self, TrainError> {
        Self::read(&weights::contents(path)?.facts, path)
    }

    /// The images and classes that the file says, else those that the tensors of
    /// `contents` have: of the sizes of CIFAR's images and of those that `model` is
    /// made for, the one for which it has tensors of these sizes.
    pub fn shape(&self, contents: &Container, model: Option<&ModelSpec>) -> InputShape {
        let mut shape = InputShape::default();
        let mut tables = contents.tables.iter();
        if let Some([channels, classes]) = tables.find_map(|table| weights::ends_of(&table.tensors)) {
            (shape.channels, shape.classes) = (channels, classes);
        }
        if let Some([channels, height, width]) = self.input {
            (shape.channels, shape.height, shape.width) = (channels, height, width);
            return shape;
        }
        let Some(model) = model else { return shape };
        let usual = InputShape {
            channels: shape.channels,
            classes: shape.classes,
            ..model.usual_input()
        };
        let fits = |shape: &InputShape| {
            let Ok(network) = model.build(shape, Mode::Eval) else {
                return false;
            };
            let layout = Layout::of(&network.graph).tensors();
            let own = sizes(layout.values().map(Vec::as_slice));
            let mut tables = contents.tables.iter();
            tables.any(|table| sizes(table.tensors.values().map(|tensor| tensor.shape.as_slice())) == own)
        };
        [shape, usual].into_iter().find(fits).unwrap_or(shape)
    }

    /// The record in the `metadata` of the file at `path`. Keys that this
    /// version does not know are ignored. Files of earlier versions say their
    /// model only, those of other programs nothing.
    ///
    /// # Errors
    /// [`TrainError::Record`] for a damaged record, or one in a later format.
    pub fn read(metadata: &BTreeMap<String, String>, path: &Path) -> Result<Self, TrainError> {
        let problem = |problem: String| TrainError::Record {
            path: path.to_path_buf(),
            problem,
        };
        let Some(text) = metadata.get("record") else {
            return Ok(Self::without_record(metadata));
        };
        // Another program may use the same key for something else.
        if !metadata.contains_key("residua") {
            return Ok(Self::without_record(metadata));
        }
        let stored: serde_json::Value =
            serde_json::from_str(text).map_err(|error| problem(format!("it is damaged: {error}")))?;
        match stored.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format <= u64::from(FORMAT) => {}
            Some(format) => {
                return Err(problem(format!(
                    "it has the format {format}, of a later version; this one reads up to {FORMAT}"
                )));
            }
            None => return Err(problem("it is damaged: its format is missing".to_string())),
        }
        let stored: Stored =
            serde_json::from_value(stored).map_err(|error| problem(format!("it is damaged: {error}")))?;
        stored.record.check().map_err(problem)?;
        Ok(stored.record)
    }

    /// Files of versions without a record name their model.
    fn without_record(metadata: &BTreeMap<String, String>) -> Self {
        let model = metadata.get("model");
        let own = |model: &&String| metadata.contains_key("residua") || model.parse::<ModelSpec>().is_ok();
        Record {
            version: metadata.get("residua").cloned(),
            model: model.filter(own).cloned(),
            ..Record::default()
        }
    }

    /// Refuses values that a run cannot have.
    fn check(&self) -> Result<(), String> {
        if let (Some(mean), Some(std)) = (&self.mean, &self.std) {
            Normalization::new(mean.clone(), std.clone()).map_err(|error| error.to_string())?;
            if self.input.is_some_and(|[channels, ..]| channels != mean.len()) {
                return Err("its mean has another number of channels than its input".to_string());
            }
        }
        if let Some(p_last) = self.stochastic_depth
            && !(p_last > 0.0 && p_last <= 1.0)
        {
            return Err(format!("{p_last} is no survival probability"));
        }
        self.depth().map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Outputs, and values for each of them, of weights with these shapes.
fn sizes<'a>(shapes: impl Iterator<Item = &'a [usize]>) -> Vec<(usize, usize)> {
    let weights = shapes.filter_map(|shape| shape.split_first().filter(|(_, rest)| !rest.is_empty()));
    let mut sizes: Vec<(usize, usize)> = weights
        .map(|(&outputs, rest)| (outputs, rest.iter().product()))
        .collect();
    sizes.sort_unstable();
    sizes
}

/// The data set `text` with its path from the root, so that it names the same
/// files in every working directory.
pub fn absolute_data(text: &str) -> String {
    text.parse()
        .map_or_else(|_| text.to_string(), |data: Source| data.absolute().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn path() -> &'static Path {
        Path::new("last.safetensors")
    }

    fn sample() -> Record {
        let config = Config {
            model: "resnet8:shortcut=B".into(),
            mean: Some("imagenet".into()),
            stochastic_depth: Some(0.7),
            depth_rule: DepthRule::Uniform,
            seed: 5,
            limit_train: Some(6),
            ..Config::for_data("synthetic:8,4")
        };
        let settings = config.settings().unwrap();
        let splits = settings.load().unwrap();
        let normalization = config.normalization(&splits.normalization).unwrap();
        Record::of(&settings.model, &config, settings.depth, &splits, &normalization)
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = sample();
        let metadata = record.metadata();
        assert_eq!(metadata, sample().metadata(), "equal records have equal bytes");
        assert_eq!(metadata["model"], "resnet8:shortcut=B");
        assert_eq!(Record::read(&metadata, path()).unwrap(), record);
        let stored: Value = serde_json::from_str(&metadata["record"]).unwrap();
        assert_eq!(stored["format"], 1);
        assert_eq!(stored["input"], json!([3, 32, 32]));
        assert_eq!(stored["classes"].as_array().unwrap().len(), 10);
        assert_eq!(
            (&stored["depth-rule"], &stored["depth-per"]),
            (&json!("uniform"), &json!("batch"))
        );
        assert_eq!(stored["data"]["train"]["images"], 6);
        assert_eq!(stored["precision"], "f32");
        assert_eq!(record.normalization(), Normalization::named("imagenet", 3));
        let rule = DepthRule::Uniform;
        assert_eq!(record.depth().unwrap(), Depth::Stochastic { p_last: 0.7, rule });
    }

    #[test]
    fn later_keys_are_ignored_and_later_formats_refused() {
        let with = |change: fn(&mut Value)| {
            let mut metadata = sample().metadata();
            let mut stored: Value = serde_json::from_str(&metadata["record"]).unwrap();
            change(&mut stored);
            metadata.insert("record".into(), stored.to_string());
            Record::read(&metadata, path())
        };
        assert_eq!(with(|stored| stored["later"] = json!({"a": 1})).unwrap(), sample());
        assert_eq!(
            with(|stored| stored["mean"] = Value::Null).unwrap().normalization(),
            None
        );
        for (change, part) in [
            (
                (|stored| stored["format"] = json!(2)) as fn(&mut Value),
                "of a later version",
            ),
            (|stored| stored["format"] = Value::Null, "its format is missing"),
            (|stored| stored["mean"] = json!("x"), "it is damaged"),
            (|stored| stored["mean"] = json!([1, 2]), "channels"),
            (|stored| stored["std"] = json!([1, 0, 1]), "not above 0"),
            (|stored| stored["input"] = json!([1, 2, 3]), "channels"),
            (
                |stored| stored["stochastic-depth"] = json!(1.5),
                "1.5 is no survival probability",
            ),
            (|stored| stored["sample-blocks"] = json!(2), "cannot be combined"),
        ] {
            let message = with(change).unwrap_err().to_string();
            assert!(message.starts_with("last.safetensors: the record"), "{message}");
            assert!(message.contains(part) && !message.contains('\n'), "{message}");
        }
        let mut cut = sample().metadata();
        cut.get_mut("record").unwrap().truncate(40);
        assert!(Record::read(&cut, path()).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn files_without_a_record_say_their_model_or_nothing() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            Record::read(&pairs.collect(), path()).unwrap()
        };
        assert_eq!(
            read(&[("residua", "0.1.0"), ("model", "my-net")]).model.unwrap(),
            "my-net"
        );
        assert_eq!(read(&[("model", "resnet20")]).model.unwrap(), "resnet20");
        // Another program's key of the same name.
        assert_eq!(read(&[("model", "my-net"), ("record", "1")]), Record::default());
        let config = Config {
            stochastic_depth: Some(0.5),
            ..Config::default()
        };
        let filled = read(&[("residua", "0.1.0"), ("model", "wrn-16-1")]).or(Record::of_config(&config));
        assert_eq!((filled.stochastic_depth, filled.seed), (Some(0.5), Some(0)));
        assert!(filled.normalization().is_some());
        // A record of constant depth is not mixed with another depth.
        let mut constant = sample();
        constant.set_depth(Depth::Constant);
        assert_eq!(
            constant.or(Record::of_config(&config)).depth().unwrap(),
            Depth::Constant
        );
    }

    #[test]
    fn images_are_recognised_by_labels_and_sizes() {
        let splits = Config::for_data("synthetic:8,4").settings().unwrap().load().unwrap();
        let fingerprint = Fingerprint::of(&splits.train.clone().take(5));
        assert_eq!(fingerprint.matches(&splits.train), Some(true));
        assert_eq!(fingerprint.matches(&splits.train.clone().take(4)), None);
        let mut other = splits.train.clone();
        other.labels[4] = (other.labels[4] + 1) % 10;
        assert_eq!(fingerprint.matches(&other), Some(false));
    }

    #[test]
    fn data_is_named_from_the_root() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            absolute_data("cifar10:a b"),
            format!("cifar10:{}", here.join("a b").display())
        );
        for text in ["synthetic", "synthetic:5,6", "cifar10:", "nonsense"] {
            assert_eq!(absolute_data(text), text);
        }
    }

    proptest! {
        #[test]
        fn normalisation_keeps_its_bits(mean in any::<f32>(), std in f32::MIN_POSITIVE..f32::MAX) {
            prop_assume!(mean.is_finite());
            let record = Record {
                version: Some("1".into()),
                mean: Some(vec![mean]),
                std: Some(vec![std]),
                ..Record::default()
            };
            let read = Record::read(&record.metadata(), path()).unwrap();
            let bits = |values: &Option<Vec<f32>>| values.as_ref().unwrap()[0].to_bits();
            prop_assert_eq!(bits(&read.mean), mean.to_bits());
            prop_assert_eq!(bits(&read.std), std.to_bits());
        }
    }
}
