//! Which kernels does a device take for all work of a step, within a time
//! budget?
//!
//! The work that takes most of a step comes first. Work that is too small to
//! matter, and work that the budget does not reach, keeps the default
//! algorithm.

use std::sync::Arc;

use super::error::TuningError;
use super::job::Job;
use super::tuner::{Budget, Tuned, Tuner};
use crate::gpu::Gpu;
use crate::kernels::{Algorithm, Target};
use crate::schedule::{KernelChoices, Quarantine, TunedKernel};

/// Why a job keeps the default algorithm without any timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptDefault {
    /// A faster kernel would make no measurable difference.
    TooSmall,
    /// The time budget was used up.
    OutOfTime,
}

/// What tuning reports while it runs.
#[derive(Debug)]
pub enum TuningProgress<'a> {
    /// A job begins.
    Job {
        /// Jobs done before it.
        done: usize,
        /// All jobs to be timed.
        total: usize,
    },
    /// A job was tuned.
    Tuned(&'a Tuned),
    /// Jobs keep the default algorithm without timing.
    KeptDefault {
        /// The number of jobs.
        jobs: usize,
        /// Their share (0 to 1) of all work that has several algorithms.
        share: f64,
        /// Why.
        reason: KeptDefault,
    },
}

/// Chooses a kernel for each of `jobs` within `budget`; calls `report` along
/// the way.
///
/// Where the device's [`StopToken`](crate::stop::StopToken) asks to stop, the
/// result has the kernels that were chosen until then.
///
/// # Errors
/// Where the device is lost. An algorithm that fails is rejected instead.
pub fn tune(
    gpu: &Arc<Gpu>,
    jobs: &[Job],
    budget: &Budget,
    report: &mut dyn FnMut(&TuningProgress),
) -> Result<KernelChoices, TuningError> {
    let quarantine = Quarantine::of(gpu);
    // Without timing, the default algorithm, or the first one that may run.
    let untimed = |choices: &mut KernelChoices, job: &Job, target: &Target| {
        let permitted = quarantine.permitted(&job.work, &job.shapes(), &job.output, target);
        if let Some(&algorithm) = permitted.first() {
            choices.set(&job.signature(), job.batch, TunedKernel::untimed(algorithm));
        }
    };
    let mut tuner = Tuner::new(gpu, budget)?;
    let mut choices = KernelChoices::default();
    let (large, small): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.matters());
    let mut done = 0;
    while let Some(job) = large.get(done).filter(|_| !tuner.is_out_of_time()) {
        report(&TuningProgress::Job {
            done,
            total: large.len(),
        });
        done += 1;
        let images = job.images(tuner.target());
        let mut algorithms = job.algorithms(images, tuner.target());
        algorithms.retain(|one| !quarantine.holds(&job.work, &job.shapes(), &job.output, Some(&one.algorithm)));
        // The others are compared with the plain one.
        if algorithms.last().is_none_or(|last| last.algorithm != Algorithm::Plain) {
            untimed(&mut choices, job, tuner.target());
            continue;
        }
        let tuned = match tuner.job(job, images, &algorithms) {
            Err(error) if error.is_stopped() => return Ok(choices),
            tuned => tuned?,
        };
        choices.set(&job.signature(), job.batch, tuned.choice);
        report(&TuningProgress::Tuned(&tuned));
    }
    for (rest, reason) in [
        (&large[done..], KeptDefault::OutOfTime),
        (&small[..], KeptDefault::TooSmall),
    ] {
        for job in rest {
            untimed(&mut choices, job, tuner.target());
        }
        if !rest.is_empty() {
            report(&TuningProgress::KeptDefault {
                jobs: rest.len(),
                share: rest.iter().map(|job| job.share).sum(),
                reason,
            });
        }
    }
    Ok(choices)
}
