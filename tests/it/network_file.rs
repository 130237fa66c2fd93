//! Does a network in a file do all that a built-in one does? It is trained,
//! continued, evaluated, lesioned and swept, and only the first of these needs
//! the file.

use std::fs;
use std::path::Path;

use crate::support::program::{failure, json, printed, program};
use assert_cmd::Command;

const OWN: &str = "\
[stem]
width = 4

[[stage]]
blocks = 2
kernels = [[3, 4], [3, 4]]

[[stage]]
blocks = 1
stride = 2
kernels = [[1, 4], [3, 4, 2], [1, 8]]
";

const SMALL: [&str; 10] = [
    "--adapter",
    "reference",
    "--data",
    "synthetic:16,8",
    "--batch-size",
    "8",
    "--augment",
    "none",
    "--seed",
    "3",
];

fn residua(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program("residua");
    command.current_dir(folder).args(arguments);
    command
}

fn train(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = residua(folder, &["train"]);
    command.args(SMALL).args(arguments);
    command
}

#[test]
fn a_network_in_a_file_needs_its_file_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("own.toml"), OWN).unwrap();
    fs::write(folder.join("other.toml"), OWN.replace("blocks = 2", "blocks = 3")).unwrap();
    let trained = json(&mut train(
        folder,
        &["--model", "own.toml", "--steps", "2", "--out", "run", "--json"],
    ));
    let name = trained["model"].as_str().unwrap().to_string();
    assert!(name.starts_with("own@"), "{name}");
    let straight = &[
        "--model",
        "own.toml",
        "--steps",
        "4",
        "--schedule",
        "constant",
        "--out",
        "straight",
    ];
    printed(&mut train(folder, straight));
    let short = &[
        "--model",
        "own.toml",
        "--steps",
        "2",
        "--schedule",
        "constant",
        "--out",
        "short",
    ];
    printed(&mut train(folder, short));

    let refused = [
        "eval",
        "--run",
        "run",
        "--adapter",
        "reference",
        "--model",
        "other.toml",
    ];
    let (code, error) = failure(&mut residua(folder, &refused));
    assert_eq!(code, 2);
    assert!(
        error.contains("stage 1: blocks = 2") && error.contains("stage 1: blocks = 3"),
        "{error}"
    );
    let named = json(&mut residua(
        folder,
        &[
            "eval",
            "--run",
            "run",
            "--adapter",
            "reference",
            "--model",
            "own.toml",
            "--json",
        ],
    ));

    // From here on, nothing knows the network but the run and its weights.
    fs::remove_file(folder.join("own.toml")).unwrap();
    let config = fs::read_to_string(folder.join("run/run.toml")).unwrap();
    assert!(config.contains("kernels = [[1, 4], [3, 4, 2], [1, 8]]"), "{config}");
    let weights = [
        "eval",
        "--weights",
        "run/last.safetensors",
        "--adapter",
        "reference",
        "--json",
    ];
    for arguments in [
        &weights[..],
        &["eval", "--run", "run", "--adapter", "reference", "--json"],
        &[
            "eval",
            "--run",
            "run",
            "--adapter",
            "reference",
            "--json",
            "--model",
            &name,
        ],
    ] {
        let seen = json(&mut residua(folder, arguments));
        assert_eq!(seen["model"], name.as_str());
        assert_eq!(seen["loss"], named["loss"]);
    }
    let lesion = ["lesion", "--weights", "run/last.safetensors", "--adapter", "reference"];
    let lesioned = json(residua(folder, &lesion).args(["--delete-block", "2,layer2.0", "--json"]));
    assert_eq!(lesioned["lesions"][0]["names"][1], "layer2.0");
    printed(&mut residua(
        folder,
        &["train", "--adapter", "reference", "--resume", "short", "--steps", "4"],
    ));
    let last = |run: &str| fs::read(folder.join(run).join("last.safetensors")).unwrap();
    assert_eq!(last("short"), last("straight"));
    // A run's own file is a configuration with the network in it.
    let again = [
        "train",
        "--adapter",
        "reference",
        "--config",
        "run/run.toml",
        "--out",
        "again",
    ];
    printed(&mut residua(folder, &again));
    assert_eq!(last("again"), last("run"));
}

#[test]
fn a_sweep_has_networks_in_files_and_their_options() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("own.toml"), OWN).unwrap();
    fs::write(folder.join("wide.toml"), OWN.replace('4', "6")).unwrap();
    let sweep = ["sweep", "--steps", "1", "--out", "sweep", "--json"];
    let grid = ["--grid", "model=own.toml,wide.toml", "--grid", "se=0,2"];
    let results = json(residua(folder, &sweep).args(SMALL).args(grid));
    let names: Vec<&str> = results["points"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|point| point["model"].as_str())
        .collect();
    assert_eq!(names.len(), 4);
    assert!(
        names[0].starts_with("own@") && names[2].starts_with("wide@"),
        "{names:?}"
    );
    assert!(names[0] != names[1] && names[2] != names[3], "{names:?}");
}

#[test]
fn a_template_is_a_file_for_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let template = printed(&mut residua(folder, &["models", "--template", "wrn-10-2"]));
    let written = ["models", "--template", "wrn_10_2", "--out", "mine.toml"];
    printed(&mut residua(folder, &written));
    assert_eq!(fs::read_to_string(folder.join("mine.toml")).unwrap(), template);
    let of = |model: &str| json(&mut residua(folder, &["inspect", model, "--json"]));
    let (own, built_in) = (of("mine.toml"), of("wrn-10-2"));
    assert!(own["model"].as_str().unwrap().starts_with("wrn-10-2@"));
    for key in ["parameters", "macs", "blocks", "input", "classes"] {
        assert_eq!(own[key], built_in[key], "{key}");
    }
    let (code, error) = failure(&mut residua(folder, &written));
    assert_eq!(code, 1, "{error}");
    let (code, error) = failure(&mut residua(folder, &["models", "--template", "densenet121"]));
    assert_eq!(code, 2);
    assert!(error.contains("densenet121 cannot be written as a file"), "{error}");
    fs::write(folder.join("wrong.toml"), "[stem]\nwidth = 16\n[[stage]]\nblocks = 0\n").unwrap();
    for command in [
        &["inspect", "wrong.toml"][..],
        &["train", "--model", "wrong.toml"],
        &["sweep", "--grid", "model=wrong.toml", "--out", "x"],
        &["tune", "wrong.toml", "--adapter", "reference"],
        &["models", "wrong.toml"],
    ] {
        let (code, error) = failure(&mut residua(folder, command));
        assert_eq!(code, 1, "{error}");
        assert!(error.contains("wrong.toml, line 4: stage 1: blocks = 0"), "{error}");
    }
}
