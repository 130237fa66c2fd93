//! Which dispatches zero elements at random: dropout, and stochastic depth by
//! image?

use super::call::{Call, Lowered, Operand, Target, parts};
use super::step::STEP_BYTES;
use crate::graph::Shape;
use crate::random::Stream;

const WORKGROUP_SIZE: usize = 64;

/// Dropout: input x. `draws` is the purpose and index of the random draws, and
/// the number of adjacent elements that share one: 1, or all of an image.
pub fn dropout(p: f32, draws: (Stream, u32, usize), shape: &Shape, batch: usize, target: &Target) -> Lowered {
    let (purpose, stream, per_draw) = draws;
    let per_image = shape.per_image();
    let calls = parts(batch, &[shape], target).into_iter().map(|part| {
        let constants = vec![
            ("P", p.into()),
            ("KEEP_SCALE", ((1.0 / (1.0 - f64::from(p))) as f32).into()),
            ("STREAM", stream.into()),
            ("PURPOSE", (purpose as u32).into()),
            ("PER_DRAW", per_draw.into()),
            ("PER_IMAGE", per_image.into()),
            // Parts of a batch begin with an image.
            ("ALIGNED", per_image.is_multiple_of(4).into()),
            ("FIRST", shape.len(part.start).into()),
            ("WG", WORKGROUP_SIZE.into()),
        ];
        Call::new("dropout", "dropout", constants)
            .store("Stored", 1, shape)
            .bind_images(0, Operand::Input(0), shape, &part)
            .bind_images(1, Operand::Output, shape, &part)
            .bind(2, Operand::Step, STEP_BYTES)
            .over(shape.len(part.len()).div_ceil(4), WORKGROUP_SIZE, target)
    });
    Lowered::calls(calls.collect())
}
