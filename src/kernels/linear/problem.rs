//! What does a linear layer compute, apart from the algorithm?

use crate::graph::Shape;

/// A linear layer or one of its gradients, with the shapes of its inputs and
/// output.
pub enum LinearLayer<'a> {
    /// Inputs x, weight and, where there is one, bias.
    Forward {
        /// Whether there is a bias.
        bias: bool,
        /// N, inputs.
        x: &'a Shape,
        /// N, outputs.
        y: &'a Shape,
    },
    /// Inputs dy and weight.
    InputGradient {
        /// N, outputs.
        dy: &'a Shape,
        /// N, inputs.
        dx: &'a Shape,
    },
    /// Inputs x and dy.
    WeightGradient {
        /// N, inputs.
        x: &'a Shape,
        /// N, outputs.
        dy: &'a Shape,
        /// Outputs, inputs.
        dw: &'a Shape,
    },
}
