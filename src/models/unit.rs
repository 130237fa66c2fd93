//! Which units does a residual network have, one after the other?

use crate::graph::{Graph, GraphError, NodeId, ResidualBlock};

/// One residual unit: where it stands and what it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Stage from 1.
    pub stage: usize,
    /// Position in its stage, from 0.
    pub index: usize,
    /// Output channels.
    pub width: usize,
    /// 2 where a stage after the first begins, else 1.
    pub stride: usize,
}

/// Stages of the given widths with `count` units each, resolution halved
/// where a stage after the first begins.
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

    /// Whether the unit changes the shape of its input `x`, so that `x`
    /// itself cannot be the shortcut.
    pub fn reshapes(&self, g: &Graph, x: NodeId) -> bool {
        self.stride != 1 || g.shape(x).channels() != self.width
    }

    /// Makes the block: `sides` builds branch and shortcut under the unit's
    /// name; they are joined, with a ReLU behind where `relu`.
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
