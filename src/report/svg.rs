//! How is a figure laid out and written as SVG?
//!
//! From top to bottom: the title; the legend, above the plot so that it covers
//! no mark; the plot with its grid and tick labels; the caption. The reader's
//! font is unknown: all text has room in the widest of the usual ones.

use std::fmt::Write;

use super::axes::{TickLayout, color_bar, color_bar_width, frame, grid, heat_scale, places, widest, x_axis, y_axis};
use super::axis::{AxisValues, Span};
use super::color::{FAINT, GROUND, INK, SHADES, dark_rules};
use super::figure::{Axis, Figure, Layer};
use super::marks;
use super::plot::{LABEL, MARGIN, Plot, TICK, WIDTH, n, shade_number, text};
use super::words::{bold_width, escape, shorten, width, wrap};

/// Height of the plot, unless the vertical axis has many names.
const PLOT_HEIGHT: f64 = 310.0;
/// Font size of the title.
const TITLE: f64 = 16.0;
/// Least left edge of the plot where slanted tick labels need the room.
const SLANTED_LEFT: f64 = 105.0;
/// Fonts in the order of preference. Text is laid out for the widest of them
/// (`advances.rs`); PNG files use DejaVu Sans.
const FONTS: &str = "Helvetica Neue, Helvetica, Arial, Liberation Sans, Roboto, Noto Sans, DejaVu Sans, sans-serif";

/// A finished part of a drawing and its height.
struct Panel {
    body: String,
    height: f64,
}

impl Figure {
    /// The figure as an SVG file, with its caption.
    pub fn svg(&self) -> String {
        stack(std::slice::from_ref(self))
    }

    /// The figure for an HTML page, without the caption, which the page shows
    /// itself. `id` is unique on the page.
    pub(super) fn inline_svg(&self, id: &str) -> String {
        let panel = panel(self, id, false);
        document(&panel.body, (WIDTH, panel.height), id, &self.title, &self.caption, "")
    }
}

