//! Which dispatches make a convolution and the statistics of its result, for
//! the batch norm that follows it?

use super::problem::Convolution;
use crate::kernels::algorithm::{Algorithm, Problem};
use crate::kernels::batch_norm::{BatchStats, merge_moments};
use crate::kernels::call::{Call, Lowered, Operand, Target};

/// Both: inputs x, weight and, where there is one, bias. The statistics are
/// the second output.
pub struct ConvStats<'a> {
    /// The convolution.
    pub conv: Convolution<'a>,
    /// The statistics of its result.
    pub stats: BatchStats<'a>,
}

impl Problem for ConvStats<'_> {
    fn default_algorithm(&self, target: &Target) -> Algorithm {
        self.conv.default_algorithm(target)
    }

    fn alternatives(&self, target: &Target) -> Vec<Algorithm> {
        self.conv.alternatives(target)
    }

    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        if let Algorithm::Subgroup(subgroup) = algorithm
            && let Some(mut lowered) = subgroup.lower_with_moments(&self.conv, batch, target)
            && lowered.fits(target)
        {
            // The convolution has written the moments: they are only merged.
            let chunks = lowered.scratch.len() - 1;
            let merge = merge_moments(&self.stats, Operand::Scratch(chunks), lowered.scratch[chunks], target);
            lowered.calls.push(after_convolution(merge, 0));
            return Some(lowered);
        }
        let mut lowered = self.conv.lower(algorithm, batch, target)?;
        let default = self.stats.default_algorithm(target);
        let stats = self.stats.lower(&default, batch, target)?;
        let scratch = lowered.scratch.len();
        let calls = stats.calls.into_iter().map(|call| after_convolution(call, scratch));
        lowered.calls.extend(calls);
        lowered.scratch.extend(stats.scratch);
        Some(lowered)
    }
}

/// A call of the statistics, where it follows the convolution: it reads the
/// result and writes the second output. Its scratch memory begins at `scratch`.
fn after_convolution(mut call: Call, scratch: usize) -> Call {
    for arg in &mut call.args {
        arg.operand = match arg.operand {
            Operand::Input(0) => Operand::Output,
            Operand::Output => Operand::Second,
            Operand::Scratch(index) => Operand::Scratch(scratch + index),
            other => other,
        };
    }
    call
}
