//! Which layers of a graph are drawn together as one unit?

use crate::graph::{Graph, MeanJoin, NodeId, Op};

/// Blocks that are drawn together, and their layers.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Indices of its blocks.
    pub blocks: Vec<usize>,
    /// The values that come from outside; the first is the usual input.
    pub sources: Vec<NodeId>,
    /// Its layers, in the order of the graph.
    pub nodes: Vec<NodeId>,
    /// The layers whose values are read outside.
    pub outputs: Vec<NodeId>,
}

impl Unit {
    /// The common part of the blocks' names.
    pub fn name(&self, graph: &Graph) -> String {
        let first = &graph.blocks[self.blocks[0]].name;
        let last = &graph.blocks[self.blocks[self.blocks.len() - 1]].name;
        match (self.blocks.len(), is_path(graph, self.blocks[0]), parent(first)) {
            (1, ..) => first.clone(),
            (_, _, "") => format!("{first} – {last}"),
            (_, true, column) => parent(column).to_string(),
            (_, false, unit) => unit.to_string(),
        }
    }

    /// The blocks by their numbers: `block 4`, `blocks 4 and 5`.
    pub fn numbers(&self) -> String {
        let numbers: Vec<String> = self.blocks.iter().map(|index| (index + 1).to_string()).collect();
        match &numbers[..] {
            [one] => format!("block {one}"),
            [one, other] => format!("blocks {one} and {other}"),
            [one, .., last] => format!("blocks {one} to {last}"),
            [] => String::new(),
        }
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// Whether a node computes something that a drawing shows: everything but
/// parameters, statistics, labels and constants.
pub fn is_layer(graph: &Graph, id: NodeId) -> bool {
    !matches!(
        graph.node(id).op,
        Op::Param(_) | Op::BatchStats(_) | Op::RunningStats(_) | Op::Labels | Op::Zeros
    )
}

/// The values that a node reads, without parameters and constants. The mean of
/// several paths reads all of them.
pub fn data_inputs(graph: &Graph, id: NodeId) -> Vec<NodeId> {
    let inputs = match mean_at(graph, id) {
        Some(mean) => graph.blocks[mean.blocks.clone()]
            .iter()
            .map(|block| block.branch)
            .collect(),
        None => graph.node(id).inputs.clone(),
    };
    inputs.into_iter().filter(|&input| is_layer(graph, input)).collect()
}

/// The mean whose value node `id` holds.
pub fn mean_at(graph: &Graph, id: NodeId) -> Option<&MeanJoin> {
    let ends = |mean: &&MeanJoin| {
        mean.blocks
            .clone()
            .last()
            .is_some_and(|last| graph.blocks[last].join == id)
    };
    graph.means.iter().find(ends)
}

/// Whether a block is a path of a mean.
fn is_path(graph: &Graph, index: usize) -> bool {
    graph.means.iter().any(|mean| mean.blocks.contains(&index))
}

/// The units of a graph, in order. Blocks that begin before the one before them
/// ends, and that have a name in common with it, are one unit: the halves of a
/// dual path unit, the lines of a merge-and-run block. So are the paths of all
/// means in a stage: a fractal block.
pub fn units(graph: &Graph) -> Vec<Unit> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, block) in graph.blocks.iter().enumerate() {
        let joins = |&before: &usize| {
            let earlier = &graph.blocks[before];
            let both_paths = is_path(graph, before) && is_path(graph, index) && earlier.stage == block.stage;
            both_paths || (block.input < earlier.output && parent(&earlier.name) == parent(&block.name))
        };
        match groups.last_mut() {
            Some(group) if group.iter().any(joins) => group.push(index),
            _ => groups.push(vec![index]),
        }
    }
    let consumers = graph.consumers();
    let mut end = NodeId(0);
    let mut units = Vec::new();
    for blocks in groups {
        let unit = unit(graph, &consumers, blocks, end);
        end = unit.nodes.last().copied().unwrap_or(end).max(end);
        units.push(unit);
    }
    units
}

fn unit(graph: &Graph, consumers: &[Vec<NodeId>], blocks: Vec<usize>, before: NodeId) -> Unit {
    let of = |index: &usize| &graph.blocks[*index];
    let first = blocks.iter().map(|index| of(index).input).min().unwrap_or(before);
    let first = first.max(before);
    let ends: Vec<NodeId> = blocks.iter().map(|index| of(index).output).collect();
    // What the outputs depend on, as far as it comes after the input.
    let mut inside = vec![false; graph.nodes.len()];
    let add = |inside: &mut Vec<bool>, mut open: Vec<NodeId>| {
        while let Some(id) = open.pop() {
            if id > first && is_layer(graph, id) && !std::mem::replace(&mut inside[id.0], true) {
                open.extend(data_inputs(graph, id));
            }
        }
    };
    add(&mut inside, ends);
    let prefix = match blocks.len() {
        1 => format!("{}.", of(&blocks[0]).name),
        _ => format!("{}.", parent(&of(&blocks[0]).name)),
    };
    let last = blocks.iter().map(|index| of(index).output).max().unwrap_or(first);
    for id in graph.ids().filter(|id| *id > last && is_layer(graph, *id)) {
        if !belongs(graph, &inside, id, &prefix) {
            let reads = data_inputs(graph, id).iter().any(|input| inside[input.0]);
            if reads {
                break;
            }
            continue;
        }
        add(&mut inside, vec![id]);
    }
    let nodes: Vec<NodeId> = graph.ids().filter(|id| inside[id.0]).collect();
    let mut sources: Vec<NodeId> = vec![of(&blocks[0]).input];
    for &id in &nodes {
        for input in data_inputs(graph, id) {
            if !inside[input.0] && !sources.contains(&input) {
                sources.push(input);
            }
        }
    }
    // Statistics read a value, too, but they are not drawn.
    let reads = |reader: &NodeId| !inside[reader.0] && is_layer(graph, *reader);
    let is_read = |id: &NodeId| consumers[id.0].iter().any(reads);
    let outputs: Vec<NodeId> = nodes.iter().filter(|id| is_read(id)).copied().collect();
    // A part of an output that is itself read is not drawn as an output of its own.
    let is_part = |id: &NodeId| {
        let mut concats = outputs.iter().filter(|output| graph.node(**output).op == Op::Concat);
        concats.any(|output| data_inputs(graph, *output).contains(id))
    };
    Unit {
        outputs: outputs.iter().filter(|id| !is_part(id)).copied().collect(),
        blocks,
        sources,
        nodes,
    }
}

/// Whether a layer after the last block of a unit belongs to the unit: the
/// concatenation of its results, and batch norm and ReLU of its own.
fn belongs(graph: &Graph, inside: &[bool], id: NodeId, prefix: &str) -> bool {
    let node = graph.node(id);
    let input = node.inputs.first().copied();
    let reads_unit = data_inputs(graph, id).iter().any(|input| inside[input.0]);
    match node.op {
        Op::Concat => reads_unit,
        Op::BatchNorm => {
            let affine = node.inputs.get(2).and_then(|&id| graph.param_of(id));
            reads_unit && affine.is_some_and(|param| graph.params[param.0].name.starts_with(prefix))
        }
        Op::Relu => reads_unit && input.is_some_and(|input| matches!(graph.node(input).op, Op::Concat | Op::BatchNorm)),
        _ => false,
    }
}
