//! FractalNet: Larsson, Maire and Shakhnarovich 2017, "FractalNet: Ultra-Deep
//! Neural Networks without Residuals", arXiv:1605.07648.
//!
//! A block of C columns is made by the rule f₁ = one layer, fₙ₊₁ = the mean of
//! one layer and of fₙ after fₙ; means that follow one another at once are one
//! mean. So column c (from 1) has 2^(c−1) layers in a block, and every second
//! layer of the deepest column ends at a join: the mean of this column and of
//! one or more others. A network is five blocks with w, 2w, 4w, 8w and 8w
//! channels, 2×2 max pooling at the end of each, and a linear layer. A layer is a
//! 3×3 convolution, dropout, batch norm and ReLU. Convolutions start uniformly
//! within ±√(3 / fan-in), as in the authors' code.
//!
//! A block for studies is a path of a join: the layers of one column since the
//! join before. `block1.join2.column3` has the two layers of column 3 between
//! the first and the second join of block 1. The mean is over the paths that are
//! left: where one is deleted, the others get more weight.
//!
//! The paper's figure pools after the last join of a block; its experiments pool
//! each path before it. Maximum and mean cannot be exchanged, so both exist.

use super::family::Family;
use super::layers::{batch_norm_relu, head};
use super::limits::{MAX_CHANNELS, check_width};
use super::request::{Choice, ModelRequest, name_of};
use super::{ModelError, ModelSpec};
use crate::graph::{BlockInfo, Conv, Gains, Graph, GraphError, Init, NodeId, PathDropping, Pool};

/// Channels of the blocks, as multiples of the first block's.
const MULTIPLES: [usize; 5] = [1, 2, 4, 8, 8];
/// Channels of the first block in the paper's networks for CIFAR.
const WIDTH: usize = 64;
/// The largest number of columns: 640 layers in the deepest one. The paper's
/// largest number is 6.
const MOST_COLUMNS: usize = 8;

/// Halves height and width.
const HALVE: Pool = Pool {
    kernel: 2,
    stride: 2,
    padding: 0,
};

const SAME: Conv = Conv {
    kernel: 3,
    stride: 1,
    padding: 1,
    groups: 1,
};

/// The values of the option `pool`: whether a block pools each of its paths.
const POOLED: [(&str, bool); 2] = [("paths", true), ("join", false)];

/// `fractalnet-<C>` and `fractalnet-<C>-<w>`: C columns, w channels in the first
/// block, 64 by default. The depth of the deepest column also stands for C:
/// `fractalnet-20` is `fractalnet-3`, `fractalnet-40` is `fractalnet-4`.
///
/// Options: `pool` = `paths` (default), which pools each path before the last
/// join of a block, or `join`, which pools the mean; `dropout` = the probability
/// of a zero in block 5, 0 by default (0.4 in the paper), which grows linearly
/// from 0 in block 1; `drop-path` = the probability that a path of a join is left
/// out in a mini-batch, 0 by default (0.15); `drop-global` = the share of
/// mini-batches in which one random column runs alone instead, 0 by default
/// (0.5). [`PathDropping`] has the details.
#[derive(Debug, Clone, PartialEq)]
pub struct FractalNet {
    columns: usize,
    width: usize,
    pools_paths: bool,
    dropout: f32,
    dropping: PathDropping,
}

/// Its names, for messages.
pub(super) const NAMES: &str = "fractalnet-<columns>, fractalnet-<columns>-<channels>";

/// Reads a request for a FractalNet.
pub(super) fn read(request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    let (columns, width) = match request.sizes("fractalnet") {
        Some([columns, width]) => (columns, width),
        None if request.name == "fractalnet" => (3, WIDTH),
        None => (request.sizes::<1>("fractalnet")?[0], WIDTH),
    };
    Some(FractalNet::new(columns, width, request).map(ModelSpec::FractalNet))
}

/// The number of columns that a number in a name stands for: itself, or the one
/// of the network with this depth.
fn columns_of(number: usize) -> usize {
    let of_depth = (3..=MOST_COLUMNS).find(|columns| MULTIPLES.len() << (columns - 1) == number);
    of_depth.unwrap_or(number)
}

