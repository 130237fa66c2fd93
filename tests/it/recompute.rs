//! Does training that recomputes activations give the same bits as training
//! that stores them? Also under routes that leave blocks out, with dropout and
//! with drop path, on a device and in the f64 reference.

use crate::support::device;
use crate::support::small;
use crate::support::update::UPDATE;
use residua::data::{Draw, ImageSet, Normalization, Padding};
use residua::gpu::AdapterKind;
use residua::graph::{Graph, Mode, NodeId, Op, ParamId, Recompute, Route, StateId};
use residua::models::{InputShape, ModelSpec, Network};
use residua::reference::{self, Inputs};
use residua::train::{Depth, DepthRule, DeviceEngine, Engine, Split, StepPlan, initialise};

const BATCH: u32 = 6;
const STEPS: u32 = 4;
const SIDE: usize = 8;

/// Networks with three blocks or more, with each kind of branch and shortcut
/// and both kinds of stochastic depth.
const RUNS: [(&str, Depth); 6] = [
    ("resnet14", Depth::Constant),
    ("resnet8:shortcut=B", BATCHWISE),
    ("preact-14", BATCHWISE),
    ("preact-20:block=bottleneck", Depth::Constant),
    ("wrn-16-1:dropout=0.3", BY_SAMPLE),
    ("plain-8", Depth::Sampled(2)),
];

const BATCHWISE: Depth = Depth::Stochastic {
    p_last: 0.5,
    rule: DepthRule::Linear,
};

const BY_SAMPLE: Depth = Depth::BySample {
    p_last: 0.5,
    rule: DepthRule::Linear,
};

fn network(model: &str, depth: Depth, mode: Mode) -> Network {
    let input = InputShape {
        channels: 3,
        height: SIDE,
        width: SIDE,
        classes: 4,
    };
    let network = model.parse::<ModelSpec>().unwrap().build(&input, mode).unwrap();
    match mode {
        Mode::Train => depth.prepare(network),
        Mode::Eval => network,
    }
}

fn images() -> ImageSet {
    small::noise(SIDE, BATCH * 2)
}

/// Everything that training changes, and what its last step took: the number
/// of dispatches and the bytes of activations.
fn trained(model: &str, depth: Depth, recompute: Recompute) -> (Vec<Vec<u32>>, usize, u64) {
    // The small tiles of GPUs compile faster.
    let gpu = device::of_kind(AdapterKind::Discrete);
    let train = network(model, depth, Mode::Train);
    let graph = train.graph.clone();
    let mut engine = DeviceEngine::new(gpu, Some(train), network(model, depth, Mode::Eval), |_| true).unwrap();
    engine.session().set_recompute(recompute);
    initialise(&mut engine, 5);
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    engine.load(Split::Train, &images(), &normalization).unwrap();
    for step in 0..STEPS {
        let draws: Vec<Draw> = (0..BATCH).map(|i| Draw::unchanged(i + BATCH * (step % 2))).collect();
        engine
            .step(&StepPlan {
                draws: &draws,
                padding: Padding::Zero,
                route: &depth.training_route(&graph, 3, step),
                update: UPDATE,
                seed: 77,
                step,
            })
            .unwrap();
    }
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    let mut left: Vec<Vec<u32>> = vec![bits(engine.metrics(0..STEPS).unwrap().into_flattened())];
    for id in (0..graph.params.len()).map(ParamId) {
        left.push(bits(engine.param(id).unwrap()));
        left.push(bits(engine.gradient(id).unwrap()));
    }
    for id in (0..graph.states.len()).map(StateId) {
        left.push(bits(engine.state(id).unwrap()));
    }
    let session = engine.session();
    let dispatches = session.kernels(true, BATCH as usize, &graph.default_route()).unwrap();
    let bytes = session.footprint(&[BATCH as usize], &[]).activations;
    (left, dispatches.len(), bytes)
}

