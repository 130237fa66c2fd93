//! Which forward values are made a second time for the way back, instead of
//! being kept from the first?
//!
//! Recomputation trades time for memory (Chen et al. 2016, arXiv:1604.06174):
//! copies of forward nodes stand next to the gradients that read them, so that
//! the originals die early. A copy reads what its original read, in the same
//! order, and draws the same random numbers, so its bits are the same. The
//! statistics of batches are kept: they are small, and making them again would
//! advance the running state twice.
//!
//! Copies are nodes like all others: schedules fuse them and give them memory
//! by their lives, and a route that leaves out a block leaves out the copies
//! that only its gradients read.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Gradients, Graph, Node, NodeId, Op};

/// What is made again for the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: all that gradients read is kept
    #[default]
    None,
    /// Normalised values, ReLUs, joins, dropout: elementwise passes over what convolutions left
    Cheap,
    /// Convolutions, too: what lies between the blocks whose outputs are kept, nearly a second forward pass
    Blocks,
}

impl Graph {
    /// Rewrites the way back of a differentiated graph so that it reads copies
    /// of what `how` makes again. The network is cut into about `segments`
    /// stretches of equal size behind blocks; what leaves a stretch is kept,
    /// and in the last one nothing but elementwise work is made again: its
    /// values are at hand when the way back begins.
    ///
    /// Forward nodes keep their places; `gradients` follow theirs.
    pub fn recompute(&mut self, gradients: &mut Gradients, how: Recompute, segments: usize) {
        let Some(forward) = self.find(|op| *op == Op::CrossEntropyGrad) else {
            return;
        };
        if how == Recompute::None {
            return;
        }
        let mut rewriter = Rewriter {
            forward: forward.0,
            kept: self.kept(how, segments),
            lasting: self.lasting(),
            masks: self.masks(),
            nodes: self.nodes[..forward.0].to_vec(),
            moved: (0..forward.0).map(NodeId).collect(),
            again: HashMap::new(),
            fleeting: HashMap::new(),
            graph: self,
        };
        for id in self.ids().skip(forward.0) {
            rewriter.gradient(id);
        }
        let Rewriter { nodes, moved, .. } = rewriter;
        self.nodes = nodes;
        let Gradients { params, images } = gradients;
        let all = params.iter_mut().map(|(_, node)| node).chain(images);
        all.for_each(|node| *node = moved[node.0]);
    }

    /// Whether each node is the gradient of a ReLU behind a batch norm, read
    /// by that batch norm's gradients alone: they can make the mask from x,
    /// and need not read the ReLU's output.
    pub fn masks(&self) -> Vec<bool> {
        let consumers = self.consumers();
        let is_mask = |id: NodeId| {
            let Node {
                op: Op::ReluGrad,
                inputs,
                ..
            } = self.node(id)
            else {
                return false;
            };
            let norm = self.node(self.node(inputs[1]).inputs[0]);
            let of_norm = |reader: &NodeId| {
                let Node { op, inputs, .. } = self.node(*reader);
                let gradient = matches!(op, Op::BatchNormParamGradients | Op::BatchNormInputGradient { .. });
                // Statistics belong to one batch norm.
                gradient && inputs[0] == id && inputs[2] == norm.inputs[1]
            };
            norm.op == Op::BatchNorm && consumers[id.0].iter().all(of_norm)
        };
        self.ids().map(is_mask).collect()
    }

    /// Numbers of segments worth trying: from one to so many that every
    /// block's output is kept.
    pub fn segmentations(&self) -> Vec<usize> {
        let most = self.blocks.len().saturating_sub(1);
        let mut counts = vec![1];
        while self.boundaries(counts[counts.len() - 1]).len() < most {
            let last = counts[counts.len() - 1];
            counts.push(last + last.div_ceil(3));
        }
        counts
    }

    /// The outputs of the blocks behind which the network is cut.
    fn boundaries(&self, segments: usize) -> Vec<NodeId> {
        let size = |id: NodeId| self.shape(id).len(1);
        let Some((last, others)) = self.blocks.split_last() else {
            return Vec::new();
        };
        let total: usize = (0..=last.output.0).map(|id| size(NodeId(id))).sum();
        let (mut passed, mut from, mut cuts) = (0, 0, 0);
        let mut boundaries = Vec::new();
        for block in others {
            passed += (from..=block.output.0).map(|id| size(NodeId(id))).sum::<usize>();
            from = block.output.0 + 1;
            let due = (passed as u128 * segments as u128 / total as u128) as usize;
            if due > cuts {
                boundaries.push(block.output);
                cuts = due;
            }
        }
        boundaries
    }

