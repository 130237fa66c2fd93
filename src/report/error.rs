//! Which errors can a report have?

use std::io;
use std::path::PathBuf;

use crate::files::WriteError;

/// A report could not be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A figure could not be rendered as pixels.
    #[cfg(feature = "png")]
    #[error("figure '{name}' cannot be drawn as PNG: {problem}")]
    Raster {
        /// The figure.
        name: String,
        /// Why not.
        problem: String,
    },
    /// Two tables or two figures have the same name, or a name is not a plain
    /// file name.
    #[error("'{name}' cannot be the name of a {what}: {problem}")]
    Name {
        /// The name.
        name: String,
        /// "table" or "figure".
        what: &'static str,
        /// Why not.
        problem: &'static str,
    },
    /// The directory cannot be created.
    #[error("{} cannot be created: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of somebody else in the directory.
    #[error("{} is there, and not of this program; choose another directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The results cannot be written as JSON.
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
