//! What can be wrong with data: what was asked for, or what was found.

use std::io;
use std::path::PathBuf;

/// Why there is no data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// What was asked for does not exist or makes no sense (exit code 2).
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    /// What was found on the disk cannot be used (exit code 1).
    #[error(transparent)]
    File(#[from] FileError),
}

/// An argument about data that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// No such kind of data.
    #[error("unknown data '{given}': choose {choices}")]
    UnknownSource {
        /// What was asked for.
        given: String,
        /// What exists.
        choices: &'static str,
    },
    /// The kind of data needs a folder and none is given.
    #[error("data '{kind}' needs a folder: write {kind}:DIR")]
    NoFolder {
        /// The kind of data.
        kind: &'static str,
    },
    /// The synthetic set cannot have such a size.
    #[error(
        "synthetic data of size '{given}': write synthetic:TRAIN or synthetic:TRAIN,TEST, each from 1 to {most} images"
    )]
    SyntheticSize {
        /// What follows the colon.
        given: String,
        /// The most images a split may have.
        most: usize,
    },
    /// A limit of no images.
    #[error("a limit of 0 {split} images leaves nothing: give at least 1, or no limit")]
    ZeroLimit {
        /// `training` or `test`.
        split: &'static str,
    },
    /// A word that is none of those that exist.
    #[error("unknown {what} '{given}': choose {choices}")]
    UnknownWord {
        /// What the word stands for.
        what: &'static str,
        /// What was asked for.
        given: String,
        /// What exists.
        choices: &'static str,
    },
    /// Not a usable list of means or standard deviations.
    #[error("{what} '{given}' {problem}: give one number per channel, as 0.5,0.5,0.5, or {choices}")]
    Normalization {
        /// `mean` or `std`.
        what: &'static str,
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: String,
        /// The named sets.
        choices: &'static str,
    },
}

/// A data file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The folder does not exist.
    #[error("no folder {}: {remedy}", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// A file does not exist.
    #[error("no file {}: {remedy}", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// The system would not give the file's bytes.
    #[error("cannot read {}: {source}; check its permissions and the disk", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not end where a record ends.
    #[error(
        "{} is cut short: {bytes} bytes are {whole} records of {record} bytes and {} bytes of record {}; {remedy}",
        path.display(), bytes % record, whole + 1
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The size of a record in bytes.
        record: u64,
        /// How many whole records it holds.
        whole: u64,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// The file holds nothing.
    #[error("{} is empty (0 bytes, expected records of {record} bytes); {remedy}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The size of a record in bytes.
        record: u64,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// The file holds more than its format allows.
    #[error(
        "{} is over-long: {bytes} bytes, at most {most} ({} records of {record} bytes) expected; {remedy}",
        path.display(), most / record
    )]
    OverLong {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The official size in bytes.
        most: u64,
        /// The size of a record in bytes.
        record: u64,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// A label that stands for no class.
    #[error(
        "{}: record {record} has label {label}, but labels go from 0 to {}; {remedy}",
        path.display(), classes - 1
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The record, counted from 1.
        record: u64,
        /// Its label.
        label: u8,
        /// How many classes there are.
        classes: usize,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// The file of class names does not name every class.
    #[error(
        "{} names {found} classes instead of {classes}: restore it, or delete it to use the official names",
        path.display()
    )]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// How many lines with a name it has.
        found: usize,
        /// How many classes there are.
        classes: usize,
    },
}
