//! What can a device do at best?

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::workbench::{Piece, Workbench};
use super::{BenchError, Effort, Listener};
use crate::gpu::Gpu;
use crate::kernels::{Call, CopyShape, MultiplyAddShape};
use crate::schedule::target;

/// The best rates that any of several shapes of a kernel has reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// 10⁹ operations a second, two for each multiply-add of 32-bit floats.
    pub gflops: f64,
    /// 10⁹ bytes a second, read and written, of the fastest copy, which may
    /// stay within a cache.
    pub gbps: f64,
    /// The same of copies that are too large for one: 128 MiB to 128 MiB.
    pub memory_gbps: f64,
    /// Shapes of multiply-adds that were tried.
    pub multiply_add_candidates: usize,
    /// Shapes of copies that were tried.
    pub copy_candidates: usize,
}

impl Peak {
    /// Which share of the peak `gflops` and `gbps` are, in per cent: the
    /// larger of both.
    pub fn percent(&self, gflops: Option<f64>, gbps: f64) -> f64 {
        let compute = gflops.unwrap_or(0.0) / self.gflops;
        100.0 * compute.max(gbps / self.gbps)
    }
}

/// Measures the peak rates of `gpu`.
pub fn peak(gpu: &Arc<Gpu>, effort: &Effort, listener: Listener) -> Result<Peak, BenchError> {
    let target = target(gpu);
    let multiply_adds = MultiplyAddShape::candidates();
    let copies = CopyShape::candidates(&target);
    let piece = |name: &str, call: Call| Piece {
        name: name.to_string(),
        calls: vec![call],
        contents: Vec::new(),
    };
    let mut pieces: Vec<Piece> = multiply_adds
        .iter()
        .map(|shape| piece("peak multiply-adds", shape.call(&target)))
        .collect();
    pieces.extend(copies.iter().map(|shape| piece("peak copy", shape.call(&target))));
    let bench = Workbench::new(gpu, &pieces)?;
    let times = bench.measure(effort.rounds, effort.kernel_seconds, listener)?;
    let rates: Vec<f64> = pieces
        .iter()
        .zip(&times)
        .map(|(piece, time)| {
            let call = &piece.calls[0];
            let work = if call.macs > 0 { 2 * call.macs } else { call.bytes() };
            1e-9 * work as f64 / time.best
        })
        .collect();
    let (computing, copying) = rates.split_at(multiply_adds.len());
    let best = |rates: &mut dyn Iterator<Item = f64>| rates.fold(0.0, f64::max);
    let of_memory = copies.iter().zip(copying).filter(|(shape, _)| shape.is_of_memory());
    Ok(Peak {
        gflops: best(&mut computing.iter().copied()),
        gbps: best(&mut copying.iter().copied()),
        memory_gbps: best(&mut of_memory.map(|(_, &rate)| rate)),
        multiply_add_candidates: multiply_adds.len(),
        copy_candidates: copies.len(),
    })
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
            copy_candidates: 1,
        };
        assert_eq!(peak.percent(Some(25.0), 1.0), 25.0);
        assert_eq!(peak.percent(Some(25.0), 5.0), 50.0);
        assert_eq!(peak.percent(None, 1.0), 10.0);
    }
}
