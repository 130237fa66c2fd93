//! How is an ONNX model written as bytes? The messages of onnx.proto that a network
//! needs, in the encoding of Protocol Buffers.
//!
//! A field is its number and its type in one integer, then its value. Integers are
//! stored seven bits a byte, the lowest first; messages and texts with their length
//! in front.

/// A message that grows field by field.
#[derive(Debug, Default, Clone)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// An integer; negative ones take ten bytes.
    pub(super) fn integer(mut self, field: u32, value: i64) -> Self {
        self.number(u64::from(field) << 3);
        self.number(value as u64);
        self
    }

    /// A 32-bit float.
    pub(super) fn float(mut self, field: u32, value: f32) -> Self {
        self.number(u64::from(field) << 3 | 5);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A text, or bytes.
    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.number(u64::from(field) << 3 | 2);
        self.number(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// A text.
    pub(super) fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// A message within this one.
    pub(super) fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.bytes)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_stored_seven_bits_a_byte() {
        let message = Message::default().integer(1, 300).integer(16, 1).text(2, "ab").finish();
        assert_eq!(message, [0x08, 0xac, 0x02, 0x80, 0x01, 0x01, 0x12, 0x02, b'a', b'b']);
        assert_eq!(Message::default().integer(1, -1).finish().len(), 11);
        assert_eq!(Message::default().float(2, 1.0).finish(), [0x15, 0, 0, 0x80, 0x3f]);
    }
}
