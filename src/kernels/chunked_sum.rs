//! How is a sum over batch and plane split into chunks of images?

use std::fmt;
use std::ops::Range;

use super::call::{Target, is_workgroup_size};
use super::text::{AlgorithmConfig, number};

/// A sum over batch and plane in about `splits` workgroups, each of which sums
/// chunks of images of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkedSum {
    /// Workgroups wanted.
    pub splits: usize,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
}

impl ChunkedSum {
    /// One invocation for each channel: the plain algorithm.
    pub const PLAIN: Self = ChunkedSum {
        splits: 1,
        workgroup_size: 1,
    };

    /// The default: enough workgroups to keep the device busy.
    pub fn default_for(workgroup_size: usize, target: &Target) -> Self {
        ChunkedSum {
            splits: if target.cpu { 64 } else { 1024 },
            workgroup_size,
        }
    }

    /// Others that may be faster than the default with `size` invocations.
    pub fn alternatives(size: usize, target: &Target) -> Vec<Self> {
        let others: &[(usize, usize)] = if target.cpu {
            &[(256, size), (64, size / 2)]
        } else {
            &[(1024, 4 * size), (4096, size), (256, 4 * size), (1024, size / 2)]
        };
        let sum = |&(splits, workgroup_size): &(usize, usize)| ChunkedSum { splits, workgroup_size };
        others.iter().map(sum).collect()
    }

    /// Whether every adapter can run it.
    pub fn fits(&self) -> bool {
        is_workgroup_size(self.workgroup_size)
    }
}

impl fmt::Display for ChunkedSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChunkedSum { splits, workgroup_size } = self;
        write!(f, "reduce splits {splits} wg {workgroup_size}")
    }
}

impl AlgorithmConfig for ChunkedSum {
    fn parse(words: &[&str]) -> Option<Self> {
        let ["reduce", "splits", splits, "wg", workgroup_size] = *words else {
            return None;
        };
        Some(ChunkedSum {
            splits: number(splits)?,
            workgroup_size: number(workgroup_size)?,
        })
    }
}

/// The chunks of one dispatch. Each workgroup sums one chunk; another kernel
/// adds up the chunks of all dispatches.
pub struct Chunks {
    /// The images of this dispatch.
    pub images: Range<usize>,
    /// The number of chunks of the dispatches before this one.
    pub first: usize,
    /// The number of its own chunks.
    pub count: usize,
}

/// `parts` of a batch in chunks of `size` images, and the number of all chunks.
pub fn chunks(parts: Vec<Range<usize>>, size: usize) -> (Vec<Chunks>, usize) {
    let mut all = 0;
    let chunked = parts.into_iter().map(|images| {
        let (first, count) = (all, images.len().div_ceil(size));
        all += count;
        Chunks { images, first, count }
    });
    (chunked.collect(), all)
}
