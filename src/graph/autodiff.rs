//! How is a graph differentiated?
//!
//! Reverse mode: from the loss backwards, each forward node turns the gradient of
//! its output into gradients of its inputs, by appending nodes of ordinary
//! operations. [`Op::Sum`] adds two gradients of one value; a route may leave one
//! of them out.

use super::{Graph, Node, NodeId, Op, PadShortcut, ParamId, Shape, Side};

/// The nodes of the gradients that [`Graph::differentiate`] computes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gradients {
    /// The gradient of each parameter that the loss depends on.
    pub params: Vec<(ParamId, NodeId)>,
    /// The gradient with respect to the images, if it was asked for; of
    /// [`Graph::differentiate_at`] with respect to that value.
    pub images: Option<NodeId>,
}

/// The gradients so far, by forward node.
struct Tape {
    gradient: Vec<Option<NodeId>>,
    wanted: Vec<bool>,
}

impl Graph {
    /// Appends the gradient of the batch's mean cross-entropy with respect to every
    /// parameter (if `params`) and to the images (if `images`). `loss` is the
    /// graph's [`Op::CrossEntropy`] or [`Op::SoftCrossEntropy`] node. In a graph with several heads it is the
    /// gradient of the sum of their losses ([`Graph::train_heads`]).
    pub fn differentiate(&mut self, loss: NodeId, params: bool, images: bool) -> Gradients {
        let wanted = self.depends_on(|op| match op {
            Op::Param(_) => params,
            Op::Images => images,
            _ => false,
        });
        self.pull_to(loss, wanted, None)
    }

    /// Appends the gradient of the batch's mean cross-entropy with respect to the value
    /// `at` of the forward pass, as the gradient of the images
    /// ([`Gradients::images`]). What comes before it is not differentiated.
    pub fn differentiate_at(&mut self, loss: NodeId, at: NodeId) -> Gradients {
        let mut wanted = vec![false; self.nodes.len()];
        wanted[at.0] = true;
        for id in self.ids().filter(|id| id.0 > at.0) {
            wanted[id.0] = self.node(id).inputs.iter().any(|input| wanted[input.0]);
        }
        self.pull_to(loss, wanted, Some(at))
    }

    /// Appends gradients from the loss backwards, of the values that are `wanted`, up
    /// to `at` if it is given.
    fn pull_to(&mut self, loss: NodeId, wanted: Vec<bool>, at: Option<NodeId>) -> Gradients {
        let forward = self.nodes.len();
        let mut tape = Tape {
            gradient: vec![None; forward],
            wanted,
        };
        let (logits, labels) = (self.node(loss).inputs[0], self.node(loss).inputs[1]);
        let heads = if self.heads.is_empty() {
            vec![logits]
        } else {
            self.heads.clone()
        };
        let gradient = match self.node(loss).op {
            Op::SoftCrossEntropy { smoothing } => Op::SoftCrossEntropyGrad { smoothing },
            _ => Op::CrossEntropyGrad,
        };
        for head in heads {
            let shape = self.shape(head).clone();
            tape.gradient[head.0] = Some(self.push(gradient, &[head, labels], shape));
        }

        let mut found = Gradients::default();
        for id in (0..forward).rev().map(NodeId) {
            let Some(dy) = tape.gradient[id.0].filter(|_| tape.wanted[id.0]) else {
                continue;
            };
            match self.node(id).op {
                _ if at == Some(id) => found.images = Some(dy),
                Op::Param(param) => found.params.push((param, dy)),
                Op::Images => found.images = Some(dy),
                _ => self.pull_back(id, dy, &mut tape),
            }
        }
        found.params.sort_unstable();
        found
    }

    /// For each node, whether it depends on a value whose gradient is wanted: those
    /// without inputs for which `is_wanted` says so.
    fn depends_on(&self, is_wanted: impl Fn(&Op) -> bool) -> Vec<bool> {
        let mut wanted = vec![false; self.nodes.len()];
        for id in self.ids() {
            let Node { op, inputs, .. } = self.node(id);
            wanted[id.0] = is_wanted(op) || inputs.iter().any(|input| wanted[input.0]);
        }
        wanted
    }

    /// Adds `op` as a gradient of `target`, if that gradient is wanted.
    fn contribute(&mut self, tape: &mut Tape, target: NodeId, op: Op, inputs: &[NodeId]) {
        if !tape.wanted[target.0] {
            return;
        }
        let shape = self.shape(target).clone();
        let gradient = self.push(op, inputs, shape);
        self.accumulate(tape, target, gradient);
    }

    /// Adds `gradient` to that of `target`, if it is wanted.
    fn accumulate(&mut self, tape: &mut Tape, target: NodeId, gradient: NodeId) {
        if !tape.wanted[target.0] {
            return;
        }
        let sum = match tape.gradient[target.0] {
            Some(earlier) => self.push(Op::Sum, &[earlier, gradient], self.shape(target).clone()),
            None => gradient,
        };
        tape.gradient[target.0] = Some(sum);
    }

