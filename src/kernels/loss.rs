//! Which dispatches compute the loss, its gradient and the metrics of a step?

use super::call::{Call, Lowered, Operand, Target};
use super::loss_scale::LOSS_SCALE_BYTES;
use super::step::STEP_BYTES;
use crate::graph::{Shape, TARGET_WORDS};

const WORKGROUP_SIZE: usize = 64;

/// Cross-entropy and error of each image: inputs logits and labels.
pub fn cross_entropy(logits: &Shape, batch: usize, target: &Target) -> Lowered {
    let classes = logits.per_image();
    let call = Call::new(
        "loss",
        "cross_entropy",
        vec![("CLASSES", classes.into()), ("WG", WORKGROUP_SIZE.into())],
    )
    .store("Stored", 1, logits)
    .bind(0, Operand::Input(0), logits.bytes(batch))
    .bind(1, Operand::Input(1), 4 * batch as u64)
    .bind(2, Operand::Output, 8 * batch as u64)
    .over(batch, WORKGROUP_SIZE, target);
    Lowered::calls(vec![call])
}

/// Gradient of the mean cross-entropy of the whole batch with respect to the logits,
/// times the loss scale where `scaled`: inputs logits and labels.
pub fn cross_entropy_gradient(scaled: bool, logits: &Shape, batch: usize, target: &Target) -> Lowered {
    let classes = logits.per_image();
    let call = Call::new(
        "loss",
        "cross_entropy_gradient",
        vec![
            ("CLASSES", classes.into()),
            ("SCALED", scaled.into()),
            ("WG", WORKGROUP_SIZE.into()),
        ],
    )
    .store("Stored", 1, logits)
    .bind(0, Operand::Input(0), logits.bytes(batch))
    .bind(1, Operand::Input(1), 4 * batch as u64)
    .bind(3, Operand::Output, logits.bytes(batch))
    .bind(6, Operand::Step, STEP_BYTES)
    .bind(7, Operand::LossScale, LOSS_SCALE_BYTES)
    .over(batch, WORKGROUP_SIZE, target);
    Lowered::calls(vec![call])
}

/// Bytes of a soft target: two labels and the share of the second.
pub const TARGET_BYTES: u64 = 4 * TARGET_WORDS as u64;

/// As [`cross_entropy`], of soft targets: inputs logits and targets.
pub fn soft_cross_entropy(smoothing: f32, logits: &Shape, batch: usize, target: &Target) -> Lowered {
    let constants = vec![
        ("CLASSES", logits.per_image().into()),
        ("SMOOTHING", smoothing.into()),
        ("WG", WORKGROUP_SIZE.into()),
    ];
    let call = Call::new("loss", "soft_cross_entropy", constants)
        .store("Stored", 1, logits)
        .bind(0, Operand::Input(0), logits.bytes(batch))
        .bind(8, Operand::Input(1), TARGET_BYTES * batch as u64)
        .bind(2, Operand::Output, 8 * batch as u64)
        .over(batch, WORKGROUP_SIZE, target);
    Lowered::calls(vec![call])
}

/// As [`cross_entropy_gradient`], of soft targets: inputs logits and targets.
pub fn soft_cross_entropy_gradient(
    smoothing: f32,
    scaled: bool,
    logits: &Shape,
    batch: usize,
    target: &Target,
) -> Lowered {
    let constants = vec![
        ("CLASSES", logits.per_image().into()),
        ("SMOOTHING", smoothing.into()),
        ("SCALED", scaled.into()),
        ("WG", WORKGROUP_SIZE.into()),
    ];
    let call = Call::new("loss", "soft_cross_entropy_gradient", constants)
        .store("Stored", 1, logits)
        .bind(0, Operand::Input(0), logits.bytes(batch))
        .bind(8, Operand::Input(1), TARGET_BYTES * batch as u64)
        .bind(3, Operand::Output, logits.bytes(batch))
        .bind(6, Operand::Step, STEP_BYTES)
        .bind(7, Operand::LossScale, LOSS_SCALE_BYTES)
        .over(batch, WORKGROUP_SIZE, target);
    Lowered::calls(vec![call])
}

/// Writes the batch's mean loss and its number of errors into the step's slot of
/// the metrics, which are the output; those of a part of the batch are added to those
/// of the parts before. Input: the result of `cross_entropy`.
pub fn record(slots: usize, batch: usize) -> Call {
    Call::new("loss", "record", vec![("WG", WORKGROUP_SIZE.into())])
        .bind(4, Operand::Input(0), 8 * batch as u64)
        .bind(5, Operand::Output, 8 * slots as u64)
        .bind(6, Operand::Step, STEP_BYTES)
}
