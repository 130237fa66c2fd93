//! The merge-and-run network for ImageNet: Zhao et al. 2017, "Deep Convolutional
//! Neural Networks with Merge-and-Run Mappings", arXiv:1611.07718 (DFN-MR-50 of
//! its first version), as in the authors' `symbol_cross.py`.
//!
//! Two lines of bottlenecks run side by side. A unit adds to each line's branch
//! the mean of both lines; ReLU follows. The first unit of each stage changes the
//! shape and has no shortcut at all: its lines stay apart. Both lines are
//! concatenated before the linear layer. The first convolution has neither batch
//! norm nor ReLU. Batch norm has ε = 2e-5.
//!
//! Each line of a unit with a shortcut is a block for studies:
//! `layer2.1.line1`, `layer2.1.line2`.

use super::family::Family;
use super::layers::{conv, head};
use super::request::ModelRequest;
use super::stem::POOL;
use super::unit::{Stage, Unit, units};
use super::{InputShape, ModelError, ModelSpec};
use crate::graph::{BlockInfo, Gains, Graph, GraphError, NodeId};

/// ε of every batch norm.
const EPS: f32 = 2e-5;
/// Weight of a new batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// Output channels of a line, units, and the stride of the first, in each stage.
const STAGES: [(usize, usize, usize); 4] = [(256, 1, 1), (512, 2, 2), (1024, 11, 2), (2048, 2, 2)];

/// `dmrnet-imagenet-50`; no options.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageNetMergeRun {}

/// Its names, for messages.
pub(super) const NAMES: &str = "dmrnet-imagenet-50";

/// Reads a request for the merge-and-run network for ImageNet.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let is_its = request.sizes("dmrnet-imagenet") == Some([50]);
    is_its.then_some(Ok(ModelSpec::ImageNetMergeRun(ImageNetMergeRun {})))
}

impl Family for ImageNetMergeRun {
    fn base(&self) -> String {
        "dmrnet-imagenet-50".to_string()
    }

    fn usual_input(&self) -> InputShape {
        InputShape::IMAGENET
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let x = conv(g, "conv1", images, 64, 7, 2)?;
        let x = g.max_pool(x, POOL)?;
        let stages = STAGES.map(|(width, units, stride)| Stage { width, units, stride });
        let [first, second] =
            units(&stages).try_fold([x, x], |lines, unit| g.scoped(&unit.name(), |g| fuse(g, &unit, lines)))?;
        let both = g.concat(&[first, second])?;
        Ok(head(g, both, classes))
    }
}

/// One unit: what both lines are after it.
fn fuse(g: &mut Graph, unit: &Unit, lines: [NodeId; 2]) -> Result<[NodeId; 2], GraphError> {
    let names = ["line1", "line2"];
    if unit.reshapes(g, lines[0]) {
        let mut line = |index: usize| {
            let branch = bottleneck(g, names[index], unit, lines[index])?;
            Ok(g.relu(branch))
        };
        return Ok([line(0)?, line(1)?]);
    }
    let sum = g.sum(lines[0], lines[1])?;
    let mean = g.scale(sum, 0.5);
    let mut line = |index: usize| {
        let branch = bottleneck(g, names[index], unit, lines[index])?;
        let info = BlockInfo {
            name: &g.path(names[index]),
            stage: unit.stage,
            input: lines[index],
            downsamples: false,
            default: Gains::RESIDUAL,
            relu: true,
        };
        g.block(&info, branch, mean)
    };
    Ok([line(0)?, line(1)?])
}

/// Three convolutions, each with batch norm, and ReLU between them.
fn bottleneck(g: &mut Graph, name: &str, unit: &Unit, x: NodeId) -> Result<NodeId, GraphError> {
    let inner = unit.width / 4;
    g.scoped(name, |g| {
        let x = conv(g, "conv1", x, inner, 1, 1)?;
        let x = norm_relu(g, "bn1", x);
        let x = conv(g, "conv2", x, inner, 3, unit.stride)?;
        let x = norm_relu(g, "bn2", x);
        let x = conv(g, "conv3", x, unit.width, 1, 1)?;
        Ok(g.batch_norm("bn3", x, EPS, MOMENTUM))
    })
}

fn norm_relu(g: &mut Graph, name: &str, x: NodeId) -> NodeId {
    let y = g.batch_norm(name, x, EPS, MOMENTUM);
    g.relu(y)
}
