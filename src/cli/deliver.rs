//! How are the results of a command delivered?

use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::exit::CliError;
use super::json::{json_pretty, require_numbers};
use super::output::OutputArgs;
use super::progress::note;
use crate::report::Report;
use crate::train::TrainedNetwork;

/// Writes the report and `results.json` to `out`, if given; returns what goes
/// to standard output: `results` as one JSON object with `json`, else the report
/// as text.
pub fn deliver(report: &Report, results: &impl Serialize, output: &OutputArgs) -> Result<String, CliError> {
    deliver_as("results.json", report, results, output.out.as_deref(), output.json)
}

/// As [`deliver`], with another name for the file of results. It holds the same
/// text that `json` prints.
pub fn deliver_as(
    file: &str,
    report: &Report,
    results: &impl Serialize,
    out: Option<&Path>,
    json: bool,
) -> Result<String, CliError> {
    require_numbers(results)?;
    if let Some(out) = out {
        report.write_with(out, file, results).map_err(CliError::failure)?;
        note(format_args!("the report and {file} are in {}", out.display()));
    }
    if json {
        return json_pretty(results);
    }
    Ok(report.text())
}

/// `found` with the network, images, adapter and seed that it depends on, as one
/// object.
pub fn results_of(network: &TrainedNetwork, seed: u64, found: Value) -> Value {
    let mut results = serde_json::json!({
        "model": network.model.to_string(),
        "weights": network.weights,
        "data": network.source,
        "adapter": network.engine.name(),
        "seed": seed,
    });
    if let (Some(results), Value::Object(found)) = (results.as_object_mut(), found) {
        results.extend(found);
    }
    results
}

/// What a study of `network` cost since `begin`, after the study's own `account`.
/// Results of an earlier, interrupted command are not computed again.
pub fn cost(account: &str, begin: Instant, network: &TrainedNetwork) -> String {
    let seconds = begin.elapsed().as_secs_f64();
    let whole = format!("The command ran for {seconds:.1} s on {}.", network.engine.name());
    format!("{account} {whole}").trim().to_string()
}

/// An argument, quoted so that a shell reads it back.
pub fn quoted(argument: &OsStr) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%~".contains(c);
    let argument = argument.to_string_lossy().into_owned();
    if !argument.is_empty() && argument.chars().all(plain) {
        argument
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

/// The command line of this program, quoted so that a shell reads it back.
pub fn command_line() -> String {
    let mut arguments: Vec<String> = std::env::args_os().map(|argument| quoted(&argument)).collect();
    if let Some(program) = arguments.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_string();
    }
    arguments.join(" ")
}
