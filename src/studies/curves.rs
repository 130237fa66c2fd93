//! How do the test and training errors of several runs compare?

use serde_json::{Value, json};

use super::error::StudyError;
use crate::report::{Axis, Column, Figure, Item, Layer, Mark, Table};
use crate::train::{Config, EpochRow, RunDirectory};

/// The settings and results of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunCurve {
    /// The directory's name.
    pub name: String,
    /// Its settings.
    pub config: Config,
    /// The results of each epoch.
    pub epochs: Vec<EpochRow>,
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
        })
    }

    /// Which blocks ran in training, in words.
    fn depth(&self) -> String {
        match (self.config.stochastic_depth, self.config.sample_blocks) {
            (Some(p), _) => format!("{} to {p}, by {}", self.config.depth_rule, self.config.depth_per),
            (None, Some(blocks)) => format!("{blocks} blocks sampled"),
            (None, None) => "constant".into(),
        }
    }

    fn best(&self) -> f64 {
        self.epochs
            .iter()
            .map(|row| row.test_error)
            .fold(f64::INFINITY, f64::min)
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
                json!({
                    "epoch": row.epoch, "train_loss": row.train_loss, "train_error": row.train_error,
                    "test_loss": row.test_loss, "test_error": row.test_error, "seconds": row.seconds,
                })
            })
            .collect();
        json!({
            "run": run.name, "model": run.config.model, "depth": run.depth(), "best_test_error": run.best(),
            "epochs": epochs,
        })
    };
    json!({ "runs": runs.iter().map(run).collect::<Vec<_>>() })
}

/// The sections of the report.
pub fn curves_items(runs: &[RunCurve]) -> Vec<Item> {
    let mut items = vec![
        Item::Figure(error_figure(runs, "test", |row| row.test_error)),
        Item::Figure(error_figure(runs, "training", |row| row.train_error)),
    ];
    items.push(Item::Table(table(runs)));
    items
}

fn error_figure(runs: &[RunCurve], split: &str, value: fn(&EpochRow) -> f64) -> Figure {
    let line = |run: &RunCurve| {
        let mark = |row: &EpochRow| {
            let error = 100.0 * value(row);
            Mark::new(
                f64::from(row.epoch),
                error,
                format!("{}, epoch {}: {split} error {error:.2} %", run.name, row.epoch),
            )
        };
        Layer::Line {
            label: format!("{} ({})", run.name, run.config.model),
            marks: run.epochs.iter().map(mark).collect(),
        }
    };
    Figure {
        name: format!("{split}-error"),
        title: format!("Error on {split} images by epoch"),
        caption: match split {
            "training" => {
                "Measured during training: on augmented images, with the blocks that ran in each step.".into()
            }
            _ => "Measured after each epoch, on the test images of the run.".into(),
        },
        x: Axis::linear("epoch"),
        y: Axis::linear(format!("{split} error (%)")),
        layers: runs.iter().map(line).collect(),
    }
}

fn table(runs: &[RunCurve]) -> Table {
    let row = |run: &RunCurve| -> Option<Vec<Value>> {
        let last = run.epochs.last()?;
        Some(vec![
            run.name.clone().into(),
            run.config.model.clone().into(),
            run.depth().into(),
            last.epoch.into(),
            last.train_error.into(),
            last.test_error.into(),
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
            Column::percent("best_test_error", "best epoch (%)"),
            Column::plain("seconds", "seconds"),
        ],
        rows: runs.iter().filter_map(row).collect(),
        file_only: false,
    }
}
