//! Does a weights file carry all that its numbers depend on? `--run` and
//! `--weights` give the same bits for every setting of training; what
//! contradicts a file is refused.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::cifar;
use crate::support::program::{failure, json, program};
use residua::data::{Draw, Split};
use residua::graph::{Precision, Recompute};
use residua::models::{InputShape, Model};
use residua::train::{
    Adapter, Config, DepthPer, DepthRule, Record, RunDirectory, TrainError, TrainedNetworkOptions, Trainer, checkpoint,
    initialise, open, probabilities,
};
use residua::weights;

/// A setting of training, on the reference unless it is of a device, and a
/// model that contradicts it with what the two say.
struct Case {
    model: &'static str,
    change: fn(&mut Config),
    contradiction: (&'static str, &'static str, &'static str),
    on_device: bool,
}

const fn model(model: &'static str, contradiction: (&'static str, &'static str, &'static str)) -> Case {
    Case {
        model,
        change: |_| {},
        contradiction,
        on_device: false,
    }
}

const fn setting(change: fn(&mut Config)) -> Case {
    Case {
        change,
        ..model("resnet8", ("plain-8", "resnet8", "plain-8"))
    }
}

fn depth(config: &mut Config, p_last: f64, rule: DepthRule, per: DepthPer) {
    config.stochastic_depth = Some(p_last);
    (config.depth_rule, config.depth_per) = (rule, per);
}

const CASES: &[Case] = &[
    model("resnet8", ("resnet8:shortcut=A-avg", "shortcut=A", "shortcut=A-avg")),
    model("resnet8:shortcut=A-end", ("resnet8", "shortcut=A-end", "shortcut=A")),
    model(
        "resnet8:shortcut=A-avg",
        ("resnet8:shortcut=A-end", "shortcut=A-avg", "shortcut=A-end"),
    ),
    model("resnet8:shortcut=B", ("resnet8:shortcut=C", "shortcut=B", "shortcut=C")),
    model(
        "resnet8:shortcut=C",
        ("resnet14:shortcut=C", "resnet8:shortcut=C", "resnet14:shortcut=C"),
    ),
    model("plain-8", ("resnet8", "plain-8", "resnet8")),
    model("preact-8", ("preact-8:shortcut=A-end", "shortcut=A", "shortcut=A-end")),
    model("preact-8:shortcut=B", ("preact-8", "shortcut=B", "shortcut=A")),
    model("preact-11", ("preact-11:shortcut=A", "shortcut=B", "shortcut=A")),
    model(
        "preact-20:block=bottleneck",
        (
            "preact-20",
            "block=bottleneck,shortcut=B,stride-at=first",
            "block=basic,shortcut=A",
        ),
    ),
    model("wrn-10-1", ("wrn-10-1:block=B(3,1)", "block=B(3,3)", "block=B(3,1)")),
    model(
        "wrn-10-1:block=B(1,3,1)",
        ("wrn-10-1", "block=B(1,3,1)", "block=B(3,3)"),
    ),
    model("wrn-7-1:l=1", ("wrn-10-1", "wrn-7-1:l=1", "wrn-10-1")),
    model(
        "wrn-10-1:dropout=0.3",
        ("wrn-10-1:dropout=0.5", "dropout=0.3", "dropout=0.5"),
    ),
    model(
        "wrn-10-1:dropout=0.3,dropout-at=end",
        ("wrn-10-1:dropout=0.3", "dropout-at=end", "dropout-at=between"),
    ),
    model("vgg5-8", ("vgg5-4", "vgg5-8", "vgg5-4")),
    model(
        "resnet8:skip=exclusive-gate,gate-bias=-5",
        (
            "resnet8:skip=exclusive-gate,gate-bias=-4",
            "gate-bias=-5",
            "gate-bias=-4",
        ),
    ),
    model(
        "resnet8:skip=half-both,se=4",
        ("resnet8:skip=half-both,se=8", "se=4", "se=8"),
    ),
    model("resnet8:bias=yes", ("resnet8", "bias=yes", "bias=no")),
    model("preact-8:order=original", ("preact-8", "order=original", "order=full")),
    model(
        "preact-11:project=raw",
        ("preact-11", "project=raw", "project=activated"),
    ),
    model("preact-8:last-norm=no", ("preact-8", "last-norm=no", "last-norm=yes")),
    model(
        "wrn-10-1:stride-at=last",
        ("wrn-10-1", "stride-at=last", "stride-at=first"),
    ),
    model("densenet-10-4", ("densenet-10-8", "densenet-10-4", "densenet-10-8")),
    model(
        "fusenet-resnet-8",
        ("fusenet-plain-5", "fusenet-resnet-8", "fusenet-plain-5"),
    ),
    setting(|config| depth(config, 0.5, DepthRule::Linear, DepthPer::Batch)),
    setting(|config| depth(config, 0.4, DepthRule::Uniform, DepthPer::Batch)),
    setting(|config| depth(config, 0.5, DepthRule::Linear, DepthPer::Sample)),
    setting(|config| depth(config, 0.4, DepthRule::Uniform, DepthPer::Sample)),
    setting(|config| config.sample_blocks = Some(2)),
    setting(|config| config.validation = 1),
    setting(|config| config.mean = Some("imagenet".into())),
    setting(|config| config.mean = Some("cifar10-legacy".into())),
    setting(|config| config.mean = Some("none".into())),
    setting(|config| config.std = Some("0.1,0.2,0.3".into())),
    setting(|config| (config.seed, config.limit_test) = (9, Some(1))),
    Case {
        on_device: true,
        ..setting(|config| config.precision = Precision::F16)
    },
    Case {
        on_device: true,
        ..setting(|config| {
            config.recompute = Recompute::Blocks;
            depth(config, 0.5, DepthRule::Linear, DepthPer::Batch);
        })
    },
];

