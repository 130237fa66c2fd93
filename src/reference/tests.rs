use proptest::prelude::*;

use super::*;
use crate::graph::{
    Active, BlockId, BlockInfo, Conv, Gains, Graph, Init, Mode, NodeId, PadShortcut, Pool, Route, StateId,
};
use crate::random::{Philox, Stream};

const BATCH: usize = 3;
const CLASSES: usize = 4;
const INIT: Init = Init::Zero;

const fn square(kernel: usize, stride: usize, padding: usize, groups: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding,
        groups,
    }
}

const SAME: Conv = square(3, 1, 1, 1);

/// Numbers from [-1, 1), different for each `stream`.
fn noise(stream: u32, count: usize) -> Vec<f64> {
    let random = Philox::new(7);
    let words = (0..count.div_ceil(4) as u32).flat_map(|quad| random.block([quad, stream, 0, 0]));
    words
        .take(count)
        .map(|word| f64::from(word) / 2f64.powi(31) - 1.0)
        .collect()
}

/// A graph with a loss, and random values for everything that it reads.
#[derive(Clone)]
struct Problem {
    graph: Graph,
    loss: NodeId,
    images: Vec<f64>,
    labels: Vec<u32>,
    params: Vec<Vec<f64>>,
    states: Vec<Vec<f64>>,
}

impl Problem {
    /// The network that `body` builds on `[C, H, W]` images, followed by a linear
    /// layer so that every output has another weight in the loss.
    fn new(mode: Mode, [channels, height, width]: [usize; 3], body: impl Fn(&mut Graph, NodeId) -> NodeId) -> Self {
        let mut graph = Graph::new(mode);
        let x = graph.images(channels, height, width);
        let y = body(&mut graph, x);
        let logits = graph.linear("fc", y, CLASSES, INIT);
        let loss = graph.cross_entropy(logits);
        let params = graph
            .params
            .iter()
            .zip(100..)
            .map(|(param, stream)| noise(stream, param.len()));
        let state = |channels: usize, stream| {
            let mut rows = noise(stream, 2 * channels);
            rows[channels..]
                .iter_mut()
                .for_each(|variance| *variance = 0.5 + variance.abs());
            rows
        };
        Problem {
            loss,
            images: noise(0, BATCH * channels * height * width),
            labels: (0..BATCH as u32).map(|n| (3 * n + 1) % CLASSES as u32).collect(),
            params: params.collect(),
            states: graph
                .states
                .iter()
                .zip(500..)
                .map(|(s, stream)| state(s.channels, stream))
                .collect(),
            graph,
        }
    }

    /// Runs the graph; the running states do not change.
    fn run(&self, route: &Route, wanted: &[NodeId]) -> Result<Values, ReferenceError> {
        let mut states = self.states.clone();
        self.clone().run_with(route, wanted, &mut states)
    }

    fn run_with(&self, route: &Route, wanted: &[NodeId], states: &mut [Vec<f64>]) -> Result<Values, ReferenceError> {
        let inputs = Inputs {
            images: &self.images,
            labels: &self.labels,
            params: &self.params,
            states,
            batch: BATCH,
            first: 0,
            of: BATCH,
            seed: 42,
            step: 5,
        };
        run(&self.graph, route, wanted, inputs)
    }

    fn mean_loss(&self, route: &Route) -> f64 {
        let values = self.run(route, &[self.loss]).unwrap();
        values.get(self.loss).unwrap().iter().step_by(2).sum::<f64>() / BATCH as f64
    }

    /// The derivative of the loss with respect to one number, by central
    /// differences.
    fn slope(&self, route: &Route, number: impl Fn(&mut Problem) -> &mut f64) -> f64 {
        const STEP: f64 = 1e-5;
        let loss_at = |offset: f64| {
            let mut moved = self.clone();
            *number(&mut moved) += offset;
            moved.mean_loss(route)
        };
        (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP)
    }

