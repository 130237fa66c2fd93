//! How many images per second does a network train on and evaluate?

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::timing::TimingSummary;
use super::{BenchBudget, BenchError, BenchProgress, ProgressCallback, check_rates};
use crate::data::{Draw, ImageSet, Normalization, Padding};
use crate::gpu::Gpu;
use crate::graph::{Mode, Precision, Recompute, Route};
use crate::models::{InputShape, ModelSpec, Network};
use crate::random::{Philox, Stream};
use crate::schedule::{KernelChoices, Update, memory, target};
use crate::train::{DeviceEngine, Engine, Split, StepPlan, TrainError, initialise};

/// Most batches in one timed interval.
const MOST_BATCHES: usize = 1000;

/// A network to be measured, and its batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkCase {
    /// The model.
    pub model: ModelSpec,
    /// Images in a batch.
    pub batch: usize,
}

/// How the networks of a measurement are computed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkOptions {
    /// How activations and their gradients are stored.
    pub precision: Precision,
    /// Kernels that tuning chose; all others are the default ones.
    pub choices: KernelChoices,
}

/// How fast one network is, on images of the size and with the number of
/// classes that are usual for the model. The results of other programs have the
/// images per second only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkRates {
    /// The model.
    pub model: String,
    /// Images in a batch.
    pub batch: usize,
    /// Training: images per second in the best round.
    pub training_images_per_second: f64,
    /// Training: images per second in the median round.
    pub training_images_per_second_median: f64,
    /// Inference with loss: images per second in the best round.
    pub inference_images_per_second: f64,
    /// Inference with loss: images per second in the median round.
    pub inference_images_per_second_median: f64,
    /// 10⁹ operations per second of convolutions and linear layers in the best
    /// round of training, two for each multiply-add.
    #[serde(default)]
    pub training_gflops: f64,
    /// The same for inference.
    #[serde(default)]
    pub inference_gflops: f64,
    /// Device memory of the network after training and inference, in bytes,
    /// including the images.
    #[serde(default)]
    pub bytes: u64,
    /// The memory planned for training, in bytes: activations and their gradients,
    /// parameters, their gradients and momenta.
    #[serde(default)]
    pub planned_bytes: u64,
    /// Seconds that the CPU needs to record and submit a training step.
    #[serde(default)]
    pub recording_seconds: f64,
    /// That time as a share of the whole step's time.
    #[serde(default)]
    pub recording_share: f64,
}

/// A network on the device, ready to run.
struct NetworkRunner {
    model: String,
    batch: usize,
    engine: DeviceEngine,
    draws: Vec<Draw>,
    route: Route,
    step: u32,
    bytes: u64,
    planned_bytes: u64,
    training_macs: u64,
    inference_macs: u64,
}

/// Times all of `networks`, each with its own batch size.
///
/// # Errors
/// When a network cannot be built, or the device fails.
pub fn network_rates(
    gpu: &Arc<Gpu>,
    networks: &[NetworkCase],
    options: &NetworkOptions,
    budget: &BenchBudget,
    listener: ProgressCallback,
) -> Result<Vec<NetworkRates>, BenchError> {
    let rounds = budget.rounds.max(1);
    let of = networks.len() * (rounds + 1);
    let mut runners = Vec::with_capacity(networks.len());
    let mut batches = Vec::with_capacity(networks.len());
    for (done, network) in networks.iter().enumerate() {
        let what = &format!("{}, first steps", network.model);
        listener(BenchProgress { what, done, of });
        let mut runner = NetworkRunner::open(gpu, network, options)?;
        batches.push(runner.warm_up(budget.network_seconds)?);
        runners.push(runner);
    }
    let mut times = vec![Times::default(); runners.len()];
    for round in 0..rounds {
        for (index, runner) in runners.iter_mut().enumerate() {
            let done = networks.len() * (round + 1) + index;
            listener(BenchProgress {
                what: &runner.model,
                done,
                of,
            });
            let (training, inference) = batches[index];
            let times = &mut times[index];
            times.training.push(runner.train(training)?);
            times.inference.push(runner.infer(inference)?);
            times.recording.push(runner.record()?);
        }
    }
    let rates = runners.iter().zip(&times);
    let rates: Vec<NetworkRates> = rates.filter_map(|(runner, times)| runner.rates(times)).collect();
    for network in &rates {
        check_rates(
            &network.model,
            network.training_gflops.max(network.inference_gflops),
            0.0,
        )?;
    }
    Ok(rates)
}

/// Seconds in each round: of a training step, of a batch of inference, and of
/// recording a step.
#[derive(Debug, Clone, Default)]
struct Times {
    training: Vec<f64>,
    inference: Vec<f64>,
    recording: Vec<f64>,
}

/// `count` images of random bytes.
fn random_images(input: &InputShape, count: usize) -> ImageSet {
    let mut draws = Philox::new(0).draws(Stream::Synthetic, 0, 0);
    let pixels = count * input.channels * input.height * input.width;
    ImageSet {
        name: "random".to_string(),
        channels: input.channels,
        height: input.height,
        width: input.width,
        class_names: (0..input.classes).map(|class| class.to_string()).collect(),
        images: (0..pixels).map(|_| draws.word() as u8).collect(),
        labels: (0..count).map(|_| draws.below(input.classes as u32)).collect(),
    }
}

