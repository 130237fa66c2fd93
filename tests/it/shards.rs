//! Is a step in several shards the step of the whole batch? On a device against the f64
//! reference, against one shard where no layer depends on other images, and against
//! PyTorch where batch norm has the statistics of a shard.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::Value;

use crate::support::program::{failure, json, printed, program};
use crate::support::update::UPDATE;
use crate::support::{device, fixture, reference_run, small};
use residua::data::{Distortions, Draw, ImageSet, Mixing, Normalization, Padding, Policy};
use residua::gpu::AdapterKind;
use residua::graph::{Conv, Graph, Init, Mode, ParamId, Precision, ResidualBlock, Route, StateId};
use residua::kernels::{LossScale, Optimizer, UpdateRule};
use residua::models::{InputShape, ModelSpec, Network};
use residua::schedule::Update;
use residua::train::{Depth, DepthRule, DeviceEngine, Engine, ReferenceEngine, Split, StepPlan, StepRules, initialise};

const SIDE: usize = 8;
/// The last batch has fewer images than there are shards.
const BATCHES: [u32; 3] = [10, 10, 3];

fn images() -> ImageSet {
    small::noise(SIDE, BATCHES.iter().sum())
}

fn rules(update: UpdateRule, mixing: Mixing, shards: usize) -> StepRules {
    StepRules {
        update,
        mixing,
        shards: NonZeroUsize::new(shards).unwrap(),
        ..StepRules::default()
    }
}

/// `rules` with operations that change images before they are mixed.
fn distorted(rules: StepRules) -> StepRules {
    let distortions = Distortions {
        resized_crop: true,
        color_jitter: 0.4,
        policy: Policy::Rand {
            operations: 2,
            magnitude: 15,
        },
    };
    StepRules { distortions, ..rules }
}

/// With dropout, drop path, batch norm and soft targets.
fn network(mode: Mode, precision: Precision) -> Network {
    let input = InputShape {
        channels: 3,
        height: SIDE,
        width: SIDE,
        classes: 4,
    };
    let network = "wrn-10-1:dropout=0.3".parse::<ModelSpec>().unwrap();
    let network = network.build(&input, mode).unwrap();
    let depth = Depth::BySample {
        p_last: 0.5,
        rule: DepthRule::Linear,
    };
    let stored = |network: Network| network.changed(|graph| graph.store_in(precision));
    match mode {
        Mode::Train => stored(depth.prepare(network)).changed(|graph| graph.soften(0.1)),
        Mode::Eval => stored(network),
    }
}

/// Everything that a few steps change or report, by name.
fn run(engine: &mut dyn Engine, rules: StepRules, update: Update, routes: &[Route]) -> Vec<(String, Vec<f32>)> {
    engine.set_rules(rules).unwrap();
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    engine.load(Split::Train, &images(), &normalization).unwrap();
    let mut first = 0;
    for (step, (size, route)) in (0..).zip(BATCHES.into_iter().zip(routes)) {
        let draws: Vec<Draw> = (first..first + size)
            .map(|index| Draw {
                index,
                dx: (index % 9) as u8,
                dy: ((index + step) * 5 % 9) as u8,
                flip: index % 2 == 1,
                epoch: 0,
                position: index,
            })
            .collect();
        first += size;
        let plan = StepPlan {
            draws: &draws,
            padding: Padding::Reflect,
            route,
            update,
            seed: 77,
            step,
        };
        engine.step(&plan).unwrap();
    }
    let steps = 0..BATCHES.len() as u32;
    let mut found = vec![("metrics".to_string(), engine.metrics(steps).unwrap().into_flattened())];
    engine.exchange_average();
    for index in 0..engine.graph().params.len() {
        let (id, name) = (ParamId(index), engine.graph().params[index].name.clone());
        found.push((format!("average of {name}"), engine.param(id).unwrap()));
        found.push((format!("momentum of {name}"), engine.momentum(id).unwrap()));
        found.push((format!("gradient of {name}"), engine.gradient(id).unwrap()));
    }
    for index in 0..engine.graph().states.len() {
        found.push((
            format!("average of state {index}"),
            engine.state(StateId(index)).unwrap(),
        ));
    }
    engine.exchange_average();
    for index in 0..engine.graph().params.len() {
        let name = engine.graph().params[index].name.clone();
        found.push((format!("parameter {name}"), engine.param(ParamId(index)).unwrap()));
    }
    for index in 0..engine.graph().states.len() {
        found.push((format!("state {index}"), engine.state(StateId(index)).unwrap()));
    }
    found
}

