//! How does a test run the programs?

use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;

/// After this time a command is taken to hang: many times the time of the slowest
/// one, for machines that are slow or shared.
const PATIENCE: Duration = Duration::from_secs(1200);

/// The program `residua` or `tools`, which is stopped if it hangs.
pub fn program(name: &str) -> Command {
    let mut command = Command::cargo_bin(name).expect("cargo builds the programs for its tests");
    command.timeout(PATIENCE);
    command
}

/// What a command that must succeed prints on standard output.
pub fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail; returns its exit code and its one error line.
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
    serde_json::from_str(&printed(command)).expect("one JSON object and nothing else")
}
