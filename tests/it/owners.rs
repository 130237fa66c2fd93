//! Does a directory have one owner? Programs that are started together get two
//! directories, or one of them is refused.

use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use crate::support::program::{failure, program};

/// A run that trains within about a second on the CPU reference.
const SMALL: [&str; 15] = [
    "train",
    "--model",
    "resnet8",
    "--data",
    "synthetic:16,8",
    "--batch-size",
    "8",
    "--steps",
    "2",
    "--augment",
    "none",
    "--lr",
    "0.05",
    "--adapter",
    "reference",
];

/// Starts a program in `folder`.
fn start(folder: &Path, name: &str, arguments: &[&str]) -> Child {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin(name));
    command.args(arguments).current_dir(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The outputs of two programs that were started together: that of the one that
/// succeeded first.
fn pair(children: [Child; 2]) -> [Output; 2] {
    let mut outputs = children.map(|child| child.wait_with_output().unwrap());
    outputs.sort_by_key(|output| !output.status.success());
    outputs
}

fn error_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "one error line in: {text}");
    lines[0].to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn of_two_trainings_in_one_directory_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let with_seed = |seed| {
        start(
            folder.path(),
            "residua",
            &[&SMALL[..], &["--out", "run", "--seed", seed]].concat(),
        )
    };
    let [first, second] = pair([with_seed("1"), with_seed("2")]);
    assert!(first.status.success(), "{}", error_line(&first));
    assert_eq!(second.status.code(), Some(1));
    let line = error_line(&second);
    // The second came while the first trained, or after it had ended.
    assert!(
        line.contains("in use by") || line.contains("a run is there already"),
        "{line}"
    );
    let run = folder.path().join("run");
    assert_eq!(
        names(&run),
        [
            "best.safetensors",
            "curves.svg",
            "last.safetensors",
            "metrics.csv",
            "run.toml"
        ]
    );
}

#[test]
fn two_trainings_without_a_directory_get_two() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = pair([
        start(folder.path(), "residua", &SMALL),
        start(folder.path(), "tools", &SMALL),
    ]);
    for output in outputs {
        assert!(output.status.success(), "{}", error_line(&output));
    }
    let runs = folder.path().join("runs");
    assert_eq!(names(&runs), ["resnet8-synthetic-1", "resnet8-synthetic-2"]);
    for run in names(&runs) {
        assert!(runs.join(&run).join("last.safetensors").is_file(), "{run}");
    }
}

#[test]
fn files_of_somebody_else_stop_a_run_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("measurements");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("metrics.csv"), "mine").unwrap();
    let (code, line) = failure(program("residua").args(SMALL).arg("--out").arg(&out));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("metrics.csv is there, which is no run's"), "{line}");
    assert_eq!(names(&out), ["metrics.csv"]);
    assert_eq!(fs::read(out.join("metrics.csv")).unwrap(), b"mine");
}
