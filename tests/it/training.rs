//! Do the features of training compute what PyTorch computes, and does a run with them
//! go on to the same bits? `tests/fixtures/make_training.py` has the same network,
//! images and draws in PyTorch.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{device, fixture, run, small};
use residua::data::{Augmentation, Distortions, Draw, ImageSet, Mixing, Normalization, Padding};
use residua::gpu::AdapterKind;
use residua::graph::{Mode, ParamId, Precision};
use residua::kernels::{Optimizer, UpdateRule};
use residua::models::Network;
use residua::schedule::Update;
use residua::train::{
    Adapter, Config, DeviceEngine, Engine, OptimizerKind, ReferenceEngine, RunDirectory, Split, StepPlan, StepRules,
    checkpoint, evaluate,
};
use residua::weights;

const BATCH: usize = 12;
const STEPS: u32 = 20;
const SIDE: usize = 8;
const SEED: u64 = 7;

const ADAMW: Optimizer = Optimizer::AdamW {
    beta1: 0.8,
    beta2: 0.95,
    eps: 1e-6,
};
const LARS: Optimizer = Optimizer::Lars { trust: 0.02, eps: 1e-8 };

/// A case of `make_training.py`.
#[derive(Clone, Copy, Default)]
struct Case {
    name: &'static str,
    smoothing: f32,
    update: UpdateRule,
    mixing: Mixing,
    distortions: Distortions,
}

fn cases() -> Vec<Case> {
    let update = |optimizer, clip, average| UpdateRule {
        optimizer,
        clip,
        average,
    };
    let mixing = |mixup, cutmix, cutout| Mixing { mixup, cutmix, cutout };
    let case = |name, smoothing, update, mixing| Case {
        name,
        smoothing,
        update,
        mixing,
        distortions: Distortions::default(),
    };
    let distorted = |name, text: &str| Case {
        name,
        distortions: text.parse::<Augmentation>().unwrap().distortions,
        ..Case::default()
    };
    let (sgd, plain) = (UpdateRule::default(), Mixing::default());
    vec![
        case("sgd", 0.0, sgd, plain),
        case("smoothing", 0.1, sgd, plain),
        case("clip", 0.0, update(Optimizer::Sgd, Some(0.05), None), plain),
        case("adamw", 0.0, update(ADAMW, None, None), plain),
        case("lars", 0.0, update(LARS, None, None), plain),
        case("ema", 0.0, update(Optimizer::Sgd, None, Some(0.8)), plain),
        case("mixup", 0.0, sgd, mixing(0.4, 0.0, 0)),
        case("cutmix", 0.0, sgd, mixing(0.0, 1.0, 0)),
        case("cutout", 0.0, sgd, mixing(0.0, 0.0, 5)),
        distorted("autoaugment", "autoaugment"),
        distorted("randaugment", "randaugment:2,9"),
        distorted("trivialaugment", "trivialaugment"),
        distorted("resized-crop", "resized-crop+color-jitter:0.4"),
        Case {
            smoothing: 0.1,
            update: update(Optimizer::Sgd, Some(0.05), Some(0.8)),
            mixing: mixing(0.4, 1.0, 3),
            ..distorted("all-distorted", "resized-crop+color-jitter:0.3+randaugment:3,15")
        },
        case(
            "all-adamw",
            0.1,
            update(ADAMW, Some(0.05), Some(0.8)),
            mixing(0.4, 1.0, 3),
        ),
        case(
            "all-lars",
            0.2,
            update(LARS, Some(0.05), Some(0.5)),
            mixing(1.0, 0.5, 0),
        ),
    ]
}

impl Case {
    fn rates(&self) -> Update {
        let (lr, weight_decay) = match self.update.optimizer {
            Optimizer::Sgd => (0.05, 5e-3),
            Optimizer::AdamW { .. } => (0.01, 0.1),
            Optimizer::Lars { .. } => (1.0, 5e-3),
        };
        Update {
            lr,
            momentum: 0.9,
            weight_decay,
            nesterov: false,
        }
    }

    fn network(&self, mode: Mode) -> Network {
        let mut network = small::network(mode);
        if mode == Mode::Train && (self.smoothing > 0.0 || self.mixing.mixes()) {
            network.graph.soften(self.smoothing);
        }
        network
    }

