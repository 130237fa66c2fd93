//! For each piece of work: which shader variants can do it, with which
//! constants, bindings and workgroup counts. Shapes and adapters are known
//! here; models and training are not.

mod call;
mod channels;
mod conv;
mod expression;
mod linear;
mod loss;
mod norm;
mod peak;
mod pointwise;
mod pool;
mod source;
mod tile;
mod update;

pub use call::{Arg, Call, Lowered, Operand, Target, fold, parts};
pub use loss::record;
pub use peak::{MultiplyAddShape, StreamShape};
pub use pointwise::Pointwise;
pub use pool::Pooling;
pub use source::{IMMEDIATE_BYTES, Value, Variant, files};
pub use update::{ImageDims, ImagePart, STEP_BYTES, StepRecord, gather, sgd};

use crate::graph::{Conv, PadShortcut, Shape};
use crate::random::Stream;

/// A piece of work for the device: an operation of the graph, or several that
/// one kernel does together. Inputs are listed in parentheses, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Convolution (x, weight) or (x, weight, bias).
    Conv {
        /// Kernel, stride, padding, groups.
        conv: Conv,
        /// Whether there is a bias.
        bias: bool,
    },
    /// Gradient by the input (dy, weight).
    ConvGradInput(Conv),
    /// Gradient by the weights (x, dy).
    ConvGradWeight(Conv),
    /// Sum over batch and plane (dy).
    ChannelSum,
    /// Statistics of the batch (x); advances the running state.
    BatchStats {
        /// Added to the variance.
        eps: f32,
        /// Weight of the batch in the running state.
        momentum: f32,
    },
    /// Statistics from the running state ().
    RunningStats {
        /// Added to the variance.
        eps: f32,
    },
    /// Batch norm (x, stats, affine), perhaps a ReLU, perhaps a join with a
    /// shortcut (…, shortcut), perhaps a ReLU behind the join.
    Normalize {
        /// A ReLU behind the normalisation.
        relu: bool,
        /// A join, and whether a ReLU is behind it.
        join: Option<bool>,
    },
    /// Gradients by γ and β (dy, x, stats, affine).
    NormSums {
        /// Whether dy is that of a ReLU behind the normalisation.
        relu: bool,
    },
    /// Gradient by the input (dy, x, stats, affine, sums).
    NormGrad {
        /// Whether dy is that of a ReLU behind the normalisation.
        relu: bool,
        /// Whether the statistics are the batch's.
        batch_stats: bool,
    },
    /// Elementwise.
    Pointwise(Pointwise),
    /// Pooling.
    Pool(Pooling),
    /// Linear layer (x, weight) or (x, weight, bias).
    Linear {
        /// Whether there is a bias.
        bias: bool,
    },
    /// Gradient by the input (dy, weight).
    LinearGradInput,
    /// Gradient by the weights (x, dy).
    LinearGradWeight,
    /// Dropout (x).
    Dropout {
        /// Probability of a zero.
        p: f32,
        /// Which layer.
        stream: u32,
    },
    /// Stochastic depth by image (x).
    DropPath {
        /// Probability that an image's elements are zero.
        p: f32,
        /// Which block, from 0.
        block: u32,
    },
    /// Channels of all inputs.
    Concat,
    /// Channels from one on (x).
    Slice {
        /// The first.
        from: usize,
    },
    /// Option-A shortcut (x).
    PadShortcut(PadShortcut),
    /// Its gradient (dy).
    PadShortcutGrad(PadShortcut),
    /// Cross-entropy of each image (logits, labels).
    CrossEntropy,
    /// Its gradient (logits, labels).
    CrossEntropyGrad,
}

impl Work {
    /// The dispatches that do this work for `batch` images on `target`.
    pub fn lower(&self, inputs: &[&Shape], output: &Shape, batch: usize, target: &Target) -> Lowered {
        match *self {
            Work::Conv { conv, bias } => conv::forward(conv, bias, inputs[0], output, batch, target),
            Work::ConvGradInput(conv) => conv::input_gradient(conv, inputs[0], output, batch, target),
            Work::ConvGradWeight(conv) => conv::weight_gradient(conv, inputs[0], inputs[1], output, batch, target),
            Work::ChannelSum => linear::channel_sum(inputs[0], batch, target),
            Work::BatchStats { eps, momentum } => norm::batch_stats(inputs[0], eps, momentum, batch, target),
            Work::RunningStats { eps } => norm::running_stats(output, eps, target),
            Work::Normalize { relu, join } => norm::normalize(relu, join, output, batch, target),
            Work::NormSums { relu } => norm::sums(relu, inputs[1], batch, target),
            Work::NormGrad { relu, batch_stats } => norm::input_gradient(relu, batch_stats, output, batch, target),
            Work::Pointwise(kernel) => pointwise::pointwise(kernel, output, batch, target),
            Work::Pool(kernel) => {
                let (wide, narrow) = if kernel.is_forward() {
                    (inputs[0], output)
                } else {
                    (output, inputs[0])
                };
                pool::pooling(kernel, wide, narrow, batch, target)
            }
            Work::Linear { bias } => linear::forward(bias, inputs[0], output, batch, target),
            Work::LinearGradInput => linear::input_gradient(inputs[0], output, batch, target),
            Work::LinearGradWeight => linear::weight_gradient(inputs[0], inputs[1], output, batch, target),
            Work::Dropout { p, stream } => {
                let of_element = (Stream::Dropout, stream, 1);
                pointwise::dropout(p, of_element, output, batch, target)
            }
            Work::DropPath { p, block } => {
                let of_image = (Stream::StochasticDepth, block, output.per_image());
                pointwise::dropout(p, of_image, output, batch, target)
            }
            Work::Concat => channels::concat(inputs, output, batch, target),
            Work::Slice { from } => channels::slice(from, inputs[0], output, batch, target),
            Work::PadShortcut(pad) => channels::pad(pad, inputs[0], output, batch, target),
            Work::PadShortcutGrad(pad) => channels::pad_gradient(pad, inputs[0], output, batch, target),
            Work::CrossEntropy => loss::cross_entropy(inputs[0].per_image(), batch, target),
            Work::CrossEntropyGrad => loss::cross_entropy_gradient(output.per_image(), batch, target),
        }
    }
}
