//! What is a network?
//!
//! Operations with shape inference, residual blocks as marked regions, and
//! reverse-mode differentiation that produces a graph of the same kind. Pure
//! Rust, without a GPU.
//!
//! A [`Graph`] is a list of nodes in topological order. Every node has one
//! output. The forward and the backward pass are in one graph:
//! [`Graph::differentiate`] appends the gradient nodes after the forward nodes.
//! So a training step is one list, which a schedule lowers to dispatches, plans
//! memory for, and prunes by a [`Route`].

mod active;
mod again;
mod autodiff;
mod builder;
mod mean;
mod names;
mod op;
mod precision;
mod recompute;
mod route;
mod shape;

pub use active::Active;
pub use autodiff::Gradients;
pub use builder::{BlockInfo, GraphError, Mode, ResidualBlock};
pub use mean::{MeanJoin, PathDropping};
pub use names::NameError;
pub use op::{Conv, Op, PadShortcut, Pool, Side, TARGET_WORDS};
pub use precision::Precision;
pub use recompute::Recompute;
pub use route::{Gains, Route, RouteError, parse_blocks};
pub use shape::Shape;
pub(crate) use shape::window_count;

/// The position of a node in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// The position of a parameter in [`Graph::params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// The position of a batch-norm running state in [`Graph::states`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub usize);

/// The position of a block in [`Graph::blocks`]: its number minus one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub usize);

/// One operation, what it reads, and the shape of what it writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// The nodes whose outputs are read, in the order the operation expects.
    pub inputs: Vec<NodeId>,
    /// The shape of the output.
    pub shape: Shape,
}

/// The role of a parameter. It decides the layout, the initial value and the
/// name in a weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Convolution weights, `[K, C / groups, KH, KW]`.
    ConvWeight,
    /// Linear weights, `[out, in]`.
    LinearWeight,
    /// A bias, `[K]`.
    Bias,
    /// Scale and shift of a batch norm as two rows, `[2, C]`: γ, then β.
    BatchNorm,
}

impl ParamKind {
    /// Whether it multiplies the values of a layer: no bias, scale or shift.
    pub fn is_weight(self) -> bool {
        matches!(self, ParamKind::ConvWeight | ParamKind::LinearWeight)
    }
}

/// The initial values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal with mean 0 and the given standard deviation.
    Normal(f32),
    /// Uniform in `[-bound, bound]`.
    Uniform(f32),
    /// γ = 1, β = 0 of a batch norm.
    UnitAffine,
    /// All zero.
    Zero,
    /// All the same value.
    Constant(f32),
}

/// A trained tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Canonical name without its last part, such as `layer1.0.conv1`.
    pub name: String,
    /// Its role.
    pub kind: ParamKind,
    /// Dimensions; [`ParamKind`] says which.
    pub dims: Vec<usize>,
    /// Its initial distribution.
    pub init: Init,
}

impl Param {
    /// Number of scalars.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it has no scalars; false in every graph that was built here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensors of a weights file that make up this parameter, in order: full
    /// name and dimensions. A batch norm has two, all others one.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        match self.kind {
            ParamKind::BatchNorm => ["weight", "bias"]
                .map(|part| (format!("{}.{part}", self.name), vec![self.dims[1]]))
                .to_vec(),
            ParamKind::Bias => vec![(format!("{}.bias", self.name), self.dims.clone())],
            ParamKind::ConvWeight | ParamKind::LinearWeight => {
                vec![(format!("{}.weight", self.name), self.dims.clone())]
            }
        }
    }
}

/// Running mean and variance of one batch norm, stored as `[2, C]`: the mean, then
/// the unbiased variance.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Canonical name of the batch norm, such as `layer1.0.bn1`.
    pub name: String,
    /// Number of channels C.
    pub channels: usize,
    /// Added to the variance before the square root.
    pub eps: f32,
    /// Weight of the new batch in the running average (PyTorch's convention).
    pub momentum: f32,
}

impl State {
    /// The names of its two tensors in a weights file.
    pub fn tensors(&self) -> [String; 2] {
        ["running_mean", "running_var"].map(|part| format!("{}.{part}", self.name))
    }
}

/// A region that can be removed: a residual branch F and a shortcut, added by an
/// [`Op::Join`]. In a network without shortcuts a block is one layer, and its
/// shortcut is used only when the layer is deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Name as in weights files, such as `layer2.0`.
    pub name: String,
    /// The value that enters the block.
    pub input: NodeId,
    /// The last node of the branch F(x).
    pub branch: NodeId,
    /// The last node of the shortcut.
    pub shortcut: NodeId,
    /// The [`Op::Join`] node.
    pub join: NodeId,
    /// The block's output: the join, or the ReLU after it.
    pub output: NodeId,
    /// Stage of the network, from 1.
    pub stage: usize,
    /// Whether the block changes the resolution or the channel count.
    pub downsamples: bool,
    /// The gains in the default route.
    pub default: Gains,
}

