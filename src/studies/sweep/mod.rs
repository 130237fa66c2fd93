//! How do the results of training depend on its settings?
//!
//! A sweep trains one run for each of its points. It can be stopped at any
//! moment. The same sweep in the same folder continues where it stopped. It
//! does not train finished runs again, and it never overwrites a run with
//! other settings.

mod aggregate;
mod grid;
mod report;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::error::StudyError;
use crate::data::{Batches, Source};
use crate::files::LockError;
use crate::graph::Mode;
use crate::stop::StopToken;
use crate::train::{
    Adapter, EpochRow, Event, RunDirectory, Settings, TestResult, TrainError, Trainer, checkpoint, input_of,
};
use crate::tuning::KernelSource;

pub use aggregate::{MedianRange, SeedGroup, groups, median_range};
use grid::distinct;
pub use grid::{GridSetting, SEED, SweepPoint, describe, grid_points, split_values};
pub use report::{
    curves_figure, heat_cells, heat_figure, published_table, sweep_cost, sweep_json, sweep_provenance, sweep_report,
};

/// The folder of the runs within a sweep's folder.
const RUNS: &str = "runs";

/// A sweep whose points have been checked: as far as can be known in advance,
/// all of them can be trained.
#[derive(Debug, Clone)]
pub struct Sweep {
    planned: Vec<PlannedPoint>,
    /// The number of points, also where only one of them is trained.
    total: usize,
    kernels: KernelSource,
    stop: StopToken,
}

/// A point before it is trained.
#[derive(Debug, Clone)]
struct PlannedPoint {
    /// Its number, from 1.
    number: usize,
    point: SweepPoint,
    run: PathBuf,
    sizes: PointSizes,
    /// Multiply-adds of all its steps and evaluations.
    work: f64,
    /// Steps done, and steps of the whole run.
    steps: (u32, u32),
}

/// The sizes of a network and its data set, known before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointSizes {
    /// Trainable parameters.
    pub parameters: usize,
    /// Multiply-adds of the forward pass of one image.
    pub macs: u64,
    /// Residual blocks.
    pub blocks: usize,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// Steps per epoch.
    pub steps_per_epoch: u32,
}

/// A point after it was trained.
#[derive(Debug, Clone)]
pub struct TrainedPoint {
    /// The point.
    pub point: SweepPoint,
    /// The directory of its run.
    pub run: PathBuf,
    /// Sizes of the network and the data set.
    pub sizes: PointSizes,
    /// The results of each epoch.
    pub epochs: Vec<EpochRow>,
    /// The step at which training diverged, if it did.
    pub diverged: Option<u32>,
    /// The test of its best weights, where it has validation images: those are what its
    /// epochs evaluated.
    pub test: Option<TestResult>,
    /// The adapter that trained it.
    pub adapter: String,
}

impl TrainedPoint {
    fn last(&self) -> Option<&EpochRow> {
        self.epochs.last().filter(|_| self.diverged.is_none())
    }

    /// Test error after the last epoch, as a fraction; of a run with validation images,
    /// of its best weights by them. `None` if the run diverged.
    pub fn test_error(&self) -> Option<f64> {
        let last = self.last()?.test_error;
        Some(self.test.as_ref().map_or(last, |test| test.error))
    }

    /// The smallest test error of all epochs. It is optimistic, because the
    /// epoch is chosen by the test images. Of a run with validation images, its only
    /// test.
    pub fn best_test_error(&self) -> Option<f64> {
        self.last()?;
        if let Some(test) = &self.test {
            return Some(test.error);
        }
        self.epochs.iter().map(|row| row.test_error).min_by(f64::total_cmp)
    }

    /// Mean test loss, in nats, as [`Self::test_error`].
    pub fn test_loss(&self) -> Option<f64> {
        let last = self.last()?.test_loss;
        Some(self.test.as_ref().map_or(last, |test| test.loss))
    }

