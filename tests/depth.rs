//! Does stochastic depth save the time that it promises? Steps of ResNet-110
//! with constant and with stochastic depth, in turn, on this machine's
//! adapter.

#[path = "common/device.rs"]
mod device;

use std::time::Instant;

use residua::data::{Draw, Normalization, Padding, Source};
use residua::gpu::Pretence;
use residua::graph::{BlockId, Mode, Route};
use residua::models::{InputShape, ModelSpec};
use residua::schedule::Update;
use residua::train::{Depth, DepthRule, DeviceEngine, Engine, Part, StepPlan, initialise};

const BATCH: u32 = 16;
const PAIRS: u32 = 10;
/// Its draws leave out 25.6 % of the blocks, close to the 25.5 % expected.
const SEED: u64 = 40;

fn running(route: &Route) -> usize {
    (0..route.len())
        .filter(|&index| route.gains(BlockId(index)).branch != 0.0)
        .count()
}

#[test]
fn stochastic_depth_saves_the_time_of_the_blocks_it_leaves_out() {
    let spec: ModelSpec = "resnet110".parse().unwrap();
    let build = |mode| spec.build(&InputShape::default(), mode).unwrap();
    let gpu = device::open(&Pretence::default());
    let mut engine = DeviceEngine::new(gpu, Some(build(Mode::Train)), build(Mode::Eval), |_| true).unwrap();
    initialise(&mut engine, 1);
    let splits = "synthetic:16,1".parse::<Source>().unwrap().load(None, None, 1).unwrap();
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    engine.load(Part::Train, &splits.train, &normalization).unwrap();
    let draws: Vec<Draw> = (0..BATCH).map(Draw::unchanged).collect();
    let depth = Depth::Stochastic {
        p_last: 0.5,
        rule: DepthRule::Linear,
    };
    let mut step = 0;
    let mut seconds = |route: &Route| {
        let began = Instant::now();
        let update = Update {
            lr: 0.0,
            momentum: 0.0,
            weight_decay: 0.0,
            nesterov: false,
        };
        let plan = StepPlan {
            draws: &draws,
            padding: Padding::Zero,
            route,
            update,
            seed: 0,
            step,
        };
        engine.step(&plan).unwrap();
        engine.metrics(step..step + 1).unwrap();
        step += 1;
        began.elapsed().as_secs_f64()
    };
    let graph = build(Mode::Train).graph;
    let constant = graph.default_route();
    // The first step compiles.
    seconds(&constant);
    let (mut with_all, mut with_some, mut blocks) = (0.0, 0.0, 0);
    for pair in 0..PAIRS {
        let route = depth.training_route(&graph, SEED, pair);
        with_all += seconds(&constant);
        with_some += seconds(&route);
        blocks += running(&route);
    }
    let left_out = 1.0 - f64::from(blocks as u32) / f64::from(PAIRS * 54);
    let saved = 1.0 - with_some / with_all;
    println!(
        "resnet110, batch {BATCH}: {:.3} s a step of constant depth, {:.3} s of stochastic depth: {:.1} % saved where \
         {:.1} % of the blocks were left out",
        with_all / f64::from(PAIRS),
        with_some / f64::from(PAIRS),
        100.0 * saved,
        100.0 * left_out
    );
    assert!((0.25..0.26).contains(&left_out), "{left_out}: the draws of this seed");
    // What is left out are whole blocks; stem, head and optimiser always run.
    // Other work on the machine falls on both alike, but not evenly.
    assert!(saved > 0.7 * left_out, "{saved} of {left_out}");
}
