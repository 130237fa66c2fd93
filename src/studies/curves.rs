//! How do errors, losses and learning rates of several runs compare?

use serde_json::{Value, json};

use super::error::StudyError;
use super::published::{Comparison, comparison_table};
use crate::report::{Axis, Column, Figure, Item, Layer, Mark, Table};
use crate::train::{Config, EpochRow, RunDirectory, TestResult};

/// The settings and results of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunCurve {
    /// The directory's name.
    pub name: String,
    /// Its settings.
    pub config: Config,
    /// The results of each epoch.
    pub epochs: Vec<EpochRow>,
    /// What is published for the same network on the same images.
    pub published: Option<Comparison>,
    /// The test of a run with validation images, which its epochs evaluate; `None` before
    /// its end.
    pub test: Option<TestResult>,
}

impl RunCurve {
    /// Reads the settings and epochs of `run`.
    ///
    /// # Errors
    /// Where a file cannot be read, or the run has no finished epoch.
    pub fn read(run: &RunDirectory) -> Result<Self, StudyError> {
        let epochs = run.read_metrics()?;
        if epochs.is_empty() {
            return Err(StudyError::File {
                path: run.path().to_path_buf(),
                problem: "the run has no finished epoch; resume its training first".into(),
            });
        }
        let name = run.path().file_name().unwrap_or(run.path().as_os_str());
        Ok(RunCurve {
            name: name.to_string_lossy().into_owned(),
            config: run.read_config()?,
            epochs,
            published: Comparison::of_run(run),
            test: run.read_test()?,
        })
    }

    /// Loss and error on the test images: after the last epoch, or by the best weights of a
    /// run with validation images. `None` where such a run has not come to its end.
    fn test(&self) -> Option<[f64; 2]> {
        match (&self.test, self.epochs.last()) {
            (Some(test), _) => Some([test.loss, test.error]),
            (None, Some(last)) if self.config.validation == 0 => Some([last.test_loss, last.test_error]),
            _ => None,
        }
    }

    /// Which blocks ran in training, in words.
    fn depth(&self) -> String {
        match (self.config.stochastic_depth, self.config.sample_blocks) {
            (Some(p), _) => format!("{} to {p}, by {}", self.config.depth_rule, self.config.depth_per),
            (None, Some(blocks)) => format!("{blocks} blocks sampled"),
            (None, None) => "constant".into(),
        }
    }

    /// The smallest test error of an epoch; of a run with validation images, its only one.
    fn best(&self) -> Option<f64> {
        match self.config.validation {
            0 => self.epochs.iter().map(|row| row.test_error).min_by(f64::total_cmp),
            _ => self.test().map(|[_, error]| error),
        }
    }

    fn seconds(&self) -> f64 {
        self.epochs.iter().map(|row| row.seconds).sum()
    }
}

/// The runs with their epochs, as one JSON object.
pub fn curves_json(runs: &[RunCurve]) -> Value {
    let run = |run: &RunCurve| {
        let epochs: Vec<Value> = run
            .epochs
            .iter()
            .map(|row| {
                let mut epoch = json!({
                    "epoch": row.epoch, "train_loss": row.train_loss, "train_error": row.train_error,
                    "lr": row.lr, "seconds": row.seconds,
                });
                let evaluated = run.config.evaluated();
                epoch[format!("{evaluated}_loss")] = row.test_loss.into();
                epoch[format!("{evaluated}_error")] = row.test_error.into();
                epoch
            })
            .collect();
        let mut results = json!({
            "run": run.name, "model": run.config.model, "depth": run.depth(), "epochs": epochs,
        });
        if let Some(best) = run.best() {
            results["best_test_error"] = best.into();
        }
        if let Some(test) = &run.test {
            results["test_error"] = test.error.into();
            results["best_epoch"] = test.epoch.into();
        }
        if let Some(published) = &run.published {
            results["published"] = published.json();
        }
        results
    };
    json!({ "runs": runs.iter().map(run).collect::<Vec<_>>() })
}

