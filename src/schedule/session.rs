//! How does one network train and evaluate on one device?
//!
//! A session owns the parameters and all other memory of the network, compiles
//! a plan for each kind of pass at its first use, and submits the dispatches.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use super::bind::{dispatch, target};
use super::error::SessionError;
use super::footprint::Footprint;
use super::kernel_choices::KernelChoices;
use super::memory::BufferPool;
use super::memory_plan::MemoryPlan;
use super::pass::{Pass, Purpose, check_storage, has_fractions, loss_of, request};
use super::plan::{Kernel, Plan};
use super::quarantine::{Quarantine, training_name};
use super::request::PlanRequest;
use super::resident_set::{Batch, Crop, Gathering, ResidentSet, Staging};
use super::shards::{ShardNumber, ShardSums, shards_of};
use super::values::read_values;
use super::weights::{Slot, Weights};
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, GpuError, Recorder, Submission};
use crate::graph::{
    Active, Graph, Mode, NodeId, Op, Param, ParamId, Precision, Recompute, Route, RouteError, StateId, TARGET_WORDS,
};
use crate::kernels::{
    BatchPart, GatherChanges, ImageDims, LossScale, Operand, STEP_BYTES, Segments, StepMix, StepRecord, UpdateRule,
    average, exchange, record, update, update_loss_scale,
};

/// The number of steps whose metrics stay on the device until they are read.
const SLOTS: usize = 1024;
/// The number of submissions that may run or wait at a time: one runs while
/// the next is recorded.
const IN_FLIGHT: usize = 2;

/// How parameters change at the end of a step. The default changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Update {
    /// Learning rate.
    pub lr: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Nesterov momentum.
    pub nesterov: bool,
}

/// One network on one device.
#[derive(Debug)]
pub struct Session {
    gpu: Arc<Gpu>,
    train: Option<Graph>,
    eval: Graph,
    weights: Weights,
    /// The activations of all plans.
    pool: BufferPool,
    /// The record of the current step: seed, step, learning rate, …
    step: Binding,
    /// Which images the batch has, and how each is cropped and flipped.
    draws: Option<Arc<Buffer>>,
    /// Mean loss and errors of the last steps.
    metrics: Arc<Buffer>,
    rule: UpdateRule,
    /// The dispatches of an update.
    update: Vec<Dispatch>,
    /// Parts that every batch is cut into, and what puts together those of one.
    shards: NonZeroUsize,
    sums: Option<ShardSums>,
    /// Those that exchange parameters and states with their averages.
    exchange: Vec<Dispatch>,
    /// What happens to the images of training steps.
    cutout: u32,
    mixes: bool,
    mix: StepMix,
    /// Operations of each image of a training step, those of the next one, and the memory
    /// in which they are applied.
    slots: usize,
    operations: Vec<[i32; 8]>,
    staging: Option<Staging>,
    plans: HashMap<Purpose, Plan>,
    gatherings: HashMap<((usize, Crop), Purpose), Gathering>,
    /// For each plan that trains, the dispatch that writes the metrics.
    records: HashMap<Purpose, Dispatch>,
    in_flight: VecDeque<Submission>,
    /// The gains that are on the device.
    last_gains: Option<(Purpose, Route)>,
    /// Whether an update has followed the last gradients: then it may have
    /// changed the loss scale.
    updated: bool,
    /// The lists of nodes that [`Session::values`] was called with.
    value_lists: Vec<Vec<NodeId>>,
    choices: KernelChoices,
    recompute: Recompute,
}

impl Session {
    /// A session for a network with the forward graphs `train` (`None` where
    /// it is not trained) and `eval`. Both have the same parameters in the
    /// same order and are stored in the same precision. `decays` says which
    /// parameters weight decay applies to.
    ///
    /// # Errors
    /// Where the device has too little memory, or cannot store the graphs in
    /// their precision.
    pub fn new(
        gpu: Arc<Gpu>,
        train: Option<Graph>,
        eval: Graph,
        decays: fn(&Param) -> bool,
    ) -> Result<Self, SessionError> {
        check_storage(&gpu, &eval)?;
        let weights = Weights::new(&gpu, &eval, train.is_some(), decays)?;
        let step = Binding::whole(&gpu.buffer("step", STEP_BYTES)?);
        let mut session = Session {
            metrics: gpu.buffer("metrics", 8 * SLOTS as u64)?,
            draws: None,
            pool: BufferPool::default(),
            plans: HashMap::new(),
            gatherings: HashMap::new(),
            records: HashMap::new(),
            in_flight: VecDeque::new(),
            last_gains: None,
            updated: false,
            value_lists: Vec::new(),
            choices: KernelChoices::default(),
            recompute: Recompute::None,
            gpu,
            train,
            eval,
            weights,
            step,
            rule: UpdateRule::default(),
            update: Vec::new(),
            shards: NonZeroUsize::MIN,
            sums: None,
            exchange: Vec::new(),
            cutout: 0,
            mixes: false,
            mix: StepMix::default(),
            slots: 0,
            operations: Vec::new(),
            staging: None,
        };
        session.set_rule(UpdateRule::default())?;
        Ok(session)
    }

