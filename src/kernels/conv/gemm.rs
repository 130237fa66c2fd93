//! Which dispatches make a convolution as a matrix product through workgroup
//! memory, and which tiles are worth it?
//!
//! Not yet measured on a GPU; `docs/notes.md` has the reckoning why it should
//! pay there. A tile of 64 × 64 results has 32 multiply-adds for each value that
//! it brings. Register tiles have 24 where nine taps use a value, 8 in a 1×1
//! kernel and 10 in a weight gradient, and at a stride the gradient by
//! the input reads nine taps' weights for two taps' work. So the rules take the
//! product there, as soon as there are channels to fill a tile; elsewhere it is
//! for the tuner to try.

use super::problem::{Direction, shape_constants};
use super::wgrad::WeightGradient;
use crate::kernels::call::{Call, Lowered, Operand, Target, fold, is_workgroup_size, parts};
use crate::kernels::candidate::Algorithm;
use crate::kernels::source::Value;

/// Channels, of source and of destination, from which on the rules take a
/// product.
const WIDE: usize = 64;
/// Workgroups that the rules want at least, to keep a GPU busy.
const GROUPS: usize = 1024;
/// Bytes of partial sums of a weight gradient, at most.
const PARTIAL_BYTES: u64 = 16 << 20;
/// Bytes of workgroup memory that every adapter has.
const WORKGROUP_BYTES: usize = 16 << 10;
/// Vectors between rows of workgroup memory, for weight gradients.
const PAD: usize = 1;
const WG: usize = 64;

/// A workgroup's tile of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GemmTile {
    /// Pixels; for a weight gradient, pairs of source channel and tap.
    pub rows: usize,
    /// Destination channels.
    pub channels: usize,
    /// Terms of the sums taken at a time.
    pub depth: usize,
    /// Rows and channels of one invocation.
    pub sums: (usize, usize),
    /// Buffers in workgroup memory, one or two.
    pub buffers: usize,
}

const fn tile(rows: usize, channels: usize, depth: usize, sums: (usize, usize), buffers: usize) -> GemmTile {
    GemmTile {
        rows,
        channels,
        depth,
        sums,
        buffers,
    }
}

/// Tiles for products with many destination channels, and with few; the
/// likeliest first.
const FOR_MANY: [GemmTile; 6] = [
    tile(64, 64, 16, (4, 4), 1),
    tile(128, 64, 8, (8, 8), 1),
    tile(64, 64, 8, (8, 8), 1),
    tile(128, 128, 8, (8, 8), 1),
    tile(64, 64, 8, (4, 4), 2),
    tile(128, 64, 8, (8, 8), 2),
];
const FOR_SOME: [GemmTile; 4] = [
    tile(64, 32, 16, (4, 4), 1),
    tile(128, 32, 8, (8, 4), 1),
    tile(128, 32, 16, (8, 4), 1),
    tile(64, 32, 8, (4, 4), 2),
];
const FOR_FEW: [GemmTile; 3] = [
    tile(128, 16, 16, (4, 4), 1),
    tile(64, 16, 16, (4, 4), 1),
    tile(128, 16, 8, (4, 4), 2),
];

impl GemmTile {
    /// Tiles that may be fast for so many destination channels in each group.
    fn list(channels: usize) -> &'static [GemmTile] {
        match channels {
            48.. => &FOR_MANY,
            24.. => &FOR_SOME,
            _ => &FOR_FEW,
        }
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> usize {
        (self.rows / self.sums.0) * (self.channels / self.sums.1)
    }

    /// Whether this can be a tile everywhere: files name tiles, too.
    fn fits(&self) -> bool {
        let sums = [self.sums.0, self.sums.1].iter().all(|side| [4, 8].contains(side));
        let sides = [self.rows, self.channels].iter().all(|side| side.is_power_of_two());
        let depth = [4, 8, 16].contains(&self.depth);
        let vectors = self.buffers * self.depth * (self.rows / 4 + self.channels / 4 + 2 * PAD);
        sums && sides
            && depth
            && (self.sums.0..=256).contains(&self.rows)
            && (self.sums.1..=256).contains(&self.channels)
            && (1..=2).contains(&self.buffers)
            && is_workgroup_size(self.lanes())
            // Each invocation stays with one pixel, or with one term.
            && self.lanes() >= 2 * self.depth
            && self.lanes().is_multiple_of(self.rows / 4)
            && 16 * vectors <= WORKGROUP_BYTES
    }

