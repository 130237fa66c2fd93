//! How is the robustness of a network presented?

use serde_json::Value;

use super::{CORRUPTIONS, CorruptionErrors, RobustnessFindings};
use crate::report::{Axis, Cell, Column, Figure, Item, Layer, Mark, Table};
use crate::studies::statistics::wilson;

impl RobustnessFindings {
    /// What was found, in one or two sentences.
    pub fn finding(&self) -> String {
        let Some((least, most)) = self.extremes() else {
            return String::new();
        };
        let of = match self.is_whole() {
            true => String::new(),
            false => format!(" over {}", self.what_is_counted()),
        };
        let relative = self.relative_error().map_or_else(String::new, |relative| {
            format!(", {:.1} % relative to the baseline", 100.0 * relative)
        });
        format!(
            "The mean corruption error of {} is {:.2} %{of}{relative}: least with {}, {:.2} %, and most with {}, {:.2} %.",
            self.label,
            100.0 * self.mean_error(),
            words(&least.corruption),
            100.0 * least.mean(),
            words(&most.corruption),
            100.0 * most.mean()
        )
    }

    /// Which corruptions and severities the mean is of.
    fn what_is_counted(&self) -> String {
        let counted = self.counted().count();
        let known = self.counted().any(|one| CORRUPTIONS.contains(&&one.corruption[..]));
        let corruptions = match known {
            true => format!("{counted} of the {} corruptions", CORRUPTIONS.len()),
            false => format!("{counted} other corruptions than those of CIFAR-10-C"),
        };
        let severities = self.severities();
        match severities.len() {
            5 => corruptions,
            _ => {
                let list: Vec<String> = severities.iter().map(usize::to_string).collect();
                format!("{corruptions} at severity {}", list.join(", "))
            }
        }
    }

    /// The corruptions with the smallest and the largest error.
    fn extremes(&self) -> Option<(&CorruptionErrors, &CorruptionErrors)> {
        let by_mean = |a: &&CorruptionErrors, b: &&CorruptionErrors| a.mean().total_cmp(&b.mean());
        Some((self.counted().min_by(by_mean)?, self.counted().max_by(by_mean)?))
    }

    /// The sections of the report.
    pub fn items(&self) -> Vec<Item> {
        let mut items = vec![
            Item::heading("Error by corruption and severity"),
            Item::Figure(self.map()),
            Item::Table(self.summary()),
        ];
        if self.severities().len() > 1 {
            items.push(Item::heading("Error by severity"));
            items.push(Item::Figure(self.curve()));
        }
        items.push(Item::Table(self.table()));
        items
    }

    fn map(&self) -> Figure {
        let severities = self.severities();
        let column = |severity| {
            severities
                .iter()
                .position(|&known| known == severity)
                .map_or(0, |at| at + 1)
        };
        let cells = self.corruptions.iter().enumerate().flat_map(|(row, one)| {
            let cell = move |error: &super::SeverityError| Cell {
                x: column(error.severity),
                y: row + 1,
                value: Some(100.0 * error.error()),
                text: format!(
                    "{}, severity {}: {:.2} % ({} of {} wrong)",
                    words(&one.corruption),
                    error.severity,
                    100.0 * error.error(),
                    error.wrong,
                    error.images
                ),
            };
            one.severities.iter().map(cell).collect::<Vec<_>>()
        });
        Figure {
            name: "corruptions".to_string(),
            title: format!("{}: error by corruption and severity", self.label),
            caption: match self.counted().count() == self.corruptions.len() {
                true => "Every row is a corruption of the same images, from weak to strong.".to_string(),
                false => "Every row is a corruption of the same images, from weak to strong. The last rows are no \
                     corruptions of the paper, and no part of the mean corruption error."
                    .to_string(),
            },
            emphasis: String::new(),
            x: Axis::named("severity", severities.iter().map(usize::to_string).collect()),
            y: Axis::named("", self.corruptions.iter().map(|one| words(&one.corruption)).collect()),
            layers: vec![Layer::Heat {
                label: "error (%)".to_string(),
                signed: false,
                cells: cells.collect(),
            }],
        }
    }

