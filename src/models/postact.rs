//! A post-activation residual network with any stem, stages and branch: what
//! ResNet, wide ResNet for ImageNet and ResNeXt have in common.

use super::excite::SqueezeExcite;
use super::layers::{ConvOptions, batch_norm, batch_norm_relu, conv_with, head};
use super::shortcut::Shortcut;
use super::skip::Skip;
use super::unit::{Stage, Unit, units};
use crate::graph::{Graph, GraphError, NodeId};

/// The residual branch of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Branch {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1 convolutions.
    Bottleneck(Bottleneck),
}

/// The inner layers of a bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bottleneck {
    /// Groups of the 3×3 convolution.
    pub cardinality: usize,
    /// Channels of one group in a stage with 256 output channels. In other
    /// stages they are in proportion.
    pub base_width: usize,
    /// Which convolution has the unit's stride: 0 is the first 1×1 (He et al.
    /// 2015), 1 the 3×3 ("v1.5", as in public code since 2016).
    pub strided: usize,
}

impl Bottleneck {
    /// One group of a quarter of the unit's channels.
    pub const USUAL: Bottleneck = Bottleneck {
        cardinality: 1,
        base_width: 64,
        strided: 1,
    };

    /// Channels of the 3×3 convolution in a unit with `width` output channels.
    fn inner(&self, width: usize) -> usize {
        width / 4 * self.base_width / 64 * self.cardinality
    }
}

/// A post-activation network after its stem.
pub(super) struct PostAct<'a> {
    /// Its stages.
    pub stages: &'a [Stage],
    /// The branch of every unit.
    pub branch: Branch,
    /// The shortcut of a unit that changes the shape. Projections have a batch
    /// norm.
    pub shortcut: Shortcut,
    /// What is done to every shortcut.
    pub skip: Skip,
    /// Whether the branch ends in squeeze and excitation.
    pub excite: Option<SqueezeExcite>,
    /// Whether convolutions have biases.
    pub bias: bool,
}

impl PostAct<'_> {
    /// `x` after the stem (N×C×H×W) to `N×classes` logits.
    pub fn forward(&self, g: &mut Graph, mut x: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        for unit in units(self.stages) {
            x = self.unit(g, &unit, x)?;
        }
        Ok(head(g, x, classes))
    }

    fn unit(&self, g: &mut Graph, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
        unit.join(g, x, true, |g| {
            let mut branch = match self.branch {
                Branch::Basic => self.basic(g, unit, x)?,
                Branch::Bottleneck(bottleneck) => self.bottleneck(g, unit, x, &bottleneck)?,
            };
            if let Some(excite) = self.excite {
                branch = excite.apply(g, branch)?;
            }
            let shortcut = self.shortcut.build(g, unit, x, true, self.bias)?;
            self.skip.apply(g, unit, x, [branch, shortcut])
        })
    }

    fn basic(&self, g: &mut Graph, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
        let y = conv_with(g, "conv1", x, unit.width, self.conv(3, unit.stride))?;
        let y = batch_norm_relu(g, "bn1", y);
        let y = conv_with(g, "conv2", y, unit.width, self.conv(3, 1))?;
        Ok(batch_norm(g, "bn2", y))
    }

    fn bottleneck(&self, g: &mut Graph, unit: &Unit, x: NodeId, inner: &Bottleneck) -> Result<NodeId, GraphError> {
        let stride = |layer| if layer == inner.strided { unit.stride } else { 1 };
        let width = inner.inner(unit.width);
        let y = conv_with(g, "conv1", x, width, self.conv(1, stride(0)))?;
        let y = batch_norm_relu(g, "bn1", y);
        let grouped = ConvOptions {
            groups: inner.cardinality,
            ..self.conv(3, stride(1))
        };
        let y = conv_with(g, "conv2", y, width, grouped)?;
        let y = batch_norm_relu(g, "bn2", y);
        let y = conv_with(g, "conv3", y, unit.width, self.conv(1, 1))?;
        Ok(batch_norm(g, "bn3", y))
    }

    fn conv(&self, kernel: usize, stride: usize) -> ConvOptions {
        ConvOptions {
            bias: self.bias,
            ..ConvOptions::new(kernel, stride)
        }
    }
}
