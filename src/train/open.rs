//! Which engine does a network get?

use std::str::FromStr;
use std::sync::Arc;

use super::engine::{DeviceEngine, Engine};
use super::reference_engine::ReferenceEngine;
use super::{Decay, Depth, TrainError};
use crate::gpu::{Choice, Gpu};
use crate::graph::{Mode, Recompute};
use crate::models::{InputShape, ModelSpec};

/// What is to compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adapter {
    /// A device.
    Device(Choice),
    /// The CPU reference: 64-bit, slow, without a driver.
    Reference,
}

impl Default for Adapter {
    fn default() -> Self {
        Adapter::Device(Choice::Best)
    }
}

impl FromStr for Adapter {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "reference" => Adapter::Reference,
            name => Adapter::Device(Choice::Named(name.to_string())),
        })
    }
}

/// What an engine must know that trains.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Learning {
    /// Which parameters weight decay is for.
    pub decay: Decay,
    /// Which blocks run.
    pub depth: Depth,
    /// What is made again for the way back; the reference keeps all.
    pub recompute: Recompute,
}

/// An engine for `model` on images of `input`; with `training`, one that can
/// train as it says.
pub fn open(
    adapter: &Adapter,
    model: &ModelSpec,
    input: &InputShape,
    training: Option<Learning>,
) -> Result<Box<dyn Engine>, TrainError> {
    let eval = model.build(input, Mode::Eval)?;
    let network = |learning: Learning| Ok::<_, TrainError>(learning.depth.prepare(model.build(input, Mode::Train)?));
    let train = training.map(network).transpose()?;
    let decays = training.unwrap_or_default().decay.rule();
    Ok(match adapter {
        Adapter::Reference => Box::new(ReferenceEngine::new(train, eval, decays)),
        Adapter::Device(choice) => {
            let gpu = Arc::new(Gpu::open(choice)?);
            let mut engine = DeviceEngine::new(gpu, train, eval, decays)?;
            let recompute = training.unwrap_or_default().recompute;
            engine.session().set_recompute(recompute);
            Box::new(engine)
        }
    })
}
