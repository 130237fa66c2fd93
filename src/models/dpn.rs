//! Dual Path Networks: Chen et al. 2017, arXiv:1707.01629.
//!
//! A unit's branch has three convolutions (1×1, grouped 3×3, 1×1). The first
//! channels of its output are added to a residual path, as in a ResNeXt; the
//! others, the increment, are concatenated to a dense path, as in a DenseNet.
//! A unit reads both paths. The first unit of a stage projects its input to new
//! paths; its dense path begins with two increments.
//!
//! The network of the paper has batch norm (ε = 1e-3) and ReLU before the
//! convolutions. Parameter names are those of Cadene's and timm's ports. A
//! public port for CIFAR computes another function under the same names: batch
//! norm after the convolutions, ReLU after both paths, and projections with one
//! increment (`variant=kuangliu`).
//!
//! Each unit has two blocks: its addition to the residual path, and its
//! addition to the dense path, whose channels are zeros where it is deleted.

use super::family::Family;
use super::layers::{ConvOptions, batch_norm, batch_norm_relu, conv, conv_with, linear};
use super::request::{Choice, ModelRequest, name_of};
use super::stem::{POOL, Stem};
use super::{InputShape, ModelError, ModelSpec};
use crate::graph::{BlockInfo, Gains, Graph, GraphError, NodeId};

/// ε of the paper's batch norms.
const EPS: f32 = 1e-3;
/// Weight of a new batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// A network of the paper.
struct Design {
    name: &'static str,
    /// Channels of the stem, and its kernel.
    stem: (usize, usize),
    /// Channels of the grouped convolution in the first stage, and groups.
    grouped: (usize, usize),
    /// Channels of the residual path in the first stage.
    residual: usize,
    /// Units in each stage.
    units: [usize; 4],
    /// The increment of each stage.
    increments: [usize; 4],
    /// Whether the last convolution of a unit is two, one for each path.
    split: bool,
}

const DESIGNS: [Design; 6] = [
    Design {
        name: "68",
        stem: (10, 3),
        grouped: (128, 32),
        residual: 64,
        units: [3, 4, 12, 3],
        increments: [16, 32, 32, 64],
        split: false,
    },
    Design {
        name: "68b",
        stem: (10, 3),
        grouped: (128, 32),
        residual: 64,
        units: [3, 4, 12, 3],
        increments: [16, 32, 32, 64],
        split: true,
    },
    Design {
        name: "92",
        stem: (64, 7),
        grouped: (96, 32),
        residual: 256,
        units: [3, 4, 20, 3],
        increments: [16, 32, 24, 128],
        split: false,
    },
    Design {
        name: "98",
        stem: (96, 7),
        grouped: (160, 40),
        residual: 256,
        units: [3, 6, 20, 3],
        increments: [16, 32, 32, 128],
        split: false,
    },
    Design {
        name: "107",
        stem: (128, 7),
        grouped: (200, 50),
        residual: 256,
        units: [4, 8, 20, 3],
        increments: [20, 64, 64, 128],
        split: false,
    },
    Design {
        name: "131",
        stem: (128, 7),
        grouped: (160, 40),
        residual: 256,
        units: [4, 8, 28, 3],
        increments: [16, 32, 32, 128],
        split: false,
    },
];

/// The port for CIFAR: units in each stage.
const PORTED: [(&str, [usize; 4]); 2] = [("26", [2, 2, 2, 2]), ("92", [3, 4, 20, 3])];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Paper,
    KuangLiu,
}

const VARIANTS: [(&str, Variant); 2] = [("paper", Variant::Paper), ("kuangliu", Variant::KuangLiu)];

/// `dpn68`, `dpn68b`, `dpn92`, `dpn98`, `dpn107`, `dpn131`.
///
/// Options: `variant` = `paper` (default) or `kuangliu`, the port for CIFAR,
/// which has `dpn26` and `dpn92`; for the paper's `stem` = `cifar` (3×3, stride
/// 1, no pooling) or `imagenet`, by default by the images' size.
#[derive(Debug, Clone, PartialEq)]
pub struct DualPath {
    name: &'static str,
    variant: Variant,
    stem: Option<Stem>,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "dpn68 to 131";

/// Reads a request for a dual path network.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let rest = request.name.strip_prefix("dpn")?;
    let rest = rest.strip_prefix('-').unwrap_or(rest).to_string();
    let names = DESIGNS.iter().map(|design| design.name);
    let known = names.chain(PORTED.map(|(name, _)| name)).find(|name| *name == rest)?;
    Some(DualPath::new(known, request).map(ModelSpec::DualPath))
}

