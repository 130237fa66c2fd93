//! How is a forward graph built?
//!
//! One method for each operation, which infers the shape of the output and
//! returns an error for inputs that do not fit.

use super::{
    Block, BlockId, Conv, Gains, Graph, Init, MeanJoin, Node, NodeId, Op, PadShortcut, Param, ParamId, ParamKind,
    PathDropping, Pool, Shape, State, StateId, TARGET_WORDS, window_count,
};

/// What a graph is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Batch norm uses the batch's statistics and updates its running state;
    /// dropout is active.
    Train,
    /// Batch norm uses its running state; dropout does nothing.
    Eval,
}

/// An operation that does not fit its inputs.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum GraphError {
    /// A window larger than the padded plane, or a stride of 0.
    #[error("{op} in '{scope}': a {kernel}×{kernel} window does not fit a {height}×{width} plane; use a larger input")]
    Window {
        /// The operation.
        op: &'static str,
        /// Where in the network.
        scope: String,
        /// Window size.
        kernel: usize,
        /// Plane height.
        height: usize,
        /// Plane width.
        width: usize,
    },
    /// Windows of a maximum that may lie in the padding alone.
    #[error("max pool in '{scope}': a padding of {padding} is more than half of a {kernel}×{kernel} window")]
    Padding {
        /// Where in the network.
        scope: String,
        /// Window size.
        kernel: usize,
        /// Padding.
        padding: usize,
    },
    /// Channel counts that do not divide into the groups.
    #[error("conv in '{scope}': {channels} input and {filters} output channels do not divide into {groups} groups")]
    Groups {
        /// Where in the network.
        scope: String,
        /// Input channels.
        channels: usize,
        /// Output channels.
        filters: usize,
        /// Groups asked for.
        groups: usize,
    },
    /// Two values whose shapes should be equal.
    #[error("{op} in '{scope}': shapes {left} and {right} do not match")]
    Mismatch {
        /// The operation.
        op: &'static str,
        /// Where in the network.
        scope: String,
        /// One shape.
        left: Shape,
        /// The other.
        right: Shape,
    },
    /// A range of channels that the input does not have.
    #[error("slice in '{scope}': channels {from}..{to} of an input with {channels}")]
    Slice {
        /// Where in the network.
        scope: String,
        /// First channel.
        from: usize,
        /// One past the last channel.
        to: usize,
        /// Channels of the input.
        channels: usize,
    },
    /// A dropout probability outside `[0, 1)`.
    #[error("dropout of {p}: the probability must be at least 0 and less than 1")]
    Dropout {
        /// The probability asked for.
        p: f32,
    },
}

/// The properties of a block besides its two sides, for [`Graph::block`].
#[derive(Debug, Clone)]
pub struct BlockInfo<'a> {
    /// Canonical name, such as `layer2.0`.
    pub name: &'a str,
    /// Stage from 1.
    pub stage: usize,
    /// The value that enters the block.
    pub input: NodeId,
    /// Whether the block changes the resolution or the channel count.
    pub downsamples: bool,
    /// Gains of the default route.
    pub default: Gains,
    /// Whether a ReLU follows the join.
    pub relu: bool,
}

/// The properties of a residual block for [`Graph::residual`], besides its two
/// sides.
#[derive(Debug, Clone, Copy)]
pub struct ResidualBlock<'a> {
    /// Name in the current scope, `layer2.0`: parameters of the block have
    /// names that begin with it.
    pub name: &'a str,
    /// Stage from 1: reports group blocks by it.
    pub stage: usize,
    /// The value that enters the block.
    pub input: NodeId,
    /// Whether a ReLU follows the sum of branch and shortcut.
    pub relu: bool,
}

