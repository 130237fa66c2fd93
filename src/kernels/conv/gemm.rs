//! Which dispatches make a convolution as a matrix product through workgroup
//! memory, and which tiles may be fast?
//!
//! Not measured on a GPU yet; `docs/notes.md` has the calculation why it should
//! pay there. A tile of 64 × 64 results has 32 multiply-adds for each value that
//! it loads. Register tiles have 24 where nine taps use a value, 8 with a 1×1
//! kernel and 10 in a weight gradient, and with a stride the input gradient
//! reads the weights of nine taps for the work of two. So the product is the
//! default there, if there are enough channels to fill a tile. Elsewhere it is
//! an alternative that the tuner tries.

use std::fmt;

use super::problem::{Convolution, WeightGradient, shape_constants};
use crate::kernels::call::{Call, Lowered, Operand, Target, grid_2d, is_workgroup_size, parts};
use crate::kernels::text::{AlgorithmConfig, number, sizes};
use crate::kernels::value::Value;

const FILE: &str = "conv/gemm";
/// The product is the default with at least this many source and destination
/// channels.
const MANY_CHANNELS: usize = 64;
/// Workgroups that keep a GPU busy.
const WORKGROUPS: usize = 1024;
/// Bytes of partial sums of a weight gradient, at most.
const PARTIAL_BYTES: u64 = 16 << 20;
/// Bytes of workgroup memory that every adapter has.
const WORKGROUP_BYTES: usize = 16 << 10;
/// Vectors between rows of workgroup memory, for weight gradients.
const PAD: usize = 1;
/// The workgroup size of the packing of weights.
const PACKING_WORKGROUP_SIZE: usize = 64;

/// A matrix product by tiles in workgroup memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// The tile of a workgroup.
    pub tile: GemmTile,
    /// For a weight gradient, the number of parts of each sum: more of them
    /// make more workgroups, and more partial sums.
    pub splits: usize,
}

/// A workgroup's tile of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GemmTile {
    /// Pixels; for a weight gradient, pairs of source channel and tap.
    pub rows: usize,
    /// Destination channels.
    pub channels: usize,
    /// Terms of the sums taken at a time.
    pub depth: usize,
    /// The register tile: rows and channels of one invocation.
    pub register_tile: (usize, usize),
    /// Buffers in workgroup memory, one or two.
    pub buffers: usize,
}

const fn tile(rows: usize, channels: usize, depth: usize, register_tile: (usize, usize), buffers: usize) -> GemmTile {
    GemmTile {
        rows,
        channels,
        depth,
        register_tile,
        buffers,
    }
}

/// Tiles for products with many destination channels, the most promising
/// first.
const FOR_MANY: [GemmTile; 6] = [
    tile(64, 64, 16, (4, 4), 1),
    tile(128, 64, 8, (8, 8), 1),
    tile(64, 64, 8, (8, 8), 1),
    tile(128, 128, 8, (8, 8), 1),
    tile(64, 64, 8, (4, 4), 2),
    tile(128, 64, 8, (8, 8), 2),
];
/// The same with fewer channels.
const FOR_SOME: [GemmTile; 4] = [
    tile(64, 32, 16, (4, 4), 1),
    tile(128, 32, 8, (8, 4), 1),
    tile(128, 32, 16, (8, 4), 1),
    tile(64, 32, 8, (4, 4), 2),
];
/// The same with few channels.
const FOR_FEW: [GemmTile; 3] = [
    tile(128, 16, 16, (4, 4), 1),
    tile(64, 16, 16, (4, 4), 1),
    tile(128, 16, 8, (4, 4), 2),
];

