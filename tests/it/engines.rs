//! Do the device and the f64 reference agree as engines? Training with
//! augmentation, dropout, a lesion and every feature of the optimiser; and
//! evaluation with logits, activations, gradients and reordered blocks.

use crate::support::device;
use crate::support::reference_run;
use crate::support::small;
use crate::support::update::UPDATE;
use residua::data::{Draw, ImageSet, Normalization, Padding, Source};
use residua::gpu::AdapterKind;
use residua::graph::{BlockId, Gains, Mode, NodeId, Op, Param, ParamId, ParamKind, Precision, Route, StateId};
use residua::models::{InputShape, ModelSpec, Network};
use residua::schedule::Update;
use residua::train::{
    BatchRef, DeviceEngine, Engine, ImageResult, Outcome, ReferenceEngine, Split, StepPlan, evaluate, initialise,
    predicted, probabilities, rank, rank_images,
};

const MODEL: &str = "wrn-10-1:dropout=0.3";
const BATCH: u32 = 12;

fn network(mode: Mode) -> Network {
    let input = InputShape {
        channels: 3,
        height: 8,
        width: 8,
        classes: 4,
    };
    MODEL.parse::<ModelSpec>().unwrap().build(&input, mode).unwrap()
}

fn images() -> ImageSet {
    small::noise(8, 40)
}

fn no_biases(param: &Param) -> bool {
    param.kind != ParamKind::Bias
}

/// All results of a short run on one engine, by name.
fn run(engine: &mut dyn Engine) -> Vec<(String, Vec<f32>)> {
    initialise(engine, 5);
    let set = images();
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    engine.load(Split::Train, &set, &normalization).unwrap();
    engine.load(Split::Test, &set, &normalization).unwrap();
    let whole = engine.graph().default_route();
    let lesion = whole.clone().deleting(&[2]).unwrap();
    for step in 0..3 {
        let draws: Vec<Draw> = (0..BATCH)
            .map(|i| Draw {
                index: (step * BATCH + i) % 40,
                dx: (i % 9) as u8,
                dy: ((i + step) * 5 % 9) as u8,
                flip: i % 2 == 1,
                epoch: 0,
                position: (step * BATCH + i),
            })
            .collect();
        engine
            .step(&StepPlan {
                draws: &draws,
                padding: Padding::Reflect,
                route: if step == 1 { &lesion } else { &whole },
                update: UPDATE,
                seed: 77,
                step,
            })
            .unwrap();
    }
    let mut results_by_name = vec![("metrics".to_string(), engine.metrics(0..3).unwrap().into_flattened())];
    for (part, route) in [(Split::Train, &whole), (Split::Test, &lesion)] {
        let draws: Vec<Draw> = (0..40).map(Draw::unchanged).collect();
        let results = engine
            .evaluate(part, &draws, std::slice::from_ref(route))
            .unwrap()
            .remove(0);
        let (loss, wrong) = results.iter().map(|&[loss, wrong]| (loss, wrong)).unzip();
        results_by_name.push((format!("losses of {part:?}"), loss));
        results_by_name.push((format!("errors of {part:?}"), wrong));
    }
    for index in 0..engine.graph().params.len() {
        let id = ParamId(index);
        let name = engine.graph().params[index].name.clone();
        results_by_name.push((format!("parameter {name}"), engine.param(id).unwrap()));
        results_by_name.push((format!("momentum {name}"), engine.momentum(id).unwrap()));
        results_by_name.push((format!("gradient {name}"), engine.gradient(id).unwrap()));
    }
    for index in 0..engine.graph().states.len() {
        results_by_name.push((format!("state {index}"), engine.state(StateId(index)).unwrap()));
    }
    results_by_name
}

#[test]
fn the_reference_trains_as_the_device_does() {
    // The small tiles of GPUs compile faster.
    let gpu = device::of_kind(AdapterKind::Discrete);
    let (train, eval) = (network(Mode::Train), network(Mode::Eval));
    let mut device = DeviceEngine::new(gpu, Some(train.clone()), eval.clone(), no_biases).unwrap();
    let mut reference = ReferenceEngine::new(Some(train), eval, no_biases);
    assert_eq!(device.remembered(), reference.remembered());
    let mut worst = (0.0, String::new());
    for ((what, found), (_, truth)) in run(&mut device).into_iter().zip(run(&mut reference)) {
        let (found, truth) = (reference_run::to_f64(&found), reference_run::to_f64(&truth));
        let error = reference_run::distance(&found, &truth) / reference_run::norm(&truth).max(1e-2);
        assert!(error < 1e-5, "{what}: off by {error:.1e}");
        if error > worst.0 {
            worst = (error, what);
        }
    }
    println!("{MODEL}: {} is off by {:.1e}", worst.1, worst.0);
}

