//! Which forward values are recomputed in the backward pass instead of being
//! retained?
//!
//! Recomputation trades time for memory (Chen et al. 2016, arXiv:1604.06174).
//! Copies of forward nodes are placed next to the gradients that read them, so
//! that the memory of the originals is free earlier. A copy reads the same values
//! as its original, in the same order, and draws the same random numbers, so it
//! has the same bits. Batch statistics are retained: they are small, and
//! recomputing them would update the running state twice.
//!
//! Copies are ordinary nodes. Schedules fuse them and plan their memory by live
//! range, and a route that leaves out a block leaves out the copies that only its
//! gradients read.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Gradients, Graph, Node, NodeId, Op};

/// Which forward values are recomputed in the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: all values that gradients read are retained
    #[default]
    None,
    /// Normalised values, ReLUs, joins, dropout: elementwise operations on the outputs of convolutions
    Cheap,
    /// Convolutions as well: everything between the blocks whose outputs are retained, nearly a second forward pass
    Blocks,
}

impl Graph {
    /// Rewrites the backward pass of a differentiated graph so that it reads copies
    /// of the values that `how` recomputes. The network is cut after blocks into
    /// about `segments` segments of equal size. The output of each segment is
    /// retained. In the last segment only elementwise operations are recomputed,
    /// because the backward pass begins there, right after its values were computed.
    ///
    /// Forward nodes keep their positions; `gradients` is updated to the new ones.
    pub fn recompute(&mut self, gradients: &mut Gradients, how: Recompute, segments: usize) {
        let Some(forward) = self.find(|op| matches!(op, Op::CrossEntropyGrad | Op::SoftCrossEntropyGrad { .. })) else {
            return;
        };
        if how == Recompute::None {
            return;
        }
        let mut rewriter = Rewriter {
            forward: forward.0,
            retained: self.retained(how, segments),
            shared: self.shared_in_segment(),
            masks: self.masks(),
            nodes: self.nodes[..forward.0].to_vec(),
            moved: (0..forward.0).map(NodeId).collect(),
            segment_copies: HashMap::new(),
            local_copies: HashMap::new(),
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

    /// For each node, whether it is the gradient of a ReLU that follows a batch
    /// norm, and only that batch norm's gradients read it. These can compute the
    /// ReLU's mask from x and need not read the ReLU's output.
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

    /// Numbers of segments worth trying: from one up to the number at which every
    /// block's output is retained.
    pub fn segmentations(&self) -> Vec<usize> {
        let most = self.blocks.len().saturating_sub(1);
        let mut counts = vec![1];
        while self.boundaries(counts[counts.len() - 1]).len() < most {
            let last = counts[counts.len() - 1];
            counts.push(last + last.div_ceil(3));
        }
        counts
    }

    /// The outputs of the blocks after which the network is cut.
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

    /// For each node, whether its value is retained for the backward pass.
    fn retained(&self, how: Recompute, segments: usize) -> Vec<bool> {
        let boundaries = self.boundaries(segments);
        let last = boundaries.last().copied();
        let outputs: Vec<NodeId> = self.blocks.iter().map(|block| block.output).collect();
        let retained = |id: NodeId| {
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
        self.ids().map(retained).collect()
    }

    /// For each node, whether one copy of it serves a whole segment: block outputs,
    /// and the results of operations that are not elementwise.
    fn shared_in_segment(&self) -> Vec<bool> {
        let outputs: Vec<NodeId> = self.blocks.iter().map(|block| block.output).collect();
        let shared = |id: NodeId| !self.node(id).op.is_elementwise() || outputs.binary_search(&id).is_ok();
        self.ids().map(shared).collect()
    }
}

impl Op {
    /// Whether the forward operation costs about as much as moving its output.
    fn is_elementwise(&self) -> bool {
        // By name, so that the compiler asks for each new operation.
        match self {
            Op::BatchNorm
            | Op::Relu
            | Op::Scale { .. }
            | Op::Zeros
            | Op::Sigmoid
            | Op::Multiply
            | Op::Dropout { .. }
            | Op::DropPath { .. }
            | Op::Join(_)
            | Op::Concat
            | Op::Slice { .. }
            | Op::PadShortcut(_) => true,
            Op::Images
            | Op::Labels
            | Op::Param(_)
            | Op::Conv(_)
            | Op::ConvInputGradient(_)
            | Op::ConvWeightGradient(_)
            | Op::ChannelSum
            | Op::BatchStats(_)
            | Op::RunningStats(_)
            | Op::BatchNormParamGradients
            | Op::BatchNormInputGradient { .. }
            | Op::ReluGrad
            | Op::SigmoidGrad
            | Op::PlaneDot
            | Op::MaxPool(_)
            | Op::MaxPoolGrad(_)
            | Op::AvgPool(_)
            | Op::AvgPoolGrad(_)
            | Op::GlobalAvgPool
            | Op::GlobalAvgPoolGrad
            | Op::Linear
            | Op::LinearInputGradient
            | Op::LinearWeightGradient
            | Op::JoinGrad(..)
            | Op::Sum
            | Op::PadShortcutGrad(_)
            | Op::CrossEntropy
            | Op::CrossEntropyGrad
            | Op::SoftCrossEntropy { .. }
            | Op::SoftCrossEntropyGrad { .. } => false,
        }
    }
}

/// A graph whose backward pass is being rewritten. All keys and indices are
/// positions in the old graph, all values positions in the new one.
struct Rewriter<'a> {
    graph: &'a Graph,
    /// Number of forward nodes.
    forward: usize,
    retained: Vec<bool>,
    shared: Vec<bool>,
    masks: Vec<bool>,
    nodes: Vec<Node>,
    moved: Vec<NodeId>,
    /// Copies that other copies read, and those that serve a segment.
    segment_copies: HashMap<NodeId, NodeId>,
    /// Copies that gradients read, placed right before the first one that does.
    local_copies: HashMap<NodeId, NodeId>,
}

impl Rewriter<'_> {
    /// Appends the gradient node `id`, after the copies that it reads.
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

    /// The node that a gradient reads instead of `id`.
    fn for_gradient(&mut self, id: NodeId) -> NodeId {
        if self.is_available(id) {
            return self.moved[id.0];
        }
        if self.shared[id.0] {
            return self.for_copy(id);
        }
        if let Some(&copy) = self.local_copies.get(&id) {
            return copy;
        }
        let copy = self.copy(id, Self::for_gradient);
        self.local_copies.insert(id, copy);
        copy
    }

    /// The node that a copy reads instead of `id`.
    fn for_copy(&mut self, id: NodeId) -> NodeId {
        if self.is_available(id) {
            return self.moved[id.0];
        }
        if let Some(&copy) = self.segment_copies.get(&id) {
            return copy;
        }
        let copy = self.copy(id, Self::for_copy);
        self.segment_copies.insert(id, copy);
        copy
    }

    /// Whether `id` needs no copy: it is retained, or a gradient.
    fn is_available(&self, id: NodeId) -> bool {
        id.0 >= self.forward || self.retained[id.0]
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
