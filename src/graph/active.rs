//! What has to be computed under a route?
//!
//! Two sweeps, neither of which knows what a block is. Forwards: a gradient
//! that a closed side swallows is *absent* (exactly zero), and so is all that
//! is linear in it. Backwards from what is wanted: a value that nobody reads
//! under this route is not *needed*. What is present and needed runs; the
//! rest of a deleted branch falls away by itself, forward and backward.

use super::{Graph, NodeId, Op, Route, Side};

/// Which nodes run under a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    present: Vec<bool>,
    runs: Vec<bool>,
}

impl Active {
    /// Prunes `graph` to what `wanted` needs under `route`, where the values
    /// `at_hand` need not be made again.
    pub fn new(graph: &Graph, route: &Route, wanted: &[NodeId], at_hand: &[NodeId]) -> Self {
        let mut present = present(graph, route);
        let mut made = vec![false; graph.nodes.len()];
        for id in at_hand {
            made[id.0] = true;
            present[id.0] = true;
        }
        let mut needed = vec![false; graph.nodes.len()];
        for id in wanted {
            needed[id.0] = true;
        }
        for id in graph.ids().rev() {
            if needed[id.0] && present[id.0] && !made[id.0] {
                for input in inputs_read(graph, route, id) {
                    needed[input.0] = true;
                }
            }
        }
        let runs = (0..needed.len())
            .map(|at| needed[at] && present[at] && !made[at])
            .collect();
        Active { present, runs }
    }

    /// Whether the value is computed.
    pub fn runs(&self, id: NodeId) -> bool {
        self.runs[id.0]
    }

    /// Whether the value exists; a value that does not is exactly zero.
    pub fn present(&self, id: NodeId) -> bool {
        self.present[id.0]
    }
}

/// Which values are not zero by construction.
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

/// The inputs that a node reads under the route.
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
