//! Do sweeps work as a user runs them? Invalid grids, a sweep that is killed
//! and later extended, and the files that it writes.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::support::program::{failure, json, program};
use crate::support::report::assert_clear;
use assert_cmd::Command;
use serde_json::Value;

/// Settings of runs that train in seconds on a software adapter.
const SMALL: [&str; 10] = [
    "--data",
    "synthetic",
    "--limit-train",
    "64",
    "--limit-test",
    "32",
    "--epochs",
    "1",
    "--batch-size",
    "16",
];

fn tools(command: &str, extra: &[&str], out: &Path) -> Command {
    let mut tools = program("tools");
    tools.arg(command).args(SMALL).args(extra).arg("--out").arg(out);
    tools
}

fn changed(path: &Path) -> SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

#[test]
fn invalid_sweeps_exit_with_2_and_one_line_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let cases: &[(&str, &[&str], &str)] = &[
        ("sweep", &[], "--grid"),
        ("sweep", &["--grid", "model"], "no '='"),
        ("sweep", &["--grid", "model=resnet8,resnet9"], "resnet9"),
        ("sweep", &["--grid", "lr=0.1,-1"], "--lr -1"),
        ("sweep", &["--grid", "lr=0.1,0.10"], "the same settings"),
        ("sweep", &["--grid", "colour=red"], "colour"),
        ("sweep", &["--grid", "dropout=0,1.5", "--model", "wrn-10-1"], "1.5"),
        (
            "sweep",
            &["--grid", "sample-blocks=1,9", "--model", "resnet8"],
            "--sample-blocks 9",
        ),
        ("stochastic-depth", &["--p-last", "0.5,1.5"], "--p-last 1.5"),
        ("stochastic-depth", &["--p-last", "half"], "half"),
        ("stochastic-depth", &["--rule", "steep"], "steep"),
        ("stochastic-depth", &["--models", "resnet8,"], "''"),
        ("stochastic-depth", &["--sample-blocks", "2"], "--sample-blocks"),
    ];
    for (command, extra, part) in cases {
        let (code, line) = failure(&mut tools(command, extra, &out));
        assert_eq!(code, 2, "{extra:?}: {line}");
        assert!(line.contains(part), "{extra:?}: {line}");
        assert!(!out.exists(), "{extra:?}");
    }
}

#[test]
fn a_sweep_that_is_killed_and_extended_trains_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sweep");
    let runs = out.join("runs");
    let first = runs.join("resnet8_seed-0");

    // The sweep is killed while it trains the second point.
    let grid = ["--grid", "model=resnet8", "--grid", "seed=0,1"];
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("tools"));
    child.arg("sweep").args(SMALL).args(grid).arg("--out").arg(&out);
    let mut child = child.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !runs.join("resnet8_seed-1/run.toml").exists() && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let finished = changed(&first.join("last.safetensors"));
    assert!(!out.join("report.json").exists());

    // A larger sweep finds the first run and trains the others.
    let more = ["--grid", "seed=0,1,2", "--grid", "model=resnet8"];
    let found = json(tools("sweep", &more, &out).arg("--json"));
    assert_eq!(changed(&first.join("last.safetensors")), finished);
    let points = found["points"].as_array().unwrap();
    assert_eq!(points.len(), 3);
    for point in points {
        assert!(
            point["test_error"].is_f64() && point["best_test_error"].is_f64(),
            "{point}"
        );
        assert_eq!(point["parameters"], 75_290);
        assert!(Path::new(point["run"].as_str().unwrap()).join("run.toml").is_file());
    }
    assert_eq!(points[0]["name"], "resnet8_seed-0");
    assert_eq!(
        points[0]["values"],
        serde_json::json!({ "seed": "0", "model": "resnet8" })
    );
    assert!(found["adapter"].as_str().is_some_and(|adapter| !adapter.is_empty()));
    let mut errors: Vec<f64> = points.iter().filter_map(|point| point["test_error"].as_f64()).collect();
    errors.sort_by(f64::total_cmp);
    let spread = serde_json::json!({ "median": errors[1], "least": errors[0], "most": errors[2] });
    assert_eq!(found["groups"][0]["test_error"], spread);
    assert_clear(&out);
    let text = fs::read_to_string(out.join("results.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), found);

    // The same sweep again trains nothing and gives the same results.
    let again = json(tools("sweep", &more, &out).arg("--json"));
    assert_eq!(again, found);

    // Other settings for the same names are refused, and nothing changes.
    let mut other = tools("sweep", &["--lr", "0.05"], &out);
    let (code, line) = failure(other.args(grid));
    assert_eq!(code, 1, "{line}");
    assert!(
        line.contains("lr is 0.1, not 0.05") && line.contains("resnet8_seed-0"),
        "{line}"
    );
    assert_eq!(changed(&first.join("last.safetensors")), finished);
    fs::remove_dir_all(&out).unwrap();
}

#[test]
fn a_point_that_diverges_is_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let extra = ["--model", "resnet8", "--schedule", "constant", "--grid", "lr=1e6,0.05"];
    let found = json(tools("sweep", &extra, &folder.path().join("sweep")).arg("--json"));
    let (diverged, trained) = (&found["points"][0], &found["points"][1]);
    assert!(diverged["diverged"].is_u64(), "{diverged}");
    assert_eq!(
        (&diverged["test_error"], &trained["diverged"]),
        (&Value::Null, &Value::Null)
    );
    assert!(trained["test_error"].is_f64(), "{trained}");
}

#[test]
fn stochastic_depth_is_compared_with_constant_depth() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("depth");
    let extra = ["--model", "resnet8", "--p-last", "0.5", "--rule", "linear"];
    let found = json(tools("stochastic-depth", &extra, &out).arg("--json"));
    let groups = found["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0]["values"]["rule"], "constant");
    assert_eq!(
        (&groups[0]["expected_depth"], &groups[0]["relative_speed"]),
        (&3.0.into(), &1.0.into())
    );
    // (3L − 1) / 4 for L = 3 blocks.
    assert_eq!(groups[1]["expected_depth"], 2.0);
    for (group, point) in groups.iter().zip(found["points"].as_array().unwrap()) {
        let run = Path::new(point["run"].as_str().unwrap());
        let kept = fs::read_to_string(run.join("gradients.csv")).unwrap();
        assert_eq!(kept.lines().next(), Some("step,mean_abs_gradient"));
        let row = |line: &str| line.split_once(',').and_then(|(_, value)| value.parse::<f64>().ok());
        let gradients: Vec<f64> = kept.lines().skip(1).map(|line| row(line).unwrap()).collect();
        // All gradients of an epoch with four steps are logged.
        assert_eq!(gradients.len(), 4);
        assert!(gradients.iter().all(|&gradient| gradient > 0.0), "{gradients:?}");
        let mean = gradients.iter().sum::<f64>() / 4.0;
        assert!((group["mean_abs_gradients"][0].as_f64().unwrap() - mean).abs() < 1e-12 * mean);
    }
}
