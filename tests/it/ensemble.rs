//! Is the gradient of an ensemble that of the sum of its members' losses, with
//! respect to the weights that they share?

use crate::support::fixture;
use residua::graph::{Graph, Mode, NodeId, Op};
use residua::models::{InputShape, ModelSpec};
use residua::reference::{self, Inputs, Values};

const LABELS: [u32; 2] = [3, 7];

fn run(graph: &Graph, params: &[Vec<f64>], wanted: &[NodeId]) -> Values {
    let images = graph.find(|op| *op == Op::Images).unwrap();
    let count = 2 * graph.shape(images).per_image();
    let images: Vec<f64> = (0..count)
        .map(|at| ((at * 7919 % 1000) as f64 - 500.0) / 300.0)
        .collect();
    let states = fixture::states(graph);
    let mut states: Vec<Vec<f64>> = states
        .iter()
        .map(|state| state.iter().map(|&value| f64::from(value)).collect())
        .collect();
    let inputs = Inputs {
        images: &images,
        labels: &LABELS,
        params,
        states: &mut states,
        batch: LABELS.len(),
        first: 0,
        of: LABELS.len(),
        seed: 0,
        step: 0,
    };
    reference::run(graph, &graph.default_route(), wanted, inputs).unwrap()
}

/// The sum over the members of the mean cross-entropy of their logits.
fn sum_of_losses(graph: &Graph, params: &[Vec<f64>]) -> f64 {
    let members: Vec<NodeId> = graph.blocks.iter().map(|block| block.branch).collect();
    let values = run(graph, params, &members);
    let entropy = |logits: &[f64], label: u32| {
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        sum.ln() - logits[label as usize]
    };
    let of = |member: &NodeId| {
        let logits = values.get(*member).unwrap().chunks(10).zip(LABELS);
        logits.map(|(logits, label)| entropy(logits, label)).sum::<f64>() / LABELS.len() as f64
    };
    members.iter().map(of).sum()
}

#[test]
fn members_share_weights_and_their_losses_are_added() {
    let input = InputShape {
        height: 8,
        width: 8,
        ..InputShape::default()
    };
    let build = |name: &str| {
        let spec: ModelSpec = name.parse().unwrap();
        spec.build(&input, Mode::Train).unwrap().graph
    };
    let mut graph = build("fusenet-ensemble-8");
    assert_eq!(graph.blocks.len(), 8);
    // The network with three long fusions has the same parameters.
    assert_eq!(graph.params, build("fusenet-fuse3-8").params);
    let loss = graph.loss().unwrap();
    let gradients = graph.differentiate(loss, true, false);
    let params: Vec<Vec<f64>> = fixture::params(&graph)
        .iter()
        .map(|values| values.iter().map(|&value| f64::from(value)).collect())
        .collect();
    let nodes: Vec<NodeId> = gradients.params.iter().map(|&(_, node)| node).collect();
    let values = run(&graph, &params, &nodes);
    let mut compared = 0;
    for (&(param, node), own) in gradients.params.iter().zip(&params) {
        let gradient = values.get(node).unwrap();
        // The element with the largest gradient of each parameter.
        let largest = |a: &usize, b: &usize| gradient[*a].abs().total_cmp(&gradient[*b].abs());
        let at = (0..own.len()).max_by(largest).unwrap();
        let moved = |by: f64| {
            let mut params = params.clone();
            params[param.0][at] += by;
            sum_of_losses(&graph, &params)
        };
        let step = 1e-6;
        let difference = (moved(step) - moved(-step)) / (2.0 * step);
        let off = (gradient[at] - difference).abs();
        let name = &graph.params[param.0].name;
        assert!(
            off < 1e-5 * gradient[at].abs().max(1e-3),
            "{name}: {} and {difference}",
            gradient[at]
        );
        compared += 1;
    }
    assert_eq!(compared, graph.params.len());
}
