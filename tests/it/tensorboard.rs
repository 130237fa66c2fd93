//! Do the event files of a run hold what its tables hold, once each, also where it
//! was stopped, killed and continued? Does TensorBoard read the same?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use residua::train::{Adapter, Config, RunDirectory};
use serde_json::Value;

use crate::support::events::{Events, Series, after_step};
use crate::support::python::python_with;
use crate::support::run;

/// Asks for TensorBoard's own reader: `1` to install it in `target/`, or the path of a
/// Python that has it.
const PYTHON: &str = "RESIDUA_TENSORBOARD";
/// What is installed for it; it needs setuptools.
const PACKAGES: [&str; 2] = ["tensorboard", "setuptools"];

/// Three epochs of two steps on the reference.
fn config() -> Config {
    Config {
        model: "resnet8".into(),
        batch_size: 2,
        epochs: 3,
        lr: 1e-3,
        schedule: "constant".into(),
        log_steps: true,
        log_gradients: true,
        tensorboard: true,
        tensorboard_histograms: true,
        ..Config::for_data("synthetic:4,2")
    }
}

/// Begins the run in `path`, or continues it; stops after step `until` if that comes.
fn train(path: &Path, config: Config, until: u32) {
    run::train(path, config, &Adapter::Reference, |event| run::ends(event, until));
}

/// What the tables of a run say, in the form of its events.
fn tables(path: &Path) -> Series {
    let run = RunDirectory::open(path).unwrap();
    let mut series = Series::new();
    let mut add = |tag: &str, step: u32, value: f64| {
        let series = series.entry(tag.to_string()).or_default();
        series.push((step.into(), f64::from(value as f32)));
    };
    for row in run.read_steps().unwrap() {
        add("step/loss", row.step, row.loss.into());
        add("step/error", row.step, row.error);
        add("step/learning_rate", row.step, row.lr);
    }
    for row in run.read_gradients().unwrap() {
        add("gradient/first_convolution_mean_abs", row.step, row.mean_abs);
    }
    for row in run.read_metrics().unwrap() {
        let step = 2 * row.epoch;
        add("epoch", step, row.epoch.into());
        add("loss/train", step, row.train_loss);
        add("loss/test", step, row.test_loss);
        add("error/train", step, row.train_error);
        add("error/test", step, row.test_error);
        add("learning_rate", step, row.lr);
        add("gradient/norm", step, row.gradient_norm.expect("it is finite").into());
        add(
            "loss_scale",
            step,
            row.loss_scale.expect("the version writes it").into(),
        );
    }
    series
}

/// Whether two runs have the same events; tables are rounded to six decimals.
fn assert_alike(found: &Series, expected: &Series) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (tag, values) in found {
        let steps = |values: &[(u64, f64)]| values.iter().map(|(step, _)| *step).collect::<Vec<_>>();
        assert_eq!(steps(values), steps(&expected[tag]), "{tag}");
        for ((step, found), (_, expected)) in values.iter().zip(&expected[tag]) {
            assert!((found - expected).abs() < 1e-6, "{tag} at {step}: {found}, {expected}");
        }
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    RunDirectory::open(path).unwrap().event_files()
}

