//! Which kernels does a session take for the work ahead: the default
//! algorithms, tuned ones, or those of another run?
//!
//! Tuning takes up to a minute, once per model, batch size and device. The time
//! that it saves must exceed that: a short job takes the kernels that the cache holds already,
//! and the default algorithm for the rest.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::cache::{TuningCache, TuningKey};
use super::cache_file::{add_to_cache, load_cache};
use super::error::TuningError;
use super::job::{Job, jobs};
use super::tune::{KeptDefault, TuningProgress, tune};
use super::tuner::{Budget, Rejected, Tuned};
use crate::gpu::GpuError;
use crate::schedule::{KernelChoices, Session, TunedKernel, target};

/// Where kernels come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum KernelSource {
    /// The default algorithms.
    #[default]
    Default,
    /// The tuning cache; what it lacks is tuned, if the work ahead is long
    /// enough.
    Tuned {
        /// The cache file, if kernels are stored between runs at all.
        file: Option<PathBuf>,
    },
    /// The kernels of a file.
    Replay(TuningCache),
}

/// The work that kernels are chosen for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Training steps; otherwise evaluation only.
    pub training: bool,
    /// Images in a batch.
    pub batch: usize,
    /// The number of images in all passes together.
    pub images: u64,
}

/// What is reported while kernels are chosen.
#[derive(Debug)]
pub enum TuningEvent<'a> {
    /// The cache file is damaged, of another version, or cannot be written:
    /// one line.
    CacheFile(&'a str),
    /// The work ahead is too short to tune kernels for it.
    TooShort {
        /// Estimated seconds of the work ahead.
        work: f64,
        /// Estimated seconds of tuning.
        tuning: f64,
    },
    /// Tuning runs.
    Progress(&'a TuningProgress<'a>),
    /// Tuning ended.
    Done(&'a TuningSummary),
}

/// The result of tuning, in numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TuningSummary {
    /// Jobs that were timed.
    pub tuned: usize,
    /// Those of them with a kernel faster than the default algorithm.
    pub faster: usize,
    /// Their share (0 to 1) of all work that has several algorithms.
    pub share: f64,
    /// Jobs that are too small to be timed: they keep the default algorithm.
    pub small: usize,
    /// Jobs that the time budget did not reach: they keep it, too.
    pub no_time: usize,
    /// Algorithms of the timed jobs.
    pub algorithms: usize,
    /// Those of them that the device refused or computed wrong.
    pub wrong: usize,
    /// Those that took too long to compile.
    pub slow_to_compile: usize,
    /// Those that were not tried before the time budget ended.
    pub untried: usize,
    /// Seconds that tuning took.
    pub seconds: f64,
}

impl TuningSummary {
    fn add(&mut self, tuned: &Tuned) {
        self.tuned += 1;
        self.share += tuned.job.share;
        let default = tuned.results.first();
        self.faster += usize::from(default.is_some_and(|(default, _)| *default != tuned.choice.algorithm));
        self.algorithms += tuned.results.len();
        for (_, result) in &tuned.results {
            match result {
                Ok(_) => {}
                Err(Rejected::Failed(_) | Rejected::Disagrees(_)) => self.wrong += 1,
                Err(Rejected::SlowToCompile(_)) => self.slow_to_compile += 1,
                Err(Rejected::OutOfTime) => self.untried += 1,
            }
        }
    }

    fn add_kept(&mut self, jobs: usize, reason: KeptDefault) {
        match reason {
            KeptDefault::TooSmall => self.small += jobs,
            KeptDefault::OutOfTime => self.no_time += jobs,
        }
    }
}

/// Multiply-adds per second that networks run at, for estimates.
fn speed(cpu: bool) -> f64 {
    if cpu { 1e10 } else { 1e12 }
}

/// The work ahead must take this many times as long as tuning for it: tuning
/// gains about a tenth.
const PAYBACK: f64 = 10.0;

/// Estimated seconds of tuning `jobs`: most of it compiles the unrolled code
/// of register tiles.
fn tuning_seconds(session: &Session, jobs: &[&Job]) -> f64 {
    let target = target(session.gpu());
    let seconds = |job: &&Job| match target.cpu && job.macs_per_image(&target) > 1_000_000 {
        true => 3.0,
        false => 0.5,
    };
    let large = jobs.iter().filter(|job| job.matters());
    large.map(seconds).sum::<f64>().min(Budget::default().total)
}

