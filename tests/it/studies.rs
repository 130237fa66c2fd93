//! Do the study commands work as a user runs them? Their results on a small
//! trained run, the files that they write, how they continue after an
//! interruption, and whether their pages work in a browser.

use crate::support::browser;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::program::{failure, json, program};
use crate::support::report::assert_clear;
use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Keys of results that depend on the clock.
const CLOCK: [&str; 2] = ["seconds", "cost"];

/// Trains in batches of 16.
fn train(model: &str, data: &str, extra: &[&str], out: &Path) {
    let mut train = program("residua");
    train.args(["train", "--model", model, "--data", data, "--batch-size", "16"]);
    train.args(extra).arg("--out").arg(out).assert().success();
}

/// A pre-activation network with six blocks, trained for a few steps.
fn run() -> &'static Path {
    static RUN: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small");
        train(
            "preact-14",
            "synthetic:64,40",
            &["--epochs", "2", "--lr", "0.05"],
            &path,
        );
        (folder, path)
    });
    path
}

fn tools(arguments: &[&str], out: &Path) -> Command {
    let mut command = program("tools");
    command.args(arguments).arg("--run").arg(run());
    command.arg("--out").arg(out).arg("--json");
    command
}

/// Results without the values that depend on the clock.
fn timeless(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.iter().filter(|(key, _)| !CLOCK.contains(&key.as_str()));
            kept.map(|(key, value)| (key.clone(), timeless(value))).collect()
        }
        Value::Array(array) => array.iter().map(timeless).collect(),
        other => other.clone(),
    }
}

