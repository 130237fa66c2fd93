//! How much memory does a plan need, and where does each value lie, before any
//! buffer exists?

use std::collections::HashMap;

use super::fuse::{Action, Task};
use super::live_ranges::LiveRanges;
use super::memory::{Allocation, MemoryLayout};
use super::request::PlanRequest;
use crate::graph::NodeId;
use crate::kernels::{Call, Lowered, Pointwise, Target, Work};

/// The kernels of a request, and the memory of its values.
#[derive(Debug, Clone)]
pub struct MemoryPlan {
    pub(super) tasks: Vec<Task>,
    pub(super) lowered: Vec<Option<Lowered>>,
    /// The allocation of each value that needs one.
    pub(super) allocation_of: HashMap<NodeId, usize>,
    /// The first allocation of each task's scratch memory.
    pub(super) scratch_of: Vec<usize>,
    pub(super) layout: MemoryLayout,
    /// Which tasks write to the memory of an input.
    pub(super) in_place: Vec<bool>,
    /// A kernel that must not run and that no other one can replace.
    pub(super) refused: Option<String>,
}

impl MemoryPlan {
    /// Plans the memory of `request` on `target`.
    pub fn new(request: &PlanRequest, target: &Target) -> Self {
        let LiveRanges {
            tasks,
            in_place,
            mut allocations,
            allocation_of,
        } = LiveRanges::new(request);
        let lowered = tasks.iter().zip(&in_place);
        let lowered: Vec<Option<Lowered>> = lowered
            .map(|(task, &in_place)| lower(request, task, in_place, target))
            .collect();
        let mut scratch_of = Vec::with_capacity(tasks.len());
        for (position, lowered) in lowered.iter().enumerate() {
            scratch_of.push(allocations.len());
            allocations.extend(
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
        let layout = MemoryLayout::plan(&allocations);
        MemoryPlan {
            refused: tasks.iter().find_map(|task| refusal(request, task, target)),
            tasks,
            lowered,
            allocation_of,
            scratch_of,
            layout,
            in_place,
        }
    }

    /// Bytes of activations, their gradients and scratch memory at the peak.
    pub fn bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// The dispatches that every route selects from, without those of sums of
    /// two values, which depend on the route.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.lowered.iter().flatten().flat_map(|lowered| &lowered.calls)
    }

    /// Bytes of each buffer.
    pub fn sizes(&self) -> &[u64] {
        &self.layout.sizes
    }
}

/// The kernel of a task that must not run and that no other one can replace.
fn refusal(request: &PlanRequest, task: &Task, target: &Target) -> Option<String> {
    let graph = &request.graph;
    let output = graph.shape(task.output);
    let quarantine = &request.quarantine;
    match &task.action {
        Action::Alias => None,
        Action::Work(work) => {
            let inputs: Vec<_> = task.inputs.iter().map(|&input| graph.shape(input)).collect();
            quarantine.refusal(work, &inputs, output, target)
        }
        Action::Sum => [Pointwise::Add, Pointwise::Accumulate, Pointwise::Copy { input: 0 }]
            .into_iter()
            .find_map(|kernel| quarantine.refusal(&Work::Pointwise(kernel), &[], output, target)),
    }
}

/// The calls of a task's work, by the chosen algorithm if there is one that
/// fits, else by the default algorithm. `None` for a task without work.
fn lower(request: &PlanRequest, task: &Task, in_place: bool, target: &Target) -> Option<Lowered> {
    let Action::Work(work) = &task.action else { return None };
    let graph = &request.graph;
    let inputs: Vec<_> = task.inputs.iter().map(|&input| graph.shape(input)).collect();
    let output = graph.shape(task.output);
    let algorithm = if request.choices.is_empty() {
        None
    } else {
        request
            .choices
            .algorithm(&work.signature(&inputs, output), request.batch)
    };
    let quarantine = &request.quarantine;
    let chosen = algorithm
        .filter(|algorithm| !quarantine.holds(work, &inputs, output, Some(algorithm)))
        .and_then(|algorithm| work.lower_as(&algorithm, &inputs, output, request.batch, target));
    let lowered = chosen.unwrap_or_else(|| quarantine.lower(work, &inputs, output, request.batch, target));
    Some(if in_place { lowered.in_place() } else { lowered })
}