/// Trains for one step.
fn trained(config: Config, adapter: &Adapter, path: &Path) -> f64 {
    let mut trainer = Trainer::open_config(config, adapter).unwrap();
    let mut run = trainer.start(&RunDirectory::create(path).unwrap()).unwrap();
    run.train(|_| {}).unwrap();
    let last = run.epochs().last().unwrap().test_loss;
    run.test().map_or(last, |test| test.loss)
}

/// The mean loss and the logits of the test images.
fn evaluated(options: TrainedNetworkOptions, adapter: &Adapter) -> (f64, Vec<u32>) {
    let mut network = options.adapter(adapter.clone()).open().unwrap();
    let draws: Vec<Draw> = (0..network.images() as u32).map(Draw::unchanged).collect();
    let logits = network.engine.logits(Split::Test, &draws, &network.route).unwrap();
    let labels = &network.test.images.labels;
    let of_image = logits.chunks(logits.len() / labels.len()).zip(labels);
    let losses: f64 = of_image
        .map(|(logits, label)| -probabilities(logits)[*label as usize].ln())
        .sum();
    let bits = logits.iter().map(|value| value.to_bits()).collect();
    (losses / labels.len() as f64, bits)
}

#[test]
fn a_file_gives_the_bits_of_its_run_and_refuses_another_model() {
    check_cases(0);
}

#[test]
fn a_file_of_every_other_setting_does_so_too() {
    check_cases(1);
}

/// Checks every second case, from `first`: two tests run at the same time.
fn check_cases(first: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut init = None;
    for (number, case) in CASES.iter().enumerate().skip(first).step_by(2) {
        let path = folder.path().join(number.to_string());
        let mut config = Config {
            model: case.model.into(),
            steps: Some(1),
            batch_size: 2,
            lr: 0.02,
            // One file starts from another one, and keeps what is its own.
            init: if case.model == "resnet8" { init.clone() } else { None },
            ..Config::for_data("synthetic:2,2")
        };
        (case.change)(&mut config);
        let name = format!("case {number}: {config:?}");
        let adapter = match case.on_device {
            true => Adapter::default(),
            false => Adapter::Reference,
        };
        let is_f16 = config.precision == Precision::F16;
        let loss = trained(config, &adapter, &path);
        let file = path.join("last.safetensors");
        if case.model == "resnet8" {
            init.get_or_insert_with(|| file.clone());
        }

        let of_run = evaluated(TrainedNetworkOptions::from_run(&path), &adapter);
        for options in [
            TrainedNetworkOptions::from_file(&file),
            // The file's model in other words, and the run's data by name.
            TrainedNetworkOptions::from_weights(&file, case.model, "synthetic:2,2"),
        ]
        .into_iter()
        .take(if number < 2 { 2 } else { 1 })
        {
            assert_eq!(evaluated(options, &adapter), of_run, "{name}");
        }
        // What training itself measured; it stored activations in 16 bits.
        let tolerance = if is_f16 { 0.02 } else { 1e-4 };
        assert!(
            (of_run.0 - loss).abs() < tolerance,
            "{name}: {} is not {loss}",
            of_run.0
        );

        let (other, said, asked) = case.contradiction;
        let (file, run) = (file.display().to_string(), path.display().to_string());
        for source in [["--weights", &file], ["--run", &run]] {
            let (code, line) = failure(program("residua").arg("eval").args(source).args(["--model", other]));
            assert_eq!(code, 2, "{name}: {line}");
            let difference = format!("the file says {said}, --model says {asked}");
            assert!(line.contains(&difference), "{name}: {line}");
        }
    }
}

