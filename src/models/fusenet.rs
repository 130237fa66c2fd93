//! Deeply-fused and merge-and-run networks: Zhao et al. 2017, "Deep
//! Convolutional Neural Networks with Merge-and-Run Mappings",
//! arXiv:1611.07718, and the comparisons in the authors' code.
//!
//! All of them have the layers of a plain network of depth d: a 3×3 stem and
//! three stages with 16k, 32k and 64k channels, convolution, batch norm and
//! ReLU. They differ in which layers are parallel and where their outputs are
//! added. Projections are 1×1 convolutions of stride 2 with batch norm. Batch
//! norm has ε = 2e-5 and momentum 0.01, as in the authors' code.
//!
//! In a merge-and-run network (`cross`) two lines run side by side. A block
//! adds to each line's branch the mean of both lines; the last block adds both
//! branches to it. Each line of a block is a block of its own for studies:
//! `layer1.0.line1`, `layer1.0.line2`.
//!
//! The authors' `ensemble` takes the network with three long fusions (`fuse3`)
//! apart: eight networks that go through one side or the other of each stage, with
//! the same weights and each with its own running statistics. Training minimises
//! the sum of their losses. What two of them have in common is computed once. The
//! program's prediction is the mean of their logits, and the loss that it prints is
//! that of this mean. Each network is a block for studies, a path of the mean:
//! `member1` to `member8`.

use std::collections::BTreeMap;

use super::family::Family;
use super::layers::{ConvOptions, conv_with, linear, removable};
use super::limits::{MAX_CHANNELS, MAX_DEPTH, check_width};
use super::request::{ModelRequest, name_of};
use super::{ModelError, ModelSpec};
use crate::graph::{BlockInfo, Gains, Graph, GraphError, NodeId};

const EPS: f32 = 2e-5;
const MOMENTUM: f32 = 0.01;

/// How layers are fused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fusion {
    /// One after the other.
    Plain,
    /// Two layers and an identity.
    Residual,
    /// Two branches of two layers and an identity: inception-like.
    Half,
    /// Two branches of two layers.
    Side,
    /// Merge and run.
    Cross,
    /// A third, or a sixth, of all layers next to one layer.
    Long(usize),
    /// The eight networks that are parts of the one with three long fusions.
    Ensemble,
}

const FUSIONS: [(&str, Fusion); 8] = [
    ("plain", Fusion::Plain),
    ("resnet", Fusion::Residual),
    ("half", Fusion::Half),
    ("side", Fusion::Side),
    ("cross", Fusion::Cross),
    ("fuse3", Fusion::Long(3)),
    ("fuse6", Fusion::Long(6)),
    ("ensemble", Fusion::Ensemble),
];

/// `fusenet-<fusion>-<depth>` and `fusenet-<fusion>-<depth>-<k>`: fusion is
/// `plain`, `resnet`, `half`, `side`, `cross`, `fuse3`, `fuse6` or `ensemble`; depth is
/// that of the plain network with the same layers; k widens it. `dmrnet-<d>` and
/// `dmrnet-<d>-<k>` are the merge-and-run networks by the paper's depth, the
/// layers on one line: `dmrnet-56` is `fusenet-cross-110`.
#[derive(Debug, Clone, PartialEq)]
pub struct FuseNet {
    fusion: Fusion,
    depth: usize,
    widening: usize,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "fusenet-<fusion>-<depth>, dmrnet-<depth>";

/// Reads a request for a fused network.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let with_width = |family: &str| {
        let both = request.sizes::<2>(family).map(|[depth, widening]| (depth, widening));
        both.or_else(|| request.sizes::<1>(family).map(|[depth]| (depth, 1)))
    };
    if let Some((depth, widening)) = with_width("dmrnet") {
        let plain = depth.saturating_sub(2).saturating_mul(2).saturating_add(2);
        return Some(FuseNet::new(Fusion::Cross, plain, widening, request).map(ModelSpec::FuseNet));
    }
    FUSIONS.iter().find_map(|&(name, fusion)| {
        let (depth, widening) = with_width(&format!("fusenet-{name}"))?;
        Some(FuseNet::new(fusion, depth, widening, request).map(ModelSpec::FuseNet))
    })
}

