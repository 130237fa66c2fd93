//! What does a network lose with a block? (Veit, Wilber and Belongie 2016)
//!
//! A deleted block keeps its shortcut, projection and all, and the ReLU
//! behind the sum where there is one; batch norm uses its running statistics.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::judge::{Case, Judge, Verdict};
use super::statistics::kendall_tau;
use crate::graph::{BlockId, Graph, Route};
use crate::random::{Draws, Philox, Stream};
use crate::train::TrainError;

/// The result of deleting some blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lesion {
    /// Block numbers, from 1.
    pub blocks: Vec<usize>,
    /// Their names.
    pub names: Vec<String>,
    /// How the network does without them.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The result of changing the order of blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reordering {
    /// Pairs of block numbers whose parameters changed places, in turn.
    pub swaps: Vec<(usize, usize)>,
    /// Kendall's rank correlation of the new order with the old.
    pub tau: f64,
    /// How the network does in this order.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// How many things at once, and how often each number is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trials {
    /// The numbers of blocks, or of swaps.
    pub counts: RangeInclusive<usize>,
    /// Random choices for each number.
    pub trials: u32,
    /// The seed of the choices.
    pub seed: u64,
}

/// Deletes each list of blocks (numbers from 1) from `whole`, the route of
/// the network as it was trained.
pub fn delete(judge: &mut Judge, whole: &Route, deletions: &[Vec<usize>]) -> Result<Vec<Lesion>, TrainError> {
    let cases: Vec<Case> = deletions
        .iter()
        .map(|numbers| deletion(whole, numbers))
        .collect::<Result<_, _>>()?;
    let verdicts = judge.judge(&cases)?;
    let graph = judge.graph();
    let lesion = |(numbers, verdict): (&Vec<usize>, Verdict)| lesion(graph, numbers, verdict);
    Ok(deletions.iter().zip(verdicts).map(lesion).collect())
}

/// Takes the shortcut from each of the blocks `numbers` in turn and leaves
/// the branch: the control experiment.
pub fn without_shortcut(judge: &mut Judge, whole: &Route, numbers: &[usize]) -> Result<Vec<Lesion>, TrainError> {
    let case = |&number: &usize| {
        Ok(Case {
            key: format!("without-shortcut {number}"),
            route: whole.clone().without_shortcut(number)?,
        })
    };
    let cases: Vec<Case> = numbers.iter().map(case).collect::<Result<_, TrainError>>()?;
    let verdicts = judge.judge(&cases)?;
    let graph = judge.graph();
    let lesion = |(number, verdict): (&usize, Verdict)| lesion(graph, &[*number], verdict);
    Ok(numbers.iter().zip(verdicts).map(lesion).collect())
}

/// Deletes blocks one after the other, each time the one whose absence costs
/// the least loss, until `most` are gone. The lists grow by one block.
pub fn greedy(judge: &mut Judge, whole: &Route, most: usize) -> Result<Vec<Lesion>, TrainError> {
    let blocks = judge.graph().blocks.len();
    let mut gone: Vec<usize> = Vec::new();
    let mut curve = Vec::new();
    while gone.len() < most.min(blocks) {
        let candidates: Vec<Vec<usize>> = (1..=blocks)
            .filter(|number| !gone.contains(number))
            .map(|number| [&gone[..], &[number]].concat())
            .collect();
        let lesions = delete(judge, whole, &candidates)?;
        let best = lesions
            .into_iter()
            .min_by(|a, b| a.verdict.loss.total_cmp(&b.verdict.loss))
            .expect("fewer than all blocks are gone");
        gone.clone_from(&best.blocks);
        curve.push(best);
    }
    Ok(curve)
}

/// All pairs of blocks, in order: (1, 2), (1, 3), ….
pub fn pairs(blocks: usize) -> Vec<Vec<usize>> {
    let after = |first: usize| (first + 1..=blocks).map(move |second| vec![first, second]);
    (1..=blocks).flat_map(after).collect()
}

/// Random lists of `pool`, for each number of blocks that the pool has.
pub fn random_deletions(pool: &[usize], trials: &Trials) -> Vec<Vec<usize>> {
    let mut deletions = Vec::new();
    for count in trials.counts.clone().filter(|&count| count <= pool.len()) {
        for trial in 0..trials.trials {
            let mut draws = draws(trials.seed, count, trial);
            let mut order = pool.to_vec();
            draws.choose(&mut order, count);
            order.truncate(count);
            order.sort_unstable();
            deletions.push(order);
        }
    }
    deletions
}