impl GemmTile {
    /// Tiles that may be fast with this number of destination channels in each
    /// group, the most promising first.
    fn list(channels: usize) -> &'static [GemmTile] {
        match channels {
            48.. => &FOR_MANY,
            24.. => &FOR_SOME,
            _ => &FOR_FEW,
        }
    }

    /// Invocations of a workgroup.
    fn workgroup_size(&self) -> usize {
        (self.rows / self.register_tile.0) * (self.channels / self.register_tile.1)
    }

    /// Whether every adapter can run this tile. Tuning caches may name any.
    fn fits(&self) -> bool {
        let (down, across) = self.register_tile;
        let register_tile = [down, across].iter().all(|side| [4, 8].contains(side));
        let sides = [self.rows, self.channels].iter().all(|side| side.is_power_of_two());
        let depth = [4, 8, 16].contains(&self.depth);
        let vectors = self.buffers * self.depth * (self.rows / 4 + self.channels / 4 + 2 * PAD);
        register_tile
            && sides
            && depth
            && (down..=256).contains(&self.rows)
            && (across..=256).contains(&self.channels)
            && (1..=2).contains(&self.buffers)
            && is_workgroup_size(self.workgroup_size())
            // Each invocation loads for one pixel only, or for one term.
            && self.workgroup_size() >= 2 * self.depth
            && self.workgroup_size().is_multiple_of(self.rows / 4)
            && 16 * vectors <= WORKGROUP_BYTES
    }

    fn constants(&self, pad: usize) -> Vec<(&'static str, Value)> {
        vec![
            ("TM", self.rows.into()),
            ("TN", self.channels.into()),
            ("DEPTH", self.depth.into()),
            ("SM", self.register_tile.0.into()),
            ("SN", self.register_tile.1.into()),
            ("BUFFERS", self.buffers.into()),
            ("PAD", pad.into()),
            ("WG", self.workgroup_size().into()),
        ]
    }
}

/// The product as an algorithm for a convolution or an input gradient.
impl Gemm {
    /// The default on a GPU, where there is one.
    pub fn default_for(problem: &Convolution, target: &Target) -> Option<Self> {
        let (source, dest) = problem.group_channels();
        let strided = problem.is_input_gradient && problem.conv.stride > 1;
        let pays = source.min(dest) >= MANY_CHANNELS && (problem.conv.kernel == 1 || strided);
        let tile = GemmTile::list(dest)[0];
        (!target.cpu && pays).then_some(Gemm { tile, splits: 1 })
    }

    /// Those that may be fast, the most promising first.
    pub fn alternatives(problem: &Convolution, target: &Target) -> Vec<Self> {
        // On a CPU, workgroup memory is memory like any other, and loads are
        // expensive: a tenth of the speed of register tiles.
        if target.cpu {
            return Vec::new();
        }
        let tiles = GemmTile::list(problem.group_channels().1).iter();
        tiles.map(|&tile| Gemm { tile, splits: 1 }).collect()
    }

    /// The dispatches; `None` where the tile does not fit.
    pub fn lower(&self, problem: &Convolution, batch: usize, target: &Target) -> Option<Lowered> {
        let tile = self.tile;
        let conv = problem.computed();
        let transposed = problem.is_transposed();
        // Destination pixels of one phase take the same taps.
        let phases = if transposed { conv.stride * conv.stride } else { 1 };
        let (source_channels, channels) = problem.group_channels();
        let tiles = channels.div_ceil(tile.channels);
        if !tile.fits() || tiles * conv.groups * phases > target.workgroups as usize {
            return None;
        }
        let mut constants = shape_constants(&conv, problem.source, problem.dest);
        constants.extend(tile.constants(0));
        constants.extend([("TRANSPOSED", transposed.into()), ("BIAS", problem.bias.into())]);
        let taps = conv.kernel * conv.kernel;
        let packed = conv.groups * taps * source_channels * tiles * tile.channels;
        let mut packing = constants.clone();
        packing.retain(|(name, _)| *name != "WG");
        packing.extend([
            ("EXCHANGED", problem.is_input_gradient.into()),
            ("FLIPPED", problem.is_flipped().into()),
            ("WG", PACKING_WORKGROUP_SIZE.into()),
        ]);
        let pack = Call::new(FILE, "pack_gemm", packing)
            .bind(4, Operand::Input(1), 4 * problem.weights() as u64)
            .bind(5, Operand::Scratch(0), 4 * packed as u64)
            .over(packed, PACKING_WORKGROUP_SIZE, target);
        let mut calls = vec![pack];
        let (height, width) = problem.dest.plane();
        // Pixels of the largest phase.
        let pixels = match transposed {
            true => height.div_ceil(conv.stride) * width.div_ceil(conv.stride),
            false => height * width,
        };
        for part in parts(batch, &[problem.source, problem.dest], target) {
            let mut call = Call::new(FILE, "gemm", constants.clone())
                .store("Source", 1, problem.source)
                .store("Dest", 1, problem.dest)
                .bind_images(0, Operand::Input(0), problem.source, &part)
                .bind(1, Operand::Scratch(0), 4 * packed as u64)
                .bind(2, Operand::Input(2), 4 * problem.dest.channels() as u64)
                .bind_images(3, Operand::Output, problem.dest, &part);
            let [x, z, _] = grid_2d((part.len() * pixels).div_ceil(tile.rows), target.workgroups);
            call.workgroups = [x, (tiles * conv.groups * phases) as u32, z];
            call.macs = problem.macs(part.len());
            calls.push(call);
        }
        Some(Lowered {
            calls,
            scratch: vec![4 * packed as u64],
        })
    }
}

