//! Which layers does a residual unit have, and in which order?
//!
//! A branch is a list of convolutions with batch norms and ReLUs in one of the
//! orders of He et al. 2016, arXiv:1603.05027, figure 4. Post-activation and
//! pre-activation networks, wide ones, those with grouped convolutions, and
//! plain networks differ in nothing else.

use super::ModelError;
use super::excite::SqueezeExcite;
use super::layers::{ConvOptions, batch_norm, batch_norm_relu, conv_with, removable};
use super::request::{Choice, ModelRequest, name_of};
use super::shortcut::{SHORTCUTS, Shortcut};
use super::skip::Skip;
use super::unit::Unit;
use crate::graph::{Graph, GraphError, NodeId};

/// One convolution of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BranchConv {
    /// Kernel height and width.
    pub kernel: usize,
    /// Output channels.
    pub width: usize,
    /// Number of groups (cardinality).
    pub groups: usize,
}

impl BranchConv {
    /// One group.
    pub fn new(kernel: usize, width: usize) -> Self {
        BranchConv {
            kernel,
            width,
            groups: 1,
        }
    }
}

/// Where dropout is in a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropoutAt {
    /// Before every convolution but the first, after what comes before it.
    BeforeConv,
    /// Directly after every convolution but the last.
    BeforeNorm,
    /// At the end of the branch.
    End,
}

/// Where dropout is: in the code of the wide networks' authors; in a popular
/// port; in a popular tutorial.
const DROPOUT_AT: [(&str, DropoutAt); 3] = [
    ("between", DropoutAt::BeforeConv),
    ("before-bn", DropoutAt::BeforeNorm),
    ("end", DropoutAt::End),
];

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

    /// Reads the options `dropout` and `dropout-at`.
    pub fn read(request: &mut ModelRequest) -> Result<Self, ModelError> {
        let p = request.probability("dropout")?;
        let at = request.choose("dropout-at", &DROPOUT_AT)?;
        Ok(Dropout {
            p: p.unwrap_or(Dropout::NONE.p),
            at: at.unwrap_or(Dropout::NONE.at),
        })
    }

    /// The values of its options.
    pub fn choices(&self) -> [Choice; 2] {
        [
            Choice::new("dropout", self.p.to_string(), "0"),
            Choice::new("dropout-at", name_of(self.at, &DROPOUT_AT), "between"),
        ]
    }

    /// Whether a branch with `convs` convolutions has a place for it.
    pub fn fits(&self, convs: usize) -> bool {
        self.p == 0.0 || self.at == DropoutAt::End || convs > 1
    }

    /// Adds dropout to `x` if its place is `here`.
    fn apply(&self, g: &mut Graph, x: NodeId, here: DropoutAt) -> Result<NodeId, GraphError> {
        if self.at == here { g.dropout(x, self.p) } else { Ok(x) }
    }
}

/// The order of the layers in a branch, and what follows the sum with the
/// shortcut; written for two convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Batch norm, ReLU, convolution, twice: pre-activation.
    Full,
    /// Convolution, batch norm, ReLU, convolution, batch norm; ReLU after the
    /// sum: the network of 2015, post-activation.
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

/// What is added to the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// Nothing: every layer whose input and output have one shape is a block of
    /// its own.
    None,
    /// The unit's input.
    Identity,
    /// The unit's input, or this where the unit changes the shape.
    Shortcut(Shortcut),
}

impl Connection {
    /// The names of all: `none`, `identity`, and those of the shortcuts. The
    /// first name of several for one is the usual one.
    pub fn all() -> Vec<(&'static str, Connection)> {
        let known = SHORTCUTS.map(|(name, shortcut)| (name, Connection::Shortcut(shortcut)));
        let mut all = vec![("none", Connection::None), ("identity", Connection::Identity)];
        all.extend(known);
        all
    }
}

/// The layers of a residual unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UnitDesign {
    /// The branch's convolutions, at least one.
    pub convs: Vec<BranchConv>,
    /// Index of the convolution that has the unit's stride.
    pub strided: usize,
    /// The order of the layers. A unit without a connection has
    /// [`Order::Original`].
    pub order: Order,
    /// What is added to the branch. Projections have no batch norm in the
    /// orders `Full` and `BatchNormAfterAdd`.
    pub connection: Connection,
    /// In the order `Full`: whether a projection reads the unit's input before
    /// its first batch norm and ReLU.
    pub project_raw: bool,
    /// What is done to the shortcut.
    pub skip: Skip,
    /// Whether the branch ends in squeeze and excitation.
    pub excite: Option<SqueezeExcite>,
    /// Dropout inside the branch.
    pub dropout: Dropout,
}

/// What a unit's place in the network decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// Whether the unit's input has just passed batch norm and ReLU.
    pub is_activated: bool,
    /// Whether convolutions have biases.
    pub bias: bool,
}

impl UnitDesign {
    /// Two 3×3 convolutions with `width` output channels, in the network of
    /// 2015.
    pub fn basic(width: usize) -> Self {
        Self::of(vec![BranchConv::new(3, width); 2])
    }

