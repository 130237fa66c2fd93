//! The two programs, run as a user runs them.

use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;

/// How long a command may take before it is taken to hang: many times what the
/// slowest takes, for machines that are slow or shared.
const PATIENCE: Duration = Duration::from_secs(1200);

/// A command of `residua` or `tools` that is stopped if it hangs.
pub fn program(name: &str) -> Command {
    let mut command = Command::cargo_bin(name).expect("cargo builds the programs for its tests");
    command.timeout(PATIENCE);
    command
}

/// Runs a command that must fail; gives its exit code and its one line.
pub fn failure(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "one error line in: {error}");
    assert!(!error.contains("panicked"), "{error}");
    (output.status.code().unwrap(), lines[0].to_string())
}

/// Runs a command that prints one JSON object.
pub fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else")
}
