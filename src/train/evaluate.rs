//! How well does a network do on a set of images?

use std::num::NonZeroUsize;

use serde::Serialize;

use super::TrainError;
use super::engine::Engine;
use crate::data::Batches;
use crate::data::Split;
use crate::graph::Route;

/// Results of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Images seen.
    pub images: usize,
    /// Images whose largest logit was not the label's.
    pub wrong: usize,
    /// `wrong / images`.
    pub error: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Loss and error of each image, in the order of the set.
    #[serde(skip)]
    pub each: Vec<[f32; 2]>,
}

impl Outcome {
    /// Summarises the loss and error of each image.
    pub fn new(each: Vec<[f32; 2]>) -> Self {
        let images = each.len();
        let wrong = each.iter().filter(|result| result[1] > 0.5).count();
        let loss: f64 = each.iter().map(|result| f64::from(result[0])).sum();
        let per = 1.0 / images.max(1) as f64;
        Outcome {
            images,
            wrong,
            error: wrong as f64 * per,
            loss: loss * per,
            each,
        }
    }
}

/// Evaluates the first `images` of `part` under each of `routes`,
/// `batch_size` at a time; tells `progress` how many images are done.
pub fn evaluate(
    engine: &mut dyn Engine,
    part: Split,
    images: usize,
    batch_size: NonZeroUsize,
    routes: &[Route],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Outcome>, TrainError> {
    let epoch = Batches::plain(images as u32, batch_size).epoch(0);
    let mut each = vec![Vec::with_capacity(images); routes.len()];
    let mut done = 0;
    for draws in epoch.batches() {
        for (all, batch) in each.iter_mut().zip(engine.evaluate(part, draws, routes)?) {
            all.extend(batch);
        }
        done += draws.len();
        progress(done);
    }
    Ok(each.into_iter().map(Outcome::new).collect())
}
