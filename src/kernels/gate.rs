//! Which dispatches multiply values by gates and factors?

use super::call::{Call, Lowered, Operand, Target, parts};
use super::value::Value;
use crate::graph::Shape;

const WORKGROUP_SIZE: usize = 64;

/// A kernel of `gate.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gating {
    /// A constant times x: input x.
    Scale {
        /// The constant.
        factor: f32,
    },
    /// Zeros: no input.
    Zeros,
    /// Sigmoid: input x.
    Sigmoid,
    /// Its gradient: inputs dy and the sigmoid's output.
    SigmoidGrad,
    /// x times a gate with x's shape or `N×C`: inputs x and gate.
    Multiply,
    /// The gradient of a gate `N×C`: inputs dy and x.
    PlaneDot,
}

/// Lowers `kernel` for values with the shapes `inputs` and `output`.
pub fn gate(kernel: Gating, inputs: &[&Shape], output: &Shape, batch: usize, target: &Target) -> Lowered {
    let entry = match kernel {
        Gating::Scale { .. } => "scale_by",
        Gating::Zeros => "zeros",
        Gating::Sigmoid => "sigmoid",
        Gating::SigmoidGrad => "sigmoid_gradient",
        Gating::Multiply => "multiply",
        Gating::PlaneDot => "plane_dot",
    };
    let x = inputs.first().copied().unwrap_or(output);
    let gate = inputs.get(1).copied().unwrap_or(x);
    let narrow = if kernel == Gating::PlaneDot { output } else { gate };
    let mut constants: Vec<(&'static str, Value)> = vec![
        ("PLANE", (x.per_image() / narrow.per_image()).into()),
        ("WG", WORKGROUP_SIZE.into()),
    ];
    if let Gating::Scale { factor } = kernel {
        constants.push(("FACTOR", factor.into()));
    }
    let calls = parts(batch, &[x, gate, output], target).into_iter().map(|part| {
        Call::new("gate", entry, constants.clone())
            .store("Stored", 1, output)
            .bind_images(0, Operand::Input(0), x, &part)
            .bind_images(1, Operand::Input(1), gate, &part)
            .bind_images(2, Operand::Output, output, &part)
            .bind_images(3, Operand::Output, output, &part)
            .over(output.len(part.len()), WORKGROUP_SIZE, target)
    });
    Lowered::calls(calls.collect())
}
