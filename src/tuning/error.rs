//! What can go wrong when kernels are tuned or replayed?

use std::path::PathBuf;

use crate::gpu::GpuError;
use crate::schedule::SessionError;

/// Why a text is not read as a tuning cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// It is damaged, or something else.
    #[error("not a file of tuned kernels: {0}")]
    Malformed(String),
    /// It was written by a version whose algorithms had other names.
    #[error("a file of tuned kernels from an older version of residua, which this one does not read")]
    Older,
    /// It was written by a later version.
    #[error("a file of tuned kernels from a newer version of residua, which this one does not read")]
    Newer,
}

/// An error of tuning.
#[derive(Debug, thiserror::Error)]
pub enum TuningError {
    /// The device failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The device computes something else than the f64 reference.
    #[error(
        "{adapter} computes '{work}' wrongly: the plain kernel's output differs from the f64 reference by {distance:.1e} \
         (relative norm); its driver does not work here, try another adapter"
    )]
    Wrong {
        /// The adapter's name, driver and API.
        adapter: String,
        /// The work, with its shapes.
        work: String,
        /// The distance of the outputs, divided by the norm of the reference's.
        distance: f64,
    },
    /// None of several entries to replay is for this device.
    #[error("the kernels to replay were chosen on other devices, none of them {adapter}")]
    OtherDevices {
        /// The adapter's name, driver and API.
        adapter: String,
    },
    /// A file of tuned kernels that cannot be opened.
    #[error("{path}: cannot be read: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file that is not a tuning cache of this version.
    #[error("{path}: {error}{}", advice(error))]
    Cache {
        /// The file.
        path: PathBuf,
        /// What is wrong with its text.
        error: CacheError,
    },
}

impl TuningError {
    /// Whether a [`StopToken`](crate::stop::StopToken) asked to stop.
    pub fn is_stopped(&self) -> bool {
        matches!(self, TuningError::Session(SessionError::Gpu(GpuError::Stopped)))
    }
}

/// What to do about `error`.
fn advice(error: &CacheError) -> &'static str {
    match error {
        CacheError::Malformed(_) => "",
        CacheError::Older | CacheError::Newer => "; remove it to use the default algorithms, or tune again",
    }
}

impl From<GpuError> for TuningError {
    fn from(error: GpuError) -> Self {
        TuningError::Session(error.into())
    }
}
