//! Which dispatches make the batch that a network reads from the resident images?

use super::call::{Call, Operand, Target, parts};
use crate::graph::Shape;

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

/// Gathers, crops, flips and normalises the images of a batch that are in one
/// part of the set. Inputs: bytes of the part, classes of all images, draws,
/// scales. The caller binds the outputs as input 4 (images of `shape`) and 5
/// (labels).
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
            ("WG", WORKGROUP_SIZE.into()),
        ];
        Call::new("gather", "gather", constants)
            .store("Stored", 1, shape)
            .bind(0, Operand::Input(0), part.bytes)
            .bind(1, Operand::Input(1), 4 * images as u64)
            .bind(2, Operand::Input(2), 8 * batch as u64)
            .bind(3, Operand::Input(3), 8 * c as u64)
            .bind_images(4, Operand::Input(4), shape, &range)
            .bind(5, Operand::Input(5), 4 * batch as u64)
            .over(shape.len(range.len()), WORKGROUP_SIZE, target)
    });
    calls.collect()
}
