//! What trains and evaluates a network without any device?

use std::collections::HashMap;
use std::ops::Range;

use super::TrainError;
use super::engine::{BatchRef, Engine, Scores, StepPlan, StepRules};
use crate::data::{self, Draw, ImageSet, Mixing, Normalization, Operation, Padding, Split, soft_targets};
use crate::graph::{Gradients, Graph, Mode, NodeId, Op, Param, ParamId, Route, RouteError, StateId, TARGET_WORDS};
use crate::kernels::Optimizer;
use crate::models::Network;
use crate::reference::{self, Inputs, Moments, Rates, Values};
use crate::schedule::{Slot, Update, shards_of};
use crate::stop::StopToken;

/// The number of past steps whose metrics are stored.
const SLOTS: usize = 1024;
/// Images that are evaluated at once. In evaluation an image's result does not
/// depend on the others, so a larger number would only take more memory.
const EVALUATED_TOGETHER: usize = 32;

/// An engine on the CPU that computes by [`crate::reference`]: slow, but it
/// needs no driver. Parameters are f64. They are rounded to f32 when read, but
/// not in checkpoints: a run that is resumed has the same bits.
#[derive(Debug)]
pub struct ReferenceEngine {
    train: Option<Training>,
    eval: Network,
    params: Vec<Vec<f64>>,
    states: Vec<Vec<f64>>,
    sets: HashMap<Split, (ImageSet, Normalization)>,
    metrics: Vec<[f32; 2]>,
    stop: StopToken,
}

/// The part of the engine that only training needs.
#[derive(Debug)]
struct Training {
    rules: StepRules,
    /// Second moments, and averages of parameters and states, where there are any.
    second: Option<Vec<Vec<f64>>>,
    averages: Option<[Vec<Vec<f64>>; 2]>,
    /// The forward graph alone.
    forward: Graph,
    graph: Graph,
    loss: NodeId,
    gradients: Gradients,
    decays: Vec<bool>,
    last: Vec<Vec<f64>>,
    momenta: Vec<Vec<f64>>,
}

/// A batch in the form that the reference takes.
struct Batch {
    images: Vec<f64>,
    labels: Vec<u32>,
}

impl ReferenceEngine {
    /// An engine for the network with the forward graphs `train` (`None` if it
    /// will not be trained) and `eval`. `decays` selects the parameters that
    /// weight decay applies to.
    pub fn new(train: Option<Network>, eval: Network, decays: fn(&Param) -> bool) -> Self {
        let zeros = || -> Vec<Vec<f64>> { eval.graph.params.iter().map(|param| vec![0.0; param.len()]).collect() };
        let states = eval.graph.states.iter().map(|state| vec![0.0; 2 * state.channels]);
        ReferenceEngine {
            train: train.map(|Network { mut graph, loss, .. }| Training {
                rules: StepRules::default(),
                second: None,
                averages: None,
                forward: graph.clone(),
                gradients: graph.differentiate(loss, true, false),
                decays: graph.params.iter().map(decays).collect(),
                graph,
                loss,
                last: zeros(),
                momenta: zeros(),
            }),
            params: zeros(),
            states: states.collect(),
            sets: HashMap::new(),
            metrics: vec![[0.0; 2]; SLOTS],
            stop: StopToken::default(),
            eval,
        }
    }

    /// The images `draws` and their labels, in the form that the loss of `graph` reads.
    fn batch(&self, graph: &Graph, split: Split, draws: &[Draw], padding: Padding) -> Result<Batch, TrainError> {
        self.distorted(graph, split, draws, padding, &|_| Vec::new())
    }

    /// The same with the `operations` of each draw after crop and flip.
    fn distorted(
        &self,
        graph: &Graph,
        split: Split,
        draws: &[Draw],
        padding: Padding,
        operations: &dyn Fn(Draw) -> Vec<Operation>,
    ) -> Result<Batch, TrainError> {
        let (set, normalization) = self.sets.get(&split).ok_or(TrainError::NoImages)?;
        let images = set.len();
        if let Some(&Draw { index, .. }) = draws.iter().find(|draw| draw.index as usize >= images) {
            return Err(TrainError::NoSuchImage { index, images });
        }
        Ok(Batch {
            images: widen(&data::gather_distorted(set, draws, padding, normalization, operations)),
            labels: match has_soft_targets(graph) {
                true => soft_targets(&set.labels, draws, None),
                false => draws.iter().map(|draw| set.labels[draw.index as usize]).collect(),
            },
        })
    }

