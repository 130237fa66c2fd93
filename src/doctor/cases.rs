//! Which kernels can an adapter get, and at which shapes are they examined?
//!
//! A kernel is an operation in one precision with one algorithm. Every kernel that
//! the default choice or tuning could take for one of the drawn networks is a case,
//! at the first shapes that have it; so is every way in which its texts differ
//! apart from sizes: loads of one or four values, with and without a ReLU, in
//! place. A case has a name from which it can be made again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::networks::{self, DrawnNetwork, LITERATURE, literature};
use super::step;
use super::trial::{SPOILING, Trial, keeps_places, relative_distance};
use crate::gpu::{Gpu, GpuError};
use crate::graph::{Precision, Recompute, Shape};
use crate::kernels::{Algorithm, Lowered, Pointwise, Target, Value, Work};
use crate::schedule::{Action, SessionError, Task, kernel_name, step_request, target, training_name};
use crate::train::TrainError;
use crate::tuning::jobs;

/// Multiply-adds that the f64 reference computes in some tenths of a second.
const MOST_MACS: u64 = 120_000_000;
/// Largest relative distance (Euclidean norm) of an output that is stored in 32
/// bits: another order of sums, and functions of the driver's own precision.
const TOLERANCE: f64 = 1e-4;
/// The same for 16 bits: half the distance of two adjacent numbers, relative to the
/// smallest numbers with one exponent, and a little for arithmetic in 32 bits.
const TOLERANCE_F16: f64 = 1.1 / 2048.0;

/// Which cases there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// The kernel is chosen where nothing was timed, for networks of the literature or
    /// because the operation has no other.
    Default,
    /// Tuning may choose the kernel for networks of the literature.
    Alternative,
    /// The kernel may be chosen for other shapes, or it is a further text of a kernel of
    /// which another one is a case already.
    Further,
}

/// A kernel at one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name: the kernel, and the network and task that have its shape.
    pub name: String,
    /// The kernel, whatever its shapes are: what is put in quarantine.
    pub kernel: String,
    /// Which networks get it, and how.
    pub rank: Rank,
    /// The shapes of inputs and output.
    pub shape: String,
}

/// What an examined kernel did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Outcome {
    /// It computes what the reference computes.
    Agrees {
        /// Relative distance of its output.
        distance: f64,
        /// Seconds in which its pipelines were made and run once: a driver on a
        /// processor compiles at the first run.
        compile_seconds: f64,
    },
    /// It computes something else.
    Wrong {
        /// What is wrong, in a few words.
        problem: String,
    },
    /// The driver refused it.
    Refused {
        /// What the driver says.
        problem: String,
    },
    /// It did not come back.
    Hung {
        /// The seconds that it was given.
        seconds: f64,
    },
    /// The process that ran it ended.
    Crashed {
        /// How it ended.
        problem: String,
    },
}

impl Outcome {
    /// Whether the kernel can be used.
    pub fn is_sound(&self) -> bool {
        matches!(self, Outcome::Agrees { .. })
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Agrees { distance, .. } => write!(f, "agrees to {distance:.1e}"),
            Outcome::Wrong { problem } => write!(f, "is wrong: {problem}"),
            Outcome::Refused { problem } => write!(f, "is refused: {problem}"),
            Outcome::Hung { seconds } => write!(f, "did not come back within {seconds:.0} s"),
            Outcome::Crashed { problem } => write!(f, "ended its process: {problem}"),
        }
    }
}

/// How a task runs in a case.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// By this algorithm, or the only one.
    By(Option<Algorithm>),
    /// By the default algorithm, in the memory of an input.
    InPlace,
    /// A kernel of the sum of two values.
    Sum(Pointwise),
}

/// One way in which one task of one network runs.
struct TaskWay<'a> {
    network: &'a DrawnNetwork,
    task: &'a Task,
    work: Work,
    way: Way,
    lowered: Lowered,
}

