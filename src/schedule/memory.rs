//! Where does each value live, and for how long?
//!
//! Values that share storage (an alias, a sum made in place) form one piece.
//! A piece lives from the task that first writes it to the last that reads
//! it, under the route that runs everything: a plan must hold for every
//! route. Pieces whose lives do not meet share a slot, which is one buffer.

use std::sync::Arc;

use crate::gpu::{Buffer, Gpu, GpuError};

/// A piece of memory to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Bytes.
    pub bytes: u64,
    /// The first task that touches it.
    pub first: usize,
    /// The last task that touches it.
    pub last: usize,
}

/// Which slot each piece takes, and how large the slots are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// The slot of each piece.
    pub slot: Vec<usize>,
    /// Bytes of each slot.
    pub sizes: Vec<u64>,
}

impl Layout {
    /// Places `pieces`: in the order of their first use, each takes the free
    /// slot that fits it best, or lets the largest free one grow.
    pub fn plan(pieces: &[Piece]) -> Self {
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|&index| (pieces[index].first, std::cmp::Reverse(pieces[index].bytes)));
        let mut layout = Layout {
            slot: vec![usize::MAX; pieces.len()],
            sizes: Vec::new(),
        };
        // The last task that uses what is in each slot now.
        let mut busy_until: Vec<usize> = Vec::new();
        for index in order {
            let piece = pieces[index];
            let free = (0..layout.sizes.len()).filter(|&slot| busy_until[slot] < piece.first);
            let best = free.min_by_key(|&slot| {
                let size = layout.sizes[slot];
                (size < piece.bytes, size.abs_diff(piece.bytes))
            });
            let slot = best.unwrap_or_else(|| {
                layout.sizes.push(0);
                busy_until.push(0);
                layout.sizes.len() - 1
            });
            layout.sizes[slot] = layout.sizes[slot].max(piece.bytes);
            busy_until[slot] = piece.last;
            layout.slot[index] = slot;
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
pub struct Pool {
    buffers: Vec<Arc<Buffer>>,
}

impl Pool {
    /// Buffers of at least the given sizes, all different.
    pub fn take(&mut self, gpu: &Gpu, sizes: &[u64]) -> Result<Vec<Arc<Buffer>>, GpuError> {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(sizes[index]));
        let mut spare = self.buffers.clone();
        let mut taken: Vec<Option<Arc<Buffer>>> = vec![None; sizes.len()];
        for index in order {
            let fits = |buffer: &Arc<Buffer>| buffer.size() >= sizes[index];
            let best = (0..spare.len())
                .filter(|&i| fits(&spare[i]))
                .min_by_key(|&i| spare[i].size());
            let buffer = match best {
                Some(position) => spare.swap_remove(position),
                None => {
                    let buffer = gpu.buffer("activations", sizes[index])?;
                    self.buffers.push(buffer.clone());
                    buffer
                }
            };
            taken[index] = Some(buffer);
        }
        Ok(taken.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_whose_lives_do_not_meet_share_a_slot() {
        let piece = |bytes, first, last| Piece { bytes, first, last };
        let pieces = [
            piece(8, 0, 2),
            piece(4, 1, 3),
            piece(8, 3, 4),
            piece(2, 4, 5),
            piece(16, 6, 6),
        ];
        let layout = Layout::plan(&pieces);
        for (a, left) in pieces.iter().enumerate() {
            assert!(layout.sizes[layout.slot[a]] >= left.bytes);
            for (b, right) in pieces.iter().enumerate().skip(a + 1) {
                let meet = left.first <= right.last && right.first <= left.last;
                assert!(!meet || layout.slot[a] != layout.slot[b], "{a} and {b}");
            }
        }
        assert_eq!(layout.sizes.len(), 2);
    }
}
