//! What is batch norm, and what are its gradients? (Ioffe and Szegedy 2015,
//! arXiv:1502.03167)
//!
//! The statistics of a channel span the batch and the plane: M = N·H·W elements.

use super::reduce::Channels;
use crate::graph::State;

/// Mean and variance of each channel.
pub(super) struct Moments {
    pub mean: Vec<f64>,
    /// Divided by M.
    pub variance: Vec<f64>,
    /// M.
    pub count: usize,
}

impl Channels {
    /// Mean and biased variance, in two passes.
    pub fn moments(&self, x: &[f64]) -> Moments {
        let count = self.count() as f64;
        let over_count = |sums: Vec<f64>| -> Vec<f64> { sums.iter().map(|sum| sum / count).collect() };
        let mean = over_count(self.sum(|_, i| x[i]));
        let variance = over_count(self.sum(|c, i| (x[i] - mean[c]).powi(2)));
        Moments {
            mean,
            variance,
            count: self.count(),
        }
    }

    /// `(x − mean) · rstd · γ + β`.
    pub fn normalise(&self, x: &[f64], stats: &[f64], affine: &[f64]) -> Vec<f64> {
        let (gamma, beta) = self.rows(affine);
        self.map(|c, i| self.standardised(x, stats, c, i) * gamma[c] + beta[c])
    }

    /// Rows `Σ dy·x̂` and `Σ dy`: the gradients of γ and β.
    pub fn gradient_sums(&self, dy: &[f64], x: &[f64], stats: &[f64]) -> Vec<f64> {
        let by_gamma = self.sum(|c, i| dy[i] * self.standardised(x, stats, c, i));
        let by_beta = self.sum(|_, i| dy[i]);
        [by_gamma, by_beta].concat()
    }

    /// The input gradient. Statistics of the batch depend on x, which gives
    /// `γ·rstd·(dy − Σdy/M − x̂·Σ(dy·x̂)/M)`; with running statistics it is
    /// `γ·rstd·dy`.
    pub fn input_gradient(&self, batch_stats: bool, [dy, x, stats, affine, sums]: [&[f64]; 5]) -> Vec<f64> {
        let (gamma, _) = self.rows(affine);
        let (_, rstd) = self.rows(stats);
        let (by_gamma, by_beta) = self.rows(sums);
        let count = self.count() as f64;
        self.map(|c, i| {
            let through_stats = if batch_stats {
                (by_beta[c] + self.standardised(x, stats, c, i) * by_gamma[c]) / count
            } else {
                0.0
            };
            gamma[c] * rstd[c] * (dy[i] - through_stats)
        })
    }

    /// `x̂ = (x − mean) · rstd`.
    fn standardised(&self, x: &[f64], stats: &[f64], c: usize, i: usize) -> f64 {
        let (mean, rstd) = self.rows(stats);
        (x[i] - mean[c]) * rstd[c]
    }

    /// The two rows of a `[2, C]` tensor.
    fn rows<'a>(&self, tensor: &'a [f64]) -> (&'a [f64], &'a [f64]) {
        tensor.split_at(self.channels())
    }
}

/// Rows mean and `1 / √(variance + eps)`, which [`Channels::normalise`] reads.
pub(super) fn stats(mean: &[f64], variance: &[f64], eps: f32) -> Vec<f64> {
    let rstd = variance.iter().map(|variance| 1.0 / (variance + f64::from(eps)).sqrt());
    mean.iter().copied().chain(rstd).collect()
}

/// Moves the running state towards the batch, as PyTorch does: the weight of the
/// batch is `momentum`, and the running variance is the unbiased one. A single
/// element has no unbiased variance; there the biased one, zero, is used.
pub(super) fn advance(running: &mut [f64], moments: &Moments, state: &State) {
    let count = moments.count as f64;
    let unbiased = if moments.count > 1 { count / (count - 1.0) } else { 1.0 };
    let momentum = f64::from(state.momentum);
    let batch = moments.mean.iter().copied();
    let batch = batch.chain(moments.variance.iter().map(|variance| variance * unbiased));
    for (running, batch) in running.iter_mut().zip(batch) {
        *running = (1.0 - momentum) * *running + momentum * batch;
    }
}