#[test]
fn event_files_hold_the_tables_once_however_a_run_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let whole = at("whole");
    train(&whole, config(), u32::MAX);
    let events = Events::of(&whole);
    let expected = tables(&whole);
    assert_alike(&events.without_time(), &expected);
    assert_eq!(events.starts, [1]);
    let speeds = ["images_per_second", "step/images_per_second"];
    for (tag, steps) in speeds.iter().zip([vec![2, 4, 6], Vec::new()]) {
        let found = events.scalars.get(*tag).cloned().unwrap_or_default();
        assert!(found.iter().all(|(_, speed)| *speed > 0.0));
        if !steps.is_empty() {
            assert_eq!(found.iter().map(|(step, _)| *step).collect::<Vec<_>>(), steps);
        }
    }
    let values: f64 = events.histograms.values().map(|series| series[0].1).sum();
    let parameters = weights_in(&whole);
    assert_eq!(values, parameters as f64, "every weight is in a histogram");
    assert!(
        events
            .histograms
            .values()
            .all(|series| series.iter().map(|(step, _)| *step).collect::<Vec<_>>() == [2, 4, 6])
    );

    // Stopped within an epoch, in its end, and twice.
    for stops in [&[3][..], &[4], &[1, 5]] {
        let path = at(&format!("stopped-{stops:?}"));
        for &until in stops {
            train(&path, config(), until);
        }
        train(&path, config(), u32::MAX);
        assert_eq!(Events::of(&path).without_time(), events.without_time(), "{stops:?}");
        assert_eq!(Events::of(&path).histograms, events.histograms, "{stops:?}");
        assert_eq!(files(&path).len(), stops.len() + 1);
    }

    // Killed after its checkpoint: there are events of later steps, and a part of one.
    let killed = at("killed");
    train(&killed, config(), 3);
    let own = files(&killed).remove(0);
    let before = fs::read(&own).unwrap();
    let other = fs::read(&files(&whole)[0]).unwrap();
    let later = &other[after_step(&other, 3)..other.len() - 5];
    assert!(later.len() > 1000);
    fs::write(&own, [&before[..], later].concat()).unwrap();
    train(&killed, config(), u32::MAX);
    assert_eq!(Events::of(&killed).without_time(), events.without_time());

    // Lost, they are made again from the tables.
    let lost = at("lost");
    train(&lost, config(), 3);
    fs::remove_file(&files(&lost)[0]).unwrap();
    train(&lost, config(), u32::MAX);
    assert_alike(&Events::of(&lost).without_time(), &expected);
    // A run that ended within an epoch and goes on has that epoch once.
    let longer = at("longer");
    let short = Config {
        steps: Some(3),
        ..config()
    };
    train(&longer, short, u32::MAX);
    assert_eq!(Events::of(&longer).scalars["epoch"], [(2, 1.0), (3, 2.0)]);
    train(&longer, config(), u32::MAX);
    assert_eq!(Events::of(&longer).without_time(), events.without_time());

    tensorboard_reads_the_same(&[&whole, &at("stopped-[1, 5]"), &killed]);
}

/// The number of parameters in the last checkpoint.
fn weights_in(path: &Path) -> usize {
    let file = residua::weights::read(&RunDirectory::open(path).unwrap().last()).unwrap();
    let is_weight = |name: &str| !name.starts_with("momentum.") && !name.contains(".running_");
    let own = file.tensors.iter().filter(|(name, _)| is_weight(name));
    own.map(|(_, tensor)| tensor.data.len()).sum()
}

fn tensorboard_reads_the_same(runs: &[&Path]) {
    let Some(asked) = std::env::var(PYTHON).ok().filter(|asked| !asked.is_empty()) else {
        eprintln!(
            "NOT RUN: {PYTHON}=1 installs TensorBoard and reads the events with it, {PYTHON}=PYTHON uses that one"
        );
        return;
    };
    let python = match python_with(&asked, "tensorboard-python", &PACKAGES) {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("CANNOT RUN: TensorBoard cannot be installed (is there a network?): {reason}");
            return;
        }
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tensorboard_scalars.py");
    for run in runs {
        let output = Command::new(&python).arg(&script).arg(run).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        let series = |kind: &str| -> Series { serde_json::from_value(read[kind].clone()).unwrap() };
        let own = Events::of(run);
        assert_eq!(series("scalars"), own.scalars, "{}", run.display());
        assert_eq!(series("histograms"), own.histograms, "{}", run.display());
        println!(
            "TensorBoard reads {} scalars and {} histograms",
            own.scalars.len(),
            own.histograms.len()
        );
    }
}
