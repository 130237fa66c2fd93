//! Which work of a step has several algorithms, and how large is its share of
//! the step?

use crate::graph::Shape;
use crate::kernels::{Algorithm, Lowered, Target, Work};
use crate::schedule::{MACS_PER_BYTE, PlanRequest};

/// Multiply-adds that the f64 reference computes in some hundredths of a second.
const REFERENCE_MACS: u64 = 20_000_000;
/// Below this share of a step, tuning saves less than it costs: it gains a tenth of the
/// share at best.
const SMALL: f64 = 0.001;

/// A piece of work that has several algorithms, and its shapes.
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
    /// The number of times that a pass does this work.
    pub count: usize,
    /// Its share (0 to 1) of all such work of a pass, estimated from
    /// multiply-adds and bytes.
    pub share: f64,
}

/// An algorithm for a job, lowered to dispatches.
#[derive(Debug, Clone, PartialEq)]
pub struct LoweredAlgorithm {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Its calls and scratch memory.
    pub lowered: Lowered,
}

impl Job {
    pub(super) fn shapes(&self) -> Vec<&Shape> {
        self.inputs.iter().collect()
    }

    /// Whether a faster kernel could make a measurable difference.
    pub fn matters(&self) -> bool {
        self.share >= SMALL
    }

    /// Its name in tuning caches.
    pub fn signature(&self) -> String {
        self.work.signature(&self.shapes(), &self.output)
    }

    /// Its algorithms on `target` for `images` images: the default algorithm
    /// first, the plain one last.
    pub fn algorithms(&self, images: usize, target: &Target) -> Vec<LoweredAlgorithm> {
        let shapes = self.shapes();
        let algorithms = self.work.algorithms(&shapes, &self.output, target).into_iter();
        let lower = |algorithm: Algorithm| {
            let lowered = self.work.lower_as(&algorithm, &shapes, &self.output, images, target)?;
            Some(LoweredAlgorithm { algorithm, lowered })
        };
        algorithms.filter_map(lower).collect()
    }

    /// Multiply-adds per image; 0 where they cannot be counted.
    pub fn macs_per_image(&self, target: &Target) -> u64 {
        let lowered = self.work.lower(&self.shapes(), &self.output, 1, target);
        lowered.calls.iter().map(|call| call.macs).sum()
    }

    /// The cost of the job in one pass, all its repetitions together, in
    /// multiply-adds per image.
    fn cost(&self, target: &Target) -> u64 {
        let shapes = self.inputs.iter().chain([&self.output]);
        let bytes: u64 = shapes.map(|shape| shape.bytes(self.batch)).sum();
        self.count as u64 * (self.macs_per_image(target) + MACS_PER_BYTE * bytes / self.batch as u64)
    }

    /// The plain kernel for an eighth of `images` images, and the number of
    /// those images. On a processor this saves most of the plain kernel's
    /// time. `None` where it would save nothing, and where the output does not
    /// have one part per image.
    pub(super) fn plain_sample(&self, images: usize, target: &Target) -> Option<(usize, LoweredAlgorithm)> {
        let few = images / 8;
        if !target.cpu || few == 0 || !self.output.batched || self.macs_per_image(target) == 0 {
            return None;
        }
        let algorithm = Algorithm::Plain;
        let lowered = self
            .work
            .lower_as(&algorithm, &self.shapes(), &self.output, few, target)?;
        Some((few, LoweredAlgorithm { algorithm, lowered }))
    }

    /// The plain kernel for a few images, so that the f64 reference computes the
    /// same within some hundredths of a second, and the number of those images.
    /// `None` where the reference has no such operation.
    pub fn plain_for_reference(&self, target: &Target) -> Option<(usize, LoweredAlgorithm)> {
        self.work.operation()?;
        let macs = self.macs_per_image(target).max(self.output.per_image() as u64);
        let few = (REFERENCE_MACS / macs.max(1)).clamp(1, self.batch as u64) as usize;
        let algorithm = Algorithm::Plain;
        let lowered = self
            .work
            .lower_as(&algorithm, &self.shapes(), &self.output, few, target)?;
        Some((few, LoweredAlgorithm { algorithm, lowered }))
    }

    /// The number of images to tune with: the batch, or as many as the plain
    /// kernel, which gives the reference output, computes within a second.
    /// Fewer images would favour other kernels: small planes of a small batch
    /// leave a core idle.
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

/// The jobs of `request` on `target`, each once, the most expensive first.
pub fn jobs(request: &PlanRequest, target: &Target) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for (work, inputs, output) in request.works() {
        if work.algorithms(&inputs, output, target).is_empty() {
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
    // Where the time budget ends, the cheapest jobs are left.
    jobs.sort_by(|a, b| b.share.total_cmp(&a.share));
    jobs
}
