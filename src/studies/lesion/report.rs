//! Which sections does the report of a lesion study have?

use serde_json::Value;

use super::{Lesion, LesionFindings};
use crate::report::{Column, Item, Mark, Table, number_or_word};
use crate::studies::evaluator::Evaluation;

/// What emphasised marks are.
pub(super) const DOWNSAMPLES: &str = "block that downsamples";

impl LesionFindings {
    /// The sections of the report.
    pub fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        self.single_items(&mut items);
        self.corrupted_items(&mut items);
        self.class_items(&mut items);
        self.control_items(&mut items);
        self.response_items(&mut items);
        self.random_items(&mut items);
        self.reorder_items(&mut items);
        self.pair_items(&mut items);
        self.greedy_items(&mut items);
        items
    }

    pub(super) fn row(&self, blocks: &[usize], evaluation: &Evaluation) -> Vec<Value> {
        [
            numbers(blocks).into(),
            if blocks.is_empty() {
                "nothing".into()
            } else {
                self.names(blocks).into()
            },
            evaluation.images.into(),
            evaluation.wrong.into(),
            evaluation.error.into(),
            evaluation.interval[0].into(),
            evaluation.interval[1].into(),
        ]
        .into_iter()
        .chain(top5_values(evaluation))
        .chain([
            number_or_word(evaluation.loss),
            number_or_word(evaluation.loss - self.whole.loss),
        ])
        .collect()
    }

    /// Whether top-5 errors were measured.
    pub(super) fn has_top5(&self) -> bool {
        self.whole.top5_wrong.is_some()
    }

    fn names(&self, blocks: &[usize]) -> String {
        let names: Vec<&str> = blocks.iter().map(|number| &self.blocks[number - 1].name[..]).collect();
        names.join(" ")
    }

    pub(super) fn mark(&self, lesion: &Lesion) -> Mark {
        let number = lesion.blocks[0];
        let Evaluation { error, interval, .. } = lesion.evaluation;
        let downsamples = self.blocks[number - 1].downsamples;
        Mark {
            x: number as f64,
            y: error_or_off_scale(&lesion.evaluation),
            interval: Some(percent(interval)),
            strong: downsamples,
            text: format!(
                "block {number} ({}{}): error {:.2} % ({:+.2} points), {}",
                self.blocks[number - 1].name,
                if downsamples { ", downsamples" } else { "" },
                100.0 * error,
                100.0 * (error - self.whole.error),
                loss_words(&lesion.evaluation),
            ),
        }
    }

    pub(super) fn block_names(&self) -> Vec<String> {
        let names = self.blocks.iter().enumerate();
        names
            .map(|(index, block)| format!("{} {}", index + 1, block.name))
            .collect()
    }
}

/// The error in per cent, for a figure. The error of a network that diverges says
/// little: it is drawn off the scale.
pub(super) fn error_or_off_scale(evaluation: &Evaluation) -> f64 {
    if evaluation.diverged {
        f64::INFINITY
    } else {
        100.0 * evaluation.error
    }
}

/// The loss in words, or that the network diverges.
pub(super) fn loss_words(evaluation: &Evaluation) -> String {
    if evaluation.diverged {
        let Evaluation {
            images,
            images_not_finite,
            ..
        } = evaluation;
        format!("diverges: the loss of {images_not_finite} of {images} images is not finite")
    } else {
        format!("loss {:.3}", evaluation.loss)
    }
}

/// `table`, whose rows are `evaluations`, with a column for the number of images
/// whose loss is not finite, if there are any.
pub(super) fn flagged<'a>(mut table: Table, evaluations: impl Iterator<Item = &'a Evaluation> + Clone) -> Item {
    if evaluations.clone().any(|evaluation| evaluation.diverged) {
        table
            .columns
            .push(Column::plain("images_not_finite", "images not finite"));
        for (row, evaluation) in table.rows.iter_mut().zip(evaluations) {
            row.push(evaluation.images_not_finite.into());
        }
    }
    Item::Table(table)
}

/// Columns of [`LesionFindings::row`]; `title` is the title of the blocks'
/// column.
pub(super) fn lesion_columns(title: &str, top5: bool) -> Vec<Column> {
    let columns = [
        Column::plain("blocks", title),
        Column::plain("names", "names"),
        Column::plain("images", "images"),
        Column::plain("wrong", "wrong"),
        Column::percent("error", "error (%)"),
        Column::percent("interval_low", "95 % from (%)"),
        Column::percent("interval_high", "95 % to (%)"),
    ];
    let loss = [
        Column::number("loss", "loss (nats)", 4),
        Column::number("loss_change", "Δ loss", 4),
    ];
    columns.into_iter().chain(top5_columns(top5)).chain(loss).collect()
}

/// Columns for the number of wrong images, the error, top-5 error where it was
/// measured, and the loss.
pub(super) fn evaluation_columns(top5: bool) -> impl Iterator<Item = Column> {
    let columns = [Column::plain("wrong", "wrong"), Column::percent("error", "error (%)")];
    let loss = Column::number("loss", "loss (nats)", 4);
    columns.into_iter().chain(top5_columns(top5)).chain([loss])
}

/// Values of [`evaluation_columns`].
pub(super) fn evaluation_values(evaluation: &Evaluation) -> impl Iterator<Item = Value> {
    let values: [Value; 2] = [evaluation.wrong.into(), evaluation.error.into()];
    values
        .into_iter()
        .chain(top5_values(evaluation))
        .chain([number_or_word(evaluation.loss)])
}

fn top5_columns(top5: bool) -> Vec<Column> {
    let columns = vec![
        Column::plain("top5_wrong", "top-5 wrong"),
        Column::percent("top5_error", "top-5 error (%)"),
    ];
    if top5 { columns } else { Vec::new() }
}

fn top5_values(evaluation: &Evaluation) -> impl Iterator<Item = Value> + use<> {
    let wrong = evaluation.top5_wrong.map(Value::from);
    wrong.into_iter().chain(evaluation.top5_error.map(Value::from))
}

pub(super) fn heading(text: &str) -> Item {
    Item::Heading { text: text.into() }
}

pub(super) fn numbers(blocks: &[usize]) -> String {
    let numbers: Vec<String> = blocks.iter().map(usize::to_string).collect();
    numbers.join(" ")
}

pub(super) fn percent(interval: [f64; 2]) -> (f64, f64) {
    (100.0 * interval[0], 100.0 * interval[1])
}
