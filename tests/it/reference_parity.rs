//! Does the f64 reference compute what PyTorch computes? Loss, gradients, running
//! statistics and evaluation of small networks against PyTorch in float64; the
//! same without the evaluation for two networks of full size.

use crate::support::fixture;
use crate::support::fixture::Fixture;
use residua::graph::{BlockInfo, Conv, Gains, Graph, GraphError, Init, Mode, NodeId, PadShortcut, Pool};
use residua::reference::{self, Inputs, Values};

/// The residual networks of `make_parity.py`.
struct Residual {
    preact: bool,
    stem: usize,
    widths: [usize; 3],
    blocks: usize,
}

const fn square(kernel: usize, stride: usize, groups: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding: kernel / 2,
        groups,
    }
}

impl Residual {
    fn build(&self, mode: Mode) -> Result<(Graph, NodeId), GraphError> {
        let mut graph = Graph::new(mode);
        let g = &mut graph;
        let images = g.images(3, fixture::SIDE, fixture::SIDE);
        let mut x = conv(g, "conv1", images, self.stem, square(3, 1, 1))?;
        if !self.preact {
            x = norm_relu(g, "bn1", x);
        }
        for (stage, &width) in (1..).zip(&self.widths) {
            for index in 0..self.blocks {
                let stride = if stage > 1 && index == 0 { 2 } else { 1 };
                x = self.block(g, &format!("layer{stage}.{index}"), stage, x, width, stride)?;
            }
        }
        if self.preact {
            x = norm_relu(g, "bn", x);
        }
        let pooled = g.global_avg_pool(x);
        let logits = g.linear("fc", pooled, fixture::CLASSES, Init::Zero);
        let loss = g.cross_entropy(logits);
        Ok((graph, loss))
    }

    fn block(
        &self,
        graph: &mut Graph,
        name: &str,
        stage: usize,
        x: NodeId,
        width: usize,
        stride: usize,
    ) -> Result<NodeId, GraphError> {
        let downsamples = stride != 1 || graph.shape(x).channels() != width;
        let (first, second) = (square(3, stride, 1), square(3, 1, 1));
        let (branch, shortcut) = graph.scoped(name, |g| {
            let entry = if self.preact { norm_relu(g, "bn1", x) } else { x };
            let mut shortcut = x;
            if downsamples {
                shortcut = conv(g, "downsample.0", entry, width, square(1, stride, 1))?;
                if !self.preact {
                    shortcut = norm(g, "downsample.1", shortcut);
                }
            }
            let y = conv(g, "conv1", entry, width, first)?;
            let y = norm_relu(g, if self.preact { "bn2" } else { "bn1" }, y);
            let y = conv(g, "conv2", y, width, second)?;
            let branch = if self.preact { y } else { norm(g, "bn2", y) };
            Ok((branch, shortcut))
        })?;
        let info = BlockInfo {
            name,
            stage,
            input: x,
            downsamples,
            default: Gains::RESIDUAL,
            relu: !self.preact,
        };
        graph.block(&info, branch, shortcut)
    }
}

fn conv(graph: &mut Graph, name: &str, x: NodeId, filters: usize, conv: Conv) -> Result<NodeId, GraphError> {
    graph.conv(name, x, filters, conv, false, Init::Zero)
}

fn norm(graph: &mut Graph, name: &str, x: NodeId) -> NodeId {
    graph.batch_norm(name, x, 1e-5, 0.1)
}

fn norm_relu(graph: &mut Graph, name: &str, x: NodeId) -> NodeId {
    let y = norm(graph, name, x);
    graph.relu(y)
}

/// The network `Ops` of `make_parity.py`.
fn ops(mode: Mode) -> Result<(Graph, NodeId), GraphError> {
    let mut graph = Graph::new(mode);
    let g = &mut graph;
    let overlapping = Pool {
        kernel: 3,
        stride: 2,
        padding: 1,
    };
    let halved = |average, before, after| PadShortcut {
        stride: 2,
        average,
        before,
        after,
    };
    let x = g.images(3, fixture::SIDE, fixture::SIDE);
    let a = g.conv("conv1", x, 6, square(7, 2, 3), true, Init::Zero)?;
    let a = g.relu(a);
    let a = g.max_pool(a, overlapping)?;
    let b = g.conv("conv2", a, 6, square(5, 1, 2), true, Init::Zero)?;
    let b = g.relu(b);
    let pooled = g.avg_pool(b, overlapping)?;
    let some = g.slice(b, 1, 3)?;
    let subsampled = g.pad_shortcut(some, halved(false, 1, 2))?;
    let averaged = g.pad_shortcut(a, halved(true, 2, 1))?;
    let all = g.concat(&[pooled, subsampled, averaged])?;
    let logits = g.linear("fc", all, fixture::CLASSES, Init::Zero);
    let loss = g.cross_entropy(logits);
    Ok((graph, loss))
}

/// The inputs of a step.
struct Batch {
    images: Vec<f64>,
    labels: Vec<u32>,
    params: Vec<Vec<f64>>,
}

impl Batch {
    fn new(graph: &Graph, step: usize, batch: usize) -> Self {
        let (images, labels) = fixture::image_batch(step, batch);
        Batch {
            images: fixture::normalise(&images).iter().map(|&x| x.into()).collect(),
            labels,
            params: widen(fixture::params(graph)),
        }
    }

