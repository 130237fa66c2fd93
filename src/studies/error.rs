//! What can stop a study?

use std::path::PathBuf;

use crate::train::TrainError;

/// An error of a study.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The network, its images, its adapter, or a file that cannot be written.
    #[error(transparent)]
    Train(TrainError),
    /// A setting of the study with a value that it cannot have.
    #[error("{setting}{}: {problem}", spaced(.value))]
    Value {
        /// The setting: the name of the study's field, with hyphens:
        /// `sample-images`.
        setting: &'static str,
        /// The value, in words; empty for a setting that is only on or off.
        value: String,
        /// What is wrong with its value, and what to do.
        problem: String,
    },
    /// A file or directory of the study that cannot be used.
    #[error("{path}: {problem}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl StudyError {
    /// An error of `setting` with `value`.
    pub(crate) fn value(setting: &'static str, value: impl Into<String>, problem: impl Into<String>) -> Self {
        StudyError::Value {
            setting,
            value: value.into(),
            problem: problem.into(),
        }
    }

    /// Whether a setting is wrong, rather than files or the device.
    pub fn is_argument(&self) -> bool {
        match self {
            StudyError::Train(error) => error.is_argument(),
            StudyError::Value { .. } => true,
            StudyError::File { .. } => false,
        }
    }
}

/// `value` after a space, or nothing.
pub(crate) fn spaced(value: &str) -> String {
    match value {
        "" => String::new(),
        value => format!(" {value}"),
    }
}

impl<E: Into<TrainError>> From<E> for StudyError {
    fn from(error: E) -> Self {
        StudyError::Train(error.into())
    }
}