    /// Appends the gradients of the inputs of node `id`, from its output's gradient
    /// `dy`.
    fn pull_back(&mut self, id: NodeId, dy: NodeId, tape: &mut Tape) {
        let Node { op, inputs, .. } = self.node(id).clone();
        let x = inputs.first().copied().unwrap_or(id);
        match op {
            Op::Conv(conv) => {
                // The bias first: the last reader of dy can then reuse its memory.
                if let Some(&bias) = inputs.get(2) {
                    self.contribute(tape, bias, Op::ChannelSum, &[dy]);
                }
                self.contribute(tape, inputs[1], Op::ConvWeightGradient(conv), &[x, dy]);
                self.contribute(tape, x, Op::ConvInputGradient(conv), &[dy, inputs[1]]);
            }
            Op::Linear => {
                if let Some(&bias) = inputs.get(2) {
                    self.contribute(tape, bias, Op::ChannelSum, &[dy]);
                }
                self.contribute(tape, inputs[1], Op::LinearWeightGradient, &[x, dy]);
                self.contribute(tape, x, Op::LinearInputGradient, &[dy, inputs[1]]);
            }
            Op::BatchNorm => self.pull_back_batch_norm(&inputs, dy, tape),
            Op::Scale { .. } => self.contribute(tape, x, op, &[dy]),
            Op::Sigmoid => self.contribute(tape, x, Op::SigmoidGrad, &[dy, id]),
            Op::Multiply => {
                let gate = inputs[1];
                let of_gate = if self.shape(gate) == self.shape(x) {
                    Op::Multiply
                } else {
                    Op::PlaneDot
                };
                self.contribute(tape, gate, of_gate, &[dy, x]);
                self.contribute(tape, x, Op::Multiply, &[dy, gate]);
            }
            Op::Sum => {
                for input in inputs {
                    self.accumulate(tape, input, dy);
                }
            }
            Op::Relu => self.contribute(tape, x, Op::ReluGrad, &[dy, id]),
            Op::MaxPool(pool) => self.contribute(tape, x, Op::MaxPoolGrad(pool), &[dy, x]),
            Op::AvgPool(pool) => self.contribute(tape, x, Op::AvgPoolGrad(pool), &[dy]),
            Op::GlobalAvgPool => self.contribute(tape, x, Op::GlobalAvgPoolGrad, &[dy]),
            Op::Dropout { .. } | Op::DropPath { .. } => self.contribute(tape, x, op, &[dy]),
            Op::Join(block) => {
                self.contribute(tape, inputs[1], Op::JoinGrad(block, Side::Shortcut), &[dy]);
                self.contribute(tape, x, Op::JoinGrad(block, Side::Branch), &[dy]);
            }
            Op::Concat => {
                let mut from = 0;
                for &input in &inputs {
                    let count = self.shape(input).channels();
                    self.contribute(tape, input, Op::Slice { from, count }, &[dy]);
                    from += count;
                }
            }
            Op::Slice { from, count } => {
                let channels = self.shape(x).channels();
                let pad = PadShortcut {
                    stride: 1,
                    average: false,
                    before: from,
                    after: channels - from - count,
                };
                self.contribute(tape, x, Op::PadShortcut(pad), &[dy]);
            }
            Op::PadShortcut(pad) => self.contribute(tape, x, Op::PadShortcutGrad(pad), &[dy]),
            // By name, so that the compiler reports an operation whose gradient is
            // missing. `Images` and `Param` are handled by the caller; the others are
            // never on a path from a wanted value to the logits.
            Op::Images
            | Op::Labels
            | Op::Param(_)
            | Op::ConvInputGradient(_)
            | Op::ConvWeightGradient(_)
            | Op::ChannelSum
            | Op::BatchStats(_)
            | Op::RunningStats(_)
            | Op::BatchNormParamGradients
            | Op::BatchNormInputGradient { .. }
            | Op::ReluGrad
            | Op::MaxPoolGrad(_)
            | Op::AvgPoolGrad(_)
            | Op::GlobalAvgPoolGrad
            | Op::LinearInputGradient
            | Op::LinearWeightGradient
            | Op::JoinGrad(..)
            | Op::Zeros
            | Op::SigmoidGrad
            | Op::PlaneDot
            | Op::PadShortcutGrad(_)
            | Op::CrossEntropy
            | Op::CrossEntropyGrad
            | Op::SoftCrossEntropy { .. }
            | Op::SoftCrossEntropyGrad { .. } => {
                unreachable!("{} has no gradient: no path leads from it to the loss", op.name())
            }
        }
    }

    /// The statistics of batch norm also depend on x; one operation computes both
    /// parts of the gradient (Ioffe and Szegedy 2015, section 3).
    fn pull_back_batch_norm(&mut self, inputs: &[NodeId], dy: NodeId, tape: &mut Tape) {
        let &[x, stats, affine] = inputs else {
            unreachable!("the builder gives batch norm three inputs");
        };
        let batch_stats = matches!(self.node(stats).op, Op::BatchStats(_));
        let channels = self.shape(x).channels();
        let sums = self.push(
            Op::BatchNormParamGradients,
            &[dy, x, stats],
            Shape::fixed(&[2, channels]),
        );
        self.accumulate(tape, affine, sums);
        self.contribute(
            tape,
            x,
            Op::BatchNormInputGradient { batch_stats },
            &[dy, x, stats, affine, sums],
        );
    }
}