    fn curve(&self) -> Figure {
        let severities = self.severities();
        let marks = severities.iter().map(|&severity| {
            let error = 100.0 * self.mean_at(severity);
            Mark::new(
                severity as f64,
                error,
                format!("severity {severity}: {error:.2} % in the mean"),
            )
        });
        Figure {
            name: "severities".to_string(),
            title: format!("{}: mean error by severity", self.label),
            caption: "The mean over the corruptions that are counted, and the mean corruption error.".to_string(),
            emphasis: String::new(),
            x: Axis::linear("severity").within(0.5, 5.5),
            y: Axis::linear("error (%)"),
            layers: vec![
                Layer::Line {
                    label: "mean over corruptions".to_string(),
                    marks: marks.collect(),
                },
                Layer::Level {
                    label: "mean corruption error".to_string(),
                    y: 100.0 * self.mean_error(),
                    series: "mean over corruptions".to_string(),
                },
            ],
        }
    }

    /// A row for each corruption, and one for their mean.
    fn summary(&self) -> Table {
        let severities = self.severities();
        let mut columns = vec![Column::plain("corruption", "corruption")];
        columns.extend(
            severities
                .iter()
                .map(|severity| Column::percent(&format!("severity_{severity}"), &format!("severity {severity} (%)"))),
        );
        columns.push(Column::percent("mean", "mean (%)"));
        if self.baseline.is_some() {
            columns.push(Column::percent("relative", "relative to the baseline (%)"));
        }
        columns.push(Column::plain("counted", "in the mean"));
        let row = |one: &CorruptionErrors| {
            let at = |severity: &usize| one.severities.iter().find(|error| error.severity == *severity);
            let mut row = vec![Value::from(one.corruption.clone())];
            row.extend(
                severities
                    .iter()
                    .map(|severity| at(severity).map(super::SeverityError::error).into()),
            );
            row.push(one.mean().into());
            row.extend(one.relative.map(Value::from));
            row.push(one.counted.into());
            row
        };
        let mut rows: Vec<Vec<Value>> = self.corruptions.iter().map(row).collect();
        let mut last = vec![Value::from("mean corruption error")];
        last.extend(severities.iter().map(|&severity| self.mean_at(severity).into()));
        last.push(self.mean_error().into());
        last.extend(self.relative_error().map(Value::from));
        last.push(Value::Null);
        rows.push(last);
        Table::new("corruptions", "Error by corruption", columns, rows)
    }

    /// A row for each corruption at each severity.
    fn table(&self) -> Table {
        let rows = self.corruptions.iter().flat_map(|one| {
            one.severities.iter().map(|error| {
                let [low, high] = wilson(error.wrong, error.images);
                vec![
                    one.corruption.clone().into(),
                    error.severity.into(),
                    error.images.into(),
                    error.wrong.into(),
                    error.error().into(),
                    low.into(),
                    high.into(),
                    crate::report::number_or_word(error.loss),
                ]
            })
        });
        let columns = vec![
            Column::plain("corruption", "corruption"),
            Column::plain("severity", "severity"),
            Column::plain("images", "images"),
            Column::plain("wrong", "wrong"),
            Column::percent("error", "error (%)"),
            Column::percent("interval_low", "95 % from (%)"),
            Column::percent("interval_high", "95 % to (%)"),
            Column::number("loss", "loss (nats)", 4),
        ];
        // The figure and the table of corruptions show the same errors, in less room.
        Table {
            file_only: true,
            ..Table::new(
                "severities",
                "Every corruption at every severity",
                columns,
                rows.collect(),
            )
        }
    }
}

/// `gaussian_noise` as `gaussian noise`.
fn words(corruption: &str) -> String {
    corruption.replace('_', " ")
}
