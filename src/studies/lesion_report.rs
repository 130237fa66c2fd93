//! How is a lesion study told?

use serde_json::{Value, json};

use super::judge::Verdict;
use super::lesion::{Lesion, Reordering};
use super::response::Response;
use super::statistics::{five_numbers, mean};
use super::sweep::file_name;
use crate::graph::Block;
use crate::report::{Axis, BoxMark, Cell, Column, Figure, Item, Layer, Mark, Table};

/// Random deletions from one pool of blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomDeletions {
    /// Which blocks: "all blocks", "blocks that do not downsample".
    pub pool: String,
    /// For each trial, what was deleted.
    pub lesions: Vec<Lesion>,
}

/// Another network on the same axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// Its name.
    pub label: String,
    /// The whole network.
    pub whole: Verdict,
    /// Each block deleted in turn.
    pub single: Vec<Lesion>,
    /// Numbers of the blocks that downsample.
    pub downsampling: Vec<usize>,
}

/// Everything that a lesion study found.
#[derive(Debug, Clone, PartialEq)]
pub struct LesionFindings {
    /// The network's name.
    pub label: String,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Test images of each class.
    pub class_images: Vec<usize>,
    /// Nothing deleted.
    pub whole: Verdict,
    /// What was asked for by number, or each block in turn.
    pub lesions: Vec<Lesion>,
    /// Many at random.
    pub random: Vec<RandomDeletions>,
    /// Blocks in another order.
    pub reorderings: Vec<Reordering>,
    /// All pairs.
    pub pairs: Vec<Lesion>,
    /// One after the other, the least missed first.
    pub greedy: Vec<Lesion>,
    /// The shortcut taken instead of the branch.
    pub without_shortcut: Vec<Lesion>,
    /// What each block adds.
    pub responses: Vec<Response>,
    /// Other networks.
    pub beside: Vec<Neighbour>,
}

impl LesionFindings {
    /// Each block deleted alone, by number, where all were.
    fn singles(&self) -> Vec<&Lesion> {
        let mut singles: Vec<&Lesion> = self.lesions.iter().filter(|lesion| lesion.blocks.len() == 1).collect();
        singles.sort_by_key(|lesion| lesion.blocks[0]);
        singles
    }

    /// What programs read.
    pub fn json(&self) -> Value {
        let mut object = json!({ "baseline": self.whole, "lesions": self.lesions });
        let mut set = |key: &str, value: Value, there: bool| {
            if there {
                object[key] = value;
            }
        };
        let random: Vec<Value> = self
            .random
            .iter()
            .map(|random| json!({ "pool": random.pool, "lesions": random.lesions }))
            .collect();
        set("random", random.into(), !self.random.is_empty());
        set("reorderings", json!(self.reorderings), !self.reorderings.is_empty());
        set("pairs", json!(self.pairs), !self.pairs.is_empty());
        set("greedy", json!(self.greedy), !self.greedy.is_empty());
        set(
            "without_shortcut",
            json!(self.without_shortcut),
            !self.without_shortcut.is_empty(),
        );
        set("responses", json!(self.responses), !self.responses.is_empty());
        let beside: Vec<Value> = self
            .beside
            .iter()
            .map(|other| json!({ "model": other.label, "baseline": other.whole, "lesions": other.single }))
            .collect();
        set("beside", beside.into(), !self.beside.is_empty());
        if let Some(saving) = self.saving() {
            object["cost"] = saving;
        }
        object
    }

    /// What deleting each block in turn cost, against whole passes.
    fn saving(&self) -> Option<Value> {
        let singles = self.singles();
        let whole = self.whole.seconds;
        if singles.len() < 2 || whole <= 0.0 {
            return None;
        }
        let seconds: f64 = singles.iter().map(|lesion| lesion.verdict.seconds).sum();
        Some(json!({
            "lesions": singles.len(),
            "seconds": seconds,
            "whole_pass_seconds": whole,
            "passes": seconds / whole,
            "share_of_separate_passes": seconds / whole / singles.len() as f64,
        }))
    }

