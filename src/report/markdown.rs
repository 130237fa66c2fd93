//! How is a report written as Markdown?

use std::fmt::Write;

use super::table::Table;
use super::{Item, Report};
use crate::shown::one_line;

impl Report {
    /// The report in GitHub-flavoured Markdown. Figures are links to the SVG
    /// files in the same directory, which contain their captions.
    pub fn markdown(&self) -> String {
        self.with_tables(true)
    }

    /// As [`Self::markdown`], for a text that stands alone: tables name no files, and
    /// figures are left out.
    pub fn markdown_alone(&self) -> String {
        self.with_tables(false)
    }

    fn with_tables(&self, in_files: bool) -> String {
        let mut text = format!("# {}\n", line(&self.title));
        if !self.finding.is_empty() {
            let _ = writeln!(text, "\n**{}**", line(&self.finding));
        }
        let headings = self.headings();
        if headings.len() > 1 {
            text.push('\n');
            for (_, heading) in headings {
                let _ = writeln!(text, "- [{}](#{})", link(heading), anchor(heading));
            }
        }
        for item in &self.items {
            text.push('\n');
            match item {
                Item::Heading { text: words } => drop(writeln!(text, "## {}", line(words))),
                Item::Text { text: words } => drop(writeln!(text, "{}", words.trim())),
                Item::Table(table) => write_table(&mut text, table, in_files),
                Item::Figure(_) | Item::Pictures(_) if !in_files => {}
                Item::Figure(figure) => drop(writeln!(text, "![{}]({}.svg)", link(&figure.title), figure.name)),
                Item::Pictures(pictures) => drop(writeln!(text, "![{}]({}.svg)", link(&pictures.title), pictures.name)),
            }
        }
        if !self.cost.is_empty() {
            let _ = writeln!(text, "\n## Cost\n\n{}", self.cost.trim());
        }
        if !self.facts.is_empty() {
            text.push_str("\n## Origin\n\n| | |\n|:--|:--|\n");
            for (name, value) in &self.facts {
                let _ = writeln!(text, "| {} | {} |", cell(name), cell(value));
            }
        }
        text
    }
}

/// The words of a link.
fn link(words: &str) -> String {
    line(words).replace('[', "\\[").replace(']', "\\]")
}

/// The name that GitHub gives to the place of a heading.
fn anchor(heading: &str) -> String {
    let kept = |character: &char| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_');
    let kept: String = line(heading).to_lowercase().chars().filter(kept).collect();
    kept.replace(' ', "-")
}

fn write_table(text: &mut String, table: &Table, in_file: bool) {
    let (title, name) = (line(&table.title), &table.name);
    let _ = match in_file {
        true => writeln!(text, "**{title}** ([{name}.csv]({name}.csv))"),
        false => writeln!(text, "**{title}**"),
    };
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
    one_line(&words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The words, escaped for a table cell.
fn cell(words: &str) -> String {
    line(words).replace('\\', "\\\\").replace('|', "\\|")
}
