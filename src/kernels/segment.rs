//! Into which segments are the tensors of an arena divided, so that sums over them have
//! a fixed order?

use std::ops::Range;

use super::call::{Target, arena_parts};

/// Vectors of four parameters in a segment.
const LENGTH: u64 = 4096;
/// The size of [`Segment`] in bytes.
pub const SEGMENT_BYTES: u64 = 24;

/// A tensor in an arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArenaTensor {
    /// Its bytes. It begins at a multiple of 16.
    pub range: Range<u64>,
    /// Whether weight decay applies to it.
    pub decays: bool,
    /// Whether LARS adapts its learning rate to its norm.
    pub adapts: bool,
}

/// A part of a tensor: the shaders' `Segment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Segment {
    first: u32,
    count: u32,
    of_tensor: u32,
    parts: u32,
    decays: u32,
    adapts: u32,
}

/// The segments of all tensors of an arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    /// In the order of memory.
    pub all: Vec<Segment>,
    /// For each part of the arena that fits a binding, its segments.
    pub parts: Vec<Range<usize>>,
}

impl Segments {
    /// Divides `tensors`, which are in the order of memory, in an arena of `bytes`.
    pub fn new(bytes: u64, tensors: &[ArenaTensor], target: &Target) -> Self {
        let mut all: Vec<Segment> = Vec::new();
        let parts: Vec<(u64, u64)> = arena_parts(bytes, target).collect();
        let mut ends = vec![0; parts.len()];
        for tensor in tensors {
            let (mut from, of_tensor) = (tensor.range.start, all.len());
            // Bytes after the tensor up to a multiple of 16 are zeros.
            let end = tensor.range.end.next_multiple_of(16);
            while from < end {
                let part = parts.iter().rposition(|&(offset, _)| offset <= from).unwrap_or(0);
                let (offset, size) = parts[part];
                let to = end.min(from + 16 * LENGTH).min(offset + size);
                all.push(Segment {
                    first: ((from - offset) / 16) as u32,
                    count: ((to - from) / 16) as u32,
                    of_tensor: of_tensor as u32,
                    parts: 0,
                    decays: tensor.decays.into(),
                    adapts: tensor.adapts.into(),
                });
                ends[part] = all.len();
                from = to;
            }
            let count = (all.len() - of_tensor) as u32;
            all[of_tensor..].iter_mut().for_each(|segment| segment.parts = count);
        }
        let mut first = 0;
        let range = |&end: &usize| {
            let range = first..end.max(first);
            first = range.end;
            range
        };
        let parts = ends.iter().map(range).collect();
        Segments { all, parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_every_tensor_once_and_keep_to_the_parts() {
        let target = Target {
            binding: 100_000,
            ..Target::portable(false)
        };
        let tensor = |start: u64, end: u64| ArenaTensor {
            range: start..end,
            decays: true,
            adapts: false,
        };
        let tensors = [tensor(0, 40), tensor(256, 250_256), tensor(250_368, 250_372)];
        let segments = Segments::new(250_624, &tensors, &target);
        let parts: Vec<(u64, u64)> = arena_parts(250_624, &target).collect();
        assert_eq!(segments.parts.len(), parts.len());
        assert_eq!(segments.parts.last().unwrap().end, segments.all.len());
        let mut covered = Vec::new();
        for (range, (offset, size)) in segments.parts.iter().zip(parts) {
            for segment in &segments.all[range.clone()] {
                let first = offset + 16 * u64::from(segment.first);
                let end = first + 16 * u64::from(segment.count);
                assert!(end <= offset + size && u64::from(segment.count) <= LENGTH);
                covered.push(first..end);
            }
        }
        assert_eq!(covered[0], 0..48);
        assert_eq!(covered[1].start, 256);
        assert!(
            covered[1..]
                .windows(2)
                .rev()
                .skip(1)
                .all(|two| two[0].end == two[1].start)
        );
        assert_eq!(covered[covered.len() - 2].end, 250_256);
        assert_eq!(*covered.last().unwrap(), 250_368..250_384);
        let large = segments.all[1];
        assert_eq!((large.of_tensor, large.parts as usize), (1, segments.all.len() - 2));
    }
}