/// The largest distance between what two runs found, relative to the second.
fn worst(found: &[(String, Vec<f32>)], truth: &[(String, Vec<f32>)]) -> (f64, String) {
    assert_eq!(found.len(), truth.len());
    let distances = found.iter().zip(truth).map(|((what, found), (_, truth))| {
        let (found, truth) = (reference_run::to_f64(found), reference_run::to_f64(truth));
        let error = reference_run::distance(&found, &truth) / reference_run::norm(&truth).max(1e-2);
        (error, what.clone())
    });
    distances
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .expect("something is compared")
}

#[test]
fn shards_on_a_device_are_those_of_the_reference() {
    let mixing = Mixing {
        mixup: 0.4,
        cutmix: 1.0,
        cutout: 3,
    };
    let adamw = Optimizer::AdamW {
        beta1: 0.8,
        beta2: 0.95,
        eps: 1e-3,
    };
    let rule = |optimizer| UpdateRule {
        optimizer,
        clip: Some(0.5),
        average: Some(0.8),
    };
    let lars = Optimizer::Lars { trust: 0.02, eps: 1e-8 };
    let eval = network(Mode::Eval, Precision::F32);
    let whole = eval.graph.default_route();
    // A block that does not run leaves its gradients zero and its statistics unchanged.
    let routes = [whole.clone(), whole.clone().deleting(&[2]).unwrap(), whole];
    let gpu = device::of_kind(AdapterKind::Discrete);
    // Numbers of shards of unequal size, with which no ReLU's input is so near to 0 that
    // device and reference disagree about its sign.
    for (optimizer, shards, lr) in [(Optimizer::Sgd, 6, 0.05), (adamw, 3, 1e-3), (lars, 7, 0.5)] {
        let train = || Some(network(Mode::Train, Precision::F32));
        let mut device = DeviceEngine::new(gpu.clone(), train(), eval.clone(), |_| true).unwrap();
        let mut reference = ReferenceEngine::new(train(), eval.clone(), |_| true);
        let rules = rules(rule(optimizer), mixing, shards);
        let rules = match optimizer {
            Optimizer::Sgd => distorted(rules),
            _ => rules,
        };
        let update = Update { lr, ..UPDATE };
        let [found, truth] = [&mut device as &mut dyn Engine, &mut reference].map(|engine| {
            initialise(engine, 5);
            run(engine, rules, update, &routes)
        });
        let (error, what) = worst(&found, &truth);
        println!("{shards} shards, {optimizer:?}: {what} is off by {error:.1e}");
        assert!(
            error < 5e-5,
            "{shards} shards, {optimizer:?}: {what} is off by {error:.1e}"
        );
    }
}

/// Without batch norm: every image is on its own but for its partner in mixup. The
/// values of one dropout layer are no multiple of four for an image.
fn apart(mode: Mode) -> Network {
    let conv = |groups| Conv {
        kernel: 3,
        stride: 1,
        padding: 1,
        groups,
    };
    let mut graph = Graph::new(mode);
    let images = graph.images(3, SIDE, SIDE);
    let x = graph.conv("conv1", images, 6, conv(1), true, Init::Zero).unwrap();
    let x = graph.relu(x);
    let x = graph.dropout(x, 0.4).unwrap();
    let block = ResidualBlock {
        name: "block",
        stage: 1,
        input: x,
        relu: true,
    };
    let sides = |graph: &mut Graph| Ok((graph.conv("conv", x, 6, conv(2), true, Init::Zero)?, x));
    let x = graph.residual(&block, sides).unwrap();
    let x = graph.global_avg_pool(x);
    let x = graph.dropout(x, 0.3).unwrap();
    let logits = graph.linear("fc", x, 4, Init::Zero);
    let loss = graph.cross_entropy(logits);
    let network = Network {
        graph,
        images,
        logits,
        loss,
    };
    match mode {
        Mode::Train => network.changed(|graph| {
            graph.drop_paths(|_, _| 0.4);
            graph.soften(0.0);
        }),
        Mode::Eval => network,
    }
}

#[test]
fn without_batch_norm_any_number_of_shards_draws_and_computes_the_same() {
    let mixing = Mixing {
        mixup: 0.4,
        cutmix: 1.0,
        cutout: 3,
    };
    let gpu = device::of_kind(AdapterKind::Discrete);
    let eval = apart(Mode::Eval);
    let routes = [(); 3].map(|()| eval.graph.default_route());
    let of = |shards: usize| {
        let mut engine = DeviceEngine::new(gpu.clone(), Some(apart(Mode::Train)), eval.clone(), |_| true).unwrap();
        for (index, values) in fixture::params(engine.graph()).iter().enumerate() {
            engine.set_param(ParamId(index), values);
        }
        run(
            &mut engine,
            distorted(rules(UpdateRule::default(), mixing, shards)),
            UPDATE,
            &routes,
        )
    };
    let whole = of(1);
    for shards in [2, 3, 4, 16] {
        let (error, what) = worst(&of(shards), &whole);
        println!("{shards} shards: {what} is off by {error:.1e}");
        assert!(error < 1e-5, "{shards} shards: {what} is off by {error:.1e}");
    }
}

