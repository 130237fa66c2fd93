//! Which dispatches make a convolution by register tiles, each invocation by
//! itself: tap by tap, or by Winograd's F(2×2, 3×3)?

use std::fmt;

use super::problem::{Convolution, Destination};
use super::tile::{
    CPU_ACCUMULATORS, CPU_BODY, GPU_ACCUMULATORS, GPU_BODY, GPU_WORKGROUP_SIZE, Tile, channel_block, distinct,
    smaller_workgroup, tile_side, workgroup_size,
};
use crate::graph::Conv;
use crate::kernels::call::{Lowered, Target, grid_2d, is_workgroup_size, parts};
use crate::kernels::text::{AlgorithmConfig, number};

const FILE: &str = "conv/direct";
/// Destination channels of a tile, at most.
const MOST_CHANNELS: usize = 16;
/// With more taps, a kernel for GPUs goes through them row by row where it can, and
/// has few pixels where it cannot.
const MANY_TAPS: usize = 20;
/// Accumulators of one invocation of Winograd's scheme, at most: four for each
/// pixel and channel.
const MOST_WINOGRAD_ACCUMULATORS: usize = 1024;

/// Convolution by register tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Direct {
    /// How the sums are computed.
    pub scheme: Scheme,
    /// Pixels and channels of one invocation. For Winograd's scheme the sides
    /// are even.
    pub tile: Tile,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
}

/// How the sums of a tile are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Tap by tap.
    Taps,
    /// By Winograd's F(2×2, 3×3), for 3×3 kernels at stride 1 (Lavin and Gray
    /// 2016, "Fast Algorithms for Convolutional Neural Networks").
    Winograd {
        /// Source channels taken at a time.
        channels: usize,
    },
}

impl Scheme {
    /// Entry points of the kernel and of the packing of its weights.
    fn entries(self) -> [&'static str; 2] {
        match self {
            Scheme::Taps => ["tile", "pack"],
            Scheme::Winograd { .. } => ["winograd", "pack_winograd"],
        }
    }

    /// Packed values for the taps of one kernel.
    fn packed_taps(self, conv: &Conv) -> usize {
        match self {
            Scheme::Taps => conv.kernel * conv.kernel,
            Scheme::Winograd { .. } => 16,
        }
    }
}

impl Direct {
    fn by_taps(tile: Tile, workgroup_size: usize) -> Self {
        Direct {
            scheme: Scheme::Taps,
            tile,
            workgroup_size,
        }
    }

    /// The default.
    pub fn default_for(problem: &Convolution, target: &Target) -> Self {
        let tile = default_tile(&problem.destination(), target);
        Direct::by_taps(tile, workgroup_size(target))
    }

    /// Others that may be faster, tap by tap, the most promising first.
    pub fn alternatives(problem: &Convolution, target: &Target) -> Vec<Self> {
        let tiles = alternative_tiles(&problem.destination(), target);
        let mut all: Vec<Self> = tiles
            .iter()
            .map(|&tile| Direct::by_taps(tile, workgroup_size(target)))
            .collect();
        if let Some(smaller) = smaller_workgroup(target) {
            all.extend(tiles.iter().take(3).map(|&tile| Direct::by_taps(tile, smaller)));
        }
        all
    }

    /// Those by Winograd's scheme that may be faster.
    pub fn winograd_alternatives(problem: &Convolution, target: &Target) -> Vec<Self> {
        // On CPUs the tiles of a subgroup are faster: docs/notes.md has the
        // measurements.
        let shapes: &[[usize; 3]] = if target.cpu {
            &[]
        } else {
            // Larger ones leave no GPU's compiler enough registers: docs/drivers.md.
            &[[4, 2, 4], [2, 2, 8]]
        };
        let (height, width) = problem.dest.plane();
        let divides = |tile: &Tile| width.is_multiple_of(tile.px) && height.is_multiple_of(tile.py);
        let channels = if problem.group_channels().0.is_multiple_of(2) {
            2
        } else {
            1
        };
        shapes
            .iter()
            .map(|&[px, py, kb]| Direct {
                scheme: Scheme::Winograd { channels },
                tile: Tile { px, py, kb },
                workgroup_size: GPU_WORKGROUP_SIZE,
            })
            .filter(|direct| divides(&direct.tile) && direct.fits(problem))
            .collect()
    }

