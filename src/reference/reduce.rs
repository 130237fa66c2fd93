//! What are the sums over each channel?

use rayon::prelude::*;

use super::plane::Extent;

/// The channels of values with shape `N×C×H×W`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channels {
    extent: Extent,
    batch: usize,
}

impl Channels {
    pub fn new(extent: Extent, batch: usize) -> Self {
        Channels { extent, batch }
    }

    /// The number of channels, C.
    pub fn channels(&self) -> usize {
        self.extent.channels
    }

    /// The number of elements of one channel, M = N·H·W.
    pub fn count(&self) -> usize {
        self.batch * self.extent.area()
    }

    /// The indices of the elements of channel `c`, image after image.
    fn elements(&self, c: usize) -> impl Iterator<Item = usize> + use<> {
        let Extent { channels, .. } = self.extent;
        let area = self.extent.area();
        (0..self.batch).flat_map(move |n| (0..area).map(move |i| (n * channels + c) * area + i))
    }

    /// `Σ term(i)` over the elements of each channel.
    pub fn sum(&self, term: impl Fn(usize, usize) -> f64 + Sync) -> Vec<f64> {
        (0..self.channels())
            .into_par_iter()
            .map(|c| self.elements(c).map(|i| term(c, i)).sum())
            .collect()
    }

    /// `value(c, i)` for every element i, where c is its channel.
    pub fn map(&self, value: impl Fn(usize, usize) -> f64 + Sync) -> Vec<f64> {
        let mut out = vec![0.0; self.batch * self.extent.len()];
        let area = self.extent.area();
        out.par_chunks_mut(area).enumerate().for_each(|(channel, out)| {
            for (offset, out) in out.iter_mut().enumerate() {
                *out = value(channel % self.extent.channels, channel * area + offset);
            }
        });
        out
    }
}
