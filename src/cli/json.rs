//! How do results become JSON, in which `null` never stands for a number that is
//! not finite?
//!
//! serde writes NaN and infinity as `null`. A result of a command is finite, or it
//! is an error, or a field of its own says that the network diverges. So a `null`
//! is refused, except under the keys whose documentation gives it another meaning.

use serde::Serialize;
use serde_json::Value;

use super::exit::CliError;

/// Keys that may be `null`, where something was not asked for, not measured or does
/// not exist.
const MAY_BE_NULL: [&str; 28] = [
    // eval: too few classes
    "top5_wrong",
    "top5_error",
    // features: what was not asked for
    "block",
    "layer",
    "labels",
    // paths: no path was sampled
    "effective",
    "decay_per_block",
    "whole_gradient_norm",
    "mean_norm",
    // curves: constant depth; sweep and stochastic-depth: a run that did not
    // diverge, and no constant depth to compare with
    "depth",
    "diverged",
    "relative_speed",
    // train, inspect: what the driver does not report, or was not asked for
    "memory",
    "reported",
    "reserved",
    "plan",
    // tune: an algorithm that was set aside, or one that was not; kernels without
    // times
    "seconds",
    "set_aside",
    "milliseconds",
    "default_milliseconds",
    "rule_milliseconds",
    // bench: what was not measured, has one algorithm only, or no multiply-adds
    "peak",
    "way",
    "gflops",
    // bench --compare: a line that one file lacks
    "a",
    "b",
    "ratio",
    "rates",
];

/// `results` as a JSON object on one line.
///
/// # Errors
/// Where a number is not finite.
pub fn json_line(results: &impl Serialize) -> Result<String, CliError> {
    require_numbers(results)?;
    Ok(serde_json::to_string(results).map_err(CliError::failure)? + "\n")
}

/// As [`json_line`], where the keys of `absent` may be `null`, too.
///
/// # Errors
/// As [`json_line`].
pub fn json_line_where(results: &Value, absent: &[&str]) -> Result<String, CliError> {
    match null_key(results, "", absent) {
        None => Ok(format!("{results}\n")),
        Some(key) => Err(not_finite(&key)),
    }
}

/// `results` as a JSON object for people to read.
///
/// # Errors
/// Where a number is not finite.
pub fn json_pretty(results: &impl Serialize) -> Result<String, CliError> {
    require_numbers(results)?;
    Ok(serde_json::to_string_pretty(results).map_err(CliError::failure)? + "\n")
}

/// Refuses results with a number that is not finite.
///
/// # Errors
/// Names its key.
pub fn require_numbers(results: &impl Serialize) -> Result<(), CliError> {
    let value = serde_json::to_value(results).map_err(CliError::failure)?;
    match null_key(&value, "", &[]) {
        None => Ok(()),
        Some(key) => Err(not_finite(&key)),
    }
}

fn not_finite(key: &str) -> CliError {
    CliError::failure(format!("the result '{key}' is not finite"))
}

/// The key of the first `null` that must not be one.
fn null_key(value: &Value, key: &str, absent: &[&str]) -> Option<String> {
    match value {
        Value::Null => (!MAY_BE_NULL.contains(&key) && !absent.contains(&key)).then(|| key.to_string()),
        Value::Array(values) => values.iter().find_map(|value| null_key(value, key, absent)),
        Value::Object(object) => object.iter().find_map(|(key, value)| null_key(value, key, absent)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_is_not_finite_is_an_error_that_names_it() {
        assert_eq!(
            json_line(&json!({ "loss": 0.5, "top5_wrong": null })).unwrap(),
            "{\"loss\":0.5,\"top5_wrong\":null}\n"
        );
        for (results, key) in [
            (json!({ "loss": f64::NAN }), "loss"),
            (
                json!({ "lesions": [{ "loss": 1.0 }, { "loss": f64::INFINITY }] }),
                "loss",
            ),
            (json!({ "mean_abs": [1.0, f64::NAN] }), "mean_abs"),
        ] {
            let of_file = json_line_where(&results, &["mean"]).unwrap_err();
            assert!(of_file.line().contains(key));
            let error = json_pretty(&results).unwrap_err();
            assert_eq!(error.line(), format!("error: the result '{key}' is not finite"));
            assert_eq!(error.exit_code(), 1);
        }
    }
}
