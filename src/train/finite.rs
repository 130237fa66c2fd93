//! Which image, and which layer, first gives a value that is not finite?

use std::num::NonZeroUsize;

use super::TrainError;
use super::engine::Engine;
use super::evaluate::evaluate;
use crate::data::{Batches, Split};
use crate::graph::{Graph, NodeId, Op, Route};

/// The place of [`NotFinite`] where every layer's output is finite.
pub const LOSS: &str = "the loss";

/// An image for which a network computes values that are not finite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {image} of the {set} images gives values that are not finite, first in {place}")]
pub struct NotFinite {
    /// The set of the image: "training", "test" or "validation".
    pub set: &'static str,
    /// Its index in the set, from 0.
    pub image: usize,
    /// Where the first value is that is not finite: "the output of layer1.0.bn1",
    /// "the sum of block layer1.0", "the loss".
    pub place: String,
}

/// Refuses results of the images of `split`, in the order of the set, where a loss
/// is not finite: `each` has loss and error of each image under `route`. The first
/// such image is run again to find the layer.
///
/// # Errors
/// [`TrainError::NotFinite`], or where the engine fails.
pub fn require_finite(
    engine: &mut dyn Engine,
    split: Split,
    route: &Route,
    each: &[[f32; 2]],
) -> Result<(), TrainError> {
    match each.iter().position(|result| !result[0].is_finite()) {
        None => Ok(()),
        Some(image) => Err(locate(engine, split, image, route)?.into()),
    }
}

/// The first of the first `images` of `split` whose loss under `route` is not
/// finite, and where; `None` if there is none.
///
/// # Errors
/// Where the engine fails.
pub fn first_not_finite(
    engine: &mut dyn Engine,
    split: Split,
    images: usize,
    batch_size: NonZeroUsize,
    route: &Route,
) -> Result<Option<NotFinite>, TrainError> {
    let routes = std::slice::from_ref(route);
    let outcomes = evaluate(engine, split, images, batch_size, routes, &mut |_| {})?;
    let image = outcomes.first().and_then(|outcome| outcome.first_not_finite());
    image.map(|image| locate(engine, split, image, route)).transpose()
}

/// Where image number `image` of `split` first gives a value that is not finite
/// under `route`; [`LOSS`] if every layer's output is finite.
///
/// # Errors
/// Where the engine fails.
pub fn locate(engine: &mut dyn Engine, split: Split, image: usize, route: &Route) -> Result<NotFinite, TrainError> {
    let places = places(engine.graph());
    let nodes: Vec<NodeId> = places.iter().map(|(_, node)| *node).collect();
    let epoch = Batches::plain(image as u32 + 1, NonZeroUsize::MIN).epoch(0);
    let draws = &epoch.draws()[image..];
    let values = engine.activations(split, draws, route, &nodes)?;
    let mut found = places.into_iter().zip(values);
    let first = found.find(|(_, values)| !values.iter().all(|value| value.is_finite()));
    let place = first.map_or_else(|| LOSS.to_string(), |((place, _), _)| place);
    let set = match split {
        Split::Train => "training",
        Split::Test => "test",
    };
    Ok(NotFinite { set, image, place })
}

/// The images, every named layer and the sum of every block, in the order of the
/// forward pass. What lies between cannot be the first: a ReLU or a maximum hands
/// on what it reads.
fn places(graph: &Graph) -> Vec<(String, NodeId)> {
    let images = graph.ids().filter(|&id| graph.node(id).op == Op::Images);
    let images = images.map(|id| ("the normalised images".to_string(), id));
    let layers = graph
        .layers()
        .into_iter()
        .map(|(name, id)| (format!("the output of {name}"), id));
    let blocks = graph
        .blocks
        .iter()
        .map(|block| (format!("the sum of block {}", block.name), block.join));
    let mut places: Vec<(String, NodeId)> = images.chain(layers).chain(blocks).collect();
    // `logits` is also the output of a layer: the layer's name comes first.
    places.sort_by_key(|&(_, id)| id);
    places.dedup_by_key(|&mut (_, id)| id);
    places
}