impl FuseNet {
    fn new(fusion: Fusion, depth: usize, widening: usize, request: &ModelRequest) -> Result<Self, ModelError> {
        if depth > MAX_DEPTH {
            return Err(ModelError::TooDeep {
                model: request.name.clone(),
            });
        }
        check_width(&request.name, "widening factor k", widening, MAX_CHANNELS / 64)?;
        let network = FuseNet {
            fusion,
            depth,
            widening,
        };
        let step = network.step();
        // Every stage has at least one block, and no layer is left over.
        let rest = depth
            .checked_sub(2)
            .filter(|layers| *layers >= 3 * step && layers.is_multiple_of(step));
        if rest.is_none() {
            let below = (depth.saturating_sub(2) / step).max(3) * step + 2;
            let nearest = [below, below + step].into_iter().filter(|near| *near != depth);
            return Err(ModelError::Depth {
                model: request.name.clone(),
                depth,
                rule: format!("{step}n+2 with n ≥ 3"),
                nearest: nearest.collect(),
            });
        }
        Ok(network)
    }

    /// Layers of the plain network that a block has.
    fn step(&self) -> usize {
        match self.fusion {
            Fusion::Plain => 1,
            Fusion::Residual => 2,
            Fusion::Half | Fusion::Side | Fusion::Cross => 4,
            Fusion::Long(parts) => (self.depth.saturating_sub(2) / parts).max(1),
            Fusion::Ensemble => (self.depth.saturating_sub(2) / 3).max(1),
        }
    }

    /// Blocks in each stage: the layers are divided among the stages as evenly
    /// as whole blocks allow, later stages first.
    fn blocks(&self) -> [usize; 3] {
        let mut left = self.depth.saturating_sub(2) / self.step();
        [3, 2, 1].map(|stages| {
            let blocks = left / stages;
            left -= blocks;
            blocks
        })
    }

    /// One block. Networks with one line have it twice.
    fn fuse(&self, g: &mut Graph, place: &Place, lines: [NodeId; 2]) -> Result<[NodeId; 2], GraphError> {
        let x = lines[0];
        let name = format!("layer{}.{}", place.stage, place.number);
        let path = g.path(&name);
        g.scoped(&name, |g| {
            let y = match self.fusion {
                Fusion::Cross => return place.cross(g, &path, lines),
                Fusion::Ensemble => unreachable!("`forward` builds the ensemble as a whole"),
                Fusion::Plain => {
                    let y = place.layer("conv", "bn").relu().build(g, x, place.width)?;
                    removable(g, "conv", place.stage, x, y)?
                }
                Fusion::Residual => {
                    let shortcut = place.shortcut(g, "shortcut", x)?;
                    let branch = place.two(g, "branch", x)?;
                    place.join(g, &path, x, true, branch, shortcut)?
                }
                Fusion::Half => {
                    let shortcut = place.shortcut(g, "shortcut", x)?;
                    let branch = place.two(g, "branch1", x)?;
                    let first = place.join(g, &format!("{path}.branch1"), x, false, branch, shortcut)?;
                    let branch = place.two(g, "branch2", x)?;
                    place.join(g, &format!("{path}.branch2"), x, true, branch, first)?
                }
                Fusion::Side => {
                    let first = place.two(g, "branch1", x)?;
                    let second = place.two(g, "branch2", x)?;
                    place.join(g, &path, x, true, second, first)?
                }
                Fusion::Long(_) => {
                    let first_of_all = place.stage == 1 && place.number == 0;
                    let shortcut = if first_of_all || place.reshapes(g, x) {
                        place.layer("shortcut.conv", "shortcut.bn").build(g, x, place.width)?
                    } else {
                        x
                    };
                    let mut y = x;
                    for layer in 1..=self.step() {
                        let strided = if layer == 1 { place.stride } else { 1 };
                        let mut next = Layer::new(&format!("conv{layer}"), &format!("bn{layer}")).stride(strided);
                        if layer < self.step() {
                            next = next.relu();
                        }
                        y = next.build(g, y, place.width)?;
                    }
                    place.join(g, &path, x, true, y, shortcut)?
                }
            };
            Ok([y, y])
        })
    }
}

