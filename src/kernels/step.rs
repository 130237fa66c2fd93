//! What do the kernels of a training step read about that step?

/// Bytes of the step's record, as the shaders' `Step` lays it out.
pub const STEP_BYTES: u64 = 32;

/// What a step's record holds.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct StepRecord {
    /// Seed, low word first.
    pub seed: [u32; 2],
    /// Number of the step from the beginning of training.
    pub step: u32,
    /// Where the step's metrics go.
    pub slot: u32,
    /// Learning rate.
    pub lr: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// 1 for Nesterov momentum.
    pub nesterov: u32,
}
