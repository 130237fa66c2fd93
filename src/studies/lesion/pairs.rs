//! How does the report show pairs of deleted blocks?

use serde_json::json;

use super::report::{error_or_off_scale, evaluation_columns, evaluation_values, flagged, heading, loss_words};
use super::{Lesion, LesionFindings};
use crate::report::{Axis, Cell, Column, Figure, Item, Layer, Table};

impl LesionFindings {
    pub(super) fn pair_items(&self, items: &mut Vec<Item>) {
        if self.pairs.is_empty() {
            return;
        }
        let alone = |number: usize| {
            let single = self.singles().into_iter().find(|lesion| lesion.blocks[0] == number);
            single.map_or(f64::NAN, |lesion| lesion.evaluation.error)
        };
        let alone: Vec<f64> = (1..=self.blocks.len()).map(alone).collect();
        let interaction = |lesion: &Lesion| {
            let [a, b] = [lesion.blocks[0], lesion.blocks[1]].map(|number| alone[number - 1]);
            lesion.evaluation.error - a - b + self.whole.error
        };
        let pairs = |value: &dyn Fn(&Lesion) -> f64, what: &str| -> Vec<Cell> {
            let both = |lesion: &Lesion| {
                let [a, b] = [lesion.blocks[0], lesion.blocks[1]];
                let value = 100.0 * value(lesion);
                let diverges = if lesion.evaluation.diverged {
                    format!(", {}", loss_words(&lesion.evaluation))
                } else {
                    String::new()
                };
                let cell = |x, y| Cell {
                    x,
                    y,
                    value: Some(if lesion.evaluation.diverged {
                        f64::INFINITY
                    } else {
                        value
                    })
                    .filter(|value| !value.is_nan()),
                    text: format!(
                        "blocks {a} ({}) and {b} ({}): {what} {value:.2}{diverges}",
                        self.blocks[a - 1].name,
                        self.blocks[b - 1].name
                    ),
                };
                [cell(a, b), cell(b, a)]
            };
            self.pairs.iter().flat_map(both).collect()
        };
        items.push(heading("Pairs of blocks"));
        let names = self.block_names();
        let block_numbers: Vec<String> = (1..=names.len()).map(|number| number.to_string()).collect();
        let figure = |name: &str, title: &str, caption: &str, label: &str, signed, cells| {
            Item::Figure(Figure {
                name: name.into(),
                title: format!("{}: {title}", self.label),
                caption: caption.into(),
                emphasis: String::new(),
                x: Axis::named("other deleted block", block_numbers.clone()),
                y: Axis::named("deleted block", names.clone()),
                layers: vec![Layer::Heat {
                    label: label.into(),
                    signed,
                    cells,
                }],
            })
        };
        let diagonal = self.singles().into_iter().map(|lesion| Cell {
            x: lesion.blocks[0],
            y: lesion.blocks[0],
            value: Some(error_or_off_scale(&lesion.evaluation)),
            text: self.mark(lesion).text,
        });
        let errors = pairs(&|lesion| lesion.evaluation.error, "test error (%)");
        items.push(figure(
            "pairs",
            "test error with two blocks deleted",
            "Each cell is a pair of deleted blocks, on the diagonal a block deleted alone. The matrix is symmetric.",
            "test error (%)",
            false,
            errors.into_iter().chain(diagonal).collect(),
        ));
        items.push(figure(
            "interaction",
            "interaction of two deleted blocks",
            "Increase of the error with both blocks deleted, minus the increases for each alone. Above zero, \
             deleting both costs more than the sum of deleting each; below zero, less.",
            "interaction (percentage points)",
            true,
            pairs(&interaction, "interaction (points)"),
        ));
        let rows = self.pairs.iter().map(|lesion| {
            let pair = [lesion.blocks[0].into(), lesion.blocks[1].into()];
            pair.into_iter()
                .chain(evaluation_values(&lesion.evaluation))
                .chain([json!(interaction(lesion))])
                .collect()
        });
        items.push(flagged(
            Table {
                name: "pairs".into(),
                title: "Two blocks deleted".into(),
                columns: [
                    Column::plain("first", "first block"),
                    Column::plain("second", "second block"),
                ]
                .into_iter()
                .chain(evaluation_columns(self.has_top5()))
                .chain([Column::percent("interaction", "interaction (points)")])
                .collect(),
                rows: rows.collect(),
                file_only: self.pairs.len() > 60,
            },
            self.pairs.iter().map(|lesion| &lesion.evaluation),
        ));
    }
}
