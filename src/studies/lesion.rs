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

/// Evaluates the network on its first `images` test images with each list of
/// blocks in `deletions` deleted from `whole`, the route of the network as it
/// was trained. What the lesions have in common is computed once for each
/// batch.
pub fn delete(
    engine: &mut dyn Engine,
    whole: &Route,
    images: usize,
    batch_size: NonZeroUsize,
    deletions: &[Vec<usize>],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Lesion>, TrainError> {
    let routes: Vec<Route> = deletions
        .iter()
        .map(|numbers| whole.clone().deleting(numbers))
        .collect::<Result<_, _>>()?;
    let outcomes = evaluate(engine, Part::Test, images, batch_size, &routes, progress)?;
    let blocks = &engine.graph().blocks;
    let lesion = |(numbers, outcome): (&Vec<usize>, Outcome)| Lesion {
        blocks: numbers.clone(),
        names: numbers.iter().map(|number| blocks[number - 1].name.clone()).collect(),
        outcome,
    };
    Ok(deletions.iter().zip(outcomes).map(lesion).collect())
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
