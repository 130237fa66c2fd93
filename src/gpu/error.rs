//! Which errors can an adapter or device report?

use std::sync::{Arc, Mutex};

/// An error of adapter or device.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum GpuError {
    /// No adapter at all.
    #[error(
        "no GPU adapter was found; install a Vulkan driver (on Debian or Ubuntu the software one: \
         apt-get install mesa-vulkan-drivers), or compute on the reference engine"
    )]
    NoAdapter,
    /// No adapter matches the name or position asked for.
    #[error("no adapter matches '{wanted}'; there are: {found}")]
    NoSuchAdapter {
        /// The name or position asked for.
        wanted: String,
        /// Positions and names of the adapters, separated by commas.
        found: String,
    },
    /// The adapter refused to open a device.
    #[error("adapter '{adapter}' could not be opened: {reason}; try another one")]
    Open {
        /// The adapter's name.
        adapter: String,
        /// The driver's reason.
        reason: String,
    },
    /// The device stopped working: it was removed, reset, or the driver crashed.
    #[error("the device was lost ({reason}); resume from the last checkpoint")]
    Lost {
        /// The driver's reason.
        reason: String,
    },
    /// The device gives wrong results, or none, for known numbers.
    #[error(
        "adapter '{adapter}' does not compute: {wrong} of {of} known results are wrong (the first is {found:#x} \
         instead of {expected:#x}); its driver does not work here, try another adapter"
    )]
    Wrong {
        /// The adapter's name.
        adapter: String,
        /// Wrong results.
        wrong: usize,
        /// All results.
        of: usize,
        /// The bits of the first wrong result, as they should be.
        expected: u32,
        /// Its bits as the device gave them.
        found: u32,
    },
    /// The device did not do all that was submitted, and reported no error.
    #[error(
        "the device did {done} of {given} submissions and reported no error: its results are lost; \
         resume from the last checkpoint, with a smaller batch if its driver stops work that takes long"
    )]
    Dropped {
        /// What the device has done.
        done: u32,
        /// What it was given.
        given: u32,
    },
    /// An allocation failed.
    #[error("the device is out of memory ({what}); use a smaller batch")]
    OutOfMemory {
        /// What could not be allocated.
        what: String,
    },
    /// A buffer larger than the adapter's limit.
    #[error("a buffer of {bytes} bytes is over the adapter's limit of {limit}; use a smaller batch")]
    TooLarge {
        /// Bytes asked for.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// An environment variable with a value that it cannot have.
    #[error("{variable}='{value}': {needed} is needed")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        needed: &'static str,
    },
    /// A kernel that does not work on this adapter, and that nothing can replace.
    #[error(
        "kernel '{kernel}' does not work on this adapter and driver, and no other kernel does the same; try another \
         adapter or driver"
    )]
    Quarantined {
        /// The kernel: its operation, its precision and its algorithm.
        kernel: String,
    },
    /// [`Gpu::heed`](super::Gpu::heed)'s token asked to stop before a kernel was compiled.
    #[error("stopped before all kernels were compiled")]
    Stopped,
    /// The device refused a command: a bug in this crate.
    #[error("the device refused a command, which is a bug in residua; please report it: {0}")]
    Validation(String),
}

impl GpuError {
    /// Whether nothing more can be done on the device, so that trying another
    /// kernel is of no use.
    pub fn ends_work(&self) -> bool {
        matches!(
            self,
            GpuError::Lost { .. } | GpuError::Dropped { .. } | GpuError::Wrong { .. } | GpuError::Stopped
        )
    }
}

/// Stores a device's first asynchronous error until [`Fault::check`] returns it.
#[derive(Debug, Default)]
pub(super) struct Fault {
    first: Mutex<Option<GpuError>>,
}

impl Fault {
    /// Registers for the errors of `device`.
    pub(super) fn watch(device: &wgpu::Device) -> Arc<Self> {
        let fault = Arc::new(Fault::default());
        let shared = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| shared.store(translate(&error))));
        let shared = fault.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the device is reported as a loss as well.
            if reason != wgpu::DeviceLostReason::Destroyed {
                shared.store(GpuError::Lost {
                    reason: one_line(&message),
                });
            }
        });
        fault
    }

    /// Stores `error` unless there is an earlier one: later errors follow from
    /// the first.
    pub(super) fn store(&self, error: GpuError) {
        let mut first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(error);
    }

    /// The first error, if there is one.
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

/// `text` without line breaks.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
