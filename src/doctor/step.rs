//! Does a whole training step compute what the f64 reference computes? It has the
//! kernels that no single operation has: those that gather images, distort and mix them,
//! record losses, put shards together, update parameters by every optimiser, average them,
//! and adapt the loss scale.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::cases::Outcome;
use super::trial::relative_distance;
use crate::data::{Distortions, Draw, ImageSet, Mixing, Normalization, Padding, Policy, Split};
use crate::gpu::Gpu;
use crate::graph::{BlockInfo, Conv, Gains, Graph, GraphError, Init, Mode, ParamId, Precision, StateId};
use crate::kernels::{Optimizer, UpdateRule};
use crate::models::Network;
use crate::random::{Philox, Stream};
use crate::schedule::Update;
use crate::train::{DeviceEngine, Engine, ReferenceEngine, StepPlan, StepRules, TrainError, initialise};

const IMAGES: usize = 14;
const DIMS: [usize; 3] = [3, 8, 8];
const CLASSES: usize = 4;
const STEPS: u32 = 2;
const WEIGHTS: Init = Init::Normal(0.2);
/// Largest relative distance of parameters, momenta and running statistics after the steps: in 16 bits
/// the roundings of all layers add up.
const TOLERANCE: f64 = 1e-4;
const TOLERANCE_F16: f64 = 0.05;

