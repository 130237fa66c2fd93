//! In which number format are a network's values stored?

use serde::{Deserialize, Serialize};

use super::{Graph, NodeId, Op};

/// The number format in device memory. Arithmetic is always in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats (IEEE 754 binary16) for activations and their gradients: 11
    /// significant bits, magnitudes up to 65504. Parameters stay in 32 bits
    /// (Micikevicius et al. 2018).
    F16,
}

impl Precision {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        })
    }
}

impl Graph {
    /// The format of activations and their gradients.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Stores activations in `precision`, and also the gradients that
    /// [`Graph::differentiate`] appends later. Parameters, their gradients, batch
    /// norm's statistics, the loss and the logits of a linear layer stay in 32
    /// bits: the softmax subtracts logits from each other, and there are few.
    pub fn store_in(&mut self, precision: Precision) {
        self.precision = precision;
        let logits = self.logits();
        for id in self.ids() {
            let op = self.node(id).op;
            let exact = matches!(op, Op::Labels | Op::CrossEntropy | Op::SoftCrossEntropy { .. })
                || (op == Op::Linear && Some(id) == logits);
            let shape = &mut self.nodes[id.0].shape;
            if shape.batched && !exact {
                shape.precision = precision;
            }
        }
    }

    /// The first value with a single 16-bit number per image. Such a value is not
    /// supported: bindings are multiples of four bytes, two numbers, so a shader
    /// could not tell the number of images from the size of the binding.
    pub fn scalar_f16(&self) -> Option<NodeId> {
        self.ids().find(|&id| {
            let shape = self.shape(id);
            shape.precision == Precision::F16 && shape.per_image() == 1
        })
    }
}
