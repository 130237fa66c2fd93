//! Which dispatches make a convolution by register tiles that share halos and
//! weights within a subgroup?

use std::fmt;
use std::ops::Range;

use super::problem::{Convolution, Destination, loads_wide};
use super::tile::{CPU_ACCUMULATORS, LARGEST_BODY, SUBGROUP_BODY, Tile, WORKGROUP_SIZE, channel_block};
use crate::graph::Precision;
use crate::kernels::call::{Lowered, Operand, Target, grid_2d, is_workgroup_size, parts};
use crate::kernels::text::{AlgorithmConfig, number};

const FILE: &str = "conv/subgroup";
/// Destination channels of an output-stationary tile, at most.
const MOST_CHANNELS: usize = 32;
/// Destination channels that an input-stationary kernel goes through with the
/// source values that it has stored.
const INPUT_STATIONARY_CHANNELS: usize = 64;
/// Source pixels × channels that one lane stores, tap by tap, at most.
const SOURCE_VALUES: usize = 1024;
/// The same for all lanes of a subgroup together.
const SUBGROUP_SOURCE_VALUES: usize = 8192;
/// Patches (4×4 pixels of one source channel) whose transforms one lane
/// stores, at most.
const WINOGRAD_PATCHES: usize = 32;
/// The same for all lanes of a subgroup together: the transforms fill three
/// quarters of the first-level data cache.
const SUBGROUP_WINOGRAD_PATCHES: usize = 256;
/// Source channels of the patches, at most: each has 36 weights, which lanes
/// exchange.
const WINOGRAD_SOURCE_CHANNELS: usize = 16;

/// From this side on, a kernel is large: input-stationary, tap by tap.
const LARGE_KERNEL: usize = 7;
/// Multiply-adds of one destination channel of an input-stationary tile of a
/// large kernel: they are the whole body of the loop over channels.
const LARGE_KERNEL_BODY: usize = 4800;

/// Convolution by register tiles that share halos and weights within a
/// subgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subgroup {
    /// Which values stay where they are while the kernel goes through
    /// channels.
    pub dataflow: Dataflow,
    /// Pixels and channels of one invocation.
    pub tile: Tile,
    /// Source channels taken at a time: a channel block.
    pub channels: usize,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
}

/// Which values stay where they are while a kernel goes through channels, in
/// the terms of Sze et al. 2017, "Efficient Processing of Deep Neural
/// Networks".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dataflow {
    /// The accumulators of a block of destination channels stay in registers,
    /// from one block of source channels to the next.
    OutputStationary,
    /// The pixels of a block of source channels stay in the first-level cache,
    /// for all destination channels of the tile.
    InputStationary {
        /// Whether they are transformed by Winograd's F(4×4, 3×3), for 3×3
        /// kernels at stride 1, in tiles whose sides are multiples of 4; else
        /// the kernel is 1×1, or 7×7 and more.
        winograd: bool,
    },
}

impl Dataflow {
    /// Entry points of the kernel and of the packing of its weights.
    fn entries(self) -> [&'static str; 2] {
        match self {
            Dataflow::OutputStationary => ["output_stationary", "pack_output_stationary"],
            Dataflow::InputStationary { .. } => ["input_stationary", "pack_input_stationary"],
        }
    }

    /// How it is named in texts.
    fn name(self) -> &'static str {
        match self {
            Dataflow::OutputStationary => "output-stationary",
            Dataflow::InputStationary { winograd: false } => "input-stationary",
            Dataflow::InputStationary { winograd: true } => "winograd",
        }
    }
}

impl Subgroup {
    /// Those that may be fast, the most promising first. There are none where
    /// the subgroup size is unknown.
    pub fn algorithms(problem: &Convolution, target: &Target) -> Vec<Self> {
        let dest = problem.destination();
        let (source, _) = problem.group_channels();
        let winograd = problem.suits_winograd();
        let tiles = match (winograd, problem.conv.kernel) {
            (true, _) => winograd_tiles(&dest, source, target),
            (false, ..LARGE_KERNEL) => pointwise_tiles(&dest, source, target),
            (false, _) => large_kernel_tiles(&dest, source, target),
        };
        let mut all: Vec<Self> = tiles
            .into_iter()
            .map(|(tile, channels)| Subgroup {
                dataflow: Dataflow::InputStationary { winograd },
                tile,
                channels,
                // One subgroup has enough to do, and with few images there
                // are few subgroups for all cores.
                workgroup_size: target.subgroup_size,
            })
            .collect();
        // Next to input-stationary ones, one output-stationary one is enough
        // to try.
        let most = if all.is_empty() { 2 } else { 1 };
        let output_stationary = output_stationary_tiles(&dest, target).into_iter().map(|(tile, most)| {
            let divides = |channels: &usize| source.is_multiple_of(*channels);
            Subgroup {
                dataflow: Dataflow::OutputStationary,
                tile,
                channels: (1..=most).rev().find(divides).unwrap_or(1),
                workgroup_size: WORKGROUP_SIZE.max(target.subgroup_size),
            }
        });
        all.extend(output_stationary.take(most));
        all
    }

