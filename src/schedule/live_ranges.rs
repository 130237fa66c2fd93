//! Which values share memory, and how long does each piece of it live?
//!
//! An alias has the memory of its input. An elementwise task, or a sum, is
//! made in the memory of an input that nobody reads any more. A piece lives
//! from the task that first writes it to the last that reads it under the
//! route that runs everything: a route that runs less reads no later.

use std::collections::HashMap;

use super::fuse::{Action, Task, tasks};
use super::memory::Allocation;
use super::request::PlanRequest;
use crate::graph::{NodeId, Op};

/// The tasks of a request and the memory that their values take.
#[derive(Debug, Clone)]
pub struct LiveRanges {
    /// In the order in which they run.
    pub tasks: Vec<Task>,
    /// Which of them are made in the memory of an input, see [`overwrites`].
    pub in_place: Vec<bool>,
    /// Memory of all values but those in arenas.
    pub pieces: Vec<Allocation>,
    /// The piece of each value that has one.
    pub piece_of: HashMap<NodeId, usize>,
}

impl LiveRanges {
    /// The tasks, pieces and lives of `request`.
    pub fn new(request: &PlanRequest) -> Self {
        let PlanRequest { graph, keep, batch, .. } = request;
        let tasks = tasks(graph, keep, request.scaled);
        let mut lives = LiveRanges {
            in_place: vec![false; tasks.len()],
            pieces: Vec::new(),
            piece_of: HashMap::new(),
            tasks: Vec::new(),
        };
        let mut in_arena: Vec<bool> = graph.ids().map(|id| graph.param_of(id).is_some()).collect();
        for &(_, gradient) in &request.gradients.params {
            in_arena[gradient.0] = true;
        }
        let last_read = last_read(&tasks, keep, graph.nodes.len());
        for id in graph.ids() {
            if matches!(graph.node(id).op, Op::Images | Op::Labels) {
                lives.place(id, graph.shape(id).bytes(*batch), 0, last_read[id.0]);
            }
        }
        for (position, task) in tasks.iter().enumerate() {
            if let Some(second) = task.second {
                let last = last_read[second.0].max(position);
                lives.place(second, graph.shape(second).bytes(*batch), position, last);
            }
            if in_arena[task.output.0] {
                continue;
            }
            let last = last_read[task.output.0].max(position);
            let piece = |index: usize| lives.piece_of.get(&task.inputs[index]).copied();
            let shared = match task.action {
                Action::Alias => piece(0),
                _ => overwrites(&task.action).and_then(piece).filter(|&piece| {
                    let readers = task
                        .inputs
                        .iter()
                        .filter(|input| lives.piece_of.get(input) == Some(&piece));
                    lives.pieces[piece].last == position && readers.count() == 1
                }),
            };
            match shared {
                Some(piece) => {
                    lives.in_place[position] = task.action != Action::Alias;
                    lives.piece_of.insert(task.output, piece);
                    lives.pieces[piece].last = lives.pieces[piece].last.max(last);
                }
                None => lives.place(task.output, graph.shape(task.output).bytes(*batch), position, last),
            }
        }
        lives.tasks = tasks;
        lives
    }

    fn place(&mut self, id: NodeId, bytes: u64, first: usize, last: usize) {
        self.piece_of.insert(id, self.pieces.len());
        self.pieces.push(Allocation { bytes, first, last });
    }
}

/// The last task that reads each value; for values in `keep`, a position
/// behind all tasks.
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

/// The input whose memory the output may take, if nobody else reads it: of
/// the same shape, and read at an element before that element is written.
fn overwrites(action: &Action) -> Option<usize> {
    match action {
        Action::Work(work) => work.overwrites(),
        Action::Sum => Some(0),
        Action::Alias => None,
    }
}
