//! How much device memory will a session take?

use super::memory::fit;
use super::memory_plan::MemoryPlan;
use super::weights::Weights;
use crate::graph::Graph;

/// Bytes of device memory that a session takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Activations, their gradients and scratch memory, shared by passes of
    /// all kinds.
    pub activations: u64,
    /// Parameters, their gradients and momenta, running statistics.
    pub weights: u64,
    /// Images and labels of the data.
    pub images: u64,
}

impl Footprint {
    /// The footprint of a session for the network `graph` that makes `plans`
    /// one after the other. Tensors of parameters are aligned to `alignment`
    /// bytes.
    pub(super) fn new(plans: &[MemoryPlan], graph: &Graph, training: bool, alignment: u64) -> Self {
        let mut held = Vec::new();
        for plan in plans {
            let taken = fit(&held, plan.sizes());
            let new = taken.iter().zip(plan.sizes()).filter(|(buffer, _)| buffer.is_none());
            held.extend(new.map(|(_, &size)| size));
        }
        Footprint {
            activations: held.iter().sum(),
            weights: Weights::footprint(graph, training, alignment),
            images: 0,
        }
    }

    /// The sum.
    pub fn total(&self) -> u64 {
        self.activations + self.weights + self.images
    }
}
