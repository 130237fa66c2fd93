//! `convert`: what are the parameters of a weights file called elsewhere?

use std::path::PathBuf;

use super::require_output;
use crate::cli::args::NameArgs;
use crate::cli::{CliError, note};
use crate::graph::Mode;
use crate::models::{InputShape, ModelSpec};
use crate::shown::shown_path;
use crate::weights::{self, Container, Dialect, Layout};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Weights file to read (.safetensors, or .pth of PyTorch)
    input: PathBuf,
    /// Weights file to write (.safetensors); an existing file is not overwritten
    output: PathBuf,
    /// Parameter names to write: canonical, torchvision, akamaster, xternalz,
    /// szagoruyko, weiaicunzai, transformers, dnddnjs, sequential or
    /// unnumbered-stem
    #[arg(long, value_name = "DIALECT", default_value = "canonical")]
    names: String,
    /// Check that the tensors are those of this model, and match them with its
    /// layers where the names follow no dialect [default: the file's, if it says]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    #[command(flatten)]
    reading: NameArgs,
}

pub fn convert(args: &Args) -> Result<String, CliError> {
    let dialect: Dialect = args.names.parse()?;
    require_output("the output", &args.output, "safetensors")?;
    let given: Option<ModelSpec> = args.model.as_deref().map(str::parse).transpose()?;
    let (input, output) = (shown_path(&args.input), shown_path(&args.output));
    if args.output.exists() {
        return Err(CliError::failure(format!(
            "{output} exists already; choose another name"
        )));
    }
    let contents = weights::contents(&args.input)?;
    let recorded = contents.facts.get("model").and_then(|name| name.parse().ok());
    let model: Option<ModelSpec> = given.or(recorded);
    let layout = match &model {
        Some(model) => Some(layout_for(model, &contents)?),
        None => None,
    };
    let options = args.reading.options();
    let weights = weights::canonical(contents, &options, layout.as_ref()).map_err(|error| error.of(&args.input))?;
    weights.check_finite(&args.input)?;
    if let (Some(model), Some(layout)) = (&model, &layout) {
        layout
            .check(&weights.tensors)
            .map_err(|problem| CliError::failure(format!("{input} does not fit {model}: {problem}")))?;
    }
    for text in &weights.notes {
        note(format_args!("{input}: {text}"));
    }
    let count = weights.tensors.len();
    let renamed = weights::from_canonical(weights.tensors, dialect)?;
    let metadata = model.map(|model| ("model".to_owned(), model.to_string()));
    weights::write(&args.output, &renamed, &metadata.into_iter().collect())?;
    Ok(format!(
        "{output}: {count} tensors, {} names to {dialect} names\n",
        weights.naming
    ))
}

/// The layers of the model for images and classes of the file's tensors.
fn layout_for(model: &ModelSpec, contents: &Container) -> Result<Layout, CliError> {
    let mut input = InputShape::default();
    if let Some([channels, classes]) = contents
        .tables
        .iter()
        .find_map(|table| weights::ends_of(&table.tensors))
    {
        input = InputShape {
            channels,
            classes,
            ..input
        };
    }
    Ok(Layout::of(&model.build(&input, Mode::Eval)?.graph))
}
