//! For each piece of work: which shader variants can do it, with which
//! constants, bindings and workgroup counts. Shapes and adapters are known
//! here; models and training are not.

mod batch_norm;
mod call;
mod candidate;
mod channels;
mod conv;
mod dropout;
mod expression;
mod gather;
mod linear;
mod loss;
mod loss_scale;
mod peak;
mod pointwise;
mod pool;
mod reduce;
mod sgd;
mod source;
mod step;

pub use call::{Arg, Call, Lowered, Operand, Target, fold, parts};
pub use candidate::{Algorithm, UnknownAlgorithm};
pub use conv::{GemmTile, Tile, WeightTile};
pub use gather::{ImageDims, ImagePart, gather};
pub use loss::record;
pub use loss_scale::{LOSS_SCALE_BYTES, LossScale, judge_step};
pub use peak::{MultiplyAddShape, StreamShape};
pub use pointwise::Pointwise;
pub use pool::Pooling;
pub use sgd::sgd;
pub use source::{Value, Variant, files};
pub use step::{STEP_BYTES, StepRecord};

use candidate::Tunable;

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
    /// Convolution (x, weight) or (x, weight, bias) and, as a second output,
    /// the statistics of its batch; advances the running state.
    ConvStats {
        /// Kernel, stride, padding, groups.
        conv: Conv,
        /// Whether there is a bias.
        bias: bool,
        /// Added to the variance.
        eps: f32,
        /// Weight of the batch in the running state.
        momentum: f32,
    },
    /// Input gradient (dy, weight).
    ConvInputGradient(Conv),
    /// Weight gradient (x, dy).
    ConvWeightGradient(Conv),
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
    NormParamGradients {
        /// Whether dy is that of a ReLU behind the normalisation.
        relu: bool,
    },
    /// Input gradient (dy, x, stats, affine, sums).
    NormInputGradient {
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
    /// Input gradient (dy, weight).
    LinearInputGradient,
    /// Weight gradient (x, dy).
    LinearWeightGradient,
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
    CrossEntropyGrad {
        /// Whether it is multiplied by the loss scale.
        scaled: bool,
    },
}

impl Work {
    /// This work without its second output, if it makes two.
    pub fn first(self) -> Self {
        match self {
            Work::ConvStats { conv, bias, .. } => Work::Conv { conv, bias },
            work => work,
        }
    }

