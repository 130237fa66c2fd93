//! What does a figure show, independent of how it is drawn?
//!
//! One description serves the SVG file, the PNG file and the interactive page.
//! Every mark has the text that a reader of the page sees, or hears from a
//! screen reader, when the pointer or the keyboard selects it.

use serde::Serialize;

/// A chart with two axes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its file names without their extensions.
    pub name: String,
    /// What it shows, in one line above it.
    pub title: String,
    /// What to notice in it, in a sentence or two below it.
    pub caption: String,
    /// What the emphasised marks ([`Mark::strong`]) have in common, for the
    /// legend. Empty where no mark is emphasised.
    pub emphasis: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis. That of a matrix runs from top to bottom, as the rows of
    /// a table.
    pub y: Axis,
    /// What is drawn; later layers cover earlier ones.
    pub layers: Vec<Layer>,
}

/// One axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Axis {
    /// What is measured, with its unit: "test error (%)".
    pub label: String,
    /// How values become positions.
    pub scale: Scale,
    /// The range shown; `None` shows all marks.
    pub range: Option<(f64, f64)>,
    /// Names of the positions 1, 2, …, for an axis of categories.
    pub names: Vec<String>,
}

/// How values become positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Linearly.
    Linear,
    /// By their logarithm: values that are not positive are left out.
    Log,
}

impl Axis {
    /// A linear axis that shows everything.
    pub fn linear(label: impl Into<String>) -> Self {
        Axis {
            label: label.into(),
            scale: Scale::Linear,
            range: None,
            names: Vec::new(),
        }
    }

    /// A logarithmic axis that shows everything.
    pub fn log(label: impl Into<String>) -> Self {
        Axis {
            scale: Scale::Log,
            ..Axis::linear(label)
        }
    }

    /// An axis with names for the positions 1, 2, ….
    pub fn named(label: impl Into<String>, names: Vec<String>) -> Self {
        Axis {
            names,
            ..Axis::linear(label)
        }
    }

    /// With the range `from` to `to`.
    pub fn within(self, from: f64, to: f64) -> Self {
        Axis {
            range: Some((from, to)),
            ..self
        }
    }
}

/// One series of a figure. In a figure a colour stands for a series and for
/// nothing else; series also differ by the shape of their marks. A level has the
/// colour of its series, and levels differ by their dashes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Layer {
    /// Points joined by a line.
    Line {
        /// Its name in the legend.
        label: String,
        /// From left to right.
        marks: Vec<Mark>,
    },
    /// Points alone.
    Points {
        /// Its name in the legend.
        label: String,
        /// In any order.
        marks: Vec<Mark>,
    },
    /// Bars from zero (from the lower edge of a logarithmic axis).
    Bars {
        /// Its name in the legend.
        label: String,
        /// One for each bar.
        marks: Vec<Mark>,
    },
    /// Boxes: median, quartiles, and whiskers to the ends.
    Boxes {
        /// Its name in the legend.
        label: String,
        /// One for each box.
        boxes: Vec<BoxMark>,
    },
    /// A matrix of coloured cells with a colour bar.
    Heat {
        /// What the colour means, with its unit.
        label: String,
        /// Whether values have a sign: then zero has a neutral colour in the middle
        /// of the colour bar, and values below and above it have two others, equally
        /// strong for equal amounts. If all values have one sign, the other half of
        /// the bar stays, and no cell has its colours.
        signed: bool,
        /// One for each cell: `x` and `y` are positions, `value` is the colour.
        cells: Vec<Cell>,
    },
    /// A dashed horizontal line.
    Level {
        /// Its name in the legend.
        label: String,
        /// Its vertical position.
        y: f64,
        /// The label of the series that it belongs to, whose colour it has; empty
        /// for none.
        series: String,
    },
    /// A shaded range of the horizontal axis.
    Shade {
        /// Its name in the legend; no entry if empty.
        label: String,
        /// Where it begins on the horizontal axis.
        from: f64,
        /// Where it ends on the horizontal axis.
        to: f64,
    },
}

