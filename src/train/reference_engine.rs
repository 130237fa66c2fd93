//! What trains and evaluates a network without any device?

use std::collections::HashMap;
use std::ops::Range;

use super::TrainError;
use super::engine::{BatchRef, Engine, StepPlan};
use crate::data::Split;
use crate::data::{self, Draw, ImageSet, Normalization, Padding};
use crate::graph::{Block, Gradients, Graph, Mode, NodeId, Op, Param, ParamId, Route, RouteError, StateId};
use crate::models::Network;
use crate::reference::{self, Inputs, Values};
use crate::schedule::{SessionError, Update};

/// Steps whose metrics are kept until they are read.
const SLOTS: usize = 1024;
/// Images that are evaluated together: each is judged alone, and more of them
/// at a time would only take memory.
const EVALUATED_TOGETHER: usize = 32;

/// An engine on the CPU in f64, by the plain reference: slow, and in need of
/// no driver. Parameters are f64 throughout, and rounded where they are read.
#[derive(Debug)]
pub struct ReferenceEngine {
    train: Option<Training>,
    eval: Network,
    params: Vec<Vec<f64>>,
    states: Vec<Vec<f64>>,
    sets: HashMap<Split, (ImageSet, Normalization)>,
    metrics: Vec<[f32; 2]>,
}

/// What only training needs.
#[derive(Debug)]
struct Training {
    /// The forward graph alone.
    forward: Graph,
    graph: Graph,
    loss: NodeId,
    gradients: Gradients,
    decays: Vec<bool>,
    last: Vec<Vec<f64>>,
    momenta: Vec<Vec<f64>>,
}

/// A batch as the reference reads it.
struct Batch {
    images: Vec<f64>,
    labels: Vec<u32>,
}

impl ReferenceEngine {
    /// An engine for the network with the forward graphs `train` (where it
    /// will be trained) and `eval`. `decays` says which parameters weight
    /// decay is for.
    pub fn new(train: Option<Network>, eval: Network, decays: fn(&Param) -> bool) -> Self {
        let zeros = || -> Vec<Vec<f64>> { eval.graph.params.iter().map(|param| vec![0.0; param.len()]).collect() };
        let states = eval.graph.states.iter().map(|state| vec![0.0; 2 * state.channels]);
        ReferenceEngine {
            train: train.map(|Network { mut graph, loss, .. }| Training {
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
            eval,
        }
    }

    fn batch(&self, part: Split, draws: &[Draw], padding: Padding) -> Result<Batch, TrainError> {
        let (set, normalization) = self.sets.get(&part).ok_or(TrainError::NoImages)?;
        let images = set.len();
        if let Some(&Draw { index, .. }) = draws.iter().find(|draw| draw.index as usize >= images) {
            return Err(SessionError::NoSuchImage { index, images }.into());
        }
        Ok(Batch {
            images: widen(&data::gather(set, draws, padding, normalization)),
            labels: draws.iter().map(|draw| set.labels[draw.index as usize]).collect(),
        })
    }

    /// Parameters and running states as `route` arranges them.
    fn arranged(&self, route: &Route) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let sources = self.eval.graph.sources(route);
        let params = sources.params.iter().map(|from| self.params[from.0].clone());
        let states = sources.states.iter().map(|from| self.states[from.0].clone());
        (params.collect(), states.collect())
    }

    /// The nodes `wanted` of `graph` for the images of `look`.
    fn look(&mut self, graph: &Graph, look: &BatchRef, route: &Route, wanted: &[NodeId]) -> Result<Values, TrainError> {
        let Batch { images, labels } = self.batch(look.part, look.draws, Padding::Zero)?;
        let inputs = Inputs {
            images: &images,
            labels: &labels,
            params: &self.params,
            states: &mut self.states,
            batch: labels.len(),
            seed: look.seed,
            step: look.step,
        };
        Ok(reference::run(graph, route, wanted, inputs)?)
    }

    /// The forward graph in training mode.
    fn train_forward(&self) -> Graph {
        let train = self.train.as_ref().expect("an engine that trains has a training graph");
        train.forward.clone()
    }

    /// Loss and error of each image under one route.
    fn evaluate_route(&mut self, part: Split, draws: &[Draw], route: &Route) -> Result<Vec<[f32; 2]>, TrainError> {
        let mut results = Vec::with_capacity(draws.len());
        let (params, mut states) = self.arranged(route);
        for draws in draws.chunks(EVALUATED_TOGETHER) {
            let Batch { images, labels } = self.batch(part, draws, Padding::Zero)?;
            let inputs = Inputs {
                images: &images,
                labels: &labels,
                params: &params,
                states: &mut states,
                batch: labels.len(),
                seed: 0,
                step: 0,
            };
            let values = reference::run(&self.eval.graph, route, &[self.eval.loss], inputs)?;
            let rows = values.get(self.eval.loss).expect("the loss is wanted");
            results.extend(
                rows.as_chunks()
                    .0
                    .iter()
                    .map(|&[loss, wrong]| [loss as f32, wrong as f32]),
            );
        }
        Ok(results)
    }
}

impl Training {
    /// Keeps the gradients of a run. What the route leaves out is zero.
    fn keep_gradients(&mut self, values: &Values) {
        for &(ParamId(param), node) in &self.gradients.params {
            match values.get(node) {
                Some(gradient) => self.last[param].copy_from_slice(gradient),
                None => self.last[param].fill(0.0),
            }
        }
    }