/// What was found, in one sentence: the run with the smallest test error after
/// its last epoch, and the one with the largest.
pub fn curves_finding(runs: &[RunCurve]) -> String {
    let end_of = |run: &RunCurve| Some((run.epochs.last()?.epoch, run.test()?[1]));
    let ends: Vec<(&RunCurve, (u32, f64))> = runs.iter().filter_map(|run| Some((run, end_of(run)?))).collect();
    let by_error = |one: &&(&RunCurve, (u32, f64)), other: &&(&RunCurve, (u32, f64))| one.1.1.total_cmp(&other.1.1);
    let (Some(best), Some(worst)) = (ends.iter().min_by(by_error), ends.iter().max_by(by_error)) else {
        return String::new();
    };
    let end = |(run, (epochs, error)): &(&RunCurve, (u32, f64))| {
        let error = 100.0 * error;
        match &run.test {
            Some(test) => format!(
                "{} has a test error of {error:.2} % with the weights of epoch {}, which validation chose",
                run.name, test.epoch
            ),
            None => format!(
                "{} ends with a test error of {error:.2} % after {epochs} {}",
                run.name,
                if *epochs == 1 { "epoch" } else { "epochs" }
            ),
        }
    };
    match ends.len() {
        1 => format!("{}.", end(best)),
        count => format!(
            "Of {count} runs, {}, the smallest; {}, the largest.",
            end(best),
            end(worst)
        ),
    }
}

/// What the runs cost, in one sentence.
pub fn curves_cost(runs: &[RunCurve]) -> String {
    let seconds: f64 = runs.iter().map(RunCurve::seconds).sum();
    format!("The epochs of these runs took {seconds:.0} s.")
}

/// The sections of the report: error, loss, learning rate, and a table.
pub fn curves_items(runs: &[RunCurve]) -> Vec<Item> {
    let percent = |value: f64| format!("{:.2} %", 100.0 * value);
    let nats = |value: f64| format!("{value:.4} nats");
    let curve = |split, what, unit, factor, words: &dyn Fn(f64) -> String, value| {
        Item::Figure(split_figure(
            runs,
            &Quantity {
                split,
                what,
                unit,
                factor,
                words,
                value,
            },
        ))
    };
    let compared = runs
        .iter()
        .filter_map(|run| Some((run.name.clone(), run.published.clone()?)));
    let compared = comparison_table(&compared.collect::<Vec<_>>());
    let items = vec![
        Item::heading("Error"),
        curve("test", "error", "%", 100.0, &percent, |row| row.test_error),
        curve("training", "error", "%", 100.0, &percent, |row| row.train_error),
        Item::heading("Loss"),
        curve("test", "loss", "nats", 1.0, &nats, |row| row.test_loss),
        curve("training", "loss", "nats", 1.0, &nats, |row| row.train_loss),
        Item::heading("Learning rate"),
        Item::Figure(rate_figure(runs)),
        Item::heading("All runs"),
        Item::Table(table(runs)),
    ];
    items.into_iter().chain(compared.map(Item::Table)).collect()
}

/// What a figure shows of each epoch.
struct Quantity<'a> {
    split: &'static str,
    what: &'static str,
    unit: &'static str,
    factor: f64,
    words: &'a dyn Fn(f64) -> String,
    value: fn(&EpochRow) -> f64,
}

/// The images that were evaluated after each epoch of all runs.
fn evaluated(runs: &[RunCurve]) -> &'static str {
    let mut names = runs.iter().map(|run| run.config.evaluated());
    let first = names.next().unwrap_or("test");
    match names.all(|name| name == first) {
        true => first,
        false => "evaluated",
    }
}

