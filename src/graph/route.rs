//! Which paths carry signal?
//!
//! A residual network is a sum over paths (Veit et al. 2016). A [`Route`]
//! chooses among them: for each block a gain of branch and of shortcut, going
//! forward and going back. Training, stochastic depth, lesions and path
//! gradients are all routes of one graph.

use std::cmp::Ordering;

use super::{Block, BlockId, Graph};

/// What one block lets through. Gain 0 means that the side is not computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gains {
    /// Forward gain of the residual branch.
    pub branch: f32,
    /// Forward gain of the shortcut.
    pub shortcut: f32,
    /// Gain of the gradient that enters the branch.
    pub back_branch: f32,
    /// Gain of the gradient that enters the shortcut.
    pub back_shortcut: f32,
}

impl Gains {
    /// Gains that are the same forward and backward.
    pub const fn both(branch: f32, shortcut: f32) -> Self {
        Gains {
            branch,
            shortcut,
            back_branch: branch,
            back_shortcut: shortcut,
        }
    }

    /// A residual block as published: branch plus shortcut.
    pub const RESIDUAL: Gains = Gains::both(1.0, 1.0);
    /// A layer without a shortcut: the branch alone.
    pub const PLAIN: Gains = Gains::both(1.0, 0.0);
    /// A deleted block: the shortcut alone.
    pub const DELETED: Gains = Gains::both(0.0, 1.0);
}

/// Gains for every block, from the input on, and whose parameters each uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    gains: Vec<Gains>,
    /// The block whose parameters each block uses: its own, unless blocks
    /// were reordered.
    takes: Vec<BlockId>,
}

/// A route that a network cannot take.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RouteError {
    /// The network has fewer blocks, or block 0 was asked for.
    #[error("block {number} does not exist: the model has blocks 1 to {blocks}")]
    NoSuchBlock {
        /// The number asked for.
        number: usize,
        /// How many blocks there are.
        blocks: usize,
    },
    /// No block bears the name.
    #[error("no block is named '{name}': `tools inspect` lists the names")]
    NoSuchName {
        /// The name asked for.
        name: String,
    },
    /// Neither side carries signal.
    #[error("block {number} has gain 0 on branch and shortcut: nothing would leave it")]
    Silent {
        /// The block's number.
        number: usize,
    },
    /// A gain is infinite or not a number.
    #[error("block {number} has a gain that is not a finite number")]
    NotFinite {
        /// The block's number.
        number: usize,
    },
    /// Parameters in a place of another shape.
    #[error("blocks {left} and {right} cannot change places: their parameters differ in shape, or one downsamples")]
    NotInterchangeable {
        /// The number of one block.
        left: usize,
        /// The number of the other.
        right: usize,
    },
    /// Several routes back need one way forward.
    #[error("routes for gradients of one forward pass differ in their forward gains")]
    ForwardDiffers,
    /// A reordered network is only evaluated.
    #[error("blocks are reordered: such a route is for evaluation, not for training")]
    Reordered,
}

impl Route {
    /// A route of the given gains, block 1 first.
    pub fn new(gains: Vec<Gains>) -> Self {
        Route {
            takes: (0..gains.len()).map(BlockId).collect(),
            gains,
        }
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.gains.len()
    }

    /// Whether there is no block at all.
    pub fn is_empty(&self) -> bool {
        self.gains.is_empty()
    }

    /// The gains of one block.
    pub fn gains(&self, block: BlockId) -> Gains {
        self.gains[block.0]
    }

    /// Sets the gains of one block.
    pub fn set(&mut self, block: BlockId, gains: Gains) {
        self.gains[block.0] = gains;
    }

    /// The block whose parameters `block` uses.
    pub fn takes(&self, block: BlockId) -> BlockId {
        self.takes[block.0]
    }

    /// Whether any block uses another's parameters.
    pub fn is_reordered(&self) -> bool {
        self.takes.iter().enumerate().any(|(index, from)| index != from.0)
    }

    /// The parameters of the blocks `left` and `right` (numbers from 1) change
    /// places.
    pub fn swapping(mut self, graph: &Graph, left: usize, right: usize) -> Result<Self, RouteError> {
        let (a, b) = (self.index(left)?, self.index(right)?);
        if !graph.can_exchange(BlockId(a), BlockId(b)) {
            return Err(RouteError::NotInterchangeable { left, right });
        }
        self.takes.swap(a, b);
        Ok(self)
    }

