//! Which algorithm for one piece of work is the fastest on this device?
//!
//! The plain kernel's output for a few images is first compared with the f64
//! reference: a device that computes it wrongly is not used. Then all algorithms
//! run on the same random inputs, and each output is compared with the plain
//! kernel's. Those that agree are then timed in turn, and the
//! shortest of several rounds counts: other programs can only make a kernel
//! slower. An alternative must beat the default algorithm by more than the
//! noise of the measurement.
//!
//! Most of the time is spent compiling. A driver on a processor compiles in
//! the first run, in the single thread of its queue: there the device is
//! opened once per core, and each algorithm is compiled, checked and timed on
//! one of them. Other drivers compile when a pipeline is created: there
//! several threads create pipelines at the same time.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rayon::prelude::*;

use super::error::TuningError;
use super::job::{Job, LoweredAlgorithm};
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, GpuError, Program};
use crate::graph::Precision;
use crate::kernels::{Algorithm, Lowered, Operand, STEP_BYTES, Target};
use crate::random::{Philox, Stream};
use crate::reference;
use crate::schedule::{SessionError, Timing, TunedKernel, dispatch, read_values, target, write_values};

/// Largest relative difference (Euclidean norm) between an algorithm's output
/// and the plain kernel's. It allows for another order of sums and no more.
const TOLERANCE: f64 = 1e-4;
/// The same for an output that is stored in 16 bits, where a sum in another
/// order may round to the neighbouring value: half the distance of two
/// neighbours.
const TOLERANCE_F16: f64 = 4.9e-4;
/// An alternative must be this much faster than the default algorithm.
const MARGIN: f64 = 0.03;
/// Fewest and most rounds of timing.
const ROUNDS: (usize, usize) = (4, 40);
/// Seconds after which no further round begins. On a busy machine a short
/// kernel needs many rounds until one of them runs undisturbed.
const ROUND_SECONDS: f64 = 0.2;
/// An algorithm that is slower than the fastest by this factor after two
/// rounds is not timed again.
const DROP_FACTOR: f64 = 1.3;
/// An algorithm that is slower than the fastest by this factor when it is
/// checked is not timed at all.
const SKIP_FACTOR: f64 = 2.0;
/// The plain kernel is timed only where it is within this factor of the
/// fastest: it may take seconds.
const PLAIN_FACTOR: f64 = 2.0;
/// The most devices that compile at the same time: each has its own buffers.
const MAX_WORKERS: usize = 4;

/// How much time tuning may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Seconds that one algorithm may take to compile.
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

/// Why an algorithm has no timing.
#[derive(Debug, Clone, PartialEq)]
pub enum Rejected {
    /// The device refused it.
    Failed(String),
    /// Its output differs from the plain kernel's by this relative distance.
    Disagrees(f64),
    /// It took this many seconds to compile.
    SlowToCompile(f64),
    /// The time budget ended before it was tried.
    OutOfTime,
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rejected::Failed(reason) => write!(f, "failed: {reason}"),
            Rejected::Disagrees(by) => write!(f, "differs from the plain kernel by {by:.1e}"),
            Rejected::SlowToCompile(seconds) => write!(f, "took {seconds:.1} s to compile"),
            Rejected::OutOfTime => f.write_str("was not tried for lack of time"),
        }
    }
}

/// The result of tuning one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The job.
    pub job: Job,
    /// The number of images that it was tuned with.
    pub images: usize,
    /// Multiply-adds for those images; 0 where they are not counted.
    pub macs: u64,
    /// For each algorithm its seconds, or why it was rejected. The default
    /// algorithm is first.
    pub results: Vec<(Algorithm, Result<f64, Rejected>)>,
    /// The chosen kernel.
    pub choice: TunedKernel,
}

/// Measures the algorithms of one job after the other.
#[derive(Debug)]
pub struct Tuner {
    workers: Vec<Worker>,
    target: Target,
    budget: Budget,
    began: Instant,
    /// Random numbers for each input, as many as were needed so far.
    numbers: HashMap<usize, Vec<f32>>,
}

/// A device, and the programs that it has compiled.
#[derive(Debug)]
struct Worker {
    gpu: Arc<Gpu>,
    step: Binding,
    compiled: HashSet<Program>,
}