/// In 16 bits, one image of one shard overflows: the whole step is skipped, once.
#[test]
fn the_loss_scale_is_judged_after_the_sum() {
    if !device::of_kind(AdapterKind::Discrete).info().f16 {
        println!("the adapter has no 16-bit floats: shards are not tested in them");
        return;
    }
    let gpu = device::of_kind(AdapterKind::Discrete);
    let eval = network(Mode::Eval, Precision::F16);
    let route = eval.graph.default_route();
    let mut engine = DeviceEngine::new(gpu, Some(network(Mode::Train, Precision::F16)), eval, |_| true).unwrap();
    initialise(&mut engine, 5);
    let shards = rules(UpdateRule::default(), Mixing::default(), 4);
    let before = engine.param(ParamId(0)).unwrap();
    let huge = LossScale {
        scale: 2.0_f32.powi(24),
        ..LossScale::INITIAL
    };
    engine.set_loss_scale(huge);
    run(&mut engine, shards, UPDATE, std::slice::from_ref(&route));
    let loss = engine.loss_scale().unwrap().unwrap();
    assert_eq!((loss.scale, loss.skipped), (0.5 * huge.scale, 1));
    assert_eq!(engine.param(ParamId(0)).unwrap(), before);
    // And where nothing overflows, the gradients are those of 32 bits.
    engine.set_loss_scale(LossScale {
        scale: 256.0,
        ..LossScale::INITIAL
    });
    let found = run(&mut engine, shards, UPDATE, std::slice::from_ref(&route));
    assert_eq!(engine.loss_scale().unwrap().unwrap().skipped, 0);
    let wide = |mode| network(mode, Precision::F32);
    let mut reference = ReferenceEngine::new(Some(wide(Mode::Train)), wide(Mode::Eval), |_| true);
    initialise(&mut reference, 5);
    // The running statistics have advanced twice.
    run(&mut reference, shards, Update::default(), std::slice::from_ref(&route));
    let truth = run(&mut reference, shards, UPDATE, std::slice::from_ref(&route));
    let first = |found: &[(String, Vec<f32>)]| vec![("metrics".to_string(), found[0].1[..2].to_vec())];
    let (error, _) = worst(&first(&found), &first(&truth));
    assert!(error < 1e-2, "{error}");
    let named = |found: Vec<(String, Vec<f32>)>, part: &str| -> Vec<(String, Vec<f32>)> {
        found.into_iter().filter(|(name, _)| name.starts_with(part)).collect()
    };
    for part in ["state", "gradient of fc"] {
        let (error, what) = worst(&named(found.clone(), part), &named(truth.clone(), part));
        assert!(error < 2e-2, "{what}: {error}");
    }
}

#[test]
fn batch_norm_of_a_shard_is_that_of_pytorch_on_as_many_images() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/training.json");
    let truth: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let truth = &truth["shards"];
    let numbers = |values: &Value| -> Vec<f64> { serde_json::from_value(values.clone()).unwrap() };
    let batch = truth["batch"].as_u64().unwrap() as usize;
    let shards = truth["shards"].as_u64().unwrap() as usize;
    let (bytes, labels) = fixture::images_of(SIDE, 0, batch);
    let set = ImageSet {
        name: "patterns".into(),
        channels: 3,
        height: SIDE,
        width: SIDE,
        class_names: (0..fixture::CLASSES).map(|class| class.to_string()).collect(),
        images: bytes,
        labels,
    };
    let gpu = device::of_kind(AdapterKind::Discrete);
    let mut on_device = DeviceEngine::new(
        gpu,
        Some(small::network(Mode::Train)),
        small::network(Mode::Eval),
        |_| true,
    )
    .unwrap();
    let mut reference = ReferenceEngine::new(Some(small::network(Mode::Train)), small::network(Mode::Eval), |_| true);
    for engine in [&mut on_device as &mut dyn Engine, &mut reference] {
        for (index, values) in fixture::params(engine.graph()).iter().enumerate() {
            engine.set_param(ParamId(index), values);
        }
        engine.set_state(StateId(0), &[vec![0.0; 8], vec![1.0; 8]].concat());
        engine
            .set_rules(rules(UpdateRule::default(), Mixing::default(), shards))
            .unwrap();
        let normalization = Normalization::new(fixture::MEAN.into(), fixture::STD.into()).unwrap();
        engine.load(Split::Train, &set, &normalization).unwrap();
        let route = engine.graph().default_route();
        let draws: Vec<Draw> = (0..batch as u32).map(Draw::unchanged).collect();
        let plan = StepPlan {
            draws: &draws,
            padding: Padding::Zero,
            route: &route,
            update: Update::default(),
            seed: 0,
            step: 0,
        };
        engine.step(&plan).unwrap();
        let name = engine.name();
        let close = |what: &str, found: &[f32], truth: &[f64]| {
            let found = reference_run::to_f64(found);
            let error = reference_run::distance(&found, truth) / reference_run::norm(truth);
            println!("{name}: {what} is off by {error:.1e}");
            assert!(error < 1e-5, "{name}: {what} is off by {error:.1e}");
        };
        let metrics = engine.metrics(0..1).unwrap();
        close("loss", &metrics[0][..1], &numbers(&truth["loss"]));
        close(
            "running statistics",
            &engine.state(StateId(0)).unwrap(),
            &numbers(&truth["running"]),
        );
        for index in 0..engine.graph().params.len() {
            let param = engine.graph().params[index].clone();
            let tensors = param.tensors().into_iter();
            let expected: Vec<f64> = tensors
                .flat_map(|(tensor, _)| numbers(&truth["gradients"][&tensor]))
                .collect();
            close(&param.name, &engine.gradient(ParamId(index)).unwrap(), &expected);
        }
    }
}