#[test]
fn training_that_recomputes_is_the_same_to_the_bit() {
    for (model, depth) in RUNS {
        let (kept, dispatches, bytes) = trained(model, depth, Recompute::None);
        assert!(kept.iter().flatten().all(|&bits| f32::from_bits(bits).is_finite()));
        for how in [Recompute::Cheap, Recompute::Blocks] {
            let (again, more, fewer) = trained(model, depth, how);
            assert!(again == kept, "{model} with {how:?} gives another result");
            println!("{model}, {how:?}: {dispatches} to {more} dispatches, {bytes} to {fewer} bytes");
            assert!(more > dispatches && fewer < bytes, "{model} with {how:?} saves nothing");
        }
    }
}

/// Gradients of all parameters, loss and running statistics, in f64.
fn gradients(graph: &Graph, wanted: &[NodeId], route: &Route) -> Vec<Vec<f64>> {
    let noise = |count: usize, salt: usize| -> Vec<f64> {
        let at = |i: usize| ((i * 7919 + salt * 104_729) % 1009) as f64 / 504.5 - 1.0;
        (0..count).map(at).collect()
    };
    let params = graph.params.iter().enumerate();
    let params: Vec<Vec<f64>> = params.map(|(salt, param)| noise(param.len(), salt)).collect();
    let states = graph.states.iter();
    let mut states: Vec<Vec<f64>> = states.map(|state| vec![1.0; 2 * state.channels]).collect();
    let inputs = Inputs {
        images: &noise(2 * 3 * SIDE * SIDE, 1),
        labels: &[1, 3],
        params: &params,
        states: &mut states,
        batch: 2,
        first: 0,
        of: 2,
        seed: 9,
        step: 2,
    };
    let values = reference::run(graph, route, wanted, inputs).unwrap();
    let mut all: Vec<Vec<f64>> = wanted
        .iter()
        .map(|&id| values.get(id).map(<[f64]>::to_vec).unwrap_or_default())
        .collect();
    all.extend(states);
    all
}

#[test]
fn every_segmentation_gives_the_same_gradients_under_every_route() {
    for (model, depth) in RUNS {
        let forward = network(model, depth, Mode::Train).graph;
        let loss = forward.find(|op| *op == Op::CrossEntropy).unwrap();
        let mut kept = forward.clone();
        let found = kept.differentiate(loss, true, false);
        let wanted = |gradients: &residua::graph::Gradients| {
            let params = gradients.params.iter().map(|&(_, node)| node);
            params.chain([loss]).collect::<Vec<NodeId>>()
        };
        let whole = forward.default_route();
        let routes = [
            whole.clone(),
            whole.clone().deleting(&[2]).unwrap(),
            whole.deleting(&[1, 3]).unwrap(),
        ];
        let truths = routes.each_ref().map(|route| gradients(&kept, &wanted(&found), route));
        for how in [Recompute::Cheap, Recompute::Blocks] {
            for segments in forward.segmentations() {
                let (mut graph, mut gone) = (kept.clone(), found.clone());
                graph.recompute(&mut gone, how, segments);
                for (route, truth) in routes.iter().zip(&truths) {
                    let again = gradients(&graph, &wanted(&gone), route);
                    assert!(again == *truth, "{model}, {how:?} in {segments} segments");
                }
            }
        }
    }
}

#[test]
fn batch_statistics_are_computed_once() {
    let mut graph = network("resnet8", Depth::Constant, Mode::Train).graph;
    let loss = graph.find(|op| *op == Op::CrossEntropy).unwrap();
    let mut found = graph.differentiate(loss, true, false);
    let count = |graph: &Graph, wanted: fn(&Op) -> bool| graph.nodes.iter().filter(|node| wanted(&node.op)).count();
    let (convs, statistics) = (
        count(&graph, |op| matches!(op, Op::Conv(_))),
        count(&graph, |op| matches!(op, Op::BatchStats(_))),
    );
    graph.recompute(&mut found, Recompute::Blocks, usize::MAX >> 32);
    assert_eq!(count(&graph, |op| matches!(op, Op::BatchStats(_))), statistics);
    // Three blocks and a stem: the values of the last block are stored.
    assert_eq!(count(&graph, |op| matches!(op, Op::Conv(_))), convs + convs - 2);
}
