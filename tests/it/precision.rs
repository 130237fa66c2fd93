//! Are kernels right where activations are stored in 16 bits? The networks
//! have every operation. Every piece of work runs alone, with each of its
//! algorithms and with the kernels of both kinds of adapter, on random inputs
//! that are exact in their precision. The result is compared with the same part
//! of the graph in f64. A value that is stored in 16 bits may be off by its
//! rounding, half the distance of two adjacent numbers, and by nothing else.
//! Then NaN or infinity is put among the inputs: what is not finite in f64 must
//! not be finite on the device.
//!
//! Then whole training steps: the loss scale, the steps that it skips, and
//! memory.

use crate::support::conv::conv;
use crate::support::device;
use crate::support::reference_run;
use crate::support::small;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::support::reference_run::{ReferenceRun, distance, norm};
use crate::support::update::UPDATE;
use residua::data::{Draw, Normalization, Padding};
use residua::doctor::{SPOILING, Trial, every_operation, keeps_places, odd_values, relative_distance};
use residua::gpu::{AdapterKind, AdapterOverrides, Gpu};
use residua::graph::{BlockInfo, Gains, Graph, GraphError, Init, Mode, NodeId, ParamId, Precision, Recompute, Shape};
use residua::kernels::{LossScale, Lowered, Pointwise, Target, Work};
use residua::models::{InputShape, ModelSpec, Network};
use residua::schedule::{self, Action, Session, Task, target, tasks};
use residua::train::{
    Adapter, BatchRef, Config as TrainConfig, DeviceEngine, Engine, EpochRow, RunDirectory, Split, StepPlan,
    TrainError, Trainer, initialise,
};

const CLASSES: usize = 5;
/// Half the distance of two adjacent 16-bit floats, relative to the smallest
/// numbers with one exponent, where it is largest; and a little for the
/// arithmetic in 32 bits.
const ROUNDING: f64 = 1.01 / 2048.0;
/// The effect of adding in another order.
const ORDER: f64 = 2e-5;

fn block(graph: &mut Graph, name: &str, relu: bool, sides: [NodeId; 2], input: NodeId) -> Result<NodeId, GraphError> {
    let info = BlockInfo {
        name,
        stage: 1,
        input,
        downsamples: false,
        default: Gains::both(0.5, 2.0),
        relu,
    };
    graph.block(&info, sides[0], sides[1])
}

/// Every operation, and every operation that batch norm kernels include.
fn everything(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    every_operation(graph, images, 8)
}

/// The differentiated graph of a network for images of `dims`, and its loss.
fn differentiated(dims: [usize; 3], mode: Mode, precision: Precision, build: reference_run::Build) -> (Graph, NodeId) {
    let mut graph = Graph::new(mode);
    let images = graph.images(dims[0], dims[1], dims[2]);
    let logits = build(&mut graph, images).unwrap();
    let loss = graph.cross_entropy(logits);
    graph.store_in(precision);
    graph.differentiate(loss, true, true);
    (graph, loss)
}

// One piece of work alone.

/// One task of a graph alone, with random inputs.
struct Bench<'a> {
    graph: &'a Graph,
    task: &'a Task,
    trial: Trial<'a>,
}

impl Bench<'_> {
    /// Panics unless `lowered` gives `truth`. Returns the distance relative to
    /// the norm.
    fn check(&self, lowered: &Lowered, before: &[f32], truth: &[f64], what: &str) -> f64 {
        let tolerance = match self.graph.shape(self.task.output).precision {
            Precision::F32 => ORDER,
            Precision::F16 => ROUNDING,
        };
        // Where all values are zero, the distance must be zero, too.
        let off = relative_distance(&self.trial.found(lowered, before).unwrap(), truth);
        assert!(off <= tolerance, "{what}: off by {off:.2e}, allowed {tolerance:.2e}");
        off
    }

    /// The same task with some values of one input replaced, for each input and each
    /// value of [`SPOILING`].
    fn spoiled(&self) -> Vec<(usize, f32, Bench<'_>)> {
        let inputs = self.trial.float_inputs().into_iter();
        let with = |(input, spoil): (usize, f32)| {
            let trial = self.trial.spoiled(input, spoil);
            (input, spoil, Bench { trial, ..*self })
        };
        inputs
            .flat_map(|input| SPOILING.map(|spoil| (input, spoil)))
            .map(with)
            .collect()
    }

    /// Panics where `lowered` gives a finite number in place of one that is not
    /// finite in `truth`, or, where `exact`, another value than `truth` at all.
    fn check_spoiled(&self, lowered: &Lowered, before: &[f32], truth: &[f64], exact: bool, what: &str) {
        let found = self.trial.found(lowered, before).unwrap();
        let scale = truth
            .iter()
            .filter(|value| value.is_finite())
            .fold(1e-3, |most: f64, value| most.max(value.abs()));
        for (at, (&found, &truth)) in found.iter().zip(truth).enumerate() {
            let same = if truth.is_finite() {
                !exact || (found - truth).abs() <= 2.0 * ROUNDING * scale
            } else if exact {
                found == truth || found.is_nan() && truth.is_nan()
            } else {
                !found.is_finite()
            };
            assert!(same, "{what}: value {at} is {found}, not {truth}");
        }
    }
}

