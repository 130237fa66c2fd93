//! Deletes each block of a trained network alone, and measures what that costs.
//!
//! ```text
//! cargo run --release --example train
//! cargo run --release --example lesion [ADAPTER]
//! ```
//!
//! Takes the newest run under `runs/`, which must be one of a built-in
//! network. ADAPTER is a part of a GPU's name, or `reference` for the CPU
//! without any driver.

use std::error::Error;
use std::path::Path;

use residua::report::Report;
use residua::studies::LesionStudy;
use residua::train::{Adapter, RunDirectory, TrainedNetworkOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let adapter = match std::env::args().nth(1) {
        Some(name) => name.parse()?,
        None => Adapter::default(),
    };

    // The run's directory says which network and which images. Opened are its
    // last weights, not those of its best epoch; weights from elsewhere would
    // be opened by `TrainedNetworkOptions::from_weights`.
    let run = RunDirectory::newest(Path::new("runs"))?;
    let mut network = TrainedNetworkOptions::from_run(run.path()).adapter(adapter).open()?;

    // A deleted block is replaced by its shortcut. By default the study
    // deletes each block alone; its fields ask for more experiments, such as
    // random sets of blocks or other orders of blocks. The closure receives
    // the progress.
    let study = LesionStudy::default();
    let findings = study.run(&mut network, &mut |_| {})?;

    // Errors are fractions from 0 to 1, losses are in nats. A lesion has lists of
    // blocks, because several can be deleted together; blocks are numbered from
    // 1 at the input.
    println!("{}: error {:.1} %", findings.label, 100.0 * findings.whole.error);
    for lesion in &findings.lesions {
        println!(
            "without block {} ({}): error {:.1} %, loss {:.3}",
            lesion.blocks[0],
            lesion.names[0],
            100.0 * lesion.evaluation.error,
            lesion.evaluation.loss
        );
    }

    // The same as a page with figures and tables. It begins with the finding.
    // The facts at its end say where the numbers come from: network, weights,
    // images, adapter, and the command and seed that are given here.
    let report = Report {
        title: format!("Lesions of {}", findings.label),
        finding: findings.finding(),
        items: findings.items(),
        cost: findings.cost(),
        facts: network.provenance("cargo run --example lesion", study.seed)?,
    };
    let out = run.path().join("lesion");
    report.write(&out)?;
    println!("the report is in {}", out.display());
    Ok(())
}
