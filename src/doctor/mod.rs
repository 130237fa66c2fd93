//! Do an adapter and its driver work?
//!
//! Every kernel that the adapter may get runs on random shapes and is compared with
//! the f64 reference, in child processes with a time limit: drivers hang and crash,
//! mostly while they compile. A kernel that is wrong or does not come back is put in
//! quarantine, and neither default choice nor tuning takes it again. Then the
//! device's clock and its memory are examined.

mod cases;
mod children;
mod clock;
mod memory;
mod networks;
mod report;
mod step;
mod submissions;
mod trial;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use cases::{Case, Outcome, Rank, cases};
pub use children::{Children, serve};
pub use clock::Clock;
pub use memory::Ceiling;
pub use networks::{every_operation, odd_values};
pub use submissions::StepEstimate;
pub use trial::{PreparedTrial, SPOILING, Trial, keeps_places, relative_distance};

use crate::gpu::{
    AdapterInfo, AdapterKind, Gpu, GpuError, QuarantinedKernel, adapters, change_quarantine, read_quarantine,
};
use crate::schedule::{shaders_version, target};

/// Errors of an examination as a whole.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The device failed in this process.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A child process cannot examine anything.
    #[error("a process that opens the adapter fails: {problem}; the adapter cannot be used")]
    Child {
        /// What happened.
        problem: String,
        /// Whether the process hung, or did not end by itself.
        is_crash: bool,
    },
    /// A text that no case's name contains.
    #[error("no kernel of this adapter is named like '{wanted}'; `residua doctor --list` lists them")]
    NoSuchCase {
        /// The text asked for.
        wanted: String,
    },
    /// The list of kernels in quarantine cannot be written.
    #[error("kernels cannot be put in quarantine: {problem}")]
    Quarantine {
        /// What the system says.
        problem: String,
    },
}

/// How much is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Default kernels, for a quarter of a minute.
    Quick,
    /// Default kernels and those that tuning may choose for networks of the literature,
    /// for a minute.
    Usual,
    /// Every text of every kernel, for all shapes, however long it takes.
    All,
}

impl Extent {
    fn has(self, rank: Rank) -> bool {
        match self {
            Extent::Quick => rank == Rank::Default,
            Extent::Usual => rank < Rank::Further,
            Extent::All => true,
        }
    }

    /// Seconds after which no further kernel is examined.
    fn seconds(self) -> Option<f64> {
        match self {
            Extent::Quick => Some(15.0),
            Extent::Usual => Some(60.0),
            Extent::All => None,
        }
    }
}

/// What is examined, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct DoctorOptions {
    /// How much.
    pub extent: Extent,
    /// Only the cases whose names contain one of these; all where it is empty.
    pub only: Vec<String>,
    /// Seed of the shapes and numbers.
    pub seed: u64,
}

/// One kernel at one shape, and what it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examined {
    /// The name of the case.
    pub name: String,
    /// The kernel.
    pub kernel: String,
    /// Whether it is a default kernel.
    pub rank: Rank,
    /// Shapes of inputs and output.
    pub shape: String,
    /// What it did.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What an adapter can do, and what is given up where it cannot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// What the adapter has.
    pub value: String,
    /// What is given up; empty where nothing is.
    pub gives_up: &'static str,
}

/// All that an examination found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Findings {
    /// The adapter.
    pub adapter: AdapterInfo,
    /// All adapters of the system.
    pub adapters: Vec<AdapterInfo>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// A hash of all shaders.
    pub shaders: &'static str,
    /// Seed of the shapes and numbers.
    pub seed: u64,
    /// Cases that were to be examined.
    pub cases: usize,
    /// Those that were, in order.
    pub examined: Vec<Examined>,
    /// Seconds that this took.
    pub seconds: f64,
    /// Times of a piece of work, and of one twice as large; `None` where kernels were
    /// named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// Seconds that one submission may take; absent where there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submission_seconds: Option<f64>,
    /// Estimates for training steps, at the rate of the clock's work.
    pub steps: Vec<StepEstimate>,
    /// The memory that the device gave; `None` where it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Ceiling>,
    /// The kernels in quarantine on this adapter, afterwards.
    pub quarantine: Vec<QuarantinedKernel>,
}

