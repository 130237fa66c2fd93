//! How is a graph computed under a route?

use std::borrow::Cow;

use super::channels::{self, ChannelPadding};
use super::conv::Geometry;
use super::dropout::Mask;
use super::plane::Extent;
use super::pool::{GlobalMean, PoolWindows};
use super::reduce::Channels;
use super::{batch_norm, gate, linear, loss, pointwise};
use crate::graph::{Active, Graph, Mode, Node, NodeId, Op, Route, RouteError, Shape, Side, TARGET_WORDS};
use crate::random::Stream;

/// The values that a run reads, and the running states that it advances.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Normalised images, `N×C×H×W`.
    pub images: &'a [f64],
    /// The class of each image; where the loss has soft targets, three words for each:
    /// two classes, and the bits of the share (f32) of the second.
    pub labels: &'a [u32],
    /// Every parameter, by [`crate::graph::ParamId`].
    pub params: &'a [Vec<f64>],
    /// Every running state, by [`crate::graph::StateId`]: `[2, C]`, mean and
    /// unbiased variance. In [`crate::graph::Mode::Train`] the states of the
    /// batch norms that run advance.
    pub states: &'a mut [Vec<f64>],
    /// Number of images N.
    pub batch: usize,
    /// Images of the whole batch before these: random draws are made by the position in
    /// the whole batch.
    pub first: usize,
    /// Images of the whole batch: the gradient is that of its mean loss.
    pub of: usize,
    /// Seed of the dropout masks.
    pub seed: u64,
    /// Training step of the dropout masks.
    pub step: u32,
}

/// Inputs or a route that do not fit the graph.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ReferenceError {
    /// A tensor of the wrong length.
    #[error("{what} has {given} values where the graph needs {needed}")]
    Length {
        /// Which tensor, in words.
        what: String,
        /// Values given.
        given: usize,
        /// Values needed.
        needed: usize,
    },
    /// A class that the network does not have.
    #[error("label {label} of image {image}: the network has the classes 0 to {last}", last = classes - 1)]
    Label {
        /// Position in the batch, from 0.
        image: usize,
        /// The class given.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A batch without images.
    #[error("the batch is empty: give at least one image")]
    EmptyBatch,
    /// A value without any elements.
    #[error("{op} has an output of size 0: the network needs a larger input or more channels")]
    EmptyShape {
        /// The operation.
        op: &'static str,
    },
    /// A node asked for that the graph does not have.
    #[error("node {node} does not exist: the graph has {nodes} nodes")]
    NoSuchNode {
        /// The position asked for.
        node: usize,
        /// Number of nodes.
        nodes: usize,
    },
    /// A route that does not suit the graph.
    #[error(transparent)]
    Route(#[from] RouteError),
}

/// The values that a run was asked to return.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    kept: Vec<Option<Vec<f64>>>,
}

impl Values {
    /// The value of `id`; `None` if it was not asked for, or if the route leaves
    /// it out. A gradient that the route leaves out is exactly zero.
    pub fn get(&self, id: NodeId) -> Option<&[f64]> {
        self.kept.get(id.0)?.as_deref()
    }
}

/// Computes the nodes `wanted` of `graph` under `route`, and only the nodes that
/// they need. Running states advance only if the run succeeds, and only those of
/// batch norms that ran.
///
/// # Errors
/// Where the inputs or the route do not fit the graph.
pub fn run(graph: &Graph, route: &Route, wanted: &[NodeId], inputs: Inputs) -> Result<Values, ReferenceError> {
    check_route(graph, route, wanted)?;
    let live = Active::new(graph, route, wanted, &[]);
    check_inputs(graph, &live, &inputs)?;
    let last_reader = last_readers(graph, &live, wanted);
    let mut evaluator = Evaluator {
        graph,
        route,
        inputs,
        values: vec![None; graph.nodes.len()],
    };
    for id in graph.ids().filter(|&id| live.runs(id)) {
        evaluator.values[id.0] = Some(evaluator.evaluate(graph.node(id)));
        for input in &graph.node(id).inputs {
            if last_reader[input.0] == Some(id) {
                evaluator.values[input.0] = None;
            }
        }
    }
    let kept = evaluator.values.into_iter().map(|value| value.map(Cow::into_owned));
    Ok(Values { kept: kept.collect() })
}

