//! What comes out of training at other settings?
//!
//! A sweep trains one run for each of its points. It can be stopped at any
//! moment: the same sweep in the same folder goes on where it stood, finished
//! runs are not trained again, and a run of other settings is never
//! overwritten.

mod aggregate;
mod grid;
mod report;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::data::{Batches, Source};
use crate::graph::Mode;
use crate::train::{
    Adapter, Config, EpochRow, Event, Kernels, RunDirectory, Settings, TrainError, Trainer, checkpoint, input_of,
};

pub use aggregate::{Group, Spread, groups, spread};
use grid::distinct;
pub use grid::{Point, SEED, Setting, described, file_name, list_of, points};
pub use report::{curves_figure, heat_cells, heat_figure, sweep_facts, sweep_json, sweep_report};

/// The folder of the runs within a sweep's folder.
const RUNS: &str = "runs";

/// A sweep whose every point can be trained, as far as that can be known.
#[derive(Debug, Clone)]
pub struct Sweep {
    planned: Vec<Planned>,
    kernels: Kernels,
}

/// A point before it is trained.
#[derive(Debug, Clone)]
struct Planned {
    point: Point,
    run: PathBuf,
    facts: Facts,
    /// Multiply-adds of all its steps and tests.
    work: f64,
    /// Steps taken, and steps of the run.
    steps: (u32, u32),
}

/// What is known of a network and its images before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Trained parameters.
    pub parameters: usize,
    /// Multiply-adds of one image, forward.
    pub macs: u64,
    /// Residual blocks.
    pub blocks: usize,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: u32,
}

/// A point after it was trained.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The point.
    pub point: Point,
    /// The directory of its run.
    pub run: PathBuf,
    /// The network and its images.
    pub facts: Facts,
    /// What each epoch came to.
    pub epochs: Vec<EpochRow>,
    /// The step at which the loss was no longer finite, if that happened.
    pub diverged: Option<u32>,
    /// What trained it.
    pub adapter: String,
}

impl Trained {
    fn last(&self) -> Option<&EpochRow> {
        self.epochs.last().filter(|_| self.diverged.is_none())
    }

    /// Test error after the last epoch, a fraction; none of a run that
    /// diverged.
    pub fn test_error(&self) -> Option<f64> {
        self.last().map(|row| row.test_error)
    }

    /// The smallest test error of an epoch. It was chosen on test images, and
    /// flatters.
    pub fn best_test_error(&self) -> Option<f64> {
        self.last()?;
        self.epochs.iter().map(|row| row.test_error).min_by(f64::total_cmp)
    }

    /// Mean test loss after the last epoch, nats.
    pub fn test_loss(&self) -> Option<f64> {
        self.last().map(|row| row.test_loss)
    }

    /// Error of the last epoch's training images as they were seen.
    pub fn train_error(&self) -> Option<f64> {
        self.last().map(|row| row.train_error)
    }

    /// Their mean loss, nats.
    pub fn train_loss(&self) -> Option<f64> {
        self.last().map(|row| row.train_loss)
    }

    /// Training images a second: the median of the epochs after the first,
    /// which compiles kernels.
    pub fn images_per_second(&self) -> Option<f64> {
        let warm = if self.epochs.len() > 1 { 1 } else { 0 };
        let speeds = self.epochs[warm..].iter().map(|row| row.images_per_second);
        spread(speeds).map(|spread| spread.median)
    }

    /// Seconds of all epochs, tests included; what a run did between its last
    /// checkpoint and being killed is not in them.
    pub fn seconds(&self) -> f64 {
        // Each has two digits behind the point, and so has their sum.
        let sum: f64 = self.epochs.iter().map(|row| row.seconds).sum();
        (100.0 * sum).round() / 100.0
    }
}

/// What a sweep reports while it goes on.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The point's number, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// The point.
    pub point: &'a Point,
    /// What happened.
    pub news: News<'a>,
    /// How much of the sweep's work is done, 0 to 1.
    pub share: f64,
    /// How long the rest takes at the speed so far, once that is known.
    pub left: Option<Duration>,
}

