//! Which small network and which images have several tests?

use residua::data::ImageSet;
use residua::graph::{Graph, Init, Mode};
use residua::models::Network;

use super::conv::conv;
use super::fixture;

/// The side of the images of [`network`].
const SIDE: usize = 8;

/// `count` images of noise, 3×`side`×`side`, of four classes.
pub fn noise(side: usize, count: u32) -> ImageSet {
    let bytes = 3 * (side * side) as u32;
    ImageSet {
        name: "noise".into(),
        channels: 3,
        height: side,
        width: side,
        class_names: ["a", "b", "c", "d"].map(String::from).to_vec(),
        images: (0..count * bytes)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect(),
        labels: (0..count).map(|i| i * 7 % 4).collect(),
    }
}

/// Convolution, batch norm, ReLU, mean, linear: `Small` of `make_training.py`.
pub fn network(mode: Mode) -> Network {
    let mut graph = Graph::new(mode);
    let images = graph.images(3, SIDE, SIDE);
    let x = graph
        .conv("conv1", images, 8, conv(3, 1, 1), false, Init::Zero)
        .unwrap();
    let x = graph.batch_norm("bn1", x, 1e-5, 0.1);
    let x = graph.relu(x);
    let x = graph.global_avg_pool(x);
    let logits = graph.linear("fc", x, fixture::CLASSES, Init::Zero);
    let loss = graph.cross_entropy(logits);
    Network {
        graph,
        images,
        logits,
        loss,
    }
}
