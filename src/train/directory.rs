//! Which files does a run's directory hold, and how are they written?
//!
//! Every file appears whole or not at all. The tables are rewritten completely
//! each time, with the rows up to the current step. A run that was interrupted
//! between two writes continues from its checkpoint, and rows after it are
//! dropped.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::config::Config;
use crate::data::Source;
use crate::files::{DirectoryLock, SETTINGS_LIMIT, TEXT_LIMIT, append, read_text, write_atomic};
use crate::models::{ModelError, ModelSpec};
use crate::shown::shown_sentence;
use crate::tuning::{TuningCache, read_tuning_file};

/// The columns of `metrics.csv`, where SET is the images that are evaluated after an
/// epoch.
const METRICS_HEADER: &str =
    "epoch,train_loss,train_error,SET_loss,SET_error,lr,images_per_second,seconds,gradient_norm,loss_scale";
const STEPS_HEADER: &str = "step,loss,error,lr";
const GRADIENTS_HEADER: &str = "step,mean_abs_gradient";

/// The kernels of a run.
const TUNING: &str = "tuning.toml";
/// The tables of a run, and the figure drawn from them.
const TABLES: [&str; 4] = ["metrics.csv", "steps.csv", "gradients.csv", "curves.svg"];
/// The other files of a run beside `run.toml`.
const OTHERS: [&str; 5] = ["last.safetensors", "best.safetensors", TUNING, DIVERGED, TEST];
/// Where a run diverged.
const DIVERGED: &str = "diverged.toml";
/// The test of a run with validation images.
const TEST: &str = "test.toml";

/// A row of `metrics.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochRow {
    /// From 1.
    pub epoch: u32,
    /// Mean loss of the training images during the epoch, nats.
    pub train_loss: f64,
    /// Their error, a fraction.
    pub train_error: f64,
    /// Mean loss of the test images after the epoch; of the validation images, where the
    /// run has some.
    pub test_loss: f64,
    /// Their error.
    pub test_error: f64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// Duration of the epoch with its test, seconds.
    pub seconds: f64,
    /// Norm of the gradients of all parameters together in the epoch's last step, of the
    /// loss alone and before it is limited. `None` where gradients overflowed in that
    /// step, and in rows of older versions.
    pub gradient_norm: Option<f32>,
    /// The loss scale after that step: 1 where gradients are stored in 32 bits. `None` in
    /// rows of older versions.
    pub loss_scale: Option<f32>,
}

/// The test of a run with validation images, once at its end: the contents of
/// `test.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TestResult {
    /// The epoch after which the validation error was the smallest, from 1. Its weights
    /// are those that are tested.
    pub epoch: u32,
    /// That error, a fraction.
    pub validation_error: f64,
    /// Number of test images.
    pub images: usize,
    /// Those that are classified wrong.
    pub wrong: usize,
    /// `wrong / images`.
    pub error: f64,
    /// Mean loss of the test images, nats.
    pub loss: f64,
    /// The SHA-256 of `best.safetensors`.
    pub weights: String,
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

impl EpochRow {
    /// The row as text, without the columns that depend on how fast the computer is at
    /// the moment.
    pub(super) fn without_time(&self) -> String {
        // Rows of older versions end before them, and checkpoints have a hash of rows.
        match (self.gradient_norm, self.loss_scale) {
            (None, None) => self.errors(),
            _ => format!("{},{}", self.errors(), self.scales()),
        }
    }

    /// The columns that come after those that depend on time. What is not known is NaN, so
    /// that every cell is a number.
    fn scales(&self) -> String {
        let [norm, scale] = [self.gradient_norm, self.loss_scale].map(|value| value.unwrap_or(f32::NAN));
        format!("{norm},{scale}")
    }

    /// The columns that come before them.
    fn errors(&self) -> String {
        let EpochRow {
            epoch,
            train_loss,
            train_error,
            test_loss,
            test_error,
            lr,
            ..
        } = self;
        format!("{epoch},{train_loss:.6},{train_error:.6},{test_loss:.6},{test_error:.6},{lr}")
    }
}

impl fmt::Display for StepRow {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{},{},{},{}", self.step, self.loss, self.error, self.lr)
    }
}

impl fmt::Display for GradientRow {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{},{}", self.step, self.mean_abs)
    }
}

/// Which version and adapter made a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MadeBy {
    /// This program's version.
    pub version: String,
    /// Adapter, interface and driver.
    pub adapter: String,
    /// Where the run went on with another length than it had, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<Extension>,
}

