//! How is the score of a class differentiated, by engines that know only a loss?
//!
//! The network gets one more class, whose logit is always [`SILENT`] and so large that
//! its probability is 1 in every format. The loss of an image with label c is then
//! `SILENT − z_c`, and its gradient is exactly minus that of the score z_c: the other
//! probabilities are zero.

use std::num::NonZeroUsize;

use crate::data::{Batches, ImageSet, Normalization};
use crate::graph::{Graph, Mode, NodeId, ParamId, ParamKind, Route, StateId};
use crate::models::InputShape;
use crate::studies::error::StudyError;
use crate::train::{
    Adapter, BatchRef, Engine, Split, TrainError, TrainedNetwork, evaluate_with_logits, input_of, open,
};

/// The logit of the additional class. 16 bits can hold it.
const SILENT: f32 = 30_000.0;

/// The largest logit that is so far below [`SILENT`] that its probability is zero.
pub(super) const LARGEST: f32 = SILENT - 1_000.0;

/// Scores of classes, and their gradients.
pub(super) struct Scores {
    engine: Box<dyn Engine>,
    route: Route,
    batch_size: NonZeroUsize,
    /// Images that are loaded.
    images: usize,
    /// The class whose score is meant, of each image.
    classes: Vec<u32>,
}

impl Scores {
    /// The scores of `network` under `route`, on `adapter`.
    pub(super) fn open(network: &mut TrainedNetwork, route: Route, adapter: &Adapter) -> Result<Self, StudyError> {
        let input = input_of(&network.test.images);
        let classes = input.classes;
        let input = InputShape {
            classes: classes + 1,
            ..input
        };
        let mut engine = open(adapter, &network.model.without_dropout(), &input, None)?;
        let (wide, own) = (engine.graph().clone(), network.engine.graph().clone());
        let mut has_bias = false;
        for (index, (param, before)) in wide.params.iter().zip(&own.params).enumerate() {
            let id = ParamId(index);
            let mut values = network.engine.param(id)?;
            if param.dims != before.dims {
                let value = match param.kind {
                    ParamKind::Bias => SILENT,
                    _ => 0.0,
                };
                has_bias |= param.kind == ParamKind::Bias;
                values.resize(param.len(), value);
            }
            engine.set_param(id, &values);
        }
        for index in 0..own.states.len() {
            engine.set_state(StateId(index), &network.engine.state(StateId(index))?);
        }
        match has_bias {
            true => Ok(Scores {
                engine,
                route,
                batch_size: network.batch_size,
                images: 0,
                classes: Vec::new(),
            }),
            false => Err(StudyError::value(
                "model",
                format!("{}: the last layer has no bias, which explanations need", network.model),
            )),
        }
    }

    /// The evaluation graph.
    pub(super) fn graph(&self) -> &Graph {
        self.engine.graph()
    }

    /// From now on `images` are explained, (N, C, H, W); the label of each is the class
    /// whose score is meant.
    pub(super) fn load(&mut self, images: &ImageSet, normalization: &Normalization) -> Result<(), TrainError> {
        self.engine.load(Split::Test, images, normalization)?;
        self.images = images.len();
        self.classes.clone_from(&images.labels);
        Ok(())
    }

    /// The logits of each image, without that of the additional class.
    pub(super) fn logits(&mut self) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut all = Vec::with_capacity(self.images);
        let routes = [self.route.clone()];
        let (engine, images, size) = (self.engine.as_mut(), self.images, self.batch_size);
        evaluate_with_logits(engine, Split::Test, images, size, &routes, &mut |_, scores| {
            all.extend(
                scores[0]
                    .images()
                    .map(|(_, logits)| logits[..logits.len() - 1].to_vec()),
            );
            Ok(())
        })?;
        Ok(all)
    }

    /// The score of each image's class.
    pub(super) fn scores(&mut self) -> Result<Vec<f32>, TrainError> {
        let logits = self.logits()?;
        let score = |(logits, &class): (Vec<f32>, &u32)| logits[class as usize];
        Ok(logits.into_iter().zip(&self.classes).map(score).collect())
    }

    /// The gradient of each image's score with respect to the normalised image,
    /// N×C×H×W.
    pub(super) fn image_gradients(&mut self) -> Result<Vec<f32>, TrainError> {
        self.gradients(|engine, batch, route| {
            let gradients = engine.input_gradients(batch, std::slice::from_ref(route), Mode::Eval)?;
            Ok(gradients.into_iter().next().unwrap_or_default())
        })
    }

    /// The gradient of each image's score with respect to the value `at` of the
    /// network, N×C×H×W, and that value.
    pub(super) fn value_gradients(&mut self, at: NodeId) -> Result<[Vec<f32>; 2], TrainError> {
        let gradients = self.gradients(|engine, batch, route| engine.value_gradient(batch, route, at))?;
        let epoch = Batches::plain(self.images as u32, self.batch_size).epoch(0);
        let mut values = Vec::with_capacity(gradients.len());
        for draws in epoch.batches() {
            let found = self.engine.activations(Split::Test, draws, &self.route, &[at])?;
            values.extend(found.into_iter().flatten());
        }
        Ok([gradients, values])
    }

    fn gradients(
        &mut self,
        mut of: impl FnMut(&mut dyn Engine, &BatchRef, &Route) -> Result<Vec<f32>, TrainError>,
    ) -> Result<Vec<f32>, TrainError> {
        let epoch = Batches::plain(self.images as u32, self.batch_size).epoch(0);
        let mut all = Vec::new();
        for draws in epoch.batches() {
            let batch = BatchRef {
                split: Split::Test,
                draws,
                seed: 0,
                step: 0,
            };
            let gradient = of(self.engine.as_mut(), &batch, &self.route)?;
            // The loss is the mean over the batch, and falls as the score rises.
            let factor = -(draws.len() as f32);
            all.extend(gradient.into_iter().map(|value| factor * value));
        }
        Ok(all)
    }
}
