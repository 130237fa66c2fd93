//! What does the user see while kernels are chosen?

use indicatif::ProgressBar;

use super::progress::{bar, note};
use crate::schedule::{Aside, Progress, Tuned};
use crate::train::TuningNews;

/// Tells what happens while kernels for `subject`, a model's name, are chosen.
/// Nothing at all where nothing is left to choose.
pub struct TuningTeller {
    subject: String,
    /// Whether it is said that a job is too short to choose kernels for it.
    pub tells_short: bool,
    bar: Option<ProgressBar>,
}

impl TuningTeller {
    /// A teller for `subject`.
    pub fn new(subject: &str) -> Self {
        TuningTeller {
            subject: subject.to_string(),
            tells_short: false,
            bar: None,
        }
    }

    /// Tells `news`.
    pub fn tell(&mut self, news: &TuningNews) {
        match news {
            TuningNews::File(problem) => note(format_args!("kernel choices: {problem}")),
            TuningNews::TooShort { ahead, cost } if self.tells_short => note(format_args!(
                "kernels by the rules: about {ahead:.0} s of work would not repay {cost:.0} s of tuning \
                 (`tools tune {}` does it once)",
                self.subject
            )),
            TuningNews::TooShort { .. } => {}
            TuningNews::Progress(progress) => self.progress(progress),
            TuningNews::Done {
                kernels,
                faster,
                seconds,
            } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                note(format_args!(
                    "tuned {kernels} kernels in {seconds:.0} s: {faster} faster than the rules' choice"
                ));
            }
        }
    }

    fn progress(&mut self, progress: &Progress) {
        match progress {
            Progress::Job { done, of } => {
                let bar = self.bar.get_or_insert_with(|| {
                    note(format_args!(
                        "tuning {of} kernels for {}, once on this device",
                        self.subject
                    ));
                    let bar = bar(*of as u64, "kernels");
                    bar.set_message("tuning");
                    bar
                });
                bar.set_position(*done as u64);
            }
            Progress::Tuned(tuned) => {
                for line in set_aside(tuned) {
                    match &self.bar {
                        Some(bar) => bar.suspend(|| note(&line)),
                        None => note(&line),
                    }
                }
            }
            Progress::OutOfTime { left } => note(format_args!(
                "tuning: out of time; {left} kernels keep the rules' choice (`tools tune {}` goes on)",
                self.subject
            )),
        }
    }
}

/// A line for each candidate that failed; those that only had no turn are
/// no news.
pub fn set_aside(tuned: &Tuned) -> Vec<String> {
    let line = |(candidate, outcome): &(crate::kernels::Candidate, Result<f64, Aside>)| match outcome {
        Ok(_) | Err(Aside::NoTime) => None,
        Err(aside) => Some(format!(
            "{}: kernel '{candidate}' {aside}; set aside",
            tuned.job.signature()
        )),
    };
    tuned.trials.iter().filter_map(line).collect()
}