/// For each parameter and running state, the one whose values it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// By position of the parameter.
    pub params: Vec<ParamId>,
    /// By position of the running state.
    pub states: Vec<StateId>,
}

/// A network, its parameters and its blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Operations in topological order.
    pub nodes: Vec<Node>,
    /// Trained tensors in the order in which the forward pass reads them.
    pub params: Vec<Param>,
    /// Batch-norm running states.
    pub states: Vec<State>,
    /// Blocks in the order of the forward pass; block number l is `blocks[l-1]`.
    pub blocks: Vec<Block>,
    /// The joins whose output is the mean of several blocks' branches.
    pub means: Vec<MeanJoin>,
    /// Which paths of these joins training leaves out.
    pub path_dropping: PathDropping,
    /// The logits whose losses training minimises the sum of; empty where it is
    /// the loss of the logits alone.
    heads: Vec<NodeId>,
    /// Whether batch norm uses the batch's statistics and dropout drops.
    pub mode: Mode,
    /// The storage format of activations.
    precision: Precision,
    /// The open name prefixes while the graph is built.
    scope: Vec<String>,
    /// Number of dropout layers so far; each has its own random stream.
    dropouts: u32,
    /// Whether dropout adds no layers in training mode either.
    ignores_dropout: bool,
}

impl Graph {
    /// An empty graph.
    pub fn new(mode: Mode) -> Self {
        Graph {
            nodes: Vec::new(),
            params: Vec::new(),
            states: Vec::new(),
            blocks: Vec::new(),
            means: Vec::new(),
            path_dropping: PathDropping::default(),
            heads: Vec::new(),
            mode,
            precision: Precision::default(),
            scope: Vec::new(),
            dropouts: 0,
            ignores_dropout: false,
        }
    }

    /// From now on [`Graph::dropout`] adds no layer, whatever the mode.
    pub fn ignore_dropout(&mut self) {
        self.ignores_dropout = true;
    }

