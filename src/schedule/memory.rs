//! Where does each piece of memory lie? Pieces whose lives do not meet share
//! a slot, which is one buffer: two ranges of one buffer cannot be bound to a
//! dispatch that writes one of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::gpu::{Buffer, Gpu, GpuError};

/// A piece of memory to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Bytes.
    pub bytes: u64,
    /// The first task that touches it.
    pub first: usize,
    /// The last task that touches it.
    pub last: usize,
}

/// Which slot each piece takes, and how large the slots are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryLayout {
    /// The slot of each piece.
    pub slot: Vec<usize>,
    /// Bytes of each slot.
    pub sizes: Vec<u64>,
}

/// The most bytes that pieces take at one time: no layout takes less.
pub fn peak(pieces: &[Allocation]) -> u64 {
    let end = pieces.iter().map(|piece| piece.last + 2).max().unwrap_or(0);
    let mut change = vec![0i64; end];
    for piece in pieces {
        change[piece.first] += piece.bytes as i64;
        change[piece.last + 1] -= piece.bytes as i64;
    }
    let live = change.iter().scan(0, |live, change| {
        *live += change;
        Some(*live)
    });
    live.max().unwrap_or(0) as u64
}

/// When one slot is taken.
#[derive(Debug)]
struct Timetable {
    /// First and last task of each piece.
    taken: BTreeMap<usize, usize>,
    /// The longest of them, which most others would meet: looked at first.
    longest: (usize, usize),
}

impl Timetable {
    fn of(piece: Allocation) -> Self {
        Timetable {
            taken: BTreeMap::from([(piece.first, piece.last)]),
            longest: (piece.first, piece.last),
        }
    }

    fn insert(&mut self, piece: Allocation) {
        self.taken.insert(piece.first, piece.last);
        let (first, last) = self.longest;
        if piece.last - piece.first > last - first {
            self.longest = (piece.first, piece.last);
        }
    }

    /// Tasks for which the slot would lie idle around `piece`; `None` where
    /// it is not free.
    fn idle_around(&self, piece: Allocation, end: usize) -> Option<usize> {
        let (first, last) = self.longest;
        if piece.first <= last && first <= piece.last {
            return None;
        }
        let next = self.taken.range(piece.first..).next().map_or(end, |(&first, _)| first);
        let previous = self.taken.range(..piece.first).next_back().map(|(_, &last)| last + 1);
        let previous = previous.unwrap_or(0);
        (previous <= piece.first && piece.last < next).then(|| next - previous)
    }
}

impl MemoryLayout {
    /// Places `pieces`, the largest first: each takes, of the smallest slots
    /// that are free during its life, the one that lies idle for the shortest
    /// time around it (Pisarchyk and Lee 2020, arXiv:2001.03288).
    pub fn plan(pieces: &[Allocation]) -> Self {
        let end = pieces.iter().map(|piece| piece.last + 1).max().unwrap_or(0);
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|&index| (Reverse(pieces[index].bytes), pieces[index].first));
        let mut layout = MemoryLayout {
            slot: vec![usize::MAX; pieces.len()],
            sizes: Vec::new(),
        };
        let mut timetables: Vec<Timetable> = Vec::new();
        for index in order {
            let piece = pieces[index];
            let idle = |slot: usize| timetables[slot].idle_around(piece, end);
            let free = (0..layout.sizes.len()).filter_map(|slot| Some((layout.sizes[slot], idle(slot)?, slot)));
            layout.slot[index] = match free.min() {
                Some((.., slot)) => {
                    timetables[slot].insert(piece);
                    slot
                }
                None => {
                    layout.sizes.push(piece.bytes);
                    timetables.push(Timetable::of(piece));
                    timetables.len() - 1
                }
            };
        }
        layout
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

/// Buffers that several plans take turns to use: training, evaluation, the
/// smaller last batch of an epoch. No two of them run at once.
#[derive(Debug, Default)]
pub struct BufferPool {
    buffers: Vec<Arc<Buffer>>,
}

impl BufferPool {
    /// Buffers of at least the given sizes, all different.
    pub fn take(&mut self, gpu: &Gpu, sizes: &[u64]) -> Result<Vec<Arc<Buffer>>, GpuError> {
        let held: Vec<u64> = self.buffers.iter().map(|buffer| buffer.size()).collect();
        let taken = fit(&held, sizes)
            .into_iter()
            .zip(sizes)
            .map(|(held, &size)| match held {
                Some(index) => Ok(self.buffers[index].clone()),
                None => {
                    let buffer = gpu.buffer("activations", size)?;
                    self.buffers.push(buffer.clone());
                    Ok(buffer)
                }
            });
        taken.collect()
    }
}

/// For each of the sizes `wanted` the smallest of those `held` that it fits,
/// each taken once, the largest first; `None` where no such is left.
pub fn fit(held: &[u64], wanted: &[u64]) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&index| Reverse(wanted[index]));
    let mut spare: Vec<usize> = (0..held.len()).collect();
    spare.sort_by_key(|&index| held[index]);
    let mut taken = vec![None; wanted.len()];
    for index in order {
        let first = spare.partition_point(|&spare| held[spare] < wanted[index]);
        taken[index] = (first < spare.len()).then(|| spare.remove(first));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_whose_lives_do_not_meet_share_a_slot() {
        let piece = |bytes, first, last| Allocation { bytes, first, last };
        let pieces = [
            piece(8, 0, 2),
            piece(4, 1, 3),
            piece(8, 3, 4),
            piece(2, 4, 5),
            piece(16, 6, 6),
        ];
        let layout = MemoryLayout::plan(&pieces);
        for (a, left) in pieces.iter().enumerate() {
            assert!(layout.sizes[layout.slot[a]] >= left.bytes);
            for (b, right) in pieces.iter().enumerate().skip(a + 1) {
                let meet = left.first <= right.last && right.first <= left.last;
                assert!(!meet || layout.slot[a] != layout.slot[b], "{a} and {b}");
            }
        }
        assert_eq!(layout.sizes, [16, 4]);
        assert_eq!(peak(&pieces), 16);
    }

    #[test]
    fn the_largest_pieces_are_placed_first() {
        let piece = |bytes, first, last| Allocation { bytes, first, last };
        // In the order of time the small piece would take a slot of its own,
        // which the large one, later, could not use.
        let pieces = [piece(2, 0, 1), piece(8, 2, 3), piece(4, 3, 5), piece(8, 4, 5)];
        let layout = MemoryLayout::plan(&pieces);
        assert_eq!(layout.sizes, [8, 4]);
        assert_eq!(peak(&pieces), layout.bytes());
    }

    #[test]
    fn plans_take_the_smallest_buffers_that_fit() {
        assert_eq!(fit(&[16, 4, 8], &[4, 6, 32]), [Some(1), Some(2), None]);
        assert_eq!(fit(&[8], &[4, 8]), [None, Some(0)]);
        assert_eq!(fit(&[], &[1]), [None]);
    }
}