    /// Compares every gradient with finite differences, at up to 12 places each.
    fn check_gradients(&self, what: &str, route: &Route) {
        let mut backward = self.clone();
        let gradients = backward.graph.differentiate(self.loss, true, true);
        let mut wanted: Vec<NodeId> = gradients.params.iter().map(|&(_, node)| node).collect();
        wanted.extend(gradients.images);
        let values = backward.run(route, &wanted).unwrap();
        let compare = |name: &str, node: NodeId, len: usize, slope: &dyn Fn(usize) -> f64| {
            for i in (0..len).step_by(len.div_ceil(12)) {
                let gradient = values.get(node).map_or(0.0, |gradient| gradient[i]);
                let slope = slope(i);
                let close = (gradient - slope).abs() < 1e-7 * (1.0 + slope.abs());
                assert!(
                    close,
                    "{what}: gradient with respect to {name}[{i}] is {gradient}, slope {slope}"
                );
            }
        };
        for &(param, node) in &gradients.params {
            let name = &self.graph.params[param.0].name;
            let slope = |i| self.slope(route, move |problem| &mut problem.params[param.0][i]);
            compare(name, node, self.params[param.0].len(), &slope);
        }
        let slope = |i| self.slope(route, move |problem| &mut problem.images[i]);
        compare("images", gradients.images.unwrap(), self.images.len(), &slope);
    }
}

/// Compares all gradients with finite differences under the default route.
fn check(what: &str, mode: Mode, shape: [usize; 3], body: impl Fn(&mut Graph, NodeId) -> NodeId) {
    let problem = Problem::new(mode, shape, body);
    problem.check_gradients(what, &problem.graph.default_route());
}

fn norm_relu_conv(graph: &mut Graph, index: usize, x: NodeId, filters: usize, conv: Conv) -> NodeId {
    let y = graph.batch_norm(&format!("bn{index}"), x, 1e-5, 0.1);
    let y = graph.relu(y);
    graph
        .conv(&format!("conv{index}"), y, filters, conv, false, INIT)
        .unwrap()
}

/// A pre-activation block; with `stride` 2 it doubles the channels, with a
/// projection as its shortcut.
fn preact_block(graph: &mut Graph, name: &str, x: NodeId, stride: usize) -> NodeId {
    let filters = graph.shape(x).channels() * stride;
    let (branch, shortcut) = graph.scoped(name, |g| {
        let y = norm_relu_conv(g, 1, x, filters, square(3, stride, 1, 1));
        let branch = norm_relu_conv(g, 2, y, filters, SAME);
        let project = |g: &mut Graph| g.conv("downsample.0", x, filters, square(1, stride, 0, 1), false, INIT);
        (branch, if stride == 1 { x } else { project(g).unwrap() })
    });
    let info = BlockInfo {
        name,
        stage: 1,
        input: x,
        downsamples: stride != 1,
        default: Gains::RESIDUAL,
        relu: false,
    };
    graph.block(&info, branch, shortcut).unwrap()
}

/// Stem, one block for each stride, final norm and mean.
fn preact_net(graph: &mut Graph, x: NodeId, strides: &[usize]) -> NodeId {
    let mut x = graph.conv("conv1", x, 3, SAME, false, INIT).unwrap();
    for (index, &stride) in strides.iter().enumerate() {
        x = preact_block(graph, &format!("layer1.{index}"), x, stride);
    }
    let x = graph.batch_norm("bn", x, 1e-5, 0.1);
    let x = graph.relu(x);
    graph.global_avg_pool(x)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn gradients_of_convolutions(
        kernel in prop::sample::select(vec![1usize, 3, 5, 7]),
        stride in 1..4usize,
        padding in 0..4usize,
        groups in 1..4usize,
        bias: bool,
        (height, width) in (1..9usize, 1..9usize),
    ) {
        prop_assume!(height.min(width) + 2 * padding >= kernel);
        let conv = square(kernel, stride, padding, groups);
        check(&format!("{conv:?}"), Mode::Train, [2 * groups, height, width], |g, x| {
            g.conv("conv", x, 3 * groups, conv, bias, INIT).unwrap()
        });
    }
}

#[test]
fn gradients_of_batch_norm() {
    for mode in [Mode::Train, Mode::Eval] {
        check("batch norm", mode, [3, 4, 5], |g, x| g.batch_norm("bn", x, 1e-3, 0.1));
        check("batch norm of features", mode, [3, 4, 5], |g, x| {
            let y = g.linear("hidden", x, 6, INIT);
            g.batch_norm("bn", y, 1e-3, 0.1)
        });
    }
}

