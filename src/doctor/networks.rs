//! On which networks are kernels examined? Small ones, with shapes drawn at random, and
//! single layers of networks of the literature.
//!
//! The first three have every operation. Those that follow have two convolutions each,
//! on planes and with channels of all sizes. Of the literature there is every layer
//! with its own channels, kernel, stride and width, on fewer rows and images.

use std::sync::OnceLock;

use crate::graph::{BlockInfo, Conv, Gains, Graph, GraphError, Init, Mode, NodeId, Op, PadShortcut, Pool, Precision};
use crate::models::ModelSpec;
use crate::random::{Draws, Philox, Stream};
use crate::schedule::{Task, tasks};

/// The number of networks with shapes drawn at random.
const DRAWN: usize = 32;
/// Networks whose layers are examined, and whose kernels come first.
pub const LITERATURE: [&str; 7] = [
    "resnet20",
    "resnet20:shortcut=B",
    "wrn-28-10",
    "preact-164",
    "resnext-29-4x64d",
    "vgg11",
    "resnet50",
];
/// Multiply-adds of a layer of the literature for one image, where fewer rows can help:
/// few first, and more for kernels whose tiles have many rows.
const LAYER_MACS: [usize; 2] = [4_000_000, 118_000_000];
/// Layers with more weights are left out: others have the same kernels.
const LAYER_WEIGHTS: usize = 4_500_000;
/// Images for a layer of the literature.
const LAYER_BATCH: usize = 1;
/// Rows that a layer keeps, so that its kernels have the same tiles.
const LEAST_ROWS: usize = 8;
/// Classes of all networks.
const CLASSES: usize = 5;

/// A network with its gradients, and the tasks of a training step.
#[derive(Debug)]
pub struct DrawnNetwork {
    /// The network.
    pub graph: Graph,
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// Images in a batch.
    pub batch: usize,
}

impl DrawnNetwork {
    /// The network number `index` of the seed `seed`, with activations stored in
    /// `precision`.
    pub fn new(seed: u64, index: usize, precision: Precision) -> Self {
        if let Some(layer) = index.checked_sub(DRAWN) {
            return Self::of_layer(&layers()[layer], precision);
        }
        let mut draws = Philox::new(seed).draws(Stream::Doctor, index as u32, u32::MAX);
        let drawn = Drawn::new(index, &mut draws);
        // Evaluation adds the running statistics. One network is enough.
        let mut graph = Graph::new(if index == 1 { Mode::Eval } else { Mode::Train });
        let [channels, height, width] = drawn.dims;
        let images = graph.images(channels, height, width);
        let logits = match index {
            0 | 1 => every_operation(&mut graph, images, pick(&mut draws, &[8, 12, 16])),
            2 => odd_values(&mut graph, images, pick(&mut draws, &[3, 5, 7])),
            _ => convolutions(&mut graph, images, drawn.channels, &mut draws),
        };
        let logits = logits.expect("the networks are drawn so that they fit their images");
        let mut loss = graph.cross_entropy(logits);
        if index == 0 {
            graph.drop_paths(|_, _| 0.4);
            loss = graph.loss().expect("it has a loss");
        }
        if index == 2 {
            graph.soften(0.1);
        }
        graph.store_in(precision);
        graph.differentiate(loss, true, true);
        DrawnNetwork {
            tasks: tasks(&graph, &[loss], true),
            graph,
            batch: drawn.batch,
        }
    }
}

impl DrawnNetwork {
    /// One layer of the literature, with a batch norm after a convolution.
    fn of_layer(layer: &Layer, precision: Precision) -> Self {
        let build = || -> Result<(Graph, NodeId), GraphError> {
            let mut graph = Graph::new(Mode::Train);
            let [channels, height, width] = layer.input;
            let images = graph.images(channels, height, width);
            let x = match layer.conv {
                Some(conv) => {
                    let x = graph.conv("layer", images, layer.outputs, conv, false, Init::Zero)?;
                    let x = norm(&mut graph, "bn", x);
                    let x = graph.relu(x);
                    graph.global_avg_pool(x)
                }
                None => {
                    let x = graph.linear("layer", images, layer.outputs, Init::Zero);
                    graph.relu(x)
                }
            };
            let logits = graph.linear("fc", x, CLASSES, Init::Zero);
            let loss = graph.cross_entropy(logits);
            Ok((graph, loss))
        };
        let (mut graph, loss) = build().expect("a layer fits its own input");
        graph.store_in(precision);
        graph.differentiate(loss, true, true);
        DrawnNetwork {
            tasks: tasks(&graph, &[loss], true),
            graph,
            batch: LAYER_BATCH,
        }
    }
}

/// The number of networks.
pub fn count() -> usize {
    DRAWN + layers().len()
}

/// A layer of the literature.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Layer {
    /// `None` for a linear layer.
    conv: Option<Conv>,
    /// Channels, rows and columns; of a linear layer features, 1 and 1.
    input: [usize; 3],
    outputs: usize,
}

