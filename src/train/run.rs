//! How does a training run proceed, from its first step to its last epoch?

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::TrainError;
use super::checkpoint::{self, Checkpoint, Position};
use super::config::Config;
use super::curves::curves;
use super::directory::{EpochRow, Extension, GradientRow, RunDirectory, StepRow, TestResult};
use super::engine::{Engine, StepPlan};
use super::evaluate::{Outcome, evaluate};
use super::events::EventLog;
use super::finite::{NotFinite, locate};
use super::gradient_log::{first_convolution, is_sampled, mean_abs, norm};
use super::init::initialise;
use super::origin::{Origin, TableRows};
use super::rate::Rate;
use super::read_weights::ReadWeights;
use super::record::Record;
use super::settings::Settings;
use crate::data::{Batches, Normalization, Split, Splits};
use crate::kernels::LossScale;
use crate::schedule::Update;
use crate::weights::{self, WeightsError};

/// What a run reports while it trains.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A step was taken. Loss and error of the epoch so far are present once
    /// they have been read from the device.
    Step {
        /// Steps taken.
        done: u32,
        /// Steps of the whole run.
        of: u32,
        /// Mean loss of the epoch so far.
        loss: Option<f64>,
        /// Error of the epoch so far.
        error: Option<f64>,
    },
    /// The next step is the first with its number of images: its kernels are
    /// compiled.
    Compiling,
    /// An epoch ended.
    Epoch(EpochRow),
}

/// A run that is ready to start or to continue.
pub struct Run<'a> {
    engine: &'a mut dyn Engine,
    config: &'a Config,
    settings: Settings,
    directory: RunDirectory,
    record: Record,
    notes: Vec<String>,
    batches: Batches,
    rate: Rate,
    splits: &'a Splits,
    normalization: Normalization,
    position: Position,
    epochs: Vec<EpochRow>,
    steps: Vec<StepRow>,
    gradients: Vec<GradientRow>,
    /// The test of the best weights, where there are validation images.
    test: Option<TestResult>,
    /// Steps whose metrics have been read.
    read: u32,
    /// Rows of `steps.csv` on the disk; `None` before the table is written.
    written: Option<usize>,
    /// Numbers of images of the batches whose kernels are compiled.
    compiled: HashSet<usize>,
    /// The events for TensorBoard, once the run trains.
    events: Option<EventLog>,
    /// Since when the steps that follow the last read count for their speed; `None`
    /// where kernels are compiled.
    timed_since: Option<Instant>,
    origin: Origin,
}

/// The largest number of steps between two reads of the losses.
const READ_EVERY: u32 = 128;
/// The longest time between two reads of the losses, seconds.
const READ_SECONDS: f64 = 1.0;

/// Where the weights of a run begin.
pub enum Begin {
    /// At the settings' `init`, which may have been read already, or their seed.
    New(Option<ReadWeights>),
    /// At its last checkpoint.
    Resumed,
}

impl<'a> Run<'a> {
    /// Prepares a run: loads the images, then the weights from the
    /// configuration's `init`, from its seed, or from the last checkpoint, as `begin`
    /// says. `settings` is the checked `config`, `origin` what the run depends on.
    ///
    /// # Errors
    /// Where the images or the weights do not fit, and where the files of the
    /// run to resume are not as its last checkpoint left them.
    pub fn prepare(
        engine: &'a mut dyn Engine,
        config: &'a Config,
        settings: Settings,
        directory: RunDirectory,
        splits: &'a Splits,
        origin: Origin,
        begin: Begin,
    ) -> Result<Self, TrainError> {
        let normalization: Normalization = config.normalization(&splits.normalization)?;
        engine.load(Split::Train, &splits.train, &normalization)?;
        engine.load(Split::Test, splits.evaluated(), &normalization)?;
        let batches = settings.batches(splits.train.len());
        let per_epoch = batches.per_epoch() as u32;
        let steps = config.total_steps(per_epoch);
        let rate = Rate {
            base: config.lr,
            schedule: settings.schedule.clone(),
            warm_up: settings.warm_up_of(per_epoch),
            steps_per_epoch: per_epoch,
            steps,
        };
        let record = Record::of(&settings.model, config, settings.depth, splits, &normalization);
        let mut run = Run {
            engine,
            config,
            settings,
            directory,
            record,
            notes: Vec::new(),
            batches,
            rate,
            splits,
            normalization,
            position: Position::default(),
            epochs: Vec::new(),
            steps: Vec::new(),
            gradients: Vec::new(),
            test: None,
            read: 0,
            written: None,
            compiled: HashSet::new(),
            events: None,
            timed_since: None,
            origin,
        };
        run.settings.check_blocks(run.engine.graph())?;
        run.set_weights(begin, splits)?;
        Ok(run)
    }

