//! Which results of a study exist already?
//!
//! Every finished result of a study is one line of a file. The line is
//! appended and synced at once, so that an interrupted study continues where
//! it stopped. The first line identifies the study, so that results of
//! different studies are never mixed. The process that appends holds the lock
//! of the file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::StudyError;
use super::part::{Part, logs_of_parts};
use crate::files::{TEXT_LIMIT, fault, has_no_locks, open_regular, read_open};
use crate::shown::shown;

/// The key of the first line.
const STUDY: &str = "study";

/// Results by key: in memory, and also in a file if there is one.
#[derive(Debug, Default)]
pub struct ResultLog {
    entries: HashMap<String, Value>,
    file: Option<(PathBuf, File)>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    value: Value,
}

impl Line {
    fn text(key: &str, value: &Value) -> io::Result<String> {
        let line = Line {
            key: key.to_string(),
            value: value.clone(),
        };
        Ok(serde_json::to_string(&line)? + "\n")
    }
}

impl ResultLog {
    /// Opens the log `stem` in `out` for the study that `identity` describes, or one in
    /// memory. A part of the study has a file of its own, `stem.I-of-N.jsonl`; the whole
    /// study has `stem.jsonl`, and knows the results of all parts that are there.
    ///
    /// # Errors
    /// As [`Self::open`], for a part without a directory, and those of `identity`.
    pub(super) fn open_in(
        out: Option<&Path>,
        stem: &str,
        part: Option<Part>,
        identity: impl FnOnce() -> Result<Map<String, Value>, StudyError>,
    ) -> Result<Self, StudyError> {
        let out = match (out, part) {
            (Some(out), _) => out,
            (None, None) => return Ok(ResultLog::default()),
            (None, Some(_)) => return Err(StudyError::value("part", "needs a directory for the results")),
        };
        let identity = &identity()?.into();
        if let Some(part) = part {
            return Self::open(&part.log(out, stem), identity);
        }
        let mut log = Self::open(&out.join(format!("{stem}.jsonl")), identity)?;
        let parts = logs_of_parts(out, stem).map_err(|error| StudyError::File {
            path: out.to_path_buf(),
            problem: error.to_string(),
        })?;
        for path in parts {
            log.learn(&path, identity)?;
        }
        Ok(log)
    }

    /// Adds the results in the file at `path`, which a part of the study wrote.
    fn learn(&mut self, path: &Path, identity: &Value) -> Result<(), StudyError> {
        let bytes = open_regular(path)
            .and_then(|(file, size)| read_open(&file, size, TEXT_LIMIT))
            .map_err(|error| StudyError::File {
                path: path.to_path_buf(),
                problem: error.to_string(),
            })?;
        let (entries, _) = read_lines(&bytes, identity, path)?;
        self.entries.extend(entries);
        Ok(())
    }

    /// Opens the file at `path`, or creates it, for the study that `identity`
    /// describes. A last line without an end, which a killed study left, is
    /// removed; nothing else in the file is changed.
    ///
    /// # Errors
    /// Where the file cannot be used, another process appends to it, it is no
    /// result log, it holds the results of another study, or a line of it is
    /// damaged.
    pub fn open(path: &Path, identity: &Value) -> Result<Self, StudyError> {
        let problem = |problem: String| StudyError::File {
            path: path.to_path_buf(),
            problem,
        };
        let failed = |error: io::Error| problem(error.to_string());
        if let Some(directory) = path.parent() {
            fault::check()
                .and_then(|()| std::fs::create_dir_all(directory))
                .map_err(failed)?;
        }
        // Opening a named pipe waits for its writer.
        match open_regular(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        fault::check().map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                let held = "another process adds results to it; wait until it has ended, or choose another directory";
                return Err(problem(held.to_string()));
            }
        }
        let size = file.metadata().map_err(failed)?.len();
        let bytes = read_open(&file, size, TEXT_LIMIT).map_err(failed)?;
        let (entries, whole) = read_lines(&bytes, identity, path)?;
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut log = ResultLog {
            entries,
            file: Some((path.to_path_buf(), file)),
        };
        if whole == 0 {
            log.append(STUDY, identity)?;
        }
        Ok(log)
    }

    /// Number of results.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no result yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The result under `key`, if there is one.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_value(self.entries.get(key)?.clone()).ok()
    }

    /// Stores a result.
    ///
    /// # Errors
    /// Where the file cannot be written.
    ///
    /// # Panics
    /// If the result has no form in JSON, such as a table whose keys are no
    /// strings.
    pub fn record<T: Serialize>(&mut self, key: &str, result: &T) -> Result<(), StudyError> {
        let value = serde_json::to_value(result).expect("a result of a study has a form in JSON");
        self.append(key, &value)?;
        self.entries.insert(key.to_string(), value);
        Ok(())
    }

    fn append(&mut self, key: &str, value: &Value) -> Result<(), StudyError> {
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let written = Line::text(key, value).and_then(|line| {
            fault::check()?;
            file.write_all(line.as_bytes())?;
            fault::check()?;
            file.sync_data()
        });
        written.map_err(|error| StudyError::File {
            path: path.clone(),
            problem: format!("a result cannot be added: {error}; check the free space"),
        })
    }
}

