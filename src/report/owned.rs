//! May a report be written into a directory?
//!
//! A directory is a report's if it is empty of files with names like a report's,
//! or if this program wrote results there before. Files of somebody else are
//! never replaced.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::files::{TEXT_LIMIT, read_text};

/// The first file of `directory` whose name is like one of a report's, unless
/// this program wrote results there before.
pub fn foreign_file(directory: &Path) -> Option<PathBuf> {
    if has_results(directory) {
        return None;
    }
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    let mut foreign: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_like_ours(path))
        .collect();
    foreign.sort();
    foreign.into_iter().next()
}

/// Whether a report or a study of this program is in `directory`.
fn has_results(directory: &Path) -> bool {
    let text = |name: &str| read_text(&directory.join(name), TEXT_LIMIT).ok();
    let is_report = |text: String| {
        let report: Option<Value> = serde_json::from_str(&text).ok();
        report.is_some_and(|report| ["title", "facts", "items"].iter().all(|key| report.get(key).is_some()))
    };
    let is_study = |text: String| text.starts_with("{\"key\":\"study\",");
    let has_runs = || {
        let runs = std::fs::read_dir(directory.join("runs"))
            .into_iter()
            .flatten()
            .flatten();
        runs.map(|run| run.path().join("run.toml")).any(|run| run.is_file())
    };
    // Of the whole study, or of a part of it.
    let is_log = |name: &str| name.starts_with("results.") && name.ends_with(".jsonl");
    let has_log = || {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| is_log(name))
            .filter_map(|name| text(&name))
            .any(is_study)
    };
    text("report.json").is_some_and(is_report) || has_log() || has_runs()
}

/// Whether a report or the results of a study can have a file of this name.
fn is_like_ours(path: &Path) -> bool {
    let ends = |text: Option<&std::ffi::OsStr>| text.and_then(|text| text.to_str().map(str::to_ascii_lowercase));
    let (stem, extension) = (ends(path.file_stem()), ends(path.extension()));
    match extension.as_deref() {
        Some("csv" | "svg" | "png") => true,
        Some("html" | "md" | "json" | "jsonl") => {
            matches!(stem.as_deref(), Some("report" | "results" | "bench" | "comparison"))
        }
        Some("npy") => matches!(
            stem.as_deref(),
            Some("gradient" | "integrated" | "grad-cam" | "occlusion")
        ),
        None => stem.as_deref() == Some("images"),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_somebody_else_are_found_and_own_results_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = || foreign_file(folder.path()).map(|path| path.file_name().unwrap().to_owned());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(foreign(), None);
        write("notes.txt", "");
        write("data.json", "{}");
        write("data.npy", "");
        assert_eq!(foreign(), None);
        for name in [
            "lesions.csv",
            "report.html",
            "results.jsonl",
            "Figure.PNG",
            "images",
            "gradient.npy",
        ] {
            write(name, "mine");
            assert_eq!(foreign().unwrap(), name);
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        write("lesions.csv", "");
        write("results.2-of-3.jsonl", r#"{"time": 1}"#);
        assert!(foreign().is_some());
        write("results.2-of-3.jsonl", r#"{"key":"study","value":{}}"#);
        assert_eq!(foreign(), None);
        std::fs::remove_file(folder.path().join("results.2-of-3.jsonl")).unwrap();
        write("report.json", r#"{"title": "mine"}"#);
        assert!(foreign().is_some());
        write("report.json", r#"{"title": "a", "facts": [], "items": []}"#);
        assert_eq!(foreign(), None);
    }
}