    /// The batch of a training step.
    fn train_batch(&self, train: &Training, plan: &StepPlan) -> Result<Batch, TrainError> {
        let (set, _) = self.sets.get(&Split::Train).ok_or(TrainError::NoImages)?;
        let distortions = train.rules.distortions;
        let operations = |draw| distortions.draw(plan.seed, draw, [set.height, set.width]);
        let batch = self.distorted(&train.graph, Split::Train, plan.draws, plan.padding, &operations)?;
        let mixing = train.rules.mixing;
        if mixing == Mixing::default() {
            return Ok(batch);
        }
        let mut images = narrow(&batch.images);
        let dims = [set.channels, set.height, set.width];
        mixing.cut_out(&mut images, dims, plan.seed, plan.step);
        let mix = mixing.draw(plan.seed, plan.step, (set.height, set.width));
        if let Some(mix) = mix {
            mix.apply(&mut images, dims);
        }
        Ok(Batch {
            images: widen(&images),
            labels: match mix {
                Some(_) => soft_targets(&set.labels, plan.draws, mix),
                None => batch.labels,
            },
        })
    }

    /// The memory of `slot`, where there is one.
    fn place(&mut self, slot: Slot) -> Option<&mut [f64]> {
        let train = self.train.as_mut();
        match slot {
            Slot::Param(id) => Some(&mut self.params[id.0]),
            Slot::Momentum(id) => Some(&mut train?.momenta[id.0]),
            Slot::Second(id) => Some(&mut train?.second.as_mut()?[id.0]),
            Slot::Average(id) => Some(&mut train?.averages.as_mut()?[0][id.0]),
            Slot::State(id) => Some(&mut self.states[id.0]),
            Slot::AverageState(id) => Some(&mut train?.averages.as_mut()?[1][id.0]),
        }
    }

    /// Parameters and running states in the order of blocks that `route` asks
    /// for.
    fn arranged(&self, route: &Route) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let sources = self.eval.graph.sources(route);
        let params = sources.params.iter().map(|from| self.params[from.0].clone());
        let states = sources.states.iter().map(|from| self.states[from.0].clone());
        (params.collect(), states.collect())
    }

    /// The nodes `wanted` of `graph` for the images of `batch`. The running
    /// states advance if `graph` is in training mode.
    fn run(&mut self, graph: &Graph, batch: &BatchRef, route: &Route, wanted: &[NodeId]) -> Result<Values, TrainError> {
        let Batch { images, labels } = self.batch(graph, batch.split, batch.draws, Padding::Zero)?;
        let inputs = Inputs {
            images: &images,
            labels: &labels,
            params: &self.params,
            states: &mut self.states,
            batch: batch.draws.len(),
            first: 0,
            of: batch.draws.len(),
            seed: batch.seed,
            step: batch.step,
        };
        Ok(reference::run(graph, route, wanted, inputs)?)
    }

    /// The forward graph in training mode.
    fn train_forward(&self) -> Graph {
        let train = self.train.as_ref().expect("an engine that trains has a training graph");
        train.forward.clone()
    }

    /// The values of `nodes` of the evaluation graph under `route`.
    fn values(
        &self,
        split: Split,
        draws: &[Draw],
        route: &Route,
        nodes: &[NodeId],
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        self.eval.graph.check_activations(nodes)?;
        let mut values = vec![Vec::new(); nodes.len()];
        let (params, mut states) = self.arranged(route);
        for draws in draws.chunks(EVALUATED_TOGETHER) {
            let Batch { images, labels } = self.batch(&self.eval.graph, split, draws, Padding::Zero)?;
            let inputs = Inputs {
                images: &images,
                labels: &labels,
                params: &params,
                states: &mut states,
                batch: draws.len(),
                first: 0,
                of: draws.len(),
                seed: 0,
                step: 0,
            };
            let found = reference::run(&self.eval.graph, route, nodes, inputs)?;
            for (values, &node) in values.iter_mut().zip(nodes) {
                // An activation exists under every route.
                values.extend(narrow(found.get(node).unwrap_or_default()));
            }
        }
        Ok(values)
    }
}

