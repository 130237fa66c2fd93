//! What has a study found so far?
//!
//! Every finished piece of a study is a line of a file, appended and synced,
//! so that an interrupted study goes on where it stopped. The first line says
//! which study it is: results of another are never mixed in.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::train::TrainError;

/// Results by key, in memory and, where there is a file, on disk.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: HashMap<String, Value>,
    file: Option<(PathBuf, File)>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Line {
    key: String,
    value: Value,
}

impl Ledger {
    /// Opens or begins the file at `path` of the study that `identity`
    /// describes. A line that was cut off is dropped.
    pub fn open(path: &Path, identity: &Value) -> Result<Self, TrainError> {
        let problem = |problem: String| TrainError::Run {
            path: path.to_path_buf(),
            problem,
        };
        let failed = |error: std::io::Error| problem(error.to_string());
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
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
                    "holds a study with {difference}; choose another --out, or remove the file to begin anew"
                )));
            }
        }
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut ledger = Ledger {
            entries,
            file: Some((path.to_path_buf(), file)),
        };
        if whole == 0 {
            ledger.append("study", identity.clone())?;
        }
        Ok(ledger)
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

    /// Keeps a result.
    pub fn keep<T: Serialize>(&mut self, key: &str, result: &T) -> Result<(), TrainError> {
        let value = serde_json::to_value(result).unwrap_or_default();
        self.append(key, value.clone())?;
        self.entries.insert(key.to_string(), value);
        Ok(())
    }

    fn append(&mut self, key: &str, value: Value) -> Result<(), TrainError> {
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
        written.map_err(|error| TrainError::Run {
            path: path.clone(),
            problem: error.to_string(),
        })
    }
}

/// The first thing in which two studies differ.
fn difference(found: &Value, wanted: &Value) -> Option<String> {
    let (Value::Object(found), Value::Object(wanted)) = (found, wanted) else {
        return (found != wanted).then(|| "another description".to_string());
    };
    let keys = wanted.keys().chain(found.keys());
    let differs = keys.into_iter().find(|key| found.get(*key) != wanted.get(*key))?;
    let of = |study: &serde_json::Map<String, Value>| study.get(differs).map_or("none".into(), Value::to_string);
    Some(format!("{differs} {} instead of {}", of(found), of(wanted)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_outlive_the_program_and_cut_lines_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("study/results.jsonl");
        let identity = json!({"model": "resnet20", "images": 10});
        let mut ledger = Ledger::open(&path, &identity).unwrap();
        ledger.keep("delete 1", &[1.5, 2.0]).unwrap();
        ledger.keep("delete 2", &[3.0, 4.0]).unwrap();
        drop(ledger);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 4]).unwrap();
        let mut ledger = Ledger::open(&path, &identity).unwrap();
        assert_eq!(ledger.get::<[f64; 2]>("delete 1"), Some([1.5, 2.0]));
        assert_eq!(ledger.get::<[f64; 2]>("delete 2"), None);
        ledger.keep("delete 2", &[3.0, 4.0]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let other = Ledger::open(&path, &json!({"model": "resnet32", "images": 10})).unwrap_err();
        assert!(
            other.to_string().contains(r#"model "resnet20" instead of "resnet32""#),
            "{other}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was overwritten");
    }
}
