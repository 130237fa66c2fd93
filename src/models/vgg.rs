//! The VGG of the lesion study: Veit et al. 2016, "Residual Networks Behave
//! Like Ensembles of Relatively Shallow Networks", arXiv:1605.06431.
//!
//! The paper has 15 layers of 3×3 convolutions, all with 128 channels, so that
//! any of them can be removed. It does not describe batch norm, pooling and
//! head. Here each convolution has a bias, as in VGG-16 (Simonyan and Zisserman
//! 2014, arXiv:1409.1556), and is followed by batch norm and ReLU. As in
//! VGG-16 there are five stages, here with equal numbers of layers. A 2×2 max
//! pool of stride 2 is between two stages, outside the removable layers
//! (32 → 16 → 8 → 4 → 2 pixels). The global average of the head replaces the
//! fifth pool.
//!
//! Layers are named `conv1`, `bn1`, … `conv15`, `bn15`, as the paper counts
//! them. All are blocks but the first, which changes the number of channels:
//! block 1 is `conv2`.

use super::family::Family;
use super::layers::{batch_norm_relu, biased_conv, head, removable};
use super::limits::{Depths, MAX_CHANNELS, check_depth, check_width};
use super::request::ModelRequest;
use super::{ModelError, ModelSpec};
use crate::graph::{Graph, GraphError, NodeId, Pool};

/// Number of stages. Each has its own resolution.
const STAGES: usize = 5;
/// Only convolutions are counted, as in the paper.
const DEPTHS: Depths = Depths { step: STAGES, rest: 0 };
/// Halves height and width.
const HALVE: Pool = Pool {
    kernel: 2,
    stride: 2,
    padding: 0,
};

/// `vgg<5n>-<channels>`; the paper's is `vgg15-128`. No options.
#[derive(Debug, Clone, PartialEq)]
pub struct Vgg {
    depth: usize,
    width: usize,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "vgg<5n>-<channels>";

/// Reads a request for a VGG of equal widths.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let [depth, width] = request.sizes("vgg")?;
    Some(Vgg::new(depth, width, request).map(ModelSpec::Vgg))
}

impl Vgg {
    fn new(depth: usize, width: usize, request: &ModelRequest) -> Result<Self, ModelError> {
        check_depth(&request.name, depth, &[DEPTHS])?;
        check_width(&request.name, "number of channels", width, MAX_CHANNELS)?;
        Ok(Vgg { depth, width })
    }

    fn layer(&self, g: &mut Graph, number: usize, x: NodeId) -> Result<NodeId, GraphError> {
        let y = biased_conv(g, &format!("conv{number}"), x, self.width)?;
        Ok(batch_norm_relu(g, &format!("bn{number}"), y))
    }
}

impl Family for Vgg {
    fn base(&self) -> String {
        format!("vgg{}-{}", self.depth, self.width)
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let stage_length = self.depth / STAGES;
        let mut x = self.layer(g, 1, images)?;
        for number in 2..=self.depth {
            let before = number - 1;
            if before.is_multiple_of(stage_length) {
                x = g.max_pool(x, HALVE)?;
            }
            let y = self.layer(g, number, x)?;
            x = removable(g, &format!("conv{number}"), before / stage_length + 1, x, y)?;
        }
        Ok(head(g, x, classes))
    }
}