/// What happened to a point.
#[derive(Debug)]
pub enum News<'a> {
    /// It had been trained before.
    Found(&'a Trained),
    /// It goes on.
    Training(&'a Event),
    /// It was trained.
    Ended(&'a Trained),
}

impl Sweep {
    /// Looks at every point: its settings, its images, its network, and what
    /// the folder `out` holds of it. Nothing is written.
    ///
    /// # Errors
    /// For the first point that cannot be trained, and the first whose
    /// directory holds a run of other settings.
    pub fn plan(points: Vec<Point>, out: &Path) -> Result<Self, TrainError> {
        distinct(&points)?;
        // Points share their images, mostly; only synthetic ones change with
        // the seed.
        let mut shapes = HashMap::new();
        let mut planned = Vec::new();
        for point in points {
            let config = &point.config;
            let settings = config.check()?;
            let seed = matches!(settings.data, Source::Synthetic { .. }).then_some(config.seed);
            let key = (config.data.clone(), config.limit_train, config.limit_test, seed);
            let images = match shapes.get(&key) {
                Some(images) => images,
                None => {
                    let splits = config.load(&settings)?;
                    let images = (input_of(&splits.train), splits.train.len(), splits.test.len());
                    shapes.entry(key).or_insert((images, splits.normalization))
                }
            };
            let ((input, train_images, test_images), normalization) = images;
            config.normalization(normalization)?;
            let graph = settings.model.build(input, Mode::Eval)?.graph;
            settings.check_blocks(graph.blocks.len())?;
            let facts = Facts {
                parameters: graph.parameter_count(),
                macs: graph.macs(),
                blocks: graph.blocks.len(),
                train_images: *train_images,
                test_images: *test_images,
                steps_per_epoch: Batches::plain(*train_images as u32, settings.batch_size).per_epoch() as u32,
            };
            let of = config.total_steps(facts.steps_per_epoch);
            let run = out.join(RUNS).join(&point.name);
            let done = steps_done(&point, &settings, &run, of, facts.steps_per_epoch)?;
            planned.push(Planned {
                run,
                work: work(&facts, settings.batch_size.get(), of),
                steps: (done, of),
                facts,
                point,
            });
        }
        Ok(Sweep {
            planned,
            kernels: Kernels::Rules,
        })
    }

    /// This sweep with kernels by `kernels`, for the points that begin; those
    /// that go on keep theirs.
    pub fn with_kernels(self, kernels: Kernels) -> Self {
        Sweep { kernels, ..self }
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.planned.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// How many points have been trained already.
    pub fn finished(&self) -> usize {
        self.planned.iter().filter(|planned| planned.is_finished()).count()
    }

    /// Trains what has not been trained yet, point by point; reports to
    /// `report`. A point that diverges is a result, too.
    ///
    /// # Errors
    /// For files and devices. What has been trained until then stays.
    pub fn train(&self, adapter: &Adapter, report: &mut dyn FnMut(&Progress)) -> Result<Vec<Trained>, TrainError> {
        let mut clock = Clock::new(&self.planned);
        let mut results = Vec::new();
        for (index, planned) in self.planned.iter().enumerate() {
            let mut tell = |news: News, clock: &Clock| {
                report(&Progress {
                    number: index + 1,
                    of: self.planned.len(),
                    point: &planned.point,
                    news,
                    share: clock.share(),
                    left: clock.left(),
                });
            };
            let found = planned.is_finished();
            let trained = if found {
                planned.found()?
            } else {
                planned.train(adapter, &self.kernels, &mut |event| {
                    if let Event::Step { done, .. } = event {
                        clock.stands(index, *done);
                    }
                    tell(News::Training(event), &clock);
                })?
            };
            clock.stands(index, planned.steps.1);
            let news = if found {
                News::Found(&trained)
            } else {
                News::Ended(&trained)
            };
            tell(news, &clock);
            results.push(trained);
        }
        Ok(results)
    }
}

/// Multiply-adds of `steps` steps and the tests behind each epoch. The
/// backward pass takes two for each one of the forward pass.
fn work(facts: &Facts, batch_size: usize, steps: u32) -> f64 {
    let epochs = f64::from(steps.div_ceil(facts.steps_per_epoch.max(1)));
    let images = 3.0 * f64::from(steps) * batch_size as f64 + epochs * facts.test_images as f64;
    facts.macs as f64 * images
}

/// How many of its `of` steps the run in `path` has taken, if it is there and
/// has the settings of `point`.
fn steps_done(point: &Point, settings: &Settings, path: &Path, of: u32, per_epoch: u32) -> Result<u32, TrainError> {
    let Ok(run) = RunDirectory::open(path) else {
        return Ok(0);
    };
    let problem = |problem: String| TrainError::Run {
        path: path.to_path_buf(),
        problem,
    };
    if let Some(other) = difference(&run.read_config()?, &point.config) {
        return Err(problem(format!(
            "the run there has other settings than this point: {other}; choose another --out, or remove the run"
        )));
    }
    // A run that was cut off before its first checkpoint begins anew.
    if !run.last().exists() {
        return Ok(0);
    }
    let done = checkpoint::position(&run.last(), &settings.model.to_string())?.step;
    let rows = run.read_metrics()?.len();
    if done == of && rows != of.div_ceil(per_epoch.max(1)) as usize {
        return Err(problem(format!(
            "the run is finished, but metrics.csv has {rows} epochs; remove the run to train it anew"
        )));
    }
    Ok(done)
}

/// The first setting in which two configurations differ, with both values.
fn difference(there: &Config, wanted: &Config) -> Option<String> {
    if there == wanted {
        return None;
    }
    let table = |config: &Config| toml::Table::try_from(config).unwrap_or_default();
    let (there, wanted) = (table(there), table(wanted));
    let shown = |value: Option<&toml::Value>| value.map_or_else(|| "none".to_string(), toml::Value::to_string);
    let keys = wanted.keys().chain(there.keys());
    let differs = |key: &&String| there.get(*key) != wanted.get(*key);
    let words = |key: &String| format!("{key} is {}, not {}", shown(there.get(key)), shown(wanted.get(key)));
    Some(
        keys.into_iter()
            .find(differs)
            .map_or_else(|| "by a value without name".to_string(), words),
    )
}

impl Planned {
    fn is_finished(&self) -> bool {
        self.steps.0 == self.steps.1
    }

    /// The result of a run that was trained before.
    fn found(&self) -> Result<Trained, TrainError> {
        let directory = RunDirectory::open(&self.run)?;
        let adapter = directory.read_made_by().map(|made_by| made_by.adapter);
        Ok(self.result(directory.read_metrics()?, None, adapter.unwrap_or_default()))
    }

    /// Trains it from where it stands.
    fn train(
        &self,
        adapter: &Adapter,
        kernels: &Kernels,
        report: &mut dyn FnMut(&Event),
    ) -> Result<Trained, TrainError> {
        let mut trainer = Trainer::open(self.point.config.clone(), adapter)?;
        let name = trainer.made_by().adapter;
        let (directory, resume) = match RunDirectory::open(&self.run) {
            Ok(there) => (there, true),
            Err(_) => (RunDirectory::create(&self.run)?, false),
        };
        // A run that goes on keeps the kernels it was begun with.
        if !resume {
            trainer.choose_kernels(kernels, &mut |_| {})?;
        }
        let mut run = trainer.run(&directory, resume)?;
        let diverged = match run.train(report) {
            Ok(()) => None,
            Err(error) => Some(error.diverged_at().ok_or(error)?),
        };
        // As written, so that a sweep which finds the run says the same.
        Ok(self.result(directory.read_metrics()?, diverged, name))
    }

    fn result(&self, epochs: Vec<EpochRow>, diverged: Option<u32>, adapter: String) -> Trained {
        Trained {
            point: self.point.clone(),
            run: self.run.clone(),
            facts: self.facts,
            epochs,
            diverged,
            adapter,
        }
    }
}

/// How far a sweep is, and how long the rest will take. A step of a large
/// network counts for more than one of a small one.
struct Clock<'a> {
    planned: &'a [Planned],
    done: Vec<f64>,
    before: f64,
    began: Instant,
}

impl<'a> Clock<'a> {
    fn new(planned: &'a [Planned]) -> Self {
        let done: Vec<f64> = planned.iter().map(|point| point.work_of(point.steps.0)).collect();
        Clock {
            planned,
            before: done.iter().sum(),
            done,
            began: Instant::now(),
        }
    }

    /// The point at `index` has taken so many steps.
    fn stands(&mut self, index: usize, steps: u32) {
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

impl Planned {
    fn work_of(&self, steps: u32) -> f64 {
        self.work * f64::from(steps) / f64::from(self.steps.1.max(1))
    }
}

/// The time that `rest` takes where `done` took `elapsed`.
fn left(elapsed: Duration, done: f64, rest: f64) -> Option<Duration> {
    let ratio = (done > 0.0).then(|| rest.max(0.0) / done)?;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * ratio).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run with these values and these test errors, epoch by epoch.
    pub fn trained(values: &[(&str, &str)], errors: &[f64]) -> Trained {
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
        };
        Trained {
            point: Point::new(values.collect(), Config::default()),
            run: PathBuf::from("run"),
            facts: Facts {
                parameters: 1000,
                macs: 5000,
                blocks: 3,
                train_images: 64,
                test_images: 32,
                steps_per_epoch: 4,
            },
            epochs: errors.iter().enumerate().map(row).collect(),
            diverged: None,
            adapter: "a device".into(),
        }
    }

    #[test]
    fn a_result_is_the_last_epoch_and_the_best() {
        let run = trained(&[("seed", "0")], &[0.9, 0.3, 0.4]);
        assert_eq!(run.test_error(), Some(0.4));
        assert_eq!(run.best_test_error(), Some(0.3));
        assert_eq!(run.images_per_second(), Some(250.0));
        assert_eq!(run.seconds(), 6.0);
        let diverged = Trained {
            diverged: Some(7),
            ..run
        };
        assert_eq!((diverged.test_error(), diverged.best_test_error()), (None, None));
        assert_eq!(trained(&[], &[]).images_per_second(), None);
    }

    #[test]
    fn plans_know_the_papers_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let grid = "model=wrn-40-2,wrn-28-2:block=B(3,3),wrn-40-2:block=B(1,3,1)"
            .parse()
            .unwrap();
        let base = Config {
            data: "synthetic:32,16".into(),
            ..Config::default()
        };
        let sweep = Sweep::plan(points(&base, &[grid]).unwrap(), folder.path()).unwrap();
        let sizes: Vec<usize> = sweep.planned.iter().map(|planned| planned.facts.parameters).collect();
        assert_eq!(sizes, [2_243_546, 1_467_610, 1_429_082]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_point_that_cannot_be_trained_stops_the_plan() {
        let folder = tempfile::tempdir().unwrap();
        let plan = |text: &str| {
            let points = points(&Config::default(), &[text.parse().unwrap()]).unwrap();
            Sweep::plan(points, folder.path()).unwrap_err()
        };
        for (text, part) in [
            ("model=resnet20,resnet21", "21"),
            ("sample-blocks=3,7", "--sample-blocks 7"),
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
    fn the_difference_of_two_settings_is_named() {
        let config = Config::default();
        let other = Config {
            stochastic_depth: Some(0.5),
            ..config.clone()
        };
        assert_eq!(difference(&config, &config), None);
        assert_eq!(
            difference(&config, &other).unwrap(),
            "stochastic-depth is none, not 0.5"
        );
        assert_eq!(
            difference(&other, &config).unwrap(),
            "stochastic-depth is 0.5, not none"
        );
    }

    #[test]
    fn time_left_follows_the_work() {
        let second = Duration::from_secs(1);
        assert_eq!(left(second, 2.0, 6.0), Some(3 * second));
        assert_eq!(left(second, 0.0, 6.0), None);
        assert_eq!(left(second, 2.0, -1e-9), Some(Duration::ZERO));
    }
}
