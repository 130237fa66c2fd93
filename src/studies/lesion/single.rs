//! How does the report show blocks that are deleted alone?

use serde_json::{Value, json};

use super::report::{
    DOWNSAMPLES, error_or_off_scale, evaluation_columns, evaluation_values, flagged, heading, lesion_columns,
    loss_words, numbers, percent,
};
use super::{Lesion, LesionFindings};
use crate::report::{Axis, Cell, Column, Figure, Item, Layer, Mark, Table, distinct};
use crate::studies::evaluator::Evaluation;
use crate::studies::file_name::file_name;

impl LesionFindings {
    pub(super) fn single_items(&self, items: &mut Vec<Item>) {
        items.push(heading("Deleted blocks"));
        if self.lesions.iter().any(|lesion| lesion.blocks.len() == 1) {
            items.push(Item::Figure(self.single_figure()));
        }
        let rows = std::iter::once(self.row(&[], &self.whole));
        let rows = rows.chain(
            self.lesions
                .iter()
                .map(|lesion| self.row(&lesion.blocks, &lesion.evaluation)),
        );
        let evaluations = self.lesions.iter().map(|lesion| &lesion.evaluation);
        let evaluations = std::iter::once(&self.whole).chain(evaluations);
        items.push(flagged(
            Table {
                name: "lesions".into(),
                title: format!("{}: error and loss with deleted blocks", self.label),
                columns: lesion_columns("deleted", self.has_top5()),
                rows: rows.collect(),
                file_only: false,
            },
            evaluations,
        ));
        for (index, other) in self.compared.iter().enumerate() {
            let rows = other.single.iter().map(|lesion| {
                let named = [numbers(&lesion.blocks).into(), lesion.names.join(" ").into()];
                named.into_iter().chain(evaluation_values(&lesion.evaluation)).collect()
            });
            items.push(flagged(
                Table {
                    name: format!("beside-{}-{}", index + 1, file_name(&other.label)),
                    title: format!(
                        "{}: error {:.2} % with nothing deleted",
                        other.label,
                        100.0 * other.whole.error
                    ),
                    columns: [Column::plain("blocks", "deleted"), Column::plain("names", "names")]
                        .into_iter()
                        .chain(evaluation_columns(other.whole.top5_wrong.is_some()))
                        .collect(),
                    rows: rows.collect(),
                    file_only: false,
                },
                other.single.iter().map(|lesion| &lesion.evaluation),
            ));
        }
    }

    fn single_figure(&self) -> Figure {
        let mut layers = self.stages();
        let own: Vec<Mark> = self.singles().into_iter().map(|lesion| self.mark(lesion)).collect();
        layers.push(Layer::Line {
            label: self.label.clone(),
            marks: own,
        });
        layers.push(Layer::Level {
            label: format!("{}, nothing deleted: {:.2} %", self.label, 100.0 * self.whole.error),
            y: 100.0 * self.whole.error,
            series: self.label.clone(),
        });
        if let Some(whole) = self.whole.top5_error {
            let marks = self.singles().into_iter().filter_map(|lesion| self.top5_mark(lesion));
            layers.push(Layer::Level {
                label: format!("{}, top-5, nothing deleted: {:.2} %", self.label, 100.0 * whole),
                y: 100.0 * whole,
                series: format!("{}, top-5", self.label),
            });
            layers.push(Layer::Line {
                label: format!("{}, top-5", self.label),
                marks: marks.collect(),
            });
        }
        for other in &self.compared {
            let marks = other.single.iter().map(|lesion| Mark {
                x: lesion.blocks[0] as f64,
                y: error_or_off_scale(&lesion.evaluation),
                interval: Some(percent(lesion.evaluation.interval)),
                strong: other.downsampling.contains(&lesion.blocks[0]),
                text: format!(
                    "{}, block {} ({}{}): error {:.2} %, {}",
                    other.label,
                    lesion.blocks[0],
                    lesion.names.join(" "),
                    if other.downsampling.contains(&lesion.blocks[0]) {
                        ", downsamples"
                    } else {
                        ""
                    },
                    100.0 * lesion.evaluation.error,
                    loss_words(&lesion.evaluation)
                ),
            });
            layers.push(Layer::Line {
                label: other.label.clone(),
                marks: marks.collect(),
            });
            layers.push(Layer::Level {
                label: format!("{}, nothing deleted: {:.2} %", other.label, 100.0 * other.whole.error),
                y: 100.0 * other.whole.error,
                series: other.label.clone(),
            });
        }
        let longest = self.compared.iter().map(|other| other.single.len()).max().unwrap_or(0);
        let last = longest.max(self.blocks.len()) as f64;
        Figure {
            name: "lesions".into(),
            title: if self.compared.is_empty() {
                format!("{}: test error with one block deleted", self.label)
            } else {
                "Test error with one block deleted".into()
            },
            caption: "One block at a time is replaced by its shortcut. Whiskers are 95 % Wilson intervals.".into(),
            emphasis: DOWNSAMPLES.into(),
            x: Axis::linear("deleted block").within(0.5, last + 0.5),
            y: Axis::linear("test error (%)"),
            layers,
        }
    }