impl Graph {
    pub(crate) fn push(&mut self, op: Op, inputs: &[NodeId], shape: Shape) -> NodeId {
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            shape,
        });
        NodeId(self.nodes.len() - 1)
    }

    /// Runs `build`; the names of all parameters that it adds get the prefix
    /// `name`.
    pub fn scoped<T>(&mut self, name: &str, build: impl FnOnce(&mut Graph) -> T) -> T {
        self.scope.push(name.to_string());
        let result = build(self);
        self.scope.pop();
        result
    }

    /// The canonical name of `name` in the current scope.
    pub fn path(&self, name: &str) -> String {
        let mut path = self.scope.join(".");
        if !path.is_empty() {
            path.push('.');
        }
        path + name
    }

    fn param(&mut self, name: &str, kind: ParamKind, dims: &[usize], init: Init) -> NodeId {
        let name = self.path(name);
        self.params.push(Param {
            name,
            kind,
            dims: dims.to_vec(),
            init,
        });
        let id = ParamId(self.params.len() - 1);
        self.push(Op::Param(id), &[], Shape::fixed(dims))
    }

    /// The input batch, `N × channels × height × width`.
    pub fn images(&mut self, channels: usize, height: usize, width: usize) -> NodeId {
        self.push(Op::Images, &[], Shape::batched(&[channels, height, width]))
    }

    /// A convolution `N×C×H×W` to `N×filters×H'×W'`. Weights are initialised by
    /// `init`, the bias (if any) with zeros.
    pub fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        filters: usize,
        conv: Conv,
        bias: bool,
        init: Init,
    ) -> Result<NodeId, GraphError> {
        self.conv_with(name, x, filters, conv, init, bias.then_some(Init::Zero))
    }

    /// As [`Self::conv`], with a bias that is initialised by `bias`, if there is
    /// one.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn conv_with(
        &mut self,
        name: &str,
        x: NodeId,
        filters: usize,
        conv: Conv,
        init: Init,
        bias: Option<Init>,
    ) -> Result<NodeId, GraphError> {
        let channels = self.shape(x).channels();
        let (height, width) = self.shape(x).plane();
        if conv.groups == 0 || !channels.is_multiple_of(conv.groups) || !filters.is_multiple_of(conv.groups) {
            return Err(GraphError::Groups {
                scope: self.path(name),
                channels,
                filters,
                groups: conv.groups,
            });
        }
        let size = |length| window_count(length, conv.kernel, conv.stride, conv.padding);
        let (Some(out_height), Some(out_width)) = (size(height), size(width)) else {
            return Err(self.window_error("conv", name, conv.kernel, x));
        };
        let dims = [filters, channels / conv.groups, conv.kernel, conv.kernel];
        let mut inputs = vec![x, self.param(name, ParamKind::ConvWeight, &dims, init)];
        if let Some(init) = bias {
            inputs.push(self.param(name, ParamKind::Bias, &[filters], init));
        }
        Ok(self.push(
            Op::Conv(conv),
            &inputs,
            Shape::batched(&[filters, out_height, out_width]),
        ))
    }

    fn window_error(&self, op: &'static str, name: &str, kernel: usize, x: NodeId) -> GraphError {
        let (height, width) = self.shape(x).plane();
        GraphError::Window {
            op,
            scope: self.path(name),
            kernel,
            height,
            width,
        }
    }

    /// Batch norm over N, H, W (Ioffe and Szegedy 2015), with the batch's
    /// statistics or the running state, depending on the graph's [`Mode`].
    pub fn batch_norm(&mut self, name: &str, x: NodeId, eps: f32, momentum: f32) -> NodeId {
        let channels = self.shape(x).channels();
        let affine = self.param(name, ParamKind::BatchNorm, &[2, channels], Init::UnitAffine);
        self.states.push(State {
            name: self.path(name),
            channels,
            eps,
            momentum,
        });
        let state = StateId(self.states.len() - 1);
        let rows = Shape::fixed(&[2, channels]);
        let stats = match self.mode {
            Mode::Train => self.push(Op::BatchStats(state), &[x], rows),
            Mode::Eval => self.push(Op::RunningStats(state), &[], rows),
        };
        let shape = self.shape(x).clone();
        self.push(Op::BatchNorm, &[x, stats, affine], shape)
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: NodeId) -> NodeId {
        let shape = self.shape(x).clone();
        self.push(Op::Relu, &[x], shape)
    }

    /// `factor · x`.
    pub fn scale(&mut self, x: NodeId, factor: f32) -> NodeId {
        let shape = self.shape(x).clone();
        self.push(Op::Scale { factor }, &[x], shape)
    }

    /// Zeros with the shape of `x`.
    pub fn zeros_like(&mut self, x: NodeId) -> NodeId {
        let shape = self.shape(x).clone();
        self.push(Op::Zeros, &[], shape)
    }

    /// `1 / (1 + e⁻ˣ)`.
    pub fn sigmoid(&mut self, x: NodeId) -> NodeId {
        let shape = self.shape(x).clone();
        self.push(Op::Sigmoid, &[x], shape)
    }

    /// `x` times `gate`, which has the shape of x (`N×C×H×W`), or `N×C`: one
    /// factor for the plane of each channel.
    ///
    /// # Errors
    /// Where the gate has another shape.
    pub fn multiply(&mut self, x: NodeId, gate: NodeId) -> Result<NodeId, GraphError> {
        let (shape, gates) = (self.shape(x).clone(), self.shape(gate));
        let channels = Shape::batched(&[shape.channels()]);
        if *gates != shape && gates.dims != channels.dims {
            return Err(self.mismatch("multiply", x, gate));
        }
        Ok(self.push(Op::Multiply, &[x, gate], shape))
    }

    /// The sum of two values of one shape.
    ///
    /// # Errors
    /// Where the shapes differ.
    pub fn sum(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, GraphError> {
        if self.shape(a) != self.shape(b) {
            return Err(self.mismatch("sum", a, b));
        }
        let shape = self.shape(a).clone();
        Ok(self.push(Op::Sum, &[a, b], shape))
    }

    fn pool(&mut self, op: Op, pool: Pool, x: NodeId) -> Result<NodeId, GraphError> {
        let (height, width) = self.shape(x).plane();
        let size = |length| window_count(length, pool.kernel, pool.stride, pool.padding);
        let (Some(out_height), Some(out_width)) = (size(height), size(width)) else {
            return Err(self.window_error(op.name(), "pool", pool.kernel, x));
        };
        let shape = Shape::batched(&[self.shape(x).channels(), out_height, out_width]);
        Ok(self.push(op, &[x], shape))
    }

    /// Maximum over windows.
    pub fn max_pool(&mut self, x: NodeId, pool: Pool) -> Result<NodeId, GraphError> {
        if 2 * pool.padding > pool.kernel {
            return Err(GraphError::Padding {
                scope: self.path("pool"),
                kernel: pool.kernel,
                padding: pool.padding,
            });
        }
        self.pool(Op::MaxPool(pool), pool, x)
    }

    /// Mean over windows; padding counts as zeros.
    pub fn avg_pool(&mut self, x: NodeId, pool: Pool) -> Result<NodeId, GraphError> {
        self.pool(Op::AvgPool(pool), pool, x)
    }

    /// Mean over the plane, `N×C×H×W` to `N×C`.
    pub fn global_avg_pool(&mut self, x: NodeId) -> NodeId {
        let channels = self.shape(x).channels();
        self.push(Op::GlobalAvgPool, &[x], Shape::batched(&[channels]))
    }

    /// A linear layer with bias on the flattened input, to `N×features`. Weights
    /// are initialised by `init`, the bias with zeros.
    pub fn linear(&mut self, name: &str, x: NodeId, features: usize, init: Init) -> NodeId {
        let inputs = self.shape(x).per_image();
        let weight = self.param(name, ParamKind::LinearWeight, &[features, inputs], init);
        let bias = self.param(name, ParamKind::Bias, &[features], Init::Zero);
        self.push(Op::Linear, &[x, weight, bias], Shape::batched(&[features]))
    }

    /// Dropout (Srivastava et al. 2014) with probability `p` of a zero. Returns
    /// the input where `p` is 0, or the graph is built for evaluation or ignores
    /// dropout.
    pub fn dropout(&mut self, x: NodeId, p: f32) -> Result<NodeId, GraphError> {
        if !(0.0..1.0).contains(&p) {
            return Err(GraphError::Dropout { p });
        }
        if p == 0.0 || self.mode == Mode::Eval || self.ignores_dropout {
            return Ok(x);
        }
        let stream = self.dropouts;
        self.dropouts += 1;
        let shape = self.shape(x).clone();
        Ok(self.push(Op::Dropout { p, stream }, &[x], shape))
    }

    /// The channels of all `inputs`, in order. There is at least one input.
    pub fn concat(&mut self, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let first = self.shape(inputs[0]).clone();
        let mut channels = 0;
        for &input in inputs {
            let shape = self.shape(input);
            if shape.dims[1..] != first.dims[1..] {
                return Err(self.mismatch("concat", inputs[0], input));
            }
            channels += shape.channels();
        }
        let mut dims = first.dims;
        dims[0] = channels;
        Ok(self.push(Op::Concat, inputs, Shape::batched(&dims)))
    }

    /// The channels `from .. from + count`.
    pub fn slice(&mut self, x: NodeId, from: usize, count: usize) -> Result<NodeId, GraphError> {
        let channels = self.shape(x).channels();
        if count == 0 || from + count > channels {
            return Err(GraphError::Slice {
                scope: self.path("slice"),
                from,
                to: from + count,
                channels,
            });
        }
        let mut shape = self.shape(x).clone();
        shape.dims[0] = count;
        Ok(self.push(Op::Slice { from, count }, &[x], shape))
    }

    /// The parameter-free shortcut of He et al. 2015 (option A).
    pub fn pad_shortcut(&mut self, x: NodeId, pad: PadShortcut) -> Result<NodeId, GraphError> {
        let (height, width) = self.shape(x).plane();
        let window = if pad.average { pad.stride } else { 1 };
        let size = |length| window_count(length, window, pad.stride, 0);
        let (Some(out_height), Some(out_width)) = (size(height), size(width)) else {
            return Err(self.window_error("shortcut", "shortcut", window, x));
        };
        let channels = pad.before + self.shape(x).channels() + pad.after;
        let shape = Shape::batched(&[channels, out_height, out_width]);
        Ok(self.push(Op::PadShortcut(pad), &[x], shape))
    }

    /// A residual block. `sides` adds the layers of branch and shortcut under
    /// the block's name and returns their last values, in this order; the block
    /// adds these with the gains of the route. An identity shortcut is the block's input.
    /// Returns the block's output.
    ///
    /// # Errors
    /// Those of `sides`, and where branch and shortcut differ in shape.
    pub fn residual(
        &mut self,
        block: &ResidualBlock,
        sides: impl FnOnce(&mut Graph) -> Result<(NodeId, NodeId), GraphError>,
    ) -> Result<NodeId, GraphError> {
        let name = self.path(block.name);
        self.scoped(block.name, |g| {
            let (branch, shortcut) = sides(g)?;
            let info = BlockInfo {
                name: &name,
                stage: block.stage,
                input: block.input,
                downsamples: g.shape(branch) != g.shape(block.input),
                default: Gains::RESIDUAL,
                relu: block.relu,
            };
            g.block(&info, branch, shortcut)
        })
    }

    /// Ends a block: adds `branch` and `shortcut` with the route's gains, appends
    /// the ReLU if the block has one, and records the region. Returns the block's
    /// output.
    pub fn block(&mut self, info: &BlockInfo, branch: NodeId, shortcut: NodeId) -> Result<NodeId, GraphError> {
        if self.shape(branch) != self.shape(shortcut) {
            return Err(self.mismatch("join", branch, shortcut));
        }
        let shape = self.shape(branch).clone();
        let id = BlockId(self.blocks.len());
        let join = self.push(Op::Join(id), &[branch, shortcut], shape);
        let output = if info.relu { self.relu(join) } else { join };
        self.blocks.push(Block {
            name: info.name.to_string(),
            input: info.input,
            branch,
            shortcut,
            join,
            output,
            stage: info.stage,
            downsamples: info.downsamples,
            default: info.default,
        });
        Ok(output)
    }

    /// Makes the last blocks the paths of one join, whose output is the mean of
    /// their branches: one block for each of `columns`, the column (from 1) that
    /// the path is a part of. The first of them was built with zeros as shortcut,
    /// each other one with the output of the one before.
    pub fn join_by_mean(&mut self, columns: &[usize]) {
        let first = self.blocks.len().saturating_sub(columns.len());
        let mean = MeanJoin {
            blocks: first..self.blocks.len(),
            columns: columns.to_vec(),
        };
        for (BlockId(block), gains) in mean.gains(|_| true) {
            self.blocks[block].default = gains;
        }
        self.means.push(mean);
    }

    /// Says which paths of its joins training leaves out.
    pub fn drop_paths_of_joins(&mut self, dropping: PathDropping) {
        self.path_dropping = dropping;
    }

    /// Softmax cross-entropy of the logits against the labels: the last node
    /// of a forward graph.
    pub fn cross_entropy(&mut self, logits: NodeId) -> NodeId {
        let labels = self.push(Op::Labels, &[], Shape::batched(&[]));
        self.push(Op::CrossEntropy, &[logits, labels], Shape::batched(&[2]))
    }

    /// Makes the targets of the loss soft: two labels with a share each, of which
    /// `smoothing`, from 0 to 1, is spread over all classes
    /// ([`Op::SoftCrossEntropy`]).
    pub fn soften(&mut self, smoothing: f32) {
        if let Some(loss) = self.loss() {
            let labels = self.node(loss).inputs[1];
            self.nodes[loss.0].op = Op::SoftCrossEntropy { smoothing };
            self.nodes[labels.0].shape = Shape::batched(&[TARGET_WORDS]);
        }
    }

    pub(super) fn mismatch(&self, op: &'static str, left: NodeId, right: NodeId) -> GraphError {
        GraphError::Mismatch {
            op,
            scope: self.scope.join("."),
            left: self.shape(left).clone(),
            right: self.shape(right).clone(),
        }
    }
}
