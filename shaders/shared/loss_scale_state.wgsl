// The loss scale and what it depends on: `LossScale` in
// `src/kernels/loss_scale.rs`. The importing file declares `alias Overflow`:
// u32, or atomic<u32> where invocations set it.
struct LossScale {
    // Scale of the next step.
    scale: f32,
    // Steps without overflow since the scale last changed.
    good: u32,
    // Steps with overflow, in all.
    skipped: u32,
    // What the gradients of the last complete step are multiplied by.
    unscale: f32,
    // 1 where that step changes nothing.
    skip: u32,
    // 1 where a gradient of the current step has overflowed.
    overflow: Overflow,
}
