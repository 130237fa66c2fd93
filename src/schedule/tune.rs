//! Which kernel is fastest for each piece of work, on this device?
//!
//! Every way of a piece of work runs on the same random inputs. Before one may
//! win, its answer is held against the plain kernel's; then those that agree
//! are timed in turns, and the shortest of several rounds counts: other
//! programs only ever make a kernel slower. A challenger must beat the rules'
//! choice by more than chance does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::choices::{Choice, Choices};
use super::plan::{Request, dispatch, target};
use super::session::SessionError;
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, GpuError};
use crate::graph::{Precision, Shape};
use crate::half;
use crate::kernels::{Candidate, Lowered, Operand, STEP_BYTES, Target, Work};
use crate::random::{Philox, Stream};

/// A candidate's answer may differ from the plain kernel's by so much of its
/// Euclidean norm: the order of sums, and nothing else.
const TOLERANCE: f64 = 1e-4;
/// The same of an answer that is stored in 16 bits, where a sum in another
/// order may round to a neighbour: half the distance of two neighbours.
const TOLERANCE_F16: f64 = 4.9e-4;
/// A challenger must be this much faster than the rules' choice.
const MARGIN: f64 = 0.03;
/// Rounds of timing: at least, at most, and the seconds after which no
/// further one begins. On a busy machine a short kernel needs many, until it
/// has met the machine idle once.
const ROUNDS: (usize, usize) = (4, 40);
const ROUND_SECONDS: f64 = 0.3;
/// What is this much slower than the fastest after two rounds is not timed
/// again.
const HOPELESS: f64 = 1.3;
/// The plain kernel takes part in the race only where it is within this factor
/// of the rules' choice: it may take seconds.
const PLAIN_CHANCE: f64 = 2.0;

/// A piece of work that can be done in several ways, and its shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The work.
    pub work: Work,
    /// Shapes of its inputs.
    pub inputs: Vec<Shape>,
    /// Shape of its output.
    pub output: Shape,
    /// Images in a batch.
    pub batch: usize,
    /// How many times a pass does it.
    pub count: usize,
}

impl Job {
    fn shapes(&self) -> Vec<&Shape> {
        self.inputs.iter().collect()
    }

    /// What files of choices call it.
    pub fn signature(&self) -> String {
        self.work.signature(&self.shapes(), &self.output)
    }

    /// Its ways on `target` for `images` images: the rules' choice first, the
    /// plain one last.
    pub fn trials(&self, images: usize, target: &Target) -> Vec<Trial> {
        let shapes = self.shapes();
        let candidates = self.work.candidates(&shapes, &self.output, target).into_iter();
        let trial = |candidate: Candidate| {
            let lowered = self.work.lower_as(&candidate, &shapes, &self.output, images, target)?;
            Some(Trial { candidate, lowered })
        };
        candidates.filter_map(trial).collect()
    }

    /// Multiply-adds of one image, where they can be counted.
    pub fn macs_per_image(&self, target: &Target) -> u64 {
        let lowered = self.work.lower(&self.shapes(), &self.output, 1, target);
        lowered.calls.iter().map(|call| call.macs).sum()
    }

    /// Images to tune with: the batch, or fewer where the plain kernel would
    /// take seconds.
    fn images(&self, target: &Target) -> usize {
        let (macs, bytes) = if target.cpu {
            (50_000_000, 64 << 20)
        } else {
            (20_000_000_000, 512 << 20)
        };
        let largest = self.inputs.iter().chain([&self.output]);
        let per_image = largest.map(|shape| shape.bytes(1)).max().unwrap_or(1).max(1);
        let fitting = (macs / self.macs_per_image(target).max(1)).min(bytes / per_image);
        // Fewer would leave a device idle, and say nothing of full batches.
        (fitting as usize).max(8).min(self.batch)
    }
}

/// One way to do a job, ready to be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its name.
    pub candidate: Candidate,
    /// Its dispatches.
    pub lowered: Lowered,
}

/// What tuning may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Seconds that one candidate may take to compile.
    pub compile: f64,
    /// Seconds for all jobs together.
    pub total: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            compile: 5.0,
            total: 45.0,
        }
    }
}