impl NetworkRunner {
    fn open(gpu: &Arc<Gpu>, network: &NetworkCase, options: &NetworkOptions) -> Result<Self, TrainError> {
        let NetworkCase { model, batch } = network;
        let input = model.usual_input();
        let before = gpu.allocated();
        let stored = |network: Network| network.changed(|graph| graph.store_in(options.precision));
        let (train, eval) = (
            stored(model.build(&input, Mode::Train)?),
            stored(model.build(&input, Mode::Eval)?),
        );
        let parameters = 4 * eval.graph.parameter_count() as u64;
        let planned = memory(&train.graph, true, *batch, Recompute::None, &target(gpu)).bytes();
        let route = eval.graph.default_route();
        let mut engine = DeviceEngine::new(gpu.clone(), Some(train), eval, |_| true)?;
        engine.session().set_choices(options.choices.clone());
        initialise(&mut engine, 0);
        let images = random_images(&input, *batch);
        let normalization = Normalization::measured(&images);
        engine.load(Split::Train, &images, &normalization)?;
        engine.load(Split::Test, &images, &normalization)?;
        let mut macs = |training: bool| {
            let kernels = engine.session().kernels(training, *batch, &route)?;
            Ok::<u64, TrainError>(kernels.iter().map(|kernel| kernel.macs).sum())
        };
        let mut runner = NetworkRunner {
            model: model.to_string(),
            batch: *batch,
            training_macs: macs(true)?,
            inference_macs: macs(false)?,
            engine,
            draws: (0..*batch as u32).map(Draw::unchanged).collect(),
            route,
            step: 0,
            bytes: 0,
            planned_bytes: planned + 3 * parameters,
        };
        // The first batches compile the kernels and allocate memory.
        runner.train(1)?;
        runner.infer(1)?;
        runner.bytes = gpu.allocated().saturating_sub(before);
        Ok(runner)
    }

    /// The numbers of training steps and of inference batches that take `seconds`
    /// each.
    fn warm_up(&mut self, seconds: f64) -> Result<(usize, usize), TrainError> {
        let count = |once: f64| ((seconds / once).ceil() as usize).clamp(1, MOST_BATCHES);
        Ok((count(self.train(1)?), count(self.infer(1)?)))
    }

    /// Records and submits one step.
    fn take_step(&mut self) -> Result<(), TrainError> {
        let plan = StepPlan {
            draws: &self.draws,
            padding: Padding::Zero,
            route: &self.route,
            update: Update {
                lr: 0.01,
                momentum: 0.9,
                weight_decay: 1e-4,
                nesterov: false,
            },
            seed: 0,
            step: self.step,
        };
        self.step += 1;
        self.engine.step(&plan)
    }

    fn wait(&mut self) -> Result<(), TrainError> {
        Ok(self.engine.session().gpu().wait_for_all()?)
    }

    /// Seconds per training step, over `count` steps.
    fn train(&mut self, count: usize) -> Result<f64, TrainError> {
        self.wait()?;
        let begin = Instant::now();
        for _ in 0..count {
            self.take_step()?;
        }
        self.wait()?;
        Ok(begin.elapsed().as_secs_f64() / count as f64)
    }

    /// Seconds per batch of inference, over `count` batches whose losses are read.
    fn infer(&mut self, count: usize) -> Result<f64, TrainError> {
        self.wait()?;
        let begin = Instant::now();
        for _ in 0..count {
            let routes = std::slice::from_ref(&self.route);
            self.engine.evaluate(Split::Test, &self.draws, routes)?;
        }
        Ok(begin.elapsed().as_secs_f64() / count as f64)
    }

    /// Seconds to record and submit one step while the device is idle, without
    /// waiting for it.
    fn record(&mut self) -> Result<f64, TrainError> {
        self.wait()?;
        let begin = Instant::now();
        self.take_step()?;
        let seconds = begin.elapsed().as_secs_f64();
        self.wait()?;
        Ok(seconds)
    }

    /// The rates; `None` where nothing was measured.
    fn rates(&self, times: &Times) -> Option<NetworkRates> {
        let training = TimingSummary::of(&times.training)?;
        let inference = TimingSummary::of(&times.inference)?;
        let recording = TimingSummary::of(&times.recording)?;
        let images = self.batch as f64;
        Some(NetworkRates {
            model: self.model.clone(),
            batch: self.batch,
            training_images_per_second: images / training.best,
            training_images_per_second_median: images / training.median,
            inference_images_per_second: images / inference.best,
            inference_images_per_second_median: images / inference.median,
            training_gflops: 2e-9 * self.training_macs as f64 / training.best,
            inference_gflops: 2e-9 * self.inference_macs as f64 / inference.best,
            bytes: self.bytes,
            planned_bytes: self.planned_bytes,
            recording_seconds: recording.median,
            recording_share: recording.median / training.median,
        })
    }
}
