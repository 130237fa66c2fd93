//! How do parameters follow from their gradients at the end of a step?

/// The numbers of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay of the tensor.
    pub decay: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
}

/// Stochastic gradient descent with momentum, as in PyTorch: `p` and its momentum `m`
/// follow from the gradient `g`, which is multiplied by `rate` together with the decay
/// (1, but for [`lars_rate`]).
pub fn sgd(p: &mut [f64], m: &mut [f64], g: &[f64], rate: f64, rates: Rates) {
    let Rates {
        lr,
        momentum,
        decay,
        nesterov,
    } = rates;
    for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
        let g = rate * (g + decay * *p);
        *m = momentum * *m + g;
        *p -= lr * if nesterov { g + momentum * *m } else { *m };
    }
}

/// The rate of a tensor by LARS (You, Gitman and Ginsburg 2017); 1 where a norm is 0.
pub fn lars_rate(p: &[f64], g: &[f64], trust: f64, decay: f64, eps: f64) -> f64 {
    let (weights, gradient) = (norm(p), norm(g));
    match weights > 0.0 && gradient > 0.0 {
        true => trust * weights / (gradient + decay * weights + eps),
        false => 1.0,
    }
}

/// The numbers of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// The parts of first and second moment that stay.
    pub betas: [f64; 2],
    /// Their factors, `1 / (1 − βᵗ)`.
    pub unbias: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019): `p`, its first moment
/// `m` and its second moment `v` follow from the gradient `g`. Momentum is not used.
pub fn adamw(p: &mut [f64], m: &mut [f64], v: &mut [f64], g: &[f64], moments: Moments, rates: Rates) {
    let Moments { betas, unbias, eps } = moments;
    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
        *m = betas[0] * *m + (1.0 - betas[0]) * g;
        *v = betas[1] * *v + (1.0 - betas[1]) * g * g;
        *p *= 1.0 - rates.lr * rates.decay;
        *p -= rates.lr * (*m * unbias[0]) / ((*v * unbias[1]).sqrt() + eps);
    }
}

/// The factor that brings the norm of all `gradients` together to `limit`, at most 1; as
/// in PyTorch.
pub fn clip_factor(gradients: &[Vec<f64>], limit: f64) -> f64 {
    let squares = gradients.iter().flatten().map(|value| value * value);
    (limit / (squares.sum::<f64>().sqrt() + 1e-6)).min(1.0)
}

/// Adds `values` to their moving average, of which the part `decay` stays.
pub fn average(averages: &mut [f64], values: &[f64], decay: f64) {
    for (average, value) in averages.iter_mut().zip(values) {
        *average = decay * *average + (1.0 - decay) * value;
    }
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}
