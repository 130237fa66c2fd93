//! What can train and evaluate a network?

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::TrainError;
use crate::data::{Draw, ImageSet, Normalization, PAD, Padding, Split};
use crate::gpu::Gpu;
use crate::graph::{Graph, Mode, Param, ParamId, Route, StateId};
use crate::kernels::LossScale;
use crate::models::Network;
use crate::schedule::{Batch, Crop, ResidentSet, Session, Update};

/// One training step, but for the images themselves.
#[derive(Debug, Clone, Copy)]
pub struct StepPlan<'a> {
    /// Which images, and how they are cropped and flipped.
    pub draws: &'a [Draw],
    /// How crops are padded.
    pub padding: Padding,
    /// Which paths carry signal.
    pub route: &'a Route,
    /// The optimiser's rates.
    pub update: Update,
    /// The run's seed.
    pub seed: u64,
    /// The step's number, from 0.
    pub step: u32,
}

/// Images that a study looks at, and what chance there depends on.
#[derive(Debug, Clone, Copy)]
pub struct BatchRef<'a> {
    /// Where they are.
    pub part: Split,
    /// Which of them, and how they are cropped and flipped.
    pub draws: &'a [Draw],
    /// The seed of dropout, where a pass in training mode drops.
    pub seed: u64,
    /// The step of those draws.
    pub step: u32,
}

