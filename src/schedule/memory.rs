//! In which buffer does each allocation lie? Allocations that are not in use
//! at the same time share a slot, and each slot is a buffer of its own: WebGPU
//! does not allow a dispatch to write one range of a buffer and read another.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::gpu::{Buffer, Gpu, GpuError};

/// Memory that is in use during some tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Bytes.
    pub bytes: u64,
    /// The first task that touches it.
    pub first: usize,
    /// The last task that touches it.
    pub last: usize,
}

/// The slot of each allocation, and the sizes of the slots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryLayout {
    /// The slot of each allocation.
    pub slot: Vec<usize>,
    /// Bytes of each slot.
    pub sizes: Vec<u64>,
}

/// The most bytes that are in use at one time: no layout takes less.
pub fn peak(allocations: &[Allocation]) -> u64 {
    let end = allocations
        .iter()
        .map(|allocation| allocation.last + 2)
        .max()
        .unwrap_or(0);
    let mut change = vec![0i64; end];
    for allocation in allocations {
        change[allocation.first] += allocation.bytes as i64;
        change[allocation.last + 1] -= allocation.bytes as i64;
    }
    let live = change.iter().scan(0, |live, change| {
        *live += change;
        Some(*live)
    });
    live.max().unwrap_or(0) as u64
}

/// The tasks during which one slot is in use.
#[derive(Debug)]
struct Timetable {
    /// First and last task of each allocation.
    taken: BTreeMap<usize, usize>,
    /// The longest of them. It overlaps with most others, so it is checked
    /// first.
    longest: (usize, usize),
}

impl Timetable {
    fn of(allocation: Allocation) -> Self {
        Timetable {
            taken: BTreeMap::from([(allocation.first, allocation.last)]),
            longest: (allocation.first, allocation.last),
        }
    }

    fn insert(&mut self, allocation: Allocation) {
        self.taken.insert(allocation.first, allocation.last);
        let (first, last) = self.longest;
        if allocation.last - allocation.first > last - first {
            self.longest = (allocation.first, allocation.last);
        }
    }

    /// The number of tasks around `allocation` during which nothing else uses the
    /// slot; `None` where the slot is not free for `allocation`.
    fn idle_around(&self, allocation: Allocation, end: usize) -> Option<usize> {
        let (first, last) = self.longest;
        if allocation.first <= last && first <= allocation.last {
            return None;
        }
        let next = self
            .taken
            .range(allocation.first..)
            .next()
            .map_or(end, |(&first, _)| first);
        let previous = self
            .taken
            .range(..allocation.first)
            .next_back()
            .map(|(_, &last)| last + 1);
        let previous = previous.unwrap_or(0);
        (previous <= allocation.first && allocation.last < next).then(|| next - previous)
    }
}

impl MemoryLayout {
    /// Places `allocations`, the largest first. Each takes the smallest slot
    /// that is free while it is in use; among slots of equal size, the one with
    /// the shortest unused time around it (Pisarchyk and Lee 2020,
    /// arXiv:2001.03288).
    pub fn plan(allocations: &[Allocation]) -> Self {
        let end = allocations
            .iter()
            .map(|allocation| allocation.last + 1)
            .max()
            .unwrap_or(0);
        let mut order: Vec<usize> = (0..allocations.len()).collect();
        order.sort_by_key(|&index| (Reverse(allocations[index].bytes), allocations[index].first));
        let mut layout = MemoryLayout {
            slot: vec![usize::MAX; allocations.len()],
            sizes: Vec::new(),
        };
        let mut timetables: Vec<Timetable> = Vec::new();
        for index in order {
            let allocation = allocations[index];
            let idle = |slot: usize| timetables[slot].idle_around(allocation, end);
            let free = (0..layout.sizes.len()).filter_map(|slot| Some((layout.sizes[slot], idle(slot)?, slot)));
            layout.slot[index] = match free.min() {
                Some((.., slot)) => {
                    timetables[slot].insert(allocation);
                    slot
                }
                None => {
                    layout.sizes.push(allocation.bytes);
                    timetables.push(Timetable::of(allocation));
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

/// Buffers that several plans share: training, evaluation, the smaller last
/// batch of an epoch. No two of them run at the same time.
#[derive(Debug, Default)]
pub struct BufferPool {
    buffers: Vec<Arc<Buffer>>,
}

impl BufferPool {
    /// Buffers of at least the given sizes (bytes), all different. Buffers that
    /// the pool lacks are created.
    ///
    /// # Errors
    /// Where the device has too little memory.
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

/// For each of the sizes `wanted`, the index of the smallest size in `held` that
/// is large enough. Each is taken once, and the largest size chooses first;
/// `None` where none is left.
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
    fn allocations_that_do_not_overlap_share_a_slot() {
        let allocation = |bytes, first, last| Allocation { bytes, first, last };
        let allocations = [
            allocation(8, 0, 2),
            allocation(4, 1, 3),
            allocation(8, 3, 4),
            allocation(2, 4, 5),
            allocation(16, 6, 6),
        ];
        let layout = MemoryLayout::plan(&allocations);
        for (a, left) in allocations.iter().enumerate() {
            assert!(layout.sizes[layout.slot[a]] >= left.bytes);
            for (b, right) in allocations.iter().enumerate().skip(a + 1) {
                let overlap = left.first <= right.last && right.first <= left.last;
                assert!(!overlap || layout.slot[a] != layout.slot[b], "{a} and {b}");
            }
        }
        assert_eq!(layout.sizes, [16, 4]);
        assert_eq!(peak(&allocations), 16);
    }

    #[test]
    fn the_largest_allocations_are_placed_first() {
        let allocation = |bytes, first, last| Allocation { bytes, first, last };
        // In the order of time the small allocation would take a slot of its
        // own, which is too small for the large one that follows.
        let allocations = [
            allocation(2, 0, 1),
            allocation(8, 2, 3),
            allocation(4, 3, 5),
            allocation(8, 4, 5),
        ];
        let layout = MemoryLayout::plan(&allocations);
        assert_eq!(layout.sizes, [8, 4]);
        assert_eq!(peak(&allocations), layout.bytes());
    }

    #[test]
    fn plans_take_the_smallest_buffers_that_fit() {
        assert_eq!(fit(&[16, 4, 8], &[4, 6, 32]), [Some(1), Some(2), None]);
        assert_eq!(fit(&[8], &[4, 8]), [None, Some(0)]);
        assert_eq!(fit(&[], &[1]), [None]);
    }
}