    /// Whether this is Winograd's scheme.
    pub fn is_winograd(&self) -> bool {
        matches!(self.scheme, Scheme::Winograd { .. })
    }

    fn fits(&self, problem: &Convolution) -> bool {
        let tile = &self.tile;
        let suits = match self.scheme {
            Scheme::Taps => true,
            Scheme::Winograd { channels } => {
                problem.suits_winograd()
                    && tile.px.is_multiple_of(2)
                    && tile.py.is_multiple_of(2)
                    && tile.accumulators() <= MOST_WINOGRAD_ACCUMULATORS / 4
                    && (1..=2).contains(&channels)
                    && problem.group_channels().0.is_multiple_of(channels)
            }
        };
        suits && tile.fits(&problem.destination()) && is_workgroup_size(self.workgroup_size)
    }

    /// The dispatches; `None` where the tile does not fit.
    pub fn lower(&self, problem: &Convolution, batch: usize, target: &Target) -> Option<Lowered> {
        // A kernel may be so large that no tile fits: the default serves it.
        if !self.fits(problem) && *self != Direct::default_for(problem, target) {
            return None;
        }
        let Direct {
            scheme,
            tile,
            workgroup_size,
        } = *self;
        let Convolution { source, dest, .. } = *problem;
        let conv = problem.computed();
        let (dh, dw) = dest.plane();
        let (sc, dc) = problem.group_channels();
        let blocks = conv.groups * dc.div_ceil(tile.kb);
        let packed = blocks * sc * scheme.packed_taps(&conv) * tile.kb;
        let mut constants = problem.tile_constants(tile, workgroup_size);
        let by_rows = scheme == Scheme::Taps && goes_by_rows(tile.py, &problem.destination(), target);
        constants.push(("BY_ROWS", by_rows.into()));
        if let Scheme::Winograd { channels } = scheme {
            constants.push(("CHANNELS", channels.into()));
        }
        // One invocation packs one weight, or all sixteen values of a kernel.
        let packed_at_once = match scheme {
            Scheme::Taps => 1,
            Scheme::Winograd { .. } => scheme.packed_taps(&conv),
        };
        let [entry, packing_entry] = scheme.entries();
        let sizes = [packed, packed_at_once];
        let mut calls = vec![problem.packing([FILE, packing_entry], constants.clone(), sizes, target)];
        let tiles = dh.div_ceil(tile.py) * dw.div_ceil(tile.px);
        for part in parts(batch, &[source, dest], target) {
            let mut call = problem.tile_call([FILE, entry], constants.clone(), &part, packed);
            let [x, z, _] = grid_2d((part.len() * tiles).div_ceil(workgroup_size), target.workgroups);
            call.workgroups = [x, blocks as u32, z];
            calls.push(call);
        }
        Some(Lowered {
            calls,
            scratch: vec![4 * packed as u64],
        })
    }
}

/// Whether a tile of `py` rows loops over the rows of its kernel: on a GPU, pixels
/// and weights of many taps would leave too few registers for the sums.
fn goes_by_rows(py: usize, dest: &Destination, target: &Target) -> bool {
    !target.cpu && !dest.transposed && py == 1 && dest.taps() > MANY_TAPS
}

/// Taps in the straight-line body of a tile of `py` rows.
fn body_taps(py: usize, dest: &Destination, target: &Target) -> usize {
    match goes_by_rows(py, dest, target) {
        true => dest.conv.kernel,
        false => dest.taps(),
    }
}