/// Checks every task of `graph` with each of its algorithms. Returns the names
/// of the operations, the number of checks and the largest deviations in 32 and
/// 16 bits.
fn check_tasks(gpu: &Arc<Gpu>, graph: &Graph, loss: NodeId, batch: usize) -> (BTreeSet<String>, usize, [f64; 2]) {
    let target = target(gpu);
    let (mut seen, mut checks, mut worst) = (BTreeSet::new(), 0, [0.0_f64; 2]);
    for task in &tasks(graph, &[loss], true) {
        let bench = Bench {
            graph,
            task,
            trial: Trial::new(gpu, graph, task, batch),
        };
        let inputs: Vec<&Shape> = task.inputs.iter().map(|&id| graph.shape(id)).collect();
        let output = graph.shape(task.output);
        let name = graph.node(task.output).op.name();
        // The earlier contents must not matter, except for sums in place.
        let garbage = vec![1e3; output.len(batch)];
        let mut record = |off: f64| {
            let place = &mut worst[usize::from(output.precision == Precision::F16)];
            *place = place.max(off);
            checks += 1;
        };
        match &task.action {
            Action::Alias => {}
            Action::Work(work) => {
                let truth = bench.trial.truth();
                let mut lowered = vec![("default".to_string(), work.lower(&inputs, output, batch, &target))];
                for algorithm in work.algorithms(&inputs, output, &target) {
                    let other = work.lower_as(&algorithm, &inputs, output, batch, &target).unwrap();
                    if other != lowered[0].1 {
                        lowered.push((algorithm.to_string(), other));
                    }
                }
                // A kernel with many algorithms has each of them with another input
                // spoiled: a software driver takes long for each run.
                for (index, (input, spoil, bench)) in bench.spoiled().into_iter().enumerate() {
                    let (truth, exact) = (bench.trial.truth(), keeps_places(work, input));
                    let spoiled = bench.task.inputs.len() * SPOILING.len();
                    for (place, (algorithm, lowered)) in lowered.iter().enumerate() {
                        if exact || place % spoiled == index {
                            let what = format!("{work:?} to {output}, {algorithm}, {spoil} in input {input}");
                            bench.check_spoiled(lowered, &garbage, &truth, exact, &what);
                        }
                    }
                }
                for (algorithm, lowered) in lowered {
                    record(bench.check(
                        &lowered,
                        &garbage,
                        &truth,
                        &format!("{work:?} to {output}, {algorithm}"),
                    ));
                }
            }
            Action::Sum => {
                let truth = bench.trial.truth();
                let [a, b] = [0, 1].map(|index| reference_run::to_f64(&bench.trial.inputs[index]));
                for (kernel, before, truth) in [
                    (Pointwise::Add, &garbage, &truth),
                    (Pointwise::Accumulate, &bench.trial.inputs[0], &truth),
                    (Pointwise::Copy { input: 0 }, &garbage, &a),
                    (Pointwise::Copy { input: 1 }, &garbage, &b),
                ] {
                    let lowered = Work::Pointwise(kernel).lower(&[], output, batch, &target);
                    record(bench.check(&lowered, before, truth, &format!("{kernel:?} of {output}")));
                }
            }
        }
        seen.insert(format!("{name} of {}", output.precision));
    }
    (seen, checks, worst)
}

/// This machine's adapter with the kernels of `kind`, if it has 16-bit floats.
/// Prints a line where it has not.
fn with_f16(kind: AdapterKind) -> Option<Arc<Gpu>> {
    let gpu = device::of_kind(kind);
    if gpu.info().f16 {
        return Some(gpu);
    }
    println!("NOT TESTED: {} has no 16-bit floats", gpu.info());
    None
}

