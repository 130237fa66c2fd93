//! In how many segments does recomputation take the least memory?
//!
//! With many segments, much is stored at their ends; with few, much is
//! recomputed at a time. Which number is best depends on the blocks. So plans
//! with different numbers are compared (as Chen et al. 2016 do,
//! arXiv:1604.06174).

use super::live_ranges::LiveRanges;
use super::memory::{MemoryLayout, peak};
use super::request::PlanRequest;
use crate::graph::Recompute;

/// `request` with the recomputation that `how` names, in the number of
/// segments that takes the least memory.
pub fn recomputing(request: PlanRequest, how: Recompute) -> PlanRequest {
    if how == Recompute::None {
        return request;
    }
    let cut = |segments: usize| {
        let mut request = request.clone();
        request.graph.recompute(&mut request.gradients, how, segments);
        request
    };
    let plan = |segments: usize| {
        let allocations = LiveRanges::new(&cut(segments)).allocations;
        (peak(&allocations), segments, allocations)
    };
    let mut plans: Vec<_> = request.graph.segmentations().into_iter().map(plan).collect();
    plans.sort_by_key(|&(peak, segments, _)| (peak, segments));
    let mut lightest = (u64::MAX, 1);
    for (peak, segments, allocations) in plans {
        // No layout takes less than the peak, and the remaining plans have
        // higher ones.
        if peak >= lightest.0 {
            break;
        }
        lightest = lightest.min((MemoryLayout::plan(&allocations).bytes(), segments));
    }
    cut(lightest.1)
}
