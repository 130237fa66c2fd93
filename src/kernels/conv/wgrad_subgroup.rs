//! Which dispatches make a weight gradient by strips of columns, one for each
//! subgroup, whose lanes have source channels of their own?

use std::fmt;

use super::problem::{WeightGradient, loads_wide};
use super::tile::{LARGEST_BODY, SUBGROUP_BODY, WORKGROUP_SIZE, tile_side};
use super::wgrad_walk::{Walk, images_per_subgroup};
use crate::kernels::call::{Lowered, Target, is_workgroup_size};
use crate::kernels::text::{AlgorithmConfig, number, sizes};

/// The number of subgroups that share a weight gradient: enough for the cores
/// of a workstation, so that the last one to finish costs little.
const SUBGROUPS: usize = 256;

/// Weight gradient, where a subgroup walks down a strip of columns and each
/// lane has source channels of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WgradSubgroup {
    /// Output pixels and channels at a time, and source channels of a lane.
    pub tile: ChannelTile,
    /// Subgroups wanted: more of them write more partial sums.
    pub splits: usize,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
}

/// PX × PY output pixels × KB output channels at a time, with CB source
/// channels in each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelTile {
    /// Output columns.
    pub px: usize,
    /// Output rows.
    pub py: usize,
    /// Output channels.
    pub kb: usize,
    /// Source channels of a lane.
    pub cb: usize,
}

impl WgradSubgroup {
    /// Those that may be fast, the most promising first.
    pub fn algorithms(problem: &WeightGradient, target: &Target) -> Vec<Self> {
        let (stride, taps) = (problem.conv.stride, problem.conv.kernel * problem.conv.kernel);
        let ((c, k), (height, width)) = (problem.group_channels(), problem.dy.plane());
        let wide = (16 / stride).max(1);
        // With few taps, several source channels make up for the cost of
        // loading a value of dy and passing it on.
        let (px, kb, cb) = if taps < 4 {
            let cb = tile_side(c.div_ceil(target.subgroup_size.max(1)), 4, 1);
            let kb = tile_side(k, 32, 1);
            let most = (SUBGROUP_BODY / (taps * kb * cb)).clamp(1, wide);
            (tile_side(width, most, 1), kb, cb)
        } else {
            let px = tile_side(width, wide, 1);
            (px, tile_side(k, (SUBGROUP_BODY / (taps * px)).clamp(1, 32), 1), 1)
        };
        // Rows make up for the cost of a sum that a loop carries.
        let py = (SUBGROUP_BODY / (taps * px * kb * cb)).clamp(1, 4).min(height);
        let tile = ChannelTile { px, py, kb, cb };
        let half = ChannelTile {
            px: (px / 2).max(1),
            ..tile
        };
        [tile, half]
            .map(|tile| WgradSubgroup {
                tile,
                splits: SUBGROUPS,
                workgroup_size: WORKGROUP_SIZE.max(target.subgroup_size),
            })
            .into_iter()
            .filter(|algorithm| algorithm.fits(problem, target))
            .collect()
    }

    fn fits(&self, problem: &WeightGradient, target: &Target) -> bool {
        let ChannelTile { px, py, kb, cb } = self.tile;
        let small = [px, py, kb, cb].iter().all(|side| (1..=64).contains(side));
        let taps = problem.conv.kernel * problem.conv.kernel;
        small
            && target.subgroup_size > 1
            && px * py * kb * cb * taps <= LARGEST_BODY
            && is_workgroup_size(self.workgroup_size)
            && self.workgroup_size.is_multiple_of(target.subgroup_size)
    }

    /// The dispatches; `None` where the tile does not fit.
    pub fn lower(&self, problem: &WeightGradient, batch: usize, target: &Target) -> Option<Lowered> {
        if !self.fits(problem, target) {
            return None;
        }
        let WgradSubgroup {
            tile: ChannelTile { px, py, kb, cb },
            splits,
            workgroup_size,
        } = *self;
        let (c, k) = problem.group_channels();
        let strips = problem.strips(px);
        let blocks = problem.conv.groups * k.div_ceil(kb) * c.div_ceil(target.subgroup_size * cb);
        let bytes = problem.dw.bytes(1) * strips as u64;
        let walk = Walk {
            file: "conv/wgrad_subgroup",
            px,
            images: images_per_subgroup(batch, strips * blocks, splits, bytes, target),
            blocks,
        };
        let own = [
            ("PY", py.into()),
            ("KB", kb.into()),
            ("CB", cb.into()),
            (
                "SOURCE_LOAD8",
                loads_wide(problem.x, px * problem.conv.stride, target).into(),
            ),
            ("DY_LOAD8", loads_wide(problem.dy, px, target).into()),
            ("SUBGROUP_SIZE", target.subgroup_size.into()),
        ];
        let sizes = [workgroup_size, workgroup_size / target.subgroup_size];
        Some(walk.lower(problem, batch, &own, sizes, target))
    }
}

impl fmt::Display for WgradSubgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WgradSubgroup {
            tile: ChannelTile { px, py, kb, cb },
            splits,
            workgroup_size,
        } = self;
        write!(
            f,
            "wgrad subgroup {px}x{py}x{kb}x{cb} splits {splits} wg {workgroup_size}"
        )
    }
}

impl AlgorithmConfig for WgradSubgroup {
    fn parse(words: &[&str]) -> Option<Self> {
        let ["wgrad", "subgroup", tile, "splits", splits, "wg", workgroup_size] = *words else {
            return None;
        };
        let [px, py, kb, cb] = sizes(tile)?;
        Some(WgradSubgroup {
            tile: ChannelTile { px, py, kb, cb },
            splits: number(splits)?,
            workgroup_size: number(workgroup_size)?,
        })
    }
}