/// The default tile for `dest`.
fn default_tile(dest: &Destination, target: &Target) -> Tile {
    let (wide, tall, body, accumulators) = match target.cpu {
        // A tile as wide as the row has no halo to load on its sides, and half
        // the body is enough for it.
        true if dest.width <= 16 => (16, 2, CPU_BODY / 2, CPU_ACCUMULATORS),
        true => (8, 4, CPU_BODY, CPU_ACCUMULATORS),
        false if dest.taps() > MANY_TAPS && !dest.transposed => (4, 1, GPU_BODY, GPU_ACCUMULATORS),
        // The taps of a large kernel are a long body for a few pixels already.
        false if dest.taps() > MANY_TAPS => (2, 1, GPU_BODY, GPU_ACCUMULATORS),
        false => (4, 2, GPU_BODY, GPU_ACCUMULATORS),
    };
    let px = tile_side(dest.width, wide, dest.unit());
    let py = tile_side(dest.height, tall, dest.unit());
    let taps = body_taps(py, dest, target);
    let budget = (body / taps).min(accumulators).max(4 * px * py);
    let kb = channel_block(dest.channels, budget / (px * py), MOST_CHANNELS);
    Tile { px, py, kb }
}

/// Tiles that may be faster than the default, the most promising first.
fn alternative_tiles(dest: &Destination, target: &Target) -> Vec<Tile> {
    // On a CPU each one takes a second to compile, so there are few.
    let (sides, body, accumulators): (&[[usize; 3]], usize, usize) = if target.cpu {
        let sides: &[[usize; 3]] = match dest.taps() {
            // With few taps the body is short: only many accumulators make up
            // for the loads.
            ..=3 => &[[16, 2, 16], [16, 4, 16], [8, 4, 16], [8, 2, 16], [16, 2, 8]],
            _ => &[[16, 2, 8], [8, 4, 8], [8, 4, 16]],
        };
        (sides, CPU_BODY, 2 * CPU_ACCUMULATORS)
    } else {
        let sides = &[
            [4, 2, 8],
            [4, 1, 8],
            [4, 4, 4],
            [2, 2, 8],
            [4, 1, 16],
            [8, 1, 8],
            [2, 1, 4],
        ];
        (sides, 2 * GPU_BODY, 2 * GPU_ACCUMULATORS)
    };
    let fitted = sides.iter().map(|&[wide, tall, channels]| Tile {
        px: tile_side(dest.width, wide, dest.unit()),
        py: tile_side(dest.height, tall, dest.unit()),
        kb: channel_block(dest.channels, channels, MOST_CHANNELS),
    });
    let small = |tile: &Tile| {
        let sums = tile.accumulators();
        sums <= accumulators && sums * body_taps(tile.py, dest, target) <= body
    };
    distinct(fitted.filter(small))
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Direct {
            scheme,
            tile,
            workgroup_size,
        } = self;
        match scheme {
            Scheme::Taps => write!(f, "direct {tile} wg {workgroup_size}"),
            Scheme::Winograd { channels } => {
                write!(f, "direct winograd {tile} channels {channels} wg {workgroup_size}")
            }
        }
    }
}

impl AlgorithmConfig for Direct {
    fn parse(words: &[&str]) -> Option<Self> {
        let (scheme, tile, workgroup_size) = match *words {
            ["direct", tile, "wg", workgroup_size] => (Scheme::Taps, tile, workgroup_size),
            ["direct", "winograd", tile, "channels", channels, "wg", workgroup_size] => {
                let channels = number(channels)?;
                (Scheme::Winograd { channels }, tile, workgroup_size)
            }
            _ => return None,
        };
        Some(Direct {
            scheme,
            tile: Tile::parse(tile)?,
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
                let tile = default_tile(&dest, &target);
                assert!(tile.fits(&dest), "{tile:?}");
                for other in alternative_tiles(&dest, &target) {
                    assert!(other.fits(&dest), "{other:?}");
                }
                assert_eq!(tile.kb % 4, 0);
                if dest.transposed {
                    let stride = dest.conv.stride;
                    assert_eq!((tile.px % stride, tile.py % stride), (0, 0));
                }
                assert!(tile.accumulators() <= if cpu { 512 } else { 32 }, "{tile:?}");
            }
        }
    }
}
