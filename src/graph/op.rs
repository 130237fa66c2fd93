//! Which operations there are.

use super::{BlockId, ParamId, StateId};

/// A two-dimensional convolution, square in kernel, stride and padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Kernel height and width.
    pub kernel: usize,
    /// Distance of neighbouring windows.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
    /// Number of groups (cardinality): channels of one group see only theirs.
    pub groups: usize,
}

/// A pooling window, square in size, stride and padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Window height and width.
    pub kernel: usize,
    /// Distance of neighbouring windows.
    pub stride: usize,
    /// Elements added on every side: they never win a maximum, and count as
    /// zeros in an average, as in PyTorch.
    pub padding: usize,
}

/// A parameter-free shortcut ("option A", He et al. 2015): subsample in
/// space, pad with zero channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PadShortcut {
    /// Spatial stride.
    pub stride: usize,
    /// Take the mean of a `stride × stride` window instead of its first pixel.
    pub average: bool,
    /// Zero channels put before the input's.
    pub before: usize,
    /// Zero channels put behind the input's.
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

/// What a node computes. Inputs are listed in parentheses, in order.
///
/// Gradient operations are ordinary operations: they appear only because
/// [`super::Graph::differentiate`] puts them there. `dy` is the gradient of
/// the loss by the forward node's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// The batch of normalised images, `N×C×H×W`.
    Images,
    /// The class of each image, `N` unsigned integers.
    Labels,
    /// A trained tensor.
    Param(ParamId),

    /// Convolution (x, weight) or (x, weight, bias).
    Conv(Conv),
    /// Gradient of a convolution by its input (dy, weight).
    ConvInputGradient(Conv),
    /// Gradient of a convolution by its weights (x, dy).
    ConvWeightGradient(Conv),
    /// Sum over batch and plane for each channel (dy): a bias's gradient.
    ChannelSum,

    /// Mean and reciprocal standard deviation of the batch for each channel
    /// (x), as `[2, C]`. Normalisation uses the biased variance; as a side
    /// effect the running state advances with the unbiased one.
    BatchStats(StateId),
    /// The same two rows from the running state ().
    RunningStats(StateId),
    /// `(x − mean) · rstd · γ + β` (x, stats, affine).
    BatchNorm,
    /// Rows `Σ dy·x̂` and `Σ dy` for each channel (dy, x, stats): the
    /// gradients by γ and β.
    BatchNormParamGradients,
    /// Gradient of batch norm by its input (dy, x, stats, affine, sums).
    BatchNormInputGradient {
        /// Whether the statistics came from this batch and so depend on x.
        batch_stats: bool,
    },

    /// `max(x, 0)` (x).
    Relu,
    /// `dy` where the ReLU's output is positive (dy, y).
    ReluGrad,
    /// Maximum over windows (x).
    MaxPool(Pool),
    /// Gradient of the maximum, to the first largest element of each window
    /// in reading order (dy, x).
    MaxPoolGrad(Pool),
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
    /// Gradient of a linear layer by its input (dy, weight).
    LinearInputGradient,
    /// Gradient of a linear layer by its weights (x, dy).
    LinearWeightGradient,
    /// Zero with probability p, else scale by `1/(1−p)` (x). The mask is
    /// drawn from (seed, step, stream, element), so its gradient is the same
    /// operation on dy.
    Dropout {
        /// Probability of a zero; 0 ≤ p < 1.
        p: f32,
        /// Which dropout layer this is.
        stream: u32,
    },

    /// All of an image's elements zero with probability p, else scaled by
    /// `1/(1−p)` (x): stochastic depth by image. Drawn from (seed, step,
    /// block, image), so its gradient is the same operation on dy.
    DropPath {
        /// Probability of zeros; 0 < p < 1.
        p: f32,
        /// Which block's branch it ends.
        block: BlockId,
    },

    /// `gain_b · branch + gain_s · shortcut` under the route (branch, shortcut).
    Join(BlockId),
    /// Gradient of a join by one side (dy): the route's backward gain times dy.
    JoinGrad(BlockId, Side),
    /// Sum of two values (a, b). A value that the route leaves out counts as
    /// zero.
    Sum,
    /// Channels of all inputs, one after the other (x, …).
    Concat,
    /// Some of the channels (x).
    Slice {
        /// First channel kept.
        from: usize,
        /// Number of channels kept.
        count: usize,
    },
    /// Option-A shortcut (x).
    PadShortcut(PadShortcut),
    /// Gradient of an option-A shortcut (dy).
    PadShortcutGrad(PadShortcut),

    /// Softmax cross-entropy of each image in nats, and 1 where the largest
    /// logit is not the label's (logits, labels), as `N×2`.
    CrossEntropy,
    /// Gradient of the batch's mean cross-entropy by the logits
    /// (logits, labels).
    CrossEntropyGrad,
}

impl Op {
    /// A short name in the field's words.
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
        }
    }
}