impl Family for FuseNet {
    fn base(&self) -> String {
        let width = match self.widening {
            1 => String::new(),
            widening => format!("-{widening}"),
        };
        format!("fusenet-{}-{}{width}", name_of(self.fusion, &FUSIONS), self.depth)
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let width = 16 * self.widening;
        if self.fusion == Fusion::Ensemble {
            return ensemble(g, images, self.step(), width, classes);
        }
        let x = Layer::new("conv1", "bn1").relu().build(g, images, width)?;
        let mut lines = [x, x];
        let blocks = self.blocks();
        for (index, &count) in blocks.iter().enumerate() {
            for number in 0..count {
                let place = Place {
                    stage: index + 1,
                    number,
                    width: width << index,
                    stride: if index > 0 && number == 0 { 2 } else { 1 },
                    last: index + 1 == blocks.len() && number + 1 == count,
                };
                lines = self.fuse(g, &place, lines)?;
            }
        }
        let pooled = g.global_avg_pool(lines[0]);
        Ok(linear(g, "fc", pooled, classes))
    }
}

/// Where a block is.
struct Place {
    stage: usize,
    /// In its stage, from 0.
    number: usize,
    width: usize,
    stride: usize,
    last: bool,
}

impl Place {
    fn reshapes(&self, g: &Graph, x: NodeId) -> bool {
        self.stride != 1 || g.shape(x).channels() != self.width
    }

    /// A layer with the block's stride.
    fn layer(&self, conv: &str, norm: &str) -> Layer {
        Layer::new(conv, norm).stride(self.stride)
    }

    /// Two layers under `name`, the second one without ReLU.
    fn two(&self, g: &mut Graph, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        g.scoped(name, |g| {
            let y = self.layer("conv1", "bn1").relu().build(g, x, self.width)?;
            Layer::new("conv2", "bn2").build(g, y, self.width)
        })
    }

    /// x, or its projection under `name`.
    fn shortcut(&self, g: &mut Graph, name: &str, x: NodeId) -> Result<NodeId, GraphError> {
        if !self.reshapes(g, x) {
            return Ok(x);
        }
        g.scoped(name, |g| self.layer("conv", "bn").kernel(1).build(g, x, self.width))
    }

    fn join(
        &self,
        g: &mut Graph,
        name: &str,
        input: NodeId,
        relu: bool,
        branch: NodeId,
        shortcut: NodeId,
    ) -> Result<NodeId, GraphError> {
        let info = BlockInfo {
            name,
            stage: self.stage,
            input,
            downsamples: self.reshapes(g, input),
            default: Gains::RESIDUAL,
            relu,
        };
        g.block(&info, branch, shortcut)
    }

    /// Merge and run: the mean of both lines, and each line's branch.
    fn cross(&self, g: &mut Graph, path: &str, [a, b]: [NodeId; 2]) -> Result<[NodeId; 2], GraphError> {
        let first = self.shortcut(g, "shortcut1", a)?;
        let second = self.shortcut(g, "shortcut2", b)?;
        let sum = g.sum(first, second)?;
        let mean = g.scale(sum, 0.5);
        let [line1, line2] = [1, 2].map(|line| format!("{path}.line{line}"));
        let branch = self.two(g, "line1", a)?;
        let first = self.join(g, &line1, a, !self.last, branch, mean)?;
        let branch = self.two(g, "line2", b)?;
        let shortcut = if self.last { first } else { mean };
        let second = self.join(g, &line2, b, true, branch, shortcut)?;
        Ok(if self.last { [second, second] } else { [first, second] })
    }
}

