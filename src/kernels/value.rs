//! What can a host set in a shader? The values of its constants and aliases.

/// The value of one `const` or `alias` of a shader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A `u32`.
    Uint(u32),
    /// An `f32`.
    Float(f32),
    /// A `bool`.
    Bool(bool),
    /// A type, for an `alias`.
    Type(&'static str),
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Uint(value as u32)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Uint(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Value::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Uint(value) => write!(f, "{value}u"),
            // The shortest text that reads back as the same bits.
            Value::Float(value) => write!(f, "{value:e}f"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Type(name) => f.write_str(name),
        }
    }
}
