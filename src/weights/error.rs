//! What can be wrong with a file of weights.

use std::io;
use std::path::PathBuf;

use super::Dialect;
use crate::files::WriteError;

/// Why weights could not be read, written or renamed.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file does not exist.
    #[error("no weights file {}: check the name", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// The system would not give the file's bytes.
    #[error("cannot read {}: {source}; check its permissions and the disk", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is cut short or is something else.
    #[error("{} is not a whole {format} file: {problem}; copy or download it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What it was read as.
        format: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is whole but holds something else than named tensors.
    #[error("{} holds no table of tensors: save the model's state_dict(), not the model", path.display())]
    NoTable {
        /// The file.
        path: PathBuf,
    },
    /// A tensor of a type that weights do not have.
    #[error("{}: tensor '{tensor}' is {dtype}: convert it to F32, F16, BF16 or F64", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The type of its elements.
        dtype: String,
    },
    /// A tensor with a value that no trained network should have.
    #[error("{}: tensor '{tensor}' holds {value}: the run that made it diverged; take an earlier checkpoint", path.display())]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The first value that is not finite.
        value: f32,
    },
    /// A tensor whose shape and data disagree: a mistake of the caller.
    #[error("tensor '{tensor}' of shape {shape:?} has {values} values: give as many as the shape says")]
    Shape {
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many values it has.
        values: usize,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Names that follow no known convention.
    #[error(
        "the tensor names follow no known dialect (the first is '{first}'): rename them as one of {}",
        Dialect::CHOICES
    )]
    UnknownDialect {
        /// The first name.
        first: String,
    },
    /// Two names that mean the same tensor.
    #[error("two tensors stand for '{name}': remove one of them")]
    Duplicate {
        /// The canonical name.
        name: String,
    },
    /// A tensor that a dialect has no name for.
    #[error("tensor '{name}' has no name in the {dialect} dialect: use the canonical one")]
    NoName {
        /// The canonical name.
        name: String,
        /// The dialect asked for.
        dialect: Dialect,
    },
    /// A word that names no dialect.
    #[error("unknown dialect '{given}': choose {}", Dialect::CHOICES)]
    NoDialect {
        /// What was asked for.
        given: String,
    },
}

/// What is wrong with a file's bytes, before its name is put to it.
#[derive(Debug)]
pub(super) enum Damage {
    /// They do not follow the format.
    Form(String),
    /// They hold something else than named tensors.
    NoTable,
    /// A tensor's elements are of a type that weights do not have.
    Type { tensor: String, dtype: String },
}

impl From<String> for Damage {
    fn from(problem: String) -> Self {
        Self::Form(problem)
    }
}

impl From<&str> for Damage {
    fn from(problem: &str) -> Self {
        Self::Form(problem.to_owned())
    }
}