    /// Updates parameters by `rule` from the next step on. Second moments begin as
    /// zeros, averages as the present values.
    ///
    /// # Errors
    /// Where the device has too little memory.
    pub fn set_rule(&mut self, rule: UpdateRule) -> Result<(), SessionError> {
        let target = target(&self.gpu);
        let bytes = self.weights.bytes();
        let segments = Segments::new(bytes, &self.weights.tensors(&self.eval), &target);
        self.weights.follow(&self.gpu, &rule, &segments)?;
        self.weights.start_average(&self.gpu);
        let mut calls = Vec::new();
        if self.train.is_some() {
            let is_f16 = self.eval.precision() == Precision::F16;
            if is_f16 {
                calls.extend(update_loss_scale(bytes, &target));
            }
            calls.extend(update(&rule, bytes, self.weights.decayed(), &segments, is_f16, &target));
        }
        self.update.clear();
        for call in calls {
            self.update.push(dispatch(&self.gpu, &call, |operand| match operand {
                Operand::Step => Some(self.step.clone()),
                operand => self.weights.operand(operand),
            })?);
        }
        self.exchange.clear();
        for (pair, bytes) in self.weights.averaged() {
            let resolve = |operand| match operand {
                Operand::Input(index) => Some(pair[index].clone()),
                _ => None,
            };
            for call in average(rule.average.unwrap_or(0.0), bytes, &target) {
                self.update.push(dispatch(&self.gpu, &call, resolve)?);
            }
            for call in exchange(bytes, &target) {
                self.exchange.push(dispatch(&self.gpu, &call, resolve)?);
            }
        }
        self.rule = rule;
        Ok(())
    }

    /// Cuts the batch of every training step into `shards` parts in order
    /// ([`shards_of`]), from the next step on. They are computed one after the other, each
    /// with the memory of its own images only, and their gradients are added in their
    /// order. Batch norm uses the statistics of the shard; the running statistics become
    /// the mean of those that each shard leaves, weighted by images.
    ///
    /// # Errors
    /// Where the device has too little memory.
    pub fn set_shards(&mut self, shards: NonZeroUsize) -> Result<(), SessionError> {
        self.weights.divide(&self.gpu, shards.get() > 1)?;
        self.sums = ShardSums::new(&self.gpu, &self.weights, &self.step)?;
        self.shards = shards;
        Ok(())
    }

    /// Bytes of device memory that several shards take beside their activations.
    pub fn shard_memory(&self) -> u64 {
        self.weights.shard_bytes()
    }

    /// Cuts a square with sides of `cutout` pixels out of every image of a training
    /// step, and, with `mixes`, mixes images as [`Self::set_mix`] says. The training graph
    /// then has a loss of soft targets. Before that, each image is changed by `slots`
    /// operations ([`Self::set_operations`]).
    pub fn set_changes(&mut self, cutout: u32, mixes: bool, slots: usize) {
        (self.cutout, self.mixes, self.slots) = (cutout, mixes, slots);
        self.gatherings.clear();
        self.staging = None;
    }

    /// The operations of the images of the next training step, image by image, in the form
    /// that the kernel `distort` reads.
    pub fn set_operations(&mut self, operations: Vec<[i32; 8]>) {
        self.operations = operations;
    }

    /// How images are mixed from the next training step on.
    pub fn set_mix(&mut self, mix: StepMix) {
        self.mix = mix;
    }

    /// The averages become the present parameters and running statistics.
    pub fn start_average(&self) {
        self.weights.start_average(&self.gpu);
    }

    /// Exchanges parameters and running statistics with their averages; without effect
    /// where there are none.
    pub fn exchange_average(&self) {
        if self.exchange.is_empty() {
            return;
        }
        self.gpu.submit(|recorder| {
            for dispatch in &self.exchange {
                recorder.dispatch(dispatch);
            }
        });
    }

    /// The device.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// The evaluation graph: parameters, states and blocks.
    pub fn graph(&self) -> &Graph {
        &self.eval
    }

    /// Uses the kernels of `choices` from the next step on; work that it does
    /// not name takes its default algorithm.
    pub fn set_choices(&mut self, choices: KernelChoices) {
        if self.choices != choices {
            self.choices = choices;
            self.forget_plans();
        }
    }

    /// Recomputes the values that `recompute` names in the backward pass of
    /// training steps, instead of storing them, from the next step on.
    pub fn set_recompute(&mut self, recompute: Recompute) {
        if self.recompute != recompute {
            self.recompute = recompute;
            self.forget_plans();
        }
    }