/// Why a candidate was not timed to the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Aside {
    /// The device refused it.
    Failed(String),
    /// Its answer is off by so much of the plain kernel's norm.
    Disagrees(f64),
    /// It took so many seconds to compile.
    Compiles(f64),
    /// The budget was used up before its turn.
    NoTime,
}

impl std::fmt::Display for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Aside::Failed(reason) => write!(f, "failed: {reason}"),
            Aside::Disagrees(by) => write!(f, "disagrees with the plain kernel by {by:.1e}"),
            Aside::Compiles(seconds) => write!(f, "took {seconds:.1} s to compile"),
            Aside::NoTime => f.write_str("was not tried for lack of time"),
        }
    }
}

/// What became of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The job.
    pub job: Job,
    /// Images that it was tuned with.
    pub images: usize,
    /// Multiply-adds of those; 0 where they are not counted.
    pub macs: u64,
    /// Each way: seconds, or why it was set aside. The rules' choice is first.
    pub trials: Vec<(Candidate, Result<f64, Aside>)>,
    /// The choice.
    pub choice: Choice,
}

/// What tuning reports while it goes on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A job begins: its position from 0, of how many.
    Job {
        /// Jobs done.
        done: usize,
        /// All of them.
        of: usize,
    },
    /// A job was done.
    Tuned(&'a Tuned),
    /// The budget was used up: so many jobs keep the rules' choice.
    OutOfTime {
        /// Jobs without timing.
        left: usize,
    },
}

/// The jobs of `request`, each once, those that cost most first.
pub(super) fn jobs_of(request: &Request, target: &Target) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for (work, inputs, output) in request.works() {
        if work.candidates(&inputs, output, target).is_empty() {
            continue;
        }
        let signature = work.signature(&inputs, output);
        match jobs.iter_mut().find(|job| job.signature() == signature) {
            Some(job) => job.count += 1,
            None => jobs.push(Job {
                work,
                inputs: inputs.into_iter().cloned().collect(),
                output: output.clone(),
                batch: request.batch,
                count: 1,
            }),
        }
    }
    // What is left at the end of the budget should matter least.
    jobs.sort_by_cached_key(|job| {
        let bytes: u64 = job.inputs.iter().map(|shape| shape.bytes(1)).sum();
        std::cmp::Reverse((job.count as u64 * job.macs_per_image(target), bytes))
    });
    jobs
}

/// Chooses a kernel for each of `jobs` within `budget`; reports to `report`.
/// What the budget does not reach keeps the rules' choice.
///
/// # Errors
/// Where the device is lost. A candidate that fails is set aside.
pub fn tune(
    gpu: &Arc<Gpu>,
    jobs: &[Job],
    budget: &Budget,
    report: &mut dyn FnMut(&Progress),
) -> Result<Choices, SessionError> {
    let mut tuner = Tuner::new(gpu, budget)?;
    let mut choices = Choices::default();
    for (done, job) in jobs.iter().enumerate() {
        if tuner.is_out_of_time() {
            report(&Progress::OutOfTime {
                left: jobs.len() - done,
            });
            for job in &jobs[done..] {
                let kernel = job.work.candidates(&job.shapes(), &job.output, &tuner.target)[0];
                choices.set(&job.signature(), job.batch, Choice { kernel, timed: None });
            }
            break;
        }
        report(&Progress::Job { done, of: jobs.len() });
        let images = job.images(&tuner.target);
        let tuned = tuner.job(job, images, &job.trials(images, &tuner.target))?;
        choices.set(&job.signature(), job.batch, tuned.choice);
        report(&Progress::Tuned(&tuned));
    }
    Ok(choices)
}

/// Tries the ways of one job after the other.
#[derive(Debug)]
pub struct Tuner {
    gpu: Arc<Gpu>,
    target: Target,
    budget: Budget,
    began: Instant,
    /// Random numbers for each input, as many as were wanted yet.
    numbers: HashMap<usize, Vec<f32>>,
    step: Binding,
}

/// A candidate that agrees with the plain one.
struct Runner {
    trial: usize,
    dispatches: Vec<Dispatch>,
    best: f64,
}

