//! Which values share memory, and from which task to which is each allocation
//! in use?
//!
//! An alias has the memory of its input. An elementwise task, or a sum, writes
//! to the memory of an input that no later task reads. An allocation is in use
//! from the task that first writes it to the last task that reads it, under
//! the route that runs everything: a route that runs less reads no later.

use std::collections::HashMap;

use super::fuse::{Action, Task, tasks};
use super::memory::Allocation;
use super::request::PlanRequest;
use crate::graph::{NodeId, Op};

/// The tasks of a request, and the allocations of their values.
#[derive(Debug, Clone)]
pub struct LiveRanges {
    /// In the order in which they run.
    pub tasks: Vec<Task>,
    /// Which of them write to the memory of an input, see [`overwrites`].
    pub in_place: Vec<bool>,
    /// The allocations of all values except parameters and their gradients.
    pub allocations: Vec<Allocation>,
    /// The allocation of each value that has one.
    pub allocation_of: HashMap<NodeId, usize>,
}

impl LiveRanges {
    /// The tasks and allocations of `request`.
    pub fn new(request: &PlanRequest) -> Self {
        let PlanRequest { graph, keep, batch, .. } = request;
        let tasks = tasks(graph, keep, request.scaled);
        let mut ranges = LiveRanges {
            in_place: vec![false; tasks.len()],
            allocations: Vec::new(),
            allocation_of: HashMap::new(),
            tasks: Vec::new(),
        };
        let mut in_arena: Vec<bool> = graph.ids().map(|id| graph.param_of(id).is_some()).collect();
        for &(_, gradient) in &request.gradients.params {
            in_arena[gradient.0] = true;
        }
        let last_read = last_read(&tasks, keep, graph.nodes.len());
        for id in graph.ids() {
            if matches!(graph.node(id).op, Op::Images | Op::Labels) {
                ranges.place(id, graph.shape(id).bytes(*batch), 0, last_read[id.0]);
            }
        }
        for (position, task) in tasks.iter().enumerate() {
            if let Some(second) = task.second {
                let last = last_read[second.0].max(position);
                ranges.place(second, graph.shape(second).bytes(*batch), position, last);
            }
            if in_arena[task.output.0] {
                continue;
            }
            let last = last_read[task.output.0].max(position);
            let allocation = |index: usize| ranges.allocation_of.get(&task.inputs[index]).copied();
            let shared = match task.action {
                Action::Alias => allocation(0),
                _ => overwrites(&task.action).and_then(allocation).filter(|&allocation| {
                    let readers = task
                        .inputs
                        .iter()
                        .filter(|input| ranges.allocation_of.get(input) == Some(&allocation));
                    ranges.allocations[allocation].last == position && readers.count() == 1
                }),
            };
            match shared {
                Some(allocation) => {
                    ranges.in_place[position] = task.action != Action::Alias;
                    ranges.allocation_of.insert(task.output, allocation);
                    ranges.allocations[allocation].last = ranges.allocations[allocation].last.max(last);
                }
                None => ranges.place(task.output, graph.shape(task.output).bytes(*batch), position, last),
            }
        }
        ranges.tasks = tasks;
        ranges
    }

    fn place(&mut self, id: NodeId, bytes: u64, first: usize, last: usize) {
        self.allocation_of.insert(id, self.allocations.len());
        self.allocations.push(Allocation { bytes, first, last });
    }
}

/// The last task that reads each value; for values in `keep`, a position after
/// all tasks.
fn last_read(tasks: &[Task], keep: &[NodeId], values: usize) -> Vec<usize> {
    let mut last = vec![0; values];
    for (position, task) in tasks.iter().enumerate() {
        for input in &task.inputs {
            last[input.0] = position;
        }
    }
    for id in keep {
        last[id.0] = tasks.len();
    }
    last
}

/// The input whose memory the output may take, if no other task reads it. Both
/// have the same shape, and each element is read before it is written.
fn overwrites(action: &Action) -> Option<usize> {
    match action {
        Action::Work(work) => work.overwrites(),
        Action::Sum => Some(0),
        Action::Alias => None,
    }
}