    fn forget_plans(&mut self) {
        self.plans.clear();
        self.gatherings.clear();
        self.records.clear();
        self.last_gains = None;
        // Other plans need buffers of other sizes.
        self.pool = BufferPool::default();
    }

    /// What a training step, or else an evaluation, with batches of `batch`
    /// images asks of a plan, with the session's kernels.
    pub fn request(&self, training: bool, batch: usize) -> PlanRequest {
        self.request_of(Pass::step(training), batch)
    }

    fn request_of(&self, pass: Pass, batch: usize) -> PlanRequest {
        PlanRequest {
            choices: self.choices.clone(),
            quarantine: Quarantine::of(&self.gpu),
            ..request(self.graph_of(pass), pass, batch, self.recompute)
        }
    }

    /// The device memory that the session takes to train with shards of the sizes
    /// `training` and to evaluate with the batch sizes `evaluation`, without
    /// images.
    pub fn footprint(&self, training: &[usize], evaluation: &[usize]) -> Footprint {
        let target = target(&self.gpu);
        let plan = |training: bool, batch: usize| MemoryPlan::new(&self.request(training, batch), &target);
        let training = training.iter().map(|&batch| plan(true, batch));
        let evaluation = evaluation.iter().map(|&batch| plan(false, batch));
        let plans: Vec<MemoryPlan> = training.chain(evaluation).collect();
        let footprint = Footprint::new(&plans, &self.eval, self.train.is_some(), self.gpu.limits().alignment);
        Footprint {
            weights: footprint.weights + self.weights.added(),
            ..footprint
        }
    }

    /// The number of steps whose metrics the device stores: read them before
    /// this many further steps have run.
    pub fn slots(&self) -> usize {
        SLOTS
    }

    /// Copies a set to the device, see [`ResidentSet::load`].
    ///
    /// # Errors
    /// Where the device has too little memory.
    pub fn load(
        &self,
        bytes: &[u8],
        labels: &[u32],
        dims: ImageDims,
        mean: &[f32],
        std: &[f32],
    ) -> Result<ResidentSet, SessionError> {
        ResidentSet::load(&self.gpu, bytes, labels, dims, mean, std)
    }

    /// Takes one training step: gather, forward, backward, for one shard after the
    /// other, then update. Its mean loss and errors are in [`Self::metrics`] at
    /// `step % slots`.
    ///
    /// # Errors
    /// Where the route does not fit a training step, an image does not exist,
    /// or the device fails.
    pub fn train_step(
        &mut self,
        batch: Batch,
        route: &Route,
        update: Update,
        seed: u64,
        step: u32,
    ) -> Result<(), SessionError> {
        self.backward(batch, route, seed, step, Some(update))
    }

    /// As [`Self::train_step`], without the update of the parameters. The
    /// gradients can be read.
    ///
    /// # Errors
    /// As [`Self::train_step`].
    pub fn gradient_step(&mut self, batch: Batch, route: &Route, seed: u64, step: u32) -> Result<(), SessionError> {
        self.backward(batch, route, seed, step, None)
    }

    fn backward(
        &mut self,
        batch: Batch,
        route: &Route,
        seed: u64,
        step: u32,
        update: Option<Update>,
    ) -> Result<(), SessionError> {
        route.check()?;
        if route.is_reordered() {
            return Err(RouteError::Reordered.into());
        }
        batch.check()?;
        let images = batch.draws.len();
        let mut shards = shards_of(images, self.shards);
        if self.sums.is_none() || shards.len() < 2 {
            shards = std::iter::once(0..images).collect();
        }
        // Whatever may be refused is made before the first shard changes anything.
        let most = shards.iter().map(Range::len).max().unwrap_or(0);
        self.hold_draws(most)?;
        self.hold_staging(batch, most)?;
        // The buffers of a large shard serve a small one.
        let mut by_size: Vec<&Range<usize>> = shards.iter().collect();
        by_size.sort_by_key(|shard| Reverse(shard.len()));
        for shard in by_size {
            let purpose = self.train_purpose(shard.len(), route);
            self.prepare(purpose)?;
            self.prepare_gathering(batch.part(shard), purpose)?;
        }
        let rates = update.unwrap_or_default();
        let header = StepRecord {
            seed: [seed as u32, (seed >> 32) as u32],
            step,
            slot: step % SLOTS as u32,
            lr: rates.lr,
            momentum: rates.momentum,
            weight_decay: rates.weight_decay,
            nesterov: u32::from(rates.nesterov),
            mix: if self.mixes { self.mix } else { StepMix::default() },
            unbias: self.rule.optimizer.unbias(step + 1).map(|factor| factor as f32),
            part: BatchPart::default(),
        };
        // One shard and its update are one submission.
        let (alone, of) = (shards.len() == 1, shards.len());
        for (index, shard) in shards.iter().enumerate() {
            let header = StepRecord {
                part: BatchPart::of(shard, images),
                ..header
            };
            self.gpu.write(&self.step.buffer, 0, &[header]);
            self.write_draws(&batch.draws[shard.clone()], batch.before(shard.start));
            self.write_operations(shard, images);
            let number = (!alone).then_some(ShardNumber { index, of });
            let submission = self.shard(batch.part(shard), route, number, alone && update.is_some());
            self.pace(submission)?;
        }
        if !alone && update.is_some() {
            let submission = self.gpu.submit(|recorder| self.record_update(recorder));
            self.pace(submission)?;
        }
        self.updated = update.is_some();
        Ok(())
    }

