//! What is a linear layer, and what are its gradients?

use rayon::prelude::*;

/// `y = x Wᵀ + b`, where x is N×inputs and W is outputs×inputs.
pub(super) fn forward(x: &[f64], weight: &[f64], bias: Option<&[f64]>, inputs: usize, outputs: usize) -> Vec<f64> {
    let image = |x: &[f64]| -> Vec<f64> {
        let output = |(j, w): (usize, &[f64])| dot(w, x) + bias.map_or(0.0, |bias| bias[j]);
        weight.chunks(inputs).take(outputs).enumerate().map(output).collect()
    };
    x.par_chunks(inputs).flat_map_iter(image).collect()
}

/// The input gradient, `dx = dy W`.
pub(super) fn input_gradient(dy: &[f64], weight: &[f64], inputs: usize, outputs: usize) -> Vec<f64> {
    let image = |dy: &[f64]| -> Vec<f64> {
        let mut dx = vec![0.0; inputs];
        for (dy, w) in dy.iter().zip(weight.chunks(inputs)) {
            add_multiple(&mut dx, *dy, w);
        }
        dx
    };
    dy.par_chunks(outputs).flat_map_iter(image).collect()
}

/// The weight gradient, `dW = dyᵀ x`.
pub(super) fn weight_gradient(x: &[f64], dy: &[f64], inputs: usize, outputs: usize) -> Vec<f64> {
    let mut dw = vec![0.0; outputs * inputs];
    dw.par_chunks_mut(inputs).enumerate().for_each(|(j, dw)| {
        for (x, dy) in x.chunks(inputs).zip(dy.chunks(outputs)) {
            add_multiple(dw, dy[j], x);
        }
    });
    dw
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_multiple(sum: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}
