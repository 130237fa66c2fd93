//! Which elements does dropout keep? (Srivastava et al. 2014)

use crate::random::{Philox, Stream, unit};

/// The random numbers of one dropout or drop-path layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mask {
    pub seed: u64,
    pub step: u32,
    pub purpose: Stream,
    pub stream: u32,
    /// Elements that share a draw: 1, or those of an image.
    pub per_draw: usize,
    /// Probability of a zero.
    pub p: f32,
}

impl Mask {
    /// `x / (1 − p)` for elements that are kept, else 0. The random number
    /// depends only on the element's position, so the gradient draws the same
    /// mask again. The comparison is in f32, as on the device: the same random
    /// words must give the same mask.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let random = Philox::new(self.seed);
        let scale = 1.0 / (1.0 - f64::from(self.p));
        let mut y = Vec::with_capacity(x.len());
        let draws: Vec<&[f64]> = x.chunks(self.per_draw).collect();
        for (four, together) in (0u32..).zip(draws.chunks(4)) {
            let words = random.block([four, self.step, self.stream, self.purpose as u32]);
            for (shared, word) in together.iter().zip(words) {
                let kept = if unit(word) >= self.p { scale } else { 0.0 };
                y.extend(shared.iter().map(|x| kept * x));
            }
        }
        y
    }
}
