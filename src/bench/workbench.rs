//! How are single kernels run repeatedly and timed?

use std::sync::Arc;
use std::time::Instant;

use half::f16;

use super::timing::TimingSummary;
use super::{BenchProgress, ProgressCallback};
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, GpuError};
use crate::graph::Precision;
use crate::kernels::{BatchPart, Call, LossScale, Operand, STEP_BYTES, StepRecord};
use crate::random::{Philox, Stream};
use crate::schedule::dispatch;

/// Most repetitions in one submission: some systems stop a submission that takes
/// seconds.
const MOST_REPETITIONS: usize = 2000;
/// Number of random values; larger inputs repeat them.
const NUMBERS: usize = 1 << 20;

/// Dispatches that are timed together.
#[derive(Debug, Clone)]
pub struct KernelWorkload {
    /// Its name.
    pub name: String,
    /// Its dispatches, in order.
    pub calls: Vec<Call>,
    /// The contents of operands that must not be random, as 32-bit words. A
    /// workload with any of these gets memory of its own. All others read random
    /// numbers in [-1, 1].
    pub contents: Vec<(Operand, Vec<u32>)>,
}

/// Compiled workloads with bound memory.
#[derive(Debug)]
pub struct Workbench {
    gpu: Arc<Gpu>,
    workloads: Vec<(String, Vec<Dispatch>)>,
}

/// The buffer of each operand.
type Memory = Vec<(Operand, Arc<Buffer>)>;

impl Workbench {
    /// Compiles `workloads` and binds memory to them. They share their memory: the
    /// values that a kernel reads do not change its time, as long as they are of
    /// ordinary size, in the storage format `precision`.
    ///
    /// # Errors
    /// When the device refuses a kernel or is out of memory.
    pub fn new(gpu: &Arc<Gpu>, workloads: &[KernelWorkload], precision: Precision) -> Result<Self, GpuError> {
        let usual: Vec<&Call> = workloads
            .iter()
            .filter(|workload| workload.contents.is_empty())
            .flat_map(|workload| &workload.calls)
            .collect();
        let numbers = numbers(precision);
        let shared = memory(gpu, &usual, &[], &numbers)?;
        let mut ready = Vec::with_capacity(workloads.len());
        for workload in workloads {
            let own;
            let memory = if workload.contents.is_empty() {
                &shared
            } else {
                let calls: Vec<&Call> = workload.calls.iter().collect();
                own = memory(gpu, &calls, &workload.contents, &numbers)?;
                &own
            };
            let place = |operand: Operand| {
                let found = memory.iter().find(|(own, _)| *own == operand);
                found.map(|(_, buffer)| Binding::whole(buffer))
            };
            let dispatches: Result<Vec<Dispatch>, GpuError> =
                workload.calls.iter().map(|call| dispatch(gpu, call, place)).collect();
            ready.push((workload.name.clone(), dispatches?));
        }
        Ok(Workbench {
            gpu: gpu.clone(),
            workloads: ready,
        })
    }

    /// Total seconds of `repetitions` of workload `index`: by the device's
    /// timestamps, or from recording to completion where it has none.
    ///
    /// # Errors
    /// When the device fails.
    pub fn seconds(&self, index: usize, repetitions: usize) -> Result<f64, GpuError> {
        let mut seconds = 0.0;
        let mut left = repetitions;
        while left > 0 {
            let now = left.min(MOST_REPETITIONS);
            seconds += self.submission(index, now)?;
            left -= now;
        }
        Ok(seconds)
    }

