//! What is left of a network without a block? For each family, logits under a
//! lesion are compared in f64 with those of a graph without joins and routes,
//! from which the part that `docs/lesions.md` names was removed.

use crate::support::fixture;
use residua::data::{Draw, Normalization, Padding, Source, Split};
use residua::graph::{Block, Graph, Mode, Node, NodeId, Op, Route, parse_blocks};
use residua::models::{InputShape, Model, ModelSpec};
use residua::reference::{self, Inputs};
use residua::schedule::Update;
use residua::train::{Adapter, Depth, Engine, StepPlan, TrainOptions, initialise, open};

/// What a block is, and what remains where it is deleted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    /// A branch beside a shortcut: the shortcut remains.
    Branch,
    /// A layer: its input remains.
    Layer,
    /// Channels of a concatenation: zeros remain.
    Channels,
    /// A path of a mean: the mean of the other paths remains.
    Path,
}

/// The network without the blocks at `deleted` (numbers from 1), made of ordinary
/// operations.
fn without(graph: &Graph, part: fn(&Block) -> Part, deleted: &[usize]) -> Graph {
    let mut nodes: Vec<Node> = Vec::new();
    let mut new: Vec<NodeId> = Vec::new();
    let add = |nodes: &mut Vec<Node>, op: Op, inputs: Vec<NodeId>, like: NodeId| {
        let shape = graph.shape(like).clone();
        nodes.push(Node { op, inputs, shape });
        NodeId(nodes.len() - 1)
    };
    for id in graph.ids() {
        let node = graph.node(id);
        let at = |old: NodeId| new[old.0];
        let Op::Join(block) = node.op else {
            let inputs = node.inputs.iter().map(|&input| at(input)).collect();
            new.push(add(&mut nodes, node.op, inputs, id));
            continue;
        };
        let gone = |index: usize| deleted.contains(&(index + 1));
        let own = &graph.blocks[block.0];
        let (branch, shortcut) = (at(own.branch), at(own.shortcut));
        let value = match (part(own), gone(block.0)) {
            (Part::Branch, false) => add(&mut nodes, Op::Sum, vec![branch, shortcut], id),
            (Part::Branch, true) => shortcut,
            (Part::Layer, true) => at(own.input),
            (Part::Layer | Part::Channels, false) => branch,
            (Part::Channels, true) => add(&mut nodes, Op::Zeros, vec![], id),
            (Part::Path, _) => {
                // Only the last path of a join is read.
                let mean = graph.means.iter().find(|mean| mean.blocks.contains(&block.0)).unwrap();
                let left = mean.blocks.clone().filter(|&index| !gone(index) && index <= block.0);
                let left: Vec<NodeId> = left.map(|index| at(graph.blocks[index].branch)).collect();
                let factor = 1.0 / left.len() as f32;
                let sum = left
                    .into_iter()
                    .reduce(|sum, path| add(&mut nodes, Op::Sum, vec![sum, path], id));
                match sum {
                    Some(sum) => add(&mut nodes, Op::Scale { factor }, vec![sum], id),
                    None => add(&mut nodes, Op::Zeros, vec![], id),
                }
            }
        };
        new.push(value);
    }
    let mut graph = graph.clone();
    (graph.nodes, graph.blocks, graph.means) = (nodes, Vec::new(), Vec::new());
    graph
}

/// The logits of two images in f64.
fn logits(graph: &Graph, params: &[Vec<f64>], route: &Route) -> Vec<f64> {
    let images = graph.find(|op| *op == Op::Images).unwrap();
    let count = 2 * graph.shape(images).per_image();
    let images: Vec<f64> = (0..count)
        .map(|at| ((at * 7919 % 1000) as f64 - 500.0) / 300.0)
        .collect();
    let mut states: Vec<Vec<f64>> = fixture::states(graph)
        .iter()
        .map(|state| state.iter().map(|&value| f64::from(value)).collect())
        .collect();
    let inputs = Inputs {
        images: &images,
        labels: &[0, 1],
        params,
        states: &mut states,
        batch: 2,
        first: 0,
        of: 2,
        seed: 0,
        step: 0,
    };
    let end = graph.logits().unwrap();
    reference::run(graph, route, &[end], inputs)
        .unwrap()
        .get(end)
        .unwrap()
        .to_vec()
}

