//! What is pooling, and what are its gradients?

use rayon::prelude::*;

use super::plane::{Extent, Windows};
use crate::graph::Pool;

/// A pooling between planes of known size.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolWindows {
    windows: Windows,
    x: Extent,
    y: Extent,
}

impl PoolWindows {
    pub fn new(pool: Pool, x: Extent, y: Extent) -> Self {
        let windows = Windows {
            kernel: pool.kernel,
            stride: pool.stride,
            padding: pool.padding,
        };
        PoolWindows { windows, x, y }
    }

    /// Indices in a plane of x that window `o` of a plane of y covers, in
    /// reading order.
    fn window(&self, o: usize) -> impl Iterator<Item = usize> + use<> {
        let PoolWindows { windows, x, y } = *self;
        let columns = windows.covered(o % y.width, x.width);
        let rows = windows.covered(o / y.width, x.height);
        rows.flat_map(move |row| columns.clone().map(move |column| row * x.width + column))
    }

    /// The first of the largest elements of window `o`, but the last NaN where
    /// there are any, as in PyTorch; `None` if the window covers only padding.
    fn largest(&self, o: usize, x: &[f64]) -> Option<usize> {
        let wins = |i: usize, best: usize| x[i] > x[best] || x[i].is_nan();
        self.window(o).reduce(|best, i| if wins(i, best) { i } else { best })
    }

    /// Padding counts as zeros, so the divisor is always the full window.
    fn divisor(&self) -> f64 {
        (self.windows.kernel * self.windows.kernel) as f64
    }

    /// `y = max x` over each window.
    pub fn max(&self, x: &[f64]) -> Vec<f64> {
        self.each_output(x, |o, x| self.largest(o, x).map_or(f64::NEG_INFINITY, |i| x[i]))
    }

    /// Adds `dy` to the largest element of each window.
    pub fn max_grad(&self, dy: &[f64], x: &[f64]) -> Vec<f64> {
        let mut dx = vec![0.0; x.len()];
        let planes = dx.par_chunks_mut(self.x.area()).zip(x.par_chunks(self.x.area()));
        planes.zip(dy.par_chunks(self.y.area())).for_each(|((dx, x), dy)| {
            for (o, dy) in dy.iter().enumerate() {
                if let Some(i) = self.largest(o, x) {
                    dx[i] += dy;
                }
            }
        });
        dx
    }

    /// `y = Σ x / kernel²` over each window.
    pub fn mean(&self, x: &[f64]) -> Vec<f64> {
        self.each_output(x, |o, x| self.window(o).map(|i| x[i]).sum::<f64>() / self.divisor())
    }

    /// Adds `dy / kernel²` to every element of each window.
    pub fn mean_grad(&self, dy: &[f64]) -> Vec<f64> {
        let planes = dy.len() / self.y.area();
        let mut dx = vec![0.0; planes * self.x.area()];
        let pairs = dx.par_chunks_mut(self.x.area()).zip(dy.par_chunks(self.y.area()));
        pairs.for_each(|(dx, dy)| {
            for (o, dy) in dy.iter().enumerate() {
                for i in self.window(o) {
                    dx[i] += dy / self.divisor();
                }
            }
        });
        dx
    }

    /// `value(o, plane of x)` for every output `o` of every plane.
    fn each_output(&self, x: &[f64], value: impl Fn(usize, &[f64]) -> f64 + Sync) -> Vec<f64> {
        let plane = |x: &[f64]| -> Vec<f64> { (0..self.y.area()).map(|o| value(o, x)).collect() };
        x.par_chunks(self.x.area()).flat_map_iter(plane).collect()
    }
}

/// The mean over the whole plane of each channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct GlobalMean {
    area: usize,
}

impl GlobalMean {
    pub fn new(x: Extent) -> Self {
        GlobalMean { area: x.area() }
    }

    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let mean = |x: &[f64]| x.iter().sum::<f64>() / self.area as f64;
        x.chunks(self.area).map(mean).collect()
    }

    pub fn gradient(&self, dy: &[f64]) -> Vec<f64> {
        let plane = |dy: &f64| std::iter::repeat_n(dy / self.area as f64, self.area);
        dy.iter().flat_map(plane).collect()
    }
}
