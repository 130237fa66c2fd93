//! Which operations does one kernel compute together?
//!
//! Elementwise passes cost as much as convolutions wherever memory or loads
//! are slow. So one kernel computes a batch norm with the ReLU, the residual
//! sum and the second ReLU that follow it, and the gradients of a batch norm
//! recompute the ReLU's mask from x instead of reading it. A value may only
//! disappear in this way if nothing else reads it.

use crate::graph::{BlockId, Conv, Graph, NodeId, Op, Precision, Side, StateId};
use crate::kernels::{Gating, Pointwise, Pooling, Work};

/// The operation of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A piece of work.
    Work(Work),
    /// The sum of two values, either of which a route may leave out.
    Sum,
    /// Nothing: the value is the same memory as its input.
    Alias,
}

/// How one value is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The operation.
    pub action: Action,
    /// The values that it reads.
    pub inputs: Vec<NodeId>,
    /// The value that it computes.
    pub output: NodeId,
    /// A second value that the same work computes.
    pub second: Option<NodeId>,
    /// The block whose gains it uses.
    pub block: Option<BlockId>,
    /// The running statistics that it uses.
    pub state: Option<StateId>,
}

/// The tasks of `graph` in an order in which they can run. Values in `keep`
/// are written to memory even where a kernel could compute the next operation,
/// too. With `scaled`, a gradient that passes a join is multiplied by the
/// route's backward gain; without, all backward gains must be 0 or 1.
pub fn tasks(graph: &Graph, keep: &[NodeId], scaled: bool) -> Vec<Task> {
    let mut fuser = Fuser {
        graph,
        consumers: graph.consumers(),
        keep,
        absorbed: vec![false; graph.nodes.len()],
    };
    fuser.absorb_relu_gradients();
    let mut tasks: Vec<Task> = graph.ids().filter_map(|id| fuser.task(id, scaled)).collect();
    tasks.sort_by_key(|task| task.output);
    tasks
}

struct Fuser<'a> {
    graph: &'a Graph,
    consumers: Vec<Vec<NodeId>>,
    keep: &'a [NodeId],
    absorbed: Vec<bool>,
}

