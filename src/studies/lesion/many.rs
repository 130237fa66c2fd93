//! How does the report show many deleted blocks and other orders?

use super::report::{
    DOWNSAMPLES, error_or_off_scale, evaluation_columns, evaluation_values, flagged, heading, loss_words, numbers,
    percent,
};
use super::{LesionFindings, Reordering};
use crate::report::{Axis, BoxMark, Column, Figure, Item, Layer, Mark, Table, number_or_word};
use crate::studies::statistics::{five_numbers, mean};

impl LesionFindings {
    pub(super) fn random_items(&self, items: &mut Vec<Item>) {
        if self.random.is_empty() {
            return;
        }
        items.push(heading("Many blocks deleted at random"));
        let mut layers = vec![Layer::Level {
            label: format!("nothing deleted: {:.2} %", 100.0 * self.whole.error),
            y: 100.0 * self.whole.error,
            series: String::new(),
        }];
        let mut rows = Vec::new();
        for random in &self.random {
            let mut boxes = Vec::new();
            for lesions in random.lesions.chunk_by(|a, b| a.blocks.len() == b.blocks.len()) {
                let count = lesions[0].blocks.len();
                let errors: Vec<f64> = lesions.iter().map(|lesion| lesion.evaluation.error).collect();
                let five = five_numbers(&errors);
                let losses: Vec<f64> = lesions.iter().map(|lesion| lesion.evaluation.loss).collect();
                rows.push(vec![
                    random.pool.clone().into(),
                    count.into(),
                    lesions.len().into(),
                    five[0].into(),
                    five[1].into(),
                    five[2].into(),
                    five[3].into(),
                    five[4].into(),
                    mean(&errors).into(),
                    number_or_word(mean(&losses)),
                ]);
                let five = five.map(|error| 100.0 * error);
                boxes.push(BoxMark {
                    x: count as f64,
                    five,
                    values: errors.iter().map(|error| 100.0 * error).collect(),
                    text: format!(
                        "{count} of {}: median {:.1} %, quartiles {:.1} to {:.1} %, {} trials",
                        random.pool,
                        five[2],
                        five[1],
                        five[3],
                        lesions.len()
                    ),
                });
            }
            layers.push(Layer::Boxes {
                label: random.pool.clone(),
                boxes,
            });
        }
        items.push(Item::Figure(Figure {
            name: "random".into(),
            title: format!("{}: test error with many blocks deleted", self.label),
            caption: "Boxes are quartiles and median, whiskers the smallest and the largest error, dots the trials."
                .into(),
            emphasis: String::new(),
            x: Axis::linear("number of blocks deleted"),
            y: Axis::linear("test error (%)"),
            layers,
        }));
        items.push(Item::Table(Table {
            name: "random".into(),
            title: "Error by number of deleted blocks".into(),
            columns: vec![
                Column::plain("pool", "deleted from"),
                Column::plain("deleted", "number deleted"),
                Column::plain("trials", "trials"),
                Column::percent("smallest", "smallest (%)"),
                Column::percent("lower_quartile", "lower quartile (%)"),
                Column::percent("median", "median (%)"),
                Column::percent("upper_quartile", "upper quartile (%)"),
                Column::percent("largest", "largest (%)"),
                Column::percent("mean", "mean (%)"),
                Column::number("mean_loss", "mean loss (nats)", 4),
            ],
            rows,
            file_only: false,
        }));
        let rows = self.random.iter().flat_map(|random| {
            let pool = &random.pool;
            random.lesions.iter().map(move |lesion| {
                let trial = [
                    pool.clone().into(),
                    lesion.blocks.len().into(),
                    numbers(&lesion.blocks).into(),
                ];
                trial.into_iter().chain(evaluation_values(&lesion.evaluation)).collect()
            })
        });
        items.push(flagged(
            Table {
                name: "random-trials".into(),
                title: "Every trial".into(),
                columns: [
                    Column::plain("pool", "deleted from"),
                    Column::plain("deleted", "number deleted"),
                    Column::plain("blocks", "blocks"),
                ]
                .into_iter()
                .chain(evaluation_columns(self.has_top5()))
                .collect(),
                rows: rows.collect(),
                file_only: true,
            },
            self.random
                .iter()
                .flat_map(|random| &random.lesions)
                .map(|lesion| &lesion.evaluation),
        ));
    }