/// A weights file of untrained values, and its path.
fn untrained(folder: &Path, name: &str, classes: usize) -> PathBuf {
    let (model, input): (Model, _) = (
        name.parse().unwrap(),
        InputShape {
            classes,
            ..InputShape::default()
        },
    );
    let mut engine = open(&Adapter::Reference, &model, &input, None).unwrap();
    initialise(engine.as_mut(), 3);
    let path = folder.join(format!("{name}-{classes}.safetensors"));
    checkpoint::save(engine.as_mut(), &path, &Record::of_model(&model, &input), None).unwrap();
    path
}

/// What a program prints on standard error, and its exit code.
fn said(command: &mut assert_cmd::Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

fn reference(command: &str) -> assert_cmd::Command {
    let mut program = program("residua");
    program.args([command, "--adapter", "reference"]);
    program
}

#[test]
fn a_file_of_another_program_has_its_open_choices_said() {
    let folder = tempfile::tempdir().unwrap();
    let own = untrained(folder.path(), "resnet8", 10);
    let foreign = folder.path().join("foreign.safetensors");
    weights::write(&foreign, &weights::read(&own).unwrap().tensors, &Default::default()).unwrap();
    let eval = |extra: &[&str]| {
        let mut eval = reference("eval");
        eval.args(extra).arg("--weights").arg(&foreign);
        eval
    };
    for (extra, part) in [
        (
            &["--data", "synthetic:1,2"][..],
            "these have its tensors: resnet8, resnet8:shortcut=A-end, resnet8:shortcut=A-avg, plain-8; they differ in what \
             has no parameters; name one of them: --model NAME",
        ),
        (
            &["--model", "resnet8"],
            "does not say which images it was trained on; name them: --data SPEC",
        ),
    ] {
        let (code, line) = failure(&mut eval(extra));
        assert_eq!((code, line.contains(part)), (2, true), "{line}");
    }
    let (code, text) = said(&mut eval(&["--model", "resnet8", "--data", "synthetic:1,2"]));
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("does not say")).collect();
    assert_eq!((code, lines.len()), (0, 1), "{text}");
    for part in [
        "mean 0.5,0.5,0.5 and std 0.242,0.242,0.242 here",
        "resnet8 here, else resnet8:shortcut=A-end, resnet8:shortcut=A-avg, plain-8",
    ] {
        assert!(lines[0].contains(part), "{text}");
    }
    // Its own record leaves nothing open but the normalisation.
    let (code, text) = said(
        reference("eval")
            .args(["--data", "synthetic:1,2", "--mean", "none", "--weights"])
            .arg(&own),
    );
    assert!(
        code == 0 && text.contains("normalised: by mean 0,0,0") && !text.contains("else"),
        "{text}"
    );
}

