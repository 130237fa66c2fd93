//! What does a log file get to see while a command runs?

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::Args;

use super::progress::note;

/// Seconds between two lines, unless another number is given.
const SECONDS: u64 = 60;

/// How often a line of progress is written.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Seconds between lines of progress on standard error; 0 for none
    /// [default: 60 where standard error is not a terminal, else none]
    #[arg(long, value_name = "SECONDS")]
    log_every: Option<u64>,
}

/// Writes a line of progress now and then, where there is no terminal for a
/// bar.
#[derive(Debug)]
pub struct LogLines {
    every: Option<Duration>,
    last: Instant,
}

impl LogArgs {
    /// The lines of work that begins now.
    pub fn lines(&self) -> LogLines {
        let default = || if std::io::stderr().is_terminal() { 0 } else { SECONDS };
        LogLines::every(self.log_every.unwrap_or_else(default))
    }
}

impl LogLines {
    /// A line every `seconds`; none for 0.
    fn every(seconds: u64) -> Self {
        LogLines {
            every: (seconds > 0).then(|| Duration::from_secs(seconds)),
            last: Instant::now(),
        }
    }

    /// Whether it is time for a line.
    fn is_due(&mut self) -> bool {
        let due = self.every.is_some_and(|every| self.last.elapsed() >= every);
        if due {
            self.last = Instant::now();
        }
        due
    }

    /// Writes `line` if it is time for one.
    pub fn write(&mut self, line: impl FnOnce() -> String) {
        if self.is_due() {
            note(line());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_after_its_time_and_then_not_at_once() {
        let past = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let mut lines = LogLines::every(10);
        assert!(!lines.is_due());
        lines.last = past(11);
        assert!(lines.is_due() && !lines.is_due());
        let mut none = LogLines::every(0);
        none.last = past(1000);
        assert!(!none.is_due());
    }
}
