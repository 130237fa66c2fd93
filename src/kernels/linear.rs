//! Which dispatches make a linear layer, forward and backward?

use super::call::{Call, Lowered, Operand, Target, is_workgroup_size, parts};
use super::candidate::{Algorithm, Tunable};
use super::conv::{Direction, WeightGradient};
use super::source::Value;
use crate::graph::{Conv, Shape};

const WG: usize = 64;
/// Side of the rules' tile.
const SIDE: usize = 4;
/// No tile is larger: sums live in registers.
const LARGEST_SIDE: usize = 16;
/// A linear layer as a convolution of planes of one pixel.
const AS_CONV: Conv = Conv {
    kernel: 1,
    stride: 1,
    padding: 0,
    groups: 1,
};

/// What a linear layer computes, with the shapes of its inputs and output.
pub(super) enum Layer<'a> {
    Forward { bias: bool, x: &'a Shape, y: &'a Shape },
    InputGradient { dy: &'a Shape, dx: &'a Shape },
    WeightGradient { x: &'a Shape, dy: &'a Shape, dw: &'a Shape },
}

impl Tunable for Layer<'_> {
    fn rule(&self, _target: &Target) -> Algorithm {
        Algorithm::Square { side: SIDE, lanes: WG }
    }

    fn others(&self, target: &Target) -> Vec<Algorithm> {
        let sides = [(2, WG), (8, WG), (SIDE, WG / 2), (2, WG / 2)];
        let mut all = sides.map(|(side, lanes)| Algorithm::Square { side, lanes }).to_vec();
        all.extend(self.as_conv(|layer| layer.gemms(target), |layer| layer.gemms(target)));
        all
    }

    fn lower(&self, candidate: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        let (side, lanes) = match *candidate {
            Algorithm::Plain => (1, WG),
            Algorithm::Square { side, lanes } if side <= LARGEST_SIDE && is_workgroup_size(lanes) => (side, lanes),
            Algorithm::Gemm { tile, splits } => {
                return self.as_conv(
                    |layer| layer.lower_gemm(tile, batch, target),
                    |layer| layer.lower_gemm(tile, splits, batch, target),
                );
            }
            _ => return None,
        };
        let tile = Square { side, lanes };
        Some(match *self {
            Layer::Forward { bias, x, y } => forward(tile, bias, x, y, batch, target),
            Layer::InputGradient { dy, dx } => input_gradient(tile, dy, dx, batch, target),
            Layer::WeightGradient { x, dy, dw } => weight_gradient(tile, x, dy, dw, batch, target),
        })
    }
}

impl Layer<'_> {
    /// What `direction` or `weights` says of this layer as a convolution of
    /// planes of one pixel.
    fn as_conv<T>(&self, direction: impl FnOnce(Direction) -> T, weights: impl FnOnce(WeightGradient) -> T) -> T {
        let conv = AS_CONV;
        match *self {
            Layer::Forward { bias, x, y } => direction(Direction::forward(conv, bias, &flat(x), &flat(y))),
            Layer::InputGradient { dy, dx } => direction(Direction::backward(conv, &flat(dy), &flat(dx))),
            Layer::WeightGradient { x, dy, dw } => {
                let (x, dy) = (&flat(x), &flat(dy));
                weights(WeightGradient { conv, x, dy, dw })
            }
        }
    }
}

/// The features of `shape` as channels of a plane of one pixel.
fn flat(shape: &Shape) -> Shape {
    Shape::batched(&[shape.per_image()]).stored_in(shape.precision)
}

/// A square tile, and invocations a workgroup.
#[derive(Clone, Copy)]
struct Square {
    side: usize,
    lanes: usize,
}

/// Strides of a matrix product `out[r, c] = Σ_d a[r, d] · b[d, c]`.
struct Product {
    tile: Square,
    cols: usize,
    a_row: usize,
    a_depth: usize,
    b_depth: usize,
    b_col: usize,
    bias: bool,
}

impl Product {
    fn call(&self) -> Call {
        let constants = vec![
            ("COLS", self.cols.into()),
            ("A_ROW", self.a_row.into()),
            ("A_DEPTH", self.a_depth.into()),
            ("B_DEPTH", self.b_depth.into()),
            ("B_COL", self.b_col.into()),
            ("BIAS", self.bias.into()),
            ("TILE", self.tile.side.into()),
            ("WG", self.tile.lanes.into()),
        ];
        Call::new("linear", "product", constants)
    }