/// The output of one operation for `batch` images. It depends on its inputs only:
/// no image, label, parameter, running state or gain.
pub(crate) fn operation(op: Op, inputs: &[(&Shape, Vec<f64>)], output: &Shape, batch: usize) -> Vec<f64> {
    let mut graph = Graph::new(Mode::Eval);
    // The values of these nodes are given.
    let ids: Vec<NodeId> = inputs
        .iter()
        .map(|(shape, _)| graph.push(Op::Zeros, &[], (*shape).clone()))
        .collect();
    let id = graph.push(op, &ids, output.clone());
    let evaluator = Evaluator {
        graph: &graph,
        route: &graph.default_route(),
        inputs: Inputs {
            images: &[],
            labels: &[],
            params: &[],
            states: &mut [],
            batch,
            first: 0,
            of: batch,
            seed: 0,
            step: 0,
        },
        values: inputs.iter().map(|(_, values)| Some(Cow::from(values))).collect(),
    };
    evaluator.compute(graph.node(id))
}

/// For each value, the last node that reads it; `None` for the values that are
/// returned, which stay.
fn last_readers(graph: &Graph, live: &Active, wanted: &[NodeId]) -> Vec<Option<NodeId>> {
    let mut last = vec![None; graph.nodes.len()];
    for id in graph.ids().filter(|&id| live.runs(id)) {
        for input in &graph.node(id).inputs {
            last[input.0] = Some(id);
        }
    }
    for id in wanted {
        last[id.0] = None;
    }
    last
}

/// The state of a run: the values that are still needed.
struct Evaluator<'a> {
    graph: &'a Graph,
    route: &'a Route,
    inputs: Inputs<'a>,
    values: Vec<Option<Cow<'a, [f64]>>>,
}

