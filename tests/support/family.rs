//! Does an engine compute what PyTorch computes for a network of
//! `tests/fixtures/make_families.py`? Logits, loss and the gradient of every
//! parameter, in training and in evaluation, and the steps of SGD.

use std::cell::OnceCell;

use super::fixture::{self, Fixture};
use residua::data::{Draw, ImageSet, Normalization, Padding};
use residua::graph::{Graph, Mode, ParamId, StateId};
use residua::models::{InputShape, ModelSpec, Network};
use residua::schedule::Update;
use residua::train::{Engine, Slot, Split, StepPlan};
use serde::Deserialize;

/// The update of `make_families.py`.
const UPDATE: Update = Update {
    lr: 0.002,
    momentum: 0.9,
    weight_decay: 5e-4,
    nesterov: false,
};

/// Allowed differences of results from PyTorch's in f64: relative to the norm of a
/// tensor, or to a loss.
pub struct Tolerance {
    logits: f64,
    loss: f64,
    gradient: f64,
    state: f64,
    /// Of the losses after the first step, and of the change of a parameter in all
    /// steps.
    later: f64,
}

/// In single precision.
pub const DEVICE: Tolerance = Tolerance {
    logits: 1e-4,
    loss: 1e-5,
    gradient: 1e-3,
    state: 1e-5,
    later: 1e-2,
};

/// Fixtures have f32; images, logits and momenta in batch norm (0.1) are f32 here.
/// After the first step, a ReLU's input may be nearer to 0 than an image is exact.
pub const REFERENCE: Tolerance = Tolerance {
    logits: 1e-5,
    loss: 1e-5,
    gradient: 1e-4,
    state: 1e-5,
    later: 1e-3,
};

/// A network of a fixture.
#[derive(Deserialize)]
pub struct Case {
    pub model: String,
    side: usize,
    pub batch: usize,
    /// Steps of SGD. Each has images of its own.
    steps: u32,
    /// The first batch of images.
    probe: usize,
    /// What computes it: `d`evice, `r`eference.
    pub engines: String,
    weights_sha256: String,
    /// The initial weights, once they are drawn.
    #[serde(skip)]
    start: OnceCell<Vec<Vec<f32>>>,
}

/// Makes an engine for a network as it is trained and as it is evaluated.
pub type MakeEngine<'a> = &'a dyn Fn(Network, Network) -> Box<dyn Engine>;

impl Case {
    pub fn network(&self, mode: Mode) -> Network {
        let spec: ModelSpec = self.model.parse().unwrap();
        let shape = InputShape {
            height: self.side,
            width: self.side,
            ..InputShape::default()
        };
        spec.build(&shape, mode).unwrap()
    }

    pub fn images(&self) -> ImageSet {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for batch in self.probe..self.probe + self.steps as usize {
            let (pixels, classes) = fixture::images_of(self.side, batch, self.batch);
            images.extend(pixels);
            labels.extend(classes);
        }
        ImageSet {
            name: "fixture".into(),
            channels: 3,
            height: self.side,
            width: self.side,
            class_names: (0..fixture::CLASSES).map(|class| class.to_string()).collect(),
            images,
            labels,
        }
    }

    /// The networks of a fixture.
    pub fn all(fixture: &Fixture) -> Vec<Case> {
        serde_json::from_str(&fixture.note("models")).unwrap()
    }

    /// An engine that trains in mode `train` and evaluates in mode `eval`, with the
    /// images and the initial weights.
    fn engine(&self, make: MakeEngine, [train, eval]: [Mode; 2]) -> Box<dyn Engine> {
        let mut engine = make(self.network(train), self.network(eval));
        self.prepare(&mut *engine);
        engine
    }

    /// Gives an engine the images and the initial weights.
    pub fn prepare(&self, engine: &mut dyn Engine) {
        let normalization = Normalization::new(fixture::MEAN.to_vec(), fixture::STD.to_vec()).unwrap();
        for split in [Split::Train, Split::Test] {
            engine.load(split, &self.images(), &normalization).unwrap();
        }
        let graph = engine.graph().clone();
        for (index, values) in self.start(&graph).iter().enumerate() {
            engine.set_param(ParamId(index), values);
        }
        for (index, values) in fixture::states(&graph).iter().enumerate() {
            engine.set_state(StateId(index), values);
        }
    }

    /// Initial parameters by `ParamId`.
    fn start(&self, graph: &Graph) -> &[Vec<f32>] {
        self.start.get_or_init(|| initial(graph))
    }

    pub fn draws(&self, step: u32) -> Vec<Draw> {
        let first = step * self.batch as u32;
        (first..first + self.batch as u32).map(Draw::unchanged).collect()
    }

