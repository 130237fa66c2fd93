//! What is a piece of work called, whatever its shapes are?

use super::{Gating, Pointwise, Pooling, Work};

impl Work {
    /// The operation in a few words, without its shapes.
    pub fn name(&self) -> &'static str {
        match self {
            Work::Conv { .. } | Work::ConvStats { .. } => "convolution",
            Work::ConvInputGradient(_) => "input gradient",
            Work::ConvWeightGradient(_) => "weight gradient",
            Work::ChannelSum => "channel sum",
            Work::BatchStats { .. } => "batch statistics",
            Work::RunningStats { .. } => "running statistics",
            Work::Normalize { .. } => "norm",
            Work::NormParamGradients { .. } => "norm sums",
            Work::NormInputGradient { .. } => "norm input gradient",
            Work::Pointwise(kernel) => match kernel {
                Pointwise::Relu => "relu",
                Pointwise::ReluGrad => "relu gradient",
                Pointwise::Join { .. } => "join",
                Pointwise::Scale { .. } => "gain",
                Pointwise::Add => "sum",
                Pointwise::Accumulate => "sum in place",
                Pointwise::Copy { .. } => "copy",
            },
            Work::Gate(kernel) => match kernel {
                Gating::Scale { .. } => "scale",
                Gating::Zeros => "zeros",
                Gating::Sigmoid => "sigmoid",
                Gating::SigmoidGrad => "sigmoid gradient",
                Gating::Multiply => "multiply",
                Gating::PlaneDot => "gate gradient",
            },
            Work::Pool(kernel) => match kernel {
                Pooling::Max(_) => "max pool",
                Pooling::MaxGrad(_) => "max pool gradient",
                Pooling::Avg(_) => "mean pool",
                Pooling::AvgGrad(_) => "mean pool gradient",
                Pooling::Global => "global mean",
                Pooling::GlobalGrad => "global mean gradient",
            },
            Work::Linear { .. } => "linear",
            Work::LinearInputGradient => "linear input gradient",
            Work::LinearWeightGradient => "linear weight gradient",
            Work::Dropout { .. } => "dropout",
            Work::DropPath { .. } => "stochastic depth by image",
            Work::Concat => "concatenation",
            Work::Slice { .. } => "slice",
            Work::PadShortcut(_) => "padded shortcut",
            Work::PadShortcutGrad(_) => "padded shortcut gradient",
            Work::CrossEntropy => "cross-entropy",
            Work::CrossEntropyGrad { .. } => "cross-entropy gradient",
            Work::SoftCrossEntropy { .. } => "soft cross-entropy",
            Work::SoftCrossEntropyGrad { .. } => "soft cross-entropy gradient",
        }
    }
}