/// Tasks of whole networks, with and without draws by image, on planes whose
/// batch has an odd number of values and, in 16 bits, on planes that divide by
/// four. In 32 bits tests/it/tuning.rs and tests/it/kernels.rs check those:
/// a software driver takes a third of a second to compile an algorithm.
fn all_tasks(kind: AdapterKind, precision: Precision) {
    let Some(gpu) = with_f16(kind) else { return };
    let by_image = |graph: &mut Graph, images| {
        let logits = everything(graph, images)?;
        graph.drop_paths(|_, _| 0.4);
        Ok(NodeId(logits.0 + graph.blocks.len()))
    };
    let builds: [(reference_run::Build, [usize; 3], usize); 4] = [
        (&by_image, [3, 9, 7], 5),
        (&odd, [3, 5, 5], 3),
        (&everything, [4, 8, 8], 6),
        (&many_channels, [3, 8, 8], 3),
    ];
    let builds = match precision {
        Precision::F32 => &builds[..2],
        Precision::F16 => &builds[..],
    };
    for &(build, dims, batch) in builds {
        // Evaluation adds the running statistics. One network is enough.
        let modes = if dims[1] == 8 {
            &[Mode::Train, Mode::Eval][..]
        } else {
            &[Mode::Train]
        };
        for &mode in modes {
            let (graph, loss) = differentiated(dims, mode, precision, build);
            let (seen, checks, [in_32, in_16]) = check_tasks(&gpu, &graph, loss, batch);
            println!(
                "{kind:?}, {precision}, {dims:?}: {checks} checks of {} operations; \
                 worst in 32 bits {in_32:.1e}, in 16 bits {in_16:.1e}",
                seen.len()
            );
        }
    }
}

/// More channels than a kernel takes at a time: sums between channel blocks are
/// stored in 32 bits.
fn many_channels(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("stem", images, 20, conv(1, 1, 1), false, Init::Zero)?;
    let y = graph.conv("first", x, 36, conv(3, 1, 1), false, Init::Zero)?;
    let y = graph.batch_norm("bn", y, 1e-5, 0.1);
    let y = graph.relu(y);
    let y = graph.conv("second", y, 20, conv(3, 1, 1), true, Init::Zero)?;
    let x = block(graph, "a", true, [y, x], x)?;
    let x = graph.global_avg_pool(x);
    Ok(graph.linear("fc", x, CLASSES, Init::Zero))
}

/// Values with an odd number of elements everywhere, and logits that do not
/// come from a linear layer.
fn odd(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    odd_values(graph, images, 3)
}

#[test]
fn every_algorithm_in_16_bits_on_processors() {
    all_tasks(AdapterKind::Cpu, Precision::F16);
}

#[test]
fn every_algorithm_in_16_bits_on_gpus() {
    all_tasks(AdapterKind::Discrete, Precision::F16);
}

#[test]
fn every_algorithm_in_32_bits_on_processors() {
    all_tasks(AdapterKind::Cpu, Precision::F32);
}

#[test]
fn every_algorithm_in_32_bits_on_gpus() {
    all_tasks(AdapterKind::Discrete, Precision::F32);
}

// Whole steps.

/// Tolerances of loss, gradients and running states of whole networks,
/// relative to their norms: the roundings of all layers add up, and sometimes
/// they change the sign of a ReLU's input.
const NETWORK: [f64; 3] = [5e-3, 0.15, 5e-3];

#[test]
fn whole_networks_stay_close_to_the_f64_reference() {
    for kind in device::KINDS {
        let Some(gpu) = with_f16(kind) else { return };
        for (dims, batch) in [([4, 8, 8], 24), ([3, 9, 7], 25)] {
            let mut run = ReferenceRun::stored_in(Precision::F16, &gpu, (dims, batch), 5, &everything);
            let route = run.default_route();
            println!("{kind:?} {dims:?}: {}", run.check_within(&route, NETWORK));
            assert_eq!(run.on_device(&route), run.on_device(&route), "the same bits");
        }
    }
}

#[test]
fn studies_read_values_that_are_stored_in_16_bits() {
    let Some(gpu) = with_f16(AdapterKind::Discrete) else {
        return;
    };
    let read = |precision| {
        let mut engine = engine(&gpu, precision);
        let draws: Vec<Draw> = (0..9).map(Draw::unchanged).collect();
        let batch = BatchRef {
            split: Split::Train,
            draws: &draws,
            seed: 1,
            step: 0,
        };
        let route = engine.graph().default_route();
        let mut values: Vec<Vec<f32>> = engine.block_values(&batch, &route).unwrap().concat();
        values.extend(engine.input_gradients(&batch, &[route], Mode::Eval).unwrap());
        values
    };
    for (found, truth) in read(Precision::F16).iter().zip(&read(Precision::F32)) {
        let (found, truth) = (reference_run::to_f64(found), reference_run::to_f64(truth));
        let off = distance(&found, &truth) / norm(&truth);
        assert!(off > 0.0 && off < 0.05, "off by {off:.1e}");
    }
}

