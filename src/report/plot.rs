//! Where does the plot lie on the sheet, and how are numbers and words written
//! there?

use std::fmt::Write;

use super::axis::{Label, Span};
use super::color::{FAINT, HeatScale};
use super::figure::{Figure, Layer};
use super::words::escape;

/// Width of every figure, in its own units: pixels on a page.
pub(super) const WIDTH: f64 = 860.0;
/// Between the edge of the sheet and what is drawn.
pub(super) const MARGIN: f64 = 14.0;
/// Font size of axis labels and captions.
pub(super) const LABEL: f64 = 13.0;
/// Font size of tick labels and the legend.
pub(super) const TICK: f64 = 12.0;

/// The plot's rectangle and its axes. Edges are in the figure's units.
pub(super) struct Plot {
    /// Left edge.
    pub left: f64,
    /// Right edge.
    pub right: f64,
    /// Upper edge.
    pub top: f64,
    /// Lower edge.
    pub bottom: f64,
    /// The horizontal axis.
    pub x: Span,
    /// The vertical axis.
    pub y: Span,
    /// What the colours of a matrix mean.
    pub heat: Option<HeatScale>,
}

impl Plot {
    /// The column at `part` (0 to 1) of the horizontal axis.
    pub fn column(&self, part: f64) -> f64 {
        self.left + part * (self.right - self.left)
    }

    /// The row at `part` (0 to 1) of the vertical axis.
    pub fn row(&self, part: f64) -> f64 {
        self.bottom - part * (self.bottom - self.top)
    }
}

/// The number of a label's shade: ranges with one label share a shade.
pub(super) fn shade_number(figure: &Figure, label: &str) -> usize {
    let mut labels: Vec<&str> = Vec::new();
    for layer in &figure.layers {
        if let Layer::Shade { label, .. } = layer
            && !labels.contains(&label.as_str())
        {
            labels.push(label);
        }
    }
    labels.iter().position(|&known| known == label).unwrap_or(0)
}

/// A tick label, its power as a superscript.
pub(super) fn tick_text(body: &mut String, at: (f64, f64), more: &str, label: &Label) {
    let _ = write!(
        body,
        r#"<text x="{}" y="{}" font-size="{TICK}" fill="{FAINT}"{more}>{}"#,
        n(at.0),
        n(at.1),
        escape(&label.text)
    );
    if !label.power.is_empty() {
        let _ = write!(body, r#"<tspan dy="-5" font-size="9">{}</tspan>"#, escape(&label.power));
    }
    body.push_str("</text>");
}

/// Words in one line; `more` holds further attributes.
pub(super) fn text(body: &mut String, at: (f64, f64), size: f64, fill: &str, more: &str, words: &str) {
    let (x, y, words) = (n(at.0), n(at.1), escape(words));
    let _ = write!(
        body,
        r#"<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{more}>{words}</text>"#
    );
}

/// A coordinate with at most two decimals.
pub(super) fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_string()
    } else {
        text.to_string()
    }
}
