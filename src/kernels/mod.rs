//! Which shader variants do a piece of work, with which constants, bindings and
//! workgroup counts? These modules know shapes and adapters, but not models
//! and training.
//!
//! [`Work`] is what the schedule asks for. Where there are several algorithms
//! for it, one of them is the default, and the tuner times the others.

mod algorithm;
mod batch_norm;
mod call;
mod channels;
mod chunked_sum;
mod conv;
mod distort;
mod dropout;
mod expression;
mod gate;
mod gather;
mod linear;
mod loss;
mod loss_scale;
mod name;
mod optimizer;
mod output_parts;
mod peak;
mod pointwise;
mod pool;
mod reduce;
mod segment;
mod shards;
mod source;
mod specialise;
mod step;
mod text;
mod value;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use call::{Arg, Call, Lowered, Operand, Target, parts};
pub use distort::{OPERATION_BYTES, distort};
pub use gate::Gating;
pub use gather::{GatherChanges, ImageDims, ImagePart, gather, stage, staged_bytes};
pub use loss::record;
pub(crate) use loss_scale::LOSS_SCALE_BYTES;
pub use loss_scale::{LossScale, update_loss_scale};
pub use optimizer::{NORM_BYTES, Optimizer, UpdateRule, average, exchange, operand, sgd, update};
pub use peak::{MultiplyAddShape, StreamShape};
pub use pointwise::Pointwise;
pub use pool::Pooling;
pub use segment::{ArenaTensor, SEGMENT_BYTES, Segment, Segments};
pub use shards::{add_gradients, average_states};
pub use source::{Variant, files};
pub(crate) use step::STEP_BYTES;
pub use step::{BatchPart, StepMix, StepRecord};
pub use value::Value;

use algorithm::{Problem, Single};
use conv::problem::{Convolution, WeightGradient};

use crate::graph::{Conv, Op, PadShortcut, Shape};
use crate::random::Stream;

/// A piece of work for the device: an operation of the graph, or several that
/// one kernel computes together. Inputs are listed in parentheses, in order.
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
    /// the statistics of its batch. Updates the running state.
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
    /// Statistics of the batch (x). Updates the running state.
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
    /// Batch norm (x, stats, affine), then perhaps a ReLU, a join with a
    /// shortcut (…, shortcut) and a ReLU after the join.
    Normalize {
        /// Whether a ReLU follows the normalisation.
        relu: bool,
        /// `Some` for a join, and whether a ReLU follows it.
        join: Option<bool>,
    },
    /// Gradients of γ and β (dy, x, stats, affine).
    NormParamGradients {
        /// Whether dy is the gradient of a ReLU that follows the normalisation.
        relu: bool,
    },
    /// Input gradient (dy, x, stats, affine, sums).
    NormInputGradient {
        /// Whether dy is the gradient of a ReLU that follows the normalisation.
        relu: bool,
        /// Whether the statistics are the batch's.
        batch_stats: bool,
    },
    /// Elementwise.
    Pointwise(Pointwise),
    /// Gates and other factors (x, …).
    Gate(Gating),
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
        /// The index of the layer, which makes its draws its own.
        stream: u32,
    },
    /// Stochastic depth by image (x).
    DropPath {
        /// Probability that an image's elements are zero.
        p: f32,
        /// Which block, from 0.
        block: u32,
    },
    /// Concatenation of the channels of all inputs.
    Concat,
    /// The channels from a given one (x).
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
        /// Whether the gradient is multiplied by the loss scale.
        scaled: bool,
    },
    /// Cross-entropy of soft targets of each image (logits, targets).
    SoftCrossEntropy {
        /// The part of every target that is spread over all classes.
        smoothing: f32,
    },
    /// Its gradient (logits, targets).
    SoftCrossEntropyGrad {
        /// The part of every target that is spread over all classes.
        smoothing: f32,
        /// Whether the gradient is multiplied by the loss scale.
        scaled: bool,
    },
}

impl Work {
    /// This work without its second output, if it has two.
    pub fn first(self) -> Self {
        match self {
            Work::ConvStats { conv, bias, .. } => Work::Conv { conv, bias },
            work => work,
        }
    }

    /// The operation of the graph whose output is this work's first output; `None`
    /// for several operations together, and for those that depend on more than
    /// their inputs.
    pub(crate) fn operation(&self) -> Option<Op> {
        match *self {
            Work::Conv { conv, .. } | Work::ConvStats { conv, .. } => Some(Op::Conv(conv)),
            Work::ConvInputGradient(conv) => Some(Op::ConvInputGradient(conv)),
            Work::ConvWeightGradient(conv) => Some(Op::ConvWeightGradient(conv)),
            Work::ChannelSum => Some(Op::ChannelSum),
            Work::NormParamGradients { relu: false } => Some(Op::BatchNormParamGradients),
            Work::Linear { .. } => Some(Op::Linear),
            Work::LinearInputGradient => Some(Op::LinearInputGradient),
            Work::LinearWeightGradient => Some(Op::LinearWeightGradient),
            _ => None,
        }
    }

