//! Where do the results of a study go?

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::CliError;
use crate::files::check_folder;

/// Where the results of a study go.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Directory for the results: report.html, report.md, results.json, and
    /// tables and figures (CSV, SVG, PNG); an interrupted study continues there
    /// [default: none are written]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

impl OutputArgs {
    /// Checks that the directory can be written, before any work begins.
    ///
    /// # Errors
    /// Where it cannot.
    pub fn check(&self) -> Result<(), CliError> {
        check_out(self.out.as_deref())
    }
}

/// Checks that the directory `out`, if there is one, can be made and written.
///
/// # Errors
/// Where it cannot.
pub fn check_out(out: Option<&Path>) -> Result<(), CliError> {
    match out {
        Some(out) => Ok(check_folder(out)?),
        None => Ok(()),
    }
}
