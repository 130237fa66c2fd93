//! Does a device agree with the f64 reference? A network runs on the device, and
//! the same graph in f64 on the CPU, with the same image bytes, parameters and
//! random draws.

use std::sync::Arc;

use residua::gpu::Gpu;
use residua::graph::{Gradients, Graph, GraphError, Mode, NodeId, Op, ParamId, ParamKind, Precision, Route, StateId};
use residua::kernels::ImageDims;
use residua::random::{Draws, Philox, Stream};
use residua::reference::{self, Inputs, Values};
use residua::schedule::{Batch, Crop, ResidentSet, Session, Update};

/// Seed and number of the step. All 32-bit words are in use, so that a word
/// that is ignored shows.
const SEED: u64 = 0x0123_4567_89ab_cdef;
const STEP: u32 = 1029;

const MEAN: [f32; 5] = [0.49, 0.48, 0.45, 0.5, 0.4];
const STD: [f32; 5] = [0.25, 0.24, 0.26, 0.2, 0.3];

/// Tolerance of the loss of the batch, and of each image in evaluation,
/// relative to the loss.
pub const LOSS: f64 = 1e-5;
/// Tolerance of the gradient of a parameter, relative to its Euclidean norm.
pub const GRADIENT: f64 = 1e-4;
/// Tolerance of running means and variances, each relative to their Euclidean
/// norm.
pub const STATE: f64 = 1e-5;

/// The largest deviations that were found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deviation {
    pub loss: f64,
    pub gradient: f64,
    pub state: f64,
    pub evaluation: f64,
}

impl std::fmt::Display for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Deviation {
            loss,
            gradient,
            state,
            evaluation,
        } = self;
        write!(
            f,
            "loss {loss:.0e}, gradient {gradient:.0e}, state {state:.0e}, evaluation {evaluation:.0e}"
        )
    }
}

impl Deviation {
    /// The larger one of each.
    pub fn worst(self, other: Self) -> Self {
        Deviation {
            loss: self.loss.max(other.loss),
            gradient: self.gradient.max(other.gradient),
            state: self.state.max(other.state),
            evaluation: self.evaluation.max(other.evaluation),
        }
    }
}

/// What a network computes from a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub loss: f64,
    pub wrong: f64,
    pub gradients: Vec<Vec<f64>>,
    pub states: Vec<Vec<f64>>,
    /// Loss and error of each image in evaluation, with the states above.
    pub evaluation: Vec<f64>,
}

/// A network on a device, with all that the f64 reference needs.
pub struct ReferenceRun {
    pub session: Session,
    set: ResidentSet,
    /// The training graph with its gradients, and the evaluation graph.
    train: Graph,
    gradients: Gradients,
    eval: Graph,
    images: Vec<f64>,
    labels: Vec<u32>,
    params: Vec<Vec<f32>>,
    states: Vec<Vec<f32>>,
}

/// Builds a network: from the node of the images to that of the logits.
pub type Build<'a> = &'a dyn Fn(&mut Graph, NodeId) -> Result<NodeId, GraphError>;

impl ReferenceRun {
    /// The network that `build` makes for images of shape `dims`, with random
    /// images, labels, parameters and states drawn from `seed`.
    pub fn new(gpu: &Arc<Gpu>, dims: ImageDims, batch: usize, seed: u64, build: Build) -> Self {
        Self::stored_in(Precision::F32, gpu, (dims, batch), seed, build)
    }

    /// The same with activations stored in `precision`.
    pub fn stored_in(
        precision: Precision,
        gpu: &Arc<Gpu>,
        (dims, batch): (ImageDims, usize),
        seed: u64,
        build: Build,
    ) -> Self {
        let graph = |mode| {
            let mut graph = Graph::new(mode);
            let images = graph.images(dims[0], dims[1], dims[2]);
            let logits = build(&mut graph, images).unwrap();
            graph.cross_entropy(logits);
            graph.store_in(precision);
            graph
        };
        let (mut train, eval) = (graph(Mode::Train), graph(Mode::Eval));
        let session = Session::new(gpu.clone(), Some(train.clone()), eval.clone(), |_| true).unwrap();
        let loss = loss_of(&train);
        let classes = train.shape(train.node(loss).inputs[0]).per_image() as u32;
        let gradients = train.differentiate(loss, true, false);

        let draws = |index| Philox::new(seed).draws(Stream::Study, 0, index);
        let image = dims.iter().product::<usize>();
        let mut random = draws(0);
        let bytes: Vec<u8> = (0..batch * image).map(|_| random.word() as u8).collect();
        let labels: Vec<u32> = (0..batch).map(|_| random.below(classes)).collect();
        let set = session
            .load(&bytes, &labels, dims, &MEAN[..dims[0]], &STD[..dims[0]])
            .unwrap();
        // In f32, like the gather kernel.
        let normal = |(index, &byte): (usize, &u8)| {
            let channel = index / (dims[1] * dims[2]) % dims[0];
            let (mean, std) = (f64::from(MEAN[channel]), f64::from(STD[channel]));
            let (scale, shift) = ((1.0 / (255.0 * std)) as f32, (-mean / std) as f32);
            f64::from(f32::from(byte) * scale + shift)
        };
        let run = ReferenceRun {
            params: (1..)
                .zip(&train.params)
                .map(|(index, param)| values(param.kind, &param.dims, &mut draws(index)))
                .collect(),
            states: (1..)
                .zip(&train.states)
                .map(|(index, state)| state_values(state.channels, &mut draws(1 << 16 | index)))
                .collect(),
            images: bytes.iter().enumerate().map(normal).collect(),
            session,
            set,
            train,
            gradients,
            eval,
            labels,
        };
        for (index, values) in run.params.iter().enumerate() {
            run.session.write_param(ParamId(index), values);
        }
        run
    }

