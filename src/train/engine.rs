//! What can train and evaluate a network?

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use super::TrainError;
use crate::data::{Distortions, Draw, ImageSet, Mix, MixKind, Mixing, Normalization, PAD, Padding, Split};
use crate::gpu::Gpu;
use crate::graph::{Block, Graph, Mode, NodeId, Param, ParamId, Route, StateId};
use crate::kernels::{LossScale, StepMix, UpdateRule};
use crate::models::Network;
use crate::schedule::{Batch, Crop, ResidentSet, Session, Slot, Update};
use crate::stop::StopToken;

/// One training step, without the images themselves.
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

/// What is the same in all training steps. The default is SGD on images as they are, in
/// one shard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRules {
    /// How parameters follow from gradients.
    pub update: UpdateRule,
    /// How images are changed beside crops and flips. Where they are mixed, the training
    /// graph has soft targets ([`Graph::soften`]).
    pub mixing: Mixing,
    /// Which operations change whole images between crop and flip and those changes.
    pub distortions: Distortions,
    /// The number of parts that every batch is cut into ([`shards_of`](crate::schedule::shards_of)), which are
    /// computed one after the other.
    pub shards: NonZeroUsize,
}

impl Default for StepRules {
    fn default() -> Self {
        StepRules {
            update: UpdateRule::default(),
            mixing: Mixing::default(),
            distortions: Distortions::default(),
            shards: NonZeroUsize::MIN,
        }
    }
}

/// Images of one batch, and the random numbers that a pass over them uses.
#[derive(Debug, Clone, Copy)]
pub struct BatchRef<'a> {
    /// The set that holds them.
    pub split: Split,
    /// Which images of the set, and how they are cropped and flipped.
    pub draws: &'a [Draw],
    /// The seed of the dropout masks, for a pass in training mode.
    pub seed: u64,
    /// The step of those masks.
    pub step: u32,
}

/// What an evaluation computes for the N images of a batch under one route.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Loss (nats) and error (0 or 1) of each image.
    pub results: Vec<[f32; 2]>,
    /// The logits, N×classes.
    pub logits: Vec<f32>,
}

impl Scores {
    /// From the values of the loss, N×2, and of the logits.
    pub(super) fn new(values: Vec<Vec<f32>>) -> Self {
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        Scores {
            results: next().as_chunks().0.to_vec(),
            logits: next(),
        }
    }

    /// Loss, error and logits of each image.
    pub fn images(&self) -> impl Iterator<Item = ([f32; 2], &[f32])> {
        let classes = self.logits.len() / self.results.len().max(1);
        let logits = self.logits.chunks_exact(classes.max(1));
        self.results.iter().copied().zip(logits)
    }
}