/// Cuts the result log of a study in the middle of the line after `lines`
/// lines, as an interruption would.
fn interrupt(out: &Path, lines: usize) -> String {
    let path = out.join("results.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let kept: String = text.split_inclusive('\n').take(lines).collect();
    assert!(kept.len() < text.len());
    let half = &text[kept.len()..][..10];
    fs::write(&path, format!("{kept}{half}")).unwrap();
    kept
}

/// The page has `figures` figures, nothing in them is cut off, and each series
/// has a tooltip.
fn check_page(path: &Path, figures: usize) {
    assert_clear(path.parent().unwrap());
    let mut page = browser::open_report(path);
    let drawn = page.figures();
    assert_eq!(drawn.len(), figures);
    for (index, figure) in drawn.iter().enumerate() {
        assert!(
            figure.marks > 0 && figure.width > 500.0 && figure.height > 200.0,
            "{figure:?}"
        );
        assert!(figure.outside.is_empty() && figure.cut.is_empty(), "{figure:?}");
        let hovered = page.hover_each_series(index);
        assert!(!hovered.is_empty(), "{figure:?}");
        for (words, tooltip) in hovered {
            assert!(!words.is_empty());
            assert_eq!(words, tooltip);
        }
    }
    page.assert_quiet();
}

const EVERYTHING: [&str; 19] = [
    "lesion",
    "--delete-block",
    "each",
    "--delete-random",
    "1..20",
    "--reorder",
    "1..2",
    "--trials",
    "3",
    "--pairs",
    "--greedy",
    "3",
    "--without-shortcut",
    "--responses",
    "--save-images",
    "--batch-size",
    "20",
    "--seed",
    "5",
];

#[test]
fn a_lesion_study_reports_all_results_and_continues_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("study");
    let found = json(&mut tools(&EVERYTHING, &out));
    assert_eq!(found["baseline"]["images"], 40);
    assert_eq!(found["lesions"].as_array().unwrap().len(), 6);
    assert_eq!(found["pairs"].as_array().unwrap().len(), 15);
    assert_eq!(found["greedy"].as_array().unwrap().len(), 3);
    assert_eq!(found["without_shortcut"].as_array().unwrap().len(), 6);
    assert_eq!(found["responses"].as_array().unwrap().len(), 6);
    assert_eq!(found["reorderings"].as_array().unwrap().len(), 2 * 3);
    let pools = found["random"].as_array().unwrap();
    assert_eq!(pools[0]["lesions"].as_array().unwrap().len(), 6 * 3);
    assert_eq!(
        pools[1]["lesions"].as_array().unwrap().len(),
        4 * 3,
        "two blocks downsample"
    );
    // A single block deleted at random gives the same result as in the list of
    // single deletions.
    let random = &pools[0]["lesions"][0];
    let number = random["blocks"][0].as_u64().unwrap() as usize;
    assert_eq!(random["loss"], found["lesions"][number - 1]["loss"]);
    // Greedy deletion begins with the block whose deletion costs least loss.
    let losses = found["lesions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lesion| lesion["loss"].as_f64().unwrap());
    assert_eq!(found["greedy"][0]["loss"].as_f64(), losses.min_by(f64::total_cmp));
    for lesion in found["lesions"].as_array().unwrap() {
        let [low, high] = [0, 1].map(|end| lesion["interval"][end].as_f64().unwrap());
        let error = lesion["error"].as_f64().unwrap();
        assert!(low <= error && error <= high && low < high);
        let by_class: u64 = lesion["wrong_by_class"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64)
            .sum();
        assert_eq!(json!(by_class), lesion["wrong"]);
    }
    let name = "images/delete-3.csv";
    let images = fs::read_to_string(out.join(name)).unwrap();
    let wrong = images.lines().skip(1).filter(|line| line.ends_with(",1")).count();
    assert_eq!(images.lines().count(), 41);
    assert_eq!(json!(wrong), found["lesions"][2]["wrong"]);

    for name in [
        "report.html",
        "report.md",
        "report.json",
        "results.json",
        "lesions.csv",
        "lesions.svg",
        "lesions.png",
    ] {
        assert!(out.join(name).metadata().unwrap().len() > 0, "{name}");
    }
    check_page(&out.join("report.html"), 9);

    let kept = interrupt(&out, 9);
    fs::remove_file(out.join("results.json")).unwrap();
    let again = json(&mut tools(&EVERYTHING, &out));
    assert_eq!(timeless(&again), timeless(&found));
    let log = fs::read_to_string(out.join("results.jsonl")).unwrap();
    assert!(log.starts_with(&kept), "earlier results are unchanged");
    assert!(out.join("results.json").exists());

    let (code, line) = failure(&mut tools(&["lesion", "--recalibrate", "16"], &out));
    assert_eq!(code, 1);
    assert!(line.contains("recalibrate null instead of 16"), "{line}");
    assert_eq!(fs::read_to_string(out.join("results.jsonl")).unwrap(), log);
}

#[test]
fn networks_are_compared_with_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("study");
    let plain = folder.path().join("plain");
    train("plain-8", "synthetic:32,40", &["--steps", "2"], &plain);
    let weights = format!("plain-8={}", plain.join("last.safetensors").display());
    let found = json(&mut tools(
        &["lesion", "--beside", &weights, "--beside", plain.to_str().unwrap()],
        &out,
    ));
    let beside = found["beside"].as_array().unwrap();
    assert_eq!(beside.len(), 2);
    // The same network, opened from its weights and from its run.
    assert_eq!(timeless(&beside[0]["lesions"]), timeless(&beside[1]["lesions"]));
    assert_eq!(beside[1]["model"], "plain-8 (plain)");
    check_page(&out.join("report.html"), 2);
    let (code, line) = failure(&mut tools(
        &["lesion", "--delete-block", "2", "--beside", &weights],
        &out,
    ));
    assert_eq!(code, 2, "{line}");
}

#[test]
fn recalibrated_lesions_differ_and_repeat_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let study = |extra: &[&str], name: &str| {
        let arguments = [&["lesion", "--delete-block", "2"], extra].concat();
        json(&mut tools(&arguments, &folder.path().join(name)))
    };
    let plain = study(&[], "plain");
    let recalibrated = study(&["--recalibrate", "64"], "recalibrated");
    assert_ne!(plain["lesions"][0]["loss"], recalibrated["lesions"][0]["loss"]);
    assert_eq!(
        timeless(&study(&["--recalibrate", "64"], "again")),
        timeless(&recalibrated)
    );
    let (code, line) = failure(&mut tools(&["lesion", "--recalibrate", "0"], &folder.path().join("no")));
    assert_eq!(code, 2, "{line}");
    assert!(!folder.path().join("no").exists());
}

