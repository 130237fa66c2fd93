//! Which elements does dropout keep?

use crate::random::{Philox, Stream, unit};

/// Where a dropout layer's random numbers come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mask {
    pub seed: u64,
    pub step: u32,
    pub stream: u32,
    /// Probability of a zero.
    pub p: f32,
}

impl Mask {
    /// `x / (1 − p)` where kept, else 0. Each element has a number of its
    /// own, so the gradient draws the same mask again. The comparison is in
    /// f32, as on the device: the same words must make the same mask.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let random = Philox::new(self.seed);
        let scale = 1.0 / (1.0 - f64::from(self.p));
        let mut y = Vec::with_capacity(x.len());
        for (quad, x) in (0u32..).zip(x.chunks(4)) {
            let words = random.block([quad, self.step, self.stream, Stream::Dropout as u32]);
            y.extend(
                x.iter()
                    .zip(words)
                    .map(|(x, word)| if unit(word) >= self.p { scale * x } else { 0.0 }),
            );
        }
        y
    }
}