    /// Stochastic gradient descent as in `shaders/sgd.wgsl`.
    fn update(&mut self, params: &mut [Vec<f64>], update: Update) {
        let (lr, momentum) = (f64::from(update.lr), f64::from(update.momentum));
        for (index, values) in params.iter_mut().enumerate() {
            let decay = if self.decays[index] {
                f64::from(update.weight_decay)
            } else {
                0.0
            };
            let moved = values.iter_mut().zip(&mut self.momenta[index]);
            for ((p, m), g) in moved.zip(&self.last[index]) {
                let g = g + decay * *p;
                *m = momentum * *m + g;
                *p -= lr * if update.nesterov { g + momentum * *m } else { *m };
            }
        }
    }
}

impl Engine for ReferenceEngine {
    fn name(&self) -> String {
        "reference (f64 on the CPU)".into()
    }

    fn graph(&self) -> &Graph {
        &self.eval.graph
    }

    fn load(&mut self, part: Split, set: &ImageSet, normalization: &Normalization) -> Result<(), TrainError> {
        self.sets.insert(part, (set.clone(), normalization.clone()));
        Ok(())
    }

    fn step(&mut self, plan: &StepPlan) -> Result<(), TrainError> {
        let Batch { images, labels } = self.batch(Split::Train, plan.draws, plan.padding)?;
        let train = self.train.as_mut().expect("an engine that trains has a training graph");
        let mut wanted = vec![train.loss];
        wanted.extend(train.gradients.params.iter().map(|&(_, node)| node));
        let inputs = Inputs {
            images: &images,
            labels: &labels,
            params: &self.params,
            states: &mut self.states,
            batch: labels.len(),
            seed: plan.seed,
            step: plan.step,
        };
        let values = reference::run(&train.graph, plan.route, &wanted, inputs)?;
        let rows = values.get(train.loss).expect("the loss is wanted");
        let sum = |column: usize| rows.iter().skip(column).step_by(2).sum::<f64>();
        let loss = sum(0) / labels.len() as f64;
        self.metrics[plan.step as usize % SLOTS] = [loss as f32, sum(1) as f32];
        train.keep_gradients(&values);
        train.update(&mut self.params, plan.update);
        Ok(())
    }

    fn metrics(&mut self, steps: Range<u32>) -> Result<Vec<[f32; 2]>, TrainError> {
        Ok(steps.map(|step| self.metrics[step as usize % SLOTS]).collect())
    }

    fn remembered(&self) -> u32 {
        SLOTS as u32
    }

    fn evaluate(&mut self, part: Split, draws: &[Draw], routes: &[Route]) -> Result<Vec<Vec<[f32; 2]>>, TrainError> {
        routes
            .iter()
            .map(|route| self.evaluate_route(part, draws, route))
            .collect()
    }

    fn advance_statistics(&mut self, look: &BatchRef, route: &Route) -> Result<(), TrainError> {
        if route.is_reordered() {
            return Err(SessionError::from(RouteError::Reordered).into());
        }
        let graph = self.train_forward();
        let loss = loss_of(&graph);
        self.look(&graph, look, route, &[loss])?;
        Ok(())
    }

    fn block_values(&mut self, look: &BatchRef, route: &Route) -> Result<Vec<[Vec<f32>; 2]>, TrainError> {
        let graph = self.eval.graph.clone();
        let sides = |block: &Block| [block.branch, block.shortcut];
        let wanted: Vec<NodeId> = graph.blocks.iter().flat_map(sides).collect();
        let values = self.look(&graph, look, route, &wanted)?;
        let value = |id| narrow(values.get(id).unwrap_or_default());
        Ok(graph.blocks.iter().map(|block| sides(block).map(value)).collect())
    }

    fn input_gradients(&mut self, look: &BatchRef, routes: &[Route], mode: Mode) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut graph = match mode {
            Mode::Train => self.train_forward(),
            Mode::Eval => self.eval.graph.clone(),
        };
        let loss = loss_of(&graph);
        let gradients = graph.differentiate(loss, false, true);
        let images = gradients.images.expect("the loss depends on the images");
        // However many routes there are, the states advance by one step.
        let before = self.states.clone();
        let gradient = |route| {
            self.states.clone_from(&before);
            let values = self.look(&graph, look, route, &[images])?;
            Ok(narrow(values.get(images).unwrap_or_default()))
        };
        routes.iter().map(gradient).collect()
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
}

fn loss_of(graph: &Graph) -> NodeId {
    let loss = graph.find(|op| *op == Op::CrossEntropy);
    loss.expect("a model's graph ends in its loss")
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
