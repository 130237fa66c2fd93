//! How is an ONNX model written as bytes? The messages of onnx.proto that a network
//! needs.

use crate::formats::protobuf::Message;

/// `AttributeProto`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute {
    Float(f32),
    Integer(i64),
    Integers(Vec<i64>),
}

impl Attribute {
    fn message(&self, name: &str) -> Message {
        let message = Message::default().text(1, name);
        match self {
            Attribute::Float(value) => message.float(2, *value).integer(20, 1),
            Attribute::Integer(value) => message.integer(3, *value).integer(20, 2),
            Attribute::Integers(values) => {
                let message = values.iter().fold(message, |message, &value| message.integer(8, value));
                message.integer(20, 7)
            }
        }
    }
}

/// `NodeProto`: an operation.
pub(super) fn node(operation: &str, inputs: &[String], output: &str, attributes: &[(&str, Attribute)]) -> Message {
    let message = inputs
        .iter()
        .fold(Message::default(), |message, input| message.text(1, input));
    let message = message.text(2, output).text(3, output).text(4, operation);
    attributes.iter().fold(message, |message, (name, value)| {
        message.message(5, &value.message(name))
    })
}

/// `TensorProto` of 32-bit floats.
pub(super) fn floats(name: &str, dims: &[usize], values: &[f32]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, dims, 1, &bytes)
}

/// `TensorProto` of 64-bit integers.
pub(super) fn integers(name: &str, values: &[i64]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, &[values.len()], 7, &bytes)
}

fn tensor(name: &str, dims: &[usize], element: i64, bytes: &[u8]) -> Message {
    let message = dims
        .iter()
        .fold(Message::default(), |message, &size| message.integer(1, size as i64));
    message.integer(2, element).text(8, name).bytes(9, bytes)
}

/// `ValueInfoProto` of 32-bit floats N × `dims`: an input or an output.
pub(super) fn value(name: &str, dims: &[usize]) -> Message {
    let batch = Message::default().text(2, "N");
    let shape = dims.iter().fold(Message::default().message(1, &batch), |shape, &size| {
        shape.message(1, &Message::default().integer(1, size as i64))
    });
    let tensor = Message::default().integer(1, 1).message(2, &shape);
    Message::default()
        .text(1, name)
        .message(2, &Message::default().message(1, &tensor))
}