    /// This work with its shapes, and the algorithms that solve it.
    fn problem<'a>(self, inputs: &'a [&'a Shape], output: &'a Shape) -> Box<dyn Problem + 'a> {
        match self {
            Work::Conv { conv, bias } => Box::new(Convolution::forward(conv, bias, inputs[0], output)),
            Work::ConvStats {
                conv,
                bias,
                eps,
                momentum,
            } => Box::new(conv::ConvStats {
                conv: Convolution::forward(conv, bias, inputs[0], output),
                stats: batch_norm::BatchStats {
                    x: output,
                    eps,
                    momentum,
                },
            }),
            Work::ConvInputGradient(conv) => Box::new(Convolution::input_gradient(conv, inputs[0], output)),
            Work::ConvWeightGradient(conv) => Box::new(WeightGradient {
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
            Work::RunningStats { eps } => single(move |_, target| batch_norm::running_stats(output, eps, target)),
            Work::Normalize { relu, join } => {
                single(move |batch, target| batch_norm::normalize(relu, join, output, batch, target))
            }
            Work::NormParamGradients { relu } => Box::new(batch_norm::ParamGradients { relu, x: inputs[1] }),
            Work::NormInputGradient { relu, batch_stats } => {
                single(move |batch, target| batch_norm::input_gradient(relu, batch_stats, output, batch, target))
            }
            Work::Pointwise(kernel) => single(move |batch, target| pointwise::pointwise(kernel, output, batch, target)),
            Work::Gate(kernel) => single(move |batch, target| gate::gate(kernel, inputs, output, batch, target)),
            Work::Pool(kernel) => {
                let (wide, narrow) = if kernel.is_forward() {
                    (inputs[0], output)
                } else {
                    (output, inputs[0])
                };
                single(move |batch, target| pool::pooling(kernel, wide, narrow, batch, target))
            }
            Work::Linear { bias } => Box::new(linear::LinearLayer::Forward {
                bias,
                x: inputs[0],
                y: output,
            }),
            Work::LinearInputGradient => Box::new(linear::LinearLayer::InputGradient {
                dy: inputs[0],
                dx: output,
            }),
            Work::LinearWeightGradient => Box::new(linear::LinearLayer::WeightGradient {
                x: inputs[0],
                dy: inputs[1],
                dw: output,
            }),
            Work::Dropout { p, stream } => {
                let per_element = (Stream::Dropout, stream, 1);
                single(move |batch, target| dropout::dropout(p, per_element, output, batch, target))
            }
            Work::DropPath { p, block } => {
                let per_image = (Stream::StochasticDepth, block, output.per_image());
                single(move |batch, target| dropout::dropout(p, per_image, output, batch, target))
            }
            Work::Concat => single(move |batch, target| channels::concat(inputs, output, batch, target)),
            Work::Slice { from } => {
                single(move |batch, target| channels::slice(from, inputs[0], output, batch, target))
            }
            Work::PadShortcut(pad) => single(move |batch, target| channels::pad(pad, inputs[0], output, batch, target)),
            Work::PadShortcutGrad(pad) => {
                single(move |batch, target| channels::pad_gradient(pad, inputs[0], output, batch, target))
            }
            Work::CrossEntropy => single(move |batch, target| loss::cross_entropy(inputs[0], batch, target)),
            Work::CrossEntropyGrad { scaled } => {
                single(move |batch, target| loss::cross_entropy_gradient(scaled, output, batch, target))
            }
            Work::SoftCrossEntropy { smoothing } => {
                single(move |batch, target| loss::soft_cross_entropy(smoothing, inputs[0], batch, target))
            }
            Work::SoftCrossEntropyGrad { smoothing, scaled } => {
                single(move |batch, target| loss::soft_cross_entropy_gradient(smoothing, scaled, output, batch, target))
            }
        }
    }

    /// The input whose memory the output may take, by [`Lowered::in_place`],
    /// where nothing else reads that input.
    pub fn overwrites(&self) -> Option<usize> {
        match self {
            Work::Normalize { .. } | Work::NormInputGradient { .. } | Work::Dropout { .. } | Work::DropPath { .. } => {
                Some(0)
            }
            Work::Pointwise(kernel) => kernel.overwrites(),
            _ => None,
        }
    }

    /// The algorithms for this work on `target`: the default first, the plain
    /// one last. Empty where there is only one.
    pub fn algorithms(&self, inputs: &[&Shape], output: &Shape, target: &Target) -> Vec<Algorithm> {
        let problem = self.problem(inputs, output);
        let mut all = vec![problem.default_algorithm(target)];
        for algorithm in problem.alternatives(target).into_iter().chain([Algorithm::Plain]) {
            if !all.contains(&algorithm) {
                all.push(algorithm);
            }
        }
        if all.len() > 1 { all } else { Vec::new() }
    }

    /// What the time of this work depends on, apart from the number of images:
    /// the key of tuning caches. Empty where there is only one algorithm.
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

    /// The dispatches of `algorithm` for `batch` images on `target`; `None`
    /// where it does not solve this work.
    pub fn lower_as(
        &self,
        algorithm: &Algorithm,
        inputs: &[&Shape],
        output: &Shape,
        batch: usize,
        target: &Target,
    ) -> Option<Lowered> {
        self.problem(inputs, output).lower(algorithm, batch, target)
    }

    /// The dispatches of the default algorithm for `batch` images on `target`.
    pub fn lower(&self, inputs: &[&Shape], output: &Shape, batch: usize, target: &Target) -> Lowered {
        let problem = self.problem(inputs, output);
        let default = problem.default_algorithm(target);
        problem
            .lower(&default, batch, target)
            .unwrap_or_else(|| panic!("the default algorithm '{default}' does not solve {self:?}"))
    }
}

/// A problem that one algorithm solves.
fn single<'a>(lower: impl Fn(usize, &Target) -> Lowered + 'a) -> Box<dyn Problem + 'a> {
    Box::new(Single(lower))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Works with several algorithms, with their inputs and outputs.
    fn works() -> Vec<(Work, Vec<Shape>, Shape)> {
        let mut works = Vec::new();
        for (kernel, stride, groups) in [(3, 1, 1), (3, 2, 1), (1, 1, 1), (7, 2, 1), (3, 1, 4), (3, 2, 64)] {
            let conv = Conv {
                kernel,
                stride,
                padding: kernel / 2,
                groups,
            };
            let (x, y) = (
                Shape::batched(&[64, 32, 32]),
                Shape::batched(&[64, 32 / stride, 32 / stride]),
            );
            let weight = Shape::fixed(&[64, 64 / groups, kernel, kernel]);
            let bias = false;
            let (eps, momentum) = (1e-5, 0.1);
            let stats = Work::ConvStats {
                conv,
                bias,
                eps,
                momentum,
            };
            works.extend([
                (Work::Conv { conv, bias }, vec![x.clone(), weight.clone()], y.clone()),
                (stats, vec![x.clone(), weight.clone()], y.clone()),
                (
                    Work::ConvInputGradient(conv),
                    vec![y.clone(), weight.clone()],
                    x.clone(),
                ),
                (Work::ConvWeightGradient(conv), vec![x, y], weight),
            ]);
        }
        let (x, y, weight) = (Shape::batched(&[64]), Shape::batched(&[10]), Shape::fixed(&[10, 64]));
        works.extend([
            (Work::Linear { bias: false }, vec![x.clone(), weight.clone()], y.clone()),
            (Work::LinearInputGradient, vec![y.clone(), weight.clone()], x.clone()),
            (Work::LinearWeightGradient, vec![x, y], weight),
            (Work::ChannelSum, vec![Shape::batched(&[16, 8, 8])], Shape::fixed(&[16])),
        ]);
        works
    }

    #[test]
    fn every_algorithm_solves_its_work_and_its_text_reads_back() {
        let mut names = BTreeSet::new();
        for target in [Target::portable(true), Target::portable(false)] {
            for (work, inputs, output) in works() {
                let inputs: Vec<&Shape> = inputs.iter().collect();
                let algorithms = work.algorithms(&inputs, &output, &target);
                assert!(algorithms.len() > 1, "{work:?}");
                for algorithm in algorithms {
                    let text = algorithm.to_string();
                    assert_eq!(text.parse(), Ok(algorithm));
                    let lowered = work.lower_as(&algorithm, &inputs, &output, 16, &target);
                    assert!(lowered.is_some(), "{text} for {work:?}");
                    let name = text.split(' ').take_while(|word| !word.contains(char::is_numeric));
                    names.insert(name.collect::<Vec<_>>().join(" "));
                }
            }
        }
        let all = [
            "depthwise",
            "direct",
            "direct winograd",
            "gemm",
            "linear",
            "plain",
            "reduce splits",
            "subgroup input-stationary",
            "subgroup output-stationary",
            "subgroup winograd",
            "wgrad strips",
            "wgrad subgroup",
            "wgrad winograd",
        ];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), all);
    }
}