const MODEL: &str = "resnet8";

fn network(mode: Mode, precision: Precision) -> Network {
    let input = InputShape {
        channels: 3,
        height: 8,
        width: 8,
        classes: 4,
    };
    let network = MODEL.parse::<ModelSpec>().unwrap().build(&input, mode).unwrap();
    network.changed(|graph| graph.store_in(precision))
}

/// An engine with initial weights and forty images of noise.
fn engine(gpu: &Arc<Gpu>, precision: Precision) -> DeviceEngine {
    let (train, eval) = (network(Mode::Train, precision), network(Mode::Eval, precision));
    let mut engine = DeviceEngine::new(gpu.clone(), Some(train), eval, |_| true).unwrap();
    initialise(&mut engine, 5);
    let set = small::noise(8, 40);
    let normalization = Normalization::new(vec![0.5; 3], vec![0.25; 3]).unwrap();
    engine.load(Split::Train, &set, &normalization).unwrap();
    engine
}

/// Takes one step on the first images and returns its loss.
fn step(engine: &mut DeviceEngine, step: u32) -> f32 {
    let draws: Vec<Draw> = (0..20).map(Draw::unchanged).collect();
    let route = engine.graph().default_route();
    let plan = StepPlan {
        draws: &draws,
        padding: Padding::Zero,
        route: &route,
        update: UPDATE,
        seed: 77,
        step,
    };
    engine.step(&plan).unwrap();
    engine.metrics(step..step + 1).unwrap()[0][0]
}

/// Parameters, then momenta.
fn learned(engine: &mut DeviceEngine) -> Vec<Vec<f32>> {
    let ids = || (0..engine.graph().params.len()).map(ParamId).collect::<Vec<_>>();
    let ids = ids();
    let mut all: Vec<Vec<f32>> = ids.iter().map(|&id| engine.param(id).unwrap()).collect();
    all.extend(ids.iter().map(|&id| engine.momentum(id).unwrap()));
    all
}

#[test]
fn a_step_that_overflows_changes_nothing_but_the_scale() {
    let Some(gpu) = with_f16(AdapterKind::Discrete) else {
        return;
    };
    let mut engine = engine(&gpu, Precision::F16);
    step(&mut engine, 0);
    let before = learned(&mut engine);
    let huge = LossScale {
        scale: 2.0_f32.powi(60),
        good: 7,
        skipped: 0,
    };
    engine.set_loss_scale(huge);
    let loss = step(&mut engine, 1);
    assert!(loss.is_finite(), "the forward pass has no scale: {loss}");
    assert_eq!(learned(&mut engine), before);
    let after = engine.loss_scale().unwrap().unwrap();
    let halved = LossScale {
        scale: 0.5 * huge.scale,
        good: 0,
        skipped: 1,
    };
    assert_eq!(after, halved);
    // The scale falls until the gradients fit, and training continues.
    for number in 2..70 {
        step(&mut engine, number);
    }
    let settled = engine.loss_scale().unwrap().unwrap();
    println!("{settled:?}");
    assert!(settled.skipped > 20 && settled.skipped + settled.good == 69);
    assert!(settled.scale > 1.0 && !settled.is_exhausted());
    let trained = learned(&mut engine);
    assert_ne!(trained, before);
    assert!(trained.concat().iter().all(|value| value.is_finite()));
}

#[test]
fn the_scale_doubles_after_two_thousand_good_steps() {
    let Some(gpu) = with_f16(AdapterKind::Discrete) else {
        return;
    };
    let mut halves = engine(&gpu, Precision::F16);
    halves.set_loss_scale(LossScale {
        scale: 8.0,
        good: 1998,
        skipped: 3,
    });
    let scales = [0, 1].map(|number| {
        step(&mut halves, number);
        halves.loss_scale().unwrap().unwrap()
    });
    let [before, doubled] = scales.map(|loss| (loss.scale, loss.good, loss.skipped));
    assert_eq!((before, doubled), ((8.0, 1999, 3), (16.0, 0, 3)));
    // Gradients are read without the scale with which they were computed.
    let mut whole = engine(&gpu, Precision::F32);
    assert_eq!(whole.loss_scale().unwrap(), None);
    for number in [0, 1] {
        step(&mut whole, number);
    }
    for id in (0..whole.graph().params.len()).map(ParamId) {
        let truth = reference_run::to_f64(&whole.gradient(id).unwrap());
        let off = distance(&reference_run::to_f64(&halves.gradient(id).unwrap()), &truth) / norm(&truth);
        assert!(off < 0.3, "parameter {id:?}: off by {off:.1e}");
    }
}

