//! How fast is a device at what residual networks do?
//!
//! Its peak rates by kernels that do nothing else, every kernel of a training
//! step at the shapes of real networks, and whole networks. What is measured
//! is what runs: the same lowering and the same dispatches as in training.
//! All times are taken in interleaved rounds, so that whatever else a machine
//! does hits everything alike; the best and the median are kept.

mod cases;
mod compare;
mod kernels;
mod networks;
mod peak;
mod report;
mod spread;
mod workbench;

use serde::{Deserialize, Serialize};

pub use cases::{Case, Way, cases, select, with_choices};
pub use compare::{Comparison, Line, Side, compare, read};
pub use kernels::{KernelRates, kernel_rates};
pub use networks::{Contest, NetworkRates, network_rates};
pub use peak::Peak;
pub use spread::Spread;
pub use workbench::{Piece, Workbench};

use crate::gpu::Gpu;
use crate::train::TrainError;

/// What can go wrong here.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The device, or a network on it.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A part of a name that no kernel has.
    #[error("no kernel's name has '{wanted}' in it; there are: {names}")]
    NoSuchCase {
        /// What was asked for.
        wanted: String,
        /// What there is.
        names: String,
    },
    /// A file of results that cannot be read.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl From<crate::gpu::GpuError> for BenchError {
    fn from(error: crate::gpu::GpuError) -> Self {
        BenchError::Train(error.into())
    }
}

/// How long is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// Rounds over everything.
    pub rounds: usize,
    /// Seconds that a kernel is repeated for in a round, at least once.
    pub kernel_seconds: f64,
    /// Seconds that a network trains, and that it infers, in a round.
    pub network_seconds: f64,
}

impl Effort {
    /// Enough for a machine that does other things as well.
    pub const FULL: Effort = Effort {
        rounds: 5,
        kernel_seconds: 0.02,
        network_seconds: 1.0,
    };
    /// A first look.
    pub const QUICK: Effort = Effort {
        rounds: 2,
        kernel_seconds: 0.005,
        network_seconds: 0.2,
    };
}

/// How far a measurement is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress<'a> {
    /// What is measured now.
    pub what: &'a str,
    /// Measurements done.
    pub done: usize,
    /// Measurements in all.
    pub of: usize,
}

/// Who is told of progress.
pub type Listener<'a> = &'a mut dyn FnMut(Progress);

/// What a device is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// The marketing name.
    pub name: String,
    /// The interface: Vulkan, Metal or Dx12.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
}

impl Adapter {
    /// The adapter of `gpu`.
    pub fn of(gpu: &Gpu) -> Self {
        let info = gpu.info();
        Adapter {
            name: info.name.clone(),
            backend: info.backend.clone(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        }
    }
}

impl std::fmt::Display for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

/// All that was measured on one device: the contents of `bench.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The device.
    pub adapter: Adapter,
    /// This program's version.
    pub version: String,
    /// The command that measured.
    pub command: String,
    /// Whether kernels were timed by the device itself.
    pub device_timestamps: bool,
    /// Rounds of every measurement.
    pub rounds: usize,
    /// What the device can do at best, where that was measured.
    pub peak: Option<Peak>,
    /// The kernels.
    pub kernels: Vec<KernelRates>,
    /// The networks.
    pub networks: Vec<NetworkRates>,
}
