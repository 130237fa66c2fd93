//! How does the report present a path study?

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::gradient::PathNorms;
use super::{contributions, effective_range, line_through, share_of_paths};
use crate::report::{Axis, Column, Figure, Item, Layer, Mark, Table};
use crate::studies::statistics::{five_numbers, mean};

/// The share of the gradient that the effective range of lengths holds.
const SHARE: f64 = 0.95;

/// All results of a path study.
#[derive(Debug, Clone, PartialEq)]
pub struct PathFindings {
    /// The network's name.
    pub label: String,
    /// Number of blocks.
    pub blocks: usize,
    /// Number of blocks with a shortcut.
    pub residual_blocks: usize,
    /// Whether every block is on every path.
    pub is_chain: bool,
    /// The binary logarithm of the number of paths.
    pub log2_paths: f64,
    /// The share of paths by number of branches.
    pub in_blocks: Vec<f64>,
    /// The share of paths by number of convolutions.
    pub in_convolutions: Vec<f64>,
    /// The lengths that were sampled, and the measured norms.
    pub sampled: Option<(RangeInclusive<usize>, PathNorms)>,
    /// Whether a ReLU follows the sum of a block, so that the forward pass is
    /// not exactly a sum over paths.
    pub post_activation: bool,
}

/// The results for one length.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    length: usize,
    share: f64,
    norms: Vec<f64>,
    contribution: f64,
}

impl PathFindings {
    fn rows(&self) -> Vec<Row> {
        let norms = |length: usize| -> Vec<f64> {
            let Some((lengths, norms)) = &self.sampled else {
                return Vec::new();
            };
            let index = lengths.contains(&length).then(|| length - lengths.start());
            index
                .and_then(|index| norms.by_length.get(index).cloned())
                .unwrap_or_default()
        };
        let all: Vec<Vec<f64>> = (0..self.in_blocks.len()).map(norms).collect();
        let means: Vec<Option<f64>> = all
            .iter()
            .map(|norms| (!norms.is_empty()).then(|| mean(norms)))
            .collect();
        let parts = contributions(&self.in_blocks, &means);
        let row = |(length, (norms, contribution))| Row {
            length,
            share: self.in_blocks[length],
            norms,
            contribution,
        };
        all.into_iter().zip(parts).enumerate().map(row).collect()
    }

    /// The shortest range of lengths that holds [`SHARE`] of the gradient, and
    /// its share of all paths.
    fn effective(&self, rows: &[Row]) -> Option<(RangeInclusive<usize>, f64)> {
        self.sampled.as_ref()?;
        let parts: Vec<f64> = rows.iter().map(|row| row.contribution).collect();
        let range = effective_range(&parts, SHARE);
        let share = share_of_paths(&self.in_blocks, &range);
        Some((range, share))
    }

    /// Slope and intercept of a line fitted to the logarithm of the mean norm
    /// over the length, for the lengths that were sampled.
    fn decay(rows: &[Row]) -> Option<(f64, f64)> {
        let sampled = rows.iter().filter(|row| !row.norms.is_empty());
        let points: Vec<(f64, f64)> = sampled
            .map(|row| (row.length as f64, mean(&row.norms).ln()))
            .filter(|point| point.1.is_finite())
            .collect();
        line_through(&points)
    }