impl<'a> Evaluator<'a> {
    /// The value of a node whose inputs are computed.
    fn evaluate(&mut self, node: &Node) -> Cow<'a, [f64]> {
        match node.op {
            Op::Images => Cow::Borrowed(self.inputs.images),
            Op::Param(param) => Cow::Borrowed(&self.inputs.params[param.0]),
            Op::BatchStats(state) => {
                let channels = self.channels(node.inputs[0]);
                let moments = channels.moments(self.read(node, 0));
                let state_of = &self.graph.states[state.0];
                batch_norm::advance(&mut self.inputs.states[state.0], &moments, state_of);
                Cow::Owned(batch_norm::stats(&moments.mean, &moments.variance, state_of.eps))
            }
            _ => Cow::Owned(self.compute(node)),
        }
    }

    /// The value of a node that depends only on its inputs.
    fn compute(&self, node: &Node) -> Vec<f64> {
        let batch = self.inputs.batch;
        let labels = self.inputs.labels;
        let read = |index| self.read(node, index);
        let maybe = |index| self.value(*node.inputs.get(index)?);
        let extent = |index: usize| Extent::of(self.graph.shape(node.inputs[index]));
        let features = |index: usize| self.graph.shape(node.inputs[index]).per_image();
        let channels = |index: usize| self.channels(node.inputs[index]);
        let out = Extent::of(&node.shape);
        match node.op {
            Op::Conv(conv) => Geometry::new(conv, extent(0), out).forward(read(0), read(1), maybe(2), batch),
            Op::ConvInputGradient(conv) => Geometry::new(conv, out, extent(0)).input_gradient(read(0), read(1), batch),
            Op::ConvWeightGradient(conv) => {
                Geometry::new(conv, extent(0), extent(1)).weight_gradient(read(0), read(1), batch)
            }
            Op::ChannelSum => {
                let dy = read(0);
                channels(0).sum(|_, i| dy[i])
            }

            Op::RunningStats(state) => {
                let (mean, variance) = self.inputs.states[state.0].split_at(node.shape.dims[1]);
                batch_norm::stats(mean, variance, self.graph.states[state.0].eps)
            }
            Op::BatchNorm => channels(0).normalise(read(0), read(1), read(2)),
            Op::BatchNormParamGradients => channels(0).gradient_sums(read(0), read(1), read(2)),
            Op::BatchNormInputGradient { batch_stats } => {
                channels(0).input_gradient(batch_stats, [0, 1, 2, 3, 4].map(read))
            }

            Op::Relu => pointwise::relu(read(0)),
            Op::ReluGrad => pointwise::relu_grad(read(0), read(1)),
            Op::Scale { factor } => pointwise::scale(factor.into(), read(0)),
            Op::Zeros => vec![0.0; node.shape.len(batch)],
            Op::Sigmoid => gate::sigmoid(read(0)),
            Op::SigmoidGrad => gate::sigmoid_gradient(read(0), read(1)),
            Op::Multiply => gate::multiply(read(0), read(1)),
            Op::PlaneDot => gate::plane_dot(read(0), read(1), extent(0).area()),
            Op::MaxPool(pool) => PoolWindows::new(pool, extent(0), out).max(read(0)),
            Op::MaxPoolGrad(pool) => PoolWindows::new(pool, out, extent(0)).max_grad(read(0), read(1)),
            Op::AvgPool(pool) => PoolWindows::new(pool, extent(0), out).mean(read(0)),
            Op::AvgPoolGrad(pool) => PoolWindows::new(pool, out, extent(0)).mean_grad(read(0)),
            Op::GlobalAvgPool => GlobalMean::new(extent(0)).forward(read(0)),
            Op::GlobalAvgPoolGrad => GlobalMean::new(out).gradient(read(0)),
            Op::Linear => linear::forward(read(0), read(1), maybe(2), features(0), out.channels),
            Op::LinearInputGradient => linear::input_gradient(read(0), read(1), node.shape.per_image(), features(0)),
            Op::LinearWeightGradient => linear::weight_gradient(read(0), read(1), features(0), features(1)),
            Op::Dropout { p, stream } => {
                let Inputs { seed, step, first, .. } = self.inputs;
                let mask = Mask {
                    seed,
                    step,
                    purpose: Stream::Dropout,
                    stream,
                    first: first * features(0),
                    per_draw: 1,
                    p,
                };
                mask.apply(read(0))
            }
            Op::DropPath { p, block } => {
                let Inputs { seed, step, first, .. } = self.inputs;
                let mask = Mask {
                    seed,
                    step,
                    purpose: Stream::StochasticDepth,
                    stream: block.0 as u32,
                    first,
                    per_draw: features(0),
                    p,
                };
                mask.apply(read(0))
            }

            Op::Join(block) => {
                let gains = self.route.gains(block);
                let sides = [(gains.branch.into(), maybe(0)), (gains.shortcut.into(), maybe(1))];
                pointwise::weighted_sum(node.shape.len(batch), &sides)
            }
            Op::JoinGrad(block, side) => {
                let gains = self.route.gains(block);
                let gain = match side {
                    Side::Branch => gains.back_branch,
                    Side::Shortcut => gains.back_shortcut,
                };
                pointwise::scale(gain.into(), read(0))
            }
            Op::Sum => pointwise::weighted_sum(node.shape.len(batch), &[(1.0, maybe(0)), (1.0, maybe(1))]),
            Op::Concat => {
                let inputs: Vec<_> = (0..node.inputs.len())
                    .map(|index| (read(index), features(index)))
                    .collect();
                channels::concat(&inputs, batch)
            }
            Op::Slice { from, count } => channels::slice(read(0), extent(0), from, count),
            Op::PadShortcut(pad) => ChannelPadding::new(pad, extent(0), out).forward(read(0)),
            Op::PadShortcutGrad(pad) => ChannelPadding::new(pad, out, extent(0)).gradient(read(0)),

            Op::CrossEntropy => loss::cross_entropy(read(0), labels, features(0)),
            Op::CrossEntropyGrad => loss::cross_entropy_grad(read(0), labels, features(0), self.inputs.of),
            Op::SoftCrossEntropy { smoothing } => {
                loss::soft_cross_entropy(read(0), labels, features(0), smoothing.into())
            }
            Op::SoftCrossEntropyGrad { smoothing } => {
                loss::soft_cross_entropy_grad(read(0), labels, features(0), smoothing.into(), self.inputs.of)
            }

            // Classes are small integers, which are exact in f64. The losses read
            // the labels directly.
            Op::Labels => labels.iter().map(|&label| label.into()).collect(),
            Op::Images | Op::Param(_) | Op::BatchStats(_) => unreachable!("`evaluate` computes these"),
        }
    }

    fn channels(&self, id: NodeId) -> Channels {
        Channels::new(Extent::of(self.graph.shape(id)), self.inputs.batch)
    }

    /// The value of `id`; `None` if the route leaves it out.
    fn value(&self, id: NodeId) -> Option<&[f64]> {
        self.values[id.0].as_deref()
    }

    /// Input `index` of a node that runs only if that input is computed.
    fn read(&self, node: &Node, index: usize) -> &[f64] {
        self.value(node.inputs[index]).expect("a node runs after its inputs")
    }
}

