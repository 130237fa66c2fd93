//! `convert`: what are the parameters of a weights file called elsewhere?

use std::path::PathBuf;

use super::require_output;
use crate::cli::args::NameArgs;
use crate::cli::weights_file::{self, WeightsOfNetwork};
use crate::cli::{CliError, note};
use crate::models::{Model, ModelSpec};
use crate::shown::shown_path;
use crate::train::export;
use crate::weights::{self, Dialect};

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
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    #[command(flatten)]
    reading: NameArgs,
}

pub fn convert(args: &Args) -> Result<String, CliError> {
    let dialect: Dialect = args.dialect.parse()?;
    require_output("the output", &args.output, "safetensors")?;
    let output = shown_path(&args.output);
    if args.output.exists() {
        return Err(CliError::failure(format!(
            "{output} exists already; choose another name"
        )));
    }
    let WeightsOfNetwork {
        mut record,
        model,
        shape,
        weights,
    } = weights_file::read(&args.input, args.model.as_deref(), &args.reading)?;
    let count = weights.tensors.len();
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
    if let Some(text) = model
        .as_ref()
        .and_then(Model::spec)
        .and_then(|spec| other_function(spec, dialect))
    {
        note(format_args!("{text}"));
    }
    weights::write_exported(&args.output, &exported, &record.metadata())?;
    Ok(format!(
        "{output}: {count} tensors, {} names to {dialect} names\n",
        weights.naming
    ))
}

/// Says it where the code of the dialect's program computes something else with
/// the weights of `spec`.
fn other_function(spec: &ModelSpec, dialect: Dialect) -> Option<String> {
    let full = spec.in_full();
    let options = full.split_once(':').map_or("", |(_, options)| options);
    let of = |option: &str| {
        options
            .split(',')
            .find_map(|pair| pair.strip_prefix(option)?.strip_prefix('='))
    };
    let differs = |&(option, values): &(&str, &'static [&'static str])| {
        let own = of(option).filter(|own| !values.contains(own))?;
        Some(format!(
            "{option}={own}, and {dialect}'s own code has {option}={}",
            values.join(" or ")
        ))
    };
    let differences: Vec<String> = dialect.function().iter().filter_map(differs).collect();
    (!differences.is_empty()).then(|| {
        let differences = differences.join("; ");
        format!("{spec} has {differences}: there these weights are of another function")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_computes_something_else_is_named() {
        let said = |model: &str, dialect: &str| other_function(&model.parse().unwrap(), dialect.parse().unwrap());
        assert_eq!(
            said("wrn-16-2", "meliketoy").unwrap(),
            "wrn-16-2 has project=activated, and meliketoy's own code has project=raw; stride-at=first, and meliketoy's \
             own code has stride-at=last: there these weights are of another function"
        );
        for (model, dialect) in [
            ("wrn-16-2", "xternalz"),
            ("wrn-16-2:project=raw,stride-at=last,bias=yes", "meliketoy"),
            ("resnet20", "akamaster"),
            ("resnet50", "torchvision"),
            ("vgg16", "torchvision"),
            ("dpn92", "timm"),
            ("preact-20:shortcut=B,project=raw", "bearpaw"),
            ("wrn-16-2", "canonical"),
        ] {
            assert_eq!(said(model, dialect), None);
        }
        assert!(said("resnet20", "torchvision").unwrap().contains("shortcut=A"));
        assert!(
            said("resnet20:shortcut=A-end", "akamaster")
                .unwrap()
                .contains("shortcut=A or B")
        );
    }
}
