//! Which nodes have to run under a route?
//!
//! Two sweeps over the graph, neither of which knows what a block is. The forward
//! sweep finds values that are exactly zero: a gradient that a gain of 0
//! multiplies is *absent*, and so is everything that is linear in it. The backward
//! sweep starts from the wanted values: a value that no running node reads is not
//! *needed*. A node runs if its value is present and needed. So a deleted branch
//! costs nothing, forward or backward.

use super::{Graph, NodeId, Op, Route, Side};

/// Which nodes run under a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    present: Vec<bool>,
    runs: Vec<bool>,
}

impl Active {
    /// Prunes `graph` to the nodes that the `wanted` values need under `route`.
    /// The values in `available` exist already and are not computed again.
    pub fn new(graph: &Graph, route: &Route, wanted: &[NodeId], available: &[NodeId]) -> Self {
        let mut present = present(graph, route);
        let mut exists = vec![false; graph.nodes.len()];
        for id in available {
            exists[id.0] = true;
            present[id.0] = true;
        }
        let mut needed = vec![false; graph.nodes.len()];
        for id in wanted {
            needed[id.0] = true;
        }
        for id in graph.ids().rev() {
            if needed[id.0] && present[id.0] && !exists[id.0] {
                for input in inputs_read(graph, route, id) {
                    needed[input.0] = true;
                }
            }
        }
        let runs = (0..needed.len())
            .map(|at| needed[at] && present[at] && !exists[at])
            .collect();
        Active { present, runs }
    }

    /// Whether the value is computed.
    pub fn runs(&self, id: NodeId) -> bool {
        self.runs[id.0]
    }

    /// Whether the value exists; an absent value is exactly zero.
    pub fn present(&self, id: NodeId) -> bool {
        self.present[id.0]
    }
}

/// For each node, whether its value exists: it is not zero because of a gain.
fn present(graph: &Graph, route: &Route) -> Vec<bool> {
    let mut present = vec![true; graph.nodes.len()];
    for id in graph.ids() {
        let node = graph.node(id);
        let is = |input: &NodeId| present[input.0];
        present[id.0] = match node.op {
            Op::Sum => node.inputs.iter().any(is),
            Op::Join(_) => true,
            Op::JoinGrad(block, side) => {
                let gains = route.gains(block);
                let gain = match side {
                    Side::Branch => gains.back_branch,
                    Side::Shortcut => gains.back_shortcut,
                };
                gain != 0.0 && is(&node.inputs[0])
            }
            _ => node.inputs.iter().all(is),
        };
    }
    present
}

/// The inputs that a node reads under the route: not those with gain 0.
fn inputs_read<'a>(graph: &'a Graph, route: &Route, id: NodeId) -> impl Iterator<Item = NodeId> + use<'a> {
    let node = graph.node(id);
    let skip = match node.op {
        Op::Join(block) => {
            let gains = route.gains(block);
            [gains.branch == 0.0, gains.shortcut == 0.0]
        }
        _ => [false; 2],
    };
    let closed = move |index: usize| index < 2 && skip[index];
    node.inputs
        .iter()
        .enumerate()
        .filter(move |(index, _)| !closed(*index))
        .map(|(_, &input)| input)
}
