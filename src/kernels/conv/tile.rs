//! What is a register tile, and how large may it be?
//!
//! On a CPU a load costs as much as thirty multiply-adds, so a tile has a
//! hundred accumulators and more. On a GPU the number of registers limits how
//! many threads run at once, so a tile has dozens. A tile's body is
//! straight-line code. Beyond the CPU's instruction cache it gains nothing
//! more, and takes seconds to compile. Where the lanes of a subgroup can
//! exchange values, neighbours bring halos and weights, and small tiles do as
//! well as large ones.

use std::ops::Range;

use super::problem::{Convolution, Destination, loads_vec4, shape_constants};
use crate::graph::Conv;
use crate::kernels::call::{Call, Operand, Target};
use crate::kernels::text::sizes;
use crate::kernels::value::Value;

/// Multiply-adds in the straight-line body of a kernel for CPUs.
pub const CPU_BODY: usize = 2304;
/// The same for GPUs.
pub const GPU_BODY: usize = 320;
/// The same where tiles of a subgroup share halos: half the instruction cache.
pub const SUBGROUP_BODY: usize = CPU_BODY / 2;
/// No body is larger, whatever a tuning cache names: it would compile for
/// minutes.
pub const LARGEST_BODY: usize = 16_384;
/// Accumulators of one invocation on a CPU.
pub const CPU_ACCUMULATORS: usize = 512;
/// The same on a GPU. Apple's compiler has too few registers for 64, and AMD's GCN
/// then runs one or two subgroups of ten at a time: docs/drivers.md.
pub const GPU_ACCUMULATORS: usize = 32;
/// Lanes of a CPU's vectors.
pub const CPU_VECTOR: usize = 8;
/// The workgroup size of convolutions on processors.
pub const WORKGROUP_SIZE: usize = 32;
/// The default workgroup size of convolutions on GPUs. AMD's GCN and Adreno run 64
/// invocations together: a smaller workgroup leaves the rest of them idle. NVIDIA's
/// multiprocessors hold 16 workgroups, whatever their size, and 32 to 64 subgroups of
/// 32.
pub const GPU_WORKGROUP_SIZE: usize = 64;
/// The workgroup size of kernels that pack weights. An invocation does little
/// there, and on a CPU each workgroup has a fixed cost.
const PACKING_WORKGROUP_SIZE: usize = 256;

/// PX × PY pixels × KB destination channels, for one invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Columns.
    pub px: usize,
    /// Rows.
    pub py: usize,
    /// Destination channels.
    pub kb: usize,
}

/// Source pixels that a tile needs: its own, and a halo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Halo to the left and above.
    pub left: usize,
    /// Halo to the right and below.
    pub right: usize,
    /// Columns of its own.
    pub inner_x: usize,
    /// Rows of its own.
    pub inner_y: usize,
}

impl Tile {
    /// The tile in a text such as `8x4x16`.
    pub fn parse(text: &str) -> Option<Self> {
        let [px, py, kb] = sizes(text)?;
        Some(Tile { px, py, kb })
    }

    /// Whether this can be a tile of `dest`, with a multiple of 4 channels.
    /// Tuning caches may name any tile.
    pub fn fits(&self, dest: &Destination) -> bool {
        let aligned = self.px.is_multiple_of(dest.unit()) && self.py.is_multiple_of(dest.unit());
        let small = [self.px, self.py, self.kb].iter().all(|&side| (1..=64).contains(&side));
        small && aligned && self.kb.is_multiple_of(4) && self.accumulators() * dest.taps() <= LARGEST_BODY
    }

    /// The number of sums that an invocation accumulates.
    pub fn accumulators(&self) -> usize {
        self.px * self.py * self.kb
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

impl std::fmt::Display for Tile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tile { px, py, kb } = self;
        write!(f, "{px}x{py}x{kb}")
    }
}

/// A number of channels for a block: a multiple of four, at most `most` and at
/// most `limit`. One that divides `channels` is preferred: it wastes nothing.
pub fn channel_block(channels: usize, most: usize, limit: usize) -> usize {
    let most = (most / 4 * 4).clamp(4, limit).min(channels.next_multiple_of(4));
    (1..=most / 4)
        .rev()
        .map(|vectors| 4 * vectors)
        .find(|kb| channels.is_multiple_of(*kb))
        .unwrap_or(most)
}