#[test]
fn a_run_in_shards_needs_less_memory_and_has_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    let train = |extra: &[&str]| {
        let mut command = program("residua");
        command
            .current_dir(folder.path())
            .env("RESIDUA_TEST_DEVICE", "kind=discrete");
        command.args([
            "train",
            "--model",
            "resnet8",
            "--data",
            "synthetic:30,8",
            "--epochs",
            "1",
        ]);
        command.args(["--batch-size", "20", "--no-autotune", "--log-steps", "--out", "run"]);
        command.args(extra);
        command
    };
    for (shards, what) in [
        ("0", "--shards 0 is too few"),
        ("21", "--shards 21 are more than a batch of 20 images has"),
    ] {
        let (code, line) = failure(&mut train(&["--shards", shards]));
        assert!(code == 2 && line.contains(what), "{line}");
    }
    let mut command = train(&["--shards", "6", "--json"]);
    let output = command.output().unwrap();
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{notes}");
    assert!(
        notes.contains("batch norm has the statistics of 3 to 4 images"),
        "{notes}"
    );
    let trained: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = folder.path().join("run");
    assert!(fs::read_to_string(run.join("run.toml")).unwrap().contains("shards = 6"));
    // Two steps, of 20 images and of 10.
    assert_eq!(fs::read_to_string(run.join("steps.csv")).unwrap().lines().count(), 3);
    let evaluated = json(
        program("residua")
            .args(["eval", "--json", "--no-autotune", "--run"])
            .arg(&run),
    );
    let (found, truth) = (evaluated["loss"].as_f64(), trained["test_loss"].as_f64());
    assert!(
        (found.unwrap() / truth.unwrap() - 1.0).abs() < 1e-5,
        "{found:?} and {truth:?}"
    );
    // A run goes on with its own shards only.
    let mut resumed = program("residua");
    let resumed = resumed.args(["train", "--shards", "2", "--resume"]).arg(&run);
    assert!(failure(resumed).1.contains("--shards cannot be changed with --resume"));
    let planned = |extra: &[&str]| {
        let mut command = program("residua");
        command.args([
            "train",
            "--dry-run",
            "--json",
            "--model",
            "resnet8",
            "--data",
            "synthetic:30,8",
        ]);
        json(command.args(["--batch-size", "20"]).args(extra))["memory"]
            .as_u64()
            .unwrap()
    };
    let (one, six) = (planned(&[]), planned(&["--shards", "6"]));
    assert!(six < one / 2, "{six} and {one} bytes");
}

/// Each of several tasks would train the same network on its own.
#[test]
fn one_of_several_tasks_of_a_launcher_does_not_train() {
    let folder = tempfile::tempdir().unwrap();
    let train = |variable: &str, tasks: &str| {
        let mut command = program("residua");
        command.current_dir(folder.path()).env(variable, tasks);
        command.args(["train", "--model", "resnet8", "--data", "synthetic:4,4", "--steps", "1"]);
        command.args(["--no-autotune", "--batch-size", "4", "--out", "run"]);
        command
    };
    for variable in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
        let (code, line) = failure(&mut train(variable, "4"));
        assert_eq!(code, 1);
        assert!(line.contains("one of 4 tasks") && line.contains(variable), "{line}");
        assert!(!folder.path().join("run").exists());
    }
    printed(&mut train("SLURM_STEP_NUM_TASKS", "1"));
}
