//! Which dispatches make a convolution and the statistics of its result, for
//! a batch norm behind it?

use super::problem::Direction;
use crate::kernels::batch_norm::{BatchStats, merge_moments};
use crate::kernels::call::{Call, Lowered, Operand, Target};
use crate::kernels::candidate::{Algorithm, Tunable};

/// Both: inputs x, weight and, where there is one, bias. The statistics are
/// the second output.
pub struct ConvStats<'a> {
    pub conv: Direction<'a>,
    pub stats: BatchStats<'a>,
}

impl Tunable for ConvStats<'_> {
    fn rule(&self, target: &Target) -> Algorithm {
        self.conv.rule(target)
    }

    fn others(&self, target: &Target) -> Vec<Algorithm> {
        self.conv.others(target)
    }

    fn lower(&self, candidate: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        if let Some(mut lowered) = self.conv.with_moments(candidate, batch, target) {
            // The moments are there: only merging is left.
            let chunks = lowered.scratch.len() - 1;
            let merge = merge_moments(&self.stats, Operand::Scratch(chunks), lowered.scratch[chunks]);
            lowered.calls.push(behind(merge, 0));
            return Some(lowered);
        }
        let mut lowered = self.conv.lower(candidate, batch, target)?;
        let stats = self.stats.lower(&self.stats.rule(target), batch, target)?;
        let scratch = lowered.scratch.len();
        lowered
            .calls
            .extend(stats.calls.into_iter().map(|call| behind(call, scratch)));
        lowered.scratch.extend(stats.scratch);
        Some(lowered)
    }
}

/// A call of the statistics behind the convolution: it reads the result and
/// writes the second output; its scratch memory begins at `scratch`.
fn behind(mut call: Call, scratch: usize) -> Call {
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