/// The results in `bytes`, which are those of the file at `path`, and the length of its
/// whole lines.
///
/// # Errors
/// Where it is no result log, holds the results of another study than `identity`, or a
/// line is damaged.
fn read_lines(bytes: &[u8], identity: &Value, path: &Path) -> Result<(HashMap<String, Value>, usize), StudyError> {
    let problem = |problem: String| StudyError::File {
        path: path.to_path_buf(),
        problem,
    };
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let (lines, rest) = bytes.split_at(whole);
    let first = Line::text(STUDY, identity).map_err(|error| problem(error.to_string()))?;
    let foreign = "is not a study's file of results; choose another directory";
    // Only the beginning of its own first line may be replaced.
    if lines.is_empty() && !first.as_bytes().starts_with(rest) {
        return Err(problem(foreign.to_string()));
    }
    let mut entries = HashMap::new();
    for (number, line) in (1..).zip(lines.split_inclusive(|&byte| byte == b'\n')) {
        let read: Option<Line> = serde_json::from_slice(line).ok();
        match read {
            Some(Line { key, value }) if number > 1 => {
                entries.insert(key, value);
            }
            Some(Line { key, value }) if key == STUDY => {
                if let Some(difference) = difference(&value, identity) {
                    return Err(problem(format!(
                        "holds a study with {difference}; choose another directory, or remove the file to start over"
                    )));
                }
            }
            None if number > 1 => {
                return Err(problem(format!(
                    "line {number} is damaged; remove this line to compute its result again, or restore the file"
                )));
            }
            Some(_) | None => return Err(problem(foreign.to_string())),
        }
    }
    Ok((entries, whole))
}

/// The first difference between two studies' identities, in words.
fn difference(found: &Value, wanted: &Value) -> Option<String> {
    let (Value::Object(found), Value::Object(wanted)) = (found, wanted) else {
        return (found != wanted).then(|| "another description".to_string());
    };
    let keys = wanted.keys().chain(found.keys());
    let differs = keys.into_iter().find(|key| found.get(*key) != wanted.get(*key))?;
    let of = |study: &Map<String, Value>| {
        study
            .get(differs)
            .map_or("none".into(), |value| shown(&value.to_string()))
    };
    Some(format!("{} {} instead of {}", shown(differs), of(found), of(wanted)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_read_back_and_incomplete_lines_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("study/results.jsonl");
        let identity = json!({"model": "resnet20", "images": 10});
        let mut log = ResultLog::open(&path, &identity).unwrap();
        log.record("delete 1", &[1.5, 2.0]).unwrap();
        log.record("delete 2", &[3.0, 4.0]).unwrap();
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 4]).unwrap();
        let mut log = ResultLog::open(&path, &identity).unwrap();
        assert_eq!(log.get::<[f64; 2]>("delete 1"), Some([1.5, 2.0]));
        assert_eq!(log.get::<[f64; 2]>("delete 2"), None);
        log.record("delete 2", &[3.0, 4.0]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        drop(log);
        let other = ResultLog::open(&path, &json!({"model": "resnet32", "images": 10})).unwrap_err();
        assert!(
            other.to_string().contains(r#"model "resnet20" instead of "resnet32""#),
            "{other}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was overwritten");
    }

    #[test]
    fn damage_and_foreign_files_are_refused_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results.jsonl");
        let identity = json!({"model": "resnet20"});
        let first = "{\"key\":\"study\",\"value\":{\"model\":\"resnet20\"}}\n";
        let result = "{\"key\":\"delete 1\",\"value\":1.5}\n";
        let refused = "not a study's file";
        for (text, part) in [
            (format!("{first}\n{result}"), "line 2 is damaged"),
            (
                format!("{first}{result}{{\"key\":\"delete 2\"}}\n"),
                "line 3 is damaged",
            ),
            (
                format!("{first}{{\"key\":\"delete 2\",\"val\n{result}"),
                "line 2 is damaged",
            ),
            (format!("{first}\u{0}\n"), "line 2 is damaged"),
            (result.to_string(), refused),
            ("\n".to_string(), refused),
            ("{\"time\": 1}\n{\"time\": 2}\n".to_string(), refused),
            ("my notes".to_string(), refused),
            ("my notes\n".to_string(), refused),
            (
                "{\"key\":\"study\",\"value\":{\"model\":\"resnet32\"}}\n".to_string(),
                "resnet32",
            ),
        ] {
            std::fs::write(&path, &text).unwrap();
            let message = ResultLog::open(&path, &identity).unwrap_err().to_string();
            assert!(message.contains(part) && !message.contains('\n'), "{text:?}: {message}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        // What a study that was killed at any byte leaves is continued.
        let whole = format!("{first}{result}");
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut log = ResultLog::open(&path, &identity).unwrap();
            if log.get::<f64>("delete 1").is_none() {
                log.record("delete 1", &1.5).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "{length} bytes");
        }
    }

    #[test]
    fn one_process_at_a_time_appends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results.jsonl");
        let log = ResultLog::open(&path, &json!({})).unwrap();
        let message = ResultLog::open(&path, &json!({})).unwrap_err().to_string();
        assert!(message.contains("another process"), "{message}");
        drop(log);
        ResultLog::open(&path, &json!({})).unwrap();
    }
}