    /// Takes step number `step` and returns its loss.
    fn step(&self, engine: &mut dyn Engine, step: u32) -> f64 {
        let plan = StepPlan {
            draws: &self.draws(step),
            padding: Padding::Zero,
            route: &engine.graph().default_route(),
            update: UPDATE,
            seed: 0,
            step,
        };
        engine.step(&plan).unwrap();
        f64::from(engine.metrics(step..step + 1).unwrap()[0][0])
    }

    fn logits(&self, engine: &mut dyn Engine) -> Vec<f64> {
        let route = engine.graph().default_route();
        to_f64(&engine.logits(Split::Test, &self.draws(0), &route).unwrap())
    }
}

/// Initial parameters by `ParamId`.
pub fn initial(graph: &Graph) -> Vec<Vec<f32>> {
    let values = |tensors: Vec<(String, Vec<usize>)>| tensors.iter().flat_map(|(n, d)| fixture::varied(n, d)).collect();
    graph.params.iter().map(|param| values(param.tensors())).collect()
}

pub fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// The largest difference of each kind of result, and in which tensor.
#[derive(Default)]
pub struct Found {
    pub worst: Vec<(&'static str, f64, String)>,
}

impl Found {
    fn check(&mut self, what: &'static str, tensor: &str, difference: f64, allowed: f64) {
        match self.worst.iter_mut().find(|(known, ..)| *known == what) {
            Some(entry) if entry.1 >= difference => {}
            Some(entry) => (entry.1, entry.2) = (difference, tensor.into()),
            None => self.worst.push((what, difference, tensor.into())),
        }
        assert!(
            difference <= allowed,
            "{what} {tensor}: off by {difference:.1e}, allowed {allowed:.0e}"
        );
    }
}

/// The results of one network in a fixture.
struct Truth<'a> {
    fixture: &'a Fixture,
    case: &'a Case,
}

impl Truth<'_> {
    fn get(&self, key: &str) -> Vec<f64> {
        self.fixture.tensor(&format!("{}/{key}", self.case.model))
    }

    /// Compares tensors, one for each parameter, with their sketches in the fixture.
    fn compare(&self, found: &mut Found, what: &'static str, graph: &Graph, values: &[Vec<f64>], allowed: f64) {
        let sketches = self.get(what);
        let tensors = by_name(graph, values);
        assert_eq!(tensors.len() * 4, sketches.len(), "{what}: number of tensors");
        let peak = sketches.iter().step_by(4).fold(0.0, |peak: f64, norm| peak.max(*norm));
        for ((name, _, own), truth) in tensors.iter().zip(sketches.as_chunks().0) {
            // A gradient that is zero apart from rounding (that of a bias before a
            // batch norm) is compared with the largest one instead of itself.
            let own = fixture::sketch(name, own);
            found.check(what, name, apart(&own, truth, 1e-3 * peak), allowed);
        }
    }
}

/// The tensors of all parameters, with their names and shapes, by the order of names.
fn by_name<'a, T>(graph: &Graph, values: &'a [Vec<T>]) -> Vec<(String, Vec<usize>, &'a [T])> {
    let mut tensors = Vec::new();
    for (param, values) in graph.params.iter().zip(values) {
        let mut rest = &values[..];
        for (name, dims) in param.tensors() {
            let (own, others) = rest.split_at(dims.iter().product());
            tensors.push((name, dims, own));
            rest = others;
        }
    }
    tensors.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    tensors
}

/// The difference of two tensors, by their sketches, relative to the norm of
/// `truth`, or to `floor` if that is larger.
fn apart(found: &[f64; 4], truth: &[f64; 4], floor: f64) -> f64 {
    let squares = (1..4).map(|i| (found[i] - truth[i]).powi(2)).sum::<f64>() / 3.0;
    let difference = squares.sqrt().max((found[0] - truth[0]).abs());
    let relative = difference / truth[0].max(floor);
    if relative.is_nan() { f64::INFINITY } else { relative }
}

/// The Euclidean norm of the difference over that of `truth`.
pub fn distance(found: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(truth).map(|(found, truth)| found - truth));
    let relative = difference / norm(&mut truth.iter().copied());
    if relative.is_nan() { f64::INFINITY } else { relative }
}

/// Panics unless the initial parameters of `graph`, by the order of names, have
/// this digest.
pub fn check_weights(graph: &Graph, initial: &[Vec<f32>], sha256: &str) {
    let tensors = by_name(graph, initial);
    let weights = tensors.iter().flat_map(|(.., values)| *values);
    let found = fixture::digest(weights.map(|value| value.to_le_bytes()));
    let named: Vec<_> = tensors.iter().map(|(name, dims, _)| (name, dims)).collect();
    assert_eq!(
        found, sha256,
        "names or shapes of parameters differ from PyTorch's: {named:?}"
    );
}

