//! What can go wrong with a report?

use std::io;
use std::path::PathBuf;

use crate::files::WriteError;

/// A report could not be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A figure could not be turned into pixels.
    #[error("figure '{name}' cannot be drawn as PNG: {problem}")]
    Raster {
        /// The figure.
        name: String,
        /// Why not.
        problem: String,
    },
    /// Two tables or two figures would have the same file, or one a file
    /// elsewhere.
    #[error("'{name}' cannot be the name of a {what}: {problem}")]
    Name {
        /// The name.
        name: String,
        /// A table or a figure.
        what: &'static str,
        /// Why not.
        problem: &'static str,
    },
    /// The directory cannot be made.
    #[error("{} cannot be made: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The results cannot be written as JSON.
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
