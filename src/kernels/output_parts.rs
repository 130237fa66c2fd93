//! How is work done whose weights do not fit one binding?
//!
//! Weights lie in memory by output channel, so a part of the output channels
//! has its weights, and their gradient, in one range of bytes. The work is done
//! for one part after the other, by any algorithm: y, or its gradient, of a
//! part has memory of its own. The same serves weights that fit, where what an
//! algorithm makes of them does not (Winograd's transforms are four times as
//! large).

use std::ops::Range;

use super::algorithm::Algorithm;
use super::call::{Lowered, Operand, Target};
use super::channels;
use super::pointwise::{Pointwise, add_to, pointwise};
use crate::graph::{Precision, Shape};

/// A convolution, a linear layer, or a gradient of one.
pub struct Weighted<'a> {
    /// What is computed.
    pub pass: WeightedPass,
    /// y or its gradient: N, K and perhaps a plane.
    pub outputs: &'a Shape,
    /// x or its gradient.
    pub inputs: &'a Shape,
    /// Weights of one output channel.
    pub row: usize,
}

/// Which of three computations with weights it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightedPass {
    /// Inputs x, weight and, where `bias`, bias.
    Forward {
        /// Whether there is a bias.
        bias: bool,
    },
    /// Inputs dy and weight.
    InputGradient,
    /// Inputs x and dy.
    WeightGradient,
}

impl Weighted<'_> {
    /// The dispatches of `algorithm`: of the whole where its bindings fit, else
    /// of the fewest parts of the output channels whose bindings fit. `lower`
    /// gets the shapes of `outputs` and `inputs` in such a part, and the
    /// algorithm, or `None` for the default algorithm: it is taken where
    /// `algorithm` does not solve a part. `None` where it does not solve the
    /// whole.
    ///
    /// Where no parts fit, the result is that of the whole: the device refuses
    /// it.
    pub fn lower(
        &self,
        algorithm: &Algorithm,
        batch: usize,
        target: &Target,
        lower: impl Fn(&Shape, &Shape, Option<&Algorithm>) -> Option<Lowered>,
    ) -> Option<Lowered> {
        let whole = lower(self.outputs, self.inputs, Some(algorithm))?;
        if whole.fits(target) {
            return Some(whole);
        }
        // What an algorithm makes of the weights of a few channels may be too
        // large; the plain one makes nothing of them.
        let parts = |algorithm| self.fewest_parts(algorithm, batch, target, &lower);
        Some(parts(algorithm).or_else(|| parts(&Algorithm::Plain)).unwrap_or(whole))
    }

    /// The dispatches of the fewest parts whose bindings fit; `None` where none
    /// do.
    fn fewest_parts(
        &self,
        algorithm: &Algorithm,
        batch: usize,
        target: &Target,
        lower: impl Fn(&Shape, &Shape, Option<&Algorithm>) -> Option<Lowered>,
    ) -> Option<Lowered> {
        let channels = self.outputs.channels();
        let unit = self.unit(target);
        let sizes = (2..=channels.div_ceil(unit)).map(|count| channels.div_ceil(count).next_multiple_of(unit));
        let mut tried = channels;
        for size in sizes {
            if size >= tried {
                continue;
            }
            tried = size;
            let parts = (0..channels).step_by(size);
            let parts: Vec<_> = parts.map(|first| first..(first + size).min(channels)).collect();
            let fitting = |parts| {
                let lowered = self.in_parts(parts, batch, target, |outputs, inputs| {
                    lower(outputs, inputs, Some(algorithm)).or_else(|| lower(outputs, inputs, None))
                });
                lowered.filter(|lowered| lowered.fits(target))
            };
            // The first part is the largest: there may be thousands of others.
            if fitting(&parts[..1]).is_some()
                && let Some(lowered) = fitting(&parts)
            {
                return Some(lowered);
            }
        }
        None
    }

    /// Output channels whose weights take a multiple of the alignment.
    fn unit(&self, target: &Target) -> usize {
        let aligned = |channels: &usize| (4 * (channels * self.row) as u64).is_multiple_of(target.alignment);
        (1..=target.alignment as usize).find(aligned).unwrap_or(1)
    }

    fn in_parts(
        &self,
        parts: &[Range<usize>],
        batch: usize,
        target: &Target,
        lower: impl Fn(&Shape, &Shape) -> Option<Lowered>,
    ) -> Option<Lowered> {
        let mut done = InParts::default();
        // Sums of several parts are added in 32 bits.
        let wide = |shape: &Shape| shape.clone().stored_in(Precision::F32);
        for (index, part) in parts.iter().enumerate() {
            let mut outputs = self.outputs.clone();
            outputs.dims[0] = part.len();
            let weights = 4 * (part.start * self.row) as u64;
            match self.pass {
                WeightedPass::Forward { bias } => {
                    let y = done.scratch(0, outputs.bytes(batch));
                    let own = if bias {
                        let own = done.scratch(1, 4 * part.len() as u64);
                        let [all, some] = [self.outputs.channels(), part.len()].map(|length| Shape::fixed(&[length]));
                        let slice = channels::slice(part.start, &all, &some, batch, target);
                        done.push(slice, |operand| match operand {
                            Operand::Output => own,
                            _ => Operand::Input(2),
                        });
                        own
                    } else {
                        Operand::Input(2)
                    };
                    let lowered = lower(&outputs, self.inputs)?;
                    done.push_part(
                        lowered,
                        1 + usize::from(bias),
                        (Operand::Input(1), weights),
                        |operand| match operand {
                            Operand::Output => y,
                            Operand::Input(2) => own,
                            other => other,
                        },
                    );
                    let place = channels::place(part.start, &outputs, self.outputs, batch, target);
                    done.push(place, |operand| match operand {
                        Operand::Input(_) => y,
                        other => other,
                    });
                }
                WeightedPass::InputGradient => {
                    let (outputs, inputs) = (wide(&outputs), wide(self.inputs));
                    let dy = done.scratch(0, outputs.bytes(batch));
                    let sum = done.scratch(1, inputs.bytes(batch));
                    let own = done.scratch(2, inputs.bytes(batch));
                    let slice = channels::slice(part.start, self.outputs, &outputs, batch, target);
                    done.push(slice, |operand| match operand {
                        Operand::Output => dy,
                        other => other,
                    });
                    let to = if index == 0 { sum } else { own };
                    let lowered = lower(&outputs, &inputs)?;
                    done.push_part(lowered, 3, (Operand::Input(1), weights), |operand| match operand {
                        Operand::Input(0) => dy,
                        Operand::Output => to,
                        other => other,
                    });
                    let is_last = index + 1 == parts.len();
                    let add = match index {
                        0 => Lowered::default(),
                        _ if is_last => add_to(&inputs, self.inputs, batch, target),
                        _ => pointwise(Pointwise::Accumulate, &inputs, batch, target),
                    };
                    done.push(add, |operand| match operand {
                        Operand::Input(0) => sum,
                        Operand::Input(_) => own,
                        Operand::Output if !is_last => sum,
                        other => other,
                    });
                }
                WeightedPass::WeightGradient => {
                    let dy = done.scratch(0, outputs.bytes(batch));
                    let slice = channels::slice(part.start, self.outputs, &outputs, batch, target);
                    done.push(slice, |operand| match operand {
                        Operand::Output => dy,
                        _ => Operand::Input(1),
                    });
                    let lowered = lower(&outputs, self.inputs)?;
                    done.push_part(lowered, 1, (Operand::Output, weights), |operand| match operand {
                        Operand::Input(1) => dy,
                        other => other,
                    });
                }
            }
        }
        Some(done.0)
    }
}