/// Panics unless the engines that `make` makes compute the fixture's results for
/// the network `case`.
pub fn check_network(fixture: &Fixture, case: &Case, make: MakeEngine, tolerance: &Tolerance) -> Found {
    let truth = Truth { fixture, case };
    let mut found = Found::default();
    let mut engine = case.engine(make, [Mode::Train, Mode::Eval]);
    let graph = engine.graph().clone();
    let start = case.start(&graph);
    check_weights(&graph, start, &case.weights_sha256);

    let ids = || (0..start.len()).map(ParamId);
    let gradients =
        |engine: &mut dyn Engine| -> Vec<Vec<f64>> { ids().map(|id| to_f64(&engine.gradient(id).unwrap())).collect() };

    // Training: the first step, its gradients and the statistics after it.
    let losses = truth.get("losses");
    let loss = case.step(&mut *engine, 0);
    found.check("loss", "of step 0", (loss / losses[0] - 1.0).abs(), tolerance.loss);
    let of_training = gradients(&mut *engine);
    truth.compare(&mut found, "gradients", &graph, &of_training, tolerance.gradient);
    let states: Vec<Vec<f32>> = (0..graph.states.len())
        .map(|index| engine.state(StateId(index)).unwrap())
        .collect();
    let mut order: Vec<usize> = (0..states.len()).collect();
    order.sort_by_key(|&index| &graph.states[index].name);
    for (row, part) in ["running_mean", "running_var"].into_iter().enumerate() {
        if !states.is_empty() {
            let half = |index: &usize| states[*index].chunks(states[*index].len() / 2).nth(row).unwrap();
            let all: Vec<f32> = order.iter().flat_map(half).copied().collect();
            let own = fixture::sketch(part, &to_f64(&all));
            let there = truth.get(part);
            found.check(
                "states",
                part,
                apart(&own, &there.as_chunks().0[0], 0.0),
                tolerance.state,
            );
        }
    }

    // Evaluation with these statistics and the initial weights, and the logits in
    // training, in an engine with the modes the other way round.
    let mut crossed = case.engine(make, [Mode::Eval, Mode::Train]);
    let own = case.logits(&mut *crossed);
    found.check(
        "logits",
        "in training",
        distance(&own, &truth.get("logits")),
        tolerance.logits,
    );
    for (index, values) in states.iter().enumerate() {
        crossed.set_state(StateId(index), values);
    }
    let loss = case.step(&mut *crossed, 0);
    let there = truth.get("eval_loss")[0];
    found.check("loss", "in evaluation", (loss / there - 1.0).abs(), tolerance.loss);
    let of_evaluation = gradients(&mut *crossed);
    truth.compare(&mut found, "eval_gradients", &graph, &of_evaluation, tolerance.gradient);

    // The logits of the engine that trains, with the initial weights.
    let after: Vec<Vec<f32>> = ids().map(|id| engine.param(id).unwrap()).collect();
    let exact: Vec<Option<Vec<f64>>> = ids()
        .map(|id| engine.exact(Slot::Param(id)).map(<[f64]>::to_vec))
        .collect();
    for (id, values) in ids().zip(start) {
        engine.set_param(id, values);
    }
    let own = case.logits(&mut *engine);
    found.check(
        "logits",
        "in evaluation",
        distance(&own, &truth.get("eval_logits")),
        tolerance.logits,
    );
    for (id, (rounded, exact)) in ids().zip(after.iter().zip(&exact)) {
        engine.set_param(id, rounded);
        if let Some(values) = exact {
            engine.set_exact(Slot::Param(id), values);
        }
    }

    // The other steps.
    for step in 1..case.steps {
        let loss = case.step(&mut *engine, step);
        let difference = (loss / losses[step as usize] - 1.0).abs();
        found.check("later losses", &format!("of step {step}"), difference, tolerance.later);
    }
    let moved: Vec<Vec<f64>> = ids()
        .zip(start)
        .map(|(id, start)| {
            let exact = engine.exact(Slot::Param(id)).map(<[f64]>::to_vec);
            let end = exact.unwrap_or_else(|| to_f64(&engine.param(id).unwrap()));
            end.iter()
                .zip(start)
                .map(|(end, start)| end - f64::from(*start))
                .collect()
        })
        .collect();
    truth.compare(&mut found, "moved", &graph, &moved, tolerance.later);
    found
}
