//! How are results presented?
//!
//! A [`Report`] is what a study found: text, tables and figures as data, and
//! where they come from. It is written as one self-contained HTML page, as
//! Markdown, as JSON, each table as CSV and each figure as SVG and, with the
//! cargo feature `png`, as PNG.

mod axes;
mod axis;
mod color;
mod error;
mod figure;
mod markdown;
mod marks;
mod page;
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

pub use error::ReportError;
pub use figure::{Axis, BoxMark, Cell, Figure, Layer, Mark, Scale};
pub use svg::stack;
pub use table::{Column, Table};

/// The results of one study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The study and the network or data it is about, in one line.
    pub title: String,
    /// Where the results come from: pairs such as ("seed", "0"), shown in
    /// this order: command, model, weights and their hash, data, images,
    /// adapter, seed, version.
    pub facts: Vec<(String, String)>,
    /// What was found, in order.
    pub items: Vec<Item>,
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
}
