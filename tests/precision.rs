//! Are kernels right where activations lie in 16 bits? Every piece of work of
//! networks that have every operation, alone, in each of its ways and by the
//! kernels of both kinds of adapter: random inputs, exact in their own
//! precision, beside the same part of the graph in f64. What is stored in 16
//! bits may be off by its rounding, half the distance of two neighbours, and
//! by nothing else.
//!
//! Then whole training steps: the loss scale, what it skips, and memory.

#[path = "common/device.rs"]
mod device;
#[path = "common/twin.rs"]
mod twin;

use std::collections::BTreeSet;
use std::sync::Arc;

use residua::gpu::{AdapterKind, Binding, Gpu};
use residua::graph::{
    BlockInfo, Conv, Gains, Graph, GraphError, Init, Mode, NodeId, Op, PadShortcut, Param, ParamId, ParamKind, Pool,
    Precision, Shape,
};
use residua::half;
use residua::kernels::{LossScale, Lowered, Operand, Pointwise, StepRecord, Work};
use residua::random::{Philox, Stream};
use residua::reference::{self, Inputs};
use residua::schedule::{Action, Task, dispatch, target, tasks};
use twin::{apart, norm};

const CLASSES: usize = 5;
/// Half the distance of two neighbours at the lower end of a binade, where it
/// is largest, and a little for the arithmetic in 32 bits.
const ROUNDING: f64 = 1.01 / 2048.0;
/// Sums in another order.
const ORDER: f64 = 2e-5;
/// Seed and step of the draws, and the loss scale: no power of two by chance.
const SEED: u64 = 0x0123_4567_89ab_cdef;
const STEP: u32 = 1029;
const SCALE: f32 = 1024.0;

fn conv(kernel: usize, stride: usize, groups: usize) -> Conv {
    Conv {
        kernel,
        stride,
        padding: kernel / 2,
        groups,
    }
}

fn pool(kernel: usize, stride: usize, padding: usize) -> Pool {
    Pool {
        kernel,
        stride,
        padding,
    }
}

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

/// Every operation, and every way in which a batch norm takes others along.
fn everything(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let norm = |graph: &mut Graph, name: &str, x| graph.batch_norm(name, x, 1e-5, 0.1);
    let x = graph.conv("stem", images, 8, conv(3, 1, 1), true, Init::Zero)?;
    let x = graph.relu(x);
    let tied = graph.max_pool(x, pool(3, 1, 1))?;
    let mean = graph.avg_pool(x, pool(3, 1, 1))?;
    let some = graph.slice(mean, 1, 4)?;
    let dropped = graph.dropout(some, 0.25)?;
    let wide = graph.concat(&[tied, dropped])?;
    let x = graph.conv("grouped", wide, 8, conv(3, 1, 2), false, Init::Zero)?;
    let x = norm(graph, "bn1", x);
    let x = graph.relu(x);
    // A branch that ends in batch norm, one that ends in its ReLU, and a join
    // that no batch norm takes along; gains on all sides.
    let y = graph.conv("branch1", x, 8, conv(3, 1, 1), false, Init::Zero)?;
    let y = norm(graph, "bn2", y);
    let x = block(graph, "a", true, [y, x], x)?;
    let y = graph.conv("branch2", x, 8, conv(1, 1, 1), false, Init::Zero)?;
    let y = norm(graph, "bn3", y);
    let y = graph.relu(y);
    let x = block(graph, "b", false, [y, x], x)?;
    let y = graph.conv("branch3", x, 8, conv(5, 1, 1), true, Init::Zero)?;
    let x = block(graph, "c", true, [y, x], x)?;
    let y = graph.conv("strided", x, 12, conv(3, 2, 1), false, Init::Zero)?;
    // Of odd planes, a mean would leave out what the convolution does not.
    let (height, width) = graph.shape(x).plane();
    let pad = PadShortcut {
        stride: 2,
        average: height % 2 == 0 && width % 2 == 0,
        before: 1,
        after: 3,
    };
    let side = graph.pad_shortcut(x, pad)?;
    let x = block(graph, "d", false, [y, side], x)?;
    let x = norm(graph, "bn4", x);
    let x = graph.global_avg_pool(x);
    let x = graph.linear("hidden", x, 6, Init::Zero);
    let x = graph.relu(x);
    Ok(graph.linear("fc", x, CLASSES, Init::Zero))
}