/// A device, or the CPU reference, with one network and its weights.
pub trait Engine {
    /// What computes: adapter, interface and driver.
    fn name(&self) -> String;
    /// The evaluation graph: parameters, states and blocks.
    fn graph(&self) -> &Graph;
    /// Makes images available to the steps that follow.
    fn load(&mut self, part: Split, set: &ImageSet, normalization: &Normalization) -> Result<(), TrainError>;
    /// Takes one training step.
    fn step(&mut self, plan: &StepPlan) -> Result<(), TrainError>;
    /// Mean loss and number of errors of past steps, of which the last
    /// [`Self::remembered`] are known.
    fn metrics(&mut self, steps: Range<u32>) -> Result<Vec<[f32; 2]>, TrainError>;
    /// How many steps' metrics are kept.
    fn remembered(&self) -> u32;
    /// Loss (nats) and error (0 or 1) of each image under each route. What
    /// routes have in common from the input on may be computed once.
    fn evaluate(&mut self, part: Split, draws: &[Draw], routes: &[Route]) -> Result<Vec<Vec<[f32; 2]>>, TrainError>;
    /// Runs training images forward in training mode, for nothing but the
    /// running statistics of the batch norms that `route` runs: they advance.
    fn advance_statistics(&mut self, look: &BatchRef, route: &Route) -> Result<(), TrainError>;
    /// Both sides of every block under `route`, by the running statistics:
    /// the branch F(x) and the shortcut, each N×C×H×W.
    fn block_values(&mut self, look: &BatchRef, route: &Route) -> Result<Vec<[Vec<f32>; 2]>, TrainError>;
    /// The gradient of the mean loss by the normalised images, N×C×H×W, under
    /// each of `routes`, which differ in their backward gains alone. In
    /// [`Mode::Train`] batch norm is by the batch's statistics, which the
    /// running ones follow by a step.
    fn input_gradients(&mut self, look: &BatchRef, routes: &[Route], mode: Mode) -> Result<Vec<Vec<f32>>, TrainError>;
    /// A parameter's values.
    fn param(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError>;
    /// Sets a parameter.
    fn set_param(&mut self, id: ParamId, values: &[f32]);
    /// A parameter's momentum.
    fn momentum(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError>;
    /// Sets a parameter's momentum.
    fn set_momentum(&mut self, id: ParamId, values: &[f32]);
    /// The gradient of a parameter in the last step; not finite in one that
    /// the loss scale had skipped.
    fn gradient(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError>;
    /// A running state: means, then unbiased variances.
    fn state(&mut self, id: StateId) -> Result<Vec<f32>, TrainError>;
    /// Sets a running state.
    fn set_state(&mut self, id: StateId, values: &[f32]);
    /// The loss scale of the step to come, where gradients are stored in 16
    /// bits.
    fn loss_scale(&mut self) -> Result<Option<LossScale>, TrainError> {
        Ok(None)
    }
    /// Sets the loss scale, where there is one.
    fn set_loss_scale(&mut self, _loss_scale: LossScale) {}
    /// The session on a device, if there is one.
    fn session(&mut self) -> Option<&mut Session> {
        None
    }
}

/// An engine on a device, by this project's own kernels.
#[derive(Debug)]
pub struct DeviceEngine {
    session: Session,
    sets: HashMap<Split, ResidentSet>,
}

impl DeviceEngine {
    /// An engine for the network with the forward graphs `train` (where it
    /// will be trained) and `eval`.
    pub fn new(
        gpu: Arc<Gpu>,
        train: Option<Network>,
        eval: Network,
        decays: fn(&Param) -> bool,
    ) -> Result<Self, TrainError> {
        let session = Session::new(gpu, train.map(|network| network.graph), eval.graph, decays)?;
        Ok(DeviceEngine {
            session,
            sets: HashMap::new(),
        })
    }

    /// The session on the device.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

fn pack(draws: &[Draw]) -> Vec<[u32; 2]> {
    draws.iter().map(|draw| draw.pack()).collect()
}

/// The images `draws` of a part, black around their edges.
fn batch<'a>(
    sets: &'a HashMap<Split, ResidentSet>,
    part: Split,
    draws: &'a [[u32; 2]],
) -> Result<Batch<'a>, TrainError> {
    Ok(Batch {
        set: sets.get(&part).ok_or(TrainError::NoImages)?,
        draws,
        crop: crop(Padding::Zero),
    })
}

fn crop(padding: Padding) -> Crop {
    Crop {
        pad: usize::from(PAD),
        reflect: padding == Padding::Reflect,
    }
}

impl Engine for DeviceEngine {
    fn name(&self) -> String {
        self.session.gpu().info().to_string()
    }

    fn graph(&self) -> &Graph {
        self.session.graph()
    }

    fn load(&mut self, part: Split, set: &ImageSet, normalization: &Normalization) -> Result<(), TrainError> {
        let dims = [set.channels, set.height, set.width];
        let (mean, std) = (normalization.mean(), normalization.std());
        let resident = self.session.load(&set.images, &set.labels, dims, mean, std)?;
        self.sets.insert(part, resident);
        Ok(())
    }

    fn step(&mut self, plan: &StepPlan) -> Result<(), TrainError> {
        let set = self.sets.get(&Split::Train).ok_or(TrainError::NoImages)?;
        let batch = Batch {
            set,
            draws: &pack(plan.draws),
            crop: crop(plan.padding),
        };
        Ok(self
            .session
            .train_step(batch, plan.route, plan.update, plan.seed, plan.step)?)
    }

    fn metrics(&mut self, steps: Range<u32>) -> Result<Vec<[f32; 2]>, TrainError> {
        Ok(self.session.metrics(steps)?)
    }

    fn remembered(&self) -> u32 {
        self.session.slots() as u32
    }

    fn evaluate(&mut self, part: Split, draws: &[Draw], routes: &[Route]) -> Result<Vec<Vec<[f32; 2]>>, TrainError> {
        let draws = pack(draws);
        Ok(self.session.evaluate(batch(&self.sets, part, &draws)?, routes)?)
    }

    fn advance_statistics(&mut self, look: &BatchRef, route: &Route) -> Result<(), TrainError> {
        let draws = pack(look.draws);
        let batch = batch(&self.sets, look.part, &draws)?;
        Ok(self.session.advance_statistics(batch, route, look.seed, look.step)?)
    }

    fn block_values(&mut self, look: &BatchRef, route: &Route) -> Result<Vec<[Vec<f32>; 2]>, TrainError> {
        let draws = pack(look.draws);
        Ok(self
            .session
            .block_values(batch(&self.sets, look.part, &draws)?, route)?)
    }

    fn input_gradients(&mut self, look: &BatchRef, routes: &[Route], mode: Mode) -> Result<Vec<Vec<f32>>, TrainError> {
        let draws = pack(look.draws);
        let batch = batch(&self.sets, look.part, &draws)?;
        Ok(self.session.input_gradients(batch, routes, mode, look.seed)?)
    }

    fn param(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError> {
        Ok(self.session.read_param(id)?)
    }

    fn set_param(&mut self, id: ParamId, values: &[f32]) {
        self.session.write_param(id, values);
    }

    fn momentum(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError> {
        Ok(self.session.read_momentum(id)?)
    }

    fn set_momentum(&mut self, id: ParamId, values: &[f32]) {
        self.session.write_momentum(id, values);
    }

    fn gradient(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError> {
        Ok(self.session.read_gradient(id)?)
    }

    fn state(&mut self, id: StateId) -> Result<Vec<f32>, TrainError> {
        Ok(self.session.read_state(id)?)
    }

    fn set_state(&mut self, id: StateId, values: &[f32]) {
        self.session.write_state(id, values);
    }

    fn loss_scale(&mut self) -> Result<Option<LossScale>, TrainError> {
        Ok(self.session.loss_scale()?)
    }

    fn set_loss_scale(&mut self, loss_scale: LossScale) {
        self.session.set_loss_scale(loss_scale);
    }

    fn session(&mut self) -> Option<&mut Session> {
        Some(&mut self.session)
    }
}
