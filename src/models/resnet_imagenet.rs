//! ResNet for ImageNet: He et al. 2015, arXiv:1512.03385, section 4.1, and the
//! wide ones of Zagoruyko and Komodakis 2016, arXiv:1605.07146, table 8.
//!
//! Four stages with 64, 128, 256 and 512 channels (four times as many after a
//! bottleneck). 18 and 34 layers have basic branches, 50, 101 and 152
//! bottlenecks. Public code for CIFAR uses the same stages after a 3×3 stem
//! with 64 channels. Parameter names are torchvision's.

use super::design::Design;
use super::excite::SqueezeExcite;
use super::family::Family;
use super::request::{Choice, ModelRequest, name_of};
use super::residual::{BranchConv, Connection, Order, UnitDesign};
use super::shortcut::{SHORTCUTS, Shortcut};
use super::stem::Stem;
use super::unit::{Stage, stages};
use super::{InputShape, ModelError, ModelSpec};

/// Depth, units in each stage, and whether branches are bottlenecks.
const DEPTHS: [(usize, [usize; 4], bool); 5] = [
    (18, [2, 2, 2, 2], false),
    (34, [3, 4, 6, 3], false),
    (50, [3, 4, 6, 3], true),
    (101, [3, 4, 23, 3], true),
    (152, [3, 8, 36, 3], true),
];

/// The channels of the stages, before a bottleneck widens them.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// Units in each stage, and whether branches are bottlenecks.
fn units_of(depth: usize) -> Option<([usize; 4], bool)> {
    let found = DEPTHS.iter().find(|(known, ..)| *known == depth);
    found.map(|&(_, units, bottleneck)| (units, bottleneck))
}

/// Whether everyone understands a ResNet of this depth as one of this file.
pub(super) fn is_depth(depth: usize) -> bool {
    units_of(depth).is_some()
}

/// Whether this depth is one of this file's, with bottlenecks.
pub(super) fn has_bottlenecks(depth: usize) -> bool {
    units_of(depth).is_some_and(|(_, bottleneck)| bottleneck)
}

/// Stages for `depth` layers with basic branches or bottlenecks.
pub(super) fn stages_of(depth: usize) -> Option<(Vec<Stage>, bool)> {
    let (units, bottleneck) = units_of(depth)?;
    let widths = WIDTHS.map(|width| if bottleneck { 4 * width } else { width });
    Some((stages(&widths, &units), bottleneck))
}

/// A unit with `width` output channels: 1×1, 3×3 and 1×1 convolutions. The 3×3
/// has `cardinality` groups, each with `base_width` channels where `width` is
/// 256, otherwise in proportion, and the unit's stride ("v1.5").
pub(super) fn bottleneck(width: usize, cardinality: usize, base_width: usize) -> UnitDesign {
    let inner = width / 4 * base_width / 64 * cardinality;
    let grouped = BranchConv {
        groups: cardinality,
        ..BranchConv::new(3, inner)
    };
    UnitDesign {
        strided: 1,
        ..UnitDesign::of(vec![BranchConv::new(1, inner), grouped, BranchConv::new(1, width)])
    }
}

/// `resnet18`, `resnet34`, `resnet50`, `resnet101`, `resnet152`;
/// `wide-resnet-50-2` with twice the channels inside its bottlenecks.
///
/// A bottleneck's stride is in its 3×3 convolution, as in public code
/// ("v1.5"); `resnet50-v1` has it in the first 1×1, as in the paper. Options:
/// `stem` = `cifar` or `imagenet`, by default by the images' size; `shortcut` =
/// `B` (default), `A`, `A-end`, `A-avg` or `C`; `se` = the reduction of squeeze
/// and excitation.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageNetResNet {
    depth: usize,
    /// The factor of the channels inside bottlenecks.
    widening: usize,
    /// Whether a bottleneck's stride is in its first convolution.
    first_strided: bool,
    stem: Option<Stem>,
    shortcut: Shortcut,
    excite: Option<SqueezeExcite>,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "resnet18, 34, 50, 101, 152 (cifar-resnet<6n+2> for 50 and 152), wide-resnet-50-<k>";

