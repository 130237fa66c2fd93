//! What does a network look like? Its blocks, its stages, and the paths through
//! few blocks, drawn from its graph: so every network has a drawing, also one of
//! the user's own.

mod block;
mod label;
mod network;
mod paths;
mod units;

use crate::graph::{Graph, Mode};
use crate::models::{InputShape, Model, ModelError};
use crate::report::{Anchor, Diagram, grouped};
use units::Unit;

/// A part of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Part {
    /// The network by stages.
    Network,
    /// One block of each kind.
    Blocks,
    /// All paths through up to four blocks.
    Paths,
}

/// All parts.
pub const PARTS: [Part; 3] = [Part::Network, Part::Blocks, Part::Paths];

/// Distance between parts.
const GAP: f64 = 48.0;
/// Height of a heading and the note below it.
const HEADING: f64 = 48.0;
/// Blocks begin a new row where a drawing would be wider.
const WIDEST: f64 = 1150.0;
/// The most kinds of blocks that are drawn.
const MOST_KINDS: usize = 8;

/// The drawing of `model` for images of shape `input`: the asked `parts` of it.
/// Paths are drawn for chains of up to four residual blocks only.
///
/// # Errors
/// Where the network cannot be built.
///
/// ```
/// use residua::drawing::{PARTS, draw};
///
/// let drawing = draw(&"resnet8".parse()?, &"3x32x32".parse()?, &PARTS)?;
/// assert!(drawing.svg().contains("3×3 conv, 16"));
/// # Ok::<(), residua::models::ModelError>(())
/// ```
pub fn draw(model: &Model, input: &InputShape, parts: &[Part]) -> Result<Diagram, ModelError> {
    // Dropout is in the graph of training only.
    let graph = model.build(input, Mode::Train)?.graph;
    let units = units::units(&graph);
    let InputShape {
        channels,
        height,
        width,
        classes,
    } = input;
    let title = format!("{model}: {channels}×{height}×{width} images, {classes} classes");
    let mut drawing = Diagram::new(title);
    let has = |part: Part| parts.contains(&part);
    let (mut x, mut bottom) = (0.0, 0.0_f64);
    if has(Part::Network) {
        let network = network::draw(&graph, &units);
        let note = format!("{} parameters", grouped(graph.parameter_count() as u64));
        titled(&mut drawing, (0.0, 0.0), "Network", &note, &network);
        x = network.size().0.max(Diagram::note_width(&note)).ceil() + GAP;
        bottom = network.size().1 + HEADING;
    }
    if has(Part::Blocks) {
        bottom = bottom.max(blocks(&mut drawing, x, &graph, &units));
    }
    if has(Part::Paths) {
        match paths::fits(&graph) {
            true => {
                let top = if bottom > 0.0 { bottom + GAP } else { 0.0 };
                let note = format!(
                    "the {} ways through {} blocks",
                    1 << graph.blocks.len(),
                    graph.blocks.len()
                );
                titled(&mut drawing, (0.0, top), "Paths", &note, &paths::draw(&graph));
            }
            false => drawing.explain(&format!(
                "Paths are drawn one by one for up to {} blocks in a row, each with a branch and a shortcut.",
                paths::MOST
            )),
        }
    }
    Ok(drawing)
}

/// Places `part` at `at` below a heading.
fn titled(drawing: &mut Diagram, at: (f64, f64), heading: &str, note: &str, part: &Diagram) {
    drawing.heading((at.0, at.1 + 14.0), heading);
    drawing.note((at.0, at.1 + 31.0), Anchor::Start, note);
    drawing.place((at.0, at.1 + HEADING), part);
}

