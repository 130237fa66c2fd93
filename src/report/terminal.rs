//! How is a report printed in a terminal?

use super::table::Table;
use super::words::wrap;
use super::{Item, Report};
use crate::shown::{one_line, shown};

/// Width of a line of text, in characters.
const COLUMNS: f64 = 88.0;

impl Report {
    /// The finding, headings, paragraphs and tables, and the cost, as plain text;
    /// figures are left out.
    pub fn text(&self) -> String {
        let finding = (!self.finding.is_empty()).then(|| paragraph(&self.finding));
        let cost = (!self.cost.is_empty()).then(|| format!("{}\n{}", heading("Cost"), paragraph(&self.cost)));
        let parts = finding
            .into_iter()
            .chain(self.items.iter().filter_map(part))
            .chain(cost);
        parts.collect::<Vec<_>>().join("\n")
    }
}

fn heading(text: &str) -> String {
    let text = one_line(text);
    format!("{text}\n{}\n", "=".repeat(count(&text)))
}

fn paragraph(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    wrap(&one_line(&words.join(" ")), COLUMNS, |line| count(line) as f64).join("\n") + "\n"
}

fn part(item: &Item) -> Option<String> {
    match item {
        Item::Heading { text } => Some(heading(text)),
        Item::Text { text } => Some(paragraph(text)),
        Item::Table(table) if !table.file_only => Some(columns(table)),
        Item::Table(_) | Item::Figure(_) | Item::Pictures(_) => None,
    }
}

/// The table in columns as wide as their widest cell, two spaces apart.
fn columns(table: &Table) -> String {
    let head = table.columns.iter().map(|column| shown(&column.label)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(table.shown()).collect();
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|column| rows.iter().map(|row| count(&row[column])).max().unwrap_or(0))
        .collect();
    let mut text = format!("{}\n", one_line(&table.title));
    for row in rows {
        let cell = |(column, value): (usize, &String)| {
            let space = " ".repeat(widths[column] - count(value));
            if table.is_number(column) {
                space + value
            } else {
                value.clone() + &space
            }
        };
        let line: Vec<String> = row.iter().enumerate().map(cell).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn count(text: &str) -> usize {
    text.chars().count()
}
