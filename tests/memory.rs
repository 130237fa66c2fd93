//! Device memory is taken in the first steps and then stays as it is.

#[path = "common/device.rs"]
mod device;

use residua::data::{Draw, Padding, Source};
use residua::graph::Mode;
use residua::models::{InputShape, ModelSpec};
use residua::schedule::Update;
use residua::train::{DeviceEngine, Engine, Part, StepPlan, initialise};

#[test]
fn memory_is_flat_after_the_second_step() {
    let gpu = device::open(&residua::gpu::Pretence::default());
    let spec: ModelSpec = "resnet8".parse().unwrap();
    let build = |mode| spec.build(&InputShape::default(), mode).unwrap();
    let mut engine = DeviceEngine::new(gpu.clone(), Some(build(Mode::Train)), build(Mode::Eval), |_| true).unwrap();
    initialise(&mut engine, 0);
    let source: Source = "synthetic:40,24".parse().unwrap();
    let splits = source.load(None, None, 0).unwrap();
    engine.load(Part::Train, &splits.train, &splits.normalization).unwrap();
    engine.load(Part::Test, &splits.test, &splits.normalization).unwrap();
    let route = engine.graph().default_route();
    let draws = |count: u32| (0..count).map(Draw::unchanged).collect::<Vec<_>>();
    let mut held = Vec::new();
    for step in 0..6 {
        // Every other batch is a smaller one, as at the end of an epoch.
        engine
            .step(&StepPlan {
                draws: &draws(if step % 2 == 0 { 16 } else { 8 }),
                padding: Padding::Zero,
                route: &route,
                update: Update {
                    lr: 0.1,
                    momentum: 0.9,
                    weight_decay: 0.0,
                    nesterov: false,
                },
                seed: 0,
                step,
            })
            .unwrap();
        engine
            .evaluate(Part::Test, &draws(8), std::slice::from_ref(&route))
            .unwrap();
        engine.metrics(step..step + 1).unwrap();
        held.push(gpu.allocated());
    }
    assert!(held[0] > 0);
    assert!(held[2..].iter().all(|&bytes| bytes == held[1]), "{held:?}");
}