    /// `call` with enough workgroups for `rows` rows of the output.
    fn over(&self, call: Call, rows: usize, target: &Target) -> Call {
        let side = self.tile.side;
        call.over(rows.div_ceil(side) * self.cols.div_ceil(side), self.tile.lanes, target)
    }
}

/// Forward: inputs x, weight and, where `bias`, bias.
fn forward(tile: Square, bias: bool, x: &Shape, y: &Shape, batch: usize, target: &Target) -> Lowered {
    let (inputs, outputs) = (x.per_image(), y.per_image());
    let product = Product {
        tile,
        cols: outputs,
        a_row: inputs,
        a_depth: 1,
        b_depth: 1,
        b_col: inputs,
        bias,
    };
    let calls = parts(batch, &[x, y], target).into_iter().map(|part| {
        let call = product
            .call()
            .store("A", 1, x)
            .store("Out", 1, y)
            .bind_images(0, Operand::Input(0), x, &part)
            .bind(1, Operand::Input(1), 4 * (inputs * outputs) as u64)
            .bind(2, Operand::Input(2), 4 * outputs as u64)
            .bind_images(3, Operand::Output, y, &part);
        let mut call = product.over(call, part.len(), target);
        call.macs = (part.len() * inputs * outputs) as u64;
        call
    });
    Lowered::calls(calls.collect())
}

/// Input gradient: inputs dy, weight.
fn input_gradient(tile: Square, dy: &Shape, dx: &Shape, batch: usize, target: &Target) -> Lowered {
    let (inputs, outputs) = (dx.per_image(), dy.per_image());
    let product = Product {
        tile,
        cols: inputs,
        a_row: outputs,
        a_depth: 1,
        b_depth: inputs,
        b_col: 1,
        bias: false,
    };
    let calls = parts(batch, &[dy, dx], target).into_iter().map(|part| {
        let call = product
            .call()
            .store("A", 1, dy)
            .store("Out", 1, dx)
            .bind_images(0, Operand::Input(0), dy, &part)
            .bind(1, Operand::Input(1), 4 * (inputs * outputs) as u64)
            .bind_images(3, Operand::Output, dx, &part);
        let mut call = product.over(call, part.len(), target);
        call.macs = (part.len() * inputs * outputs) as u64;
        call
    });
    Lowered::calls(calls.collect())
}

/// Weight gradient: inputs x, dy. Parts of a split batch are summed
/// from scratch memory.
fn weight_gradient(tile: Square, x: &Shape, dy: &Shape, dw: &Shape, batch: usize, target: &Target) -> Lowered {
    let (inputs, outputs) = (x.per_image(), dy.per_image());
    let product = Product {
        tile,
        cols: inputs,
        a_row: 1,
        a_depth: outputs,
        b_depth: inputs,
        b_col: 1,
        bias: false,
    };
    let parts = parts(batch, &[x, dy], target);
    let single = parts.len() == 1;
    let stride = dw.bytes(1).next_multiple_of(target.alignment);
    let mut calls = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let call = product
            .call()
            .store("A", 1, dy)
            .store("B", 1, x)
            .bind_images(0, Operand::Input(1), dy, part)
            .bind_images(1, Operand::Input(0), x, part);
        let mut call = product.over(call, outputs, target);
        call = call.bind(
            3,
            if single { Operand::Output } else { Operand::Scratch(0) },
            dw.bytes(1),
        );
        call.macs = (part.len() * inputs * outputs) as u64;
        if let Some(arg) = call.args.last_mut().filter(|_| !single) {
            arg.offset = index as u64 * stride;
        }
        calls.push(call);
    }
    if single {
        return Lowered::calls(calls);
    }
    // One after the other, in the batch's order: copy, then accumulate.
    for index in 0..parts.len() {
        let entry = if index == 0 { "copy" } else { "accumulate" };
        let constants = vec![("V", Value::Type("f32")), ("WG", WG.into())];
        let mut call = Call::new("pointwise", entry, constants)
            .bind(0, Operand::Scratch(0), dw.bytes(1))
            .bind(2, Operand::Output, dw.bytes(1))
            .over(dw.per_image(), WG, target);
        call.args[0].offset = index as u64 * stride;
        calls.push(call);
    }
    Lowered {
        calls,
        scratch: vec![parts.len() as u64 * stride],
    }
}
