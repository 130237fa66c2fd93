//! What does every family of built-in networks say about one of its networks?

use super::design::Design;
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

    /// Its stem, stages and head, for images whose shorter side has `side`
    /// pixels. `None` for a family whose layers are not residual units in a row:
    /// it adds them in [`Self::forward`].
    fn design(&self, _side: usize) -> Option<Design> {
        None
    }

    /// Adds the layers: `N×C×H×W` images to `N×classes` logits.
    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let (height, width) = g.shape(images).plane();
        match self.design(height.min(width)) {
            Some(design) => design.forward(g, images, classes),
            None => unreachable!("a family without a design adds its layers itself"),
        }
    }
}
