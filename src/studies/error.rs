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
    #[error("{} {problem}", .setting.replace('-', " "))]
    Value {
        /// The setting: the name of the study's field, with hyphens:
        /// `sample-images`.
        setting: &'static str,
        /// The value, what is wrong with it, and what to do.
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
    /// An error of `setting`; `problem` begins with its value.
    pub(crate) fn value(setting: &'static str, problem: impl Into<String>) -> Self {
        StudyError::Value {
            setting,
            problem: problem.into(),
        }
    }

    /// Whether a [`StopToken`](crate::stop::StopToken) asked to stop.
    pub fn is_stopped(&self) -> bool {
        matches!(self, StudyError::Train(error) if error.is_stopped())
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

impl<E: Into<TrainError>> From<E> for StudyError {
    fn from(error: E) -> Self {
        StudyError::Train(error.into())
    }
}