    /// The loss of every step, and that of the first batch in evaluation at the end.
    fn run(&self, engine: &mut dyn Engine, set: &ImageSet) -> (Vec<f64>, f64) {
        let params = fixture::params(engine.graph());
        for (index, values) in params.iter().enumerate() {
            engine.set_param(ParamId(index), values);
        }
        let normalization = Normalization::new(fixture::MEAN.into(), fixture::STD.into()).unwrap();
        for split in [Split::Train, Split::Test] {
            engine.load(split, set, &normalization).unwrap();
        }
        engine.set_state(residua::graph::StateId(0), &[vec![0.0; 8], vec![1.0; 8]].concat());
        let rules = StepRules {
            update: self.update,
            mixing: self.mixing,
            distortions: self.distortions,
            ..StepRules::default()
        };
        engine.set_rules(rules).unwrap();
        let route = engine.graph().default_route();
        for step in 0..STEPS {
            let first = step * BATCH as u32;
            let draw = |position| Draw {
                position,
                ..Draw::unchanged(position)
            };
            let draws: Vec<Draw> = (first..first + BATCH as u32).map(draw).collect();
            let plan = StepPlan {
                draws: &draws,
                padding: Padding::Zero,
                route: &route,
                update: self.rates(),
                seed: SEED,
                step,
            };
            engine.step(&plan).unwrap();
        }
        let losses = engine.metrics(0..STEPS).unwrap();
        let size = BATCH.try_into().unwrap();
        let tested = checkpoint::with_averages(engine, |engine| {
            evaluate(engine, Split::Test, BATCH, size, &[route], &mut |_| {}).unwrap()
        });
        (
            losses.iter().map(|[loss, _]| f64::from(*loss)).collect(),
            tested[0].loss,
        )
    }
}

fn images() -> ImageSet {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for step in 0..STEPS as usize {
        let (bytes, classes) = fixture::images_of(SIDE, step, BATCH);
        images.extend(bytes);
        labels.extend(classes);
    }
    ImageSet {
        name: "patterns".into(),
        channels: 3,
        height: SIDE,
        width: SIDE,
        class_names: (0..fixture::CLASSES).map(|class| class.to_string()).collect(),
        images,
        labels,
    }
}

#[test]
fn every_feature_trains_as_pytorch_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/training.json");
    let fixture: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let set = images();
    assert_eq!(fixture["cases"].as_object().unwrap().len(), cases().len());
    for case in cases() {
        let truth = &fixture["cases"][case.name];
        let losses: Vec<f64> = truth["losses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|loss| loss.as_f64().unwrap())
            .collect();
        let evaluated = truth["evaluated"].as_f64().unwrap();
        let networks = || (Some(case.network(Mode::Train)), case.network(Mode::Eval));
        let gpu = device::of_kind(AdapterKind::Discrete);
        let (train, eval) = networks();
        let mut device = DeviceEngine::new(gpu, train, eval, |_| true).unwrap();
        let (train, eval) = networks();
        let mut reference = ReferenceEngine::new(train, eval, |_| true);
        // A few bytes of images that operations change differ from Pillow's by one level.
        let near = match case.distortions.operations() {
            0 => 2e-5,
            _ => 5e-4,
        };
        let engines: [(&mut dyn Engine, f64); 2] = [(&mut device, 5e-3), (&mut reference, near)];
        for (engine, tolerance) in engines {
            let (found, tested) = case.run(engine, &set);
            let error = |found: f64, truth: f64| (found / truth - 1.0).abs();
            let worst = found
                .iter()
                .zip(&losses)
                .map(|(found, truth)| error(*found, *truth))
                .fold(0.0, f64::max);
            let of_test = error(tested, evaluated);
            println!(
                "{}: {}: losses within {worst:.1e}, evaluation {of_test:.1e}",
                case.name,
                engine.name()
            );
            assert!(
                found.len() == losses.len() && worst < tolerance,
                "{}: {found:?} and {losses:?}",
                case.name
            );
            assert!(of_test < tolerance, "{}: {tested} and {evaluated}", case.name);
        }
        // A feature without an effect would agree with PyTorch's SGD.
        let plain = &fixture["cases"]["sgd"];
        let differs = |found: f64, plain: &Value| (found / plain.as_f64().unwrap() - 1.0).abs() > 0.01;
        let is_seen = match case.name {
            "sgd" => true,
            "ema" => differs(evaluated, &plain["evaluated"]),
            _ => (0..losses.len()).any(|step| differs(losses[step], &plain["losses"][step])),
        };
        assert!(is_seen, "{}", case.name);
    }
}

/// Images are mixed with others that lie in another part of the set.
#[test]
fn small_bindings_change_nothing() {
    let set = images();
    let overrides = residua::gpu::AdapterOverrides {
        binding: Some(16 << 10),
        ..residua::gpu::AdapterOverrides::default()
    };
    let gpu = device::open(&overrides);
    for case in cases().into_iter().filter(|case| case.name.starts_with("all")) {
        let mut device = DeviceEngine::new(
            gpu.clone(),
            Some(case.network(Mode::Train)),
            case.network(Mode::Eval),
            |_| true,
        )
        .unwrap();
        let mut reference = ReferenceEngine::new(Some(case.network(Mode::Train)), case.network(Mode::Eval), |_| true);
        let (found, truth) = (case.run(&mut device, &set), case.run(&mut reference, &set));
        for (step, (found, truth)) in found.0.iter().zip(&truth.0).enumerate() {
            assert!(
                (found / truth - 1.0).abs() < 1e-4,
                "{} step {step}: {found} and {truth}",
                case.name
            );
        }
        assert!(
            (found.1 / truth.1 - 1.0).abs() < 1e-4,
            "{}: {} and {}",
            case.name,
            found.1,
            truth.1
        );
    }
}

