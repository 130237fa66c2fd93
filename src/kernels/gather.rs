//! Which dispatches make the batch that a network reads from the resident images?

use super::call::{Call, Operand, Target, parts};
use super::loss::TARGET_BYTES;
use super::step::STEP_BYTES;
use super::value::Value;
use crate::graph::Shape;
use crate::random::Stream;

const WORKGROUP_SIZE: usize = 64;

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

/// What is done to images and labels beside cropping and flipping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct GatherChanges {
    /// Side of the square that is cut out of every image, in pixels; 0 for none.
    pub cutout: u32,
    /// Whether the labels are soft targets of three words.
    pub soft: bool,
    /// Whether this dispatch mixes other images into the batch that was gathered
    /// before.
    pub mixed_in: bool,
    /// Whether images were cropped and flipped before, by [`stage`].
    pub staged: bool,
}

/// Bytes of the images of a batch that are staged: a word for each pixel.
pub fn staged_bytes([_, h, w]: ImageDims, batch: usize) -> u64 {
    4 * (batch * h * w) as u64
}

/// Gathers, crops, flips and normalises the images of a batch that are in one
/// part of the set, and changes them as `changes` says. Inputs: bytes of the part,
/// classes of all images, draws, scales. Where images are mixed in, one more draw follows
/// those of the batch: that of the image before the first. The caller binds the outputs as
/// input 4 (images of `shape`) and 5 (labels), and staged images, one for each draw, as
/// input 6; where images are staged, one part gathers all.
pub fn gather(
    part: &ImagePart,
    images: usize,
    shape: &Shape,
    padding: (usize, bool),
    changes: GatherChanges,
    batch: usize,
    target: &Target,
) -> Vec<Call> {
    let (c, (h, w)) = (shape.channels(), shape.plane());
    let label_bytes = if changes.soft { TARGET_BYTES } else { 4 };
    let calls = parts(batch, &[shape], target).into_iter().map(|range| {
        let mut constants = source_constants(part, [c, h, w], padding);
        constants.extend([
            ("START", range.start.into()),
            ("SOFT", changes.soft.into()),
            ("CUTOUT", changes.cutout.into()),
            ("PURPOSE", (Stream::Cutout as u32).into()),
            ("MIXED_IN", changes.mixed_in.into()),
            ("STAGED", changes.staged.into()),
        ]);
        Call::new("gather", "gather", constants)
            .store("Stored", 1, shape)
            .bind(0, Operand::Input(0), part.bytes)
            .bind(1, Operand::Input(1), 4 * images as u64)
            .bind(2, Operand::Input(2), 8 * (batch + usize::from(changes.mixed_in)) as u64)
            .bind(3, Operand::Input(3), 8 * c as u64)
            .bind_images(4, Operand::Input(4), shape, &range)
            .bind(5, Operand::Input(5), label_bytes * batch as u64)
            .bind(6, Operand::Step, STEP_BYTES)
            .bind(7, Operand::Input(6), staged_bytes([c, h, w], batch + 1))
            .over(shape.len(range.len()), WORKGROUP_SIZE, target)
    });
    calls.collect()
}

/// The constants of what reads images of a part of a set.
fn source_constants(
    part: &ImagePart,
    [c, h, w]: ImageDims,
    (pad, reflect): (usize, bool),
) -> Vec<(&'static str, Value)> {
    vec![
        ("C", c.into()),
        ("H", h.into()),
        ("W", w.into()),
        ("PAD", pad.into()),
        ("REFLECT", reflect.into()),
        ("FIRST", part.first.into()),
        ("WG", WORKGROUP_SIZE.into()),
    ]
}

/// Crops and flips the images of `batch` draws that are in one part of the set, as bytes: a
/// word for each pixel, of at most four channels. Inputs as [`gather`]; input 6 are the
/// staged images.
pub fn stage(part: &ImagePart, [c, h, w]: ImageDims, padding: (usize, bool), batch: usize, target: &Target) -> Call {
    Call::new("gather", "stage", source_constants(part, [c, h, w], padding))
        .bind(0, Operand::Input(0), part.bytes)
        .bind(2, Operand::Input(2), 8 * batch as u64)
        .bind(8, Operand::Input(6), staged_bytes([c, h, w], batch))
        .over(batch * h * w, WORKGROUP_SIZE, target)
}
