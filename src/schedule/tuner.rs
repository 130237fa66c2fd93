//! Which way of one piece of work is fastest, on this device?
//!
//! Every way runs on the same random inputs. Before one may win, its answer is
//! held against the plain kernel's; then those that agree are timed in turns,
//! and the shortest of several rounds counts: other programs only ever make a
//! kernel slower. A challenger must beat the rules' choice by more than chance
//! does.
//!
//! Most of the time goes to compiling. A driver on a processor compiles at the
//! first run, in the one thread of its queue: there the device is opened once
//! for each core, and a candidate is compiled, checked and timed on one of
//! them. Other drivers compile where a pipeline is made: there threads make
//! them side by side.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rayon::prelude::*;

use super::choices::TunedKernel;
use super::job::{Job, Trial};
use super::plan::{dispatch, target};
use super::session::SessionError;
use super::tune::Budget;
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, GpuError, Program};
use crate::graph::Precision;
use crate::half;
use crate::kernels::{Algorithm, Lowered, Operand, STEP_BYTES, Target};
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
const ROUND_SECONDS: f64 = 0.2;
/// What is this much slower than the fastest after two rounds is not timed
/// again.
const HOPELESS: f64 = 1.3;
/// What is this much slower than the fastest when it is checked is not timed at
/// all.
const LOST: f64 = 2.0;
/// The plain kernel takes part in the race only where it is within this factor
/// of the rules' choice: it may take seconds.
const PLAIN_CHANCE: f64 = 2.0;
/// Most devices that compile side by side: each has buffers of its own.
const MOST_MEMBERS: usize = 4;

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
    pub trials: Vec<(Algorithm, Result<f64, Aside>)>,
    /// The choice.
    pub choice: TunedKernel,
}

/// Tries the ways of one job after the other.
#[derive(Debug)]
pub struct Tuner {
    members: Vec<Member>,
    target: Target,
    budget: Budget,
    began: Instant,
    /// Random numbers for each input, as many as were wanted yet.
    numbers: HashMap<usize, Vec<f32>>,
}

/// A device, and what was compiled on it.
#[derive(Debug)]
struct Member {
    gpu: Arc<Gpu>,
    step: Binding,
    compiled: HashSet<Program>,
}

/// A candidate that agrees with the plain one.
struct Runner {
    trial: usize,
    member: usize,
    dispatches: Vec<Dispatch>,
    best: f64,
}

/// A trial that ran once on `member`: its dispatches and the seconds that it
/// took, compiling included.
struct Compiled {
    trial: usize,
    member: usize,
    run: Result<(Vec<Dispatch>, f64), GpuError>,
}

impl Tuner {
    /// A tuner whose budget begins to run now.
    ///
    /// # Errors
    /// Where there is no memory left for the device's first buffers.
    pub fn new(gpu: &Arc<Gpu>, budget: &Budget) -> Result<Self, SessionError> {
        let target = target(gpu);
        let mut members = vec![Member::new(gpu.clone())?];
        if target.cpu {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            // Fewer will do where there is no room for more.
            let more = (1..cores.min(MOST_MEMBERS)).map_while(|_| gpu.open_again().ok());
            members.extend(more.map_while(|gpu| Member::new(Arc::new(gpu)).ok()));
        }
        Ok(Tuner {
            members,
            target,
            budget: *budget,
            began: Instant::now(),
            numbers: HashMap::new(),
        })
    }

