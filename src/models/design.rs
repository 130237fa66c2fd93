//! Which stem, stages and head does a network of residual units have?
//!
//! Families that differ only in this describe their networks as a [`Design`];
//! a network in a file is one, too.

use super::layers::{ConvOptions, batch_norm, batch_norm_relu, conv_with, linear};
use super::residual::{Order, Surroundings, UnitDesign};
use super::stem::{POOL, Stem};
use super::unit::{Stage, Unit};
use crate::graph::{Graph, GraphError, NodeId};

/// What follows a layer at either end of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Nothing.
    None,
    /// ReLU.
    Relu,
    /// Batch norm.
    Norm,
    /// Batch norm, then ReLU.
    NormRelu,
}

/// The names of activations.
pub(super) const ACTIVATIONS: [(&str, Activation); 4] = [
    ("none", Activation::None),
    ("relu", Activation::Relu),
    ("bn", Activation::Norm),
    ("bn-relu", Activation::NormRelu),
];

impl Activation {
    fn apply(self, g: &mut Graph, norm: &str, x: NodeId) -> NodeId {
        match self {
            Activation::None => x,
            Activation::Relu => g.relu(x),
            Activation::Norm => batch_norm(g, norm, x),
            Activation::NormRelu => batch_norm_relu(g, norm, x),
        }
    }
}

/// The layers before the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StemDesign {
    /// Kernel height and width of its convolution.
    pub kernel: usize,
    /// Its stride.
    pub stride: usize,
    /// Its output channels.
    pub width: usize,
    /// What follows it.
    pub activation: Activation,
    /// Whether 3×3 max pooling that halves the resolution comes last.
    pub pool: bool,
}

impl StemDesign {
    /// The stem with `width` channels, as it is before units of this order.
    pub fn of(stem: Stem, width: usize, order: Order) -> Self {
        let (kernel, stride, pool) = match stem {
            Stem::Cifar => (3, 1, false),
            Stem::ImageNet => (7, 2, true),
        };
        StemDesign {
            kernel,
            stride,
            width,
            activation: Self::usual_activation(order, pool),
            pool,
        }
    }

    /// What follows the convolution before units of this order. Pre-activation
    /// units begin with batch norm and ReLU themselves, but these come before a
    /// pooling.
    pub fn usual_activation(order: Order, pool: bool) -> Activation {
        match order {
            Order::Full if !pool => Activation::None,
            Order::ReluOnly => Activation::Norm,
            _ => Activation::NormRelu,
        }
    }

    fn build(&self, g: &mut Graph, images: NodeId, bias: bool) -> Result<NodeId, GraphError> {
        let options = ConvOptions {
            bias,
            ..ConvOptions::new(self.kernel, self.stride)
        };
        let x = conv_with(g, "conv1", images, self.width, options)?;
        let x = self.activation.apply(g, "bn1", x);
        if self.pool { g.max_pool(x, POOL) } else { Ok(x) }
    }
}

/// Units of one kind, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Blocks {
    /// How many.
    pub count: usize,
    /// The stride of the first.
    pub stride: usize,
    /// The layers of each.
    pub unit: UnitDesign,
}

/// The layers after the last stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeadDesign {
    /// What comes before the global average pooling.
    pub activation: Activation,
    /// Dropout before the linear layer: the probability of a zero.
    pub dropout: f32,
}

impl HeadDesign {
    /// The head after units of this order.
    pub fn of(order: Order) -> Self {
        HeadDesign {
            activation: Self::usual_activation(order),
            dropout: 0.0,
        }
    }

    /// What follows the last unit if it has this order.
    pub fn usual_activation(order: Order) -> Activation {
        match order {
            Order::Full => Activation::NormRelu,
            Order::ReluOnly => Activation::Relu,
            _ => Activation::None,
        }
    }
}

/// A network of residual units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Design {
    /// Before the stages.
    pub stem: StemDesign,
    /// The stages, each with one or more kinds of blocks.
    pub stages: Vec<Vec<Blocks>>,
    /// After the stages.
    pub head: HeadDesign,
    /// Whether convolutions have biases.
    pub bias: bool,
}

impl Design {
    /// A network whose stages have units of one order; `unit` gives those of a
    /// stage with this number of output channels.
    pub fn of_stages(stem: (Stem, usize), order: Order, stages: &[Stage], unit: impl Fn(usize) -> UnitDesign) -> Self {
        let blocks = |stage: &Stage| Blocks {
            count: stage.units,
            stride: stage.stride,
            unit: UnitDesign {
                order,
                ..unit(stage.width)
            },
        };
        Design {
            stem: StemDesign::of(stem.0, stem.1, order),
            stages: stages.iter().map(|stage| vec![blocks(stage)]).collect(),
            head: HeadDesign::of(order),
            bias: false,
        }
    }

    /// `N×C×H×W` images to `N×classes` logits.
    pub fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let mut x = self.stem.build(g, images, self.bias)?;
        let mut around = Surroundings {
            is_activated: self.stem.activation == Activation::NormRelu,
            bias: self.bias,
        };
        for (stage, kinds) in (1..).zip(&self.stages) {
            let all = kinds
                .iter()
                .flat_map(|blocks| (0..blocks.count).map(move |number| (blocks, number)));
            for (index, (blocks, number)) in all.enumerate() {
                let place = Unit {
                    stage,
                    index,
                    width: blocks.unit.width(),
                    stride: if number == 0 { blocks.stride } else { 1 },
                };
                x = blocks.unit.build(g, &place, x, &around)?;
                around.is_activated = false;
            }
        }
        let x = self.head.activation.apply(g, "bn", x);
        let pooled = g.global_avg_pool(x);
        let pooled = g.dropout(pooled, self.head.dropout)?;
        Ok(linear(g, "fc", pooled, classes))
    }
}
