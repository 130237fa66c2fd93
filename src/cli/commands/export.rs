//! `export`: how does another program evaluate a trained network?

use std::path::{Path, PathBuf};

use serde_json::json;

use super::require_output;
use crate::cli::args::NameArgs;
use crate::cli::weights_file::{self, WeightsOfNetwork};
use crate::cli::{self, CliError};
use crate::files::write_new;
use crate::graph::Mode;
use crate::onnx::{self, OnnxOptions};
use crate::shown::shown_path;

const AFTER_HELP: &str = "\
The model has the input `images`, N×C×H×W in 32-bit floats, and the output `logits`, N×classes; N is open. Images are \
normalised as in training: by the mean and standard deviation that the file's metadata name (`mean`, `std`), or by the \
model itself with --pixels.

Examples:
  residua export runs/resnet20 --onnx resnet20.onnx --fold
  residua export resnet50.pth --model resnet50 --onnx resnet50.onnx --pixels";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Weights file (.safetensors, or .pth of PyTorch), or the directory of a run
    input: PathBuf,
    /// ONNX model to write (operator set 17); an existing file is not overwritten
    #[arg(long, value_name = "FILE.onnx")]
    onnx: PathBuf,
    /// A run's last weights, or its best: those with the smallest test error
    #[arg(long, value_name = "WHICH", default_value = "last", value_parser = ["last", "best"])]
    checkpoint: String,
    /// Model of the weights, where their file does not say it; names as in
    /// `residua train --help` [default: what the file says]
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// Make batch norms part of the convolutions before them, where nothing else
    /// reads these
    #[arg(long)]
    fold: bool,
    /// The model normalises its input: pixels from 0 to 1
    #[arg(long)]
    pixels: bool,
    #[command(flatten)]
    reading: NameArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn export(args: &Args) -> Result<String, CliError> {
    require_output("--onnx", &args.onnx, "onnx")?;
    let path = weights_path(&args.input, &args.checkpoint);
    let WeightsOfNetwork {
        record,
        model,
        shape,
        weights,
    } = weights_file::read(&path, args.model.as_deref(), &args.reading)?;
    let model = model.ok_or_else(|| {
        CliError::argument(format!(
            "{}: the file does not say its model; name it by --model",
            shown_path(&path)
        ))
    })?;
    let normalization = record
        .mean
        .clone()
        .zip(record.std.clone())
        .map(|(mean, std)| [mean, std]);
    if args.pixels && normalization.is_none() {
        return Err(CliError::failure(format!(
            "--pixels: {} does not say by which mean and standard deviation images are normalised; leave --pixels out",
            shown_path(&path)
        )));
    }
    let graph = model.build(&shape, Mode::Eval)?.graph;
    let options = OnnxOptions {
        fold_batch_norm: args.fold,
        normalization: normalization.filter(|_| args.pixels),
        facts: record.metadata(),
    };
    let route = record.depth()?.test_route(&graph);
    let bytes = onnx::export(&graph, &route, &weights.tensors, &options).map_err(CliError::failure)?;
    write_new(&args.onnx, &bytes)?;
    if args.json {
        return cli::json_line(&json!({
            "out": args.onnx, "bytes": bytes.len(), "model": model.to_string(), "weights": path,
            "input": [shape.channels, shape.height, shape.width], "classes": shape.classes,
            "folded": args.fold, "pixels": args.pixels,
        }));
    }
    Ok(format!(
        "{}: {model}, images N×{}×{}×{} to logits N×{}, {} bytes\n",
        shown_path(&args.onnx),
        shape.channels,
        shape.height,
        shape.width,
        shape.classes,
        bytes.len()
    ))
}

/// The weights of a run where `path` is its directory, else `path`.
fn weights_path(path: &Path, checkpoint: &str) -> PathBuf {
    let own = path.join(format!("{checkpoint}.safetensors"));
    if own.is_file() { own } else { path.to_path_buf() }
}