#[test]
fn the_reference_refuses_what_it_does_not_have() {
    let mut engine = ReferenceEngine::new(None, network(Mode::Eval), no_biases);
    let route = [engine.graph().default_route()];
    let none = engine.evaluate(Split::Test, &[Draw::unchanged(0)], &route);
    assert!(none.unwrap_err().to_string().contains("no images are loaded"));
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    engine.load(Split::Test, &images(), &normalization).unwrap();
    let beyond = engine.evaluate(Split::Test, &[Draw::unchanged(40)], &route);
    assert!(beyond.unwrap_err().to_string().contains("image 40"));
    assert!(engine.evaluate(Split::Test, &[], &route).unwrap()[0].is_empty());
    assert!(engine.momentum(ParamId(0)).unwrap().iter().all(|&m| m == 0.0));
}

#[test]
fn routes_that_share_a_beginning_score_as_they_do_alone() {
    for model in ["preact-20", "resnet20", "plain-8"] {
        let spec: ModelSpec = model.parse().unwrap();
        let eval = spec.build(&InputShape::default(), Mode::Eval).unwrap();
        let mut engine = DeviceEngine::new(device::of_kind(AdapterKind::Discrete), None, eval, no_biases).unwrap();
        initialise(&mut engine, 3);
        let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
        let splits = "synthetic:1,8".parse::<Source>().unwrap().load(None, None, 1).unwrap();
        engine.load(Split::Test, &splits.test, &normalization).unwrap();
        let whole = engine.graph().default_route();
        let blocks = whole.len();
        let deleted = |numbers: &[usize]| whole.clone().deleting(numbers).unwrap();
        let mut routes: Vec<Route> = (1..=blocks).map(|number| deleted(&[number])).collect();
        routes.extend([
            whole.clone(),
            deleted(&[1, blocks]),
            deleted(&[2, 3]),
            deleted(&[1, 2]),
            whole.clone(),
        ]);
        let mut scaled = whole.clone();
        scaled.set(BlockId(1), Gains::both(0.5, 1.0));
        routes.push(scaled);
        let draws: Vec<Draw> = (0..8).map(Draw::unchanged).collect();
        // Twice, so that values left over from an earlier batch would be noticed.
        for _ in 0..2 {
            let together = engine.evaluate(Split::Test, &draws, &routes).unwrap();
            for (route, shared) in routes.iter().zip(&together) {
                let alone = engine
                    .evaluate(Split::Test, &draws, std::slice::from_ref(route))
                    .unwrap();
                assert_eq!(&alone[0], shared, "{model}: {route:?}");
            }
        }
    }
}

/// Both engines for one small network, with the same weights and images.
fn pair(model: &str) -> [Box<dyn Engine>; 2] {
    let input = InputShape {
        channels: 3,
        height: 8,
        width: 8,
        classes: 4,
    };
    let build = |mode| model.parse::<ModelSpec>().unwrap().build(&input, mode).unwrap();
    let (train, eval) = (build(Mode::Train), build(Mode::Eval));
    let gpu = device::of_kind(AdapterKind::Discrete);
    let device = DeviceEngine::new(gpu, Some(train.clone()), eval.clone(), no_biases).unwrap();
    let mut engines: [Box<dyn Engine>; 2] = [
        Box::new(device),
        Box::new(ReferenceEngine::new(Some(train), eval, no_biases)),
    ];
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    for engine in &mut engines {
        initialise(engine.as_mut(), 11);
        engine.load(Split::Train, &images(), &normalization).unwrap();
        // Statistics that are not the initial ones.
        let draws: Vec<Draw> = (20..40).map(Draw::unchanged).collect();
        let route = engine.graph().default_route();
        for step in 0..3 {
            engine.advance_statistics(&batch_ref(&draws, step), &route).unwrap();
        }
    }
    engines
}

