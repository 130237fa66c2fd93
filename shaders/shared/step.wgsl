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
    // How images are mixed with others of the batch: 0 not at all, 1 in all pixels, 2
    // in a rectangle.
    mixing: u32,
    // Part of an image's target that is its own class, and of its pixels where all are
    // mixed.
    keep: f32,
    // Edges of the rectangle: first column and the one after the last, then rows.
    across: vec2u,
    down: vec2u,
    // Factors of the first and second moments of an adaptive update, which begin at 0.
    unbias: vec2f,
    // Images of the whole batch, those of it before the part that is computed, and
    // those of the part.
    batch_images: u32,
    first_image: u32,
    part_images: u32,
}