#[test]
fn paths_are_counted_sampled_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("paths");
    let arguments = ["paths", "--samples", "45", "--sample-images", "4"];
    let found = json(&mut tools(&arguments, &out));
    let lengths = found["lengths"].as_array().unwrap();
    let shares: Vec<f64> = lengths
        .iter()
        .map(|row| row["share_of_paths"].as_f64().unwrap())
        .collect();
    assert_eq!(shares, [1.0, 6.0, 15.0, 20.0, 15.0, 6.0, 1.0].map(|paths| paths / 64.0));
    for row in lengths {
        assert_eq!(row["samples"], 45);
        assert!(row["mean_norm"].as_f64().unwrap() > 0.0);
    }
    let contributions: f64 = lengths.iter().map(|row| row["contribution"].as_f64().unwrap()).sum();
    assert!((contributions - 1.0).abs() < 1e-9);
    let effective = &found["effective"];
    let held: f64 = lengths
        .iter()
        .filter(|row| {
            row["length"].as_u64() >= effective["from"].as_u64() && row["length"].as_u64() <= effective["to"].as_u64()
        })
        .map(|row| row["contribution"].as_f64().unwrap())
        .sum();
    assert!(held >= 0.95, "{held}");
    check_page(&out.join("report.html"), 5);

    let kept = interrupt(&out, 2);
    let again = json(&mut tools(&arguments, &out));
    assert_eq!(again, found);
    assert!(
        fs::read_to_string(out.join("results.jsonl"))
            .unwrap()
            .starts_with(&kept)
    );

    let (code, line) = failure(&mut tools(
        &[
            "paths",
            "--batch-norm",
            "batch",
            "--samples",
            "45",
            "--sample-images",
            "4",
        ],
        &out,
    ));
    assert_eq!(code, 1);
    assert!(line.contains("batch-norm"), "{line}");
    let (code, line) = failure(&mut tools(&["paths", "--lengths", "3..9"], &out));
    assert_eq!(code, 2);
    assert!(line.contains("longest path has 6"), "{line}");
    let batch = folder.path().join("batch");
    let other = json(&mut tools(
        &["paths", "--batch-norm", "batch", "--samples", "2", "--lengths", "1..2"],
        &batch,
    ));
    assert_eq!(other["lengths"][1]["samples"], 2);
    assert_eq!(other["lengths"][0]["samples"], 0);
}

#[test]
fn paths_are_counted_where_blocks_are_no_chain() {
    let folder = tempfile::tempdir().unwrap();
    for (model, log2, lengths, reason) in [
        (
            "dmrnet-8",
            36_f64.log2(),
            4,
            "block 1 (layer1.0.line1) is not on every path",
        ),
        (
            "fractalnet-2-2",
            5.0,
            6,
            "block 1 (block1.join1.column1) has no shortcut",
        ),
    ] {
        let run = folder.path().join(model);
        train(model, "synthetic:32,16", &["--steps", "1"], &run);
        let paths = |extra: &[&str]| {
            let mut command = program("tools");
            command.arg("paths").arg("--run").arg(&run).args(extra);
            command
        };
        let out = folder.path().join(format!("{model}-paths"));
        let counted = ["--samples", "0", "--json", "--out", out.to_str().unwrap()];
        let found = json(&mut paths(&counted));
        assert!((found["log2_paths"].as_f64().unwrap() - log2).abs() < 1e-12);
        let shares = found["lengths"].as_array().unwrap().iter();
        let shares: Vec<f64> = shares.map(|row| row["share_of_paths"].as_f64().unwrap()).collect();
        assert_eq!(shares.len(), lengths, "{shares:?}");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // Without the figure of what deletions leave of a binomial distribution.
        check_page(&out.join("report.html"), 2);
        let (code, line) = failure(&mut paths(&[]));
        assert_eq!((code, line.contains(reason)), (2, true), "{line}");
    }
}

#[test]
fn curves_of_runs_are_drawn_together() {
    let folder = tempfile::tempdir().unwrap();
    let sampled = folder.path().join("sampled");
    let by_sample = ["--epochs", "2", "--stochastic-depth", "0.5", "--depth-per", "sample"];
    train("preact-14", "synthetic:64,40", &by_sample, &sampled);
    let out = folder.path().join("curves");
    let mut curves = program("tools");
    curves
        .arg("curves")
        .arg(run())
        .arg(&sampled)
        .arg("--out")
        .arg(&out)
        .arg("--json");
    let found = json(&mut curves);
    assert_eq!(found["runs"][0]["depth"], "constant");
    assert_eq!(found["runs"][1]["depth"], "linear to 0.5, by sample");
    assert_eq!(found["runs"][1]["epochs"].as_array().unwrap().len(), 2);
    check_page(&out.join("report.html"), 5);
    let text = fs::read_to_string(out.join("results.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), found);
    let (code, line) = failure(program("tools").args(["curves", "/nonexistent-run"]));
    assert_eq!(code, 1, "{line}");
}