fn batch_ref(draws: &[Draw], step: u32) -> BatchRef<'_> {
    BatchRef {
        split: Split::Train,
        draws,
        seed: 3,
        step,
    }
}

fn close(what: &str, found: &[f32], truth: &[f32]) {
    let (found, truth) = (reference_run::to_f64(found), reference_run::to_f64(truth));
    assert!(reference_run::norm(&truth) > 0.0, "{what} is all zero");
    let error = reference_run::distance(&found, &truth) / reference_run::norm(&truth);
    assert!(error < 2e-5, "{what}: off by {error:.1e}");
}

#[test]
fn the_gradient_is_the_sum_over_all_paths() {
    for (model, mode) in [
        ("preact-20", Mode::Eval),
        ("resnet8:shortcut=B", Mode::Eval),
        ("preact-8", Mode::Train),
    ] {
        let [mut device, mut reference] = pair(model);
        let draws: Vec<Draw> = (0..6).map(Draw::unchanged).collect();
        let whole = device.graph().default_route();
        let blocks = whole.len();
        // Every subset of blocks is a path, through the branches of these blocks.
        let mut routes = vec![whole.clone()];
        routes.extend((0..1_usize << blocks).map(|path| {
            let through: Vec<usize> = (1..=blocks).filter(|number| path >> (number - 1) & 1 == 1).collect();
            whole.clone().following(&through).unwrap()
        }));
        let gradients = device.input_gradients(&batch_ref(&draws, 0), &routes, mode).unwrap();
        let mut sum = vec![0.0_f64; gradients[0].len()];
        for gradient in &gradients[1..] {
            for (sum, value) in sum.iter_mut().zip(gradient) {
                *sum += f64::from(*value);
            }
        }
        let sum: Vec<f32> = sum.iter().map(|&value| value as f32).collect();
        close(
            &format!("{model}: the sum over {} paths", 1 << blocks),
            &sum,
            &gradients[0],
        );
        // Some of the paths, and the whole gradient, against the f64 reference.
        let few: Vec<usize> = vec![0, 1, 2, routes.len() / 2, routes.len() - 1];
        let chosen: Vec<Route> = few.iter().map(|&index| routes[index].clone()).collect();
        let truth = reference.input_gradients(&batch_ref(&draws, 0), &chosen, mode).unwrap();
        for (&index, truth) in few.iter().zip(&truth) {
            close(&format!("{model}: route {index}"), &gradients[index], truth);
        }
        // Both have advanced their states by the same step, and only by one.
        for index in 0..device.graph().states.len() {
            let states = [&mut device, &mut reference].map(|engine| engine.state(StateId(index)).unwrap());
            close(&format!("{model}: state {index}"), &states[0], &states[1]);
        }
    }
}

#[test]
fn blocks_change_places_and_come_back() {
    let [mut device, mut reference] = pair("preact-20");
    let draws: Vec<Draw> = (0..16).map(Draw::unchanged).collect();
    let whole = device.graph().default_route();
    assert_eq!(
        device.graph().interchangeable(),
        [vec![1, 2, 3], vec![5, 6], vec![8, 9]]
    );
    let swap = |route: Route, left, right| route.swapping(reference.graph(), left, right).unwrap();
    let routes = [
        whole.clone(),
        swap(whole.clone(), 1, 3),
        swap(swap(whole.clone(), 1, 3), 1, 2),
        swap(whole.clone(), 5, 6),
        swap(whole.clone(), 8, 9).deleting(&[9]).unwrap(),
        whole.clone(),
    ];
    assert!(whole.clone().swapping(reference.graph(), 1, 4).is_err());
    let before = device.param(ParamId(1)).unwrap();
    let found = device.evaluate(Split::Train, &draws, &routes).unwrap();
    let truth = reference.evaluate(Split::Train, &draws, &routes).unwrap();
    for (index, (found, truth)) in found.iter().zip(&truth).enumerate() {
        close(&format!("route {index}"), found.as_flattened(), truth.as_flattened());
    }
    assert_eq!(found[0], found[5]);
    assert_ne!(found[0], found[1]);
    assert_ne!(found[1], found[2]);
    assert_eq!(
        device.param(ParamId(1)).unwrap(),
        before,
        "parameters are back in place"
    );
    assert_eq!(
        device.evaluate(Split::Train, &draws, &routes[..1]).unwrap()[0],
        found[0]
    );
}

