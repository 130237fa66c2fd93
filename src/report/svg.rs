//! How is a figure drawn?
//!
//! From outside in: title and legend above, so that nothing lies over the
//! marks; then the plot with its grid; names of places around it; the caption
//! below. Widths of words are estimates, as the reader's font is unknown.

use std::fmt::Write;

use super::axis::{Label, Span, Tick, Values};
use super::color::{FAINT, GRID, INK, SHADES, heat};
use super::figure::{Axis, Figure, Layer};
use super::marks;
use super::words::{escape, shorten, width, wrap};

/// Width of every figure, in its own units: pixels on a page.
pub(super) const WIDTH: f64 = 860.0;
const MARGIN: f64 = 14.0;
const PLOT_HEIGHT: f64 = 310.0;
const TITLE: f64 = 16.0;
const LABEL: f64 = 13.0;
const TICK: f64 = 12.0;
/// Names of places get so much room at most.
const LONGEST_NAME: f64 = 150.0;
/// Left of the plot, where names below it need more than those beside it.
const ROOM_LEFT: f64 = 105.0;
/// Fonts in the order of preference; files are rasterised with the last.
const FONTS: &str = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif";

/// A part of a drawing, and how high it is.
struct Panel {
    body: String,
    height: f64,
}

/// The plot's rectangle, and where values lie in it.
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
    /// Range of the colours of a matrix.
    pub heat: Option<(f64, f64)>,
}

impl Plot {
    /// The pixel column of `part` of the horizontal axis.
    pub fn column(&self, part: f64) -> f64 {
        self.left + part * (self.right - self.left)
    }

    /// The pixel row of `part` of the vertical axis.
    pub fn row(&self, part: f64) -> f64 {
        self.bottom - part * (self.bottom - self.top)
    }
}

impl Figure {
    /// The figure as an SVG file, caption and all.
    pub fn svg(&self) -> String {
        stack(std::slice::from_ref(self))
    }

    /// The figure for a page, which shows the caption itself. `id` is its own
    /// on the page.
    pub(super) fn inline_svg(&self, id: &str) -> String {
        let panel = panel(self, id, false);
        document(&panel.body, panel.height, id, &self.title, &self.caption)
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
    document(&body, height.max(1.0), "figure", &title, &caption)
}

fn document(body: &str, height: f64, id: &str, title: &str, caption: &str) -> String {
    let (wide, high, title, caption) = (n(WIDTH), n(height), escape(title), escape(caption));
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" "#,
            r#"role="img" aria-labelledby="{id}-title {id}-desc" font-family="{fonts}">"#,
            r#"<title id="{id}-title">{title}</title><desc id="{id}-desc">{caption}</desc>"#,
            r##"<rect width="{wide}" height="{high}" fill="#ffffff"/>{body}</svg>"##,
        ),
        wide = wide,
        high = high,
        id = id,
        fonts = FONTS,
        title = title,
        caption = caption,
        body = body,
    ) + "\n"
}