/// The dispatches of the parts so far. All parts use the same scratch memory.
#[derive(Default)]
struct InParts(Lowered);

impl InParts {
    /// Scratch memory number `index`, of at least `bytes`.
    fn scratch(&mut self, index: usize, bytes: u64) -> Operand {
        let scratch = &mut self.0.scratch;
        scratch.resize(scratch.len().max(index + 1), 0);
        scratch[index] = scratch[index].max(bytes);
        Operand::Scratch(index)
    }

    /// Adds dispatches without scratch memory, with their operands replaced.
    fn push(&mut self, lowered: Lowered, operand: impl Fn(Operand) -> Operand) {
        for mut call in lowered.calls {
            for arg in &mut call.args {
                arg.operand = operand(arg.operand);
            }
            self.0.calls.push(call);
        }
    }

    /// Adds the dispatches of a part, with their operands replaced. Its scratch
    /// memory begins at number `first`; the weights, or their gradient, are an
    /// operand from a byte on.
    fn push_part(
        &mut self,
        lowered: Lowered,
        first: usize,
        (weights, offset): (Operand, u64),
        operand: impl Fn(Operand) -> Operand,
    ) {
        for (index, &bytes) in lowered.scratch.iter().enumerate() {
            self.scratch(first + index, bytes);
        }
        for mut call in lowered.calls {
            for arg in &mut call.args {
                if arg.operand == weights {
                    arg.offset += offset;
                }
                arg.operand = match arg.operand {
                    Operand::Scratch(index) => Operand::Scratch(first + index),
                    other => operand(other),
                };
            }
            self.0.calls.push(call);
        }
    }
}
