//! A residual network with any stem, stages and branch, whose batch norms and
//! ReLUs come before the convolutions or in one of the other orders of He et
//! al. 2016, arXiv:1603.05027, figure 4: what pre-activation ResNets and wide
//! residual networks have in common.

use super::layers::{ConvOptions, batch_norm, batch_norm_relu, conv_with, head};
use super::shortcut::Shortcut;
use super::stem::Stem;
use super::unit::{Stage, Unit, units};
use crate::graph::{Graph, GraphError, NodeId};

/// One convolution of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BranchConv {
    /// Kernel size.
    pub kernel: usize,
    /// The unit's number of channels divided by the layer's.
    pub narrowing: usize,
}

/// Where dropout is in a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropoutAt {
    /// After batch norm and ReLU, before every convolution but the first.
    BeforeConv,
    /// After every convolution but the last, before batch norm.
    BeforeNorm,
    /// After the last convolution.
    End,
}

/// Dropout inside branches; there is none in the shortcut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Dropout {
    /// Probability of a zero, 0 ≤ p < 1.
    pub p: f32,
    /// Where it is.
    pub at: DropoutAt,
}

impl Dropout {
    /// No dropout.
    pub const NONE: Dropout = Dropout {
        p: 0.0,
        at: DropoutAt::BeforeConv,
    };

    /// Adds dropout to `x` if its place is `here`.
    fn apply(&self, g: &mut Graph, x: NodeId, here: DropoutAt) -> Result<NodeId, GraphError> {
        if self.at == here { g.dropout(x, self.p) } else { Ok(x) }
    }
}

/// The order of the layers in a branch of two convolutions, and what follows
/// the sum with the shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Batch norm, ReLU, convolution, twice.
    Full,
    /// Convolution, batch norm, ReLU, convolution, batch norm; ReLU after the
    /// sum: the network of 2015.
    Original,
    /// The same without the ReLU after the sum.
    NoReluAfterAdd,
    /// Convolution, batch norm, ReLU, convolution; batch norm and ReLU after
    /// the sum.
    BatchNormAfterAdd,
    /// Convolution, batch norm, ReLU, twice.
    ReluBeforeAdd,
    /// ReLU, convolution, batch norm, twice.
    ReluOnly,
}

/// The values of the option `order`.
pub(super) const ORDERS: [(&str, Order); 6] = [
    ("full", Order::Full),
    ("original", Order::Original),
    ("no-relu-after-add", Order::NoReluAfterAdd),
    ("bn-after-add", Order::BatchNormAfterAdd),
    ("relu-before-add", Order::ReluBeforeAdd),
    ("relu-only", Order::ReluOnly),
];

/// The network.
pub(super) struct Tower<'a> {
    /// What comes before the stages.
    pub stem: Stem,
    /// Its output channels.
    pub stem_width: usize,
    /// The stages.
    pub stages: &'a [Stage],
    /// The branch's convolutions.
    pub branch: &'a [BranchConv],
    /// Index of the convolution that has the unit's stride.
    pub strided: usize,
    /// The shortcut of a unit that changes the shape. Projections have no
    /// batch norm in the orders `Full` and `BatchNormAfterAdd`.
    pub shortcut: Shortcut,
    /// Whether that shortcut reads the unit's input before its first batch
    /// norm and ReLU.
    pub project_raw: bool,
    /// Whether batch norm and ReLU come before the head in the order `Full`.
    pub last_norm: bool,
    /// Dropout inside the branches, in the order `Full`.
    pub dropout: Dropout,
    /// The order of the layers.
    pub order: Order,
    /// Whether convolutions have biases.
    pub bias: bool,
}

impl Tower<'_> {
    /// `N×C×H×W` images to `N×classes` logits.
    pub fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let mut x = self.stem(g, images)?;
        for unit in units(self.stages) {
            x = match self.order {
                Order::Full => self.preactivated(g, &unit, x)?,
                _ => self.reordered(g, &unit, x)?,
            };
        }
        let x = match self.order {
            Order::Full if self.last_norm => batch_norm_relu(g, "bn", x),
            Order::ReluOnly => g.relu(x),
            _ => x,
        };
        Ok(head(g, x, classes))
    }

    fn stem(&self, g: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
        if self.order == Order::Full && self.stem == Stem::Cifar {
            return conv_with(g, "conv1", images, self.stem_width, self.conv(3, 1));
        }
        let x = self.stem.conv(g, images, self.stem_width)?;
        let x = match self.order {
            Order::ReluOnly => batch_norm(g, "bn1", x),
            _ => batch_norm_relu(g, "bn1", x),
        };
        self.stem.pool(g, x)
    }

    fn conv(&self, kernel: usize, stride: usize) -> ConvOptions {
        ConvOptions {
            bias: self.bias,
            ..ConvOptions::new(kernel, stride)
        }
    }

    /// Convolution `number`, from 1, of the branch of `unit`.
    fn branch_conv(&self, g: &mut Graph, unit: &Unit, number: usize, x: NodeId) -> Result<NodeId, GraphError> {
        let BranchConv { kernel, narrowing } = self.branch[number - 1];
        let stride = if number - 1 == self.strided { unit.stride } else { 1 };
        let options = self.conv(kernel, stride);
        conv_with(g, &format!("conv{number}"), x, unit.width / narrowing, options)
    }

    fn preactivated(&self, g: &mut Graph, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
        unit.join(g, x, false, |g| {
            // After a stem with batch norm and ReLU, x is activated already.
            let is_activated = self.stem == Stem::ImageNet && unit.stage == 1 && unit.index == 0;
            let activated = if is_activated { x } else { batch_norm_relu(g, "bn1", x) };
            let mut branch = activated;
            for number in 1..=self.branch.len() {
                if number > 1 {
                    branch = self.dropout.apply(g, branch, DropoutAt::BeforeNorm)?;
                    branch = batch_norm_relu(g, &format!("bn{number}"), branch);
                    branch = self.dropout.apply(g, branch, DropoutAt::BeforeConv)?;
                }
                branch = self.branch_conv(g, unit, number, branch)?;
            }
            let branch = self.dropout.apply(g, branch, DropoutAt::End)?;
            let raw = self.project_raw || !unit.reshapes(g, x);
            let source = if raw { x } else { activated };
            Ok((branch, self.shortcut.build(g, unit, source, false, self.bias)?))
        })
    }

    fn reordered(&self, g: &mut Graph, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
        let last = self.branch.len();
        let norm = |number: usize| format!("bn{number}");
        let joined = unit.join(g, x, self.order == Order::Original, |g| {
            let mut y = x;
            for number in 1..=last {
                if self.order == Order::ReluOnly {
                    y = g.relu(y);
                }
                y = self.branch_conv(g, unit, number, y)?;
                let is_last = number == last;
                y = match self.order {
                    Order::BatchNormAfterAdd if is_last => y,
                    Order::ReluOnly => batch_norm(g, &norm(number), y),
                    Order::Original | Order::NoReluAfterAdd if is_last => batch_norm(g, &norm(number), y),
                    _ => batch_norm_relu(g, &norm(number), y),
                };
            }
            let normed = self.order != Order::BatchNormAfterAdd;
            Ok((y, self.shortcut.build(g, unit, x, normed, self.bias)?))
        })?;
        Ok(match self.order {
            Order::BatchNormAfterAdd => g.scoped(&unit.name(), |g| batch_norm_relu(g, &norm(last), joined)),
            _ => joined,
        })
    }
}
