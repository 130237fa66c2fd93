//! Where do the results of a study go?

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::CliError;
use super::json::json_line;
use super::progress::note;
use super::signals::expect_requeue;
use crate::files::{DirectoryLock, LockError, check_folder};
use crate::report::foreign_file;
use crate::studies::Part;

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

/// Which part of a study is computed.
#[derive(Debug, Clone, Args)]
pub struct PartArgs {
    /// Compute part I of N of the results only, and store them in --out: N such commands
    /// may run at the same time, on any computers that share the directory. The same
    /// command without --part then computes what is missing, greedy deletions and responses
    /// among it, and writes the report. SIGTERM
    /// ends it with exit code 75: start it again, and it continues [default: everything]
    #[arg(long, value_name = "I/N", requires = "out")]
    part: Option<Part>,
}

impl PartArgs {
    /// The part, and the directory of the results, which `output` names: shared with
    /// others for a part, else this program's own.
    ///
    /// # Errors
    /// As [`own_out`].
    pub fn own(&self, output: &OutputArgs) -> Result<(Option<Part>, Option<DirectoryLock>), CliError> {
        match (self.part, &output.out) {
            (Some(part), Some(out)) => {
                expect_requeue();
                Ok((Some(part), Some(share_out(out)?)))
            }
            _ => Ok((None, output.own()?)),
        }
    }
}

/// What a command that computed a part of a study with `results` results prints.
pub fn part_text(part: Part, results: usize, output: &OutputArgs) -> Result<String, CliError> {
    let (number, of) = (part.number(), part.of());
    if output.json {
        return json_line(&serde_json::json!({"part": number, "of": of, "results": results}));
    }
    Ok(format!(
        "part {number} of {of}: {results} results are stored; once all parts are, the same command without --part \
         writes the report\n"
    ))
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
