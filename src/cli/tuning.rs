//! What does the user read while kernels are tuned?

use indicatif::ProgressBar;

use super::progress::{bar, note};
use crate::kernels::Algorithm;
use crate::tuning::{KeptDefault, Rejected, Tuned, TuningEvent, TuningProgress, TuningSummary};

/// Reports on standard error what happens while kernels are tuned for
/// `model`. It reports nothing where the cache holds all kernels already.
pub struct TuningReporter {
    model: String,
    /// Whether to report that a job is too short to tune kernels for it.
    pub reports_short: bool,
    bar: Option<ProgressBar>,
}

impl TuningReporter {
    /// A reporter for the model with the name `model`.
    pub fn new(model: &str) -> Self {
        TuningReporter {
            model: model.to_string(),
            reports_short: false,
            bar: None,
        }
    }

    /// Reports `event`.
    pub fn report(&mut self, event: &TuningEvent) {
        match event {
            TuningEvent::CacheFile(problem) => note(format_args!("tuning cache: {problem}")),
            TuningEvent::TooShort { work, tuning } if self.reports_short => note(format_args!(
                "default kernels: about {work:.0} s of work would not repay {tuning:.0} s of tuning \
                 (`residua tune {}` does it once)",
                self.model
            )),
            TuningEvent::TooShort { .. } => {}
            TuningEvent::Progress(progress) => self.progress(progress),
            TuningEvent::Done(summary) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                summary_lines(summary).iter().for_each(note);
            }
        }
    }

    fn progress(&mut self, progress: &TuningProgress) {
        match progress {
            TuningProgress::Job { done, total } => {
                let bar = self.bar.get_or_insert_with(|| {
                    note(format_args!(
                        "tuning {total} kernels for {}, once on this device",
                        self.model
                    ));
                    let bar = bar(*total as u64, "kernels");
                    bar.set_message("tuning");
                    bar
                });
                bar.set_position(*done as u64);
            }
            TuningProgress::Tuned(tuned) => {
                for line in rejected_lines(tuned) {
                    match &self.bar {
                        Some(bar) => bar.suspend(|| note(&line)),
                        None => note(&line),
                    }
                }
            }
            TuningProgress::KeptDefault {
                jobs,
                share,
                reason: KeptDefault::OutOfTime,
            } => note(format_args!(
                "tuning: out of time; {jobs} kernels, {:.1} % of the work, keep the default algorithm \
                 (`residua tune {}` continues)",
                100.0 * share,
                self.model
            )),
            TuningProgress::KeptDefault {
                reason: KeptDefault::TooSmall,
                ..
            } => {}
        }
    }
}

/// What was timed, what kept the default algorithm and what was rejected, one
/// line each. A line without anything to count is left out.
pub fn summary_lines(summary: &TuningSummary) -> Vec<String> {
    let all = summary.tuned + summary.small + summary.no_time;
    let counted = |parts: &[(usize, &str)]| -> Option<String> {
        let some = parts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = some.map(|(count, what)| format!("{count} {what}")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    };
    let mut lines = vec![format!(
        "tuned {} of {all} kernels, {:.1} % of the work that has several algorithms, in {:.0} s: {} faster than the \
         default algorithm",
        summary.tuned,
        100.0 * summary.share,
        summary.seconds,
        summary.faster
    )];
    let kept = [
        (summary.small, "too small to matter"),
        (summary.no_time, "for lack of time"),
    ];
    lines.extend(counted(&kept).map(|kept| format!("kept the default algorithm: {kept}")));
    let rejected = [
        (summary.wrong, "refused or wrong"),
        (summary.slow_to_compile, "too slow to compile"),
        (summary.untried, "not tried for lack of time"),
    ];
    lines.extend(
        counted(&rejected).map(|rejected| format!("rejected of {} algorithms: {rejected}", summary.algorithms)),
    );
    lines
}

/// A line for each algorithm that was rejected. Those that were not tried for
/// lack of time are not listed.
pub fn rejected_lines(tuned: &Tuned) -> Vec<String> {
    let line = |(algorithm, result): &(Algorithm, Result<f64, Rejected>)| match result {
        Ok(_) | Err(Rejected::OutOfTime) => None,
        Err(rejected) => Some(format!(
            "{}: algorithm '{algorithm}' {rejected}; rejected",
            tuned.job.signature()
        )),
    };
    tuned.results.iter().filter_map(line).collect()
}