impl<'a> TaskWay<'a> {
    /// All ways of the tasks of `network`, with the number of each task.
    fn all(network: &'a DrawnNetwork, target: &Target) -> Vec<(usize, TaskWay<'a>)> {
        let mut all = Vec::new();
        for (number, task) in network.tasks.iter().enumerate() {
            let mut add = |work: Work, way: Way, lowered: Lowered| {
                all.push((
                    number,
                    TaskWay {
                        network,
                        task,
                        work,
                        way,
                        lowered,
                    },
                ));
            };
            let (inputs, output) = shapes(network, task);
            let batch = network.batch;
            match &task.action {
                Action::Alias => {}
                Action::Work(work) => {
                    let algorithms = work.algorithms(&inputs, output, target);
                    for algorithm in &algorithms {
                        if let Some(lowered) = work.lower_as(algorithm, &inputs, output, batch, target) {
                            add(*work, Way::By(Some(*algorithm)), lowered);
                        }
                    }
                    let default = work.lower(&inputs, output, batch, target);
                    if algorithms.is_empty() {
                        add(*work, Way::By(None), default.clone());
                    }
                    if work.overwrites().is_some() {
                        add(*work, Way::InPlace, default.in_place());
                    }
                }
                Action::Sum => {
                    for kernel in [
                        Pointwise::Add,
                        Pointwise::Accumulate,
                        Pointwise::Copy { input: 0 },
                        Pointwise::Copy { input: 1 },
                    ] {
                        let work = Work::Pointwise(kernel);
                        let lowered = work.lower(&[], output, batch, target);
                        add(work, Way::Sum(kernel), lowered);
                    }
                }
            }
        }
        all
    }

    fn kernel(&self) -> String {
        let (inputs, output) = shapes(self.network, self.task);
        match self.way {
            Way::By(algorithm) => kernel_name(&self.work, &inputs, output, algorithm.as_ref()),
            Way::InPlace => kernel_name(&self.work, &inputs, output, None),
            Way::Sum(_) => kernel_name(&self.work, &[], output, None),
        }
    }

    /// What distinguishes its texts from others of the same kernel, apart from sizes.
    fn kind(&self) -> String {
        let is_kind = |value: &&(&str, Value)| matches!(value.1, Value::Bool(_) | Value::Type(_));
        let calls = self.lowered.calls.iter().map(|call| {
            let constants = call.variant.constants.iter().filter(is_kind);
            let words: Vec<String> = constants.map(|(name, value)| format!("{name}={value}")).collect();
            format!("{}/{} {}", call.variant.file, call.variant.entry, words.join(" "))
        });
        calls.collect::<Vec<_>>().join(", ")
    }

    fn macs(&self) -> u64 {
        self.lowered.calls.iter().map(|call| call.macs).sum()
    }

    fn case(&self, place: &Place, rank: Rank) -> Case {
        let (inputs, output) = shapes(self.network, self.task);
        let kernel = self.kernel();
        let way = match self.way {
            Way::InPlace => ", in place".to_string(),
            Way::Sum(Pointwise::Copy { input }) => format!(" of input {input}"),
            // With the number of parts of a sum, which the kernel's name leaves out.
            Way::By(Some(algorithm)) if algorithm.to_string().contains("splits") => format!(" ({algorithm})"),
            _ => String::new(),
        };
        let dims = |shape: &Shape| shape.to_string().replace('N', &self.network.batch.to_string());
        let shapes: Vec<String> = inputs.iter().map(|shape| dims(shape)).collect();
        Case {
            name: format!("{kernel}{way} @{place}"),
            kernel,
            rank,
            shape: format!("{} → {}", shapes.join(", "), dims(output)),
        }
    }

    /// Runs it on `gpu` and compares it with the reference.
    fn examine(&self, gpu: &Gpu) -> Result<Outcome, GpuError> {
        let trial = Trial::new(gpu, &self.network.graph, self.task, self.network.batch);
        let output = self.network.graph.shape(self.task.output);
        let values = output.len(self.network.batch);
        let truth = |trial: &Trial| match self.way {
            Way::Sum(Pointwise::Copy { input }) => trial.inputs[input].iter().map(|&value| value.into()).collect(),
            _ => trial.truth(),
        };
        let before = |trial: &Trial| match self.way {
            Way::InPlace => self.work.overwrites().map(|input| trial.inputs[input].clone()),
            Way::Sum(Pointwise::Accumulate) => Some(trial.inputs[0].clone()),
            _ => None,
        };
        // The earlier contents must not matter, except in place.
        let before = |trial: &Trial| before(trial).unwrap_or_else(|| vec![1e3; values]);
        let began = std::time::Instant::now();
        let prepared = trial.prepare(&self.lowered, &before(&trial))?;
        let found = prepared.run()?;
        let compile_seconds = began.elapsed().as_secs_f64();
        let distance = relative_distance(&found, &truth(&trial));
        let tolerance = match output.precision {
            Precision::F32 => TOLERANCE,
            Precision::F16 => TOLERANCE_F16,
        };
        let second = match trial.second_truth() {
            Some(truth) => relative_distance(&prepared.second()?, &truth),
            None => 0.0,
        };
        if second.is_nan() || second > TOLERANCE {
            return Ok(Outcome::Wrong {
                problem: format!(
                    "its second output is off by {second:.1e} of its norm, and {TOLERANCE:.1e} is allowed"
                ),
            });
        }
        if distance.is_nan() || distance > tolerance {
            return Ok(Outcome::Wrong {
                problem: format!("its output is off by {distance:.1e} of its norm, and {tolerance:.1e} is allowed"),
            });
        }
        // What is not finite must stay so: a driver may compile floats as if there were
        // no NaN. The inputs take turns.
        let inputs = trial.float_inputs();
        let turn = self.task.output.0;
        if !inputs.is_empty() {
            let (input, spoil) = (inputs[turn % inputs.len()], SPOILING[turn % SPOILING.len()]);
            let trial = trial.spoiled(input, spoil);
            let (found, truth) = (trial.found(&self.lowered, &before(&trial))?, truth(&trial));
            let lost = |(found, truth): (&f64, &f64)| {
                !truth.is_finite() && found.is_finite()
                    || keeps_places(&self.work, input) && truth.is_finite() && !found.is_finite()
            };
            let lost = found.iter().zip(&truth).filter(|&pair| lost(pair)).count();
            if lost > 0 {
                return Ok(Outcome::Wrong {
                    problem: format!(
                        "with {spoil} in input {input}, {lost} of {values} values are finite or not against the reference"
                    ),
                });
            }
        }
        Ok(Outcome::Agrees {
            distance,
            compile_seconds,
        })
    }
}