    /// Which forward values stay for the way back.
    fn kept(&self, how: Recompute, segments: usize) -> Vec<bool> {
        let boundaries = self.boundaries(segments);
        let last = boundaries.last().copied();
        let outputs: Vec<NodeId> = self.blocks.iter().map(|block| block.output).collect();
        let kept = |id: NodeId| {
            let given = matches!(
                self.node(id).op,
                Op::Images | Op::Labels | Op::Param(_) | Op::BatchStats(_) | Op::RunningStats(_)
            );
            let in_last = Some(id) > last;
            given
                || boundaries.binary_search(&id).is_ok()
                || in_last && outputs.binary_search(&id).is_ok()
                || (in_last || how == Recompute::Cheap) && !self.node(id).op.is_elementwise()
        };
        self.ids().map(kept).collect()
    }

    /// Which copies serve a whole segment: all that is not made from what is
    /// at hand by elementwise work.
    fn lasting(&self) -> Vec<bool> {
        let outputs: Vec<NodeId> = self.blocks.iter().map(|block| block.output).collect();
        let lasting = |id: NodeId| !self.node(id).op.is_elementwise() || outputs.binary_search(&id).is_ok();
        self.ids().map(lasting).collect()
    }
}

impl Op {
    /// Whether the forward operation costs about what moving its output does.
    fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Op::BatchNorm
                | Op::Relu
                | Op::Dropout { .. }
                | Op::DropPath { .. }
                | Op::Join(_)
                | Op::Concat
                | Op::Slice { .. }
                | Op::PadShortcut(_)
        )
    }
}

/// A graph whose way back is being written anew. All keys and indices are
/// places in the old graph, all values places in the new one.
struct Rewriter<'a> {
    graph: &'a Graph,
    /// Number of forward nodes.
    forward: usize,
    kept: Vec<bool>,
    lasting: Vec<bool>,
    masks: Vec<bool>,
    nodes: Vec<Node>,
    moved: Vec<NodeId>,
    /// Copies that other copies read, and those that serve a segment.
    again: HashMap<NodeId, NodeId>,
    /// Copies that gradients read, made right before the first that does.
    fleeting: HashMap<NodeId, NodeId>,
}

impl Rewriter<'_> {
    /// Appends the gradient node `id`, behind the copies that it reads.
    fn gradient(&mut self, id: NodeId) {
        let mut node = self.graph.node(id).clone();
        for (index, input) in node.inputs.iter_mut().enumerate() {
            let mask = self.masks[id.0] && index == 1;
            *input = if mask {
                self.moved[input.0]
            } else {
                self.for_gradient(*input)
            };
        }
        self.nodes.push(node);
        self.moved.push(NodeId(self.nodes.len() - 1));
    }

    /// What a gradient reads in place of `id`.
    fn for_gradient(&mut self, id: NodeId) -> NodeId {
        if self.is_at_hand(id) {
            return self.moved[id.0];
        }
        if self.lasting[id.0] {
            return self.for_copy(id);
        }
        if let Some(&copy) = self.fleeting.get(&id) {
            return copy;
        }
        let copy = self.copy(id, Self::for_gradient);
        self.fleeting.insert(id, copy);
        copy
    }

    /// What a copy reads in place of `id`.
    fn for_copy(&mut self, id: NodeId) -> NodeId {
        if self.is_at_hand(id) {
            return self.moved[id.0];
        }
        if let Some(&copy) = self.again.get(&id) {
            return copy;
        }
        let copy = self.copy(id, Self::for_copy);
        self.again.insert(id, copy);
        copy
    }

    /// Whether `id` is kept, or a gradient.
    fn is_at_hand(&self, id: NodeId) -> bool {
        id.0 >= self.forward || self.kept[id.0]
    }

    fn copy(&mut self, id: NodeId, input: fn(&mut Self, NodeId) -> NodeId) -> NodeId {
        let mut node = self.graph.node(id).clone();
        for read in &mut node.inputs {
            *read = input(self, *read);
        }
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }
}
