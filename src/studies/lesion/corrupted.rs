//! Do deleted blocks matter more where images are corrupted more?

use serde_json::Value;

use super::report::heading;
use super::{Lesion, LesionFindings};
use crate::report::{Axis, Cell, Column, Figure, Item, Layer, Table};
use crate::studies::evaluator::SeverityCount;
use crate::studies::statistics::{five_numbers, kendall_tau};

impl LesionFindings {
    /// The section on images of CIFAR-10-C at several severities.
    pub(super) fn corrupted_items(&self, items: &mut Vec<Item>) {
        let singles = self.singles();
        if self.whole.by_severity.len() < 2 || singles.is_empty() {
            return;
        }
        items.push(heading("Under corruption"));
        items.extend(self.of_corruption().map(Item::text));
        items.push(Item::Figure(self.severity_figure(&singles)));
        items.push(Item::Table(self.severity_table(&singles)));
    }

    /// Whether single blocks cost more at the last severity than at the first, in a
    /// sentence or two; `None` where images have no severities.
    pub(super) fn of_corruption(&self) -> Option<String> {
        let singles = self.singles();
        let (first, last) = (self.whole.by_severity.first()?, self.whole.by_severity.last()?);
        if first.severity == last.severity || singles.is_empty() {
            return None;
        }
        let costs = |at: usize| -> Vec<f64> { singles.iter().map(|lesion| self.change(lesion, at)).collect() };
        let at_last = costs(self.whole.by_severity.len() - 1);
        let at_first = costs(0);
        let medians = [&at_first, &at_last].map(|costs| 100.0 * five_numbers(costs)[2]);
        let words = match medians[1] - medians[0] {
            more if more > 0.5 => "more",
            less if less < -0.5 => "less",
            _ => "as much",
        };
        let mut text = format!(
            "Single blocks matter {words} under strong corruption: deleting one raises the error by {:.2} points in the \
             median at severity {} (from {:.2} %) and by {:.2} points at severity {} (from {:.2} %).",
            medians[0],
            first.severity,
            100.0 * first.error(),
            medians[1],
            last.severity,
            100.0 * last.error(),
        );
        if singles.len() > 2 {
            let tau = kendall_tau(&order(&at_first, &at_last));
            text.push_str(&format!(
                " The order of the blocks by what they cost is {} (Kendall's τ {tau:.2}).",
                match tau {
                    tau if tau > 0.7 => "nearly the same",
                    tau if tau > 0.3 => "similar",
                    _ => "another one",
                }
            ));
        }
        Some(text)
    }

    /// By how much a lesion raises the error at the severity with this position.
    fn change(&self, lesion: &Lesion, at: usize) -> f64 {
        let error = |counts: &[SeverityCount]| counts.get(at).map_or(0.0, SeverityCount::error);
        error(&lesion.evaluation.by_severity) - error(&self.whole.by_severity)
    }

    fn severity_figure(&self, singles: &[&Lesion]) -> Figure {
        let cells = singles.iter().enumerate().flat_map(|(row, lesion)| {
            self.whole.by_severity.iter().enumerate().map(move |(column, whole)| {
                let change = 100.0 * self.change(lesion, column);
                Cell {
                    x: column + 1,
                    y: row + 1,
                    value: Some(change),
                    text: format!(
                        "without block {} ({}), severity {}: {change:+.2} points, from {:.2} %",
                        lesion.blocks[0],
                        lesion.names.join(" "),
                        whole.severity,
                        100.0 * whole.error()
                    ),
                }
            })
        });
        let names = singles
            .iter()
            .map(|lesion| format!("{} {}", lesion.blocks[0], lesion.names.join(" ")));
        let severities = self.whole.by_severity.iter().map(|count| count.severity.to_string());
        Figure {
            name: "lesions-by-severity".to_string(),
            title: format!("{}: what a deleted block costs, by severity", self.label),
            caption: "The change of the error with one block deleted, against the whole network at the same severity. \
                      An error near that of guessing can rise no further."
                .to_string(),
            emphasis: String::new(),
            x: Axis::named("severity", severities.collect()),
            y: Axis::named("deleted block", names.collect()),
            layers: vec![Layer::Heat {
                label: "change of the error (points)".to_string(),
                signed: true,
                cells: cells.collect(),
            }],
        }
    }

    fn severity_table(&self, singles: &[&Lesion]) -> Table {
        let severities = self.whole.by_severity.iter().map(|count| {
            let severity = count.severity;
            Column::percent(&format!("severity_{severity}"), &format!("severity {severity} (%)"))
        });
        let names = [Column::plain("blocks", "deleted"), Column::plain("names", "names")];
        let row = |blocks: Value, names: Value, counts: &[SeverityCount]| {
            let errors = counts.iter().map(|count| count.error().into());
            [blocks, names].into_iter().chain(errors).collect::<Vec<Value>>()
        };
        let whole = row("".into(), "nothing".into(), &self.whole.by_severity);
        let rows = singles.iter().map(|lesion| {
            let counts = &lesion.evaluation.by_severity;
            row(lesion.blocks[0].into(), lesion.names.join(" ").into(), counts)
        });
        Table::new(
            "lesions-by-severity",
            "Error with one block deleted, by severity",
            names.into_iter().chain(severities).collect(),
            std::iter::once(whole).chain(rows).collect(),
        )
    }
}

/// The places by `second` of the blocks in the order by `first`.
fn order(first: &[f64], second: &[f64]) -> Vec<usize> {
    let ranked = |costs: &[f64]| {
        let mut blocks: Vec<usize> = (0..costs.len()).collect();
        blocks.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        blocks
    };
    let by_second = ranked(second);
    let place = |block: usize| by_second.iter().position(|&other| other == block).unwrap_or(block);
    ranked(first).into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_compared_by_places() {
        assert_eq!(order(&[0.3, 0.1, 0.2], &[3.0, 1.0, 2.0]), [0, 1, 2]);
        assert_eq!(order(&[0.3, 0.1, 0.2], &[1.0, 3.0, 2.0]), [2, 1, 0]);
    }
}
