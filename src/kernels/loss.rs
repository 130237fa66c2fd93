//! Which dispatches make the loss, its gradient and the step's metrics?

use super::call::{Call, Lowered, Operand, Target};
use super::update::STEP_BYTES;

const WG: usize = 64;

/// Cross-entropy and errors of each image: inputs logits, labels.
pub fn cross_entropy(classes: usize, batch: usize, target: &Target) -> Lowered {
    let call = Call::new(
        "loss",
        "cross_entropy",
        vec![("CLASSES", classes.into()), ("WG", WG.into())],
    )
    .bind(0, Operand::Input(0), 4 * (batch * classes) as u64)
    .bind(1, Operand::Input(1), 4 * batch as u64)
    .bind(2, Operand::Output, 8 * batch as u64)
    .over(batch, WG, target);
    Lowered::calls(vec![call])
}

/// Gradient of the mean cross-entropy by the logits: inputs logits, labels.
pub fn cross_entropy_gradient(classes: usize, batch: usize, target: &Target) -> Lowered {
    let call = Call::new(
        "loss",
        "cross_entropy_grad",
        vec![("CLASSES", classes.into()), ("WG", WG.into())],
    )
    .bind(0, Operand::Input(0), 4 * (batch * classes) as u64)
    .bind(1, Operand::Input(1), 4 * batch as u64)
    .bind(3, Operand::Output, 4 * (batch * classes) as u64)
    .over(batch, WG, target);
    Lowered::calls(vec![call])
}

/// The batch's mean loss and errors into the step's slot of the metrics,
/// which are the output: input the results of [`cross_entropy`].
pub fn record(slots: usize, batch: usize) -> Call {
    Call::new("loss", "record", vec![("WG", WG.into())])
        .bind(4, Operand::Input(0), 8 * batch as u64)
        .bind(5, Operand::Output, 8 * slots as u64)
        .bind(6, Operand::Step, STEP_BYTES)
}
