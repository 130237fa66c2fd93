//! What is softmax cross-entropy, and what is its gradient?

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

/// `(softmax(logits) − onehot(label)) / N`.
pub(super) fn cross_entropy_grad(logits: &[f64], labels: &[u32], classes: usize) -> Vec<f64> {
    let images = labels.len() as f64;
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