#[test]
fn gradients_of_relu_and_of_a_value_used_thrice() {
    check("relu", Mode::Train, [2, 3, 3], |g, x| {
        let y = g.conv("conv", x, 2, SAME, true, INIT).unwrap();
        let z = g.relu(y);
        g.concat(&[y, z, y]).unwrap()
    });
}

#[test]
fn gradients_of_pools() {
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0), (1, 2, 0)] {
        let pool = Pool {
            kernel,
            stride,
            padding,
        };
        let shape = [2, 7, 6];
        check("max pool", Mode::Train, shape, |g, x| g.max_pool(x, pool).unwrap());
        check("average pool", Mode::Train, shape, |g, x| g.avg_pool(x, pool).unwrap());
    }
    check("global pool", Mode::Train, [5, 3, 4], |g, x| g.global_avg_pool(x));
}

#[test]
fn gradients_of_gates_and_factors() {
    check("plane gate", Mode::Train, [3, 4, 3], |g, x| {
        let y = g.conv("conv", x, 4, SAME, true, INIT).unwrap();
        let pooled = g.global_avg_pool(y);
        let gate = g.linear("gate", pooled, 4, INIT);
        let gate = g.sigmoid(gate);
        g.multiply(y, gate).unwrap()
    });
    check("element gate", Mode::Train, [3, 4, 3], |g, x| {
        let y = g.conv_with("gate", x, 3, SAME, INIT, Some(INIT)).unwrap();
        let open = g.sigmoid(y);
        let shut = g.scale(y, -1.0);
        let shut = g.sigmoid(shut);
        let zeros = g.zeros_like(x);
        let a = g.multiply(x, open).unwrap();
        let b = g.multiply(a, shut).unwrap();
        let c = g.sum(b, zeros).unwrap();
        let d = g.sum(c, x).unwrap();
        g.sum(d, d).unwrap()
    });
}

#[test]
fn gradients_of_linear_and_dropout() {
    check("linear", Mode::Train, [2, 3, 3], |g, x| g.linear("hidden", x, 5, INIT));
    check("dropout", Mode::Train, [2, 3, 3], |g, x| {
        let y = g.dropout(x, 0.3).unwrap();
        let y = g.linear("hidden", y, 5, INIT);
        g.dropout(y, 0.5).unwrap()
    });
}

#[test]
fn gradients_of_concat_slice_and_shortcuts() {
    check("concat and slice", Mode::Train, [5, 3, 3], |g, x| {
        let y = g.conv("conv", x, 3, SAME, false, INIT).unwrap();
        let part = g.slice(x, 1, 3).unwrap();
        let all = g.concat(&[part, y, x]).unwrap();
        g.slice(all, 2, 7).unwrap()
    });
    check("slice of features", Mode::Train, [5, 3, 3], |g, x| {
        let y = g.linear("hidden", x, 6, INIT);
        g.slice(y, 2, 3).unwrap()
    });
    for (average, before, after) in [(false, 1, 2), (false, 0, 3), (true, 0, 3)] {
        let pad = PadShortcut {
            stride: 2,
            average,
            before,
            after,
        };
        check("option A", Mode::Train, [3, 6, 7], |g, x| {
            g.pad_shortcut(x, pad).unwrap()
        });
    }
}

#[test]
fn gradients_of_a_network_under_routes() {
    let routes = [
        [Gains::RESIDUAL; 3],
        [Gains::RESIDUAL, Gains::both(0.7, 1.0), Gains::both(-0.4, 1.3)],
        [Gains::DELETED, Gains::RESIDUAL, Gains::PLAIN],
        [Gains::DELETED; 3],
        [Gains::PLAIN; 3],
    ];
    for mode in [Mode::Train, Mode::Eval] {
        let problem = Problem::new(mode, [2, 6, 6], |g, x| preact_net(g, x, &[1, 2, 1]));
        for route in &routes {
            problem.check_gradients("preact net", &Route::new(route.to_vec()));
        }
    }
}