    /// What a training step with shards of `images` images under `route` is for.
    fn train_purpose(&self, images: usize, route: &Route) -> Purpose {
        Purpose {
            scaled: self.scales(route),
            ..Purpose::of(Pass::Train, images)
        }
    }

    /// Submits the forward and backward pass of a shard whose draws and record are
    /// written; `number` where there are several. With `updates` also the update.
    fn shard(&mut self, shard: Batch, route: &Route, number: Option<ShardNumber>, updates: bool) -> Submission {
        let purpose = self.train_purpose(shard.draws.len(), route);
        self.write_gains(purpose, route);
        let plan = &self.plans[&purpose];
        let gathering = &self.gatherings[&gathering_key(shard, purpose)];
        let sums = self.sums.as_ref().zip(number);
        self.gpu.submit(|recorder| {
            if let Some((sums, number)) = sums {
                sums.begin(number, recorder);
            }
            plan.record(route, &gathering.dispatches, recorder);
            recorder.dispatch(&self.records[&purpose]);
            if let Some((sums, number)) = sums {
                sums.end(number, recorder);
            }
            if updates {
                self.record_update(recorder);
            }
        })
    }

    /// Records the update of the parameters, by gradients of the whole batch.
    fn record_update(&self, recorder: &mut Recorder) {
        for dispatch in &self.update {
            recorder.dispatch(dispatch);
        }
    }

    /// Loss (nats) and error (0 or 1) of each image of `batch` under each of
    /// `routes`, with the running statistics. Routes share work as in
    /// [`Self::values`].
    ///
    /// # Errors
    /// Where a route does not suit the network, an image does not exist, or
    /// the device fails.
    pub fn evaluate(&mut self, batch: Batch, routes: &[Route]) -> Result<Vec<Vec<[f32; 2]>>, SessionError> {
        let loss = loss_of(&self.eval);
        let values = self.run_routes(batch, routes, Pass::Evaluate, &[loss])?;
        let results = |values: Vec<Vec<f32>>| values.concat().as_chunks().0.to_vec();
        Ok(values.into_iter().map(results).collect())
    }

    /// For each of `routes`, the values of `nodes` of the evaluation graph for
    /// the images of `batch`, each N×C×H×W or N×F, with the running statistics.
    ///
    /// Blocks that routes have in common, counted from the input, are computed
    /// once: the routes are taken in an order in which each continues from the
    /// last block whose output an earlier one left in place. Where the blocks are
    /// no chain ([`Graph::is_resumable`]), each route is computed from the images.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and where a node is not an activation.
    pub fn values(
        &mut self,
        batch: Batch,
        routes: &[Route],
        nodes: &[NodeId],
    ) -> Result<Vec<Vec<Vec<f32>>>, SessionError> {
        self.eval.check_activations(nodes)?;
        let known = self.value_lists.iter().position(|list| list == nodes);
        let list = known.unwrap_or_else(|| {
            self.value_lists.push(nodes.to_vec());
            self.value_lists.len() - 1
        });
        self.run_routes(batch, routes, Pass::Values(list), nodes)
    }

