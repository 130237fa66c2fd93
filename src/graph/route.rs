//! Which paths carry signal?
//!
//! A residual network is a sum over paths (Veit et al. 2016). A [`Route`]
//! chooses among them: for each block a gain of branch and of shortcut, going
//! forward and going back. Training, stochastic depth, lesions and path
//! gradients are all routes of one graph.

use std::cmp::Ordering;

use super::{Block, BlockId};

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

/// Gains for every block, from the input on.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    gains: Vec<Gains>,
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
}

impl Route {
    /// A route of the given gains, block 1 first.
    pub fn new(gains: Vec<Gains>) -> Self {
        Route { gains }
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

    /// Blocks from the input on that are the same in both routes, forward.
    pub fn common_blocks(&self, other: &Route) -> usize {
        let forward = |gains: &Gains| (gains.branch, gains.shortcut);
        let pairs = self.gains.iter().zip(&other.gains);
        pairs.take_while(|(a, b)| forward(a) == forward(b)).count()
    }

    /// An order that puts routes together which begin alike.
    pub fn compare(&self, other: &Route) -> Ordering {
        let forward = |gains: &Gains| [gains.branch, gains.shortcut];
        let pairs = self.gains.iter().zip(&other.gains);
        let blocks = pairs.flat_map(|(a, b)| forward(a).into_iter().zip(forward(b)));
        blocks
            .map(|(a, b)| a.total_cmp(&b))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// This route with the blocks of the given numbers (from 1) deleted: their
    /// shortcuts stay.
    pub fn deleting(mut self, numbers: &[usize]) -> Result<Self, RouteError> {
        let blocks = self.gains.len();
        for &number in numbers {
            let index = number.checked_sub(1).filter(|&index| index < blocks);
            let index = index.ok_or(RouteError::NoSuchBlock { number, blocks })?;
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

    /// Which sides are on, as a key for what has to be computed.
    pub fn pattern(&self) -> Vec<u8> {
        let bit = |gain: f32, place: u8| u8::from(gain != 0.0) << place;
        self.gains
            .iter()
            .map(|g| bit(g.branch, 0) | bit(g.shortcut, 1) | bit(g.back_branch, 2) | bit(g.back_shortcut, 3))
            .collect()
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