    fn set_weights(&mut self, begin: Begin, splits: &Splits) -> Result<(), TrainError> {
        let (resume, read) = match begin {
            Begin::New(read) => (false, read),
            Begin::Resumed => (true, None),
        };
        initialise(self.engine, self.config.seed);
        self.engine.set_loss_scale(LossScale::INITIAL);
        let model = self.settings.model.to_string();
        let last = self.directory.last();
        let begins = !resume || (self.directory.has_no_checkpoint() && self.directory.read_metrics()?.len() < 2);
        // What a run began with no longer matters once it has a checkpoint.
        if let Some(init) = self.config.init.as_ref().filter(|_| begins) {
            let Settings { model, init_names, .. } = &self.settings;
            self.notes = checkpoint::start_from(self.engine, init, model, init_names, read)?;
        }
        self.engine.start_average();
        if !resume {
            return Ok(());
        }
        if begins {
            let note = "the run was stopped before its first checkpoint: it begins anew";
            self.notes.push(note.to_string());
            self.directory.clear()?;
        } else if !last.exists() {
            let problem = "the file is missing, so the run cannot continue; restore it from a copy, or start a new run";
            return Err(self.problem("last.safetensors", problem.to_string()));
        } else {
            let checkpoint = Checkpoint::read(&last)?;
            let recorded = checkpoint.record()?.data;
            if let Some(problem) = recorded.and_then(|data| data.difference(splits)) {
                return Err(TrainError::OtherImages {
                    source_name: self.config.data.clone(),
                    problem,
                });
            }
            self.position = checkpoint.resume(self.engine, &model)?;
            let (taken, per_epoch) = (self.position.step, self.rate.steps_per_epoch);
            if taken > self.rate.steps {
                let (setting, length) = match self.config.steps {
                    Some(steps) => ("steps", steps),
                    None => ("epochs", self.config.epochs),
                };
                let problem = format!("{length}: the run has taken {taken} steps already, {per_epoch} in an epoch");
                return Err(TrainError::value(setting, problem));
            }
            self.read = self.position.step;
            self.compare()?;
            self.read_tables()?;
            self.check_best()?;
        }
        Ok(())
    }

    /// The number of epochs that are trained and tested, a last one that the run
    /// ends within included.
    fn tested_epochs(&self) -> u32 {
        let per_epoch = self.rate.steps_per_epoch.max(1);
        let trained = match self.position.step == self.rate.steps {
            true => self.position.step.div_ceil(per_epoch),
            false => self.position.step / per_epoch,
        };
        trained - u32::from(self.position.untested.is_some())
    }

    /// What the learning rate never comes to, because the run ends before.
    pub fn rate_beyond_end(&self) -> Vec<String> {
        self.rate.beyond_end()
    }

    /// Whether the run goes on with another length than its `run.toml` says.
    ///
    /// # Errors
    /// Where `run.toml` cannot be read.
    pub(super) fn extension(&self) -> Result<Option<Extension>, TrainError> {
        let before = self.directory.read_config()?;
        let changed = (before.epochs, before.steps) != (self.config.epochs, self.config.steps);
        Ok(changed.then(|| Extension {
            at_step: self.position.step,
            from_steps: before.total_steps(self.rate.steps_per_epoch),
        }))
    }

    /// Compares settings, images, adapter and kernels with those of the
    /// checkpoint.
    fn compare(&mut self) -> Result<(), TrainError> {
        let position = self.position.clone();
        let Some(before) = &position.origin else {
            let note = "the checkpoint is of an older version: whether the run's files are complete is not known";
            self.notes.push(note.to_string());
            return Ok(());
        };
        let notes = self.origin.continues(before);
        let notes = notes.map_err(|(file, problem)| self.problem(file, problem))?;
        self.notes.extend(notes);
        Ok(())
    }