    /// What decides about the forward pass of one block.
    fn forward(&self, index: usize) -> (f32, f32, BlockId) {
        let gains = &self.gains[index];
        (gains.branch, gains.shortcut, self.takes[index])
    }

    /// Blocks from the input on that are the same in both routes, forward.
    pub fn common_blocks(&self, other: &Route) -> usize {
        let blocks = self.len().min(other.len());
        let same = |&index: &usize| self.forward(index) == other.forward(index);
        (0..blocks).take_while(same).count()
    }

    /// An order that puts routes together which begin alike.
    pub fn compare(&self, other: &Route) -> Ordering {
        let blocks = self.len().min(other.len());
        let compared = (0..blocks).map(|index| {
            let (a, b) = (self.forward(index), other.forward(index));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
        });
        compared
            .into_iter()
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// This route with its gradient on one path alone: through the branches
    /// of the blocks `numbers` (from 1), through the shortcuts of all others.
    /// The forward pass stays as it is (Veit et al. 2016, section 4.1).
    pub fn following(mut self, numbers: &[usize]) -> Result<Self, RouteError> {
        for gains in &mut self.gains {
            (gains.back_branch, gains.back_shortcut) = (0.0, 1.0);
        }
        for &number in numbers {
            let index = self.index(number)?;
            (self.gains[index].back_branch, self.gains[index].back_shortcut) = (1.0, 0.0);
        }
        Ok(self)
    }

    /// This route without the shortcut of block `number` (from 1): the branch
    /// alone goes on. The control experiment of a lesion.
    pub fn without_shortcut(mut self, number: usize) -> Result<Self, RouteError> {
        let index = self.index(number)?;
        (self.gains[index].shortcut, self.gains[index].back_shortcut) = (0.0, 0.0);
        Ok(self)
    }

    /// The place of block `number`.
    fn index(&self, number: usize) -> Result<usize, RouteError> {
        let blocks = self.gains.len();
        let index = number.checked_sub(1).filter(|&index| index < blocks);
        index.ok_or(RouteError::NoSuchBlock { number, blocks })
    }

    /// This route with the blocks of the given numbers (from 1) deleted: their
    /// shortcuts stay.
    pub fn deleting(mut self, numbers: &[usize]) -> Result<Self, RouteError> {
        for &number in numbers {
            let index = self.index(number)?;
            self.gains[index] = Gains::DELETED;
        }
        Ok(self)
    }

    /// Whether every block lets something finite through.
    pub fn check(&self) -> Result<(), RouteError> {
        for (index, gains) in self.gains.iter().enumerate() {
            let number = index + 1;
            let all = [gains.branch, gains.shortcut, gains.back_branch, gains.back_shortcut];
            if !all.iter().all(|gain| gain.is_finite()) {
                return Err(RouteError::NotFinite { number });
            }
            if gains.branch == 0.0 && gains.shortcut == 0.0 {
                return Err(RouteError::Silent { number });
            }
        }
        Ok(())
    }

    /// Whether all backward gains are 0 or 1, so that a gradient passes a
    /// join unchanged or not at all.
    pub fn is_binary_backward(&self) -> bool {
        let binary = |gain: f32| gain == 0.0 || gain == 1.0;
        self.gains
            .iter()
            .all(|g| binary(g.back_branch) && binary(g.back_shortcut))
    }
}

/// Block numbers (from 1) named by `list`: numbers, ranges and names,
/// separated by commas, as in `3,7-9,layer2.0`.
pub fn parse_blocks(list: &str, blocks: &[Block]) -> Result<Vec<usize>, RouteError> {
    let count = blocks.len();
    let number = |text: &str| -> Option<usize> { text.trim().parse().ok() };
    let known = |number: usize| match number {
        1.. if number <= count => Ok(number),
        _ => Err(RouteError::NoSuchBlock { number, blocks: count }),
    };
    let mut numbers = Vec::new();
    for item in list.split(',').map(str::trim) {
        if let Some(position) = blocks.iter().position(|block| block.name == item) {
            numbers.push(position + 1);
        } else if let Some(single) = number(item) {
            numbers.push(known(single)?);
        } else if let Some((from, to)) = item.split_once('-').and_then(|(a, b)| Some((number(a)?, number(b)?))) {
            let (from, to) = (known(from)?, known(to)?);
            numbers.extend(from.min(to)..=from.max(to));
        } else {
            return Err(RouteError::NoSuchName { name: item.to_string() });
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}
