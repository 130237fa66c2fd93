//! How much gradient reaches the input along paths of each length?
//!
//! One forward pass goes through the whole network. Many backward passes reuse
//! its values. Each goes through the branches of some blocks and through the
//! shortcuts of all others (Veit, Wilber and Belongie 2016, section 4.2).

use std::num::NonZeroUsize;
use std::ops::{Range, RangeInclusive};

use serde::{Deserialize, Serialize};

use crate::data::{Augment, Batches, Draw, ImageOrder};
use crate::graph::{Mode, Route};
use crate::random::{Philox, Stream};
use crate::studies::error::StudyError;
use crate::studies::result_log::ResultLog;
use crate::train::{BatchRef, Engine, LOSS, Split, TrainError, locate};

/// Number of paths of each length that share one forward pass.
const PATHS_PER_PASS: u32 = 20;

/// Which paths are sampled, and on which images.
#[derive(Debug, Clone, PartialEq)]
pub struct PathSampling {
    /// Lengths, in blocks.
    pub lengths: RangeInclusive<usize>,
    /// Number of paths of each length.
    pub samples: u32,
    /// Training images that each path is measured on.
    pub images: NonZeroUsize,
    /// Number of training images that are loaded.
    pub available: usize,
    /// The statistics of batch norm: the running ones ([`Mode::Eval`]) or the
    /// batch's ([`Mode::Train`]).
    pub batch_norm: Mode,
    /// The seed that selects images and paths.
    pub seed: u64,
}

/// Norms of the gradient at the input.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PathNorms {
    /// For each length, one norm per sample: the mean over the images of
    /// ‖∂ loss of the image / ∂ image‖₂.
    pub by_length: Vec<Vec<f64>>,
    /// The same for the whole gradient, one norm per forward pass.
    pub whole: Vec<f64>,
}

impl PathSampling {
    /// The number of forward passes.
    pub fn passes(&self) -> usize {
        self.samples.div_ceil(PATHS_PER_PASS) as usize
    }
}

