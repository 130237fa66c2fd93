//! Is the best checkpoint of a run with validation images the best by them, is the test
//! set evaluated once with it, and does a run that was stopped end in the same way?

use std::fs;
use std::path::Path;

use crate::support::metrics::without_time;
use crate::support::npy::npy;
use crate::support::program::{failure, json, program};
use crate::support::run;
use residua::train::{Adapter, Config, RunDirectory, Split, TestResult, TrainedNetworkOptions, Trainer, evaluate};
use residua::weights;

/// Three epochs of two steps on 12 images, with 6 others for validation.
fn config() -> Config {
    Config {
        model: "resnet8".into(),
        batch_size: 6,
        epochs: 3,
        lr: 0.02,
        schedule: "constant".into(),
        validation: 6,
        tensorboard: true,
        ..Config::for_data("synthetic:18,8")
    }
}

/// Begins the run in `path`, or continues it; stops after step `until` if that comes.
fn train(path: &Path, until: u32) -> Option<TestResult> {
    run::train(path, config(), &Adapter::Reference, |event| run::ends(event, until)).test
}

/// What a run leaves that does not depend on time.
fn results(path: &Path) -> Vec<Vec<u8>> {
    let mut files = vec![without_time(path).join("\n").into_bytes()];
    for name in ["last.safetensors", "best.safetensors", "test.toml"] {
        files.push(fs::read(path.join(name)).unwrap());
    }
    files
}

#[test]
fn the_best_weights_are_those_with_the_smallest_validation_error_and_are_tested_once() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let test = train(&whole, u32::MAX).expect("the run has come to its end");
    let run = RunDirectory::open(&whole).unwrap();
    assert_eq!(run.read_test().unwrap().as_ref(), Some(&test));
    let metrics = fs::read_to_string(whole.join("metrics.csv")).unwrap();
    assert!(metrics.starts_with("epoch,train_loss,train_error,validation_loss,validation_error,lr,"));
    let rows = run.read_metrics().unwrap();
    let best = rows
        .iter()
        .min_by(|one, other| one.test_error.total_cmp(&other.test_error));
    let best = best.unwrap();
    assert_eq!((rows.len(), test.epoch), (3, best.epoch));
    assert!((test.validation_error - best.test_error).abs() < 1e-6);

    // The weights of the file give both errors, on the images that the seed holds out.
    let mut trainer = Trainer::open_config(config(), &Adapter::Reference).unwrap();
    let splits = trainer.splits.clone();
    let validation = splits.validation.as_ref().unwrap();
    assert_eq!(
        (splits.train.len(), validation.len(), splits.test.len()),
        (12, 6, test.images)
    );
    let engine = trainer.engine.as_mut();
    let tensors = weights::read(&run.best()).unwrap().tensors;
    residua::train::checkpoint::set_tensors(engine, &tensors, false, &run.best(), "resnet8").unwrap();
    let route = [engine.graph().default_route()];
    let mut outcome = |set: &residua::data::ImageSet| {
        engine.load(Split::Test, set, &splits.normalization).unwrap();
        let size = 6.try_into().unwrap();
        evaluate(engine, Split::Test, set.len(), size, &route, &mut |_| {})
            .unwrap()
            .remove(0)
    };
    assert_eq!(outcome(validation).error, test.validation_error);
    let tested = outcome(&splits.test);
    assert_eq!(
        (tested.error, tested.loss, tested.wrong),
        (test.error, test.loss, test.wrong)
    );
    assert_eq!(weights::hash(&run.best()).unwrap(), test.weights);

    // Stopped within an epoch, in the evaluation after one, and in that after the last.
    for until in [3, 4, 6] {
        let path = folder.path().join(format!("stopped-{until}"));
        assert_eq!(train(&path, until), None);
        assert!(!path.join("test.toml").exists());
        assert_eq!(train(&path, u32::MAX).as_ref(), Some(&test));
        assert!(results(&path) == results(&whole), "stopped after step {until}");
    }
    // A run that lost its test makes it again; a complete one changes nothing.
    fs::remove_file(whole.join("test.toml")).unwrap();
    for _ in 0..2 {
        assert_eq!(train(&whole, u32::MAX).as_ref(), Some(&test));
    }

    let options = TrainedNetworkOptions::from_run(&whole).training_images(true);
    let network = options.adapter(Adapter::Reference).open().unwrap();
    assert_eq!(network.training_images, 12, "{:?}", network.notes);
}