/// Two epochs of two steps.
fn config(name: &str) -> Config {
    let base = Config {
        model: "resnet8".into(),
        batch_size: 4,
        epochs: 2,
        lr: 0.01,
        log_steps: true,
        ..Config::for_data("synthetic:8,4")
    };
    match name {
        "adamw" => Config {
            optimizer: OptimizerKind::AdamW,
            lr: 1e-3,
            clip_norm: Some(1.0),
            ema: Some(0.9),
            label_smoothing: 0.1,
            mixup: 0.2,
            cutmix: 1.0,
            cutout: 8,
            ..base
        },
        // In 16 bits, where the loss scale is divided out before gradients are clipped.
        "half" => Config {
            precision: Precision::F16,
            shards: 2,
            ..config("adamw")
        },
        // Of one image, of one and of two.
        "lars" => Config {
            shards: 3,
            optimizer: OptimizerKind::Lars,
            lr: 0.5,
            clip_norm: Some(2.0),
            cutmix: 1.0,
            ..base
        },
        "distorted" => Config {
            augment: "flip+resized-crop+color-jitter:0.4+randaugment:2,9".into(),
            mixup: 0.2,
            cutout: 8,
            validation: 2,
            batch_size: 3,
            ..base
        },
        "averaged" => Config { ema: Some(0.9), ..base },
        other => panic!("{other}"),
    }
}

fn train(path: &Path, config: &Config, adapter: &Adapter) {
    run::train(path, config.clone(), adapter, |_| false);
}

#[test]
fn a_run_with_any_feature_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let device_adapter = Adapter::default();
    for (name, adapter) in [
        ("adamw", &device_adapter),
        ("lars", &device_adapter),
        ("half", &device_adapter),
        ("distorted", &device_adapter),
        ("adamw", &Adapter::Reference),
    ] {
        if name == "half" && !device::of_kind(AdapterKind::Cpu).info().f16 {
            println!("the adapter has no 16-bit floats: features of training are not tested in them");
            continue;
        }
        // A rate that does not depend on the length: the run is stopped within its
        // second epoch by another length.
        let whole = Config {
            schedule: "constant".into(),
            ..config(name)
        };
        let cut = Config {
            steps: Some(3),
            ..whole.clone()
        };
        let at = |part: &str| {
            folder
                .path()
                .join(format!("{name}-{}-{part}", *adapter == Adapter::Reference))
        };
        train(&at("whole"), &whole, adapter);
        train(&at("parts"), &cut, adapter);
        train(&at("parts"), &whole, adapter);
        let tensors = |part: &str| weights::read(&at(part).join("last.safetensors")).unwrap().tensors;
        let (one, two) = (tensors("whole"), tensors("parts"));
        assert!(one == two, "{name}: the checkpoints differ");
        let has = |prefix: &str| one.keys().any(|key| key.starts_with(prefix));
        assert_eq!(has("exp_avg_sq."), ["adamw", "half"].contains(&name));
        assert_eq!(has("unaveraged."), ["adamw", "half"].contains(&name));
        let steps = |part: &str| fs::read_to_string(at(part).join("steps.csv")).unwrap();
        assert_eq!(steps("whole"), steps("parts"), "{name}");
    }
}

#[test]
fn averages_are_what_is_tested_and_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    train(&path, &config("averaged"), &Adapter::default());
    let saved = weights::read(&path.join("last.safetensors")).unwrap().tensors;
    assert_ne!(saved["fc.weight"], saved["unaveraged.fc.weight"]);
    let rows = RunDirectory::open(&path).unwrap().read_metrics().unwrap();
    let out = crate::support::program::json(
        crate::support::program::program("residua")
            .args(["eval", "--json", "--no-autotune", "--checkpoint", "last", "--run"])
            .arg(&path),
    );
    let loss = out["loss"].as_f64().unwrap();
    assert!(
        (loss / rows.last().unwrap().test_loss - 1.0).abs() < 1e-5,
        "{loss} and {rows:?}"
    );
}

#[test]
fn a_dry_run_says_what_a_run_takes_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::support::program::program("residua");
    command
        .current_dir(folder.path())
        .env("XDG_CACHE_HOME", folder.path().join("cache"));
    command.args([
        "train",
        "--dry-run",
        "--json",
        "--recipe",
        "resnet",
        "--model",
        "resnet8",
        "--batch-size",
        "8",
    ]);
    let plan = crate::support::program::json(command.args(["--data", "synthetic:20,8", "--epochs", "3"]));
    assert_eq!(
        (plan["steps"].as_u64(), plan["steps_per_epoch"].as_u64()),
        (Some(9), Some(3))
    );
    assert_eq!(plan["settings"]["weight-decay"].as_f64(), Some(1e-4));
    assert!(plan["seconds_per_step"].as_f64().unwrap() > 0.0 && plan["memory"].as_u64().unwrap() > 1 << 20);
    assert!(!folder.path().join("runs").exists());
}
