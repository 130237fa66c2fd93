//! How does a piece of work run alone, again and again, under a clock?

use std::sync::Arc;
use std::time::Instant;

use super::spread::Spread;
use super::{Listener, Progress};
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, GpuError};
use crate::kernels::{Call, LossScale, Operand, STEP_BYTES, StepRecord};
use crate::random::{Philox, Stream};
use crate::schedule::dispatch;

/// Most repetitions in one submission: some systems end what takes seconds.
const MOST_REPETITIONS: usize = 2000;
/// Random numbers that fill all inputs, over and over.
const NUMBERS: usize = 1 << 20;

/// One thing to be timed.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Its name, for progress.
    pub name: String,
    /// Its dispatches, in order.
    pub calls: Vec<Call>,
    /// What some operands must hold, as words. A piece that has any gets
    /// memory of its own; all others read random numbers within [-1, 1].
    pub contents: Vec<(Operand, Vec<u32>)>,
}

/// Pieces of work, bound to memory and compiled.
#[derive(Debug)]
pub struct Workbench {
    gpu: Arc<Gpu>,
    pieces: Vec<(String, Vec<Dispatch>)>,
}

/// Memory by operand.
type Memory = Vec<(Operand, Arc<Buffer>)>;

impl Workbench {
    /// Makes `pieces` ready. Their memory is shared: what a kernel reads does
    /// not change how long it takes, as long as it is ordinary numbers.
    pub fn new(gpu: &Arc<Gpu>, pieces: &[Piece]) -> Result<Self, GpuError> {
        let usual: Vec<&Call> = pieces
            .iter()
            .filter(|piece| piece.contents.is_empty())
            .flat_map(|piece| &piece.calls)
            .collect();
        let shared = memory(gpu, &usual, &[])?;
        let mut ready = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let own;
            let memory = if piece.contents.is_empty() {
                &shared
            } else {
                own = memory(gpu, &piece.calls.iter().collect::<Vec<_>>(), &piece.contents)?;
                &own
            };
            let place = |operand: Operand| {
                let found = memory.iter().find(|(own, _)| *own == operand);
                found.map(|(_, buffer)| Binding::whole(buffer))
            };
            let dispatches: Result<Vec<Dispatch>, GpuError> =
                piece.calls.iter().map(|call| dispatch(gpu, call, place)).collect();
            ready.push((piece.name.clone(), dispatches?));
        }
        Ok(Workbench {
            gpu: gpu.clone(),
            pieces: ready,
        })
    }

    /// Seconds that `repetitions` of piece `index` take together: by the
    /// device's clock where it has one, else from recording to the end.
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

    /// Seconds of `repetitions` in one submission.
    fn submission(&self, index: usize, repetitions: usize) -> Result<f64, GpuError> {
        let dispatches = &self.pieces[index].1;
        let all: Vec<&Dispatch> = std::iter::repeat_n(dispatches, repetitions).flatten().collect();
        let timed = self.gpu.time_passes(&[&all])?;
        // Some drivers stamp the end no later than the beginning.
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

    /// How often piece `index` must be repeated to take `wanted` seconds. The
    /// first run, which compiles, is not looked at.
    fn repetitions(&self, index: usize, wanted: f64) -> Result<usize, GpuError> {
        self.seconds(index, 1)?;
        let once = self.seconds(index, 1)?;
        Ok(((wanted / once).ceil() as usize).clamp(1, MOST_REPETITIONS))
    }

    /// Times each piece in each of `rounds` rounds, for about `wanted` seconds
    /// at a time; the seconds are those of one repetition.
    pub fn measure(&self, rounds: usize, wanted: f64, listener: Listener) -> Result<Vec<Spread>, GpuError> {
        let count = self.pieces.len();
        let of = count * (rounds.max(1) + 1);
        let mut tell = |done: usize| {
            let what = &self.pieces[done % count].0;
            listener(Progress { what, done, of });
        };
        let mut repetitions = Vec::with_capacity(count);
        for index in 0..count {
            tell(index);
            repetitions.push(self.repetitions(index, wanted)?);
        }
        let mut times = vec![Vec::new(); count];
        for round in 0..rounds.max(1) {
            for index in 0..count {
                tell((round + 1) * count + index);
                times[index].push(self.seconds(index, repetitions[index])? / repetitions[index] as f64);
            }
        }
        Ok(times.iter().filter_map(|times| Spread::of(times)).collect())
    }
}

/// A buffer for every operand of `calls`, as large as any of them needs it.
fn memory(gpu: &Gpu, calls: &[&Call], contents: &[(Operand, Vec<u32>)]) -> Result<Memory, GpuError> {
    let mut sizes: Vec<(Operand, u64)> = Vec::new();
    for arg in calls.iter().flat_map(|call| &call.args) {
        let end = arg.offset + arg.size;
        match sizes.iter_mut().find(|(operand, _)| *operand == arg.operand) {
            Some((_, size)) => *size = end.max(*size),
            None => sizes.push((arg.operand, end)),
        }
    }
    let numbers = numbers();
    let buffer = |&(operand, size): &(Operand, u64)| {
        let buffer = gpu.buffer("bench", size)?;
        let own = contents.iter().find(|(own, _)| *own == operand);
        match (operand, own) {
            (_, Some((_, words))) => gpu.write(&buffer, 0, &words[..words.len().min((size / 4) as usize)]),
            (Operand::Step, None) => gpu.write(&buffer, 0, &[step()]),
            (Operand::Gains, None) => gpu.write(&buffer, 0, &[1.0_f32; 4]),
            (Operand::LossScale, None) => gpu.write(&buffer, 0, &[LossScale::INITIAL]),
            (Operand::Input(_), None) => fill(gpu, &buffer, &numbers),
            // What is written before it is read.
            (Operand::Output | Operand::Second | Operand::Scratch(_) | Operand::Running, None) => {}
        }
        Ok((operand, buffer))
    };
    sizes.iter().map(buffer).collect()
}

fn fill(gpu: &Gpu, buffer: &Buffer, numbers: &[f32]) {
    let mut offset = 0;
    while offset < buffer.size() {
        let count = ((buffer.size() - offset) / 4).min(numbers.len() as u64) as usize;
        gpu.write(buffer, offset, &numbers[..count]);
        offset += 4 * count as u64;
    }
}

/// Numbers of ordinary size: a device may be faster at zeros, and slower at
/// what is next to nothing.
fn numbers() -> Vec<f32> {
    let mut draws = Philox::new(0).draws(Stream::Study, 0, 0);
    (0..NUMBERS).map(|_| draws.between(-1.0, 1.0)).collect()
}

/// A step that hardly moves what it updates.
fn step() -> StepRecord {
    debug_assert_eq!(size_of::<StepRecord>() as u64, STEP_BYTES);
    StepRecord {
        lr: 1e-6,
        momentum: 0.9,
        weight_decay: 1e-4,
        ..StepRecord::default()
    }
}
