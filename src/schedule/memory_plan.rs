//! Which memory does a plan take, before any buffer exists?

use std::collections::HashMap;

use super::fuse::{Action, Task};
use super::live_ranges::LiveRanges;
use super::memory::{Allocation, MemoryLayout};
use super::request::PlanRequest;
use crate::graph::NodeId;
use crate::kernels::{Call, Lowered, Target};

/// Memory that values take, before any buffer exists.
#[derive(Debug, Clone)]
pub struct MemoryPlan {
    pub(super) tasks: Vec<Task>,
    pub(super) lowered: Vec<Option<Lowered>>,
    /// The piece of each value that needs one.
    pub(super) piece_of: HashMap<NodeId, usize>,
    /// First piece of each task's scratch memory.
    pub(super) scratch_of: Vec<usize>,
    pub(super) layout: MemoryLayout,
    /// Tasks that are made in the memory of an input.
    pub(super) in_place: Vec<bool>,
}

impl MemoryPlan {
    /// Plans the memory of `request` on `target`.
    pub fn new(request: &PlanRequest, target: &Target) -> Self {
        let LiveRanges {
            tasks,
            in_place,
            mut pieces,
            piece_of,
        } = LiveRanges::new(request);
        let lowered = tasks.iter().zip(&in_place);
        let lowered: Vec<Option<Lowered>> = lowered
            .map(|(task, &in_place)| lower(request, task, in_place, target))
            .collect();
        let mut scratch_of = Vec::with_capacity(tasks.len());
        for (position, lowered) in lowered.iter().enumerate() {
            scratch_of.push(pieces.len());
            pieces.extend(
                lowered
                    .iter()
                    .flat_map(|lowered| &lowered.scratch)
                    .map(|&bytes| Allocation {
                        bytes,
                        first: position,
                        last: position,
                    }),
            );
        }
        let layout = MemoryLayout::plan(&pieces);
        MemoryPlan {
            tasks,
            lowered,
            piece_of,
            scratch_of,
            layout,
            in_place,
        }
    }

    /// Bytes of activations, their gradients and scratch memory at the peak.
    pub fn bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// The dispatches that every route chooses from, but for sums of two
    /// values, which are made in place or apart as the route says.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.lowered.iter().flatten().flat_map(|lowered| &lowered.calls)
    }

    /// Bytes of each buffer that holds them.
    pub fn sizes(&self) -> &[u64] {
        &self.layout.sizes
    }
}

fn lower(request: &PlanRequest, task: &Task, in_place: bool, target: &Target) -> Option<Lowered> {
    let Action::Work(work) = &task.action else { return None };
    let graph = &request.graph;
    let inputs: Vec<_> = task.inputs.iter().map(|&input| graph.shape(input)).collect();
    let output = graph.shape(task.output);
    let chosen = if request.choices.is_empty() {
        None
    } else {
        request
            .choices
            .algorithm(&work.signature(&inputs, output), request.batch)
    };
    let chosen = chosen.and_then(|kernel| work.lower_as(&kernel, &inputs, output, request.batch, target));
    let lowered = chosen.unwrap_or_else(|| work.lower(&inputs, output, request.batch, target));
    Some(if in_place { lowered.in_place() } else { lowered })
}
