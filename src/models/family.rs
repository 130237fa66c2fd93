//! What does every family of built-in networks say about one of its networks?

use super::request::{Choice, ModelRequest};
use super::{InputShape, ModelError, ModelSpec};
use crate::graph::{Graph, GraphError, NodeId};

/// Reads a request; `None` if its name is not of the family.
pub(super) type Reader = fn(&mut ModelRequest) -> Option<Result<ModelSpec, ModelError>>;

/// A network of a family. What most networks have in common is the default.
pub(super) trait Family {
    /// The name without options: `wrn-28-10`.
    fn base(&self) -> String;

    /// The value of every option, in the order in which they are written.
    fn choices(&self) -> Vec<Choice> {
        Vec::new()
    }

    /// The models with the same tensors that compute something else.
    fn look_alikes(&self) -> Vec<ModelSpec> {
        Vec::new()
    }

    /// The images that the network is made for.
    fn usual_input(&self) -> InputShape {
        InputShape::default()
    }

    /// What the name leaves open and images of shape `input` decide, in a line.
    fn note(&self, _input: &InputShape) -> Option<String> {
        None
    }

    /// Adds the layers: `N×C×H×W` images to `N×classes` logits.
    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError>;
}
