//! `convert`: what are the parameters of a weights file called elsewhere?

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cli::CliError;
use crate::weights::{self, Dialect};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Weights file to read (.safetensors, or .pth of PyTorch)
    input: PathBuf,
    /// Weights file to write (.safetensors); an existing file is not overwritten
    output: PathBuf,
    /// Parameter names to write: canonical, torchvision, akamaster or xternalz
    #[arg(long, value_name = "DIALECT", default_value = "canonical")]
    names: String,
}

pub fn convert(args: &Args) -> Result<String, CliError> {
    let dialect: Dialect = args.names.parse()?;
    if args.output.exists() {
        return Err(CliError::failure(format!(
            "{} exists already; choose another name",
            args.output.display()
        )));
    }
    let loaded = weights::read(&args.input)?;
    let mut tensors = loaded.tensors;
    // The momenta of a checkpoint are not weights.
    tensors.retain(|name, _| !name.starts_with("momentum."));
    let (canonical, from) = weights::to_canonical(tensors)?;
    let count = canonical.len();
    let renamed = weights::from_canonical(canonical, dialect)?;
    let kept = |(key, _): &(String, String)| key == "model";
    let metadata: BTreeMap<String, String> = loaded.metadata.into_iter().filter(kept).collect();
    weights::write(&args.output, &renamed, &metadata)?;
    Ok(format!(
        "{}: {count} tensors, {from} names to {dialect} names\n",
        args.output.display()
    ))
}