    /// Total seconds of `repetitions` in one submission.
    fn submission(&self, index: usize, repetitions: usize) -> Result<f64, GpuError> {
        let dispatches = &self.workloads[index].1;
        let all: Vec<&Dispatch> = std::iter::repeat_n(dispatches, repetitions).flatten().collect();
        let timed = self.gpu.time_passes(&[&all])?;
        // Some drivers report an end that is not after the beginning.
        if let Some(seconds) = timed
            .and_then(|times| times.first().copied())
            .filter(|&time| time > 0.0)
        {
            return Ok(seconds);
        }
        let begin = Instant::now();
        let submission = self.gpu.submit(|recorder| {
            for dispatch in all {
                recorder.dispatch(dispatch);
            }
        });
        self.gpu.wait(&submission)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// The number of repetitions of workload `index` that take `wanted` seconds.
    /// The first run may compile and is not counted.
    fn repetitions(&self, index: usize, wanted: f64) -> Result<usize, GpuError> {
        self.seconds(index, 1)?;
        let once = self.seconds(index, 1)?;
        Ok(((wanted / once).ceil() as usize).clamp(1, MOST_REPETITIONS))
    }

    /// Times each workload in each of `rounds` rounds, for about `wanted` seconds.
    /// Returns the seconds of one repetition of each workload.
    ///
    /// # Errors
    /// When the device fails.
    pub fn measure(
        &self,
        rounds: usize,
        wanted: f64,
        listener: ProgressCallback,
    ) -> Result<Vec<TimingSummary>, GpuError> {
        let count = self.workloads.len();
        let of = count * (rounds.max(1) + 1);
        let mut report = |done: usize| {
            let what = &self.workloads[done % count].0;
            listener(BenchProgress { what, done, of });
        };
        let mut repetitions = Vec::with_capacity(count);
        for index in 0..count {
            report(index);
            repetitions.push(self.repetitions(index, wanted)?);
        }
        let mut times = vec![Vec::new(); count];
        for round in 0..rounds.max(1) {
            for index in 0..count {
                report((round + 1) * count + index);
                times[index].push(self.seconds(index, repetitions[index])? / repetitions[index] as f64);
            }
        }
        Ok(times.iter().filter_map(|times| TimingSummary::of(times)).collect())
    }
}

/// A buffer for every operand of `calls`, as large as the largest use of it.
/// Inputs without contents are filled with `numbers`.
fn memory(gpu: &Gpu, calls: &[&Call], contents: &[(Operand, Vec<u32>)], numbers: &[u32]) -> Result<Memory, GpuError> {
    let mut sizes: Vec<(Operand, u64)> = Vec::new();
    for arg in calls.iter().flat_map(|call| &call.args) {
        let end = arg.offset + arg.size;
        match sizes.iter_mut().find(|(operand, _)| *operand == arg.operand) {
            Some((_, size)) => *size = end.max(*size),
            None => sizes.push((arg.operand, end)),
        }
    }
    let buffer = |&(operand, size): &(Operand, u64)| {
        let buffer = gpu.buffer("bench", size)?;
        let own = contents.iter().find(|(own, _)| *own == operand);
        match (operand, own) {
            (_, Some((_, words))) => gpu.write(&buffer, 0, &words[..words.len().min((size / 4) as usize)]),
            (Operand::Step, None) => gpu.write(&buffer, 0, &[step()]),
            (Operand::Gains, None) => gpu.write(&buffer, 0, &[1.0_f32; 4]),
            (Operand::LossScale, None) => gpu.write(&buffer, 0, &[LossScale::INITIAL]),
            (Operand::Input(_), None) => fill(gpu, &buffer, numbers),
            // These are written before they are read.
            (Operand::Output | Operand::Second | Operand::Scratch(_) | Operand::Running, None) => {}
        }
        Ok((operand, buffer))
    };
    sizes.iter().map(buffer).collect()
}

/// Fills `buffer` with `numbers`, repeated.
fn fill(gpu: &Gpu, buffer: &Buffer, numbers: &[u32]) {
    let mut offset = 0;
    while offset < buffer.size() {
        let count = ((buffer.size() - offset) / 4).min(numbers.len() as u64) as usize;
        gpu.write(buffer, offset, &numbers[..count]);
        offset += 4 * count as u64;
    }
}

/// Words of random numbers of ordinary size: a device may be faster with zeros and
/// slower with subnormal numbers. With 16 bits each word is two numbers in [-1, 1];
/// read as one of 32 bits (a weight), it is a normal number, too.
fn numbers(precision: Precision) -> Vec<u32> {
    let mut draws = Philox::new(0).draws(Stream::Study, 0, 0);
    let mut number = || draws.between(-1.0, 1.0);
    let half = |number: f32| u32::from(f16::from_f32(number).to_bits());
    let word = |_| match precision {
        Precision::F16 => half(number()) | half(number()) << 16,
        Precision::F32 => number().to_bits(),
    };
    (0..NUMBERS).map(word).collect()
}

/// A step with a small learning rate, so that repeated updates stay finite.
fn step() -> StepRecord {
    debug_assert_eq!(size_of::<StepRecord>() as u64, STEP_BYTES);
    StepRecord {
        lr: 1e-6,
        momentum: 0.9,
        weight_decay: 1e-4,
        // The loss divides by this number.
        part: BatchPart::whole(1),
        ..StepRecord::default()
    }
}
