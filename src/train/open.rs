//! Which engine computes a network?

use std::str::FromStr;
use std::sync::Arc;

use super::engine::{DeviceEngine, Engine, StepRules};
use super::reference_engine::ReferenceEngine;
use super::{Decay, Depth, TrainError};
use crate::gpu::{AdapterChoice, Gpu};
use crate::graph::{Mode, Precision, Recompute};
use crate::models::{InputShape, Model, ModelError, Network};

/// What computes a network. As text, `reference` is the reference, and anything
/// else names a device by its index or a part of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adapter {
    /// A GPU, or a software driver that acts as one.
    Device(AdapterChoice),
    /// The reference on the CPU: 64-bit, slow, without a driver.
    Reference,
}

impl Default for Adapter {
    fn default() -> Self {
        Adapter::Device(AdapterChoice::Best)
    }
}

impl FromStr for Adapter {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "reference" => Adapter::Reference,
            name => Adapter::Device(AdapterChoice::Named(name.to_string())),
        })
    }
}

/// What an engine needs to know for training.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TrainOptions {
    /// Which parameters decay.
    pub decay: Decay,
    /// Which blocks run in a training step.
    pub depth: Depth,
    /// What the backward pass recomputes. The reference stores everything.
    pub recompute: Recompute,
    /// How activations and their gradients are stored.
    pub precision: Precision,
    /// What is the same in all steps.
    pub rules: StepRules,
    /// The part of every target that is spread over all classes, from 0 to 1.
    pub smoothing: f64,
}

/// An engine for `model` on images of shape `input`. Without `training`, it can
/// only evaluate.
///
/// # Errors
/// If the model does not fit the images, the adapter cannot be opened, or it
/// does not have the precision.
pub fn open(
    adapter: &Adapter,
    model: &Model,
    input: &InputShape,
    training: Option<TrainOptions>,
) -> Result<Box<dyn Engine>, TrainError> {
    let TrainOptions {
        decay,
        depth,
        precision,
        recompute,
        rules,
        smoothing,
    } = training.unwrap_or_default();
    let stored = |network: Network| network.changed(|graph| graph.store_in(precision));
    let eval = stored(model.build(input, Mode::Eval)?);
    let is_soft = smoothing > 0.0 || rules.mixing.mixes();
    let train = match training {
        Some(_) => {
            let network = stored(depth.prepare(model.build(input, Mode::Train)?));
            Some(match is_soft {
                true => network.changed(|graph| graph.soften(smoothing as f32)),
                false => network,
            })
        }
        None => None,
    };
    if let Some(train) = &train
        && (&train.graph.params, &train.graph.states) != (&eval.graph.params, &eval.graph.states)
    {
        let problem = "its parameters differ between training and evaluation".to_string();
        return Err(TrainError::Model(ModelError::OwnGraph {
            model: model.name(),
            problem,
        }));
    }
    let decays = decay.rule();
    let mut engine: Box<dyn Engine> = match adapter {
        Adapter::Reference if precision == Precision::F16 => {
            return Err(TrainError::value(
                "precision",
                "f16 is not possible: the reference computes in 64 bits",
            ));
        }
        Adapter::Reference => Box::new(ReferenceEngine::new(train, eval, decays)),
        Adapter::Device(choice) => {
            let gpu = Arc::new(Gpu::open(choice)?);
            let mut engine = DeviceEngine::new(gpu, train, eval, decays)?;
            engine.session().set_recompute(recompute);
            Box::new(engine)
        }
    };
    if rules != StepRules::default() {
        engine.set_rules(rules)?;
    }
    Ok(engine)
}
