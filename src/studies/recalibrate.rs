//! How are the statistics of batch norms recomputed after a lesion?
//!
//! A lesion changes the inputs of the later layers, and their running
//! statistics no longer match. Recalibration replaces the running statistics
//! by the mean of the batch statistics of some training images under the
//! route. It changes no parameter and restores the old statistics afterwards.

use std::num::NonZeroUsize;

use crate::data::{Augment, Batches, ImageOrder};
use crate::graph::{Route, StateId};
use crate::train::{BatchRef, Engine, Split, TrainError};

/// How running statistics are recomputed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recalibration {
    /// Number of training images to use.
    pub images: usize,
    /// Images per batch. Statistics are computed per batch, then averaged.
    pub batch_size: NonZeroUsize,
    /// Number of training images that are loaded.
    pub available: usize,
    /// The seed that selects the images.
    pub seed: u64,
}

impl Recalibration {
    /// Runs `run` while the running statistics are those under `route`, and
    /// restores the old ones.
    ///
    /// # Errors
    /// Where the adapter or `run` fails.
    pub fn with<T>(
        &self,
        engine: &mut dyn Engine,
        route: &Route,
        run: impl FnOnce(&mut dyn Engine) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let before = states(engine)?;
        let result = self.recompute(engine, route).and_then(|()| run(engine));
        for (index, values) in before.iter().enumerate() {
            engine.set_state(StateId(index), values);
        }
        result
    }

    fn recompute(&self, engine: &mut dyn Engine, route: &Route) -> Result<(), TrainError> {
        let batches = Batches {
            images: self.available as u32,
            batch_size: self.batch_size,
            order: ImageOrder::Shuffled,
            augment: Augment::None,
            seed: self.seed,
        };
        let epoch = batches.epoch(0);
        let draws = &epoch.draws()[..self.images.min(self.available)];
        let momenta: Vec<f32> = engine.graph().states.iter().map(|state| state.momentum).collect();
        let zeros: Vec<Vec<f32>> = states(engine)?.iter().map(|state| vec![0.0; state.len()]).collect();
        let mut sums: Vec<Vec<f64>> = zeros.iter().map(|state| vec![0.0; state.len()]).collect();
        for (step, draws) in (0u32..).zip(draws.chunks(self.batch_size.get())) {
            engine.check_stop()?;
            for (index, zeros) in zeros.iter().enumerate() {
                engine.set_state(StateId(index), zeros);
            }
            let look = BatchRef {
                split: Split::Train,
                draws,
                seed: self.seed,
                step,
            };
            engine.advance_statistics(&look, route)?;
            // A step that starts from zero leaves momentum × (the batch's
            // statistics).
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