/// Random orders: for each number of swaps, pairs of interchangeable blocks
/// change places.
pub fn reorder(judge: &mut Judge, whole: &Route, trials: &Trials) -> Result<Vec<Reordering>, TrainError> {
    let graph = judge.graph();
    let exchanges = exchanges(graph);
    if exchanges.is_empty() {
        return Err(TrainError::Argument(
            "--reorder: the model has no two blocks of one shape that could change places".into(),
        ));
    }
    let mut chosen = Vec::new();
    let mut cases = Vec::new();
    for count in trials.counts.clone() {
        for trial in 0..trials.trials {
            let mut draws = draws(trials.seed ^ REORDER, count, trial);
            let swaps: Vec<(usize, usize)> = (0..count)
                .map(|_| exchanges[draws.below(exchanges.len() as u32) as usize])
                .collect();
            let mut route = whole.clone();
            for &(left, right) in &swaps {
                route = route.swapping(graph, left, right)?;
            }
            let order: Vec<usize> = (0..route.len()).map(|index| route.takes(BlockId(index)).0).collect();
            let numbers: Vec<String> = order.iter().map(|index| (index + 1).to_string()).collect();
            cases.push(Case {
                key: format!("order {}", numbers.join(" ")),
                route,
            });
            chosen.push((swaps, kendall_tau(&order)));
        }
    }
    let verdicts = judge.judge(&cases)?;
    let reordering = |((swaps, tau), verdict)| Reordering { swaps, tau, verdict };
    Ok(chosen.into_iter().zip(verdicts).map(reordering).collect())
}

/// Keeps the choices of orders apart from those of deletions.
const REORDER: u64 = 0x7265_6f72_6465_7200;

fn draws(seed: u64, count: usize, trial: u32) -> Draws {
    Philox::new(seed).draws(Stream::Study, count as u32, trial)
}

/// Pairs of blocks (numbers) that can change places.
fn exchanges(graph: &Graph) -> Vec<(usize, usize)> {
    let within = |group: Vec<usize>| {
        let pairs = pairs(group.len()).into_iter();
        pairs.map(move |pair| (group[pair[0] - 1], group[pair[1] - 1]))
    };
    graph.interchangeable().into_iter().flat_map(within).collect()
}

fn deletion(whole: &Route, numbers: &[usize]) -> Result<Case, TrainError> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let list: Vec<String> = sorted.iter().map(usize::to_string).collect();
    Ok(Case {
        key: if list.is_empty() {
            "whole".to_string()
        } else {
            format!("delete {}", list.join(" "))
        },
        route: whole.clone().deleting(numbers)?,
    })
}

fn lesion(graph: &Graph, numbers: &[usize], verdict: Verdict) -> Lesion {
    Lesion {
        blocks: numbers.to_vec(),
        names: numbers
            .iter()
            .map(|number| graph.blocks[number - 1].name.clone())
            .collect(),
        verdict,
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
    fn random_deletions_are_lists_without_repeats_from_the_pool() {
        let pool = [2, 3, 5, 7, 11];
        let deletions = random_deletions(&pool, &trials(1..=20, 10));
        assert_eq!(deletions.len(), 5 * 10, "counts beyond the pool fall away");
        for (index, list) in deletions.iter().enumerate() {
            assert_eq!(list.len(), index / 10 + 1);
            assert!(list.is_sorted_by(|a, b| a < b));
            assert!(list.iter().all(|number| pool.contains(number)));
        }
        assert_eq!(deletions, random_deletions(&pool, &trials(1..=20, 10)));
        // Trials do not depend on which other numbers are tried.
        assert_eq!(deletions[10..20], random_deletions(&pool, &trials(2..=2, 10)));
        let firsts: std::collections::HashSet<_> = deletions[..10].iter().collect();
        assert!(firsts.len() > 1, "trials differ");
    }

    #[test]
    fn pairs_are_all() {
        assert_eq!(pairs(3), [vec![1, 2], vec![1, 3], vec![2, 3]]);
        assert_eq!(pairs(54).len(), 54 * 53 / 2);
    }
}
