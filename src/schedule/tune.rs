//! Which kernels does a device take for all of a step's work, and what may the
//! search for them cost?
//!
//! The work that a step spends most time with comes first. What is too small
//! to be noticed, and what the budget does not reach, keeps the rules' choice.

use std::sync::Arc;

use super::choices::{Choices, TunedKernel};
use super::job::Job;
use super::session::SessionError;
use super::tuner::{Tuned, Tuner};
use crate::gpu::Gpu;

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

/// Why the rules' choice was kept without a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A faster kernel would not be noticed.
    Small,
    /// The budget was used up.
    NoTime,
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
    /// Jobs keep the rules' choice, untimed.
    Kept {
        /// How many.
        jobs: usize,
        /// Their share of all work that can be done in several ways.
        share: f64,
        /// Why.
        why: Kept,
    },
}

/// Chooses a kernel for each of `jobs` within `budget`; reports to `report`.
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
    let (worth, small): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.matters());
    let mut done = 0;
    while let Some(job) = worth.get(done).filter(|_| !tuner.is_out_of_time()) {
        report(&Progress::Job { done, of: worth.len() });
        let images = job.images(tuner.target());
        let tuned = tuner.job(job, images, &job.trials(images, tuner.target()))?;
        choices.set(&job.signature(), job.batch, tuned.choice);
        report(&Progress::Tuned(&tuned));
        done += 1;
    }
    for (left, why) in [(&worth[done..], Kept::NoTime), (&small[..], Kept::Small)] {
        for job in left {
            let kernel = job.rule(tuner.target());
            choices.set(&job.signature(), job.batch, TunedKernel { kernel, timed: None });
        }
        if !left.is_empty() {
            report(&Progress::Kept {
                jobs: left.len(),
                share: left.iter().map(|job| job.share).sum(),
                why,
            });
        }
    }
    Ok(choices)
}
