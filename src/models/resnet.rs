//! ResNet for CIFAR: He et al. 2015, "Deep Residual Learning for Image
//! Recognition", arXiv:1512.03385, section 4.2.
//!
//! A 3×3 stem and three stages of n blocks with 16, 32 and 64 channels at
//! full, half and quarter resolution: 6n+2 layers. A branch is conv, batch
//! norm, ReLU, conv, batch norm. The shortcut is added to it, and a ReLU
//! follows the sum.

use super::design::Design;
use super::excite::SqueezeExcite;
use super::family::Family;
use super::limits::{Depths, check_depth};
use super::plain::Plain;
use super::request::{Choice, ModelRequest, name_of};
use super::residual::{Connection, Order, UnitDesign};
use super::resnet_imagenet;
use super::shortcut::{SHORTCUTS, Shortcut};
use super::skip::Skip;
use super::stem::Stem;
use super::unit::stages;
use super::{ModelError, ModelSpec};

/// Channels of the three stages.
pub(super) const WIDTHS: [usize; 3] = [16, 32, 64];
/// Two convolutions per block in three stages, the stem and the head.
pub(super) const DEPTHS: Depths = Depths { step: 6, rest: 2 };

/// `resnet<6n+2>`. Options: `shortcut` = `A` (as `A-sym`, the default),
/// `A-end`, `A-avg`, `B` or `C`; `skip` and `gate-bias`, the shortcuts of He et
/// al. 2016; `se` = the reduction of squeeze and excitation; `bias` = `yes` for
/// convolutions with biases, as in one public implementation of stochastic
/// depth.
///
/// Projections (B, C) are followed by a batch norm, as in every published
/// implementation. The paper does not say where option A puts its zero
/// channels; `A` puts half of them on each side.
#[derive(Debug, Clone, PartialEq)]
pub struct ResNet {
    depth: usize,
    shortcut: Shortcut,
    skip: Skip,
    excite: Option<SqueezeExcite>,
    bias: bool,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "resnet<6n+2>";

/// Reads a request for a ResNet.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let explicit = request.sizes("cifar-resnet");
    let [depth] = explicit.or_else(|| {
        let sizes = request.sizes("resnet").or_else(|| request.sizes("se-resnet"));
        sizes.filter(|[depth]| !resnet_imagenet::is_depth(*depth))
    })?;
    Some(ResNet::new(depth, request).map(ModelSpec::ResNet))
}

impl ResNet {
    fn new(depth: usize, request: &mut ModelRequest) -> Result<Self, ModelError> {
        check_depth(&request.name, depth, &[DEPTHS])?;
        let usual = request.name.starts_with("se-").then_some(SqueezeExcite::USUAL);
        Ok(ResNet {
            depth,
            shortcut: request.choose("shortcut", &SHORTCUTS)?.unwrap_or(Shortcut::PadBoth),
            skip: Skip::read(request)?,
            excite: SqueezeExcite::read(request, usual)?,
            bias: request.yes_or_no("bias")?.unwrap_or(false),
        })
    }

    /// The network of this depth with option A in each of its variants.
    pub(super) fn without_projections(depth: usize) -> Vec<ModelSpec> {
        let of_shortcut = |shortcut| {
            ModelSpec::ResNet(ResNet {
                depth,
                shortcut,
                skip: Skip::IDENTITY,
                excite: None,
                bias: false,
            })
        };
        Shortcut::PARAMETER_FREE.into_iter().map(of_shortcut).collect()
    }
}

impl Family for ResNet {
    fn base(&self) -> String {
        let family = match resnet_imagenet::is_depth(self.depth) {
            true => "cifar-resnet",
            false => "resnet",
        };
        format!("{family}{}", self.depth)
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices = vec![Choice::new("shortcut", name_of(self.shortcut, &SHORTCUTS), "A")];
        choices.extend(self.skip.choices());
        choices.push(SqueezeExcite::choice(self.excite));
        choices.push(Choice::yes_or_no("bias", self.bias, false));
        choices
    }

    /// The models with the same tensors that compute something else: those with
    /// another option A, and the network without shortcuts. The other shortcuts
    /// of 2016 are left out: no public weights have them.
    fn look_alikes(&self) -> Vec<ModelSpec> {
        let others = self.shortcut.with_look_alikes().skip(1).map(|shortcut| ResNet {
            shortcut,
            ..self.clone()
        });
        let as_published = self.skip == Skip::IDENTITY && self.excite.is_none() && !self.bias;
        let plain =
            (self.shortcut.is_parameter_free() && as_published).then(|| ModelSpec::Plain(Plain::of_depth(self.depth)));
        others.map(ModelSpec::ResNet).chain(plain).collect()
    }

    fn design(&self, _side: usize) -> Option<Design> {
        let stages = stages(&WIDTHS, &[DEPTHS.units(self.depth).unwrap_or(0); 3]);
        let unit = |width| UnitDesign {
            connection: Connection::Shortcut(self.shortcut),
            skip: self.skip,
            excite: self.excite,
            ..UnitDesign::basic(width)
        };
        Some(Design {
            bias: self.bias,
            ..Design::of_stages((Stem::Cifar, WIDTHS[0]), Order::Original, &stages, unit)
        })
    }
}
