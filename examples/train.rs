//! Trains a small residual network on the built-in images.
//!
//! ```text
//! cargo run --release --example train [ADAPTER]
//! ```
//!
//! ADAPTER is a part of a GPU's name, or `reference` for the CPU without any
//! driver (slow). Without it, the best adapter of the machine computes.

use std::error::Error;
use std::path::Path;

use residua::train::{Adapter, Event, RunDirectory, Settings, Trainer, batch_size};

fn main() -> Result<(), Box<dyn Error>> {
    let adapter = match std::env::args().nth(1) {
        Some(name) => name.parse()?,
        None => Adapter::default(),
    };

    // What is not set here has the default of `residua train`.
    let settings = Settings {
        model: "resnet8".parse()?,
        // 512 training and 256 test images, drawn from the seed. A folder with
        // the binary files of CIFAR-10 would be "cifar10:FOLDER".
        data: "synthetic:512,256".parse()?,
        epochs: 3,
        batch_size: batch_size(32)?,
        learning_rate: 0.05,
        ..Settings::default()
    };

    // Loads the images and compiles the network. Nothing is written yet.
    let mut trainer = Trainer::open(settings, &adapter)?;
    println!(
        "{}: {} parameters, on {}",
        trainer.settings.model,
        trainer.engine.graph().parameter_count(),
        trainer.engine.name()
    );

    // Everything about the run is stored in one directory: run.toml (all
    // settings), metrics.csv, curves.svg and the weights. This one is new:
    // runs/resnet8-synthetic-1, or the next free number.
    let path = RunDirectory::unused(Path::new("runs"), "resnet8", "synthetic");
    let directory = RunDirectory::create(&path)?;

    // `false`: a new run. With `true`, and a directory from
    // `RunDirectory::open`, an interrupted run continues from its last
    // checkpoint and reaches the same bits.
    let mut run = trainer.run(&directory, false)?;
    run.train(|event| {
        if let Event::Epoch(row) = event {
            println!(
                "epoch {}: loss {:.3}, test error {:.1} %, {:.0} images/s",
                row.epoch,
                row.train_loss,
                100.0 * row.test_error,
                row.images_per_second
            );
        }
    })?;
    println!("the run is in {}", path.display());
    Ok(())
}
