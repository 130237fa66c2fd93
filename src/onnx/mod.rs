//! How is a trained network written for other programs that only evaluate it?
//!
//! [`export`] writes the evaluation graph as an ONNX model (operator set 17): images
//! N × C × H × W in, logits N × classes out. Parameters and statistics are in the
//! file. The gains of the route (survival probabilities, deleted blocks) become
//! constants of the graph; what does not run is left out.

mod lower;
mod proto;

use std::collections::BTreeMap;

use lower::Lowering;

use crate::formats::protobuf::Message;
use crate::graph::{Active, Graph, Op, Route};
use crate::weights::TensorMap;

/// The largest message of Protocol Buffers, in bytes.
const LARGEST: usize = (1 << 31) - 1;
/// The set of operators that the model uses, and the version of the file format.
const OPERATORS: i64 = 17;
const FORMAT: i64 = 8;

/// Why a network cannot be written as an ONNX model.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OnnxError {
    /// A tensor is missing.
    #[error("there is no tensor {name} among the weights")]
    NoTensor {
        /// Its canonical name.
        name: String,
    },
    /// The graph has no logits.
    #[error("the network has no loss, and so no logits to compute")]
    NoLogits,
    /// An operation that evaluation does not have.
    #[error("the operation {operation} is not one of evaluation")]
    Operation {
        /// The operation.
        operation: &'static str,
    },
    /// Nothing is left of the network under the route.
    #[error("a {operation} of the network reads a value that is zero under the route")]
    Zero {
        /// The operation.
        operation: &'static str,
    },
    /// The model is larger than the format allows.
    #[error("the model has {bytes} bytes, and the format allows 2 GiB")]
    Large {
        /// Its size.
        bytes: usize,
    },
}

/// How a model is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OnnxOptions {
    /// Whether a batch norm becomes part of the convolution before it, where no
    /// other operation reads that convolution.
    pub fold_batch_norm: bool,
    /// Mean and standard deviation of each channel, by which the model normalises
    /// its input: pixels from 0 to 1. Without them the input is normalised.
    pub normalization: Option<[Vec<f32>; 2]>,
    /// Facts that the file says about the network.
    pub facts: BTreeMap<String, String>,
}

/// The ONNX model of the evaluation graph `graph` under `route`, with the weights
/// `tensors` (canonical names).
///
/// # Errors
/// Where a tensor is missing, or the graph is not one of evaluation.
pub fn export(graph: &Graph, route: &Route, tensors: &TensorMap, options: &OnnxOptions) -> Result<Vec<u8>, OnnxError> {
    let logits = graph.logits().ok_or(OnnxError::NoLogits)?;
    let active = Active::new(graph, route, &[logits], &[]);
    let images = graph.find(|op| *op == Op::Images).ok_or(OnnxError::NoLogits)?;
    let mut lowering = Lowering::new(graph, route, tensors, &active, options);
    for id in graph.ids().filter(|&id| active.runs(id)) {
        lowering.add(id)?;
    }
    let network = lowering.finish(logits)?;
    let network = network
        .text(2, "network")
        .message(11, &proto::value("images", &graph.shape(images).dims))
        .message(12, &proto::value("logits", &graph.shape(logits).dims));
    let model = Message::default()
        .integer(1, FORMAT)
        .text(2, env!("CARGO_PKG_NAME"))
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(7, &network)
        .message(8, &Message::default().text(1, "").integer(2, OPERATORS));
    let model = options.facts.iter().fold(model, |model, (key, value)| {
        model.message(14, &Message::default().text(1, key).text(2, value))
    });
    let bytes = model.finish();
    match bytes.len() {
        size if size > LARGEST => Err(OnnxError::Large { bytes: size }),
        _ => Ok(bytes),
    }
}
