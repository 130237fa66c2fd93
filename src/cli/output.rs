//! Where do the results of a study go?

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::CliError;
use super::progress::note;
use crate::files::{DirectoryLock, LockError, check_folder};
use crate::report::foreign_file;

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
    /// As [`own_out`].
    ///
    /// # Errors
    /// As [`own_out`].
    pub fn own(&self) -> Result<Option<DirectoryLock>, CliError> {
        own_out(self.out.as_deref())
    }
}

/// Makes the directory `out`, if one is given, this program's own, before any
/// work begins.
///
/// # Errors
/// Where it cannot be made or written, another program owns it, or a file of
/// somebody else has a name like those that will be written.
pub fn own_out(out: Option<&Path>) -> Result<Option<DirectoryLock>, CliError> {
    out.map(|out| own(out, DirectoryLock::exclusive)).transpose()
}

/// As [`own_out`], for several programs that own it together.
///
/// # Errors
/// As [`own_out`].
pub fn share_out(out: &Path) -> Result<DirectoryLock, CliError> {
    own(out, DirectoryLock::shared)
}

fn own(out: &Path, lock: fn(&Path) -> Result<DirectoryLock, LockError>) -> Result<DirectoryLock, CliError> {
    check_folder(out)?;
    let lock = lock(out)?;
    if let Some(line) = lock.note() {
        note(format_args!("{line}"));
    }
    match foreign_file(out) {
        None => Ok(lock),
        Some(path) => Err(CliError::failure(format_args!(
            "{} is there, and not of this program; choose another directory",
            path.display()
        ))),
    }
}