    /// What kernels need to know of the device.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn is_out_of_time(&self) -> bool {
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
            choice: TunedKernel {
                kernel: trials.first().map_or(Algorithm::Plain, |trial| trial.candidate),
                timed: None,
            },
        };
        let Some((plain, others)) = trials.split_last() else {
            return Ok(tuned);
        };
        self.draw(job, images);
        let shares = self.divide(others);
        let members = self.members.iter();
        let benches: Result<Vec<Bench>, GpuError> =
            members.map(|member| self.bench(member, job, images, trials)).collect();
        let benches = match benches {
            Ok(benches) => benches,
            Err(error) => return without_truth(tuned, error),
        };
        let compiled = self.compile_all(&benches, others, &shares)?;
        let (truth, plain) = match self.truth(job, images, &benches, plain, compiled.first())? {
            Ok(truth) => truth,
            Err(error) => return without_truth(tuned, error),
        };
        let mut runners = Vec::new();
        for one in compiled {
            let (index, member) = (one.trial, one.member);
            match self.check(&benches[member], one, &truth)? {
                Ok((_, seconds)) if index > 0 && seconds > self.budget.compile => {
                    tuned.trials[index].1 = Err(Aside::Compiles(seconds));
                }
                Ok((runner, _)) => runners.push(runner),
                Err(aside) => tuned.trials[index].1 = Err(aside),
            }
        }
        let best = fastest(&runners);
        // What a first run takes, compiling included, is enough to see that
        // the plain kernel has no chance.
        let last = others.len();
        tuned.trials[last].1 = Ok(plain.best);
        if plain.best < PLAIN_CHANCE * best || tuned.macs == 0 {
            runners.push(Runner { trial: last, ..plain });
        }
        for lost in runners.iter().filter(|runner| runner.best > LOST * best) {
            tuned.trials[lost.trial].1 = Ok(lost.best);
        }
        runners.retain(|runner| runner.trial == 0 || runner.best <= LOST * best);
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

    /// Draws random numbers for the inputs of `job`.
    fn draw(&mut self, job: &Job, images: usize) {
        for (index, shape) in job.inputs.iter().enumerate() {
            let count = shape.len(images);
            let numbers = self.numbers.entry(index).or_default();
            if numbers.len() < count {
                let mut draws = Philox::new(0).draws(Stream::Tuning, 0, index as u32);
                *numbers = (0..count).map(|_| draws.between(-1.0, 1.0)).collect();
            }
        }
    }

    /// Which member tries which of `trials`: one that has compiled its
    /// programs for another job, else the one with least to compile, which
    /// grows with a program's text.
    fn divide(&mut self, trials: &[Trial]) -> Vec<Vec<usize>> {
        let mut shares = vec![Vec::new(); self.members.len()];
        let mut loads = vec![0; self.members.len()];
        for (index, trial) in trials.iter().enumerate() {
            let programs: Vec<Program> = trial.lowered.calls.iter().map(|call| call.variant.program()).collect();
            let new = |member: &Member| -> usize {
                let new = programs.iter().filter(|program| !member.compiled.contains(program));
                new.map(|program| program.source.len()).sum()
            };
            let costs = self.members.iter().zip(&loads).map(|(member, load)| load + new(member));
            let (chosen, cost) = costs.enumerate().min_by_key(|&(_, cost)| cost).unwrap_or_default();
            loads[chosen] = cost;
            self.members[chosen].compiled.extend(programs);
            shares[chosen].push(index);
        }
        shares
    }

    /// Buffers that every trial of `job` uses on `member`, with random inputs.
    fn bench(&self, member: &Member, job: &Job, images: usize, trials: &[Trial]) -> Result<Bench, GpuError> {
        let gpu = &member.gpu;
        let mut inputs = Vec::with_capacity(job.inputs.len());
        for (index, shape) in job.inputs.iter().enumerate() {
            let bytes = shape.bytes(images);
            let buffer = gpu.buffer("tuning input", bytes)?;
            let numbers = &self.numbers[&index][..shape.len(images)];
            match shape.precision {
                Precision::F32 => gpu.write(&buffer, 0, numbers),
                Precision::F16 => gpu.write(&buffer, 0, &half::pack(numbers)),
            }
            inputs.push(Binding::new(&buffer, 0, bytes));
        }
        let output = job.output.bytes(images);
        let running = gpu.buffer("tuning state", output)?;
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
        let scratch: Result<Vec<_>, _> = sizes.iter().map(|&bytes| gpu.buffer("tuning scratch", bytes)).collect();
        Ok(Bench {
            inputs,
            output: Binding::new(&gpu.buffer("tuning output", output)?, 0, output),
            values: job.output.len(images),
            precision: job.output.precision,
            running: Binding::new(&running, 0, output),
            scratch: scratch?,
            step: member.step.clone(),
        })
    }

    /// Compiles `trials` and runs each once, the members side by side: in the
    /// trials' order. Those that the budget did not reach are left out.
    fn compile_all(
        &self,
        benches: &[Bench],
        trials: &[Trial],
        shares: &[Vec<usize>],
    ) -> Result<Vec<Compiled>, SessionError> {
        let made = self.make_pipelines(trials);
        let compile_share = |member: usize| -> Result<Vec<Compiled>, SessionError> {
            let mut compiled = Vec::new();
            for &trial in &shares[member] {
                // The rules' choice is tried in any case: it is what is run else.
                if trial > 0 && self.is_out_of_time() {
                    break;
                }
                let run = match first_run(&self.members[member].gpu, &benches[member], &trials[trial]) {
                    Ok((dispatches, seconds)) => Ok((dispatches, seconds + made.get(trial).unwrap_or(&0.0))),
                    Err(lost @ GpuError::Lost { .. }) => return Err(lost.into()),
                    Err(error) => Err(error),
                };
                compiled.push(Compiled { trial, member, run });
            }
            Ok(compiled)
        };
        let shares: Result<Vec<Vec<Compiled>>, SessionError> = thread::scope(|scope| {
            let compile_share = &compile_share;
            let others: Vec<_> = (1..shares.len())
                .map(|member| scope.spawn(move || compile_share(member)))
                .collect();
            let own = compile_share(0);
            let others = others.into_iter().map(|thread| {
                let compiled = thread.join();
                compiled.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            std::iter::once(own).chain(others).collect()
        });
        let mut all: Vec<Compiled> = shares?.into_iter().flatten().collect();
        all.sort_by_key(|compiled| compiled.trial);
        Ok(all)
    }

    /// The true answer for `images` images, and the plain kernel.
    ///
    /// It is the plain kernel's. Where that would take long, it runs on some of
    /// the images alone; the rules' choice, if it agrees there, then says what
    /// is true of all.
    fn truth(
        &self,
        job: &Job,
        images: usize,
        benches: &[Bench],
        plain: &Trial,
        rule: Option<&Compiled>,
    ) -> Result<Result<(Vec<f32>, Runner), GpuError>, SessionError> {
        let (gpu, bench) = (&self.members[0].gpu, &benches[0]);
        let run_plain = |trial: &Trial| -> Result<(Vec<f32>, Runner), GpuError> {
            let (dispatches, best) = first_run(gpu, bench, trial)?;
            let runner = Runner {
                trial: 0,
                member: 0,
                dispatches,
                best,
            };
            Ok((bench.answer(gpu)?, runner))
        };
        let sample = job.sample(images, &self.target);
        if let (Some((few, trial)), Some(rule)) = (sample, rule) {
            let (truth, mut plain) = match run_plain(&trial) {
                Ok(run) => run,
                Err(error) => return Ok(Err(error)),
            };
            plain.best *= images as f64 / few as f64;
            if let Ok((dispatches, _)) = &rule.run {
                let answer = run_alone(&self.members[rule.member].gpu, &benches[rule.member], dispatches)?.0;
                let sampled = job.output.len(few);
                if deviation(&answer[..sampled], &truth[..sampled]) <= bench.tolerance() {
                    return Ok(Ok((answer, plain)));
                }
            }
        }
        Ok(run_plain(plain))
    }

    /// Holds a trial's answer against `truth`, and gives the seconds that it
    /// took to compile.
    fn check(
        &self,
        bench: &Bench,
        compiled: Compiled,
        truth: &[f32],
    ) -> Result<Result<(Runner, f64), Aside>, SessionError> {
        let Compiled { trial, member, run } = compiled;
        let (dispatches, first) = match run {
            Ok(run) => run,
            Err(error) => return Ok(Err(Aside::Failed(error.to_string()))),
        };
        let (answer, best) = run_alone(&self.members[member].gpu, bench, &dispatches)?;
        let off = deviation(&answer, truth);
        if off.is_nan() || off > bench.tolerance() {
            return Ok(Err(Aside::Disagrees(off)));
        }
        let runner = Runner {
            trial,
            member,
            dispatches,
            best,
        };
        // What the second run does not take, the driver compiled at the first.
        Ok(Ok((runner, (first - best).max(0.0))))
    }

    /// Makes the pipelines of `trials` in several threads, where there is but
    /// one device: the seconds that each trial's took. One that cannot be made
    /// fails again where it is run.
    fn make_pipelines(&self, trials: &[Trial]) -> Vec<f64> {
        let [member] = &self.members[..] else {
            return Vec::new();
        };
        let make = |trial: &Trial| {
            let began = Instant::now();
            for call in &trial.lowered.calls {
                let _ = member.gpu.pipeline(&call.variant.program());
            }
            began.elapsed().as_secs_f64()
        };
        trials.par_iter().map(make).collect()
    }

    /// Times the runners in turns, so that what else the machine does meets
    /// all of them.
    fn race(&self, runners: &mut [Runner]) -> Result<(), SessionError> {
        let began = Instant::now();
        for round in 1..ROUNDS.1 {
            let fastest = fastest(runners);
            // The rules' choice runs in every round: it is what others beat.
            let stays = |runner: &&mut Runner| runner.trial == 0 || round == 1 || runner.best < HOPELESS * fastest;
            for runner in runners.iter_mut().filter(stays) {
                let seconds = time(&self.members[runner.member].gpu, &runner.dispatches)?;
                runner.best = runner.best.min(seconds);
            }
            if round >= ROUNDS.0 && began.elapsed().as_secs_f64() > ROUND_SECONDS {
                break;
            }
        }
        Ok(())
    }
}

impl Member {
    fn new(gpu: Arc<Gpu>) -> Result<Self, GpuError> {
        Ok(Member {
            step: Binding::whole(&gpu.buffer("step", STEP_BYTES)?),
            compiled: HashSet::new(),
            gpu,
        })
    }
}

/// The shortest time of any of `runners`.
fn fastest(runners: &[Runner]) -> f64 {
    runners.iter().map(|runner| runner.best).fold(f64::INFINITY, f64::min)
}

/// The job keeps the rules' choice: the plain kernel did not run.
fn without_truth(mut tuned: Tuned, error: GpuError) -> Result<Tuned, SessionError> {
    if let lost @ GpuError::Lost { .. } = error {
        return Err(lost.into());
    }
    if let Some((_, plain)) = tuned.trials.last_mut() {
        *plain = Err(Aside::Failed(error.to_string()));
    }
    Ok(tuned)
}

/// Compiles `trial` and runs it once; gives the seconds that took.
fn first_run(gpu: &Gpu, bench: &Bench, trial: &Trial) -> Result<(Vec<Dispatch>, f64), GpuError> {
    let began = Instant::now();
    let calls = trial.lowered.calls.iter();
    let dispatches: Result<Vec<Dispatch>, GpuError> = calls
        .map(|call| dispatch(gpu, call, |operand| bench.place(operand, &trial.lowered)))
        .collect();
    let dispatches = dispatches?;
    bench.clear(gpu);
    run(gpu, &dispatches)?;
    Ok((dispatches, began.elapsed().as_secs_f64()))
}

/// The answer of `dispatches`, and the seconds that they took.
fn run_alone(gpu: &Gpu, bench: &Bench, dispatches: &[Dispatch]) -> Result<(Vec<f32>, f64), GpuError> {
    bench.clear(gpu);
    gpu.wait_for_all()?;
    let began = Instant::now();
    run(gpu, dispatches)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok((bench.answer(gpu)?, seconds))
}

fn run(gpu: &Gpu, dispatches: &[Dispatch]) -> Result<(), GpuError> {
    let submission = gpu.submit(|recorder| {
        for dispatch in dispatches {
            recorder.dispatch(dispatch);
        }
    });
    gpu.wait(&submission)
}

/// Seconds of one run: by the device's clock where it has one that runs.
fn time(gpu: &Gpu, dispatches: &[Dispatch]) -> Result<f64, GpuError> {
    let all: Vec<&Dispatch> = dispatches.iter().collect();
    if let Some(times) = gpu.time(&all)? {
        let seconds: f64 = times.iter().sum();
        if seconds > 0.0 {
            return Ok(seconds);
        }
    }
    let began = Instant::now();
    run(gpu, dispatches)?;
    Ok(began.elapsed().as_secs_f64())
}

/// The fastest, if it beats the rules' choice clearly; else that, if it was
/// not set aside.
fn chosen(tuned: &Tuned) -> TunedKernel {
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
    TunedKernel {
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

    /// Clears the output: what one trial left is no answer of the next.
    fn clear(&self, gpu: &Gpu) {
        gpu.submit(|recorder| recorder.clear(&self.output.buffer, 0..self.output.size));
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