impl Tuner {
    /// A tuner whose budget begins to run now.
    pub fn new(gpu: &Arc<Gpu>, budget: &Budget) -> Result<Self, SessionError> {
        Ok(Tuner {
            target: target(gpu),
            budget: *budget,
            began: Instant::now(),
            numbers: HashMap::new(),
            step: Binding::whole(&gpu.buffer("step", STEP_BYTES)?),
            gpu: gpu.clone(),
        })
    }

    fn is_out_of_time(&self) -> bool {
        self.began.elapsed().as_secs_f64() > self.budget.total
    }

    /// Tries `trials` of `job` on `images` images, the rules' choice first and
    /// the plain kernel last, which says what is true.
    ///
    /// # Errors
    /// Where the device is lost.
    pub fn job(&mut self, job: &Job, images: usize, trials: &[Trial]) -> Result<Tuned, SessionError> {
        let mut tuned = Tuned {
            job: job.clone(),
            images,
            macs: job.macs_per_image(&self.target) * images as u64,
            trials: trials
                .iter()
                .map(|trial| (trial.candidate, Err(Aside::NoTime)))
                .collect(),
            choice: Choice {
                kernel: trials.first().map_or(Candidate::Plain, |trial| trial.candidate),
                timed: None,
            },
        };
        let Some(last) = trials.len().checked_sub(1) else {
            return Ok(tuned);
        };
        let bench = match self.bench(job, images, trials) {
            Ok(bench) => bench,
            Err(error) => return self.without_truth(tuned, error),
        };
        let truth = match self.first_run(&bench, &trials[last]) {
            Ok(plain) => (plain, bench.answer(&self.gpu)?),
            Err(error) => return self.without_truth(tuned, error),
        };
        let ((plain, plain_seconds), truth) = truth;
        let mut runners = Vec::new();
        for (index, trial) in trials[..last].iter().enumerate() {
            // The rules' choice is tried in any case: it is what is run else.
            if index > 0 && self.is_out_of_time() {
                break;
            }
            match self.check(&bench, trial, &truth)? {
                Ok((runner, compiled)) => {
                    let mut runner = Runner { trial: index, ..runner };
                    runner.best = self.time(&runner.dispatches)?;
                    if index > 0 && compiled > self.budget.compile {
                        tuned.trials[index].1 = Err(Aside::Compiles(compiled));
                    } else {
                        runners.push(runner);
                    }
                }
                Err(aside) => tuned.trials[index].1 = Err(aside),
            }
        }
        // What its first run took, compiling included, is enough to see that it
        // has no chance.
        tuned.trials[last].1 = Ok(plain_seconds);
        let fastest = runners.iter().map(|runner| runner.best).fold(f64::INFINITY, f64::min);
        if plain_seconds < PLAIN_CHANCE * fastest || job.macs_per_image(&self.target) == 0 {
            runners.push(Runner {
                trial: last,
                best: self.time(&plain)?,
                dispatches: plain,
            });
        }
        self.race(&mut runners)?;
        // A challenger meets the rules' choice once more, those two alone: of
        // several, one is lucky.
        runners.sort_by(|a, b| a.best.total_cmp(&b.best));
        if runners.first().is_some_and(|runner| runner.trial > 0) {
            runners.sort_by_key(|runner| runner.trial != 0);
            if let Some(two) = runners.get_mut(..2) {
                self.race(two)?;
            }
        }
        for runner in &runners {
            tuned.trials[runner.trial].1 = Ok(runner.best);
        }
        tuned.choice = chosen(&tuned);
        Ok(tuned)
    }

    /// The job keeps the rules' choice: the plain kernel did not run.
    fn without_truth(&self, mut tuned: Tuned, error: GpuError) -> Result<Tuned, SessionError> {
        if let lost @ GpuError::Lost { .. } = error {
            return Err(lost.into());
        }
        if let Some((_, plain)) = tuned.trials.last_mut() {
            *plain = Err(Aside::Failed(error.to_string()));
        }
        Ok(tuned)
    }

