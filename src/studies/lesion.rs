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
/// `numbers` deleted.
pub fn delete(
    engine: &mut dyn Engine,
    images: usize,
    batch_size: NonZeroUsize,
    numbers: &[usize],
    progress: &mut dyn FnMut(usize),
) -> Result<Lesion, TrainError> {
    let route: Route = engine.graph().default_route().deleting(numbers)?;
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