    /// The parts of the report.
    pub fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        self.single_items(&mut items);
        self.class_items(&mut items);
        self.control_items(&mut items);
        self.response_items(&mut items);
        self.random_items(&mut items);
        self.reorder_items(&mut items);
        self.pair_items(&mut items);
        self.greedy_items(&mut items);
        items
    }

    fn single_items(&self, items: &mut Vec<Item>) {
        items.push(heading("Deleted blocks"));
        if let Some(saving) = self.saving() {
            items.push(text(format!(
                "What the lesions have in common was computed once: {} lesions took {:.1} s, as long as {:.2} passes of \
                 the whole network ({:.2} s each), {:.0} % of what they cost apart.",
                saving["lesions"],
                saving["seconds"].as_f64().unwrap_or_default(),
                saving["passes"].as_f64().unwrap_or_default(),
                self.whole.seconds,
                100.0 * saving["share_of_separate_passes"].as_f64().unwrap_or_default(),
            )));
        }
        if self.lesions.iter().any(|lesion| lesion.blocks.len() == 1) {
            items.push(Item::Figure(self.single_figure()));
        }
        let rows = std::iter::once(self.row(&[], &self.whole));
        let rows = rows.chain(
            self.lesions
                .iter()
                .map(|lesion| self.row(&lesion.blocks, &lesion.verdict)),
        );
        items.push(Item::Table(Table {
            name: "lesions".into(),
            title: format!("{}: what is lost with each block", self.label),
            columns: lesion_columns("deleted"),
            rows: rows.collect(),
            file_only: false,
        }));
        for (index, other) in self.beside.iter().enumerate() {
            let rows = other.single.iter().map(|lesion| {
                vec![
                    numbers(&lesion.blocks).into(),
                    lesion.names.join(" ").into(),
                    lesion.verdict.wrong.into(),
                    lesion.verdict.error.into(),
                    lesion.verdict.loss.into(),
                ]
            });
            items.push(Item::Table(Table {
                name: format!("beside-{}-{}", index + 1, file_name(&other.label)),
                title: format!(
                    "{}: error {:.2} % with nothing deleted",
                    other.label,
                    100.0 * other.whole.error
                ),
                columns: vec![
                    Column::plain("blocks", "deleted"),
                    Column::plain("names", "names"),
                    Column::plain("wrong", "wrong"),
                    Column::percent("error", "error (%)"),
                    Column::number("loss", "loss (nats)", 4),
                ],
                rows: rows.collect(),
                file_only: false,
            }));
        }
    }

    fn row(&self, blocks: &[usize], verdict: &Verdict) -> Vec<Value> {
        vec![
            numbers(blocks).into(),
            if blocks.is_empty() {
                "nothing".into()
            } else {
                self.names(blocks).into()
            },
            verdict.images.into(),
            verdict.wrong.into(),
            verdict.error.into(),
            verdict.interval[0].into(),
            verdict.interval[1].into(),
            verdict.loss.into(),
            (verdict.loss - self.whole.loss).into(),
        ]
    }

    fn names(&self, blocks: &[usize]) -> String {
        let names: Vec<&str> = blocks.iter().map(|number| &self.blocks[number - 1].name[..]).collect();
        names.join(" ")
    }

    fn single_figure(&self) -> Figure {
        let mut layers = self.stages();
        let own: Vec<Mark> = self.singles().into_iter().map(|lesion| self.mark(lesion)).collect();
        layers.push(Layer::Level {
            label: format!("{}, nothing deleted: {:.2} %", self.label, 100.0 * self.whole.error),
            y: 100.0 * self.whole.error,
        });
        layers.push(Layer::Line {
            label: self.label.clone(),
            marks: own,
        });
        for other in &self.beside {
            let marks = other.single.iter().map(|lesion| Mark {
                x: lesion.blocks[0] as f64,
                y: 100.0 * lesion.verdict.error,
                interval: Some(percent(lesion.verdict.interval)),
                strong: other.downsampling.contains(&lesion.blocks[0]),
                text: format!(
                    "{}, block {} ({}{}): {:.2} %",
                    other.label,
                    lesion.blocks[0],
                    lesion.names.join(" "),
                    if other.downsampling.contains(&lesion.blocks[0]) {
                        ", downsamples"
                    } else {
                        ""
                    },
                    100.0 * lesion.verdict.error
                ),
            });
            layers.push(Layer::Line {
                label: other.label.clone(),
                marks: marks.collect(),
            });
            layers.push(Layer::Level {
                label: format!("{}, nothing deleted: {:.2} %", other.label, 100.0 * other.whole.error),
                y: 100.0 * other.whole.error,
            });
        }
        let longest = self.beside.iter().map(|other| other.single.len()).max().unwrap_or(0);
        let last = longest.max(self.blocks.len()) as f64;
        Figure {
            name: "lesions".into(),
            title: format!("{}: test error with one block deleted", self.label),
            caption:
                "One block deleted at a time; whiskers are 95 % Wilson intervals, shades (if any) are stages, and \
                      emphasised marks are blocks that downsample."
                    .into(),
            x: Axis::linear("deleted block").within(0.5, last + 0.5),
            y: Axis::linear("test error (%)"),
            layers,
        }
    }

    /// Every other stage, shaded; none where networks of other stages stand
    /// beside.
    fn stages(&self) -> Vec<Layer> {
        let mut shades = Vec::new();
        if !self.beside.is_empty() {
            return shades;
        }
        let mut first = 0;
        for stage in self.blocks.chunk_by(|a, b| a.stage == b.stage) {
            if stage[0].stage % 2 == 0 {
                shades.push(Layer::Shade {
                    label: String::new(),
                    from: first as f64 + 0.5,
                    to: (first + stage.len()) as f64 + 0.5,
                });
            }
            first += stage.len();
        }
        shades
    }

    fn mark(&self, lesion: &Lesion) -> Mark {
        let number = lesion.blocks[0];
        let Verdict {
            error, loss, interval, ..
        } = lesion.verdict;
        let downsamples = self.blocks[number - 1].downsamples;
        Mark {
            x: number as f64,
            y: 100.0 * error,
            interval: Some(percent(interval)),
            strong: downsamples,
            text: format!(
                "block {number} ({}{}): error {:.2} % ({:+.2} points), loss {loss:.3}",
                self.blocks[number - 1].name,
                if downsamples { ", downsamples" } else { "" },
                100.0 * error,
                100.0 * (error - self.whole.error),
            ),
        }
    }

    fn class_items(&self, items: &mut Vec<Item>) {
        let singles = self.singles();
        if singles.is_empty() || self.classes.len() > 100 {
            return;
        }
        let change = |verdict: &Verdict, class: usize| {
            let images = self.class_images[class];
            (images > 0).then(|| {
                let now = verdict.wrong_by_class[class] as f64;
                (now - self.whole.wrong_by_class[class] as f64) / images as f64
            })
        };
        let classes = 0..self.classes.len();
        let rows = singles.iter().map(|lesion| {
            let mut row: Vec<Value> = vec![numbers(&lesion.blocks).into(), lesion.names.join(" ").into()];
            row.extend(classes.clone().map(|class| json!(change(&lesion.verdict, class))));
            row
        });
        let mut columns = vec![Column::plain("block", "deleted"), Column::plain("name", "name")];
        columns.extend(self.classes.iter().map(|class| Column::percent(class, class)));
        let cells = singles.iter().flat_map(|lesion| {
            let number = lesion.blocks[0];
            classes.clone().map(move |class| {
                let value = change(&lesion.verdict, class).map(|change| 100.0 * change);
                Cell {
                    x: number,
                    y: class + 1,
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
            title: format!("{}: change of each class's error", self.label),
            caption: "Percentage points by which the error of a class changes when one block is deleted.".into(),
            x: Axis::named("deleted block", self.block_names()),
            y: Axis::named("class", self.classes.clone()),
            layers: vec![Layer::Heat {
                label: "change of error (percentage points)".into(),
                cells: cells.collect(),
            }],
        }));
        items.push(Item::Table(Table {
            name: "classes".into(),
            title: "Change of each class's error, percentage points".into(),
            columns,
            rows: rows.collect(),
            file_only: self.blocks.len() > 30,
        }));
    }

    fn block_names(&self) -> Vec<String> {
        let names = self.blocks.iter().enumerate();
        names
            .map(|(index, block)| format!("{} {}", index + 1, block.name))
            .collect()
    }

    fn control_items(&self, items: &mut Vec<Item>) {
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
        items.push(heading("Control: the shortcut taken instead of the branch"));
        items.push(Item::Figure(Figure {
            name: "without-shortcut".into(),
            title: format!("{}: branch deleted, and shortcut deleted", self.label),
            caption: "A network that is an ensemble of paths survives the loss of a branch, which halves the paths, \
                      and not that of a shortcut, which leaves one way through."
                .into(),
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
        let rows = controls.iter().map(|lesion| self.row(&lesion.blocks, &lesion.verdict));
        items.push(Item::Table(Table {
            name: "without-shortcut".into(),
            title: "Shortcut deleted".into(),
            columns: lesion_columns("block"),
            rows: rows.collect(),
            file_only: false,
        }));
    }

    fn response_items(&self, items: &mut Vec<Item>) {
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
        items.push(heading("Responses"));
        items.push(Item::Figure(Figure {
            name: "responses".into(),
            title: format!("{}: what each block adds, ‖F(x)‖ / ‖x‖", self.label),
            caption: "Mean over images of the branch's norm against the shortcut's.".into(),
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
            title: "What each block adds".into(),
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

    fn random_items(&self, items: &mut Vec<Item>) {
        if self.random.is_empty() {
            return;
        }
        items.push(heading("Many blocks deleted at random"));
        let mut layers = vec![Layer::Level {
            label: format!("nothing deleted: {:.2} %", 100.0 * self.whole.error),
            y: 100.0 * self.whole.error,
        }];
        let mut rows = Vec::new();
        for random in &self.random {
            let mut boxes = Vec::new();
            for lesions in random.lesions.chunk_by(|a, b| a.blocks.len() == b.blocks.len()) {
                let count = lesions[0].blocks.len();
                let errors: Vec<f64> = lesions.iter().map(|lesion| lesion.verdict.error).collect();
                let five = five_numbers(&errors);
                let losses: Vec<f64> = lesions.iter().map(|lesion| lesion.verdict.loss).collect();
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
                    mean(&losses).into(),
                ]);
                let five = five.map(|error| 100.0 * error);
                boxes.push(BoxMark {
                    x: count as f64,
                    five,
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
            caption: "Boxes are quartiles with the median, whiskers the smallest and largest error of the trials."
                .into(),
            x: Axis::linear("number of blocks deleted"),
            y: Axis::linear("test error (%)"),
            layers,
        }));
        items.push(Item::Table(Table {
            name: "random".into(),
            title: "Error by number of deleted blocks".into(),
            columns: vec![
                Column::plain("pool", "from"),
                Column::plain("deleted", "deleted"),
                Column::plain("trials", "trials"),
                Column::percent("smallest", "smallest (%)"),
                Column::percent("lower_quartile", "quartile (%)"),
                Column::percent("median", "median (%)"),
                Column::percent("upper_quartile", "quartile (%)"),
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
                vec![
                    pool.clone().into(),
                    lesion.blocks.len().into(),
                    numbers(&lesion.blocks).into(),
                    lesion.verdict.wrong.into(),
                    lesion.verdict.error.into(),
                    lesion.verdict.loss.into(),
                ]
            })
        });
        items.push(Item::Table(Table {
            name: "random-trials".into(),
            title: "Every trial".into(),
            columns: [
                Column::plain("pool", "from"),
                Column::plain("deleted", "deleted"),
                Column::plain("blocks", "blocks"),
            ]
            .into_iter()
            .chain(verdict_columns())
            .collect(),
            rows: rows.collect(),
            file_only: true,
        }));
    }

    fn reorder_items(&self, items: &mut Vec<Item>) {
        if self.reorderings.is_empty() {
            return;
        }
        items.push(heading("Blocks in another order"));
        let marks = self.reorderings.iter().map(|reordering| {
            Mark::new(
                reordering.tau,
                100.0 * reordering.verdict.error,
                format!(
                    "{} swaps, τ {:.3}: error {:.2} %, loss {:.3}",
                    reordering.swaps.len(),
                    reordering.tau,
                    100.0 * reordering.verdict.error,
                    reordering.verdict.loss
                ),
            )
        });
        let mut by_tau: Vec<&Reordering> = self.reorderings.iter().collect();
        by_tau.sort_by(|a, b| a.tau.total_cmp(&b.tau));
        // As many values in each bin as there are, up to the square root of all.
        let per_bin = (by_tau.len() as f64).sqrt().ceil() as usize;
        let means = by_tau.chunks(per_bin.max(1)).map(|bin| {
            let of = |value: fn(&Reordering) -> f64| mean(&bin.iter().map(|&one| value(one)).collect::<Vec<_>>());
            let (tau, error) = (of(|one| one.tau), 100.0 * of(|one| one.verdict.error));
            Mark::new(
                tau,
                error,
                format!("mean of {} orders, τ {tau:.3}: error {error:.2} %", bin.len()),
            )
        });
        items.push(Item::Figure(Figure {
            name: "reorder".into(),
            title: format!("{}: test error with blocks in another order", self.label),
            caption: "Pairs of blocks of one shape change places; Kendall's τ is 1 in the trained order.".into(),
            x: Axis::linear("Kendall's rank correlation τ"),
            y: Axis::linear("test error (%)"),
            layers: vec![
                Layer::Level {
                    label: format!("trained order: {:.2} %", 100.0 * self.whole.error),
                    y: 100.0 * self.whole.error,
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
            vec![
                reordering.swaps.len().into(),
                swaps.join(" ").into(),
                reordering.tau.into(),
                reordering.verdict.wrong.into(),
                reordering.verdict.error.into(),
                reordering.verdict.loss.into(),
            ]
        });
        items.push(Item::Table(Table {
            name: "reorder".into(),
            title: "Every order".into(),
            columns: [
                Column::plain("swaps", "swaps"),
                Column::plain("pairs", "pairs"),
                Column::number("tau", "τ", 4),
            ]
            .into_iter()
            .chain(verdict_columns())
            .collect(),
            rows: rows.collect(),
            file_only: self.reorderings.len() > 60,
        }));
    }

    fn pair_items(&self, items: &mut Vec<Item>) {
        if self.pairs.is_empty() {
            return;
        }
        let alone = |number: usize| {
            let single = self.singles().into_iter().find(|lesion| lesion.blocks[0] == number);
            single.map_or(f64::NAN, |lesion| lesion.verdict.error)
        };
        let alone: Vec<f64> = (1..=self.blocks.len()).map(alone).collect();
        let interaction = |lesion: &Lesion| {
            let [a, b] = [lesion.blocks[0], lesion.blocks[1]].map(|number| alone[number - 1]);
            lesion.verdict.error - a - b + self.whole.error
        };
        let cells = |value: &dyn Fn(&Lesion) -> f64, what: &str| -> Vec<Cell> {
            let both = |lesion: &Lesion| {
                let [a, b] = [lesion.blocks[0], lesion.blocks[1]];
                let value = 100.0 * value(lesion);
                let cell = |x, y| Cell {
                    x,
                    y,
                    value: value.is_finite().then_some(value),
                    text: format!(
                        "blocks {a} ({}) and {b} ({}): {what} {value:.2}",
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
        let figure = |name: &str, title: &str, caption: &str, label: &str, cells| {
            Item::Figure(Figure {
                name: name.into(),
                title: format!("{}: {title}", self.label),
                caption: caption.into(),
                x: Axis::named("deleted block", names.clone()),
                y: Axis::named("deleted block", names.clone()),
                layers: vec![Layer::Heat {
                    label: label.into(),
                    cells,
                }],
            })
        };
        items.push(figure(
            "pairs",
            "test error with two blocks deleted",
            "Each cell is a pair; the matrix is symmetric.",
            "test error (%)",
            cells(&|lesion| lesion.verdict.error, "test error (%)"),
        ));
        items.push(figure(
            "interaction",
            "how blocks depend on each other",
            "Error without both, less the errors that each alone adds: above zero, the two are missed together more \
             than apart.",
            "interaction (percentage points)",
            cells(&interaction, "interaction (points)"),
        ));
        let rows = self.pairs.iter().map(|lesion| {
            vec![
                lesion.blocks[0].into(),
                lesion.blocks[1].into(),
                lesion.verdict.wrong.into(),
                lesion.verdict.error.into(),
                lesion.verdict.loss.into(),
                json!(interaction(lesion)),
            ]
        });
        items.push(Item::Table(Table {
            name: "pairs".into(),
            title: "Two blocks deleted".into(),
            columns: vec![
                Column::plain("first", "first"),
                Column::plain("second", "second"),
                Column::plain("wrong", "wrong"),
                Column::percent("error", "error (%)"),
                Column::number("loss", "loss (nats)", 4),
                Column::percent("interaction", "interaction (points)"),
            ],
            rows: rows.collect(),
            file_only: self.pairs.len() > 60,
        }));
    }

    fn greedy_items(&self, items: &mut Vec<Item>) {
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
                y: 100.0 * lesion.verdict.error,
                interval: Some(percent(lesion.verdict.interval)),
                strong: self.blocks[number - 1].downsamples,
                text: format!(
                    "{} deleted, last block {number} ({}): error {:.2} %",
                    index + 1,
                    self.blocks[number - 1].name,
                    100.0 * lesion.verdict.error
                ),
            }
        });
        items.push(heading("One after the other, the least missed first"));
        items.push(Item::Figure(Figure {
            name: "greedy".into(),
            title: format!("{}: the least missed block deleted, again and again", self.label),
            caption: "Each time the block goes whose absence costs the least loss.".into(),
            x: Axis::linear("number of blocks deleted"),
            y: Axis::linear("test error (%)"),
            layers: vec![
                Layer::Level {
                    label: format!("nothing deleted: {:.2} %", 100.0 * self.whole.error),
                    y: 100.0 * self.whole.error,
                },
                Layer::Line {
                    label: "greedy deletion".into(),
                    marks: marks.collect(),
                },
            ],
        }));
        let rows = self.greedy.iter().enumerate().map(|(index, lesion)| {
            let number = new(index);
            vec![
                (index + 1).into(),
                number.into(),
                self.blocks[number - 1].name.clone().into(),
                lesion.verdict.wrong.into(),
                lesion.verdict.error.into(),
                lesion.verdict.loss.into(),
            ]
        });
        items.push(Item::Table(Table {
            name: "greedy".into(),
            title: "In which order blocks can go".into(),
            columns: [
                Column::plain("deleted", "deleted"),
                Column::plain("block", "last block"),
                Column::plain("name", "name"),
            ]
            .into_iter()
            .chain(verdict_columns())
            .collect(),
            rows: rows.collect(),
            file_only: false,
        }));
    }
}

/// Columns of [`LesionFindings::row`]; `what` heads the blocks.
fn lesion_columns(what: &str) -> Vec<Column> {
    vec![
        Column::plain("blocks", what),
        Column::plain("names", "names"),
        Column::plain("images", "images"),
        Column::plain("wrong", "wrong"),
        Column::percent("error", "error (%)"),
        Column::percent("interval_low", "95 % from"),
        Column::percent("interval_high", "to"),
        Column::number("loss", "loss (nats)", 4),
        Column::number("loss_change", "Δ loss", 4),
    ]
}

/// Columns of a verdict's wrong answers, error and loss.
fn verdict_columns() -> [Column; 3] {
    [
        Column::plain("wrong", "wrong"),
        Column::percent("error", "error (%)"),
        Column::number("loss", "loss (nats)", 4),
    ]
}

fn heading(text: &str) -> Item {
    Item::Heading { text: text.into() }
}

fn text(text: String) -> Item {
    Item::Text { text }
}

fn numbers(blocks: &[usize]) -> String {
    let numbers: Vec<String> = blocks.iter().map(usize::to_string).collect();
    numbers.join(" ")
}

fn percent(interval: [f64; 2]) -> (f64, f64) {
    (100.0 * interval[0], 100.0 * interval[1])
}
