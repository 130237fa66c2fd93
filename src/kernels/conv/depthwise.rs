//! Which dispatches make a depthwise convolution, where every channel is a
//! group of its own?

use std::fmt;

use super::problem::{Convolution, Destination};
use super::tile::{LARGEST_BODY, Tile, distinct, tile_side, workgroup_size};
use crate::kernels::call::{Call, Lowered, Operand, Target, grid_2d, is_workgroup_size, parts};
use crate::kernels::text::{AlgorithmConfig, number, sizes};

/// Depthwise convolution, or its input gradient, by tiles of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Depthwise {
    /// Columns of an invocation.
    pub px: usize,
    /// Rows of an invocation.
    pub py: usize,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
}

impl Depthwise {
    /// Those that may be fast, the most promising first; none where a group
    /// has several channels.
    pub fn algorithms(problem: &Convolution, target: &Target) -> Vec<Self> {
        if problem.group_channels() != (1, 1) {
            return Vec::new();
        }
        let dest = problem.destination();
        // Wide tiles load fewer pixels twice; on a GPU, more invocations hide
        // the time of loads.
        let sides: &[[usize; 2]] = if target.cpu {
            &[[16, 4], [8, 4], [32, 2]]
        } else {
            &[[4, 2], [4, 4], [4, 1], [8, 2]]
        };
        let tiles = sides.iter().map(|&[wide, tall]| Depthwise {
            px: tile_side(dest.width, wide, dest.unit()),
            py: tile_side(dest.height, tall, dest.unit()),
            workgroup_size: workgroup_size(target),
        });
        distinct(tiles.filter(|tile| tile.fits(&dest)))
    }

    fn fits(&self, dest: &Destination) -> bool {
        let Depthwise { px, py, workgroup_size } = *self;
        let small = [px, py].iter().all(|&side| (1..=64).contains(&side));
        let aligned = px.is_multiple_of(dest.unit()) && py.is_multiple_of(dest.unit());
        small && aligned && px * py * dest.taps() <= LARGEST_BODY && is_workgroup_size(workgroup_size)
    }

    /// The dispatches; `None` where a group has several channels, or the tile
    /// does not fit.
    pub fn lower(&self, problem: &Convolution, batch: usize, target: &Target) -> Option<Lowered> {
        let Depthwise { px, py, workgroup_size } = *self;
        let Convolution { conv, source, dest, .. } = *problem;
        let channels = conv.groups;
        let is_depthwise = problem.group_channels() == (1, 1) && channels <= target.workgroups as usize;
        if !is_depthwise || !self.fits(&problem.destination()) {
            return None;
        }
        let mut constants = problem.tile_constants(Tile { px, py, kb: 1 }, workgroup_size);
        // What the other tiles need for their channels.
        constants.retain(|(name, _)| !["SC", "KB"].contains(name));
        constants.push(("FLIPPED", problem.is_flipped().into()));
        let (height, width) = dest.plane();
        let tiles = height.div_ceil(py) * width.div_ceil(px);
        let calls = parts(batch, &[source, dest], target).into_iter().map(|part| {
            let mut call = Call::new("conv/depthwise", "depthwise", constants.clone())
                .store("Stored", 1, dest)
                .store("Stored4", 4, dest)
                .bind_images(0, Operand::Input(0), source, &part)
                .bind_images(1, Operand::Input(0), source, &part)
                .bind(3, Operand::Input(2), 4 * channels as u64)
                .bind_images(4, Operand::Output, dest, &part)
                .bind_images(5, Operand::Output, dest, &part)
                .bind(6, Operand::Input(1), 4 * problem.weights() as u64);
            let [x, z, _] = grid_2d((part.len() * tiles).div_ceil(workgroup_size), target.workgroups);
            call.workgroups = [x, channels as u32, z];
            call.macs = problem.macs(part.len());
            call
        });
        Some(Lowered::calls(calls.collect()))
    }
}

impl fmt::Display for Depthwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Depthwise { px, py, workgroup_size } = self;
        write!(f, "depthwise {px}x{py} wg {workgroup_size}")
    }
}

impl AlgorithmConfig for Depthwise {
    fn parse(words: &[&str]) -> Option<Self> {
        let ["depthwise", tile, "wg", workgroup_size] = *words else {
            return None;
        };
        let [px, py] = sizes(tile)?;
        Some(Depthwise {
            px,
            py,
            workgroup_size: number(workgroup_size)?,
        })
    }
}
