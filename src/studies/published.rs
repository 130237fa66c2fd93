//! What have others measured for the same network on the same images?
//!
//! One's own error is put beside the published ones only where network, data set
//! and the blocks that ran in training are the same, and all test images were used.

use serde_json::{Value, json};

use super::statistics::wilson;
use crate::data::{DataSet, ImageSet, Preparation};
use crate::models::published::{Catalogue, PublishedError};
use crate::models::{InputShape, ModelSpec};
use crate::report::{Column, Table};
use crate::train::{Depth, DepthRule, Record, RunDirectory};

/// One's own error beside the published ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The network.
    pub model: ModelSpec,
    /// The data set.
    pub data: DataSet,
    /// Test images with a wrong answer.
    pub wrong: usize,
    /// Test images.
    pub images: usize,
    /// What others published, the usual number to compare with first.
    pub published: Vec<&'static PublishedError>,
}

impl Comparison {
    /// The comparison of a network that was trained with the blocks of `depth`, and
    /// gives `wrong` wrong answers on the test images `set`; `None` where nothing is
    /// published, or these are not all test images of a known data set.
    pub fn new(
        model: &ModelSpec,
        depth: Depth,
        set: &ImageSet,
        preparation: &Preparation,
        wrong: usize,
    ) -> Option<Self> {
        let input = InputShape {
            channels: set.channels,
            height: set.height,
            width: set.width,
            classes: set.classes(),
        };
        Self::on(model, depth, DataSet::of(set, preparation)?, &input, wrong, set.len())
    }

    /// The comparison of a run after its last epoch; of one with validation images, by
    /// its test.
    pub fn of_run(run: &RunDirectory) -> Option<Self> {
        let record = Record::of_file(&run.last()).ok()?;
        let data = record.data.as_ref()?;
        let (test, [channels, height, width], classes) = (data.test.as_ref()?, record.input?, record.classes.as_ref()?);
        let preparation = data.preparation().ok()?;
        let shape = [channels, height, width];
        let known = DataSet::described(shape, classes, test.images, &test.sha256, &preparation)?;
        let input = InputShape {
            channels,
            height,
            width,
            classes: classes.len(),
        };
        let wrong = match data.validation {
            Some(_) => run.read_test().ok()??.wrong,
            None => (run.read_metrics().ok()?.pop()?.test_error * test.images as f64).round() as usize,
        };
        let model = record.model.as_deref()?.parse().ok()?;
        Self::on(&model, record.depth().ok()?, known, &input, wrong, test.images)
    }

    fn on(
        model: &ModelSpec,
        depth: Depth,
        data: DataSet,
        input: &InputShape,
        wrong: usize,
        images: usize,
    ) -> Option<Self> {
        let entries = Catalogue::built_in().of(model, input);
        let facts = entries.iter().flat_map(|(_, entry)| &entry.published);
        let same = |fact: &&PublishedError| fact.data == data.key() && trained_alike(fact, depth);
        let published: Vec<&PublishedError> = facts.filter(same).collect();
        (!published.is_empty()).then(|| Comparison {
            model: model.clone(),
            data,
            wrong,
            images,
            published,
        })
    }

    /// The 95 % Wilson interval of one's own error.
    pub fn interval(&self) -> [f64; 2] {
        wilson(self.wrong, self.images)
    }

    /// Both errors in a line: `resnet20 on CIFAR-10: 8.60 % wrong (95 % interval 8.07
    /// to 9.17 %); published 8.75 % (He et al. 2015, arXiv:1512.03385, table 6);
    /// reproduced 8.27 to 8.29 %`.
    pub fn line(&self) -> String {
        let [low, high] = self.interval().map(|bound| 100.0 * bound);
        let mut parts = vec![format!(
            "{} on {}: {:.2} % wrong (95 % interval {low:.2} to {high:.2} %)",
            self.model,
            self.data,
            100.0 * self.wrong as f64 / self.images.max(1) as f64
        )];
        if let Some(fact) = self.own_of_authors() {
            parts.push(format!("published {:.2} % ({})", fact.error, source(fact)));
        }
        match &self.reproductions()[..] {
            [] => {}
            [one] => parts.push(format!("reproduced {:.2} % ({})", one.error, source(one))),
            several => parts.push(format!("reproduced {} %", range(several))),
        }
        parts.join("; ")
    }