    fn constants(&self, pad: usize) -> Vec<(&'static str, Value)> {
        vec![
            ("TM", self.rows.into()),
            ("TN", self.channels.into()),
            ("DEPTH", self.depth.into()),
            ("SM", self.sums.0.into()),
            ("SN", self.sums.1.into()),
            ("BUFFERS", self.buffers.into()),
            ("PAD", pad.into()),
            ("WG", self.lanes().into()),
        ]
    }
}

impl Direction<'_> {
    /// The product that the rules take on a GPU, where they take one.
    pub fn gemm_rule(&self, target: &Target) -> Option<Algorithm> {
        let (source, dest) = self.group_channels();
        let strided = self.backward && self.conv.stride > 1;
        let pays = source.min(dest) >= WIDE && (self.conv.kernel == 1 || strided);
        (!target.cpu && pays).then(|| gemm(GemmTile::list(dest)[0], 1))
    }

    /// Products that may be fast.
    pub fn gemms(&self, target: &Target) -> Vec<Algorithm> {
        // On a processor workgroup memory is memory like any other, and loads
        // are what costs: a tenth of the register tiles' speed.
        if target.cpu {
            return Vec::new();
        }
        let tiles = GemmTile::list(self.group_channels().1).iter();
        tiles.map(|&tile| gemm(tile, 1)).collect()
    }

    /// The dispatches of a product by `tile`; `None` where it is no tile.
    pub fn lower_gemm(&self, tile: GemmTile, batch: usize, target: &Target) -> Option<Lowered> {
        let conv = self.tiled_conv();
        let transposed = self.is_transposed();
        let phases = if transposed { conv.stride * conv.stride } else { 1 };
        let (source_channels, channels) = self.group_channels();
        let tiles = channels.div_ceil(tile.channels);
        if !tile.fits() || tiles * conv.groups * phases > target.workgroups as usize {
            return None;
        }
        let mut constants = shape_constants(&conv, self.source, self.dest);
        constants.extend(tile.constants(0));
        constants.extend([("TRANSPOSED", transposed.into()), ("BIAS", self.bias.into())]);
        let taps = conv.kernel * conv.kernel;
        let packed = conv.groups * taps * source_channels * tiles * tile.channels;
        let mut packing = constants.clone();
        packing.retain(|(name, _)| *name != "WG");
        packing.extend([
            ("EXCHANGED", self.backward.into()),
            ("FLIPPED", self.is_flipped().into()),
            ("WG", WG.into()),
        ]);
        let pack = Call::new("conv/gemm", "pack_gemm", packing)
            .bind(4, Operand::Input(1), 4 * self.weights() as u64)
            .bind(5, Operand::Scratch(0), 4 * packed as u64)
            .over(packed, WG, target);
        let mut calls = vec![pack];
        let (height, width) = self.dest.plane();
        // Of the largest phase.
        let pixels = match transposed {
            true => height.div_ceil(conv.stride) * width.div_ceil(conv.stride),
            false => height * width,
        };
        for part in parts(batch, &[self.source, self.dest], target) {
            let mut call = Call::new("conv/gemm", "gemm", constants.clone())
                .store("Source", 1, self.source)
                .store("Dest", 1, self.dest)
                .bind_images(0, Operand::Input(0), self.source, &part)
                .bind(1, Operand::Scratch(0), 4 * packed as u64)
                .bind(2, Operand::Input(2), 4 * self.dest.channels() as u64)
                .bind_images(3, Operand::Output, self.dest, &part);
            let [x, z, _] = fold((part.len() * pixels).div_ceil(tile.rows), target.workgroups);
            call.workgroups = [x, (tiles * conv.groups * phases) as u32, z];
            call.macs = self.macs(part.len());
            calls.push(call);
        }
        Some(Lowered {
            calls,
            scratch: vec![4 * packed as u64],
        })
    }
}