    /// This work as one that can be done in several ways, if it can.
    fn tunable<'a>(&self, inputs: &[&'a Shape], output: &'a Shape) -> Option<Box<dyn Tunable + 'a>> {
        Some(match *self {
            Work::Conv { conv, bias } => Box::new(conv::Direction::forward(conv, bias, inputs[0], output)),
            Work::ConvStats {
                conv,
                bias,
                eps,
                momentum,
            } => Box::new(conv::ConvStats {
                conv: conv::Direction::forward(conv, bias, inputs[0], output),
                stats: batch_norm::BatchStats {
                    x: output,
                    eps,
                    momentum,
                },
            }),
            Work::ConvInputGradient(conv) => Box::new(conv::Direction::backward(conv, inputs[0], output)),
            Work::ConvWeightGradient(conv) => Box::new(conv::WeightGradient {
                conv,
                x: inputs[0],
                dy: inputs[1],
                dw: output,
            }),
            Work::ChannelSum => Box::new(reduce::ChannelSum { dy: inputs[0] }),
            Work::BatchStats { eps, momentum } => Box::new(batch_norm::BatchStats {
                x: inputs[0],
                eps,
                momentum,
            }),
            Work::NormParamGradients { relu } => Box::new(batch_norm::Sums { relu, x: inputs[1] }),
            Work::Linear { bias } => Box::new(linear::Layer::Forward {
                bias,
                x: inputs[0],
                y: output,
            }),
            Work::LinearInputGradient => Box::new(linear::Layer::InputGradient {
                dy: inputs[0],
                dx: output,
            }),
            Work::LinearWeightGradient => Box::new(linear::Layer::WeightGradient {
                x: inputs[0],
                dy: inputs[1],
                dw: output,
            }),
            _ => return None,
        })
    }

    /// The input in whose memory the output may be made, by
    /// [`Lowered::in_place`], where nobody else reads that input.
    pub fn overwrites(&self) -> Option<usize> {
        match self {
            Work::Normalize { .. } | Work::NormInputGradient { .. } | Work::Dropout { .. } | Work::DropPath { .. } => {
                Some(0)
            }
            Work::Pointwise(kernel) => kernel.overwrites(),
            _ => None,
        }
    }

    /// The ways to do this work on `target`: the rules' choice first, the
    /// plain one last. None where there is only one way.
    pub fn candidates(&self, inputs: &[&Shape], output: &Shape, target: &Target) -> Vec<Algorithm> {
        let Some(tunable) = self.tunable(inputs, output) else {
            return Vec::new();
        };
        let rule = tunable.rule(target);
        let mut all = vec![rule];
        for other in tunable.others(target) {
            if !all.contains(&other) {
                all.push(other);
            }
        }
        all.push(Algorithm::Plain);
        all
    }

    /// What the time of this work depends on, but for the number of images:
    /// the key of files of choices. Empty where there is only one way.
    pub fn signature(&self, inputs: &[&Shape], output: &Shape) -> String {
        let shapes = |x: &Shape, y: &Shape| format!("{x} to {y}");
        let convolution = |name: &str, conv: &Conv, x: &Shape, y: &Shape| {
            let Conv {
                kernel,
                stride,
                padding,
                groups,
            } = conv;
            let grouped = if *groups > 1 {
                format!(" in {groups} groups")
            } else {
                String::new()
            };
            format!(
                "{name} {kernel}x{kernel} stride {stride} padding {padding}{grouped}, {}",
                shapes(x, y)
            )
        };
        let with = |name: &str, what: bool, extra: &str| format!("{name}{}", if what { extra } else { "" });
        match self {
            Work::Conv { conv, bias } | Work::ConvStats { conv, bias, .. } => {
                convolution(&with("convolution", *bias, " with bias"), conv, inputs[0], output)
            }
            Work::ConvInputGradient(conv) => convolution("input gradient", conv, inputs[0], output),
            Work::ConvWeightGradient(conv) => convolution("weight gradient", conv, inputs[0], inputs[1]),
            Work::ChannelSum => format!("channel sum, {}", inputs[0]),
            Work::BatchStats { .. } => format!("batch statistics, {}", inputs[0]),
            Work::NormParamGradients { relu } => format!("{}, {}", with("norm sums", *relu, " with relu"), inputs[1]),
            Work::Linear { bias } => {
                format!("{}, {}", with("linear", *bias, " with bias"), shapes(inputs[0], output))
            }
            Work::LinearInputGradient => format!("linear input gradient, {}", shapes(inputs[0], output)),
            Work::LinearWeightGradient => format!("linear weight gradient, {}", shapes(inputs[0], inputs[1])),
            _ => String::new(),
        }
    }

    /// The dispatches that do this work in one of its ways; `None` where
    /// `candidate` is none of them.
    pub fn lower_as(
        &self,
        candidate: &Algorithm,
        inputs: &[&Shape],
        output: &Shape,
        batch: usize,
        target: &Target,
    ) -> Option<Lowered> {
        self.tunable(inputs, output)?.lower(candidate, batch, target)
    }

    /// The dispatches that do this work for `batch` images on `target`, by the
    /// rules' choice where there are several ways.
    pub fn lower(&self, inputs: &[&Shape], output: &Shape, batch: usize, target: &Target) -> Lowered {
        let chosen = self.tunable(inputs, output);
        if let Some(lowered) = chosen.and_then(|work| work.lower(&work.rule(target), batch, target)) {
            return lowered;
        }
        match *self {
            Work::Conv { .. }
            | Work::ConvStats { .. }
            | Work::ConvInputGradient(_)
            | Work::ConvWeightGradient(_)
            | Work::ChannelSum
            | Work::BatchStats { .. }
            | Work::NormParamGradients { .. }
            | Work::Linear { .. }
            | Work::LinearInputGradient
            | Work::LinearWeightGradient => unreachable!("the rules' choice is a way to do {self:?}"),
            Work::RunningStats { eps } => batch_norm::running_stats(output, eps, target),
            Work::Normalize { relu, join } => batch_norm::normalize(relu, join, output, batch, target),
            Work::NormInputGradient { relu, batch_stats } => {
                batch_norm::input_gradient(relu, batch_stats, output, batch, target)
            }
            Work::Pointwise(kernel) => pointwise::pointwise(kernel, output, batch, target),
            Work::Pool(kernel) => {
                let (wide, narrow) = if kernel.is_forward() {
                    (inputs[0], output)
                } else {
                    (output, inputs[0])
                };
                pool::pooling(kernel, wide, narrow, batch, target)
            }
            Work::Dropout { p, stream } => {
                let of_element = (Stream::Dropout, stream, 1);
                dropout::dropout(p, of_element, output, batch, target)
            }
            Work::DropPath { p, block } => {
                let of_image = (Stream::StochasticDepth, block, output.per_image());
                dropout::dropout(p, of_image, output, batch, target)
            }
            Work::Concat => channels::concat(inputs, output, batch, target),
            Work::Slice { from } => channels::slice(from, inputs[0], output, batch, target),
            Work::PadShortcut(pad) => channels::pad(pad, inputs[0], output, batch, target),
            Work::PadShortcutGrad(pad) => channels::pad_gradient(pad, inputs[0], output, batch, target),
            Work::CrossEntropy => loss::cross_entropy(inputs[0], batch, target),
            Work::CrossEntropyGrad { scaled } => loss::cross_entropy_gradient(scaled, output, batch, target),
        }
    }
}
