//! Is device memory allocated in the first steps only, and as much as was
//! planned?

use crate::support::device;
use std::sync::Arc;

use residua::data::{Draw, Padding, Source, Splits};
use residua::gpu::{AdapterOverrides, Gpu};
use residua::graph::{Mode, Recompute, Route};
use residua::models::{InputShape, ModelSpec};
use residua::schedule::{Footprint, ResidentSet, Update};
use residua::train::{DeviceEngine, Engine, Split, StepPlan, initialise};

const IMAGE: [usize; 3] = [3, 32, 32];

/// An engine for `model` on a device of its own, with the images of `splits`.
fn engine(model: &str, splits: &Splits) -> (Arc<Gpu>, DeviceEngine) {
    let gpu = device::open(&AdapterOverrides::default());
    let spec: ModelSpec = model.parse().unwrap();
    let build = |mode| spec.build(&InputShape::default(), mode).unwrap();
    let mut engine = DeviceEngine::new(gpu.clone(), Some(build(Mode::Train)), build(Mode::Eval), |_| true).unwrap();
    initialise(&mut engine, 0);
    engine.load(Split::Train, &splits.train, &splits.normalization).unwrap();
    engine.load(Split::Test, &splits.test, &splits.normalization).unwrap();
    (gpu, engine)
}

fn draws(count: usize) -> Vec<Draw> {
    (0..count as u32).map(Draw::unchanged).collect()
}

/// Trains on `count` images, then evaluates `evaluated` images.
fn step(engine: &mut DeviceEngine, route: &Route, count: usize, evaluated: usize, step: u32) {
    let plan = StepPlan {
        draws: &draws(count),
        padding: Padding::Zero,
        route,
        update: Update {
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 0.0,
            nesterov: false,
        },
        seed: 0,
        step,
    };
    engine.step(&plan).unwrap();
    let routes = std::slice::from_ref(route);
    engine.evaluate(Split::Test, &draws(evaluated), routes).unwrap();
    engine.metrics(step..step + 1).unwrap();
}

fn synthetic(text: &str) -> Splits {
    text.parse::<Source>().unwrap().load(None, None, 0).unwrap()
}

#[test]
fn memory_is_flat_after_the_second_step() {
    let (gpu, mut engine) = engine("resnet8", &synthetic("synthetic:40,24"));
    let route = engine.graph().default_route();
    let mut held = Vec::new();
    for number in 0..6 {
        // Every second batch is smaller, as at the end of an epoch.
        step(&mut engine, &route, if number % 2 == 0 { 16 } else { 8 }, 8, number);
        held.push(gpu.allocated());
    }
    assert!(held[0] > 0);
    assert!(held[2..].iter().all(|&bytes| bytes == held[1]), "{held:?}");
}

#[test]
fn the_planned_peak_is_what_the_device_reports() {
    const BATCHES: [usize; 2] = [32, 12];
    let splits = synthetic("synthetic:44,32");
    let images = |count: usize| ResidentSet::footprint(count, IMAGE);
    for (model, recompute) in [
        ("resnet20", Recompute::None),
        ("resnet20", Recompute::Blocks),
        ("wrn-10-2:dropout=0.3", Recompute::Cheap),
    ] {
        let (gpu, mut engine) = engine(model, &splits);
        engine.session().set_recompute(recompute);
        let planned = Footprint {
            images: images(splits.train.len()) + images(splits.test.len()),
            ..engine.session().footprint(&BATCHES, &BATCHES[..1])
        };
        let route = engine.graph().default_route();
        for (number, &count) in (0..).zip(&BATCHES) {
            step(&mut engine, &route, count, BATCHES[0], number);
        }
        let held = gpu.allocated();
        let deviation = |bytes: u64| bytes as f64 / planned.total() as f64 - 1.0;
        assert!(
            deviation(held).abs() < 0.01,
            "{model}, {recompute:?}: {held} bytes held, {planned:?}"
        );
        // Vulkan and DX12 report how much they allocated; Metal does not.
        if let Some(reported) = gpu.reported() {
            println!(
                "{model}, {recompute:?}: {} bytes planned, {held} held, {} reported ({:+.2} %), {} reserved ({:+.1} %)",
                planned.total(),
                reported.used,
                100.0 * deviation(reported.used),
                reported.reserved,
                100.0 * deviation(reported.reserved)
            );
            assert!(
                deviation(reported.used).abs() < 0.05,
                "{model}, {recompute:?}: {reported:?}, {planned:?}"
            );
        }
    }
}
