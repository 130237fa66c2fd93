//! Pre-activation ResNet: He et al. 2016, "Identity Mappings in Deep Residual
//! Networks", arXiv:1603.05027.
//!
//! Batch norm and ReLU come before each convolution, and nothing follows the
//! sum: x + F(x) reaches the next unit unchanged. A unit that changes the shape
//! shares its first batch norm and ReLU between branch and shortcut. In all
//! other units the shortcut is x itself. One more batch norm, `bn`, and ReLU
//! come before the head. For CIFAR none follow the stem. For ImageNet they do,
//! before the pooling, so the first unit begins with its convolution.
//!
//! The other orders of activations that the paper compares are an option.
//! [`super::residual`] has the layers.

use super::design::{Activation, Design};
use super::family::Family;
use super::limits::{Depths, check_depth};
use super::request::{Choice, ModelRequest, name_of};
use super::residual::{BranchConv, Connection, ORDERS, Order, UnitDesign};
use super::resnet_imagenet::stages_of;
use super::shortcut::{PREACT_SHORTCUTS, Shortcut};
use super::stem::Stem;
use super::unit::{Stage, stages};
use super::{InputShape, ModelError, ModelSpec};

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
        let layers = match self {
            Branch::Basic => 2,
            Branch::Bottleneck => 3,
        };
        Depths {
            step: 3 * layers,
            rest: 2,
        }
    }

    fn unit(self, width: usize) -> UnitDesign {
        match self {
            Branch::Basic => UnitDesign::basic(width),
            Branch::Bottleneck => UnitDesign::of(vec![
                BranchConv::new(1, width / 4),
                BranchConv::new(3, width / 4),
                BranchConv::new(1, width),
            ]),
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

/// The stages of a network for ImageNet, and its branch: those of ResNet, and
/// 200 layers.
fn imagenet_stages(depth: usize) -> Option<(Vec<Stage>, Branch)> {
    if depth == 200 {
        let stages = stages(&[256, 512, 1024, 2048], &[3, 24, 36, 3]);
        return Some((stages, Branch::Bottleneck));
    }
    let (stages, bottleneck) = stages_of(depth)?;
    let branch = if bottleneck { Branch::Bottleneck } else { Branch::Basic };
    Some((stages, branch))
}

/// `preact-18`, `-34`, `-50`, `-101`, `-152` and `-200` for ImageNet; for CIFAR
/// `preact-<6n+2>` with basic or `preact-<9n+2>` with bottleneck blocks
/// (`cifar-preact-<depth>` for 50, 101, 152 and 200).
///
/// Options: `shortcut` = `A` (the same as `A-sym`), `A-end`, `A-avg` or `B`;
/// the default is A for basic blocks for CIFAR, else B. `order` = `full`
/// (default), `original`, `no-relu-after-add`, `bn-after-add`,
/// `relu-before-add` or `relu-only`: the paper's figure 4 and an ablation.
/// `project` = `activated` (default) or `raw`: what a projection reads.
/// `last-norm` = `yes` (default) or `no`: whether batch norm and ReLU come before
/// the head in the order `full`; one public implementation has none.
/// For CIFAR `block` = `basic` or `bottleneck`; the default is bottleneck if
/// the depth is 9n+2 and either at least 164 or not also 6n+2, else basic.
/// With bottlenecks `stride-at` = `first` or `3x3`, the convolution with the
/// stride. The authors' code has it in the first one for CIFAR (default), code for
/// ImageNet in the 3×3 (default).
/// For ImageNet `stem` = `cifar` or `imagenet`, by default by the images' size.
#[derive(Debug, Clone, PartialEq)]
pub struct PreAct {
    depth: usize,
    for_imagenet: bool,
    stem: Option<Stem>,
    branch: Branch,
    shortcut: Shortcut,
    order: Order,
    project_raw: bool,
    last_norm: bool,
    /// Which convolution of a branch has the unit's stride.
    strided: usize,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "preact-<6n+2 or 9n+2>, preact-18 to 200";

/// Reads a request for a pre-activation ResNet.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let spellings = ["preact", "preact-resnet", "preactresnet", "preresnet"];
    let sizes = |prefix: &str| {
        spellings
            .iter()
            .find_map(|name| request.sizes(&format!("{prefix}{name}")))
    };
    let (depth, for_imagenet) = match sizes("cifar-") {
        Some([depth]) => (depth, false),
        None => sizes("").map(|[depth]| (depth, imagenet_stages(depth).is_some()))?,
    };
    Some(PreAct::new(depth, for_imagenet, request).map(ModelSpec::PreAct))
}

/// The values of the option `project`: whether a projection reads the unit's
/// input before its first batch norm and ReLU.
pub(super) const PROJECTED: [(&str, bool); 2] = [("activated", false), ("raw", true)];

/// The values of the option `stride-at`: which convolution of a bottleneck has the
/// stride.
const STRIDED: [(&str, usize); 2] = [("first", 0), ("3x3", 1)];

impl PreAct {
    fn new(depth: usize, for_imagenet: bool, request: &mut ModelRequest) -> Result<Self, ModelError> {
        let (branch, stem, usual) = match imagenet_stages(depth).filter(|_| for_imagenet) {
            Some((_, branch)) => (branch, Stem::read(request)?, Shortcut::Project),
            None => {
                let asked = request.choose("block", &BRANCHES)?;
                let depths = match asked {
                    Some(branch) => vec![branch.depths()],
                    None => BRANCHES.map(|(_, branch)| branch.depths()).to_vec(),
                };
                check_depth(&request.name, depth, &depths)?;
                let branch = asked.unwrap_or(Branch::of_depth(depth));
                (branch, None, branch.default_shortcut())
            }
        };
        let order = request.choose("order", &ORDERS)?.unwrap_or(Order::Full);
        let last_norm = request.yes_or_no("last-norm")?.unwrap_or(true);
        if order != Order::Full && !last_norm {
            return Err(ModelError::Conflict {
                model: request.name.clone(),
                first: "last-norm",
                second: "an order other than full",
            });
        }
        let strided = match branch {
            Branch::Basic => 0,
            Branch::Bottleneck => request
                .choose("stride-at", &STRIDED)?
                .unwrap_or(Self::usual_strided(for_imagenet)),
        };
        Ok(PreAct {
            depth,
            for_imagenet,
            stem,
            branch,
            shortcut: request.choose("shortcut", PREACT_SHORTCUTS)?.unwrap_or(usual),
            order,
            project_raw: request.choose("project", &PROJECTED)?.unwrap_or(false),
            last_norm,
            strided,
        })
    }

    /// The convolution of a bottleneck that has the stride by default.
    fn usual_strided(for_imagenet: bool) -> usize {
        usize::from(for_imagenet)
    }

    fn default_shortcut(&self) -> Shortcut {
        if self.for_imagenet {
            Shortcut::Project
        } else {
            self.branch.default_shortcut()
        }
    }
}

impl Family for PreAct {
    fn base(&self) -> String {
        let ambiguous = !self.for_imagenet && imagenet_stages(self.depth).is_some();
        format!("{}preact-{}", if ambiguous { "cifar-" } else { "" }, self.depth)
    }

    fn choices(&self) -> Vec<Choice> {
        let usual = Branch::of_depth(self.depth);
        let shortcut = |shortcut| name_of(shortcut, PREACT_SHORTCUTS);
        let first = match self.for_imagenet {
            true => Stem::choice(self.stem),
            false => Choice::new("block", name_of(self.branch, &BRANCHES), name_of(usual, &BRANCHES)),
        };
        let mut choices = vec![
            first,
            Choice::new("shortcut", shortcut(self.shortcut), shortcut(self.default_shortcut())),
            Choice::new("order", name_of(self.order, &ORDERS), "full"),
            Choice::new("project", name_of(self.project_raw, &PROJECTED), "activated"),
            Choice::yes_or_no("last-norm", self.last_norm, true),
        ];
        if self.branch == Branch::Bottleneck {
            let usual = Self::usual_strided(self.for_imagenet);
            let strided = |strided| name_of(strided, &STRIDED);
            choices.push(Choice::new("stride-at", strided(self.strided), strided(usual)));
        }
        choices
    }

    /// The models with the same tensors that compute something else: those with
    /// another option A, whose projections read another value, or with the stride in
    /// another convolution of a bottleneck. The other orders of layers are left out:
    /// no public weights have them.
    fn look_alikes(&self) -> Vec<ModelSpec> {
        let sources = match self.order {
            Order::Full => vec![false, true],
            _ => vec![self.project_raw],
        };
        let strides = match self.branch {
            Branch::Basic => vec![self.strided],
            Branch::Bottleneck => STRIDED.map(|(_, strided)| strided).to_vec(),
        };
        let ports = sources
            .into_iter()
            .flat_map(|raw| strides.iter().map(move |&strided| (raw, strided)));
        let all = ports.flat_map(|(project_raw, strided)| {
            self.shortcut.with_look_alikes().map(move |shortcut| PreAct {
                shortcut,
                project_raw,
                strided,
                ..self.clone()
            })
        });
        all.filter(|other| other != self).map(ModelSpec::PreAct).collect()
    }

    fn usual_input(&self) -> InputShape {
        if self.for_imagenet {
            Stem::usual_input(self.stem)
        } else {
            InputShape::default()
        }
    }

    fn note(&self, input: &InputShape) -> Option<String> {
        self.for_imagenet.then(|| Stem::note(self.stem, &self.base(), input))?
    }

    fn design(&self, side: usize) -> Option<Design> {
        let (stages, stem, stem_width) = match imagenet_stages(self.depth).filter(|_| self.for_imagenet) {
            Some((stages, _)) => (stages, self.stem.unwrap_or(Stem::of_size(side)), 64),
            None => {
                let units = self.branch.depths().units(self.depth).unwrap_or(0);
                (stages(&self.branch.widths(), &[units; 3]), Stem::Cifar, 16)
            }
        };
        let unit = |width| UnitDesign {
            strided: self.strided,
            connection: Connection::Shortcut(self.shortcut),
            project_raw: self.project_raw,
            ..self.branch.unit(width)
        };
        let mut design = Design::of_stages((stem, stem_width), self.order, &stages, unit);
        if !self.last_norm {
            design.head.activation = Activation::None;
        }
        Some(design)
    }
}
