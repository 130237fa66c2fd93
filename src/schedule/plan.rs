//! How does a graph become dispatches, and which of them run under a route?
//!
//! All dispatches are prepared once. A route selects from them, so that another
//! route compiles and binds nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::bind::{dispatch, target};
use super::compile::compile_all;
use super::fuse::{Action, Task};
use super::memory::BufferPool;
use super::memory_plan::MemoryPlan;
use super::request::PlanRequest;
use super::weights::Weights;
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, GpuError, Recorder};
use crate::graph::{Active, BlockId, Graph, NodeId, ParamId, Route};
use crate::kernels::{Call, Operand, Pointwise, Target, Work};

/// Bytes from one block's gains to the next: a multiple of every adapter's
/// alignment.
const GAINS_STRIDE: u64 = 256;

/// One dispatch of a plan, with the size of its work.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The dispatch.
    pub dispatch: Dispatch,
    /// The value that it computes, or a part of it.
    pub output: NodeId,
    /// Bytes read and written.
    pub bytes: u64,
    /// Multiply-adds of a convolution or linear layer.
    pub macs: u64,
}

/// The dispatches of one task. Which of them run depends on the inputs that
/// the route computes.
#[derive(Debug)]
enum Prepared {
    /// A piece of work: all of them, or none.
    Work(Vec<Kernel>),
    /// A sum of two values, or the copy of one where the other is absent. In
    /// place, the first one alone needs no dispatch.
    Sum {
        both: Vec<Kernel>,
        first: Vec<Kernel>,
        second: Vec<Kernel>,
    },
}

#[derive(Debug)]
struct Step {
    output: NodeId,
    inputs: Vec<NodeId>,
    prepared: Prepared,
}

/// The dispatches of a graph for one batch size.
#[derive(Debug)]
pub struct Plan {
    request: PlanRequest,
    steps: Vec<Step>,
    places: HashMap<NodeId, Binding>,
    gains: Arc<Buffer>,
    absent_gradients: HashMap<ParamId, Binding>,
}

/// The memory that a call's operands can refer to.
struct Operands<'a> {
    inputs: Vec<Option<Binding>>,
    output: Binding,
    second: Option<Binding>,
    scratch: Vec<Binding>,
    running: Option<Binding>,
    gains: Option<Binding>,
    step: &'a Binding,
    loss_scale: Option<Binding>,
}

impl Operands<'_> {
    fn get(&self, operand: Operand) -> Option<Binding> {
        match operand {
            Operand::Input(index) => self.inputs.get(index).cloned().flatten(),
            Operand::Output => Some(self.output.clone()),
            Operand::Second => self.second.clone(),
            Operand::Scratch(index) => self.scratch.get(index).cloned(),
            Operand::Running => self.running.clone(),
            Operand::Gains => self.gains.clone(),
            Operand::Step => Some(self.step.clone()),
            Operand::LossScale => self.loss_scale.clone(),
        }
    }
}

impl Plan {
    /// Prepares `request`: places values in buffers of `pool`, compiles
    /// kernels, binds everything. `step` is the memory of the step's record.
    ///
    /// # Errors
    /// Where the device has too little memory or cannot compile a kernel.
    pub fn new(
        gpu: &Gpu,
        request: PlanRequest,
        weights: &Weights,
        pool: &mut BufferPool,
        step: &Binding,
    ) -> Result<Self, GpuError> {
        let target = target(gpu);
        let memory = MemoryPlan::new(&request, &target);
        if let Some(kernel) = memory.refused.clone() {
            return Err(GpuError::Quarantined { kernel });
        }
        compile_all(gpu, memory.calls(), &target)?;
        let buffers = pool.take(gpu, &memory.layout.sizes)?;
        let gains = gpu.buffer("gains", GAINS_STRIDE * request.graph.blocks.len().max(1) as u64)?;
        let places = places(&request, &memory, &buffers, weights);
        let mut plan = Plan {
            steps: Vec::new(),
            absent_gradients: request
                .gradients
                .params
                .iter()
                .filter_map(|&(param, _)| Some((param, weights.gradient(param)?)))
                .collect(),
            places,
            gains,
            request,
        };
        for (position, task) in memory.tasks.iter().enumerate() {
            let scratch = memory.lowered[position]
                .iter()
                .flat_map(|lowered| &lowered.scratch)
                .enumerate();
            let scratch = scratch.map(|(index, &bytes)| {
                let slot = memory.layout.slot[memory.scratch_of[position] + index];
                Binding::new(&buffers[slot], 0, bytes)
            });
            let operands = Operands {
                inputs: task
                    .inputs
                    .iter()
                    .map(|input| plan.places.get(input).cloned())
                    .collect(),
                output: plan.places[&task.output].clone(),
                second: task.second.map(|second| plan.places[&second].clone()),
                scratch: scratch.collect(),
                running: task.state.map(|state| weights.state(state)),
                gains: task.block.map(|block| plan.gains_of(block)),
                step,
                loss_scale: weights.loss_scale(),
            };
            let prepared = match &task.action {
                Action::Alias => continue,
                Action::Work(_) => {
                    let lowered = memory.lowered[position].as_ref();
                    let calls = lowered.map(|lowered| &lowered.calls[..]).unwrap_or_default();
                    Prepared::Work(kernels(gpu, calls, task.output, &operands)?)
                }
                Action::Sum => plan.sum(gpu, task, memory.in_place[position], &operands, &target)?,
            };
            plan.steps.push(Step {
                output: task.output,
                inputs: task.inputs.clone(),
                prepared,
            });
        }
        Ok(plan)
    }

