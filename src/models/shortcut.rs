//! How does a shortcut pass where the shape changes? (He et al. 2015,
//! arXiv:1512.03385, section 3.3 and table 3.)

use super::layers::{batch_norm, conv};
use super::unit::Unit;
use crate::graph::{Graph, GraphError, NodeId, PadShortcut};

/// The published shortcuts. Options A have no parameters and differ only in
/// how they halve the plane and where they put the zero channels; weights
/// trained with one do not work with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortcut {
    /// Every second pixel, half of the zero channels on each side.
    PadBoth,
    /// Every second pixel, zero channels behind.
    PadEnd,
    /// Mean of 2×2 pixels, zero channels behind.
    AveragePadEnd,
    /// A 1×1 convolution where the shape changes.
    Project,
    /// A 1×1 convolution in every block.
    ProjectAll,
}

/// What an option `shortcut` may say. `A` is written for `A-sym`; the last
/// choice is for post-activation networks only.
pub(super) const SHORTCUTS: [(&str, Shortcut); 6] = [
    ("A", Shortcut::PadBoth),
    ("A-sym", Shortcut::PadBoth),
    ("A-end", Shortcut::PadEnd),
    ("A-avg", Shortcut::AveragePadEnd),
    ("B", Shortcut::Project),
    ("C", Shortcut::ProjectAll),
];

/// What the option may say in a pre-activation network, where projecting in
/// every block would leave no clean path.
pub(super) const PREACT_SHORTCUTS: &[(&str, Shortcut)] = SHORTCUTS.split_at(5).0;

impl Shortcut {
    /// The shortcut of `unit` from `x`. Projections are named `downsample.0`;
    /// their batch batch_norm, where `normed`, `downsample.1`.
    pub fn build(self, g: &mut Graph, unit: &Unit, x: NodeId, normed: bool) -> Result<NodeId, GraphError> {
        if !unit.reshapes(g, x) && self != Shortcut::ProjectAll {
            return Ok(x);
        }
        match self {
            Shortcut::PadBoth => pad(g, unit, x, false, |zeros| zeros / 2),
            Shortcut::PadEnd => pad(g, unit, x, false, |_| 0),
            Shortcut::AveragePadEnd => pad(g, unit, x, true, |_| 0),
            Shortcut::Project | Shortcut::ProjectAll => {
                let y = conv(g, "downsample.0", x, unit.width, 1, unit.stride)?;
                Ok(if normed { batch_norm(g, "downsample.1", y) } else { y })
            }
        }
    }
}

/// Option A; `before` says how many of the zero channels come first.
fn pad(
    g: &mut Graph,
    unit: &Unit,
    x: NodeId,
    average: bool,
    before: impl Fn(usize) -> usize,
) -> Result<NodeId, GraphError> {
    let zeros = unit.width.saturating_sub(g.shape(x).channels());
    let before = before(zeros);
    g.pad_shortcut(
        x,
        PadShortcut {
            stride: unit.stride,
            average,
            before,
            after: zeros - before,
        },
    )
}