    /// Training error of the last epoch, on the augmented images.
    pub fn train_error(&self) -> Option<f64> {
        self.last().map(|row| row.train_error)
    }

    /// Mean training loss of the last epoch, in nats.
    pub fn train_loss(&self) -> Option<f64> {
        self.last().map(|row| row.train_loss)
    }

    /// Training images per second: the median over the epochs. The first epoch
    /// is left out if there are others, because it compiles kernels.
    pub fn images_per_second(&self) -> Option<f64> {
        let warm = if self.epochs.len() > 1 { 1 } else { 0 };
        let speeds = self.epochs[warm..].iter().map(|row| row.images_per_second);
        median_range(speeds).map(|range| range.median)
    }

    /// Seconds of all epochs, including evaluations. Work that was lost when a
    /// run was killed after its last checkpoint is not included.
    pub fn seconds(&self) -> f64 {
        // Every summand has two decimal places. Round the sum to two as well.
        let sum: f64 = self.epochs.iter().map(|row| row.seconds).sum();
        (100.0 * sum).round() / 100.0
    }
}

/// A point as a list of all points has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedPoint {
    /// Its number, from 1.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// The directory of its run.
    pub directory: PathBuf,
    /// Steps that are done.
    pub steps_done: u32,
    /// Steps of the whole run.
    pub steps: u32,
    /// Its part of the work of all points, in multiply-adds.
    pub share: f64,
}

/// What a sweep reports while it runs.
#[derive(Debug)]
pub struct SweepProgress<'a> {
    /// The point's number, from 1.
    pub number: usize,
    /// Number of points.
    pub total: usize,
    /// The point.
    pub point: &'a SweepPoint,
    /// What happened.
    pub event: SweepEvent<'a>,
    /// The share of the sweep's work that is done, from 0 to 1.
    pub share: f64,
    /// The estimated remaining time, once the speed is known.
    pub left: Option<Duration>,
}

/// The points of a sweep that are trained.
#[derive(Debug, Clone)]
pub struct SweepResults {
    /// The points, in the order of the sweep.
    pub points: Vec<TrainedPoint>,
    /// The names of the points that other processes are training.
    pub elsewhere: Vec<String>,
}