/// A residual network is a sum over paths. With the forward pass and its
/// statistics fixed, the gradient is the sum of the gradients of the 2ⁿ paths,
/// each a choice of branch or shortcut in every block.
#[test]
fn path_gradients_add_up_to_the_gradient() {
    let mut problem = Problem::new(Mode::Eval, [3, 8, 8], |g, x| preact_net(g, x, &[1, 1, 2, 1]));
    let images = problem.graph.differentiate(problem.loss, false, true).images.unwrap();
    let gradient = |route: &Route| problem.run(route, &[images]).unwrap().get(images).unwrap().to_vec();
    let whole = gradient(&problem.graph.default_route());
    let mut sum = vec![0.0; whole.len()];
    for path in 0..16u32 {
        let gains = |block: u32| {
            let back_branch = (path >> block & 1) as f32;
            Gains {
                back_branch,
                back_shortcut: 1.0 - back_branch,
                ..Gains::RESIDUAL
            }
        };
        let route = Route::new((0..4).map(gains).collect());
        let along_path = gradient(&route);
        sum.iter_mut()
            .zip(along_path)
            .for_each(|(sum, gradient)| *sum += gradient);
    }
    let peak = whole.iter().fold(0.0, |peak: f64, value| peak.max(value.abs()));
    for (sum, whole) in sum.iter().zip(&whole) {
        assert!((sum - whole).abs() < 1e-12 * peak, "{sum} {whole}");
    }
}

#[test]
fn running_states_advance_by_the_unbiased_variance_where_the_norm_runs() {
    let problem = Problem::new(Mode::Train, [2, 6, 6], |g, x| preact_net(g, x, &[1, 1]));
    let route = problem.graph.default_route().deleting(&[2]).unwrap();
    let mut states = problem.states.clone();
    let first_norm = problem.graph.node(problem.graph.blocks[0].input);
    assert_eq!(first_norm.op.name(), "conv");
    let entry = problem.graph.blocks[0].input;
    let values = problem.run_with(&route, &[problem.loss, entry], &mut states).unwrap();

    let channel: Vec<f64> = values
        .get(entry)
        .unwrap()
        .chunks(36)
        .step_by(3)
        .flatten()
        .copied()
        .collect();
    let count = channel.len() as f64;
    let mean = channel.iter().sum::<f64>() / count;
    let variance = channel.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let (before, after) = (&problem.states[0], &states[0]);
    let blend = |old: f64, new: f64| 0.9 * old + 0.1 * new;
    assert!((after[0] - blend(before[0], mean)).abs() < 1e-7);
    assert!((after[3] - blend(before[3], variance)).abs() < 1e-7);

    let moved = |state: StateId| problem.states[state.0] != states[state.0];
    let moved: Vec<bool> = (0..problem.states.len()).map(|i| moved(StateId(i))).collect();
    assert_eq!(moved, [true, true, false, false, true]);
}

#[test]
fn a_single_element_has_no_spread() {
    let mut graph = Graph::new(Mode::Train);
    let x = graph.images(2, 1, 1);
    let y = graph.batch_norm("bn", x, 1e-5, 0.5);
    let mut states = [vec![0.0, 0.0, 1.0, 1.0]];
    let inputs = Inputs {
        images: &[3.0, -5.0],
        labels: &[],
        params: &[vec![2.0, 2.0, 0.25, 0.5]],
        states: &mut states,
        batch: 1,
        first: 0,
        of: 1,
        seed: 0,
        step: 0,
    };
    let values = run(&graph, &graph.default_route(), &[y], inputs).unwrap();
    assert_eq!(values.get(y).unwrap(), [0.25, 0.5]);
    assert_eq!(states[0], [1.5, -2.5, 0.5, 0.5]);
}

#[test]
fn the_loss_counts_wrong_images_and_ties_go_to_the_first() {
    let rows = loss::cross_entropy(&[0.0, 0.0, 1000.0, 0.0], &[1, 0], 2);
    assert!((rows[0] - 2f64.ln()).abs() < 1e-15);
    assert_eq!(rows[1..], [1.0, 0.0, 0.0]);
    let gradient = loss::cross_entropy_grad(&[0.0, 0.0], &[1], 2, 1);
    assert!((gradient[0] - 0.5).abs() < 1e-15 && (gradient[1] + 0.5).abs() < 1e-15);
}