#[test]
fn data_that_moved_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("old")).unwrap();
    cifar(&at("old"), 3);
    let run = at("run").display().to_string();
    // The path is relative, and stored from the root.
    let mut train = reference("train");
    train
        .current_dir(folder.path())
        .args(["--data", "cifar10:old", "--model", "plain-8", "--steps", "1"]);
    train.args([
        "--batch-size",
        "2",
        "--mean",
        "imagenet",
        "--std",
        "imagenet",
        "--limit-train",
        "4",
        "--out",
        &run,
    ]);
    let (code, text) = said(&mut train);
    assert_eq!(code, 0, "{text}");
    let data_of = |run: &str| RunDirectory::open(run.as_ref()).unwrap().read_config().unwrap().data;
    let name = |folder: &str| format!("cifar10:{}", at(folder).display());
    assert_eq!(data_of(&run), name("old"));
    let truth = json(reference("eval").args(["--json", "--run", &run]));

    fs::rename(at("old"), at("new")).unwrap();
    assert_eq!(failure(reference("eval").args(["--run", &run])).0, 1);
    let mut eval = reference("eval");
    let output = eval
        .args(["--json", "--run", &run, "--data", &name("new")])
        .output()
        .unwrap();
    let moved: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("labels and sizes are the same"), "{text}");
    assert_eq!((&moved["loss"], &moved["wrong"]), (&truth["loss"], &truth["wrong"]));
    let (code, text) = said(reference("eval").args(["--run", &run, "--data", "synthetic:1,2"]));
    assert!(code == 0 && text.contains("they are other images"), "{text}");
    let (code, text) = said(reference("eval").args(["--run", &run, "--data", &name("new"), "--mean", "cifar10"]));
    assert!(
        code == 0 && text.contains("as asked, not by the mean 0.485,0.456,0.406"),
        "{text}"
    );

    let (code, text) = said(reference("train").args(["--resume", &run, "--data", &name("new")]));
    assert_eq!((code, data_of(&run)), (0, name("new")), "{text}");
    // A label of the training images is another one.
    fs::rename(at("new"), at("changed")).unwrap();
    let batch = at("changed").join("data_batch_1.bin");
    let mut bytes = fs::read(&batch).unwrap();
    bytes[0] = (bytes[0] + 1) % 10;
    fs::write(&batch, bytes).unwrap();
    let (code, line) = failure(reference("train").args(["--resume", &run, "--data", &name("changed")]));
    assert!(
        code == 1 && line.contains("does not hold the images of this run"),
        "{line}"
    );
    assert_eq!(data_of(&run), name("new"));
}

#[test]
fn a_run_starts_from_a_file_with_its_settings_and_a_new_head() {
    let folder = tempfile::tempdir().unwrap();
    let init = untrained(folder.path(), "resnet8", 100);
    let out = folder.path().join("run");
    let mut train = reference("train");
    train.args([
        "--data",
        "synthetic:2,2",
        "--lr",
        "0",
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--init",
    ]);
    let (code, text) = said(train.arg(&init).arg("--out").arg(&out));
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("the last layer starts anew") && text.contains("has 100 classes"),
        "{text}"
    );
    assert!(text.contains("says: resnet8"), "{text}");
    let (before, after) = (
        weights::read(&init).unwrap().tensors,
        weights::read(&out.join("last.safetensors")).unwrap().tensors,
    );
    for name in ["conv1.weight", "layer3.0.conv2.weight"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    assert_eq!(
        (&before["fc.weight"].shape[..], &after["fc.weight"].shape[..]),
        (&[100, 64][..], &[10, 64][..])
    );

    let file = out.join("last.safetensors");
    let (code, line) = failure(
        reference("train")
            .args(["--data", "synthetic:2,2", "--model", "plain-8", "--init"])
            .arg(&file)
            .arg("--out")
            .arg(folder.path().join("other")),
    );
    assert!(
        code == 2 && line.contains("the file says resnet8, --model says plain-8"),
        "{line}"
    );
    let other = TrainedNetworkOptions::from_weights(&file, "resnet14", "synthetic").open();
    assert!(matches!(other, Err(TrainError::Contradiction { .. })));
}

#[test]
fn files_for_other_programs_have_survival_in_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut config = Config {
        model: "resnet8".into(),
        steps: Some(1),
        batch_size: 2,
        ..Config::for_data("synthetic:2,3")
    };
    depth(&mut config, 0.5, DepthRule::Linear, DepthPer::Batch);
    trained(config, &Adapter::Reference, &run);
    let last = run.join("last.safetensors");
    let of_run = evaluated(TrainedNetworkOptions::from_file(&last), &Adapter::Reference);
    for (names, survival) in [("canonical", Some(0.5)), ("torchvision", None), ("akamaster", None)] {
        let out = folder.path().join(format!("{names}.safetensors"));
        let mut convert = program("residua");
        convert.args(["convert", "--names", names]).arg(&last).arg(&out);
        let (code, text) = said(&mut convert);
        assert_eq!(code, 0, "{text}");
        let record = Record::of_file(&out).unwrap();
        assert_eq!(record.stochastic_depth, survival, "{names}");
        assert!(
            record.model.unwrap().starts_with("resnet8:shortcut=A,"),
            "the full name"
        );
        let converted = evaluated(TrainedNetworkOptions::from_file(&out), &Adapter::Reference);
        match survival {
            Some(_) => assert_eq!(converted, of_run),
            None => assert!((converted.0 - of_run.0).abs() < 1e-5, "{names}: {converted:?}"),
        }
    }
}
