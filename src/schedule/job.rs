//! Which work can be done in several ways, and how much of a step is it?

use super::plan::PlanRequest;
use crate::graph::Shape;
use crate::kernels::{Algorithm, Lowered, Target, Work};

/// Multiply-adds that take as long as reading or writing a byte of memory: on
/// processors and on GPUs about as many, since those are fast at both.
const MACS_PER_BYTE: u64 = 8;
/// What is less of a step's work repays no search: a tenth of it is gained at
/// best.
const SMALL: f64 = 0.001;

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
    /// Its share of all such work of a pass, as estimated from multiply-adds
    /// and bytes.
    pub share: f64,
}

impl Job {
    pub(super) fn shapes(&self) -> Vec<&Shape> {
        self.inputs.iter().collect()
    }

    /// Whether a better kernel would be noticed at all.
    pub fn matters(&self) -> bool {
        self.share >= SMALL
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
        let trial = |candidate: Algorithm| {
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

    /// Multiply-adds that all its times in a pass are worth, an image.
    fn cost(&self, target: &Target) -> u64 {
        let shapes = self.inputs.iter().chain([&self.output]);
        let bytes: u64 = shapes.map(|shape| shape.bytes(self.batch)).sum();
        self.count as u64 * (self.macs_per_image(target) + MACS_PER_BYTE * bytes / self.batch as u64)
    }

    /// The rules' choice.
    pub(super) fn rule(&self, target: &Target) -> Algorithm {
        let all = self.work.candidates(&self.shapes(), &self.output, target);
        all.first().copied().unwrap_or(Algorithm::Plain)
    }

    /// The plain kernel on an eighth of `images` images, and how many those are:
    /// where the output is by image, a processor is spared the rest. None where
    /// that spares nothing.
    pub(super) fn sample(&self, images: usize, target: &Target) -> Option<(usize, Trial)> {
        let few = images / 8;
        if !target.cpu || few == 0 || !self.output.batched || self.macs_per_image(target) == 0 {
            return None;
        }
        let candidate = Algorithm::Plain;
        let lowered = self
            .work
            .lower_as(&candidate, &self.shapes(), &self.output, few, target)?;
        Some((few, Trial { candidate, lowered }))
    }

    /// Images to tune with: the batch, or as many as the plain kernel, which
    /// says what is true, does within a second. What wins with few images need
    /// not win with many: small planes of a small batch leave a core idle.
    pub fn images(&self, target: &Target) -> usize {
        let (macs, bytes) = if target.cpu {
            (400_000_000, 64 << 20)
        } else {
            (20_000_000_000, 512 << 20)
        };
        let largest = self.inputs.iter().chain([&self.output]);
        let per_image = largest.map(|shape| shape.bytes(1)).max().unwrap_or(1).max(1);
        let fitting = (macs / self.macs_per_image(target).max(1)).min(bytes / per_image);
        (fitting as usize).max(8).min(self.batch)
    }
}

/// One way to do a job, ready to be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its name.
    pub candidate: Algorithm,
    /// Its dispatches.
    pub lowered: Lowered,
}

/// The jobs of `request`, each once, those that cost most first.
pub(super) fn jobs_of(request: &PlanRequest, target: &Target) -> Vec<Job> {
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
                share: 0.0,
            }),
        }
    }
    let all: u64 = jobs.iter().map(|job| job.cost(target)).sum();
    for job in &mut jobs {
        job.share = job.cost(target) as f64 / all.max(1) as f64;
    }
    // What is left at the end of the budget should matter least.
    jobs.sort_by(|a, b| b.share.total_cmp(&a.share));
    jobs
}