impl Fuser<'_> {
    fn op(&self, id: NodeId) -> Op {
        self.graph.node(id).op
    }

    fn inputs(&self, id: NodeId) -> &[NodeId] {
        &self.graph.node(id).inputs
    }

    /// The only reader of `id`, if there is exactly one and `id` is not kept.
    fn only_consumer(&self, id: NodeId) -> Option<NodeId> {
        match self.consumers[id.0][..] {
            [consumer] if !self.keep.contains(&id) => Some(consumer),
            _ => None,
        }
    }

    /// The gradient of a ReLU that follows a batch norm is recomputed by the
    /// batch norm's gradients, if nothing else reads it.
    fn absorb_relu_gradients(&mut self) {
        let masks = self.graph.masks();
        for id in self.graph.ids() {
            if masks[id.0] && !self.keep.contains(&id) {
                self.absorbed[id.0] = true;
                // The gradient no longer reads the ReLU's output.
                let relu = self.inputs(id)[1];
                self.consumers[relu.0].retain(|&reader| reader != id);
            }
        }
    }

    fn task(&mut self, id: NodeId, scaled: bool) -> Option<Task> {
        if self.absorbed[id.0] {
            return None;
        }
        let inputs = self.inputs(id).to_vec();
        let simple = |work: Work| Some(self.plain(id, Action::Work(work)));
        match self.op(id) {
            Op::Images | Op::Labels | Op::Param(_) => None,
            Op::Conv(conv) => Some(self.convolution(id, conv)),
            Op::ConvInputGradient(conv) => simple(Work::ConvInputGradient(conv)),
            Op::ConvWeightGradient(conv) => simple(Work::ConvWeightGradient(conv)),
            Op::ChannelSum => simple(Work::ChannelSum),
            Op::BatchStats(state) => {
                let running = &self.graph.states[state.0];
                let work = Work::BatchStats {
                    eps: running.eps,
                    momentum: running.momentum,
                };
                Some(self.with_state(id, work, state))
            }
            Op::RunningStats(state) => {
                let eps = self.graph.states[state.0].eps;
                Some(self.with_state(id, Work::RunningStats { eps }, state))
            }
            Op::BatchNorm => Some(self.normalize(id)),
            Op::BatchNormParamGradients => Some(self.norm_gradient(id)),
            Op::BatchNormInputGradient { .. } => Some(self.norm_gradient(id)),
            Op::Relu => simple(Work::Pointwise(Pointwise::Relu)),
            Op::ReluGrad => simple(Work::Pointwise(Pointwise::ReluGrad)),
            Op::Scale { factor } => simple(Work::Gate(Gating::Scale { factor })),
            Op::Zeros => simple(Work::Gate(Gating::Zeros)),
            Op::Sigmoid => simple(Work::Gate(Gating::Sigmoid)),
            Op::SigmoidGrad => simple(Work::Gate(Gating::SigmoidGrad)),
            Op::Multiply => simple(Work::Gate(Gating::Multiply)),
            Op::PlaneDot => simple(Work::Gate(Gating::PlaneDot)),
            Op::MaxPool(pool) => simple(Work::Pool(Pooling::Max(pool))),
            Op::MaxPoolGrad(pool) => simple(Work::Pool(Pooling::MaxGrad(pool))),
            Op::AvgPool(pool) => simple(Work::Pool(Pooling::Avg(pool))),
            Op::AvgPoolGrad(pool) => simple(Work::Pool(Pooling::AvgGrad(pool))),
            Op::GlobalAvgPool => simple(Work::Pool(Pooling::Global)),
            Op::GlobalAvgPoolGrad => simple(Work::Pool(Pooling::GlobalGrad)),
            Op::Linear => simple(Work::Linear { bias: inputs.len() > 2 }),
            Op::LinearInputGradient => simple(Work::LinearInputGradient),
            Op::LinearWeightGradient => simple(Work::LinearWeightGradient),
            Op::Dropout { p, stream } => simple(Work::Dropout { p, stream }),
            Op::DropPath { p, block } => simple(Work::DropPath {
                p,
                block: block.0 as u32,
            }),
            Op::Join(block) => Some(self.join(id, block)),
            Op::JoinGrad(block, side) => Some(Task {
                action: match (scaled, side) {
                    (false, _) => Action::Alias,
                    (true, Side::Branch) => Action::Work(Work::Pointwise(Pointwise::Scale { gain: 2 })),
                    (true, Side::Shortcut) => Action::Work(Work::Pointwise(Pointwise::Scale { gain: 3 })),
                },
                block: Some(block),
                ..self.plain(id, Action::Alias)
            }),
            Op::Sum => Some(self.plain(id, Action::Sum)),
            Op::Concat => simple(Work::Concat),
            Op::Slice { from, .. } => simple(Work::Slice { from }),
            Op::PadShortcut(pad) => simple(Work::PadShortcut(pad)),
            Op::PadShortcutGrad(pad) => simple(Work::PadShortcutGrad(pad)),
            Op::CrossEntropy => simple(Work::CrossEntropy),
            Op::CrossEntropyGrad => simple(Work::CrossEntropyGrad {
                scaled: self.graph.precision() == Precision::F16,
            }),
            Op::SoftCrossEntropy { smoothing } => simple(Work::SoftCrossEntropy { smoothing }),
            Op::SoftCrossEntropyGrad { smoothing } => simple(Work::SoftCrossEntropyGrad {
                smoothing,
                scaled: self.graph.precision() == Precision::F16,
            }),
        }
    }

    fn plain(&self, id: NodeId, action: Action) -> Task {
        Task {
            action,
            inputs: self.inputs(id).to_vec(),
            output: id,
            second: None,
            block: None,
            state: None,
        }
    }

    /// A convolution computes the statistics of the batch norm that follows
    /// it, if only that batch norm and its gradients read the convolution's
    /// output: then every route runs both or neither.
    fn convolution(&mut self, id: NodeId, conv: Conv) -> Task {
        let bias = self.inputs(id).len() > 2;
        let of_norm = |op: Op| {
            matches!(
                op,
                Op::BatchNorm | Op::BatchStats(_) | Op::BatchNormParamGradients | Op::BatchNormInputGradient { .. }
            )
        };
        let readers = &self.consumers[id.0];
        let stats = readers.iter().find_map(|&reader| match self.op(reader) {
            Op::BatchStats(state) => Some((reader, state)),
            _ => None,
        });
        let Some((stats, state)) = stats.filter(|_| readers.iter().all(|&reader| of_norm(self.op(reader)))) else {
            return self.plain(id, Action::Work(Work::Conv { conv, bias }));
        };
        self.absorbed[stats.0] = true;
        let running = &self.graph.states[state.0];
        let work = Work::ConvStats {
            conv,
            bias,
            eps: running.eps,
            momentum: running.momentum,
        };
        Task {
            second: Some(stats),
            ..self.with_state(id, work, state)
        }
    }

    fn with_state(&self, id: NodeId, work: Work, state: StateId) -> Task {
        Task {
            state: Some(state),
            ..self.plain(id, Action::Work(work))
        }
    }

    /// The ReLU that follows `id`, if nothing else reads `id`; it becomes part
    /// of the same task.
    fn following_relu(&mut self, id: NodeId) -> Option<NodeId> {
        let relu = self.only_consumer(id).filter(|&reader| self.op(reader) == Op::Relu)?;
        self.absorbed[relu.0] = true;
        Some(relu)
    }

    fn normalize(&mut self, id: NodeId) -> Task {
        let mut inputs = self.inputs(id).to_vec();
        let relu = self.following_relu(id);
        let mut output = relu.unwrap_or(id);
        let mut block = None;
        let mut join_relu = None;
        if let Some(join) = self.only_consumer(output)
            && let Op::Join(joined) = self.op(join)
            && self.inputs(join)[0] == output
        {
            self.absorbed[join.0] = true;
            block = Some(joined);
            inputs.push(self.inputs(join)[1]);
            let second = self.following_relu(join);
            join_relu = Some(second.is_some());
            output = second.unwrap_or(join);
        }
        let work = Work::Normalize {
            relu: relu.is_some(),
            join: join_relu,
        };
        Task {
            action: Action::Work(work),
            inputs,
            output,
            second: None,
            block,
            state: None,
        }
    }

    fn join(&mut self, id: NodeId, block: BlockId) -> Task {
        let relu = self.following_relu(id);
        Task {
            output: relu.unwrap_or(id),
            block: Some(block),
            ..self.plain(
                id,
                Action::Work(Work::Pointwise(Pointwise::Join { relu: relu.is_some() })),
            )
        }
    }

    /// `BatchNormParamGradients` or `BatchNormInputGradient`, with the ReLU's
    /// mask where the ReLU's gradient is part of them.
    fn norm_gradient(&self, id: NodeId) -> Task {
        let mut inputs = self.inputs(id).to_vec();
        let relu = self.absorbed[inputs[0].0];
        if relu {
            inputs[0] = self.inputs(inputs[0])[0];
        }
        let work = match self.op(id) {
            Op::BatchNormInputGradient { batch_stats } => Work::NormInputGradient { relu, batch_stats },
            _ => Work::NormParamGradients { relu },
        };
        if matches!(work, Work::NormParamGradients { .. }) {
            inputs.push(self.affine_of(inputs[2]));
        }
        Task {
            inputs,
            ..self.plain(id, Action::Work(work))
        }
    }

    /// γ and β of the batch norm whose statistics are `stats`.
    fn affine_of(&self, stats: NodeId) -> NodeId {
        let readers = self.consumers[stats.0].iter();
        let norm = readers.copied().find(|&reader| self.op(reader) == Op::BatchNorm);
        self.inputs(norm.expect("statistics belong to a batch norm"))[2]
    }
}