/// The product as an algorithm for a weight gradient.
impl Gemm {
    /// With as many parts of each sum as give enough workgroups to keep a GPU
    /// busy.
    fn wgrad(problem: &WeightGradient, tile: GemmTile) -> Self {
        let tiles = wgrad_tiles(problem, tile);
        let splits = WORKGROUPS.div_ceil(tiles).next_power_of_two();
        Gemm { tile, splits }
    }

    /// The default on a GPU, where there is one.
    pub fn wgrad_default_for(problem: &WeightGradient, target: &Target) -> Option<Self> {
        let (c, k) = problem.group_channels();
        let gemm = Gemm::wgrad(problem, GemmTile::list(k)[0]);
        (!target.cpu && c.min(k) >= MANY_CHANNELS).then_some(gemm)
    }

    /// Those that may be fast, the most promising first.
    pub fn wgrad_alternatives(problem: &WeightGradient, target: &Target) -> Vec<Self> {
        if target.cpu {
            return Vec::new();
        }
        let tiles = GemmTile::list(problem.group_channels().1);
        let mut all: Vec<Self> = tiles.iter().map(|&tile| Gemm::wgrad(problem, tile)).collect();
        let Gemm { tile, splits } = all[0];
        all.extend([4 * splits, splits.div_ceil(4)].map(|splits| Gemm { tile, splits }));
        all
    }

    /// The dispatches; `None` where the tile does not fit.
    pub fn lower_wgrad(&self, problem: &WeightGradient, batch: usize, target: &Target) -> Option<Lowered> {
        let Gemm { tile, splits } = *self;
        if !tile.fits() {
            return None;
        }
        let WeightGradient { conv, x, dy, dw } = *problem;
        let (height, width) = dy.plane();
        let plane = height * width;
        let most = (target.binding.min(PARTIAL_BYTES) / dw.bytes(1)).max(1) as usize;
        let parts = parts(batch, &[x, dy], target);
        let wanted = splits.min(most / parts.len()).clamp(1, target.workgroups as usize);
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
            let mut call = Call::new(FILE, "gemm_weight_gradient", constants)
                .store("Source", 1, x)
                .store("Slope", 1, dy)
                .bind_images(0, Operand::Input(0), x, &part)
                .bind_images(6, Operand::Input(1), dy, &part)
                .bind(7, sums, partial);
            let [y, z, _] = grid_2d(wgrad_tiles(problem, tile), target.workgroups);
            call.workgroups = [chunks(&part) as u32, y, z];
            call.macs = (dw.per_image() * plane * part.len()) as u64;
            first_split += chunks(&part);
            calls.push(call);
        }
        if all == 1 {
            return Some(Lowered::calls(calls));
        }
        calls.push(problem.add_partial_sums("sum_rows", 1, partial, target));
        Some(Lowered {
            calls,
            scratch: vec![partial],
        })
    }
}

/// Tiles of a weight gradient, in all groups.
fn wgrad_tiles(problem: &WeightGradient, tile: GemmTile) -> usize {
    let (c, k) = problem.group_channels();
    let rows = c * problem.conv.kernel * problem.conv.kernel;
    problem.conv.groups * rows.div_ceil(tile.rows) * k.div_ceil(tile.channels)
}

impl fmt::Display for Gemm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gemm { tile, splits } = self;
        let GemmTile {
            rows,
            channels,
            depth,
            register_tile: (down, across),
            buffers,
        } = tile;
        write!(
            f,
            "gemm {rows}x{channels}x{depth} reg {down}x{across} buffers {buffers} splits {splits}"
        )
    }
}

impl AlgorithmConfig for Gemm {
    fn parse(words: &[&str]) -> Option<Self> {
        let ["gemm", tile, "reg", register_tile, "buffers", buffers, "splits", splits] = *words else {
            return None;
        };
        let [rows, channels, depth] = sizes(tile)?;
        let [down, across] = sizes(register_tile)?;
        let tile = GemmTile {
            rows,
            channels,
            depth,
            register_tile: (down, across),
            buffers: number(buffers)?,
        };
        let splits = number(splits)?;
        Some(Gemm { tile, splits })
    }
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
            GemmTile {
                register_tile: (2, 4),
                ..good
            },
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