/// The values and gradients are those of PyTorch: `relu`, `max_pool1d` and
/// `cross_entropy` of these inputs.
#[test]
fn nan_and_infinity_are_kept_as_in_pytorch() {
    const INF: f64 = f64::INFINITY;
    let bits = |values: &[f64]| -> Vec<u64> {
        let shown = |value: &f64| if value.is_nan() { f64::NAN } else { *value };
        values.iter().map(|value| shown(value).to_bits()).collect()
    };
    let y = pointwise::relu(&[f64::NAN, -f64::NAN, INF, -INF, 2.0, -2.0]);
    assert_eq!(bits(&y), bits(&[f64::NAN, f64::NAN, INF, 0.0, 2.0, 0.0]));
    let dx = pointwise::relu_grad(&[1.0; 6], &y);
    assert_eq!(dx, [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]);

    let pool = Pool {
        kernel: 2,
        stride: 2,
        padding: 0,
    };
    let extent = |side| plane::Extent {
        channels: 1,
        height: side,
        width: side,
    };
    let pooling = pool::PoolWindows::new(pool, extent(4), extent(2));
    #[rustfmt::skip]
    let x = [
        1.0,  f64::NAN,  -INF, -INF,
        9.0,  f64::NAN,  -INF, -INF,
        INF,  2.0,       3.0,  3.0,
        -INF, INF,       3.0,  f64::NAN,
    ];
    assert_eq!(bits(&pooling.max(&x)), bits(&[f64::NAN, -INF, INF, f64::NAN]));
    let dx = pooling.max_grad(&[1.0, 2.0, 3.0, 4.0], &x);
    let mut expected = [0.0; 16];
    for (at, value) in [(5, 1.0), (2, 2.0), (8, 3.0), (15, 4.0)] {
        expected[at] = value;
    }
    assert_eq!(dx, expected);

    for (logits, loss) in [
        ([0.0, f64::NAN], f64::NAN),
        ([f64::NAN, 0.0], f64::NAN),
        ([INF, 0.0], f64::NAN),
        ([-INF, -INF], f64::NAN),
        ([-INF, 0.0], INF),
    ] {
        let found = loss::cross_entropy(&logits, &[0], 2);
        assert_eq!(bits(&found), bits(&[loss, 1.0]), "{logits:?}");
        let gradient = loss::cross_entropy_grad(&logits, &[0], 2, 1);
        let all_nan = gradient.iter().all(|value| value.is_nan());
        assert_eq!(all_nan, loss.is_nan(), "{logits:?}: {gradient:?}");
    }
}

