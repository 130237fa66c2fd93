//! Which dispatches make a weight gradient by strips of columns, one for each
//! invocation?

use std::fmt;

use super::problem::WeightGradient;
use super::tile::{
    CPU_BODY, CPU_VECTOR, GPU_BODY, LARGEST_BODY, distinct, smaller_workgroup, tile_side, workgroup_size,
};
use super::wgrad_walk::{Walk, images_per_invocation};
use crate::kernels::call::{Lowered, Target, is_workgroup_size, parts};
use crate::kernels::text::{AlgorithmConfig, number, sizes};

/// Taps of a 7×7 kernel. With so many, half the instruction cache holds the
/// products of two channels only, and the rows that a strip loads serve too few
/// products.
const MANY_TAPS: usize = 49;
/// Products of each tap in one step of a strip, with so many taps.
const MANY_TAPS_PRODUCTS: usize = 64;

/// Sums of one invocation on a GPU, at most: it needs as many registers for what it
/// loads.
const GPU_SUMS: usize = 40;

/// On GPUs the rows of a kernel with this side or a larger one are divided among
/// invocations: the sums of all its taps would fill the registers.
const LARGE_KERNEL: usize = 5;

/// Rows of a kernel whose sums one invocation has.
fn tap_rows(kernel: usize, target: &Target) -> usize {
    if !target.cpu && kernel >= LARGE_KERNEL {
        1
    } else {
        kernel
    }
}

/// Weight gradient, where each invocation walks down a strip of columns. The
/// lanes of a CPU's vector have different images and strips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WgradStrips {
    /// Columns and channels of one invocation.
    pub tile: StripTile,
    /// Invocations wanted: more of them write more partial sums.
    pub splits: usize,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
}

/// PX output columns × KB output channels × CB source channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StripTile {
    /// Output columns.
    pub px: usize,
    /// Output channels.
    pub kb: usize,
    /// Source channels.
    pub cb: usize,
}

impl StripTile {
    fn default_for(problem: &WeightGradient, target: &Target) -> Self {
        let kernel = problem.conv.kernel;
        let taps = tap_rows(kernel, target) * kernel;
        let ((c, k), (_, width)) = (problem.group_channels(), problem.dy.plane());
        let (body, most_px, most_kb, most_cb) = if target.cpu && taps >= MANY_TAPS {
            (MANY_TAPS_PRODUCTS * taps, 8, 8, 8)
        } else if target.cpu {
            (CPU_BODY / 2, 8, 8, 8)
        } else {
            (GPU_BODY, 4, 4, 2)
        };
        let px = tile_side(width, most_px, 1);
        let most = if target.cpu { usize::MAX } else { GPU_SUMS / taps };
        // Two source channels share what is loaded of dy.
        let shared = most_cb.min(most.max(1));
        let kb = tile_side(k, most_kb.min((body / (taps * px)).min(most / shared).max(1)), 1);
        let cb = tile_side(c, most_cb.min((body / (taps * px * kb)).min(most / kb).max(1)), 1);
        StripTile { px, kb, cb }
    }

    /// Tiles that may be faster than the default, the most promising first.
    fn alternatives(problem: &WeightGradient, target: &Target) -> Vec<Self> {
        let kernel = problem.conv.kernel;
        let taps = tap_rows(kernel, target) * kernel;
        let ((c, k), (_, width)) = (problem.group_channels(), problem.dy.plane());
        // On a CPU each one takes a second to compile, so there are few.
        let (sides, body): (&[[usize; 3]], usize) = if target.cpu {
            let sides: &[[usize; 3]] = match taps {
                1 => &[[8, 16, 8], [8, 16, 16], [4, 16, 16]],
                MANY_TAPS.. => &[[16, 4, 1], [8, 4, 1]],
                _ => &[[8, 4, 4], [8, 8, 4], [4, 8, 2]],
            };
            let body = if taps >= MANY_TAPS {
                MANY_TAPS_PRODUCTS * taps
            } else {
                CPU_BODY
            };
            (sides, body)
        } else {
            (
                &[[4, 4, 2], [4, 2, 2], [4, 4, 1], [2, 4, 2], [4, 2, 1], [8, 2, 2]],
                2 * GPU_BODY,
            )
        };
        let fitted = sides.iter().map(|&[wide, outputs, sources]| StripTile {
            px: tile_side(width, wide, 1),
            kb: tile_side(k, outputs, 1),
            cb: tile_side(c, sources, 1),
        });
        distinct(fitted.filter(|tile| tile.body(taps) <= body))
    }