    pub(super) fn reorder_items(&self, items: &mut Vec<Item>) {
        if self.reorderings.is_empty() {
            return;
        }
        items.push(heading("Reordered blocks"));
        let marks = self.reorderings.iter().map(|reordering| {
            Mark::new(
                reordering.tau,
                error_or_off_scale(&reordering.evaluation),
                format!(
                    "{} swaps, τ {:.3}: error {:.2} %, {}",
                    reordering.swaps.len(),
                    reordering.tau,
                    100.0 * reordering.evaluation.error,
                    loss_words(&reordering.evaluation)
                ),
            )
        });
        let mut by_tau: Vec<&Reordering> = self.reorderings.iter().collect();
        by_tau.sort_by(|a, b| a.tau.total_cmp(&b.tau));
        // √n values per bin gives about √n bins.
        let per_bin = (by_tau.len() as f64).sqrt().ceil() as usize;
        let means = by_tau.chunks(per_bin.max(1)).map(|bin| {
            let of = |value: fn(&Reordering) -> f64| mean(&bin.iter().map(|&one| value(one)).collect::<Vec<_>>());
            let (tau, error) = (of(|one| one.tau), 100.0 * of(|one| one.evaluation.error));
            Mark::new(
                tau,
                error,
                format!("mean of {} orders, τ {tau:.3}: error {error:.2} %", bin.len()),
            )
        });
        items.push(Item::Figure(Figure {
            name: "reorder".into(),
            title: format!("{}: test error with reordered blocks", self.label),
            caption:
                "Parameters of random pairs of blocks with the same shape are exchanged. Kendall's τ is 1 for the \
                      trained order."
                    .into(),
            emphasis: String::new(),
            x: Axis::linear("Kendall's rank correlation τ"),
            y: Axis::linear("test error (%)"),
            layers: vec![
                Layer::Level {
                    label: format!("trained order: {:.2} %", 100.0 * self.whole.error),
                    y: 100.0 * self.whole.error,
                    series: String::new(),
                },
                Layer::Points {
                    label: "one order".into(),
                    marks: marks.collect(),
                },
                Layer::Line {
                    label: "binned mean".into(),
                    marks: means.collect(),
                },
            ],
        }));
        let rows = self.reorderings.iter().map(|reordering| {
            let swaps: Vec<String> = reordering.swaps.iter().map(|(a, b)| format!("{a}-{b}")).collect();
            let order = [
                reordering.swaps.len().into(),
                swaps.join(" ").into(),
                reordering.tau.into(),
            ];
            order
                .into_iter()
                .chain(evaluation_values(&reordering.evaluation))
                .collect()
        });
        items.push(flagged(
            Table {
                name: "reorder".into(),
                title: "Every order".into(),
                columns: [
                    Column::plain("swaps", "number of swaps"),
                    Column::plain("pairs", "swapped pairs"),
                    Column::number("tau", "Kendall's τ", 4),
                ]
                .into_iter()
                .chain(evaluation_columns(self.has_top5()))
                .collect(),
                rows: rows.collect(),
                file_only: self.reorderings.len() > 60,
            },
            self.reorderings.iter().map(|reordering| &reordering.evaluation),
        ));
    }

    pub(super) fn greedy_items(&self, items: &mut Vec<Item>) {
        if self.greedy.is_empty() {
            return;
        }
        let new = |index: usize| {
            let before: &[usize] = if index == 0 {
                &[]
            } else {
                &self.greedy[index - 1].blocks
            };
            let added = self.greedy[index].blocks.iter().find(|number| !before.contains(number));
            added.copied().unwrap_or_default()
        };
        let marks = self.greedy.iter().enumerate().map(|(index, lesion)| {
            let number = new(index);
            Mark {
                x: (index + 1) as f64,
                y: error_or_off_scale(&lesion.evaluation),
                interval: Some(percent(lesion.evaluation.interval)),
                strong: self.blocks[number - 1].downsamples,
                text: format!(
                    "{} deleted, last block {number} ({}): error {:.2} %, {}",
                    index + 1,
                    self.blocks[number - 1].name,
                    100.0 * lesion.evaluation.error,
                    loss_words(&lesion.evaluation)
                ),
            }
        });
        items.push(heading("Greedy deletion"));
        items.push(Item::Figure(Figure {
            name: "greedy".into(),
            title: format!("{}: test error with blocks deleted greedily", self.label),
            caption:
                "Blocks are deleted one after the other, each time the block whose deletion increases the loss least."
                    .into(),
            emphasis: DOWNSAMPLES.into(),
            x: Axis::linear("number of blocks deleted"),
            y: Axis::linear("test error (%)"),
            layers: vec![
                Layer::Level {
                    label: format!("nothing deleted: {:.2} %", 100.0 * self.whole.error),
                    y: 100.0 * self.whole.error,
                    series: String::new(),
                },
                Layer::Line {
                    label: "greedy deletion".into(),
                    marks: marks.collect(),
                },
            ],
        }));
        let rows = self.greedy.iter().enumerate().map(|(index, lesion)| {
            let number = new(index);
            let step = [
                (index + 1).into(),
                number.into(),
                self.blocks[number - 1].name.clone().into(),
            ];
            step.into_iter().chain(evaluation_values(&lesion.evaluation)).collect()
        });
        items.push(flagged(
            Table {
                name: "greedy".into(),
                title: "Order of greedy deletion".into(),
                columns: [
                    Column::plain("deleted", "number deleted"),
                    Column::plain("block", "last block"),
                    Column::plain("name", "name"),
                ]
                .into_iter()
                .chain(evaluation_columns(self.has_top5()))
                .collect(),
                rows: rows.collect(),
                file_only: false,
            },
            self.greedy.iter().map(|lesion| &lesion.evaluation),
        ));
    }
}
