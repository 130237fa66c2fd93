//! Does stochastic depth save the time of the blocks that it leaves out?
//! ResNet-110 with all blocks and with drawn ones, on this machine's adapter.

use crate::support::device;
use std::ops::Range;
use std::time::Instant;

use residua::data::{Draw, Normalization, Padding, Source};
use residua::gpu::AdapterOverrides;
use residua::graph::{BlockId, Mode, Route};
use residua::models::{InputShape, ModelSpec};
use residua::schedule::Update;
use residua::train::{Depth, DepthRule, DeviceEngine, Engine, Split, StepPlan, initialise};

const BATCH: u32 = 16;
const DEPTH: Depth = Depth::Stochastic {
    p_last: 0.5,
    rule: DepthRule::Linear,
};
/// The seed of the draws.
const SEED: u64 = 40;
/// The number of draws whose blocks and multiply-adds are counted.
const DRAWS: u32 = 100;
/// The draw that is timed: it leaves out about the expected number of blocks.
const TIMED: u32 = 0;
/// The fewest pairs of steps to time, and the most, where other programs on the
/// machine hide the saved time.
const PAIRS: Range<u32> = 5..40;

fn engine() -> DeviceEngine {
    let spec: ModelSpec = "resnet110".parse().unwrap();
    let build = |mode| spec.build(&InputShape::default(), mode).unwrap();
    let gpu = device::open(&AdapterOverrides::default());
    let mut engine = DeviceEngine::new(gpu, Some(build(Mode::Train)), build(Mode::Eval), |_| true).unwrap();
    initialise(&mut engine, 1);
    let splits = "synthetic:16,1".parse::<Source>().unwrap().load(None, None, 1).unwrap();
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    engine.load(Split::Train, &splits.train, &normalization).unwrap();
    engine
}

/// The share (0 to 1) of blocks that `route` leaves out.
fn left_out(route: &Route) -> f64 {
    let absent = (0..route.len()).filter(|&index| route.gains(BlockId(index)).branch == 0.0);
    absent.count() as f64 / route.len() as f64
}

/// Multiply-adds of a training step under `route`.
fn macs(engine: &mut DeviceEngine, route: &Route) -> f64 {
    let kernels = engine.session().kernels(true, BATCH as usize, route).unwrap();
    kernels.iter().map(|kernel| kernel.macs).sum::<u64>() as f64
}

/// Seconds that the training step `step` takes under `route`.
fn seconds(engine: &mut DeviceEngine, route: &Route, step: u32) -> f64 {
    let draws: Vec<Draw> = (0..BATCH).map(Draw::unchanged).collect();
    let began = Instant::now();
    let plan = StepPlan {
        draws: &draws,
        padding: Padding::Zero,
        route,
        update: Update::default(),
        seed: 0,
        step,
    };
    engine.step(&plan).unwrap();
    engine.metrics(step..step + 1).unwrap();
    began.elapsed().as_secs_f64()
}

#[test]
fn stochastic_depth_saves_the_time_of_the_blocks_it_leaves_out() {
    let mut engine = engine();
    let constant = engine.graph().default_route();
    let draw = |engine: &DeviceEngine, step| DEPTH.training_route(engine.graph(), SEED, step);

    // First the counts: what is not dispatched takes no time on any device.
    let all = macs(&mut engine, &constant);
    let (mut absent, mut skipped) = (0.0, 0.0);
    for step in 0..DRAWS {
        let route = draw(&engine, step);
        absent += left_out(&route) / f64::from(DRAWS);
        skipped += (1.0 - macs(&mut engine, &route) / all) / f64::from(DRAWS);
    }
    println!(
        "resnet110, {DRAWS} draws: {:.1} % of the blocks and {:.1} % of the multiply-adds left out",
        100.0 * absent,
        100.0 * skipped
    );
    // The expected share is (1 + … + 54) / 54 · ½ of 54 blocks.
    assert!((absent - 0.2546).abs() < 0.015, "{absent}: the draws of this seed");
    assert!((skipped - absent).abs() < 0.01, "{skipped} of {absent}");

    // Then the times. Other programs can only make a step slower, and not all
    // steps equally: the shortest of several is closest to the step's own time.
    let some = draw(&engine, TIMED);
    let absent = left_out(&some);
    assert!((absent - 0.2546).abs() < 0.02, "{absent}: another draw should be timed");
    // The first step compiles the kernels.
    seconds(&mut engine, &constant, 0);
    let (mut with_all, mut with_some) = (f64::INFINITY, f64::INFINITY);
    let (mut pairs, mut saved) = (0, 0.0);
    while pairs < PAIRS.start || (saved < 0.7 * absent && pairs < PAIRS.end) {
        with_all = seconds(&mut engine, &constant, 1 + 2 * pairs).min(with_all);
        with_some = seconds(&mut engine, &some, 2 + 2 * pairs).min(with_some);
        saved = 1.0 - with_some / with_all;
        pairs += 1;
    }
    println!(
        "batch {BATCH}, {pairs} pairs of steps: {with_all:.3} s a step with all blocks, {with_some:.3} s without \
         {:.1} % of them: {:.1} % saved",
        100.0 * absent,
        100.0 * saved
    );
    // Only blocks are left out; stem, head and optimizer always run.
    assert!(saved > 0.7 * absent, "{saved} of {absent}");
}