    /// The comparison as a JSON object.
    pub fn json(&self) -> Value {
        let fact = |fact: &&PublishedError| {
            json!({
                "error": fact.error_fraction(),
                "source": source(fact),
                "reproduction": fact.reproduction,
            })
        };
        json!({
            "data": self.data.key(),
            "interval": self.interval(),
            "errors": self.published.iter().map(fact).collect::<Vec<_>>(),
        })
    }

    fn own_of_authors(&self) -> Option<&'static PublishedError> {
        self.published.iter().copied().find(|fact| !fact.reproduction)
    }

    fn reproductions(&self) -> Vec<&'static PublishedError> {
        self.published
            .iter()
            .copied()
            .filter(|fact| fact.reproduction)
            .collect()
    }
}

/// The runs with something to compare with, as a table; `None` if there are none.
pub fn comparison_table(runs: &[(String, Comparison)]) -> Option<Table> {
    let row = |(name, comparison): &(String, Comparison)| {
        let [low, high] = comparison.interval().map(|bound| 100.0 * bound);
        let authors = comparison.own_of_authors();
        let reproductions = comparison.reproductions();
        vec![
            json!(name),
            json!(comparison.model.to_string()),
            json!(comparison.data.to_string()),
            json!(comparison.wrong as f64 / comparison.images.max(1) as f64),
            json!(format!("{low:.2} to {high:.2}")),
            json!(authors.map(PublishedError::error_fraction)),
            json!((!reproductions.is_empty()).then(|| range(&reproductions))),
            json!(comparison.published.first().map(|fact| source(fact))),
        ]
    };
    (!runs.is_empty()).then(|| Table {
        name: "published".into(),
        title: "Beside published errors, on all test images".into(),
        columns: vec![
            Column::plain("run", "run"),
            Column::plain("model", "model"),
            Column::plain("data", "data"),
            Column::percent("test_error", "test error (%)"),
            Column::plain("interval", "95 % interval (%)"),
            Column::percent("published", "published (%)"),
            Column::plain("reproduced", "reproduced (%)"),
            Column::plain("source", "source"),
        ],
        rows: runs.iter().map(row).collect(),
        file_only: false,
    })
}

/// Whether the network of a fact was trained with the same blocks.
fn trained_alike(fact: &PublishedError, depth: Depth) -> bool {
    match depth {
        Depth::Constant => fact.stochastic_depth.is_none() && fact.sample_blocks.is_none(),
        Depth::Stochastic { p_last, rule } => fact.stochastic_depth == Some(p_last) && rule == DepthRule::Linear,
        Depth::BySample { .. } => false,
        Depth::Sampled(blocks) => fact.sample_blocks == Some(blocks),
    }
}

