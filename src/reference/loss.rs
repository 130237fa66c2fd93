//! What is softmax cross-entropy, and what is its gradient?

use crate::graph::TARGET_WORDS;

/// For each image `ln Σ exp(logits) − logits[label]` (nats), and 1 where the first
/// of the largest logits is not that of the label, else 0. The loss is NaN where a
/// logit is NaN or +∞, as in PyTorch; an image whose loss is not finite is wrong.
pub(super) fn cross_entropy(logits: &[f64], labels: &[u32], classes: usize) -> Vec<f64> {
    let image = |(logits, label): (&[f64], &u32)| {
        let label = *label as usize;
        let loss = log_sum_exp(logits) - logits[label];
        let right = first_largest(logits) == label && loss.is_finite();
        [loss, if right { 0.0 } else { 1.0 }]
    };
    logits.chunks(classes).zip(labels).flat_map(image).collect()
}

/// `(softmax(logits) − onehot(label)) / N`, where the whole batch has N images.
pub(super) fn cross_entropy_grad(logits: &[f64], labels: &[u32], classes: usize, batch: usize) -> Vec<f64> {
    let images = batch as f64;
    let mut gradient = Vec::with_capacity(logits.len());
    for (logits, label) in logits.chunks(classes).zip(labels) {
        let total = log_sum_exp(logits);
        gradient.extend(logits.iter().enumerate().map(|(class, logit)| {
            let target = if class == *label as usize { 1.0 } else { 0.0 };
            ((logit - total).exp() - target) / images
        }));
    }
    gradient
}

/// The target of an image: the part of it that each class is. `words` are two labels
/// and the bits of the share of the second.
fn target(words: &[u32], classes: usize, smoothing: f64) -> Vec<f64> {
    let share = f64::from(f32::from_bits(words[2]));
    let mut parts = vec![smoothing / classes as f64; classes];
    parts[words[0] as usize] += (1.0 - smoothing) * (1.0 - share);
    parts[words[1] as usize] += (1.0 - smoothing) * share;
    parts
}

/// For each image `ln Σ exp(logits) − Σ target · logits` (nats), and the share of its
/// labels that the first of the largest logits is not.
pub(super) fn soft_cross_entropy(logits: &[f64], targets: &[u32], classes: usize, smoothing: f64) -> Vec<f64> {
    let image = |(logits, words): (&[f64], &[u32])| {
        let parts = target(words, classes, smoothing);
        let of_target: f64 = logits
            .iter()
            .zip(&parts)
            .filter(|(_, part)| **part > 0.0)
            .map(|(logit, part)| logit * part)
            .sum();
        let loss = log_sum_exp(logits) - of_target;
        let right = target(words, classes, 0.0)[first_largest(logits)];
        [loss, if loss.is_finite() { 1.0 - right } else { 1.0 }]
    };
    let targets = targets.chunks(TARGET_WORDS);
    logits.chunks(classes).zip(targets).flat_map(image).collect()
}

/// `(softmax(logits) − target) / N`, where the whole batch has N images.
pub(super) fn soft_cross_entropy_grad(
    logits: &[f64],
    targets: &[u32],
    classes: usize,
    smoothing: f64,
    batch: usize,
) -> Vec<f64> {
    let images = batch as f64;
    let mut gradient = Vec::with_capacity(logits.len());
    for (logits, words) in logits.chunks(classes).zip(targets.chunks(TARGET_WORDS)) {
        let total = log_sum_exp(logits);
        let parts = target(words, classes, smoothing);
        let slope = |(logit, part): (&f64, f64)| ((logit - total).exp() - part) / images;
        gradient.extend(logits.iter().zip(parts).map(slope));
    }
    gradient
}

/// `ln Σ exp(logits)`, shifted by the maximum so that no exponential overflows.
fn log_sum_exp(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + logits.iter().map(|logit| (logit - max).exp()).sum::<f64>().ln()
}

fn first_largest(logits: &[f64]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
}