    /// The node at `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The shape of the output of the node at `id`.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.nodes[id.0].shape
    }

    /// All node positions, in topological order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The nodes that read the output of each node.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.nodes.len()];
        for id in self.ids() {
            for input in &self.node(id).inputs {
                consumers[input.0].push(id);
            }
        }
        consumers
    }

    /// The first node whose operation satisfies `wanted`.
    pub fn find(&self, wanted: impl Fn(&Op) -> bool) -> Option<NodeId> {
        self.ids().find(|&id| wanted(&self.node(id).op))
    }

    /// Number of trained scalars: convolutions, batch-norm scale and shift,
    /// linear layers. Running statistics are not counted.
    pub fn parameter_count(&self) -> usize {
        self.params.iter().map(Param::len).sum()
    }

    /// Multiply-adds per image of the forward convolutions and linear layers.
    pub fn macs(&self) -> u64 {
        self.ids().map(|id| self.forward_macs(id)).sum()
    }

    /// Multiply-adds per image of one forward node; 0 for everything but
    /// convolutions and linear layers.
    pub fn forward_macs(&self, id: NodeId) -> u64 {
        let node = self.node(id);
        match node.op {
            Op::Conv(_) | Op::Linear => {
                let weight = self.shape(node.inputs[1]);
                let per_output: usize = weight.dims[1..].iter().product();
                (node.shape.per_image() * per_output) as u64
            }
            _ => 0,
        }
    }

    /// The parameters that nodes between a block's input and output read.
    pub fn block_params(&self, block: BlockId) -> Vec<ParamId> {
        self.block_nodes(block).filter_map(|id| self.param_of(id)).collect()
    }

    /// The running states of a block's batch norms.
    pub fn block_states(&self, block: BlockId) -> Vec<StateId> {
        let state = |id| match self.node(id).op {
            Op::RunningStats(state) | Op::BatchStats(state) => Some(state),
            _ => None,
        };
        self.block_nodes(block).filter_map(state).collect()
    }

    /// The nodes of a block: those between its input and its output, because a
    /// builder appends them there. Where two blocks have one input, such as the
    /// lines of a merge-and-run network, the second one's begin after the first.
    fn block_nodes(&self, block: BlockId) -> impl Iterator<Item = NodeId> + use<> {
        let Block { input, output, .. } = self.blocks[block.0];
        let before = block.0.checked_sub(1).map(|before| self.blocks[before].output);
        let first = input.max(before.unwrap_or(input));
        (first.0 + 1..=output.0).map(NodeId)
    }

    /// Groups of blocks (numbers from 1) that can be exchanged with each other:
    /// none of them downsamples, and their parameters have the same shapes.
    pub fn interchangeable(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(Vec<&[usize]>, Vec<usize>)> = Vec::new();
        for block in (0..self.blocks.len()).map(BlockId) {
            let Some(own) = self.movable_dims(block) else { continue };
            match groups.iter_mut().find(|(dims, _)| *dims == own) {
                Some((_, numbers)) => numbers.push(block.0 + 1),
                None => groups.push((own, vec![block.0 + 1])),
            }
        }
        let numbers = groups.into_iter().map(|(_, numbers)| numbers);
        numbers.filter(|numbers| numbers.len() > 1).collect()
    }

    /// Whether two blocks can be exchanged.
    pub(super) fn can_exchange(&self, left: BlockId, right: BlockId) -> bool {
        let dims = self.movable_dims(left);
        dims.is_some() && dims == self.movable_dims(right)
    }

    /// The shapes of a block's parameters; `None` for a block that downsamples
    /// or has no parameters, because it cannot move.
    fn movable_dims(&self, block: BlockId) -> Option<Vec<&[usize]>> {
        let params = self.block_params(block);
        let moves = !self.blocks[block.0].downsamples && !params.is_empty();
        moves.then(|| params.into_iter().map(|id| &self.params[id.0].dims[..]).collect())
    }

    /// For each parameter and running state, the one whose values it uses under
    /// `route`: itself, unless blocks are reordered.
    pub fn sources(&self, route: &Route) -> Sources {
        let mut sources = Sources {
            params: (0..self.params.len()).map(ParamId).collect(),
            states: (0..self.states.len()).map(StateId).collect(),
        };
        for block in (0..self.blocks.len()).map(BlockId) {
            let from = route.takes(block);
            if from != block {
                for (to, from) in self.block_params(block).into_iter().zip(self.block_params(from)) {
                    sources.params[to.0] = from;
                }
                for (to, from) in self.block_states(block).into_iter().zip(self.block_states(from)) {
                    sources.states[to.0] = from;
                }
            }
        }
        sources
    }

    /// Appends drop path (stochastic depth per image) to every residual branch.
    /// `drop` returns the probability from a block's number and the number of
    /// blocks.
    pub fn drop_paths(&mut self, drop: impl Fn(usize, usize) -> f32) {
        let blocks = self.blocks.len();
        for index in 0..blocks {
            let p = drop(index + 1, blocks);
            if p > 0.0 {
                let block = BlockId(index);
                let branch = self.insert_after(self.blocks[index].branch, Op::DropPath { p, block });
                let join = self.blocks[index].join;
                self.nodes[join.0].inputs[0] = branch;
                self.blocks[index].branch = branch;
            }
        }
    }

    /// Inserts a node after `id` that reads it and has its shape, and moves all
    /// later nodes by one position. No node reads the new one yet.
    fn insert_after(&mut self, id: NodeId, op: Op) -> NodeId {
        let at = id.0 + 1;
        let move_up = |node: &mut NodeId| {
            if node.0 >= at {
                node.0 += 1;
            }
        };
        self.nodes
            .iter_mut()
            .flat_map(|node| &mut node.inputs)
            .chain(&mut self.heads)
            .for_each(move_up);
        for block in &mut self.blocks {
            let Block {
                input,
                branch,
                shortcut,
                join,
                output,
                ..
            } = block;
            [input, branch, shortcut, join, output].into_iter().for_each(move_up);
        }
        let node = Node {
            op,
            inputs: vec![id],
            shape: self.shape(id).clone(),
        };
        self.nodes.insert(at, node);
        NodeId(at)
    }

    /// The default route: every block with its default gains.
    pub fn default_route(&self) -> Route {
        Route::of_network(self.blocks.iter().map(|block| block.default).collect(), &self.means)
    }

    /// Whether what follows each block depends on the values before its end only
    /// through its output. Then an evaluation can continue from there.
    pub fn is_resumable(&self) -> bool {
        let consumers = self.consumers();
        // The last reader of any value of the batch up to each node.
        let mut furthest = 0;
        let reach: Vec<usize> = self
            .ids()
            .map(|id| {
                let last = consumers[id.0].iter().map(|reader| reader.0).max();
                furthest = furthest.max(last.filter(|_| self.shape(id).batched).unwrap_or(0));
                furthest
            })
            .collect();
        let ends = |block: &Block| block.output.0 == 0 || reach[block.output.0 - 1] <= block.output.0;
        self.blocks.iter().all(ends)
    }

    /// Whether a block has a shortcut of its own: it is no layer of a plain or
    /// dense network and no path of a mean.
    pub fn has_shortcut(&self, block: BlockId) -> bool {
        self.blocks[block.0].default.shortcut != 0.0 && !self.means.iter().any(|mean| mean.blocks.contains(&block.0))
    }

    /// The parameter that node `id` holds, if it is an [`Op::Param`].
    pub fn param_of(&self, id: NodeId) -> Option<ParamId> {
        match self.node(id).op {
            Op::Param(param) => Some(param),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