    /// The top-5 error of a lesion of one block, where it was measured.
    fn top5_mark(&self, lesion: &Lesion) -> Option<Mark> {
        let error = 100.0 * lesion.evaluation.top5_error?;
        let number = lesion.blocks[0];
        let block = &self.blocks[number - 1];
        Some(Mark {
            strong: block.downsamples,
            ..Mark::new(
                number as f64,
                error,
                format!("block {number} ({}): top-5 error {error:.2} %", block.name),
            )
        })
    }

    /// Shades for every other stage. There are none if networks with other
    /// stages are compared.
    fn stages(&self) -> Vec<Layer> {
        let mut shades = Vec::new();
        if !self.compared.is_empty() {
            return shades;
        }
        let mut first = 0;
        for stage in self.blocks.chunk_by(|a, b| a.stage == b.stage) {
            if stage[0].stage % 2 == 0 {
                shades.push(Layer::Shade {
                    label: format!("stage {}", stage[0].stage),
                    from: first as f64 + 0.5,
                    to: (first + stage.len()) as f64 + 0.5,
                });
            }
            first += stage.len();
        }
        shades
    }

    pub(super) fn class_items(&self, items: &mut Vec<Item>) {
        let singles = self.singles();
        if singles.is_empty() || self.classes.len() > 100 {
            return;
        }
        let change = |evaluation: &Evaluation, class: usize| {
            let images = self.class_images[class];
            (images > 0).then(|| {
                let now = evaluation.wrong_by_class[class] as f64;
                (now - self.whole.wrong_by_class[class] as f64) / images as f64
            })
        };
        let classes = 0..self.classes.len();
        let rows = singles.iter().map(|lesion| {
            let mut row: Vec<Value> = vec![numbers(&lesion.blocks).into(), lesion.names.join(" ").into()];
            row.extend(classes.clone().map(|class| json!(change(&lesion.evaluation, class))));
            row
        });
        let mut columns = vec![Column::plain("block", "deleted"), Column::plain("name", "name")];
        columns.extend(self.classes.iter().map(|class| Column::percent(class, class)));
        let cells = singles.iter().flat_map(|lesion| {
            let number = lesion.blocks[0];
            classes.clone().map(move |class| {
                let value = change(&lesion.evaluation, class).map(|change| 100.0 * change);
                Cell {
                    x: class + 1,
                    y: number,
                    value,
                    text: format!(
                        "without block {number}, {}: {:+.1} points of error",
                        self.classes[class],
                        value.unwrap_or_default()
                    ),
                }
            })
        });
        items.push(heading("By class"));
        items.push(Item::Figure(Figure {
            name: "classes".into(),
            title: format!("{}: change of the error of each class", self.label),
            caption: "Percentage points by which the error of a class changes when one block is deleted: below zero, the class is \
                      classified better without the block."
                    .into(),
            emphasis: String::new(),
            x: Axis::named("class", self.classes.clone()),
            y: Axis::named("deleted block", self.block_names()),
            layers: vec![Layer::Heat {
                label: "change of error (percentage points)".into(),
                signed: true,
                cells: cells.collect(),
            }],
        }));
        items.push(Item::Table(Table {
            name: "classes".into(),
            title: "Change of the error of each class (percentage points)".into(),
            columns: distinct(columns),
            rows: rows.collect(),
            file_only: self.blocks.len() > 30,
        }));
    }

