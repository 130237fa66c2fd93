//! Pre-activation ResNet: He et al. 2016, "Identity Mappings in Deep Residual
//! Networks", arXiv:1603.05027.
//!
//! Batch norm and ReLU come before each convolution, and nothing follows the
//! sum: x + F(x) reaches the next unit unchanged. A unit that changes the shape
//! shares its first batch norm and ReLU between branch and shortcut. In all
//! other units the shortcut is x itself. One more batch norm, `bn`, and ReLU
//! come before the head; none follow the stem.
//!
//! [`Tower`] is this network with any branch; a wide residual network has
//! another branch.

use super::layers::{batch_norm_relu, conv, head};
use super::limits::{Depths, check_depth};
use super::request::{Choice, ModelRequest, name_of};
use super::shortcut::{PREACT_SHORTCUTS, Shortcut};
use super::unit::{Unit, units};
use super::{ModelError, ModelSpec};
use crate::graph::{Graph, GraphError, NodeId};

/// Channels after the stem.
const STEM: usize = 16;

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

/// A pre-activation network with three stages.
pub(super) struct Tower<'a> {
    /// Channels of the three stages.
    pub widths: [usize; 3],
    /// Units in each stage.
    pub units: usize,
    /// The branch's convolutions; the first one has the unit's stride.
    pub branch: &'a [BranchConv],
    /// The shortcut of a unit that changes the shape. Projections have no
    /// batch norm.
    pub shortcut: Shortcut,
    /// Dropout inside the branches.
    pub dropout: Dropout,
}

impl Tower<'_> {
    /// `N×C×H×W` images to `N×classes` logits.
    pub fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let mut x = conv(g, "conv1", images, STEM, 3, 1)?;
        for unit in units(self.widths, self.units) {
            x = self.unit(g, &unit, x)?;
        }
        let x = batch_norm_relu(g, "bn", x);
        Ok(head(g, x, classes))
    }

    fn unit(&self, g: &mut Graph, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
        unit.join(g, x, false, |g| {
            let activated = batch_norm_relu(g, "bn1", x);
            let branch = self.branch(g, unit, activated)?;
            let source = if unit.reshapes(g, x) { activated } else { x };
            Ok((branch, self.shortcut.build(g, unit, source, false)?))
        })
    }

    fn branch(&self, g: &mut Graph, unit: &Unit, activated: NodeId) -> Result<NodeId, GraphError> {
        let mut y = activated;
        for (number, layer) in (1..).zip(self.branch) {
            let first = number == 1;
            if !first {
                y = self.dropout.apply(g, y, DropoutAt::BeforeNorm)?;
                y = batch_norm_relu(g, &format!("bn{number}"), y);
                y = self.dropout.apply(g, y, DropoutAt::BeforeConv)?;
            }
            let stride = if first { unit.stride } else { 1 };
            let filters = unit.width / layer.narrowing;
            y = conv(g, &format!("conv{number}"), y, filters, layer.kernel, stride)?;
        }
        self.dropout.apply(g, y, DropoutAt::End)
    }
}

/// The two branches of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Branch {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1 convolutions; the first two have a quarter of the
    /// unit's channels.
    Bottleneck,
}

const BRANCHES: [(&str, Branch); 2] = [("basic", Branch::Basic), ("bottleneck", Branch::Bottleneck)];

impl Branch {
    fn depths(self) -> Depths {
        let step = 3 * self.layers().len();
        Depths { step, rest: 2 }
    }

    fn layers(self) -> &'static [BranchConv] {
        const fn layer(kernel: usize, narrowing: usize) -> BranchConv {
            BranchConv { kernel, narrowing }
        }
        match self {
            Branch::Basic => const { &[layer(3, 1), layer(3, 1)] },
            Branch::Bottleneck => const { &[layer(1, 4), layer(3, 4), layer(1, 1)] },
        }
    }

    fn widths(self) -> [usize; 3] {
        match self {
            Branch::Basic => [16, 32, 64],
            Branch::Bottleneck => [64, 128, 256],
        }
    }

    /// The branch of a name without the option `block`. 110 is both 6·18+2 and
    /// 9·12+2; in the paper 110 is basic, 164 and 1001 are bottleneck.
    fn of_depth(depth: usize) -> Branch {
        let basic = Branch::Basic.depths().units(depth).is_some();
        let bottleneck = Branch::Bottleneck.depths().units(depth).is_some();
        if bottleneck && (depth >= 164 || !basic) {
            Branch::Bottleneck
        } else {
            Branch::Basic
        }
    }

    /// The paper's basic network is the network of 2015 with its layers in
    /// another order, so it has the parameter-free option A. Bottlenecks widen
    /// 16 to 64 channels in the first unit; the authors' code has a projection
    /// there.
    fn default_shortcut(self) -> Shortcut {
        match self {
            Branch::Basic => Shortcut::PadBoth,
            Branch::Bottleneck => Shortcut::Project,
        }
    }
}

/// `preact-<6n+2>` with basic or `preact-<9n+2>` with bottleneck blocks.
///
/// Options: `block` = `basic` or `bottleneck`; the default is bottleneck if the
/// depth is 9n+2 and either at least 164 or not also 6n+2, else basic.
/// `shortcut` = `A` (the same as `A-sym`), `A-end`, `A-avg` or `B`; the default
/// is A for basic and B for bottleneck blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct PreAct {
    depth: usize,
    branch: Branch,
    shortcut: Shortcut,
}

/// Reads a request for a pre-activation ResNet.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let [depth] = request.sizes("preact")?;
    Some(PreAct::new(depth, request).map(ModelSpec::PreAct))
}

impl PreAct {
    fn new(depth: usize, request: &mut ModelRequest) -> Result<Self, ModelError> {
        let asked = request.choose("block", &BRANCHES)?;
        let depths = match asked {
            Some(branch) => vec![branch.depths()],
            None => BRANCHES.map(|(_, branch)| branch.depths()).to_vec(),
        };
        check_depth(&request.name, depth, &depths)?;
        let branch = asked.unwrap_or(Branch::of_depth(depth));
        let shortcut = request.choose("shortcut", PREACT_SHORTCUTS)?;
        Ok(PreAct {
            depth,
            branch,
            shortcut: shortcut.unwrap_or(branch.default_shortcut()),
        })
    }

    /// The name without options.
    pub(super) fn base(&self) -> String {
        format!("preact-{}", self.depth)
    }

    /// The value of every option.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let usual = Branch::of_depth(self.depth);
        let shortcut = |shortcut| name_of(shortcut, PREACT_SHORTCUTS);
        vec![
            Choice::new("block", name_of(self.branch, &BRANCHES), name_of(usual, &BRANCHES)),
            Choice::new(
                "shortcut",
                shortcut(self.shortcut),
                shortcut(self.branch.default_shortcut()),
            ),
        ]
    }

    /// The models with the same tensors that compute something else: those with
    /// another option A.
    pub(super) fn look_alikes(&self) -> Vec<ModelSpec> {
        let others = self.shortcut.look_alikes();
        let others = others.map(|shortcut| PreAct {
            shortcut,
            ..self.clone()
        });
        others.map(ModelSpec::PreAct).collect()
    }

    /// `N×C×H×W` images to `N×classes` logits.
    pub(super) fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let tower = Tower {
            widths: self.branch.widths(),
            units: self.branch.depths().units(self.depth).unwrap_or(0),
            branch: self.branch.layers(),
            shortcut: self.shortcut,
            dropout: Dropout::NONE,
        };
        tower.forward(g, images, classes)
    }
}