/// A way to train: its name, its learning rate, and the rules of its steps. Adaptive
/// updates turn small differences of gradients into large ones, so their rate is low.
type Way = (&'static str, f32, StepRules);

/// Ways that have every kernel of a step.
fn ways() -> [Way; 3] {
    let clip = Some(0.1);
    let adamw = UpdateRule {
        optimizer: Optimizer::AdamW {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
        },
        clip,
        average: Some(0.5),
    };
    let mixing = Mixing {
        mixup: 1.0,
        cutmix: 1.0,
        cutout: 3,
    };
    let distortions = Distortions {
        resized_crop: true,
        color_jitter: 0.5,
        policy: Policy::Rand {
            operations: 4,
            magnitude: 20,
        },
    };
    let lars = UpdateRule {
        optimizer: Optimizer::Lars { trust: 0.01, eps: 1e-8 },
        clip,
        average: None,
    };
    [
        ("sgd", 0.05, StepRules::default()),
        (
            "adamw, clipped and averaged, on distorted and mixed images",
            1e-3,
            StepRules {
                update: adamw,
                mixing,
                distortions,
                ..StepRules::default()
            },
        ),
        (
            "lars, clipped, in three shards",
            0.05,
            StepRules {
                update: lars,
                shards: NonZeroUsize::new(3).expect("not 0"),
                ..StepRules::default()
            },
        ),
    ]
}

/// The losses of the steps, and the trained values of each parameter.
type Trained = (Vec<[f32; 2]>, Vec<Vec<f64>>);

/// Takes a few steps on `gpu` and in the reference in every way, on images of `seed`,
/// and compares losses, parameters, momenta and running statistics.
///
/// # Errors
/// Where the device fails.
pub fn examine(gpu: &Arc<Gpu>, seed: u64, precision: Precision) -> Result<Outcome, TrainError> {
    let mut draws = Philox::new(seed).draws(Stream::Doctor, u32::MAX, 0);
    let count = IMAGES * DIMS.iter().product::<usize>();
    let set = ImageSet {
        name: "noise".to_string(),
        channels: DIMS[0],
        height: DIMS[1],
        width: DIMS[2],
        class_names: (0..CLASSES).map(|class| class.to_string()).collect(),
        images: (0..count).map(|_| draws.word() as u8).collect(),
        labels: (0..IMAGES).map(|_| draws.below(CLASSES as u32)).collect(),
    };
    let normalization =
        Normalization::new(vec![0.5, 0.4, 0.45], vec![0.25, 0.2, 0.3]).expect("means and deviations of three channels");
    // Crops and flips of images in another order.
    let images: Vec<Draw> = (0..IMAGES as u32)
        .map(|index| Draw {
            index: (5 * index + 3) % IMAGES as u32,
            dx: draws.below(9) as u8,
            dy: draws.below(9) as u8,
            flip: draws.coin(),
            epoch: 1,
            position: index,
        })
        .collect();
    let train = |engine: &mut dyn Engine, &(_, lr, rules): &Way| -> Result<Trained, TrainError> {
        initialise(engine, seed);
        engine.set_rules(rules)?;
        engine.start_average();
        engine.load(Split::Train, &set, &normalization)?;
        let route = engine.graph().default_route();
        for step in 0..STEPS {
            engine.step(&StepPlan {
                draws: &images[..IMAGES - step as usize],
                padding: if step == 0 { Padding::Zero } else { Padding::Reflect },
                route: &route,
                update: Update {
                    lr,
                    momentum: 0.9,
                    weight_decay: 1e-3,
                    nesterov: step == 1,
                },
                seed,
                step,
            })?;
        }
        let mut values = Vec::new();
        for id in (0..engine.graph().params.len()).map(ParamId) {
            values.push(engine.param(id)?);
            values.push(engine.momentum(id)?);
        }
        for id in (0..engine.graph().states.len()).map(StateId) {
            values.push(engine.state(id)?);
        }
        engine.exchange_average();
        for id in (0..engine.graph().params.len()).map(ParamId) {
            values.push(engine.param(id)?);
        }
        let to_f64 = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        Ok((engine.metrics(0..STEPS)?, values.into_iter().map(to_f64).collect()))
    };
    let tolerance = match precision {
        Precision::F32 => TOLERANCE,
        Precision::F16 => TOLERANCE_F16,
    };
    let (mut farthest, mut compile_seconds) = (0.0_f64, 0.0);
    for way in ways() {
        let soft = way.2.mixing.mixes();
        let whole = |mode, precision| network(mode, precision, soft && mode == Mode::Train);
        let began = std::time::Instant::now();
        let (on_train, on_eval) = (whole(Mode::Train, precision), whole(Mode::Eval, precision));
        let mut device = DeviceEngine::new(gpu.clone(), Some(on_train), on_eval, |_| true)?;
        let (losses, found) = train(&mut device, &way)?;
        compile_seconds += began.elapsed().as_secs_f64();
        let (on_train, on_eval) = (whole(Mode::Train, Precision::F32), whole(Mode::Eval, Precision::F32));
        let mut reference = ReferenceEngine::new(Some(on_train), on_eval, |_| true);
        let (true_losses, truth) = train(&mut reference, &way)?;
        let losses = losses.iter().zip(&true_losses);
        let of_losses = losses.map(|([found, _], [truth, _])| f64::from((found - truth).abs() / truth));
        let of_values = found
            .iter()
            .zip(&truth)
            .map(|(found, truth)| relative_distance(found, truth));
        let worst = |distances: &mut dyn Iterator<Item = f64>| {
            // A NaN is worse than any number.
            distances.fold(
                0.0_f64,
                |worst, one| if one.is_nan() { f64::INFINITY } else { worst.max(one) },
            )
        };
        let (of_losses, distance) = (worst(&mut { of_losses }), worst(&mut { of_values }));
        if of_losses > tolerance || distance > tolerance {
            return Ok(Outcome::Wrong {
                problem: format!(
                    "after {STEPS} steps by {} losses are off by {of_losses:.1e}, parameters, momenta and averages by \
                     {distance:.1e} of their norm, and {tolerance:.1e} is allowed",
                    way.0
                ),
            });
        }
        farthest = farthest.max(distance);
    }
    Ok(Outcome::Agrees {
        distance: farthest,
        compile_seconds,
    })
}

/// A small residual network, perhaps with soft targets.
fn network(mode: Mode, precision: Precision, soft: bool) -> Network {
    let build = || -> Result<Network, GraphError> {
        // Cases of their own examine convolutions; small ones take little time to compile.
        let conv = Conv {
            kernel: 1,
            stride: 1,
            padding: 0,
            groups: 1,
        };
        let mut graph = Graph::new(mode);
        let [channels, height, width] = DIMS;
        let images = graph.images(channels, height, width);
        let x = graph.conv("stem", images, 4, conv, false, WEIGHTS)?;
        let x = graph.batch_norm("bn", x, 1e-5, 0.1);
        let x = graph.relu(x);
        let y = graph.conv("branch", x, 4, conv, true, WEIGHTS)?;
        let info = BlockInfo {
            name: "block",
            stage: 1,
            input: x,
            downsamples: false,
            default: Gains::RESIDUAL,
            relu: true,
        };
        let x = graph.block(&info, y, x)?;
        let x = graph.global_avg_pool(x);
        let logits = graph.linear("fc", x, CLASSES, WEIGHTS);
        let loss = graph.cross_entropy(logits);
        graph.store_in(precision);
        if soft {
            graph.soften(0.1);
        }
        Ok(Network {
            graph,
            images,
            logits,
            loss,
        })
    };
    build().expect("the layers fit")
}
