//! What does the user see while they wait? Everything on standard error.

use std::io::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `length` units of work, named `what` ("images"), with the time
/// left. It shows itself only on a terminal.
pub fn bar(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let template = format!("{{bar:32}} {{pos}}/{{len}} {what} · {{msg}} · {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// A line for people.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