impl DualPath {
    fn new(name: &'static str, request: &mut ModelRequest) -> Result<Self, ModelError> {
        let variant = request.choose("variant", &VARIANTS)?.unwrap_or(Variant::Paper);
        let stem = if variant == Variant::Paper {
            Stem::read(request)?
        } else {
            None
        };
        let exists = match variant {
            Variant::Paper => DESIGNS.iter().any(|design| design.name == name),
            Variant::KuangLiu => PORTED.iter().any(|(ported, _)| *ported == name),
        };
        if !exists {
            return Err(ModelError::Value {
                model: request.name.clone(),
                option: "variant",
                value: name_of(variant, &VARIANTS).to_string(),
                expected: "kuangliu for dpn26, paper for all others, and either for dpn92".to_string(),
            });
        }
        Ok(DualPath { name, variant, stem })
    }
}

impl Family for DualPath {
    fn base(&self) -> String {
        format!("dpn{}", self.name)
    }

    fn choices(&self) -> Vec<Choice> {
        let stem = (self.variant == Variant::Paper).then(|| Stem::choice(self.stem));
        let variant = Choice::new("variant", name_of(self.variant, &VARIANTS), "paper");
        stem.into_iter().chain([variant]).collect()
    }

    fn usual_input(&self) -> InputShape {
        match self.variant {
            Variant::Paper => Stem::usual_input(self.stem),
            Variant::KuangLiu => InputShape::default(),
        }
    }

    fn note(&self, input: &InputShape) -> Option<String> {
        (self.variant == Variant::Paper).then(|| Stem::note(self.stem, &self.base(), input))?
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        if self.variant == Variant::KuangLiu {
            let ported = PORTED.iter().find(|(name, _)| *name == self.name);
            return ported_network(g, images, classes, ported.map(|(_, units)| *units).unwrap_or_default());
        }
        let Some(design) = DESIGNS.iter().find(|design| design.name == self.name) else {
            unreachable!("the name was checked when it was read");
        };
        let stem = Stem::for_images(self.stem, g, images);
        let features = g.scoped("features", |g| design.features(g, images, stem))?;
        let pooled = g.global_avg_pool(features);
        Ok(linear(g, "classifier", pooled, classes))
    }
}

/// The values between two units.
struct Paths {
    residual: NodeId,
    /// The channels of the dense path, as the units have added them.
    dense: Vec<NodeId>,
}

impl Paths {
    /// Both paths as one value.
    fn concat(&self, g: &mut Graph) -> Result<NodeId, GraphError> {
        g.concat(&[&[self.residual], &self.dense[..]].concat())
    }
}

impl Design {
    fn features(&self, g: &mut Graph, images: NodeId, stem: Stem) -> Result<NodeId, GraphError> {
        let (width, kernel) = self.stem;
        let x = g.scoped("conv1_1", |g| {
            let x = match stem {
                Stem::Cifar => conv(g, "conv", images, width, 3, 1)?,
                Stem::ImageNet => conv(g, "conv", images, width, kernel, 2)?,
            };
            Ok(norm_relu(g, "bn", x))
        })?;
        let x = match stem {
            Stem::Cifar => x,
            Stem::ImageNet => g.max_pool(x, POOL)?,
        };
        let mut input = x;
        let mut paths = None;
        for (index, &units) in self.units.iter().enumerate() {
            for unit in 1..=units {
                let name = format!("conv{}_{unit}", index + 2);
                let next = g.scoped(&name, |g| self.unit(g, index, input, paths.filter(|_| unit > 1)))?;
                input = next.concat(g)?;
                paths = Some(next);
            }
        }
        g.scoped("conv5_bn_ac", |g| Ok(norm_relu(g, "bn", input)))
    }

    /// A unit of stage `index` (from 0). `input` holds both paths; without
    /// `paths` it is projected to new ones.
    fn unit(&self, g: &mut Graph, index: usize, input: NodeId, paths: Option<Paths>) -> Result<Paths, GraphError> {
        let width = self.residual << index;
        let increment = self.increments[index];
        let (grouped, groups) = (self.grouped.0 << index, self.grouped.1);
        let is_first = paths.is_none();
        let stride = if is_first && index > 0 { 2 } else { 1 };
        let path = g.path("");
        let path = path.trim_end_matches('.').to_string();
        let old = match paths {
            Some(paths) => paths,
            None => {
                let name = if stride == 1 { "c1x1_w_s1" } else { "c1x1_w_s2" };
                let projected = norm_relu_conv(g, name, input, width + 2 * increment, ConvOptions::new(1, stride))?;
                Paths {
                    residual: g.slice(projected, 0, width)?,
                    dense: vec![g.slice(projected, width, 2 * increment)?],
                }
            }
        };
        let y = norm_relu_conv(g, "c1x1_a", input, grouped, ConvOptions::new(1, 1))?;
        let inner = ConvOptions {
            groups,
            ..ConvOptions::new(3, stride)
        };
        let y = norm_relu_conv(g, "c3x3_b", y, grouped, inner)?;
        let [added, appended] = if self.split {
            let y = g.scoped("c1x1_c", |g| norm_relu(g, "bn", y));
            [
                conv(g, "c1x1_c1", y, width, 1, 1)?,
                conv(g, "c1x1_c2", y, increment, 1, 1)?,
            ]
        } else {
            let y = norm_relu_conv(g, "c1x1_c", y, width + increment, ConvOptions::new(1, 1))?;
            [g.slice(y, 0, width)?, g.slice(y, width, increment)?]
        };
        let halves = Halves {
            path: &path,
            stage: index + 1,
            input,
            downsamples: is_first,
        };
        let residual = halves.residual(g, added, old.residual)?;
        let mut dense = old.dense;
        dense.push(halves.dense(g, appended)?);
        Ok(Paths { residual, dense })
    }
}