#[test]
fn the_first_of_equals_wins_a_maximum_and_padding_never_does() {
    let pool = Pool {
        kernel: 2,
        stride: 2,
        padding: 1,
    };
    let extent = |side| plane::Extent {
        channels: 1,
        height: side,
        width: side,
    };
    let pooling = pool::PoolWindows::new(pool, extent(3), extent(2));
    let x = [-5.0, -1.0, -1.0, 0.0, 2.0, 2.0, 0.0, 2.0, 2.0];
    assert_eq!(pooling.max(&x), [-5.0, -1.0, 0.0, 2.0]);
    let gradient = pooling.max_grad(&[1.0, 2.0, 4.0, 8.0], &x);
    assert_eq!(gradient, [1.0, 2.0, 0.0, 4.0, 8.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn dropout_keeps_its_share_and_changes_with_the_step() {
    let mask = |step, stream| dropout::Mask {
        seed: 1,
        step,
        purpose: Stream::Dropout,
        stream,
        first: 0,
        per_draw: 1,
        p: 0.25,
    };
    let ones = vec![1.0; 40_001];
    let y = mask(0, 0).apply(&ones);
    let kept = y.iter().filter(|y| **y != 0.0).count() as f64 / ones.len() as f64;
    assert!((kept - 0.75).abs() < 0.01, "{kept}");
    assert!(y.iter().all(|y| *y == 0.0 || (*y - 4.0 / 3.0).abs() < 1e-15));
    assert_eq!(y, mask(0, 0).apply(&ones));
    assert_ne!(y, mask(1, 0).apply(&ones));
    assert_ne!(y, mask(0, 1).apply(&ones));
    // By image: all of its elements or none.
    let by_image = dropout::Mask {
        purpose: Stream::StochasticDepth,
        per_draw: 10,
        ..mask(0, 0)
    };
    let y = by_image.apply(&ones);
    assert!(y.chunks(10).all(|image| image.iter().all(|y| *y == image[0])));
    let kept = y.iter().filter(|y| **y != 0.0).count() as f64 / ones.len() as f64;
    assert!((kept - 0.75).abs() < 0.03, "{kept}");
    // Of a part of the batch: what the whole batch has there.
    for (whole, per_draw) in [(mask(0, 0), 1), (by_image, 10)] {
        let parts = [0..6, 6..7, 7..30].map(|part| {
            let first = part.start;
            dropout::Mask { first, ..whole }.apply(&ones[..per_draw * part.len()])
        });
        assert_eq!(parts.concat(), whole.apply(&ones[..30 * per_draw]));
    }
}

#[test]
fn only_what_is_wanted_is_kept_and_what_a_route_closes_is_absent() {
    let mut problem = Problem::new(Mode::Train, [2, 6, 6], |g, x| preact_net(g, x, &[1, 1]));
    let gradients = problem.graph.differentiate(problem.loss, true, false);
    let wanted: Vec<NodeId> = gradients.params.iter().map(|&(_, node)| node).collect();
    let route = problem.graph.default_route().deleting(&[1]).unwrap();
    let values = problem.run(&route, &wanted).unwrap();
    let live = Active::new(&problem.graph, &route, &wanted, &[]);
    for id in problem.graph.ids() {
        let expected = wanted.contains(&id) && live.present(id);
        assert_eq!(values.get(id).is_some(), expected, "{id:?}");
    }
    let absent = wanted.iter().filter(|&&id| values.get(id).is_none()).count();
    assert_eq!(absent, 4, "two norms and two convolutions of block 1");
}

#[test]
fn what_does_not_fit_is_refused() {
    let problem = Problem::new(Mode::Train, [2, 6, 6], |g, x| preact_net(g, x, &[1]));
    let route = problem.graph.default_route();
    let refused = |change: &dyn Fn(&mut Problem)| {
        let mut problem = problem.clone();
        change(&mut problem);
        problem.run(&route, &[problem.loss]).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&|p| p.images.truncate(5)),
        "the image batch has 5 values where the graph needs 216"
    );
    assert_eq!(
        refused(&|p| p.labels[2] = 4),
        "label 4 of image 2: the network has the classes 0 to 3"
    );
    assert!(refused(&|p| p.labels.truncate(1)).contains("label list"));
    assert!(refused(&|p| p.params.truncate(1)).contains("parameter list"));
    assert!(refused(&|p| p.params[1].truncate(1)).contains("layer1.0.bn1"));
    assert!(refused(&|p| p.states[0].truncate(1)).contains("layer1.0.bn1"));

    let short = Route::new(Vec::new());
    assert!(matches!(problem.run(&short, &[]), Err(ReferenceError::Length { .. })));
    let mut silent = route.clone();
    silent.set(BlockId(0), Gains::both(0.0, 0.0));
    assert!(matches!(problem.run(&silent, &[]), Err(ReferenceError::Route(_))));
    let beyond = NodeId(problem.graph.nodes.len());
    let found = problem.run(&route, &[beyond]);
    assert!(matches!(found, Err(ReferenceError::NoSuchNode { .. })));
}

#[test]
fn gradients_of_soft_targets_are_slopes() {
    for smoothing in [0.0, 0.1] {
        let mut problem = Problem::new(Mode::Train, [2, 3, 3], |_, x| x);
        problem.graph.soften(smoothing);
        let shares = [0.0_f32, 0.25, 0.5, 1.0];
        let soft = |(n, &label): (usize, &u32)| {
            let other = (label + n as u32) % CLASSES as u32;
            [label, other, shares[n % shares.len()].to_bits()]
        };
        problem.labels = problem.labels.iter().enumerate().flat_map(soft).collect();
        let route = problem.graph.default_route();
        problem.check_gradients("soft targets", &route);
    }
}
