//! What does a drawing call a layer?

use super::units::mean_at;
use crate::graph::{Gains, Graph, NodeId, Op};
use crate::report::{Sign, Tone};

/// How a layer is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// A box with lines of words.
    Box(Tone, Vec<String>),
    /// A circle with a sign.
    Circle(Sign),
    /// Not at all: its value is that of one of its inputs.
    As(NodeId),
}

/// The layer at `id` as it is drawn.
pub fn shown(graph: &Graph, id: NodeId) -> Shown {
    let node = graph.node(id);
    let boxed = |tone: Tone, first: String, second: Vec<String>| {
        let mut lines = vec![first];
        lines.extend((!second.is_empty()).then(|| second.join(", ")));
        Shown::Box(tone, lines)
    };
    let strided = |stride: usize| (stride > 1).then(|| format!("stride {stride}"));
    let channels = || node.shape.channels();
    match node.op {
        Op::Conv(conv) => {
            let mut more: Vec<String> = strided(conv.stride).into_iter().collect();
            more.extend((conv.groups > 1).then(|| format!("{} groups", conv.groups)));
            more.extend((node.inputs.len() > 2).then(|| "bias".to_string()));
            let kernel = conv.kernel;
            boxed(Tone::Weights, format!("{kernel}×{kernel} conv, {}", channels()), more)
        }
        Op::Linear => boxed(Tone::Weights, format!("linear, {}", channels()), Vec::new()),
        Op::BatchNorm => boxed(Tone::Norm, "batch norm".into(), Vec::new()),
        Op::Relu => boxed(Tone::Other, "ReLU".into(), Vec::new()),
        Op::Sigmoid => boxed(Tone::Other, "sigmoid".into(), Vec::new()),
        Op::Scale { factor } => boxed(Tone::Other, format!("× {factor}").replace('-', "−"), Vec::new()),
        Op::Dropout { p, .. } => boxed(Tone::Other, format!("dropout {p}"), Vec::new()),
        Op::MaxPool(pool) => {
            let size = pool.kernel;
            boxed(
                Tone::Other,
                format!("{size}×{size} max pool"),
                strided(pool.stride).into_iter().collect(),
            )
        }
        Op::AvgPool(pool) => {
            let size = pool.kernel;
            boxed(
                Tone::Other,
                format!("{size}×{size} average pool"),
                strided(pool.stride).into_iter().collect(),
            )
        }
        Op::GlobalAvgPool => boxed(Tone::Other, "global average pool".into(), Vec::new()),
        Op::Concat => boxed(Tone::Other, format!("concatenate, {}", channels()), Vec::new()),
        Op::Slice { from, count } => boxed(Tone::Other, self::channels(from, count), Vec::new()),
        Op::PadShortcut(pad) => {
            let stride = pad.stride;
            let pixels = match (stride, pad.average) {
                (1, _) => None,
                (stride, true) => Some(format!("{stride}×{stride} means")),
                (2, false) => Some("every 2nd pixel".to_string()),
                (stride, false) => Some(format!("every {stride}th pixel")),
            };
            let zeros = match (pad.before, pad.after) {
                (0, 0) => None,
                (0, after) => Some(format!("{after} zero channels after")),
                (before, 0) => Some(format!("{before} zero channels before")),
                (before, after) => Some(format!("{before} + {after} zero channels")),
            };
            let lines: Vec<String> = pixels.into_iter().chain(zeros).collect();
            Shown::Box(Tone::Other, lines)
        }
        Op::Multiply => Shown::Circle(Sign::Product),
        Op::Sum => Shown::Circle(Sign::Sum),
        Op::Join(_) if mean_at(graph, id).is_some() => boxed(Tone::Other, "mean".into(), Vec::new()),
        Op::Join(block) => {
            let is_path = graph.means.iter().any(|mean| mean.blocks.contains(&block.0));
            let block = &graph.blocks[block.0];
            match block.default == Gains::PLAIN || is_path {
                // The shortcut is there for lesions only, or for the mean that
                // is drawn after the last path.
                true => Shown::As(block.branch),
                false => Shown::Circle(Sign::Sum),
            }
        }
        op => boxed(Tone::Other, op.name().to_string(), Vec::new()),
    }
}

/// `channels 65–96` for 32 of them from the one with index 64.
pub fn channels(from: usize, count: usize) -> String {
    format!("channels {}–{}", from + 1, from + count)
}

/// `64×56×56`.
pub fn shape(graph: &Graph, id: NodeId) -> String {
    let dims = graph.shape(id).dims.iter().map(usize::to_string);
    dims.collect::<Vec<_>>().join("×")
}
