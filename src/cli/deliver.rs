//! How do a study's results reach the user?

use std::path::Path;

use serde_json::Value;

use super::exit::CliError;
use super::progress::note;
use super::subject::Subject;
use crate::files::write_atomic;
use crate::report::Report;

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

/// `found` as one object, behind what it was found on.
pub fn results_of(subject: &Subject, seed: u64, found: Value) -> Value {
    let mut results = serde_json::json!({
        "model": subject.model.to_string(),
        "weights": subject.weights,
        "data": subject.source,
        "adapter": subject.engine.name(),
        "seed": seed,
    });
    if let (Some(results), Value::Object(found)) = (results.as_object_mut(), found) {
        results.extend(found);
    }
    results
}
