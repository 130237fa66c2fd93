//! Does the device compute at all, and does it do all that is submitted?
//!
//! Some drivers accept every command and do nothing, and some drop a submission
//! that ran over a time limit without a word. Buffers are then full of zeros, and
//! a network without errors and without loss would be the result. So a device
//! computes known numbers when it is opened. Afterwards it counts its
//! submissions, and whatever is read from it comes with that count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Access, Binding, Buffer, Dispatch, Gpu, GpuError, Program, Recorder};
use crate::random::{Philox, Stream};

/// Numbers of the proof for each operand.
const COUNT: usize = 256;

/// Counts submissions, on the device and on the host.
#[derive(Debug)]
pub(super) struct SubmissionCount {
    /// One word: the submissions that the device has done.
    done: Arc<Buffer>,
    dispatch: Dispatch,
    /// The submissions that it was given.
    given: Mutex<u32>,
}

impl SubmissionCount {
    fn new(gpu: &Gpu) -> Result<Self, GpuError> {
        let program = Program {
            label: "count submissions".to_owned(),
            source: include_str!("../../shaders/device/count.wgsl").into(),
            bindings: vec![(0, Access::Write)],
        };
        let done = gpu.buffer("submissions", 4)?;
        let binding = (0, Binding::new(&done, 0, 16));
        Ok(SubmissionCount {
            dispatch: gpu.dispatch(&gpu.pipeline(&program)?, &[binding], [1, 1, 1])?,
            done,
            given: Mutex::new(0),
        })
    }

    /// The number of submissions so far. No other thread submits while the result
    /// is held: host and device count in the same order.
    pub(super) fn given(&self) -> MutexGuard<'_, u32> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the device's count to a submission.
    pub(super) fn record(&self, recorder: &mut Recorder) {
        recorder.append(&self.dispatch);
    }

    /// The buffer with the device's count in its first word.
    pub(super) fn done(&self) -> &Buffer {
        &self.done
    }
}

impl Gpu {
    /// Lets the device compute known numbers, and then counts its submissions.
    ///
    /// # Errors
    /// Where a result is wrong, or the device is lost.
    pub(super) fn prove(&mut self) -> Result<(), GpuError> {
        // Numbers that no earlier program has left in the device's memory.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = since.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(32);
        let mut draws = Philox::new(seed).draws(Stream::Proof, 0, 0);
        let words: Vec<u32> = (0..3 * COUNT).map(|_| draws.word()).collect();
        let found = self.multiply_add(&words)?;
        let expected = multiply_add(&words);
        let mut wrong = expected
            .iter()
            .zip(&found)
            .filter(|(expected, found)| expected != found);
        if let Some((expected, found)) = wrong.next() {
            return Err(GpuError::Wrong {
                adapter: self.info.name.clone(),
                wrong: 1 + wrong.count(),
                of: expected_count(),
                expected: *expected,
                found: *found,
            });
        }
        self.count = Some(SubmissionCount::new(self)?);
        Ok(())
    }

    /// The device's results for `words`: they are written, copied to another
    /// buffer, computed with, and read.
    fn multiply_add(&self, words: &[u32]) -> Result<Vec<u32>, GpuError> {
        let program = Program {
            label: "proof".to_owned(),
            source: include_str!("../../shaders/device/proof.wgsl").into(),
            bindings: vec![(0, Access::Read), (1, Access::Write)],
        };
        let size = size_of_val(words) as u64;
        let written = self.buffer("proof written", size)?;
        let copied = Binding::whole(&self.buffer("proof copied", size)?);
        let results = self.buffer("proof results", 4 * expected_count() as u64)?;
        self.write(&written, 0, words);
        let bindings = [(0, copied.clone()), (1, Binding::whole(&results))];
        let dispatch = self.dispatch(&self.pipeline(&program)?, &bindings, [COUNT as u32 / 64, 1, 1])?;
        self.submit(|recorder| {
            recorder.copy(&Binding::whole(&written), &copied);
            recorder.dispatch(&dispatch);
        });
        self.read(&results, 0..results.size())
    }
}

/// Results of the proof: one of integers and one of floats for each number.
const fn expected_count() -> usize {
    2 * COUNT
}

/// What `shaders/device/proof.wgsl` must give for `words`.
fn multiply_add(words: &[u32]) -> Vec<u32> {
    let operands = || (0..COUNT).map(|i| [words[i], words[i + COUNT], words[i + 2 * COUNT]]);
    let integers = operands().map(|[a, b, c]| a.wrapping_mul(b).wrapping_add(c));
    let floats = operands().map(|numbers| {
        let [a, b, c] = numbers.map(|word| (word >> 21) as f32);
        (a * b + c).to_bits()
    });
    integers.chain(floats).collect()
}
