//! Plain networks: the layers of a ResNet without its shortcuts (He et al.
//! 2015, arXiv:1512.03385, section 4.2). Their error increases with depth.
//!
//! Parameter names, order and count are those of the ResNet of the same depth
//! with option-A shortcuts. Each layer after the stem whose input and output
//! have one shape is a block, named as its convolution (`layer1.0.conv1`). It
//! can be deleted like a residual block, as the control of a lesion study. The
//! first layers of stages 2 and 3 cannot be deleted.

use super::family::Family;
use super::layers::{batch_norm_relu, conv, head, removable};
use super::limits::check_depth;
use super::request::ModelRequest;
use super::resnet::{DEPTHS, ResNet, WIDTHS};
use super::unit::{Unit, stages, units};
use super::{ModelError, ModelSpec};
use crate::graph::{Graph, GraphError, NodeId};

/// `plain-<6n+2>`; no options.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain {
    depth: usize,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "plain-<6n+2>";

/// Reads a request for a plain network.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let [depth] = request.sizes("plain")?;
    let checked = check_depth(&request.name, depth, &[DEPTHS]);
    Some(checked.map(|()| ModelSpec::Plain(Plain { depth })))
}

impl Plain {
    /// The network with this depth, which was checked.
    pub(super) fn of_depth(depth: usize) -> Self {
        Plain { depth }
    }
}

impl Family for Plain {
    fn base(&self) -> String {
        format!("plain-{}", self.depth)
    }

    fn look_alikes(&self) -> Vec<ModelSpec> {
        ResNet::without_projections(self.depth)
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let stem = conv(g, "conv1", images, WIDTHS[0], 3, 1)?;
        let mut x = batch_norm_relu(g, "bn1", stem);
        for unit in units(&stages(&WIDTHS, &[DEPTHS.units(self.depth).unwrap_or(0); 3])) {
            x = g.scoped(&unit.name(), |g| pair(g, &unit, x))?;
        }
        Ok(head(g, x, classes))
    }
}

/// The two layers in the place of a block of a ResNet.
fn pair(g: &mut Graph, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
    let y = conv(g, "conv1", x, unit.width, 3, unit.stride)?;
    let y = batch_norm_relu(g, "bn1", y);
    let x = removable(g, "conv1", unit.stage, x, y)?;
    let y = conv(g, "conv2", x, unit.width, 3, 1)?;
    let y = batch_norm_relu(g, "bn2", y);
    removable(g, "conv2", unit.stage, x, y)
}