/// One block of each kind, from `left` to the right; returns where they end.
fn blocks(drawing: &mut Diagram, left: f64, graph: &Graph, units: &[Unit]) -> f64 {
    let mut kinds: Vec<(String, Vec<&Unit>)> = Vec::new();
    for unit in units {
        let kind = block::kind(graph, unit);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, same)) => same.push(unit),
            None => kinds.push((kind, vec![unit])),
        }
    }
    let (mut x, mut y, mut bottom) = (left, 0.0, 0.0_f64);
    for (_, same) in kinds.iter().take(MOST_KINDS) {
        let unit = same[0];
        let part = block::draw(graph, unit);
        let heading = unit.name(graph);
        let note = match same.len() {
            1 => unit.numbers(),
            2 => format!("{}, and 1 like it", unit.numbers()),
            more => format!("{}, and {} like it", unit.numbers(), more - 1),
        };
        let words = Diagram::heading_width(&heading).max(Diagram::note_width(&note));
        let wide = part.size().0.max(words).ceil();
        if x > left && x + wide > WIDEST {
            (x, y) = (left, bottom + GAP);
        }
        titled(drawing, (x, y), &heading, &note, &part);
        x += wide + GAP;
        bottom = bottom.max(y + HEADING + part.size().1);
    }
    if kinds.len() > MOST_KINDS {
        let more = kinds.len() - MOST_KINDS;
        drawing.explain(&format!("{more} further kinds of blocks are not drawn."));
    }
    if units.is_empty() {
        drawing.explain("The network has no blocks.");
    }
    bottom
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ModelSpec;

    /// A network of every family and form of block.
    const NETWORKS: &[&str] = &[
        "resnet8",
        "resnet8:shortcut=A-avg,se=4",
        "resnet14:skip=exclusive-gate",
        "resnet8:skip=half-both",
        "resnet50",
        "plain-8",
        "preact-11",
        "preact-8:order=bn-after-add",
        "preact-8:order=relu-only",
        "wrn-10-2:dropout=0.3",
        "resnext-29-8x64d",
        "vgg5-8",
        "vgg16-bn:head=linear",
        "densenet-bc-16-4",
        "dpn68",
        "dpn26:variant=kuangliu",
        "fusenet-half-14",
        "fusenet-side-14",
        "fusenet-cross-14",
        "fusenet-fuse3-14",
        "dmrnet-imagenet-50",
        "fractalnet-2-4",
    ];

    fn drawn(name: &str, parts: &[Part]) -> Diagram {
        let spec: ModelSpec = name.parse().unwrap();
        draw(&spec.clone().into(), &spec.usual_input(), parts).unwrap()
    }

    /// How far two rectangles reach into each other.
    fn overlap(one: &[f64; 4], other: &[f64; 4]) -> f64 {
        let side = |low: usize| one[low + 2].min(other[low + 2]) - one[low].max(other[low]);
        side(0).min(side(1))
    }

    #[test]
    fn nothing_covers_anything_else() {
        for name in NETWORKS {
            let drawing = drawn(name, &PARTS);
            let [words, boxes] = &drawing.covered;
            assert!(boxes.len() > 3, "{name}");
            for (number, one) in words.iter().enumerate() {
                for other in &words[number + 1..] {
                    assert!(overlap(one, other) < 0.5, "{name}: words at {one:?} and {other:?}");
                }
                for frame in boxes {
                    let inside = overlap(one, frame) >= (one[2] - one[0]).min(one[3] - one[1]) - 0.5;
                    assert!(
                        inside || overlap(one, frame) < 0.5,
                        "{name}: words at {one:?}, a box at {frame:?}"
                    );
                }
            }
            for (number, one) in boxes.iter().enumerate() {
                for other in &boxes[number + 1..] {
                    assert!(overlap(one, other) < 0.5, "{name}: boxes at {one:?} and {other:?}");
                }
                // A line has no width, so it is taken to be two pixels wide.
                for [left, top, right, bottom] in &drawing.lines {
                    let line = [left - 1.0, top - 1.0, right + 1.0, bottom + 1.0];
                    assert!(
                        overlap(one, &line) < 1.5,
                        "{name}: a box at {one:?}, a line at {line:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn layers_have_their_kernels_widths_strides_and_groups() {
        let svg = drawn("resnext-29-8x64d", &[Part::Blocks]).svg();
        for words in [
            "3×3 conv, 512",
            "8 groups",
            "stride 2, 8 groups",
            "1×1 conv, 256",
            "identity",
            "256×32×32",
        ] {
            assert!(svg.contains(words), "{words}");
        }
        let svg = drawn("resnet8", &[Part::Blocks]).svg();
        assert!(svg.contains("every 2nd pixel") && svg.contains("8 + 8 zero channels"));
        assert!(
            drawn("wrn-10-2:dropout=0.3", &[Part::Blocks])
                .svg()
                .contains("dropout 0.3")
        );
    }

    #[test]
    fn kinds_of_blocks_are_counted() {
        let svg = drawn("resnet20", &[Part::Blocks]).svg();
        assert!(
            svg.contains("block 1, and 6 like it") && svg.contains("block 4, and 1 like it"),
            "{svg}"
        );
        let svg = drawn("dpn68", &[Part::Blocks]).svg();
        assert!(svg.contains("blocks 1 and 2") && svg.contains("features.conv2_1"));
    }

    #[test]
    fn few_blocks_have_all_their_paths() {
        let drawing = drawn("resnet8", &[Part::Paths]);
        let svg = drawing.svg();
        assert!(svg.contains("3 blocks have 8 paths"), "{svg}");
        assert_eq!(svg.matches(">f1</text>").count(), 4 + 1);
        assert_eq!(svg.matches(">f3</text>").count(), 1 + 1);
        assert!(svg.contains(">f1 f2 f3</text>") && svg.contains(">none</text>"));
        for name in ["resnet20", "plain-8", "densenet-10-4"] {
            assert!(drawn(name, &[Part::Paths]).svg().contains("up to 4 blocks"), "{name}");
        }
    }

    #[test]
    fn stages_say_their_blocks_and_strides() {
        let svg = drawn("resnet50", &[Part::Network]).svg();
        for words in [
            "images, 3×224×224",
            "7×7 conv, 64, stride 2",
            "stage 2: 4 blocks",
            "layer2.0 – layer2.3",
            "stride 2 in the first",
            "2048×7×7",
            "logits, 1000",
        ] {
            assert!(svg.contains(words), "{words}");
        }
    }
}