    fn fits(&self, problem: &Convolution, target: &Target) -> bool {
        let (source, _) = problem.group_channels();
        let dest = problem.destination();
        let suits = match self.dataflow {
            Dataflow::OutputStationary => {
                source.is_multiple_of(self.channels) && fits_output_stationary(&self.tile, &dest, self.channels, target)
            }
            Dataflow::InputStationary { winograd: false } => fits_taps(&self.tile, &dest, self.channels, target),
            Dataflow::InputStationary { winograd: true } => {
                problem.suits_winograd() && fits_winograd(&self.tile, &dest, self.channels, target)
            }
        };
        suits && is_workgroup_size(self.workgroup_size) && self.workgroup_size.is_multiple_of(target.subgroup_size)
    }

    /// The dispatches; `None` where the tile does not fit.
    pub fn lower(&self, problem: &Convolution, batch: usize, target: &Target) -> Option<Lowered> {
        let fits = self.fits(problem, target);
        fits.then(|| self.dispatches(problem, false, batch, target))
    }

    /// The same with the moments of the result, by chunks, in the last scratch
    /// memory. Also `None` where tiles do not divide the plane.
    pub fn lower_with_moments(&self, problem: &Convolution, batch: usize, target: &Target) -> Option<Lowered> {
        let (height, width) = problem.dest.plane();
        let whole = height.is_multiple_of(self.tile.py) && width.is_multiple_of(self.tile.px);
        let fits = whole && self.fits(problem, target);
        fits.then(|| self.dispatches(problem, true, batch, target))
    }

    /// The number of packed weights, and whether they are loaded by load8.
    fn packed(&self, problem: &Convolution, target: &Target) -> (usize, bool) {
        let (sc, dc) = problem.group_channels();
        let (groups, lanes) = (problem.conv.groups, target.subgroup_size);
        let taps = problem.conv.kernel * problem.conv.kernel;
        match self.dataflow {
            Dataflow::OutputStationary => {
                let weights = self.tile.kb * self.channels * taps;
                let blocks = groups * dc.div_ceil(self.tile.kb) * (sc / self.channels);
                let wide = target.wide_loads && weights.is_multiple_of(8 * lanes);
                (blocks * weights.next_multiple_of(4 * lanes), wide)
            }
            Dataflow::InputStationary { .. } => {
                // Each lane loads the weights of its own kernels: full
                // vectors, then pairs.
                let weights = taps * self.channels.div_ceil(lanes);
                let per_lane = weights.next_multiple_of(if target.wide_loads { 2 } else { 4 });
                let blocks = groups * dc * sc.div_ceil(self.channels);
                (blocks * (per_lane * lanes).next_multiple_of(8), target.wide_loads)
            }
        }
    }

