//! Which dispatches make a convolution whose tiles share halos and weights
//! within a subgroup?

use std::ops::Range;

use super::call::{Lowered, Operand, Target, fold, parts};
use super::candidate::{Candidate, is_workgroup};
use super::conv::{Direction, WG, by_eights};
use super::tile::Tile;

/// Tiles that share halos and weights within a subgroup.
#[derive(Clone, Copy)]
struct InLanes {
    tile: Tile,
    /// Source channels at a time.
    channels: usize,
    /// Whether products are Winograd's.
    winograd: bool,
    /// Invocations of a workgroup.
    lanes: usize,
    /// Whether chunks of the result's moments become the last scratch memory.
    moments: bool,
}

impl Direction<'_> {
    /// Ways that share halos and weights within a subgroup, the likeliest
    /// first.
    pub(super) fn shared(&self, target: &Target) -> Vec<Candidate> {
        let conv = self.tiled_conv();
        let dest = self.destination(&conv);
        let (source, _) = self.group_channels();
        let lanes = WG.max(target.subgroup);
        let winograds = match self.suits_winograd() {
            true => Tile::of_winograd_lanes(&dest, target),
            false => Vec::new(),
        };
        let direct = Tile::of_lanes(&dest, target)
            .into_iter()
            .map(|(tile, most)| Candidate::Lanes {
                tile,
                channels: (1..=most)
                    .rev()
                    .find(|channels| source.is_multiple_of(*channels))
                    .unwrap_or(1),
                lanes,
            });
        // Where both can do it, one that goes tap by tap is enough to try.
        let enough = if winograds.is_empty() { 2 } else { 1 };
        winograds
            .into_iter()
            .map(|tile| Candidate::WinogradLanes { tile, lanes })
            .chain(direct.take(enough))
            .collect()
    }

    /// The tiles of `candidate`, where it is such a way; with `moments`, one
    /// that takes them along.
    fn in_lanes(&self, candidate: &Candidate, moments: bool, target: &Target) -> Option<InLanes> {
        let (tile, channels, winograd, lanes) = match *candidate {
            Candidate::Lanes { tile, channels, lanes } => (tile, channels, false, lanes),
            Candidate::WinogradLanes { tile, lanes } => (tile, 1, true, lanes),
            _ => return None,
        };
        let (height, width) = self.dest.plane();
        let even = height.is_multiple_of(tile.py) && width.is_multiple_of(tile.px);
        let fits = tile.fits_lanes(&self.destination(&self.tiled_conv()), channels, target)
            && self.group_channels().0.is_multiple_of(channels)
            && (!winograd || self.suits_winograd() && tile.is_even())
            && is_workgroup(lanes)
            && lanes.is_multiple_of(target.subgroup);
        (fits && (even || !moments)).then_some(InLanes {
            tile,
            channels,
            winograd,
            lanes,
            moments,
        })
    }

    /// The dispatches of `candidate` that leave chunks of moments of the
    /// result in the last scratch memory, where it has such an end.
    pub fn with_moments(&self, candidate: &Candidate, batch: usize, target: &Target) -> Option<Lowered> {
        let tiles = self.in_lanes(candidate, true, target)?;
        Some(tiles.lower(self, batch, target))
    }

    /// The dispatches of `candidate`, where it is such a way.
    pub(super) fn lower_lanes(&self, candidate: &Candidate, batch: usize, target: &Target) -> Option<Lowered> {
        let tiles = self.in_lanes(candidate, false, target)?;
        Some(tiles.lower(self, batch, target))
    }
}

impl InLanes {
    /// Weights of a block for the source channels of one turn, in memory, and
    /// whether they are read by eights.
    fn packed(&self, kernel: usize, target: &Target) -> (usize, bool) {
        let taps = if self.winograd { 16 } else { kernel * kernel };
        let weights = self.tile.kb * self.channels * taps;
        let by_eights = target.eights && weights.is_multiple_of(8 * target.subgroup);
        (weights.next_multiple_of(4 * target.subgroup), by_eights)
    }

    fn lower(self, direction: &Direction, batch: usize, target: &Target) -> Lowered {
        let InLanes {
            tile, channels, lanes, ..
        } = self;
        let Direction { conv, source, dest, .. } = *direction;
        let (height, width) = dest.plane();
        let (sc, dc) = direction.group_channels();
        let across = tile.across(width);
        let inner = tile.reach(&direction.tiled_conv(), direction.is_transposed()).inner_x;
        let (turn, weights8) = self.packed(conv.kernel, target);
        let mut constants = direction.constants(tile, lanes);
        constants.extend([
            ("CHANNELS", channels.into()),
            ("WINOGRAD", self.winograd.into()),
            ("SOURCE8", by_eights(source, inner, target).into()),
            ("WEIGHTS8", weights8.into()),
            ("LANES", target.subgroup.into()),
            ("ACROSS", across.into()),
        ]);
        let blocks = conv.groups * dc.div_ceil(tile.kb);
        let packed = blocks * (sc / channels) * turn;
        let pack = direction.packing("conv_lanes", "pack", constants.clone(), packed);
        // One invocation packs four values, or Winograd's sixteen of a kernel.
        let at_once = if self.winograd { 16 } else { 4 };
        let mut calls = vec![pack.over(packed / at_once, lanes, target)];

        let per_group = lanes / target.subgroup;
        let grid = |part: &Range<usize>| {
            let subgroups = (part.len() * height.div_ceil(tile.py)).div_ceil(target.subgroup / across);
            fold(subgroups.div_ceil(per_group), target.workgroups)
        };
        let chunks = |part: &Range<usize>| {
            let [y, z, _] = grid(part);
            y as usize * z as usize * per_group
        };
        let parts = parts(batch, &[source, dest], target);
        let all_chunks: usize = parts.iter().map(chunks).sum();
        let moments = 16 * (all_chunks * dest.channels()) as u64;
        let mut first_chunk = 0;
        for part in parts {
            let mut constants = constants.clone();
            if self.moments {
                constants.extend([
                    ("MOMENTS", true.into()),
                    ("FIRST_CHUNK", first_chunk.into()),
                    ("EXCHANGES", target.subgroup.ilog2().into()),
                ]);
            }
            let mut call = direction
                .call(["conv_lanes", "tile"], constants, &part, packed)
                .bind(8, Operand::Scratch(1), moments)
                .bind_images(9, Operand::Input(0), source, &part)
                .bind(10, Operand::Scratch(0), 4 * packed as u64);
            let [y, z, _] = grid(&part);
            call.workgroups = [blocks as u32, y, z];
            first_chunk += chunks(&part);
            calls.push(call);
        }
        let mut scratch = vec![4 * packed as u64];
        scratch.extend(self.moments.then_some(moments));
        Lowered { calls, scratch }
    }
}