/// What becomes of a network of images of `dims`, differentiated.
fn differentiated(dims: [usize; 3], mode: Mode, precision: Precision, build: twin::Build) -> (Graph, NodeId) {
    let mut graph = Graph::new(mode);
    let images = graph.images(dims[0], dims[1], dims[2]);
    let logits = build(&mut graph, images).unwrap();
    let loss = graph.cross_entropy(logits);
    graph.store_in(precision);
    graph.differentiate(loss, true, true);
    (graph, loss)
}

// One piece of work alone.

/// Values for the inputs of one task, each exact in its own precision.
struct Bench<'a> {
    gpu: &'a Arc<Gpu>,
    graph: &'a Graph,
    task: &'a Task,
    batch: usize,
    inputs: Vec<Vec<f32>>,
    labels: Vec<u32>,
    running: Vec<f32>,
}

impl<'a> Bench<'a> {
    fn new(gpu: &'a Arc<Gpu>, graph: &'a Graph, task: &'a Task, batch: usize) -> Self {
        // By value: a task may read one twice.
        let draws = |id: NodeId| Philox::new(SEED).draws(Stream::Study, task.output.0 as u32, id.0 as u32);
        let values = |&id: &NodeId| {
            let (shape, mut draws) = (graph.shape(id), draws(id));
            let length = shape.len(batch);
            let statistics = matches!(graph.node(id).op, Op::BatchStats(_) | Op::RunningStats(_));
            let value = |at: usize| match (statistics && at >= length / 2, shape.precision) {
                // A reciprocal standard deviation.
                (true, _) => draws.between(0.5, 1.5),
                (false, Precision::F32) => draws.between(-1.0, 1.0),
                (false, Precision::F16) => half::widen(half::narrow(draws.between(-1.0, 1.0))),
            };
            (0..length).map(value).collect()
        };
        let mut random = draws(task.output);
        Bench {
            inputs: task.inputs.iter().map(values).collect(),
            labels: (0..batch).map(|_| random.below(CLASSES as u32)).collect(),
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

    /// What the reference makes of the inputs.
    fn truth(&self) -> Vec<f64> {
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
            params.push(twin::wide(values));
            let node = &mut graph.nodes[id.0];
            node.op = Op::Param(ParamId(params.len() - 1));
            node.inputs.clear();
        }
        let mut states: Vec<Vec<f64>> = graph.states.iter().map(|state| vec![1.0; 2 * state.channels]).collect();
        if let Some(state) = self.task.state {
            states[state.0] = twin::wide(&self.running);
        }
        let inputs = Inputs {
            images: &[],
            labels: &self.labels,
            params: &params,
            states: &mut states,
            batch: self.batch,
            seed: SEED,
            step: STEP,
        };
        let values = reference::run(&graph, &graph.default_route(), &[self.task.output], inputs).unwrap();
        let mut truth = values.get(self.task.output).unwrap().to_vec();
        let scaled = self.graph.precision() == Precision::F16;
        if scaled && self.graph.node(self.task.output).op == Op::CrossEntropyGrad {
            truth.iter_mut().for_each(|value| *value *= f64::from(SCALE));
        }
        truth
    }

    /// Memory with `values` of `shape`.
    fn upload(&self, shape: &Shape, values: &[f32]) -> Binding {
        let bytes = shape.bytes(self.batch);
        let buffer = self.gpu.buffer("test", bytes).unwrap();
        match shape.precision {
            Precision::F32 => self.gpu.write(&buffer, 0, values),
            Precision::F16 => self.gpu.write(&buffer, 0, &half::pack(values)),
        }
        Binding::new(&buffer, 0, bytes)
    }

    fn words<T: bytemuck::NoUninit>(&self, words: &[T]) -> Binding {
        let bytes = std::mem::size_of_val(words) as u64;
        let buffer = self.gpu.buffer("test", bytes).unwrap();
        self.gpu.write(&buffer, 0, words);
        Binding::new(&buffer, 0, bytes)
    }

    /// What the device makes of the inputs by the calls of `lowered`, into
    /// memory that holds `before`.
    fn found(&self, lowered: &Lowered, before: &[f32]) -> Vec<f64> {
        let input = |(&id, values): (&NodeId, &Vec<f32>)| match self.graph.node(id).op {
            Op::Labels => self.words(&self.labels),
            _ => self.upload(self.graph.shape(id), values),
        };
        let inputs: Vec<Binding> = self.task.inputs.iter().zip(&self.inputs).map(input).collect();
        let shape = self.graph.shape(self.task.output);
        let output = self.upload(shape, before);
        let scratch = lowered
            .scratch
            .iter()
            .map(|&bytes| self.gpu.buffer("scratch", bytes).unwrap());
        let scratch: Vec<Binding> = scratch
            .zip(&lowered.scratch)
            .map(|(buffer, &bytes)| Binding::new(&buffer, 0, bytes))
            .collect();
        let second = self.task.second.map(|id| {
            let shape = self.graph.shape(id);
            self.upload(shape, &vec![1e3; shape.len(self.batch)])
        });
        let running = self.words(&self.running);
        let gains = self.graph.blocks.first().map(|block| block.default).unwrap();
        let gains = self.words(&[gains.branch, gains.shortcut, gains.back_branch, gains.back_shortcut]);
        let step = self.words(&[StepRecord {
            seed: [SEED as u32, (SEED >> 32) as u32],
            step: STEP,
            ..StepRecord::default()
        }]);
        let loss_scale = LossScale {
            scale: SCALE,
            ..LossScale::INITIAL
        };
        let loss_scale = self.words(&[bytemuck::cast::<LossScale, [u32; 3]>(loss_scale), [0; 3]]);
        let calls = lowered.calls.iter().map(|call| {
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
            dispatch(self.gpu, call, place).unwrap_or_else(|error| panic!("{call:?}: {error}"))
        });
        let dispatches: Vec<_> = calls.collect();
        self.gpu.submit(|recorder| {
            for dispatch in &dispatches {
                recorder.dispatch(dispatch);
            }
        });
        let values = match shape.precision {
            Precision::F32 => self.gpu.read(&output.buffer, 0..output.size).unwrap(),
            Precision::F16 => half::unpack(&self.gpu.read::<u16>(&output.buffer, 0..output.size).unwrap()),
        };
        twin::wide(&values[..shape.len(self.batch)])
    }

    /// Panics unless `lowered` gives `truth`; the relative distance by the
    /// norm.
    fn check(&self, lowered: &Lowered, before: &[f32], truth: &[f64], what: &str) -> f64 {
        let tolerance = match self.graph.shape(self.task.output).precision {
            Precision::F32 => ORDER,
            Precision::F16 => ROUNDING,
        };
        let off = apart(&self.found(lowered, before), truth) / norm(truth);
        assert!(off <= tolerance, "{what}: off by {off:.2e}, allowed {tolerance:.2e}");
        off
    }
}

/// Checks every task of `graph` in each of its ways; gives the names of the
/// operations, the number of ways and the worst deviations in 32 and 16 bits.
fn check_tasks(gpu: &Arc<Gpu>, graph: &Graph, loss: NodeId, batch: usize) -> (BTreeSet<String>, usize, [f64; 2]) {
    let target = target(gpu);
    let (mut seen, mut ways, mut worst) = (BTreeSet::new(), 0, [0.0_f64; 2]);
    for task in &tasks(graph, &[loss], true) {
        let bench = Bench::new(gpu, graph, task, batch);
        let inputs: Vec<&Shape> = task.inputs.iter().map(|&id| graph.shape(id)).collect();
        let output = graph.shape(task.output);
        let name = graph.node(task.output).op.name();
        // What was there before must not matter, but for sums in place.
        let garbage = vec![1e3; output.len(batch)];
        let mut tell = |off: f64| {
            let place = &mut worst[usize::from(output.precision == Precision::F16)];
            *place = place.max(off);
            ways += 1;
        };
        match &task.action {
            Action::Alias => {}
            Action::Work(work) => {
                let truth = bench.truth();
                let mut lowered = vec![("the rules'".to_string(), work.lower(&inputs, output, batch, &target))];
                for candidate in work.candidates(&inputs, output, &target) {
                    let way = work.lower_as(&candidate, &inputs, output, batch, &target).unwrap();
                    if way != lowered[0].1 {
                        lowered.push((candidate.to_string(), way));
                    }
                }
                for (way, lowered) in lowered {
                    tell(bench.check(&lowered, &garbage, &truth, &format!("{work:?} to {output}, {way}")));
                }
            }
            Action::Sum => {
                let truth = bench.truth();
                let [a, b] = [0, 1].map(|index| twin::wide(&bench.inputs[index]));
                for (kernel, before, truth) in [
                    (Pointwise::Add, &garbage, &truth),
                    (Pointwise::Accumulate, &bench.inputs[0], &truth),
                    (Pointwise::Copy { input: 0 }, &garbage, &a),
                    (Pointwise::Copy { input: 1 }, &garbage, &b),
                ] {
                    let lowered = Work::Pointwise(kernel).lower(&[], output, batch, &target);
                    tell(bench.check(&lowered, before, truth, &format!("{kernel:?} of {output}")));
                }
            }
        }
        seen.insert(format!("{name} of {}", output.precision));
    }
    (seen, ways, worst)
}

/// This machine's adapter with the kernels of `kind`, if it knows 16-bit
/// floats; says so where it does not.
fn with_f16(kind: AdapterKind) -> Option<Arc<Gpu>> {
    let gpu = device::of_kind(kind);
    if gpu.info().f16 {
        return Some(gpu);
    }
    println!("NOT TESTED: {} knows no 16-bit floats", gpu.info());
    None
}

/// Tasks of the whole network, with and without draws by image, on planes that
/// divide by four and on planes whose batch has an odd number of values.
fn all_tasks(kind: AdapterKind) {
    let Some(gpu) = with_f16(kind) else { return };
    let by_image = |graph: &mut Graph, images| {
        let logits = everything(graph, images)?;
        graph.drop_paths(|_, _| 0.4);
        Ok(NodeId(logits.0 + graph.blocks.len()))
    };
    let builds: [(twin::Build, [usize; 3], usize); 3] = [
        (&everything, [4, 8, 8], 6),
        (&by_image, [3, 9, 7], 5),
        (&odd, [3, 5, 5], 3),
    ];
    for precision in [Precision::F32, Precision::F16] {
        for (build, dims, batch) in builds {
            for mode in [Mode::Train, Mode::Eval] {
                let (graph, loss) = differentiated(dims, mode, precision, build);
                let (seen, ways, [in_32, in_16]) = check_tasks(&gpu, &graph, loss, batch);
                println!(
                    "{kind:?}, {precision}, {dims:?}: {ways} ways of {} operations; \
                     worst in 32 bits {in_32:.1e}, in 16 bits {in_16:.1e}",
                    seen.len()
                );
            }
        }
    }
}

/// Values of an odd number of elements everywhere, and logits that no linear
/// layer makes.
fn odd(graph: &mut Graph, images: NodeId) -> Result<NodeId, GraphError> {
    let x = graph.conv("stem", images, 3, conv(3, 1, 1), true, Init::Zero)?;
    let x = graph.batch_norm("bn", x, 1e-5, 0.1);
    let x = graph.relu(x);
    let some = graph.slice(x, 0, 2)?;
    let x = graph.concat(&[some, x])?;
    let x = graph.max_pool(x, pool(3, 2, 1))?;
    let x = graph.conv("narrow", x, 3, conv(1, 1, 1), false, Init::Zero)?;
    let x = block(graph, "a", true, [x, x], x)?;
    let x = graph.global_avg_pool(x);
    let x = graph.linear("hidden", x, 7, Init::Zero);
    let x = graph.dropout(x, 0.5)?;
    Ok(graph.slice(x, 1, CLASSES)?)
}

#[test]
fn every_way_of_every_work_on_processors() {
    all_tasks(AdapterKind::Cpu);
}

#[test]
fn every_way_of_every_work_on_gpus() {
    all_tasks(AdapterKind::Discrete);
}
