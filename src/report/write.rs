//! Which files does a report consist of?

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::ReportError;
use super::owned::foreign_file;
use super::{Item, Report};
use crate::files::write_atomic;

/// The report as data.
const DATA: &str = "report.json";

impl Report {
    /// Writes `report.html`, `report.md`, `report.json`, every table as CSV
    /// and every figure as SVG (with the cargo feature `png`, also as PNG) to
    /// `directory`, which is created where it does not exist. Returns the paths,
    /// that of the page first.
    ///
    /// # Errors
    /// When two tables or two figures share a name, a name is no file name, a
    /// file of somebody else is in the directory, or a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>, ReportError> {
        self.check_names()?;
        std::fs::create_dir_all(directory).map_err(|source| ReportError::Directory {
            path: directory.to_path_buf(),
            source,
        })?;
        if let Some(path) = foreign_file(directory) {
            return Err(ReportError::Foreign { path });
        }
        let files = self.files()?;
        // The report's data first: by this file the directory is known as the
        // report's, also if the program ends before the others.
        let (data, others): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| name == DATA);
        for (name, bytes) in data.into_iter().chain(others) {
            write_atomic(&directory.join(name), bytes)?;
        }
        Ok(files.into_iter().map(|(name, _)| directory.join(name)).collect())
    }

    /// As [`Report::write`], with `results` for other programs in the JSON file
    /// `name`, such as `results.json`.
    ///
    /// # Errors
    /// As [`Report::write`], and where `results` cannot be serialised.
    pub fn write_with(&self, directory: &Path, name: &str, results: &impl Serialize) -> Result<(), ReportError> {
        let text = serde_json::to_string_pretty(results)? + "\n";
        self.write(directory)?;
        Ok(write_atomic(&directory.join(name), text.as_bytes())?)
    }

    /// The report as JSON; numbers that are not finite are null.
    ///
    /// # Errors
    /// None is known: every part can be serialised.
    pub fn json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Names and contents of the files.
    fn files(&self) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
        let mut files = vec![
            ("report.html".to_string(), self.html().into_bytes()),
            ("report.md".to_string(), self.markdown().into_bytes()),
            (DATA.to_string(), self.json()?.into_bytes()),
        ];
        for item in &self.items {
            match item {
                Item::Table(table) => files.push((format!("{}.csv", table.name), table.csv().into_bytes())),
                Item::Figure(figure) => {
                    files.push((format!("{}.svg", figure.name), figure.svg().into_bytes()));
                    #[cfg(feature = "png")]
                    files.push((format!("{}.png", figure.name), figure.png()?));
                }
                Item::Pictures(pictures) => {
                    files.push((format!("{}.svg", pictures.name), pictures.svg().into_bytes()));
                    #[cfg(feature = "png")]
                    files.push((format!("{}.png", pictures.name), pictures.png()?));
                }
                Item::Heading { .. } | Item::Text { .. } => {}
            }
        }
        Ok(files)
    }

    fn check_names(&self) -> Result<(), ReportError> {
        let mut known = HashSet::new();
        for item in &self.items {
            let (what, name) = match item {
                Item::Table(table) => ("table", &table.name),
                Item::Figure(figure) => ("figure", &figure.name),
                Item::Pictures(pictures) => ("figure", &pictures.name),
                Item::Heading { .. } | Item::Text { .. } => continue,
            };
            let fault = |problem| ReportError::Name {
                name: name.clone(),
                what,
                problem,
            };
            let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                return Err(fault("file names are made of letters, digits, '-', '_' and '.'"));
            }
            if !known.insert((what, name)) {
                return Err(fault("another one has it already"));
            }
        }
        Ok(())
    }
}
