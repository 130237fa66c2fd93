//! What do batch norms see once a block is gone?
//!
//! A lesion shifts what the layers behind it receive, and their running
//! statistics no longer fit. Recalibration takes them anew, as the plain mean
//! over training images under the route, changes no parameter, and puts the
//! old ones back.

use std::num::NonZeroUsize;

use crate::data::{Augment, Batches, ImageOrder};
use crate::graph::{Route, StateId};
use crate::train::{BatchRef, Engine, Split, TrainError};

/// New statistics from training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recalibration {
    /// How many training images are looked at.
    pub images: usize,
    /// Images in a batch: statistics are of a batch, their mean over batches.
    pub batch_size: NonZeroUsize,
    /// Training images there are.
    pub of: usize,
    /// Chooses the images.
    pub seed: u64,
}

impl Recalibration {
    /// Runs `judge` with running statistics taken anew under `route`.
    pub fn with<T>(
        &self,
        engine: &mut dyn Engine,
        route: &Route,
        judge: impl FnOnce(&mut dyn Engine) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let before = states(engine)?;
        let result = self.take(engine, route).and_then(|()| judge(engine));
        for (index, values) in before.iter().enumerate() {
            engine.set_state(StateId(index), values);
        }
        result
    }

    fn take(&self, engine: &mut dyn Engine, route: &Route) -> Result<(), TrainError> {
        let batches = Batches {
            images: self.of as u32,
            batch_size: self.batch_size,
            order: ImageOrder::Shuffled,
            augment: Augment::None,
            seed: self.seed,
        };
        let epoch = batches.epoch(0);
        let draws = &epoch.draws()[..self.images.min(self.of)];
        let momenta: Vec<f32> = engine.graph().states.iter().map(|state| state.momentum).collect();
        let zeros: Vec<Vec<f32>> = states(engine)?.iter().map(|state| vec![0.0; state.len()]).collect();
        let mut sums: Vec<Vec<f64>> = zeros.iter().map(|state| vec![0.0; state.len()]).collect();
        for (step, draws) in (0u32..).zip(draws.chunks(self.batch_size.get())) {
            for (index, zeros) in zeros.iter().enumerate() {
                engine.set_state(StateId(index), zeros);
            }
            let look = BatchRef {
                part: Split::Train,
                draws,
                seed: self.seed,
                step,
            };
            engine.advance_statistics(&look, route)?;
            // From zero, a step leaves momentum · (the batch's statistics).
            for (index, sums) in sums.iter_mut().enumerate() {
                let weight = draws.len() as f64 / f64::from(momenta[index]);
                for (sum, value) in sums.iter_mut().zip(engine.state(StateId(index))?) {
                    *sum += weight * f64::from(value);
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            let mean: Vec<f32> = sums.iter().map(|sum| (sum / draws.len() as f64) as f32).collect();
            engine.set_state(StateId(index), &mean);
        }
        Ok(())
    }
}

fn states(engine: &mut dyn Engine) -> Result<Vec<Vec<f32>>, TrainError> {
    let count = engine.graph().states.len();
    (0..count).map(|index| engine.state(StateId(index))).collect()
}
