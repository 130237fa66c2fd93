//! ResNet for CIFAR: He et al. 2015, "Deep Residual Learning for Image
//! Recognition", arXiv:1512.03385, section 4.2.
//!
//! A 3×3 stem and three stages of n blocks with 16, 32 and 64 channels at
//! full, half and quarter resolution: 6n+2 layers. A branch is conv, batch
//! norm, ReLU, conv, batch norm. The shortcut is added to it, and a ReLU
//! follows the sum.

use super::layers::{batch_norm, batch_norm_relu, conv, head};
use super::limits::{Depths, check_depth};
use super::plain::Plain;
use super::request::{Choice, ModelRequest, name_of};
use super::shortcut::{SHORTCUTS, Shortcut};
use super::unit::{Unit, units};
use super::{ModelError, ModelSpec};
use crate::graph::{Graph, GraphError, NodeId};

/// Channels of the three stages.
pub(super) const WIDTHS: [usize; 3] = [16, 32, 64];
/// Two convolutions per block in three stages, the stem and the head.
pub(super) const DEPTHS: Depths = Depths { step: 6, rest: 2 };
/// Depths of the networks for ImageNet. Everyone understands `resnet50` as
/// that network, so the one for CIFAR is named `cifar-resnet50`.
const IMAGENET: [usize; 5] = [18, 34, 50, 101, 152];

/// `resnet<6n+2>`, with option `shortcut` = `A` (as `A-sym`, the default),
/// `A-end`, `A-avg`, `B` or `C`.
///
/// Projections (B, C) are followed by a batch norm, as in every published
/// implementation. The paper does not say where option A puts its zero
/// channels; `A` puts half of them on each side.
#[derive(Debug, Clone, PartialEq)]
pub struct ResNet {
    depth: usize,
    shortcut: Shortcut,
}

/// Reads a request for a ResNet.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let explicit = request.sizes("cifar-resnet");
    let [depth] = explicit.or_else(|| request.sizes("resnet").filter(|[depth]| !IMAGENET.contains(depth)))?;
    Some(ResNet::new(depth, request).map(ModelSpec::ResNet))
}

impl ResNet {
    fn new(depth: usize, request: &mut ModelRequest) -> Result<Self, ModelError> {
        check_depth(&request.name, depth, &[DEPTHS])?;
        let shortcut = request.choose("shortcut", &SHORTCUTS)?.unwrap_or(Shortcut::PadBoth);
        Ok(ResNet { depth, shortcut })
    }

    /// The name without options.
    pub(super) fn base(&self) -> String {
        let family = match IMAGENET.contains(&self.depth) {
            true => "cifar-resnet",
            false => "resnet",
        };
        format!("{family}{}", self.depth)
    }

    /// The value of every option.
    pub(super) fn choices(&self) -> Vec<Choice> {
        vec![Choice::new("shortcut", name_of(self.shortcut, &SHORTCUTS), "A")]
    }

    /// The models with the same tensors that compute something else: those with
    /// another option A, and the network without shortcuts.
    pub(super) fn look_alikes(&self) -> Vec<ModelSpec> {
        let depth = self.depth;
        let others = self.shortcut.look_alikes();
        let others = others.map(|shortcut| ModelSpec::ResNet(ResNet { depth, shortcut }));
        let plain = self
            .shortcut
            .is_parameter_free()
            .then(|| ModelSpec::Plain(Plain::of_depth(depth)));
        others.chain(plain).collect()
    }

    /// The network of this depth with option A in each of its variants.
    pub(super) fn without_projections(depth: usize) -> Vec<ModelSpec> {
        let variants = Shortcut::PARAMETER_FREE.into_iter();
        variants
            .map(|shortcut| ModelSpec::ResNet(ResNet { depth, shortcut }))
            .collect()
    }

    /// `N×C×H×W` images to `N×classes` logits.
    pub(super) fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let stem = conv(g, "conv1", images, WIDTHS[0], 3, 1)?;
        let mut x = batch_norm_relu(g, "bn1", stem);
        for unit in units(WIDTHS, DEPTHS.units(self.depth).unwrap_or(0)) {
            x = self.block(g, &unit, x)?;
        }
        Ok(head(g, x, classes))
    }

    fn block(&self, g: &mut Graph, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
        unit.join(g, x, true, |g| {
            let y = conv(g, "conv1", x, unit.width, 3, unit.stride)?;
            let y = batch_norm_relu(g, "bn1", y);
            let y = conv(g, "conv2", y, unit.width, 3, 1)?;
            let y = batch_norm(g, "bn2", y);
            Ok((y, self.shortcut.build(g, unit, x, true)?))
        })
    }
}
