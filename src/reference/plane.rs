//! How do windows lie on a plane?

use std::ops::Range;

use crate::graph::Shape;

/// The size of the values of one image, `C×H×W`; a vector of features is `C×1×1`,
/// a single number `1×1×1`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Extent {
    pub fn of(shape: &Shape) -> Self {
        let (height, width) = shape.plane();
        Extent {
            channels: shape.dims.first().copied().unwrap_or(1),
            height,
            width,
        }
    }

    /// Elements of one channel.
    pub fn area(&self) -> usize {
        self.height * self.width
    }

    /// Elements of one image.
    pub fn len(&self) -> usize {
        self.channels * self.area()
    }
}

/// Windows along one axis: window `o` covers `kernel` positions from
/// `o·stride − padding`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Windows {
    /// The positions of window `o` that lie on an axis of `size`.
    pub fn covered(&self, o: usize, size: usize) -> Range<usize> {
        let first = o * self.stride;
        let from = first.saturating_sub(self.padding);
        let to = (first + self.kernel).saturating_sub(self.padding).min(size);
        from..to.max(from)
    }

    /// Those of `count` windows whose element number `tap` lies on an axis of
    /// `size`, and the position of that element in the first of them.
    pub fn touching(&self, tap: usize, size: usize, count: usize) -> (Range<usize>, usize) {
        let from = self.padding.saturating_sub(tap).div_ceil(self.stride);
        let to = (size + self.padding)
            .saturating_sub(tap)
            .div_ceil(self.stride)
            .min(count);
        let position = (from * self.stride + tap).saturating_sub(self.padding);
        (from..to.max(from), position)
    }
}
