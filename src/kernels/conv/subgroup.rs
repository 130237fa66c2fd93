//! Which dispatches make a convolution whose tiles share halos and weights
//! within a subgroup?

use std::ops::Range;

use super::problem::{Direction, WG, by_eights};
use super::tile::Tile;
use crate::graph::Precision;
use crate::kernels::call::{Lowered, Operand, Target, fold, is_workgroup_size, parts};
use crate::kernels::candidate::{Algorithm, Order};

/// Tiles that share halos and weights within a subgroup.
#[derive(Clone, Copy)]
struct InLanes {
    tile: Tile,
    /// Source channels at a time.
    channels: usize,
    order: Order,
    /// Invocations of a workgroup.
    lanes: usize,
    /// Whether chunks of the result's moments become the last scratch memory.
    moments: bool,
}

impl Direction<'_> {
    /// Ways that share halos and weights within a subgroup, the likeliest
    /// first.
    pub fn shared(&self, target: &Target) -> Vec<Algorithm> {
        let conv = self.tiled_conv();
        let dest = self.destination(&conv);
        let (source, _) = self.group_channels();
        let (order, keeping) = match self.suits_winograd() {
            true => (Order::Winograd, Tile::of_winograd_lanes(&dest, source, target)),
            false => (Order::Turns, Tile::of_turns(&dest, source, target)),
        };
        let carrying = Tile::of_lanes(&dest, target).into_iter().map(|(tile, most)| {
            let divides = |channels: &usize| source.is_multiple_of(*channels);
            Algorithm::Lanes {
                order: Order::Sums,
                tile,
                channels: (1..=most).rev().find(divides).unwrap_or(1),
                lanes: WG.max(target.subgroup),
            }
        });
        // Where others can do it, one that carries sums is enough to try.
        let enough = if keeping.is_empty() { 2 } else { 1 };
        keeping
            .into_iter()
            .map(|(tile, channels)| Algorithm::Lanes {
                order,
                tile,
                channels,
                // One subgroup has enough to do, and with few images there are
                // few of them for all cores.
                lanes: target.subgroup,
            })
            .chain(carrying.take(enough))
            .collect()
    }

    /// The tiles of `candidate`, where it is such a way; with `moments`, one
    /// that takes them along.
    fn in_lanes(&self, candidate: &Algorithm, moments: bool, target: &Target) -> Option<InLanes> {
        let Algorithm::Lanes {
            order,
            tile,
            channels,
            lanes,
        } = *candidate
        else {
            return None;
        };
        let (height, width) = self.dest.plane();
        let even = height.is_multiple_of(tile.py) && width.is_multiple_of(tile.px);
        let (source, _) = self.group_channels();
        let conv = self.tiled_conv();
        let dest = self.destination(&conv);
        let suits = match order {
            Order::Sums => source.is_multiple_of(channels) && tile.fits_lanes(&dest, channels, target),
            Order::Turns => tile.fits_turns(&dest, channels, target),
            Order::Winograd => self.suits_winograd() && tile.fits_winograd_lanes(&dest, channels, target),
        };
        let fits = suits && is_workgroup_size(lanes) && lanes.is_multiple_of(target.subgroup);
        (fits && (even || !moments)).then_some(InLanes {
            tile,
            channels,
            order,
            lanes,
            moments,
        })
    }

    /// The dispatches of `candidate` that leave chunks of moments of the
    /// result in the last scratch memory, where it has such an end.
    pub fn with_moments(&self, candidate: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        let tiles = self.in_lanes(candidate, true, target)?;
        Some(tiles.lower(self, batch, target))
    }

    /// The dispatches of `candidate`, where it is such a way.
    pub fn lower_lanes(&self, candidate: &Algorithm, batch: usize, target: &Target) -> Option<Lowered> {
        let tiles = self.in_lanes(candidate, false, target)?;
        Some(tiles.lower(self, batch, target))
    }
}

impl InLanes {
    /// Entry points of the kernel and of the packing of its weights.
    fn entries(&self) -> [&'static str; 2] {
        match self.order {
            Order::Sums => ["tile", "pack"],
            Order::Turns | Order::Winograd => ["turns", "pack_turns"],
        }
    }

    /// Weights of all turns as they lie in memory, and whether they are read by
    /// eights.
    fn packed(&self, direction: &Direction, target: &Target) -> (usize, bool) {
        let (sc, dc) = direction.group_channels();
        let (groups, lanes) = (direction.conv.groups, target.subgroup);
        let taps = direction.conv.kernel * direction.conv.kernel;
        if self.order != Order::Sums {
            // Of each lane's own kernels: as many wholes, then pairs.
            let weights = taps * self.channels.div_ceil(lanes);
            let of_lane = weights.next_multiple_of(if target.eights { 2 } else { 4 });
            let turns = groups * dc * sc.div_ceil(self.channels);
            return (turns * (of_lane * lanes).next_multiple_of(8), target.eights);
        }
        let weights = self.tile.kb * self.channels * taps;
        let turns = groups * dc.div_ceil(self.tile.kb) * (sc / self.channels);
        let by_eights = target.eights && weights.is_multiple_of(8 * lanes);
        (turns * weights.next_multiple_of(4 * lanes), by_eights)
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
        let [entry, pack_entry] = self.entries();
        let (packed, weights8) = self.packed(direction, target);
        let mut constants = direction.constants(tile, lanes);
        constants.extend([
            ("CHANNELS", channels.into()),
            ("SOURCE8", by_eights(source, inner, target).into()),
            ("WEIGHTS8", weights8.into()),
            ("LANES", target.subgroup.into()),
            ("ACROSS", across.into()),
        ]);
        // Sums of some source channels are kept in 32 bits.
        let apart = self.order != Order::Sums && dest.precision != Precision::F32 && sc > channels;
        let mut sums = dest.clone();
        if apart {
            sums.precision = Precision::F32;
        }
        if self.order != Order::Sums {
            constants.extend([
                ("WINOGRAD", (self.order == Order::Winograd).into()),
                ("HELD", 1_u32.into()),
                ("APART", apart.into()),
                ("SUMS8", by_eights(&sums, tile.px, target).into()),
            ]);
        }
        let names = ["conv/subgroup", pack_entry];
        let mut calls = vec![direction.packing(names, constants.clone(), [packed, 4], target)];

        let per_group = lanes / target.subgroup;
        let grid = |part: &Range<usize>| {
            let subgroups = (part.len() * height.div_ceil(tile.py)).div_ceil(target.subgroup / across);
            fold(subgroups.div_ceil(per_group), target.workgroups)
        };
        let chunks = |part: &Range<usize>| {
            let [y, z, _] = grid(part);
            y as usize * z as usize * per_group
        };
        let mut scratch = vec![4 * packed as u64];
        let sums_at = match apart {
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
        scratch.extend(self.moments.then_some(moments));
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
                .call(["conv/subgroup", entry], constants, &part, packed)
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