/// Estimated seconds of `work`.
fn work_seconds(session: &Session, jobs: &[Job], work: &Workload) -> f64 {
    let target = target(session.gpu());
    let macs: u64 = jobs
        .iter()
        .map(|job| job.count as u64 * job.macs_per_image(&target))
        .sum();
    macs as f64 * work.images as f64 / speed(target.cpu)
}

/// Gives `session` the kernels that `source` names for `work`, and returns
/// them.
///
/// # Errors
/// Where the device is lost, or the kernels to replay are those of several
/// other devices.
pub fn choose_kernels(
    session: &mut Session,
    source: &KernelSource,
    work: &Workload,
    report: &mut dyn FnMut(&TuningEvent),
) -> Result<KernelChoices, TuningError> {
    let choices = match source {
        KernelSource::Default => KernelChoices::default(),
        KernelSource::Replay(cache) => {
            let info = session.gpu().info();
            let own = cache.replay(&TuningKey::of(info)).cloned();
            own.ok_or_else(|| TuningError::OtherDevices {
                adapter: info.to_string(),
            })?
        }
        KernelSource::Tuned { file } => cached_or_tuned(session, work, file.as_deref(), report)?,
    };
    session.set_choices(choices.clone());
    Ok(choices)
}

/// The kernels that `file` holds for the work, and those that tuning finds for
/// the rest.
fn cached_or_tuned(
    session: &Session,
    work: &Workload,
    file: Option<&Path>,
    report: &mut dyn FnMut(&TuningEvent),
) -> Result<KernelChoices, TuningError> {
    let (cache, note) = file.map(load_cache).unwrap_or_default();
    if let Some(note) = note {
        report(&TuningEvent::CacheFile(&note));
    }
    let key = TuningKey::of(session.gpu().info());
    let cached = cache.entry(&key).cloned().unwrap_or_default();
    let jobs = jobs(&session.request(work.training, work.batch), &target(session.gpu()));
    let mut choices = KernelChoices::default();
    let mut missing = Vec::new();
    for job in &jobs {
        let signature = job.signature();
        if let Some(tuned) = cached.exact(&signature, job.batch) {
            choices.set(&signature, job.batch, tuned);
            continue;
        }
        if let Some(algorithm) = cached.algorithm(&signature, job.batch) {
            choices.set(&signature, job.batch, TunedKernel::untimed(algorithm));
        }
        missing.push(job);
    }
    if missing.is_empty() {
        return Ok(choices);
    }
    let (ahead, tuning) = (work_seconds(session, &jobs, work), tuning_seconds(session, &missing));
    if ahead < PAYBACK * tuning {
        report(&TuningEvent::TooShort { work: ahead, tuning });
        return Ok(choices);
    }
    let missing: Vec<Job> = missing.into_iter().cloned().collect();
    let found = tune_jobs(session, &missing, file, report)?;
    choices.extend(&found);
    Ok(choices)
}

/// Tunes `jobs` on the session's device, and stores the result in the cache
/// file `file`.
///
/// # Errors
/// Where the device is lost, and where its [`StopToken`](crate::stop::StopToken)
/// asked to stop: what was found until then is stored.
pub fn tune_jobs(
    session: &Session,
    jobs: &[Job],
    file: Option<&Path>,
    report: &mut dyn FnMut(&TuningEvent),
) -> Result<KernelChoices, TuningError> {
    let began = Instant::now();
    let mut summary = TuningSummary::default();
    let found = tune(session.gpu(), jobs, &Budget::default(), &mut |progress| {
        match progress {
            TuningProgress::Job { .. } => {}
            TuningProgress::Tuned(tuned) => summary.add(tuned),
            TuningProgress::KeptDefault { jobs, reason, .. } => summary.add_kept(*jobs, *reason),
        }
        report(&TuningEvent::Progress(progress));
    })?;
    if let Some(file) = file {
        let new = TuningCache::of(&TuningKey::of(session.gpu().info()), &found);
        if let Err(problem) = add_to_cache(file, &new) {
            report(&TuningEvent::CacheFile(&problem));
        }
    }
    summary.seconds = began.elapsed().as_secs_f64();
    report(&TuningEvent::Done(&summary));
    if session.gpu().is_stopped() {
        return Err(GpuError::Stopped.into());
    }
    Ok(found)
}
