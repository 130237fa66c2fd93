//! What can be wrong with a model that is asked for?

use super::{InputShape, limits, names};
use crate::graph::GraphError;
use crate::shown::shown;

/// A model that does not exist, or that cannot be built as asked. Each message
/// is one line.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ModelError {
    /// No family has the name.
    #[error("unknown model '{}': there are {}", shown(.name), names())]
    UnknownModel {
        /// The name asked for.
        name: String,
    },
    /// Text after the colon that is not an option.
    #[error("'{}' is not an option: write name:key=value,key=value", shown(.text))]
    Malformed {
        /// The text.
        text: String,
    },
    /// The family has no such option.
    #[error("{model} has no option '{}': {}", shown(.option), listed(.known))]
    UnknownOption {
        /// The model's name.
        model: String,
        /// The option asked for.
        option: String,
        /// The options that exist.
        known: Vec<&'static str>,
    },
    /// An option that is given twice.
    #[error("option '{}' is given twice: keep one of them", shown(.option))]
    Duplicate {
        /// The option.
        option: String,
    },
    /// A value that the option cannot have.
    #[error("{model} has no {option}={}: {option} is {expected}", shown(.value))]
    Value {
        /// The model's name.
        model: String,
        /// The option.
        option: &'static str,
        /// The value asked for.
        value: String,
        /// The values that exist.
        expected: String,
    },
    /// Two options that exclude each other.
    #[error("{model}: {first} and {second} exclude each other; leave out one of them")]
    Conflict {
        /// The model's name.
        model: String,
        /// One option, with its value where that matters.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A depth that no network of the family has.
    #[error("{model}: a depth of {depth} is not {rule}; take {}", either(.nearest))]
    Depth {
        /// The model's name.
        model: String,
        /// The depth asked for.
        depth: usize,
        /// The depths that exist, as a formula in n ≥ 1.
        rule: String,
        /// The nearest depths that exist, the smaller one first.
        nearest: Vec<usize>,
    },
    /// More layers than a network may have.
    #[error("{model} is too deep: a network has at most {} layers", limits::MAX_DEPTH)]
    TooDeep {
        /// The model's name.
        model: String,
    },
    /// A width of 0, or of more channels than a layer may have.
    #[error("{model}: the {what} must be 1 to {most}")]
    Width {
        /// The model's name.
        model: String,
        /// What is out of range.
        what: &'static str,
        /// Its largest value.
        most: usize,
    },
    /// More parameters than a network may have.
    #[error(
        "{model} would have {parameters} parameters, more than {}: take a smaller one",
        limits::MAX_PARAMETERS
    )]
    TooLarge {
        /// The model's canonical name.
        model: String,
        /// The number of its parameters.
        parameters: usize,
    },
    /// An image shape that cannot be read.
    #[error("'{}' is not an image shape: write channels, height and width as in 3x32x32", shown(.text))]
    InputSyntax {
        /// What was written.
        text: String,
    },
    /// A number of an image shape, or of classes, that is out of range.
    #[error("{what} {value} is out of range: it must be 1 to {most}")]
    Input {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: usize,
        /// Its largest value.
        most: usize,
    },
    /// A layer that does not fit its input.
    #[error("{model} does not fit {input} images: {error}")]
    Fit {
        /// The model's canonical name.
        model: String,
        /// The images.
        input: InputShape,
        /// Which layer, and why.
        error: Box<GraphError>,
    },
    /// A file that describes no network.
    #[error("{place}: {problem}")]
    File {
        /// The file and the line.
        place: String,
        /// The table and key, what is wrong, and what is allowed.
        problem: String,
    },
    /// A network that no file describes.
    #[error(
        "{model} cannot be written as a file: a file has stages of blocks, each a row of convolutions with at most one \
         shortcut, and a head with one linear layer; this network joins its layers in another way"
    )]
    NoFile {
        /// The model's canonical name.
        model: String,
    },
    /// A name that a network of one's own cannot have.
    #[error("'{}' cannot name a network of your own: {problem}", shown(.name))]
    OwnName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The graph of a network of one's own that cannot be trained or stored.
    #[error("the graph of {model} cannot be used: {problem}")]
    OwnGraph {
        /// The network's name.
        model: String,
        /// What is wrong with it.
        problem: String,
    },
}

fn listed(known: &[&str]) -> String {
    if known.is_empty() {
        return "it has none".to_string();
    }
    format!("it has {}", known.join(", "))
}

fn either(depths: &[usize]) -> String {
    let depths: Vec<String> = depths.iter().map(usize::to_string).collect();
    depths.join(" or ")
}
