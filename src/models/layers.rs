//! Which layers do all families share, and how do they start?

use crate::graph::{BlockInfo, Conv, Gains, Graph, GraphError, Init, NodeId};

/// Added to the variance by every batch norm: PyTorch's and Torch's default.
const EPS: f32 = 1e-5;
/// Weight of a new batch in the running statistics, likewise.
const MOMENTUM: f32 = 0.1;

/// A square convolution that keeps the plane at stride 1.
fn same(kernel: usize, stride: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding: kernel / 2,
        groups: 1,
    }
}

/// N(0, √(2 / fan-in)): keeps the variance through layers with ReLU.
fn he(g: &Graph, x: NodeId, kernel: usize) -> Init {
    let fan_in = g.shape(x).channels() * kernel * kernel;
    Init::Normal((2.0 / fan_in as f32).sqrt())
}

/// A convolution without bias.
pub(super) fn conv(
    g: &mut Graph,
    name: &str,
    x: NodeId,
    filters: usize,
    kernel: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let init = he(g, x, kernel);
    g.conv(name, x, filters, same(kernel, stride), false, init)
}

/// A 3×3 convolution with bias.
pub(super) fn biased_conv(g: &mut Graph, name: &str, x: NodeId, filters: usize) -> Result<NodeId, GraphError> {
    let init = he(g, x, 3);
    g.conv(name, x, filters, same(3, 1), true, init)
}

/// Batch norm.
pub(super) fn norm(g: &mut Graph, name: &str, x: NodeId) -> NodeId {
    g.batch_norm(name, x, EPS, MOMENTUM)
}

/// Batch norm and ReLU.
pub(super) fn norm_relu(g: &mut Graph, name: &str, x: NodeId) -> NodeId {
    let y = norm(g, name, x);
    g.relu(y)
}

/// Global average pooling and the linear layer `fc`: `N×C×H×W` to
/// `N×classes`.
pub(super) fn head(g: &mut Graph, x: NodeId, classes: usize) -> NodeId {
    let pooled = g.global_avg_pool(x);
    let fan_in = g.shape(pooled).channels();
    g.linear("fc", pooled, classes, Init::Uniform(1.0 / (fan_in as f32).sqrt()))
}

/// Makes a layer without a shortcut, from `x` to `y`, a block that a lesion
/// may remove, if it keeps the shape: the shortcut is there, but silent unless
/// a route opens it. The block bears the canonical name of `name`.
pub(super) fn removable(g: &mut Graph, name: &str, stage: usize, x: NodeId, y: NodeId) -> Result<NodeId, GraphError> {
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