fn panel(figure: &Figure, id: &str, with_caption: bool) -> Panel {
    let mut body = String::new();
    let mut y = heading(&mut body, &figure.title);
    let (x_span, y_span) = (
        Span::of(&figure.x, &x_values(figure)),
        Span::of(&figure.y, &y_values(figure)),
    );
    let high = plot_height(&figure.y);
    let y_names = places(&figure.y, &y_span, (high / 55.0) as usize);
    let scale = color_range(figure);
    let right = WIDTH - color_bar_width(scale) - MARGIN - 6.0;
    let mut left = MARGIN + LABEL + 14.0 + widest(&y_names);
    let x_names = places(&figure.x, &x_span, ((right - left) / 75.0) as usize);
    let mut lay = Lay::of(&x_names, right - left, left - MARGIN);
    if lay.longest < widest(&x_names) {
        // Room for the names that lean out to the left.
        left = left.max(ROOM_LEFT);
        lay = Lay::of(&x_names, right - left, left - MARGIN);
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
    grid(&mut body, &plot, &x_names, &y_names);
    // Marks lie over the axes; the rim of a matrix would hide them.
    if plot.heat.is_none() {
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
    y = x_axis(&mut body, figure, &plot, &x_names, &lay);
    color_bar(&mut body, figure, &plot);
    if with_caption {
        y = caption(&mut body, &figure.caption, y);
    }
    Panel {
        body,
        height: (y + MARGIN).ceil(),
    }
}

/// The title; returns where the next thing begins.
fn heading(body: &mut String, title: &str) -> f64 {
    let mut y = MARGIN;
    for line in wrap(title, WIDTH - 2.0 * MARGIN, |line| width(line, TITLE)) {
        y += TITLE * 1.25;
        text(body, (MARGIN, y - 4.0), TITLE, INK, r#" font-weight="600""#, &line);
    }
    y + 6.0
}

fn caption(body: &mut String, caption: &str, y: f64) -> f64 {
    let mut y = y + 4.0;
    for line in wrap(caption, WIDTH - 2.0 * MARGIN, |line| width(line, LABEL)) {
        y += LABEL * 1.35;
        text(body, (MARGIN, y), LABEL, INK, "", &line);
    }
    y
}

/// The rows of the legend; returns where the plot begins.
fn legend(body: &mut String, figure: &Figure, left: f64, right: f64, top: f64) -> f64 {
    let (mut x, mut y) = (left, top);
    let mut shown: Vec<&str> = Vec::new();
    for (number, layer) in figure.layers.iter().enumerate() {
        let label = layer.label();
        let repeated = matches!(layer, Layer::Shade { .. }) && shown.contains(&label);
        if label.is_empty() || repeated || matches!(layer, Layer::Heat { .. }) {
            continue;
        }
        shown.push(label);
        let short = shorten(label, TICK, right - left - 30.0);
        let wide = 28.0 + width(&short, TICK) + 20.0;
        if x > left && x + wide - 20.0 > right {
            (x, y) = (left, y + 20.0);
        }
        let _ = write!(body, r#"<g class="entry" data-series="{number}">"#);
        // Something to point at between the swatch and the words.
        let _ = write!(
            body,
            r#"<rect x="{}" y="{}" width="{}" height="18" fill="none" pointer-events="all"/>"#,
            n(x - 2.0),
            n(y),
            n(wide - 14.0)
        );
        marks::swatch(body, figure, number, (x + 11.0, y + 9.0));
        text(body, (x + 28.0, y + 13.0), TICK, INK, "", &short);
        body.push_str("</g>");
        x += wide;
    }
    if shown.is_empty() { top + 4.0 } else { y + 28.0 }
}

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

/// Which shade a label has: ranges with one label look alike.
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

/// The shades lie behind the grid, the matrix before it.
fn grid(body: &mut String, plot: &Plot, x: &[Place], y: &[Place]) {
    let _ = write!(body, r#"<g stroke="{GRID}" stroke-width="1">"#);
    for place in y.iter().filter(|place| place.line) {
        let row = n(plot.row(place.part));
        let strength = if place.label.text.is_empty() {
            r#" stroke-opacity="0.5""#
        } else {
            ""
        };
        let (left, right) = (n(plot.left), n(plot.right));
        let _ = write!(
            body,
            r#"<line x1="{left}" x2="{right}" y1="{row}" y2="{row}"{strength}/>"#
        );
    }
    for place in x.iter().filter(|place| place.line) {
        let column = n(plot.column(place.part));
        let strength = if place.label.text.is_empty() {
            r#" stroke-opacity="0.5""#
        } else {
            ""
        };
        let (top, bottom) = (n(plot.top), n(plot.bottom));
        let _ = write!(
            body,
            r#"<line x1="{column}" x2="{column}" y1="{top}" y2="{bottom}"{strength}/>"#
        );
    }
    body.push_str("</g>");
}

/// A plot without marks could be taken for one that failed.
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

fn frame(body: &mut String, plot: &Plot) {
    let (left, right, top, bottom) = (n(plot.left), n(plot.right), n(plot.top), n(plot.bottom));
    let _ = write!(
        body,
        r#"<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="{FAINT}" stroke-width="1"/>"#
    );
}

fn y_axis(body: &mut String, figure: &Figure, plot: &Plot, names: &[Place]) {
    let mut free = f64::INFINITY;
    for place in names {
        let row = plot.row(place.part);
        if place.label.text.is_empty() || free - row < TICK * 1.1 {
            continue;
        }
        free = row;
        tick_text(
            body,
            (plot.left - 7.0, row + 4.0),
            r#" text-anchor="end""#,
            &place.label,
        );
    }
    let (x, y) = (MARGIN + LABEL - 3.0, (plot.top + plot.bottom) / 2.0);
    let turned = format!(r#" text-anchor="middle" transform="rotate(-90 {} {})""#, n(x), n(y));
    let label = shorten(&figure.y.label, LABEL, plot.bottom - plot.top + 60.0);
    text(body, (x, y), LABEL, INK, &turned, &label);
}

/// How the names below the plot lie.
struct Lay {
    slanted: bool,
    stride: usize,
    longest: f64,
}

impl Lay {
    /// Level where all names fit, else slanted, and every so manieth where
    /// even those would touch.
    fn of(names: &[Place], wide: f64, room_left: f64) -> Lay {
        let labelled: Vec<&Place> = names.iter().filter(|place| !place.label.text.is_empty()).collect();
        let gap = labelled
            .windows(2)
            .map(|pair| (pair[1].part - pair[0].part).abs() * wide)
            .fold(f64::INFINITY, f64::min);
        let longest = widest(names);
        if longest + 8.0 <= gap {
            return Lay {
                slanted: false,
                stride: 1,
                longest,
            };
        }
        if labelled.iter().all(|place| !place.named) {
            let stride = ((longest + 8.0) / gap).ceil().max(1.0) as usize;
            return Lay {
                slanted: false,
                stride,
                longest,
            };
        }
        let first = labelled.first().map_or(0.0, |place| place.part * wide);
        Lay {
            slanted: true,
            stride: (TICK * 1.5 / gap).ceil().max(1.0) as usize,
            // What leans out to the left must stay on the sheet.
            longest: longest.min((first + room_left) * 1.4),
        }
    }
}

/// Names and label below the plot; returns where they end.
fn x_axis(body: &mut String, figure: &Figure, plot: &Plot, names: &[Place], lay: &Lay) -> f64 {
    let labelled = names.iter().filter(|place| !place.label.text.is_empty());
    for place in labelled.step_by(lay.stride) {
        let column = plot.column(place.part);
        if lay.slanted {
            let label = Label {
                text: shorten(&place.label.text, TICK, lay.longest),
                ..place.label.clone()
            };
            let at = (column + 4.0, plot.bottom + 13.0);
            let turned = format!(r#" text-anchor="end" transform="rotate(-45 {} {})""#, n(at.0), n(at.1));
            tick_text(body, at, &turned, &label);
        } else {
            tick_text(
                body,
                (column, plot.bottom + 17.0),
                r#" text-anchor="middle""#,
                &place.label,
            );
        }
    }
    let names_end = if lay.slanted {
        plot.bottom + 16.0 + 0.72 * lay.longest
    } else {
        plot.bottom + 18.0
    };
    if figure.x.label.is_empty() {
        return names_end + 4.0;
    }
    let middle = (plot.left + plot.right) / 2.0;
    let at = (middle, names_end + 18.0);
    let label = shorten(&figure.x.label, LABEL, WIDTH - 2.0 * MARGIN);
    text(body, at, LABEL, INK, r#" text-anchor="middle""#, &label);
    names_end + 22.0
}

const BAR: f64 = 16.0;
const BAR_STRIPES: usize = 64;

fn color_bar_width(range: Option<(f64, f64)>) -> f64 {
    range.map_or(0.0, |range| {
        18.0 + BAR + 6.0 + widest(&color_places(range)) + 10.0 + LABEL
    })
}

fn color_places((from, to): (f64, f64)) -> Vec<Place> {
    let axis = Axis::linear("").within(from, to);
    let span = Span::of(
        &axis,
        &Values {
            points: vec![from, to],
            ..Values::default()
        },
    );
    places(&axis, &span, 6)
}

/// The scale of a matrix, to the right of the plot.
fn color_bar(body: &mut String, figure: &Figure, plot: &Plot) {
    let Some(range) = plot.heat else { return };
    let label = figure.layers.iter().find_map(|layer| match layer {
        Layer::Heat { label, .. } => Some(label.as_str()),
        _ => None,
    });
    let left = plot.right + 18.0;
    let high = (plot.bottom - plot.top) / BAR_STRIPES as f64;
    for stripe in 0..BAR_STRIPES {
        let part = (stripe as f64 + 0.5) / BAR_STRIPES as f64;
        let _ = write!(
            body,
            r#"<rect x="{}" y="{}" width="{BAR}" height="{}" fill="{}"/>"#,
            n(left),
            n(plot.bottom - (stripe + 1) as f64 * high),
            // A little over, so that no seam shows between two stripes.
            n(if stripe == 0 { high } else { high + 0.5 }),
            heat(part)
        );
    }
    let _ = write!(
        body,
        r#"<rect x="{}" y="{}" width="{BAR}" height="{}" fill="none" stroke="{FAINT}" stroke-width="0.75"/>"#,
        n(left),
        n(plot.top),
        n(plot.bottom - plot.top)
    );
    let names = color_places(range);
    for place in names.iter().filter(|place| !place.label.text.is_empty()) {
        tick_text(body, (left + BAR + 6.0, plot.row(place.part) + 4.0), "", &place.label);
    }
    let (x, y) = (
        left + BAR + 6.0 + widest(&names) + 10.0 + LABEL / 2.0,
        (plot.top + plot.bottom) / 2.0,
    );
    let turned = format!(r#" text-anchor="middle" transform="rotate(-90 {} {})""#, n(x), n(y));
    let label = shorten(label.unwrap_or_default(), LABEL, plot.bottom - plot.top + 40.0);
    text(body, (x, y), LABEL, INK, &turned, &label);
}

/// The range of a matrix's values; a matrix without any has no colours.
fn color_range(figure: &Figure) -> Option<(f64, f64)> {
    let values = figure.layers.iter().filter_map(|layer| match layer {
        Layer::Heat { cells, .. } => Some(cells),
        _ => None,
    });
    let values = values.flatten().filter_map(|cell| cell.value);
    let (low, high) = values
        .filter(|value| value.abs() <= 1e300)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return None;
    }
    // One colour alone still needs a scale around it.
    let room = if high - low <= 1e-9 * low.abs().max(high.abs()).max(1e-280) {
        (0.1 * high.abs()).max(f64::from(high == 0.0))
    } else {
        0.0
    };
    Some((low - room, high + room))
}

/// A name on an axis.
struct Place {
    part: f64,
    label: Label,
    /// Whether it names a thing and not a number.
    named: bool,
    /// Whether a grid line runs through it.
    line: bool,
}

/// What is written along an axis.
fn places(axis: &Axis, span: &Span, count: usize) -> Vec<Place> {
    if axis.names.is_empty() {
        let place = |tick: Tick| Place {
            part: tick.part,
            named: false,
            line: true,
            label: tick.label.unwrap_or(Label {
                text: String::new(),
                power: String::new(),
            }),
        };
        return span.ticks(count).into_iter().map(place).collect();
    }
    let few = axis.names.len() <= 40;
    let place = |(index, name): (usize, &String)| {
        Some(Place {
            part: span.part((index + 1) as f64)?,
            named: true,
            line: few,
            label: Label {
                text: shorten(name, TICK, LONGEST_NAME),
                power: String::new(),
            },
        })
    };
    axis.names.iter().enumerate().filter_map(place).collect()
}

fn widest(places: &[Place]) -> f64 {
    let wide = |place: &Place| width(&place.label.text, TICK) + width(&place.label.power, 0.75 * TICK);
    places.iter().map(wide).fold(0.0, f64::max)
}

/// Things need a row each; numbers do with the same height always.
fn plot_height(axis: &Axis) -> f64 {
    (axis.names.len() as f64 * TICK * 1.5).clamp(PLOT_HEIGHT, 900.0)
}

fn x_values(figure: &Figure) -> Values {
    let mut values = Values::default();
    for layer in &figure.layers {
        match layer {
            Layer::Line { marks, .. } | Layer::Points { marks, .. } | Layer::Bars { marks, .. } => {
                values
                    .points
                    .extend(marks.iter().filter(|mark| mark.y.is_finite()).map(|mark| mark.x));
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
    // Ranges widen the axis, but do not make its numbers fractions.
    if values.half == 0.0 {
        let ends = figure.layers.iter().filter_map(|layer| match layer {
            Layer::Shade { from, to, .. } => Some([*from, *to]),
            _ => None,
        });
        values.points.extend(ends.flatten().map(f64::round));
    }
    values
}

fn y_values(figure: &Figure) -> Values {
    let mut values = Values {
        near_zero: true,
        ..Values::default()
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
            Layer::Boxes { boxes, .. } => values.points.extend(boxes.iter().flat_map(|mark| mark.five)),
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

fn tick_text(body: &mut String, at: (f64, f64), more: &str, label: &Label) {
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

fn text(body: &mut String, at: (f64, f64), size: f64, fill: &str, more: &str, words: &str) {
    let (x, y, words) = (n(at.0), n(at.1), escape(words));
    let _ = write!(
        body,
        r#"<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{more}>{words}</text>"#
    );
}

/// A coordinate with two digits behind the point, if they say something.
pub(super) fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_string()
    } else {
        text.to_string()
    }
}
