//! Which kernels must not run on a device, and which ones run instead?
//!
//! `doctor` finds kernels that give wrong results or never come back. Such a kernel
//! is never chosen, whether it is the default algorithm, was chosen by timing, or
//! is replayed from a file: the first algorithm that is not in quarantine is taken.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::gpu::Gpu;
use crate::graph::{Precision, Shape};
use crate::hex::hex;
use crate::kernels::{self, Algorithm, Lowered, Target, Work};

/// The names of kernels that must not run on a device. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quarantine {
    kernels: Arc<BTreeSet<String>>,
}

impl Quarantine {
    /// The kernels of this version that must not run on `gpu`.
    pub fn of(gpu: &Gpu) -> Self {
        let entries = gpu.quarantined();
        if entries.is_empty() {
            return Quarantine::default();
        }
        let own = entries.iter().filter(|entry| entry.shaders == shaders_version());
        own.map(|entry| entry.kernel.clone()).collect()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.kernels.is_empty()
    }

    /// Whether the kernel with the name `kernel` is in it.
    pub fn has(&self, kernel: &str) -> bool {
        self.kernels.contains(kernel)
    }

    /// Whether `algorithm` must not do `work`; `None` for work that has only one.
    pub fn holds(&self, work: &Work, inputs: &[&Shape], output: &Shape, algorithm: Option<&Algorithm>) -> bool {
        !self.is_empty() && self.has(&kernel_name(work, inputs, output, algorithm))
    }

    /// The algorithms for `work` that may run: the default one first, unless it is in
    /// quarantine.
    pub fn permitted(&self, work: &Work, inputs: &[&Shape], output: &Shape, target: &Target) -> Vec<Algorithm> {
        let mut all = work.algorithms(inputs, output, target);
        all.retain(|algorithm| !self.holds(work, inputs, output, Some(algorithm)));
        all
    }

    /// The dispatches of the default algorithm, or of the first one that may run.
    /// Where none may, [`Self::refusal`] says so.
    pub fn lower(&self, work: &Work, inputs: &[&Shape], output: &Shape, batch: usize, target: &Target) -> Lowered {
        let permitted = match self.is_empty() {
            true => Vec::new(),
            false => self.permitted(work, inputs, output, target),
        };
        let mut lowered = permitted
            .iter()
            .filter_map(|algorithm| work.lower_as(algorithm, inputs, output, batch, target));
        let first = lowered.next();
        first.unwrap_or_else(|| work.lower(inputs, output, batch, target))
    }

    /// The kernel of `work` that must not run and that no other one can replace.
    pub fn refusal(&self, work: &Work, inputs: &[&Shape], output: &Shape, target: &Target) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let default = work.algorithms(inputs, output, target).first().copied();
        let is_refused = match default {
            Some(_) => self.permitted(work, inputs, output, target).is_empty(),
            None => self.holds(work, inputs, output, None),
        };
        is_refused.then(|| kernel_name(work, inputs, output, default.as_ref()))
    }
}

impl FromIterator<String> for Quarantine {
    fn from_iter<I: IntoIterator<Item = String>>(kernels: I) -> Self {
        Quarantine {
            kernels: Arc::new(kernels.into_iter().collect()),
        }
    }
}

/// The name of a kernel, whatever its shapes are: operation, precision, algorithm.
pub fn kernel_name(work: &Work, inputs: &[&Shape], output: &Shape, algorithm: Option<&Algorithm>) -> String {
    let mut shapes = inputs.iter().copied().chain([output]);
    let precision = match shapes.any(|shape| shape.precision == Precision::F16) {
        true => Precision::F16,
        false => Precision::F32,
    };
    let name = format!("{} {precision}", work.name());
    let Some(algorithm) = algorithm else { return name };
    // Into how many parts a sum is divided follows from the shapes.
    let text = algorithm.to_string();
    let words: Vec<&str> = text.split(' ').collect();
    let is_of_splits = |at: usize| words[at] == "splits" || at > 0 && words[at - 1] == "splits";
    let kept: Vec<&str> = (0..words.len())
        .filter(|&at| !is_of_splits(at))
        .map(|at| words[at])
        .collect();
    format!("{name}, {}", kept.join(" "))
}

/// The name of all kernels of a training step together, those included that belong to no
/// operation.
pub fn training_name(precision: Precision) -> String {
    format!("training step {precision}")
}

/// Twelve hexadecimal digits that change when any shader does.
pub fn shaders_version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let mut hash = Sha256::new();
        hash.update(env!("CARGO_PKG_VERSION"));
        for (_, text) in kernels::files() {
            hash.update(text);
        }
        hex(&hash.finalize()[..6])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Conv;
    use crate::kernels::Pointwise;

    #[test]
    fn the_first_algorithm_that_may_run_is_taken() {
        let target = Target::portable(false);
        let conv = Conv {
            kernel: 3,
            stride: 1,
            padding: 1,
            groups: 1,
        };
        let work = Work::Conv { conv, bias: false };
        let (x, weight) = (Shape::batched(&[16, 8, 8]), Shape::fixed(&[16, 16, 3, 3]));
        let (inputs, output) = ([&x, &weight], &x);
        let all = work.algorithms(&inputs, output, &target);
        let name = |algorithm: &Algorithm| kernel_name(&work, &inputs, output, Some(algorithm));
        assert!(name(&all[0]).starts_with("convolution f32, "), "{}", name(&all[0]));
        for count in 0..all.len() {
            let quarantine: Quarantine = all[..count].iter().map(name).collect();
            assert_eq!(quarantine.permitted(&work, &inputs, output, &target), all[count..]);
            let expected = work.lower_as(&all[count], &inputs, output, 3, &target).unwrap();
            assert_eq!(quarantine.lower(&work, &inputs, output, 3, &target), expected);
            assert_eq!(quarantine.refusal(&work, &inputs, output, &target), None);
        }
        let quarantine: Quarantine = all.iter().map(name).collect();
        assert_eq!(quarantine.refusal(&work, &inputs, output, &target), Some(name(&all[0])));
        // In 16 bits it is another kernel.
        let half = x.clone().stored_in(Precision::F16);
        assert!(!quarantine.holds(&work, &[&half, &weight], &half, Some(&all[0])));
        // Work with one algorithm has no other.
        let relu = Work::Pointwise(Pointwise::Relu);
        let quarantine: Quarantine = ["relu f32".to_string()].into_iter().collect();
        assert!(quarantine.refusal(&relu, &[&x], output, &target).is_some());
        assert_eq!(quarantine.refusal(&relu, &[&half], &half, &target), None);
    }
}