    fn dispatches(&self, problem: &Convolution, with_moments: bool, batch: usize, target: &Target) -> Lowered {
        let Subgroup {
            dataflow,
            tile,
            channels,
            workgroup_size,
        } = *self;
        let Convolution { conv, source, dest, .. } = *problem;
        let (height, width) = dest.plane();
        let (sc, dc) = problem.group_channels();
        let across = lanes_across(&tile, width);
        let inner = tile.reach(&problem.computed(), problem.is_transposed()).inner_x;
        let [entry, pack_entry] = dataflow.entries();
        let (packed, wide_weights) = self.packed(problem, target);
        let mut constants = problem.tile_constants(tile, workgroup_size);
        constants.extend([
            ("CHANNELS", channels.into()),
            ("SOURCE_LOAD8", loads_wide(source, inner, target).into()),
            ("WEIGHTS_LOAD8", wide_weights.into()),
            ("SUBGROUP_SIZE", target.subgroup_size.into()),
            ("LANES_X", across.into()),
        ]);
        // Between channel blocks, sums are stored in 32 bits: in memory of
        // their own where the result has 16.
        let mut sums = dest.clone();
        let mut separate_sums = false;
        if let Dataflow::InputStationary { winograd } = dataflow {
            separate_sums = dest.precision != Precision::F32 && sc > channels;
            if separate_sums {
                sums.precision = Precision::F32;
            }
            constants.extend([
                ("WINOGRAD", winograd.into()),
                ("ACCUMULATORS", 1_u32.into()),
                ("F32_SUMS", separate_sums.into()),
                ("SUMS_LOAD8", loads_wide(&sums, tile.px, target).into()),
            ]);
        }
        let sizes = [packed, 4];
        let mut calls = vec![problem.packing([FILE, pack_entry], constants.clone(), sizes, target)];

        let subgroups_per_workgroup = workgroup_size / target.subgroup_size;
        let grid = |part: &Range<usize>| {
            let rows = part.len() * height.div_ceil(tile.py);
            let subgroups = rows.div_ceil(target.subgroup_size / across);
            grid_2d(subgroups.div_ceil(subgroups_per_workgroup), target.workgroups)
        };
        let chunks = |part: &Range<usize>| {
            let [y, z, _] = grid(part);
            y as usize * z as usize * subgroups_per_workgroup
        };
        let mut scratch = vec![4 * packed as u64];
        let sums_at = match separate_sums {
            true => {
                scratch.push(sums.bytes(batch));
                Operand::Scratch(scratch.len() - 1)
            }
            false => Operand::Output,
        };
        let parts = parts(batch, &[source, dest, &sums], target);
        let all_chunks: usize = parts.iter().map(chunks).sum();
        let moments = 16 * (all_chunks * dest.channels()) as u64;
        let moments_at = Operand::Scratch(scratch.len());
        scratch.extend(with_moments.then_some(moments));
        let mut first_chunk = 0;
        for part in parts {
            let mut constants = constants.clone();
            if with_moments {
                constants.extend([
                    ("MOMENTS", true.into()),
                    ("FIRST_CHUNK", first_chunk.into()),
                    ("EXCHANGES", target.subgroup_size.ilog2().into()),
                ]);
            }
            let mut call = problem
                .tile_call([FILE, entry], constants, &part, packed)
                .bind(8, moments_at, moments)
                .bind_images(9, Operand::Input(0), source, &part)
                .bind(10, Operand::Scratch(0), 4 * packed as u64)
                .bind(11, Operand::Scratch(0), 4 * packed as u64)
                .bind_images(12, sums_at, &sums, &part)
                .bind_images(13, sums_at, &sums, &part)
                .bind_images(14, sums_at, &sums, &part);
            let [y, z, _] = grid(&part);
            let blocks = conv.groups * dc.div_ceil(tile.kb);
            call.workgroups = [blocks as u32, y, z];
            first_chunk += chunks(&part);
            calls.push(call);
        }
        Lowered { calls, scratch }
    }
}

/// Output-stationary tiles for `dest`, each with the largest number of source
/// channels that it takes at a time: the default, then another that may be
/// faster.
fn output_stationary_tiles(dest: &Destination, target: &Target) -> Vec<(Tile, usize)> {
    // Neighbours bring the halo, so small tiles load no more than large ones,
    // and their body stays in the instruction cache. In a strided convolution
    // each pixel takes four source pixels.
    let unit = dest.unit();
    let strided = dest.conv.stride > unit;
    let shapes = match strided {
        true => [(4, 2), (2, 2)],
        false => [(4 * unit, 4), (4 * unit, 2)],
    };
    let with_shape = |(wide, tall): (usize, usize)| {
        let tile = |wide: usize| {
            let px = wide.min(dest.width.next_multiple_of(unit));
            let py = tall.max(unit).min(dest.height.next_multiple_of(unit));
            // Products of one source channel and one channel of the tile.
            let products = (px * py * dest.conv.kernel * dest.conv.kernel).div_ceil(unit * unit);
            let most = (SUBGROUP_BODY / products)
                .min(CPU_ACCUMULATORS / (px * py))
                .clamp(4, 32);
            let kb = channel_block(dest.channels, most, MOST_CHANNELS);
            (Tile { px, py, kb }, (SUBGROUP_BODY / (products * kb)).clamp(1, 8))
        };
        let tiles = [tile(wide), tile(2 * wide)];
        tiles
            .into_iter()
            .find(|(tile, channels)| fits_output_stationary(tile, dest, *channels, target))
    };
    shapes.into_iter().filter_map(with_shape).collect()
}