#[test]
fn block_values_are_the_branch_and_the_shortcut() {
    let [mut device, mut reference] = pair("resnet8:shortcut=B");
    let draws: Vec<Draw> = (0..4).map(Draw::unchanged).collect();
    let route = device.graph().default_route().deleting(&[2]).unwrap();
    let found = device.block_values(&batch_ref(&draws, 0), &route).unwrap();
    let truth = reference.block_values(&batch_ref(&draws, 0), &route).unwrap();
    for (index, (found, truth)) in found.iter().zip(&truth).enumerate() {
        close(&format!("branch {index}"), &found[0], &truth[0]);
        close(&format!("shortcut {index}"), &found[1], &truth[1]);
    }
}

/// Routes that share beginnings, delete blocks and reorder them.
fn varied_routes(engine: &dyn Engine) -> Vec<Route> {
    let whole = engine.graph().default_route();
    let swapped = whole.clone().swapping(engine.graph(), 1, 3).unwrap();
    vec![
        whole.clone().deleting(&[9]).unwrap(),
        swapped.clone(),
        whole.clone(),
        whole.clone().deleting(&[2, 5]).unwrap(),
        swapped.deleting(&[8]).unwrap(),
    ]
}

#[test]
fn logits_explain_losses_and_errors() {
    let [mut device, mut reference] = pair("preact-20");
    let draws: Vec<Draw> = (0..40).map(Draw::unchanged).collect();
    let routes = varied_routes(device.as_ref());
    let labels = images().labels;
    let found = device.evaluate_with_logits(Split::Train, &draws, &routes).unwrap();
    let truth = reference.evaluate_with_logits(Split::Train, &draws, &routes).unwrap();
    let alone = device.evaluate(Split::Train, &draws, &routes).unwrap();
    for (index, (found, truth)) in found.iter().zip(&truth).enumerate() {
        assert_eq!(found.results, alone[index], "route {index}: the loss as without logits");
        close(&format!("logits of route {index}"), &found.logits, &truth.logits);
        assert_eq!(
            device.logits(Split::Train, &draws, &routes[index]).unwrap(),
            found.logits,
            "route {index} alone"
        );
        for ((result, logits), &label) in found.images().zip(&labels) {
            let loss = -probabilities(logits)[label as usize].ln();
            assert!((loss - f64::from(result[0])).abs() < 1e-5, "{loss} and {result:?}");
            assert_eq!(result[1] == 0.0, rank(logits, label) == 0);
            let image = ImageResult::new(result, logits, label);
            assert_eq!((image.predicted, image.rank), (predicted(logits), rank(logits, label)));
        }
    }
    let size = std::num::NonZeroUsize::new(16).unwrap();
    let mut done = Vec::new();
    let mut progress = |images| done.push(images);
    let ranked = rank_images(device.as_mut(), Split::Train, &labels, size, &routes, &mut progress).unwrap();
    assert_eq!(done, [16, 32, 40]);
    let outcomes = evaluate(device.as_mut(), Split::Train, 40, size, &routes, &mut |_| {}).unwrap();
    let summaries: Vec<Outcome> = ranked.iter().map(|ranked| Outcome::ranked(ranked)).collect();
    assert_eq!(summaries, outcomes);
}

#[test]
fn activations_are_found_by_name_on_both_engines() {
    for (model, names) in [
        (
            "resnet8:shortcut=B",
            ["conv1", "bn1", "layer2.0.conv1", "layer2.0", "3", "pool", "logits"],
        ),
        (
            "plain-8",
            [
                "bn1",
                "layer1.0.conv1",
                "layer1.0.bn2",
                "2",
                "layer3.0.conv2",
                "pool",
                "fc",
            ],
        ),
    ] {
        let [mut device, mut reference] = pair(model);
        let draws: Vec<Draw> = (5..13).map(Draw::unchanged).collect();
        let whole = device.graph().default_route();
        let nodes: Vec<NodeId> = names.map(|name| device.graph().activation(name).unwrap()).to_vec();
        for route in [whole.clone(), whole.clone().deleting(&[2]).unwrap()] {
            let found = device.activations(Split::Train, &draws, &route, &nodes).unwrap();
            let truth = reference.activations(Split::Train, &draws, &route, &nodes).unwrap();
            for (index, name) in names.iter().enumerate() {
                let shape = device.graph().shape(nodes[index]);
                assert_eq!(found[index].len(), shape.len(draws.len()), "{model}: {name}");
                close(&format!("{model}: {name}"), &found[index], &truth[index]);
            }
            assert_eq!(found[6], device.logits(Split::Train, &draws, &route).unwrap());
        }
        let weights = device.graph().find(|op| matches!(op, Op::Param(_))).unwrap();
        for engine in [&mut device, &mut reference] {
            let refused = engine.activations(Split::Train, &draws, &whole, &[weights]);
            assert!(refused.unwrap_err().is_argument());
        }
    }
}

