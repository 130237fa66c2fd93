//! ResNeXt: Xie et al. 2017, "Aggregated Residual Transformations for Deep
//! Neural Networks", arXiv:1611.05431.
//!
//! A ResNet whose bottlenecks have a grouped 3×3 convolution (form C of the
//! paper): `cardinality` groups, each with `width` channels in the first
//! stage. For CIFAR there are a 3×3 stem with 64 channels and three stages of n
//! bottlenecks with 256, 512 and 1024 output channels: 9n+2 layers. For
//! ImageNet the stages are those of ResNet-50, -101 and -152.
//!
//! Batch norm and ReLU follow the convolutions, and projections have a batch
//! norm, as in the authors' code. (The paper trained CIFAR networks with
//! pre-activation blocks; the authors report that this form is better.)

use super::design::Design;
use super::excite::SqueezeExcite;
use super::family::Family;
use super::limits::{Depths, MAX_CHANNELS, check_depth, check_width};
use super::request::{Choice, ModelRequest};
use super::residual::{Order, UnitDesign};
use super::resnet_imagenet::{bottleneck, has_bottlenecks, stages_of};
use super::stem::Stem;
use super::unit::stages;
use super::{InputShape, ModelError, ModelSpec};

const DEPTHS: Depths = Depths { step: 9, rest: 2 };

/// Output channels of the stages for CIFAR.
const WIDTHS: [usize; 3] = [256, 512, 1024];

/// `resnext-<9n+2>-<cardinality>x<width>d` for CIFAR (`resnext-29-8x64d`), and
/// for ImageNet `resnext-50-32x4d`, `resnext-101-32x8d`, `resnext-152-…`.
///
/// Options: `se` = the reduction of squeeze and excitation; for ImageNet
/// `stem` = `cifar` or `imagenet`, by default by the images' size.
#[derive(Debug, Clone, PartialEq)]
pub struct ResNeXt {
    depth: usize,
    cardinality: usize,
    width: usize,
    stem: Option<Stem>,
    excite: Option<SqueezeExcite>,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "resnext-<9n+2>-<groups>x<width>d, resnext-50-32x4d";

/// Reads a request for a ResNeXt.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let name = request.name.strip_prefix("se-").unwrap_or(&request.name);
    let name = name.strip_suffix('d').unwrap_or(name).to_string();
    let sizes = request.sizes_in(&name, "resnext")?;
    Some(ResNeXt::new(sizes, request).map(ModelSpec::ResNeXt))
}

impl ResNeXt {
    fn new([depth, cardinality, width]: [usize; 3], request: &mut ModelRequest) -> Result<Self, ModelError> {
        let for_imagenet = has_bottlenecks(depth);
        if !for_imagenet {
            check_depth(&request.name, depth, &[DEPTHS])?;
        }
        check_width(&request.name, "cardinality", cardinality, MAX_CHANNELS)?;
        check_width(&request.name, "channels of a group", width, MAX_CHANNELS)?;
        check_width(
            &request.name,
            "channels of all groups",
            cardinality.saturating_mul(width),
            MAX_CHANNELS,
        )?;
        let usual = request.name.starts_with("se-").then_some(SqueezeExcite::USUAL);
        Ok(ResNeXt {
            depth,
            cardinality,
            width,
            stem: if for_imagenet { Stem::read(request)? } else { None },
            excite: SqueezeExcite::read(request, usual)?,
        })
    }
}

impl Family for ResNeXt {
    fn base(&self) -> String {
        format!("resnext-{}-{}x{}d", self.depth, self.cardinality, self.width)
    }

    fn choices(&self) -> Vec<Choice> {
        let stem = has_bottlenecks(self.depth).then(|| Stem::choice(self.stem));
        stem.into_iter().chain([SqueezeExcite::choice(self.excite)]).collect()
    }

    fn usual_input(&self) -> InputShape {
        if has_bottlenecks(self.depth) {
            Stem::usual_input(self.stem)
        } else {
            InputShape::default()
        }
    }

    fn note(&self, input: &InputShape) -> Option<String> {
        has_bottlenecks(self.depth).then(|| Stem::note(self.stem, &self.base(), input))?
    }

    fn design(&self, side: usize) -> Option<Design> {
        let (stages, stem) = match stages_of(self.depth).filter(|_| has_bottlenecks(self.depth)) {
            Some((stages, _)) => (stages, self.stem.unwrap_or(Stem::of_size(side))),
            None => {
                let units = DEPTHS.units(self.depth).unwrap_or(0);
                (stages(&WIDTHS, &[units; 3]), Stem::Cifar)
            }
        };
        let unit = |width| UnitDesign {
            excite: self.excite,
            ..bottleneck(width, self.cardinality, self.width)
        };
        Some(Design::of_stages((stem, 64), Order::Original, &stages, unit))
    }
}
