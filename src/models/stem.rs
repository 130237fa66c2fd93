//! What comes before the first stage? A network for photographs halves the
//! resolution twice before its stages; on small images that would leave
//! nothing, so public code for CIFAR has another stem.

use std::fmt;

use super::request::{Choice, ModelRequest, name_of};
use super::{InputShape, ModelError};
use crate::graph::{Graph, NodeId, Pool};

/// Images with more pixels along their shorter side get the stem for
/// photographs.
const SMALL: usize = 64;

/// The layers before the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stem {
    /// A 3×3 convolution of stride 1.
    Cifar,
    /// A 7×7 convolution of stride 2, then 3×3 max pooling of stride 2.
    ImageNet,
}

/// The values of the option `stem`; `auto` chooses by the size of the images.
const STEMS: [(&str, Option<Stem>); 3] = [
    ("auto", None),
    ("cifar", Some(Stem::Cifar)),
    ("imagenet", Some(Stem::ImageNet)),
];

/// 3×3 max pooling that halves the resolution.
pub(super) const POOL: Pool = Pool {
    kernel: 3,
    stride: 2,
    padding: 1,
};

impl Stem {
    /// Reads the option `stem`: `None` chooses by the images.
    pub fn read(request: &mut ModelRequest) -> Result<Option<Stem>, ModelError> {
        Ok(request.choose("stem", &STEMS)?.flatten())
    }

    /// The stem for the images that `images` holds.
    pub fn for_images(asked: Option<Stem>, g: &Graph, images: NodeId) -> Stem {
        let (height, width) = g.shape(images).plane();
        asked.unwrap_or(Stem::of_size(height.min(width)))
    }

    /// The stem for images whose shorter side has `side` pixels.
    pub fn of_size(side: usize) -> Stem {
        if side <= SMALL { Stem::Cifar } else { Stem::ImageNet }
    }

    /// A line for users where `model` does not say which stem it has, and
    /// images of shape `input` get the stem for small ones.
    pub fn note(asked: Option<Stem>, model: &dyn fmt::Display, input: &InputShape) -> Option<String> {
        let small = Stem::of_size(input.height.min(input.width)) == Stem::Cifar;
        (asked.is_none() && small).then(|| {
            format!(
                "{model} on {input} images has the stem for small images (3×3, stride 1, no pooling); \
                 the other one is {model}:stem=imagenet"
            )
        })
    }

    /// The images that a network with this option is made for: those of
    /// ImageNet, unless the stem for small ones is asked for.
    pub fn usual_input(asked: Option<Stem>) -> InputShape {
        match asked {
            Some(Stem::Cifar) => InputShape::default(),
            _ => InputShape::IMAGENET,
        }
    }

    /// The option's value.
    pub fn choice(asked: Option<Stem>) -> Choice {
        Choice::new("stem", name_of(asked, &STEMS), "auto")
    }
}
