//! Reads the logits of a trained network: the most confident mistakes, and the
//! activation of one block.
//!
//! ```text
//! cargo run --release --example train
//! cargo run --release --example logits [ADAPTER]
//! ```
//!
//! Takes the newest run under `runs/`, which must be one of a built-in
//! network. ADAPTER is a part of a GPU's name, or `reference` for the CPU
//! without any driver.

use std::error::Error;
use std::path::Path;

use residua::data::Draw;
use residua::train::{
    Adapter, RunDirectory, Split, TrainedNetworkOptions, evaluate_with_logits, predicted, probabilities,
};

fn main() -> Result<(), Box<dyn Error>> {
    let adapter = match std::env::args().nth(1) {
        Some(name) => name.parse()?,
        None => Adapter::default(),
    };

    // The run's directory says which network, which images and how they are
    // normalised.
    let run = RunDirectory::newest(Path::new("runs"))?;
    let mut network = TrainedNetworkOptions::from_run(run.path()).adapter(adapter).open()?;
    let (images, batch_size) = (network.images(), network.batch_size);
    let labels = network.test.images.labels.clone();
    let names = network.test.images.class_names.clone();

    // The route says which blocks run: here all of them. Several routes could
    // be evaluated together. Logits arrive batch by batch, so that no more
    // than one batch of them is in memory: `first` is the number of the batch's
    // first image, and `scores` has the scores under each route, for each image
    // its loss and error (not used here) and one logit per class.
    let routes = [network.route.clone()];
    let mut mistakes = Vec::new();
    evaluate_with_logits(
        network.engine.as_mut(),
        Split::Test,
        images,
        batch_size,
        &routes,
        &mut |first, scores| {
            for (index, (_, logits)) in scores[0].images().enumerate() {
                let (image, class) = (first + index, predicted(logits));
                if class != labels[image] {
                    // The softmax of the logits.
                    let confidence = probabilities(logits)[class as usize];
                    mistakes.push((confidence, image, class));
                }
            }
            Ok(())
        },
    )?;

    println!("{}: {} of {images} images wrong", network.label(), mistakes.len());
    mistakes.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (confidence, image, class) in mistakes.iter().take(5) {
        println!(
            "image {image}, {}: taken for {} with probability {confidence:.2}",
            names[labels[*image] as usize], names[*class as usize]
        );
    }

    // Any layer or block by its name; `residua inspect MODEL` lists them. Here
    // the output of the first block for the first image, C×H×W. A `Draw` names
    // an image, and would say how it is cropped and flipped. Each requested node
    // has one list of values, N×C×H×W.
    let name = network.engine.graph().blocks[0].name.clone();
    let node = network.engine.graph().activation(&name)?;
    let draws = [Draw::unchanged(0)];
    let values = network
        .engine
        .activations(Split::Test, &draws, &routes[0], &[node])?
        .remove(0);
    let shape = network.engine.graph().shape(node);
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    println!("{name} of image 0: shape {shape} with N = 1, mean {mean:.3}");
    Ok(())
}