/// Convolution, batch norm and perhaps ReLU.
struct Layer {
    conv: String,
    norm: String,
    kernel: usize,
    stride: usize,
    relu: bool,
}

impl Layer {
    fn new(conv: &str, norm: &str) -> Self {
        Layer {
            conv: conv.to_string(),
            norm: norm.to_string(),
            kernel: 3,
            stride: 1,
            relu: false,
        }
    }

    fn kernel(mut self, kernel: usize) -> Self {
        self.kernel = kernel;
        self
    }

    fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    fn relu(mut self) -> Self {
        self.relu = true;
        self
    }

    fn build(&self, g: &mut Graph, x: NodeId, filters: usize) -> Result<NodeId, GraphError> {
        let y = conv_with(g, &self.conv, x, filters, ConvOptions::new(self.kernel, self.stride))?;
        let y = g.batch_norm(&self.norm, y, EPS, MOMENTUM);
        Ok(if self.relu { g.relu(y) } else { y })
    }
}

/// Layers that several networks have in common, by the name of the convolution:
/// convolution, batch norm, and the number of networks so far.
#[derive(Default)]
struct Shared(BTreeMap<String, (NodeId, NodeId, usize)>);

impl Shared {
    fn build(&mut self, g: &mut Graph, layer: &Layer, x: NodeId, filters: usize) -> Result<NodeId, GraphError> {
        let y = match self.0.get_mut(&g.path(&layer.conv)) {
            Some((conv, norm, uses)) => {
                *uses += 1;
                let y = g.again(*conv, x)?;
                g.batch_norm_again(&format!("{}.use{uses}", layer.norm), *norm, y)?
            }
            None => {
                let conv = conv_with(g, &layer.conv, x, filters, ConvOptions::new(layer.kernel, layer.stride))?;
                let norm = g.batch_norm(&layer.norm, conv, EPS, MOMENTUM);
                self.0.insert(g.path(&layer.conv), (conv, norm, 1));
                norm
            }
        };
        Ok(if layer.relu { g.relu(y) } else { y })
    }
}

/// The eight networks, each stage with one layer or with `depth` layers, and the
/// mean of their logits.
fn ensemble(g: &mut Graph, images: NodeId, depth: usize, width: usize, classes: usize) -> Result<NodeId, GraphError> {
    // The stem is not widened.
    let mut values = vec![Layer::new("conv1", "bn1").relu().build(g, images, 16)?];
    let mut shared = Shared::default();
    for stage in 1..=3 {
        let (filters, stride) = (width << (stage - 1), if stage > 1 { 2 } else { 1 });
        let short = Layer::new("shortcut.conv", "shortcut.bn").stride(stride).relu();
        let name = format!("layer{stage}.0");
        let mut next = Vec::new();
        for x in values {
            next.push(g.scoped(&name, |g| shared.build(g, &short, x, filters))?);
            let long = (1..=depth).try_fold(x, |x, number| {
                let strided = if number == 1 { stride } else { 1 };
                let layer = Layer::new(&format!("conv{number}"), &format!("bn{number}"));
                g.scoped(&name, |g| shared.build(g, &layer.stride(strided).relu(), x, filters))
            })?;
            next.push(long);
        }
        values = next;
    }
    let mut heads: Vec<NodeId> = Vec::new();
    for x in values {
        let pooled = g.global_avg_pool(x);
        heads.push(match heads.first() {
            Some(&first) => g.again(first, pooled)?,
            None => linear(g, "fc", pooled, classes),
        });
    }
    g.train_heads(&heads);
    let mut sum = g.zeros_like(heads[0]);
    for (number, &head) in (1..).zip(&heads) {
        let info = BlockInfo {
            name: &format!("member{number}"),
            stage: 1,
            input: images,
            downsamples: true,
            default: Gains::RESIDUAL,
            relu: false,
        };
        sum = g.block(&info, head, sum)?;
    }
    g.join_by_mean(&(1..=heads.len()).collect::<Vec<_>>());
    Ok(sum)
}
