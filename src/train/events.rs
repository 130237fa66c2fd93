//! Which values of a run are shown in TensorBoard, and under which names?
//!
//! The event files lie in the run's directory. Events are added while the run
//! trains, so that TensorBoard shows them at once. A run that continues cuts its
//! files after the events of its checkpoint, and goes on in a new file: no step is
//! there twice, and none is missing.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::TrainError;
use super::directory::{EpochRow, GradientRow, RunDirectory, StepRow};
use crate::files::{WriteError, append, cut, open_regular, sync, write_atomic};
use crate::formats::events::{Histogram, Shown, beginning, up_to, values};
use crate::weights::TensorMap;

/// How the names of event files begin and end, with a number of six digits between.
/// TensorBoard reads them in the order of their names.
const NAME: [&str; 2] = ["events.out.tfevents.", ".residua"];

/// The event files of a run that trains.
#[derive(Debug)]
pub(super) struct EventLog {
    directory: RunDirectory,
    /// The file that events are added to; `None` before the first one.
    file: Option<PathBuf>,
    /// The first step whose events may be added.
    first: u32,
    /// The last step that has events.
    known: u32,
    /// The rows of steps and of gradients that have events.
    rows: [usize; 2],
    /// Records that are not on the disk yet.
    waiting: Vec<u8>,
    /// Which images are evaluated after an epoch: "test" or "validation".
    evaluated: &'static str,
}

impl EventLog {
    /// The events of the run in `directory`, which goes on after step `last`: later
    /// ones are removed. After each epoch, it evaluates the `evaluated` images.
    pub(super) fn open(directory: &RunDirectory, last: u32, evaluated: &'static str) -> Result<Self, TrainError> {
        Ok(EventLog {
            directory: directory.clone(),
            file: None,
            first: last.saturating_add(1),
            known: directory.keep_events(last)?,
            rows: [0; 2],
            waiting: Vec::new(),
            evaluated,
        })
    }

    /// Adds those rows of a run's tables, all rows so far, that have no events yet;
    /// of each epoch also the step that it ended with.
    pub(super) fn rows(&mut self, steps: &[StepRow], gradients: &[GradientRow], epochs: &[(u32, &EpochRow)]) {
        enum Row<'a> {
            Step(&'a StepRow),
            Gradient(&'a GradientRow),
            Epoch(&'a EpochRow),
        }
        let new_steps = steps[self.rows[0]..].iter().map(|row| (row.step, Row::Step(row)));
        let new_gradients = gradients[self.rows[1]..].iter();
        let new_gradients = new_gradients.map(|row| (row.step, Row::Gradient(row)));
        let epochs = epochs.iter().map(|&(step, row)| (step, Row::Epoch(row)));
        let all = new_steps.chain(new_gradients).chain(epochs);
        let mut new: Vec<(u32, Row)> = all.filter(|(step, _)| *step > self.known).collect();
        new.sort_by_key(|(step, _)| *step);
        for (step, row) in new {
            match row {
                Row::Step(row) => self.step(row),
                Row::Gradient(row) => self.gradient(row),
                Row::Epoch(row) => self.epoch(step, row),
            }
        }
        self.rows = [steps.len(), gradients.len()];
    }

    fn step(&mut self, row: &StepRow) {
        let StepRow { step, loss, error, lr } = *row;
        let scalars = [
            ("step/loss", loss.into()),
            ("step/error", error),
            ("step/learning_rate", lr),
        ];
        self.scalars(step, &scalars);
    }

    fn gradient(&mut self, row: &GradientRow) {
        self.scalars(row.step, &[("gradient/first_convolution_mean_abs", row.mean_abs)]);
    }

    /// Adds how many images were trained in a second, up to `step`.
    pub(super) fn speed(&mut self, step: u32, images_per_second: f64) {
        self.scalars(step, &[("step/images_per_second", images_per_second)]);
    }

    /// Adds the values of an epoch that ended with `step`.
    pub(super) fn epoch(&mut self, step: u32, row: &EpochRow) {
        let [loss, error] = ["loss", "error"].map(|what| format!("{what}/{}", self.evaluated));
        let mut scalars = vec![
            ("loss/train", row.train_loss),
            (&loss[..], row.test_loss),
            ("error/train", row.train_error),
            (&error[..], row.test_error),
            ("learning_rate", row.lr),
            ("epoch", row.epoch.into()),
        ];
        let others = [("gradient/norm", row.gradient_norm), ("loss_scale", row.loss_scale)];
        let known = others.iter().filter_map(|&(tag, value)| Some((tag, value?.into())));
        scalars.extend(known);
        self.scalars(step, &scalars);
        self.scalars(step, &[("images_per_second", row.images_per_second)]);
    }

    /// Adds how the weights are distributed after `step`. Values that are not finite
    /// have no distribution; the run ends with an error that names them.
    pub(super) fn weights(&mut self, step: u32, tensors: &TensorMap) {
        let is_weight = |name: &str| !name.ends_with(".running_mean") && !name.ends_with(".running_var");
        let shown: Vec<(String, Shown)> = tensors
            .iter()
            .filter(|(name, _)| is_weight(name))
            .filter_map(|(name, tensor)| {
                let histogram = Histogram::of(&tensor.data)?;
                Some((format!("weights/{name}"), Shown::Histogram(histogram)))
            })
            .collect();
        self.waiting.extend(values(now(), step, &shown));
    }

    fn scalars(&mut self, step: u32, scalars: &[(&str, f64)]) {
        let shown: Vec<(String, Shown)> = scalars
            .iter()
            .map(|&(tag, value)| (tag.to_string(), Shown::Scalar(value)))
            .collect();
        self.waiting.extend(values(now(), step, &shown));
    }

    /// Writes what was added.
    pub(super) fn write(&mut self) -> Result<(), TrainError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let file = match self.file.take().filter(|file| file.exists()) {
            Some(file) => file,
            None => self.begin_file()?,
        };
        append(&file, &self.waiting)?;
        self.waiting.clear();
        self.file = Some(file);
        Ok(())
    }

    /// Writes what was added, so that it outlasts the computer.
    pub(super) fn sync(&mut self) -> Result<(), TrainError> {
        self.write()?;
        Ok(self.file.as_deref().map_or(Ok(()), sync)?)
    }

    fn begin_file(&self) -> Result<PathBuf, TrainError> {
        let last = self.directory.event_files().last().and_then(|path| number(path));
        let [before, after] = NAME;
        let name = format!("{before}{:06}{after}", last.unwrap_or(0) + 1);
        let path = self.directory.path().join(name);
        write_atomic(&path, &beginning(now(), self.first))?;
        Ok(path)
    }
}

impl RunDirectory {
    /// The run's event files, in their order.
    pub fn event_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut files: Vec<PathBuf> = paths.filter(|path| number(path).is_some()).collect();
        files.sort();
        files
    }

    /// Removes the events of steps after `last` from the run's event files, and what
    /// is damaged. Gives the last step that has events; 0 for none.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub fn keep_events(&self, last: u32) -> Result<u32, TrainError> {
        let mut found = 0;
        for path in self.event_files() {
            let failed = |source| WriteError {
                path: path.clone(),
                source,
            };
            let (file, size) = open_regular(&path).map_err(failed)?;
            let kept = up_to(BufReader::new(file), size, last).map_err(failed)?;
            if kept.bytes < size {
                cut(&path, kept.bytes)?;
            }
            found = found.max(kept.step);
        }
        Ok(found)
    }
}

/// The number of an event file; `None` for other files.
fn number(path: &Path) -> Option<u32> {
    let [before, after] = NAME;
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let is_number = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