fn distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Deletes blocks of `model` by number and by name: each of them, or the first
/// and the last few, and some together.
fn check(model: &str, side: usize, part: fn(&Block) -> Part) {
    let input = InputShape {
        height: side,
        width: side,
        ..InputShape::default()
    };
    let spec: ModelSpec = model.parse().unwrap();
    let graph = spec.build(&input, Mode::Eval).unwrap().graph;
    let params: Vec<Vec<f64>> = fixture::params(&graph)
        .iter()
        .map(|values| values.iter().map(|&value| f64::from(value)).collect())
        .collect();
    let blocks = graph.blocks.len();
    let whole = logits(&graph, &params, &graph.default_route());
    let size = whole.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let mut deletions: Vec<Vec<usize>> = vec![vec![]];
    let few = |number: &usize| *number <= 4 || *number + 2 > blocks || blocks <= 12;
    deletions.extend((1..=blocks).filter(few).map(|number| vec![number]));
    deletions.extend([vec![1, 2], vec![1, blocks], (1..=blocks.min(5)).collect()]);
    for numbers in deletions {
        let names: Vec<&str> = numbers
            .iter()
            .map(|number| &graph.blocks[number - 1].name[..])
            .collect();
        if !names.is_empty() {
            assert_eq!(
                parse_blocks(&names.join(","), &graph.blocks).unwrap(),
                numbers,
                "{model}"
            );
        }
        let route = graph.default_route().deleting(&numbers).unwrap();
        let found = logits(&graph, &params, &route);
        let explicit = without(&graph, part, &numbers);
        let expected = logits(&explicit, &params, &explicit.default_route());
        let off = distance(&found, &expected);
        assert!(
            off < 1e-12 * size,
            "{model} without {names:?}: off by {off:.1e} of {size:.1e}"
        );
        if !numbers.is_empty() {
            assert!(
                distance(&found, &whole) > 1e-6 * size,
                "{model} without {names:?}: nothing changed"
            );
        }
    }
}

#[test]
fn a_residual_block_leaves_its_shortcut() {
    for model in [
        "resnet8:shortcut=B",
        "preact-11",
        "wrn-10-1",
        "resnext-11-4x4d",
        "resnet8:skip=half-both,se=4",
    ] {
        check(model, 16, |_| Part::Branch);
    }
}

#[test]
fn a_layer_without_shortcut_leaves_its_input() {
    for model in ["plain-8", "vgg5-8", "fusenet-plain-8"] {
        check(model, 32, |_| Part::Layer);
    }
}

#[test]
fn a_dense_layer_leaves_zeros_in_its_channels() {
    for model in ["densenet-10-4", "densenet-bc-16-4"] {
        check(model, 8, |_| Part::Channels);
    }
}

#[test]
fn the_halves_of_a_dual_path_unit_leave_a_shortcut_or_zeros() {
    for model in ["dpn68:stem=cifar", "dpn26:variant=kuangliu"] {
        check(model, 8, |block| match block.name.ends_with(".dense") {
            true => Part::Channels,
            false => Part::Branch,
        });
    }
}

#[test]
fn a_line_of_a_merged_unit_leaves_the_mean_of_both() {
    for model in [
        "fusenet-cross-14",
        "fusenet-half-14",
        "fusenet-side-14",
        "fusenet-fuse3-8",
    ] {
        check(model, 8, |_| Part::Branch);
    }
}

#[test]
fn a_member_of_an_ensemble_leaves_the_mean_of_the_others() {
    check("fusenet-ensemble-8", 8, |_| Part::Path);
}

