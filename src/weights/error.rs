//! What can be wrong with a weights file?

use std::io;
use std::path::{Path, PathBuf};

use super::Dialect;
use crate::files::WriteError;
use crate::formats::source::FormatError;
use crate::shown::{shown, shown_path};

/// Weights that cannot be read, written or renamed.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file does not exist.
    #[error("no weights file {}: check the name", shown_path(path))]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// The operating system cannot read the file.
    #[error("cannot read {}: {source}; check its permissions and the disk", shown_path(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file was written to while it was read.
    #[error("{} has changed since it was opened; start again", shown_path(path))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file is incomplete or has another format.
    #[error(
        "{} is not a whole {format} file: {problem}; copy or download it again",
        shown_path(path)
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The format that it was read as.
        format: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is complete but cannot be read.
    #[error("{} is a {format} file that cannot be read: {problem}", shown_path(path))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The format that it was read as.
        format: &'static str,
        /// Why not, and what helps.
        problem: String,
    },
    /// The file has another format.
    #[error("{} is {what}", shown_path(path))]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What the file is, and what helps.
        what: String,
    },
    /// The contents of the file need far more memory than the file has bytes.
    #[error(
        "{} repeats itself beyond its size: {what}; it is damaged, or made to use up memory: take another file",
        shown_path(path)
    )]
    Repeats {
        /// The file.
        path: PathBuf,
        /// What needs the memory.
        what: String,
    },
    /// The file would run a program if Python loaded it.
    #[error(
        "{} is refused, and nothing was run: the pickle calls {}; take the file from a source that you trust",
        shown_path(path),
        shown(function)
    )]
    Calls {
        /// The file.
        path: PathBuf,
        /// The function.
        function: String,
    },
    /// The file is complete but does not contain a table of tensors.
    #[error(
        "{} holds no table of tensors: it is {what}; save the model's state_dict()",
        shown_path(path)
    )]
    NoTable {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// A tensor that cannot be read.
    #[error("tensor '{}' {problem}: save a contiguous copy of it", shown(tensor))]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// What is wrong, after the tensor's name.
        problem: String,
    },
    /// A tensor whose elements have a type that weights cannot have.
    #[error(
        "{}: tensor '{}' is {}: convert it to F32, F16, BF16 or F64",
        shown_path(path),
        shown(tensor),
        shown(dtype)
    )]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The type of its elements.
        dtype: String,
    },
    /// A tensor with a value that is infinite or not a number.
    #[error(
        "{}: tensor '{}' holds {value}: the run that made it diverged; take an earlier checkpoint",
        shown_path(path),
        shown(tensor)
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The first value that is not finite.
        value: f32,
    },
    /// A tensor whose number of values does not fit its shape: an error of the
    /// caller.
    #[error(
        "tensor '{}' of shape {shape:?} has {values} values: give as many as the shape says",
        shown(tensor)
    )]
    Shape {
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of its values.
        values: usize,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Names of no known dialect, of layers that could be several.
    #[error(
        "{names} of {tensors} tensor names follow no known dialect (the first is '{}'), and the layers do not decide: \
         {reason}; rename them as one of {}",
        shown(first),
        Dialect::choices()
    )]
    UnknownDialect {
        /// The first name without a rule.
        first: String,
        /// The number of names without a rule.
        names: usize,
        /// The number of tensors.
        tensors: usize,
        /// Why the structure of the network does not decide.
        reason: String,
    },
    /// No table of the file has tensors of weights.
    #[error("it holds no tensors of floating-point numbers: save the model's state_dict()")]
    Empty,
    /// A table that the file does not have.
    #[error("no table of tensors '{}': the file has {known}", shown(wanted))]
    NoSuchTable {
        /// The key asked for.
        wanted: String,
        /// The tables of the file.
        known: String,
    },
    /// A translation of names that is not written as one.
    #[error("'{}' is no translation of names: write FROM=TO, as in encoder.=", shown(given))]
    NoRename {
        /// What was given.
        given: String,
    },
    /// A translation of names that no tensor has.
    #[error("the translation {} is about no tensor: check the name before the =", shown(rename))]
    IdleRename {
        /// The translation.
        rename: String,
    },
    /// Parts of a weight whose shapes do not belong together.
    #[error("tensor '{}' cannot be put together: the shapes of its {what} differ", shown(tensor))]
    Parts {
        /// What the parts are.
        what: &'static str,
        /// The first part's name.
        tensor: String,
    },
    /// The names of a file cannot be understood.
    #[error("{}: {error}", shown_path(path))]
    Names {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: Box<WeightsError>,
    },
    /// Two names for one tensor.
    #[error("two tensors stand for '{}': remove one of them", shown(name))]
    Duplicate {
        /// The canonical name.
        name: String,
    },
    /// A tensor that a dialect has no name for.
    #[error(
        "tensor '{}' has no name in the {dialect} dialect, which is for {}: choose another dialect",
        shown(name),
        dialect.networks()
    )]
    NoName {
        /// The canonical name.
        name: String,
        /// The dialect asked for.
        dialect: Dialect,
    },
    /// A layer that all networks of a dialect have, and this one lacks.
    #[error(
        "the network has no layer '{layer}', which the networks of the {dialect} dialect have ({}): choose another \
         dialect",
        dialect.networks()
    )]
    NoLayer {
        /// The canonical name of the layer.
        layer: &'static str,
        /// The dialect asked for.
        dialect: Dialect,
    },
    /// A bias that the networks of a dialect lack, and no batch norm can take.
    #[error(
        "convolutions of the {dialect} dialect have no biases, and no batch norm follows '{}' that could take it: \
         choose another dialect",
        shown(tensor)
    )]
    NoBias {
        /// The canonical name of the bias.
        tensor: String,
        /// The dialect asked for.
        dialect: Dialect,
    },
    /// A linear layer that cannot be the convolution that a dialect has for it.
    #[error(
        "tensor '{}' of shape {shape:?} cannot be a {kernel}×{kernel} convolution, which the {dialect} dialect has for \
         it: choose another dialect",
        shown(tensor)
    )]
    NoForm {
        /// The canonical name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The kernel size.
        kernel: usize,
        /// The dialect asked for.
        dialect: Dialect,
    },
    /// A dialect that does not exist.
    #[error("unknown dialect '{}': choose {}", shown(given), Dialect::choices())]
    NoDialect {
        /// What was asked for.
        given: String,
    },
}

impl WeightsError {
    /// This error with the name of the file that it is about.
    #[must_use]
    pub fn of(self, path: &Path) -> Self {
        Self::Names {
            path: path.to_path_buf(),
            error: Box::new(self),
        }
    }
}

/// What is wrong with a file whose name is not known here.
#[derive(Debug)]
pub(super) enum Damage {
    /// Its bytes.
    Form(FormatError),
    /// It has another format: which, and what helps.
    Foreign(String),
    /// It does not contain a table of tensors: what it is instead.
    NoTable(String),
    /// It would run this function if Python loaded it.
    Calls(String),
}

impl From<FormatError> for Damage {
    fn from(error: FormatError) -> Self {
        Self::Form(error)
    }
}
