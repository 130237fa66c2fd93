//! What are a device's peak rates?

use serde::{Deserialize, Serialize};

use super::timing::TimingSummary;
use super::workbench::KernelWorkload;
use crate::kernels::{Call, MultiplyAddShape, StreamShape, Target};

/// The best rates that kernels of several shapes reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// 10⁹ operations per second, two for each multiply-add of 32-bit floats.
    pub gflops: f64,
    /// 10⁹ bytes per second, read and written, of the fastest copy or sum of two
    /// arrays; the arrays may fit in a cache.
    pub gbps: f64,
    /// The same for arrays that are too large for a cache: 128 MiB each.
    pub memory_gbps: f64,
    /// Number of multiply-add kernels that were tried.
    pub multiply_add_candidates: usize,
    /// Number of copies and sums that were tried.
    pub stream_candidates: usize,
}

impl Peak {
    /// Per cent of the peak that `gflops` and `gbps` reach: the larger of the two
    /// shares.
    pub fn percent(&self, gflops: Option<f64>, gbps: f64) -> f64 {
        let compute = gflops.unwrap_or(0.0) / self.gflops;
        100.0 * compute.max(gbps / self.gbps)
    }
}

/// The kernels that show the peak of a device.
pub(super) struct Probes {
    multiply_adds: Vec<Call>,
    /// Each with whether its arrays are too large for a cache.
    streams: Vec<(Call, bool)>,
}

impl Probes {
    /// The probes for `target`.
    pub(super) fn new(target: &Target) -> Self {
        let multiply_adds = MultiplyAddShape::all();
        let streams = StreamShape::all(target);
        Probes {
            multiply_adds: multiply_adds.iter().map(|shape| shape.call(target)).collect(),
            streams: streams
                .iter()
                .map(|shape| (shape.call(target), shape.exceeds_caches()))
                .collect(),
        }
    }

    /// The workloads to be timed: multiply-adds, then streams.
    pub(super) fn workloads(&self) -> Vec<KernelWorkload> {
        let workload = |name: &str, call: &Call| KernelWorkload {
            name: name.to_string(),
            calls: vec![call.clone()],
            contents: Vec::new(),
        };
        let multiply_adds = self
            .multiply_adds
            .iter()
            .map(|call| workload("peak multiply-adds", call));
        let streams = self.streams.iter().map(|(call, _)| workload("peak streams", call));
        multiply_adds.chain(streams).collect()
    }

    /// The peak, from the times of [`Probes::workloads`].
    pub(super) fn peak(&self, times: &[TimingSummary]) -> Peak {
        let (computing, streaming) = times.split_at(self.multiply_adds.len().min(times.len()));
        let rate = |work: u64, time: &TimingSummary| 1e-9 * work as f64 / time.best;
        let computing = self.multiply_adds.iter().zip(computing);
        let streaming = || self.streams.iter().zip(streaming);
        Peak {
            gflops: computing
                .map(|(call, time)| rate(2 * call.macs, time))
                .fold(0.0, f64::max),
            gbps: streaming()
                .map(|((call, _), time)| rate(call.bytes(), time))
                .fold(0.0, f64::max),
            memory_gbps: streaming()
                .filter(|((_, of_memory), _)| *of_memory)
                .map(|((call, _), time)| rate(call.bytes(), time))
                .fold(0.0, f64::max),
            multiply_add_candidates: self.multiply_adds.len(),
            stream_candidates: self.streams.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_as_good_as_the_better_of_its_rates() {
        let peak = Peak {
            gflops: 100.0,
            gbps: 10.0,
            memory_gbps: 5.0,
            multiply_add_candidates: 1,
            stream_candidates: 1,
        };
        assert_eq!(peak.percent(Some(25.0), 1.0), 25.0);
        assert_eq!(peak.percent(Some(25.0), 5.0), 50.0);
        assert_eq!(peak.percent(None, 1.0), 10.0);
    }

    #[test]
    fn the_peak_is_the_best_of_its_probes() {
        let target = Target::portable(true);
        let probes = Probes::new(&target);
        let workloads = probes.workloads();
        let mut times = vec![TimingSummary { best: 1.0, median: 2.0 }; workloads.len()];
        times[3].best = 0.5;
        let peak = probes.peak(&times);
        assert_eq!(workloads.len(), peak.multiply_add_candidates + peak.stream_candidates);
        // 2^28 multiply-adds in half a second; three arrays of 128 MiB in one.
        assert_eq!(peak.gflops, 2e-9 * f64::from(1 << 28) / 0.5);
        assert_eq!(peak.gbps, 1e-9 * f64::from(3 << 27));
        assert_eq!(peak.memory_gbps, peak.gbps);
    }
}