    /// These convolutions in the network of 2015, with a projection where the
    /// shape changes.
    pub fn of(convs: Vec<BranchConv>) -> Self {
        UnitDesign {
            convs,
            strided: 0,
            order: Order::Original,
            connection: Connection::Shortcut(Shortcut::Project),
            project_raw: false,
            skip: Skip::IDENTITY,
            excite: None,
            dropout: Dropout::NONE,
        }
    }

    /// Output channels.
    pub fn width(&self) -> usize {
        self.convs.last().map_or(0, |conv| conv.width)
    }

    /// Adds the unit at `place` to the graph, from its input `x` (N×C×H×W).
    pub fn build(&self, g: &mut Graph, place: &Unit, x: NodeId, around: &Surroundings) -> Result<NodeId, GraphError> {
        if self.connection == Connection::None {
            return g.scoped(&place.name(), |g| self.plain(g, place, x, around));
        }
        let joined = place.join(g, x, self.order == Order::Original, |g| {
            let (branch, source) = match self.order {
                Order::Full => self.preactivated(g, place, x, around)?,
                _ => (self.reordered(g, place, x, around)?, x),
            };
            let mut branch = self.dropout.apply(g, branch, DropoutAt::End)?;
            if let Some(excite) = self.excite {
                branch = excite.apply(g, branch)?;
            }
            let normed = !matches!(self.order, Order::Full | Order::BatchNormAfterAdd);
            let shortcut = match self.connection {
                Connection::Shortcut(shortcut) => shortcut.build(g, place, source, normed, around.bias)?,
                Connection::None | Connection::Identity => x,
            };
            self.skip.apply(g, place, x, [branch, shortcut])
        })?;
        Ok(match self.order {
            Order::BatchNormAfterAdd => {
                let last = format!("bn{}", self.convs.len());
                g.scoped(&place.name(), |g| batch_norm_relu(g, &last, joined))
            }
            _ => joined,
        })
    }

    /// Convolution `number`, from 1.
    fn conv(
        &self,
        g: &mut Graph,
        place: &Unit,
        number: usize,
        x: NodeId,
        around: &Surroundings,
    ) -> Result<NodeId, GraphError> {
        let BranchConv { kernel, width, groups } = self.convs[number - 1];
        let options = ConvOptions {
            kernel,
            stride: if number - 1 == self.strided { place.stride } else { 1 },
            groups,
            bias: around.bias,
        };
        let x = match number {
            1 => x,
            _ => self.dropout.apply(g, x, DropoutAt::BeforeConv)?,
        };
        let y = conv_with(g, &format!("conv{number}"), x, width, options)?;
        match number == self.convs.len() {
            true => Ok(y),
            false => self.dropout.apply(g, y, DropoutAt::BeforeNorm),
        }
    }

    /// The branch, and what a projection reads.
    fn preactivated(
        &self,
        g: &mut Graph,
        place: &Unit,
        x: NodeId,
        around: &Surroundings,
    ) -> Result<(NodeId, NodeId), GraphError> {
        let activated = if around.is_activated {
            x
        } else {
            batch_norm_relu(g, "bn1", x)
        };
        let mut branch = activated;
        for number in 1..=self.convs.len() {
            if number > 1 {
                branch = batch_norm_relu(g, &format!("bn{number}"), branch);
            }
            branch = self.conv(g, place, number, branch, around)?;
        }
        let raw = self.project_raw || !place.reshapes(g, x);
        Ok((branch, if raw { x } else { activated }))
    }

    /// The branch in any other order.
    fn reordered(&self, g: &mut Graph, place: &Unit, x: NodeId, around: &Surroundings) -> Result<NodeId, GraphError> {
        let last = self.convs.len();
        let mut y = x;
        for number in 1..=last {
            if self.order == Order::ReluOnly {
                y = g.relu(y);
            }
            y = self.conv(g, place, number, y, around)?;
            let norm = format!("bn{number}");
            let is_last = number == last;
            y = match self.order {
                Order::BatchNormAfterAdd if is_last => y,
                Order::ReluOnly => batch_norm(g, &norm, y),
                Order::Original | Order::NoReluAfterAdd if is_last => batch_norm(g, &norm, y),
                _ => batch_norm_relu(g, &norm, y),
            };
        }
        Ok(y)
    }

    /// The layers without a shortcut: convolution, batch norm, ReLU.
    fn plain(&self, g: &mut Graph, place: &Unit, x: NodeId, around: &Surroundings) -> Result<NodeId, GraphError> {
        let mut x = x;
        for number in 1..=self.convs.len() {
            let y = self.conv(g, place, number, x, around)?;
            let mut y = batch_norm_relu(g, &format!("bn{number}"), y);
            if number == self.convs.len() {
                y = self.dropout.apply(g, y, DropoutAt::End)?;
            }
            x = removable(g, &format!("conv{number}"), place.stage, x, y)?;
        }
        Ok(x)
    }
}
