//! Which operations are there?

use super::{BlockId, ParamId, StateId};

/// Words of a soft target, the labels of [`Op::SoftCrossEntropy`]: two classes, and the
/// bits of the share (f32) of the second.
pub const TARGET_WORDS: usize = 3;

/// A two-dimensional convolution, square in kernel, stride and padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Kernel height and width.
    pub kernel: usize,
    /// Distance between neighbouring windows.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
    /// Number of groups (cardinality). The output channels of one group read
    /// only the input channels of that group.
    pub groups: usize,
}

/// A pooling window, square in size, stride and padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Window height and width.
    pub kernel: usize,
    /// Distance between neighbouring windows.
    pub stride: usize,
    /// Elements added on every side: never the maximum, and zeros in an average,
    /// as in PyTorch.
    pub padding: usize,
}

/// A parameter-free shortcut ("option A", He et al. 2015): subsample in
/// space, pad with zero channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PadShortcut {
    /// Spatial stride.
    pub stride: usize,
    /// Whether to take the mean of a `stride × stride` window instead of its
    /// first pixel.
    pub average: bool,
    /// Number of zero channels before the input's channels.
    pub before: usize,
    /// Number of zero channels after the input's channels.
    pub after: usize,
}

/// The two inputs of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The residual branch F(x).
    Branch,
    /// The shortcut.
    Shortcut,
}

/// What a node computes. Its inputs are listed in parentheses, in order.
///
/// Gradient operations are ordinary operations, which
/// [`super::Graph::differentiate`] appends. `dy` is the gradient of the loss with
/// respect to the forward node's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// The batch of normalised images, `N×C×H×W`.
    Images,
    /// The class of each image, `N` unsigned integers; where the loss is
    /// [`Op::SoftCrossEntropy`], its target, `N×3` ([`TARGET_WORDS`]).
    Labels,
    /// A trained tensor.
    Param(ParamId),

    /// Convolution (x, weight) or (x, weight, bias).
    Conv(Conv),
    /// Input gradient of a convolution (dy, weight).
    ConvInputGradient(Conv),
    /// Weight gradient of a convolution (x, dy).
    ConvWeightGradient(Conv),
    /// Sum over N, H and W for each channel (dy): the gradient of a bias.
    ChannelSum,

    /// Mean and reciprocal standard deviation of the batch for each channel
    /// (x), as `[2, C]`. Normalisation uses the biased variance. Also updates the
    /// running state, with the unbiased variance.
    BatchStats(StateId),
    /// The same two rows from the running state ().
    RunningStats(StateId),
    /// `(x − mean) · rstd · γ + β` (x, stats, affine).
    BatchNorm,
    /// `Σ dy·x̂` and `Σ dy` for each channel (dy, x, stats), as `[2, C]`: the
    /// gradients of γ and β.
    BatchNormParamGradients,
    /// Input gradient of batch norm (dy, x, stats, affine, sums).
    BatchNormInputGradient {
        /// Whether the statistics are those of the batch and depend on x.
        batch_stats: bool,
    },

    /// `max(x, 0)` (x).
    Relu,
    /// `dy` where the ReLU's output is positive (dy, y).
    ReluGrad,
    /// Maximum over windows (x).
    MaxPool(Pool),
    /// Gradient of the maximum (dy, x): goes to the first largest element of
    /// each window, row by row.
    MaxPoolGrad(Pool),
    /// `factor · x` (x). The gradient is the same operation on dy.
    Scale {
        /// The factor.
        factor: f32,
    },
    /// Zeros ().
    Zeros,
    /// `1 / (1 + e⁻ˣ)` (x).
    Sigmoid,
    /// `dy · y · (1 − y)` (dy, y).
    SigmoidGrad,
    /// The product of x and a gate (x, gate). A gate of shape `N×C` multiplies
    /// the plane of each channel. The gradient of x is the same operation on dy,
    /// and so is the gradient of a gate with x's shape.
    Multiply,
    /// `Σ dy · x` over the plane (dy, x), to `N×C`: the gradient of a gate of
    /// that shape.
    PlaneDot,
    /// Mean over windows (x).
    AvgPool(Pool),
    /// Gradient of the windowed mean (dy).
    AvgPoolGrad(Pool),
    /// Mean over the plane (x), to `N×C`.
    GlobalAvgPool,
    /// Gradient of the mean over the plane (dy).
    GlobalAvgPoolGrad,
    /// `x Wᵀ + b` (x, weight) or (x, weight, bias); x is flattened to
    /// `N×features`.
    Linear,
    /// Input gradient of a linear layer (dy, weight).
    LinearInputGradient,
    /// Weight gradient of a linear layer (x, dy).
    LinearWeightGradient,
    /// Zero with probability p, otherwise scaled by `1/(1−p)` (x). The mask is
    /// a function of (seed, step, stream, element), so the gradient is the same
    /// operation on dy.
    Dropout {
        /// Probability of a zero; 0 ≤ p < 1.
        p: f32,
        /// The number of the dropout layer.
        stream: u32,
    },

    /// All elements of an image zero with probability p, otherwise scaled by
    /// `1/(1−p)` (x): stochastic depth per image. A function of (seed, step,
    /// block, image), so the gradient is the same operation on dy.
    DropPath {
        /// Probability of a zero; 0 < p < 1.
        p: f32,
        /// The block whose branch it ends.
        block: BlockId,
    },

    /// `gain_b · branch + gain_s · shortcut` with the gains of the route (branch,
    /// shortcut).
    Join(BlockId),
    /// Gradient of one side of a join (dy): the route's backward gain times dy.
    JoinGrad(BlockId, Side),
    /// Sum of two values (a, b). A value that is absent under the route counts
    /// as zero.
    Sum,
    /// The channels of all inputs, in order (x, …).
    Concat,
    /// A range of the channels (x).
    Slice {
        /// First channel.
        from: usize,
        /// Number of channels.
        count: usize,
    },
    /// Option-A shortcut (x).
    PadShortcut(PadShortcut),
    /// Gradient of an option-A shortcut (dy).
    PadShortcutGrad(PadShortcut),

    /// For each image the softmax cross-entropy in nats, and 1 if the largest
    /// logit is not the label's, otherwise 0 (logits, labels), as `N×2`.
    CrossEntropy,
    /// Gradient of the batch's mean cross-entropy with respect to the logits
    /// (logits, labels).
    CrossEntropyGrad,
    /// For each image the cross-entropy of softened targets, and the share of its
    /// target that the largest logit is not (logits, targets), as `N×2`. A target has
    /// two labels and the share of the second, in the three words of [`Op::Labels`];
    /// `smoothing` of it is spread over all classes (Szegedy et al. 2016, section 7).
    SoftCrossEntropy {
        /// The part of every target that is spread.
        smoothing: f32,
    },
    /// Gradient of the batch's mean of it with respect to the logits (logits,
    /// targets).
    SoftCrossEntropyGrad {
        /// The part of every target that is spread.
        smoothing: f32,
    },
}

