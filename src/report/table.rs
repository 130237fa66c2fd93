//! What does a table hold?

use serde::Serialize;
use serde_json::Value;

/// Rows of values under named columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Stem of its file name.
    pub name: String,
    /// What it holds, in one line.
    pub title: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each as long as `columns`: numbers and text.
    pub rows: Vec<Vec<Value>>,
    /// Whether the CSV file alone holds it: too long to read.
    pub file_only: bool,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// Its name in the CSV file: `test_error`.
    pub key: String,
    /// Its name for people, with the unit: "test error (%)".
    pub label: String,
    /// For people, numbers are multiplied by this (100 for per cent) …
    pub factor: f64,
    /// … and rounded to so many digits behind the point. The CSV file has them
    /// as they are.
    pub digits: usize,
}

impl Column {
    /// A column of names or whole numbers.
    pub fn plain(key: &str, label: &str) -> Self {
        Column::number(key, label, 0)
    }

    /// A column of numbers shown with `digits` behind the point.
    pub fn number(key: &str, label: &str, digits: usize) -> Self {
        Column {
            key: key.to_string(),
            label: label.to_string(),
            factor: 1.0,
            digits,
        }
    }

    /// A column of fractions shown in per cent.
    pub fn percent(key: &str, label: &str) -> Self {
        Column {
            factor: 100.0,
            ..Column::number(key, label, 2)
        }
    }
}
