//! How well does a network do on a set of images?

use std::num::NonZeroUsize;

use serde::Serialize;

use super::TrainError;
use super::classification::ImageResult;
use super::engine::{Engine, Scores};
use super::finite::locate;
use crate::data::{Batches, Split};
use crate::graph::{NodeId, Route};

/// Results of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Number of images.
    pub images: usize,
    /// Images whose largest logit is not that of their label.
    pub wrong: usize,
    /// `wrong / images`.
    pub error: f64,
    /// Mean cross-entropy in nats; not finite if that of an image is not.
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

    /// The first image whose loss is not finite.
    pub fn first_not_finite(&self) -> Option<usize> {
        self.each.iter().position(|result| !result[0].is_finite())
    }

    /// The number of images whose loss is not finite.
    pub fn not_finite(&self) -> usize {
        self.each.iter().filter(|result| !result[0].is_finite()).count()
    }

    /// Summarises the results that [`rank_images`] gives for one route.
    pub fn ranked(images: &[ImageResult]) -> Self {
        let each = images.iter();
        Outcome::new(each.map(|image| [image.loss, f32::from(image.is_wrong())]).collect())
    }
}

/// Evaluates the first `images` of `split` under each of `routes`,
/// `batch_size` at a time. Reports to `progress` how many images are done.
///
/// # Errors
/// Where the engine fails, or a route does not suit the network.
pub fn evaluate(
    engine: &mut dyn Engine,
    split: Split,
    images: usize,
    batch_size: NonZeroUsize,
    routes: &[Route],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Outcome>, TrainError> {
    let epoch = Batches::plain(images as u32, batch_size).epoch(0);
    let mut each = vec![Vec::with_capacity(images); routes.len()];
    let mut done = 0;
    for draws in epoch.batches() {
        engine.check_stop()?;
        for (all, batch) in each.iter_mut().zip(engine.evaluate(split, draws, routes)?) {
            all.extend(batch);
        }
        done += draws.len();
        progress(done);
    }
    Ok(each.into_iter().map(Outcome::new).collect())
}

/// A function that receives the results of one batch: the position of its first
/// image, and the results.
pub type BatchReceiver<'a, T> = dyn FnMut(usize, &[T]) -> Result<(), TrainError> + 'a;

/// As [`evaluate`], with the logits: `receive` gets, for each batch, the
/// position of its first image and the scores under each route.
///
/// # Errors
/// As [`evaluate`], and those of `receive`.
pub fn evaluate_with_logits(
    engine: &mut dyn Engine,
    split: Split,
    images: usize,
    batch_size: NonZeroUsize,
    routes: &[Route],
    receive: &mut BatchReceiver<Scores>,
) -> Result<(), TrainError> {
    let epoch = Batches::plain(images as u32, batch_size).epoch(0);
    let mut first = 0;
    for draws in epoch.batches() {
        engine.check_stop()?;
        receive(first, &engine.evaluate_with_logits(split, draws, routes)?)?;
        first += draws.len();
    }
    Ok(())
}

/// As [`evaluate`], with the rank of the true class and the predicted class of
/// each image, for each route. `labels` are the classes of the images of
/// `split`, from the first on. Logits are read back, but not stored.
///
/// # Errors
/// As [`evaluate`].
pub fn rank_images(
    engine: &mut dyn Engine,
    split: Split,
    labels: &[u32],
    batch_size: NonZeroUsize,
    routes: &[Route],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<ImageResult>>, TrainError> {
    let mut ranked = vec![Vec::with_capacity(labels.len()); routes.len()];
    evaluate_with_logits(engine, split, labels.len(), batch_size, routes, &mut |first, scores| {
        let labels = &labels[first..];
        for (ranked, scores) in ranked.iter_mut().zip(scores) {
            ranked.extend(
                scores
                    .images()
                    .zip(labels)
                    .map(|((result, logits), &label)| ImageResult::new(result, logits, label)),
            );
        }
        let done = ranked.first().map_or(0, Vec::len);
        progress(done);
        Ok(())
    })?;
    Ok(ranked)
}

/// Computes the values of `nodes` ([`Engine::activations`]) for the first
/// `images` of `split` under `route`, `batch_size` images at a time. `receive`
/// gets, for each batch, the position of its first image and the values.
///
/// # Errors
/// As [`Engine::activations`], those of `receive`, and
/// [`TrainError::NotFinite`] for the first image with a value that is not finite.
pub fn read_activations(
    engine: &mut dyn Engine,
    split: Split,
    images: usize,
    batch_size: NonZeroUsize,
    route: &Route,
    nodes: &[NodeId],
    receive: &mut BatchReceiver<Vec<f32>>,
) -> Result<(), TrainError> {
    let epoch = Batches::plain(images as u32, batch_size).epoch(0);
    let mut first = 0;
    for draws in epoch.batches() {
        engine.check_stop()?;
        let values = engine.activations(split, draws, route, nodes)?;
        let broken = values.iter().filter_map(|values| {
            let at = values.iter().position(|value| !value.is_finite())?;
            Some(at / (values.len() / draws.len()).max(1))
        });
        if let Some(image) = broken.min() {
            return Err(locate(engine, split, first + image, route)?.into());
        }
        receive(first, &values)?;
        first += draws.len();
    }
    Ok(())
}
