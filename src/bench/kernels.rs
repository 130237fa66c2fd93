//! How fast is each kernel?

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cases::Case;
use super::peak::{Peak, Probes};
use super::workbench::Workbench;
use super::{BenchBudget, BenchError, ProgressCallback, check_rates};
use crate::gpu::Gpu;
use crate::graph::Precision;
use crate::schedule::{SessionError, target};
use crate::train::TrainError;

/// The rates of one kernel at one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelRates {
    /// Its name.
    pub name: String,
    /// The shapes of its inputs and output.
    pub shape: String,
    /// The algorithm, such as `direct 8x4x8 wg 32`; none where there is only one.
    #[serde(default, rename = "way")]
    pub algorithm: Option<String>,
    /// Whether it was chosen by tuning; otherwise it is the default algorithm.
    #[serde(default)]
    pub tuned: bool,
    /// The shortest time, in seconds.
    pub seconds: f64,
    /// The median time, in seconds.
    pub median_seconds: f64,
    /// 10⁹ operations per second at the shortest time, two for each multiply-add
    /// of a convolution or linear layer; none for other kernels.
    pub gflops: Option<f64>,
    /// 10⁹ bytes per second at the shortest time: each input and output once.
    pub gbps: f64,
    /// Per cent of the device's peak: the larger of the shares of both rates.
    pub percent_of_peak: f64,
}

/// Times `cases`, lowered for `precision`, and the kernels that show the peak of `gpu`, all in the same
/// rounds: on a machine that runs other programs, rates of different minutes are
/// not comparable.
///
/// # Errors
/// When the device fails, or has no 16-bit floats for that precision.
pub fn kernel_rates(
    gpu: &Arc<Gpu>,
    cases: &[Case],
    precision: Precision,
    budget: &BenchBudget,
    listener: ProgressCallback,
) -> Result<(Peak, Vec<KernelRates>), BenchError> {
    if precision == Precision::F16 && !gpu.info().f16 {
        let adapter = gpu.info().name.clone();
        return Err(TrainError::from(SessionError::NoF16 { adapter }).into());
    }
    let probes = Probes::new(&target(gpu));
    let mut workloads = probes.workloads();
    let first = workloads.len();
    workloads.extend(cases.iter().map(|case| case.workload.clone()));
    let bench = Workbench::new(gpu, &workloads, precision)?;
    let times = bench.measure(budget.rounds, budget.kernel_seconds, listener)?;
    let (of_probes, of_cases) = times.split_at(first);
    let peak = probes.peak(of_probes);
    let rates = cases.iter().zip(of_cases).map(|(case, time)| {
        let gflops = (case.macs > 0).then(|| 2e-9 * case.macs as f64 / time.best);
        let gbps = 1e-9 * case.bytes as f64 / time.best;
        KernelRates {
            name: case.workload.name.clone(),
            shape: case.shape.clone(),
            algorithm: case.algorithm.as_ref().map(|case| case.kernel.to_string()),
            tuned: case.algorithm.as_ref().is_some_and(|case| case.tuned),
            seconds: time.best,
            median_seconds: time.median,
            gflops,
            gbps,
            percent_of_peak: peak.percent(gflops, gbps),
        }
    });
    let rates: Vec<KernelRates> = rates.collect();
    check_rates("the peak", peak.gflops, peak.gbps)?;
    for kernel in &rates {
        check_rates(&kernel.name, kernel.gflops.unwrap_or(0.0), kernel.gbps)?;
    }
    Ok((peak, rates))
}