#[test]
fn a_path_of_a_fractal_leaves_the_mean_of_the_others() {
    for model in ["fractalnet-3-4", "fractalnet-2-4:pool=join"] {
        check(model, 32, |_| Part::Path);
    }
}

/// An engine on the default device, or the f64 reference, with the same weights
/// and images.
fn engine(adapter: &Adapter, model: &str) -> Box<dyn Engine> {
    let model: Model = model.parse().unwrap();
    let mut engine = open(adapter, &model, &InputShape::default(), Some(TrainOptions::default())).unwrap();
    initialise(engine.as_mut(), 3);
    let splits = Source::Synthetic { train: 4, test: 3 }.load(None, None, 1).unwrap();
    let normalization = Normalization::named("cifar10", 3).unwrap();
    engine.load(Split::Train, &splits.train, &normalization).unwrap();
    engine.load(Split::Test, &splits.test, &normalization).unwrap();
    engine
}

/// Routes that are evaluated together share what they have in common. Where blocks
/// are no chain, a value may depend on earlier blocks by several ways.
#[test]
fn lesions_that_share_work_are_those_of_the_reference() {
    for model in [
        "densenet-10-4",
        "fusenet-cross-14",
        "fusenet-half-14",
        "fusenet-ensemble-8",
        "fractalnet-3-4",
    ] {
        let mut engines = [Adapter::default(), Adapter::Reference].map(|adapter| engine(&adapter, model));
        let whole = engines[0].graph().default_route();
        let mut routes = vec![whole.clone()];
        for number in 1..=whole.len() {
            routes.push(whole.clone().deleting(&[number]).unwrap());
            routes.push(whole.clone().deleting(&[number, number % whole.len() + 1]).unwrap());
        }
        let draws: Vec<Draw> = (0..3).map(Draw::unchanged).collect();
        let [on_device, in_f64] = engines
            .each_mut()
            .map(|engine| engine.evaluate_with_logits(Split::Test, &draws, &routes).unwrap());
        for (index, (found, truth)) in on_device.iter().zip(&in_f64).enumerate() {
            let wide = |logits: &[f32]| logits.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
            let (found, truth) = (wide(&found.logits), wide(&truth.logits));
            let size = truth.iter().fold(1e-3, |most: f64, value| most.max(value.abs()));
            let off = distance(&found, &truth) / size;
            assert!(off < 1e-4, "{model}, route {index}: off by {off:.1e}");
        }
    }
}

/// Training steps whose loss is the reference's: paths that are left out of a mean,
/// and layers with the same weights.
#[test]
fn steps_of_means_and_of_shared_weights_are_those_of_the_reference() {
    let fractal = "fractalnet-3-4:drop-path=0.4,drop-global=0.5";
    for model in [fractal, "fusenet-ensemble-8"] {
        let mut engines = [Adapter::default(), Adapter::Reference].map(|adapter| engine(&adapter, model));
        let draws: Vec<Draw> = (0..4).map(Draw::unchanged).collect();
        let mut alone = 0;
        for step in 0..6 {
            let route = Depth::Constant.training_route(engines[0].graph(), 9, step);
            alone += usize::from(route.is_binary_backward());
            for engine in &mut engines {
                let plan = StepPlan {
                    draws: &draws,
                    padding: Padding::Zero,
                    route: &route,
                    update: Update {
                        lr: 0.005,
                        ..Update::default()
                    },
                    seed: 9,
                    step,
                };
                engine.step(&plan).unwrap();
            }
        }
        assert!(
            model != fractal || (alone > 0 && alone < 6),
            "steps of both kinds: {alone}"
        );
        let [on_device, in_f64] = engines.each_mut().map(|engine| engine.metrics(0..6).unwrap());
        assert!(in_f64[5] != in_f64[0], "{model}: nothing was learnt");
        for (found, truth) in on_device.iter().zip(&in_f64) {
            assert!(
                (found[0] / truth[0] - 1.0).abs() < 1e-3,
                "{model}: {on_device:?} {in_f64:?}"
            );
        }
    }
}
