// The record that the host writes for each training step: `StepRecord` in
// `src/kernels/step.rs`.
struct Step {
    // Seed of the run.
    seed: vec2u,
    // Number of the step.
    number: u32,
    // Place of its metrics.
    slot: u32,
    // Learning rate.
    lr: f32,
    momentum: f32,
    weight_decay: f32,
    // 1 for Nesterov momentum.
    nesterov: u32,
}
