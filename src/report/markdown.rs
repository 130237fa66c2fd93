//! How is a report written as Markdown?

use std::fmt::Write;

use super::table::Table;
use super::{Item, Report};

impl Report {
    /// The report in GitHub-flavoured Markdown. Figures are links to the SVG
    /// files in the same directory, which contain their captions.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n", line(&self.title));
        if !self.facts.is_empty() {
            text.push_str("\n| | |\n|:--|:--|\n");
            for (name, value) in &self.facts {
                let _ = writeln!(text, "| {} | {} |", cell(name), cell(value));
            }
        }
        for item in &self.items {
            text.push('\n');
            match item {
                Item::Heading { text: words } => drop(writeln!(text, "## {}", line(words))),
                Item::Text { text: words } => drop(writeln!(text, "{}", words.trim())),
                Item::Table(table) => write_table(&mut text, table),
                Item::Figure(figure) => {
                    let title = line(&figure.title).replace('[', "\\[").replace(']', "\\]");
                    let _ = writeln!(text, "![{title}]({}.svg)", figure.name);
                }
            }
        }
        text
    }
}

fn write_table(text: &mut String, table: &Table) {
    let _ = writeln!(
        text,
        "**{}** ([{name}.csv]({name}.csv))",
        line(&table.title),
        name = table.name
    );
    if table.file_only {
        return;
    }
    let row = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    text.push('\n');
    text.push_str(&row(&mut table.columns.iter().map(|column| cell(&column.label))));
    let rule = |column| if table.is_number(column) { "--:" } else { ":--" };
    text.push_str(&row(
        &mut (0..table.columns.len()).map(|column| rule(column).to_string())
    ));
    for cells in table.shown() {
        text.push_str(&row(&mut cells.iter().map(|value| cell(value))));
    }
}

/// The words on one line.
fn line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words, escaped for a table cell.
fn cell(words: &str) -> String {
    line(words).replace('\\', "\\\\").replace('|', "\\|")
}
