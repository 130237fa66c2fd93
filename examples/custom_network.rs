//! Trains a network with a residual block of our own, evaluates it, and
//! deletes its blocks one by one.
//!
//! ```text
//! cargo run --release --example custom_network [ADAPTER]
//! ```
//!
//! ADAPTER is a part of a GPU's name, or `reference` for the CPU without any
//! driver (slow).

use std::error::Error;
use std::path::Path;

use residua::graph::{Conv, Graph, GraphError, Init, NodeId, ResidualBlock};
use residua::models::{Architecture, Model, layers};
use residua::studies::LesionStudy;
use residua::train::{
    Adapter, Depth, DepthRule, Event, RunDirectory, Settings, Split, TrainedNetworkOptions, Trainer, batch_size,
    evaluate,
};

/// A network of inverted residual blocks (Sandler et al. 2018,
/// arXiv:1801.04381): two stages, at full and at half resolution.
#[derive(Debug)]
struct Inverted {
    /// Channels of the first stage; the second has twice as many.
    width: usize,
    /// Blocks in each stage.
    blocks: usize,
}

impl Architecture for Inverted {
    // Runs and checkpoints are stored under this name, so it says everything
    // that the graph depends on. Names of built-in networks are refused.
    fn name(&self) -> String {
        format!("inverted-{}-{}", self.width, self.blocks)
    }

    // From a batch of images (N×C×H×W) to one score per class (N×classes).
    // The loss, its gradients and the choice of kernels follow from the graph.
    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        // 3×3 kernels at stride 1, `width` output channels.
        let stem = layers::conv(g, "conv1", images, self.width, 3, 1)?;
        let mut x = layers::batch_norm_relu(g, "bn1", stem);
        for stage in 1..=2 {
            for index in 0..self.blocks {
                let stride = if stage == 2 && index == 0 { 2 } else { 1 };
                x = inverted_block(g, stage, index, x, stage * self.width, stride)?;
            }
        }
        // Global average pooling and a linear layer.
        Ok(layers::head(g, x, classes))
    }
}

/// The branch widens the channels by a 1×1 convolution, filters each channel
/// alone by a 3×3 convolution, and narrows them by another 1×1 convolution.
/// No ReLU follows the sum.
fn inverted_block(
    g: &mut Graph,
    stage: usize,
    index: usize,
    x: NodeId,
    width: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let channels = g.shape(x).channels();
    let wide = 3 * channels;
    // A declared block is what stochastic depth skips and lesions delete.
    // Parameters that are made inside have names that begin with the block's.
    let block = ResidualBlock {
        name: &format!("layer{stage}.{index}"),
        stage,
        input: x,
        relu: false,
    };
    g.residual(&block, |g| {
        let y = layers::conv(g, "expand", x, wide, 1, 1)?;
        let y = layers::batch_norm_relu(g, "bn1", y);
        // `layers` has the usual convolutions. This one has as many groups as
        // channels, so it is added by the graph's own method. Its weights
        // start with the variance that keeps that of the activations (He et
        // al. 2015): each output is a sum over 3×3 inputs.
        let depthwise = Conv {
            kernel: 3,
            stride,
            padding: 1,
            groups: wide,
        };
        let bias = false;
        let y = g.conv("filter", y, wide, depthwise, bias, Init::Normal((2.0_f32 / 9.0).sqrt()))?;
        let y = layers::batch_norm_relu(g, "bn2", y);
        let y = layers::conv(g, "project", y, width, 1, 1)?;
        let branch = layers::batch_norm(g, "bn3", y);
        // Where the block changes the shape, its shortcut does so too.
        let shortcut = if (channels, stride) == (width, 1) {
            x
        } else {
            layers::conv(g, "shortcut", x, width, 1, stride)?
        };
        Ok((branch, shortcut))
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let adapter = match std::env::args().nth(1) {
        Some(name) => name.parse()?,
        None => Adapter::default(),
    };
    let model = Model::own(Inverted { width: 8, blocks: 2 })?;

    // Train it, with stochastic depth: the last block runs in half of the
    // mini-batches, the first in nearly all, those between in between.
    let settings = Settings {
        model: model.clone(),
        data: "synthetic:512,256".parse()?,
        epochs: 3,
        batch_size: batch_size(32)?,
        depth: Depth::Stochastic {
            p_last: 0.5,
            rule: DepthRule::Linear,
        },
        ..Settings::default()
    };
    let mut trainer = Trainer::open(settings, &adapter)?;
    let directory = RunDirectory::create_under(Path::new("runs"), &model.name(), "synthetic")?;
    trainer.start(&directory)?.train(|event| {
        if let Event::Epoch(row) = event {
            let error = 100.0 * row.test_error;
            println!(
                "epoch {}: loss {:.3}, test error {error:.1} %",
                row.epoch, row.train_loss
            );
        }
    })?;

    // Open the trained weights. The run stores the network's name only, so
    // the network itself is given again.
    let options = TrainedNetworkOptions::from_run(directory.path())
        .with_model(model)
        .adapter(adapter);
    let mut network = options.open()?;

    // Evaluate the whole network on all test images. The route says which
    // blocks run, and scales each branch by its survival probability. The
    // closure receives the number of images done.
    let (images, batch_size) = (network.images(), network.batch_size);
    let routes = [network.route.clone()];
    let outcomes = evaluate(
        network.engine.as_mut(),
        Split::Test,
        images,
        batch_size,
        &routes,
        &mut |_| {},
    )?;
    println!("{}: {} of {images} images wrong", network.label(), outcomes[0].wrong);

    // Delete each block alone.
    let findings = LesionStudy::default().run(&mut network, &mut |_| {})?;
    for lesion in &findings.lesions {
        println!("without {}: {} wrong", lesion.names[0], lesion.evaluation.wrong);
    }
    Ok(())
}
