//! How is a whole network drawn? From top to bottom: the layers outside of
//! blocks, and each stage as one box.

use super::block::convolutions;
use super::label::{Shown, shape, shown};
use super::units::{Unit, is_layer};
use crate::graph::{Graph, NodeId};
use crate::report::{Anchor, Diagram, Tone};

/// Vertical distance between two boxes.
const GAP: f64 = 30.0;
/// The most layers outside of blocks that are named one by one.
const MOST_LINES: usize = 8;
/// The most convolutions of a block that are named one by one.
const MOST_CONVOLUTIONS: usize = 4;

/// A box of the drawing.
struct Part {
    tone: Tone,
    lines: Vec<String>,
    /// The value that it ends with.
    end: NodeId,
}

/// The drawing of a network, with its top left corner at the origin.
pub fn draw(graph: &Graph, units: &[Unit]) -> Diagram {
    let parts = parts(graph, units);
    let wide = parts
        .iter()
        .map(|part| Diagram::box_size(&part.lines).0)
        .fold(0.0, f64::max);
    let middle = wide / 2.0;
    let mut drawing = Diagram::default();
    let images = graph.find(|op| *op == crate::graph::Op::Images).unwrap_or(NodeId(0));
    drawing.note(
        (middle, 12.0),
        Anchor::Middle,
        &format!("images, {}", shape(graph, images)),
    );
    let mut y = 16.0;
    for (number, part) in parts.iter().enumerate() {
        let high = Diagram::box_size(&part.lines).1;
        let gap = if number == 0 { GAP * 0.7 } else { GAP };
        drawing.arrow(&[(middle, y), (middle, y + gap)]);
        drawing.boxed((middle, y + gap + high / 2.0), (wide, high), part.tone, &part.lines);
        y += gap + high;
        let words = shape(graph, part.end);
        match number + 1 == parts.len() {
            false => drawing.note((middle + 10.0, y + GAP / 2.0 + 3.0), Anchor::Start, &words),
            true => {
                drawing.arrow(&[(middle, y), (middle, y + GAP * 0.7)]);
                drawing.note(
                    (middle, y + GAP * 0.7 + 14.0),
                    Anchor::Middle,
                    &format!("logits, {words}"),
                );
            }
        }
    }
    drawing
}

fn parts(graph: &Graph, units: &[Unit]) -> Vec<Part> {
    let mut inside = vec![false; graph.nodes.len()];
    units
        .iter()
        .flat_map(|unit| &unit.nodes)
        .for_each(|id| inside[id.0] = true);
    let logits = graph.logits().unwrap_or(NodeId(graph.nodes.len()));
    let outside = |from: NodeId, to: NodeId| -> Vec<NodeId> {
        let ids = graph.ids().filter(|id| *id > from && *id < to && *id <= logits);
        ids.filter(|&id| is_layer(graph, id) && !inside[id.0]).collect()
    };
    let images = graph.find(|op| *op == crate::graph::Op::Images).unwrap_or(NodeId(0));
    let mut parts: Vec<Part> = Vec::new();
    let mut before = images;
    let mut stage: Vec<&Unit> = Vec::new();
    for unit in units {
        let Some((&first, &last)) = unit.nodes.first().zip(unit.nodes.last()) else {
            continue;
        };
        let between = outside(before, first);
        let of = |unit: &Unit| graph.blocks[unit.blocks[0]].stage;
        let ends = stage
            .first()
            .is_some_and(|begun| of(begun) != of(unit) || !between.is_empty());
        if ends {
            parts.extend(stage_part(graph, &std::mem::take(&mut stage)));
        }
        parts.extend(layers_part(graph, &between));
        stage.push(unit);
        before = last;
    }
    parts.extend(stage_part(graph, &stage));
    parts.extend(layers_part(graph, &outside(before, NodeId(graph.nodes.len()))));
    parts
}

/// Layers outside of blocks, one line each.
fn layers_part(graph: &Graph, layers: &[NodeId]) -> Option<Part> {
    let end = *layers.last()?;
    let mut lines: Vec<String> = Vec::new();
    for &id in layers {
        let words = match shown(graph, id) {
            Shown::Box(_, words) => words.join(", "),
            Shown::Circle(_) => "sum or product".to_string(),
            Shown::As(_) => continue,
        };
        match lines.last_mut() {
            // ReLU is in the line of its batch norm.
            Some(line) if words == "ReLU" && line.ends_with("batch norm") => line.push_str(", ReLU"),
            _ => lines.push(words),
        }
    }
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES + 1;
        lines.truncate(MOST_LINES - 1);
        lines.push(format!("and {more} more layers"));
    }
    Some(Part {
        tone: Tone::Other,
        lines,
        end,
    })
}

/// The blocks of a stage that follow each other.
fn stage_part(graph: &Graph, units: &[&Unit]) -> Option<Part> {
    let (first, last) = (units.first()?, units.last()?);
    let input = *first.sources.first()?;
    let end = *last.outputs.last()?;
    let blocks: usize = units.iter().map(|unit| unit.blocks.len()).sum();
    let number = graph.blocks[first.blocks[0]].stage;
    let count = match blocks {
        1 => "1 block".to_string(),
        blocks => format!("{blocks} blocks"),
    };
    let mut lines = vec![format!("stage {number}: {count}")];
    let (from, to) = (first.name(graph), last.name(graph));
    lines.push(if from == to { from } else { format!("{from} – {to}") });
    let convolutions = convolutions(graph, last);
    let are_named = convolutions.len() <= MOST_CONVOLUTIONS;
    let (rows, now) = (graph.shape(input).plane().0, graph.shape(end).plane().0);
    let is_plane = graph.shape(end).dims.len() == 3;
    if are_named {
        lines.extend(convolutions);
    }
    if is_plane && rows > now && (units.len() > 1 || !are_named) {
        let stride = rows.div_ceil(now);
        lines.push(match units.len() {
            1 => format!("stride {stride}"),
            _ => format!("stride {stride} in the first"),
        });
    }
    Some(Part {
        tone: Tone::Weights,
        lines,
        end,
    })
}
