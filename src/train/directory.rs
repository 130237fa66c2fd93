//! Which files does a run's directory hold, and how are they written?
//!
//! Every file appears whole or not at all. The tables are rewritten completely
//! each time, with the rows up to the current step. A run that was interrupted
//! between two writes continues from its checkpoint, and rows after it are
//! dropped.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::config::Config;
use crate::files::{SETTINGS_LIMIT, TEXT_LIMIT, read_text, write_atomic};
use crate::models::{ModelError, ModelSpec};
use crate::tuning::{TuningCache, read_tuning_file};

const METRICS_HEADER: &str = "epoch,train_loss,train_error,test_loss,test_error,lr,images_per_second,seconds";
const STEPS_HEADER: &str = "step,loss,error,lr";
const GRADIENTS_HEADER: &str = "step,mean_abs_gradient";

/// A row of `metrics.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochRow {
    /// From 1.
    pub epoch: u32,
    /// Mean loss of the training images during the epoch, nats.
    pub train_loss: f64,
    /// Their error, a fraction.
    pub train_error: f64,
    /// Mean loss of the test images after the epoch.
    pub test_loss: f64,
    /// Their error.
    pub test_error: f64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// Duration of the epoch with its test, seconds.
    pub seconds: f64,
}

/// A row of `steps.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRow {
    /// From 1.
    pub step: u32,
    /// Mean loss of the batch, nats.
    pub loss: f32,
    /// Its error, a fraction.
    pub error: f64,
    /// Learning rate.
    pub lr: f64,
}

/// A row of `gradients.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradientRow {
    /// From 1.
    pub step: u32,
    /// Mean absolute gradient of the first convolution's weights, nats per unit
    /// of weight, without weight decay.
    pub mean_abs: f64,
}

/// Which version and adapter made a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MadeBy {
    /// This program's version.
    pub version: String,
    /// Adapter, interface and driver.
    pub adapter: String,
}

/// The contents of `run.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RunFile {
    #[serde(flatten)]
    config: toml::Table,
    made_by: Option<MadeBy>,
}

