//! How is a batch cut into shards, and how is what they computed put together?
//!
//! Shards are computed one after the other with the same parameters. Their gradients are
//! added in their order, and the running statistics become the mean of those that each
//! shard leaves, weighted by its images.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::bind::{dispatch, target};
use super::error::SessionError;
use super::weights::{ShardArenas, Weights};
use crate::gpu::{Binding, Dispatch, Gpu, Recorder};
use crate::kernels::{Call, Operand, add_gradients, average_states};

/// The shards of a batch of `images`, cut into `count` parts in order, which differ by
/// one image at most. Those without images are left out.
pub fn shards_of(images: usize, count: NonZeroUsize) -> Vec<Range<usize>> {
    let edge = |shard: usize| (shard as u128 * images as u128 / count.get() as u128) as usize;
    let shards = (0..count.get()).map(|shard| edge(shard)..edge(shard + 1));
    shards.filter(|shard| !shard.is_empty()).collect()
}

/// Which of the shards of its batch that have images a shard is.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardNumber {
    /// Its number, from 0.
    pub index: usize,
    /// The number of shards, more than one.
    pub of: usize,
}

/// What is recorded before and after each of several shards.
#[derive(Debug)]
pub(super) struct ShardSums {
    arenas: ShardArenas,
    /// Adds the gradients to their sum.
    add: Vec<Dispatch>,
    /// Adds the sum to the gradients of the last shard.
    add_last: Vec<Dispatch>,
    /// Averages the running statistics.
    average: Vec<Dispatch>,
}

impl ShardSums {
    /// The dispatches for the arenas of `weights`; `None` where these are not made for
    /// several shards.
    ///
    /// # Errors
    /// Where the device cannot compile a kernel.
    pub fn new(gpu: &Gpu, weights: &Weights, step: &Binding) -> Result<Option<Self>, SessionError> {
        let Some(arenas) = weights.shard_arenas() else {
            return Ok(None);
        };
        let dispatches = |calls: &[Call], from: &Binding, to: &Binding| {
            let prepared = calls.iter().map(|call| {
                dispatch(gpu, call, |operand| match operand {
                    Operand::Input(0) => Some(from.clone()),
                    Operand::Input(1) => Some(to.clone()),
                    Operand::Step => Some(step.clone()),
                    _ => None,
                })
            });
            prepared.collect::<Result<Vec<Dispatch>, _>>()
        };
        let target = target(gpu);
        let adds = add_gradients(arenas.gradients.size, &target);
        let averages = average_states(arenas.states.size, &target);
        Ok(Some(ShardSums {
            add: dispatches(&adds, &arenas.gradients, &arenas.sum)?,
            add_last: dispatches(&adds, &arenas.sum, &arenas.gradients)?,
            average: dispatches(&averages, &arenas.states, &arenas.mean)?,
            arenas,
        }))
    }

    /// Before a shard: the running statistics are those before the first one.
    pub fn begin(&self, shard: ShardNumber, recorder: &mut Recorder) {
        let ShardArenas { states, before, .. } = &self.arenas;
        match shard.index {
            0 => copy(states, before, recorder),
            _ => copy(before, states, recorder),
        }
    }

    /// After a shard. After the last one, gradients and running statistics are those of
    /// the whole batch.
    pub fn end(&self, shard: ShardNumber, recorder: &mut Recorder) {
        let ShardArenas {
            gradients,
            sum,
            states,
            mean,
            ..
        } = &self.arenas;
        if shard.index == 0 {
            copy(gradients, sum, recorder);
            copy(states, mean, recorder);
            return;
        }
        let is_last = shard.index + 1 == shard.of;
        let add = if is_last { &self.add_last } else { &self.add };
        for dispatch in self.average.iter().chain(add) {
            recorder.dispatch(dispatch);
        }
        if is_last {
            copy(mean, states, recorder);
        }
    }
}

/// Copies an arena, which is empty where a network has no batch norm.
fn copy(from: &Binding, to: &Binding, recorder: &mut Recorder) {
    if from.size > 0 {
        recorder.copy(from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_the_batch_in_order_and_none_is_empty() {
        let shards = |images, count| shards_of(images, NonZeroUsize::new(count).unwrap());
        assert_eq!(shards(30, 4), [0..7, 7..15, 15..22, 22..30]);
        assert_eq!(shards(3, 5), [0..1, 1..2, 2..3]);
        assert_eq!(shards(8, 1), std::slice::from_ref(&(0..8)));
        assert!(shards(0, 3).is_empty());
        for (images, count) in [(80, 128), (65_536, 65_535), (127, 16)] {
            let shards = shards(images, count);
            assert!(shards.len() <= count);
            assert!(shards.iter().cloned().flatten().eq(0..images));
            let sizes = shards.iter().map(Range::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }
}