impl FractalNet {
    fn new(columns: usize, width: usize, request: &mut ModelRequest) -> Result<Self, ModelError> {
        let columns = columns_of(columns);
        check_width(&request.name, "number of columns", columns, MOST_COLUMNS)?;
        check_width(&request.name, "number of channels", width, MAX_CHANNELS / 8)?;
        let share = |value: &str| value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        Ok(FractalNet {
            columns,
            width,
            pools_paths: request.choose("pool", &POOLED)?.unwrap_or(true),
            dropout: request.probability("dropout")?.unwrap_or(0.0),
            dropping: PathDropping {
                local: request.probability("drop-path")?.unwrap_or(0.0),
                global: request
                    .take("drop-global", "a share from 0 to 1", share)?
                    .unwrap_or(0.0),
            },
        })
    }

    /// Block `stage`, from 1.
    fn block(&self, g: &mut Graph, stage: usize, x: NodeId) -> Result<NodeId, GraphError> {
        // What each column has so far, column 1 first.
        let mut values = vec![x; self.columns];
        let joins = 1_usize << self.columns.saturating_sub(2);
        for join in 1..=joins {
            // Every join has the two deepest columns, every second one the three
            // deepest, and so on.
            let joined = (join.trailing_zeros() as usize + 2).min(self.columns);
            let first = self.columns - joined;
            let place = Place {
                stage,
                first,
                pools: join == joins && self.pools_paths,
            };
            let mean = g.scoped(&format!("join{join}"), |g| self.join(g, &place, &values))?;
            values[first..].fill(mean);
        }
        match self.pools_paths {
            true => Ok(values[0]),
            false => g.max_pool(values[0], HALVE),
        }
    }

    /// The mean of the columns from index `place.first`.
    fn join(&self, g: &mut Graph, place: &Place, values: &[NodeId]) -> Result<NodeId, GraphError> {
        let mut sum = None;
        for (index, &x) in values.iter().enumerate().skip(place.first) {
            let name = format!("column{}", index + 1);
            let is_deepest = index + 1 == self.columns && index > 0;
            let layers = if is_deepest { 2 } else { 1 };
            let path = g.scoped(&name, |g| {
                let last = (1..=layers).try_fold(x, |x, number| self.layer(g, place.stage, number, x))?;
                if place.pools { g.max_pool(last, HALVE) } else { Ok(last) }
            })?;
            let info = BlockInfo {
                name: &g.path(&name),
                stage: place.stage,
                input: x,
                downsamples: g.shape(path) != g.shape(x),
                default: Gains::RESIDUAL,
                relu: false,
            };
            let before = sum.unwrap_or_else(|| g.zeros_like(path));
            sum = Some(g.block(&info, path, before)?);
        }
        let columns: Vec<usize> = (place.first + 1..=values.len()).collect();
        g.join_by_mean(&columns);
        Ok(sum.unwrap_or(values[0]))
    }

    /// Layer `number`, from 1, of a path.
    fn layer(&self, g: &mut Graph, stage: usize, number: usize, x: NodeId) -> Result<NodeId, GraphError> {
        let fan_in = g.shape(x).channels() * SAME.kernel * SAME.kernel;
        let init = Init::Uniform((3.0 / fan_in as f32).sqrt());
        let filters = self.width * MULTIPLES[stage - 1];
        let y = g.conv(&format!("conv{number}"), x, filters, SAME, false, init)?;
        let p = self.dropout * (stage - 1) as f32 / (MULTIPLES.len() - 1) as f32;
        let y = g.dropout(y, p)?;
        Ok(batch_norm_relu(g, &format!("bn{number}"), y))
    }
}

/// Where a join is.
struct Place {
    /// Block from 1.
    stage: usize,
    /// Index of the first column that it joins.
    first: usize,
    /// Whether its paths end with pooling.
    pools: bool,
}

impl Family for FractalNet {
    fn base(&self) -> String {
        match self.width {
            WIDTH => format!("fractalnet-{}", self.columns),
            width => format!("fractalnet-{}-{width}", self.columns),
        }
    }

    fn choices(&self) -> Vec<Choice> {
        let PathDropping { local, global } = self.dropping;
        vec![
            Choice::new("pool", name_of(self.pools_paths, &POOLED), "paths"),
            Choice::new("dropout", self.dropout.to_string(), "0"),
            Choice::new("drop-path", local.to_string(), "0"),
            Choice::new("drop-global", global.to_string(), "0"),
        ]
    }

    fn look_alikes(&self) -> Vec<ModelSpec> {
        vec![ModelSpec::FractalNet(FractalNet {
            pools_paths: !self.pools_paths,
            ..self.clone()
        })]
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        g.drop_paths_of_joins(self.dropping);
        let x = (1..=MULTIPLES.len()).try_fold(images, |x, stage| {
            g.scoped(&format!("block{stage}"), |g| self.block(g, stage, x))
        })?;
        Ok(head(g, x, classes))
    }
}
