//! In how many segments does recomputation take the least memory?
//!
//! Many segments keep much at their ends, few make much again at once; where
//! the balance lies depends on the blocks. So plans are compared (as Chen et
//! al. 2016 do, arXiv:1604.06174).

use super::live_ranges::LiveRanges;
use super::memory::{MemoryLayout, peak};
use super::request::PlanRequest;
use crate::graph::Recompute;

/// `request` as it is where training makes again what `how` says, in the
/// segments that take the least memory.
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
        let pieces = LiveRanges::new(&cut(segments)).pieces;
        (peak(&pieces), segments, pieces)
    };
    let mut plans: Vec<_> = request.graph.segmentations().into_iter().map(plan).collect();
    plans.sort_by_key(|&(peak, segments, _)| (peak, segments));
    let mut lightest = (u64::MAX, 1);
    for (peak, segments, pieces) in plans {
        // No layout takes less than the peak, and those to come have higher ones.
        if peak >= lightest.0 {
            break;
        }
        lightest = lightest.min((MemoryLayout::plan(&pieces).bytes(), segments));
    }
    cut(lightest.1)
}
