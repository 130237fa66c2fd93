//! Which dispatches find whether a step's gradients overflowed, and what the
//! loss scale becomes?

use serde::{Deserialize, Serialize};

use super::call::{Call, Operand, Target, arena_parts};

const WG: usize = 64;

/// Bytes of the loss scale and what it depends on, as the shaders'
/// `LossScale` lays it out.
pub const LOSS_SCALE_BYTES: u64 = 24;

/// What a run keeps of its loss scaling: the first words of the shaders'
/// `LossScale`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct LossScale {
    /// What gradients are multiplied by in the step to come.
    pub scale: f32,
    /// Steps without overflow since it last changed.
    pub good: u32,
    /// Steps with one, which changed nothing but the scale, in all.
    pub skipped: u32,
}

impl LossScale {
    /// Where a run begins: a scale that most networks bear, and that others
    /// come down from in a few skipped steps.
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

/// Looks at all gradients (input 1, an arena of `bytes`), decides whether the
/// step counts, and sets the scale of the next.
pub fn judge_step(bytes: u64, target: &Target) -> Vec<Call> {
    let find = arena_parts(bytes, target).map(|(offset, size)| {
        let mut call = Call::new("loss_scale", "find_overflow", vec![("WG", WG.into())])
            .bind(0, Operand::Input(1), size)
            .bind(1, Operand::LossScale, LOSS_SCALE_BYTES)
            .over((size / 16) as usize, WG, target);
        call.args[0].offset = offset;
        call
    });
    let judge = Call::new("loss_scale", "judge", Vec::new()).bind(1, Operand::LossScale, LOSS_SCALE_BYTES);
    find.chain([judge]).collect()
}
