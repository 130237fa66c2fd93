//! How much device memory does a session take, before it takes any?

use super::memory::fit;
use super::memory_plan::MemoryPlan;
use super::weights::Weights;
use crate::graph::Graph;

/// Bytes of device memory that a session takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Activations, their gradients and scratch memory: what steps of all
    /// kinds take turns to use.
    pub activations: u64,
    /// Parameters, their gradients and momenta, running states.
    pub weights: u64,
    /// Images and labels of the data.
    pub images: u64,
}

impl Footprint {
    /// The footprint of a session for the network `graph` that makes `plans`
    /// one after the other, and trains or not. Arenas are aligned to
    /// `alignment` bytes.
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

    /// All together.
    pub fn total(&self) -> u64 {
        self.activations + self.weights + self.images
    }
}