/// A run's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// A new directory at `path`; it must not hold a run yet.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        let run = RunDirectory {
            path: path.to_path_buf(),
        };
        if run.config_path().exists() {
            return Err(TrainError::RunExists { path: run.path });
        }
        let made = std::fs::create_dir_all(path);
        made.map_err(|error| run.problem(&format!("cannot be created: {error}")))?;
        Ok(run)
    }

    /// The run at `path`.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let run = RunDirectory {
            path: path.to_path_buf(),
        };
        if !run.config_path().is_file() {
            return Err(TrainError::NoRun { path: run.path });
        }
        Ok(run)
    }

    /// The run under `folder` whose `run.toml` changed last.
    pub fn newest(folder: &Path) -> Result<Self, TrainError> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let changed = |run: &RunDirectory| {
            run.path
                .join("run.toml")
                .metadata()
                .and_then(|file| file.modified())
                .ok()
        };
        let runs = entries.filter_map(|entry| RunDirectory::open(&entry.path()).ok());
        runs.max_by_key(changed).ok_or_else(|| TrainError::NoRuns {
            path: folder.to_path_buf(),
        })
    }

    /// A directory under `folder` that does not exist yet, named after `model`
    /// and `data`.
    pub fn unused(folder: &Path, model: &str, data: &str) -> PathBuf {
        let plain = |text: &str| -> String {
            let kept = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
            text.chars().map(kept).collect()
        };
        let data = data.split(':').next().unwrap_or_default();
        let name = format!("{}-{}", plain(model), plain(data));
        let numbered = (1..).map(|number| folder.join(format!("{name}-{number}")));
        numbered
            .into_iter()
            .find(|path| !path.exists())
            .expect("one of all numbers is unused")
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn config_path(&self) -> PathBuf {
        self.path.join("run.toml")
    }

    /// The checkpoint that training continues from.
    pub fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }

    /// The weights with the smallest test error of an epoch.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    fn problem(&self, problem: &str) -> TrainError {
        TrainError::Run {
            path: self.path.clone(),
            problem: problem.to_string(),
        }
    }

    /// Writes `run.toml`.
    pub fn write_config(&self, config: &Config, made_by: &MadeBy) -> Result<(), TrainError> {
        let table = toml::Table::try_from(config).map_err(|error| self.problem(&error.to_string()))?;
        let file = RunFile {
            config: table,
            made_by: Some(made_by.clone()),
        };
        let text = toml::to_string(&file).map_err(|error| self.problem(&error.to_string()))?;
        Ok(write_atomic(&self.config_path(), text.as_bytes())?)
    }

    /// Reads `run.toml`.
    pub fn read_config(&self) -> Result<Config, TrainError> {
        read_config(&self.config_path())
    }

    /// The built-in network that the run trains.
    ///
    /// # Errors
    /// [`TrainError::ForeignNetwork`] where `run.toml` names a network that
    /// is not built in: the program that defines it opens the run by
    /// [`Trainer::open`](super::Trainer::open).
    pub fn read_model(&self) -> Result<ModelSpec, TrainError> {
        let name = self.read_config()?.model;
        name.parse().map_err(|error| match error {
            ModelError::UnknownModel { .. } => TrainError::ForeignNetwork {
                path: self.path.clone(),
                name,
            },
            error => TrainError::Model(error),
        })
    }

    /// Which version and adapter made the run, if `run.toml` names them.
    pub fn read_made_by(&self) -> Option<MadeBy> {
        let text = read_text(&self.config_path(), SETTINGS_LIMIT).ok()?;
        toml::from_str::<RunFile>(&text).ok()?.made_by
    }

    fn tuning_path(&self) -> PathBuf {
        self.path.join("tuning.toml")
    }

    /// Writes `tuning.toml`: the kernels that the run uses. If all of them are
    /// default algorithms, there is no such file.
    pub fn write_tuning(&self, cache: Option<&TuningCache>) -> Result<(), TrainError> {
        let path = self.tuning_path();
        match cache {
            Some(cache) => Ok(write_atomic(&path, cache.to_text().as_bytes())?),
            // It is from a run that was interrupted before its first checkpoint.
            None if path.exists() => std::fs::remove_file(&path)
                .map_err(|error| self.problem(&format!("the old tuning.toml cannot be removed: {error}"))),
            None => Ok(()),
        }
    }

    /// Reads `tuning.toml`; empty if the file does not exist.
    pub fn read_tuning(&self) -> Result<TuningCache, TrainError> {
        if !self.tuning_path().exists() {
            return Ok(TuningCache::default());
        }
        Ok(read_tuning_file(&self.tuning_path())?)
    }

    /// Writes `metrics.csv`.
    pub fn write_metrics(&self, rows: &[EpochRow]) -> Result<(), TrainError> {
        let mut text = format!("{METRICS_HEADER}\n");
        for row in rows {
            let _ = writeln!(
                text,
                "{},{:.6},{:.6},{:.6},{:.6},{},{:.1},{:.2}",
                row.epoch,
                row.train_loss,
                row.train_error,
                row.test_loss,
                row.test_error,
                row.lr,
                row.images_per_second,
                row.seconds
            );
        }
        Ok(write_atomic(&self.path.join("metrics.csv"), text.as_bytes())?)
    }

    /// The rows of `metrics.csv`; none if the file does not exist.
    pub fn read_metrics(&self) -> Result<Vec<EpochRow>, TrainError> {
        self.read_rows("metrics.csv", |cells| {
            Some(EpochRow {
                epoch: cells.first()?.parse().ok()?,
                train_loss: cells.get(1)?.parse().ok()?,
                train_error: cells.get(2)?.parse().ok()?,
                test_loss: cells.get(3)?.parse().ok()?,
                test_error: cells.get(4)?.parse().ok()?,
                lr: cells.get(5)?.parse().ok()?,
                images_per_second: cells.get(6)?.parse().ok()?,
                seconds: cells.get(7)?.parse().ok()?,
            })
        })
    }

    /// Writes `steps.csv`.
    pub fn write_steps(&self, rows: &[StepRow]) -> Result<(), TrainError> {
        let mut text = format!("{STEPS_HEADER}\n");
        for row in rows {
            let _ = writeln!(text, "{},{},{},{}", row.step, row.loss, row.error, row.lr);
        }
        Ok(write_atomic(&self.path.join("steps.csv"), text.as_bytes())?)
    }

    /// The rows of `steps.csv`; none if the file does not exist.
    pub fn read_steps(&self) -> Result<Vec<StepRow>, TrainError> {
        self.read_rows("steps.csv", |cells| {
            Some(StepRow {
                step: cells.first()?.parse().ok()?,
                loss: cells.get(1)?.parse().ok()?,
                error: cells.get(2)?.parse().ok()?,
                lr: cells.get(3)?.parse().ok()?,
            })
        })
    }

    /// Writes `gradients.csv`.
    pub fn write_gradients(&self, rows: &[GradientRow]) -> Result<(), TrainError> {
        let mut text = format!("{GRADIENTS_HEADER}\n");
        for row in rows {
            let _ = writeln!(text, "{},{}", row.step, row.mean_abs);
        }
        Ok(write_atomic(&self.path.join("gradients.csv"), text.as_bytes())?)
    }

    /// The rows of `gradients.csv`; none if the file does not exist.
    pub fn read_gradients(&self) -> Result<Vec<GradientRow>, TrainError> {
        self.read_rows("gradients.csv", |cells| {
            Some(GradientRow {
                step: cells.first()?.parse().ok()?,
                mean_abs: cells.get(1)?.parse().ok()?,
            })
        })
    }

    fn read_rows<T>(&self, name: &str, parse: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>, TrainError> {
        let Ok(text) = read_text(&self.path.join(name), TEXT_LIMIT) else {
            return Ok(Vec::new());
        };
        let row = |(index, line): (usize, &str)| {
            let cells: Vec<&str> = line.split(',').collect();
            parse(&cells)
                .ok_or_else(|| self.problem(&format!("line {} of {name} is damaged; remove the file", index + 2)))
        };
        text.lines().skip(1).enumerate().map(row).collect()
    }

    /// Writes `curves.svg`.
    pub fn write_curves(&self, svg: &str) -> Result<(), TrainError> {
        Ok(write_atomic(&self.path.join("curves.svg"), svg.as_bytes())?)
    }
}

