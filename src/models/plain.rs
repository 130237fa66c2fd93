//! Plain networks: the layers of a ResNet without its shortcuts (He et al.
//! 2015, arXiv:1512.03385, section 4.2). Their error increases with depth.
//!
//! Parameter names, order and count are those of the ResNet of the same depth
//! with option-A shortcuts. Each layer after the stem whose input and output
//! have one shape is a block, named as its convolution (`layer1.0.conv1`). It
//! can be deleted like a residual block, as the control of a lesion study. The
//! first layers of stages 2 and 3 cannot be deleted.

use super::design::Design;
use super::family::Family;
use super::limits::check_depth;
use super::request::ModelRequest;
use super::residual::{Connection, Order, UnitDesign};
use super::resnet::{DEPTHS, ResNet, WIDTHS};
use super::stem::Stem;
use super::unit::stages;
use super::{ModelError, ModelSpec};

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

    fn design(&self, _side: usize) -> Option<Design> {
        let stages = stages(&WIDTHS, &[DEPTHS.units(self.depth).unwrap_or(0); 3]);
        let unit = |width| UnitDesign {
            connection: Connection::None,
            ..UnitDesign::basic(width)
        };
        Some(Design::of_stages(
            (Stem::Cifar, WIDTHS[0]),
            Order::Original,
            &stages,
            unit,
        ))
    }
}