/// What trains and evaluates one network: a device, or the f64 reference on
/// the CPU.
///
/// Evaluation (batch norm by the running statistics, no dropout) gives loss
/// and error by [`Self::evaluate`], logits by [`Self::evaluate_with_logits`],
/// and the value of any node of [`Self::graph`] by [`Self::activations`]. Only
/// what is asked for is read back from a device.
pub trait Engine {
    /// What computes: adapter, interface and driver.
    fn name(&self) -> String;
    /// The evaluation graph: parameters, states and blocks.
    fn graph(&self) -> &Graph;
    /// Makes images available to the steps that follow.
    ///
    /// # Errors
    /// Where the device has too little memory.
    fn load(&mut self, split: Split, set: &ImageSet, normalization: &Normalization) -> Result<(), TrainError>;
    /// Takes one training step.
    ///
    /// # Errors
    /// Where the route does not suit the network, an image does not exist, or
    /// the device fails.
    fn step(&mut self, plan: &StepPlan) -> Result<(), TrainError>;
    /// Mean loss (nats) and number of errors of past steps, of which the last
    /// [`Self::remembered`] are known.
    ///
    /// # Errors
    /// Where the device fails.
    fn metrics(&mut self, steps: Range<u32>) -> Result<Vec<[f32; 2]>, TrainError>;
    /// The number of past steps whose metrics are stored.
    fn remembered(&self) -> u32;
    /// Loss (nats) and error (0 or 1) of each image under each route. Blocks
    /// that several routes share, counted from the input, may be computed once.
    ///
    /// # Errors
    /// As [`Self::step`].
    fn evaluate(&mut self, split: Split, draws: &[Draw], routes: &[Route]) -> Result<Vec<Vec<[f32; 2]>>, TrainError>;
    /// As [`Self::evaluate`], with the logits of each image.
    ///
    /// # Errors
    /// As [`Self::step`].
    fn evaluate_with_logits(
        &mut self,
        split: Split,
        draws: &[Draw],
        routes: &[Route],
    ) -> Result<Vec<Scores>, TrainError>;
    /// The logits of each image under `route`, N×classes.
    ///
    /// # Errors
    /// As [`Self::step`].
    fn logits(&mut self, split: Split, draws: &[Draw], route: &Route) -> Result<Vec<f32>, TrainError> {
        let scores = self.evaluate_with_logits(split, draws, std::slice::from_ref(route))?;
        Ok(scores.into_iter().flat_map(|scores| scores.logits).collect())
    }
    /// The values of `nodes` of [`Self::graph`] under `route`, each N×C×H×W or
    /// N×F: [`Graph::activation`] finds the node of a layer or block by its
    /// name. A layer in the branch of a deleted block has its value, too: it is
    /// computed from the block's input.
    ///
    /// # Errors
    /// As [`Self::step`], and where a node is not an activation.
    fn activations(
        &mut self,
        split: Split,
        draws: &[Draw],
        route: &Route,
        nodes: &[NodeId],
    ) -> Result<Vec<Vec<f32>>, TrainError>;
    /// Both sides of every block under `route`, by the running statistics: the
    /// branch F(x) and the shortcut, each N×C×H×W.
    ///
    /// # Errors
    /// As [`Self::step`].
    fn block_values(&mut self, batch: &BatchRef, route: &Route) -> Result<Vec<[Vec<f32>; 2]>, TrainError> {
        let sides = |block: &Block| [block.branch, block.shortcut];
        let nodes: Vec<NodeId> = self.graph().blocks.iter().flat_map(sides).collect();
        let mut values = self.activations(batch.split, batch.draws, route, &nodes)?.into_iter();
        Ok(std::iter::from_fn(|| Some([values.next()?, values.next()?])).collect())
    }
    /// Runs images forward in training mode only to advance the running
    /// statistics of the batch norms that `route` runs.
    ///
    /// # Errors
    /// As [`Self::step`], and where the route reorders blocks.
    fn advance_statistics(&mut self, batch: &BatchRef, route: &Route) -> Result<(), TrainError>;
    /// The gradient of the mean loss with respect to the normalised images,
    /// N×C×H×W, under each of `routes`, which may differ only in their backward
    /// gains. In [`Mode::Train`] batch norm uses the statistics of the batch,
    /// and the running statistics advance by one step.
    ///
    /// # Errors
    /// As [`Self::step`], and where the routes differ in their forward gains.
    fn input_gradients(&mut self, batch: &BatchRef, routes: &[Route], mode: Mode) -> Result<Vec<Vec<f32>>, TrainError>;
    /// The gradient of the mean loss with respect to the node `at` of [`Self::graph`],
    /// N×C×H×W or N×F, under `route`, by the running statistics.
    ///
    /// # Errors
    /// As [`Self::step`], and where the node is not an activation.
    fn value_gradient(&mut self, batch: &BatchRef, route: &Route, at: NodeId) -> Result<Vec<f32>, TrainError>;
    /// A parameter's values.
    ///
    /// # Errors
    /// Where the device fails.
    fn param(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError>;
    /// Sets a parameter.
    fn set_param(&mut self, id: ParamId, values: &[f32]);
    /// A parameter's momentum; zeros in an engine that does not train.
    ///
    /// # Errors
    /// Where the device fails.
    fn momentum(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError>;
    /// Sets a parameter's momentum, in an engine that trains.
    fn set_momentum(&mut self, id: ParamId, values: &[f32]);
    /// Steps follow `rules` from now on. Second moments begin as zeros, averages as the
    /// present values.
    ///
    /// # Errors
    /// Where the device has too little memory.
    fn set_rules(&mut self, rules: StepRules) -> Result<(), TrainError>;
    /// The moving averages become the present parameters and running states.
    fn start_average(&mut self);
    /// Exchanges parameters and running states with their moving averages; without
    /// effect where there are none.
    fn exchange_average(&mut self);
    /// The values of `slot`; `None` for a second moment or an average that the rules do
    /// not have.
    ///
    /// # Errors
    /// Where the device fails.
    fn slot(&mut self, slot: Slot) -> Result<Option<Vec<f32>>, TrainError>;
    /// Sets the values of `slot`, where there is one.
    fn set_slot(&mut self, slot: Slot, values: &[f32]);
    /// The gradient of a parameter in the last step. It is not finite if the
    /// loss scale made the engine skip that step.
    ///
    /// # Errors
    /// Where the device fails.
    fn gradient(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError>;
    /// A running state: means, then unbiased variances.
    ///
    /// # Errors
    /// Where the device fails.
    fn state(&mut self, id: StateId) -> Result<Vec<f32>, TrainError>;
    /// Sets a running state.
    fn set_state(&mut self, id: StateId, values: &[f32]);
    /// The values that a checkpoint stores for `slot`, where the engine computes
    /// in 64 bits: [`Self::param`], [`Self::momentum`] and [`Self::state`] round
    /// them.
    fn exact(&self, _slot: Slot) -> Option<&[f64]> {
        None
    }
    /// Sets the values of `slot`, in an engine that computes in 64 bits.
    fn set_exact(&mut self, _slot: Slot, _values: &[f64]) {}
    /// The loss scale of the next step, where gradients are stored in 16 bits.
    ///
    /// # Errors
    /// Where the device fails.
    fn loss_scale(&mut self) -> Result<Option<LossScale>, TrainError> {
        Ok(None)
    }
    /// Sets the loss scale, where there is one.
    fn set_loss_scale(&mut self, _loss_scale: LossScale) {}
    /// From now on no work begins once `stop` asks to stop.
    fn heed(&mut self, stop: StopToken);
    /// Whether the token of [`Self::heed`] asks to stop.
    fn is_stopped(&self) -> bool;
    /// # Errors
    /// [`TrainError::Stopped`] where the token of [`Self::heed`] asks to stop.
    fn check_stop(&self) -> Result<(), TrainError> {
        match self.is_stopped() {
            true => Err(TrainError::Stopped),
            false => Ok(()),
        }
    }
    /// The session on a device; `None` for the reference on the CPU.
    fn device_session(&mut self) -> Option<&mut Session> {
        None
    }
}

/// An engine on a device, with this project's own kernels.
#[derive(Debug)]
pub struct DeviceEngine {
    session: Session,
    sets: HashMap<Split, ResidentSet>,
    mixing: Mixing,
    distortions: Distortions,
}

impl DeviceEngine {
    /// An engine for the network with the forward graphs `train` (`None` if it
    /// will not be trained) and `eval`. `decays` selects the parameters that
    /// weight decay applies to.
    ///
    /// # Errors
    /// Where the device has too little memory, or no 16-bit floats for a
    /// network that is stored in them.
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
            mixing: Mixing::default(),
            distortions: Distortions::default(),
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

/// The images `draws` of a set, with crops padded with black.
fn batch<'a>(
    sets: &'a HashMap<Split, ResidentSet>,
    split: Split,
    draws: &'a [[u32; 2]],
) -> Result<Batch<'a>, TrainError> {
    Ok(Batch {
        set: sets.get(&split).ok_or(TrainError::NoImages)?,
        draws,
        crop: crop(Padding::Zero),
    })
}

/// `mix` as the device reads it.
fn step_mix(mix: Mix) -> StepMix {
    match mix.kind {
        MixKind::All => StepMix {
            kind: 1,
            keep: mix.keep,
            ..StepMix::default()
        },
        MixKind::Rectangle { across, down } => StepMix {
            kind: 2,
            keep: mix.keep,
            across,
            down,
        },
    }
}

fn crop(padding: Padding) -> Crop {
    Crop {
        pad: usize::from(PAD),
        reflect: padding == Padding::Reflect,
    }
}

impl Engine for DeviceEngine {
    fn heed(&mut self, stop: StopToken) {
        self.session.gpu().heed(stop);
    }

    fn is_stopped(&self) -> bool {
        self.session.gpu().is_stopped()
    }

    fn name(&self) -> String {
        self.session.gpu().info().to_string()
    }

    fn graph(&self) -> &Graph {
        self.session.graph()
    }

    fn load(&mut self, split: Split, set: &ImageSet, normalization: &Normalization) -> Result<(), TrainError> {
        let dims = [set.channels, set.height, set.width];
        let (mean, std) = (normalization.mean(), normalization.std());
        let resident = self.session.load(&set.images, &set.labels, dims, mean, std)?;
        self.sets.insert(split, resident);
        Ok(())
    }

    fn step(&mut self, plan: &StepPlan) -> Result<(), TrainError> {
        let set = self.sets.get(&Split::Train).ok_or(TrainError::NoImages)?;
        let batch = Batch {
            set,
            draws: &pack(plan.draws),
            crop: crop(plan.padding),
        };
        if self.distortions.operations() > 0 {
            let (height, width) = set.plane();
            let of_image = |&draw: &Draw| self.distortions.draw(plan.seed, draw, [height, width]);
            let operations = plan.draws.iter().flat_map(of_image);
            self.session
                .set_operations(operations.map(|operation| operation.pack()).collect());
        }
        let mix = self.mixing.draw(plan.seed, plan.step, set.plane());
        self.session.set_mix(mix.map_or_else(StepMix::default, step_mix));
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

    fn evaluate(&mut self, split: Split, draws: &[Draw], routes: &[Route]) -> Result<Vec<Vec<[f32; 2]>>, TrainError> {
        let draws = pack(draws);
        Ok(self.session.evaluate(batch(&self.sets, split, &draws)?, routes)?)
    }

    fn evaluate_with_logits(
        &mut self,
        split: Split,
        draws: &[Draw],
        routes: &[Route],
    ) -> Result<Vec<Scores>, TrainError> {
        let draws = pack(draws);
        let graph = self.session.graph();
        let nodes = [graph.loss(), graph.logits()].map(|node| node.expect("a model's graph ends in its loss"));
        let values = self.session.values(batch(&self.sets, split, &draws)?, routes, &nodes)?;
        Ok(values.into_iter().map(Scores::new).collect())
    }

    fn activations(
        &mut self,
        split: Split,
        draws: &[Draw],
        route: &Route,
        nodes: &[NodeId],
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let draws = pack(draws);
        let batch = batch(&self.sets, split, &draws)?;
        let values = self.session.values(batch, std::slice::from_ref(route), nodes)?;
        Ok(values.into_iter().next().unwrap_or_default())
    }

    fn advance_statistics(&mut self, images: &BatchRef, route: &Route) -> Result<(), TrainError> {
        let draws = pack(images.draws);
        let batch = batch(&self.sets, images.split, &draws)?;
        Ok(self
            .session
            .advance_statistics(batch, route, images.seed, images.step)?)
    }

    fn input_gradients(
        &mut self,
        images: &BatchRef,
        routes: &[Route],
        mode: Mode,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let draws = pack(images.draws);
        let batch = batch(&self.sets, images.split, &draws)?;
        Ok(self.session.input_gradients(batch, routes, mode, images.seed)?)
    }

    fn value_gradient(&mut self, images: &BatchRef, route: &Route, at: NodeId) -> Result<Vec<f32>, TrainError> {
        let draws = pack(images.draws);
        let batch = batch(&self.sets, images.split, &draws)?;
        Ok(self.session.value_gradient(batch, route, at)?)
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

    fn set_rules(&mut self, rules: StepRules) -> Result<(), TrainError> {
        let StepRules {
            update,
            mixing,
            distortions,
            shards,
        } = rules;
        self.session.set_rule(update)?;
        self.session.set_shards(shards)?;
        self.session
            .set_changes(mixing.cutout, mixing.mixes(), distortions.operations());
        (self.mixing, self.distortions) = (mixing, distortions);
        Ok(())
    }

    fn start_average(&mut self) {
        self.session.start_average();
    }

    fn exchange_average(&mut self) {
        self.session.exchange_average();
    }

    fn slot(&mut self, slot: Slot) -> Result<Option<Vec<f32>>, TrainError> {
        Ok(self.session.read_slot(slot)?)
    }

    fn set_slot(&mut self, slot: Slot, values: &[f32]) {
        self.session.write_slot(slot, values);
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

    fn device_session(&mut self) -> Option<&mut Session> {
        Some(&mut self.session)
    }
}
