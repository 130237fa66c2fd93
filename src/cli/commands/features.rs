//! `residua features`: what does a layer or a block compute for each image?

use std::path::PathBuf;

use serde_json::json;

use super::require_output;
use crate::cli::{self, AdapterArgs, CliError, NetworkArgs};
use crate::files::AtomicFile;
use crate::train::{Split, TrainError, read_activations};

const AFTER_HELP: &str = "\
The file holds an array of NumPy, f32 in C order: N×C×H×W, or N×F for a layer without a plane (`pool`, `fc`). The first \
axis counts the images, in the order of the data set. Activations are those of evaluation: batch norm uses the running \
statistics.

Examples:
  residua features --block layer2.1 --out x.npy --labels y.npy
  residua features --layer pool --out x.npy";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    #[command(flatten)]
    place: Place,
    /// The file to write: N×C×H×W or N×F numbers
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// Write the class of each image, too: N numbers (u32) [default: none]
    #[arg(long, value_name = "FILE.npy")]
    labels: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Where the activations are taken.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// A block, by its name or its number from 1 (`residua inspect MODEL` lists
    /// them): its output, after the ReLU if the block ends in one [default: none]
    #[arg(long, value_name = "NAME")]
    block: Option<String>,
    /// A layer, by the name of its parameters (`conv1`, `layer2.1.bn1`, `fc`),
    /// or `pool` (the global average pooling) or `logits`: its output, before
    /// any ReLU that follows [default: none]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
}

pub fn features(args: &Args) -> Result<String, CliError> {
    for (flag, path) in [("--out", Some(&args.out)), ("--labels", args.labels.as_ref())] {
        if let Some(path) = path {
            require_output(flag, path, "npy")?;
        }
    }
    let mut network = args.network.open(&args.adapter)?;
    cli::note(format_args!("{} on {}", network.model, network.engine.name()));
    let graph = network.engine.graph();
    let node = match (&args.place.block, &args.place.layer) {
        (Some(block), _) => graph.block_output(block),
        (None, Some(layer)) => graph.layer_output(layer),
        (None, None) => return Err(CliError::argument("name a --block or a --layer")),
    };
    let node = node.map_err(TrainError::from)?;
    let images = network.images();
    let shape: Vec<u64> = [images]
        .iter()
        .chain(&graph.shape(node).dims)
        .map(|&size| size as u64)
        .collect();
    let (route, size) = (network.route.clone(), network.batch_size);
    let bar = cli::bar(images as u64, "images");
    let engine = network.engine.as_mut();
    cli::write_npy(&args.out, AtomicFile::create_new(&args.out)?, &shape, |push| {
        read_activations(
            engine,
            Split::Test,
            images,
            size,
            &route,
            &[node],
            &mut |first, values| {
                bar.set_position(first as u64);
                Ok(push(&values[0])?)
            },
        )
    })?;
    bar.finish_and_clear();
    if let Some(path) = &args.labels {
        let file = AtomicFile::create_new(path)?;
        cli::write_npy(path, file, &[images as u64], |push| {
            Ok(push(&network.test.images.labels)?)
        })?;
    }
    if args.json {
        let place = json!({
            "block": args.place.block,
            "layer": args.place.layer,
            "shape": shape,
            "out": args.out,
            "labels": args.labels,
            "model": network.model.to_string(),
            "weights": network.weights,
            "data": network.source,
            "adapter": network.engine.name(),
        });
        return cli::json_line(&place);
    }
    let shape: Vec<String> = shape.iter().map(u64::to_string).collect();
    Ok(format!("{}: {} numbers (f32)\n", args.out.display(), shape.join("×")))
}
