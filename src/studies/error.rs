//! What can stop a study?

use std::path::PathBuf;

use crate::files::WriteError;
use crate::graph::RouteError;
use crate::train::TrainError;

/// An error of a study.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The network, its images or its adapter.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A setting of the study with a value that it cannot have.
    #[error("{setting}: {problem}")]
    Value {
        /// The setting, as the field of the study is named, with hyphens:
        /// `sample-images`.
        setting: &'static str,
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
    /// A file that cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl StudyError {
    /// An error of the setting `setting`.
    pub(crate) fn value(setting: &'static str, problem: impl Into<String>) -> Self {
        StudyError::Value {
            setting,
            problem: problem.into(),
        }
    }

    /// Whether a setting is wrong, rather than files or the device.
    pub fn is_argument(&self) -> bool {
        match self {
            StudyError::Train(error) => error.is_argument(),
            StudyError::Value { .. } => true,
            StudyError::File { .. } | StudyError::Write(_) => false,
        }
    }
}

impl From<RouteError> for StudyError {
    fn from(error: RouteError) -> Self {
        StudyError::Train(error.into())
    }
}
