//! What does the user see while kernels are chosen?

use indicatif::ProgressBar;

use super::progress::{bar, note};
use crate::schedule::{Aside, Kept, Progress, Tuned};
use crate::train::{TuningNews, TuningSummary};

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
            TuningNews::Done(summary) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                summary_lines(summary).iter().for_each(note);
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
            Progress::Kept {
                jobs,
                share,
                why: Kept::NoTime,
            } => note(format_args!(
                "tuning: out of time; {jobs} kernels, {:.1} % of the work, keep the rules' choice (`tools tune {}` goes on)",
                100.0 * share,
                self.subject
            )),
            Progress::Kept { why: Kept::Small, .. } => {}
        }
    }
}

/// What was timed, what was kept by rule and what was set aside, a line each.
/// Nothing is said of what there was none of.
pub fn summary_lines(summary: &TuningSummary) -> Vec<String> {
    let all = summary.tuned + summary.small + summary.no_time;
    let counted = |parts: &[(usize, &str)]| -> Option<String> {
        let there = parts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = there.map(|(count, what)| format!("{count} {what}")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    };
    let mut lines = vec![format!(
        "tuned {} of {all} kernels, {:.1} % of the work that can be done in several ways, in {:.0} s: {} faster than the \
         rules' choice",
        summary.tuned,
        100.0 * summary.share,
        summary.seconds,
        summary.faster
    )];
    let by_rule = [
        (summary.small, "too small to be noticed"),
        (summary.no_time, "for lack of time"),
    ];
    lines.extend(counted(&by_rule).map(|kept| format!("kept by rule: {kept}")));
    let aside = [
        (summary.wrong, "refused or wrong"),
        (summary.compiles, "too long to compile"),
        (summary.untried, "without a turn"),
    ];
    lines.extend(counted(&aside).map(|aside| format!("set aside of {} candidates: {aside}", summary.candidates)));
    lines
}

/// A line for each candidate that failed; those that only had no turn are
/// no news.
pub fn set_aside(tuned: &Tuned) -> Vec<String> {
    let line = |(candidate, outcome): &(crate::kernels::Algorithm, Result<f64, Aside>)| match outcome {
        Ok(_) | Err(Aside::NoTime) => None,
        Err(aside) => Some(format!(
            "{}: kernel '{candidate}' {aside}; set aside",
            tuned.job.signature()
        )),
    };
    tuned.trials.iter().filter_map(line).collect()
}
