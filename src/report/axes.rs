//! How are the axes of a plot drawn: grid, frame, tick labels, colour bar?

use std::fmt::Write;

use super::axis::{AxisValues, Label, Span, Tick};
use super::color::{FAINT, GRID, HeatScale, INK, STEPS};
use super::figure::{Axis, Figure, Layer};
use super::plot::{LABEL, MARGIN, Plot, TICK, WIDTH, n, text, tick_text};
use super::words::{shorten, width};

/// The greatest width of a name on an axis; longer ones are shortened.
const LONGEST_NAME: f64 = 150.0;

/// A place on an axis, and its tick label.
pub(super) struct Place {
    /// Its part of the way along the axis, from 0 to 1.
    part: f64,
    /// The label; empty for a grid line alone.
    label: Label,
    /// Whether the label is a name instead of a number.
    named: bool,
    /// Whether a grid line runs through it.
    line: bool,
}

/// The places of an axis: its names, or about `count` numbers.
pub(super) fn places(axis: &Axis, span: &Span, count: usize) -> Vec<Place> {
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
            // Names that are numbers, such as those of blocks, are laid out as such.
            named: name.parse::<f64>().is_err(),
            line: few,
            label: Label {
                text: shorten(name, TICK, LONGEST_NAME),
                power: String::new(),
            },
        })
    };
    axis.names.iter().enumerate().filter_map(place).collect()
}

/// The width of the widest label.
pub(super) fn widest(places: &[Place]) -> f64 {
    let wide = |place: &Place| width(&place.label.text, TICK) + width(&place.label.power, 0.75 * TICK);
    places.iter().map(wide).fold(0.0, f64::max)
}