    fn run(&self, graph: &Graph, states: &mut [Vec<f64>], wanted: &[NodeId]) -> Values {
        let inputs = Inputs {
            images: &self.images,
            labels: &self.labels,
            params: &self.params,
            states,
            batch: self.labels.len(),
            first: 0,
            of: self.labels.len(),
            seed: 0,
            step: 0,
        };
        reference::run(graph, &graph.default_route(), wanted, inputs).unwrap()
    }

    fn mean_loss(&self, graph: &Graph, states: &mut [Vec<f64>], loss: NodeId) -> f64 {
        mean_loss(&self.run(graph, states, &[loss]), loss)
    }
}

fn widen(tensors: Vec<Vec<f32>>) -> Vec<Vec<f64>> {
    tensors
        .iter()
        .map(|tensor| tensor.iter().map(|&x| x.into()).collect())
        .collect()
}

fn mean_loss(values: &Values, loss: NodeId) -> f64 {
    let rows = values.get(loss).unwrap();
    rows.iter().step_by(2).sum::<f64>() / (rows.len() / 2) as f64
}

/// Compares all results of the first step in the fixture `name`, and the
/// gradients of the probe, which are stored to `precision` of their largest
/// magnitude.
fn matches_pytorch(name: &str, precision: f64, build: impl Fn(Mode) -> Result<(Graph, NodeId), GraphError>) {
    let fixture = Fixture::load(name);
    let (graph, loss) = build(Mode::Train).unwrap();
    fixture.check_digests(&graph);

    let first = Batch::new(&graph, 0, fixture.batch());
    let mut states = widen(fixture::states(&graph));
    let error = (first.mean_loss(&graph, &mut states, loss) - fixture.losses_f64()[0]).abs();
    assert!(error < 1e-10, "{name}: loss off by {error:e}");

    let mut compared = 0;
    for (state, values) in graph.states.iter().zip(&states) {
        for (tensor, found) in state.tensors().iter().zip(values.chunks(state.channels)) {
            if let Some(truth) = fixture.optional(tensor) {
                // The graph's momentum is 0.1 in f32, a relative difference of 1.5e-8.
                let error = fixture::peak_error(found, &truth);
                assert!(error < 2e-8, "{name} {tensor}: off by {error:e}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, if graph.states.is_empty() { 0 } else { 4 });

    // Another pass of a full network over the batch would take ten seconds.
    if precision < FIXED_POINT {
        let (eval_graph, eval_loss) = build(Mode::Eval).unwrap();
        let error = (first.mean_loss(&eval_graph, &mut states, eval_loss) / fixture.eval_loss() - 1.0).abs();
        assert!(error < 1e-7, "{name}: loss in evaluation off by {error:e} of itself");
    }

    probe_matches(&fixture, precision, graph, loss);
}

fn probe_matches(fixture: &Fixture, precision: f64, mut graph: Graph, loss: NodeId) {
    let gradients = graph.differentiate(loss, true, true);
    let images = gradients.images.unwrap();
    let mut wanted: Vec<NodeId> = gradients.params.iter().map(|&(_, node)| node).collect();
    wanted.extend([images, loss]);
    let (step, batch) = fixture.probe();
    let mut states = widen(fixture::states(&graph));
    let values = Batch::new(&graph, step, batch).run(&graph, &mut states, &wanted);

    let error = (mean_loss(&values, loss) - fixture.probe_loss()).abs();
    assert!(error < 1e-10, "loss of the probe off by {error:e}");
    let compare = |tensor: &str, found: &[f64]| {
        let error = fixture::peak_error(found, &fixture.gradient(tensor));
        assert!(error < precision, "{tensor}: gradient off by {error:e} of its peak");
    };
    for &(param, node) in &gradients.params {
        let mut found = values.get(node).unwrap();
        for (tensor, dims) in graph.params[param.0].tensors() {
            let (here, rest) = found.split_at(dims.iter().product());
            compare(&tensor, here);
            found = rest;
        }
    }
    let image = graph.shape(images).per_image();
    compare("images", &values.get(images).unwrap()[..image]);
}

/// A little more than half a step of the 16-bit fixed point of the large
/// fixtures.
const FIXED_POINT: f64 = 1.6e-5;

#[test]
fn a_small_pre_activation_network_matches() {
    let net = Residual {
        preact: true,
        stem: 4,
        widths: [8, 12, 16],
        blocks: 1,
    };
    matches_pytorch("small-preact", 1e-9, |mode| net.build(mode));
}

#[test]
fn a_small_post_activation_network_matches() {
    let net = Residual {
        preact: false,
        stem: 4,
        widths: [4, 8, 16],
        blocks: 1,
    };
    matches_pytorch("small-postact", 1e-9, |mode| net.build(mode));
}

#[test]
fn pools_groups_and_option_a_match() {
    matches_pytorch("small-ops", 1e-9, ops);
}

#[test]
fn wrn_16_2_matches() {
    let net = Residual {
        preact: true,
        stem: 16,
        widths: [32, 64, 128],
        blocks: 2,
    };
    matches_pytorch("wrn-16-2", FIXED_POINT, |mode| net.build(mode));
}

#[test]
fn resnet20_b_matches() {
    let net = Residual {
        preact: false,
        stem: 16,
        widths: [16, 32, 64],
        blocks: 3,
    };
    matches_pytorch("resnet20-b", FIXED_POINT, |mode| net.build(mode));
}
