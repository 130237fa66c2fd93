//! What does a network lose when blocks are deleted, reordered, or left
//! without their shortcut? (Veit, Wilber and Belongie 2016, arXiv:1605.06431)
//!
//! A deleted block is replaced by its shortcut, including the shortcut's
//! projection, and by the ReLU that follows the sum, if there is one. Batch
//! norms use their running statistics. [`LesionStudy`] runs several
//! experiments on one network; the functions here are the experiments.

mod corrupted;
mod finding;
mod findings;
mod many;
mod pairs;
mod report;
mod response;
mod single;
mod study;

use std::ops::RangeInclusive;

use serde::Serialize;

use super::error::StudyError;
use super::evaluator::{Evaluation, Evaluator, NamedRoute};
use super::statistics::kendall_tau;
use crate::graph::{BlockId, Graph, Route};
use crate::random::{Draws, Philox, Stream};

pub use findings::{ComparedNetwork, LesionFindings, RandomDeletions};
pub use response::{BlockResponse, responses};
pub use study::{BlockPool, Deletions, LesionStudy};

/// The result of deleting some blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lesion {
    /// Block numbers, from 1.
    pub blocks: Vec<usize>,
    /// Their names.
    pub names: Vec<String>,
    /// The evaluation of the network without them.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

/// The result of changing the order of blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reordering {
    /// Pairs of block numbers whose parameters were exchanged, in this order.
    pub swaps: Vec<(usize, usize)>,
    /// Kendall's rank correlation of the new order with the old.
    pub tau: f64,
    /// The evaluation of the network in this order.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

/// Random choices of several sizes, several of each size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trials {
    /// The sizes: numbers of blocks, or of swaps.
    pub counts: RangeInclusive<usize>,
    /// Random choices of each size.
    pub trials: u32,
    /// The seed of the choices.
    pub seed: u64,
}

/// Deletes each list of blocks (numbers from 1) from `whole`, the route of
/// the network as it was trained.
///
/// # Errors
/// Where a block does not exist, or as [`Evaluator::evaluate`].
pub fn delete(evaluator: &mut Evaluator, whole: &Route, deletions: &[Vec<usize>]) -> Result<Vec<Lesion>, StudyError> {
    delete_all(evaluator, whole, deletions.len(), deletions.iter().cloned())
}

/// As [`delete`], for a list of `count` deletions that is not in memory.
fn delete_all(
    evaluator: &mut Evaluator,
    whole: &Route,
    count: usize,
    deletions: impl Iterator<Item = Vec<usize>> + Clone,
) -> Result<Vec<Lesion>, StudyError> {
    let routes = deletions.clone().map(|numbers| deletion(whole, &numbers));
    let evaluations = evaluator.evaluate_all(count, routes)?;
    let graph = evaluator.graph();
    let lesion = |(numbers, evaluation): (Vec<usize>, Evaluation)| lesion(graph, &numbers, evaluation);
    Ok(deletions.zip(evaluations).map(lesion).collect())
}

/// Deletes random subsets of `pool` from `whole`, as [`random_deletions`] lists
/// them.
///
/// # Errors
/// As [`Evaluator::evaluate`].
pub fn delete_random(
    evaluator: &mut Evaluator,
    whole: &Route,
    pool: &[usize],
    trials: &Trials,
) -> Result<Vec<Lesion>, StudyError> {
    let (from, to) = (*trials.counts.start(), *trials.counts.end());
    let sizes = (to.min(pool.len()) + 1).saturating_sub(from);
    let count = sizes * trials.trials as usize;
    delete_all(evaluator, whole, count, random_deletions(pool, trials))
}

/// The control experiment: removes the shortcut of each of the blocks
/// `numbers` in turn and keeps the branch.
///
/// # Errors
/// Where a block does not exist, or as [`Evaluator::evaluate`].
pub fn without_shortcut(
    evaluator: &mut Evaluator,
    whole: &Route,
    numbers: &[usize],
) -> Result<Vec<Lesion>, StudyError> {
    let named = |&number: &usize| {
        Ok(NamedRoute {
            name: format!("without-shortcut {number}"),
            route: whole.clone().without_shortcut(number)?,
        })
    };
    let routes: Vec<NamedRoute> = numbers.iter().map(named).collect::<Result<_, StudyError>>()?;
    let evaluations = evaluator.evaluate(&routes)?;
    let graph = evaluator.graph();
    let lesion = |(number, evaluation): (&usize, Evaluation)| lesion(graph, &[*number], evaluation);
    Ok(numbers.iter().zip(evaluations).map(lesion).collect())
}

/// Deletes `most` blocks one after the other. Each time, it deletes the block
/// whose deletion increases the loss least. Each result has one block more
/// than the one before.
///
/// # Errors
/// As [`Evaluator::evaluate`].
pub fn greedy(evaluator: &mut Evaluator, whole: &Route, most: usize) -> Result<Vec<Lesion>, StudyError> {
    let blocks = evaluator.graph().blocks.len();
    let mut deleted: Vec<usize> = Vec::new();
    let mut curve = Vec::new();
    while deleted.len() < most.min(blocks) {
        let candidates: Vec<Vec<usize>> = (1..=blocks)
            .filter(|number| !deleted.contains(number))
            .map(|number| [&deleted[..], &[number]].concat())
            .collect();
        let lesions = delete(evaluator, whole, &candidates)?;
        let best = lesions
            .into_iter()
            .min_by(|a, b| a.evaluation.cost().total_cmp(&b.evaluation.cost()))
            .expect("fewer than all blocks are deleted");
        deleted.clone_from(&best.blocks);
        curve.push(best);
    }
    Ok(curve)
}