/// The first run of an algorithm: its dispatches, and the seconds that it took
/// with compiling.
struct FirstRun {
    /// The algorithm's place in the list.
    index: usize,
    worker: usize,
    outcome: Result<(Vec<Dispatch>, f64), GpuError>,
}

/// An algorithm whose output is right, and its shortest time yet.
struct Measurement {
    /// The algorithm's place in the list.
    index: usize,
    worker: usize,
    dispatches: Vec<Dispatch>,
    seconds: f64,
}

impl Tuner {
    /// A tuner whose time budget begins now.
    ///
    /// # Errors
    /// Where the device has no memory for the first buffers.
    pub fn new(gpu: &Arc<Gpu>, budget: &Budget) -> Result<Self, TuningError> {
        let target = target(gpu);
        let mut workers = vec![Worker::new(gpu.clone())?];
        if target.cpu {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            // Where there is no memory for all, fewer do.
            let more = (1..cores.min(MAX_WORKERS)).map_while(|_| gpu.open_again().ok());
            workers.extend(more.map_while(|gpu| Worker::new(Arc::new(gpu)).ok()));
        }
        Ok(Tuner {
            workers,
            target,
            budget: *budget,
            began: Instant::now(),
            numbers: HashMap::new(),
        })
    }

    /// The properties of the device that kernels depend on.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn is_out_of_time(&self) -> bool {
        self.began.elapsed().as_secs_f64() > self.budget.total
    }

    /// Compares the plain kernel's output for `images` images with that of the f64
    /// reference, where the reference has the operation of `job`.
    ///
    /// # Errors
    /// Where they differ, or the device is lost.
    pub fn compare_with_reference(
        &mut self,
        job: &Job,
        images: usize,
        plain: &LoweredAlgorithm,
    ) -> Result<(), TuningError> {
        let Some(operation) = job.work.operation() else {
            return Ok(());
        };
        self.draw(job, images);
        let worker = &self.workers[0];
        let gpu = &worker.gpu;
        let buffers = self.job_buffers(worker, job, images, std::slice::from_ref(plain))?;
        first_run(gpu, &buffers, plain)?;
        let output = buffers.read_output(gpu)?;
        // Read back: 16-bit inputs are rounded.
        let inputs: Result<Vec<_>, GpuError> = job
            .inputs
            .iter()
            .zip(&buffers.inputs)
            .map(|(shape, place)| {
                let values = read_values(gpu, place, shape.precision, shape.len(images))?;
                Ok((shape, values.into_iter().map(f64::from).collect()))
            })
            .collect();
        let expected = reference::operation(operation, &inputs?, &job.output, images);
        let expected: Vec<f32> = expected.into_iter().map(|value| value as f32).collect();
        let distance = relative_distance(&output, &expected);
        if distance.is_nan() || distance > buffers.tolerance() {
            return Err(TuningError::Wrong {
                adapter: gpu.info().to_string(),
                work: job.signature(),
                distance,
            });
        }
        Ok(())
    }

    /// Measures `algorithms` of `job` on `images` images. The default
    /// algorithm is first; the plain one is last and gives the reference
    /// output.
    ///
    /// # Errors
    /// Where the device is lost, or computes something else than the f64 reference.
    pub fn job(&mut self, job: &Job, images: usize, algorithms: &[LoweredAlgorithm]) -> Result<Tuned, TuningError> {
        let mut tuned = Tuned {
            job: job.clone(),
            images,
            macs: job.macs_per_image(&self.target) * images as u64,
            results: algorithms
                .iter()
                .map(|one| (one.algorithm, Err(Rejected::OutOfTime)))
                .collect(),
            choice: TunedKernel::untimed(algorithms.first().map_or(Algorithm::Plain, |first| first.algorithm)),
        };
        let Some((plain, others)) = algorithms.split_last() else {
            return Ok(tuned);
        };
        if let Some((few, plain)) = job.plain_for_reference(&self.target) {
            match self.compare_with_reference(job, few, &plain) {
                // It fails again below, where the default algorithm is kept.
                Err(TuningError::Session(SessionError::Gpu(error))) if !error.ends_work() => {}
                compared => compared?,
            }
        }
        self.draw(job, images);
        let shares = self.divide(others);
        let workers = self.workers.iter();
        let buffers: Result<Vec<JobBuffers>, GpuError> = workers
            .map(|worker| self.job_buffers(worker, job, images, algorithms))
            .collect();
        let buffers = match buffers {
            Ok(buffers) => buffers,
            Err(error) => return without_reference(tuned, error),
        };
        let first_runs = self.run_all_once(&buffers, others, &shares)?;
        let (reference, plain) = match self.reference(job, images, &buffers, plain, first_runs.first())? {
            Ok(reference) => reference,
            Err(error) => return without_reference(tuned, error),
        };
        let mut measurements = Vec::new();
        for first_run in first_runs {
            let (index, worker) = (first_run.index, first_run.worker);
            match self.check(&buffers[worker], first_run, &reference)? {
                Ok((_, compiling)) if index > 0 && compiling > self.budget.compile => {
                    tuned.results[index].1 = Err(Rejected::SlowToCompile(compiling));
                }
                Ok((measurement, _)) => measurements.push(measurement),
                Err(rejected) => tuned.results[index].1 = Err(rejected),
            }
        }
        let best = fastest(&measurements);
        // The plain kernel's first run, compiling included, shows whether it
        // can win.
        let last = others.len();
        tuned.results[last].1 = Ok(plain.seconds);
        if plain.seconds < PLAIN_FACTOR * best || tuned.macs == 0 {
            measurements.push(Measurement { index: last, ..plain });
        }
        for slow in measurements.iter().filter(|one| one.seconds > SKIP_FACTOR * best) {
            tuned.results[slow.index].1 = Ok(slow.seconds);
        }
        measurements.retain(|one| one.index == 0 || one.seconds <= SKIP_FACTOR * best);
        self.time_in_turn(&mut measurements)?;
        // The fastest alternative and the default algorithm are timed once
        // more, those two alone: of several alternatives, one had luck.
        measurements.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        if measurements.first().is_some_and(|fastest| fastest.index > 0) {
            measurements.sort_by_key(|one| one.index != 0);
            if let Some(two) = measurements.get_mut(..2) {
                self.time_in_turn(two)?;
            }
        }
        for one in &measurements {
            tuned.results[one.index].1 = Ok(one.seconds);
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

    /// Divides `algorithms` among the workers, as indices for each. A worker
    /// that has compiled an algorithm's programs for another job comes first,
    /// then the one with the least to compile, measured by the length of the
    /// source.
    fn divide(&mut self, algorithms: &[LoweredAlgorithm]) -> Vec<Vec<usize>> {
        let mut shares = vec![Vec::new(); self.workers.len()];
        let mut loads = vec![0; self.workers.len()];
        for (index, one) in algorithms.iter().enumerate() {
            let programs: Vec<Program> = one.lowered.calls.iter().map(|call| call.variant.program()).collect();
            let new = |worker: &Worker| -> usize {
                let new = programs.iter().filter(|program| !worker.compiled.contains(program));
                new.map(|program| program.source.len()).sum()
            };
            let costs = self.workers.iter().zip(&loads).map(|(worker, load)| load + new(worker));
            let (chosen, cost) = costs.enumerate().min_by_key(|&(_, cost)| cost).unwrap_or_default();
            loads[chosen] = cost;
            self.workers[chosen].compiled.extend(programs);
            shares[chosen].push(index);
        }
        shares
    }

    /// The buffers that all algorithms of `job` use on `worker`, with random
    /// inputs.
    fn job_buffers(
        &self,
        worker: &Worker,
        job: &Job,
        images: usize,
        algorithms: &[LoweredAlgorithm],
    ) -> Result<JobBuffers, GpuError> {
        let gpu = &worker.gpu;
        let mut inputs = Vec::with_capacity(job.inputs.len());
        for (index, shape) in job.inputs.iter().enumerate() {
            let bytes = shape.bytes(images);
            let buffer = gpu.buffer("tuning input", bytes)?;
            let numbers = &self.numbers[&index][..shape.len(images)];
            let input = Binding::new(&buffer, 0, bytes);
            write_values(gpu, &input, shape.precision, numbers);
            inputs.push(input);
        }
        let output = job.output.bytes(images);
        let running = gpu.buffer("tuning state", output)?;
        // No two algorithms run at once, so they share scratch memory: each
        // buffer has the largest size that any of them needs.
        let mut sizes: Vec<u64> = Vec::new();
        for one in algorithms {
            for (index, &bytes) in one.lowered.scratch.iter().enumerate() {
                match sizes.get_mut(index) {
                    Some(size) => *size = bytes.max(*size),
                    None => sizes.push(bytes),
                }
            }
        }
        let scratch: Result<Vec<_>, _> = sizes.iter().map(|&bytes| gpu.buffer("tuning scratch", bytes)).collect();
        Ok(JobBuffers {
            inputs,
            output: Binding::new(&gpu.buffer("tuning output", output)?, 0, output),
            values: job.output.len(images),
            precision: job.output.precision,
            running: Binding::new(&running, 0, output),
            scratch: scratch?,
            step: worker.step.clone(),
        })
    }

    /// Compiles `algorithms` and runs each once, the workers at the same time.
    /// The result is in the order of the list, without those that the time
    /// budget did not reach.
    fn run_all_once(
        &self,
        buffers: &[JobBuffers],
        algorithms: &[LoweredAlgorithm],
        shares: &[Vec<usize>],
    ) -> Result<Vec<FirstRun>, TuningError> {
        let pipeline_seconds = self.create_pipelines(algorithms);
        let run_share = |worker: usize| -> Result<Vec<FirstRun>, TuningError> {
            let mut runs = Vec::new();
            for &index in &shares[worker] {
                // The default algorithm always runs: it is used where nothing
                // else was tried.
                if index > 0 && self.is_out_of_time() {
                    break;
                }
                // Only the first device heeds a token by itself.
                if self.workers[0].gpu.is_stopped() {
                    return Err(GpuError::Stopped.into());
                }
                let outcome = match first_run(&self.workers[worker].gpu, &buffers[worker], &algorithms[index]) {
                    Ok((dispatches, seconds)) => {
                        Ok((dispatches, seconds + pipeline_seconds.get(index).unwrap_or(&0.0)))
                    }
                    Err(error) if error.ends_work() => return Err(error.into()),
                    Err(error) => Err(error),
                };
                runs.push(FirstRun { index, worker, outcome });
            }
            Ok(runs)
        };
        let runs: Result<Vec<Vec<FirstRun>>, TuningError> = thread::scope(|scope| {
            let run_share = &run_share;
            let start = |worker| {
                thread::Builder::new()
                    .spawn_scoped(scope, move || run_share(worker))
                    .ok()
            };
            let others: Vec<_> = (1..shares.len()).map(|worker| (worker, start(worker))).collect();
            let own = run_share(0);
            let others = others.into_iter().map(|(worker, thread)| match thread {
                Some(thread) => {
                    let runs = thread.join();
                    runs.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }
                // Where no thread is to be had, this one does its work as well.
                None => run_share(worker),
            });
            std::iter::once(own).chain(others).collect()
        });
        let mut all: Vec<FirstRun> = runs?.into_iter().flatten().collect();
        all.sort_by_key(|run| run.index);
        Ok(all)
    }

    /// The reference output for `images` images, and the plain kernel's
    /// measurement.
    ///
    /// The reference is the plain kernel's output. Where that would take long,
    /// the plain kernel runs on a part of the images; if the default algorithm
    /// agrees with it there, its output is the reference for all images.
    fn reference(
        &self,
        job: &Job,
        images: usize,
        buffers: &[JobBuffers],
        plain: &LoweredAlgorithm,
        default: Option<&FirstRun>,
    ) -> Result<Result<(Vec<f32>, Measurement), GpuError>, TuningError> {
        let (gpu, own) = (&self.workers[0].gpu, &buffers[0]);
        let run_plain = |plain: &LoweredAlgorithm| -> Result<(Vec<f32>, Measurement), GpuError> {
            let (dispatches, seconds) = first_run(gpu, own, plain)?;
            let measurement = Measurement {
                index: 0,
                worker: 0,
                dispatches,
                seconds,
            };
            Ok((own.read_output(gpu)?, measurement))
        };
        let sample = job.plain_sample(images, &self.target);
        if let (Some((few, sample)), Some(default)) = (sample, default) {
            let (reference, mut plain) = match run_plain(&sample) {
                Ok(run) => run,
                Err(error) => return Ok(Err(error)),
            };
            plain.seconds *= images as f64 / few as f64;
            if let Ok((dispatches, _)) = &default.outcome {
                let worker = default.worker;
                let output = run_alone(&self.workers[worker].gpu, &buffers[worker], dispatches)?.0;
                let sampled = job.output.len(few);
                if relative_distance(&output[..sampled], &reference[..sampled]) <= own.tolerance() {
                    return Ok(Ok((output, plain)));
                }
            }
        }
        Ok(run_plain(plain))
    }

    /// Compares an algorithm's output with `reference`, and gives the seconds
    /// that it took to compile.
    fn check(
        &self,
        buffers: &JobBuffers,
        first_run: FirstRun,
        reference: &[f32],
    ) -> Result<Result<(Measurement, f64), Rejected>, TuningError> {
        let FirstRun { index, worker, outcome } = first_run;
        let (dispatches, first) = match outcome {
            Ok(run) => run,
            Err(error) => return Ok(Err(Rejected::Failed(error.to_string()))),
        };
        let (output, seconds) = run_alone(&self.workers[worker].gpu, buffers, &dispatches)?;
        let distance = relative_distance(&output, reference);
        if distance.is_nan() || distance > buffers.tolerance() {
            return Ok(Err(Rejected::Disagrees(distance)));
        }
        let measurement = Measurement {
            index,
            worker,
            dispatches,
            seconds,
        };
        // What the first run took longer than the second was compiling.
        Ok(Ok((measurement, (first - seconds).max(0.0))))
    }

    /// Creates the pipelines of `algorithms` in several threads, where there
    /// is one worker: the seconds for each algorithm. A pipeline that cannot
    /// be created fails again in the first run, which reports it.
    fn create_pipelines(&self, algorithms: &[LoweredAlgorithm]) -> Vec<f64> {
        let [worker] = &self.workers[..] else {
            return Vec::new();
        };
        let create = |one: &LoweredAlgorithm| {
            let began = Instant::now();
            for call in &one.lowered.calls {
                let _ = worker.gpu.pipeline(&call.variant.program());
            }
            began.elapsed().as_secs_f64()
        };
        algorithms.par_iter().map(create).collect()
    }

    /// Times the algorithms in turn, so that other programs on the machine
    /// slow all of them down equally.
    fn time_in_turn(&self, measurements: &mut [Measurement]) -> Result<(), TuningError> {
        let began = Instant::now();
        for round in 1..ROUNDS.1 {
            let fastest = fastest(measurements);
            // The default algorithm runs in every round: the others are
            // compared with it.
            let stays = |one: &&mut Measurement| one.index == 0 || round == 1 || one.seconds < DROP_FACTOR * fastest;
            for one in measurements.iter_mut().filter(stays) {
                let seconds = time(&self.workers[one.worker].gpu, &one.dispatches)?;
                one.seconds = one.seconds.min(seconds);
            }
            if round >= ROUNDS.0 && began.elapsed().as_secs_f64() > ROUND_SECONDS {
                break;
            }
        }
        Ok(())
    }
}

impl Worker {
    fn new(gpu: Arc<Gpu>) -> Result<Self, GpuError> {
        Ok(Worker {
            step: Binding::whole(&gpu.buffer("step", STEP_BYTES)?),
            compiled: HashSet::new(),
            gpu,
        })
    }
}

/// The shortest time of all `measurements`.
fn fastest(measurements: &[Measurement]) -> f64 {
    measurements.iter().map(|one| one.seconds).fold(f64::INFINITY, f64::min)
}

/// The job keeps the default algorithm: the plain kernel did not run, so there
/// is nothing to compare with.
fn without_reference(mut tuned: Tuned, error: GpuError) -> Result<Tuned, TuningError> {
    if error.ends_work() {
        return Err(error.into());
    }
    if let Some((_, plain)) = tuned.results.last_mut() {
        *plain = Err(Rejected::Failed(error.to_string()));
    }
    Ok(tuned)
}

/// Compiles `algorithm` and runs it once: its dispatches, and the seconds that
/// this took.
fn first_run(gpu: &Gpu, buffers: &JobBuffers, algorithm: &LoweredAlgorithm) -> Result<(Vec<Dispatch>, f64), GpuError> {
    let began = Instant::now();
    let calls = algorithm.lowered.calls.iter();
    let dispatches: Result<Vec<Dispatch>, GpuError> = calls
        .map(|call| dispatch(gpu, call, |operand| buffers.place(operand, &algorithm.lowered)))
        .collect();
    let dispatches = dispatches?;
    buffers.clear_output(gpu);
    run(gpu, &dispatches)?;
    Ok((dispatches, began.elapsed().as_secs_f64()))
}

/// The output of `dispatches`, and the seconds that they took.
fn run_alone(gpu: &Gpu, buffers: &JobBuffers, dispatches: &[Dispatch]) -> Result<(Vec<f32>, f64), GpuError> {
    buffers.clear_output(gpu);
    gpu.wait_for_all()?;
    let began = Instant::now();
    run(gpu, dispatches)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok((buffers.read_output(gpu)?, seconds))
}

fn run(gpu: &Gpu, dispatches: &[Dispatch]) -> Result<(), GpuError> {
    let submission = gpu.submit(|recorder| {
        for dispatch in dispatches {
            recorder.dispatch(dispatch);
        }
    });
    gpu.wait(&submission)
}

/// Seconds of one run: by the device's clock where it has one that works, else
/// by the host's.
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

/// The fastest algorithm, if it beats the default one by the margin; else the
/// default one, if it was not rejected.
fn chosen(tuned: &Tuned) -> TunedKernel {
    let timed = tuned
        .results
        .iter()
        .filter_map(|(algorithm, result)| Some((*algorithm, result.clone().ok()?)));
    let fastest = timed.min_by(|(_, a), (_, b)| a.total_cmp(b));
    let default = tuned
        .results
        .first()
        .map(|(algorithm, result)| (*algorithm, result.clone().ok()));
    let (algorithm, seconds, default_seconds) = match (default, fastest) {
        (Some((default, Some(default_seconds))), Some((algorithm, seconds))) => {
            if seconds < (1.0 - MARGIN) * default_seconds {
                (algorithm, seconds, default_seconds)
            } else {
                (default, default_seconds, default_seconds)
            }
        }
        (_, Some((algorithm, seconds))) => (algorithm, seconds, f64::INFINITY),
        _ => return tuned.choice,
    };
    TunedKernel {
        algorithm,
        timing: default_seconds.is_finite().then_some(Timing {
            milliseconds: 1e3 * seconds,
            default_milliseconds: 1e3 * default_seconds,
        }),
    }
}

/// The buffers of one job on one device.
struct JobBuffers {
    inputs: Vec<Binding>,
    output: Binding,
    /// The number of values in the output.
    values: usize,
    /// How the output is stored.
    precision: Precision,
    running: Binding,
    scratch: Vec<Arc<Buffer>>,
    step: Binding,
}

impl JobBuffers {
    /// The memory of an operand of `lowered`. Scratch memory is bound with the
    /// size that `lowered` asks for: kernels read its length.
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

    /// Clears the output, so that one algorithm's result cannot be mistaken for
    /// the next one's.
    fn clear_output(&self, gpu: &Gpu) {
        gpu.submit(|recorder| recorder.clear(&self.output.buffer, 0..self.output.size));
    }

    fn read_output(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
        read_values(gpu, &self.output, self.precision, self.values)
    }

    /// The largest relative distance from the reference output.
    fn tolerance(&self) -> f64 {
        match self.precision {
            Precision::F32 => TOLERANCE,
            Precision::F16 => TOLERANCE_F16,
        }
    }
}

/// The Euclidean distance of `found` from `reference`, divided by the norm of
/// `reference`.
fn relative_distance(found: &[f32], reference: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let distance: f64 = found
        .iter()
        .zip(reference)
        .map(|(a, b)| square(f64::from(*a) - f64::from(*b)))
        .sum();
    let norm: f64 = reference.iter().map(|b| square(f64::from(*b))).sum();
    (distance / norm.max(f64::MIN_POSITIVE)).sqrt()
}
