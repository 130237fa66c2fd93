//! Does one kernel compute what the f64 reference computes?
//!
//! One piece of work of a network runs alone, on random inputs that are exact in
//! their precision. Values may be off by the order of sums and by the rounding of
//! what is stored, and by nothing else. What is not finite in f64 must not be
//! finite on the device.

use half::f16;

use crate::gpu::{Binding, Dispatch, Gpu, GpuError};
use crate::graph::{Gains, Graph, Init, NodeId, Op, Param, ParamId, ParamKind, Precision, Shape, TARGET_WORDS};
use crate::kernels::{BatchPart, LossScale, Lowered, Operand, STEP_BYTES, StepRecord, Work};
use crate::random::{Draws, Philox, Stream};
use crate::reference::{self, Inputs};
use crate::schedule::{Task, dispatch, read_values, write_values};

/// Seed and step of the random draws of a step. All words are in use, so that a
/// word that is ignored shows.
const SEED: u64 = 0x0123_4567_89ab_cdef;
const STEP: u32 = 1029;
/// The loss scale.
const SCALE: f32 = 1024.0;

/// What is put among inputs, at random places: more of it than of numbers would
/// leave nothing to compare.
pub const SPOILING: [f32; 4] = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// One task of a network with values for its inputs.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    gpu: &'a Gpu,
    graph: &'a Graph,
    task: &'a Task,
    batch: usize,
    /// Values of the task's inputs, each exact in its own precision.
    pub inputs: Vec<Vec<f32>>,
    labels: Vec<u32>,
    running: Vec<f32>,
}

impl<'a> Trial<'a> {
    /// `task` of `graph` for `batch` images, with random inputs.
    pub fn new(gpu: &'a Gpu, graph: &'a Graph, task: &'a Task, batch: usize) -> Self {
        // One sequence of draws for each value: a task may read a value twice.
        let values = |&id: &NodeId| {
            let (shape, mut draws) = (graph.shape(id), draws(task, id.0 as u32));
            let length = shape.len(batch);
            let statistics = matches!(graph.node(id).op, Op::BatchStats(_) | Op::RunningStats(_));
            let value = |at: usize| match (statistics && at >= length / 2, shape.precision) {
                // A reciprocal standard deviation.
                (true, _) => draws.between(0.5, 1.5),
                (false, Precision::F32) => draws.between(-1.0, 1.0),
                (false, Precision::F16) => f16::from_f32(draws.between(-1.0, 1.0)).to_f32(),
            };
            (0..length).map(value).collect()
        };
        let mut random = draws(task, task.output.0 as u32);
        let classes = graph.logits().map_or(1, |logits| graph.shape(logits).per_image());
        Trial {
            inputs: task.inputs.iter().map(values).collect(),
            labels: match graph.find(|op| *op == Op::Labels).map(|id| graph.shape(id).per_image()) {
                Some(TARGET_WORDS) => {
                    let mut soft = |_| {
                        [0, 1]
                            .map(|_| random.below(classes as u32))
                            .into_iter()
                            .chain([random.unit().to_bits()])
                    };
                    (0..batch).flat_map(&mut soft).collect()
                }
                _ => (0..batch).map(|_| random.below(classes as u32)).collect(),
            },
            running: match task.state {
                Some(state) => (0..2 * graph.states[state.0].channels)
                    .map(|_| random.between(0.5, 1.5))
                    .collect(),
                None => Vec::new(),
            },
            gpu,
            graph,
            task,
            batch,
        }
    }

    /// What the f64 reference computes from the inputs.
    pub fn truth(&self) -> Vec<f64> {
        self.truth_of(self.task.output)
    }

    /// The same for the second output, where the task has one.
    pub fn second_truth(&self) -> Option<Vec<f64>> {
        self.task.second.map(|second| self.truth_of(second))
    }