/// Where a number is published, with what is to be known about it.
fn source(fact: &PublishedError) -> String {
    let cite = Catalogue::built_in().cite(&fact.source).to_string();
    let parts = [Some(cite), fact.at.clone(), fact.note.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The smallest and the largest of several errors, in per cent.
fn range(facts: &[&PublishedError]) -> String {
    let errors = || facts.iter().map(|fact| fact.error);
    let (low, high) = (errors().fold(f64::INFINITY, f64::min), errors().fold(0.0, f64::max));
    match low == high {
        true => format!("{low:.2}"),
        false => format!("{low:.2} to {high:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Source;
    use crate::train::{EpochRow, Fingerprint, RecordedData};
    use crate::weights::{self, Tensor, TensorMap};

    fn comparison(model: &str, depth: Depth, data: DataSet) -> Option<Comparison> {
        let [channels, height, width] = data.shape();
        let input = InputShape {
            channels,
            height,
            width,
            classes: data.classes(),
        };
        Comparison::on(&model.parse().unwrap(), depth, data, &input, 860, 10_000)
    }

    #[test]
    fn ones_own_error_is_beside_the_papers_and_the_reproductions() {
        let found = comparison("resnet20", Depth::Constant, DataSet::Cifar10).unwrap();
        assert_eq!(
            found.line(),
            "resnet20 on CIFAR-10: 8.60 % wrong (95 % interval 8.07 to 9.17 %); published 8.75 % (He et al. 2015, \
             arXiv:1512.03385, table 6); reproduced 8.27 to 8.29 %"
        );
        let table = comparison_table(&[("a".into(), found)]).unwrap();
        assert_eq!(table.rows[0][5..7], [json!(0.0875), json!("8.27 to 8.29")]);
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
        assert_eq!(comparison_table(&[]), None);
    }

    #[test]
    fn a_run_is_compared_by_its_record_and_its_last_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let compare = |name: &str, images: usize, sha256: &str| {
            let run = RunDirectory::create(&folder.path().join(name)).unwrap();
            let row = EpochRow {
                epoch: 1,
                train_loss: 0.1,
                train_error: 0.02,
                test_loss: 0.3,
                test_error: 0.086,
                lr: 0.1,
                images_per_second: 1.0,
                seconds: 1.0,
                gradient_norm: None,
                loss_scale: None,
            };
            run.write_metrics(&[row], "test").unwrap();
            let data = RecordedData {
                source: "/somewhere/else".into(),
                limit_train: None,
                limit_test: None,
                validation: None,
                resize: None,
                crop: None,
                pad: None,
                channels: None,
                train: None,
                test: Some(Fingerprint {
                    images,
                    sha256: sha256.into(),
                }),
            };
            let classes = "airplane automobile bird cat deer dog frog horse ship truck";
            let record = Record {
                version: Some("1".into()),
                model: Some("resnet20:shortcut=A,skip=identity,se=0,bias=no".into()),
                input: Some([3, 32, 32]),
                classes: Some(classes.split(' ').map(str::to_string).collect()),
                data: Some(data),
                ..Record::default()
            };
            let bias = Tensor {
                shape: vec![1],
                data: vec![0.5],
            };
            let tensors = TensorMap::from([("fc.bias".to_string(), bias)]);
            weights::write(&run.last(), &tensors, &record.metadata()).unwrap();
            Comparison::of_run(&run)
        };
        let labels = "51a50c4cea171dc3425be401c02a6c78beeef979aa1a98e7fe9ac3e4742e3ce1";
        let found = compare("all", 10_000, labels).unwrap();
        assert_eq!(
            (found.wrong, found.data, found.published.len()),
            (860, DataSet::Cifar10, 3)
        );
        assert_eq!(compare("part", 5000, labels), None);
        assert_eq!(compare("other", 10_000, "00"), None);
    }

    /// The labels of the real data set are those that it is known by.
    #[test]
    fn only_all_real_test_images_are_cifar_10() {
        let Some(folder) = crate::files::test_data("cifar-10-batches-bin") else {
            return;
        };
        let source: Source = folder.to_string_lossy().parse().unwrap();
        let mut set = source.load_test(None, 0).unwrap().images;
        let model = "resnet20".parse().unwrap();
        let compare = |set: &ImageSet| Comparison::new(&model, Depth::Constant, set, &Preparation::default(), 827);
        assert!(compare(&set).unwrap().line().contains("8.27 % wrong"));
        assert_eq!(compare(&set.clone().take(9999)), None);
        set.name = "CIFAR-10-C fog, severity 3, test".into();
        assert_eq!(compare(&set), None);
    }

    #[test]
    fn only_networks_that_were_trained_alike_are_compared() {
        let stochastic = |p_last, rule| Depth::Stochastic { p_last, rule };
        let errors = |model: &str, depth: Depth, data: DataSet| -> Vec<f64> {
            let found = comparison(model, depth, data);
            found.map_or_else(Vec::new, |found| {
                found.published.iter().map(|fact| fact.error).collect()
            })
        };
        let cifar = DataSet::Cifar10;
        assert_eq!(errors("resnet110", Depth::Constant, cifar), [6.43, 6.32, 6.73, 6.41]);
        assert_eq!(errors("resnet110", stochastic(0.5, DepthRule::Linear), cifar), [5.25]);
        assert!(errors("resnet110", stochastic(0.5, DepthRule::Uniform), cifar).is_empty());
        assert!(errors("resnet110", stochastic(0.8, DepthRule::Linear), cifar).is_empty());
        assert_eq!(errors("preact-110", Depth::Sampled(23), cifar), [5.96]);
        assert!(errors("preact-110", Depth::Sampled(22), cifar).is_empty());
        assert!(errors("resnet110", Depth::Constant, DataSet::Svhn).is_empty());
        assert!(errors("resnet8", Depth::Constant, cifar).is_empty());
        assert_eq!(errors("resnet18", Depth::Constant, cifar), [6.98]);
    }
}
