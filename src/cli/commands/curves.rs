//! `curves`: how do errors, losses and learning rates of several runs compare?

use std::path::PathBuf;

use crate::cli::{self, CliError, OutputArgs};
use crate::report::Report;
use crate::studies::{RunCurve, curves_cost, curves_finding, curves_items, curves_json};
use crate::train::RunDirectory;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directories of runs
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

pub fn curves(args: &Args) -> Result<String, CliError> {
    let _owner = args.output.own()?;
    let read = |path: &PathBuf| RunCurve::read(&RunDirectory::open(path)?);
    let runs: Vec<RunCurve> = args.runs.iter().map(read).collect::<Result<_, _>>()?;
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let report = Report {
        title: format!("Runs: {}", names.join(", ")),
        finding: curves_finding(&runs),
        items: curves_items(&runs),
        cost: curves_cost(&runs),
        facts: vec![("command".into(), cli::command_line())],
    };
    cli::deliver(&report, &curves_json(&runs), &args.output)
}
