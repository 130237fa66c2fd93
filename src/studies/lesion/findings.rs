//! What did a lesion study find, as data and as JSON?

use serde_json::{Value, json};

use super::{BlockResponse, Lesion, Reordering};
use crate::graph::Block;
use crate::studies::evaluator::Evaluation;

/// Random deletions from one pool of blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomDeletions {
    /// Which blocks: "all blocks", "blocks that do not downsample".
    pub pool: String,
    /// For each trial, what was deleted.
    pub lesions: Vec<Lesion>,
}

/// Another network on the same axes.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedNetwork {
    /// Its name.
    pub label: String,
    /// The whole network.
    pub whole: Evaluation,
    /// Each block deleted in turn.
    pub single: Vec<Lesion>,
    /// Numbers of the blocks that downsample.
    pub downsampling: Vec<usize>,
}

/// Everything that a lesion study found.
#[derive(Debug, Clone, PartialEq)]
pub struct LesionFindings {
    /// The network's name.
    pub label: String,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Test images of each class.
    pub class_images: Vec<usize>,
    /// Nothing deleted.
    pub whole: Evaluation,
    /// What was asked for by number, or each block in turn.
    pub lesions: Vec<Lesion>,
    /// Many at random.
    pub random: Vec<RandomDeletions>,
    /// Blocks in another order.
    pub reorderings: Vec<Reordering>,
    /// All pairs.
    pub pairs: Vec<Lesion>,
    /// One after the other, the least missed first.
    pub greedy: Vec<Lesion>,
    /// The shortcut taken instead of the branch.
    pub without_shortcut: Vec<Lesion>,
    /// What each block adds.
    pub responses: Vec<BlockResponse>,
    /// Other networks.
    pub compared: Vec<ComparedNetwork>,
}

impl LesionFindings {
    /// Each block deleted alone, by number, where all were.
    pub(super) fn singles(&self) -> Vec<&Lesion> {
        let mut singles: Vec<&Lesion> = self.lesions.iter().filter(|lesion| lesion.blocks.len() == 1).collect();
        singles.sort_by_key(|lesion| lesion.blocks[0]);
        singles
    }

    /// What programs read.
    pub fn json(&self) -> Value {
        let mut object = json!({ "baseline": self.whole, "lesions": self.lesions });
        let mut set = |key: &str, value: Value, there: bool| {
            if there {
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

    /// What deleting each block in turn cost, against whole passes.
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
