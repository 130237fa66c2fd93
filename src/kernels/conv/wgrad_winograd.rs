//! Which dispatches make the weight gradient of a 3×3 kernel by Winograd's
//! minimal filtering, where each lane has a source channel of its own?

use std::fmt;
use std::ops::Range;

use super::problem::{WeightGradient, loads_wide};
use super::wgrad_walk::images_per_subgroup;
use crate::kernels::call::{Lowered, Operand, Target, grid_2d, parts};
use crate::kernels::text::{AlgorithmConfig, number, sizes};

/// The number of subgroups that share a gradient. Each goes through all output
/// channels with the pixels that it has stored, so that fewer suffice than
/// where a walk is short.
const SUBGROUPS: usize = 128;
/// Output pixels whose transforms are stored at a time.
const PIXELS: usize = 256;

/// Weight gradient of a 3×3 kernel at stride 1 by Winograd's F(3×3, 4×4), where
/// each lane has a source channel of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WgradWinograd {
    /// Output pixels and images whose transforms are stored at a time.
    pub tile: WinogradTile,
    /// Subgroups wanted: more of them write more partial sums.
    pub splits: usize,
}

/// PX × PY output pixels of several images, in patches of 4 × 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WinogradTile {
    /// Output columns, a multiple of 4.
    pub px: usize,
    /// Output rows, a multiple of 4.
    pub py: usize,
    /// Images.
    pub images: usize,
}

impl WinogradTile {
    /// The default for planes of `height` × `width` output pixels, then another
    /// that may be faster.
    fn for_plane((height, width): (usize, usize)) -> Vec<Self> {
        let (height, width) = (height.next_multiple_of(4), width.next_multiple_of(4));
        let with_columns = |px: usize| {
            let py = (PIXELS / px / 4 * 4).min(height);
            // If several tiles cover a plane, they are about equally high.
            let py = height.div_ceil(height.div_ceil(py)).next_multiple_of(4);
            let images = (PIXELS / (px * py)).max(1);
            WinogradTile { px, py, images }
        };
        let mut tiles: Vec<_> = (4..=width.min(PIXELS / 4)).step_by(4).map(with_columns).collect();
        // Pixels outside of the plane, or missing in a tile, are wasted work;
        // and load8 takes eight columns.
        let waste = |tile: &WinogradTile| {
            let WinogradTile { px, py, images } = *tile;
            let covered = width.next_multiple_of(px) * height.next_multiple_of(py);
            (covered * PIXELS / (px * py * images), px % 8)
        };
        // The pixels between two tiles are loaded twice: rows by load8, columns
        // one by one, which takes as long as five columns more.
        let loads = |tile: &WinogradTile| {
            let (across, down) = (width.div_ceil(tile.px), height.div_ceil(tile.py));
            across * (tile.px + if across > 1 { 5 } else { 0 }) * down * (tile.py + 2)
        };
        tiles.sort_by_key(|tile| (waste(tile), loads(tile)));
        let least = tiles.first().map(waste);
        tiles.retain(|tile| Some(waste(tile)) == least);
        tiles.truncate(2);
        tiles
    }

    /// Whether this can be a tile. Tuning caches may name any.
    fn fits(&self, target: &Target) -> bool {
        let WinogradTile { px, py, images } = *self;
        let small = [px, py, images].iter().all(|side| (1..=64).contains(side));
        let patches = px.is_multiple_of(4) && py.is_multiple_of(4);
        small && patches && target.subgroup_size > 1 && px * py * images <= 4 * PIXELS
    }
}

impl WgradWinograd {
    /// Those that may be fast, the most promising first.
    pub fn algorithms(problem: &WeightGradient, target: &Target) -> Vec<Self> {
        let splits = SUBGROUPS;
        let tiles = WinogradTile::for_plane(problem.dy.plane()).into_iter();
        tiles
            .map(|tile| WgradWinograd { tile, splits })
            .filter(|algorithm| algorithm.fits(problem, target))
            .collect()
    }

