//! Which paths of a network carry signal?
//!
//! A residual network is a sum over paths (Veit et al. 2016). A [`Route`] chooses
//! among them: for each block it has a gain of the branch and of the shortcut, for
//! the forward and for the backward pass. Training, stochastic depth, lesions and
//! path gradients are all routes of one graph.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Block, BlockId, Graph, MeanJoin};

/// The gains of one block. A side with gain 0 is not computed.
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
    /// A layer without a shortcut: only the branch.
    pub const PLAIN: Gains = Gains::both(1.0, 0.0);
    /// A deleted block: only the shortcut.
    pub const DELETED: Gains = Gains::both(0.0, 1.0);
}

/// For every block, in order from the input: its gains, and the block whose
/// parameters it uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    gains: Vec<Gains>,
    /// The block whose parameters each block uses: itself, unless blocks are
    /// reordered.
    takes: Vec<BlockId>,
    /// The joins by a mean, whose paths share the gain.
    means: Arc<[MeanJoin]>,
}

/// A route that does not fit the network.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RouteError {
    /// A block number that the network does not have; the first is 1.
    #[error("block {number} does not exist: the model has blocks 1 to {blocks}")]
    NoSuchBlock {
        /// The number asked for.
        number: usize,
        /// The number of blocks.
        blocks: usize,
    },
    /// No block has the name.
    #[error("no block is named '{name}'")]
    NoSuchName {
        /// The name asked for.
        name: String,
    },
    /// Both sides have gain 0.
    #[error("block {number} has gain 0 on branch and shortcut: its output would be zero")]
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
    /// Two blocks that cannot be exchanged.
    #[error("blocks {left} and {right} cannot be exchanged: their parameters differ in shape, or one downsamples")]
    NotInterchangeable {
        /// The number of one block.
        left: usize,
        /// The number of the other.
        right: usize,
    },
    /// A path of a join by a mean has no shortcut that could be removed.
    #[error("block {number} is a path of a mean: it has no shortcut")]
    NoShortcut {
        /// The block's number.
        number: usize,
    },
    /// Routes that share a forward pass must have the same forward gains.
    #[error("routes for gradients of one forward pass differ in their forward gains")]
    ForwardDiffers,
    /// A route with reordered blocks can be evaluated, but not trained.
    #[error("blocks are reordered: such a route is for evaluation, not for training")]
    Reordered,
}

impl Route {
    /// A route with the given gains, block 1 first.
    pub fn new(gains: Vec<Gains>) -> Self {
        Route::of_network(gains, &[])
    }

    /// A route with the given gains for a network with the joins `means`.
    pub(super) fn of_network(gains: Vec<Gains>, means: &[MeanJoin]) -> Self {
        Route {
            takes: (0..gains.len()).map(BlockId).collect(),
            gains,
            means: means.into(),
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

    /// This route with the parameters of the blocks `left` and `right` (numbers
    /// from 1) exchanged.
    ///
    /// # Errors
    /// When a block does not exist, or the two cannot be exchanged.
    pub fn swapping(mut self, graph: &Graph, left: usize, right: usize) -> Result<Self, RouteError> {
        let (a, b) = (self.index(left)?, self.index(right)?);
        if !graph.can_exchange(BlockId(a), BlockId(b)) {
            return Err(RouteError::NotInterchangeable { left, right });
        }
        self.takes.swap(a, b);
        Ok(self)
    }

    /// Everything that determines the forward pass of one block.
    fn forward(&self, index: usize) -> (f32, f32, BlockId) {
        let gains = &self.gains[index];
        (gains.branch, gains.shortcut, self.takes[index])
    }

    /// The number of leading blocks with the same forward pass in both routes.
    pub fn common_blocks(&self, other: &Route) -> usize {
        let blocks = self.len().min(other.len());
        let same = |&index: &usize| self.forward(index) == other.forward(index);
        (0..blocks).take_while(same).count()
    }

    /// A total order in which routes with a common beginning are adjacent.
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

    /// This route with the gradient on a single path: through the branches of the
    /// blocks `numbers` (from 1) and the shortcuts of all others. The forward pass
    /// does not change (Veit et al. 2016, section 4.1).
    ///
    /// # Errors
    /// When a block does not exist.
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

    /// This route without the shortcut of block `number` (from 1), which keeps its
    /// branch. The control experiment of a lesion.
    ///
    /// # Errors
    /// When the block does not exist, or is a path of a mean.
    pub fn without_shortcut(mut self, number: usize) -> Result<Self, RouteError> {
        let index = self.index(number)?;
        if self.means.iter().any(|mean| mean.blocks.contains(&index)) {
            return Err(RouteError::NoShortcut { number });
        }
        (self.gains[index].shortcut, self.gains[index].back_shortcut) = (0.0, 0.0);
        Ok(self)
    }

    /// The position of block `number`.
    fn index(&self, number: usize) -> Result<usize, RouteError> {
        let blocks = self.gains.len();
        let index = number.checked_sub(1).filter(|&index| index < blocks);
        index.ok_or(RouteError::NoSuchBlock { number, blocks })
    }

    /// This route with the blocks `numbers` (from 1) deleted: only their shortcuts
    /// remain. A join by a mean becomes the mean of the paths that remain, and
    /// zeros if there are none.
    ///
    /// # Errors
    /// When a block does not exist.
    pub fn deleting(mut self, numbers: &[usize]) -> Result<Self, RouteError> {
        for &number in numbers {
            let index = self.index(number)?;
            self.gains[index] = Gains::DELETED;
        }
        for mean in self.means.clone().iter() {
            if numbers.iter().any(|number| mean.blocks.contains(&(number - 1))) {
                let remains: Vec<bool> = mean
                    .blocks
                    .clone()
                    .map(|index| self.gains[index].branch != 0.0)
                    .collect();
                self.keep_paths(mean, |path| remains[path]);
            }
        }
        Ok(self)
    }

    /// Leaves the paths of `mean` whose index (from 0) `keeps` accepts; its output
    /// is their mean.
    pub fn keep_paths(&mut self, mean: &MeanJoin, keeps: impl Fn(usize) -> bool) {
        for (block, gains) in mean.gains(keeps) {
            self.set(block, gains);
        }
    }

    /// Checks that all gains are finite, and that no block has gain 0 on both sides.
    ///
    /// # Errors
    /// For the first block that does not comply.
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

    /// Whether all backward gains are 0 or 1: a gradient then passes a join
    /// unchanged or not at all.
    pub fn is_binary_backward(&self) -> bool {
        let binary = |gain: f32| gain == 0.0 || gain == 1.0;
        self.gains
            .iter()
            .all(|g| binary(g.back_branch) && binary(g.back_shortcut))
    }
}

/// The block numbers (from 1) that `list` names, in ascending order: numbers,
/// ranges and names separated by commas, such as `3,7-9,layer2.0`.
///
/// # Errors
/// When a block does not exist.
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
