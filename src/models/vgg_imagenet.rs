//! VGG: Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for
//! Large-Scale Image Recognition", arXiv:1409.1556, table 1: configurations A,
//! B, D and E, and the same with batch norm after every convolution.
//!
//! Five groups of 3×3 convolutions with biases, each followed by ReLU, and 2×2
//! max pooling after each group. Parameter names are torchvision's
//! (`features.0`, `classifier.0`). Every layer whose input and output have one
//! shape is a block, named as its convolution, which a lesion study can delete.
//! [`super::Vgg`] is the network of equal widths of the lesion study.

use super::family::Family;
use super::layers::{ConvOptions, batch_norm, conv_with, linear, removable};
use super::request::{Choice, ModelRequest, name_of};
use super::stem::Stem;
use super::{InputShape, ModelError, ModelSpec};
use crate::graph::{Graph, GraphError, NodeId, Pool};

/// Depth, and convolutions in each group.
const DEPTHS: [(usize, [usize; 5]); 4] = [
    (11, [1, 1, 2, 2, 2]),
    (13, [2, 2, 2, 2, 2]),
    (16, [2, 2, 3, 3, 3]),
    (19, [2, 2, 4, 4, 4]),
];

/// Channels of the groups.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

/// Halves height and width.
const HALVE: Pool = Pool {
    kernel: 2,
    stride: 2,
    padding: 0,
};

/// What comes after the last group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Two hidden layers of 4096 with dropout, on 7×7 pixels.
    ImageNet,
    /// Global average pooling and one linear layer: most public code for CIFAR.
    Linear,
    /// Global average pooling and two hidden layers of 512 with dropout.
    Hidden,
}

impl Head {
    /// The head of a network for images that other networks have this stem for.
    fn of(stem: Stem) -> Self {
        match stem {
            Stem::Cifar => Head::Linear,
            Stem::ImageNet => Head::ImageNet,
        }
    }
}

/// The values of the option `head`; `auto` chooses by the size of the images.
const HEADS: [(&str, Option<Head>); 4] = [
    ("auto", None),
    ("imagenet", Some(Head::ImageNet)),
    ("linear", Some(Head::Linear)),
    ("hidden", Some(Head::Hidden)),
];

/// `vgg11`, `vgg13`, `vgg16`, `vgg19`, with batch norm `vgg16-bn`.
///
/// Options: `head` = `imagenet` (4096 and 4096 hidden units), `linear`, or
/// `hidden` (512 and 512); the default is by the images' size, `linear` for
/// small ones. `bias` = `yes` (default) or `no`. `last-pool` = `yes` (default)
/// or `no`: whether the last group is followed by max pooling.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageNetVgg {
    depth: usize,
    normed: bool,
    head: Option<Head>,
    bias: bool,
    last_pool: bool,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "vgg11 to 19 (vgg16-bn)";

/// Reads a request for a VGG.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let (name, normed) = match request.name.strip_suffix("-bn") {
        Some(name) => (name, true),
        None => (&request.name[..], false),
    };
    let [depth] = request
        .sizes_in(name, "vgg")
        .filter(|[depth]| groups(*depth).is_some())?;
    Some(ImageNetVgg::new(depth, normed, request).map(ModelSpec::ImageNetVgg))
}

fn groups(depth: usize) -> Option<[usize; 5]> {
    let found = DEPTHS.iter().find(|(known, _)| *known == depth);
    found.map(|&(_, groups)| groups)
}

impl ImageNetVgg {
    fn new(depth: usize, normed: bool, request: &mut ModelRequest) -> Result<Self, ModelError> {
        let head = request.choose("head", &HEADS)?.flatten();
        let stem = Stem::read(request)?;
        Ok(ImageNetVgg {
            depth,
            normed,
            head: head.or(stem.map(Head::of)),
            bias: request.yes_or_no("bias")?.unwrap_or(true),
            last_pool: request.yes_or_no("last-pool")?.unwrap_or(true),
        })
    }

    fn layer(&self, g: &mut Graph, index: usize, x: NodeId, filters: usize) -> Result<NodeId, GraphError> {
        let options = ConvOptions {
            bias: self.bias,
            ..ConvOptions::new(3, 1)
        };
        let mut y = conv_with(g, &format!("features.{index}"), x, filters, options)?;
        if self.normed {
            y = batch_norm(g, &format!("features.{}", index + 1), y);
        }
        Ok(g.relu(y))
    }

    fn classifier(g: &mut Graph, x: NodeId, hidden: usize, classes: usize) -> Result<NodeId, GraphError> {
        let mut x = x;
        for name in ["classifier.0", "classifier.3"] {
            let y = linear(g, name, x, hidden);
            let y = g.relu(y);
            x = g.dropout(y, 0.5)?;
        }
        Ok(linear(g, "classifier.6", x, classes))
    }
}

impl Family for ImageNetVgg {
    fn base(&self) -> String {
        format!("vgg{}{}", self.depth, if self.normed { "-bn" } else { "" })
    }

    fn choices(&self) -> Vec<Choice> {
        vec![
            Choice::new("head", name_of(self.head, &HEADS), "auto"),
            Choice::yes_or_no("bias", self.bias, true),
            Choice::yes_or_no("last-pool", self.last_pool, true),
        ]
    }

    fn usual_input(&self) -> InputShape {
        match self.head {
            None | Some(Head::ImageNet) => InputShape::IMAGENET,
            _ => InputShape::default(),
        }
    }

    fn note(&self, input: &InputShape) -> Option<String> {
        let small = Head::of(Stem::of_size(input.height.min(input.width))) == Head::Linear;
        (self.head.is_none() && small).then(|| {
            let name = self.base();
            format!("{name} on {input} images has one linear layer as its head; the other one is {name}:head=imagenet")
        })
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let (height, width) = g.shape(images).plane();
        let groups = groups(self.depth).unwrap_or_default();
        let mut x = images;
        let mut index = 0;
        for (stage, (&layers, &filters)) in (1..).zip(groups.iter().zip(&WIDTHS)) {
            for _ in 0..layers {
                let name = format!("features.{index}");
                let y = self.layer(g, index, x, filters)?;
                x = removable(g, &name, stage, x, y)?;
                // Convolution, perhaps batch norm, ReLU.
                index += if self.normed { 3 } else { 2 };
            }
            if self.last_pool || stage < groups.len() {
                x = g.max_pool(x, HALVE)?;
            }
            index += 1;
        }
        match self.head.unwrap_or(Head::of(Stem::of_size(height.min(width)))) {
            Head::ImageNet => Self::classifier(g, x, 4096, classes),
            Head::Hidden => {
                let x = g.global_avg_pool(x);
                Self::classifier(g, x, 512, classes)
            }
            Head::Linear => {
                let x = g.global_avg_pool(x);
                Ok(linear(g, "classifier", x, classes))
            }
        }
    }
}
