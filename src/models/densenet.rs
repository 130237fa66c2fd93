//! DenseNet: Huang et al. 2017, "Densely Connected Convolutional Networks",
//! arXiv:1608.06993.
//!
//! Every layer of a dense block reads the channels of all layers before it in
//! the block, and adds k channels (the growth rate). A layer is batch norm,
//! ReLU and a 3×3 convolution; with a bottleneck, a 1×1 convolution to 4k
//! channels, batch norm and ReLU come before the 3×3. Between two dense blocks
//! a 1×1 convolution (which halves the channels, with compression) and 2×2
//! average pooling. Parameter names are torchvision's
//! (`features.denseblock1.denselayer1.norm1`).
//!
//! Each layer is a block: where it is deleted, its k channels are zeros.

use super::family::Family;
use super::layers::{batch_norm_relu, conv, linear};
use super::limits::{Depths, MAX_CHANNELS, check_depth, check_width};
use super::request::{Choice, ModelRequest};
use super::stem::{POOL, Stem};
use super::{InputShape, ModelError, ModelSpec};
use crate::graph::{BlockInfo, Gains, Graph, GraphError, NodeId, Pool};

/// Depth, growth rate, and layers in each block of the networks for ImageNet.
const IMAGENET: [(usize, usize, [usize; 4]); 5] = [
    (121, 32, [6, 12, 24, 16]),
    (161, 48, [6, 12, 36, 24]),
    (169, 32, [6, 12, 32, 32]),
    (201, 32, [6, 12, 48, 32]),
    (264, 32, [6, 12, 64, 48]),
];

/// Halves height and width.
const HALVE: Pool = Pool {
    kernel: 2,
    stride: 2,
    padding: 0,
};

/// One 3×3 convolution a layer, three blocks; the stem, two transitions and the
/// head.
const PLAIN_DEPTHS: Depths = Depths { step: 3, rest: 4 };
/// Two convolutions a layer.
const BOTTLENECK_DEPTHS: Depths = Depths { step: 6, rest: 4 };

/// `densenet121`, `-161`, `-169`, `-201`, `-264` for ImageNet; for CIFAR
/// `densenet-<3n+4>-<k>`, and with bottlenecks and compression
/// `densenet-bc-<6n+4>-<k>`.
///
/// Options: `dropout` = the probability of a zero after every convolution in
/// dense blocks, 0 by default (the paper has 0.2 without augmentation); for
/// ImageNet `stem` = `cifar` or `imagenet`, by default by the images' size.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseNet {
    depth: usize,
    growth: usize,
    kind: Kind,
    stem: Option<Stem>,
    dropout: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ImageNet,
    /// Three blocks without bottlenecks.
    Plain,
    /// Three blocks with bottlenecks and compression.
    Bottleneck,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "densenet-<3n+4>-<k>, densenet-bc-<6n+4>-<k>, densenet121";

/// Reads a request for a DenseNet.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let of_imagenet = |depth| IMAGENET.iter().find(|(known, ..)| *known == depth);
    let (depth, growth, kind) = if let Some([depth, growth]) = request.sizes("densenet-bc") {
        (depth, growth, Kind::Bottleneck)
    } else if let Some([depth, growth]) = request.sizes("densenet") {
        (depth, growth, Kind::Plain)
    } else {
        let [depth] = request.sizes("densenet")?;
        let &(_, growth, _) = of_imagenet(depth)?;
        (depth, growth, Kind::ImageNet)
    };
    Some(DenseNet::new(depth, growth, kind, request).map(ModelSpec::DenseNet))
}

impl DenseNet {
    fn new(depth: usize, growth: usize, kind: Kind, request: &mut ModelRequest) -> Result<Self, ModelError> {
        match kind {
            Kind::ImageNet => {}
            Kind::Plain => check_depth(&request.name, depth, &[PLAIN_DEPTHS])?,
            Kind::Bottleneck => check_depth(&request.name, depth, &[BOTTLENECK_DEPTHS])?,
        }
        check_width(&request.name, "growth rate k", growth, MAX_CHANNELS)?;
        Ok(DenseNet {
            depth,
            growth,
            kind,
            stem: if kind == Kind::ImageNet {
                Stem::read(request)?
            } else {
                None
            },
            dropout: request.probability("dropout")?.unwrap_or(0.0),
        })
    }

    /// Layers in each dense block.
    fn layers(&self) -> Vec<usize> {
        let of_cifar = |depths: Depths| vec![depths.units(self.depth).unwrap_or(0); 3];
        match self.kind {
            Kind::Plain => of_cifar(PLAIN_DEPTHS),
            Kind::Bottleneck => of_cifar(BOTTLENECK_DEPTHS),
            Kind::ImageNet => {
                let found = IMAGENET.iter().find(|(depth, ..)| *depth == self.depth);
                found.map(|(.., layers)| layers.to_vec()).unwrap_or_default()
            }
        }
    }