/// One point or bar.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Mark {
    /// Position on the horizontal axis.
    pub x: f64,
    /// Position on the vertical axis. A value that is not finite is drawn at the
    /// edge of the plot and is marked as such.
    pub y: f64,
    /// Ends of its confidence interval or range, where there is one.
    pub interval: Option<(f64, f64)>,
    /// Whether it is emphasised, by an outline; [`Figure::emphasis`] says why.
    pub strong: bool,
    /// What it is, with its numbers: "block 4 (layer2.0): 65.75 %".
    pub text: String,
}

impl Mark {
    /// A mark without an interval.
    pub fn new(x: f64, y: f64, text: impl Into<String>) -> Self {
        Mark {
            x,
            y,
            text: text.into(),
            ..Mark::default()
        }
    }
}

/// A box plot's five numbers of one sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BoxMark {
    /// Position on the horizontal axis.
    pub x: f64,
    /// Smallest value, lower quartile, median, upper quartile, largest value.
    pub five: [f64; 5],
    /// The sample itself, drawn as dots; may be empty.
    pub values: Vec<f64>,
    /// What it is, with its numbers.
    pub text: String,
}

/// One cell of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Position on the horizontal axis: 1, 2, ….
    pub x: usize,
    /// Position on the vertical axis: 1, 2, …, from the top.
    pub y: usize,
    /// Its value; a cell without one is left empty, one whose value is not finite
    /// is crossed out.
    pub value: Option<f64>,
    /// What it is, with its number.
    pub text: String,
}

impl Layer {
    /// Its name in the legend.
    pub fn label(&self) -> &str {
        match self {
            Layer::Line { label, .. }
            | Layer::Points { label, .. }
            | Layer::Bars { label, .. }
            | Layer::Boxes { label, .. }
            | Layer::Heat { label, .. }
            | Layer::Level { label, .. }
            | Layer::Shade { label, .. } => label,
        }
    }

    /// Whether one of its marks is emphasised.
    pub(super) fn has_strong(&self) -> bool {
        self.marks().iter().any(|mark| mark.strong)
    }

    /// Whether one of its values is not finite.
    pub(super) fn has_not_finite(&self) -> bool {
        let off_scale = |value: &f64| !value.is_finite();
        match self {
            Layer::Boxes { boxes, .. } => boxes.iter().flat_map(|mark| mark.five).any(|value| off_scale(&value)),
            Layer::Heat { cells, .. } => cells
                .iter()
                .filter_map(|cell| cell.value)
                .any(|value| off_scale(&value)),
            _ => self.marks().iter().any(|mark| mark.x.is_finite() && off_scale(&mark.y)),
        }
    }

    fn marks(&self) -> &[Mark] {
        match self {
            Layer::Line { marks, .. } | Layer::Points { marks, .. } | Layer::Bars { marks, .. } => marks,
            _ => &[],
        }
    }

    /// The text of each of its marks.
    pub fn words(&self) -> Vec<String> {
        match self {
            Layer::Line { marks, .. } | Layer::Points { marks, .. } | Layer::Bars { marks, .. } => {
                marks.iter().map(Mark::words).collect()
            }
            Layer::Boxes { boxes, .. } => boxes.iter().map(BoxMark::words).collect(),
            Layer::Heat { cells, .. } => cells.iter().map(Cell::words).collect(),
            Layer::Level { y, .. } => vec![y.to_string()],
            Layer::Shade { from, to, .. } => vec![format!("from {from} to {to}")],
        }
    }
}

impl Mark {
    /// Its text, or its numbers where the text is empty.
    pub(super) fn words(&self) -> String {
        words(&self.text, || format!("{}, {}", self.x, self.y))
    }
}

impl BoxMark {
    /// Its text, or its numbers where the text is empty.
    pub(super) fn words(&self) -> String {
        words(&self.text, || {
            let [least, low, median, high, most] = self.five;
            format!("{}: {least}, {low}, {median}, {high}, {most}", self.x)
        })
    }
}

impl Cell {
    /// Its text, or its numbers where the text is empty.
    pub(super) fn words(&self) -> String {
        words(&self.text, || match self.value {
            Some(value) => format!("{}, {}: {value}", self.x, self.y),
            None => format!("{}, {}: no value", self.x, self.y),
        })
    }
}

fn words(text: &str, numbers: impl Fn() -> String) -> String {
    if text.is_empty() { numbers() } else { text.to_string() }
}
