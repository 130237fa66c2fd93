//! How does a report reach its reader?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Item, Report, Table};
use crate::files::{WriteError, write_atomic};

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The folder.
    #[error("{path} cannot be made: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Report {
    /// Writes the report into `folder`.
    ///
    /// # Errors
    /// Where the folder cannot be made or written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
        std::fs::create_dir_all(folder).map_err(|source| ReportError::Folder {
            path: folder.to_path_buf(),
            source,
        })?;
        let path = folder.join("report.json");
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        write_atomic(&path, text.as_bytes())?;
        Ok(vec![path])
    }

    /// The report's words and tables for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for item in &self.items {
            match item {
                Item::Heading { text: words } | Item::Text { text: words } => {
                    let _ = writeln!(text, "\n{words}");
                }
                Item::Table(table) if !table.file_only => text.push_str(&lines(table)),
                Item::Table(_) | Item::Figure(_) => {}
            }
        }
        text
    }
}

fn lines(table: &Table) -> String {
    let labels = table.columns.iter().map(|column| column.label.clone());
    let mut rows: Vec<Vec<String>> = vec![labels.collect()];
    for row in &table.rows {
        let cells = row.iter().zip(&table.columns).map(|(value, column)| match value {
            Value::Number(number) => {
                let value = number.as_f64().unwrap_or_default() * column.factor;
                format!("{value:.*}", column.digits)
            }
            Value::String(words) => words.clone(),
            other => other.to_string(),
        });
        rows.push(cells.collect());
    }
    let width = |index: usize| rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    let mut text = format!("\n{}\n", table.title);
    for row in &rows {
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:>width$}  ");
        }
        text.push('\n');
    }
    text
}
