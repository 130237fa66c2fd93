//! Which elements does dropout keep? (Srivastava et al. 2014)

use crate::random::{Philox, Stream, unit};

/// The random numbers of one dropout or drop-path layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mask {
    pub seed: u64,
    pub step: u32,
    pub purpose: Stream,
    pub stream: u32,
    /// The number of the first draw.
    pub first: usize,
    /// Elements that share a draw: 1, or those of an image.
    pub per_draw: usize,
    /// Probability of a zero.
    pub p: f32,
}

impl Mask {
    /// `x / (1 − p)` for elements that are kept, else 0. The random number
    /// depends only on the element's position in the batch, so the gradient draws the same
    /// mask again. The comparison is in f32, as on the device: the same random
    /// words must give the same mask.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let random = Philox::new(self.seed);
        let scale = 1.0 / (1.0 - f64::from(self.p));
        let mut y = Vec::with_capacity(x.len());
        let block = |draw: usize| random.block([(draw / 4) as u32, self.step, self.stream, self.purpose as u32]);
        let mut words = block(self.first);
        for (draw, shared) in (self.first..).zip(x.chunks(self.per_draw)) {
            if draw.is_multiple_of(4) {
                words = block(draw);
            }
            let kept = if unit(words[draw % 4]) >= self.p { scale } else { 0.0 };
            y.extend(shared.iter().map(|x| kept * x));
        }
        y
    }
}