/// Draws the grid lines. Shaded ranges are drawn before it, a matrix after it.
pub(super) fn grid(body: &mut String, plot: &Plot, x: &[Place], y: &[Place]) {
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

/// Draws the two axis lines.
pub(super) fn frame(body: &mut String, plot: &Plot) {
    let (left, right, top, bottom) = (n(plot.left), n(plot.right), n(plot.top), n(plot.bottom));
    let _ = write!(
        body,
        r#"<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="{FAINT}" stroke-width="1"/>"#
    );
}

/// Draws the tick labels and the label of the vertical axis.
pub(super) fn y_axis(body: &mut String, figure: &Figure, plot: &Plot, names: &[Place]) {
    let mut taken = f64::INFINITY;
    for place in names {
        let row = plot.row(place.part);
        if place.label.text.is_empty() || (taken - row).abs() < TICK * 1.1 {
            continue;
        }
        taken = row;
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

/// How the tick labels below the plot are arranged.
pub(super) struct TickLayout {
    /// Whether they are turned by 45 degrees.
    slanted: bool,
    /// Every `stride`-th label is shown.
    stride: usize,
    /// The width to which labels are shortened.
    pub(super) longest: f64,
}

impl TickLayout {
    /// Horizontal where all labels fit. Otherwise numbers leave some out, and
    /// names are slanted; every n-th name is shown where slanted ones would
    /// touch. `wide` is the width of the plot, `room_left` what is free to the
    /// left of it.
    pub(super) fn of(names: &[Place], wide: f64, room_left: f64) -> TickLayout {
        let labelled: Vec<&Place> = names.iter().filter(|place| !place.label.text.is_empty()).collect();
        let gap = labelled
            .windows(2)
            .map(|pair| (pair[1].part - pair[0].part).abs() * wide)
            .fold(f64::INFINITY, f64::min);
        let longest = widest(names);
        if longest + 8.0 <= gap {
            return TickLayout {
                slanted: false,
                stride: 1,
                longest,
            };
        }
        if labelled.iter().all(|place| !place.named) {
            let stride = ((longest + 8.0) / gap).ceil().max(1.0) as usize;
            return TickLayout {
                slanted: false,
                stride,
                longest,
            };
        }
        let first = labelled.first().map_or(0.0, |place| place.part * wide);
        TickLayout {
            slanted: true,
            stride: (TICK * 1.5 / gap).ceil().max(1.0) as usize,
            // Slanted labels extend to the left, but not beyond the sheet.
            longest: longest.min((first + room_left) * 1.4),
        }
    }
}

/// Draws tick labels and label below the plot; returns the row where they end.
pub(super) fn x_axis(body: &mut String, figure: &Figure, plot: &Plot, names: &[Place], layout: &TickLayout) -> f64 {
    let labelled = names.iter().filter(|place| !place.label.text.is_empty());
    for place in labelled.step_by(layout.stride) {
        let column = plot.column(place.part);
        if layout.slanted {
            let label = Label {
                text: shorten(&place.label.text, TICK, layout.longest),
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
    let names_end = if layout.slanted {
        plot.bottom + 16.0 + 0.72 * layout.longest
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

/// Width of the colour bar.
const BAR: f64 = 16.0;

/// The width of the colour bar with its labels; 0 without a matrix.
pub(super) fn color_bar_width(scale: Option<&HeatScale>) -> f64 {
    scale.map_or(0.0, |scale| {
        18.0 + BAR + 6.0 + widest(&color_places(scale)) + 10.0 + LABEL
    })
}

/// The places of the colour bar's axis.
fn color_places(scale: &HeatScale) -> Vec<Place> {
    let axis = Axis::linear("").within(scale.low, scale.high);
    let values = AxisValues {
        points: vec![scale.low, scale.high],
        ..AxisValues::default()
    };
    places(&axis, &Span::of(&axis, &values), 6)
}

/// Draws the colour bar of a matrix to the right of the plot.
pub(super) fn color_bar(body: &mut String, figure: &Figure, plot: &Plot) {
    let Some(scale) = &plot.heat else { return };
    let label = figure.layers.iter().find_map(|layer| match layer {
        Layer::Heat { label, .. } => Some(label.as_str()),
        _ => None,
    });
    let left = plot.right + 18.0;
    let high = (plot.bottom - plot.top) / STEPS as f64;
    for stripe in 0..STEPS {
        let part = (stripe as f64 + 0.5) / STEPS as f64;
        let _ = write!(
            body,
            r#"<rect x="{}" y="{}" width="{BAR}" height="{}" fill="{}"/>"#,
            n(left),
            n(plot.bottom - (stripe + 1) as f64 * high),
            // A little higher, so that no gap shows between two stripes.
            n(if stripe == 0 { high } else { high + 0.5 }),
            scale.color(scale.low + part * (scale.high - scale.low))
        );
    }
    let _ = write!(
        body,
        r#"<rect x="{}" y="{}" width="{BAR}" height="{}" fill="none" stroke="{FAINT}" stroke-width="0.75"/>"#,
        n(left),
        n(plot.top),
        n(plot.bottom - plot.top)
    );
    let names = color_places(scale);
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

/// What the colours of a figure's matrix mean; `None` where it has no values. A
/// scale of signed values extends equally far to both sides of zero, also where
/// all values have one sign: then half of it is not used.
pub(super) fn heat_scale(figure: &Figure) -> Option<HeatScale> {
    let (mut low, mut high, mut any) = (f64::INFINITY, f64::NEG_INFINITY, false);
    for layer in &figure.layers {
        let Layer::Heat { signed, cells, .. } = layer else {
            continue;
        };
        any |= *signed;
        for value in cells
            .iter()
            .filter_map(|cell| cell.value)
            .filter(|value| value.abs() <= 1e300)
        {
            (low, high) = (low.min(value), high.max(value));
        }
    }
    if low > high {
        return None;
    }
    if any {
        let most = low.abs().max(high.abs());
        (low, high) = (-most, most);
    }
    // A single value still needs a range around it.
    let room = if high - low <= 1e-9 * low.abs().max(high.abs()).max(1e-280) {
        (0.1 * high.abs()).max(f64::from(high == 0.0))
    } else {
        0.0
    };
    Some(HeatScale {
        low: low - room,
        high: high + room,
        signed: any,
    })
}