    pub(super) fn control_items(&self, items: &mut Vec<Item>) {
        if self.without_shortcut.is_empty() {
            return;
        }
        let singles = self.singles();
        let marks = |lesions: &[&Lesion], what: &str| -> Vec<Mark> {
            let mark = |lesion: &&Lesion| Mark {
                text: format!("{}, {what}", self.mark(lesion).text),
                ..self.mark(lesion)
            };
            lesions.iter().map(mark).collect()
        };
        let controls: Vec<&Lesion> = self.without_shortcut.iter().collect();
        items.push(heading("Control: shortcut deleted instead of branch"));
        items.push(Item::Figure(Figure {
            name: "without-shortcut".into(),
            title: format!("{}: branch deleted, and shortcut deleted", self.label),
            caption:
                "If a network behaves like an ensemble of paths, it tolerates a deleted branch, which removes half of \
                      the paths, but not a deleted shortcut, after which all paths go through the branch."
                    .into(),
            emphasis: DOWNSAMPLES.into(),
            x: Axis::linear("block").within(0.5, self.blocks.len() as f64 + 0.5),
            y: Axis::linear("test error (%)"),
            layers: vec![
                Layer::Line {
                    label: "branch deleted".into(),
                    marks: marks(&singles, "branch deleted"),
                },
                Layer::Line {
                    label: "shortcut deleted".into(),
                    marks: marks(&controls, "shortcut deleted"),
                },
            ],
        }));
        let rows = controls
            .iter()
            .map(|lesion| self.row(&lesion.blocks, &lesion.evaluation));
        items.push(flagged(
            Table {
                name: "without-shortcut".into(),
                title: "Shortcut deleted".into(),
                columns: lesion_columns("block", self.has_top5()),
                rows: rows.collect(),
                file_only: false,
            },
            self.without_shortcut.iter().map(|lesion| &lesion.evaluation),
        ));
    }

    pub(super) fn response_items(&self, items: &mut Vec<Item>) {
        if self.responses.is_empty() {
            return;
        }
        let named = || self.responses.iter().zip(&self.blocks).enumerate();
        let marks = named().map(|(index, (response, block))| Mark {
            x: (index + 1) as f64,
            y: response.ratio,
            interval: None,
            strong: block.downsamples,
            text: format!(
                "block {} ({}): ‖F(x)‖/‖x‖ {:.3}, cosine {:+.3}, standard deviation {:.3}",
                index + 1,
                block.name,
                response.ratio,
                response.cosine,
                response.deviation
            ),
        });
        items.push(heading("Contribution of each block"));
        items.push(Item::Figure(Figure {
            name: "responses".into(),
            title: format!("{}: contribution of each block, ‖F(x)‖ / ‖x‖", self.label),
            caption: "Ratio of the norms of branch and shortcut, averaged over images.".into(),
            emphasis: DOWNSAMPLES.into(),
            x: Axis::linear("block").within(0.5, self.blocks.len() as f64 + 0.5),
            y: Axis::linear("‖F(x)‖ / ‖x‖"),
            layers: vec![Layer::Bars {
                label: "‖F(x)‖ / ‖x‖".into(),
                marks: marks.collect(),
            }],
        }));
        let rows = named().map(|(index, (response, block))| {
            vec![
                (index + 1).into(),
                block.name.clone().into(),
                response.ratio.into(),
                response.cosine.into(),
                response.deviation.into(),
            ]
        });
        items.push(Item::Table(Table {
            name: "responses".into(),
            title: "Contribution of each block".into(),
            columns: vec![
                Column::plain("block", "block"),
                Column::plain("name", "name"),
                Column::number("ratio", "‖F(x)‖ / ‖x‖", 4),
                Column::number("cosine", "cos(F(x), x)", 4),
                Column::number("deviation", "std of F(x)", 4),
            ],
            rows: rows.collect(),
            file_only: false,
        }));
    }
}
