//! Which blocks run in a training step, and with which gain at test time?
//!
//! Stochastic depth (Huang et al. 2016, arXiv:1603.09382): in every mini-batch
//! the branch of block l of L runs with probability p_l; otherwise only the
//! shortcut carries signal. At test time the branch is scaled by p_l. Sampled
//! blocks (Veit et al. 2016, arXiv:1605.06431, section 4.3): in every
//! mini-batch a fixed number of randomly chosen blocks runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::graph::{BlockId, Gains, Graph, PathDropping, Route};
use crate::models::Network;
use crate::random::{Philox, Stream};

/// How the survival probability falls with depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum DepthRule {
    /// Linear from 1 at the input to p_L: p_l = 1 − (l/L)(1 − p_L).
    #[default]
    Linear,
    /// The same p_L for every block.
    Uniform,
}

impl DepthRule {
    /// The survival probability of block `number` (from 1) of `blocks`.
    pub fn survival(self, p_last: f64, number: usize, blocks: usize) -> f64 {
        match self {
            DepthRule::Linear => 1.0 - (number as f64 / blocks as f64) * (1.0 - p_last),
            DepthRule::Uniform => p_last,
        }
    }

    /// The same as timm counts: the linear rule gives 1 for the first block, and
    /// falls over blocks − 1 steps.
    pub fn survival_by_sample(self, p_last: f64, number: usize, blocks: usize) -> f64 {
        match self {
            DepthRule::Linear => 1.0 - (number - 1) as f64 / blocks.saturating_sub(1).max(1) as f64 * (1.0 - p_last),
            DepthRule::Uniform => p_last,
        }
    }

    /// The expected number of blocks that run; (3L − 1) / 4 for the linear rule
    /// and p_L = ½.
    pub fn expected_depth(self, p_last: f64, blocks: usize) -> f64 {
        (1..=blocks).map(|number| self.survival(p_last, number, blocks)).sum()
    }
}

impl fmt::Display for DepthRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DepthRule::Linear => "linear",
            DepthRule::Uniform => "uniform",
        })
    }
}

impl FromStr for DepthRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "linear" => Ok(DepthRule::Linear),
            "uniform" => Ok(DepthRule::Uniform),
            _ => Err(format!(
                "'{}' is not a depth rule; use linear or uniform",
                crate::shown::shown(text)
            )),
        }
    }
}

/// What shares one random draw of stochastic depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum DepthPer {
    /// A mini-batch, as in the paper. A block that does not run costs no time,
    /// and at test time branches are scaled by their probabilities.
    #[default]
    Batch,
    /// An image, as in timm's `DropPath`. Every block runs; its branch is set to
    /// zero for some images, and scaled up for the others so that its mean
    /// stays the same. Nothing is scaled at test time. The linear rule gives 1
    /// for the first block.
    Sample,
}

impl fmt::Display for DepthPer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DepthPer::Batch => "batch",
            DepthPer::Sample => "sample",
        })
    }
}

/// Which blocks run in training.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Depth {
    /// All blocks in every step.
    #[default]
    Constant,
    /// Stochastic depth, one draw for each block and mini-batch.
    Stochastic {
        /// Survival probability of the last block.
        p_last: f64,
        /// How the probabilities of the other blocks follow from it.
        rule: DepthRule,
    },
    /// Stochastic depth, one draw for each block and image.
    BySample {
        /// Survival probability of the last block.
        p_last: f64,
        /// How the probabilities of the other blocks follow from it.
        rule: DepthRule,
    },
    /// This number of random blocks in each mini-batch.
    Sampled(usize),
}

