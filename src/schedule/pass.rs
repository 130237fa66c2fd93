//! What does a pass (a training step, an evaluation, …) ask of a plan?
//!
//! Nothing here needs a device: memory can be planned and work listed without
//! one.

use super::error::SessionError;
use super::footprint::Footprint;
use super::kernel_choices::KernelChoices;
use super::memory_plan::MemoryPlan;
use super::quarantine::Quarantine;
use super::request::PlanRequest;
use super::segments::recomputing;
use crate::gpu::Gpu;
use crate::graph::{Gradients, Graph, Mode, NodeId, ParamKind, Precision, Recompute};
use crate::kernels::Target;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Pass {
    /// A training step.
    Train,
    /// The loss, with the running statistics.
    Evaluate,
    /// The loss, with the batch's statistics; the running statistics advance.
    Statistics,
    /// The gradient with respect to the images; the mode says which
    /// statistics batch norm uses.
    InputGradient(Mode),
    /// The gradient with respect to a value of the forward pass, with the running
    /// statistics.
    ValueGradient(NodeId),
    /// The values of one of the session's lists of nodes, given by its
    /// position, with the running statistics.
    Values(usize),
}

impl Pass {
    /// A training step, or else an evaluation.
    pub(super) fn step(training: bool) -> Self {
        if training { Pass::Train } else { Pass::Evaluate }
    }

    /// Whether the pass goes through the training graph.
    pub(super) fn uses_training_graph(self) -> bool {
        matches!(self, Pass::Train | Pass::Statistics | Pass::InputGradient(Mode::Train))
    }
}

/// What one plan of a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Purpose {
    pub(super) pass: Pass,
    /// Images in a batch.
    pub(super) size: usize,
    /// Whether gradients are multiplied by backward gains other than 0 and 1.
    pub(super) scaled: bool,
    /// Whether the output of every block stays readable, so that another
    /// route can continue from it.
    pub(super) resumable: bool,
}

impl Purpose {
    /// `pass` for `size` images, with backward gains of 0 and 1 and without
    /// resuming.
    pub(super) fn of(pass: Pass, size: usize) -> Self {
        Purpose {
            pass,
            size,
            scaled: false,
            resumable: false,
        }
    }
}

/// Whether routes of `graph` usually have backward gains other than 0 and 1.
pub(super) fn has_fractions(graph: &Graph) -> bool {
    !graph.means.is_empty()
}

/// The loss node of a graph that a model built.
pub(super) fn loss_of(graph: &Graph) -> NodeId {
    graph.loss().expect("a model's graph ends with its loss")
}

/// Checks that `gpu` can store the values of `graph` in its precision, and bind
/// its parameters.
///
/// # Errors
/// [`SessionError::NoF16`], [`SessionError::ScalarF16`] and
/// [`SessionError::WeightTooLarge`].
pub(super) fn check_storage(gpu: &Gpu, graph: &Graph) -> Result<(), SessionError> {
    if graph.precision() == Precision::F16 && !gpu.info().f16 {
        let adapter = gpu.info().name.clone();
        return Err(SessionError::NoF16 { adapter });
    }
    let limit = gpu.limits().binding;
    for param in &graph.params {
        // Work with weights is split over output channels.
        let parts = match param.kind {
            ParamKind::ConvWeight | ParamKind::LinearWeight => param.dims[0],
            ParamKind::Bias | ParamKind::BatchNorm => 1,
        };
        let bytes = 4 * (param.len() / parts) as u64;
        if bytes > limit {
            let name = param.name.clone();
            return Err(SessionError::WeightTooLarge { name, bytes, limit });
        }
    }
    match graph.scalar_f16() {
        Some(scalar) => Err(SessionError::ScalarF16 {
            op: graph.node(scalar).op.name(),
        }),
        None => Ok(()),
    }
}

/// What `pass` through the graph `forward` asks of a plan. Training steps
/// recompute the values that `recompute` names.
pub(super) fn request(forward: &Graph, pass: Pass, batch: usize, recompute: Recompute) -> PlanRequest {
    let mut graph = forward.clone();
    let loss = loss_of(&graph);
    let gradients = match pass {
        Pass::Train => graph.differentiate(loss, true, false),
        Pass::InputGradient(_) => graph.differentiate(loss, false, true),
        Pass::ValueGradient(at) => graph.differentiate_at(loss, at),
        Pass::Evaluate | Pass::Statistics | Pass::Values(_) => Gradients::default(),
    };
    let keep = match pass {
        Pass::Train | Pass::Evaluate | Pass::Statistics => vec![loss],
        // The session adds its list of nodes.
        Pass::Values(_) => Vec::new(),
        Pass::ValueGradient(_) => gradients.images.into_iter().collect(),
        // Keep the values that the backward pass reads, so that it can run
        // again for the next route.
        Pass::InputGradient(_) => {
            let forward = forward.nodes.len();
            let backward = graph.nodes[forward..].iter();
            let mut read: Vec<NodeId> = backward.flat_map(|node| node.inputs.iter().copied()).collect();
            read.retain(|&id| id.0 < forward && graph.param_of(id).is_none());
            read.sort_unstable();
            read.dedup();
            read.extend(gradients.images);
            read
        }
    };
    let request = PlanRequest {
        scaled: has_fractions(&graph),
        graph,
        gradients,
        keep,
        batch,
        choices: KernelChoices::default(),
        quarantine: Quarantine::default(),
    };
    match pass {
        Pass::Train => recomputing(request, recompute),
        _ => request,
    }
}

/// What a training step, or else an evaluation, with batches of `batch` images
/// asks of a plan, without a device. `forward` is the training graph or the
/// evaluation graph.
pub fn step_request(forward: &Graph, training: bool, batch: usize, recompute: Recompute) -> PlanRequest {
    request(forward, Pass::step(training), batch, recompute)
}

/// The memory that a training step, or else an evaluation, with batches of
/// `batch` images takes, without a device: activations, their gradients and
/// scratch memory.
pub fn memory(forward: &Graph, training: bool, batch: usize, recompute: Recompute, target: &Target) -> MemoryPlan {
    MemoryPlan::new(&step_request(forward, training, batch, recompute), target)
}

/// The device memory of a session for the network `graph` that makes the plan
/// `training`, then the plan `evaluation`; without images.
pub fn footprint(graph: &Graph, training: MemoryPlan, evaluation: MemoryPlan, target: &Target) -> Footprint {
    Footprint::new(&[training, evaluation], graph, true, target.alignment)
}