    /// Buffers that every trial of `job` uses, with random inputs.
    fn bench(&mut self, job: &Job, images: usize, trials: &[Trial]) -> Result<Bench, GpuError> {
        let mut inputs = Vec::with_capacity(job.inputs.len());
        for (index, shape) in job.inputs.iter().enumerate() {
            let bytes = shape.bytes(images);
            let buffer = self.gpu.buffer("tuning input", bytes)?;
            let count = shape.len(images);
            let numbers = self.numbers.entry(index).or_default();
            if numbers.len() < count {
                let mut draws = Philox::new(0).draws(Stream::Tuning, 0, index as u32);
                *numbers = (0..count).map(|_| draws.between(-1.0, 1.0)).collect();
            }
            match shape.precision {
                Precision::F32 => self.gpu.write(&buffer, 0, &numbers[..count]),
                Precision::F16 => self.gpu.write(&buffer, 0, &half::pack(&numbers[..count])),
            }
            inputs.push(Binding::new(&buffer, 0, bytes));
        }
        let output = job.output.bytes(images);
        let running = self.gpu.buffer("tuning state", output)?;
        // No two trials run at once: each scratch buffer is the largest wanted.
        let mut sizes: Vec<u64> = Vec::new();
        for trial in trials {
            for (index, &bytes) in trial.lowered.scratch.iter().enumerate() {
                match sizes.get_mut(index) {
                    Some(size) => *size = bytes.max(*size),
                    None => sizes.push(bytes),
                }
            }
        }
        let scratch: Result<Vec<_>, _> = sizes
            .iter()
            .map(|&bytes| self.gpu.buffer("tuning scratch", bytes))
            .collect();
        Ok(Bench {
            inputs,
            output: Binding::new(&self.gpu.buffer("tuning output", output)?, 0, output),
            values: job.output.len(images),
            precision: job.output.precision,
            running: Binding::new(&running, 0, output),
            scratch: scratch?,
            step: self.step.clone(),
        })
    }

    /// Compiles `trial` and runs it once; gives the seconds that took.
    fn first_run(&self, bench: &Bench, trial: &Trial) -> Result<(Vec<Dispatch>, f64), GpuError> {
        let began = Instant::now();
        let calls = trial.lowered.calls.iter();
        let dispatches: Result<Vec<Dispatch>, GpuError> = calls
            .map(|call| dispatch(&self.gpu, call, |operand| bench.place(operand, &trial.lowered)))
            .collect();
        let dispatches = dispatches?;
        let submission = self.gpu.submit(|recorder| {
            // What an earlier trial left is no answer of this one.
            recorder.clear(&bench.output.buffer, 0..bench.output.size);
            for dispatch in &dispatches {
                recorder.dispatch(dispatch);
            }
        });
        self.gpu.wait(&submission)?;
        Ok((dispatches, began.elapsed().as_secs_f64()))
    }

    /// Holds a trial's answer against the plain kernel's; gives the seconds
    /// that it took to compile.
    fn check(&self, bench: &Bench, trial: &Trial, truth: &[f32]) -> Result<Result<(Runner, f64), Aside>, SessionError> {
        let (dispatches, first) = match self.first_run(bench, trial) {
            Ok(run) => run,
            Err(lost @ GpuError::Lost { .. }) => return Err(lost.into()),
            Err(error) => return Ok(Err(Aside::Failed(error.to_string()))),
        };
        let off = deviation(&bench.answer(&self.gpu)?, truth);
        if off.is_nan() || off > bench.tolerance() {
            return Ok(Err(Aside::Disagrees(off)));
        }
        let began = Instant::now();
        self.run(&dispatches)?;
        // A driver compiles at the first run: what the second does not take.
        let compiled = (first - began.elapsed().as_secs_f64()).max(0.0);
        let runner = Runner {
            trial: 0,
            dispatches,
            best: f64::INFINITY,
        };
        Ok(Ok((runner, compiled)))
    }

    fn run(&self, dispatches: &[Dispatch]) -> Result<(), SessionError> {
        let submission = self.gpu.submit(|recorder| {
            for dispatch in dispatches {
                recorder.dispatch(dispatch);
            }
        });
        Ok(self.gpu.wait(&submission)?)
    }

