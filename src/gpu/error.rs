//! What can go wrong on a device?

use std::sync::{Arc, Mutex};

/// An error of adapter or device.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum GpuError {
    /// No adapter at all.
    #[error(
        "no GPU adapter was found; install a Vulkan driver (on Debian or Ubuntu the software one: \
         apt-get install mesa-vulkan-drivers), or run without one: --adapter reference"
    )]
    NoAdapter,
    /// Adapters, but not the one asked for.
    #[error("no adapter matches '{wanted}'; there are: {found} (see `residua devices`)")]
    NoSuchAdapter {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The adapter refused to open a device.
    #[error("adapter '{adapter}' could not be opened: {reason}; try another one (see `residua devices`)")]
    Open {
        /// The adapter's name.
        adapter: String,
        /// The driver's reason.
        reason: String,
    },
    /// The device went away while in use.
    #[error("the device was lost ({reason}); start again with --resume, from the last checkpoint")]
    Lost {
        /// The driver's reason.
        reason: String,
    },
    /// An allocation failed.
    #[error("the device is out of memory ({what}); use a smaller --batch-size")]
    OutOfMemory {
        /// What was being allocated.
        what: String,
    },
    /// A buffer larger than the adapter's limit.
    #[error("a buffer of {bytes} bytes is over the adapter's limit of {limit}; use a smaller --batch-size")]
    TooLarge {
        /// Bytes asked for.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A command that the device refused: an error in this program.
    #[error("the device refused a command, which is a bug in residua; please report it: {0}")]
    Validation(String),
}

/// Where a device's asynchronous errors are kept until somebody asks.
#[derive(Debug, Default)]
pub(super) struct Fault {
    first: Mutex<Option<GpuError>>,
}

impl Fault {
    /// Registers a new keeper with `device`.
    pub(super) fn watch(device: &wgpu::Device) -> Arc<Self> {
        let fault = Arc::new(Fault::default());
        let keeper = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| keeper.keep(translate(&error))));
        let keeper = fault.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the device is reported as a loss as well.
            if reason != wgpu::DeviceLostReason::Destroyed {
                keeper.keep(GpuError::Lost {
                    reason: one_line(&message),
                });
            }
        });
        fault
    }

    /// Keeps `error` unless an earlier one is there: later ones are
    /// consequences.
    pub(super) fn keep(&self, error: GpuError) {
        let mut first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(error);
    }

    pub(super) fn check(&self) -> Result<(), GpuError> {
        let first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.clone().map_or(Ok(()), Err)
    }
}

fn translate(error: &wgpu::Error) -> GpuError {
    match error {
        wgpu::Error::OutOfMemory { source } => GpuError::OutOfMemory {
            what: one_line(&source.to_string()),
        },
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            GpuError::Validation(one_line(description))
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