impl Training {
    /// Adds the gradients of a shard to those of the shards before; those of the first
    /// are stored. Gradients that the route leaves out are zero.
    fn add_gradients(&mut self, values: &Values, is_first: bool) {
        for &(ParamId(param), node) in &self.gradients.params {
            let sums = &mut self.last[param];
            match values.get(node) {
                Some(gradient) if is_first => sums.copy_from_slice(gradient),
                Some(gradient) => sums.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value),
                None if is_first => sums.fill(0.0),
                None => {}
            }
        }
    }

    /// Changes the parameters, and the averages of `params` and `states`, at the end of
    /// the step number `step`, from 0.
    fn update(&mut self, params: &mut [Vec<f64>], states: &[Vec<f64>], step: u32, update: Update) {
        let rule = self.rules.update;
        let factor = rule.clip.map_or(1.0, |limit| reference::clip_factor(&self.last, limit));
        for (index, p) in params.iter_mut().enumerate() {
            let gradient: Vec<f64> = self.last[index].iter().map(|value| factor * value).collect();
            let (m, g) = (&mut self.momenta[index], &gradient[..]);
            let rates = Rates {
                lr: update.lr.into(),
                momentum: update.momentum.into(),
                decay: if self.decays[index] {
                    update.weight_decay.into()
                } else {
                    0.0
                },
                nesterov: update.nesterov,
            };
            match rule.optimizer {
                Optimizer::Sgd => reference::sgd(p, m, g, 1.0, rates),
                Optimizer::Lars { trust, eps } => {
                    let rate = match self.graph.params[index].kind.is_weight() {
                        true => reference::lars_rate(p, g, trust, rates.decay, eps),
                        false => 1.0,
                    };
                    reference::sgd(p, m, g, rate, rates);
                }
                Optimizer::AdamW { beta1, beta2, eps } => {
                    let second = self.second.as_mut().expect("the rules of AdamW make second moments");
                    let moments = Moments {
                        betas: [beta1, beta2],
                        unbias: rule.optimizer.unbias(step + 1),
                        eps,
                    };
                    reference::adamw(p, m, &mut second[index], g, moments, rates);
                }
            }
        }
        if let (Some(decay), Some([of_params, of_states])) = (rule.average, &mut self.averages) {
            let pairs = of_params
                .iter_mut()
                .zip(&*params)
                .chain(of_states.iter_mut().zip(states));
            pairs.for_each(|(averages, values)| reference::average(averages, values, decay));
        }
    }
}