/// Input-stationary tiles of a 1×1 kernel that reads `source` channels, each
/// with the number of source channels that it takes at a time: the default,
/// then one that may be faster where there are few images.
fn pointwise_tiles(dest: &Destination, source: usize, target: &Target) -> Vec<(Tile, usize)> {
    // load8 loads eight source columns.
    let wide = (8 / dest.conv.stride).max(1);
    let sides = [wide, 2 * wide].map(|wide| (wide.min(dest.width), 4.min(dest.height)));
    let most = SOURCE_VALUES.min(SUBGROUP_SOURCE_VALUES / target.subgroup_size.max(1));
    let at_once = |pixels: usize| (most / pixels).clamp(1, 64);
    let fits = |tile: &Tile, channels: usize| fits_taps(tile, dest, channels, target);
    input_stationary_tiles(dest.channels, source, sides, at_once, fits)
}

/// The same for a large kernel, such as the 7×7 one at stride 2 of networks for
/// ImageNet.
fn large_kernel_tiles(dest: &Destination, source: usize, target: &Target) -> Vec<(Tile, usize)> {
    let sides = [16, 8].map(|wide| (wide.min(dest.width), 2.min(dest.height)));
    let at_once = |pixels: usize| (LARGE_KERNEL_BODY / (pixels * dest.taps())).clamp(1, 64);
    let fits = |tile: &Tile, channels: usize| fits_taps(tile, dest, channels, target);
    input_stationary_tiles(dest.channels, source, sides, at_once, fits)
}

/// The same by Winograd's filtering, for a 3×3 kernel at stride 1.
fn winograd_tiles(dest: &Destination, source: usize, target: &Target) -> Vec<(Tile, usize)> {
    let (width, height) = (dest.width.next_multiple_of(4), dest.height.next_multiple_of(4));
    let (wide, tall) = if width < 8 { (4, 8) } else { (8, 4) };
    let sides = [wide, 2 * wide].map(|wide| (wide.min(width), tall.min(height)));
    let patches = WINOGRAD_PATCHES.min(SUBGROUP_WINOGRAD_PATCHES / target.subgroup_size.max(1));
    let at_once = |pixels: usize| (patches / (pixels / 16)).clamp(1, WINOGRAD_SOURCE_CHANNELS);
    let fits = |tile: &Tile, channels: usize| fits_winograd(tile, dest, channels, target);
    input_stationary_tiles(dest.channels, source, sides, at_once, fits)
}

/// Tiles with the first of `sides` that `fits`: one that goes through many of
/// the `channels`, then one that goes through fewer. Each comes with the number
/// of source channels that it takes at a time: an even share of the `source`
/// channels, at most `at_once` of its number of pixels.
fn input_stationary_tiles(
    channels: usize,
    source: usize,
    sides: [(usize, usize); 2],
    at_once: impl Fn(usize) -> usize,
    fits: impl Fn(&Tile, usize) -> bool,
) -> Vec<(Tile, usize)> {
    let with_most = |most: usize| {
        let kb = channel_block(channels, most, INPUT_STATIONARY_CHANNELS);
        let tiles = sides.map(|(px, py)| {
            let blocks = source.div_ceil(at_once(px * py));
            (Tile { px, py, kb }, source.div_ceil(blocks))
        });
        tiles.into_iter().find(|(tile, at_once)| fits(tile, *at_once))
    };
    let mut tiles: Vec<_> = [INPUT_STATIONARY_CHANNELS, INPUT_STATIONARY_CHANNELS / 4]
        .into_iter()
        .filter_map(with_most)
        .collect();
    tiles.dedup();
    tiles
}

/// Whether `tile` can be an output-stationary tile of `dest` that takes this
/// number of source channels at a time.
fn fits_output_stationary(tile: &Tile, dest: &Destination, channels: usize, target: &Target) -> bool {
    let body = tile.accumulators().saturating_mul(channels).saturating_mul(dest.taps());
    tile.fits(dest) && body <= LARGEST_BODY && neighbours_suffice(tile, dest, 1, target)
}

/// The same for an input-stationary tile of a 1×1 or a large kernel.
fn fits_taps(tile: &Tile, dest: &Destination, channels: usize, target: &Target) -> bool {
    let kernel = dest.conv.kernel;
    let suits = (kernel == 1 || kernel >= LARGE_KERNEL) && !dest.transposed;
    let short = || kernel == 1 || tile.px * tile.py * channels * dest.taps() <= LARGEST_BODY;
    suits && fits_input_stationary(tile, 4 * SOURCE_VALUES, dest, channels, target) && short()
}

/// The same for one by Winograd's filtering.
fn fits_winograd(tile: &Tile, dest: &Destination, channels: usize, target: &Target) -> bool {
    let patches = tile.px.is_multiple_of(4) && tile.py.is_multiple_of(4);
    patches && fits_input_stationary(tile, 64 * WINOGRAD_PATCHES, dest, channels, target)
}