    /// Reads the rows of the tables up to the checkpoint; those after it belong
    /// to steps that are taken again.
    fn read_tables(&mut self) -> Result<(), TrainError> {
        let position = self.position.clone();
        // Checkpoints of older versions do not say which rows they have.
        let known = position.origin.is_some();
        let epochs = known.then_some(&position.epochs);
        self.epochs = self.rows(
            "metrics.csv",
            self.directory.read_metrics()?,
            epochs,
            EpochRow::without_time,
        )?;
        let tested = self.tested_epochs();
        self.epochs.retain(|row| row.epoch <= tested);
        if self.config.log_steps {
            let rows = self.directory.read_steps()?;
            self.steps = self.rows("steps.csv", rows, position.steps.as_ref(), StepRow::to_string)?;
            self.steps.retain(|row| row.step <= position.step);
        }
        if self.config.log_gradients {
            let rows = self.directory.read_gradients()?;
            self.gradients = self.rows(
                "gradients.csv",
                rows,
                position.gradients.as_ref(),
                GradientRow::to_string,
            )?;
            self.gradients.retain(|row| row.step <= position.step);
        }
        Ok(())
    }

    /// The first rows of the table `name`: those that the checkpoint has, in the
    /// form that `text` gives them there.
    fn rows<T>(
        &self,
        name: &str,
        mut rows: Vec<T>,
        checkpoint: Option<&TableRows>,
        text: fn(&T) -> String,
    ) -> Result<Vec<T>, TrainError> {
        if let Some(before) = checkpoint {
            rows.truncate(before.count);
            let is_there = self.directory.path().join(name).exists();
            let found = TableRows::of(rows.iter().map(text));
            let checked = before.check(&found, is_there);
            checked.map_err(|problem| self.problem(name, problem))?;
        }
        Ok(rows)
    }

    /// Checks `best.safetensors`. Where the run was stopped between the
    /// checkpoint of the best epoch and this file, the file is written now.
    fn check_best(&mut self) -> Result<(), TrainError> {
        let best = self.directory.best();
        if self.position.best_error.is_none() {
            return Ok(());
        }
        if self.position.best_step == self.position.step {
            return self.save_best();
        }
        let Some(hash) = &self.position.best_hash else {
            return Ok(());
        };
        let problem = match best.exists() {
            true if weights::hash(&best)? == *hash => return Ok(()),
            true => "it is not the file that the run wrote; restore it from a copy, or start a new run",
            false => "the file is missing; restore it from a copy, or start a new run",
        };
        Err(self.problem("best.safetensors", problem.to_string()))
    }

    fn save_best(&mut self) -> Result<(), TrainError> {
        let best = self.directory.best();
        self.save(&best, None)?;
        self.position.best_hash = Some(weights::hash(&best)?);
        Ok(())
    }

    /// The rows of the three tables, as a checkpoint describes them.
    fn tables(&self) -> (TableRows, Option<TableRows>, Option<TableRows>) {
        let Config {
            log_steps,
            log_gradients,
            ..
        } = self.config;
        (
            TableRows::of(self.epochs.iter().map(EpochRow::without_time)),
            log_steps.then(|| TableRows::of(self.steps.iter().map(StepRow::to_string))),
            log_gradients.then(|| TableRows::of(self.gradients.iter().map(GradientRow::to_string))),
        )
    }

    /// An error of a file in the run's directory.
    fn problem(&self, file: &str, problem: String) -> TrainError {
        TrainError::Run {
            path: self.directory.path().join(file),
            problem,
        }
    }

    /// What a user should know about how the run began or continues, one line
    /// each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The number of steps taken so far, and of the whole run.
    pub fn progress(&self) -> (u32, u32) {
        (self.position.step, self.rate.steps)
    }

    /// Images in a full batch.
    pub fn images_per_step(&self) -> f64 {
        self.batches.batch_size.get() as f64
    }

    /// The loss scale, and the number of steps skipped because of it, where
    /// gradients are stored in 16 bits.
    pub fn loss_scale(&mut self) -> Result<Option<LossScale>, TrainError> {
        self.engine.loss_scale()
    }

    /// The rows of all epochs so far.
    pub fn epochs(&self) -> &[EpochRow] {
        &self.epochs
    }

