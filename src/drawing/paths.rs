//! How are the paths of a network drawn one by one? The unravelled view of Veit
//! et al. 2016, arXiv:1605.06431, figure 1.
//!
//! With y_l = y_(l−1) + f_l(y_(l−1)), each value is the sum of two copies of what
//! comes before it. Written out, L blocks have 2^L paths.

use crate::graph::{Gains, Graph};
use crate::report::{Anchor, Diagram, Sign, Tone};

/// The most blocks that are drawn.
pub const MOST: usize = 4;

/// Distance between two paths.
const ROW: f64 = 40.0;
/// Distance between two blocks of a path.
const COLUMN: f64 = 104.0;
/// Where the rows begin: right of the line that all of them begin at.
const LEFT: f64 = 150.0;
/// Width and height of a block.
const BLOCK: (f64, f64) = (44.0, 26.0);
/// Radius of the circle of a sum.
const RADIUS: f64 = 9.0;

/// Whether the network is a chain of few residual blocks, whose paths can be
/// drawn.
pub fn fits(graph: &Graph) -> bool {
    let blocks = &graph.blocks;
    let is_chain = blocks.windows(2).all(|pair| pair[1].input >= pair[0].output);
    let is_residual = graph.means.is_empty() && blocks.iter().all(|block| block.default == Gains::RESIDUAL);
    (1..=MOST).contains(&blocks.len()) && is_chain && is_residual
}

/// The drawing of all paths, with its top left corner at the origin.
pub fn draw(graph: &Graph) -> Diagram {
    let blocks = graph.blocks.len();
    let paths = 1 << blocks;
    let y = |row: usize| 26.0 + ROW * row as f64;
    let column = |block: usize| LEFT + 40.0 + COLUMN * block as f64;
    let mut drawing = Diagram::default();
    drawing.note((0.0, 6.0), Anchor::Start, "blocks on the path");
    let bus = LEFT - 20.0;
    drawing.line(&[(bus, y(0)), (bus, y(paths - 1))]);
    drawing.note((bus, y(paths - 1) + 24.0), Anchor::Middle, "after the stem");
    for row in 0..paths {
        let on_path: Vec<String> = (0..blocks)
            .filter(|block| row >> block & 1 == 1)
            .map(|block| format!("f{}", block + 1))
            .collect();
        let words = match on_path.is_empty() {
            true => "none".to_string(),
            false => on_path.join(" "),
        };
        drawing.note((0.0, y(row) + 4.0), Anchor::Start, &words);
        drawing.line(&[(bus, y(row)), (LEFT, y(row))]);
    }
    // Copies of y_l begin at the rows that 2^(l+1) divides, for each l from 0.
    for block in 0..blocks {
        let copies = 1 << block;
        let at = column(block);
        let sum = at + BLOCK.0 / 2.0 + 30.0;
        let from = if block == 0 {
            LEFT
        } else {
            column(block - 1) + BLOCK.0 / 2.0 + 30.0 + RADIUS
        };
        for first in (0..paths).step_by(2 * copies) {
            let branch = first + copies;
            drawing.arrow(&[(from, y(first)), (sum - RADIUS, y(first))]);
            drawing.arrow(&[(from, y(branch)), (at - BLOCK.0 / 2.0, y(branch))]);
            drawing.boxed((at, y(branch)), BLOCK, Tone::Weights, &[format!("f{}", block + 1)]);
            drawing.arrow(&[
                (at + BLOCK.0 / 2.0, y(branch)),
                (sum, y(branch)),
                (sum, y(first) + RADIUS),
            ]);
            drawing.circle((sum, y(first)), RADIUS, Sign::Sum);
        }
    }
    let end = column(blocks - 1) + BLOCK.0 / 2.0 + 30.0 + RADIUS;
    drawing.arrow(&[(end, y(0)), (end + 34.0, y(0))]);
    drawing.note((end + 40.0, y(0) + 4.0), Anchor::Start, "to the head");
    let names = graph.blocks.iter().enumerate();
    let names: Vec<String> = names
        .map(|(index, block)| format!("f{} is the branch of {}", index + 1, block.name))
        .collect();
    drawing.explain(&format!(
        "Every block adds its branch to its shortcut; written out, {blocks} blocks have {paths} paths ({}).",
        names.join(", ")
    ));
    drawing
}
