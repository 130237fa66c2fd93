//! Which layers do the built-in networks share, and how are they initialised?
//!
//! The building blocks for a network of one's own, too: each adds a layer to
//! a [`Graph`] with the conventions of [`crate::models`], and returns its
//! output. A layer with another initialisation, padding or grouping is added
//! by the graph's own methods ([`Graph::conv`], [`Graph::linear`], …).

use crate::graph::{BlockInfo, Conv, Gains, Graph, GraphError, Init, NodeId};

/// ε of every batch norm, added to the variance: the default of PyTorch and
/// Torch.
const EPS: f32 = 1e-5;
/// Weight of a new batch in the running statistics: the same default.
const MOMENTUM: f32 = 0.1;

/// A square convolution that keeps the height and width at stride 1.
fn same(kernel: usize, stride: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding: kernel / 2,
        groups: 1,
    }
}

/// N(0, √(2 / fan-in)), which keeps the variance constant through layers with
/// ReLU (He et al. 2015, arXiv:1502.01852).
pub(super) fn conv_init(g: &Graph, x: NodeId, kernel: usize) -> Init {
    let fan_in = g.shape(x).channels() * kernel * kernel;
    Init::Normal((2.0 / fan_in as f32).sqrt())
}

/// A convolution with `filters` output channels and a square `kernel`, without
/// bias. Padding is `kernel / 2`: at stride 1 an odd kernel keeps the height
/// and width of `x` (N×C×H×W).
///
/// # Errors
/// Where the window does not fit the padded plane.
pub fn conv(
    g: &mut Graph,
    name: &str,
    x: NodeId,
    filters: usize,
    kernel: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let init = conv_init(g, x, kernel);
    g.conv(name, x, filters, same(kernel, stride), false, init)
}

/// A 3×3 convolution of stride 1 with bias, which starts at zero.
///
/// # Errors
/// As [`conv`].
pub fn biased_conv(g: &mut Graph, name: &str, x: NodeId, filters: usize) -> Result<NodeId, GraphError> {
    let init = conv_init(g, x, 3);
    g.conv(name, x, filters, same(3, 1), true, init)
}

/// A convolution with any of its properties: `groups`, and a bias that starts
/// at zero. Padding as in [`conv`].
///
/// # Errors
/// As [`conv`], and where the channels do not divide into the groups.
pub fn conv_with(
    g: &mut Graph,
    name: &str,
    x: NodeId,
    filters: usize,
    conv: ConvOptions,
) -> Result<NodeId, GraphError> {
    let groups = conv.groups.max(1);
    let fan_in = g.shape(x).channels() / groups * conv.kernel * conv.kernel;
    let init = Init::Normal((2.0 / fan_in.max(1) as f32).sqrt());
    let shape = Conv {
        groups: conv.groups,
        ..same(conv.kernel, conv.stride)
    };
    g.conv(name, x, filters, shape, conv.bias, init)
}

/// The properties of a convolution besides its output channels, for
/// [`conv_with`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// Kernel height and width.
    pub kernel: usize,
    /// Distance between neighbouring windows.
    pub stride: usize,
    /// Number of groups (cardinality).
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ConvOptions {
    /// One group, no bias.
    pub fn new(kernel: usize, stride: usize) -> Self {
        ConvOptions {
            kernel,
            stride,
            groups: 1,
            bias: false,
        }
    }
}

/// Batch norm with ε = 1e-5 and momentum 0.1. Its scale starts at 1, its shift
/// at 0.
pub fn batch_norm(g: &mut Graph, name: &str, x: NodeId) -> NodeId {
    g.batch_norm(name, x, EPS, MOMENTUM)
}

/// [`batch_norm`], then ReLU.
pub fn batch_norm_relu(g: &mut Graph, name: &str, x: NodeId) -> NodeId {
    let y = batch_norm(g, name, x);
    g.relu(y)
}

/// A linear layer with bias, `N×…` to `N×features`, with the head's initial
/// values.
pub fn linear(g: &mut Graph, name: &str, x: NodeId, features: usize) -> NodeId {
    let fan_in = g.shape(x).per_image();
    g.linear(name, x, features, Init::Uniform(1.0 / (fan_in as f32).sqrt()))
}

/// Global average pooling and the linear layer `fc`: `N×C×H×W` to
/// `N×classes`.
pub fn head(g: &mut Graph, x: NodeId, classes: usize) -> NodeId {
    let pooled = g.global_avg_pool(x);
    linear(g, "fc", pooled, classes)
}

/// Declares a layer without a shortcut, from `x` to `y`, as a block that a
/// lesion study can delete, if `x` and `y` have one shape: its shortcut has
/// gain 0 unless a route sets it. The block's name is the canonical name of
/// `name`. Returns the block's output, or `y` if the shapes differ.
///
/// # Errors
/// None for two values of the same graph.
pub fn removable(g: &mut Graph, name: &str, stage: usize, x: NodeId, y: NodeId) -> Result<NodeId, GraphError> {
    if g.shape(x) != g.shape(y) {
        return Ok(y);
    }
    let info = BlockInfo {
        name: &g.path(name),
        stage,
        input: x,
        downsamples: false,
        default: Gains::PLAIN,
        relu: false,
    };
    g.block(&info, y, x)
}
