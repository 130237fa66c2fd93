//! What does the user see while a command runs? All of it on standard error.

use std::io::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

use crate::shown::one_line;

/// A bar of `length` units of work, named `what` ("images"), with the time
/// left. It is drawn on a terminal only.
pub fn bar(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let template = format!("{{bar:32}} {{pos}}/{{len}} {what} · {{msg}} · {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// Length of [`share_bar`].
pub const WHOLE: u32 = 1000;

/// A bar for work whose units take unequal times: its position is the share that
/// is done, in units of 1/[`WHOLE`]; its message says everything else.
pub fn share_bar() -> ProgressBar {
    let bar = ProgressBar::new(u64::from(WHOLE));
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent} % · {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// Writes a line to standard error.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{}", one_line(&text.to_string()));
}