    /// Which images are evaluated after each epoch: "test" or "validation".
    pub fn evaluated(&self) -> &'static str {
        match self.splits.validation {
            Some(_) => "validation",
            None => "test",
        }
    }

    /// The test of the best weights at the end of the run; `None` without validation
    /// images, whose run is tested after each epoch.
    pub fn test(&self) -> Option<&TestResult> {
        self.test.as_ref()
    }

    /// Trains to the end; reports each step and each epoch to `report`. Where there are
    /// validation images, the network then has the best weights, and the test images.
    ///
    /// # Errors
    /// Where training diverges, the device fails, or a file cannot be written;
    /// [`TrainError::Stopped`] where the token of
    /// [`Trainer::heed`](super::Trainer::heed) asks to stop: the step is
    /// finished, and the run continues from there when it is resumed.
    pub fn train(&mut self, mut report: impl FnMut(&Event)) -> Result<(), TrainError> {
        let per_epoch = self.rate.steps_per_epoch;
        if self.position.step < self.rate.steps {
            self.directory.remove_test()?;
        }
        self.begin_events()?;
        if let Some([images_per_second, seconds]) = self.position.untested {
            let epoch = (self.position.step - 1) / per_epoch;
            self.end_epoch(epoch, images_per_second, seconds, &mut report)?;
        }
        while self.position.step < self.rate.steps {
            let epoch = self.position.step / per_epoch;
            self.train_epoch(epoch, &mut report)?;
        }
        self.test_best()
    }

    /// Tests the weights with the smallest validation error, once at the end.
    fn test_best(&mut self) -> Result<(), TrainError> {
        let (Some(_), Some(validation_error)) = (&self.splits.validation, self.position.best_error) else {
            return Ok(());
        };
        let best = self.directory.best();
        let weights = weights::hash(&best)?;
        let tensors = weights::read(&best)?.tensors;
        let model = self.settings.model.to_string();
        checkpoint::set_tensors(self.engine, &tensors, false, &best, &model)?;
        self.engine.load(Split::Test, &self.splits.test, &self.normalization)?;
        self.test = self.directory.read_test()?.filter(|known| known.weights == weights);
        if self.test.is_some() {
            return Ok(());
        }
        let tested = self.evaluate(self.splits.test.len())?;
        self.require_finite(&tested, "test", self.position.best_step)?;
        let test = TestResult {
            epoch: self.position.best_step.div_ceil(self.rate.steps_per_epoch.max(1)),
            validation_error,
            images: tested.images,
            wrong: tested.wrong,
            error: tested.error,
            loss: tested.loss,
            weights,
        };
        self.directory.write_test(&test)?;
        self.test = Some(test);
        Ok(())
    }

    /// Evaluates the first `images` images of [`Split::Test`] with the present weights.
    fn evaluate(&mut self, images: usize) -> Result<Outcome, TrainError> {
        let routes = [self.settings.depth.test_route(self.engine.graph())];
        let size = self.settings.shard_size();
        let tested = evaluate(self.engine, Split::Test, images, size, &routes, &mut |_| {})?;
        Ok(tested.into_iter().next().expect("one outcome for one route"))
    }

    /// Refuses losses of an evaluation on the images `set` that are not finite; the present
    /// weights are those after `step` steps.
    fn require_finite(&mut self, tested: &Outcome, set: &'static str, step: u32) -> Result<(), TrainError> {
        let Some(image) = tested.first_not_finite() else {
            return Ok(());
        };
        let route = self.settings.depth.test_route(self.engine.graph());
        let found = locate(self.engine, Split::Test, image, &route)?;
        Err(TrainError::DivergedTest {
            step,
            source: NotFinite { set, ..found },
            lr: self.rate.at(step.saturating_sub(1)),
        })
    }

    /// Opens the event files of the run, cut after its checkpoint. What they lack of
    /// the tables is added.
    fn begin_events(&mut self) -> Result<(), TrainError> {
        if !self.config.tensorboard {
            return Ok(());
        }
        let step = self.position.step;
        let (per_epoch, steps) = (self.rate.steps_per_epoch, self.rate.steps);
        let end_of = |row: &EpochRow| row.epoch.saturating_mul(per_epoch).min(steps);
        // Where the last epoch is still to be tested, events of such a test in this
        // step are of a run that was stopped before its checkpoint.
        let is_tested = self.epochs.last().is_some_and(|row| end_of(row) == step);
        let last = if is_tested { step } else { step.saturating_sub(1) };
        let mut events = EventLog::open(&self.directory, last, self.evaluated())?;
        let ends: Vec<(u32, &EpochRow)> = self.epochs.iter().map(|row| (end_of(row), row)).collect();
        events.rows(&self.steps, &self.gradients, &ends);
        events.write()?;
        self.events = Some(events);
        Ok(())
    }

    fn train_epoch(&mut self, epoch: u32, report: &mut dyn FnMut(&Event)) -> Result<(), TrainError> {
        let began = Instant::now();
        self.timed_since = Some(began);
        self.position.gradient_norm = None;
        let first = self.position.step;
        let mut last_read = Instant::now();
        let order = self.batches.epoch(epoch);
        let seen_before = self.position.epoch_images;
        // Seconds and images of the steps that compiled their kernels, which are no
        // part of the speed.
        let mut compiling = (0.0, 0);
        let skip = (first - epoch * self.rate.steps_per_epoch) as usize;
        for draws in order.batches().skip(skip) {
            if self.position.step == self.rate.steps {
                break;
            }
            let step = self.position.step;
            let compiles = self.compiled.insert(draws.len());
            if compiles {
                self.read_losses(epoch)?;
                self.timed_since = None;
                report(&Event::Compiling);
            }
            let started = Instant::now();
            let update = Update {
                lr: self.rate.at(step) as f32,
                momentum: self.config.momentum as f32,
                weight_decay: self.config.weight_decay as f32,
                nesterov: self.config.nesterov,
            };
            let route = self
                .settings
                .depth
                .training_route(self.engine.graph(), self.config.seed, step);
            let taken = self.engine.step(&StepPlan {
                draws,
                padding: self.settings.padding,
                route: &route,
                update,
                seed: self.config.seed,
                step,
            });
            // A kernel of this step was not compiled.
            if taken.as_ref().is_err_and(TrainError::is_stopped) {
                return self.stop(epoch);
            }
            taken?;
            self.log_gradient(step)?;
            self.position.step += 1;
            // A processor's driver compiles at the first run: wait for its end.
            if compiles {
                self.read_losses(epoch)?;
                last_read = Instant::now();
                compiling.0 += started.elapsed().as_secs_f64();
                compiling.1 += draws.len() as u64;
            }
            let waiting = self.position.step - self.read;
            // The end of an epoch has its own checkpoint, written after the
            // epoch's row in the table. With a checkpoint before that row, a run
            // that is killed in between would continue without it.
            let ends =
                self.position.step == self.rate.steps || self.position.step.is_multiple_of(self.rate.steps_per_epoch);
            let due = |every| self.position.step.is_multiple_of(every);
            let checkpoint = !ends && self.config.checkpoint_every.is_some_and(due);
            if checkpoint || waiting >= READ_EVERY || last_read.elapsed().as_secs_f64() > READ_SECONDS {
                self.read_losses(epoch)?;
                last_read = Instant::now();
            }
            if checkpoint {
                self.checkpoint()?;
            }
            let images = self.position.epoch_images as f64;
            let known = (images > 0.0).then_some(());
            report(&Event::Step {
                done: self.position.step,
                of: self.rate.steps,
                loss: known.map(|()| self.position.epoch_loss / images),
                error: known.map(|()| self.position.epoch_wrong / images),
            });
            // At the end of an epoch, its test heeds the request.
            if !ends && self.engine.is_stopped() {
                return self.stop(epoch);
            }
        }
        self.read_losses(epoch)?;
        let trained = began.elapsed().as_secs_f64();
        self.position.gradient_norm = norm(self.engine)?;
        let seen = self.position.epoch_images - seen_before;
        // An epoch of such steps alone has no other speed.
        let (seconds, images) = match seen.saturating_sub(compiling.1) {
            0 => (trained, seen),
            others => (trained - compiling.0, others),
        };
        self.end_epoch(epoch, images as f64 / seconds.max(1e-9), trained, report)
    }

    /// Writes the checkpoint of a run that is asked to stop within `epoch`.
    fn stop(&mut self, epoch: u32) -> Result<(), TrainError> {
        self.read_losses(epoch)?;
        // Without a step, the run begins again as well.
        if self.position.step > 0 {
            self.checkpoint()?;
        }
        Err(TrainError::Stopped)
    }

    /// Logs the gradient of the first convolution in `step`, the step just
    /// taken, if that step is one of those that are logged.
    fn log_gradient(&mut self, step: u32) -> Result<(), TrainError> {
        let per_epoch = self.rate.steps_per_epoch;
        if !self.config.log_gradients || !is_sampled(step % per_epoch, per_epoch) {
            return Ok(());
        }
        if let Some(id) = first_convolution(self.engine.graph()) {
            let mean_abs = mean_abs(&self.engine.gradient(id)?);
            // A step that was skipped because of the loss scale has no gradient.
            if mean_abs.is_finite() {
                self.gradients.push(GradientRow {
                    step: step + 1,
                    mean_abs,
                });
            }
        }
        Ok(())
    }

    /// Reads the losses of the steps since the last read, and adds them to
    /// `steps.csv`.
    ///
    /// # Errors
    /// At the first loss that is not finite. The table then has the steps before.
    fn read_losses(&mut self, epoch: u32) -> Result<(), TrainError> {
        let steps = self.read..self.position.step;
        if steps.is_empty() {
            return Ok(());
        }
        let read = self.add_losses(epoch, steps.clone());
        self.add_steps()?;
        self.add_events(epoch, steps)?;
        read?;
        self.read = self.position.step;
        match self.engine.loss_scale()? {
            Some(loss) if loss.is_exhausted() => Err(TrainError::DivergedGradients {
                step: self.position.step,
                lr: self.rate.at(self.position.step - 1),
            }),
            _ => Ok(()),
        }
    }

    /// Adds rows that are not on the disk yet to `steps.csv`.
    fn add_steps(&mut self) -> Result<(), TrainError> {
        if !self.config.log_steps {
            return Ok(());
        }
        match self.written {
            Some(written) if self.directory.has_steps() => self.directory.append_steps(&self.steps[written..])?,
            _ => self.directory.write_steps(&self.steps)?,
        }
        self.written = Some(self.steps.len());
        Ok(())
    }

    /// Adds the rows that are not in the event files yet, and the speed of the steps
    /// that were read last.
    fn add_events(&mut self, epoch: u32, read: Range<u32>) -> Result<(), TrainError> {
        let since = self.timed_since.replace(Instant::now());
        let first_of_epoch = epoch * self.rate.steps_per_epoch;
        let images: u64 = read.clone().map(|step| self.batch_len(step - first_of_epoch)).sum();
        let Some(events) = &mut self.events else {
            return Ok(());
        };
        events.rows(&self.steps, &self.gradients, &[]);
        if let Some(since) = since.filter(|_| self.config.log_steps) {
            events.speed(read.end, images as f64 / since.elapsed().as_secs_f64().max(1e-9));
        }
        events.write()
    }

    /// Adds what was measured after an epoch to the event files, before the
    /// checkpoint, as tables are.
    fn add_epoch_events(&mut self, row: &EpochRow) -> Result<(), TrainError> {
        let step = self.position.step;
        let Some(events) = &mut self.events else {
            return Ok(());
        };
        events.epoch(step, row);
        if self.config.tensorboard_histograms {
            events.weights(step, &checkpoint::tensors(self.engine, false)?);
        }
        events.write()
    }

    fn add_losses(&mut self, epoch: u32, steps: Range<u32>) -> Result<(), TrainError> {
        let first_of_epoch = epoch * self.rate.steps_per_epoch;
        for (step, [loss, wrong]) in steps.clone().zip(self.engine.metrics(steps)?) {
            let lr = self.rate.at(step);
            if !loss.is_finite() {
                return Err(TrainError::Diverged {
                    step: step + 1,
                    loss,
                    lr,
                });
            }
            let images = self.batch_len(step - first_of_epoch);
            self.position.epoch_loss += f64::from(loss) * images as f64;
            self.position.epoch_wrong += f64::from(wrong);
            self.position.epoch_images += images;
            if self.config.log_steps {
                self.steps.push(StepRow {
                    step: step + 1,
                    loss,
                    error: f64::from(wrong) / images as f64,
                    lr,
                });
            }
        }
        Ok(())
    }

    /// The number of images in the batch at `position` (from 0) of an epoch.
    fn batch_len(&self, position: u32) -> u64 {
        let size = self.batches.batch_size.get() as u64;
        let before = u64::from(position) * size;
        size.min(u64::from(self.batches.images) - before)
    }

    fn end_epoch(
        &mut self,
        epoch: u32,
        images_per_second: f64,
        trained: f64,
        report: &mut dyn FnMut(&Event),
    ) -> Result<(), TrainError> {
        let began = Instant::now();
        let images = self.splits.evaluated().len();
        self.engine.exchange_average();
        let tested = self.evaluate(images);
        let finite = match &tested {
            Ok(tested) => self.require_finite(tested, self.evaluated(), self.position.step),
            Err(_) => Ok(()),
        };
        self.engine.exchange_average();
        if tested.as_ref().is_err_and(TrainError::is_stopped) {
            self.position.untested = Some([images_per_second, trained]);
            return self.stop(epoch);
        }
        self.position.untested = None;
        let test = tested?;
        finite?;
        let loss_scale = self.engine.loss_scale()?.map_or(1.0, |loss| loss.scale);
        let images = self.position.epoch_images as f64;
        let row = EpochRow {
            epoch: epoch + 1,
            train_loss: self.position.epoch_loss / images,
            train_error: self.position.epoch_wrong / images,
            test_loss: test.loss,
            test_error: test.error,
            lr: self.rate.at(self.position.step - 1),
            images_per_second,
            seconds: trained + began.elapsed().as_secs_f64(),
            gradient_norm: self.position.gradient_norm,
            loss_scale: Some(loss_scale),
        };
        self.epochs.push(row);
        let best = self.position.best_error.is_none_or(|best| test.error < best);
        // When the run ends within an epoch, the sums of that epoch stay: a run
        // that is extended continues the epoch.
        if self.position.step.is_multiple_of(self.rate.steps_per_epoch) {
            self.position = Position {
                step: self.position.step,
                best_error: self.position.best_error,
                best_step: self.position.best_step,
                best_hash: self.position.best_hash.take(),
                ..Position::default()
            };
        }
        if best {
            self.position.best_error = Some(test.error);
            self.position.best_step = self.position.step;
            self.position.best_hash = None;
        }
        self.directory.write_metrics(&self.epochs, self.evaluated())?;
        self.draw()?;
        self.add_epoch_events(&row)?;
        self.checkpoint()?;
        // After the checkpoint, which has the same weights: a run that is stopped
        // in between writes the file when it continues. Best weights without a
        // checkpoint then mean that the checkpoint was lost.
        if best {
            self.save_best()?;
        }
        report(&Event::Epoch(row));
        Ok(())
    }

    /// Writes the tables before the checkpoint: when a run resumes, rows after
    /// the checkpoint are dropped, but missing rows could not be restored.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        if self.config.log_steps {
            self.directory.write_steps(&self.steps)?;
            self.written = Some(self.steps.len());
        }
        if self.config.log_gradients {
            self.directory.write_gradients(&self.gradients)?;
        }
        if let Some(events) = &mut self.events {
            events.sync()?;
        }
        let (epochs, steps, gradients) = self.tables();
        let position = Position {
            loss_scale: self.engine.loss_scale()?,
            epochs,
            steps,
            gradients,
            origin: Some(self.origin.clone()),
            ..self.position.clone()
        };
        self.save(&self.directory.last(), Some(&position))
    }

    /// Writes the weights.
    ///
    /// # Errors
    /// Where weights are not finite, although the loss still was: the run ends.
    fn save(&mut self, path: &Path, position: Option<&Position>) -> Result<(), TrainError> {
        let record = Record {
            step: Some(self.position.step),
            ..self.record.clone()
        };
        let saved = checkpoint::save(self.engine, path, &record, position);
        saved.map_err(|error| match error {
            TrainError::Weights(WeightsError::NonFinite { tensor, value, .. }) => TrainError::DivergedWeights {
                step: self.position.step,
                tensor,
                value,
                lr: self.rate.at(self.position.step.saturating_sub(1)),
            },
            error => error,
        })
    }

    fn draw(&self) -> Result<(), TrainError> {
        let title = format!("{} on {}", self.settings.model, self.settings.data.short_name());
        self.directory
            .write_curves(&curves(&title, &self.epochs, self.evaluated()))
    }
}

/// The weights file of a run: the one with the smallest error of an evaluation after an
/// epoch, or the last.
///
/// # Errors
/// Where it does not exist: nothing stands for it.
pub(super) fn weights_of(directory: &RunDirectory, best: bool) -> Result<PathBuf, TrainError> {
    let wanted = if best { directory.best() } else { directory.last() };
    if wanted.exists() {
        return Ok(wanted);
    }
    let problem = match directory.has_no_checkpoint() {
        true => "the run has no checkpoint yet; train it further",
        false => "the file is missing; restore it from a copy, or use the other weights of the run",
    };
    Err(TrainError::Run {
        path: wanted,
        problem: problem.to_string(),
    })
}