    /// Multiply-adds of the straight-line body.
    fn body(&self, taps: usize) -> usize {
        self.px * self.kb * self.cb * taps
    }
}

impl WgradStrips {
    /// The number of invocations that keeps the device busy.
    fn default_splits(target: &Target) -> usize {
        if target.cpu { 2048 } else { 1 << 16 }
    }

    /// The default.
    pub fn default_for(problem: &WeightGradient, target: &Target) -> Self {
        WgradStrips {
            tile: StripTile::default_for(problem, target),
            splits: WgradStrips::default_splits(target),
            workgroup_size: workgroup_size(target),
        }
    }

    /// Those with other tiles that may be faster, the most promising first.
    pub fn alternatives(problem: &WeightGradient, target: &Target) -> Vec<Self> {
        let default = WgradStrips::default_for(problem, target);
        let tiles = StripTile::alternatives(problem, target).into_iter();
        tiles.map(|tile| WgradStrips { tile, ..default }).collect()
    }

    /// Those with other workgroups that may be faster on a GPU.
    pub fn other_workgroups(problem: &WeightGradient, target: &Target) -> Vec<Self> {
        let default = WgradStrips::default_for(problem, target);
        let splits = default.splits;
        let mut all: Vec<Self> = [splits, 4 * splits, splits / 4]
            .map(|splits| WgradStrips { splits, ..default })
            .to_vec();
        all.extend(smaller_workgroup(target).map(|workgroup_size| WgradStrips {
            workgroup_size,
            ..default
        }));
        all
    }

    fn fits(&self, problem: &WeightGradient) -> bool {
        let StripTile { px, kb, cb } = self.tile;
        let small = [px, kb, cb].iter().all(|&side| (1..=64).contains(&side));
        let taps = problem.conv.kernel * problem.conv.kernel;
        small && self.tile.body(taps) <= LARGEST_BODY && is_workgroup_size(self.workgroup_size)
    }

    /// The dispatches; `None` where the tile does not fit.
    pub fn lower(&self, problem: &WeightGradient, batch: usize, target: &Target) -> Option<Lowered> {
        // A kernel may be so large that no tile fits: the default serves it.
        if !self.fits(problem) && *self != WgradStrips::default_for(problem, target) {
            return None;
        }
        let StripTile { px, kb, cb } = self.tile;
        let (c, k) = problem.group_channels();
        let strips = problem.strips(px);
        let kernel = problem.conv.kernel;
        let tap_rows = tap_rows(kernel, target);
        let blocks = problem.conv.groups * k.div_ceil(kb) * c.div_ceil(cb) * (kernel / tap_rows);
        let bytes = problem.dw.bytes(1) * strips as u64;
        let per_image = strips * blocks;
        let walk = Walk {
            file: "conv/wgrad_strips",
            px,
            images: images_per_invocation(batch, strips, per_image, self.splits, bytes, target),
            blocks,
        };
        let parts = parts(batch, &[problem.x, problem.dy], target);
        let splits: usize = parts.iter().map(|part| walk.splits(problem, part.len())).sum();
        // On a CPU, lanes without a split cost as much as lanes with one.
        let workgroup_size = match target.cpu {
            true => self.workgroup_size.min(splits.next_power_of_two().max(CPU_VECTOR)),
            false => self.workgroup_size,
        };
        let own = [("KB", kb.into()), ("CB", cb.into()), ("TAP_ROWS", tap_rows.into())];
        Some(walk.lower(problem, batch, &own, [workgroup_size, workgroup_size], target))
    }
}

impl fmt::Display for WgradStrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WgradStrips {
            tile: StripTile { px, kb, cb },
            splits,
            workgroup_size,
        } = self;
        write!(f, "wgrad strips {px}x{kb}x{cb} splits {splits} wg {workgroup_size}")
    }
}

impl AlgorithmConfig for WgradStrips {
    fn parse(words: &[&str]) -> Option<Self> {
        let ["wgrad", "strips", tile, "splits", splits, "wg", workgroup_size] = *words else {
            return None;
        };
        let [px, kb, cb] = sizes(tile)?;
        Some(WgradStrips {
            tile: StripTile { px, kb, cb },
            splits: number(splits)?,
            workgroup_size: number(workgroup_size)?,
        })
    }
}
