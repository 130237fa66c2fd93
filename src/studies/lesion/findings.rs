//! What did a lesion study find, as data and as JSON?

use serde_json::{Value, json};

use super::{BlockResponse, Lesion, Reordering};
use crate::graph::Block;
use crate::studies::evaluator::Evaluation;

/// Results of random deletions from one pool of blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomDeletions {
    /// The pool: "all blocks", "blocks that do not downsample".
    pub pool: String,
    /// The result of each trial.
    pub lesions: Vec<Lesion>,
}

/// Results of another network, for comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedNetwork {
    /// Its name.
    pub label: String,
    /// The whole network.
    pub whole: Evaluation,
    /// Each block deleted alone.
    pub single: Vec<Lesion>,
    /// Numbers of the blocks that downsample.
    pub downsampling: Vec<usize>,
}

/// All results of a lesion study. Lists of experiments that were not run are
/// empty.
#[derive(Debug, Clone, PartialEq)]
pub struct LesionFindings {
    /// The network's name.
    pub label: String,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Number of test images of each class.
    pub class_images: Vec<usize>,
    /// Nothing deleted.
    pub whole: Evaluation,
    /// The blocks of `LesionStudy::deletions`.
    pub lesions: Vec<Lesion>,
    /// Random deletions of several blocks.
    pub random: Vec<RandomDeletions>,
    /// Random orders of the blocks.
    pub reorderings: Vec<Reordering>,
    /// All pairs of blocks deleted.
    pub pairs: Vec<Lesion>,
    /// Blocks deleted one after the other, each time the block whose deletion
    /// increases the loss least.
    pub greedy: Vec<Lesion>,
    /// Shortcuts removed instead of branches.
    pub without_shortcut: Vec<Lesion>,
    /// The contribution of each block.
    pub responses: Vec<BlockResponse>,
    /// Other networks, for comparison.
    pub compared: Vec<ComparedNetwork>,
}

impl LesionFindings {
    /// The lesions of a single block, ordered by its number.
    pub(super) fn singles(&self) -> Vec<&Lesion> {
        let mut singles: Vec<&Lesion> = self.lesions.iter().filter(|lesion| lesion.blocks.len() == 1).collect();
        singles.sort_by_key(|lesion| lesion.blocks[0]);
        singles
    }

    /// The results as one JSON object.
    pub fn json(&self) -> Value {
        let mut object = json!({ "baseline": self.whole, "lesions": self.lesions });
        let mut set = |key: &str, value: Value, present: bool| {
            if present {
                object[key] = value;
            }
        };
        let random: Vec<Value> = self
            .random
            .iter()
            .map(|random| json!({ "pool": random.pool, "lesions": random.lesions }))
            .collect();
        set("random", random.into(), !self.random.is_empty());
        set("reorderings", json!(self.reorderings), !self.reorderings.is_empty());
        set("pairs", json!(self.pairs), !self.pairs.is_empty());
        set("greedy", json!(self.greedy), !self.greedy.is_empty());
        set(
            "without_shortcut",
            json!(self.without_shortcut),
            !self.without_shortcut.is_empty(),
        );
        set("responses", json!(self.responses), !self.responses.is_empty());
        let compared: Vec<Value> = self
            .compared
            .iter()
            .map(|other| json!({ "model": other.label, "baseline": other.whole, "lesions": other.single }))
            .collect();
        set("beside", compared.into(), !self.compared.is_empty());
        if let Some(saving) = self.saving() {
            object["cost"] = saving;
        }
        object
    }

    /// The time of deleting each block alone, relative to passes of the whole
    /// network.
    pub(super) fn saving(&self) -> Option<Value> {
        let singles = self.singles();
        let whole = self.whole.seconds;
        if singles.len() < 2 || whole <= 0.0 {
            return None;
        }
        let seconds: f64 = singles.iter().map(|lesion| lesion.evaluation.seconds).sum();
        Some(json!({
            "lesions": singles.len(),
            "seconds": seconds,
            "whole_pass_seconds": whole,
            "passes": seconds / whole,
            "share_of_separate_passes": seconds / whole / singles.len() as f64,
        }))
    }
}