impl WeightGradient<'_> {
    /// Tiles of a product by `tile`, in all groups.
    fn tiles(&self, tile: GemmTile) -> usize {
        let (c, k) = self.channels();
        let columns = c * self.conv.kernel * self.conv.kernel;
        self.conv.groups * columns.div_ceil(tile.rows) * k.div_ceil(tile.channels)
    }

    /// Parts of the sum that give enough workgroups to keep a GPU busy.
    fn splits(&self, tile: GemmTile) -> usize {
        GROUPS.div_ceil(self.tiles(tile)).next_power_of_two()
    }

    /// The product that the rules take on a GPU, where they take one.
    pub fn gemm_rule(&self, target: &Target) -> Option<Algorithm> {
        let (c, k) = self.channels();
        let tile = GemmTile::list(k)[0];
        (!target.cpu && c.min(k) >= WIDE).then(|| gemm(tile, self.splits(tile)))
    }

    /// Products that may be fast.
    pub fn gemms(&self, target: &Target) -> Vec<Algorithm> {
        if target.cpu {
            return Vec::new();
        }
        let tiles = GemmTile::list(self.channels().1).iter();
        let mut all: Vec<Algorithm> = tiles.map(|&tile| gemm(tile, self.splits(tile))).collect();
        let first = GemmTile::list(self.channels().1)[0];
        all.push(gemm(first, 4 * self.splits(first)));
        all.push(gemm(first, self.splits(first).div_ceil(4)));
        all
    }

    /// The dispatches of a product by `tile` whose sums over pixels are made
    /// in about `splits` parts; `None` where it is no tile.
    pub fn lower_gemm(&self, tile: GemmTile, splits: usize, batch: usize, target: &Target) -> Option<Lowered> {
        if !tile.fits() {
            return None;
        }
        let WeightGradient { conv, x, dy, dw } = *self;
        let (height, width) = dy.plane();
        let plane = height * width;
        let room = (target.binding.min(PARTIAL_BYTES) / dw.bytes(1)).max(1) as usize;
        let parts = parts(batch, &[x, dy], target);
        let wanted = splits.min(room / parts.len()).clamp(1, target.workgroups as usize);
        let chunk = (batch * plane).div_ceil(wanted).next_multiple_of(tile.depth);
        let chunks = |part: &std::ops::Range<usize>| (part.len() * plane).div_ceil(chunk);
        let all: usize = parts.iter().map(chunks).sum();
        let partial = all as u64 * dw.bytes(1);
        let sums = if all == 1 { Operand::Output } else { Operand::Scratch(0) };
        let mut calls = Vec::new();
        let mut first_split = 0;
        for part in parts {
            let mut constants = shape_constants(&conv, x, dy);
            constants.extend(tile.constants(PAD));
            constants.extend([("CHUNK", chunk.into()), ("FIRST_SPLIT", first_split.into())]);
            let mut call = Call::new("conv/gemm", "gemm_weights", constants)
                .store("Source", 1, x)
                .store("Slope", 1, dy)
                .bind_images(0, Operand::Input(0), x, &part)
                .bind_images(6, Operand::Input(1), dy, &part)
                .bind(7, sums, partial);
            let [y, z, _] = fold(self.tiles(tile), target.workgroups);
            call.workgroups = [chunks(&part) as u32, y, z];
            call.macs = (dw.per_image() * plane * part.len()) as u64;
            first_split += chunks(&part);
            calls.push(call);
        }
        if all == 1 {
            return Some(Lowered::calls(calls));
        }
        calls.push(self.merge("rows", 1, partial, target));
        Some(Lowered {
            calls,
            scratch: vec![partial],
        })
    }
}

fn gemm(tile: GemmTile, splits: usize) -> Algorithm {
    Algorithm::Gemm { tile, splits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiles_fit_every_adapter() {
        for tile in FOR_MANY.iter().chain(&FOR_SOME).chain(&FOR_FEW) {
            assert!(tile.fits(), "{tile:?}");
        }
        let [good, ..] = FOR_MANY;
        let bad = [
            GemmTile { rows: 48, ..good },
            GemmTile { rows: 256, ..good },
            GemmTile { depth: 32, ..good },
            GemmTile { sums: (2, 4), ..good },
            GemmTile { buffers: 2, ..good },
            GemmTile { buffers: 0, ..good },
            GemmTile {
                rows: 4,
                channels: 4,
                ..good
            },
        ];
        for tile in bad {
            assert!(!tile.fits(), "{tile:?}");
        }
    }
}
