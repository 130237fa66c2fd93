//! What does a study hand to its reader?
//!
//! A [`Report`] is what a study found: words, tables and figures, and where
//! they come from. It is written as one self-contained page, as Markdown, as
//! JSON, each table as CSV and each figure as SVG and PNG.

mod figure;
mod table;
mod write;

use serde::Serialize;

pub use figure::{Axis, BoxMark, Cell, Figure, Layer, Mark, Scale};
pub use table::{Column, Table};
pub use write::ReportError;

/// The results of one study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The study and its subject, in one line.
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
    /// A heading of a section.
    Heading {
        /// Its words.
        text: String,
    },
    /// A paragraph.
    Text {
        /// Its words.
        text: String,
    },
    /// A table.
    Table(Table),
    /// A figure.
    Figure(Figure),
}
