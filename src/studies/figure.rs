//! What do a study's results look like?

use super::lesion::Lesion;
use crate::graph::Block;
use crate::report::{Axis, Figure, Layer, Mark};

/// Test error by deleted block: the whole network as a dashed line, blocks
/// that change the resolution emphasised, every other stage shaded. Lesions of
/// several blocks at once have no place on the axis and are left out.
pub fn lesion_figure(title: &str, baseline: &Lesion, lesions: &[Lesion], blocks: &[Block]) -> Figure {
    let whole = 100.0 * baseline.outcome.error;
    let mut layers: Vec<Layer> = stages(blocks).into_iter().skip(1).step_by(2).map(shade).collect();
    layers.push(Layer::Level {
        label: format!("nothing deleted: {whole:.2} %"),
        y: whole,
    });
    layers.push(Layer::Line {
        label: "one block deleted".to_string(),
        marks: lesions.iter().filter_map(|lesion| mark(lesion, blocks)).collect(),
    });
    Figure {
        name: "lesions".to_string(),
        title: title.to_string(),
        caption: caption(blocks),
        x: Axis::linear("deleted block").within(0.5, blocks.len() as f64 + 0.5),
        y: Axis::linear("test error (%)"),
        layers,
    }
}

/// Block and error, for a lesion of one block.
fn mark(lesion: &Lesion, blocks: &[Block]) -> Option<Mark> {
    let [number] = lesion.blocks[..] else { return None };
    let block = blocks.get(number.checked_sub(1)?)?;
    let error = 100.0 * lesion.outcome.error;
    let kind = if block.downsamples { ", downsamples" } else { "" };
    Some(Mark {
        strong: block.downsamples,
        ..Mark::new(
            number as f64,
            error,
            format!("block {number} ({}{kind}): {error:.2} %", block.name),
        )
    })
}

fn caption(blocks: &[Block]) -> String {
    let downsamples = blocks.iter().any(|block| block.downsamples);
    let emphasis = if downsamples {
        "Large marks are blocks that downsample. "
    } else {
        ""
    };
    format!("{emphasis}The dashed line is the whole network; every other stage is shaded.")
}

fn shade((first, last): (usize, usize)) -> Layer {
    Layer::Shade {
        label: String::new(),
        from: first as f64 - 0.5,
        to: last as f64 + 0.5,
    }
}

/// First and last block number of each stage.
fn stages(blocks: &[Block]) -> Vec<(usize, usize)> {
    let mut stages: Vec<(usize, usize)> = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if index > 0 && blocks[index - 1].stage == block.stage {
            if let Some(stage) = stages.last_mut() {
                stage.1 = index + 1;
            }
        } else {
            stages.push((index + 1, index + 1));
        }
    }
    stages
}