#[test]
fn logits_and_activations_are_read_from_16_bit_storage() {
    let input = InputShape {
        classes: 7,
        ..InputShape::default()
    };
    let spec: ModelSpec = "resnet8".parse().unwrap();
    let eval = spec.build(&input, Mode::Eval).unwrap();
    let halves = eval.clone().changed(|graph| graph.store_in(Precision::F16));
    let gpu = device::of_kind(AdapterKind::Discrete);
    if !gpu.info().f16 {
        println!("NOT TESTED: {} has no 16-bit floats", gpu.info());
        return;
    }
    let mut device = DeviceEngine::new(gpu, None, halves, no_biases).unwrap();
    let mut reference = ReferenceEngine::new(None, eval, no_biases);
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    let splits = "synthetic:1,5".parse::<Source>().unwrap().load(None, None, 1).unwrap();
    let draws: Vec<Draw> = (0..5).map(Draw::unchanged).collect();
    let mut values = Vec::new();
    for engine in [&mut device as &mut dyn Engine, &mut reference] {
        initialise(engine, 3);
        engine.load(Split::Test, &splits.test, &normalization).unwrap();
        let route = engine.graph().default_route();
        let nodes = ["conv1", "layer2.0", "pool"].map(|name| engine.graph().activation(name).unwrap());
        let mut found = engine.activations(Split::Test, &draws, &route, &nodes).unwrap();
        found.push(engine.logits(Split::Test, &draws, &route).unwrap());
        values.push(found);
    }
    for (found, truth) in values[0].iter().zip(&values[1]) {
        let (found, truth) = (reference_run::to_f64(found), reference_run::to_f64(truth));
        // 11 significant bits, rounded at every layer.
        let error = reference_run::distance(&found, &truth) / reference_run::norm(&truth);
        assert!(error < 5e-3, "off by {error:.1e}");
    }
}

#[test]
fn recalibrated_statistics_are_those_of_the_batch() {
    let [mut device, _] = pair("preact-8");
    let draws: Vec<Draw> = (0..40).map(Draw::unchanged).collect();
    let route = device.graph().default_route().deleting(&[2]).unwrap();
    let before = device.state(StateId(0)).unwrap();
    let step = StepPlan {
        draws: &draws,
        padding: Padding::Zero,
        route: &route,
        update: Update::default(),
        seed: 0,
        step: 0,
    };
    device.step(&step).unwrap();
    let trained = f64::from(device.metrics(0..1).unwrap()[0][0]);
    device.set_state(StateId(0), &before);
    let size = |images| std::num::NonZeroUsize::new(images).unwrap();
    let evaluated = |device: &mut dyn Engine| {
        let routes = std::slice::from_ref(&route);
        residua::train::evaluate(device, Split::Train, 40, size(40), routes, &mut |_| {})
    };
    let recalibration = residua::studies::Recalibration {
        images: 40,
        batch_size: size(40),
        available: 40,
        seed: 9,
    };
    let stale = evaluated(device.as_mut()).unwrap()[0].loss;
    let fresh = recalibration.with(device.as_mut(), &route, evaluated).unwrap()[0].loss;
    // With the statistics of the batch, except for n/(n − 1) in the variance.
    assert!((fresh - trained).abs() < 1e-2 * trained, "{fresh} and {trained}");
    assert!(
        (stale - trained).abs() > 2.0 * (fresh - trained).abs(),
        "{stale}, {fresh} and {trained}"
    );
    assert_eq!(device.state(StateId(0)).unwrap(), before, "the old statistics are back");
}
