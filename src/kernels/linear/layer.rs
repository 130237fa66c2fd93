//! Which algorithms compute a linear layer and its gradients?

use super::problem::LinearLayer;
use super::register_tile::RegisterTile;
use crate::graph::{Conv, Shape};
use crate::kernels::algorithm::{Algorithm, Problem};
use crate::kernels::call::{Lowered, Target};
use crate::kernels::conv::gemm::Gemm;
use crate::kernels::conv::problem::{Convolution, WeightGradient};
use crate::kernels::output_parts::{Weighted, WeightedPass};

/// A linear layer as a convolution of planes of one pixel.
const AS_CONV: Conv = Conv {
    kernel: 1,
    stride: 1,
    padding: 0,
    groups: 1,
};

impl Problem for LinearLayer<'_> {
    fn default_algorithm(&self, _target: &Target) -> Algorithm {
        Algorithm::Linear(RegisterTile::DEFAULT)
    }

    fn alternatives(&self, target: &Target) -> Vec<Algorithm> {
        let products = self.as_convolution(
            |layer| Gemm::alternatives(&layer, target),
            |layer| Gemm::wgrad_alternatives(&layer, target),
        );
        let tiles = RegisterTile::alternatives().map(Algorithm::Linear);
        tiles
            .into_iter()
            .chain(products.into_iter().map(Algorithm::Gemm))
            .collect()
    }

    fn lower(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        let (pass, outputs, inputs) = match *self {
            LinearLayer::Forward { bias, x, y } => (WeightedPass::Forward { bias }, y, x),
            LinearLayer::InputGradient { dy, dx } => (WeightedPass::InputGradient, dy, dx),
            LinearLayer::WeightGradient { x, dy, .. } => (WeightedPass::WeightGradient, dy, x),
        };
        let weighted = Weighted {
            pass,
            outputs,
            inputs,
            row: inputs.per_image(),
        };
        weighted.lower(algorithm, batch, target, |outputs, inputs, algorithm| {
            let dw = Shape::fixed(&[outputs.per_image(), inputs.per_image()]);
            let part = match *self {
                LinearLayer::Forward { bias, .. } => LinearLayer::Forward {
                    bias,
                    x: inputs,
                    y: outputs,
                },
                LinearLayer::InputGradient { .. } => LinearLayer::InputGradient {
                    dy: outputs,
                    dx: inputs,
                },
                LinearLayer::WeightGradient { .. } => LinearLayer::WeightGradient {
                    x: inputs,
                    dy: outputs,
                    dw: &dw,
                },
            };
            let algorithm = algorithm.copied().unwrap_or_else(|| part.default_algorithm(target));
            part.by(&algorithm, batch, target)
        })
    }
}

impl LinearLayer<'_> {
    /// The dispatches of `algorithm`, whether their bindings fit or not.
    fn by(&self, algorithm: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        match algorithm {
            Algorithm::Plain => RegisterTile::PLAIN.lower(self, batch, target),
            Algorithm::Linear(tile) => tile.lower(self, batch, target),
            Algorithm::Gemm(gemm) => self.as_convolution(
                |layer| gemm.lower(&layer, batch, target),
                |layer| gemm.lower_wgrad(&layer, batch, target),
            ),
            _ => None,
        }
    }

    /// Calls `convolution` or `weight_gradient` with this layer as a
    /// convolution of planes of one pixel.
    fn as_convolution<T>(
        &self,
        convolution: impl FnOnce(Convolution) -> T,
        weight_gradient: impl FnOnce(WeightGradient) -> T,
    ) -> T {
        let conv = AS_CONV;
        match *self {
            LinearLayer::Forward { bias, x, y } => convolution(Convolution::forward(conv, bias, &flat(x), &flat(y))),
            LinearLayer::InputGradient { dy, dx } => {
                convolution(Convolution::input_gradient(conv, &flat(dy), &flat(dx)))
            }
            LinearLayer::WeightGradient { x, dy, dw } => {
                let (x, dy) = (&flat(x), &flat(dy));
                weight_gradient(WeightGradient { conv, x, dy, dw })
            }
        }
    }
}

/// The features of `shape` as channels of a plane of one pixel.
fn flat(shape: &Shape) -> Shape {
    Shape::batched(&[shape.per_image()]).stored_in(shape.precision)
}
