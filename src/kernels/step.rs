//! What do the kernels of a training step read about that step?

use std::ops::Range;

/// The size of [`StepRecord`] in bytes.
pub const STEP_BYTES: u64 = 80;

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
    /// How images are mixed with others of the batch.
    pub mix: StepMix,
    /// `1 / (1 − βᵗ)` of the first and the second moment, for the update number t.
    pub unbias: [f32; 2],
    /// Which images of the batch the kernels compute.
    pub part: BatchPart,
}

/// The part of a batch that is computed at once. The gradient is that of the mean loss
/// of the whole batch, and random draws are made by the position in it.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BatchPart {
    /// Images of the whole batch.
    pub batch: u32,
    /// Images of the batch before the part.
    pub first: u32,
    /// Images of the part.
    pub images: u32,
    /// The size of the shaders' `Step` is a multiple of 8 bytes.
    pub padding: u32,
}

impl BatchPart {
    /// The images `range` of a batch of `batch`.
    pub fn of(range: &Range<usize>, batch: usize) -> Self {
        BatchPart {
            batch: batch as u32,
            first: range.start as u32,
            images: range.len() as u32,
            padding: 0,
        }
    }

    /// A batch of `images` as a whole.
    pub fn whole(images: usize) -> Self {
        Self::of(&(0..images), images)
    }
}

/// How the images of a batch are mixed in a step: each with the one before it, the first
/// with the last. The default mixes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct StepMix {
    /// 0: they are not mixed, 1: in all pixels, 2: in a rectangle.
    pub kind: u32,
    /// Part of an image's target that is its own class, and of its pixels where all
    /// are mixed.
    pub keep: f32,
    /// First column of the rectangle, and the one after its last.
    pub across: [u32; 2],
    /// First row, and the one after the last.
    pub down: [u32; 2],
}