/// All pairs of blocks, in order: (1, 2), (1, 3), ….
pub fn all_pairs(blocks: usize) -> Vec<Vec<usize>> {
    let after = |first: usize| (first + 1..=blocks).map(move |second| vec![first, second]);
    (1..=blocks).flat_map(after).collect()
}

/// Random subsets of `pool`, for each size of `trials` that the pool has.
/// They are drawn as they are asked for: a list may be longer than the memory.
pub fn random_deletions<'a>(pool: &'a [usize], trials: &'a Trials) -> impl Iterator<Item = Vec<usize>> + Clone + 'a {
    let counts = trials.counts.clone().filter(|&count| count <= pool.len());
    let of_count = move |count| (0..trials.trials).map(move |trial| (count, trial));
    counts.flat_map(of_count).map(|(count, trial)| {
        let mut draws = draws(trials.seed, count, trial);
        let mut order = pool.to_vec();
        draws.choose(&mut order, count);
        order.truncate(count);
        order.sort_unstable();
        order
    })
}

/// Random orders: for each number of swaps, the parameters of random pairs of
/// interchangeable blocks are exchanged.
///
/// # Errors
/// Where no two blocks are interchangeable, or as [`Evaluator::evaluate`].
pub fn reorder(evaluator: &mut Evaluator, whole: &Route, trials: &Trials) -> Result<Vec<Reordering>, StudyError> {
    let graph = &evaluator.graph().clone();
    let exchanges = exchanges(graph);
    if exchanges.is_empty() {
        let (from, to) = (trials.counts.start(), trials.counts.end());
        return Err(StudyError::value(
            "reorder",
            format!("{from}..{to}: the model has no two blocks of one shape that could be exchanged"),
        ));
    }
    let of_count = |count| (0..trials.trials).map(move |trial| (count, trial));
    let choices = trials.counts.clone().flat_map(of_count);
    let swaps = |(count, trial): (usize, u32)| -> Vec<(usize, usize)> {
        let mut draws = draws(trials.seed ^ REORDER, count, trial);
        let pair = |_| exchanges[draws.below(exchanges.len() as u32) as usize];
        (0..count).map(pair).collect()
    };
    let order = |swaps: &[(usize, usize)]| -> Result<(Route, Vec<usize>), StudyError> {
        let mut route = whole.clone();
        for &(left, right) in swaps {
            route = route.swapping(graph, left, right)?;
        }
        let order = (0..route.len()).map(|index| route.takes(BlockId(index)).0).collect();
        Ok((route, order))
    };
    let named = |choice| {
        let (route, order) = order(&swaps(choice))?;
        let numbers: Vec<String> = order.iter().map(|index| (index + 1).to_string()).collect();
        Ok(NamedRoute {
            name: format!("order {}", numbers.join(" ")),
            route,
        })
    };
    let count = choices.clone().count();
    let evaluations = evaluator.evaluate_all(count, choices.clone().map(named))?;
    let reordering = |(choice, evaluation)| {
        let swaps = swaps(choice);
        let tau = kendall_tau(&order(&swaps)?.1);
        Ok(Reordering { swaps, tau, evaluation })
    };
    choices.zip(evaluations).map(reordering).collect()
}

/// Changes the seed so that orders and deletions draw different numbers.
const REORDER: u64 = 0x7265_6f72_6465_7200;

fn draws(seed: u64, count: usize, trial: u32) -> Draws {
    Philox::new(seed).draws(Stream::Study, count as u32, trial)
}

/// Pairs of blocks (numbers) whose parameters can be exchanged.
fn exchanges(graph: &Graph) -> Vec<(usize, usize)> {
    let within = |group: Vec<usize>| {
        let pairs = all_pairs(group.len()).into_iter();
        pairs.map(move |pair| (group[pair[0] - 1], group[pair[1] - 1]))
    };
    graph.interchangeable().into_iter().flat_map(within).collect()
}

fn deletion(whole: &Route, numbers: &[usize]) -> Result<NamedRoute, StudyError> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let list: Vec<String> = sorted.iter().map(usize::to_string).collect();
    Ok(NamedRoute {
        name: if list.is_empty() {
            "whole".to_string()
        } else {
            format!("delete {}", list.join(" "))
        },
        route: whole.clone().deleting(numbers)?,
    })
}

fn lesion(graph: &Graph, numbers: &[usize], evaluation: Evaluation) -> Lesion {
    Lesion {
        blocks: numbers.to_vec(),
        names: numbers
            .iter()
            .map(|number| graph.blocks[number - 1].name.clone())
            .collect(),
        evaluation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(counts: RangeInclusive<usize>, trials: u32) -> Trials {
        Trials {
            counts,
            trials,
            seed: 0,
        }
    }

    #[test]
    fn random_deletions_are_subsets_of_the_pool() {
        let pool = [2, 3, 5, 7, 11];
        let listed = |counts| random_deletions(&pool, &trials(counts, 10)).collect::<Vec<_>>();
        let deletions = listed(1..=20);
        assert_eq!(deletions.len(), 5 * 10, "sizes beyond the pool are left out");
        for (index, list) in deletions.iter().enumerate() {
            assert_eq!(list.len(), index / 10 + 1);
            assert!(list.is_sorted_by(|a, b| a < b));
            assert!(list.iter().all(|number| pool.contains(number)));
        }
        assert_eq!(deletions, listed(1..=20));
        // Trials do not depend on the other sizes.
        assert_eq!(deletions[10..20], listed(2..=2));
        let firsts: std::collections::HashSet<_> = deletions[..10].iter().collect();
        assert!(firsts.len() > 1, "trials differ");
    }

    #[test]
    fn all_pairs_are_listed() {
        assert_eq!(all_pairs(3), [vec![1, 2], vec![1, 3], vec![2, 3]]);
        assert_eq!(all_pairs(54).len(), 54 * 53 / 2);
    }
}
