//! How fast is each kernel?

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cases::Case;
use super::peak::{Peak, Probes};
use super::workbench::Workbench;
use super::{BenchError, Effort, Listener};
use crate::gpu::Gpu;
use crate::schedule::target;

/// How fast one kernel is at one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelRates {
    /// Its name.
    pub name: String,
    /// The shapes of what it reads and makes.
    pub shape: String,
    /// Which way it does its work, such as `tile 8x4x8 by 32`; none where there
    /// is only one.
    #[serde(default)]
    pub way: Option<String>,
    /// Whether that was chosen by timing; else by rule.
    #[serde(default)]
    pub tuned: bool,
    /// The shortest time, seconds.
    pub seconds: f64,
    /// The median, seconds.
    pub median_seconds: f64,
    /// 10⁹ operations a second at the shortest time, two for each multiply-add
    /// of a convolution or linear layer; none for other kernels.
    pub gflops: Option<f64>,
    /// 10⁹ bytes a second at the shortest time: inputs and outputs, once each.
    pub gbps: f64,
    /// The larger share of the device's peak rates, in per cent.
    pub percent_of_peak: f64,
}

/// Times `cases` on `gpu` beside what shows its peak, all in the same rounds:
/// on a machine that does other things as well, rates of different minutes
/// cannot be compared.
pub fn kernel_rates(
    gpu: &Arc<Gpu>,
    cases: &[Case],
    effort: &Effort,
    listener: Listener,
) -> Result<(Peak, Vec<KernelRates>), BenchError> {
    let probes = Probes::new(&target(gpu));
    let mut pieces = probes.pieces();
    let first = pieces.len();
    pieces.extend(cases.iter().map(|case| case.piece.clone()));
    let bench = Workbench::new(gpu, &pieces)?;
    let times = bench.measure(effort.rounds, effort.kernel_seconds, listener)?;
    let (of_probes, of_cases) = times.split_at(first);
    let peak = probes.peak(of_probes);
    let rates = cases.iter().zip(of_cases).map(|(case, time)| {
        let gflops = (case.macs > 0).then(|| 2e-9 * case.macs as f64 / time.best);
        let gbps = 1e-9 * case.bytes as f64 / time.best;
        KernelRates {
            name: case.piece.name.clone(),
            shape: case.shape.clone(),
            way: case.way.as_ref().map(|way| way.kernel.to_string()),
            tuned: case.way.as_ref().is_some_and(|way| way.tuned),
            seconds: time.best,
            median_seconds: time.median,
            gflops,
            gbps,
            percent_of_peak: peak.percent(gflops, gbps),
        }
    });
    let rates = rates.collect();
    Ok((peak, rates))
}