    /// Runs `pass`, which keeps `nodes` readable, under each of `routes`.
    fn run_routes(
        &mut self,
        batch: Batch,
        routes: &[Route],
        pass: Pass,
        nodes: &[NodeId],
    ) -> Result<Vec<Vec<Vec<f32>>>, SessionError> {
        for route in routes {
            route.check()?;
        }
        let purpose = Purpose {
            // Where values pass by a block, going on from its output would compute
            // them again, in memory that another block's output may have.
            resumable: routes.len() > 1 && self.eval.is_resumable(),
            ..Purpose::of(pass, batch.draws.len())
        };
        self.prepare(purpose)?;
        self.upload(batch, purpose)?;
        let unmoved = self.eval.sources(&self.eval.default_route());
        let mut sources = unmoved.clone();
        let reordered = routes.iter().any(Route::is_reordered);
        if reordered {
            self.weights.save_originals(&self.gpu)?;
        }
        let mut results = vec![Vec::new(); routes.len()];
        let mut before: Option<&Route> = None;
        for index in sharing_order(routes) {
            let route = &routes[index];
            self.write_gains(purpose, route);
            let plan = &self.plans[&purpose];
            let gathering = &self.gatherings[&gathering_key(batch, purpose)];
            // Values after the last common block belong to another route.
            let common = before.filter(|_| purpose.resumable);
            let common = common.map_or(0, |before| before.common_blocks(route));
            let outputs = plan.graph().blocks[..common].iter().map(|block| block.output);
            let mut at_hand: Vec<NodeId> = outputs.collect();
            if let Some(&last) = at_hand.last() {
                at_hand.extend(nodes.iter().filter(|&&node| node < last));
            }
            let wanted = self.eval.sources(route);
            let gathers = before.is_none() || !purpose.resumable;
            self.gpu.submit(|recorder| {
                self.weights.arrange(&wanted, &sources, recorder);
                for gather in gathering.dispatches.iter().filter(|_| gathers) {
                    recorder.dispatch(gather);
                }
                for kernel in plan.kernels_from(route, &at_hand) {
                    recorder.dispatch(&kernel.dispatch);
                }
            });
            let value = |&node: &NodeId| {
                let place = plan.place(node).expect("the nodes are kept");
                let shape = plan.graph().shape(node);
                read_values(&self.gpu, place, shape.precision, shape.len(batch.draws.len()))
            };
            results[index] = nodes.iter().map(value).collect::<Result<_, _>>()?;
            before = Some(route);
            sources = wanted;
        }
        if reordered {
            self.gpu
                .submit(|recorder| self.weights.arrange(&unmoved, &sources, recorder));
        }
        Ok(results)
    }

    /// Runs `batch` forward in training mode. The only effect is that the
    /// running statistics of the batch norms that `route` runs advance.
    ///
    /// # Errors
    /// As [`Self::train_step`].
    pub fn advance_statistics(
        &mut self,
        batch: Batch,
        route: &Route,
        seed: u64,
        step: u32,
    ) -> Result<(), SessionError> {
        route.check()?;
        if route.is_reordered() {
            return Err(RouteError::Reordered.into());
        }
        let purpose = Purpose::of(Pass::Statistics, batch.draws.len());
        self.prepare(purpose)?;
        self.upload(batch, purpose)?;
        self.write_step(seed, step, batch);
        self.write_gains(purpose, route);
        let submission = self.forward(batch, purpose, route);
        self.pace(submission)
    }

    /// The gradient of the batch's mean loss with respect to its normalized
    /// images, N×C×H×W, for each of `routes`. The routes differ only in their
    /// backward gains, so the forward pass is computed once. Batch norm uses
    /// the running statistics; in [`Mode::Train`] it uses the batch's, and the
    /// running statistics advance by one step.
    ///
    /// # Errors
    /// Where a route is reordered or differs in the forward pass, an image
    /// does not exist, or the device fails.
    pub fn input_gradients(
        &mut self,
        batch: Batch,
        routes: &[Route],
        mode: Mode,
        seed: u64,
    ) -> Result<Vec<Vec<f32>>, SessionError> {
        for route in routes {
            route.check()?;
            if route.is_reordered() {
                return Err(RouteError::Reordered.into());
            }
            if route.common_blocks(&routes[0]) < route.len() {
                return Err(RouteError::ForwardDiffers.into());
            }
        }
        let scaled = routes.iter().any(|route| self.scales(route));
        let purpose = Purpose {
            scaled,
            ..Purpose::of(Pass::InputGradient(mode), batch.draws.len())
        };
        self.prepare(purpose)?;
        self.upload(batch, purpose)?;
        self.write_step(seed, 0, batch);
        let mut gradients = Vec::with_capacity(routes.len());
        let unscale = self.loss_scale()?.map_or(1.0, |loss| 1.0 / loss.scale);
        for (index, route) in routes.iter().enumerate() {
            self.write_gains(purpose, route);
            let plan = &self.plans[&purpose];
            if index == 0 {
                self.forward(batch, purpose, route);
            } else {
                let kernels = plan.kernels_from(route, plan.forward_kept());
                self.gpu.submit(|recorder| {
                    for kernel in kernels {
                        recorder.dispatch(&kernel.dispatch);
                    }
                });
            }
            let place = plan.images_gradient().expect("the images' gradient is kept");
            let shape = plan
                .graph()
                .shape(plan.graph().find(|op| *op == Op::Images).expect("images"));
            let mut gradient = read_values(&self.gpu, place, shape.precision, shape.len(batch.draws.len()))?;
            gradient.iter_mut().for_each(|value| *value *= unscale);
            gradients.push(gradient);
        }
        Ok(gradients)
    }

