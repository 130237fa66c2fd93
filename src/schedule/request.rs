//! What must a plan compute, for which batch size, and what stays readable
//! afterwards?

use super::fuse::{Action, Task, tasks};
use super::kernel_choices::KernelChoices;
use super::quarantine::Quarantine;
use crate::graph::{Gradients, Graph, NodeId, Shape};
use crate::kernels::Work;

/// What a plan is made for.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The network, differentiated where gradients are needed.
    pub graph: Graph,
    /// The nodes of its gradients.
    pub gradients: Gradients,
    /// Values that stay readable after a run.
    pub keep: Vec<NodeId>,
    /// Images in a batch.
    pub batch: usize,
    /// Whether routes may have backward gains other than 0 and 1.
    pub scaled: bool,
    /// Tuned kernels; other work takes its default algorithm.
    pub choices: KernelChoices,
    /// Kernels that must not run.
    pub quarantine: Quarantine,
}

impl PlanRequest {
    /// All work of the request, with the shapes of its inputs and its output.
    pub fn works(&self) -> Vec<(Work, Vec<&Shape>, &Shape)> {
        let shapes = |task: Task| match task.action {
            Action::Work(work) => {
                let inputs = task.inputs.iter().map(|&input| self.graph.shape(input));
                Some((work.first(), inputs.collect(), self.graph.shape(task.output)))
            }
            _ => None,
        };
        let tasks = tasks(&self.graph, &self.keep, self.scaled);
        tasks.into_iter().filter_map(shapes).collect()
    }
}
