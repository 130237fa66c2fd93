//! What does a network lose with a block? (Veit, Wilber and Belongie 2016)
//!
//! A deleted block keeps its shortcut, projection and all, and the ReLU
//! behind the sum where there is one; batch norm uses its running statistics.

use std::num::NonZeroUsize;

use serde::Serialize;

use crate::graph::Route;
use crate::train::{Engine, Outcome, Part, TrainError, evaluate};

/// The result of deleting some blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lesion {
    /// Block numbers, from 1.
    pub blocks: Vec<usize>,
    /// Their names.
    pub names: Vec<String>,
    /// How the network does without them.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Evaluates the network on its first `images` test images with the blocks
/// `numbers` deleted from `whole`, the route of the network as it was trained.
pub fn delete(
    engine: &mut dyn Engine,
    whole: &Route,
    images: usize,
    batch_size: NonZeroUsize,
    numbers: &[usize],
    progress: &mut dyn FnMut(usize),
) -> Result<Lesion, TrainError> {
    let route = whole.clone().deleting(numbers)?;
    let names = numbers
        .iter()
        .map(|number| engine.graph().blocks[number - 1].name.clone())
        .collect();
    let outcome = evaluate(engine, Part::Test, images, batch_size, &route, progress)?;
    Ok(Lesion {
        blocks: numbers.to_vec(),
        names,
        outcome,
    })
}

/// A table of lesions, the whole network first: block numbers, names, images,
/// wrong answers, error (a fraction) and loss (nats).
pub fn lesion_csv(baseline: &Lesion, lesions: &[Lesion]) -> String {
    let mut text = String::from("blocks,names,images,wrong,error,loss\n");
    for lesion in std::iter::once(baseline).chain(lesions) {
        let numbers: Vec<String> = lesion.blocks.iter().map(usize::to_string).collect();
        let Outcome {
            images,
            wrong,
            error,
            loss,
            ..
        } = lesion.outcome;
        text.push_str(&format!(
            "{},{},{images},{wrong},{error},{loss}\n",
            numbers.join(" "),
            lesion.names.join(" ")
        ));
    }
    text
}
