//! Which results of a study exist already?
//!
//! Every finished result of a study is one line of a file. The line is
//! appended and synced at once, so that an interrupted study continues where
//! it stopped. The first line identifies the study, so that results of
//! different studies are never mixed.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::StudyError;
use crate::files::{TEXT_LIMIT, open_regular, read_open};
use crate::shown::shown;

/// Results by key: in memory, and also in a file if there is one.
#[derive(Debug, Default)]
pub struct ResultLog {
    entries: HashMap<String, Value>,
    file: Option<(PathBuf, File)>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Line {
    key: String,
    value: Value,
}

impl ResultLog {
    /// Opens the file at `path`, or creates it, for the study that `identity`
    /// describes. A last line that is incomplete is removed.
    ///
    /// # Errors
    /// Where the file cannot be used, or holds the results of another study.
    pub fn open(path: &Path, identity: &Value) -> Result<Self, StudyError> {
        let problem = |problem: String| StudyError::File {
            path: path.to_path_buf(),
            problem,
        };
        let failed = |error: std::io::Error| problem(error.to_string());
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        // Opening a named pipe waits for its writer.
        match open_regular(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let bytes = read_open(&file, size, TEXT_LIMIT).map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|_| problem("is no text".to_string()))?;
        let mut entries = HashMap::new();
        let mut whole = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let Some(Ok(Line { key, value })) = line.strip_suffix('\n').map(serde_json::from_str) else {
                break;
            };
            whole += line.len();
            if index > 0 {
                entries.insert(key, value);
            } else if let Some(difference) = difference(&value, identity) {
                return Err(problem(format!(
                    "holds a study with {difference}; choose another directory, or remove the file to start over"
                )));
            }
        }
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut log = ResultLog {
            entries,
            file: Some((path.to_path_buf(), file)),
        };
        if whole == 0 {
            log.append("study", identity.clone())?;
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
    pub fn record<T: Serialize>(&mut self, key: &str, result: &T) -> Result<(), StudyError> {
        let value = serde_json::to_value(result).unwrap_or_default();
        self.append(key, value.clone())?;
        self.entries.insert(key.to_string(), value);
        Ok(())
    }

    fn append(&mut self, key: &str, value: Value) -> Result<(), StudyError> {
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let line = Line {
            key: key.to_string(),
            value,
        };
        let written = serde_json::to_string(&line)
            .map_err(std::io::Error::other)
            .and_then(|line| file.write_all(format!("{line}\n").as_bytes()))
            .and_then(|()| file.sync_data());
        written.map_err(|error| StudyError::File {
            path: path.clone(),
            problem: error.to_string(),
        })
    }
}

/// The first difference between two studies' identities, in words.
fn difference(found: &Value, wanted: &Value) -> Option<String> {
    let (Value::Object(found), Value::Object(wanted)) = (found, wanted) else {
        return (found != wanted).then(|| "another description".to_string());
    };
    let keys = wanted.keys().chain(found.keys());
    let differs = keys.into_iter().find(|key| found.get(*key) != wanted.get(*key))?;
    let of = |study: &serde_json::Map<String, Value>| {
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
        let other = ResultLog::open(&path, &json!({"model": "resnet32", "images": 10})).unwrap_err();
        assert!(
            other.to_string().contains(r#"model "resnet20" instead of "resnet32""#),
            "{other}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was overwritten");
    }
}