impl Depth {
    /// The value that the settings `stochastic-depth`, `depth-rule`, `depth-per`
    /// and `sample-blocks` stand for.
    ///
    /// # Errors
    /// If blocks are both sampled and dropped at random.
    pub(super) fn of_settings(
        stochastic_depth: Option<f64>,
        rule: DepthRule,
        per: DepthPer,
        sample_blocks: Option<usize>,
    ) -> Result<Self, TrainError> {
        match (stochastic_depth, sample_blocks) {
            (None, None) => Ok(Depth::Constant),
            (Some(p_last), None) => Ok(match per {
                DepthPer::Batch => Depth::Stochastic { p_last, rule },
                DepthPer::Sample => Depth::BySample { p_last, rule },
            }),
            (None, Some(count)) => Ok(Depth::Sampled(count)),
            (Some(_), Some(count)) => {
                let problem = format!("{count} cannot be combined with stochastic depth; use one of them");
                Err(TrainError::value("sample-blocks", problem))
            }
        }
    }

    /// The settings that stand for this value, as [`Self::of_settings`] reads
    /// them.
    pub(super) fn settings(self) -> (Option<f64>, DepthRule, DepthPer, Option<usize>) {
        let (rule, per) = (DepthRule::default(), DepthPer::default());
        match self {
            Depth::Constant => (None, rule, per, None),
            Depth::Stochastic { p_last, rule } => (Some(p_last), rule, DepthPer::Batch, None),
            Depth::BySample { p_last, rule } => (Some(p_last), rule, DepthPer::Sample, None),
            Depth::Sampled(count) => (None, rule, per, Some(count)),
        }
    }

    /// The route of training step `step` (from 0). The draws depend only on
    /// (seed, step, block), so a resumed run repeats them exactly.
    pub fn training_route(self, graph: &Graph, seed: u64, step: u32) -> Route {
        let mut route = graph.default_route();
        let blocks = graph.blocks.len();
        let philox = Philox::new(seed);
        match self {
            Depth::Constant => drop_paths_of_joins(&mut route, graph, &philox, step),
            Depth::BySample { .. } => {}
            Depth::Stochastic { p_last, rule } => {
                for index in 0..blocks {
                    let mut draws = philox.draws(Stream::StochasticDepth, step, index as u32);
                    if f64::from(draws.unit()) >= rule.survival(p_last, index + 1, blocks) {
                        route.set(BlockId(index), Gains::DELETED);
                    }
                }
            }
            Depth::Sampled(count) => {
                for index in unsampled(&philox, step, blocks, count) {
                    route.set(BlockId(index), Gains::DELETED);
                }
            }
        }
        route
    }

    /// Adds drop path to the training graph, for draws by image.
    pub fn prepare(self, network: Network) -> Network {
        match self {
            Depth::BySample { p_last, rule } => network.changed(|graph| {
                graph.drop_paths(|number, blocks| (1.0 - rule.survival_by_sample(p_last, number, blocks)) as f32);
            }),
            _ => network,
        }
    }

    /// The expected number of blocks, out of `blocks`, whose branches an image
    /// passes through.
    pub fn expected(self, blocks: usize) -> f64 {
        let survivals = |survival: &dyn Fn(usize) -> f64| (1..=blocks).map(survival).sum();
        match self {
            Depth::Constant => blocks as f64,
            Depth::Stochastic { p_last, rule } => rule.expected_depth(p_last, blocks),
            Depth::BySample { p_last, rule } => survivals(&|number| rule.survival_by_sample(p_last, number, blocks)),
            Depth::Sampled(count) => count.min(blocks) as f64,
        }
    }

    /// The route of a trained network: branches are scaled by their survival
    /// probabilities.
    pub fn test_route(self, graph: &Graph) -> Route {
        let mut route = graph.default_route();
        if let Depth::Stochastic { p_last, rule } = self {
            let blocks = graph.blocks.len();
            for index in 0..blocks {
                let own = route.gains(BlockId(index));
                let survival = rule.survival(p_last, index + 1, blocks) as f32;
                route.set(BlockId(index), Gains::both(own.branch * survival, own.shortcut));
            }
        }
        route
    }
}

