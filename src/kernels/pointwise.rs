//! Which dispatches do elementwise work that is not fused into another kernel?

use super::call::{Call, Lowered, Operand, Target, parts};
use super::value::Value;
use crate::graph::Shape;

const WORKGROUP_SIZE: usize = 64;

/// An elementwise kernel of `pointwise.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pointwise {
    /// `max(a, 0)`: input a.
    Relu,
    /// a where b > 0: inputs a, b.
    ReluGrad,
    /// Sum of a and b, each times its gain, then perhaps a ReLU: inputs a, b.
    Join {
        /// Whether a ReLU follows.
        relu: bool,
    },
    /// One of the block's gains times a: input a.
    Scale {
        /// Index of the gain: 2 for the residual branch and 3 for the
        /// shortcut, both in the backward pass.
        gain: u32,
    },
    /// a + b: inputs a, b.
    Add,
    /// The output plus a: input 1.
    Accumulate,
    /// A copy of one input.
    Copy {
        /// Which input.
        input: usize,
    },
}

impl Pointwise {
    /// The input whose memory the output may take.
    pub(super) fn overwrites(self) -> Option<usize> {
        match self {
            Pointwise::Relu | Pointwise::ReluGrad | Pointwise::Join { .. } | Pointwise::Scale { .. } => Some(0),
            Pointwise::Add | Pointwise::Accumulate | Pointwise::Copy { .. } => None,
        }
    }
}

/// Lowers `kernel` for values of shape `shape`.
pub fn pointwise(kernel: Pointwise, shape: &Shape, batch: usize, target: &Target) -> Lowered {
    elementwise(kernel, shape, shape, batch, target)
}

/// a + b, of shape `inputs`, to `output`, which may be stored in another
/// precision: inputs a, b.
pub fn add_to(inputs: &Shape, output: &Shape, batch: usize, target: &Target) -> Lowered {
    elementwise(Pointwise::Add, inputs, output, batch, target)
}

fn elementwise(kernel: Pointwise, shape: &Shape, output: &Shape, batch: usize, target: &Target) -> Lowered {
    let (entry, a) = match kernel {
        Pointwise::Relu => ("relu", 0),
        Pointwise::ReluGrad => ("relu_gradient", 0),
        Pointwise::Join { .. } => ("join", 0),
        Pointwise::Scale { .. } => ("scale", 0),
        Pointwise::Add => ("add", 0),
        Pointwise::Accumulate => ("accumulate", 1),
        Pointwise::Copy { input } => ("copy", input),
    };
    let calls = parts(batch, &[shape, output], target).into_iter().map(|part| {
        let elements = shape.len(if shape.batched { part.len() } else { 1 });
        let vec4 = elements.is_multiple_of(4);
        let items = if target.cpu { 8 } else { 2 };
        let mut constants = vec![
            ("V", Value::Type(if vec4 { "vec4f" } else { "f32" })),
            ("Bits", Value::Type(if vec4 { "vec4i" } else { "i32" })),
            ("ITEMS", items.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ];
        match kernel {
            Pointwise::Join { relu } => constants.push(("RELU", relu.into())),
            Pointwise::Scale { gain } => constants.push(("GAIN", gain.into())),
            _ => {}
        }
        let invocations = (elements / if vec4 { 4 } else { 1 }).div_ceil(items);
        Call::new("pointwise", entry, constants)
            .store("Stored", if vec4 { 4 } else { 1 }, shape)
            .store("Out", if vec4 { 4 } else { 1 }, output)
            .bind_images(0, Operand::Input(a), shape, &part)
            .bind_images(1, Operand::Input(1), shape, &part)
            .bind_images(2, Operand::Output, output, &part)
            .bind(3, Operand::Gains, 16)
            .over(invocations, WORKGROUP_SIZE, target)
    });
    Lowered::calls(calls.collect())
}
