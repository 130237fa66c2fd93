//! Which kernels does a network take: the rules', those that were chosen by
//! timing, or another run's?
//!
//! Choosing takes up to a minute, once for a model, batch size and device. It
//! must pay that back: a short job takes what is known already, and the rules'
//! choice for the rest.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::engine::Engine;
use super::{RunDirectory, TrainError};
use crate::schedule::{
    Aside, Book, Budget, Choices, Device, Job, Kept, Progress, Session, Tuned, TunedKernel, add_choices, read_choices,
    target, tune,
};

/// Where kernels come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Kernels {
    /// The rules' choice.
    #[default]
    Rules,
    /// What is known of this device; what is not is timed, if the work ahead
    /// pays it back.
    Chosen {
        /// Where choices are kept between runs, if anywhere.
        file: Option<PathBuf>,
    },
    /// The choices of a file.
    Replay(Book),
}

/// The work that kernels are chosen for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Whether steps are taken; else the network only judges images.
    pub training: bool,
    /// Images in a batch.
    pub batch: usize,
    /// Images in all, each as often as it is computed.
    pub images: u64,
}

/// What is told while kernels are chosen.
#[derive(Debug)]
pub enum TuningNews<'a> {
    /// The file of choices is damaged, or cannot be written: one line.
    File(&'a str),
    /// The work ahead is too short to time kernels for it.
    TooShort {
        /// Seconds of work ahead, estimated.
        ahead: f64,
        /// Seconds that timing would take, estimated.
        cost: f64,
    },
    /// Timing goes on.
    Progress(&'a Progress<'a>),
    /// Timing ended.
    Done(&'a TuningSummary),
}

/// What came out of timing kernels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TuningSummary {
    /// Pieces of work whose kernels were timed.
    pub tuned: usize,
    /// How many of them have a faster kernel than the rules' choice.
    pub faster: usize,
    /// Their share of all work that can be done in several ways.
    pub share: f64,
    /// Pieces of work too small to be timed: they keep the rules' choice.
    pub small: usize,
    /// Pieces of work that the budget did not reach: they, too.
    pub no_time: usize,
    /// Kernels that were looked at.
    pub candidates: usize,
    /// Of those, what the device refused or computed wrong.
    pub wrong: usize,
    /// What took too long to compile.
    pub compiles: usize,
    /// What had no turn.
    pub untried: usize,
    /// Seconds that it took.
    pub seconds: f64,
}

impl TuningSummary {
    fn add(&mut self, tuned: &Tuned) {
        self.tuned += 1;
        self.share += tuned.job.share;
        let rule = tuned.trials.first();
        self.faster += usize::from(rule.is_some_and(|(rule, _)| *rule != tuned.choice.kernel));
        self.candidates += tuned.trials.len();
        for (_, outcome) in &tuned.trials {
            match outcome {
                Ok(_) => {}
                Err(Aside::Failed(_) | Aside::Disagrees(_)) => self.wrong += 1,
                Err(Aside::Compiles(_)) => self.compiles += 1,
                Err(Aside::NoTime) => self.untried += 1,
            }
        }
    }

    fn keep(&mut self, jobs: usize, why: Kept) {
        match why {
            Kept::Small => self.small += jobs,
            Kept::NoTime => self.no_time += jobs,
        }
    }
}

/// Multiply-adds a second that networks run at, for estimates.
fn speed(cpu: bool) -> f64 {
    if cpu { 1e10 } else { 1e12 }
}

/// Work must be so many times as long as choosing kernels for it: what is
/// gained is about a tenth.
const PAYBACK: f64 = 10.0;

/// Seconds that timing kernels for `jobs` should take: most goes to compiling
/// the straight-line code of register tiles.
fn cost(session: &Session, jobs: &[&Job]) -> f64 {
    let target = target(session.gpu());
    let seconds = |job: &&Job| match target.cpu && job.macs_per_image(&target) > 1_000_000 {
        true => 3.0,
        false => 0.5,
    };
    let worth = jobs.iter().filter(|job| job.matters());
    worth.map(seconds).sum::<f64>().min(Budget::default().total)
}

/// Seconds that `work` should take.
fn ahead(session: &Session, jobs: &[Job], work: &Workload) -> f64 {
    let target = target(session.gpu());
    let macs: u64 = jobs
        .iter()
        .map(|job| job.count as u64 * job.macs_per_image(&target))
        .sum();
    macs as f64 * work.images as f64 / speed(target.cpu)
}