/// Leaves out paths of joins by a mean, as the network says. The draws depend on
/// (seed, step, join).
fn drop_paths_of_joins(route: &mut Route, graph: &Graph, philox: &Philox, step: u32) {
    let PathDropping { local, global } = graph.path_dropping;
    if local == 0.0 && global == 0.0 {
        return;
    }
    let mut draws = philox.draws(Stream::StochasticDepth, step, u32::MAX);
    let alone = (draws.unit() < global).then(|| {
        let columns = graph.means.iter().flat_map(|mean| mean.columns.iter().copied()).max();
        draws.below(columns.unwrap_or(0) as u32) as usize + 1
    });
    for (join, mean) in graph.means.iter().enumerate() {
        let kept: Vec<bool> = match alone {
            // The output of a join without this column is not read.
            Some(column) if mean.columns.contains(&column) => mean.columns.iter().map(|own| *own == column).collect(),
            Some(_) => continue,
            None => {
                let mut draws = philox.draws(Stream::StochasticDepth, step, join as u32);
                let mut kept: Vec<bool> = mean.columns.iter().map(|_| draws.unit() >= local).collect();
                if !kept.contains(&true) {
                    let last = draws.below(kept.len() as u32) as usize;
                    kept[last] = true;
                }
                kept
            }
        };
        route.keep_paths(mean, |path| kept[path]);
    }
}

