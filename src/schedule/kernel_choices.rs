//! Which kernels were chosen by timing, for which work and batch size?

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kernels::Algorithm;

/// The kernel chosen for a piece of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TunedKernel {
    /// The algorithm and its tile sizes.
    pub algorithm: Algorithm,
    /// How fast it is; `None` where it was not timed: the work is too small,
    /// or the time budget ended first.
    pub timing: Option<Timing>,
}

impl TunedKernel {
    /// `algorithm`, not timed.
    pub fn untimed(algorithm: Algorithm) -> Self {
        TunedKernel {
            algorithm,
            timing: None,
        }
    }
}

/// How long a chosen kernel takes, compared with the default algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Milliseconds of the chosen kernel.
    pub milliseconds: f64,
    /// Milliseconds of the default algorithm.
    pub default_milliseconds: f64,
}

/// Chosen kernels, by work and number of images. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KernelChoices {
    by_work: Arc<BTreeMap<String, BTreeMap<usize, TunedKernel>>>,
}

impl KernelChoices {
    /// The kernel chosen for exactly this work and batch size.
    pub fn exact(&self, signature: &str, batch: usize) -> Option<TunedKernel> {
        self.by_work.get(signature)?.get(&batch).copied()
    }

    /// The algorithm for this work: the one chosen at this batch size, else at
    /// the next larger one, else at the largest. The pipelines of full batches
    /// then serve the last, smaller batch of an epoch as well.
    pub fn algorithm(&self, signature: &str, batch: usize) -> Option<Algorithm> {
        let batches = self.by_work.get(signature)?;
        let nearest = batches.range(batch..).next().or_else(|| batches.last_key_value());
        nearest.map(|(_, tuned)| tuned.algorithm)
    }

    /// Stores the kernel for this work and batch size.
    pub fn set(&mut self, signature: &str, batch: usize, tuned: TunedKernel) {
        let by_work = Arc::make_mut(&mut self.by_work);
        by_work.entry(signature.to_string()).or_default().insert(batch, tuned);
    }

    /// Copies all of `other`; where both have a kernel, that of `other` stays.
    pub fn extend(&mut self, other: &KernelChoices) {
        for (signature, batch, tuned) in other.iter() {
            self.set(signature, batch, tuned);
        }
    }

    /// All chosen kernels, by work and batch size.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize, TunedKernel)> {
        let of_work = |(signature, batches)| {
            let signature: &String = signature;
            let batches: &BTreeMap<usize, TunedKernel> = batches;
            batches
                .iter()
                .map(move |(&batch, &tuned)| (signature.as_str(), batch, tuned))
        };
        self.by_work.iter().flat_map(of_work)
    }

    /// The number of chosen kernels.
    pub fn len(&self) -> usize {
        self.by_work.values().map(BTreeMap::len).sum()
    }

    /// Whether no kernel was chosen.
    pub fn is_empty(&self) -> bool {
        self.by_work.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_batch_takes_the_algorithm_of_the_next_larger() {
        let mut choices = KernelChoices::default();
        for (batch, algorithm) in [(32, "linear 2x2 wg 64"), (128, "linear 4x4 wg 64")] {
            choices.set("linear", batch, TunedKernel::untimed(algorithm.parse().unwrap()));
        }
        let algorithm = |batch| choices.algorithm("linear", batch).unwrap().to_string();
        assert_eq!(algorithm(8), "linear 2x2 wg 64");
        assert_eq!(algorithm(33), "linear 4x4 wg 64");
        assert_eq!(algorithm(500), "linear 4x4 wg 64");
        assert_eq!(choices.algorithm("else", 32), None);
        assert_eq!(choices.exact("linear", 8), None);
    }
}
