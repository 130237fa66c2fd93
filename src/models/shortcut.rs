//! What is the shortcut of a unit that changes the shape? (He et al. 2015,
//! arXiv:1512.03385, section 3.3 and table 3.)

use super::layers::{ConvOptions, batch_norm, conv_with};
use super::unit::Unit;
use crate::graph::{Graph, GraphError, NodeId, PadShortcut};

/// The published shortcuts. The variants of option A have no parameters. They
/// differ in how they halve the resolution and where they put the zero
/// channels, so weights trained with one do not work with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortcut {
    /// Every second pixel; half of the zero channels before the others, half
    /// after them.
    PadBoth,
    /// Every second pixel; the zero channels after the others.
    PadEnd,
    /// Means of 2×2 pixels; the zero channels after the others.
    AveragePadEnd,
    /// A 1×1 convolution where the shape changes.
    Project,
    /// A 1×1 convolution in every block.
    ProjectAll,
}

/// The values of the option `shortcut`. `A` and `A-sym` are the same; the last
/// value is for post-activation networks only.
pub(super) const SHORTCUTS: [(&str, Shortcut); 6] = [
    ("A", Shortcut::PadBoth),
    ("A-sym", Shortcut::PadBoth),
    ("A-end", Shortcut::PadEnd),
    ("A-avg", Shortcut::AveragePadEnd),
    ("B", Shortcut::Project),
    ("C", Shortcut::ProjectAll),
];

/// Its values in a pre-activation network. There, a projection in every block
/// would leave no identity path.
pub(super) const PREACT_SHORTCUTS: &[(&str, Shortcut)] = SHORTCUTS.split_at(5).0;

impl Shortcut {
    /// Those without parameters.
    pub const PARAMETER_FREE: [Shortcut; 3] = [Shortcut::PadBoth, Shortcut::PadEnd, Shortcut::AveragePadEnd];

    /// Whether it has no parameters.
    pub fn is_parameter_free(self) -> bool {
        Self::PARAMETER_FREE.contains(&self)
    }

    /// This shortcut, then the others with the same parameters.
    pub fn with_look_alikes(self) -> impl Iterator<Item = Shortcut> + Clone {
        let others = Self::PARAMETER_FREE
            .into_iter()
            .filter(move |&other| self.is_parameter_free() && other != self);
        [self].into_iter().chain(others)
    }

    /// The shortcut of `unit` from `x`. Projections are named `downsample.0`;
    /// their batch norm, where `normed`, `downsample.1`. `bias` says whether
    /// projections have biases.
    pub fn build(self, g: &mut Graph, unit: &Unit, x: NodeId, normed: bool, bias: bool) -> Result<NodeId, GraphError> {
        if !unit.reshapes(g, x) && self != Shortcut::ProjectAll {
            return Ok(x);
        }
        match self {
            Shortcut::PadBoth => pad(g, unit, x, false, |zeros| zeros / 2),
            Shortcut::PadEnd => pad(g, unit, x, false, |_| 0),
            Shortcut::AveragePadEnd => pad(g, unit, x, true, |_| 0),
            Shortcut::Project | Shortcut::ProjectAll => {
                let options = ConvOptions {
                    bias,
                    ..ConvOptions::new(1, unit.stride)
                };
                let y = conv_with(g, "downsample.0", x, unit.width, options)?;
                Ok(if normed { batch_norm(g, "downsample.1", y) } else { y })
            }
        }
    }
}

/// Option A; `before` gives the number of zero channels that come first, out
/// of all zero channels.
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
