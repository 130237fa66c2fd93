//! Can a reader of a report tell everything apart that it shows?

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Asserts, for the report in `directory`: it begins with a finding; no table has
/// two columns of one name or one heading, nor one without; a figure with
/// emphasised marks says in its legend what they are; every series has a name.
///
/// # Panics
/// Where one of these does not hold, or there is no report.
pub fn assert_clear(directory: &Path) {
    let text = fs::read_to_string(directory.join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let filled = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
    assert!(filled(&report["finding"]), "no finding in {}", directory.display());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for item in list(&report["items"]) {
        let name = &item["name"];
        for part in ["key", "label"] {
            let mut known = HashSet::new();
            for column in list(&item["columns"]) {
                assert!(filled(&column[part]), "a column without {part} in {name}");
                assert!(
                    known.insert(column[part].to_string()),
                    "two columns {} in {name}",
                    column[part]
                );
            }
        }
        let layers = list(&item["layers"]);
        let strong = |layer: &Value| {
            list(&layer["marks"])
                .iter()
                .any(|mark| mark["strong"] == Value::Bool(true))
        };
        if layers.iter().any(strong) {
            assert!(filled(&item["emphasis"]), "{name} does not say what is emphasised");
        }
        for layer in &layers {
            assert!(filled(&layer["label"]), "a series without a name in {name}");
        }
    }
}