    /// The gradient of the mean loss with respect to the node `at` of the evaluation
    /// graph, N×C×H×W or N×F, under `route`.
    ///
    /// # Errors
    /// As [`Self::input_gradients`], and where the loss does not depend on the node
    /// or the node is not an activation.
    pub fn value_gradient(&mut self, batch: Batch, route: &Route, at: NodeId) -> Result<Vec<f32>, SessionError> {
        self.eval.check_activations(&[at])?;
        route.check()?;
        if route.is_reordered() {
            return Err(RouteError::Reordered.into());
        }
        let purpose = Purpose {
            scaled: self.scales(route),
            ..Purpose::of(Pass::ValueGradient(at), batch.draws.len())
        };
        self.prepare(purpose)?;
        self.upload(batch, purpose)?;
        self.write_step(0, 0, batch);
        self.write_gains(purpose, route);
        self.forward(batch, purpose, route);
        let unscale = self.loss_scale()?.map_or(1.0, |loss| 1.0 / loss.scale);
        let plan = &self.plans[&purpose];
        let shape = self.eval.shape(at);
        let count = shape.len(batch.draws.len());
        let runs = |node: NodeId| Active::new(plan.graph(), route, &[node], &[]).present(node);
        let place = plan
            .gradient_of_images()
            .filter(|&node| runs(node))
            .and_then(|node| plan.place(node));
        let mut gradient = match place {
            Some(place) => read_values(&self.gpu, place, shape.precision, count)?,
            // Nothing that the loss depends on reads the node.
            None => vec![0.0; count],
        };
        gradient.iter_mut().for_each(|value| *value *= unscale);
        Ok(gradient)
    }

    /// Gathers the batch and runs everything that the plan of `purpose`
    /// computes.
    fn forward(&self, batch: Batch, purpose: Purpose, route: &Route) -> Submission {
        let plan = &self.plans[&purpose];
        let gathering = &self.gatherings[&gathering_key(batch, purpose)];
        self.gpu.submit(|recorder| {
            for gather in &gathering.dispatches {
                recorder.dispatch(gather);
            }
            for kernel in plan.kernels(route) {
                recorder.dispatch(&kernel.dispatch);
            }
        })
    }