/// Each layer of the literature once.
fn layers() -> &'static [Layer] {
    static LAYERS: OnceLock<Vec<Layer>> = OnceLock::new();
    LAYERS.get_or_init(|| {
        let mut layers = Vec::new();
        let sizes = LAYER_MACS
            .into_iter()
            .flat_map(|most| LITERATURE.map(|name| (most, name)));
        for (most, name) in sizes {
            let graph = literature(name);
            for node in &graph.nodes {
                let shape = |index: usize| graph.shape(node.inputs[index]);
                if !matches!(node.op, Op::Conv(_) | Op::Linear) {
                    continue;
                }
                let outputs = node.shape.channels();
                let layer = match node.op {
                    Op::Conv(conv) => {
                        let (channels, (mut height, width)) = (shape(0).channels(), shape(0).plane());
                        let taps = channels / conv.groups * conv.kernel * conv.kernel;
                        let macs =
                            |height: usize| taps * outputs * height.div_ceil(conv.stride) * width.div_ceil(conv.stride);
                        while macs(height) > most && height > LEAST_ROWS {
                            height = height.div_ceil(2).max(LEAST_ROWS);
                        }
                        Layer {
                            conv: Some(conv),
                            input: [channels, height, width],
                            outputs,
                        }
                    }
                    _ => Layer {
                        conv: None,
                        input: [shape(0).per_image(), 1, 1],
                        outputs,
                    },
                };
                let weights = graph.shape(node.inputs[1]).per_image();
                if weights <= LAYER_WEIGHTS && !layers.contains(&layer) {
                    layers.push(layer);
                }
            }
        }
        layers
    })
}

/// The training graph of the network `name` of the literature.
pub fn literature(name: &str) -> Graph {
    let spec: Result<ModelSpec, _> = name.parse();
    let network = spec.and_then(|spec| spec.build(&spec.usual_input(), Mode::Train));
    network.expect("built-in networks can be built").graph
}

/// The sizes of a network.
struct Drawn {
    dims: [usize; 3],
    batch: usize,
    /// Channels of its convolutions may be these.
    channels: &'static [usize],
}

impl Drawn {
    fn new(index: usize, draws: &mut Draws) -> Self {
        let mut between = |from: usize, to: usize| from + draws.below((to - from + 1) as u32) as usize;
        let side = |value: usize| 4 * value;
        let (dims, channels): ([usize; 3], &[usize]) = match (index, index % 4) {
            // Planes that divide by four, and others.
            (0, _) => ([3, between(7, 12), between(7, 12)], &[]),
            (1, _) => ([4, side(between(2, 3)), side(between(2, 3))], &[]),
            (2, _) => ([3, 5 + 2 * between(0, 2), 5 + 2 * between(0, 2)], &[]),
            (_, 0) => ([3, between(4, 11), between(4, 13)], &[3, 5, 8, 12, 16, 20, 33]),
            (_, 1) => ([3, side(between(1, 4)), side(between(1, 4))], &[4, 8, 16, 24, 32, 64]),
            (_, 2) => (
                [between(1, 4), side(between(6, 8)), side(between(6, 8))],
                &[4, 8, 10, 16],
            ),
            _ => ([3, between(2, 8), between(2, 8)], &[32, 36, 64, 72, 96, 128, 160]),
        };
        Drawn {
            dims,
            channels,
            // Odd batches, and such that divide.
            batch: between(2, 6),
        }
    }
}

fn conv(kernel: usize, stride: usize, groups: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding: kernel / 2,
        groups,
    }
}

fn pool(kernel: usize, stride: usize, padding: usize) -> Pool {
    Pool {
        kernel,
        stride,
        padding,
    }
}

fn norm(graph: &mut Graph, name: &str, x: NodeId) -> NodeId {
    graph.batch_norm(name, x, 1e-5, 0.1)
}

fn block(graph: &mut Graph, name: &str, relu: bool, sides: [NodeId; 2], input: NodeId) -> Result<NodeId, GraphError> {
    let info = BlockInfo {
        name,
        stage: 1,
        input,
        downsamples: false,
        default: Gains::both(0.5, 2.0),
        relu,
    };
    graph.block(&info, sides[0], sides[1])
}

fn pick(draws: &mut Draws, of: &[usize]) -> usize {
    of[draws.below(of.len() as u32) as usize]
}