impl Engine for ReferenceEngine {
    fn heed(&mut self, stop: StopToken) {
        self.stop = stop;
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    fn name(&self) -> String {
        "reference (f64 on the CPU)".into()
    }

    fn graph(&self) -> &Graph {
        &self.eval.graph
    }

    fn load(&mut self, split: Split, set: &ImageSet, normalization: &Normalization) -> Result<(), TrainError> {
        self.sets.insert(split, (set.clone(), normalization.clone()));
        Ok(())
    }

    fn step(&mut self, plan: &StepPlan) -> Result<(), TrainError> {
        let train = self.train.as_ref().expect("an engine that trains has a training graph");
        let Batch { images, labels } = self.train_batch(train, plan)?;
        let train = self.train.as_mut().expect("an engine that trains has a training graph");
        let batch = plan.draws.len();
        let mut shards = shards_of(batch, train.rules.shards);
        if shards.is_empty() {
            // The reference refuses the empty batch.
            shards.push(0..0);
        }
        let [image, label] = [images.len(), labels.len()].map(|len| len / batch.max(1));
        let mut wanted = vec![train.loss];
        wanted.extend(train.gradients.params.iter().map(|&(_, node)| node));
        let before = self.states.clone();
        let mut mean = before.clone();
        let mut metrics = [0.0; 2];
        for shard in shards {
            self.states.clone_from(&before);
            let inputs = Inputs {
                images: &images[image * shard.start..image * shard.end],
                labels: &labels[label * shard.start..label * shard.end],
                params: &self.params,
                states: &mut self.states,
                batch: shard.len(),
                first: shard.start,
                of: batch,
                seed: plan.seed,
                step: plan.step,
            };
            let values = reference::run(&train.graph, plan.route, &wanted, inputs)?;
            let rows = values.get(train.loss).expect("the loss is wanted");
            let sum = |column: usize| rows.iter().skip(column).step_by(2).sum::<f64>();
            metrics = [metrics[0] + sum(0) / batch as f64, metrics[1] + sum(1)];
            let is_first = shard.start == 0;
            train.add_gradients(&values, is_first);
            if is_first {
                mean.clone_from(&self.states);
                continue;
            }
            let share = shard.len() as f64 / shard.end as f64;
            let states = mean.iter_mut().flatten().zip(self.states.iter().flatten());
            states.for_each(|(mean, state)| *mean += share * (state - *mean));
        }
        self.states = mean;
        self.metrics[plan.step as usize % SLOTS] = metrics.map(|value| value as f32);
        train.update(&mut self.params, &self.states, plan.step, plan.update);
        Ok(())
    }

    fn metrics(&mut self, steps: Range<u32>) -> Result<Vec<[f32; 2]>, TrainError> {
        Ok(steps.map(|step| self.metrics[step as usize % SLOTS]).collect())
    }

    fn remembered(&self) -> u32 {
        SLOTS as u32
    }

    fn evaluate(&mut self, split: Split, draws: &[Draw], routes: &[Route]) -> Result<Vec<Vec<[f32; 2]>>, TrainError> {
        let loss = [self.eval.loss];
        let results = |route| {
            let values = self.values(split, draws, route, &loss)?;
            Ok(values[0].as_chunks().0.to_vec())
        };
        routes.iter().map(results).collect()
    }

    fn evaluate_with_logits(
        &mut self,
        split: Split,
        draws: &[Draw],
        routes: &[Route],
    ) -> Result<Vec<Scores>, TrainError> {
        let nodes = [self.eval.loss, self.eval.logits];
        let scores = |route| {
            let values = self.values(split, draws, route, &nodes)?;
            Ok(Scores::new(values))
        };
        routes.iter().map(scores).collect()
    }

    fn activations(
        &mut self,
        split: Split,
        draws: &[Draw],
        route: &Route,
        nodes: &[NodeId],
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        self.values(split, draws, route, nodes)
    }

    fn advance_statistics(&mut self, batch: &BatchRef, route: &Route) -> Result<(), TrainError> {
        if route.is_reordered() {
            return Err(RouteError::Reordered.into());
        }
        let graph = self.train_forward();
        let loss = loss_of(&graph);
        self.run(&graph, batch, route, &[loss])?;
        Ok(())
    }

    fn input_gradients(&mut self, batch: &BatchRef, routes: &[Route], mode: Mode) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut graph = match mode {
            Mode::Train => self.train_forward(),
            Mode::Eval => self.eval.graph.clone(),
        };
        let loss = loss_of(&graph);
        let gradients = graph.differentiate(loss, false, true);
        let images = gradients.images.expect("the loss depends on the images");
        // The states advance by one step for any number of routes.
        let before = self.states.clone();
        let gradient = |route| {
            self.states.clone_from(&before);
            let values = self.run(&graph, batch, route, &[images])?;
            Ok(narrow(values.get(images).unwrap_or_default()))
        };
        routes.iter().map(gradient).collect()
    }

