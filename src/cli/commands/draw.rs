//! `draw`: what does a network look like?

use std::path::{Path, PathBuf};

use crate::cli::network::model_spec;
use crate::cli::{self, CliError};
use crate::drawing::{PARTS, Part, draw};
use crate::files::{check_file, write_new};
use crate::shown::shown_path;
use crate::train::TrainError;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model, with a name or file as in `residua train --help`
    #[arg(value_name = "MODEL")]
    model: String,
    /// File to write, which must not exist: .svg, or .png twice as wide [default:
    /// SVG on standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What to draw: the network by stages, one block of each kind, the paths
    /// through up to four blocks; may be repeated [default: all]
    #[arg(long, value_name = "WHAT", value_enum)]
    part: Vec<Part>,
    /// Channels × height × width of the images, in pixels [default: those that the
    /// model is made for]
    #[arg(long, value_name = "CxHxW")]
    input: Option<String>,
    /// Number of classes [default: that which the model is made for]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
}

pub fn run(args: &Args) -> Result<String, CliError> {
    let spec = model_spec(&args.model)?;
    let input = cli::args::input_for(&spec, args.input.as_deref(), args.classes)?;
    let kind = args.out.as_deref().map(kind_of).transpose()?;
    let parts = if args.part.is_empty() { &PARTS[..] } else { &args.part };
    let drawing = draw(&spec.clone().into(), &input, parts)?;
    let (Some(out), Some(kind)) = (&args.out, kind) else {
        return Ok(drawing.svg());
    };
    let bytes = match kind {
        Kind::Svg => drawing.svg().into_bytes(),
        Kind::Png => png(&drawing)?,
    };
    write_new(out, &bytes).map_err(TrainError::from)?;
    Ok(format!("{}: {spec}\n", shown_path(out)))
}

enum Kind {
    Svg,
    Png,
}

/// What a file is by its name; refuses one that cannot be written.
fn kind_of(path: &Path) -> Result<Kind, CliError> {
    let is = |wanted: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(wanted));
    let kind = match (is("svg"), is("png")) {
        (true, _) => Kind::Svg,
        (_, true) => Kind::Png,
        _ => {
            let path = shown_path(path);
            return Err(CliError::argument(format!(
                "--out {path}: the name must end in .svg or .png"
            )));
        }
    };
    check_file(path)?;
    Ok(kind)
}

#[cfg(feature = "png")]
fn png(drawing: &crate::report::Diagram) -> Result<Vec<u8>, CliError> {
    drawing.png().map_err(CliError::failure)
}

#[cfg(not(feature = "png"))]
fn png(_drawing: &crate::report::Diagram) -> Result<Vec<u8>, CliError> {
    Err(CliError::argument(
        "this program was built without the feature png: name a file .svg",
    ))
}