/// The positions of all blocks except `count` that are chosen at random.
fn unsampled(philox: &Philox, step: u32, blocks: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..blocks).collect();
    let mut draws = philox.draws(Stream::StochasticDepth, step, u32::MAX);
    draws.choose(&mut order, count);
    order.split_off(count.min(blocks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Mode, Op};
    use crate::models::{InputShape, ModelSpec};

    fn graph(model: &str) -> Graph {
        let spec: ModelSpec = model.parse().unwrap();
        spec.build(&InputShape::default(), Mode::Train).unwrap().graph
    }

    fn running(route: &Route) -> usize {
        (0..route.len())
            .filter(|&index| route.gains(BlockId(index)).branch != 0.0)
            .count()
    }

    #[test]
    fn expected_depth_is_the_papers() {
        let depth = DepthRule::Linear.expected_depth(0.5, 54);
        assert!((depth - 40.25).abs() < 1e-9);
        assert!((DepthRule::Uniform.expected_depth(0.5, 54) - 27.0).abs() < 1e-9);
    }

    #[test]
    fn images_drop_out_as_in_timm() {
        let rule = DepthRule::Linear;
        let survivals: Vec<f64> = (1..=9).map(|number| rule.survival_by_sample(0.8, number, 9)).collect();
        assert_eq!((survivals[0], survivals[4]), (1.0, 0.9));
        assert!((survivals[8] - 0.8).abs() < 1e-12);
        assert_eq!(rule.survival_by_sample(0.8, 1, 1), 1.0);
        let depth = Depth::BySample { p_last: 0.8, rule };
        let spec: ModelSpec = "resnet20".parse().unwrap();
        let plain = spec.build(&InputShape::default(), Mode::Train).unwrap();
        let dropping = depth.prepare(plain.clone());
        let drops = dropping
            .graph
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::DropPath { .. }));
        assert_eq!(drops.count(), 8, "block 1 never drops");
        assert_eq!(dropping.graph.nodes.len(), plain.graph.nodes.len() + 8);
        assert_eq!(dropping.graph.node(dropping.loss).op, Op::CrossEntropy);
        assert_eq!(dropping.graph.params, plain.graph.params);
        assert_eq!(depth.test_route(&plain.graph), plain.graph.default_route());
        assert_eq!(depth.training_route(&plain.graph, 1, 1), plain.graph.default_route());
    }

    #[test]
    fn blocks_survive_as_often_as_they_should() {
        let graph = graph("resnet110");
        let depth = Depth::Stochastic {
            p_last: 0.5,
            rule: DepthRule::Linear,
        };
        let steps = 400;
        let total: usize = (0..steps)
            .map(|step| running(&depth.training_route(&graph, 7, step)))
            .sum();
        let mean = total as f64 / f64::from(steps);
        // The standard deviation of one step's depth is about 3.0.
        assert!((mean - 40.25).abs() < 4.0 * 3.0 / f64::from(steps).sqrt(), "{mean}");
        assert_eq!(depth.training_route(&graph, 7, 3), depth.training_route(&graph, 7, 3));
        assert_ne!(depth.training_route(&graph, 7, 3), depth.training_route(&graph, 8, 3));
    }

    #[test]
    fn as_many_blocks_are_sampled_as_asked() {
        let graph = graph("resnet110");
        for step in 0..20 {
            assert_eq!(running(&Depth::Sampled(23).training_route(&graph, 1, step)), 23);
        }
        assert_eq!(running(&Depth::Sampled(99).training_route(&graph, 1, 0)), 54);
    }

    /// For each join, the gain of each of its paths.
    fn paths(graph: &Graph, route: &Route) -> Vec<Vec<f32>> {
        let gain = |block| route.gains(BlockId(block)).branch;
        let of = |mean: &crate::graph::MeanJoin| mean.blocks.clone().map(gain).collect();
        graph.means.iter().map(of).collect()
    }

    #[test]
    fn joins_lose_paths_at_random_but_not_all() {
        let graph = graph("fractalnet-3-4:drop-path=0.4");
        let (mut left_out, mut all) = (0, 0);
        for step in 0..400 {
            let route = Depth::Constant.training_route(&graph, 5, step);
            assert_eq!(route, Depth::Constant.training_route(&graph, 5, step));
            for gains in paths(&graph, &route) {
                let kept = gains.iter().filter(|gain| **gain > 0.0).count();
                assert!(gains.iter().all(|gain| *gain == 0.0 || *gain == 1.0 / kept as f32));
                assert!((gains.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                left_out += gains.len() - kept;
                all += gains.len();
            }
        }
        // With two paths 0.4 − 0.4²/2 of them, with three 0.4 − 0.4³/3.
        let expected = (2.0 * (0.4 - 0.16 / 2.0) + 3.0 * (0.4 - 0.064 / 3.0)) / 5.0;
        let share = f64::from(left_out as u32) / f64::from(all as u32);
        assert!((share - expected).abs() < 0.02, "{share}, expected {expected}");
        assert_eq!(Depth::Constant.test_route(&graph), graph.default_route());
    }

    #[test]
    fn one_column_of_a_fractal_runs_alone() {
        let network = graph("fractalnet-3-4:drop-global=1");
        let mut seen = [0; 3];
        for step in 0..60 {
            let route = Depth::Constant.training_route(&network, 1, step);
            let gains = paths(&network, &route);
            // Every second join has all three columns.
            let column = gains[1].iter().position(|gain| *gain == 1.0).unwrap();
            seen[column] += 1;
            let wanted = [network.loss().unwrap()];
            let runs = crate::graph::Active::new(&network, &route, &wanted, &[]);
            let is_conv = |id: &crate::graph::NodeId| matches!(network.node(*id).op, Op::Conv(_)) && runs.runs(*id);
            // The layers of this column alone: 5, 10 or 20.
            assert_eq!(network.ids().filter(is_conv).count(), 5 << column);
        }
        assert!(seen.iter().all(|count| *count > 8), "{seen:?}");
        let half = graph("fractalnet-3-4:drop-global=0.5");
        let whole = |step: &u32| Depth::Constant.training_route(&half, 1, *step) == half.default_route();
        let count = (0..200).filter(whole).count();
        assert!((70..130).contains(&count), "{count}");
    }

    #[test]
    fn at_test_branches_are_scaled() {
        let graph = graph("resnet20");
        let depth = Depth::Stochastic {
            p_last: 0.5,
            rule: DepthRule::Linear,
        };
        let route = depth.test_route(&graph);
        assert_eq!(route.gains(BlockId(8)).branch, 0.5);
        assert!((route.gains(BlockId(0)).branch - 17.0 / 18.0).abs() < 1e-6);
        assert_eq!(route.gains(BlockId(0)).shortcut, 1.0);
        assert_eq!(Depth::Sampled(3).test_route(&graph), graph.default_route());
    }
}