impl Findings {
    /// The kernels that do not work.
    pub fn failures(&self) -> impl Iterator<Item = &Examined> {
        self.examined.iter().filter(|case| !case.outcome.is_sound())
    }

    /// What is wrong, in a line each.
    pub fn problems(&self) -> Vec<String> {
        let kernels = self.failures().map(|case| format!("{}: {}", case.name, case.outcome));
        let clock = self.clock.iter().flat_map(Clock::problems);
        let memory = self.memory.iter().filter(|memory| !memory.problem.is_empty());
        let memory = memory.map(|memory| format!("a process that asked for memory failed: {}", memory.problem));
        kernels.chain(clock).chain(memory).collect()
    }

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems().is_empty()
    }
}

/// What is reported while kernels are examined.
#[derive(Debug)]
pub struct DoctorProgress<'a> {
    /// Cases that are done.
    pub done: usize,
    /// All cases.
    pub of: usize,
    /// The case that was done last.
    pub last: &'a Examined,
}

/// The cases of `gpu` that `options` ask for.
///
/// # Errors
/// Where no case's name contains one of the texts.
pub fn select(gpu: &Gpu, options: &DoctorOptions) -> Result<Vec<Case>, DoctorError> {
    let all = cases(&target(gpu), gpu.info().f16, options.seed);
    let named = |case: &Case, wanted: &String| case.name.contains(wanted.as_str());
    if let Some(wanted) = options
        .only
        .iter()
        .find(|wanted| !all.iter().any(|case| named(case, wanted)))
    {
        return Err(DoctorError::NoSuchCase { wanted: wanted.clone() });
    }
    let is_wanted = |case: &Case| match options.only.is_empty() {
        true => options.extent.has(case.rank),
        false => options.only.iter().any(|wanted| named(case, wanted)),
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// Examines the adapter of `gpu`. Kernels that do not work are added to the
/// quarantine of the file `quarantine`, where there is one.
///
/// # Errors
/// Where the device or all child processes fail, or the file cannot be written.
pub fn examine(
    gpu: &Gpu,
    options: &DoctorOptions,
    children: &Children,
    quarantine: Option<&Path>,
    report: &mut (dyn FnMut(&DoctorProgress) + Send),
) -> Result<Findings, DoctorError> {
    let began = Instant::now();
    let cases = select(gpu, options)?;
    let named = !options.only.is_empty();
    let seconds = options.extent.seconds().filter(|_| !named);
    let deadline = seconds.map(|seconds| began + Duration::from_secs_f64(seconds));
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let found = Mutex::new((Vec::new(), report));
    children.examine(&names, deadline, &|index, outcome| {
        let case = &cases[index];
        let examined = Examined {
            name: case.name.clone(),
            kernel: case.kernel.clone(),
            rank: case.rank,
            shape: case.shape.clone(),
            outcome,
        };
        let mut found = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (all, report) = &mut *found;
        report(&DoctorProgress {
            done: all.len() + 1,
            of: cases.len(),
            last: &examined,
        });
        all.push((index, examined));
    })?;
    let (mut examined, _) = found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    examined.sort_by_key(|(index, _)| *index);
    let examined: Vec<Examined> = examined.into_iter().map(|(_, examined)| examined).collect();
    let seconds = began.elapsed().as_secs_f64();
    let failures = examined.iter().filter(|case| !case.outcome.is_sound());
    let failures: Vec<QuarantinedKernel> = failures
        .map(|case| QuarantinedKernel::new(gpu.info(), shaders_version(), &case.kernel, &case.outcome.to_string()))
        .collect();
    // First, so that the processes that follow leave these kernels out.
    let quarantine = put_in_quarantine(gpu.info(), failures, quarantine)?;
    let clock = match named {
        true => None,
        false => Some(children.clock()?),
    };
    let rate = clock.as_ref().map(|clock| clock.rate).filter(|rate| *rate > 0.0);
    Ok(Findings {
        steps: rate.map_or(Vec::new(), |rate| submissions::estimates(gpu, rate)),
        adapters: adapters(),
        submission_seconds: gpu.submission_seconds(),
        clock,
        adapter: gpu.info().clone(),
        capabilities: capabilities(gpu),
        shaders: shaders_version(),
        seed: options.seed,
        cases: cases.len(),
        memory: match named || options.extent == Extent::Quick {
            true => None,
            false => Some(children.memory(most_memory(gpu))?),
        },
        quarantine,
        examined,
        seconds,
    })
}

/// Adds `failures` to the quarantine of the file `path`; returns what it then holds
/// for `adapter`.
fn put_in_quarantine(
    adapter: &AdapterInfo,
    failures: Vec<QuarantinedKernel>,
    path: Option<&Path>,
) -> Result<Vec<QuarantinedKernel>, DoctorError> {
    let add = |all: &mut Vec<QuarantinedKernel>, failures: Vec<QuarantinedKernel>| {
        for new in failures {
            let kernel = |entry: &QuarantinedKernel| (entry.shaders.clone(), entry.kernel.clone());
            all.retain(|old| !(old.is_of(adapter) && kernel(old) == kernel(&new)));
            all.push(new);
        }
    };
    let Some(path) = path else { return Ok(Vec::new()) };
    let all = match failures.is_empty() {
        // Nothing is written where nothing is wrong.
        true => read_quarantine(path),
        false => change_quarantine(path, |all| add(all, failures)),
    };
    let mut all = all.map_err(|problem| DoctorError::Quarantine { problem })?;
    all.retain(|kernel| kernel.is_of(adapter) && kernel.shaders == shaders_version());
    Ok(all)
}

/// The most bytes that a device is asked for. A driver on the processor takes them
/// from the memory of all programs.
fn most_memory(gpu: &Gpu) -> u64 {
    match gpu.info().kind {
        AdapterKind::Cpu => 4 << 30,
        _ => 1 << 40,
    }
}

fn capabilities(gpu: &Gpu) -> Vec<Capability> {
    let (info, limits) = (gpu.info(), gpu.limits());
    let yes_or = |has: bool, gives_up: &'static str| match has {
        true => ("yes".to_string(), ""),
        false => ("no".to_string(), gives_up),
    };
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let (smallest, largest) = info.subgroup;
    let on_processor = info.kind == AdapterKind::Cpu;
    let subgroups = match (limits.subgroup, on_processor) {
        (0, true) => (
            format!("{smallest} to {largest}"),
            "kernels for processors that exchange values within a subgroup",
        ),
        (0, false) => (format!("{smallest} to {largest}"), ""),
        (size, _) => (size.to_string(), ""),
    };
    let rows = [
        ("16-bit floats", yes_or(info.f16, "--precision f16")),
        (
            "timestamps",
            yes_or(gpu.has_timestamps(), "timing by the device: the host's clock is used"),
        ),
        ("subgroup size", subgroups),
        (
            "64-bit integers",
            yes_or(
                limits.int64 || !on_processor,
                "loads of eight values at once, which are faster on processors",
            ),
        ),
        (
            "stored pipelines",
            yes_or(
                gpu.stores_pipelines(),
                "start without compiling: every start compiles again",
            ),
        ),
        (
            "device memory",
            match limits.memory {
                Some(bytes) => (mib(bytes), ""),
                None => (
                    "not told".to_string(),
                    "refusing a run that does not fit before it begins",
                ),
            },
        ),
        ("largest binding", (mib(limits.binding), "")),
        ("largest buffer", (mib(limits.buffer), "")),
        ("workgroups in a dimension", (limits.workgroups.to_string(), "")),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, (value, gives_up))| Capability { name, value, gives_up });
    rows.collect()
}