/// What happened to a point.
#[derive(Debug)]
pub enum SweepEvent<'a> {
    /// Its training continues, which the user should know this about.
    Note(&'a str),
    /// It was trained before.
    Found(&'a TrainedPoint),
    /// Its training continues.
    Training(&'a Event),
    /// It has been trained now.
    Ended(&'a TrainedPoint),
}

impl Sweep {
    /// Checks every point: its settings, its images, its network, and its run
    /// in the folder `out` if there is one. Nothing is written.
    ///
    /// # Errors
    /// For the first point that cannot be trained, and for the first whose
    /// directory holds a run with other settings.
    pub fn plan(points: Vec<SweepPoint>, out: &Path) -> Result<Self, StudyError> {
        distinct(&points)?;
        // Most points share their images. Only synthetic images change with
        // the seed.
        let mut shapes = HashMap::new();
        let mut planned = Vec::new();
        for (number, point) in (1..).zip(points) {
            let config = &point.config;
            let settings = config.settings()?;
            let seed = matches!(settings.data, Source::Synthetic { .. }).then_some(config.seed);
            let limits = [config.limit_train, config.limit_test, Some(config.validation)];
            let key = (settings.data.clone(), limits, seed);
            let images = match shapes.get(&key) {
                Some(images) => images,
                None => {
                    let splits = settings.load()?;
                    let images = (input_of(&splits.train), splits.train.len(), splits.test.len());
                    shapes.entry(key).or_insert((images, splits.normalization))
                }
            };
            let ((input, train_images, test_images), normalization) = images;
            config.normalization(normalization)?;
            let graph = settings.model.build(input, Mode::Eval)?.graph;
            settings.check_blocks(&graph)?;
            let sizes = PointSizes {
                parameters: graph.parameter_count(),
                macs: graph.macs(),
                blocks: graph.blocks.len(),
                train_images: *train_images,
                test_images: *test_images,
                steps_per_epoch: Batches::plain(*train_images as u32, settings.batch_size).per_epoch() as u32,
            };
            let of = config.total_steps(sizes.steps_per_epoch);
            let run = out.join(RUNS).join(&point.name);
            let done = steps_done(&point, &settings, &run, of, sizes.steps_per_epoch)?;
            planned.push(PlannedPoint {
                number,
                run,
                work: work(&sizes, settings.batch_size.get(), of),
                steps: (done, of),
                sizes,
                point,
            });
        }
        Ok(Sweep {
            total: planned.len(),
            planned,
            kernels: KernelSource::Default,
            stop: StopToken::default(),
        })
    }

    /// Chooses kernels by `kernels` for points whose training begins. A run
    /// that continues keeps its kernels.
    pub fn with_kernels(self, kernels: KernelSource) -> Self {
        Sweep { kernels, ..self }
    }

    /// Ends once `stop` asks to: the run that is being trained writes its
    /// checkpoint, and the same sweep continues there.
    #[must_use]
    pub fn heed(self, stop: StopToken) -> Self {
        Sweep { stop, ..self }
    }

    /// Only the point `number`, from 1.
    ///
    /// # Errors
    /// Where there is no such point.
    pub fn only(mut self, number: usize) -> Result<Self, StudyError> {
        self.planned.retain(|planned| planned.number == number);
        if self.planned.is_empty() {
            return Err(StudyError::value(
                "point",
                format!("{number}: the points are 1 to {}", self.total),
            ));
        }
        Ok(self)
    }

    /// The points, with what is trained of each.
    pub fn list(&self) -> Vec<ListedPoint> {
        let work: f64 = self.planned.iter().map(|planned| planned.work).sum();
        let listed = |planned: &PlannedPoint| ListedPoint {
            number: planned.number,
            name: planned.point.name.clone(),
            directory: planned.run.clone(),
            steps_done: planned.steps.0,
            steps: planned.steps.1,
            share: planned.work / work.max(1.0),
        };
        self.planned.iter().map(listed).collect()
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.planned.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// Number of points that are trained already.
    pub fn finished(&self) -> usize {
        self.planned.iter().filter(|planned| planned.is_finished()).count()
    }

    /// Trains the points that are not trained yet, one after the other, and
    /// reports to `report`. A point that diverges is a result, too.
    ///
    /// Several processes may train the points of one folder: each takes the next
    /// point that nobody trains. It ends when all points are trained, or all
    /// others are being trained elsewhere.
    ///
    /// # Errors
    /// Where a file or the adapter fails. Runs that were trained before that
    /// are kept.
    pub fn train(&self, adapter: &Adapter, report: &mut dyn FnMut(&SweepProgress)) -> Result<SweepResults, StudyError> {
        let mut clock = Clock::new(&self.planned);
        let mut results: Vec<Option<TrainedPoint>> = vec![None; self.planned.len()];
        loop {
            let mut any = false;
            for (index, planned) in self.planned.iter().enumerate() {
                if results[index].is_some() {
                    continue;
                }
                let mut send = |event: SweepEvent, clock: &Clock| {
                    report(&SweepProgress {
                        number: planned.number,
                        total: self.total,
                        point: &planned.point,
                        event,
                        share: clock.share(),
                        left: clock.left(),
                    });
                };
                let obtained = planned.obtain(adapter, &self.kernels, &self.stop, &mut |event| match event {
                    PointEvent::Training(event) => {
                        if let Event::Step { done, .. } = event {
                            clock.set_steps(index, *done);
                        }
                        send(SweepEvent::Training(event), &clock);
                    }
                    PointEvent::Note(line) => send(SweepEvent::Note(line), &clock),
                })?;
                let Some((trained, found)) = obtained else {
                    continue;
                };
                any = true;
                clock.set_steps(index, planned.steps.1);
                let event = match found {
                    true => SweepEvent::Found(&trained),
                    false => SweepEvent::Ended(&trained),
                };
                send(event, &clock);
                results[index] = Some(trained);
            }
            // Points that were being trained elsewhere may be free by now.
            if !any || results.iter().all(Option::is_some) {
                break;
            }
        }
        let names = self.planned.iter().map(|planned| &planned.point.name);
        let missing = names.zip(&results).filter(|(_, result)| result.is_none());
        Ok(SweepResults {
            elsewhere: missing.map(|(name, _)| name.clone()).collect(),
            points: results.into_iter().flatten().collect(),
        })
    }
}

/// What happens while a point is trained.
enum PointEvent<'a> {
    Training(&'a Event),
    Note(&'a str),
}

/// Multiply-adds of `steps` steps and of the evaluation after each epoch. The
/// backward pass takes twice as many as the forward pass.
fn work(sizes: &PointSizes, batch_size: usize, steps: u32) -> f64 {
    let epochs = f64::from(steps.div_ceil(sizes.steps_per_epoch.max(1)));
    let images = 3.0 * f64::from(steps) * batch_size as f64 + epochs * sizes.test_images as f64;
    sizes.macs as f64 * images
}

/// Number of steps, out of `of`, that the run in `path` has done; 0 if there is
/// no run.
///
/// # Errors
/// Where the run has other settings than `point`.
fn steps_done(
    point: &SweepPoint,
    settings: &Settings,
    path: &Path,
    of: u32,
    per_epoch: u32,
) -> Result<u32, StudyError> {
    let Ok(run) = RunDirectory::open(path) else {
        return Ok(0);
    };
    let problem = |problem: String| StudyError::File {
        path: path.to_path_buf(),
        problem,
    };
    if let Some(other) = run.read_config()?.difference(&point.config) {
        return Err(problem(format!(
            "the run there has other settings than this point: {other}; choose another output directory, or remove \
             the run"
        )));
    }
    if run.read_diverged()?.is_some() {
        return Ok(of);
    }
    // A run that stopped before its first checkpoint starts over.
    if !run.last().exists() {
        return Ok(0);
    }
    let position = checkpoint::position(&run.last(), &settings.model.to_string())?;
    // The test after the last step is a part of the run.
    let is_tested = settings.validation == 0 || position.step < of || run.read_test()?.is_some();
    let is_tested = is_tested && position.untested.is_none();
    let done = position.step - u32::from(!is_tested && position.step > 0);
    let rows = run.read_metrics()?.len();
    if done == of && rows != of.div_ceil(per_epoch.max(1)) as usize {
        return Err(problem(format!(
            "the run is finished, but metrics.csv has {rows} epochs; remove the run to train it again"
        )));
    }
    Ok(done)
}

impl PlannedPoint {
    fn is_finished(&self) -> bool {
        self.steps.0 == self.steps.1
    }

    /// The result of a run that was trained before.
    fn found(&self) -> Result<TrainedPoint, StudyError> {
        let directory = RunDirectory::open(&self.run)?;
        let adapter = directory.read_made_by()?.adapter;
        self.result(&directory, directory.read_diverged()?, adapter)
    }

    /// The point's result, and whether it was trained before; `None` where
    /// another process is training it.
    fn obtain(
        &self,
        adapter: &Adapter,
        kernels: &KernelSource,
        stop: &StopToken,
        report: &mut dyn FnMut(PointEvent),
    ) -> Result<Option<(TrainedPoint, bool)>, StudyError> {
        if self.is_finished() {
            return Ok(Some((self.found()?, true)));
        }
        let Some(directory) = self.own()? else {
            return Ok(None);
        };
        // Another process may have trained it since the plan was made.
        let settings = self.point.config.settings()?;
        let (of, per_epoch) = (self.steps.1, self.sizes.steps_per_epoch);
        if steps_done(&self.point, &settings, &self.run, of, per_epoch)? == of {
            return Ok(Some((self.found()?, true)));
        }
        let trained = self.train(&directory, adapter, kernels, stop, report)?;
        Ok(Some((trained, false)))
    }

    /// The directory of the run, if no other process owns it.
    fn own(&self) -> Result<Option<RunDirectory>, StudyError> {
        match RunDirectory::begin_or_resume(&self.run) {
            Ok(directory) => Ok(Some(directory)),
            Err(TrainError::Lock(LockError::Held { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Trains it from its last checkpoint.
    fn train(
        &self,
        directory: &RunDirectory,
        adapter: &Adapter,
        kernels: &KernelSource,
        stop: &StopToken,
        report: &mut dyn FnMut(PointEvent),
    ) -> Result<TrainedPoint, StudyError> {
        let mut trainer = Trainer::open_config(self.point.config.clone(), adapter)?;
        trainer.heed(stop.clone());
        let name = trainer.made_by().adapter;
        // A run that continues keeps the kernels it began with.
        let mut run = match RunDirectory::open(&self.run) {
            Ok(_) => trainer.resume(directory)?,
            Err(_) => {
                trainer.choose_kernels(kernels, &mut |_| {})?;
                trainer.start(directory)?
            }
        };
        for line in run.notes() {
            report(PointEvent::Note(line));
        }
        let diverged = match run.train(|event| report(PointEvent::Training(event))) {
            Ok(()) => None,
            Err(error) => Some(error.diverged_at().ok_or(error)?),
        };
        // So that neither a later sweep nor another process trains it again.
        if let Some(step) = diverged {
            directory.write_diverged(step)?;
        }
        // Read the rows back, so that a later sweep reports the same values.
        self.result(directory, diverged, name)
    }

    fn result(
        &self,
        directory: &RunDirectory,
        diverged: Option<u32>,
        adapter: String,
    ) -> Result<TrainedPoint, StudyError> {
        Ok(TrainedPoint {
            point: self.point.clone(),
            run: self.run.clone(),
            sizes: self.sizes,
            epochs: directory.read_metrics()?,
            diverged,
            test: directory.read_test()?,
            adapter,
        })
    }
}

/// The share of a sweep that is done, and the remaining time. A step of a
/// large network counts for more than a step of a small one.
struct Clock<'a> {
    planned: &'a [PlannedPoint],
    done: Vec<f64>,
    before: f64,
    began: Instant,
}

impl<'a> Clock<'a> {
    fn new(planned: &'a [PlannedPoint]) -> Self {
        let done: Vec<f64> = planned.iter().map(|point| point.work_of(point.steps.0)).collect();
        Clock {
            planned,
            before: done.iter().sum(),
            done,
            began: Instant::now(),
        }
    }

    /// Sets the number of steps that the point at `index` has done.
    fn set_steps(&mut self, index: usize, steps: u32) {
        self.done[index] = self.planned[index].work_of(steps);
    }

    fn all(&self) -> f64 {
        self.planned.iter().map(|point| point.work).sum()
    }

    fn share(&self) -> f64 {
        let done: f64 = self.done.iter().sum();
        (done / self.all().max(1.0)).min(1.0)
    }

    fn left(&self) -> Option<Duration> {
        let done: f64 = self.done.iter().sum();
        left(self.began.elapsed(), done - self.before, self.all() - done)
    }
}

impl PlannedPoint {
    fn work_of(&self, steps: u32) -> f64 {
        self.work * f64::from(steps) / f64::from(self.steps.1.max(1))
    }
}

/// The time that the work `rest` takes if `done` took `elapsed`.
fn left(elapsed: Duration, done: f64, rest: f64) -> Option<Duration> {
    let ratio = (done > 0.0).then(|| rest.max(0.0) / done)?;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * ratio).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Config;

    /// A run with these values and these test errors, epoch by epoch.
    pub fn trained(values: &[(&str, &str)], errors: &[f64]) -> TrainedPoint {
        let values = values.iter().map(|&(key, value)| (key.to_string(), value.to_string()));
        let row = |(index, &error): (usize, &f64)| EpochRow {
            epoch: index as u32 + 1,
            train_loss: 2.0 * error,
            train_error: error / 2.0,
            test_loss: 2.0 * error,
            test_error: error,
            lr: 0.1,
            images_per_second: 100.0 * (index + 1) as f64,
            seconds: 2.0,
            gradient_norm: None,
            loss_scale: None,
        };
        TrainedPoint {
            point: SweepPoint::new(values.collect(), Config::default()),
            run: PathBuf::from("run"),
            sizes: PointSizes {
                parameters: 1000,
                macs: 5000,
                blocks: 3,
                train_images: 64,
                test_images: 32,
                steps_per_epoch: 4,
            },
            epochs: errors.iter().enumerate().map(row).collect(),
            diverged: None,
            test: None,
            adapter: "a device".into(),
        }
    }

    #[test]
    fn results_are_those_of_the_last_and_the_best_epoch() {
        let run = trained(&[("seed", "0")], &[0.9, 0.3, 0.4]);
        assert_eq!(run.test_error(), Some(0.4));
        assert_eq!(run.best_test_error(), Some(0.3));
        assert_eq!(run.images_per_second(), Some(250.0));
        assert_eq!(run.seconds(), 6.0);
        let validated = TrainedPoint {
            test: Some(TestResult {
                epoch: 2,
                validation_error: 0.3,
                images: 10,
                wrong: 5,
                error: 0.5,
                loss: 1.5,
                weights: String::new(),
            }),
            ..run.clone()
        };
        assert_eq!(
            (validated.test_error(), validated.best_test_error()),
            (Some(0.5), Some(0.5))
        );
        assert_eq!(validated.test_loss(), Some(1.5));
        let diverged = TrainedPoint {
            diverged: Some(7),
            ..run
        };
        assert_eq!((diverged.test_error(), diverged.best_test_error()), (None, None));
        assert_eq!(trained(&[], &[]).images_per_second(), None);
    }

    #[test]
    fn plans_have_the_parameter_counts_of_the_paper() {
        let folder = tempfile::tempdir().unwrap();
        let grid = "model=wrn-40-2,wrn-28-2:block=B(3,3),wrn-40-2:block=B(1,3,1)"
            .parse()
            .unwrap();
        let base = Config {
            data: "synthetic:32,16".into(),
            ..Config::default()
        };
        let sweep = Sweep::plan(grid_points(&base, &[grid]).unwrap(), folder.path()).unwrap();
        let sizes: Vec<usize> = sweep.planned.iter().map(|planned| planned.sizes.parameters).collect();
        assert_eq!(sizes, [2_243_546, 1_467_610, 1_429_082]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_point_that_cannot_be_trained_stops_the_plan() {
        let folder = tempfile::tempdir().unwrap();
        let plan = |text: &str| {
            let points = grid_points(&Config::default(), &[text.parse().unwrap()]).unwrap();
            Sweep::plan(points, folder.path()).unwrap_err()
        };
        for (text, part) in [
            ("model=resnet20,resnet21", "21"),
            ("sample-blocks=3,7", "sample blocks 7"),
            ("limit-test=16,0", "0"),
            ("std=cifar10|0,0,0", "0"),
        ] {
            let error = plan(text);
            assert!(
                error.is_argument() && error.to_string().contains(part),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn time_left_follows_the_work() {
        let second = Duration::from_secs(1);
        assert_eq!(left(second, 2.0, 6.0), Some(3 * second));
        assert_eq!(left(second, 0.0, 6.0), None);
        assert_eq!(left(second, 2.0, -1e-9), Some(Duration::ZERO));
    }
}
