//! Which dispatches make a linear layer and its gradients by square register
//! tiles?

use std::fmt;

use super::problem::LinearLayer;
use crate::graph::Shape;
use crate::kernels::call::{Call, Lowered, Operand, Target, is_workgroup_size, parts};
use crate::kernels::text::{AlgorithmConfig, number, sizes};
use crate::kernels::value::Value;

const WORKGROUP_SIZE: usize = 64;
/// Side of the default tile.
const SIDE: usize = 4;
/// No tile is larger: accumulators are in registers.
const LARGEST_SIDE: usize = 16;

/// A matrix product by square register tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RegisterTile {
    /// Rows, and columns, of one invocation.
    pub side: usize,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
}

impl RegisterTile {
    /// One output for each invocation: the plain algorithm.
    pub const PLAIN: Self = RegisterTile {
        side: 1,
        workgroup_size: WORKGROUP_SIZE,
    };
    /// The default.
    pub const DEFAULT: Self = RegisterTile {
        side: SIDE,
        workgroup_size: WORKGROUP_SIZE,
    };

    /// Others that may be faster, the most promising first.
    pub fn alternatives() -> [Self; 4] {
        [
            (2, WORKGROUP_SIZE),
            (8, WORKGROUP_SIZE),
            (SIDE, WORKGROUP_SIZE / 2),
            (2, WORKGROUP_SIZE / 2),
        ]
        .map(|(side, workgroup_size)| RegisterTile { side, workgroup_size })
    }

    /// The dispatches; `None` where the tile does not fit.
    pub fn lower(self, layer: &LinearLayer, batch: usize, target: &Target) -> Option<Lowered> {
        if self.side > LARGEST_SIDE || !is_workgroup_size(self.workgroup_size) {
            return None;
        }
        Some(match *layer {
            LinearLayer::Forward { bias, x, y } => forward(self, bias, x, y, batch, target),
            LinearLayer::InputGradient { dy, dx } => input_gradient(self, dy, dx, batch, target),
            LinearLayer::WeightGradient { x, dy, dw } => weight_gradient(self, x, dy, dw, batch, target),
        })
    }
}

impl fmt::Display for RegisterTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RegisterTile { side, workgroup_size } = self;
        write!(f, "linear {side}x{side} wg {workgroup_size}")
    }
}

impl AlgorithmConfig for RegisterTile {
    fn parse(words: &[&str]) -> Option<Self> {
        let ["linear", tile, "wg", workgroup_size] = *words else {
            return None;
        };
        let [side, columns] = sizes(tile)?;
        (side == columns).then_some(RegisterTile {
            side,
            workgroup_size: number(workgroup_size)?,
        })
    }
}

/// Strides of a matrix product `out[r, c] = Σ_d a[r, d] · b[d, c]`.
struct Product {
    tile: RegisterTile,
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
            ("WG", self.tile.workgroup_size.into()),
        ];
        Call::new("linear", "product", constants)
    }

    /// `call` with enough workgroups for `rows` rows of the output.
    fn over(&self, call: Call, rows: usize, target: &Target) -> Call {
        let side = self.tile.side;
        call.over(
            rows.div_ceil(side) * self.cols.div_ceil(side),
            self.tile.workgroup_size,
            target,
        )
    }
}

/// Forward: inputs x, weight and, where `bias`, bias.
fn forward(tile: RegisterTile, bias: bool, x: &Shape, y: &Shape, batch: usize, target: &Target) -> Lowered {
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

/// Input gradient: inputs dy and weight.
fn input_gradient(tile: RegisterTile, dy: &Shape, dx: &Shape, batch: usize, target: &Target) -> Lowered {
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

/// Weight gradient: inputs x and dy. Where the batch is split, its parts are
/// summed from scratch memory.
fn weight_gradient(tile: RegisterTile, x: &Shape, dy: &Shape, dw: &Shape, batch: usize, target: &Target) -> Lowered {
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
    // In the order of the batch: copy the first part, then add the others.
    for index in 0..parts.len() {
        let entry = if index == 0 { "copy" } else { "accumulate" };
        let constants = vec![("V", Value::Type("f32")), ("WG", WORKGROUP_SIZE.into())];
        let mut call = Call::new("pointwise", entry, constants)
            .bind(0, Operand::Scratch(0), dw.bytes(1))
            .bind(2, Operand::Output, dw.bytes(1))
            .over(dw.per_image(), WORKGROUP_SIZE, target);
        call.args[0].offset = index as u64 * stride;
        calls.push(call);
    }
    Lowered {
        calls,
        scratch: vec![parts.len() as u64 * stride],
    }
}