    fn truth_of(&self, wanted: NodeId) -> Vec<f64> {
        let mut graph = self.graph.clone();
        let mut params: Vec<Vec<f64>> = graph.params.iter().map(|param| vec![0.0; param.len()]).collect();
        for (&id, values) in self.task.inputs.iter().zip(&self.inputs) {
            if graph.node(id).op == Op::Labels {
                continue;
            }
            graph.params.push(Param {
                name: "input".into(),
                kind: ParamKind::Bias,
                dims: vec![values.len()],
                init: Init::Zero,
            });
            params.push(to_f64(values));
            let node = &mut graph.nodes[id.0];
            node.op = Op::Param(ParamId(params.len() - 1));
            node.inputs.clear();
        }
        let mut states: Vec<Vec<f64>> = graph.states.iter().map(|state| vec![1.0; 2 * state.channels]).collect();
        if let Some(state) = self.task.state {
            states[state.0] = to_f64(&self.running);
        }
        let inputs = Inputs {
            images: &[],
            labels: &self.labels,
            params: &params,
            states: &mut states,
            batch: self.batch,
            first: 0,
            of: self.batch,
            seed: SEED,
            step: STEP,
        };
        let values = reference::run(&graph, &graph.default_route(), &[wanted], inputs)
            .expect("the inputs have the shapes of the graph");
        let truth = values.get(wanted).expect("the output was asked for");
        let scaled = self.graph.precision() == Precision::F16;
        let scale = match scaled
            && matches!(
                self.graph.node(wanted).op,
                Op::CrossEntropyGrad | Op::SoftCrossEntropyGrad { .. }
            ) {
            true => f64::from(SCALE),
            false => 1.0,
        };
        truth.iter().map(|value| scale * value).collect()
    }

    /// Compiles the calls of `lowered` and binds them to memory with the inputs. The
    /// output's memory holds `before`.
    ///
    /// # Errors
    /// Where the device refuses a kernel or has no memory.
    pub fn prepare(&self, lowered: &Lowered, before: &[f32]) -> Result<PreparedTrial<'a>, GpuError> {
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (&id, values) in self.task.inputs.iter().zip(&self.inputs) {
            inputs.push(match self.graph.node(id).op {
                Op::Labels => self.words(&self.labels)?,
                _ => self.upload(self.graph.shape(id), values)?,
            });
        }
        let shape = self.graph.shape(self.task.output);
        let output = self.upload(shape, before)?;
        let mut scratch = Vec::with_capacity(lowered.scratch.len());
        for &bytes in &lowered.scratch {
            scratch.push(Binding::new(&self.gpu.buffer("scratch", bytes)?, 0, bytes));
        }
        let second = match self.task.second {
            Some(id) => {
                let shape = self.graph.shape(id);
                Some(self.upload(shape, &vec![1e3; shape.len(self.batch)])?)
            }
            None => None,
        };
        let running = self.words(&self.running)?;
        let gains = self.task.block.map(|block| self.graph.blocks[block.0].default);
        let gains = gains.unwrap_or(Gains::RESIDUAL);
        let gains = self.words(&[gains.branch, gains.shortcut, gains.back_branch, gains.back_shortcut])?;
        let step = self.words(&[StepRecord {
            seed: [SEED as u32, (SEED >> 32) as u32],
            step: STEP,
            part: BatchPart::whole(self.batch),
            ..StepRecord::default()
        }])?;
        debug_assert_eq!(size_of::<StepRecord>() as u64, STEP_BYTES);
        let loss_scale = LossScale {
            scale: SCALE,
            ..LossScale::INITIAL
        };
        let loss_scale = self.words(&[bytemuck::cast::<LossScale, [u32; 3]>(loss_scale), [0; 3]])?;
        let place = |operand| match operand {
            Operand::Input(index) => inputs.get(index).cloned(),
            Operand::Output => Some(output.clone()),
            Operand::Second => second.clone(),
            Operand::Scratch(index) => scratch.get(index).cloned(),
            Operand::Running => Some(running.clone()),
            Operand::Gains => Some(gains.clone()),
            Operand::Step => Some(step.clone()),
            Operand::LossScale => Some(loss_scale.clone()),
        };
        let dispatches: Result<Vec<Dispatch>, GpuError> = lowered
            .calls
            .iter()
            .map(|call| dispatch(self.gpu, call, place))
            .collect();
        Ok(PreparedTrial {
            gpu: self.gpu,
            dispatches: dispatches?,
            precision: shape.precision,
            values: shape.len(self.batch),
            output,
            second,
        })
    }

    /// What the device computes from the inputs by the calls of `lowered`, in memory
    /// that contained `before`.
    ///
    /// # Errors
    /// As [`Self::prepare`], and where the device fails.
    pub fn found(&self, lowered: &Lowered, before: &[f32]) -> Result<Vec<f64>, GpuError> {
        self.prepare(lowered, before)?.run()
    }

    /// The same trial with some values of input number `input` replaced by `spoil`.
    pub fn spoiled(&self, input: usize, spoil: f32) -> Self {
        let mut trial = self.clone();
        let mut random = draws(self.task, 1 << 20);
        let length = self.inputs[input].len();
        for _ in 0..(length / 50).clamp(1, 3) {
            let at = random.below(length as u32) as usize;
            // A value that the task reads twice is the same both times.
            for (values, read) in trial.inputs.iter_mut().zip(&self.task.inputs) {
                if *read == self.task.inputs[input] {
                    values[at] = spoil;
                }
            }
        }
        trial
    }

    /// The numbers of the inputs that hold floats.
    pub fn float_inputs(&self) -> Vec<usize> {
        let is_float = |&input: &usize| self.graph.node(self.task.inputs[input]).op != Op::Labels;
        (0..self.inputs.len()).filter(is_float).collect()
    }

    /// Device memory with `values` of `shape`.
    fn upload(&self, shape: &Shape, values: &[f32]) -> Result<Binding, GpuError> {
        let bytes = shape.bytes(self.batch);
        let place = Binding::new(&self.gpu.buffer("trial", bytes)?, 0, bytes);
        write_values(self.gpu, &place, shape.precision, values);
        Ok(place)
    }

    fn words<T: bytemuck::NoUninit>(&self, words: &[T]) -> Result<Binding, GpuError> {
        let bytes = size_of_val(words) as u64;
        let buffer = self.gpu.buffer("trial", bytes)?;
        self.gpu.write(&buffer, 0, words);
        Ok(Binding::new(&buffer, 0, bytes))
    }
}

