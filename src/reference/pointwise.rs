//! Which operations compute each element from the elements at the same place?

/// `max(x, 0)`; NaN stays NaN, as in PyTorch.
pub(super) fn relu(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| if *x < 0.0 { 0.0 } else { *x }).collect()
}

/// `dy` where the ReLU's output `y` is positive or NaN, as in PyTorch.
pub(super) fn relu_grad(dy: &[f64], y: &[f64]) -> Vec<f64> {
    dy.iter()
        .zip(y)
        .map(|(dy, y)| if *y <= 0.0 { 0.0 } else { *dy })
        .collect()
}

/// `gain · x`.
pub(super) fn scale(gain: f64, x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| gain * x).collect()
}

/// `Σ gain · x` over the terms, `len` elements. A term with gain 0 is not read,
/// and a missing term counts as zero.
pub(super) fn weighted_sum(len: usize, terms: &[(f64, Option<&[f64]>)]) -> Vec<f64> {
    let mut sum = vec![0.0; len];
    for &(gain, values) in terms {
        let Some(values) = values.filter(|_| gain != 0.0) else {
            continue;
        };
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += gain * value;
        }
    }
    sum
}
