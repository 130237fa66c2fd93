//! How large are the register tiles?
//!
//! On a processor a load costs as much as thirty multiply-adds, so a tile
//! holds a hundred sums and more; on a GPU registers decide how many threads
//! are in flight, so it holds dozens. A tile's body is straight-line code:
//! beyond the processor's instruction cache it gains nothing more, and takes
//! seconds to compile. Weights that come by way of a uniform buffer cost next
//! to nothing, so that wide tiles of few channels do as well as large ones.

use super::call::Target;
use crate::graph::Conv;

/// Multiply-adds in the straight-line body of a kernel.
const CPU_BODY: usize = 2304;
const GPU_BODY: usize = 640;
/// Sums that one invocation keeps.
const CPU_SUMS: usize = 512;
const GPU_SUMS: usize = 64;

/// PX × PY pixels × KB output channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    pub px: usize,
    pub py: usize,
    pub kb: usize,
}

/// Source pixels that a tile needs: its own, and a halo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    pub left: usize,
    pub right: usize,
    pub inner_x: usize,
    pub inner_y: usize,
}

impl Tile {
    /// The rules' choice for a destination of `channels` × `height` × `width`
    /// in each group.
    pub fn choose(
        conv: &Conv,
        transposed: bool,
        channels: usize,
        height: usize,
        width: usize,
        target: &Target,
    ) -> Self {
        // A transposed tile begins at a multiple of the stride.
        let unit = if transposed { conv.stride } else { 1 };
        let taps = (conv.kernel * conv.kernel).div_ceil(unit * unit);
        let (wide, tall, body, sums) = match target.cpu {
            // As wide as the row, a tile has no halo to load on its sides,
            // and does with half the body.
            true if width <= 16 => (16, 2, CPU_BODY / 2, CPU_SUMS),
            true => (8, 4, CPU_BODY, CPU_SUMS),
            false => (4, 2, GPU_BODY, GPU_SUMS),
        };
        let (px, py) = (fit(width, wide, unit), fit(height, tall, unit));
        let budget = (body / taps).min(sums).max(4 * px * py);
        let kb = (budget / (px * py) / 4 * 4)
            .clamp(4, 16)
            .min(channels.next_multiple_of(4));
        // A block that divides the channels wastes nothing.
        let kb = (1..=kb / 4)
            .rev()
            .map(|fours| 4 * fours)
            .find(|kb| channels.is_multiple_of(*kb))
            .unwrap_or(kb);
        Tile { px, py, kb }
    }

    /// The source pixels that this tile needs.
    pub fn reach(&self, conv: &Conv, transposed: bool) -> Reach {
        let Conv {
            kernel,
            stride,
            padding,
            ..
        } = *conv;
        if !transposed {
            return Reach {
                left: padding,
                right: kernel.saturating_sub(padding + stride),
                inner_x: self.px * stride,
                inner_y: self.py * stride,
            };
        }
        // Tap k of pixel i reads (i + padding − k) / stride.
        let left = (kernel - 1).saturating_sub(padding) / stride;
        let beyond = |pixels: usize| ((pixels - 1 + padding) / stride + 1).saturating_sub(pixels / stride);
        Reach {
            left,
            right: beyond(self.px).max(beyond(self.py)),
            inner_x: self.px / stride,
            inner_y: self.py / stride,
        }
    }
}

/// A tile side of at most `most` (and at least `unit`) for an axis of `size`,
/// a multiple of `unit`: a divisor of the axis where there is a good one, by
/// fours where the axis allows.
fn fit(size: usize, most: usize, unit: usize) -> usize {
    let most = most.max(unit);
    let divisors = (1..=most.min(size))
        .rev()
        .filter(|side| size.is_multiple_of(*side) && side % unit == 0);
    let by_fours = divisors.clone().find(|side| side % 4 == 0);
    let best = by_fours.or_else(|| divisors.clone().next()).unwrap_or(unit);
    // A prime axis: better a tile that hangs over than one of a single pixel.
    if best * 3 < most.min(size) {
        most.min(size).next_multiple_of(unit)
    } else {
        best
    }
}

/// PX output columns × KB output channels × CB source channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightTile {
    pub px: usize,
    pub kb: usize,
    pub cb: usize,
}

impl WeightTile {
    /// The rules' choice for `c` source and `k` output channels in each group
    /// and output rows of `width`.
    pub fn choose(conv: &Conv, c: usize, k: usize, width: usize, target: &Target) -> Self {
        let taps = conv.kernel * conv.kernel;
        let (body, most_px, most_kb, most_cb) = if target.cpu {
            (CPU_BODY / 2, 8, 8, 8)
        } else {
            (GPU_BODY, 4, 4, 2)
        };
        let px = fit(width, most_px, 1);
        let kb = fit(k, most_kb.min((body / (taps * px)).max(1)), 1);
        let cb = fit(c, most_cb.min((body / (taps * px * kb)).max(1)), 1);
        WeightTile { px, kb, cb }
    }

    /// Images that one invocation walks through: few enough to keep the
    /// device busy, enough that the partial sums (`bytes` for each range of
    /// images) stay small. `per_image` is the number of invocations an image.
    pub fn images(&self, batch: usize, per_image: usize, bytes: u64, target: &Target) -> usize {
        let wanted = if target.cpu { 2048 } else { 1 << 16 };
        let busy = (batch * per_image / wanted).max(1);
        let room = target.binding.min(16 << 20);
        let small = (batch as u64 * bytes).div_ceil(room.max(bytes)) as usize;
        busy.max(small).min(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(cpu: bool) -> Target {
        Target {
            cpu,
            binding: 1 << 27,
            alignment: 256,
            workgroups: 65_535,
            uniform: 0,
        }
    }

    #[test]
    fn tiles_fit_their_budgets() {
        for cpu in [false, true] {
            for kernel in [1, 3, 5, 7] {
                for stride in [1, 2] {
                    for size in [1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 112] {
                        for channels in [1, 3, 4, 16, 64, 160] {
                            for transposed in [false, true] {
                                let conv = Conv {
                                    kernel,
                                    stride,
                                    padding: kernel / 2,
                                    groups: 1,
                                };
                                let tile = Tile::choose(&conv, transposed, channels, size, size, &target(cpu));
                                assert_eq!(tile.kb % 4, 0);
                                if transposed {
                                    assert_eq!((tile.px % stride, tile.py % stride), (0, 0));
                                }
                                let sums = tile.px * tile.py * tile.kb;
                                assert!(sums <= if cpu { 512 } else { 64 }, "{tile:?}");
                            }
                        }
                    }
                }
            }
        }
    }
}
