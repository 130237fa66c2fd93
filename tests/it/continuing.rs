//! Does a finished run go on with another length, to the results that it would
//! have had?

use std::fs;
use std::path::Path;

use crate::support::metrics::without_time;
use crate::support::program::{failure, json, program};
use crate::support::run;
use residua::train::{Adapter, Config, RunDirectory};
use residua::weights;

/// Six steps in an epoch.
fn config(schedule: &str, epochs: u32, steps: Option<u32>) -> Config {
    Config {
        model: "resnet8".into(),
        batch_size: 16,
        lr: 0.05,
        schedule: schedule.into(),
        epochs,
        steps,
        log_steps: true,
        ..Config::for_data("synthetic:96,32")
    }
}

/// Trains in `path`, or goes on there, with the length of `config`.
fn train(path: &Path, config: &Config) {
    run::train(path, config.clone(), &Adapter::default(), |_| false);
}

#[test]
fn a_schedule_that_does_not_depend_on_the_length_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for schedule in ["constant", "multi-step:1.5@0.1"] {
        let at = |name: &str| folder.path().join(format!("{name}-{schedule}").replace(':', "-"));
        let (whole, longer, cut) = (at("whole"), at("longer"), at("cut"));
        train(&whole, &config(schedule, 3, None));
        train(&longer, &config(schedule, 1, None));
        train(&longer, &config(schedule, 3, None));
        for name in ["last.safetensors", "best.safetensors", "steps.csv"] {
            let read = |path: &Path| fs::read(path.join(name)).unwrap();
            assert!(read(&whole) == read(&longer), "{schedule}: {name}");
        }
        assert_eq!(without_time(&whole), without_time(&longer), "{schedule}");
        // A run that ended within its second epoch finishes that epoch.
        train(&cut, &config(schedule, 1, Some(8)));
        assert_eq!(without_time(&cut).len(), 1 + 2);
        train(&cut, &config(schedule, 3, None));
        assert_eq!(without_time(&whole), without_time(&cut), "{schedule}");
        let tensors = |path: &Path| weights::read(&path.join("last.safetensors")).unwrap().tensors;
        assert!(tensors(&whole) == tensors(&cut), "{schedule}");
        let recorded = RunDirectory::open(&cut).unwrap();
        let made_by = recorded.read_made_by().unwrap();
        assert_eq!(recorded.read_config().unwrap(), config(schedule, 3, None));
        let extended: Vec<_> = made_by
            .extended
            .iter()
            .map(|one| (one.at_step, one.from_steps))
            .collect();
        assert_eq!(extended, [(8, 8)]);
    }
}

#[test]
fn other_schedules_go_on_with_the_rates_of_the_longer_run() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, longer) = (folder.path().join("whole"), folder.path().join("longer"));
    train(&whole, &config("cosine", 2, None));
    train(&longer, &config("cosine", 1, None));
    train(&longer, &config("cosine", 2, None));
    let rates = |path: &Path| -> Vec<f64> {
        let rows = RunDirectory::open(path).unwrap().read_steps().unwrap();
        rows.iter().map(|row| row.lr).collect()
    };
    let (whole, longer) = (rates(&whole), rates(&longer));
    assert_eq!((whole.len(), longer.len()), (12, 12));
    assert_ne!(whole[..6], longer[..6]);
    assert_eq!(whole[6..], longer[6..]);
}

#[test]
fn the_program_goes_on_with_a_finished_run_and_says_when_there_is_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let small = [
        "train",
        "--model",
        "resnet8",
        "--data",
        "synthetic:96,32",
        "--batch-size",
        "16",
        "--schedule",
        "constant",
        "--epochs",
        "1",
        "--out",
    ];
    program("residua").args(small).arg(&out).assert().success();
    let resume = |arguments: &[&str]| {
        let mut command = program("residua");
        command.args(["train", "--resume"]).arg(&out).args(arguments);
        command
    };
    let before = fs::read(out.join("last.safetensors")).unwrap();
    let output = resume(&[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && text.contains("already complete: 6 steps"),
        "{text}"
    );
    assert!(fs::read(out.join("last.safetensors")).unwrap() == before);
    for (arguments, part) in [
        (&["--epochs", "0"][..], "--epochs 0"),
        (&["--steps", "5"], "--steps 5: the run has taken 6 steps already"),
        (
            &["--epochs", "2", "--steps", "9"],
            "--epochs has no effect with --steps",
        ),
        (&["--epochs", "2", "--lr", "0.2"], "--lr cannot be changed"),
    ] {
        let (code, line) = failure(&mut resume(arguments));
        assert_eq!((code, line.contains(part)), (2, true), "{line}");
    }
    let result = json(&mut resume(&["--epochs", "2", "--json"]));
    assert_eq!(result["epochs"], 2);
    let recorded = RunDirectory::open(&out).unwrap().read_config().unwrap();
    assert_eq!((recorded.epochs, recorded.steps), (2, None));
    let (code, line) = failure(&mut resume(&["--epochs", "1"]));
    assert_eq!(
        (code, line.contains("--epochs 1: the run has taken 12 steps")),
        (2, true),
        "{line}"
    );
    let result = json(&mut resume(&["--steps", "14", "--json"]));
    assert_eq!(result["epochs"], 3);
}