    /// The route of the network as it was built.
    pub fn default_route(&self) -> Route {
        self.eval.default_route()
    }

    /// All parameters after a training step from the batch, with `update`.
    /// Later runs have the first parameters again.
    pub fn trained(&mut self, route: &Route, update: Update) -> Vec<Vec<f64>> {
        let draws: Vec<[u32; 2]> = (0..self.labels.len() as u32).map(|index| [index, 0]).collect();
        let batch = Batch {
            set: &self.set,
            draws: &draws,
            crop: Crop { pad: 0, reflect: false },
        };
        self.session.train_step(batch, route, update, SEED, STEP).unwrap();
        let mut trained = Vec::new();
        for (index, values) in self.params.iter().enumerate() {
            trained.push(to_f64(&self.session.read_param(ParamId(index)).unwrap()));
            self.session.write_param(ParamId(index), values);
        }
        trained
    }

    /// What the device computes from the batch under `route`.
    pub fn on_device(&mut self, route: &Route) -> Outcome {
        for (index, values) in self.states.iter().enumerate() {
            self.session.write_state(StateId(index), values);
        }
        let draws: Vec<[u32; 2]> = (0..self.labels.len() as u32).map(|index| [index, 0]).collect();
        let batch = Batch {
            set: &self.set,
            draws: &draws,
            crop: Crop { pad: 0, reflect: false },
        };
        self.session.gradient_step(batch, route, SEED, STEP).unwrap();
        let [loss, wrong] = self.session.metrics(STEP..STEP + 1).unwrap()[0];
        let gradients =
            (0..self.params.len()).map(|index| to_f64(&self.session.read_gradient(ParamId(index)).unwrap()));
        let gradients = gradients.collect();
        let states = (0..self.states.len()).map(|index| to_f64(&self.session.read_state(StateId(index)).unwrap()));
        let states = states.collect();
        let evaluation = self
            .session
            .evaluate(batch, std::slice::from_ref(route))
            .unwrap()
            .remove(0);
        Outcome {
            loss: loss.into(),
            wrong: wrong.into(),
            gradients,
            states,
            evaluation: to_f64(evaluation.as_flattened()),
        }
    }

    /// What the f64 reference computes from the batch under `route`.
    pub fn on_reference(&self, route: &Route) -> Outcome {
        let params: Vec<Vec<f64>> = self.params.iter().map(|values| to_f64(values)).collect();
        let mut states: Vec<Vec<f64>> = self.states.iter().map(|values| to_f64(values)).collect();
        let run = |graph: &Graph, wanted: &[NodeId], states: &mut [Vec<f64>]| -> Values {
            let inputs = Inputs {
                images: &self.images,
                labels: &self.labels,
                params: &params,
                states,
                batch: self.labels.len(),
                first: 0,
                of: self.labels.len(),
                seed: SEED,
                step: STEP,
            };
            reference::run(graph, route, wanted, inputs).unwrap()
        };
        let loss = loss_of(&self.train);
        let mut wanted = vec![loss];
        wanted.extend(self.gradients.params.iter().map(|&(_, node)| node));
        let values = run(&self.train, &wanted, &mut states);
        let mut gradients: Vec<Vec<f64>> = params.iter().map(|param| vec![0.0; param.len()]).collect();
        for &(param, node) in &self.gradients.params {
            if let Some(gradient) = values.get(node) {
                gradients[param.0] = gradient.to_vec();
            }
        }
        let rows = values.get(loss).unwrap();
        let sum = |column: usize| rows.iter().skip(column).step_by(2).sum::<f64>();
        let eval_loss = loss_of(&self.eval);
        let evaluation = run(&self.eval, &[eval_loss], &mut states.clone());
        Outcome {
            loss: sum(0) / self.labels.len() as f64,
            wrong: sum(1),
            gradients,
            states,
            evaluation: evaluation.get(eval_loss).unwrap().to_vec(),
        }
    }

    /// Panics unless device and reference agree under `route`.
    pub fn check(&mut self, route: &Route) -> Deviation {
        self.check_within(route, [LOSS, GRADIENT, STATE])
    }

