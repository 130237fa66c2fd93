//! Which operations copy whole channels? Concatenation, slices, and shortcuts
//! without parameters.

use super::plane::Extent;
use super::pool::PoolWindows;
use crate::graph::{PadShortcut, Pool};

/// For each image, the channels of all inputs one after the other. An input comes
/// with the number of elements of one of its images.
pub(super) fn concat(inputs: &[(&[f64], usize)], batch: usize) -> Vec<f64> {
    let image = |n: usize| inputs.iter().flat_map(move |(x, len)| &x[n * len..][..*len]);
    (0..batch).flat_map(image).copied().collect()
}

/// Channels `from .. from + count` of every image.
pub(super) fn slice(x: &[f64], extent: Extent, from: usize, count: usize) -> Vec<f64> {
    let kept = from * extent.area()..(from + count) * extent.area();
    x.chunks(extent.len()).flat_map(|x| &x[kept.clone()]).copied().collect()
}

/// Adds zero channels before and after those of every image.
fn pad(x: &[f64], extent: Extent, before: usize, after: usize) -> Vec<f64> {
    let zeros = |channels| vec![0.0; channels * extent.area()];
    let (before, after) = (zeros(before), zeros(after));
    let image = |x| [&before[..], x, &after[..]].concat();
    x.chunks(extent.len()).flat_map(image).collect()
}

/// The shortcut of option A (He et al. 2015) between planes of known size: the
/// mean of windows with one pixel or with `stride²` pixels, and zero channels
/// around the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelPadding {
    shortcut: PadShortcut,
    pooling: PoolWindows,
    /// The extent after pooling: the channels of x on the plane of y.
    pooled: Extent,
    y: Extent,
}

impl ChannelPadding {
    pub fn new(shortcut: PadShortcut, x: Extent, y: Extent) -> Self {
        let pool = Pool {
            kernel: if shortcut.average { shortcut.stride } else { 1 },
            stride: shortcut.stride,
            padding: 0,
        };
        let pooled = Extent {
            channels: x.channels,
            ..y
        };
        ChannelPadding {
            shortcut,
            pooling: PoolWindows::new(pool, x, pooled),
            pooled,
            y,
        }
    }

    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let PadShortcut { before, after, .. } = self.shortcut;
        pad(&self.pooling.mean(x), self.pooled, before, after)
    }

    pub fn gradient(&self, dy: &[f64]) -> Vec<f64> {
        let kept = slice(dy, self.y, self.shortcut.before, self.pooled.channels);
        self.pooling.mean_grad(&kept)
    }
}
