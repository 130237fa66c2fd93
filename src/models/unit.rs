//! Which units does a residual network have, and in which order?

use crate::graph::{Graph, GraphError, NodeId, ResidualBlock};

/// The units of one resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// Output channels of every unit.
    pub width: usize,
    /// Number of units.
    pub units: usize,
    /// Stride of the first unit.
    pub stride: usize,
}

/// Stages with the given widths and numbers of units. All but the first halve
/// the resolution.
pub(super) fn stages(widths: &[usize], units: &[usize]) -> Vec<Stage> {
    let stage = |(index, (&width, &units))| Stage {
        width,
        units,
        stride: if index == 0 { 1 } else { 2 },
    };
    widths.iter().zip(units).enumerate().map(stage).collect()
}

/// One residual unit: its place in the network and its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Stage from 1.
    pub stage: usize,
    /// Index in its stage, from 0.
    pub index: usize,
    /// Output channels.
    pub width: usize,
    /// Its stage's stride in the first unit, else 1.
    pub stride: usize,
}

/// The units of `stages`, in order.
pub(super) fn units(stages: &[Stage]) -> impl Iterator<Item = Unit> + '_ {
    (1..).zip(stages).flat_map(|(stage, &Stage { width, units, stride })| {
        (0..units).map(move |index| Unit {
            stage,
            index,
            width,
            stride: if index == 0 { stride } else { 1 },
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
