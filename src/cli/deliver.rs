//! How do a study's results reach the user?

use std::path::Path;

use serde_json::Value;

use super::exit::CliError;
use super::progress::note;
use crate::files::write_atomic;
use crate::report::Report;
use crate::train::TrainedNetwork;

/// Writes the report and `results.json` to `out`, if it is given; gives what
/// goes to standard output: `results` as one object where `json`, else the
/// report in words.
pub fn deliver(report: &Report, results: &Value, out: Option<&Path>, json: bool) -> Result<String, CliError> {
    if let Some(out) = out {
        report.write(out).map_err(CliError::failure)?;
        write_atomic(&out.join("results.json"), format!("{results:#}\n").as_bytes())?;
        note(out.join("report.html").display());
    }
    if json {
        return Ok(format!("{results}\n"));
    }
    Ok(report.text())
}

/// `found` as one object, after what it was found on.
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

/// The command line of this program, quoted so that a shell reads it back.
pub fn command_line() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%~".contains(c);
    let quoted = |argument: std::ffi::OsString| {
        let argument = argument.to_string_lossy().into_owned();
        if !argument.is_empty() && argument.chars().all(plain) {
            argument
        } else {
            format!("'{}'", argument.replace('\'', "'\\''"))
        }
    };
    let mut arguments: Vec<String> = std::env::args_os().map(quoted).collect();
    if let Some(program) = arguments.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_string();
    }
    arguments.join(" ")
}