    /// Seconds of one run: by the device's clock where it has one that runs.
    fn time(&self, dispatches: &[Dispatch]) -> Result<f64, SessionError> {
        let all: Vec<&Dispatch> = dispatches.iter().collect();
        if let Some(times) = self.gpu.time(&all)? {
            let seconds: f64 = times.iter().sum();
            if seconds > 0.0 {
                return Ok(seconds);
            }
        }
        let began = Instant::now();
        self.run(dispatches)?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Times the runners in turns, so that what else the machine does meets
    /// all of them.
    fn race(&self, runners: &mut [Runner]) -> Result<(), SessionError> {
        let began = Instant::now();
        for round in 1..ROUNDS.1 {
            let fastest = runners.iter().map(|runner| runner.best).fold(f64::INFINITY, f64::min);
            // The rules' choice runs in every round: it is what others beat.
            let stays = |runner: &&mut Runner| runner.trial == 0 || round == 1 || runner.best < HOPELESS * fastest;
            for runner in runners.iter_mut().filter(stays) {
                runner.best = runner.best.min(self.time(&runner.dispatches)?);
            }
            if round >= ROUNDS.0 && began.elapsed().as_secs_f64() > ROUND_SECONDS {
                break;
            }
        }
        Ok(())
    }
}

/// The fastest, if it beats the rules' choice clearly; else that, if it was
/// not set aside.
fn chosen(tuned: &Tuned) -> Choice {
    let timed = tuned
        .trials
        .iter()
        .filter_map(|(kernel, outcome)| Some((*kernel, outcome.clone().ok()?)));
    let fastest = timed.min_by(|(_, a), (_, b)| a.total_cmp(b));
    let rule = tuned
        .trials
        .first()
        .map(|(kernel, outcome)| (*kernel, outcome.clone().ok()));
    let (kernel, seconds, rule_seconds) = match (rule, fastest) {
        (Some((rule, Some(by_rule))), Some((kernel, seconds))) => {
            if seconds < (1.0 - MARGIN) * by_rule {
                (kernel, seconds, by_rule)
            } else {
                (rule, by_rule, by_rule)
            }
        }
        (_, Some((kernel, seconds))) => (kernel, seconds, f64::INFINITY),
        _ => return tuned.choice,
    };
    Choice {
        kernel,
        timed: rule_seconds.is_finite().then_some((1e3 * seconds, 1e3 * rule_seconds)),
    }
}

/// Buffers of one job.
struct Bench {
    inputs: Vec<Binding>,
    output: Binding,
    /// Numbers of the output, and how they are stored.
    values: usize,
    precision: Precision,
    running: Binding,
    scratch: Vec<Arc<Buffer>>,
    step: Binding,
}

impl Bench {
    /// Where an operand of `lowered` is: scratch memory has the size that was
    /// asked for, as kernels measure it.
    fn place(&self, operand: Operand, lowered: &Lowered) -> Option<Binding> {
        match operand {
            Operand::Input(index) => self.inputs.get(index).cloned(),
            Operand::Output => Some(self.output.clone()),
            Operand::Scratch(index) => {
                let buffer = self.scratch.get(index)?;
                Some(Binding::new(buffer, 0, *lowered.scratch.get(index)?))
            }
            Operand::Running => Some(self.running.clone()),
            Operand::Step => Some(self.step.clone()),
            Operand::Second | Operand::Gains | Operand::LossScale => None,
        }
    }

    fn answer(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
        match self.precision {
            Precision::F32 => gpu.read(&self.output.buffer, 0..self.output.size),
            Precision::F16 => {
                let halves: Vec<u16> = gpu.read(&self.output.buffer, 0..self.output.size)?;
                Ok(half::unpack(&halves[..self.values]))
            }
        }
    }

    /// How far from the plain kernel's an answer may be.
    fn tolerance(&self) -> f64 {
        match self.precision {
            Precision::F32 => TOLERANCE,
            Precision::F16 => TOLERANCE_F16,
        }
    }
}

/// Euclidean distance from `truth` by its norm.
fn deviation(found: &[f32], truth: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let off: f64 = found
        .iter()
        .zip(truth)
        .map(|(a, b)| square(f64::from(*a) - f64::from(*b)))
        .sum();
    let norm: f64 = truth.iter().map(|b| square(f64::from(*b))).sum();
    (off / norm.max(f64::MIN_POSITIVE)).sqrt()
}
