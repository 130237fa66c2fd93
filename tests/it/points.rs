//! Can several processes share one study? Points of a sweep and parts of a study
//! give the same report as one process.

use std::fs;
use std::path::Path;

use crate::support::program::{failure, json, printed, program};
use serde_json::Value;

/// `value` without what depends on the speed of the machine and on its folder.
fn timeless(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(object) => {
                for key in ["seconds", "images_per_second", "run", "cost"] {
                    object.remove(key);
                }
                object.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

/// The number of results in a log, which has one line more.
fn results_in(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count() - 1
}

#[test]
fn points_that_are_trained_one_by_one_give_the_report_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = |out: &str, more: &[&str]| {
        let mut sweep = program("residua");
        sweep.args(["sweep", "--grid", "seed=0,1,2", "--model", "resnet8", "--no-autotune"]);
        sweep.args(["--data", "synthetic:64,32", "--batch-size", "16", "--epochs", "1"]);
        sweep.args(more).arg("--out").arg(folder.path().join(out));
        sweep
    };
    let listed = json(&mut sweep("parts", &["--list"]));
    let list = listed.as_array().unwrap();
    assert_eq!(list.len(), 3);
    for (number, point) in (1..).zip(list) {
        assert_eq!(
            (&point["number"], &point["steps_done"], &point["steps"]),
            (&number.into(), &0.into(), &4.into()),
            "{point}"
        );
        assert!((point["share"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9, "{point}");
    }
    assert!(!folder.path().join("parts").exists(), "a list writes nothing");
    let (code, line) = failure(&mut sweep("parts", &["--point", "4"]));
    assert_eq!(
        (code, line.contains("--point 4: the points are 1 to 3")),
        (2, true),
        "{line}"
    );

    let point = json(&mut sweep("parts", &["--point", "2", "--json"]));
    assert_eq!(point["points"].as_array().unwrap().len(), 1);
    let text = printed(&mut sweep("parts", &["--point", "3"]));
    assert!(text.contains("seed-2: test error"), "{text}");
    let out = folder.path().join("parts");
    assert!(!out.join("results.json").exists(), "a point writes no report");
    let done = json(&mut sweep("parts", &["--list"]));
    let done: Vec<u64> = done
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|point| point["steps_done"].as_u64())
        .collect();
    assert_eq!(done, [0, 4, 4]);

    let shared = json(&mut sweep("parts", &["--json"]));
    let alone = json(&mut sweep("alone", &["--json"]));
    assert_eq!(timeless(shared), timeless(alone));
    assert!(out.join("results.json").exists());
}

/// What `command` gives on a run as a whole, and as parts whose results are then put
/// together; whether nothing was computed twice.
fn whole_and_parts(folder: &Path, command: &str, arguments: &str, logs: &[&str]) {
    let study = |out: &str, more: &[&str]| {
        let mut study = program("residua");
        study.arg(command).arg("--run").arg(folder.join("run"));
        study.args(arguments.split_whitespace()).args(more).arg("--no-autotune");
        study.arg("--out").arg(folder.join(out)).current_dir(folder);
        study
    };
    let parts = format!("{command}-parts");
    let whole = json(&mut study(&format!("{command}-whole"), &["--json"]));
    // The order of the parts does not matter.
    let third = printed(&mut study(&parts, &["--part", "3/3"]));
    assert!(third.starts_with("part 3 of 3: "), "{third}");
    for part in ["1/3", "2/3"] {
        let found = json(&mut study(&parts, &["--part", part, "--json"]));
        assert!(found["results"].as_u64().unwrap() > 0, "{part}: {found}");
    }
    let out = folder.join(&parts);
    assert!(!out.join("results.json").exists(), "a part writes no report");
    let shared = timeless(json(&mut study(&parts, &["--json"])));
    for (key, value) in timeless(whole).as_object().unwrap() {
        assert!(
            shared[key] == *value,
            "{command}: {key} is {}, not {value}",
            shared[key]
        );
    }
    for log in logs {
        let of_parts = (1..=3).map(|part| results_in(&out.join(format!("{log}.{part}-of-3.jsonl"))));
        let all = results_in(&folder.join(format!("{command}-whole/{log}.jsonl")));
        // A window of many routes is divided, and a route may come in two windows.
        assert_eq!(
            of_parts.sum::<usize>() + results_in(&out.join(format!("{log}.jsonl"))),
            all,
            "{log}"
        );
    }
    // A damaged part is refused by its name.
    let log = out.join("results.2-of-3.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("{\"key\":\"", "{\"kay\":\"", 2)).unwrap();
    let (code, line) = failure(&mut study(&parts, &[]));
    assert_eq!((code, line.contains("results.2-of-3.jsonl")), (1, true), "{line}");
}

#[test]
fn parts_of_a_study_give_the_report_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut train = program("residua");
    train.args([
        "train",
        "--model",
        "resnet14",
        "--data",
        "synthetic:64,32",
        "--steps",
        "2",
        "--no-autotune",
    ]);
    printed(train.arg("--out").arg(folder.join("run")));
    let lesion = "--pairs --delete-random 1..3 --trials 3 --reorder 1..2 --greedy 2 --without-shortcut --responses \
                  --beside run --limit-test 16 --save-images";
    whole_and_parts(folder, "lesion", lesion, &["beside-1"]);
    whole_and_parts(
        folder,
        "paths",
        "--samples 70 --lengths 0..2 --sample-images 2",
        &["results"],
    );

    let (code, line) = failure(program("residua").args(["lesion", "--part", "1/2"]));
    assert_eq!((code, line.contains("--out")), (2, true), "{line}");
    let (code, line) = failure(program("residua").args(["paths", "--part", "3/2", "--out", "x"]));
    assert_eq!((code, line.contains("as in 1/4")), (2, true), "{line}");
}