/// Figures one below the other, as one SVG file.
pub fn stack(figures: &[Figure]) -> String {
    let (mut body, mut height) = (String::new(), 0.0);
    for (number, figure) in figures.iter().enumerate() {
        let panel = panel(figure, &format!("panel{}", number + 1), true);
        let _ = write!(body, r#"<g transform="translate(0,{})">{}</g>"#, n(height), panel.body);
        height += panel.height;
    }
    let join = |of: fn(&Figure) -> &str| figures.iter().map(of).collect::<Vec<_>>().join(" ");
    let (title, caption) = (join(|figure| &figure.title), join(|figure| &figure.caption));
    file(&body, (WIDTH, height.max(1.0)), "figure", &title, &caption)
}

/// An SVG file of this width and height, whose colours follow the reader's ground.
pub(super) fn file(body: &str, size: (f64, f64), id: &str, title: &str, caption: &str) -> String {
    // The ground is not part of `body`.
    let style = dark_rules("", &format!(r#"{body}<rect fill="{GROUND}"/>"#));
    document(body, size, id, title, caption, &format!("<style>{style}</style>"))
}

/// A drawing of this width and height, with the rules in `style`.
pub(super) fn document(
    body: &str,
    (width, height): (f64, f64),
    id: &str,
    title: &str,
    caption: &str,
    style: &str,
) -> String {
    let (wide, high, title, caption) = (n(width), n(height), escape(title), escape(caption));
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" "#,
            r#"role="img" aria-labelledby="{id}-title {id}-desc" font-family="{fonts}">"#,
            r#"<title id="{id}-title">{title}</title><desc id="{id}-desc">{caption}</desc>"#,
            r#"{style}<rect width="{wide}" height="{high}" fill="{ground}"/>{body}</svg>"#,
        ),
        wide = wide,
        high = high,
        id = id,
        fonts = FONTS,
        style = style,
        ground = GROUND,
        title = title,
        caption = caption,
        body = body,
    ) + "\n"
}

fn panel(figure: &Figure, id: &str, with_caption: bool) -> Panel {
    let mut body = String::new();
    let mut y = heading(&mut body, &figure.title);
    let x_span = Span::of(&figure.x, &x_values(figure));
    let mut y_span = Span::of(&figure.y, &y_values(figure));
    if figure.layers.iter().any(|layer| matches!(layer, Layer::Heat { .. })) {
        y_span = y_span.descending();
    }
    let high = plot_height(&figure.y);
    let y_names = places(&figure.y, &y_span, (high / 55.0) as usize);
    let scale = heat_scale(figure);
    let right = WIDTH - color_bar_width(scale.as_ref()) - MARGIN - 6.0;
    let mut left = MARGIN + LABEL + 14.0 + widest(&y_names);
    let x_names = places(&figure.x, &x_span, ((right - left) / 75.0) as usize);
    let mut layout = TickLayout::of(&x_names, right - left, left - MARGIN);
    if layout.longest < widest(&x_names) {
        // Slanted labels extend to the left: move the plot to the right.
        left = left.max(SLANTED_LEFT);
        layout = TickLayout::of(&x_names, right - left, left - MARGIN);
    }

    y = legend(&mut body, figure, left, right, y);
    let plot = Plot {
        left,
        right,
        top: y,
        bottom: y + high,
        x: x_span,
        y: y_span,
        heat: scale,
    };
    shades(&mut body, figure, &plot);
    // Marks are drawn over the axes, but the cells of a matrix would hide them.
    if plot.heat.is_none() {
        grid(&mut body, &plot, &x_names, &y_names);
        frame(&mut body, &plot);
    }
    marks::draw(&mut body, figure, &plot, id);
    if plot.heat.is_some() {
        frame(&mut body, &plot);
    }
    if !body.contains(r#"class="mark""#) {
        note_empty(&mut body, &plot);
    }
    y_axis(&mut body, figure, &plot, &y_names);
    y = x_axis(&mut body, figure, &plot, &x_names, &layout);
    color_bar(&mut body, figure, &plot);
    if with_caption {
        y = caption(&mut body, &figure.caption, y);
    }
    Panel {
        body,
        height: (y + MARGIN).ceil(),
    }
}

/// Draws the title; returns the row where the next part begins.
fn heading(body: &mut String, title: &str) -> f64 {
    let mut y = MARGIN;
    for line in wrap(title, WIDTH - 2.0 * MARGIN, |line| bold_width(line, TITLE)) {
        y += TITLE * 1.25;
        text(body, (MARGIN, y - 4.0), TITLE, INK, r#" font-weight="600""#, &line);
    }
    y + 6.0
}

/// Draws the caption; returns the row where it ends.
fn caption(body: &mut String, caption: &str, y: f64) -> f64 {
    let mut y = y + 4.0;
    for line in wrap(caption, WIDTH - 2.0 * MARGIN, |line| width(line, LABEL)) {
        y += LABEL * 1.35;
        text(body, (MARGIN, y), LABEL, INK, "", &line);
    }
    y
}

/// Draws the rows of the legend: an entry for each series, then what other
/// marks mean. Returns the row where the plot begins.
fn legend(body: &mut String, figure: &Figure, left: f64, right: f64, top: f64) -> f64 {
    let mut row = Entries {
        body,
        left,
        right,
        at: (left, top),
        empty: true,
    };
    let mut shown: Vec<&str> = Vec::new();
    for (number, layer) in figure.layers.iter().enumerate() {
        let label = layer.label();
        let repeated = matches!(layer, Layer::Shade { .. }) && shown.contains(&label);
        if label.is_empty() || repeated || matches!(layer, Layer::Heat { .. }) {
            continue;
        }
        shown.push(label);
        row.entry(
            label,
            &format!(r#" class="entry" data-series="{number}""#),
            |body, at| {
                marks::swatch(body, figure, number, at);
            },
        );
    }
    if !figure.emphasis.is_empty() && figure.layers.iter().any(Layer::has_strong) {
        row.entry(&figure.emphasis, r#" class="note""#, marks::strong_swatch);
    }
    if figure.layers.iter().any(Layer::has_not_finite) {
        row.entry("not finite, off the scale", r#" class="note""#, marks::off_scale_swatch);
    }
    if row.empty { top + 4.0 } else { row.at.1 + 28.0 }
}

/// Entries of the legend, from left to right and in rows.
struct Entries<'a> {
    body: &'a mut String,
    left: f64,
    right: f64,
    at: (f64, f64),
    empty: bool,
}

impl Entries<'_> {
    fn entry(&mut self, label: &str, attributes: &str, swatch: impl Fn(&mut String, (f64, f64))) {
        let short = shorten(label, TICK, self.right - self.left - 30.0);
        let wide = 28.0 + width(&short, TICK) + 20.0;
        if self.at.0 > self.left && self.at.0 + wide - 20.0 > self.right {
            self.at = (self.left, self.at.1 + 20.0);
        }
        let (x, y) = self.at;
        let _ = write!(
            self.body,
            // The gap between swatch and words must react to the pointer as well.
            r#"<g{attributes}><rect x="{}" y="{}" width="{}" height="18" fill="none" pointer-events="all"/>"#,
            n(x - 2.0),
            n(y),
            n(wide - 14.0)
        );
        swatch(self.body, (x + 11.0, y + 9.0));
        text(self.body, (x + 28.0, y + 13.0), TICK, INK, "", &short);
        self.body.push_str("</g>");
        self.at.0 += wide;
        self.empty = false;
    }
}

/// Draws the shaded ranges.
fn shades(body: &mut String, figure: &Figure, plot: &Plot) {
    for (number, layer) in figure.layers.iter().enumerate() {
        let Layer::Shade { label, from, to } = layer else {
            continue;
        };
        let ends = (plot.x.clamped(from.min(*to)), plot.x.clamped(to.max(*from)));
        let (Some(from), Some(to)) = ends else { continue };
        let (from, to) = (plot.column(from), plot.column(to));
        let _ = write!(
            body,
            r#"<g class="series" data-series="{number}"><rect class="shade" x="{}" y="{}" width="{}" height="{}" fill="{}"><title>{}</title></rect></g>"#,
            n(from),
            n(plot.top),
            n(to - from),
            n(plot.bottom - plot.top),
            SHADES[shade_number(figure, label) % SHADES.len()],
            escape(label)
        );
    }
}

/// Says that there are no marks: an empty plot could be taken for a failure.
fn note_empty(body: &mut String, plot: &Plot) {
    let middle = ((plot.left + plot.right) / 2.0, (plot.top + plot.bottom) / 2.0);
    text(
        body,
        middle,
        LABEL,
        FAINT,
        r#" text-anchor="middle""#,
        "no values to show",
    );
}

/// Names need a row each; an axis of numbers always has the same height.
fn plot_height(axis: &Axis) -> f64 {
    (axis.names.len() as f64 * TICK * 1.5).clamp(PLOT_HEIGHT, 900.0)
}

/// What lies on the horizontal axis.
fn x_values(figure: &Figure) -> AxisValues {
    let mut values = AxisValues::default();
    for layer in &figure.layers {
        match layer {
            Layer::Line { marks, .. } | Layer::Points { marks, .. } | Layer::Bars { marks, .. } => {
                values.points.extend(marks.iter().map(|mark| mark.x));
            }
            Layer::Boxes { boxes, .. } => values.points.extend(boxes.iter().map(|mark| mark.x)),
            Layer::Heat { cells, .. } => {
                values.half = 0.5;
                values.points.extend(cells.iter().map(|cell| cell.x as f64));
            }
            Layer::Level { .. } | Layer::Shade { .. } => {}
        }
    }
    if let Some(gap) = marks::smallest_gap(figure) {
        values.half = values.half.max(gap / 2.0);
    }
    // Shaded ranges widen the axis, but do not make its ticks fractions.
    if values.half == 0.0 {
        let ends = figure.layers.iter().filter_map(|layer| match layer {
            Layer::Shade { from, to, .. } => Some([*from, *to]),
            _ => None,
        });
        values.points.extend(ends.flatten().map(f64::round));
    }
    values
}

/// What lies on the vertical axis.
fn y_values(figure: &Figure) -> AxisValues {
    let mut values = AxisValues {
        near_zero: true,
        ..AxisValues::default()
    };
    for layer in &figure.layers {
        match layer {
            Layer::Line { marks, .. } | Layer::Points { marks, .. } | Layer::Bars { marks, .. } => {
                values.from_zero |= matches!(layer, Layer::Bars { .. });
                for mark in marks.iter().filter(|mark| mark.x.is_finite()) {
                    values.points.push(mark.y);
                    values
                        .points
                        .extend(mark.interval.iter().flat_map(|ends| [ends.0, ends.1]));
                }
            }
            Layer::Boxes { boxes, .. } => {
                let all = boxes.iter().flat_map(|mark| mark.five.iter().chain(&mark.values));
                values.points.extend(all);
            }
            Layer::Heat { cells, .. } => {
                values.half = 0.5;
                values.points.extend(cells.iter().map(|cell| cell.y as f64));
            }
            Layer::Level { y, .. } => values.points.push(*y),
            Layer::Shade { .. } => {}
        }
    }
    values
}