/// The shapes of the inputs of `task`, and of its output.
fn shapes<'a>(network: &'a DrawnNetwork, task: &Task) -> (Vec<&'a Shape>, &'a Shape) {
    let inputs = task.inputs.iter().map(|&id| network.graph.shape(id));
    (inputs.collect(), network.graph.shape(task.output))
}

/// The task that a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    precision: Precision,
    network: usize,
    task: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.precision, self.network, self.task)
    }
}

impl Place {
    fn of(name: &str) -> Option<Self> {
        let (_, place) = name.rsplit_once('@')?;
        let words: Vec<&str> = place.split('.').collect();
        let [precision, network, task] = words[..] else {
            return None;
        };
        let number = |text: &str, below: usize| text.parse().ok().filter(|&number: &usize| number < below);
        Some(Place {
            precision: match precision {
                "f32" => Precision::F32,
                "f16" => Precision::F16,
                _ => return None,
            },
            network: number(network, networks::count())?,
            task: number(task, usize::MAX)?,
        })
    }
}

/// The kernels that training steps of networks of the literature may get, each with
/// whether one of them gets it by default.
fn kernels_of_literature(target: &Target, precision: Precision) -> BTreeMap<String, bool> {
    let mut kernels = BTreeMap::new();
    for name in LITERATURE {
        let mut graph = literature(name);
        graph.store_in(precision);
        for job in jobs(&step_request(&graph, true, 8, Recompute::None), target) {
            let inputs: Vec<&Shape> = job.inputs.iter().collect();
            let algorithms = job.work.algorithms(&inputs, &job.output, target);
            for (place, algorithm) in algorithms.iter().enumerate() {
                let kernel = kernel_name(&job.work, &inputs, &job.output, Some(algorithm));
                *kernels.entry(kernel).or_default() |= place == 0;
            }
        }
    }
    kernels
}

/// The cases of `target` at the shapes of `seed`, default kernels first; with
/// `halves` those of 16-bit storage as well.
pub fn cases(target: &Target, halves: bool, seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let precisions = match halves {
        true => &[Precision::F32, Precision::F16][..],
        false => &[Precision::F32],
    };
    for &precision in precisions {
        cases.push(Case {
            name: format!("{} @{precision}.step", training_name(precision)),
            kernel: training_name(precision),
            rank: Rank::Default,
            shape: String::new(),
        });
        let literature = kernels_of_literature(target, precision);
        let (mut kernels, mut kinds) = (BTreeSet::new(), BTreeSet::new());
        for network in 0..networks::count() {
            let drawn = DrawnNetwork::new(seed, network, precision);
            for (task, way) in TaskWay::all(&drawn, target) {
                let kernel = way.kernel();
                if way.macs() > MOST_MACS || !kinds.insert((kernel.clone(), way.kind())) {
                    continue;
                }
                let is_new = kernels.insert(kernel.clone());
                let has_others = matches!(way.way, Way::By(Some(_)));
                let rank = match (has_others, is_new, literature.get(&kernel)) {
                    (false, ..) | (true, true, Some(true)) => Rank::Default,
                    (true, true, Some(false)) => Rank::Alternative,
                    _ => Rank::Further,
                };
                let place = Place {
                    precision,
                    network,
                    task,
                };
                cases.push(way.case(&place, rank));
            }
        }
    }
    cases.sort_by_key(|case| case.rank);
    cases
}

/// Networks that were made already.
#[derive(Debug, Default)]
pub struct Networks {
    known: HashMap<(usize, Precision), DrawnNetwork>,
}

