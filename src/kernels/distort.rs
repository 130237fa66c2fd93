//! Which dispatches change the images of a batch by random operations, before they are
//! normalised?

use super::call::{Call, Operand, Target};
use super::gather::{ImageDims, staged_bytes};

const WORKGROUP_SIZE: usize = 64;
/// Bytes of an operation of an image: eight numbers.
pub const OPERATION_BYTES: u64 = 32;

/// Applies the operation number `slot` of `slots` to each image of a batch that is
/// staged. Inputs: the images before and after, and the operations of all images.
pub fn distort([c, h, w]: ImageDims, slot: usize, slots: usize, batch: usize, target: &Target) -> Call {
    let constants = vec![
        ("C", c.into()),
        ("H", h.into()),
        ("W", w.into()),
        ("SLOT", slot.into()),
        ("SLOTS", slots.into()),
        ("WG", WORKGROUP_SIZE.into()),
    ];
    let bytes = staged_bytes([c, h, w], batch);
    Call::new("distort", "distort", constants)
        .bind(0, Operand::Input(0), bytes)
        .bind(1, Operand::Input(1), bytes)
        .bind(2, Operand::Input(2), OPERATION_BYTES * (batch * slots) as u64)
        .over(batch, 1, target)
}