    fn value_gradient(&mut self, batch: &BatchRef, route: &Route, at: NodeId) -> Result<Vec<f32>, TrainError> {
        self.eval.graph.check_activations(&[at])?;
        let mut graph = self.eval.graph.clone();
        let count = graph.shape(at).len(batch.draws.len());
        let loss = loss_of(&graph);
        let Some(gradient) = graph.differentiate_at(loss, at).images else {
            return Ok(vec![0.0; count]);
        };
        let values = self.run(&graph, batch, route, &[gradient])?;
        Ok(values.get(gradient).map_or_else(|| vec![0.0; count], narrow))
    }

    fn param(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError> {
        Ok(narrow(&self.params[id.0]))
    }

    fn set_param(&mut self, id: ParamId, values: &[f32]) {
        set(&mut self.params[id.0], values);
    }

    fn momentum(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError> {
        Ok(match &self.train {
            Some(train) => narrow(&train.momenta[id.0]),
            None => vec![0.0; self.params[id.0].len()],
        })
    }

    fn set_momentum(&mut self, id: ParamId, values: &[f32]) {
        if let Some(train) = &mut self.train {
            set(&mut train.momenta[id.0], values);
        }
    }

    fn gradient(&mut self, id: ParamId) -> Result<Vec<f32>, TrainError> {
        Ok(match &self.train {
            Some(train) => narrow(&train.last[id.0]),
            None => vec![0.0; self.params[id.0].len()],
        })
    }

    fn state(&mut self, id: StateId) -> Result<Vec<f32>, TrainError> {
        Ok(narrow(&self.states[id.0]))
    }

    fn set_state(&mut self, id: StateId, values: &[f32]) {
        set(&mut self.states[id.0], values);
    }

    fn set_rules(&mut self, rules: StepRules) -> Result<(), TrainError> {
        let (params, states) = (&self.params, &self.states);
        if let Some(train) = &mut self.train {
            train.second = match rules.update.optimizer {
                Optimizer::AdamW { .. } => Some(params.iter().map(|values| vec![0.0; values.len()]).collect()),
                _ => None,
            };
            train.averages = rules.update.average.map(|_| [params.clone(), states.clone()]);
            train.rules = rules;
        }
        Ok(())
    }

    fn start_average(&mut self) {
        if let Some(averages) = self.train.as_mut().and_then(|train| train.averages.as_mut()) {
            *averages = [self.params.clone(), self.states.clone()];
        }
    }

    fn exchange_average(&mut self) {
        if let Some([params, states]) = self.train.as_mut().and_then(|train| train.averages.as_mut()) {
            std::mem::swap(params, &mut self.params);
            std::mem::swap(states, &mut self.states);
        }
    }

    fn slot(&mut self, slot: Slot) -> Result<Option<Vec<f32>>, TrainError> {
        Ok(self.exact(slot).map(narrow))
    }

    fn set_slot(&mut self, slot: Slot, values: &[f32]) {
        if let Some(place) = self.place(slot) {
            set(place, values);
        }
    }

    fn exact(&self, slot: Slot) -> Option<&[f64]> {
        let train = self.train.as_ref();
        match slot {
            Slot::Param(id) => Some(&self.params[id.0]),
            Slot::Momentum(id) => Some(&train?.momenta[id.0]),
            Slot::Second(id) => Some(&train?.second.as_ref()?[id.0]),
            Slot::Average(id) => Some(&train?.averages.as_ref()?[0][id.0]),
            Slot::State(id) => Some(&self.states[id.0]),
            Slot::AverageState(id) => Some(&train?.averages.as_ref()?[1][id.0]),
        }
    }

    fn set_exact(&mut self, slot: Slot, values: &[f64]) {
        if let Some(place) = self.place(slot) {
            place.copy_from_slice(values);
        }
    }
}

/// Whether the loss of `graph` reads soft targets.
fn has_soft_targets(graph: &Graph) -> bool {
    let labels = graph.find(|op| *op == Op::Labels);
    labels.is_some_and(|id| graph.shape(id).per_image() == TARGET_WORDS)
}

fn loss_of(graph: &Graph) -> NodeId {
    graph.loss().expect("a model's graph ends in its loss")
}

fn set(place: &mut [f64], values: &[f32]) {
    for (place, value) in place.iter_mut().zip(values) {
        *place = f64::from(*value);
    }
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}
