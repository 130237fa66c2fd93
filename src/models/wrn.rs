//! Wide residual networks: Zagoruyko and Komodakis 2016, arXiv:1605.07146.
//!
//! A pre-activation network whose stages have 16k, 32k and 64k channels. The
//! depth in its name counts the stem and the three projections, hence 6n+4.
//! With k = 1 the first stage has the stem's 16 channels and no projection;
//! the name stays the same.

use super::design::Design;
use super::family::Family;
use super::limits::{Depths, MAX_CHANNELS, check_depth, check_width};
use super::preact::PROJECTED;
use super::request::{Choice, ModelRequest, name_of};
use super::residual::{BranchConv, Dropout, Order, UnitDesign};
use super::stem::Stem;
use super::unit::stages;
use super::{ModelError, ModelSpec};

/// The convolutions of a block, B(kernels) in the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Body {
    kernels: &'static [usize],
    /// Number of convolutions per block that the depth d in the name counts.
    ///
    /// In table 2 of the paper every block type has (d−4)/6 blocks per stage,
    /// also the types with three convolutions: only this gives the parameter
    /// counts of the table. Table 3 varies the number l of convolutions per
    /// block and keeps their total, hence (d−4)/3l blocks.
    counted: usize,
}

const fn of_type(kernels: &'static [usize]) -> Body {
    Body { kernels, counted: 2 }
}

/// The usual block with two 3×3 convolutions.
const BASIC: Body = of_type(&[3, 3]);

/// The block types of table 2.
const TYPES: [(&str, Body); 6] = [
    ("B(3,3)", BASIC),
    ("B(3,1)", of_type(&[3, 1])),
    ("B(1,3)", of_type(&[1, 3])),
    ("B(1,3,1)", of_type(&[1, 3, 1])),
    ("B(3,1,1)", of_type(&[3, 1, 1])),
    ("B(3,1,3)", of_type(&[3, 1, 3])),
];

const fn of_length(kernels: &'static [usize]) -> Body {
    Body {
        kernels,
        counted: kernels.len(),
    }
}

/// The deepening factors of table 3: l 3×3 convolutions per block. l = 2 is
/// the usual block.
const LENGTHS: [(&str, Body); 4] = [
    ("1", of_length(&[3])),
    ("2", BASIC),
    ("3", of_length(&[3, 3, 3])),
    ("4", of_length(&[3, 3, 3, 3])),
];

impl Body {
    fn depths(&self) -> Depths {
        Depths {
            step: 3 * self.counted,
            rest: 4,
        }
    }

    fn convs(&self, width: usize) -> Vec<BranchConv> {
        self.kernels
            .iter()
            .map(|&kernel| BranchConv::new(kernel, width))
            .collect()
    }
}

/// `wrn-<6n+4>-<k>`.
///
/// Options: `block` = one of the six types `B(3,3)` (default), `B(3,1)`,
/// `B(1,3)`, `B(1,3,1)`, `B(3,1,1)`, `B(3,1,3)`; or `l` = 1 to 4 convolutions
/// of 3×3 per block, for which the depth is 3ln+4; `dropout` = the probability
/// of a zero, 0 by default; `dropout-at` = `between` convolutions after batch
/// norm and ReLU (default), `before-bn`, or at the `end` of the branch.
///
/// Ports that compute another function under the same name are options, too:
/// `project` = `activated` (default) or `raw`, what a projection reads;
/// `stride-at` = `first` (default) or `last`, the convolution with the stride;
/// `bias` = `no` (default) or `yes`, whether convolutions have biases.
#[derive(Debug, Clone, PartialEq)]
pub struct WideResNet {
    depth: usize,
    widening: usize,
    body: Body,
    dropout: Dropout,
    project_raw: bool,
    last_strided: bool,
    bias: bool,
}

/// The values of the option `stride-at`: whether the branch's last convolution
/// has the stride.
const STRIDED: [(&str, bool); 2] = [("first", false), ("last", true)];

impl Default for WideResNet {
    /// `wrn-16-1`.
    fn default() -> Self {
        WideResNet {
            depth: 16,
            widening: 1,
            body: BASIC,
            dropout: Dropout::NONE,
            project_raw: false,
            last_strided: false,
            bias: false,
        }
    }
}

