//! How are channels weighted by the image? Hu et al. 2018,
//! "Squeeze-and-Excitation Networks", arXiv:1709.01507.

use super::ModelError;
use super::layers::linear;
use super::request::{Choice, ModelRequest};
use crate::graph::{Graph, GraphError, NodeId};

/// The channels of the bottleneck are the branch's, divided by this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SqueezeExcite {
    reduction: usize,
}

impl SqueezeExcite {
    /// The paper's reduction.
    pub const USUAL: SqueezeExcite = SqueezeExcite { reduction: 16 };

    /// Reads the option `se`, the reduction; `usual` where it is not given.
    pub fn read(request: &mut ModelRequest, usual: Option<Self>) -> Result<Option<Self>, ModelError> {
        let reduction = request.take("se", "0 for none, or a reduction from 1 to 1024", |value| {
            value.parse().ok().filter(|reduction| *reduction <= 1024)
        })?;
        Ok(match reduction {
            None => usual,
            Some(0) => None,
            Some(reduction) => Some(SqueezeExcite { reduction }),
        })
    }

    /// The option's value; 0 for none.
    pub fn choice(this: Option<Self>) -> Choice {
        let reduction = this.map_or(0, |this| this.reduction);
        Choice::new("se", reduction.to_string(), "0")
    }

    /// `x` (N×C×H×W) times a gate for each image and channel: the mean of the
    /// plane, a linear layer `se.fc1` with ReLU, `se.fc2` with sigmoid.
    pub fn apply(self, g: &mut Graph, x: NodeId) -> Result<NodeId, GraphError> {
        let channels = g.shape(x).channels();
        let pooled = g.global_avg_pool(x);
        let squeezed = linear(g, "se.fc1", pooled, (channels / self.reduction).max(1));
        let squeezed = g.relu(squeezed);
        let gate = linear(g, "se.fc2", squeezed, channels);
        let gate = g.sigmoid(gate);
        g.multiply(x, gate)
    }
}
