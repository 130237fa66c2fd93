//! Does a run survive the loss of its device, and does it say what would fit where
//! memory is too small? Both are injected.

use std::path::Path;

use assert_cmd::Command;
use residua::train::RunDirectory;

use crate::support::program::{failure, printed, program};

/// All runs have the same kernels, those that compile fast.
const KIND: &str = "kind=discrete";

/// A training of 12 steps in two epochs (the default of these images), in `out`, on a device with the faults `faults`.
fn train(out: &Path, faults: &str, extra: &[&str]) -> Command {
    let mut command = program("residua");
    command.env("RESIDUA_TEST_DEVICE", format!("{KIND};{faults}")).args([
        "train",
        "--model",
        "resnet8",
        "--data",
        "synthetic:48,16",
        "--batch-size",
        "8",
        "--seed",
        "3",
        "--no-autotune",
        "--checkpoint-every",
        "2",
        "--log-steps",
        "--out",
    ]);
    command.arg(out).args(extra);
    command
}

fn files(run: &Path) -> Vec<Vec<u8>> {
    ["last.safetensors", "best.safetensors", "steps.csv"]
        .map(|name| std::fs::read(run.join(name)).unwrap())
        .to_vec()
}

#[test]
fn a_run_goes_on_after_the_device_is_lost_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    printed(&mut train(&at("whole"), "", &["--epochs", "4"]));
    // Every device is lost after some steps: each time a fresh one goes on.
    let output = train(&at("lost"), "lose-after=16", &["--epochs", "4", "--auto-resume"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let losses = text.matches("the device was lost").count();
    assert!(losses >= 2, "{losses} losses in: {text}");
    assert!(text.contains("attempt 1 of 3 on a fresh device"), "{text}");
    assert_eq!(files(&at("lost")), files(&at("whole")));
    let epochs = RunDirectory::open(&at("lost")).unwrap().read_metrics().unwrap();
    assert_eq!(epochs.len(), 4);
}

#[test]
fn a_lost_device_ends_a_run_in_one_line_that_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (code, line) = failure(&mut train(&run, "lose-after=16", &[]));
    assert_eq!(code, 1);
    for part in ["the device was lost", "--resume DIR", "--auto-resume"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    // The run is whole: it goes on by hand as well.
    let mut resume = program("residua");
    printed(
        resume
            .env("RESIDUA_TEST_DEVICE", KIND)
            .arg("train")
            .arg("--resume")
            .arg(&run),
    );
    let whole = folder.path().join("whole");
    printed(&mut train(&whole, "", &[]));
    assert_eq!(files(&run), files(&whole));
}

#[test]
fn attempts_without_a_checkpoint_in_between_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    // Lost before the first checkpoint, each time.
    let mut command = train(&folder.path().join("run"), "lose-after=2", &["--auto-resume", "2"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("on a fresh device").count(), 2, "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("error: the device was lost"), "{text}");
}

#[test]
fn too_little_memory_names_peak_limit_and_the_batch_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The plan tells: nothing of the run is allocated or written.
    let (code, line) = failure(&mut train(&at("run"), "memory=20000000", &["--batch-size", "64"]));
    assert_eq!(code, 1);
    for part in [
        "batches of 64 images",
        "MiB of device memory at the peak",
        "the device has",
        "--batch-size",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let fits = line.split("batches of ").nth(2).and_then(|rest| rest.split(' ').next());
    let fits: usize = fits
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("{line}"));
    assert!((1..64).contains(&fits), "{line}");
    assert!(!at("run").join("run.toml").exists());
    let shards = line
        .split("this batch in ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let shards = shards.unwrap_or_else(|| panic!("{line}"));
    // And both do fit.
    let fits = fits.to_string();
    for (name, size) in [("fitting", ["--batch-size", &fits]), ("shards", ["--shards", shards])] {
        let mut command = train(&at(name), "memory=20000000", &["--batch-size", "64", "--steps", "1"]);
        command.args(size);
        printed(&mut command);
    }
}
