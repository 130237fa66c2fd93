//! Which dispatches make a convolution's weight gradient by Winograd's
//! filtering, where lanes are source channels?

use std::ops::Range;

use super::problem::by_eights;
use super::tile::{TurnTile, WeightTile};
use super::wgrad::WeightGradient;
use crate::kernels::call::{Lowered, Operand, Target, fold, parts};
use crate::kernels::candidate::Algorithm;

/// Subgroups that share a gradient. Each goes through a turn's pixels for all
/// output channels, so that fewer suffice than where walks are short.
const SUBGROUPS: usize = 128;

impl WeightGradient<'_> {
    /// Such ways, the likeliest first.
    pub fn winograds(&self, target: &Target) -> Vec<Algorithm> {
        if !self.suits_winograd() {
            return Vec::new();
        }
        let splits = SUBGROUPS;
        let tiles = TurnTile::choose(self.dy.plane()).into_iter();
        let fitting = tiles.filter(|tile| tile.fits(target));
        fitting
            .map(|tile| Algorithm::WinogradChannels { tile, splits })
            .collect()
    }

    /// Whether Winograd's scheme can do this.
    fn suits_winograd(&self) -> bool {
        self.conv.kernel == 3 && self.conv.stride == 1 && self.conv.padding <= 2
    }

    /// The dispatches of tiles of `tile` in about `wanted` subgroups.
    pub fn lower_winograd(&self, tile: TurnTile, wanted: usize, batch: usize, target: &Target) -> Option<Lowered> {
        if !self.suits_winograd() || !tile.fits(target) {
            return None;
        }
        let WeightGradient { conv, x, dy, dw } = *self;
        let (c, _) = self.channels();
        let TurnTile { px, py, images } = tile;
        let blocks = conv.groups * c.div_ceil(target.subgroup);
        let most = WeightTile::images_of_subgroup(batch, blocks, wanted, dw.bytes(1), target);
        // Walks of one length: the last to be done is not much later.
        let walk = batch.div_ceil(batch.div_ceil(most)).next_multiple_of(images);
        let parts = parts(batch, &[x, dy], target);
        let walks_of = |part: &Range<usize>| part.len().div_ceil(walk);
        let walks: usize = parts.iter().map(walks_of).sum();
        let partial = walks as u64 * dw.bytes(1);
        let mut calls = Vec::new();
        let mut first_walk = 0;
        for part in parts {
            let mut constants = self.shape_constants(px);
            constants.extend([
                ("PY", py.into()),
                ("IMAGES", images.into()),
                ("WALK", walk.into()),
                ("FIRST_WALK", first_walk.into()),
                ("WALKS", walks.into()),
                ("X8", by_eights(x, px, target).into()),
                ("DY8", by_eights(dy, px, target).into()),
                ("SUMS8", target.eights.into()),
                ("LANES", target.subgroup.into()),
            ]);
            let mut call = self
                .call("conv/wgrad_winograd", constants, &part, partial)
                .bind(7, Operand::Scratch(0), partial)
                .bind(8, Operand::Scratch(0), partial);
            let [x, z, _] = fold(blocks, target.workgroups);
            call.workgroups = [x, walks_of(&part) as u32, z];
            first_walk += walks_of(&part);
            calls.push(call);
        }
        let merge = self.merge("filters", 9, partial, target);
        calls.push(merge.bind(2, Operand::Scratch(0), partial));
        Some(Lowered {
            calls,
            scratch: vec![partial],
        })
    }
}