    fn features(&self, g: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
        let mut x = self.stem(g, images)?;
        let layers = self.layers();
        for (stage, &count) in (1..).zip(&layers) {
            x = g.scoped(&format!("denseblock{stage}"), |g| {
                (1..=count).try_fold(x, |x, number| self.layer(g, stage, number, x))
            })?;
            if stage < layers.len() {
                x = g.scoped(&format!("transition{stage}"), |g| self.transition(g, x))?;
            }
        }
        // torchvision counts the stem's batch norm as 0 and this one as 5.
        let last = if self.kind == Kind::ImageNet {
            "norm5"
        } else {
            "norm_final"
        };
        Ok(batch_norm_relu(g, last, x))
    }

    fn stem(&self, g: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
        match self.kind {
            Kind::Plain => conv(g, "conv0", images, 16, 3, 1),
            Kind::Bottleneck => conv(g, "conv0", images, 2 * self.growth, 3, 1),
            Kind::ImageNet => {
                let width = 2 * self.growth;
                let stem = Stem::for_images(self.stem, g, images);
                let x = match stem {
                    Stem::Cifar => conv(g, "conv0", images, width, 3, 1)?,
                    Stem::ImageNet => conv(g, "conv0", images, width, 7, 2)?,
                };
                let x = batch_norm_relu(g, "norm0", x);
                match stem {
                    Stem::Cifar => Ok(x),
                    Stem::ImageNet => g.max_pool(x, POOL),
                }
            }
        }
    }

    /// Layer `number` of a dense block: x with k more channels.
    fn layer(&self, g: &mut Graph, stage: usize, number: usize, x: NodeId) -> Result<NodeId, GraphError> {
        let name = format!("denselayer{number}");
        let path = g.path(&name);
        let features = g.scoped(&name, |g| {
            let y = batch_norm_relu(g, "norm1", x);
            if self.kind == Kind::Plain {
                let y = conv(g, "conv1", y, self.growth, 3, 1)?;
                return g.dropout(y, self.dropout);
            }
            let y = conv(g, "conv1", y, 4 * self.growth, 1, 1)?;
            // torchvision has no dropout here; the paper drops after every convolution.
            let y = if self.kind == Kind::Bottleneck {
                g.dropout(y, self.dropout)?
            } else {
                y
            };
            let y = batch_norm_relu(g, "norm2", y);
            let y = conv(g, "conv2", y, self.growth, 3, 1)?;
            g.dropout(y, self.dropout)
        })?;
        let zeros = g.zeros_like(features);
        let info = BlockInfo {
            name: &path,
            stage,
            input: x,
            downsamples: false,
            default: Gains::PLAIN,
            relu: false,
        };
        let features = g.block(&info, features, zeros)?;
        g.concat(&[x, features])
    }

    fn transition(&self, g: &mut Graph, x: NodeId) -> Result<NodeId, GraphError> {
        let channels = g.shape(x).channels();
        let filters = if self.kind == Kind::Plain {
            channels
        } else {
            channels / 2
        };
        let y = batch_norm_relu(g, "norm", x);
        let y = conv(g, "conv", y, filters, 1, 1)?;
        let y = if self.kind == Kind::ImageNet {
            y
        } else {
            g.dropout(y, self.dropout)?
        };
        g.avg_pool(y, HALVE)
    }
}

impl Family for DenseNet {
    fn base(&self) -> String {
        let DenseNet { depth, growth, .. } = self;
        match self.kind {
            Kind::ImageNet => format!("densenet{depth}"),
            Kind::Plain => format!("densenet-{depth}-{growth}"),
            Kind::Bottleneck => format!("densenet-bc-{depth}-{growth}"),
        }
    }

    fn choices(&self) -> Vec<Choice> {
        let stem = (self.kind == Kind::ImageNet).then(|| Stem::choice(self.stem));
        let dropout = Choice::new("dropout", self.dropout.to_string(), "0");
        stem.into_iter().chain([dropout]).collect()
    }

    fn usual_input(&self) -> InputShape {
        match self.kind {
            Kind::ImageNet => Stem::usual_input(self.stem),
            _ => InputShape::default(),
        }
    }

    fn note(&self, input: &InputShape) -> Option<String> {
        (self.kind == Kind::ImageNet).then(|| Stem::note(self.stem, &self.base(), input))?
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let features = g.scoped("features", |g| self.features(g, images))?;
        let pooled = g.global_avg_pool(features);
        Ok(linear(g, "classifier", pooled, classes))
    }
}