    /// Mean loss (nats) and number of errors of the steps `steps`, oldest
    /// first. Waits for them.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn metrics(&self, steps: std::ops::Range<u32>) -> Result<Vec<[f32; 2]>, SessionError> {
        let all: Vec<[f32; 2]> = self.gpu.read(&self.metrics, 0..8 * SLOTS as u64)?;
        Ok(steps.map(|step| all[step as usize % SLOTS]).collect())
    }

    /// Writes the record of a step of `batch` that draws random numbers and changes no
    /// parameter.
    fn write_step(&self, seed: u64, step: u32, batch: Batch) {
        let record = StepRecord {
            seed: [seed as u32, (seed >> 32) as u32],
            step,
            part: BatchPart::whole(batch.draws.len()),
            ..StepRecord::default()
        };
        self.gpu.write(&self.step.buffer, 0, &[record]);
    }

    /// Writes the gains of `route`, unless they are on the device already.
    fn write_gains(&mut self, purpose: Purpose, route: &Route) {
        let key = (purpose, route.clone());
        if self.last_gains.as_ref() != Some(&key) {
            self.plans[&purpose].set_gains(&self.gpu, route);
            self.last_gains = Some(key);
        }
    }

    /// Waits until at most [`IN_FLIGHT`] submissions are unfinished.
    fn pace(&mut self, submission: Submission) -> Result<(), SessionError> {
        self.in_flight.push_back(submission);
        while self.in_flight.len() > IN_FLIGHT {
            if let Some(oldest) = self.in_flight.pop_front() {
                self.gpu.wait(&oldest)?;
            }
        }
        Ok(self.gpu.check()?)
    }

    /// Whether a plan for `route` multiplies gradients by backward gains. All
    /// routes of a network with means share one plan.
    fn scales(&self, route: &Route) -> bool {
        has_fractions(&self.eval) || !route.is_binary_backward()
    }

    /// The forward graph that `pass` goes through.
    fn graph_of(&self, pass: Pass) -> &Graph {
        if pass.uses_training_graph() {
            self.train.as_ref().expect("a session that trains has a training graph")
        } else {
            &self.eval
        }
    }

    /// Makes the plan for `purpose`, where there is none yet.
    fn prepare(&mut self, purpose: Purpose) -> Result<(), SessionError> {
        if self.plans.contains_key(&purpose) {
            return Ok(());
        }
        let mut request = PlanRequest {
            scaled: purpose.scaled,
            ..self.request_of(purpose.pass, purpose.size)
        };
        if let Pass::Values(list) = purpose.pass {
            request.keep.clone_from(&self.value_lists[list]);
        }
        if purpose.resumable {
            // Images and labels, too: the first block may be the first that
            // differs.
            request.keep.extend(request.graph.find(|op| *op == Op::Images));
            request.keep.extend(request.graph.find(|op| *op == Op::Labels));
            request
                .keep
                .extend(request.graph.blocks.iter().map(|block| block.output));
        }
        let kernel = training_name(request.graph.precision());
        if purpose.pass == Pass::Train && request.quarantine.has(&kernel) {
            return Err(GpuError::Quarantined { kernel }.into());
        }
        let plan = Plan::new(&self.gpu, request, &self.weights, &mut self.pool, &self.step)?;
        if purpose.pass == Pass::Train {
            let results = plan.place(loss_of(plan.graph())).cloned();
            let metrics = Binding::whole(&self.metrics);
            let record = dispatch(&self.gpu, &record(SLOTS, purpose.size), |operand| match operand {
                Operand::Input(_) => results.clone(),
                Operand::Output => Some(metrics.clone()),
                Operand::Step => Some(self.step.clone()),
                _ => None,
            })?;
            self.records.insert(purpose, record);
        }
        self.plans.insert(purpose, plan);
        Ok(())
    }

    /// Writes the batch's draws to the device, and prepares its gathering
    /// where that was not done before.
    fn upload(&mut self, batch: Batch, purpose: Purpose) -> Result<(), SessionError> {
        batch.check()?;
        self.hold_draws(purpose.size)?;
        self.prepare_gathering(batch, purpose)?;
        self.write_draws(batch.draws, batch.before(0));
        Ok(())
    }

    /// Makes room for the draws of `images` images, and for that of the one before the
    /// first.
    fn hold_draws(&mut self, images: usize) -> Result<(), SessionError> {
        let bytes = 8 * (images as u64 + 1);
        if self.draws.as_ref().is_none_or(|buffer| buffer.size() < bytes) {
            self.draws = Some(self.gpu.buffer("draws", bytes)?);
            self.gatherings.clear();
        }
        Ok(())
    }

    /// Writes draws, and after them `before`, that of the image before the first.
    fn write_draws(&self, draws: &[[u32; 2]], before: [u32; 2]) {
        let buffer = self.draws.as_ref().expect("there is room for the draws");
        self.gpu.write(buffer, 0, draws);
        self.gpu.write(buffer, 8 * draws.len() as u64, &[before]);
    }

    /// Makes room for the images of `size` draws, and that of the one before the first, in
    /// which operations change them.
    fn hold_staging(&mut self, batch: Batch, size: usize) -> Result<(), SessionError> {
        if self.slots == 0 {
            return Ok(());
        }
        let (images, operations) = (batch.draws.len(), self.operations.len());
        if operations != images * self.slots {
            return Err(SessionError::Operations { images, operations });
        }
        let dims = batch.set.dims();
        if !self.staging.as_ref().is_some_and(|staging| staging.fits(dims, size)) {
            self.staging = Some(Staging::new(&self.gpu, dims, self.slots, size)?);
            self.gatherings.clear();
        }
        Ok(())
    }

    /// Writes the operations of the images `shard` of a batch of `images`, and after them
    /// those of the image before the first.
    fn write_operations(&self, shard: &Range<usize>, images: usize) {
        let Some(staging) = &self.staging else { return };
        let of = |image: usize| &self.operations[image * self.slots..(image + 1) * self.slots];
        let before = shard.start.checked_sub(1).unwrap_or(images.max(1) - 1);
        let operations: Vec<[i32; 8]> = shard.clone().chain([before]).flat_map(of).copied().collect();
        staging.write(&self.gpu, &operations);
    }

    /// Prepares the gathering of batches like `batch`, where that was not done before.
    fn prepare_gathering(&mut self, batch: Batch, purpose: Purpose) -> Result<(), SessionError> {
        let draws = self.draws.clone().expect("there is room for the draws");
        let key = gathering_key(batch, purpose);
        if self.gatherings.contains_key(&key) {
            return Ok(());
        }
        // Free what was prepared for sets that no longer exist.
        self.gatherings.retain(|_, gathering| gathering.is_alive());
        let plan = &self.plans[&purpose];
        let place = |wanted: Op| plan.graph().find(|op| *op == wanted).and_then(|id| plan.place(id));
        let labels = plan.graph().find(|op| *op == Op::Labels);
        let is_step = purpose.pass == Pass::Train;
        let staging = self.staging.as_ref().filter(|_| is_step);
        let own = GatherChanges {
            cutout: if is_step { self.cutout } else { 0 },
            soft: labels.is_some_and(|id| plan.graph().shape(id).per_image() == TARGET_WORDS),
            mixed_in: false,
            staged: staging.is_some(),
        };
        let mixed_in = GatherChanges { mixed_in: true, ..own };
        let changes = [own, mixed_in];
        let gathering = Gathering::new(
            &self.gpu,
            batch,
            &changes[..if is_step && self.mixes { 2 } else { 1 }],
            [
                Some(&Binding::whole(&draws)),
                place(Op::Images),
                place(Op::Labels),
                Some(&self.step),
            ],
            self.eval.precision(),
            staging,
        )?;
        self.gatherings.insert(key, gathering);
        Ok(())
    }

    /// Sets a parameter; `values` are in the order of [`Param::dims`].
    pub fn write_param(&self, id: ParamId, values: &[f32]) {
        write(&self.gpu, &self.weights.param(id), values);
    }

    /// Reads a parameter, in the order of [`Param::dims`].
    ///
    /// # Errors
    /// Where the device fails.
    pub fn read_param(&self, id: ParamId) -> Result<Vec<f32>, SessionError> {
        read(&self.gpu, &self.weights.param(id))
    }

    /// Sets a parameter's momentum; without effect where the session does not
    /// train.
    pub fn write_momentum(&self, id: ParamId, values: &[f32]) {
        if let Some(momentum) = self.weights.momentum(id) {
            write(&self.gpu, &momentum, values);
        }
    }

    /// Reads a parameter's momentum; zeros where the session does not train.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn read_momentum(&self, id: ParamId) -> Result<Vec<f32>, SessionError> {
        match self.weights.momentum(id) {
            Some(momentum) => read(&self.gpu, &momentum),
            None => Ok(vec![0.0; self.eval.params[id.0].len()]),
        }
    }

    /// Sets the values of `slot`; without effect where the session has no such memory.
    pub fn write_slot(&self, slot: Slot, values: &[f32]) {
        if let Some(place) = self.weights.slot(slot) {
            write(&self.gpu, &place, values);
        }
    }

    /// Reads the values of `slot`, where the session has such memory.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn read_slot(&self, slot: Slot) -> Result<Option<Vec<f32>>, SessionError> {
        self.weights.slot(slot).map(|place| read(&self.gpu, &place)).transpose()
    }

    /// Reads a parameter's gradient of the last step; zeros where the session
    /// does not train. After a step that was skipped because gradients
    /// overflowed, it is not finite.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn read_gradient(&self, id: ParamId) -> Result<Vec<f32>, SessionError> {
        let Some(gradient) = self.weights.gradient(id) else {
            return Ok(vec![0.0; self.eval.params[id.0].len()]);
        };
        let mut values = read(&self.gpu, &gradient)?;
        if let Some(place) = self.weights.loss_scale() {
            let words = read(&self.gpu, &place)?;
            // The update may have changed the scale since; it stores the
            // factor that the gradients were multiplied by.
            let unscale = if self.updated { words[3] } else { 1.0 / words[0] };
            values.iter_mut().for_each(|value| *value *= unscale);
        }
        Ok(values)
    }

    /// The loss scale of the next step; `None` where activations and their
    /// gradients are stored in 32 bits.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn loss_scale(&self) -> Result<Option<LossScale>, SessionError> {
        let Some(place) = self.weights.loss_scale() else {
            return Ok(None);
        };
        let bytes = size_of::<LossScale>() as u64;
        let words: Vec<LossScale> = self.gpu.read(&place.buffer, place.offset..place.offset + bytes)?;
        Ok(words.first().copied())
    }

    /// Sets the loss scale; without effect where activations are stored in 32
    /// bits.
    pub fn set_loss_scale(&self, loss_scale: LossScale) {
        if let Some(place) = self.weights.loss_scale() {
            self.gpu.write(&place.buffer, place.offset, &[loss_scale]);
        }
    }

    /// Sets a running state: means, then unbiased variances.
    pub fn write_state(&self, id: StateId, values: &[f32]) {
        write(&self.gpu, &self.weights.state(id), values);
    }

    /// Reads a running state: means, then unbiased variances.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn read_state(&self, id: StateId) -> Result<Vec<f32>, SessionError> {
        read(&self.gpu, &self.weights.state(id))
    }

    /// The kernels of a training step, or else of an evaluation, for `size`
    /// images under `route`, in order.
    ///
    /// # Errors
    /// Where the device has too little memory or cannot compile a kernel.
    pub fn kernels(&mut self, training: bool, size: usize, route: &Route) -> Result<Vec<Kernel>, SessionError> {
        let purpose = Purpose {
            pass: Pass::step(training),
            size,
            scaled: training && self.scales(route),
            resumable: false,
        };
        self.prepare(purpose)?;
        let plan = &self.plans[&purpose];
        Ok(plan.kernels(route).into_iter().cloned().collect())
    }
}

fn gathering_key(batch: Batch, purpose: Purpose) -> ((usize, Crop), Purpose) {
    (batch.gather_key(), purpose)
}

/// The order in which consecutive routes share the most blocks from the input
/// on.
fn sharing_order(routes: &[Route]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..routes.len()).collect();
    order.sort_by(|&a, &b| routes[a].compare(&routes[b]));
    order
}

fn write(gpu: &Gpu, place: &Binding, values: &[f32]) {
    gpu.write(
        &place.buffer,
        place.offset,
        &values[..values.len().min((place.size / 4) as usize)],
    );
}

fn read(gpu: &Gpu, place: &Binding) -> Result<Vec<f32>, SessionError> {
    Ok(gpu.read(&place.buffer, place.offset..place.offset + place.size)?)
}
