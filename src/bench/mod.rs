//! How fast does a device run residual networks?
//!
//! Measured are the device's peak rates, every kernel of a training step at the
//! shapes of real networks, and whole networks. Kernels use the lowering and the
//! dispatches of training. All times are taken in interleaved rounds, so that
//! other programs on the machine affect everything equally; the results are the best
//! and the median of the rounds.

mod cases;
mod compare;
mod kernels;
mod networks;
mod peak;
mod report;
mod timing;
mod workbench;

use serde::{Deserialize, Serialize};

pub use cases::{Case, CaseAlgorithm, cases, select, with_choices};
pub use compare::{Comparison, ComparisonRow, ComparisonSource, PairOfRates, PairOfSources, compare, read};
pub use kernels::{KernelRates, kernel_rates};
pub use networks::{NetworkCase, NetworkOptions, NetworkRates, network_rates};
pub use peak::Peak;
pub use timing::TimingSummary;
pub use workbench::{KernelWorkload, Workbench};

use crate::gpu::Gpu;
use crate::graph::Precision;
use crate::train::TrainError;

/// Errors of measurements.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An error of the device, or of a network on it.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A text that no kernel's name contains.
    #[error("no kernel's name contains '{wanted}'; there are: {names}")]
    NoSuchCase {
        /// The text asked for.
        wanted: String,
        /// The names of all kernels, separated by commas.
        names: String,
    },
    /// A rate that no device reaches.
    #[error(
        "{what}: {rate:.3e} {unit} were measured, which no device reaches; the driver's clock or the driver itself is \
         wrong, try another adapter"
    )]
    Impossible {
        /// The kernel or network.
        what: String,
        /// The rate.
        rate: f64,
        /// "GFLOP/s" or "GB/s".
        unit: &'static str,
    },
    /// A file of results that cannot be used.
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

/// Refuses rates (10⁹ operations and 10⁹ bytes per second) that no device reaches.
fn check_rates(what: &str, gflops: f64, gbps: f64) -> Result<(), BenchError> {
    // The largest accelerators of 2026 compute about 10⁵ GFLOP/s in 32 bits, and
    // read about 10⁵ GB/s from their caches.
    const MOST: f64 = 1e6;
    for (rate, unit) in [(gflops, "GFLOP/s"), (gbps, "GB/s")] {
        // Work and time of 0 give NaN.
        if rate.is_nan() || rate > MOST {
            return Err(BenchError::Impossible {
                what: what.to_owned(),
                rate,
                unit,
            });
        }
    }
    Ok(())
}

/// How often and how long everything is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BenchBudget {
    /// Number of rounds.
    pub rounds: usize,
    /// Seconds for which a kernel is repeated in a round, at least once.
    pub kernel_seconds: f64,
    /// Seconds of training and seconds of inference of a network in a round.
    pub network_seconds: f64,
}

impl BenchBudget {
    /// Enough for a machine that also runs other programs.
    pub const FULL: BenchBudget = BenchBudget {
        rounds: 5,
        kernel_seconds: 0.02,
        network_seconds: 1.0,
    };
    /// A quick, rough measurement.
    pub const QUICK: BenchBudget = BenchBudget {
        rounds: 2,
        kernel_seconds: 0.005,
        network_seconds: 0.2,
    };
}

/// The progress of a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BenchProgress<'a> {
    /// The kernel or network that is measured now.
    pub what: &'a str,
    /// Number of finished measurements.
    pub done: usize,
    /// Number of all measurements.
    pub of: usize,
}

/// Is called with the progress of a measurement.
pub type ProgressCallback<'a> = &'a mut dyn FnMut(BenchProgress);

/// The names of an adapter and its driver, as results record them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterRecord {
    /// The marketing name.
    pub name: String,
    /// The graphics API: Vulkan, Metal or Dx12.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
}

impl AdapterRecord {
    /// The record of the adapter of `gpu`.
    pub fn of(gpu: &Gpu) -> Self {
        let info = gpu.info();
        AdapterRecord {
            name: info.name.clone(),
            backend: info.backend.clone(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        }
    }
}

impl std::fmt::Display for AdapterRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

/// The machine and the day of a measurement, as results record them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// The name of the machine.
    pub host: String,
    /// The CPU, and its number of logical cores.
    pub cpu: String,
    /// Main memory, in bytes.
    pub memory: u64,
    /// The operating system and its version.
    pub os: String,
    /// The day in UTC: "2026-11-27".
    pub date: String,
}

/// The program of results that do not name one.
pub fn this_program() -> String {
    env!("CARGO_PKG_NAME").to_string()
}

/// All measurements of one device: the contents of `bench.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchResults {
    /// The device.
    pub adapter: AdapterRecord,
    /// The machine; not in results of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineRecord>,
    /// The program that measured: this one, or a peer whose script writes the same
    /// form.
    #[serde(default = "this_program")]
    pub program: String,
    /// Its version.
    pub version: String,
    /// The command that measured.
    pub command: String,
    /// Whether kernels were timed by the device's timestamps.
    pub device_timestamps: bool,
    /// How activations and their gradients were stored.
    #[serde(default)]
    pub precision: Precision,
    /// Whether networks ran with the kernels that tuning chose on this device.
    #[serde(default)]
    pub tuned: bool,
    /// Number of rounds.
    pub rounds: usize,
    /// The device's peak rates, if they were measured.
    pub peak: Option<Peak>,
    /// The kernels.
    pub kernels: Vec<KernelRates>,
    /// The networks.
    pub networks: Vec<NetworkRates>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_no_device_reaches_are_refused() {
        check_rates("conv", 60_000.0, 20_000.0).unwrap();
        for (gflops, gbps, unit) in [
            (322_680_998.0, 1.0, "GFLOP/s"),
            (1.0, 1_807_650_000.0, "GB/s"),
            (f64::INFINITY, 1.0, "GFLOP/s"),
            (f64::NAN, 1.0, "GFLOP/s"),
        ] {
            let error = check_rates("conv", gflops, gbps).unwrap_err().to_string();
            assert!(error.starts_with("conv: ") && error.contains(unit), "{error}");
        }
    }
}