/// Samples the paths of `route` that the forward passes `passes` measure. Reports to
/// `progress` the number of paths done and the total.
///
/// # Errors
/// Where the adapter fails, a gradient is not finite, or a result cannot be
/// written.
pub fn path_norms(
    engine: &mut dyn Engine,
    route: &Route,
    sampling: &PathSampling,
    passes: Range<usize>,
    log: &mut ResultLog,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathNorms, StudyError> {
    let lengths: Vec<usize> = sampling.lengths.clone().collect();
    let mut all = PathNorms {
        by_length: vec![Vec::new(); lengths.len()],
        whole: Vec::new(),
    };
    let trials_of = |pass: usize| {
        let first = pass as u32 * PATHS_PER_PASS;
        first..(first + PATHS_PER_PASS).min(sampling.samples)
    };
    let of: usize = passes.clone().map(|pass| trials_of(pass).len() * lengths.len()).sum();
    let mut done = 0;
    for pass in passes {
        let trials = trials_of(pass);
        let key = format!("pass {pass}, {} paths of each length", trials.len());
        let norms: PathNorms = match log.get(&key) {
            Some(norms) => norms,
            None => {
                engine.check_stop()?;
                let norms = one_pass(engine, route, sampling, pass as u32, trials.clone())?;
                log.record(&key, &norms)?;
                norms
            }
        };
        for (all, new) in all.by_length.iter_mut().zip(norms.by_length) {
            all.extend(new);
        }
        all.whole.extend(norms.whole);
        done += trials.len() * lengths.len();
        progress(done as u64, of as u64);
    }
    Ok(all)
}

fn one_pass(
    engine: &mut dyn Engine,
    route: &Route,
    sampling: &PathSampling,
    pass: u32,
    trials: Range<u32>,
) -> Result<PathNorms, StudyError> {
    let draws = images_of(sampling, pass);
    let batch = BatchRef {
        split: Split::Train,
        draws: &draws,
        seed: sampling.seed,
        step: pass,
    };
    let mut routes = vec![route.clone()];
    for length in sampling.lengths.clone() {
        for trial in trials.clone() {
            let through = blocks_of(sampling.seed, route.len(), length, trial);
            routes.push(route.clone().following(&through)?);
        }
    }
    let gradients = engine.input_gradients(&batch, &routes, sampling.batch_norm)?;
    require_finite(engine, route, &draws, &gradients)?;
    let mut norms = gradients.iter().map(|gradient| mean_norm(gradient, draws.len()));
    Ok(PathNorms {
        whole: norms.by_ref().take(1).collect(),
        by_length: sampling
            .lengths
            .clone()
            .map(|_| norms.by_ref().take(trials.len()).collect())
            .collect(),
    })
}

/// Refuses gradients that are not finite: names the first image, and the layer if
/// it is one of the forward pass.
fn require_finite(
    engine: &mut dyn Engine,
    route: &Route,
    draws: &[Draw],
    gradients: &[Vec<f32>],
) -> Result<(), TrainError> {
    let broken = gradients.iter().filter_map(|gradient| {
        let at = gradient.iter().position(|value| !value.is_finite())?;
        draws.get(at / (gradient.len() / draws.len()).max(1))
    });
    let Some(draw) = broken.min_by_key(|draw| draw.index) else {
        return Ok(());
    };
    let mut found = locate(engine, Split::Train, draw.index as usize, route)?;
    if found.place == LOSS {
        found.place = "the gradient at the input".to_string();
    }
    Err(found.into())
}

/// The images of a forward pass: the next ones in a random order of all images.
fn images_of(sampling: &PathSampling, pass: u32) -> Vec<Draw> {
    let images = sampling.images.get().min(sampling.available);
    let passes_per_epoch = (sampling.available / images.max(1)).max(1);
    let batches = Batches {
        images: sampling.available as u32,
        batch_size: sampling.images,
        order: ImageOrder::Shuffled,
        augment: Augment::None,
        seed: sampling.seed,
    };
    let epoch = batches.epoch(pass / passes_per_epoch as u32);
    let first = pass as usize % passes_per_epoch * images;
    epoch.draws()[first..first + images].to_vec()
}

/// Random blocks (numbers from 1) for a path of `length`.
fn blocks_of(seed: u64, blocks: usize, length: usize, trial: u32) -> Vec<usize> {
    let mut draws = Philox::new(seed).draws(Stream::Study, length as u32, trial);
    let mut order: Vec<usize> = (1..=blocks).collect();
    draws.choose(&mut order, length);
    order.truncate(length);
    order
}

/// The mean over images of the norm of the gradient of each image's own loss.
/// `gradient` is that of the batch's mean loss, so it is smaller by the number
/// of images.
fn mean_norm(gradient: &[f32], images: usize) -> f64 {
    let per_image = (gradient.len() / images.max(1)).max(1);
    let norms = gradient.chunks(per_image).map(|image| {
        let squares: f64 = image.iter().map(|&value| f64::from(value).powi(2)).sum();
        squares.sqrt()
    });
    // The mean over images, times the number of images, is the sum.
    norms.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_belong_to_the_loss_of_each_image() {
        // With two images, the gradient of the mean loss is half of each image's
        // own gradient.
        assert!((mean_norm(&[1.5, 2.0, 0.0, 0.5], 2) - (5.0 + 1.0) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn paths_have_the_requested_length_and_differ() {
        for length in [0, 3, 9] {
            let mut blocks = blocks_of(4, 9, length, 1);
            blocks.sort_unstable();
            blocks.dedup();
            assert_eq!(blocks.len(), length);
        }
        assert_ne!(blocks_of(4, 54, 20, 1), blocks_of(4, 54, 20, 2));
    }

    #[test]
    fn passes_use_all_images_before_they_repeat_one() {
        let sampling = PathSampling {
            lengths: 0..=3,
            samples: 40,
            images: NonZeroUsize::new(4).unwrap(),
            available: 12,
            batch_norm: Mode::Eval,
            seed: 1,
        };
        let mut seen: Vec<u32> = (0..3)
            .flat_map(|pass| images_of(&sampling, pass))
            .map(|draw| draw.index)
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..12).collect::<Vec<u32>>());
        assert_eq!(images_of(&sampling, 3).len(), 4);
    }
}