#[test]
fn impossible_precisions_are_refused_with_a_reason() {
    let without = device::open(&AdapterOverrides {
        no_f16: true,
        ..AdapterOverrides::default()
    });
    let session = |gpu: &Arc<Gpu>, build: reference_run::Build, dims| {
        let graph = |mode| differentiated(dims, mode, Precision::F16, build).0;
        let error = Session::new(gpu.clone(), Some(graph(Mode::Train)), graph(Mode::Eval), |_| true);
        error.unwrap_err().to_string()
    };
    let error = session(&without, &odd, [3, 5, 5]);
    let adapter = without.info().name.clone();
    assert!(error.contains(&adapter) && error.contains("16-bit floats"), "{error}");
    let Some(gpu) = with_f16(AdapterKind::Discrete) else {
        return;
    };
    let narrow: reference_run::Build = &|graph, images| {
        let x = graph.conv("one", images, 1, conv(1, 1, 1), false, Init::Zero)?;
        Ok(graph.linear("fc", x, CLASSES, Init::Zero))
    };
    let error = session(&gpu, narrow, [3, 1, 1]);
    assert!(error.contains("conv") && error.contains("16-bit"), "{error}");
}

#[test]
fn activations_take_half_the_memory() {
    let spec: ModelSpec = "resnet20".parse().unwrap();
    let planned = |precision| {
        let mut graph = spec.build(&InputShape::default(), Mode::Train).unwrap().graph;
        graph.store_in(precision);
        schedule::memory(&graph, true, 128, Recompute::None, &Target::portable(false)).bytes()
    };
    let [whole, half] = [Precision::F32, Precision::F16].map(planned);
    println!("{whole} bytes in 32 bits, {half} in 16");
    // Partial sums of weight gradients stay in 32 bits.
    assert!(half < whole * 57 / 100, "{half} of {whole} bytes");
}

// Whole runs.

fn config(precision: Precision) -> TrainConfig {
    TrainConfig {
        model: MODEL.into(),
        precision,
        batch_size: 16,
        steps: Some(48),
        lr: 0.05,
        schedule: "constant".into(),
        checkpoint_every: Some(5),
        ..TrainConfig::for_data("synthetic:192,96")
    }
}

/// Trains or resumes in `folder`. Returns the last epoch and the checkpoint.
fn train(config: &TrainConfig, folder: &Path, resume: bool) -> Result<(EpochRow, Vec<u8>), TrainError> {
    let directory = match resume {
        true => RunDirectory::open(folder)?,
        false => RunDirectory::create(folder)?,
    };
    let mut trainer = Trainer::open_config(config.clone(), &Adapter::default())?;
    let mut run = if resume {
        trainer.resume(&directory)?
    } else {
        trainer.start(&directory)?
    };
    run.train(|_| {})?;
    let last = *run.epochs().last().unwrap();
    Ok((last, std::fs::read(directory.last()).unwrap()))
}

#[test]
fn training_in_16_bits_learns_as_much_and_resumes_to_the_same_bits() {
    if with_f16(AdapterKind::Cpu).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (whole, _) = train(&config(Precision::F32), &path("f32"), false).unwrap();
    let (half, last) = train(&config(Precision::F16), &path("f16"), false).unwrap();
    println!("{whole:?}\n{half:?}");
    // Training is chaotic, and there are few test images.
    for (found, truth, most) in [
        (half.train_loss, whole.train_loss, 0.05),
        (half.test_loss, whole.test_loss, 0.2),
    ] {
        assert!(
            (found / truth - 1.0).abs() < most,
            "loss {found} in 16 bits, {truth} in 32"
        );
    }
    assert!(half.train_loss < 2.0, "it learns: {}", half.train_loss);
    // Half of the epochs, then the other half.
    let parts = path("parts");
    let first = TrainConfig {
        steps: Some(24),
        ..config(Precision::F16)
    };
    train(&first, &parts, false).unwrap();
    let (resumed, again) = train(&config(Precision::F16), &parts, true).unwrap();
    assert_eq!(resumed.train_loss, half.train_loss);
    assert!(again == last, "the checkpoints differ");
}

#[test]
fn a_run_that_diverges_still_stops() {
    if with_f16(AdapterKind::Cpu).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let wild = TrainConfig {
        lr: 1e6,
        ..config(Precision::F16)
    };
    let error = train(&wild, &folder.path().join("wild"), false).unwrap_err();
    println!("{error}");
    assert!(error.diverged_at().is_some(), "{error}");
}
