//! Does a device compute what PyTorch computes? Whole networks, built by their
//! names, against PyTorch's results: the losses of 20 training steps, running
//! statistics, and the gradient of every parameter.

use crate::support::device;
use crate::support::fixture;
use crate::support::fixture::Fixture;
use crate::support::reference_run;
use residua::gpu::AdapterOverrides;
use residua::graph::{Graph, Mode, ParamId, StateId};
use residua::models::{InputShape, ModelSpec};
use residua::schedule::{Batch, Crop, ResidentSet, Session, Update};

const UPDATE: Update = Update {
    lr: 0.01,
    momentum: 0.9,
    weight_decay: 5e-4,
    nesterov: false,
};

/// The largest allowed relative difference of losses over the first steps.
struct Tolerance {
    steps: usize,
    loss: f64,
}

struct Net {
    fixture: Fixture,
    session: Session,
    graph: Graph,
}

impl Net {
    fn new(fixture: &str, model: &str) -> Self {
        let spec: ModelSpec = model.parse().unwrap();
        let graph = |mode| spec.build(&InputShape::default(), mode).unwrap().graph;
        let fixture = Fixture::load(fixture);
        let eval = graph(Mode::Eval);
        fixture.check_digests(&eval);
        let gpu = device::own(&AdapterOverrides::default());
        let session = Session::new(gpu, Some(graph(Mode::Train)), eval.clone(), |_| true).unwrap();
        Net {
            fixture,
            session,
            graph: eval,
        }
    }

    /// The weights before the first step.
    fn reset(&self) {
        for (index, values) in fixture::params(&self.graph).iter().enumerate() {
            self.session.write_param(ParamId(index), values);
        }
        for (index, values) in fixture::states(&self.graph).iter().enumerate() {
            self.session.write_state(StateId(index), values);
        }
    }

    fn load(&self, steps: std::ops::Range<usize>, batch: usize) -> ResidentSet {
        let (mut bytes, mut labels) = (Vec::new(), Vec::new());
        for step in steps {
            let (images, classes) = fixture::image_batch(step, batch);
            bytes.extend(images);
            labels.extend(classes);
        }
        let dims = [3, fixture::SIDE, fixture::SIDE];
        let set = self.session.load(&bytes, &labels, dims, &fixture::MEAN, &fixture::STD);
        set.unwrap()
    }

    /// The relative difference of the loss of each step. The running statistics
    /// are compared after the first step.
    fn train(&mut self) -> Vec<f64> {
        self.reset();
        let (steps, size) = (self.fixture.steps(), self.fixture.batch());
        let set = self.load(0..steps, size);
        let route = self.session.graph().default_route();
        for step in 0..steps as u32 {
            let first = step * size as u32;
            let draws: Vec<[u32; 2]> = (first..first + size as u32).map(|index| [index, 0]).collect();
            let batch = batch(&set, &draws);
            self.session.train_step(batch, &route, UPDATE, 0, step).unwrap();
            if step == 0 {
                self.check_states();
            }
        }
        let losses = self.session.metrics(0..steps as u32).unwrap();
        let truth = self.fixture.losses_f64();
        let deviation = |([loss, _], truth): (&[f32; 2], &f64)| (f64::from(*loss) / truth - 1.0).abs();
        losses.iter().zip(&truth).map(deviation).collect()
    }

    fn check_states(&self) {
        let mut compared = 0;
        for (index, state) in self.graph.states.iter().enumerate() {
            let values = reference_run::to_f64(&self.session.read_state(StateId(index)).unwrap());
            for (tensor, found) in state.tensors().iter().zip(values.chunks(state.channels)) {
                if let Some(truth) = self.fixture.optional(tensor) {
                    let error = reference_run::distance(found, &truth) / reference_run::norm(&truth);
                    assert!(error < 1e-5, "{tensor}: off by {error:.1e}");
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 4);
    }

    /// The largest difference of a gradient of the probe, relative to its norm.
    fn probe(&mut self) -> (f64, String) {
        self.reset();
        let (step, size) = self.fixture.probe();
        let set = self.load(step..step + 1, size);
        let route = self.session.graph().default_route();
        let draws: Vec<[u32; 2]> = (0..size as u32).map(|index| [index, 0]).collect();
        self.session.gradient_step(batch(&set, &draws), &route, 0, 0).unwrap();
        let loss = f64::from(self.session.metrics(0..1).unwrap()[0][0]);
        let error = (loss / self.fixture.probe_loss() - 1.0).abs();
        assert!(error < 1e-5, "loss of the probe off by {error:.1e}");
        let mut worst = (0.0, String::new());
        for (index, param) in self.graph.params.iter().enumerate() {
            let values = reference_run::to_f64(&self.session.read_gradient(ParamId(index)).unwrap());
            let mut rest = &values[..];
            for (tensor, dims) in param.tensors() {
                let (found, others) = rest.split_at(dims.iter().product());
                rest = others;
                let truth = self.fixture.gradient(&tensor);
                let error = reference_run::distance(found, &truth) / reference_run::norm(&truth);
                assert!(error < 1e-3, "{tensor}: gradient off by {error:.1e}");
                if error > worst.0 {
                    worst = (error, tensor);
                }
            }
        }
        worst
    }
}

fn batch<'a>(set: &'a ResidentSet, draws: &'a [[u32; 2]]) -> Batch<'a> {
    Batch {
        set,
        draws,
        crop: Crop { pad: 0, reflect: false },
    }
}

fn matches_pytorch(fixture: &str, model: &str, tolerances: &[Tolerance]) {
    let mut net = Net::new(fixture, model);
    let (gradient, tensor) = net.probe();
    let losses = net.train();
    let worst = |steps: usize| losses[..steps].iter().fold(0.0, |worst: f64, next| worst.max(*next));
    println!(
        "{model}: gradients within {gradient:.1e} ({tensor}), losses within {:.1e} over 5 steps, {:.1e} over {}",
        worst(5),
        worst(losses.len()),
        losses.len()
    );
    for &Tolerance { steps, loss } in tolerances {
        assert!(
            losses[..steps].iter().all(|error| *error <= loss),
            "losses off by {losses:?}"
        );
    }
}

#[test]
fn wrn_16_2_matches() {
    matches_pytorch("wrn-16-2", "wrn-16-2", &[Tolerance { steps: 20, loss: 2e-3 }]);
}

#[test]
fn resnet20_b_matches() {
    let tolerances = [Tolerance { steps: 5, loss: 1e-3 }, Tolerance { steps: 20, loss: 3e-2 }];
    matches_pytorch("resnet20-b", "resnet20:shortcut=B", &tolerances);
}
