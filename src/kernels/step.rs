//! What do the kernels of a training step read about that step?

/// The size of [`StepRecord`] in bytes.
pub const STEP_BYTES: u64 = 32;

/// What kernels read about a training step: the shaders' `Step`.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct StepRecord {
    /// Seed, low word first.
    pub seed: [u32; 2],
    /// The number of steps before this one, since training began.
    pub step: u32,
    /// The slot for the step's metrics.
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