/// A run went on with another length than it had. Steps before kept the learning
/// rates of the old length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Extension {
    /// The steps taken when it went on.
    pub at_step: u32,
    /// The steps that it would have had.
    pub from_steps: u32,
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
///
/// One process at a time owns it: the one that [`Self::create`],
/// [`Self::create_under`] or [`Self::resume`] gave it to, until the value and
/// its clones are dropped. Readers [`Self::open`] it without owning it.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
    owner: Option<Arc<DirectoryLock>>,
}

impl PartialEq for RunDirectory {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for RunDirectory {}

impl RunDirectory {
    /// A new run at `path`, which is made where it does not exist. A run there
    /// that has no checkpoint yet is begun anew.
    ///
    /// # Errors
    /// Where another process owns the directory, a run with a checkpoint is
    /// there, or a file that is no run's has the name of one.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        let run = RunDirectory {
            path: path.to_path_buf(),
            owner: Some(Arc::new(DirectoryLock::exclusive(path)?)),
        };
        if run.config_path().exists() {
            let begun = run.has_no_checkpoint() && read_made_by(&run.config_path()).is_ok();
            return match begun {
                true => Ok(run),
                false => Err(TrainError::RunExists { path: run.path }),
            };
        }
        let events = run.event_files().into_iter();
        let events = events.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let names = TABLES.into_iter().chain(OTHERS).map(str::to_string).chain(events);
        match names.into_iter().find(|name| run.is_foreign(name)) {
            None => Ok(run),
            Some(name) => Err(run.problem(&format!("{name} is there, which is no run's; choose another directory"))),
        }
    }

    /// A new run in a directory under `folder` that did not exist, named after
    /// `model` and `data` and numbered.
    ///
    /// # Errors
    /// Where no directory can be made there.
    pub fn create_under(folder: &Path, model: &str, data: &str) -> Result<Self, TrainError> {
        let plain = |text: &str| -> String {
            let kept = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
            text.chars().map(kept).collect()
        };
        let data = data
            .parse()
            .map_or_else(|_| data.into(), |data: Source| data.short_name());
        let name = format!("{}-{}", plain(model), plain(&data));
        let numbered = (1_u64..).map(|number| folder.join(format!("{name}-{number}")));
        for path in numbered {
            // Two processes that ask for the same name get two.
            if let Some(lock) = DirectoryLock::new_directory(&path)? {
                let owner = Some(Arc::new(lock));
                return Ok(RunDirectory { path, owner });
            }
        }
        unreachable!("one of all numbers is unused")
    }

    /// The run at `path`, to read.
    ///
    /// # Errors
    /// Where no run is there.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let run = RunDirectory {
            path: path.to_path_buf(),
            owner: None,
        };
        if !run.config_path().is_file() {
            return Err(TrainError::NoRun { path: run.path });
        }
        Ok(run)
    }

    /// The run at `path`, to continue; where none is there, a new one.
    ///
    /// # Errors
    /// As [`Self::resume`] and [`Self::create`].
    pub fn begin_or_resume(path: &Path) -> Result<Self, TrainError> {
        let begun = || Self::open(path).ok().filter(|run| !run.has_no_checkpoint());
        if let Some(run) = begun() {
            return run.owned();
        }
        match (Self::create(path), begun()) {
            // By another process in between.
            (Err(TrainError::RunExists { .. }), Some(run)) => run.owned(),
            (created, _) => created,
        }
    }

    /// The run at `path`, to continue.
    ///
    /// # Errors
    /// Where no run is there, or another process owns the directory.
    pub fn resume(path: &Path) -> Result<Self, TrainError> {
        Self::open(path)?.owned()
    }

    /// This directory with its lock, which is taken if it is not held yet.
    pub(super) fn owned(&self) -> Result<Self, TrainError> {
        let owner = match &self.owner {
            Some(owner) => Arc::clone(owner),
            None => Arc::new(DirectoryLock::exclusive(&self.path)?),
        };
        Ok(RunDirectory {
            path: self.path.clone(),
            owner: Some(owner),
        })
    }

    /// A line for the user, where the directory's file system has no locks.
    pub fn note(&self) -> Option<String> {
        self.owner.as_ref()?.note()
    }

    /// The run under `folder` that has a checkpoint and whose checkpoint was
    /// written last.
    ///
    /// # Errors
    /// Where no run there has a checkpoint.
    pub fn newest(folder: &Path) -> Result<Self, TrainError> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let trained = |run: RunDirectory| {
            let written = run.last().metadata().and_then(|file| file.modified()).ok()?;
            Some((written, run))
        };
        let runs = entries.filter_map(|entry| RunDirectory::open(&entry.path()).ok().and_then(trained));
        let newest = runs.max_by_key(|(written, _)| *written);
        newest.map(|(_, run)| run).ok_or_else(|| TrainError::NoRuns {
            path: folder.to_path_buf(),
        })
    }

    /// Whether training has not come to its first checkpoint.
    pub fn has_no_checkpoint(&self) -> bool {
        !self.last().exists() && !self.best().exists()
    }

    /// Whether the file `name` exists, but is no run's.
    fn is_foreign(&self, name: &str) -> bool {
        // The kernels are written before `run.toml`: a run that was killed in
        // between left them.
        let path = self.path.join(name);
        path.symlink_metadata().is_ok() && !(name == TUNING && read_tuning_file(&path).is_ok())
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

    /// The weights with the smallest test error of an epoch; with the smallest validation
    /// error, where the run has validation images.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    fn problem(&self, problem: &str) -> TrainError {
        TrainError::Run {
            path: self.path.clone(),
            problem: problem.to_string(),
        }
    }

    /// Removes the tables and events of a run that is begun anew.
    pub(super) fn clear(&self) -> Result<(), TrainError> {
        let tables = TABLES
            .into_iter()
            .chain([DIVERGED, TEST])
            .map(|name| self.path.join(name));
        for path in tables.chain(self.event_files()).filter(|path| path.exists()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            std::fs::remove_file(&path)
                .map_err(|error| self.problem(&format!("the old {name} cannot be removed: {error}")))?;
        }
        Ok(())
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

    /// Which version and adapter made the run.
    ///
    /// # Errors
    /// Where `run.toml` does not say it to its end, as a file that was cut short.
    pub fn read_made_by(&self) -> Result<MadeBy, TrainError> {
        read_made_by(&self.config_path())
    }

    fn tuning_path(&self) -> PathBuf {
        self.path.join(TUNING)
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

    /// Writes `metrics.csv`; after each epoch, the `evaluated` images ("test" or
    /// "validation") were evaluated.
    pub fn write_metrics(&self, rows: &[EpochRow], evaluated: &str) -> Result<(), TrainError> {
        let mut text = METRICS_HEADER.replace("SET", evaluated) + "\n";
        for row in rows {
            let timed = (row.images_per_second, row.seconds);
            let (errors, scales) = (row.errors(), row.scales());
            let _ = writeln!(text, "{errors},{:.1},{:.2},{scales}", timed.0, timed.1);
        }
        Ok(write_atomic(&self.path.join("metrics.csv"), text.as_bytes())?)
    }

    /// The rows of `metrics.csv`; none if the file does not exist.
    pub fn read_metrics(&self) -> Result<Vec<EpochRow>, TrainError> {
        self.read_rows("metrics.csv", |cells| {
            // Older versions have no such column; a value that is not known is NaN.
            let later = |column: usize| {
                let value = cells.get(column).map_or(Ok(f32::NAN), |cell| cell.parse::<f32>());
                value.ok().map(|value| Some(value).filter(|value| !value.is_nan()))
            };
            Some(EpochRow {
                epoch: cells.first()?.parse().ok()?,
                train_loss: cells.get(1)?.parse().ok()?,
                train_error: cells.get(2)?.parse().ok()?,
                test_loss: cells.get(3)?.parse().ok()?,
                test_error: cells.get(4)?.parse().ok()?,
                lr: cells.get(5)?.parse().ok()?,
                images_per_second: cells.get(6)?.parse().ok()?,
                seconds: cells.get(7)?.parse().ok()?,
                gradient_norm: later(8)?,
                loss_scale: later(9)?,
            })
        })
    }

    /// Writes `test.toml`.
    pub fn write_test(&self, test: &TestResult) -> Result<(), TrainError> {
        let text = toml::to_string(test).map_err(|error| self.problem(&error.to_string()))?;
        Ok(write_atomic(&self.path.join(TEST), text.as_bytes())?)
    }

    /// The test of a run with validation images; `None` before its end, and for other
    /// runs.
    ///
    /// # Errors
    /// Where the file is damaged.
    pub fn read_test(&self) -> Result<Option<TestResult>, TrainError> {
        let path = self.path.join(TEST);
        if !path.exists() {
            return Ok(None);
        }
        let text = read_text(&path, SETTINGS_LIMIT).ok();
        let test = text.and_then(|text| toml::from_str(&text).ok());
        let damaged = || self.problem(&format!("{TEST} is damaged; remove it to test the run again"));
        test.map(Some).ok_or_else(damaged)
    }

    /// Removes `test.toml` of a run that goes on.
    pub(super) fn remove_test(&self) -> Result<(), TrainError> {
        let path = self.path.join(TEST);
        if !path.exists() {
            return Ok(());
        }
        std::fs::remove_file(&path).map_err(|error| self.problem(&format!("the old {TEST} cannot be removed: {error}")))
    }

    /// Writes `steps.csv`.
    pub fn write_steps(&self, rows: &[StepRow]) -> Result<(), TrainError> {
        let text = format!("{STEPS_HEADER}\n{}", step_lines(rows));
        Ok(write_atomic(&self.path.join("steps.csv"), text.as_bytes())?)
    }

    /// Whether there is a `steps.csv`.
    pub fn has_steps(&self) -> bool {
        self.path.join("steps.csv").exists()
    }

    /// Adds rows to `steps.csv`, which [`Self::write_steps`] has written.
    pub fn append_steps(&self, rows: &[StepRow]) -> Result<(), TrainError> {
        Ok(append(&self.path.join("steps.csv"), step_lines(rows).as_bytes())?)
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
            let _ = writeln!(text, "{row}");
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
        // Rows are also added one by one: a last line that was cut short is none.
        let text = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let row = |(index, line): (usize, &str)| {
            let cells: Vec<&str> = line.split(',').collect();
            parse(&cells)
                .ok_or_else(|| self.problem(&format!("line {} of {name} is damaged; remove the file", index + 2)))
        };
        text.lines().skip(1).enumerate().map(row).collect()
    }

    /// Records that training diverges at `step` (from 1), which it does again
    /// with the same settings.
    pub fn write_diverged(&self, step: u32) -> Result<(), TrainError> {
        let text = format!("step = {step}\n");
        Ok(write_atomic(&self.path.join(DIVERGED), text.as_bytes())?)
    }

    /// The step at which training diverged, if that is recorded.
    ///
    /// # Errors
    /// Where the record is damaged.
    pub fn read_diverged(&self) -> Result<Option<u32>, TrainError> {
        let path = self.path.join(DIVERGED);
        if !path.exists() {
            return Ok(None);
        }
        let step = read_text(&path, SETTINGS_LIMIT)
            .ok()
            .and_then(|text| text.parse::<toml::Table>().ok())
            .and_then(|table| table.get("step")?.as_integer()?.try_into().ok());
        let damaged = || self.problem(&format!("{DIVERGED} is damaged; remove it to train the run again"));
        step.map(Some).ok_or_else(damaged)
    }

    /// Writes `curves.svg`.
    pub fn write_curves(&self, svg: &str) -> Result<(), TrainError> {
        Ok(write_atomic(&self.path.join("curves.svg"), svg.as_bytes())?)
    }
}

/// The lines of `steps.csv` for `rows`.
fn step_lines(rows: &[StepRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
    text
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

/// The last table of a `run.toml`, which names its program.
fn read_made_by(path: &Path) -> Result<MadeBy, TrainError> {
    let problem = |problem: String| TrainError::Run {
        path: path.to_path_buf(),
        problem,
    };
    let text = read_text(path, SETTINGS_LIMIT).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let file = toml::from_str::<RunFile>(&text).map_err(|error| problem(first_line(error.message())))?;
    file.made_by.ok_or_else(|| {
        problem("it is cut short: its last part, made-by, is missing; restore the file, or start a new run".to_string())
    })
}

/// An error of the TOML reader, which quotes the file, in one line.
fn first_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    shown_sentence(&lines.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let under = || RunDirectory::create_under(folder.path(), "resnet20:shortcut=B", "cifar10:/x").unwrap();
        let run = under();
        assert!(run.path().ends_with("resnet20-shortcut-B-cifar10-1"));
        let config = Config {
            lr: 0.25,
            ..Config::default()
        };
        let made_by = MadeBy {
            version: "1".into(),
            adapter: "a".into(),
            extended: Vec::new(),
        };
        run.write_config(&config, &made_by).unwrap();
        assert_eq!(run.read_config().unwrap(), config);
        assert_eq!(run.read_made_by().unwrap(), made_by);
        assert_ne!(under(), run);
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
        let row = EpochRow {
            epoch: 1,
            train_loss: 2.25,
            train_error: 0.5,
            test_loss: 2.5,
            test_error: 0.75,
            lr: 0.1,
            images_per_second: 10.0,
            seconds: 2.0,
            gradient_norm: Some(0.1),
            loss_scale: None,
        };
        let rows = [
            row,
            EpochRow {
                gradient_norm: None,
                loss_scale: Some(65536.0),
                ..row
            },
        ];
        run.write_metrics(&rows, "validation").unwrap();
        assert_eq!(run.read_metrics().unwrap(), rows);
        let text = std::fs::read_to_string(run.path().join("metrics.csv")).unwrap();
        assert!(text.starts_with("epoch,train_loss,train_error,validation_loss,validation_error,lr,"));
        assert_eq!(
            rows[0].without_time(),
            "1,2.250000,0.500000,2.500000,0.750000,0.1,0.1,NaN"
        );
        // A table of a version without the last columns, whose rows the checkpoint has.
        let old = "epoch,train_loss,train_error,test_loss,test_error,lr,images_per_second,seconds\n1,2.25,0.5,2.5,0.75,0.1,10.0,2.00\n";
        std::fs::write(run.path().join("metrics.csv"), old).unwrap();
        let row = EpochRow {
            gradient_norm: None,
            ..row
        };
        assert_eq!(run.read_metrics().unwrap(), [row]);
        assert_eq!(row.without_time(), "1,2.250000,0.500000,2.500000,0.750000,0.1");
        let test = TestResult {
            epoch: 3,
            validation_error: 0.25,
            images: 8,
            wrong: 1,
            error: 0.125,
            loss: 0.5,
            weights: "ab".into(),
        };
        assert_eq!(run.read_test().unwrap(), None);
        run.write_test(&test).unwrap();
        assert_eq!(run.read_test().unwrap(), Some(test));
        std::fs::write(run.path().join(TEST), "epoch = 3").unwrap();
        assert!(run.read_test().unwrap_err().to_string().contains("remove it"));
        run.remove_test().unwrap();
        assert_eq!(run.read_test().unwrap(), None);
    }

    fn begun(path: &Path) -> RunDirectory {
        let run = RunDirectory::create(path).unwrap();
        let made_by = MadeBy {
            version: "1".into(),
            adapter: "a".into(),
            extended: Vec::new(),
        };
        run.write_config(&Config::default(), &made_by).unwrap();
        run
    }

    #[test]
    fn a_directory_has_one_owner_and_readers_need_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let run = begun(&path);
        for second in [RunDirectory::create(&path), RunDirectory::resume(&path)] {
            let message = second.unwrap_err().to_string();
            assert!(message.contains("in use by process"), "{message}");
        }
        assert_eq!(
            RunDirectory::open(&path).unwrap().read_config().unwrap(),
            Config::default()
        );
        drop(run);
        let again = RunDirectory::create(&path).expect("without a checkpoint, it is begun anew");
        std::fs::write(again.last(), "").unwrap();
        drop(again);
        assert!(matches!(RunDirectory::create(&path), Err(TrainError::RunExists { .. })));
        RunDirectory::resume(&path).unwrap();
    }

    #[test]
    fn the_newest_run_is_the_one_with_the_last_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let newest = || RunDirectory::newest(folder.path());
        let runs: Vec<RunDirectory> = ["a", "b", "c"].map(|name| begun(&folder.path().join(name))).into();
        assert!(matches!(newest(), Err(TrainError::NoRuns { .. })));
        for (run, age) in runs.iter().zip([20, 10]) {
            let file = std::fs::File::create(run.last()).unwrap();
            let written = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            file.set_modified(written).unwrap();
        }
        assert_eq!(newest().unwrap(), runs[1]);
        std::fs::write(runs[0].last(), "").unwrap();
        assert_eq!(newest().unwrap(), runs[0]);
    }

    #[test]
    fn files_of_somebody_else_are_kept() {
        for name in [
            "metrics.csv",
            "best.safetensors",
            "curves.svg",
            "tuning.toml",
            "run.toml",
            "events.out.tfevents.000001.residua",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, "mine").unwrap();
            RunDirectory::create(folder.path()).unwrap_err();
            assert_eq!(std::fs::read(&path).unwrap(), b"mine");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        RunDirectory::create(folder.path()).unwrap();
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