/// Examines the case with the name `name` on `gpu`; `None` where there is no such
/// case.
///
/// # Errors
/// Where the device is lost.
pub fn examine(gpu: &Arc<Gpu>, networks: &mut Networks, seed: u64, name: &str) -> Result<Option<Outcome>, TrainError> {
    for precision in [Precision::F32, Precision::F16] {
        if name == format!("{} @{precision}.step", training_name(precision)) {
            let examined = step::examine(gpu, seed, precision);
            return refused_or(examined.map(Some));
        }
    }
    let Some(place) = Place::of(name) else {
        return Ok(None);
    };
    let known = networks.known.entry((place.network, place.precision));
    let network = &*known.or_insert_with(|| DrawnNetwork::new(seed, place.network, place.precision));
    let target = target(gpu);
    let is_own = |way: &TaskWay| way.case(&place, Rank::Further).name == name;
    let ways = TaskWay::all(network, &target).into_iter();
    let mut of_task = ways.filter_map(|(task, way)| (task == place.task).then_some(way));
    let Some(way) = of_task.find(is_own) else {
        return Ok(None);
    };
    refused_or(way.examine(gpu).map(Some).map_err(TrainError::from))
}

/// `examined`; where the driver refused something, that is the outcome.
fn refused_or(examined: Result<Option<Outcome>, TrainError>) -> Result<Option<Outcome>, TrainError> {
    match examined {
        Err(TrainError::Session(SessionError::Gpu(error))) if error.ends_work() => Err(error.into()),
        Err(error) => {
            let problem = match error {
                TrainError::Session(SessionError::Gpu(GpuError::Validation(problem))) => problem,
                error => error.to_string(),
            };
            let words: Vec<&str> = problem.split_whitespace().collect();
            Ok(Some(Outcome::Refused {
                problem: words.join(" "),
            }))
        }
        examined => examined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn every_kernel_of_real_networks_is_a_case() {
        for target in [Target::portable(true), Target::portable(false)] {
            let cases = cases(&target, true, 0);
            let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
            assert_eq!(names.len(), cases.len(), "names are unique");
            let kernels: BTreeSet<&str> = cases.iter().map(|case| case.kernel.as_str()).collect();
            let count = |rank| cases.iter().filter(|case| case.rank == rank).count();
            println!(
                "{} kernels in {} cases: {} default, {} alternative, {} further",
                kernels.len(),
                cases.len(),
                count(Rank::Default),
                count(Rank::Alternative),
                count(Rank::Further)
            );
            for precision in [Precision::F32, Precision::F16] {
                let missing: Vec<String> = kernels_of_literature(&target, precision)
                    .into_keys()
                    .filter(|kernel| !kernels.contains(kernel.as_str()))
                    .collect();
                assert!(missing.is_empty(), "{} of {target:?}: {missing:#?}", missing.len());
            }
        }
    }

    /// Entry points that belong to no operation: whole training steps have them
    /// (`step.rs`). Those of `peak` only measure.
    const OF_STEPS: [&str; 10] = [
        "adamw/",
        "average/",
        "distort/",
        "gather/",
        "lars/",
        "loss/record",
        "loss_scale/",
        "norms/",
        "sgd/",
        "shards/",
    ];

    #[test]
    fn every_entry_point_is_examined() {
        let mut examined = BTreeSet::new();
        for target in [Target::portable(true), Target::portable(false)] {
            for network in 0..networks::count() {
                let drawn = DrawnNetwork::new(0, network, Precision::F32);
                for (_, way) in TaskWay::all(&drawn, &target) {
                    let calls = way.lowered.calls.iter();
                    examined.extend(calls.map(|call| format!("{}/{}", call.variant.file, call.variant.entry)));
                }
            }
        }
        let mut missing = Vec::new();
        for (file, text) in crate::kernels::files() {
            let module = naga::front::wgsl::parse_str(&text).unwrap();
            let entries = module.entry_points.iter().map(|entry| format!("{file}/{}", entry.name));
            missing.extend(entries.filter(|entry| {
                let of_step = OF_STEPS.iter().any(|own| entry.starts_with(own));
                !of_step && !entry.starts_with("peak/") && !examined.contains(entry)
            }));
        }
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn a_case_is_found_by_its_name() {
        let place = Place {
            precision: Precision::F16,
            network: 3,
            task: 12,
        };
        assert_eq!(Place::of(&format!("relu f16 @{place}")), Some(place));
        for other in [
            "relu f16",
            "relu @f16.3",
            "relu @f8.3.1",
            "relu @f32.999.1",
            "relu @f32.1.x",
        ] {
            assert_eq!(Place::of(other), None, "{other}");
        }
    }
}
