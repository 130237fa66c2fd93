//! How are the files of a folder read that Hugging Face's programs have written:
//! `config.json`, and the weights in one file or in shards with an index?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::container::{Container, Format};
use super::{WeightsError, contents};
use crate::files::{SETTINGS_LIMIT, read_text};
use crate::shown::shown;

/// The ending of an index of shards.
const INDEX: &str = ".index.json";
/// The longest index, and the longest `config.json`: 16 MiB.
const LONGEST_INDEX: u64 = 16 * SETTINGS_LIMIT;
/// The most shards of an index.
const MOST_SHARDS: usize = 1000;
/// Files of a folder whose values become facts, and the facts' prefixes.
const CONFIGS: [(&str, &str); 2] = [
    ("config.json", "config"),
    ("preprocessor_config.json", "preprocessor_config"),
];
/// The most keys that lead to a fact.
const DEEPEST: usize = 3;

/// Whether the path is that of an index.
pub(super) fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(INDEX)
}

/// Reads the weights of a folder; the values of its configuration are facts
/// (`config.num_classes`).
pub(super) fn read(folder: &Path) -> Result<Container, WeightsError> {
    let mut container = read_weights(folder)?;
    for (name, prefix) in CONFIGS {
        let path = folder.join(name);
        if path.exists() {
            add_facts(&mut container, prefix, &json(&path)?, 0);
        }
    }
    Ok(container)
}

fn read_weights(folder: &Path) -> Result<Container, WeightsError> {
    contents(&weights_of(folder)?)
}

/// The file or index in a folder that has its weights.
fn weights_of(folder: &Path) -> Result<PathBuf, WeightsError> {
    const NAMES: [&str; 4] = [
        "model.safetensors",
        "pytorch_model.bin",
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
    ];
    let mut paths = NAMES.into_iter().map(|name| folder.join(name));
    paths.find(|path| path.exists()).ok_or_else(|| WeightsError::Foreign {
        path: folder.to_path_buf(),
        what: "a folder without model.safetensors or pytorch_model.bin: give the weights file".into(),
    })
}

/// The files that a folder or an index is read from.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    if is_index(path) {
        let mut files = shards_of(path)?;
        files.insert(0, path.to_path_buf());
        return Ok(files);
    }
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let configs = CONFIGS.iter().map(|(name, _)| path.join(name));
    let mut all: Vec<PathBuf> = configs.filter(|path| path.exists()).collect();
    all.extend(files(&weights_of(path)?)?);
    Ok(all)
}

/// Reads the shards of an index: `{"weight_map": {name: file}}`.
pub(super) fn read_index(path: &Path) -> Result<Container, WeightsError> {
    let map = weight_map(path)?;
    let problem = |problem| unusable(path, problem);
    let mut whole: Option<Container> = None;
    for shard in shards(&map, path).map_err(problem)? {
        let mut part = contents(&shard)?;
        match &mut whole {
            None => {
                part.format = Format::Shards;
                whole = Some(part);
            }
            Some(whole) => merge(whole, part),
        }
    }
    let whole = whole.ok_or_else(|| problem("it names no shards; give the weights file".into()))?;
    let has = |name: &str| {
        let mut tables = whole.tables.iter();
        tables.any(|table| table.tensors.contains_key(name) || table.left_out.contains_key(name))
    };
    match map.keys().find(|name| !has(name)) {
        Some(name) => Err(problem(format!(
            "tensor '{}' is in none of its shards; download them again",
            shown(name)
        ))),
        None => Ok(whole),
    }
}

/// The file of each tensor, by an index.
fn weight_map(index: &Path) -> Result<serde_json::Map<String, Value>, WeightsError> {
    match json(index)?.get_mut("weight_map").map(Value::take) {
        Some(Value::Object(map)) => Ok(map),
        _ => Err(unusable(index, "it has no weight_map; give the weights file".into())),
    }
}

fn unusable(index: &Path, problem: String) -> WeightsError {
    WeightsError::Unusable {
        path: index.to_path_buf(),
        format: "index of shards",
        problem,
    }
}

/// The paths of the shards of an index.
fn shards_of(index: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    shards(&weight_map(index)?, index).map_err(|problem| unusable(index, problem))
}

