//! Which dispatches find out whether the gradients of a step overflowed, and
//! update the loss scale?

use serde::{Deserialize, Serialize};

use super::call::{Call, Operand, Target, arena_parts};

const WORKGROUP_SIZE: usize = 64;

/// The size of the shaders' `LossScale` in bytes: the loss scale and its state.
pub const LOSS_SCALE_BYTES: u64 = 24;

/// The loss scale of a run: the first words of the shaders' `LossScale`.
/// Gradients in 16 bits are computed for a loss times `scale`, so that small
/// ones do not underflow (Micikevicius et al. 2018, "Mixed Precision
/// Training").
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct LossScale {
    /// The factor of the gradients in the next step.
    pub scale: f32,
    /// Steps without overflow since the scale last changed.
    pub good: u32,
    /// Steps with overflow in the whole run. They change only the scale.
    pub skipped: u32,
}

impl LossScale {
    /// The first value. Most networks can train with it; for others it falls in
    /// a few skipped steps.
    pub const INITIAL: Self = LossScale {
        scale: 65_536.0,
        good: 0,
        skipped: 0,
    };

    /// Whether gradients overflow even unscaled, so that no scale helps.
    pub fn is_exhausted(&self) -> bool {
        self.scale < 1.0
    }
}

/// Checks all gradients (input 1, an arena of `bytes`) for overflow, decides
/// whether the step counts, and sets the scale for the next one.
pub fn update_loss_scale(bytes: u64, target: &Target) -> Vec<Call> {
    let find = arena_parts(bytes, target).map(|(offset, size)| {
        let mut call = Call::new("loss_scale", "find_overflow", vec![("WG", WORKGROUP_SIZE.into())])
            .bind(0, Operand::Input(1), size)
            .bind(1, Operand::LossScale, LOSS_SCALE_BYTES)
            .over((size / 16) as usize, WORKGROUP_SIZE, target);
        call.args[0].offset = offset;
        call
    });
    let judge = Call::new("loss_scale", "update", Vec::new()).bind(1, Operand::LossScale, LOSS_SCALE_BYTES);
    find.chain([judge]).collect()
}
