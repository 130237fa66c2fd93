//! Which units does a residual network have, and in which order?

use crate::graph::{Graph, GraphError, NodeId, ResidualBlock};

/// One residual unit: its place in the network and its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Stage from 1.
    pub stage: usize,
    /// Index in its stage, from 0.
    pub index: usize,
    /// Output channels.
    pub width: usize,
    /// 2 in the first unit of every stage but the first, else 1.
    pub stride: usize,
}

/// The units of stages with the given widths and `count` units each. The first
/// unit of every stage but the first halves the resolution.
pub(super) fn units<const N: usize>(widths: [usize; N], count: usize) -> impl Iterator<Item = Unit> {
    (1..).zip(widths).flat_map(move |(stage, width)| {
        (0..count).map(move |index| Unit {
            stage,
            index,
            width,
            stride: if stage > 1 && index == 0 { 2 } else { 1 },
        })
    })
}

impl Unit {
    /// The canonical name: `layer2.0`.
    pub fn name(&self) -> String {
        format!("layer{}.{}", self.stage, self.index)
    }

    /// Whether the unit changes the shape of its input `x`. Then `x` itself
    /// cannot be the shortcut.
    pub fn reshapes(&self, g: &Graph, x: NodeId) -> bool {
        self.stride != 1 || g.shape(x).channels() != self.width
    }

    /// Adds the unit as a residual block: `sides` adds branch and shortcut
    /// under the unit's name. With `relu`, a ReLU follows their sum.
    pub fn join(
        &self,
        g: &mut Graph,
        x: NodeId,
        relu: bool,
        sides: impl FnOnce(&mut Graph) -> Result<(NodeId, NodeId), GraphError>,
    ) -> Result<NodeId, GraphError> {
        let name = self.name();
        let block = ResidualBlock {
            name: &name,
            stage: self.stage,
            input: x,
            relu,
        };
        g.residual(&block, sides)
    }
}