    fn fits(&self, problem: &WeightGradient, target: &Target) -> bool {
        problem.suits_winograd() && self.tile.fits(target)
    }

    /// The dispatches; `None` where the tile does not fit.
    pub fn lower(&self, problem: &WeightGradient, batch: usize, target: &Target) -> Option<Lowered> {
        if !self.fits(problem, target) {
            return None;
        }
        let WeightGradient { conv, x, dy, dw } = *problem;
        let (c, _) = problem.group_channels();
        let WinogradTile { px, py, images } = self.tile;
        let blocks = conv.groups * c.div_ceil(target.subgroup_size);
        let most = images_per_subgroup(batch, blocks, self.splits, dw.bytes(1), target);
        // All walks have the same length, so that they end at about the same
        // time.
        let walk = batch.div_ceil(batch.div_ceil(most)).next_multiple_of(images);
        let parts = parts(batch, &[x, dy], target);
        let walks_of = |part: &Range<usize>| part.len().div_ceil(walk);
        let walks: usize = parts.iter().map(walks_of).sum();
        let partial = walks as u64 * dw.bytes(1);
        let mut calls = Vec::new();
        let mut first_walk = 0;
        for part in parts {
            let mut constants = problem.strip_constants(px);
            constants.extend([
                ("PY", py.into()),
                ("IMAGES", images.into()),
                ("WALK_IMAGES", walk.into()),
                ("FIRST_WALK", first_walk.into()),
                ("WALKS", walks.into()),
                ("SOURCE_LOAD8", loads_wide(x, px, target).into()),
                ("DY_LOAD8", loads_wide(dy, px, target).into()),
                ("SUMS_LOAD8", target.wide_loads.into()),
                ("SUBGROUP_SIZE", target.subgroup_size.into()),
            ]);
            let mut call = problem
                .call("conv/wgrad_winograd", constants, &part, partial)
                .bind(7, Operand::Scratch(0), partial)
                .bind(8, Operand::Scratch(0), partial);
            let [x, z, _] = grid_2d(blocks, target.workgroups);
            call.workgroups = [x, walks_of(&part) as u32, z];
            first_walk += walks_of(&part);
            calls.push(call);
        }
        let sums = problem.add_partial_sums("sum_filters", 9, partial, target);
        calls.push(sums.bind(2, Operand::Scratch(0), partial));
        Some(Lowered {
            calls,
            scratch: vec![partial],
        })
    }
}

impl fmt::Display for WgradWinograd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WgradWinograd {
            tile: WinogradTile { px, py, images },
            splits,
        } = self;
        write!(f, "wgrad winograd {px}x{py}x{images} splits {splits}")
    }
}

impl AlgorithmConfig for WgradWinograd {
    fn parse(words: &[&str]) -> Option<Self> {
        let ["wgrad", "winograd", tile, "splits", splits] = *words else {
            return None;
        };
        let [px, py, images] = sizes(tile)?;
        Some(WgradWinograd {
            tile: WinogradTile { px, py, images },
            splits: number(splits)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_have_enough_pixels() {
        let target = Target::portable(true);
        for side in [1, 4, 7, 8, 14, 16, 28, 32, 56, 112, 1000] {
            let tiles = WinogradTile::for_plane((side, side));
            assert!(!tiles.is_empty(), "{side}");
            for tile in tiles {
                assert!(tile.fits(&target), "{tile:?}");
                let pixels = tile.px * tile.py * tile.images;
                assert!((PIXELS / 2..=PIXELS).contains(&pixels), "{tile:?} of {side}");
            }
        }
        let first = |side: usize| WinogradTile::for_plane((side, side)).remove(0);
        assert_eq!(
            [first(32), first(16), first(8)],
            [(32, 8, 1), (16, 16, 1), (8, 8, 4)].map(|(px, py, images)| WinogradTile { px, py, images })
        );
    }
}
