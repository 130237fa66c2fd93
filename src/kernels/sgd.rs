//! Which dispatches update the parameters at the end of a step?

use super::call::{Call, Operand, Target, arena_parts};
use super::loss_scale::LOSS_SCALE_BYTES;
use super::optimizer::{NORM_BYTES, operand};
use super::step::STEP_BYTES;

const WORKGROUP_SIZE: usize = 64;

/// Updates all parameters: inputs parameters, gradients and momenta, `bytes`
/// each. Weight decay acts on the first `decayed` bytes. Where `clipped`, gradients are
/// multiplied by the factor of [`super::optimizer::operand::NORM`]. Where `scaled`,
/// gradients are divided by the loss scale, and a step that overflowed changes
/// nothing.
pub fn sgd(bytes: u64, decayed: u64, clipped: bool, scaled: bool, target: &Target) -> Vec<Call> {
    let calls = arena_parts(bytes, target).map(|(offset, size)| {
        let constants = vec![
            ("FIRST", ((offset / 16) as u32).into()),
            ("DECAYED", ((decayed / 16) as u32).into()),
            ("CLIPPED", clipped.into()),
            ("SCALED", scaled.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ];
        let mut call = Call::new("sgd", "update", constants)
            .bind(0, Operand::Input(0), size)
            .bind(1, Operand::Input(1), size)
            .bind(2, Operand::Input(2), size)
            .bind(3, Operand::Step, STEP_BYTES)
            .bind(4, Operand::LossScale, LOSS_SCALE_BYTES)
            .bind(5, operand::NORM, NORM_BYTES)
            .over((size / 16) as usize, WORKGROUP_SIZE, target);
        for arg in &mut call.args[..3] {
            arg.offset = offset;
        }
        call
    });
    calls.collect()
}
