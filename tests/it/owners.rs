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

#[test]
fn two_sweeps_share_their_points_and_train_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SMALL.iter().filter(|&&argument| argument != "train");
    let settings: Vec<&str> = settings.copied().collect();
    let grid = ["sweep", "--grid", "seed=0,1,2,3,4", "--out", "sweep"];
    let sweep = || start(folder.path(), "tools", &[&grid[..], &settings].concat());
    let outputs = pair([sweep(), sweep()]);
    let mut said = String::new();
    for output in &outputs {
        assert!(output.status.success(), "{}", error_line(output));
        said += &String::from_utf8_lossy(&output.stderr);
    }
    let trained = |line: &&str| line.contains("test error") && line.contains("left");
    for seed in 0..5 {
        let of_seed = |line: &&str| line.contains(&format!(": seed {seed} · "));
        let count = said.lines().filter(trained).filter(of_seed).count();
        assert_eq!(count, 1, "seed {seed} in: {said}");
    }
    let reports = said.matches("the report and results.json are in sweep").count();
    assert!(reports >= 1, "the last one writes the report: {said}");
    let out = folder.path().join("sweep");
    let results = fs::read_to_string(out.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    assert_eq!(results["points"].as_array().unwrap().len(), 5);
    assert!(!names(&out).iter().any(|name| name == ".lock"), "{:?}", names(&out));
}

#[test]
fn of_two_lesion_studies_in_one_directory_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    program("residua")
        .args(SMALL)
        .args(["--out", "run"])
        .current_dir(folder.path())
        .assert()
        .success();
    let arguments = ["lesion", "--run", "run", "--out", "study", "--adapter", "reference"];
    let lesion = || start(folder.path(), "tools", &arguments);
    let [first, second] = pair([lesion(), lesion()]);
    assert!(first.status.success(), "{}", error_line(&first));
    // The second came while the first was there, or found all its results.
    if !second.status.success() {
        assert_eq!(second.status.code(), Some(1));
        assert!(
            error_line(&second).contains("in use by process"),
            "{}",
            error_line(&second)
        );
    }
    let log = fs::read_to_string(folder.path().join("study/results.jsonl")).unwrap();
    assert_eq!(
        log.lines().count(),
        1 + 1 + 3,
        "the study, the whole network, three blocks: {log}"
    );
    // A directory with files of somebody else is refused before the work begins.
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/lesions.csv"), "mine").unwrap();
    let mut foreign = program("tools");
    foreign
        .current_dir(folder.path())
        .args(["lesion", "--run", "run", "--out", "mine"]);
    let (code, line) = failure(foreign.args(["--adapter", "reference"]));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("lesions.csv is there"), "{line}");
    assert_eq!(names(&folder.path().join("mine")), ["lesions.csv"]);
}