/// Whether an input-stationary tile stores at most `most` pixels × source
/// channels, and has its halos.
fn fits_input_stationary(tile: &Tile, most: usize, dest: &Destination, channels: usize, target: &Target) -> bool {
    let Tile { px, py, kb } = *tile;
    let sides = [px, py, channels].iter().all(|side| (1..=64).contains(side));
    let small = sides && px * py * channels <= most && (1..=1 << 16).contains(&kb);
    let halo = if dest.conv.kernel < LARGE_KERNEL {
        1
    } else {
        px.min(py) * dest.conv.stride
    };
    small && neighbours_suffice(tile, dest, halo, target)
}

/// Whether the lanes of one subgroup have each other's halos: a row of tiles
/// must fit into a subgroup, and a tile must reach no farther than `halo`
/// pixels, which the next one has.
fn neighbours_suffice(tile: &Tile, dest: &Destination, halo: usize, target: &Target) -> bool {
    if target.subgroup_size < 2 {
        return false;
    }
    let reach = tile.reach(&dest.conv, dest.transposed);
    // Source pixels after the last tile's own would be lost.
    let covered = |tiles: usize, inner: usize, source: usize| tiles * inner >= source;
    reach.left.max(reach.right) <= halo
        && lanes_across(tile, dest.width) <= target.subgroup_size
        && covered(dest.width.div_ceil(tile.px), reach.inner_x, dest.source_width)
        && covered(dest.height.div_ceil(tile.py), reach.inner_y, dest.source_height)
}

/// The number of lanes along a row of tiles, on a plane of this width.
fn lanes_across(tile: &Tile, width: usize) -> usize {
    width.div_ceil(tile.px).next_power_of_two()
}

impl fmt::Display for Subgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subgroup {
            dataflow,
            tile,
            channels,
            workgroup_size,
        } = self;
        let dataflow = dataflow.name();
        write!(f, "subgroup {dataflow} {tile} channels {channels} wg {workgroup_size}")
    }
}

impl AlgorithmConfig for Subgroup {
    fn parse(words: &[&str]) -> Option<Self> {
        let ["subgroup", dataflow, tile, "channels", channels, "wg", workgroup_size] = *words else {
            return None;
        };
        let dataflows = [
            Dataflow::OutputStationary,
            Dataflow::InputStationary { winograd: false },
            Dataflow::InputStationary { winograd: true },
        ];
        Some(Subgroup {
            dataflow: dataflows.into_iter().find(|known| known.name() == dataflow)?,
            tile: Tile::parse(tile)?,
            channels: number(channels)?,
            workgroup_size: number(workgroup_size)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::destinations;
    use super::*;

    #[test]
    fn tiles_fit_their_budgets() {
        for cpu in [false, true] {
            let target = Target::portable(cpu);
            for dest in destinations() {
                let (stride, taps) = (dest.conv.stride, dest.conv.kernel * dest.conv.kernel);
                for (tile, channels) in output_stationary_tiles(&dest, &target) {
                    assert!(
                        fits_output_stationary(&tile, &dest, channels, &target) && cpu,
                        "{tile:?}"
                    );
                    let body = tile.accumulators() * channels * taps;
                    let most = SUBGROUP_BODY * if dest.transposed { stride * stride } else { 1 };
                    assert!(body <= most, "{tile:?}, {channels} channels");
                }
                for (tile, channels) in winograd_tiles(&dest, dest.channels, &target) {
                    assert!(fits_winograd(&tile, &dest, channels, &target) && cpu, "{tile:?}");
                    let patches = tile.px * tile.py / 16;
                    assert!(patches * channels <= WINOGRAD_PATCHES, "{tile:?}, {channels} channels");
                    assert!(tile.kb <= INPUT_STATIONARY_CHANNELS, "{tile:?}");
                }
                for (tile, channels) in large_kernel_tiles(&dest, 3, &target) {
                    assert!(fits_taps(&tile, &dest, channels, &target) && cpu, "{tile:?}");
                    let body = tile.px * tile.py * channels * taps;
                    assert!(taps == 1 || body <= LARGE_KERNEL_BODY, "{tile:?}, {channels} channels");
                }
                for (tile, channels) in pointwise_tiles(&dest, dest.channels, &target) {
                    assert!(fits_taps(&tile, &dest, channels, &target) && cpu, "{tile:?}");
                    let values = tile.px * tile.py * channels;
                    assert!(values <= SOURCE_VALUES, "{tile:?}, {channels} channels");
                    assert!(tile.kb <= INPUT_STATIONARY_CHANNELS, "{tile:?}");
                }
            }
        }
    }
}