/// The side of a tile for an axis of length `size`: a multiple of `unit`, at
/// most `most` (and at least `unit`). A good divisor of the axis is preferred,
/// and among those a multiple of 4.
pub fn tile_side(size: usize, most: usize, unit: usize) -> usize {
    let most = most.max(unit);
    let divisors = (1..=most.min(size))
        .rev()
        .filter(|side| size.is_multiple_of(*side) && side % unit == 0);
    let vec4 = divisors.clone().find(|side| side % 4 == 0);
    let best = vec4.or_else(|| divisors.clone().next()).unwrap_or(unit);
    // For a prime axis, a tile that extends beyond it is better than a tile of
    // a single pixel.
    if best * 3 < most.min(size) {
        most.min(size).next_multiple_of(unit)
    } else {
        best
    }
}

/// The default workgroup size of convolutions on `target`.
pub fn workgroup_size(target: &Target) -> usize {
    if target.cpu { WORKGROUP_SIZE } else { GPU_WORKGROUP_SIZE }
}

/// A smaller workgroup that may be faster on a GPU, where subgroups are not known to
/// be larger.
pub fn smaller_workgroup(target: &Target) -> Option<usize> {
    let smaller = GPU_WORKGROUP_SIZE / 2;
    (!target.cpu && target.subgroup_size <= smaller).then_some(smaller)
}

/// Without repeated items, in the same order.
pub fn distinct<T: PartialEq + Copy>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// What kernels by register tiles have in common.
impl Convolution<'_> {
    /// Constants of a kernel by `tile`.
    pub fn tile_constants(&self, tile: Tile, workgroup_size: usize) -> Vec<(&'static str, Value)> {
        let conv = self.computed();
        let reach = tile.reach(&conv, self.is_transposed());
        let mut constants = shape_constants(&conv, self.source, self.dest);
        constants.extend([
            ("TRANSPOSED", self.is_transposed().into()),
            ("BIAS", self.bias.into()),
            ("PX", tile.px.into()),
            ("PY", tile.py.into()),
            ("KB", tile.kb.into()),
            ("LEFT", reach.left.into()),
            ("RIGHT", reach.right.into()),
            ("INNER_X", reach.inner_x.into()),
            ("INNER_Y", reach.inner_y.into()),
            ("SOURCE_VEC4", loads_vec4(self.source, reach.inner_x).into()),
            ("DEST_VEC4", loads_vec4(self.dest, tile.px).into()),
            ("WG", workgroup_size.into()),
        ]);
        constants
    }

    /// The call that lays the weights out as `packed` values for a kernel with
    /// `constants`. An invocation packs `at_once` of them.
    pub fn packing(
        &self,
        [file, entry]: [&'static str; 2],
        mut constants: Vec<(&'static str, Value)>,
        [packed, at_once]: [usize; 2],
        target: &Target,
    ) -> Call {
        constants.retain(|(name, _)| *name != "WG");
        constants.extend([
            ("EXCHANGED", self.is_input_gradient.into()),
            ("FLIPPED", self.is_flipped().into()),
            ("WG", PACKING_WORKGROUP_SIZE.into()),
        ]);
        Call::new(file, entry, constants)
            .bind(6, Operand::Input(1), 4 * self.weights() as u64)
            .bind(7, Operand::Scratch(0), 4 * packed as u64)
            .over(packed / at_once, PACKING_WORKGROUP_SIZE, target)
    }

    /// A kernel over the images `part` that reads `packed` weights.
    pub fn tile_call(
        &self,
        [file, entry]: [&'static str; 2],
        constants: Vec<(&'static str, Value)>,
        part: &Range<usize>,
        packed: usize,
    ) -> Call {
        let Convolution { source, dest, .. } = *self;
        let mut call = Call::new(file, entry, constants)
            .store("Stored", 1, dest)
            .store("Stored4", 4, dest)
            .bind_images(0, Operand::Input(0), source, part)
            .bind_images(1, Operand::Input(0), source, part)
            .bind(2, Operand::Scratch(0), 4 * packed as u64)
            .bind(3, Operand::Input(2), 4 * dest.channels() as u64)
            .bind_images(4, Operand::Output, dest, part)
            .bind_images(5, Operand::Output, dest, part);
        call.macs = self.macs(part.len());
        call
    }
}
