//! How long do a training step and its longest dispatch take on a device, compared
//! with what its system allows?

use serde::Serialize;

use crate::gpu::Gpu;
use crate::graph::{Mode, Recompute};
use crate::models::ModelSpec;
use crate::schedule::{memory, target};

/// Models and batch sizes whose steps are estimated.
const STEPS: [(&str, usize); 3] = [("resnet20", 128), ("wrn-28-10", 128), ("resnet50", 64)];

/// An estimate for a training step, at the rate that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepEstimate {
    /// The model.
    pub model: &'static str,
    /// Images in a batch.
    pub batch: usize,
    /// Seconds of a step.
    pub seconds: f64,
    /// Seconds of its longest dispatch.
    pub longest_seconds: f64,
    /// Submissions into which it is cut.
    pub submissions: u64,
}

/// Estimates for a few models on `gpu`, which makes `rate` multiply-adds per second.
pub fn estimates(gpu: &Gpu, rate: f64) -> Vec<StepEstimate> {
    let target = target(gpu);
    let estimate = |(model, batch): (&'static str, usize)| {
        let spec: ModelSpec = model.parse().ok()?;
        let network = spec.build(&spec.usual_input(), Mode::Train).ok()?;
        let plan = memory(&network.graph, true, batch, Recompute::None, &target);
        let macs = |macs: u64| macs as f64 / rate;
        let seconds = macs(plan.calls().map(|call| call.macs).sum());
        let longest = plan.calls().map(|call| call.macs).max().unwrap_or(0);
        Some(StepEstimate {
            model,
            batch,
            seconds,
            longest_seconds: macs(longest),
            submissions: gpu
                .submission_seconds()
                .map_or(1, |budget| (seconds / budget).ceil().max(1.0) as u64),
        })
    };
    STEPS.into_iter().filter_map(estimate).collect()
}