    fn gains_of(&self, block: BlockId) -> Binding {
        Binding::new(&self.gains, GAINS_STRIDE * block.0 as u64, 16)
    }

    fn sum(
        &self,
        gpu: &Gpu,
        task: &Task,
        in_place: bool,
        operands: &Operands,
        target: &Target,
    ) -> Result<Prepared, GpuError> {
        let shape = self.request.graph.shape(task.output);
        let make = |kernel: Pointwise| {
            let lowered = Work::Pointwise(kernel).lower(&[], shape, self.request.batch, target);
            kernels(gpu, &lowered.calls, task.output, operands)
        };
        Ok(Prepared::Sum {
            both: make(if in_place {
                Pointwise::Accumulate
            } else {
                Pointwise::Add
            })?,
            first: if in_place {
                Vec::new()
            } else {
                make(Pointwise::Copy { input: 0 })?
            },
            second: make(Pointwise::Copy { input: 1 })?,
        })
    }

    /// The memory of a kept value, the images or the labels.
    pub fn place(&self, id: NodeId) -> Option<&Binding> {
        self.places.get(&id)
    }

    /// The memory of the gradient with respect to the images, in a plan that
    /// computes it.
    pub fn images_gradient(&self) -> Option<&Binding> {
        self.place(self.request.gradients.images?)
    }

    /// The node of that gradient.
    pub fn gradient_of_images(&self) -> Option<NodeId> {
        self.request.gradients.images
    }

    /// The kept values of the forward pass, in a plan that computes the
    /// gradient with respect to the images.
    pub fn forward_kept(&self) -> &[NodeId] {
        let keep = &self.request.keep;
        &keep[..keep.len() - usize::from(self.request.gradients.images.is_some())]
    }

    /// The graph that the plan runs.
    pub fn graph(&self) -> &Graph {
        &self.request.graph
    }

    /// What must run to compute the kept values and the gradients, where the
    /// values `at_hand` are still in memory.
    fn active(&self, route: &Route, at_hand: &[NodeId]) -> Active {
        let mut wanted = self.request.keep.clone();
        wanted.extend(self.request.gradients.params.iter().map(|&(_, node)| node));
        wanted.extend(self.request.gradients.images);
        Active::new(&self.request.graph, route, &wanted, at_hand)
    }

    /// Writes the route's gains for the kernels, before the next submission.
    pub fn set_gains(&self, gpu: &Gpu, route: &Route) {
        for block in (0..route.len()).map(BlockId) {
            let gains = route.gains(block);
            let row = [gains.branch, gains.shortcut, gains.back_branch, gains.back_shortcut];
            gpu.write(&self.gains, GAINS_STRIDE * block.0 as u64, &row);
        }
    }

    /// The dispatches that run under `route`, in order.
    pub fn kernels(&self, route: &Route) -> Vec<&Kernel> {
        self.kernels_from(route, &[])
    }

    /// As [`Self::kernels`], where the kept values `at_hand` are still in
    /// memory. They come from a run under a route that agrees with `route` in
    /// all blocks that they depend on.
    pub fn kernels_from(&self, route: &Route, at_hand: &[NodeId]) -> Vec<&Kernel> {
        self.running(&self.active(route, at_hand))
    }

    fn running(&self, active: &Active) -> Vec<&Kernel> {
        let mut kernels = Vec::new();
        for step in self.steps.iter().filter(|step| active.runs(step.output)) {
            kernels.extend(match &step.prepared {
                Prepared::Work(kernels) => kernels,
                Prepared::Sum { both, first, second } => {
                    match (active.present(step.inputs[0]), active.present(step.inputs[1])) {
                        (true, true) => both,
                        (true, false) => first,
                        (false, _) => second,
                    }
                }
            });
        }
        kernels
    }

    /// Records everything that runs under `route`, after the dispatches
    /// `first`. Gradients of parameters that the route does not reach are
    /// cleared, before any dispatch of the submission.
    pub fn record(&self, route: &Route, first: &[Dispatch], recorder: &mut Recorder) {
        let active = self.active(route, &[]);
        for &(param, node) in &self.request.gradients.params {
            if let Some(gradient) = self.absent_gradients.get(&param).filter(|_| !active.present(node)) {
                recorder.clear(&gradient.buffer, gradient.offset..gradient.offset + gradient.size);
            }
        }
        for dispatch in first {
            recorder.dispatch(dispatch);
        }
        for kernel in self.running(&active) {
            recorder.dispatch(&kernel.dispatch);
        }
    }
}

fn places(
    request: &PlanRequest,
    memory: &MemoryPlan,
    buffers: &[Arc<Buffer>],
    weights: &Weights,
) -> HashMap<NodeId, Binding> {
    let graph = &request.graph;
    let mut places = HashMap::new();
    for (&id, &allocation) in &memory.allocation_of {
        let bytes = graph.shape(id).bytes(request.batch);
        places.insert(id, Binding::new(&buffers[memory.layout.slot[allocation]], 0, bytes));
    }
    for id in graph.ids() {
        if let Some(param) = graph.param_of(id) {
            places.insert(id, weights.param(param));
        }
    }
    for &(param, node) in &request.gradients.params {
        if let Some(gradient) = weights.gradient(param) {
            places.insert(node, gradient);
        }
    }
    places
}

fn kernels(gpu: &Gpu, calls: &[Call], output: NodeId, operands: &Operands) -> Result<Vec<Kernel>, GpuError> {
    let kernel = |call: &Call| {
        Ok(Kernel {
            dispatch: dispatch(gpu, call, |operand| operands.get(operand))?,
            output,
            bytes: call.bytes(),
            macs: call.macs,
        })
    };
    calls.iter().map(kernel).collect()
}
