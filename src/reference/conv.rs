//! What is a convolution, and what are its gradients?
//!
//! A convolution is a set of triples (x, w, y): an input element, a weight, and
//! the output element that their product is added to. Forward is y += w·x over
//! all triples. The input gradient is dx += w·dy and the weight gradient
//! dw += x·dy, over the *same* triples. So the geometry is written once, in
//! [`Geometry::rows`], and the three functions differ in one line. Stride 1 has
//! its own loop where that lets the compiler use vector instructions: most
//! convolutions have stride 1, and they take most of the time.

use std::ops::Range;

use rayon::prelude::*;

use super::plane::{Extent, Windows};
use crate::graph::Conv;

/// A convolution between planes of known size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    conv: Conv,
    x: Extent,
    y: Extent,
}

/// The triples that share one weight and one row of the output.
struct Row {
    /// Index of the weight in its filter.
    weight: usize,
    /// Index of the first input element in its image; the next one is `stride`
    /// further.
    x: usize,
    /// Indices of the output elements in their channel.
    y: Range<usize>,
}

impl Geometry {
    pub fn new(conv: Conv, x: Extent, y: Extent) -> Self {
        Geometry { conv, x, y }
    }

    /// The number of weights of one filter.
    fn filter_len(&self) -> usize {
        self.x.channels / self.conv.groups * self.conv.kernel * self.conv.kernel
    }

    /// Calls `visit` for every row of filter `k` on one image.
    #[inline(always)]
    fn rows(&self, k: usize, mut visit: impl FnMut(Row)) {
        let Geometry { conv, x, y } = *self;
        let windows = Windows {
            kernel: conv.kernel,
            stride: conv.stride,
            padding: conv.padding,
        };
        // Filters of group g read only the channels of group g.
        let per_group = x.channels / conv.groups;
        let first_channel = k / (y.channels / conv.groups) * per_group;
        for c in 0..per_group {
            for ky in 0..conv.kernel {
                let (output_rows, first_row) = windows.touching(ky, x.height, y.height);
                for kx in 0..conv.kernel {
                    let (columns, first_column) = windows.touching(kx, x.width, y.width);
                    if columns.is_empty() {
                        continue;
                    }
                    for (step, oy) in output_rows.clone().enumerate() {
                        let iy = first_row + step * conv.stride;
                        visit(Row {
                            weight: (c * conv.kernel + ky) * conv.kernel + kx,
                            x: ((first_channel + c) * x.height + iy) * x.width + first_column,
                            y: oy * y.width + columns.start..oy * y.width + columns.end,
                        });
                    }
                }
            }
        }
    }

    /// `y[n,k] = b[k] + Σ w[k] ∗ x[n]`.
    pub fn forward(&self, x: &[f64], weight: &[f64], bias: Option<&[f64]>, batch: usize) -> Vec<f64> {
        let mut y = vec![0.0; batch * self.y.len()];
        y.par_chunks_mut(self.y.area()).enumerate().for_each(|(channel, y)| {
            let (n, k) = (channel / self.y.channels, channel % self.y.channels);
            let x = &x[n * self.x.len()..][..self.x.len()];
            let filter = &weight[k * self.filter_len()..][..self.filter_len()];
            y.fill(bias.map_or(0.0, |bias| bias[k]));
            self.rows(k, |row| {
                let w = filter[row.weight];
                let (y, x) = (&mut y[row.y], &x[row.x..]);
                if self.conv.stride == 1 {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
                } else {
                    let x = x.iter().step_by(self.conv.stride);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
                }
            });
        });
        y
    }

    /// The input gradient, `dx[n] = Σ_k w[k] ∗ᵀ dy[n,k]`.
    pub fn input_gradient(&self, dy: &[f64], weight: &[f64], batch: usize) -> Vec<f64> {
        let mut dx = vec![0.0; batch * self.x.len()];
        dx.par_chunks_mut(self.x.len()).enumerate().for_each(|(n, dx)| {
            for k in 0..self.y.channels {
                let dy = &dy[(n * self.y.channels + k) * self.y.area()..][..self.y.area()];
                let filter = &weight[k * self.filter_len()..][..self.filter_len()];
                self.rows(k, |row| {
                    let w = filter[row.weight];
                    let (dx, dy) = (&mut dx[row.x..], &dy[row.y]);
                    if self.conv.stride == 1 {
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += w * dy);
                    } else {
                        let dx = dx.iter_mut().step_by(self.conv.stride);
                        dx.zip(dy).for_each(|(dx, dy)| *dx += w * dy);
                    }
                });
            }
        });
        dx
    }

    /// The weight gradient, `dw[k] = Σ_n x[n] ∗ dy[n,k]`.
    pub fn weight_gradient(&self, x: &[f64], dy: &[f64], batch: usize) -> Vec<f64> {
        let mut dw = vec![0.0; self.y.channels * self.filter_len()];
        dw.par_chunks_mut(self.filter_len()).enumerate().for_each(|(k, dw)| {
            for n in 0..batch {
                let x = &x[n * self.x.len()..][..self.x.len()];
                let dy = &dy[(n * self.y.channels + k) * self.y.area()..][..self.y.area()];
                self.rows(k, |row| {
                    let inputs = x[row.x..].iter().step_by(self.conv.stride);
                    dw[row.weight] += inputs.zip(&dy[row.y]).map(|(x, dy)| x * dy).sum::<f64>();
                });
            }
        });
        dw
    }
}
