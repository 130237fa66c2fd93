//! Does any command print `null` in the place of a number? Each command that has
//! `--json` runs once on small data.

use std::path::Path;

use serde_json::Value;

use crate::support::program::{json, printed, program};

/// Commands with their arguments, and the keys that may be `null` there. `RUN` is
/// the directory of a run, `OUT` an empty one.
const COMMANDS: [(&str, &str, &[&str]); 22] = [
    (
        "train",
        "--data synthetic:64,32 --steps 1 --no-autotune --out OUT/run",
        &["memory", "reported", "reserved"],
    ),
    ("eval", "--run RUN --no-autotune", &["top5_wrong", "top5_error"]),
    ("lesion", "--run RUN --no-autotune --limit-test 16", &[]),
    (
        "paths",
        "--run RUN --no-autotune --samples 1 --lengths 0..1 --sample-images 2",
        &["effective", "decay_per_block", "whole_gradient_norm", "mean_norm"],
    ),
    (
        "features",
        "--run RUN --no-autotune --layer pool --out OUT/x.npy",
        &["block", "labels"],
    ),
    ("explain", "--run RUN --no-autotune --images 0-1 --steps 2", &[]),
    ("curves", "RUN", &["depth"]),
    ("data", "synthetic:64,32", &["train", "test"]),
    ("fetch", "", &[]),
    ("export", "RUN --onnx OUT/x.onnx", &[]),
    ("devices", "", &[]),
    ("doctor", "--only relu", &[]),
    ("models", "resnet", &[]),
    ("models", "resnet110", &[]),
    ("inspect", "wrn-16-1", &["plan"]),
    ("inspect", "RUN/last.safetensors", &["problem", "mean", "std"]),
    (
        "inspect",
        "RUN/last.safetensors --data synthetic:64,32 --no-autotune",
        &["problem", "mean", "std"],
    ),
    (
        "sweep",
        "--grid seed=1 --data synthetic:64,32 --steps 1 --no-autotune --out OUT/sweep",
        &["diverged"],
    ),
    (
        "stochastic-depth",
        "--data synthetic:64,32 --steps 1 --p-last 0.5 --rule linear --no-autotune --out OUT/depth",
        &["diverged", "relative_speed"],
    ),
    // Kernels that were chosen without being timed have no times.
    (
        "tune",
        "--list",
        &["milliseconds", "default_milliseconds", "rule_milliseconds"],
    ),
    (
        "bench",
        "--kernels --quick --only conv-16ch-32-wgrad --no-autotune",
        &["peak", "way", "gflops"],
    ),
    ("bench", "--compare BENCH BENCH", &["a", "b", "ratio"]),
];

/// The keys of all values that are `null`.
fn null_keys(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(key.to_owned()),
        Value::Array(values) => values.iter().for_each(|value| null_keys(value, key, found)),
        Value::Object(object) => object.iter().for_each(|(key, value)| null_keys(value, key, found)),
        _ => {}
    }
}

#[test]
fn no_command_prints_null_for_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("trained");
    printed(
        program("residua")
            .args("train --data synthetic:64,32 --steps 2 --no-autotune --out".split(' '))
            .arg(&run),
    );
    let bench = folder.path().join("bench.json");
    let with_places = |word: &str| {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let word = word.replace("RUN", &text(&run)).replace("OUT", &text(folder.path()));
        word.replace("BENCH", &text(&bench))
    };
    for (command, arguments, absent) in COMMANDS {
        let words = arguments.split_whitespace().map(with_places);
        let mut program = program("residua");
        let result = json(
            program
                .arg(command)
                .arg("--json")
                .args(words)
                .current_dir(folder.path()),
        );
        if command == "bench" && !bench.exists() {
            std::fs::write(&bench, result.to_string()).unwrap();
        }
        let mut found = Vec::new();
        null_keys(&result, "", &mut found);
        found.retain(|key| !absent.contains(&&key[..]));
        assert!(found.is_empty(), "{command} {arguments}: null under {found:?}");
    }
    // Every command with --json is in the table.
    let help = printed(program("residua").arg("--help"));
    let names = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
    {
        let has_json = printed(program("residua").args([name, "--help"])).contains("--json");
        assert_eq!(
            has_json,
            COMMANDS.iter().any(|(command, ..)| *command == name),
            "{name}"
        );
    }
}