impl Op {
    /// A short name for listings and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Images => "images",
            Op::Labels => "labels",
            Op::Param(_) => "param",
            Op::Conv(_) => "conv",
            Op::ConvInputGradient(_) => "conv-grad-input",
            Op::ConvWeightGradient(_) => "conv-grad-weight",
            Op::ChannelSum => "channel-sum",
            Op::BatchStats(_) => "batch-stats",
            Op::RunningStats(_) => "running-stats",
            Op::BatchNorm => "batch-norm",
            Op::BatchNormParamGradients => "batch-norm-sums",
            Op::BatchNormInputGradient { .. } => "batch-norm-grad",
            Op::Relu => "relu",
            Op::ReluGrad => "relu-grad",
            Op::MaxPool(_) => "max-pool",
            Op::MaxPoolGrad(_) => "max-pool-grad",
            Op::Scale { .. } => "scale",
            Op::Zeros => "zeros",
            Op::Sigmoid => "sigmoid",
            Op::SigmoidGrad => "sigmoid-grad",
            Op::Multiply => "multiply",
            Op::PlaneDot => "plane-dot",
            Op::AvgPool(_) => "avg-pool",
            Op::AvgPoolGrad(_) => "avg-pool-grad",
            Op::GlobalAvgPool => "global-avg-pool",
            Op::GlobalAvgPoolGrad => "global-avg-pool-grad",
            Op::Linear => "linear",
            Op::LinearInputGradient => "linear-grad-input",
            Op::LinearWeightGradient => "linear-grad-weight",
            Op::Dropout { .. } => "dropout",
            Op::DropPath { .. } => "drop-path",
            Op::Join(_) => "join",
            Op::JoinGrad(..) => "join-grad",
            Op::Sum => "sum",
            Op::Concat => "concat",
            Op::Slice { .. } => "slice",
            Op::PadShortcut(_) => "pad-shortcut",
            Op::PadShortcutGrad(_) => "pad-shortcut-grad",
            Op::CrossEntropy => "cross-entropy",
            Op::CrossEntropyGrad => "cross-entropy-grad",
            Op::SoftCrossEntropy { .. } => "soft-cross-entropy",
            Op::SoftCrossEntropyGrad { .. } => "soft-cross-entropy-grad",
        }
    }
}