/// The images that were held out stay so where the files lie at another place.
#[test]
fn images_that_have_moved_are_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|name| folder.path().join(name));
    fs::create_dir(&before).unwrap();
    for (split, count) in [("train", 18_usize), ("test", 4)] {
        let pixels: Vec<u8> = (0..count * 64).map(|at| (at * 7919 % 251) as u8).collect();
        let classes: Vec<u8> = (0..count).map(|image| (image % 3) as u8).collect();
        fs::write(
            before.join(format!("x_{split}.npy")),
            npy(&format!("{count}, 8, 8, 1"), &pixels),
        )
        .unwrap();
        fs::write(
            before.join(format!("y_{split}.npy")),
            npy(&format!("{count},"), &classes),
        )
        .unwrap();
    }
    let config = Config {
        data: format!("npz:{}", before.display()),
        steps: Some(1),
        ..config()
    };
    let run = folder.path().join("run");
    let mut trainer = Trainer::open_config(config, &Adapter::Reference).unwrap();
    trainer
        .start(&RunDirectory::create(&run).unwrap())
        .unwrap()
        .train(|_| {})
        .unwrap();
    fs::rename(&before, &after).unwrap();
    let options = TrainedNetworkOptions::from_run(&run).training_images(true);
    let moved = options
        .data(format!("npz:{}", after.display()))
        .adapter(Adapter::Reference);
    let network = moved.open().unwrap();
    assert_eq!(network.training_images, 12, "{:?}", network.notes);
    assert!(
        network
            .notes
            .iter()
            .any(|note| note.contains("labels and sizes are the same")),
        "{:?}",
        network.notes
    );
}

#[test]
fn programs_say_what_was_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let train = |more: &[&str]| {
        let mut command = program("residua");
        command.args([
            "train",
            "--model",
            "resnet8",
            "--data",
            "synthetic:18,8",
            "--batch-size",
            "6",
        ]);
        command.args(["--no-autotune", "--validation", "6"]).args(more);
        command
    };
    let result = json(train(&["--json", "--epochs", "2", "--out"]).arg(&out));
    let test = RunDirectory::open(&out).unwrap().read_test().unwrap().unwrap();
    for (key, value) in [
        ("test_error", test.error),
        ("test_loss", test.loss),
        ("best_validation_error", test.validation_error),
        ("best_epoch", test.epoch.into()),
    ] {
        assert_eq!(result[key].as_f64(), Some(value), "{key} in {result}");
    }
    assert!(result["validation_error"].is_f64() && result.get("best_test_error").is_none());
    let mut eval = program("residua");
    eval.args(["eval", "--json", "--no-autotune", "--checkpoint", "best", "--run"]);
    let evaluated = json(eval.arg(&out));
    assert_eq!(evaluated["wrong"], test.wrong);
    let curves = json(program("residua").args(["curves", "--json"]).arg(&out));
    let run = &curves["runs"][0];
    assert_eq!(run["test_error"].as_f64(), Some(test.error));
    assert!(run["epochs"][0]["validation_error"].is_number() && run["epochs"][0].get("test_error").is_none());
    let plan = json(&mut train(&["--json", "--dry-run"]));
    assert_eq!(
        (&plan["steps_per_epoch"], &plan["validation_images"]),
        (&2.into(), &6.into())
    );
    let (code, line) = failure(
        program("residua")
            .args(["train", "--data", "synthetic:18,8", "--validation", "18"])
            .arg("--dry-run"),
    );
    assert_eq!((code, line.contains("18 training images")), (2, true), "{line}");
}