/// Every operation, and every operation that batch norm kernels include, with `c`
/// channels; the logits.
///
/// # Errors
/// Where the images are too small.
pub fn every_operation(graph: &mut Graph, images: NodeId, c: usize) -> Result<NodeId, GraphError> {
    let x = graph.conv("stem", images, c, conv(3, 1, 1), true, Init::Zero)?;
    let x = graph.relu(x);
    let tied = graph.max_pool(x, pool(3, 1, 1))?;
    let mean = graph.avg_pool(x, pool(3, 1, 1))?;
    let some = graph.slice(mean, 1, 4)?;
    let dropped = graph.dropout(some, 0.25)?;
    let wide = graph.concat(&[tied, dropped])?;
    let x = graph.conv("grouped", wide, c, conv(3, 1, 2), false, Init::Zero)?;
    let x = norm(graph, "bn1", x);
    let x = graph.relu(x);
    // A residual branch that ends in batch norm, one that ends in its ReLU, and a
    // join that no batch norm kernel includes; gains on all sides.
    let y = graph.conv("branch1", x, c, conv(3, 1, 1), false, Init::Zero)?;
    let y = norm(graph, "bn2", y);
    let x = block(graph, "a", true, [y, x], x)?;
    let y = graph.conv("branch2", x, c, conv(1, 1, 1), false, Init::Zero)?;
    let y = norm(graph, "bn3", y);
    let y = graph.relu(y);
    let x = block(graph, "b", false, [y, x], x)?;
    let y = graph.conv("branch3", x, c, conv(5, 1, 1), true, Init::Zero)?;
    let x = block(graph, "c", true, [y, x], x)?;
    let y = graph.conv("strided", x, c + 4, conv(3, 2, 1), false, Init::Zero)?;
    // On odd planes a mean would leave out pixels that the convolution reads.
    let (height, width) = graph.shape(x).plane();
    let pad = PadShortcut {
        stride: 2,
        average: height % 2 == 0 && width % 2 == 0,
        before: 1,
        after: 3,
    };
    let side = graph.pad_shortcut(x, pad)?;
    let x = block(graph, "d", false, [y, side], x)?;
    let x = norm(graph, "bn4", x);
    let pooled = graph.global_avg_pool(x);
    let gate = graph.linear("gate", pooled, c + 4, Init::Zero);
    let gate = graph.sigmoid(gate);
    let x = graph.multiply(x, gate)?;
    let halved = graph.scale(x, 0.5);
    let zeros = graph.zeros_like(x);
    let x = graph.sum(halved, zeros)?;
    let x = graph.global_avg_pool(x);
    let x = graph.linear("hidden", x, 6, Init::Zero);
    let x = graph.relu(x);
    Ok(graph.linear("fc", x, CLASSES, Init::Zero))
}

/// Values with an odd number of elements everywhere, and logits that do not come
/// from a linear layer; `narrow` is an odd number of channels.
///
/// # Errors
/// Where the images are too small.
pub fn odd_values(graph: &mut Graph, images: NodeId, narrow: usize) -> Result<NodeId, GraphError> {
    let x = graph.conv("stem", images, 3, conv(3, 1, 1), true, Init::Zero)?;
    let x = norm(graph, "bn", x);
    let x = graph.relu(x);
    let some = graph.slice(x, 0, 2)?;
    let x = graph.concat(&[some, x])?;
    let x = graph.max_pool(x, pool(3, 2, 1))?;
    let x = graph.conv("narrow", x, narrow, conv(1, 1, 1), false, Init::Zero)?;
    let x = block(graph, "a", true, [x, x], x)?;
    let x = graph.global_avg_pool(x);
    let x = graph.linear("hidden", x, 7, Init::Zero);
    let x = graph.dropout(x, 0.5)?;
    graph.slice(x, 1, CLASSES)
}

/// Two convolutions of random kernels, strides, groups and channels out of
/// `channels`, with a batch norm after one of them, and a linear layer.
fn convolutions(
    graph: &mut Graph,
    images: NodeId,
    channels: &[usize],
    draws: &mut Draws,
) -> Result<NodeId, GraphError> {
    let first = pick(draws, channels);
    // Large kernels have few channels: they take long to compile.
    let kernel = pick(draws, if first > 16 { &[1, 3, 3] } else { &[1, 3, 3, 5, 7] });
    let stride = pick(draws, &[1, 1, 2]);
    let bias = draws.coin();
    let x = graph.conv("first", images, first, conv(kernel, stride, 1), bias, Init::Zero)?;
    let normed = draws.coin();
    let x = if normed { norm(graph, "bn1", x) } else { x };
    let x = graph.relu(x);
    let mut second = pick(draws, channels);
    let kernel = pick(draws, if first > 36 { &[1, 3, 3] } else { &[1, 1, 3, 3, 3, 5] });
    let groups = match draws.below(6) {
        0 if first > 1 => {
            second = first;
            first
        }
        1 if first.is_multiple_of(4) => {
            second = second.next_multiple_of(4);
            4
        }
        _ => 1,
    };
    let stride = pick(draws, &[1, 1, 1, 2, 3]);
    let bias = draws.coin();
    let x = graph.conv("second", x, second, conv(kernel, stride, groups), bias, Init::Zero)?;
    let x = if normed { x } else { norm(graph, "bn2", x) };
    let x = graph.relu(x);
    let x = graph.global_avg_pool(x);
    Ok(graph.linear("fc", x, CLASSES, Init::Zero))
}