    /// The results as one JSON object.
    pub fn json(&self) -> Value {
        let rows = self.rows();
        let lengths: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({
                    "length": row.length,
                    "share_of_paths": row.share,
                    "samples": row.norms.len(),
                    "mean_norm": (!row.norms.is_empty()).then(|| mean(&row.norms)),
                    "contribution": row.contribution,
                })
            })
            .collect();
        let effective = self.effective(&rows).map(|(range, share)| {
            json!({ "from": range.start(), "to": range.end(), "holds": SHARE, "share_of_paths": share })
        });
        json!({
            "blocks": self.residual_blocks,
            "log2_paths": self.log2_paths,
            "lengths": lengths,
            "lengths_in_convolutions": self.in_convolutions,
            "effective": effective,
            "decay_per_block": Self::decay(&rows).map(|(slope, _)| slope.exp()),
            "whole_gradient_norm": self.sampled.as_ref().map(|(_, norms)| mean(&norms.whole)),
        })
    }

    /// The sections of the report.
    pub fn items(&self) -> Vec<Item> {
        let rows = self.rows();
        let mut items = vec![
            Item::Heading {
                text: "Length of paths".into(),
            },
            Item::Text {
                text: self.count_text(),
            },
            Item::Figure(self.length_figure()),
            Item::Figure(self.convolution_figure()),
        ];
        // What deletions leave of paths that do not pass all blocks is no binomial
        // distribution.
        if self.is_chain {
            items.push(Item::Figure(self.remaining_figure()));
        }
        if self.sampled.is_some() {
            items.push(Item::Heading {
                text: "Gradient by path length".into(),
            });
            items.push(Item::Text {
                text: self.gradient_text(&rows),
            });
            items.push(Item::Figure(self.norm_figure(&rows)));
            items.push(Item::Figure(self.contribution_figure(&rows)));
        }
        items.push(Item::Table(self.table(&rows)));
        items
    }

    /// What was found, in one sentence: which lengths carry the gradient, or how
    /// long the paths are where no gradient was sampled.
    pub fn finding(&self) -> String {
        let longest = self.residual_blocks;
        if let Some((range, share)) = self.effective(&self.rows()) {
            return format!(
                "In {}, paths of {} to {} of the {longest} blocks carry {:.0} % of the gradient; they are {} of all paths.",
                self.label,
                range.start(),
                range.end(),
                100.0 * SHARE,
                share_words(share)
            );
        }
        let middle = effective_range(&self.in_blocks, SHARE);
        format!(
            "{} of the {} paths of {} are {} to {} blocks long.",
            share_words(share_of_paths(&self.in_blocks, &middle)),
            self.count_words(),
            self.label,
            middle.start(),
            middle.end()
        )
    }

    /// The number of paths: `2^54`, `3125`, `about 1.3e40`.
    fn count_words(&self) -> String {
        match self.log2_paths {
            log2 if log2 == log2.round() => format!("2^{log2}"),
            log2 if log2 < 50.0 => format!("{}", log2.exp2().round()),
            log2 => {
                let log10 = log2 * 2_f64.log10();
                format!("about {:.1}e{}", 10_f64.powf(log10.fract()), log10.floor())
            }
        }
    }

    fn count_text(&self) -> String {
        let middle = effective_range(&self.in_blocks, SHARE);
        let held = share_of_paths(&self.in_blocks, &middle);
        let activation = if self.post_activation {
            " In this network a ReLU follows the sum of each block. In the forward pass the output is therefore not \
             exactly a sum over paths. In the backward pass, with the activation pattern of the ReLUs fixed, the \
             gradient is exactly such a sum."
        } else {
            ""
        };
        let blocks = match self.is_chain {
            true => format!("{} residual blocks", self.residual_blocks),
            false => format!("{} blocks", self.blocks),
        };
        format!(
            "{blocks} give {} paths. {:.2} % of them are {} to {} blocks long.{activation}",
            self.count_words(),
            100.0 * held,
            middle.start(),
            middle.end()
        )
    }

    fn gradient_text(&self, rows: &[Row]) -> String {
        let mut text = String::new();
        if let Some((range, share)) = self.effective(rows) {
            text.push_str(&format!(
                "Paths of {} to {} blocks carry {:.0} % of the gradient. They are {} of all paths. ",
                range.start(),
                range.end(),
                100.0 * SHARE,
                share_words(share)
            ));
        }
        if let Some((slope, _)) = Self::decay(rows) {
            text.push_str(&format!(
                "Each additional block multiplies the norm by {:.3}. ",
                slope.exp()
            ));
        }
        if let Some((_, norms)) = &self.sampled {
            text.push_str(&format!(
                "The mean norm of the whole gradient is {:.4}.",
                mean(&norms.whole)
            ));
        }
        text
    }

    fn length_figure(&self) -> Figure {
        let marks = self.in_blocks.iter().enumerate().map(|(length, share)| {
            let text = format!("{length} blocks: {:.4} % of all paths", 100.0 * share);
            Mark::new(length as f64, 100.0 * share, text)
        });
        Figure {
            name: "lengths".into(),
            title: format!("{}: length of its paths", self.label),
            caption:
                "Share of paths by the number of branches that they take: binomial for a chain of residual blocks."
                    .into(),
            emphasis: String::new(),
            x: Axis::linear("path length (blocks)"),
            y: Axis::linear("share of all paths (%)"),
            layers: vec![Layer::Bars {
                label: "paths".into(),
                marks: marks.collect(),
            }],
        }
    }

    fn convolution_figure(&self) -> Figure {
        let present = self
            .in_convolutions
            .iter()
            .enumerate()
            .filter(|(_, share)| **share > 0.0);
        let marks = present.map(|(length, share)| {
            let text = format!("{length} convolutions: {:.4} % of all paths", 100.0 * share);
            Mark::new(length as f64, 100.0 * share, text)
        });
        Figure {
            name: "convolutions".into(),
            title: format!("{}: number of convolutions on its paths", self.label),
            caption: "The stem and the projections of shortcuts are included.".into(),
            emphasis: String::new(),
            x: Axis::linear("path length (convolutions)"),
            y: Axis::linear("share of all paths (%)"),
            layers: vec![Layer::Bars {
                label: "paths".into(),
                marks: marks.collect(),
            }],
        }
    }

    /// The paths that remain after deletions (Veit et al. 2016, figure 7).
    fn remaining_figure(&self) -> Figure {
        let n = self.residual_blocks;
        let always = self.in_blocks.iter().position(|share| *share > 0.0).unwrap_or(0);
        let mut counts: Vec<usize> = [0, n / 10, n / 5, 2 * n / 5].to_vec();
        counts.dedup();
        let layers = counts.into_iter().map(|deleted| {
            let mut share = vec![0.5_f64.powi(deleted as i32)];
            for _ in deleted..n {
                let mut next = vec![0.0; share.len() + 1];
                for (index, part) in share.iter().enumerate() {
                    next[index] += 0.5 * part;
                    next[index + 1] += 0.5 * part;
                }
                share = next;
            }
            let marks = share.iter().enumerate().map(|(length, share)| {
                let length = always + length;
                let text = format!("{deleted} deleted, {length} blocks: {share:.3e} of all paths");
                Mark::new(length as f64, *share, text)
            });
            Layer::Line {
                label: match deleted {
                    0 => "nothing deleted".into(),
                    1 => "1 block deleted".into(),
                    _ => format!("{deleted} blocks deleted"),
                },
                marks: marks.collect(),
            }
        });
        Figure {
            name: "remaining".into(),
            title: format!("{}: paths that remain when blocks are deleted", self.label),
            caption: "As shares of the paths of the whole network. Deleting blocks removes long paths first.".into(),
            emphasis: String::new(),
            x: Axis::linear("path length (blocks)"),
            y: Axis::log("share of the whole network's paths"),
            layers: layers.collect(),
        }
    }

    fn norm_figure(&self, rows: &[Row]) -> Figure {
        let sampled = || rows.iter().filter(|row| !row.norms.is_empty());
        let marks = sampled().map(|row| {
            let five = five_numbers(&row.norms);
            Mark {
                x: row.length as f64,
                y: mean(&row.norms),
                interval: Some((five[1], five[3])),
                strong: false,
                text: format!(
                    "{} blocks: mean norm {:.3e}, quartiles {:.3e} to {:.3e}, {} paths",
                    row.length,
                    mean(&row.norms),
                    five[1],
                    five[3],
                    row.norms.len()
                ),
            }
        });
        let mut layers = vec![Layer::Line {
            label: "mean norm".into(),
            marks: marks.collect(),
        }];
        if let Some((slope, intercept)) = Self::decay(rows) {
            let at = |row: &Row| {
                let y = (intercept + slope * row.length as f64).exp();
                Mark::new(row.length as f64, y, format!("fit at {} blocks: {y:.3e}", row.length))
            };
            layers.push(Layer::Line {
                label: format!("fit: × {:.3} per block", slope.exp()),
                marks: sampled().map(at).collect(),
            });
        }
        Figure {
            name: "norms".into(),
            title: format!("{}: gradient at the input by path length", self.label),
            caption: "Mean norm of the gradient on single paths. Whiskers are quartiles.".into(),
            emphasis: String::new(),
            x: Axis::linear("path length (blocks)"),
            y: Axis::log("norm of the gradient at the input"),
            layers,
        }
    }

    fn contribution_figure(&self, rows: &[Row]) -> Figure {
        let marks = rows.iter().map(|row| {
            let text = format!(
                "{} blocks: {:.3} % of the gradient",
                row.length,
                100.0 * row.contribution
            );
            Mark::new(row.length as f64, 100.0 * row.contribution, text)
        });
        let mut layers = Vec::new();
        if let Some((range, _)) = self.effective(rows) {
            layers.push(Layer::Shade {
                label: format!(
                    "{:.0} % of the gradient: {} to {} blocks",
                    100.0 * SHARE,
                    range.start(),
                    range.end()
                ),
                from: *range.start() as f64 - 0.5,
                to: *range.end() as f64 + 0.5,
            });
        }
        layers.push(Layer::Bars {
            label: "share of the gradient".into(),
            marks: marks.collect(),
        });
        Figure {
            name: "contributions".into(),
            title: format!("{}: share of the gradient by path length", self.label),
            caption:
                "Number of paths of a length times the mean norm on such a path, divided by the sum over all lengths."
                    .into(),
            emphasis: String::new(),
            x: Axis::linear("path length (blocks)"),
            y: Axis::linear("share of the gradient (%)"),
            layers,
        }
    }

    fn table(&self, rows: &[Row]) -> Table {
        let rows = rows.iter().map(|row| {
            let norm = |value: f64| {
                if row.norms.is_empty() {
                    Value::Null
                } else {
                    value.into()
                }
            };
            let five = five_numbers(&row.norms);
            vec![
                row.length.into(),
                row.share.into(),
                row.norms.len().into(),
                norm(mean(&row.norms)),
                norm(five[1]),
                norm(five[2]),
                norm(five[3]),
                norm(row.contribution),
            ]
        });
        Table {
            name: "paths".into(),
            title: "Paths by length".into(),
            columns: vec![
                Column::plain("length", "blocks"),
                Column {
                    digits: 5,
                    ..Column::percent("share_of_paths", "paths (%)")
                },
                Column::plain("samples", "sampled"),
                Column::number("mean_norm", "mean norm", 6),
                Column::number("lower_quartile", "lower quartile", 6),
                Column::number("median_norm", "median", 6),
                Column::number("upper_quartile", "upper quartile", 6),
                Column {
                    digits: 3,
                    ..Column::percent("contribution", "of the gradient (%)")
                },
            ],
            rows: rows.collect(),
            file_only: false,
        }
    }
}

/// A share in per cent, with four significant digits where it is small.
fn share_words(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        p if p >= 1.0 => format!("{p:.2} %"),
        p if p >= 0.01 => format!("{p:.4} %"),
        p => format!("{p:.3e} %"),
    }
}