/// A trial whose kernels are compiled and bound.
#[derive(Debug)]
pub struct PreparedTrial<'a> {
    gpu: &'a Gpu,
    dispatches: Vec<Dispatch>,
    output: Binding,
    second: Option<Binding>,
    precision: Precision,
    values: usize,
}

impl PreparedTrial<'_> {
    /// Runs it; gives the output.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn run(&self) -> Result<Vec<f64>, GpuError> {
        self.gpu.submit(|recorder| {
            for dispatch in &self.dispatches {
                recorder.dispatch(dispatch);
            }
        });
        Ok(to_f64(&read_values(
            self.gpu,
            &self.output,
            self.precision,
            self.values,
        )?))
    }
}

impl PreparedTrial<'_> {
    /// The second output of the last run, which is stored in 32 bits; empty where
    /// there is none.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn second(&self) -> Result<Vec<f64>, GpuError> {
        let Some(second) = &self.second else {
            return Ok(Vec::new());
        };
        let count = second.size as usize / 4;
        Ok(to_f64(&read_values(self.gpu, second, Precision::F32, count)?))
    }
}

/// The draws of the value number `index` of a task.
fn draws(task: &Task, index: u32) -> Draws {
    Philox::new(SEED).draws(Stream::Doctor, task.output.0 as u32, index)
}

fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// Whether `work` computes each element from few others of its input number
/// `input`, without a transform that spreads a value that is not finite, as
/// Winograd's does, and without a product of statistics, where infinity may become
/// NaN.
pub fn keeps_places(work: &Work, input: usize) -> bool {
    match work {
        Work::Pointwise(_) | Work::Pool(_) | Work::Dropout { .. } | Work::CrossEntropy => true,
        Work::CrossEntropyGrad { .. } | Work::SoftCrossEntropy { .. } | Work::SoftCrossEntropyGrad { .. } => true,
        Work::Normalize { .. } => input == 0 || input == 3,
        Work::NormInputGradient { .. } => input < 2,
        _ => false,
    }
}

/// The Euclidean distance of `found` from `truth`, divided by the norm of `truth`.
/// Where all values are zero, it is infinite or zero.
pub fn relative_distance(found: &[f64], truth: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let distance = norm(&mut found.iter().zip(truth).map(|(a, b)| a - b));
    distance / norm(&mut truth.iter().copied()).max(f64::MIN_POSITIVE)
}