/// Its names, for messages.
pub(super) const NAMES: &str = "wrn-<6n+4>-<k>";

/// Reads a request for a wide residual network.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let spellings = ["wrn", "wide-resnet", "wideresnet"];
    let [depth, widening] = spellings.iter().find_map(|family| request.sizes(family))?;
    Some(WideResNet::new(depth, widening, request).map(ModelSpec::WideResNet))
}

impl WideResNet {
    fn new(depth: usize, widening: usize, request: &mut ModelRequest) -> Result<Self, ModelError> {
        let body = read_body(request)?;
        check_depth(&request.name, depth, &[body.depths()])?;
        check_width(&request.name, "widening factor k", widening, MAX_CHANNELS / 64)?;
        Ok(WideResNet {
            depth,
            widening,
            body,
            dropout: read_dropout(request, &body)?,
            project_raw: request.choose("project", &PROJECTED)?.unwrap_or(false),
            last_strided: request.choose("stride-at", &STRIDED)?.unwrap_or(false),
            bias: request.yes_or_no("bias")?.unwrap_or(false),
        })
    }
}

impl Family for WideResNet {
    fn base(&self) -> String {
        format!("wrn-{}-{}", self.depth, self.widening)
    }

    /// The value of every option. `block` and `l` exclude each other, so there
    /// is one of them.
    fn choices(&self) -> Vec<Choice> {
        let body = match TYPES.iter().any(|(_, body)| *body == self.body) {
            true => Choice::new("block", name_of(self.body, &TYPES), "B(3,3)"),
            false => Choice::new("l", name_of(self.body, &LENGTHS), "2"),
        };
        let [dropout, dropout_at] = self.dropout.choices();
        vec![
            body,
            dropout,
            dropout_at,
            Choice::new("project", name_of(self.project_raw, &PROJECTED), "activated"),
            Choice::new("stride-at", name_of(self.last_strided, &STRIDED), "first"),
            Choice::yes_or_no("bias", self.bias, false),
        ]
    }

    /// The models with the same tensors that compute something else: those whose
    /// projections read another value, or with the stride in another
    /// convolution.
    fn look_alikes(&self) -> Vec<ModelSpec> {
        let strides = match self.body.kernels.len() {
            1 => vec![self.last_strided],
            _ => vec![false, true],
        };
        let all = strides.into_iter().flat_map(|last_strided| {
            [false, true].map(|project_raw| WideResNet {
                project_raw,
                last_strided,
                ..self.clone()
            })
        });
        all.filter(|other| other != self).map(ModelSpec::WideResNet).collect()
    }

    fn design(&self, _side: usize) -> Option<Design> {
        let widths = [16, 32, 64].map(|width| width * self.widening);
        let units = self.body.depths().units(self.depth).unwrap_or(0);
        let last = self.body.kernels.len() - 1;
        let unit = |width| UnitDesign {
            strided: if self.last_strided { last } else { 0 },
            project_raw: self.project_raw,
            dropout: self.dropout,
            ..UnitDesign::of(self.body.convs(width))
        };
        Some(Design {
            bias: self.bias,
            ..Design::of_stages((Stem::Cifar, 16), Order::Full, &stages(&widths, &[units; 3]), unit)
        })
    }
}

fn read_body(request: &mut ModelRequest) -> Result<Body, ModelError> {
    let of_type = request.choose("block", &TYPES)?;
    let of_length = request.choose("l", &LENGTHS)?;
    if of_type.is_some() && of_length.is_some() {
        return Err(conflict(request, "block", "l"));
    }
    Ok(of_type.or(of_length).unwrap_or(BASIC))
}

fn read_dropout(request: &mut ModelRequest, body: &Body) -> Result<Dropout, ModelError> {
    let dropout = Dropout::read(request)?;
    // A block with one convolution has no place between convolutions.
    if !dropout.fits(body.kernels.len()) {
        return Err(conflict(request, "l=1", "dropout other than dropout-at=end"));
    }
    Ok(dropout)
}

fn conflict(request: &ModelRequest, first: &'static str, second: &'static str) -> ModelError {
    ModelError::Conflict {
        model: request.name.clone(),
        first,
        second,
    }
}