/// Reads a configuration file: a `run.toml`, or one written by hand.
pub fn read_config(path: &Path) -> Result<Config, TrainError> {
    let problem = |problem: String| TrainError::Run {
        path: path.to_path_buf(),
        problem,
    };
    let text = read_text(path, SETTINGS_LIMIT).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let mut table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| problem(first_line(&error.to_string())))?;
    table.remove("made-by");
    table
        .try_into()
        .map_err(|error: toml::de::Error| problem(first_line(error.message())))
}

fn first_line(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = RunDirectory::unused(folder.path(), "resnet20:shortcut=B", "cifar10:/x");
        let run = RunDirectory::create(&path).unwrap();
        let config = Config {
            lr: 0.25,
            ..Config::default()
        };
        let made_by = MadeBy {
            version: "1".into(),
            adapter: "a".into(),
        };
        run.write_config(&config, &made_by).unwrap();
        assert_eq!(run.read_config().unwrap(), config);
        assert_eq!(run.read_made_by(), Some(made_by));
        assert_eq!(RunDirectory::newest(folder.path()).unwrap(), run);
        assert!(RunDirectory::create(&path).is_err());
        assert_ne!(
            RunDirectory::unused(folder.path(), "resnet20:shortcut=B", "cifar10:/x"),
            path
        );
        let step = StepRow {
            step: 1,
            loss: 2.25,
            error: 0.9,
            lr: 0.1,
        };
        run.write_steps(&[step]).unwrap();
        assert_eq!(run.read_steps().unwrap(), [step]);
        // Rows that are read back must have the same bits: the files of a
        // resumed run must equal those of an uninterrupted one.
        let gradient = GradientRow {
            step: 3,
            mean_abs: 0.1 + 0.2,
        };
        run.write_gradients(&[gradient]).unwrap();
        assert_eq!(run.read_gradients().unwrap(), [gradient]);
        assert_eq!(run.read_metrics().unwrap(), []);
    }

    #[test]
    fn a_damaged_configuration_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        for text in ["epochs = ", "epochs = 'a'", "nonsense = 1"] {
            std::fs::write(&path, text).unwrap();
            let message = read_config(&path).unwrap_err().to_string();
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
