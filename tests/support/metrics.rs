//! What does `metrics.csv` say that does not depend on time?

use std::path::Path;

/// The lines of a run's `metrics.csv`, its header among them, without images per second
/// and seconds.
pub fn without_time(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    let timeless = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        [&cells[..6], &cells[8..]].concat().join(",")
    };
    text.lines().map(timeless).collect()
}