/// Reads a request for a ResNet for ImageNet.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let wide = ["wide-resnet", "wideresnet", "wrn"];
    if let Some([depth, widening]) = wide.iter().find_map(|family| request.sizes(family)) {
        let bottleneck = has_bottlenecks(depth);
        return bottleneck.then(|| ImageNetResNet::new(depth, widening, false, request).map(ModelSpec::ImageNetResNet));
    }
    let (name, first_strided) = match request.name.strip_suffix("-v1") {
        Some(name) => (name, true),
        None => (request.name.strip_suffix("-v1.5").unwrap_or(&request.name), false),
    };
    let name = name.strip_prefix("se-").unwrap_or(name).to_string();
    let [depth] = request.sizes_in(&name, "resnet").filter(|[depth]| is_depth(*depth))?;
    Some(ImageNetResNet::new(depth, 1, first_strided, request).map(ModelSpec::ImageNetResNet))
}

impl ImageNetResNet {
    fn new(depth: usize, widening: usize, first_strided: bool, request: &mut ModelRequest) -> Result<Self, ModelError> {
        super::limits::check_width(&request.name, "widening factor", widening, 16)?;
        let bottleneck = has_bottlenecks(depth);
        let usual = request.name.starts_with("se-").then_some(SqueezeExcite::USUAL);
        Ok(ImageNetResNet {
            depth,
            widening,
            // A basic branch has its stride in the first convolution in any case.
            first_strided: first_strided && bottleneck,
            stem: Stem::read(request)?,
            shortcut: request.choose("shortcut", &SHORTCUTS)?.unwrap_or(Shortcut::Project),
            excite: SqueezeExcite::read(request, usual)?,
        })
    }
}

impl Family for ImageNetResNet {
    fn base(&self) -> String {
        let version = if self.first_strided { "-v1" } else { "" };
        match self.widening {
            1 => format!("resnet{}{version}", self.depth),
            widening => format!("wide-resnet-{}-{widening}", self.depth),
        }
    }

    fn choices(&self) -> Vec<Choice> {
        vec![
            Stem::choice(self.stem),
            Choice::new("shortcut", name_of(self.shortcut, &SHORTCUTS), "B"),
            SqueezeExcite::choice(self.excite),
        ]
    }

    /// The models with the same tensors that compute something else: those with
    /// the stride in the other convolution, or another option A.
    fn look_alikes(&self) -> Vec<ModelSpec> {
        let bottleneck = has_bottlenecks(self.depth);
        let strides = if bottleneck && self.widening == 1 {
            vec![false, true]
        } else {
            vec![self.first_strided]
        };
        let all = strides.into_iter().flat_map(|first_strided| {
            self.shortcut.with_look_alikes().map(move |shortcut| ImageNetResNet {
                first_strided,
                shortcut,
                ..self.clone()
            })
        });
        all.filter(|other| other != self)
            .map(ModelSpec::ImageNetResNet)
            .collect()
    }

    fn usual_input(&self) -> InputShape {
        Stem::usual_input(self.stem)
    }

    fn note(&self, input: &InputShape) -> Option<String> {
        Stem::note(self.stem, &self.base(), input)
    }

    fn design(&self, side: usize) -> Option<Design> {
        let (stages, bottlenecks) = stages_of(self.depth)?;
        let unit = |width| {
            let unit = match bottlenecks {
                true => bottleneck(width, 1, 64 * self.widening),
                false => UnitDesign::basic(width),
            };
            UnitDesign {
                strided: if self.first_strided { 0 } else { unit.strided },
                connection: Connection::Shortcut(self.shortcut),
                excite: self.excite,
                ..unit
            }
        };
        let stem = self.stem.unwrap_or(Stem::of_size(side));
        Some(Design::of_stages((stem, WIDTHS[0]), Order::Original, &stages, unit))
    }
}