fn split_figure(runs: &[RunCurve], quantity: &Quantity) -> Figure {
    let Quantity { split, what, unit, .. } = quantity;
    let images = match *split {
        "training" => "training",
        _ => evaluated(runs),
    };
    let mark = |run: &RunCurve, row: &EpochRow| {
        let value = (quantity.value)(row);
        let split = match *split {
            "training" => "training",
            _ => run.config.evaluated(),
        };
        Mark::new(
            f64::from(row.epoch),
            quantity.factor * value,
            format!(
                "{}, epoch {}: {split} {what} {}",
                run.name,
                row.epoch,
                (quantity.words)(value)
            ),
        )
    };
    Figure {
        name: format!("{split}-{what}"),
        title: format!("{} on {images} images by epoch", capitalised(what)),
        caption: match *split {
            "training" => {
                "Measured during training: on augmented images, with the blocks that ran in each step.".into()
            }
            _ => match runs.iter().any(|run| run.config.validation > 0) {
                true => "Measured after each epoch, on the validation images of the runs that have some, else on the \
                         test images."
                    .into(),
                false => "Measured after each epoch, on the test images of the run.".into(),
            },
        },
        emphasis: String::new(),
        x: Axis::linear("epoch"),
        y: Axis::linear(format!("{images} {what} ({unit})")),
        layers: runs.iter().map(|run| line(run, mark)).collect(),
    }
}

fn rate_figure(runs: &[RunCurve]) -> Figure {
    let rates = || runs.iter().flat_map(|run| &run.epochs).map(|row| row.lr);
    let (least, most) = rates().fold((f64::INFINITY, 0.0_f64), |(low, high), rate| {
        (low.min(rate), high.max(rate))
    });
    let mark = |run: &RunCurve, row: &EpochRow| {
        let text = format!("{}, epoch {}: learning rate {:.3e}", run.name, row.epoch, row.lr);
        Mark::new(f64::from(row.epoch), row.lr, text)
    };
    Figure {
        name: "learning-rate".into(),
        title: "Learning rate by epoch".into(),
        caption: "The learning rate of the last step of each epoch.".into(),
        emphasis: String::new(),
        x: Axis::linear("epoch"),
        // Steps by factors are even on a logarithmic axis, which has no place for zero.
        y: if least > 0.0 && most > 20.0 * least {
            Axis::log("learning rate")
        } else {
            Axis::linear("learning rate")
        },
        layers: runs.iter().map(|run| line(run, mark)).collect(),
    }
}

fn line(run: &RunCurve, mark: impl Fn(&RunCurve, &EpochRow) -> Mark) -> Layer {
    Layer::Line {
        label: format!("{} ({})", run.name, run.config.model_name()),
        marks: run.epochs.iter().map(|row| mark(run, row)).collect(),
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

fn table(runs: &[RunCurve]) -> Table {
    let row = |run: &RunCurve| -> Option<Vec<Value>> {
        let last = run.epochs.last()?;
        let [test_loss, test_error] = run.test().map_or([None; 2], |values| values.map(Some));
        Some(vec![
            run.name.clone().into(),
            run.config.model_name().into(),
            run.depth().into(),
            last.epoch.into(),
            last.train_error.into(),
            test_error.into(),
            last.train_loss.into(),
            test_loss.into(),
            last.lr.into(),
            run.best().into(),
            run.seconds().into(),
        ])
    };
    Table {
        name: "runs".into(),
        title: "After the last epoch".into(),
        columns: vec![
            Column::plain("run", "run"),
            Column::plain("model", "model"),
            Column::plain("depth", "depth"),
            Column::plain("epochs", "epochs"),
            Column::percent("train_error", "training error (%)"),
            Column::percent("test_error", "test error (%)"),
            Column::number("train_loss", "training loss (nats)", 4),
            Column::number("test_loss", "test loss (nats)", 4),
            Column::number("lr", "learning rate", 6),
            Column::percent("best_test_error", "test error of the best epoch (%)"),
            Column::number("seconds", "seconds", 0),
        ],
        rows: runs.iter().filter_map(row).collect(),
        file_only: false,
    }
}
