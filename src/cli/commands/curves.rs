//! `tools curves`: how did several runs go, side by side?

use std::path::PathBuf;

use crate::cli::{self, CliError, command_line};
use crate::report::Report;
use crate::studies::{RunCurve, curves_items, curves_json};
use crate::train::RunDirectory;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directories of runs
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Directory for the results: report.html, report.md, tables and figures
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn curves(args: &Args) -> Result<String, CliError> {
    let read = |path: &PathBuf| RunCurve::read(&RunDirectory::open(path)?);
    let runs: Vec<RunCurve> = args.runs.iter().map(read).collect::<Result<_, _>>()?;
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let report = Report {
        title: format!("Runs: {}", names.join(", ")),
        facts: vec![("command".into(), command_line())],
        items: curves_items(&runs),
    };
    if let Some(out) = &args.out {
        report.write(out).map_err(CliError::failure)?;
        cli::note(format_args!("{}", out.join("report.html").display()));
    }
    if args.json {
        return Ok(format!("{}\n", curves_json(&runs)));
    }
    Ok(report.text())
}
