//! Does every kernel agree with the f64 reference? Networks of a few operations
//! run forward and backward on the device, with the kernels of both kinds of
//! adapter, and the same graph runs in f64. The tests compare loss, every
//! gradient, running states and evaluation.
//!
//! proptest draws shapes from a fixed seed, so that a failure can be repeated.
//! `PROPTEST_RNG_SEED` and `PROPTEST_CASES` draw other shapes, or more.

use crate::support::device;
use crate::support::reference_run;
use std::sync::Arc;

use crate::support::reference_run::{Deviation, ReferenceRun};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use residua::data::{self, Draw, Factor, ImageSet, Normalization, Operation, PAD, Padding};
use residua::gpu::{Access, AdapterKind, AdapterOverrides, Gpu, Program};
use residua::graph::{
    BlockId, BlockInfo, Conv, Gains, Graph, GraphError, Init, Mode, NodeId, Op, PadShortcut, Param, ParamId, ParamKind,
    Pool, Recompute, Route,
};
use residua::kernels::Target;
use residua::models::ModelSpec;
use residua::schedule::{self, Batch, Crop, Session, Update};

const CLASSES: usize = 5;

fn conv(kernel: usize, stride: usize, padding: usize, groups: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding,
        groups,
    }
}

/// Logits of the pooled plane, which depend on every pixel.
fn head(graph: &mut Graph, x: NodeId) -> NodeId {
    let pooled = graph.global_avg_pool(x);
    graph.linear("fc", pooled, CLASSES, Init::Zero)
}

fn norm(graph: &mut Graph, name: &str, x: NodeId) -> NodeId {
    graph.batch_norm(name, x, 1e-5, 0.1)
}

fn norm_relu(graph: &mut Graph, name: &str, x: NodeId) -> NodeId {
    let y = norm(graph, name, x);
    graph.relu(y)
}

fn report(what: &str, kind: AdapterKind, deviation: Deviation) {
    println!("{what} ({kind:?}): {deviation}");
}

