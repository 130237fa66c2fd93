//! What can be wrong with data: with the request, or with the files?

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{open_regular, read_at_most};
use crate::formats::source::FormatError;
use crate::shown::{shown, shown_path, shown_sentence};

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
    #[error("unknown data '{}': choose {choices}", shown(given))]
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
    /// A data source without a folder, which lies in none of the usual ones.
    #[error("there is no {kind} in {}: write {kind}:DIR", shown(places))]
    NotFound {
        /// The data source.
        kind: &'static str,
        /// The folders that were looked in, in words.
        places: String,
    },
    /// A size that the synthetic set cannot have.
    #[error(
        "synthetic data of size '{}': write synthetic:TRAIN or synthetic:TRAIN,TEST, each from 1 to {most} images",
        shown(given)
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
    /// As many validation images as there are training images, or more.
    #[error("{count} validation images leave none of the {images} training images to train on: hold out fewer")]
    HeldOut {
        /// What was asked for.
        count: usize,
        /// The training images that there are.
        images: usize,
    },
    /// A number of a [`Preparation`](super::Preparation) that is out of its range.
    #[error("{what} {value} is not between {least} and {most} pixels")]
    Preparation {
        /// `crop` or `pad`.
        what: &'static str,
        /// What was asked for.
        value: usize,
        /// The smallest value.
        least: usize,
        /// The largest value.
        most: usize,
    },
    /// A [`Preparation`](super::Preparation) of the built-in images.
    #[error("the built-in synthetic images stay as they are: resize, crop, pad and channels are for files")]
    PreparedSynthetic,
    /// A word that is not among those that exist.
    #[error("unknown {what} '{}': choose {choices}", shown(given))]
    UnknownWord {
        /// What the word names.
        what: &'static str,
        /// What was asked for.
        given: String,
        /// The words that exist.
        choices: &'static str,
    },
    /// A list of means or standard deviations that cannot be used.
    #[error(
        "{what} '{}' {problem}: give one number per channel, as 0.5,0.5,0.5, or {choices}",
        shown(given)
    )]
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
    #[error("no folder {}: {remedy}", shown_path(path))]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// A file does not exist.
    #[error("no file {}: {remedy}", shown_path(path))]
    NoFile {
        /// The file.
        path: PathBuf,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// The operating system cannot read the file.
    #[error("cannot read {}: {}; check its permissions and the disk", shown_path(path), shown_sentence(&source.to_string()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The last record of the file is not complete.
    #[error(
        "{} is cut short: {bytes} bytes are {whole} records of {record} bytes and {} bytes of record {}; {remedy}",
        shown_path(path), bytes % record, whole + 1
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
    #[error(
        "{} is empty (0 bytes, expected records of {record} bytes); {remedy}",
        shown_path(path)
    )]
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
        shown_path(path), most / record
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
        shown_path(path), classes - 1
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The record's number, from 1.
        record: u64,
        /// Its label.
        label: i64,
        /// The number of classes.
        classes: usize,
        /// Where to get the data.
        remedy: &'static str,
    },
    /// What a file or folder holds cannot be used.
    #[error("{}: {}", shown_path(path), shown_sentence(problem.trim_end()))]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The data set has no images of a split.
    #[error("{} has no {split} images: {expected}", shown_path(path))]
    NoSplit {
        /// The file or folder.
        path: PathBuf,
        /// `training` or `test`.
        split: &'static str,
        /// What a split is stored in.
        expected: &'static str,
    },
    /// There is no such file or folder.
    #[error("there is no file or folder {}: check the path", shown_path(path))]
    Nothing {
        /// The path.
        path: PathBuf,
    },
    /// A folder holds no data set that is known.
    #[error(
        "{} is no data set that is known: looked for CIFAR-10 and CIFAR-100 (binary, Python, .tar.gz), SVHN (.mat), MNIST \
         (idx), STL-10, Tiny-ImageNet, train/CLASS/ with PNG or JPEG, parquet, CIFAR-10-C, CIFAR-10.1, x_train.npy; found \
         {found}",
        shown_path(path)
    )]
    Unrecognised {
        /// The folder.
        path: PathBuf,
        /// Some of the names in it.
        found: String,
    },
    /// A file is no data set that is known.
    #[error(
        "{} is no data set that is known: looked for a .tar.gz of CIFAR, .npz, .npy, .mat and .parquet",
        shown_path(path)
    )]
    UnknownFile {
        /// The file.
        path: PathBuf,
    },
    /// A folder holds several data sets.
    #[error("{} holds several data sets ({kinds}): say which, as in KIND:PATH", shown_path(path))]
    SeveralKinds {
        /// The folder.
        path: PathBuf,
        /// Their kinds.
        kinds: String,
    },
    /// The file of class names has the wrong number of names.
    #[error(
        "{} names {found} classes instead of {classes}: restore it, or delete it to use the official names",
        shown_path(path)
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

impl FileError {
    /// Something is wrong with what a file or folder holds.
    pub(super) fn content(path: &Path, problem: impl Into<String>) -> Self {
        Self::Content {
            path: path.to_path_buf(),
            problem: problem.into(),
        }
    }
}

/// The error of reading a file.
pub(super) fn unreadable(path: &Path) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Unreadable {
        path: path.to_path_buf(),
        source,
    }
}

/// Opens a regular file; also returns its number of bytes.
pub(super) fn open(path: &Path) -> Result<(File, u64), FileError> {
    open_regular(path).map_err(unreadable(path))
}

/// The bytes of a regular file that has no more than `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    read_at_most(path, limit).map_err(unreadable(path))
}

/// What is wrong with the bytes of a file.
pub(super) fn in_file(path: &Path) -> impl Fn(FormatError) -> FileError {
    move |error| match error {
        FormatError::Damaged(problem) | FormatError::Unusable(problem) | FormatError::Repeats(problem) => {
            FileError::content(path, problem)
        }
        FormatError::Io(source) => unreadable(path)(source),
    }
}