/// Gives `engine` the kernels that `kernels` says, and returns the choices it
/// has then. A reference without device has none.
///
/// # Errors
/// Where the device fails, or no choices to replay are for this device.
pub fn choose_kernels(
    engine: &mut dyn Engine,
    kernels: &Kernels,
    work: &Workload,
    report: &mut dyn FnMut(&TuningNews),
) -> Result<Choices, TrainError> {
    let Some(session) = engine.session() else {
        return Ok(Choices::default());
    };
    let choices = match kernels {
        Kernels::Rules => Choices::default(),
        Kernels::Replay(book) => {
            let device = Device::of(session.gpu().info());
            book.replay(&device).cloned().ok_or_else(|| {
                TrainError::Argument(format!(
                    "the kernels to replay were chosen for other devices, none of them {}",
                    session.gpu().info()
                ))
            })?
        }
        Kernels::Chosen { file } => chosen(session, work, file.as_deref(), report)?,
    };
    session.set_choices(choices.clone());
    Ok(choices)
}

/// What `file` knows of the work's kernels, and what timing finds of the rest.
fn chosen(
    session: &Session,
    work: &Workload,
    file: Option<&Path>,
    report: &mut dyn FnMut(&TuningNews),
) -> Result<Choices, TrainError> {
    let (book, note) = file.map(read_choices).unwrap_or_default();
    if let Some(note) = note {
        report(&TuningNews::File(&note));
    }
    let device = Device::of(session.gpu().info());
    let known = book.page(&device).cloned().unwrap_or_default();
    let jobs = session.jobs(work.training, work.batch);
    let mut choices = Choices::default();
    let mut missing = Vec::new();
    for job in &jobs {
        let signature = job.signature();
        match (known.exact(&signature, job.batch), known.kernel(&signature, job.batch)) {
            (Some(choice), _) => choices.set(&signature, job.batch, choice),
            (None, near) => {
                if let Some(kernel) = near {
                    choices.set(&signature, job.batch, TunedKernel { kernel, timed: None });
                }
                missing.push(job);
            }
        }
    }
    if missing.is_empty() {
        return Ok(choices);
    }
    let (ahead, cost) = (ahead(session, &jobs, work), cost(session, &missing));
    if ahead < PAYBACK * cost {
        report(&TuningNews::TooShort { ahead, cost });
        return Ok(choices);
    }
    let missing: Vec<Job> = missing.into_iter().cloned().collect();
    let found = tune_jobs(session, &missing, file, report)?;
    choices.extend(&found);
    Ok(choices)
}

/// Times the kernels of `jobs` and keeps what is found in `file`.
///
/// # Errors
/// Where the device is lost.
pub fn tune_jobs(
    session: &Session,
    jobs: &[Job],
    file: Option<&Path>,
    report: &mut dyn FnMut(&TuningNews),
) -> Result<Choices, TrainError> {
    let began = Instant::now();
    let mut summary = TuningSummary::default();
    let found = tune(session.gpu(), jobs, &Budget::default(), &mut |progress| {
        match progress {
            Progress::Job { .. } => {}
            Progress::Tuned(tuned) => summary.add(tuned),
            Progress::Kept { jobs, why, .. } => summary.keep(*jobs, *why),
        }
        report(&TuningNews::Progress(progress));
    })?;
    if let Some(file) = file {
        let news = Book::of(&Device::of(session.gpu().info()), &found);
        if let Err(problem) = add_choices(file, &news) {
            report(&TuningNews::File(&problem));
        }
    }
    summary.seconds = began.elapsed().as_secs_f64();
    report(&TuningNews::Done(&summary));
    Ok(found)
}

/// The choices in a file: a run's `tuning.toml`, or an exported one.
///
/// # Errors
/// Where there is no such file, or it is none of choices.
pub fn read_book(path: &Path) -> Result<Book, TrainError> {
    let problem = |problem: String| TrainError::Run {
        path: path.to_path_buf(),
        problem,
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    Book::from_text(&text).map_err(problem)
}

/// Gives `engine` the kernels that the run in `directory` was begun with.
///
/// # Errors
/// Where the run's `tuning.toml` is damaged.
pub fn replay_run(engine: &mut dyn Engine, directory: &RunDirectory) -> Result<(), TrainError> {
    let Some(session) = engine.session() else {
        return Ok(());
    };
    let book = directory.read_tuning()?;
    let choices = book.replay(&Device::of(session.gpu().info())).cloned();
    session.set_choices(choices.unwrap_or_default());
    Ok(())
}
