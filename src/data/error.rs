//! What can be wrong with data: with the request, or with the files?

use std::io;
use std::path::PathBuf;

/// Data that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The request is wrong: the programs end with exit code 2.
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    /// A file cannot be used: the programs end with exit code 1.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A wrong request for data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// A data source that does not exist.
    #[error("unknown data '{given}': choose {choices}")]
    UnknownSource {
        /// What was asked for.
        given: String,
        /// The sources that exist.
        choices: &'static str,
    },
    /// A data source that needs a folder, without one.
    #[error("data '{kind}' needs a folder: write {kind}:DIR")]
    NoFolder {
        /// The data source.
        kind: &'static str,
    },
    /// A size that the synthetic set cannot have.
    #[error(
        "synthetic data of size '{given}': write synthetic:TRAIN or synthetic:TRAIN,TEST, each from 1 to {most} images"
    )]
    SyntheticSize {
        /// The text after the colon.
        given: String,
        /// The largest number of images in a split.
        most: usize,
    },
    /// A limit of 0 images.
    #[error("a limit of 0 {split} images leaves nothing: give at least 1, or no limit")]
    ZeroLimit {
        /// `training` or `test`.
        split: &'static str,
    },
    /// A word that is not among those that exist.
    #[error("unknown {what} '{given}': choose {choices}")]
    UnknownWord {
        /// What the word names.
        what: &'static str,
        /// What was asked for.
        given: String,
        /// The words that exist.
        choices: &'static str,
    },
    /// A list of means or standard deviations that cannot be used.
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
    /// The operating system cannot read the file.
    #[error("cannot read {}: {source}; check its permissions and the disk", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The last record of the file is not complete.
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
        /// The number of complete records.
        whole: u64,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// The file is empty.
    #[error("{} is empty (0 bytes, expected records of {record} bytes); {remedy}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The size of a record in bytes.
        record: u64,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// The file is larger than the format allows.
    #[error(
        "{} is over-long: {bytes} bytes, at most {most} ({} records of {record} bytes) expected; {remedy}",
        path.display(), most / record
    )]
    OverLong {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The size of the official file in bytes.
        most: u64,
        /// The size of a record in bytes.
        record: u64,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// A label without a class.
    #[error(
        "{}: record {record} has label {label}, but labels go from 0 to {}; {remedy}",
        path.display(), classes - 1
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The record's number, from 1.
        record: u64,
        /// Its label.
        label: u8,
        /// The number of classes.
        classes: usize,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// The file of class names has the wrong number of names.
    #[error(
        "{} names {found} classes instead of {classes}: restore it, or delete it to use the official names",
        path.display()
    )]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// The number of names in the file.
        found: usize,
        /// The number of classes.
        classes: usize,
    },
}
