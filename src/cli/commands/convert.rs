//! `convert`: what are the parameters of a weights file called elsewhere?

use std::path::PathBuf;

use super::require_output;
use crate::cli::args::NameArgs;
use crate::cli::{CliError, note};
use crate::graph::Mode;
use crate::models::{InputShape, Model, ModelSpec};
use crate::shown::shown_path;
use crate::train::{Record, export};
use crate::weights::{self, Container, Dialect, Layout};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Weights file to read (.safetensors, or .pth of PyTorch)
    input: PathBuf,
    /// Weights file to write (.safetensors); an existing file is not overwritten
    output: PathBuf,
    /// Parameter names to write: canonical, torchvision, torchvision-old, timm,
    /// chenyaofo, akamaster, kuangliu, xternalz, meliketoy, szagoruyko, bearpaw,
    /// prlz77, cadene, weiaicunzai, transformers, dnddnjs, sequential or
    /// unnumbered-stem; docs/weights.md says which networks each of them has
    #[arg(long = "to", alias = "names", value_name = "DIALECT", default_value = "canonical")]
    dialect: String,
    /// Check that the tensors are those of this model, and match them with its
    /// layers where the names follow no dialect [default: the file's, if it says]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    #[command(flatten)]
    reading: NameArgs,
}

pub fn convert(args: &Args) -> Result<String, CliError> {
    let dialect: Dialect = args.dialect.parse()?;
    require_output("the output", &args.output, "safetensors")?;
    let given: Option<ModelSpec> = args.model.as_deref().map(str::parse).transpose()?;
    let (input, output) = (shown_path(&args.input), shown_path(&args.output));
    if args.output.exists() {
        return Err(CliError::failure(format!(
            "{output} exists already; choose another name"
        )));
    }
    let contents = weights::contents(&args.input)?;
    let mut record = Record::read(&contents.facts, &args.input)?;
    if let Some(given) = &given {
        record.check_model(&given.clone().into(), &args.input)?;
    }
    let recorded = record.model.as_deref().and_then(|name| name.parse().ok());
    let model: Option<Model> = given.or(recorded).map(|spec: ModelSpec| spec.into());
    let shape = shape_of(&record, &contents);
    let layout = match &model {
        Some(model) => Some(Layout::of(&model.build(&shape, Mode::Eval)?.graph)),
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
    record.complete(model.as_ref(), weights.normalization);
    let exported = export(
        weights.tensors,
        dialect,
        &mut record,
        model.as_ref(),
        &shape,
        &args.input,
    )?;
    for text in &exported.notes {
        note(format_args!("{text}"));
    }
    weights::write_exported(&args.output, &exported, &record.metadata())?;
    Ok(format!(
        "{output}: {count} tensors, {} names to {dialect} names\n",
        weights.naming
    ))
}

/// The images and classes that the file says, else those that its tensors have.
fn shape_of(record: &Record, contents: &Container) -> InputShape {
    let mut shape = InputShape::default();
    let tables = &contents.tables;
    if let Some([channels, classes]) = tables.iter().find_map(|table| weights::ends_of(&table.tensors)) {
        (shape.channels, shape.classes) = (channels, classes);
    }
    if let Some([channels, height, width]) = record.input {
        (shape.channels, shape.height, shape.width) = (channels, height, width);
    }
    shape
}
