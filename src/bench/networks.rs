//! How many images a second does a network learn from, and judge?

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::spread::Spread;
use super::{BenchError, Effort, Listener, Progress};
use crate::data::{Draw, Padding, Source};
use crate::gpu::Gpu;
use crate::graph::{Mode, Recompute, Route};
use crate::models::{InputShape, ModelSpec};
use crate::schedule::{Update, memory, target};
use crate::train::{DeviceEngine, Engine, Split, StepPlan, TrainError, initialise};

/// Most batches between two looks at the clock.
const MOST_BATCHES: usize = 1000;

/// A network that takes part, and its batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Contest {
    /// The model.
    pub model: ModelSpec,
    /// Images in a batch.
    pub batch: usize,
}

/// How fast one network is, on 3×32×32 images of ten classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkRates {
    /// The model.
    pub model: String,
    /// Images in a batch.
    pub batch: usize,
    /// Training: images a second in the best round.
    pub training_images_per_second: f64,
    /// The same in the median round.
    pub training_images_per_second_median: f64,
    /// Inference with loss: images a second in the best round.
    pub inference_images_per_second: f64,
    /// The same in the median round.
    pub inference_images_per_second_median: f64,
    /// 10⁹ operations a second of convolutions and linear layers in the best
    /// round of training, two for each multiply-add.
    pub training_gflops: f64,
    /// The same of inference.
    pub inference_gflops: f64,
    /// Bytes of device memory that the network holds after training and
    /// inference, images included.
    pub bytes: u64,
    /// Bytes that the memory plan gives to training: activations and their
    /// gradients, parameters, gradients and momenta.
    pub planned_bytes: u64,
    /// Seconds that the program takes to record and submit a training step.
    pub recording_seconds: f64,
    /// … as a share of the step's own seconds, in which the device works.
    pub recording_share: f64,
}

/// A network on the device, ready to run.
struct Runner {
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

/// Times all of `contests`, each on batches of its own.
pub fn network_rates(
    gpu: &Arc<Gpu>,
    contests: &[Contest],
    effort: &Effort,
    listener: Listener,
) -> Result<Vec<NetworkRates>, BenchError> {
    let rounds = effort.rounds.max(1);
    let of = contests.len() * (rounds + 1);
    let mut runners = Vec::with_capacity(contests.len());
    let mut batches = Vec::with_capacity(contests.len());
    for (done, contest) in contests.iter().enumerate() {
        let what = &format!("{}, first steps", contest.model);
        listener(Progress { what, done, of });
        let mut runner = Runner::open(gpu, contest)?;
        batches.push(runner.warm_up(effort.network_seconds)?);
        runners.push(runner);
    }
    let mut times = vec![Times::default(); runners.len()];
    for round in 0..rounds {
        for (index, runner) in runners.iter_mut().enumerate() {
            let done = contests.len() * (round + 1) + index;
            listener(Progress {
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
    Ok(rates.filter_map(|(runner, times)| runner.rates(times)).collect())
}

/// Seconds by round: of a batch of training and of inference; of recording a
/// step.
#[derive(Debug, Clone, Default)]
struct Times {
    training: Vec<f64>,
    inference: Vec<f64>,
    recording: Vec<f64>,
}

impl Runner {
    fn open(gpu: &Arc<Gpu>, contest: &Contest) -> Result<Self, TrainError> {
        let Contest { model, batch } = contest;
        let input = InputShape::default();
        let before = gpu.allocated();
        let (train, eval) = (model.build(&input, Mode::Train)?, model.build(&input, Mode::Eval)?);
        let parameters = 4 * eval.graph.parameter_count() as u64;
        let planned = memory(&train.graph, true, *batch, Recompute::None, &target(gpu)).bytes();
        let route = eval.graph.default_route();
        let mut engine = DeviceEngine::new(gpu.clone(), Some(train), eval, |_| true)?;
        initialise(&mut engine, 0);
        let source = Source::Synthetic {
            train: *batch,
            test: *batch,
        };
        let splits = source.load(None, None, 0)?;
        engine.load(Split::Train, &splits.train, &splits.normalization)?;
        engine.load(Split::Test, &splits.test, &splits.normalization)?;
        let mut macs = |training: bool| {
            let kernels = engine.session().kernels(training, *batch, &route)?;
            Ok::<u64, TrainError>(kernels.iter().map(|kernel| kernel.macs).sum())
        };
        let mut runner = Runner {
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
        // The first batches compile, and take what memory they need.
        runner.train(1)?;
        runner.infer(1)?;
        runner.bytes = gpu.allocated().saturating_sub(before);
        Ok(runner)
    }

    /// How many batches of training and of inference take `seconds` each.
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

    /// Seconds of one of `count` training steps.
    fn train(&mut self, count: usize) -> Result<f64, TrainError> {
        self.wait()?;
        let begin = Instant::now();
        for _ in 0..count {
            self.take_step()?;
        }
        self.wait()?;
        Ok(begin.elapsed().as_secs_f64() / count as f64)
    }

    /// Seconds of one of `count` batches of inference, their losses read.
    fn infer(&mut self, count: usize) -> Result<f64, TrainError> {
        self.wait()?;
        let begin = Instant::now();
        for _ in 0..count {
            let routes = std::slice::from_ref(&self.route);
            self.engine.evaluate(Split::Test, &self.draws, routes)?;
        }
        Ok(begin.elapsed().as_secs_f64() / count as f64)
    }

    /// Seconds until one step is recorded and submitted, from an idle device:
    /// nothing is waited for.
    fn record(&mut self) -> Result<f64, TrainError> {
        self.wait()?;
        let begin = Instant::now();
        self.take_step()?;
        let seconds = begin.elapsed().as_secs_f64();
        self.wait()?;
        Ok(seconds)
    }

    /// `None` where nothing was measured.
    fn rates(&self, times: &Times) -> Option<NetworkRates> {
        let training = Spread::of(&times.training)?;
        let inference = Spread::of(&times.inference)?;
        let recording = Spread::of(&times.recording)?;
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