/// The paths of the files that an index names, which lie beside it.
fn shards(map: &serde_json::Map<String, Value>, index: &Path) -> Result<Vec<PathBuf>, String> {
    let names: BTreeSet<&str> = map.values().map(|name| name.as_str().unwrap_or("")).collect();
    let is_plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0', ':']);
    if let Some(name) = names.iter().find(|name| !is_plain(name)) {
        return Err(format!("'{}' is no name of a file beside it; correct it", shown(name)));
    }
    if names.len() > MOST_SHARDS {
        return Err(format!("it names {} files, more than {MOST_SHARDS}", names.len()));
    }
    Ok(names.iter().map(|name| index.with_file_name(name)).collect())
}

/// Adds the tensors of a shard.
fn merge(whole: &mut Container, part: Container) {
    for table in part.tables {
        match whole.tables.iter_mut().find(|known| known.path == table.path) {
            Some(known) => {
                known.tensors.extend(table.tensors);
                known.left_out.extend(table.left_out);
            }
            None => whole.tables.push(table),
        }
    }
    whole.facts.extend(part.facts);
    whole.notes.extend(part.notes);
}

fn json(path: &Path) -> Result<Value, WeightsError> {
    let text = read_text(path, LONGEST_INDEX).map_err(|source| WeightsError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| WeightsError::Corrupt {
        path: path.to_path_buf(),
        format: "JSON",
        problem: error.to_string(),
    })
}

/// Adds numbers and texts as they are, and lists of them as JSON.
fn add_facts(container: &mut Container, name: &str, value: &Value, depth: usize) {
    let text = match value {
        Value::Object(values) if depth < DEEPEST => {
            for (key, value) in values {
                add_facts(container, &format!("{name}.{key}"), value, depth + 1);
            }
            return;
        }
        Value::Null | Value::Object(_) => return,
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    container.facts.insert(name.to_owned(), text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Tensor, TensorMap, write};
    use std::collections::BTreeMap;
    use std::fs;

    fn one(name: &str) -> TensorMap {
        let tensor = Tensor {
            shape: vec![1],
            data: vec![1.0],
        };
        [(name.to_owned(), tensor)].into()
    }

    #[test]
    fn a_folder_is_its_weights_and_its_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let error = contents(folder.path()).unwrap_err().to_string();
        assert!(error.contains("a folder without model.safetensors"), "{error}");
        write(&at("model.safetensors"), &one("a"), &BTreeMap::new()).unwrap();
        let config =
            r#"{"architecture": "resnet20", "pretrained_cfg": {"mean": [0.5, 0.25]}, "id2label": {"0": "cat"}}"#;
        fs::write(at("config.json"), config).unwrap();
        let container = contents(folder.path()).unwrap();
        assert_eq!(container.facts["config.architecture"], "resnet20");
        assert_eq!(container.facts["config.pretrained_cfg.mean"], "[0.5,0.25]");
        assert_eq!(container.facts["config.id2label.0"], "cat");
        assert!(container.tables[0].tensors.contains_key("a"));
        fs::write(at("config.json"), "{").unwrap();
        assert!(contents(folder.path()).unwrap_err().to_string().contains("config.json"));
    }

    #[test]
    fn shards_are_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            write(&at(&format!("{name}.safetensors")), &one(name), &BTreeMap::new()).unwrap();
        }
        let index = at("model.safetensors.index.json");
        let with = |map: &str| {
            fs::write(&index, format!(r#"{{"weight_map": {map}}}"#)).unwrap();
            contents(&index)
        };
        let whole = with(r#"{"a": "a.safetensors", "b": "b.safetensors"}"#).unwrap();
        assert_eq!(whole.format, Format::Shards);
        assert_eq!(whole.tables[0].tensors.len(), 2);
        assert_eq!(contents(folder.path()).unwrap(), whole);
        for (map, problem) in [
            (r#"{"c": "a.safetensors"}"#, "tensor 'c' is in none of its shards"),
            (
                r#"{"a": "../a.safetensors"}"#,
                "'../a.safetensors' is no name of a file beside it",
            ),
            (r#"{"a": 7}"#, "'' is no name"),
            ("{}", "it names no shards"),
            ("7", "it has no weight_map"),
            (r#"{"a": "none.safetensors"}"#, "no weights file"),
        ] {
            let error = with(map).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