/// Refuses nodes and routes that do not fit the graph.
fn check_route(graph: &Graph, route: &Route, wanted: &[NodeId]) -> Result<(), ReferenceError> {
    let nodes = graph.nodes.len();
    if let Some(&NodeId(node)) = wanted.iter().find(|id| id.0 >= nodes) {
        return Err(ReferenceError::NoSuchNode { node, nodes });
    }
    length("the route (blocks)", route.len(), graph.blocks.len())?;
    Ok(route.check()?)
}

/// Refuses inputs that do not fit, so that the formulas need no checks. Labels and
/// images are checked only if the run reads them.
fn check_inputs(graph: &Graph, live: &Active, inputs: &Inputs) -> Result<(), ReferenceError> {
    if inputs.batch == 0 {
        return Err(ReferenceError::EmptyBatch);
    }
    length("the parameter list", inputs.params.len(), graph.params.len())?;
    for (param, values) in graph.params.iter().zip(inputs.params) {
        length(&param.name, values.len(), param.len())?;
    }
    length("the list of running states", inputs.states.len(), graph.states.len())?;
    for (state, values) in graph.states.iter().zip(&*inputs.states) {
        length(&state.name, values.len(), 2 * state.channels)?;
    }
    for id in graph.ids().filter(|&id| live.runs(id)) {
        let node = graph.node(id);
        if node.shape.per_image() == 0 {
            return Err(ReferenceError::EmptyShape { op: node.op.name() });
        }
        match node.op {
            Op::Images => length("the image batch", inputs.images.len(), node.shape.len(inputs.batch))?,
            Op::Labels => length("the label list", inputs.labels.len(), node.shape.len(inputs.batch))?,
            Op::CrossEntropy | Op::CrossEntropyGrad => {
                known_classes(inputs.labels, graph.shape(node.inputs[0]).per_image())?;
            }
            Op::SoftCrossEntropy { .. } | Op::SoftCrossEntropyGrad { .. } => {
                let classes = graph.shape(node.inputs[0]).per_image();
                let targets = inputs.labels.chunks(TARGET_WORDS);
                let labels = |word: usize| targets.clone().map(|target| target[word]).collect::<Vec<u32>>();
                known_classes(&labels(0), classes)?;
                known_classes(&labels(1), classes)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn length(what: &str, given: usize, needed: usize) -> Result<(), ReferenceError> {
    if given == needed {
        return Ok(());
    }
    Err(ReferenceError::Length {
        what: what.to_string(),
        given,
        needed,
    })
}

fn known_classes(labels: &[u32], classes: usize) -> Result<(), ReferenceError> {
    match labels.iter().position(|&label| label as usize >= classes) {
        None => Ok(()),
        Some(image) => Err(ReferenceError::Label {
            image,
            label: labels[image],
            classes,
        }),
    }
}
