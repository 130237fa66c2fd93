//! How is the mean of several paths a choice of gains?

use std::ops::Range;

use super::{BlockId, Gains};

/// A join that takes the mean of several paths. Each path is a block: these are
/// consecutive, the shortcut of each is the output of the one before, and that of
/// the first is zeros. With a gain of 1/n on each of n branches, the output of
/// the last is the mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeanJoin {
    /// The positions of its blocks in [`super::Graph::blocks`].
    pub blocks: Range<usize>,
    /// The column, from 1, that each path is a part of.
    pub columns: Vec<usize>,
}

impl MeanJoin {
    /// The gains of all its blocks where the paths remain whose index (from 0)
    /// `keeps` accepts. The output is their mean, and zeros where none remains.
    pub fn gains(&self, keeps: impl Fn(usize) -> bool) -> impl Iterator<Item = (BlockId, Gains)> {
        let kept: Vec<bool> = (0..self.blocks.len()).map(keeps).collect();
        let share = 1.0 / kept.iter().filter(|kept| **kept).count() as f32;
        self.blocks
            .clone()
            .zip(kept)
            .enumerate()
            .map(move |(index, (block, kept))| {
                let gains = match (kept, index) {
                    (false, _) => Gains::DELETED,
                    (true, 0) => Gains::both(share, 0.0),
                    (true, _) => Gains::both(share, 1.0),
                };
                (BlockId(block), gains)
            })
    }
}

/// How paths of joins are left out in training (drop-path, Larsson et al. 2017,
/// arXiv:1605.07648, section 4). In a share of the mini-batches, one column is
/// chosen at random and runs alone: a join that it is a part of has only its
/// path. In the others, each path of each join is left out with a probability,
/// independently; where none would remain, one of them at random does. Nothing is
/// left out at test time, and nothing is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PathDropping {
    /// The probability that a path is left out of its join; 0 ≤ p < 1.
    pub local: f32,
    /// The share of mini-batches in which one column runs alone.
    pub global: f32,
}
