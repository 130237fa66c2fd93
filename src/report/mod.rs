//! How are results presented?
//!
//! A [`Report`] is what a study found: text, tables and figures as data, and
//! where they come from. It is written as one self-contained HTML page, as
//! Markdown, as JSON, each table as CSV and each figure as SVG and, with the
//! cargo feature `png`, as PNG.

mod advances;
mod axes;
mod axis;
mod color;
mod diagram;
mod error;
mod figure;
mod markdown;
mod marks;
mod owned;
mod page;
mod pictures;
mod plot;
#[cfg(feature = "png")]
mod png;
mod svg;
mod table;
mod terminal;
// The tests render figures to check them.
#[cfg(all(test, feature = "png"))]
mod tests;
mod words;
mod write;

use serde::Serialize;

pub use diagram::{Anchor, Diagram, Sign, Tone};
pub use error::ReportError;
pub use figure::{Axis, BoxMark, Cell, Figure, Layer, Mark, Scale};
pub use owned::foreign_file;
pub use pictures::{Picture, PictureRow, Pictures};
pub use svg::stack;
pub(crate) use table::grouped;
pub use table::{Column, Table, distinct, number_or_word};

/// The results of one study. It is shown in the order of its fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The study and the network or data it is about, in one line.
    pub title: String,
    /// What was found, in one or two sentences with numbers. Empty where there
    /// is no finding, only data.
    pub finding: String,
    /// The evidence, in sections. Their headings are the contents.
    pub items: Vec<Item>,
    /// What the results cost, in one or two sentences: time and adapter. May be
    /// empty.
    pub cost: String,
    /// Where the results come from: pairs such as ("seed", "0"), shown in
    /// this order: command, model, weights and their hash, data, images,
    /// adapter, seed, version.
    pub facts: Vec<(String, String)>,
}

/// A part of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "item", rename_all = "lowercase")]
pub enum Item {
    /// The heading of a section.
    Heading {
        /// The text.
        text: String,
    },
    /// A paragraph.
    Text {
        /// The text.
        text: String,
    },
    /// A table.
    Table(Table),
    /// A figure.
    Figure(Figure),
    /// Images in rows and columns.
    Pictures(Pictures),
}

impl Item {
    /// The heading of a section.
    pub fn heading(text: impl Into<String>) -> Self {
        Item::Heading { text: text.into() }
    }

    /// A paragraph.
    pub fn text(text: impl Into<String>) -> Self {
        Item::Text { text: text.into() }
    }
}

impl Report {
    /// The headings with the numbers of their items.
    fn headings(&self) -> Vec<(usize, &str)> {
        let mut headings = Vec::new();
        for (number, item) in self.items.iter().enumerate() {
            if let Item::Heading { text } = item {
                headings.push((number, text.as_str()));
            }
        }
        headings
    }
}