    /// Panics unless device and reference agree within these tolerances of
    /// loss, gradients and states.
    pub fn check_within(&mut self, route: &Route, tolerances: [f64; 3]) -> Deviation {
        let (found, truth) = (self.on_device(route), self.on_reference(route));
        let graph = &self.train;
        let name = |index: usize| format!("{} {:?}", graph.params[index].name, graph.params[index].kind);
        compare(&found, &truth, tolerances, &name)
    }

    /// Names of the parameters whose gradients are all exactly zero.
    pub fn silent(&self, outcome: &Outcome) -> Vec<String> {
        let zero = outcome
            .gradients
            .iter()
            .map(|gradient| gradient.iter().all(|&g| g == 0.0));
        let params = self.train.params.iter().zip(zero);
        params
            .filter(|(_, zero)| *zero)
            .map(|(param, _)| param.name.clone())
            .collect()
    }
}

/// Panics unless `found` is within the tolerances (loss, gradient, state) of
/// `truth`.
pub fn compare(
    found: &Outcome,
    truth: &Outcome,
    [loss, gradient, state]: [f64; 3],
    name: &dyn Fn(usize) -> String,
) -> Deviation {
    let mut all = Deviation {
        loss: (found.loss / truth.loss - 1.0).abs(),
        ..Deviation::default()
    };
    let within = |what: &str, deviation: f64, tolerance: f64| {
        assert!(
            deviation <= tolerance,
            "{what}: off by {deviation:.2e}, allowed {tolerance:.0e}"
        );
    };
    within("loss", all.loss, loss);
    assert_eq!(found.wrong, truth.wrong, "errors");

    let norms: Vec<f64> = truth.gradients.iter().map(|gradient| norm(gradient)).collect();
    // A gradient that is zero apart from rounding (that of a bias before a batch
    // norm) is compared with the largest gradient instead of itself.
    let floor = 1e-3 * norms.iter().fold(0.0, |peak: f64, norm| peak.max(*norm));
    for (index, (found, truth)) in found.gradients.iter().zip(&truth.gradients).enumerate() {
        if truth.iter().all(|&value| value == 0.0) {
            let zero = found.iter().all(|&value| value == 0.0);
            assert!(zero, "gradient of {}: not exactly zero", name(index));
            continue;
        }
        let deviation = distance(found, truth) / norms[index].max(floor);
        within(&format!("gradient of {}", name(index)), deviation, gradient);
        all.gradient = all.gradient.max(deviation);
    }
    for (index, (found, truth)) in found.states.iter().zip(&truth.states).enumerate() {
        let half = truth.len() / 2;
        for (row, range) in [("means", 0..half), ("variances", half..2 * half)] {
            let deviation = distance(&found[range.clone()], &truth[range.clone()]) / norm(&truth[range]);
            within(&format!("running {row} {index}"), deviation, state);
            all.state = all.state.max(deviation);
        }
    }
    for (index, (found, truth)) in found.evaluation.iter().zip(&truth.evaluation).enumerate() {
        // A loss near zero is a difference of two numbers as large as logits.
        let deviation = (found - truth).abs() / truth.abs().max(0.1);
        within(&format!("evaluation of image {}", index / 2), deviation, loss);
        all.evaluation = all.evaluation.max(deviation);
    }
    all
}

/// The loss node of `graph`.
fn loss_of(graph: &Graph) -> NodeId {
    graph.find(|op| *op == Op::CrossEntropy).unwrap()
}

fn values(kind: ParamKind, dims: &[usize], draws: &mut Draws) -> Vec<f32> {
    let count = dims.iter().product();
    let mut uniform =
        |low: f32, high: f32, count: usize| -> Vec<f32> { (0..count).map(|_| draws.between(low, high)).collect() };
    match kind {
        ParamKind::ConvWeight | ParamKind::LinearWeight => {
            let fan_in = dims[1..].iter().product::<usize>() as f32;
            let bound = (6.0 / fan_in).sqrt();
            uniform(-bound, bound, count)
        }
        ParamKind::Bias => uniform(-0.5, 0.5, count),
        ParamKind::BatchNorm => {
            // Some scales are negative: masks must not assume the sign.
            let mut rows = uniform(0.5, 1.5, dims[1]);
            rows.iter_mut().step_by(3).for_each(|scale| *scale = -*scale);
            rows.extend(uniform(-0.5, 0.5, dims[1]));
            rows
        }
    }
}

fn state_values(channels: usize, draws: &mut Draws) -> Vec<f32> {
    let mut rows: Vec<f32> = (0..channels).map(|_| draws.between(-0.3, 0.3)).collect();
    rows.extend((0..channels).map(|_| draws.between(0.5, 1.5)));
    rows
}

/// The same numbers in f64.
pub fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// Euclidean norm.
pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// Euclidean distance; infinite where a value is NaN.
pub fn distance(found: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len());
    let squares = found.iter().zip(truth).map(|(found, truth)| (found - truth).powi(2));
    let sum = squares.sum::<f64>();
    if sum.is_nan() { f64::INFINITY } else { sum.sqrt() }
}
