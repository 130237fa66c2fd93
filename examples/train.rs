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

    // Fields that are not set here have their defaults (`Settings::default`):
    // seed 0, momentum 0.9, a cosine schedule, random crops and flips.
    let settings = Settings {
        model: "resnet8".parse()?,
        // 512 training and 256 test images, drawn from the settings' seed. A folder with
        // the binary files of CIFAR-10 would be "cifar10:FOLDER".
        data: "synthetic:512,256".parse()?,
        epochs: 3,
        // A checked number: 1 to 65,536 images.
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
    // settings), metrics.csv, curves.svg and the weights. `create_under` makes a
    // new one, runs/resnet8-synthetic-1 or a higher number; `create` takes a
    // path, and refuses a directory that has a run already.
    let directory = RunDirectory::create_under(Path::new("runs"), "resnet8", "synthetic")?;

    // A new run. `trainer.resume`, with a directory from `RunDirectory::resume`,
    // continues an interrupted one from its last checkpoint, to the same bits.
    // Other events report single steps; errors are fractions from 0 to 1.
    let mut run = trainer.start(&directory)?;
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
    println!("the run is in {}", directory.path().display());
    Ok(())
}
