//! Which dispatches begin and end a step: the batch's images, and the
//! parameters' update?

use super::call::{Call, Operand, Target, parts};
use super::loss_scale::LOSS_SCALE_BYTES;
use crate::graph::Shape;

const WG: usize = 64;

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

/// One part of a resident image set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImagePart {
    /// First image.
    pub first: usize,
    /// Bytes of the part, a multiple of 4.
    pub bytes: u64,
}

/// Channels, height and width of the images.
pub type ImageDims = [usize; 3];

/// Gathers, crops, flips and normalises a batch from one part of the set.
/// Inputs: bytes of the part, classes of all images, draws, scales; outputs
/// are bound by the caller as input 4 (images of `shape`) and 5 (labels).
pub fn gather(
    part: &ImagePart,
    images: usize,
    shape: &Shape,
    pad: usize,
    reflect: bool,
    batch: usize,
    target: &Target,
) -> Vec<Call> {
    let (c, (h, w)) = (shape.channels(), shape.plane());
    let calls = parts(batch, &[shape], target).into_iter().map(|range| {
        let constants = vec![
            ("C", c.into()),
            ("H", h.into()),
            ("W", w.into()),
            ("PAD", pad.into()),
            ("REFLECT", reflect.into()),
            ("FIRST", part.first.into()),
            ("START", range.start.into()),
            ("WG", WG.into()),
        ];
        Call::new("gather", "gather", constants)
            .store("Stored", 1, shape)
            .bind(0, Operand::Input(0), part.bytes)
            .bind(1, Operand::Input(1), 4 * images as u64)
            .bind(2, Operand::Input(2), 8 * batch as u64)
            .bind(3, Operand::Input(3), 8 * c as u64)
            .bind_images(4, Operand::Input(4), shape, &range)
            .bind(5, Operand::Input(5), 4 * batch as u64)
            .over(shape.len(range.len()), WG, target)
    });
    calls.collect()
}

/// The parts of an arena of `bytes` that fit a binding: first byte and bytes.
pub fn arena_parts(bytes: u64, target: &Target) -> impl Iterator<Item = (u64, u64)> + use<> {
    // A part ends at a multiple of every alignment there is.
    let part = (target.binding / 4096 * 4096).max(4096);
    (0..bytes)
        .step_by(part as usize)
        .map(move |offset| (offset, part.min(bytes - offset)))
}

/// Updates all parameters: inputs parameters, gradients and momenta, of
/// `bytes` each, of which the first `decayed` decay. Where `scaled`, gradients
/// are divided by the loss scale, and a step that it skips changes nothing.
pub fn sgd(bytes: u64, decayed: u64, scaled: bool, target: &Target) -> Vec<Call> {
    let calls = arena_parts(bytes, target).map(|(offset, size)| {
        let constants = vec![
            ("FIRST", ((offset / 16) as u32).into()),
            ("DECAYED", ((decayed / 16) as u32).into()),
            ("SCALED", scaled.into()),
            ("WG", WG.into()),
        ];
        let mut call = Call::new("sgd", "update", constants)
            .bind(0, Operand::Input(0), size)
            .bind(1, Operand::Input(1), size)
            .bind(2, Operand::Input(2), size)
            .bind(3, Operand::Step, STEP_BYTES)
            .bind(4, Operand::LossScale, LOSS_SCALE_BYTES)
            .over((size / 16) as usize, WG, target);
        for arg in &mut call.args[..3] {
            arg.offset = offset;
        }
        call
    });
    calls.collect()
}
