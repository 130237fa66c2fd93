//! How far is a study? A bar on a terminal, lines elsewhere.

use indicatif::ProgressBar;

use super::log_lines::{LogArgs, LogLines};
use super::progress::bar;
use crate::studies::StudyProgress;

/// Shows the progress of a study.
#[derive(Debug)]
pub struct StudyBar {
    bar: ProgressBar,
    lines: LogLines,
    what: &'static str,
}

impl StudyBar {
    /// A bar for units of work named `what` ("images").
    pub fn new(what: &'static str, log: &LogArgs) -> Self {
        StudyBar {
            bar: bar(0, what),
            lines: log.lines(),
            what,
        }
    }

    /// Shows how far the study is.
    pub fn show(&mut self, progress: &StudyProgress) {
        let StudyProgress { phase, done, total } = *progress;
        if done == 0 {
            self.bar.set_message(phase);
            self.bar.reset();
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        let (bar, what) = (&self.bar, self.what);
        self.lines.write(|| {
            format!(
                "{phase}: {done} of {total} {what}, {:.0} s left",
                bar.eta().as_secs_f64()
            )
        });
    }

    /// Removes the bar.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