/// Runs `test` on `cases` values of `strategy`.
fn for_some<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let mut config = Config {
        cases,
        failure_persistence: None,
        // One shape that fails is enough, and each further one is compiled.
        max_shrink_iters: 4,
        ..Config::default()
    };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(2016);
    }
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config.cases = Config::default().cases;
    }
    let run = TestRunner::new(config).run(strategy, |value| {
        test(value);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

// Convolutions.

/// A convolution between a small one, which needs its input gradient, and the
/// head.
#[derive(Debug, Clone, Copy)]
struct ConvCase {
    conv: Conv,
    channels: usize,
    filters: usize,
    plane: (usize, usize),
    bias: bool,
    batch: usize,
}

impl ConvCase {
    fn check(&self, gpu: &Arc<Gpu>, seed: u64) -> Deviation {
        let (height, width) = self.plane;
        let mut run = ReferenceRun::new(gpu, [3, height, width], self.batch, seed, &|graph, images| {
            let x = graph.conv("in", images, self.channels, conv(1, 1, 0, 1), false, Init::Zero)?;
            let y = graph.conv("conv", x, self.filters, self.conv, self.bias, Init::Zero)?;
            let y = graph.relu(y);
            Ok(head(graph, y))
        });
        let route = run.default_route();
        run.check(&route)
    }
}

fn conv_case() -> impl Strategy<Value = ConvCase> {
    let shape = (
        prop::sample::select(vec![1_usize, 3, 3, 5, 7]),
        1..=3_usize,
        0..=3_usize,
        prop::sample::select(vec![1_usize, 1, 2, 4]),
    );
    let channels = (
        prop::sample::select(vec![1_usize, 3, 5, 4, 6]),
        prop::sample::select(vec![1_usize, 3, 4, 5, 6]),
    );
    let plane = (1..=9_usize, 1..=9_usize);
    (shape, channels, plane, any::<bool>(), 1..=5_usize)
        .prop_map(|((kernel, stride, padding, groups), (c, k), plane, bias, batch)| {
            // Large kernels have few channels: they take seconds to compile.
            let most = if kernel > 3 { 4 } else { 16 };
            ConvCase {
                conv: conv(kernel, stride, padding, groups),
                channels: groups * c.min(most / groups).max(1),
                filters: groups * k.min(most / groups).max(1),
                plane,
                bias,
                batch,
            }
        })
        .prop_filter("a window must fit", |case| {
            let needed = case.conv.kernel.saturating_sub(2 * case.conv.padding);
            case.plane.0.min(case.plane.1) >= needed
        })
}

fn convolutions(kind: AdapterKind, cases: &[ConvCase]) {
    let gpu = device::of_kind(kind);
    for (seed, case) in (0..).zip(cases) {
        println!("{case:?}");
        report("conv", kind, case.check(&gpu, seed));
    }
}

/// The shapes in networks, and shapes that are rarely drawn at random.
fn usual_convolutions() -> Vec<ConvCase> {
    let case = |(kernel, stride, padding, groups), (channels, filters), plane, bias, batch| ConvCase {
        conv: conv(kernel, stride, padding, groups),
        channels,
        filters,
        plane,
        bias,
        batch,
    };
    vec![
        case((3, 1, 1, 1), (16, 24), (8, 8), false, 3),
        case((3, 2, 1, 1), (5, 8), (8, 8), false, 3),
        case((3, 1, 1, 1), (3, 5), (7, 7), true, 2),
        case((1, 2, 0, 1), (16, 24), (7, 5), false, 2),
        case((3, 1, 1, 4), (12, 20), (5, 7), false, 2),
        case((7, 2, 3, 1), (3, 4), (12, 12), false, 2),
        case((5, 3, 2, 2), (6, 2), (9, 16), true, 2),
        case((3, 1, 1, 9), (9, 9), (8, 16), true, 2),
        case((1, 1, 0, 1), (24, 3), (1, 1), true, 7),
        case((3, 3, 0, 1), (4, 4), (10, 5), false, 2),
        case((1, 1, 3, 1), (4, 4), (4, 4), false, 2),
    ]
}

/// Depthwise ones: every channel is a group.
fn depthwise_case() -> impl Strategy<Value = ConvCase> {
    let shape = (
        prop::sample::select(vec![1_usize, 3, 3, 5]),
        1..=3_usize,
        0..=2_usize,
        2..=12_usize,
    );
    let plane = (1..=20_usize, 1..=40_usize);
    (shape, plane, any::<bool>(), 1..=5_usize)
        .prop_map(|((kernel, stride, padding, groups), plane, bias, batch)| ConvCase {
            conv: conv(kernel, stride, padding, groups),
            channels: groups,
            filters: groups,
            plane,
            bias,
            batch,
        })
        .prop_filter("a window must fit", |case| {
            let needed = case.conv.kernel.saturating_sub(2 * case.conv.padding);
            case.plane.0.min(case.plane.1) >= needed
        })
}

#[test]
fn random_depthwise_convolutions() {
    for kind in device::KINDS {
        let gpu = device::of_kind(kind);
        for_some(4, &depthwise_case(), |case| {
            println!("{case:?}");
            case.check(&gpu, 1);
        });
    }
}

/// One dispatch for each convolution and direction, however many groups it has.
/// Others only pack weights and add up partial sums.
#[test]
fn a_grouped_convolution_is_one_dispatch_in_each_direction() {
    for name in ["resnext-29-4x64d", "resnext-50-32x4d"] {
        let spec: ModelSpec = name.parse().unwrap();
        let graph = spec.build(&spec.usual_input(), Mode::Train).unwrap().graph;
        let mut whole = graph.clone();
        let loss = whole.find(|op| *op == Op::CrossEntropy).unwrap();
        whole.differentiate(loss, true, false);
        let with_weights = |op: Op| match op {
            Op::Conv(conv) | Op::ConvInputGradient(conv) | Op::ConvWeightGradient(conv) => Some(conv.groups > 1),
            Op::Linear | Op::LinearInputGradient | Op::LinearWeightGradient => Some(false),
            _ => None,
        };
        let works: Vec<bool> = whole.nodes.iter().filter_map(|node| with_weights(node.op)).collect();
        let grouped = works.iter().filter(|grouped| **grouped).count();
        assert_eq!(grouped % 3, 0, "{name}: forward and both gradients");
        for target in device::KINDS.map(|kind| Target::portable(kind == AdapterKind::Cpu)) {
            let plan = schedule::memory(&graph, true, 2, Recompute::None, &target);
            let dispatches = plan.calls().filter(|call| call.macs > 0).count();
            assert_eq!(dispatches, works.len(), "{name} on {target:?}, {grouped} grouped");
        }
    }
}

#[test]
fn convolutions_on_processors() {
    // Large tiles take seconds to compile.
    let all = usual_convolutions();
    convolutions(AdapterKind::Cpu, &[0, 1, 4, 6, 7, 8, 10].map(|index| all[index]));
}

/// Tiles that share halos within a subgroup: rows with one tile, with as many
/// as a subgroup has lanes, and with more; subgroups that have whole images,
/// half an image, or parts of two images; planes that tiles do not divide.
#[test]
fn convolutions_of_all_widths_on_processors() {
    let case = |(channels, filters), plane, batch| ConvCase {
        conv: conv(3, 1, 1, 1),
        channels,
        filters,
        plane,
        bias: false,
        batch,
    };
    let cases = [
        case((4, 8), (4, 4), 9),
        case((9, 4), (2, 3), 3),
        case((4, 12), (8, 7), 3),
        case((8, 4), (11, 14), 2),
        case((3, 8), (13, 16), 3),
        case((4, 4), (6, 28), 2),
        case((5, 10), (9, 32), 1),
        case((4, 4), (5, 56), 1),
        case((4, 4), (3, 68), 1),
        // More source channels than are taken at a time, in planes that are
        // loaded by load8, as vec4 and one by one.
        case((35, 20), (6, 8), 3),
        case((18, 5), (4, 12), 2),
        ConvCase {
            bias: true,
            ..case((20, 33), (5, 7), 2)
        },
        // 1×1 kernels with more source channels than are taken at a time, or
        // than the lanes of a weight gradient have.
        ConvCase {
            conv: conv(1, 1, 0, 1),
            ..case((72, 20), (6, 8), 3)
        },
        ConvCase {
            conv: conv(1, 2, 0, 1),
            ..case((80, 33), (8, 16), 2)
        },
        ConvCase {
            conv: conv(1, 2, 0, 2),
            bias: true,
            ..case((70, 12), (7, 5), 3)
        },
        // Halos of three pixels, within a subgroup and, in wide planes, from
        // memory.
        ConvCase {
            conv: conv(7, 2, 3, 1),
            ..case((3, 10), (30, 72), 2)
        },
        ConvCase {
            conv: conv(7, 2, 3, 1),
            bias: true,
            ..case((3, 4), (9, 232), 1)
        },
        // So many images that a weight gradient takes several tiles of them,
        // and the last tile is not full.
        case((64, 4), (4, 4), 300),
    ];
    convolutions(AdapterKind::Cpu, &cases);
}

/// With 64-bit integers one load takes eight values; without them it takes two
/// or eight loads. The values are the same, so the bits are the same.
#[test]
fn convolutions_with_and_without_wide_loads_give_the_same_bits() {
    let found = |no_int64: bool| {
        let gpu = device::open(&AdapterOverrides {
            kind: Some(AdapterKind::Cpu),
            no_int64,
            ..AdapterOverrides::default()
        });
        assert!(!(no_int64 && gpu.limits().int64));
        let mut run = ReferenceRun::new(&gpu, [3, 16, 16], 3, 4, &|graph, images| {
            let x = graph.conv("in", images, 8, conv(3, 1, 1, 1), false, Init::Zero)?;
            let x = graph.conv("even", x, 16, conv(3, 1, 1, 1), true, Init::Zero)?;
            let x = graph.conv("strided", x, 16, conv(3, 2, 1, 1), false, Init::Zero)?;
            let x = graph.conv("narrow", x, 8, conv(1, 1, 0, 1), false, Init::Zero)?;
            Ok(head(graph, x))
        });
        let route = run.default_route();
        report("wide loads or not", AdapterKind::Cpu, run.check(&route));
        run.on_device(&route)
    };
    assert_eq!(found(false), found(true));
}

#[test]
fn convolutions_on_gpus() {
    convolutions(AdapterKind::Discrete, &usual_convolutions());
}

#[test]
fn random_convolutions_on_processors() {
    let gpu = device::of_kind(AdapterKind::Cpu);
    for_some(4, &conv_case(), |case| {
        println!("{case:?}");
        case.check(&gpu, 1);
    });
}

#[test]
fn random_convolutions_on_gpus() {
    let gpu = device::of_kind(AdapterKind::Discrete);
    for_some(10, &conv_case(), |case| {
        println!("{case:?}");
        case.check(&gpu, 1);
    });
}

// Batch norm and pools.

#[test]
fn norms_and_pools_of_any_plane() {
    // With two or three images, the norm after the pool would leave a gradient
    // that is only rounding.
    let strategy = (2..=5_usize, 4..=9_usize, 4..=9_usize, 6..=9_usize);
    for kind in device::KINDS {
        let gpu = device::of_kind(kind);
        for_some(2, &strategy, |(channels, height, width, batch)| {
            let mut run = ReferenceRun::new(&gpu, [channels, height, width], batch, 3, &norms_and_pools);
            let route = run.default_route();
            report(&format!("{channels}×{height}×{width}"), kind, run.check(&route));
        });
        // Planes that are loaded as vec4, and a batch with several chunks.
        let mut run = ReferenceRun::new(&gpu, [3, 8, 8], 70, 4, &norms_and_pools);
        let route = run.default_route();
        report("3×8×8", kind, run.check(&route));
    }
}

/// Every pool, with batch norms with and without ReLU.
fn norms_and_pools(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let pool = |kernel, stride, padding| Pool {
        kernel,
        stride,
        padding,
    };
    // Many ties: windows of zeros, and windows with the same maximum twice.
    let x = graph.conv("conv1", images, 4, conv(1, 1, 0, 1), true, Init::Zero)?;
    let x = graph.relu(x);
    let x = graph.max_pool(x, pool(2, 1, 1))?;
    let tied = graph.max_pool(x, pool(3, 2, 1))?;
    let a = norm_relu(graph, "bn1", tied);
    let a = graph.avg_pool(a, pool(3, 2, 1))?;
    let b = norm(graph, "bn2", tied);
    let b = graph.avg_pool(b, pool(2, 2, 1))?;
    let b = graph.relu(b);
    let b = graph.slice(b, 0, 3)?;
    let a = norm_relu(graph, "bn3", a);
    let a = graph.global_avg_pool(a);
    let b = graph.global_avg_pool(b);
    let both = graph.concat(&[a, b])?;
    let both = norm(graph, "bn4", both);
    Ok(graph.linear("fc", both, CLASSES, Init::Zero))
}

// Gates.

#[test]
fn gates_of_any_plane() {
    let strategy = (2..=5_usize, 1..=9_usize, 1..=9_usize, 1..=9_usize);
    for kind in device::KINDS {
        let gpu = device::of_kind(kind);
        for_some(2, &strategy, |(channels, height, width, batch)| {
            let mut run = ReferenceRun::new(&gpu, [channels, height, width], batch, 3, &gates);
            let route = run.default_route();
            report(&format!("{channels}×{height}×{width}"), kind, run.check(&route));
        });
    }
}

/// A gate for each channel (squeeze and excitation), and one for each element.
fn gates(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("conv1", images, 4, conv(1, 1, 0, 1), true, Init::Zero)?;
    let pooled = graph.global_avg_pool(x);
    let squeezed = graph.linear("squeeze", pooled, 3, Init::Zero);
    let squeezed = graph.relu(squeezed);
    let gate = graph.linear("excite", squeezed, 4, Init::Zero);
    let gate = graph.sigmoid(gate);
    let x = graph.multiply(x, gate)?;
    let y = graph.conv("gate", x, 4, conv(3, 1, 1, 1), true, Init::Zero)?;
    let open = graph.sigmoid(y);
    let shut = graph.scale(y, -2.0);
    let shut = graph.sigmoid(shut);
    let a = graph.multiply(x, open)?;
    let b = graph.multiply(x, shut)?;
    let both = graph.sum(a, b)?;
    let zeros = graph.zeros_like(both);
    let x = block(graph, "features", images, false, [both, zeros])?;
    let x = graph.global_avg_pool(x);
    Ok(graph.linear("fc", x, CLASSES, Init::Zero))
}

// Blocks and routes.

fn block(graph: &mut Graph, name: &str, input: NodeId, relu: bool, sides: [NodeId; 2]) -> Result<NodeId, GraphError> {
    let info = BlockInfo {
        name,
        stage: 1,
        input,
        downsamples: graph.shape(input) != graph.shape(sides[0]),
        default: Gains::RESIDUAL,
        relu,
    };
    graph.block(&info, sides[0], sides[1])
}

/// Post-activation: an identity shortcut, one of option B, and the three
/// variants of option A.
fn post_activation(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("stem", images, 4, conv(3, 1, 1, 1), false, Init::Zero)?;
    let mut x = norm_relu(graph, "stem.bn", x);
    let pad = |stride, average, before, after| PadShortcut {
        stride,
        average,
        before,
        after,
    };
    let shortcuts = [
        None,
        Some(pad(2, false, 1, 1)),
        Some(pad(1, false, 0, 2)),
        Some(pad(2, true, 1, 0)),
    ];
    for (index, shortcut) in shortcuts.into_iter().enumerate() {
        let name = format!("layer1.{index}");
        let side = match shortcut {
            Some(pad) => graph.pad_shortcut(x, pad)?,
            None => x,
        };
        let stride = shortcut.map_or(1, |pad| pad.stride);
        let filters = graph.shape(side).channels();
        // On odd planes the average leaves out the last row and column, and so
        // must the convolution.
        let inner = if shortcut.is_some_and(|pad| pad.average) {
            conv(2, 2, 0, 1)
        } else {
            conv(3, stride, 1, 1)
        };
        let branch = graph.scoped(&name, |graph| {
            let y = graph.conv("conv1", x, filters, inner, false, Init::Zero)?;
            let y = norm_relu(graph, "bn1", y);
            let y = graph.conv("conv2", y, filters, conv(1, 1, 0, 1), false, Init::Zero)?;
            Ok(norm(graph, "bn2", y))
        })?;
        x = block(graph, &name, x, true, [branch, side])?;
    }
    let projected = graph.conv("down", x, 6, conv(1, 1, 0, 1), false, Init::Zero)?;
    let projected = norm(graph, "down.bn", projected);
    let branch = graph.conv("last", x, 6, conv(1, 1, 0, 1), false, Init::Zero)?;
    let branch = norm(graph, "last.bn", branch);
    let x = block(graph, "layer1.4", x, true, [branch, projected])?;
    Ok(head(graph, x))
}

/// Pre-activation with dropout, a shared activation before a projection, a
/// residual branch that ends in a ReLU, and a plain layer, which is a block
/// whose shortcut is off.
fn pre_activation(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let mut x = graph.conv("stem", images, 4, conv(3, 1, 1, 1), true, Init::Zero)?;
    for (index, filters) in [4, 6, 6].into_iter().enumerate() {
        let name = format!("layer1.{index}");
        let (branch, shortcut) = graph.scoped(&name, |graph| {
            let entry = norm_relu(graph, "bn1", x);
            let shortcut = if graph.shape(x).channels() == filters {
                x
            } else {
                graph.conv("downsample", entry, filters, conv(1, 1, 0, 1), false, Init::Zero)?
            };
            let y = graph.conv("conv1", entry, filters, conv(3, 1, 1, 2), false, Init::Zero)?;
            let y = norm_relu(graph, "bn2", y);
            let y = graph.dropout(y, 0.3)?;
            let y = graph.conv("conv2", y, filters, conv(1, 1, 0, 1), true, Init::Zero)?;
            Ok((y, shortcut))
        })?;
        x = block(graph, &name, x, false, [branch, shortcut])?;
    }
    let y = graph.scoped("plain", |graph| {
        let y = graph.conv("conv", x, 6, conv(1, 1, 0, 1), false, Init::Zero)?;
        Ok(norm_relu(graph, "bn", y))
    })?;
    let info = BlockInfo {
        name: "plain",
        stage: 1,
        input: x,
        downsamples: false,
        default: Gains::PLAIN,
        relu: false,
    };
    x = graph.block(&info, y, x)?;
    let x = graph.dropout(x, 0.5)?;
    graph.linear("fc", x, CLASSES, Init::Zero);
    // And stochastic depth by image. Block 2 always keeps its branch.
    if graph.mode == Mode::Train {
        graph.drop_paths(|number, _| if number == 2 { 0.0 } else { 0.4 });
    }
    Ok(NodeId(graph.nodes.len() - 1))
}

/// Routes that turn every side of the blocks on and off.
fn routes(default: &Route) -> Vec<(&'static str, Route)> {
    let blocks = default.len();
    let with = |changes: &[(usize, Gains)]| {
        let mut route = default.clone();
        for &(index, gains) in changes {
            route.set(BlockId(index), gains);
        }
        route
    };
    let gains = |branch, shortcut, back_branch, back_shortcut| Gains {
        branch,
        shortcut,
        back_branch,
        back_shortcut,
    };
    let last = blocks - 1;
    let alternate = |even, odd| -> Vec<(usize, Gains)> {
        (0..blocks)
            .map(|index| (index, if index % 2 == 0 { even } else { odd }))
            .collect()
    };
    vec![
        ("as built", default.clone()),
        ("branches off", with(&alternate(Gains::DELETED, Gains::RESIDUAL))),
        ("shortcuts off", with(&alternate(Gains::RESIDUAL, Gains::PLAIN))),
        ("all deleted", with(&alternate(Gains::DELETED, Gains::DELETED))),
        (
            "forward by halves",
            with(&[(0, gains(0.5, 1.0, 1.0, 1.0)), (last, gains(0.5, 2.0, 1.0, 1.0))]),
        ),
        (
            "one path back",
            with(&alternate(gains(1.0, 1.0, 1.0, 0.0), gains(1.0, 1.0, 0.0, 1.0))),
        ),
        ("nothing back", with(&[(1, gains(1.0, 1.0, 0.0, 0.0))])),
        ("back where nothing came", with(&[(1, gains(0.0, 1.0, 1.0, 1.0))])),
        (
            "both by halves",
            with(&[
                (0, Gains::both(0.5, 1.0)),
                (1, Gains::both(1.0, 0.25)),
                (2, Gains::DELETED),
            ]),
        ),
    ]
}

fn blocks_under_routes(what: &str, kind: AdapterKind, dims: [usize; 3], build: reference_run::Build) {
    let gpu = device::of_kind(kind);
    let mut run = ReferenceRun::new(&gpu, dims, 6, 5, build);
    for (name, route) in routes(&run.default_route()) {
        println!("{what} {name}");
        report(name, kind, run.check(&route));
    }
}

#[test]
fn post_activation_blocks_under_routes() {
    for kind in device::KINDS {
        blocks_under_routes("post-activation", kind, [3, 9, 7], &post_activation);
    }
}

#[test]
fn pre_activation_blocks_under_routes() {
    for kind in device::KINDS {
        blocks_under_routes("pre-activation", kind, [3, 4, 4], &pre_activation);
    }
}

/// Values that are read more than once, so that gradients are summed in place
/// and separately, and a ReLU and a join that no batch norm kernel includes.
fn shared_values(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("conv1", images, 6, conv(3, 1, 1, 1), true, Init::Zero)?;
    let x = graph.relu(x);
    let some = graph.slice(x, 1, 4)?;
    let others = graph.slice(x, 3, 3)?;
    let dropped = graph.dropout(some, 0.25)?;
    let wide = graph.concat(&[dropped, others, x, x])?;
    let y = graph.conv("conv2", wide, 6, conv(1, 1, 0, 1), true, Init::Zero)?;
    let y = block(graph, "a", x, true, [y, x])?;
    // The normalised value is read twice, so its ReLU must not be fused.
    let normal = norm(graph, "bn", y);
    let z = graph.relu(normal);
    let z = block(graph, "b", y, false, [z, normal])?;
    // Both sides are one value.
    let z = block(graph, "c", z, false, [z, z])?;
    Ok(head(graph, z))
}

#[test]
fn shared_values_under_routes() {
    for kind in device::KINDS {
        blocks_under_routes("shared", kind, [3, 5, 7], &shared_values);
    }
}

/// More channel blocks than workgroups along a dimension.
#[test]
fn a_grid_takes_a_second_dimension_where_the_first_is_full() {
    let gpu = device::open(&AdapterOverrides {
        kind: Some(AdapterKind::Discrete),
        workgroups: Some(100),
        ..AdapterOverrides::default()
    });
    let case = ConvCase {
        conv: conv(1, 1, 0, 1),
        channels: 32,
        filters: 32,
        plane: (9, 9),
        bias: true,
        batch: 40,
    };
    report("second dimension", AdapterKind::Discrete, case.check(&gpu, 7));
}

// Gathering images and updating parameters.

/// A session whose network is one linear layer: the weight gradient shows the
/// images.
fn linear_session(gpu: &Arc<Gpu>, [c, h, w]: [usize; 3], decays: fn(&Param) -> bool) -> Session {
    let graph = |mode| {
        let mut graph = Graph::new(mode);
        let images = graph.images(c, h, w);
        let logits = graph.linear("fc", images, 2, Init::Zero);
        graph.cross_entropy(logits);
        graph
    };
    Session::new(gpu.clone(), Some(graph(Mode::Train)), graph(Mode::Eval), decays).unwrap()
}

/// The pixels that the device gathers for one draw. With zero weights and
/// label 0, the gradient of row 0 of the weights is (p − 1) x = −x/2.
fn gathered(session: &mut Session, set: &residua::schedule::ResidentSet, draw: Draw, padding: Padding) -> Vec<f32> {
    let batch = Batch {
        set,
        draws: &[draw.pack()],
        crop: Crop {
            pad: PAD.into(),
            reflect: padding == Padding::Reflect,
        },
    };
    let route = Route::new(Vec::new());
    session.gradient_step(batch, &route, 0, 0).unwrap();
    let gradient = session.read_gradient(ParamId(0)).unwrap();
    gradient[..gradient.len() / 2].iter().map(|g| -2.0 * g).collect()
}

fn image_set([channels, height, width]: [usize; 3], images: usize) -> ImageSet {
    ImageSet {
        name: "noise".into(),
        channels,
        height,
        width,
        class_names: vec!["a".into(), "b".into()],
        images: (0..images * channels * height * width)
            .map(|i| ((i * 2_654_435_761) >> 7) as u8)
            .collect(),
        labels: vec![0; images],
    }
}

#[test]
fn gathering_crops_flips_pads_and_normalises() {
    // A binding is smaller than the set.
    let gpu = device::open(&AdapterOverrides {
        binding: Some(16 << 10),
        ..AdapterOverrides::default()
    });
    // Of the largest, sixteen begin at an aligned byte again, and fifteen fit the binding.
    for (dims, images) in [
        ([3, 7, 5], 600),
        ([1, 8, 12], 600),
        ([3, 3, 2], 600),
        ([1, 1, 6], 600),
        ([3, 19, 19], 64),
    ] {
        let set = image_set(dims, images);
        let normalization = Normalization::new(
            vec![0.5, 0.4, 0.3][..dims[0]].into(),
            vec![0.2, 0.3, 0.25][..dims[0]].into(),
        );
        let normalization = normalization.unwrap();
        let mut session = linear_session(&gpu, dims, |_| true);
        let resident = session
            .load(
                &set.images,
                &set.labels,
                dims,
                normalization.mean(),
                normalization.std(),
            )
            .unwrap();
        for padding in [Padding::Zero, Padding::Reflect] {
            for (index, dx, dy, flip) in [
                (0, 4, 4, false),
                (images as u32 - 1, 0, 8, true),
                (images as u32 / 2 + 1, 8, 0, false),
                (images as u32 / 8 + 2, 3, 6, true),
            ] {
                let draw = Draw {
                    dx,
                    dy,
                    flip,
                    ..Draw::unchanged(index)
                };
                let truth = data::gather(&set, &[draw], padding, &normalization);
                let found = gathered(&mut session, &resident, draw, padding);
                for (at, (found, truth)) in found.iter().zip(&truth).enumerate() {
                    let near = (found - truth).abs() <= 1e-6 * truth.abs().max(1.0);
                    assert!(near, "{dims:?} {draw:?} {padding}: pixel {at} is {found}, not {truth}");
                }
            }
        }
    }
}

#[test]
fn operations_change_images_as_their_reference_does() {
    let gpu = device::open(&AdapterOverrides {
        binding: Some(64 << 10),
        ..AdapterOverrides::default()
    });
    let rotated = Operation::affine([0.8, 0.6, -3.0, -0.6, 0.8, 4.0]);
    let operations = [
        Operation::Identity,
        rotated,
        Operation::affine([1.0, 0.3, 0.0, 0.0, 1.0, -2.0]),
        Operation::Brightness(Factor::of(1.7)),
        Operation::Color(Factor::of(0.25)),
        Operation::Contrast(Factor::of(1.9)),
        Operation::Contrast(Factor::of(0.1)),
        Operation::Sharpness(Factor::of(1.81)),
        Operation::Posterize(3),
        Operation::Solarize(100),
        Operation::AutoContrast,
        Operation::Equalize,
        Operation::Invert,
    ];
    for dims in [[3, 24, 32], [1, 40, 24], [3, 7, 5], [3, 2, 2]] {
        let set = image_set(dims, 40);
        let normalization = Normalization::named("none", dims[0]).unwrap();
        let mut session = linear_session(&gpu, dims, |_| true);
        session.set_changes(0, false, 2);
        let (mean, std) = (normalization.mean(), normalization.std());
        let resident = session.load(&set.images, &set.labels, dims, mean, std).unwrap();
        let crop = Operation::ResizedCrop {
            top: 1,
            left: 0,
            height: dims[1] as u32 - 1,
            width: dims[2] as u32 / 2,
        };
        let pairs = operations.iter().map(|&one| [one, crop]);
        for (index, pair) in (0..).zip(pairs.chain([
            [crop, Operation::Equalize],
            [rotated, Operation::Sharpness(Factor::of(0.5))],
        ])) {
            let draw = Draw {
                dx: 3,
                dy: 5,
                flip: index % 2 == 1,
                ..Draw::unchanged(39 - index)
            };
            session.set_operations(pair.map(Operation::pack).to_vec());
            let found = gathered(&mut session, &resident, draw, Padding::Reflect);
            let truth = data::gather_distorted(&set, &[draw], Padding::Reflect, &normalization, &|_| pair.to_vec());
            let byte = |value: &f32| (255.0 * value).round() as i32;
            let differ = found
                .iter()
                .zip(&truth)
                .filter(|(found, truth)| byte(found) != byte(truth))
                .count();
            assert_eq!(
                differ,
                0,
                "{dims:?} {pair:?}: {differ} of {} values differ",
                truth.len()
            );
        }
    }
}

#[test]
fn a_set_that_replaces_another_is_gathered() {
    let gpu = device::open(&AdapterOverrides::default());
    let dims = [1, 4, 4];
    let mut session = linear_session(&gpu, dims, |_| true);
    for byte in 0..20_u8 {
        let set = session.load(&[byte; 16], &[0], dims, &[0.0], &[1.0]).unwrap();
        let found = gathered(&mut session, &set, Draw::unchanged(0), Padding::Zero);
        assert_eq!((found[3] * 255.0).round(), f32::from(byte));
    }
}

/// SGD as in PyTorch, in f64.
struct PlainSgd {
    values: Vec<f64>,
    momentum: Vec<f64>,
}

impl PlainSgd {
    fn step(&mut self, gradient: &[f32], decays: bool, update: Update) {
        for ((p, m), g) in self.values.iter_mut().zip(&mut self.momentum).zip(gradient) {
            let decay = if decays { f64::from(update.weight_decay) } else { 0.0 };
            let g = f64::from(*g) + decay * *p;
            *m = f64::from(update.momentum) * *m + g;
            let direction = if update.nesterov {
                g + f64::from(update.momentum) * *m
            } else {
                *m
            };
            *p -= f64::from(update.lr) * direction;
        }
    }
}

fn only_linear_weights(param: &Param) -> bool {
    param.kind == ParamKind::LinearWeight
}

#[test]
fn updates_are_sgd_with_momentum() {
    // The weights fill a binding, so the arenas are updated in two dispatches.
    let dims = [3, 26, 26];
    let gpu = device::open(&AdapterOverrides {
        binding: Some(4 * 2 * 3 * 26 * 26),
        ..AdapterOverrides::default()
    });
    let set = image_set(dims, 4);
    type Case = (bool, f32, fn(&Param) -> bool);
    let cases: [Case; 4] = [
        (false, 0.9, |_| true),
        (true, 0.9, |_| true),
        (false, 0.0, |_| false),
        (true, 0.5, only_linear_weights),
    ];
    for (nesterov, momentum, decays) in cases {
        let mut session = linear_session(&gpu, dims, decays);
        let resident = session
            .load(&set.images, &set.labels, dims, &[0.5; 3], &[0.25; 3])
            .unwrap();
        let params = session.graph().params.clone();
        let mut plain: Vec<PlainSgd> = Vec::new();
        for (index, param) in params.iter().enumerate() {
            let start: Vec<f32> = (0..param.len()).map(|i| (i % 13) as f32 * 0.01 - 0.05).collect();
            session.write_param(ParamId(index), &start);
            plain.push(PlainSgd {
                values: reference_run::to_f64(&start),
                momentum: vec![0.0; param.len()],
            });
        }
        let update = Update {
            lr: 0.01,
            momentum,
            weight_decay: 0.1,
            nesterov,
        };
        for step in 0..3 {
            let draws = [[step, 0]];
            let batch = Batch {
                set: &resident,
                draws: &draws,
                crop: Crop { pad: 0, reflect: false },
            };
            session
                .train_step(batch, &Route::new(Vec::new()), update, 1, step)
                .unwrap();
            for (index, plain) in plain.iter_mut().enumerate() {
                let id = ParamId(index);
                plain.step(&session.read_gradient(id).unwrap(), decays(&params[index]), update);
                for (what, found, truth) in [
                    ("parameter", session.read_param(id).unwrap(), &plain.values),
                    ("momentum", session.read_momentum(id).unwrap(), &plain.momentum),
                ] {
                    let error = reference_run::distance(&reference_run::to_f64(&found), truth)
                        / reference_run::norm(truth).max(1e-9);
                    assert!(error < 1e-6, "{what} {index} after step {step}: off by {error:e}");
                }
            }
        }
    }
}

/// Threads have small stacks, and compilers go through a program recursively: a hundred
/// nested sums take more than the 64 KiB of this one.
#[test]
fn programs_compile_on_threads_with_small_stacks() {
    const NESTED: usize = 100;
    let gpu = device::own(&AdapterOverrides::default());
    let sum = format!("{}1u{}", "(1u + ".repeat(NESTED), ")".repeat(NESTED));
    let program = Program {
        label: "nested".into(),
        source: format!(
            "@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n\
             @compute @workgroup_size(1) fn main() {{ out[0] = {sum}; }}\n"
        )
        .into(),
        bindings: vec![(0, Access::Write)],
    };
    let small = std::thread::Builder::new().stack_size(64 << 10);
    let compiles = small.spawn(move || gpu.pipeline(&program).map(|_| ())).unwrap();
    compiles.join().unwrap().unwrap();
}

#[test]
fn two_runs_give_the_same_bits() {
    for kind in device::KINDS {
        let outcome = || {
            let gpu = device::of_kind(kind);
            let mut run = ReferenceRun::new(&gpu, [3, 4, 4], 16, 9, &pre_activation);
            let route = run.default_route();
            let once = run.on_device(&route);
            assert_eq!(once, run.on_device(&route), "one session, two steps");
            once
        };
        assert_eq!(outcome(), outcome(), "two sessions");
    }
}

#[test]
fn a_deleted_blocks_gradients_are_zero_and_its_momentum_decays() {
    let gpu = device::open(&AdapterOverrides::default());
    let graph = |mode| {
        let mut graph = Graph::new(mode);
        let images = graph.images(3, 4, 4);
        let logits = pre_activation(&mut graph, images).unwrap();
        graph.cross_entropy(logits);
        graph
    };
    let mut session = Session::new(gpu, Some(graph(Mode::Train)), graph(Mode::Eval), |_| true).unwrap();
    let set = image_set([3, 4, 4], 4);
    let resident = session
        .load(&set.images, &set.labels, [3, 4, 4], &[0.5; 3], &[0.25; 3])
        .unwrap();
    let params = session.graph().params.clone();
    for (index, param) in params.iter().enumerate() {
        let start: Vec<f32> = (0..param.len()).map(|i| (i * 7 % 11) as f32 * 0.05 - 0.2).collect();
        session.write_param(ParamId(index), &start);
    }
    let draws = [[0, 0], [1, 0], [2, 0], [3, 0]];
    let batch = Batch {
        set: &resident,
        draws: &draws,
        crop: Crop { pad: 0, reflect: false },
    };
    let update = Update {
        lr: 0.0,
        momentum: 0.5,
        weight_decay: 0.0,
        nesterov: false,
    };
    let route = session.graph().default_route();
    session.train_step(batch, &route, update, 1, 0).unwrap();
    let momenta = |session: &Session| -> Vec<Vec<f32>> {
        let ids = (0..params.len()).map(ParamId);
        ids.map(|id| session.read_momentum(id).unwrap()).collect()
    };
    let before = momenta(&session);
    session
        .train_step(batch, &route.deleting(&[1]).unwrap(), update, 1, 1)
        .unwrap();
    let after = momenta(&session);
    let mut deleted = 0;
    for (index, param) in params.iter().enumerate() {
        let gradient = session.read_gradient(ParamId(index)).unwrap();
        let zero = gradient.iter().all(|&g| g == 0.0);
        let of_block = param.name.starts_with("layer1.0");
        assert_eq!(zero, of_block, "gradient of {}", param.name);
        if of_block {
            let halved: Vec<f32> = before[index].iter().map(|m| 0.5 * m).collect();
            assert_eq!(after[index], halved, "momentum of {}", param.name);
            deleted += 1;
        }
    }
    assert_eq!(deleted, 5);
}
