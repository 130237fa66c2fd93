//! How do two layers have the same parameters, and a network several outputs that
//! are trained?

use super::{Graph, GraphError, Mode, NodeId, Op, Shape, State, StateId};

impl Graph {
    /// The convolution or linear layer `layer` once more, on another `x` of the
    /// shape that it has read: both have the same parameters, whose gradients are
    /// added.
    ///
    /// # Errors
    /// Where x has another shape.
    pub fn again(&mut self, layer: NodeId, x: NodeId) -> Result<NodeId, GraphError> {
        let node = self.node(layer).clone();
        if self.shape(x) != self.shape(node.inputs[0]) {
            return Err(self.mismatch("a layer used again", node.inputs[0], x));
        }
        let inputs = [&[x], &node.inputs[1..]].concat();
        Ok(self.push(node.op, &inputs, node.shape))
    }

    /// The batch norm `norm` once more, on another `x` with as many channels: both
    /// have the same scale and shift. Its running state is its own, under `name`.
    ///
    /// # Errors
    /// Where x has another number of channels.
    pub fn batch_norm_again(&mut self, name: &str, norm: NodeId, x: NodeId) -> Result<NodeId, GraphError> {
        let inputs = self.node(norm).inputs.clone();
        let (stats, affine) = (inputs[1], inputs[2]);
        let (Op::BatchStats(like) | Op::RunningStats(like)) = self.node(stats).op else {
            return Err(self.mismatch("a batch norm used again", norm, x));
        };
        let state = State {
            name: self.path(name),
            ..self.states[like.0].clone()
        };
        if self.shape(x).channels() != state.channels {
            return Err(self.mismatch("a batch norm used again", norm, x));
        }
        let rows = Shape::fixed(&[2, state.channels]);
        self.states.push(state);
        let state = StateId(self.states.len() - 1);
        let stats = match self.mode {
            Mode::Train => self.push(Op::BatchStats(state), &[x], rows),
            Mode::Eval => self.push(Op::RunningStats(state), &[], rows),
        };
        let shape = self.shape(x).clone();
        Ok(self.push(Op::BatchNorm, &[x, stats, affine], shape))
    }

    /// Makes training minimise the sum of the losses of each of `heads`, logits
    /// N×classes, instead of the loss of the logits.
    pub fn train_heads(&mut self, heads: &[NodeId]) {
        self.heads = heads.to_vec();
    }
}