/// The two blocks of a unit.
struct Halves<'a> {
    path: &'a str,
    stage: usize,
    input: NodeId,
    downsamples: bool,
}

impl Halves<'_> {
    fn residual(&self, g: &mut Graph, branch: NodeId, shortcut: NodeId) -> Result<NodeId, GraphError> {
        self.block(g, "residual", Gains::RESIDUAL, branch, shortcut)
    }

    fn dense(&self, g: &mut Graph, features: NodeId) -> Result<NodeId, GraphError> {
        let zeros = g.zeros_like(features);
        self.block(g, "dense", Gains::PLAIN, features, zeros)
    }

    fn block(
        &self,
        g: &mut Graph,
        half: &str,
        default: Gains,
        branch: NodeId,
        shortcut: NodeId,
    ) -> Result<NodeId, GraphError> {
        let info = BlockInfo {
            name: &format!("{}.{half}", self.path),
            stage: self.stage,
            input: self.input,
            downsamples: self.downsamples,
            default,
            relu: false,
        };
        g.block(&info, branch, shortcut)
    }
}

fn norm_relu(g: &mut Graph, name: &str, x: NodeId) -> NodeId {
    let y = g.batch_norm(name, x, EPS, MOMENTUM);
    g.relu(y)
}

/// Batch norm, ReLU and convolution under `name`.
fn norm_relu_conv(
    g: &mut Graph,
    name: &str,
    x: NodeId,
    filters: usize,
    options: ConvOptions,
) -> Result<NodeId, GraphError> {
    g.scoped(name, |g| {
        let y = norm_relu(g, "bn", x);
        conv_with(g, "conv", y, filters, options)
    })
}

/// The port for CIFAR. Its state is one tensor: the residual path, then the
/// dense path.
fn ported_network(g: &mut Graph, images: NodeId, classes: usize, units: [usize; 4]) -> Result<NodeId, GraphError> {
    const INNER: [usize; 4] = [96, 192, 384, 768];
    const RESIDUAL: [usize; 4] = [256, 512, 1024, 2048];
    const INCREMENTS: [usize; 4] = [16, 32, 24, 128];
    let x = conv(g, "conv1", images, 64, 3, 1)?;
    let mut x = batch_norm_relu(g, "bn1", x);
    for stage in 0..4 {
        for unit in 0..units[stage] {
            let stride = if stage > 0 && unit == 0 { 2 } else { 1 };
            let name = format!("layer{}.{unit}", stage + 1);
            let path = g.path(&name);
            let (width, increment) = (RESIDUAL[stage], INCREMENTS[stage]);
            x = g.scoped(&name, |g| {
                let y = conv(g, "conv1", x, INNER[stage], 1, 1)?;
                let y = batch_norm_relu(g, "bn1", y);
                let grouped = ConvOptions {
                    groups: 32,
                    ..ConvOptions::new(3, stride)
                };
                let y = conv_with(g, "conv2", y, INNER[stage], grouped)?;
                let y = batch_norm_relu(g, "bn2", y);
                let y = conv(g, "conv3", y, width + increment, 1, 1)?;
                let y = batch_norm(g, "bn3", y);
                let old = if unit == 0 {
                    let projected = conv(g, "shortcut.0", x, width + increment, 1, stride)?;
                    batch_norm(g, "shortcut.1", projected)
                } else {
                    x
                };
                let halves = Halves {
                    path: &path,
                    stage: stage + 1,
                    input: x,
                    downsamples: unit == 0,
                };
                let dense = g.shape(old).channels() - width;
                let [old_residual, old_dense] = [g.slice(old, 0, width)?, g.slice(old, width, dense)?];
                let [added, appended] = [g.slice(y, 0, width)?, g.slice(y, width, increment)?];
                let residual = halves.residual(g, added, old_residual)?;
                let appended = halves.dense(g, appended)?;
                let both = g.concat(&[residual, old_dense, appended])?;
                Ok(g.relu(both))
            })?;
        }
    }
    let pooled = g.global_avg_pool(x);
    Ok(linear(g, "linear", pooled, classes))
}
