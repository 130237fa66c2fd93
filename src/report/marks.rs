//! How is each kind of layer drawn?
//!
//! Every mark is one SVG element with its text, the number of its series
//! (which the legend shows and hides) and the number of its row (along which
//! the arrow keys move: a series, or a row of a matrix).

use std::fmt::Write;

use super::color::{FAINT, GROUND, INK, RIM, SHADES, series};
use super::figure::{BoxMark, Cell, Figure, Layer, Mark};
use super::plot::{Plot, n, shade_number};
use super::words::escape;

/// Dash patterns of levels, in order.
const DASHES: [&str; 3] = ["7 4", "2 3", "10 3 2 3"];
/// The share of its place that a bar or box fills; the rest is the gap to the
/// next one.
const FILLED: f64 = 0.76;
/// Width of the outline of an emphasised mark.
const OUTLINE: f64 = 1.8;
/// The greatest width of a bar.
const WIDEST_BAR: f64 = 90.0;

/// Draws all layers except the shaded ranges, which are drawn before the grid.
pub(super) fn draw(body: &mut String, figure: &Figure, plot: &Plot, id: &str) {
    let mut rows = 0;
    for (number, layer) in figure.layers.iter().enumerate() {
        let mut pen = Pen {
            body: &mut *body,
            figure,
            plot,
            series: number,
            row: rows,
            style: style(figure, number),
        };
        match layer {
            Layer::Line { marks, .. } => pen.line(marks, id),
            Layer::Points { marks, .. } => pen.points(marks),
            Layer::Bars { marks, .. } => pen.bars(marks),
            Layer::Boxes { boxes, .. } => pen.boxes(boxes),
            Layer::Heat { cells, .. } => pen.cells(cells),
            Layer::Level { label, y, .. } => pen.level(label, *y),
            Layer::Shade { .. } => continue,
        }
        rows = pen.row + 1;
    }
}

/// Draws the symbol of a layer in the legend, centred at `at`.
pub(super) fn swatch(body: &mut String, figure: &Figure, number: usize, at: (f64, f64)) {
    let style = style(figure, number);
    let (x, y, color) = (at.0, at.1, color(figure, number));
    let (left, right, middle) = (n(x - 11.0), n(x + 11.0), n(y));
    match &figure.layers[number] {
        Layer::Line { .. } => {
            let _ = write!(
                body,
                r#"<path d="M{left} {middle}H{right}" stroke="{color}" stroke-width="2"/><path d="{}" fill="{color}"/>"#,
                shape(style, at, 4.5)
            );
        }
        Layer::Points { .. } => {
            let _ = write!(body, r#"<path d="{}" fill="{color}"/>"#, shape(style, at, 5.0));
        }
        Layer::Bars { .. } | Layer::Boxes { .. } | Layer::Heat { .. } => {
            let opacity = if matches!(figure.layers[number], Layer::Boxes { .. }) {
                0.3
            } else {
                1.0
            };
            let _ = write!(
                body,
                r#"<rect x="{left}" y="{}" width="22" height="11" fill="{color}" fill-opacity="{opacity}" stroke="{color}"/>"#,
                n(y - 5.5)
            );
        }
        Layer::Level { .. } => {
            let _ = write!(
                body,
                r#"<path d="M{left} {middle}H{right}" stroke="{color}" stroke-width="1.5" stroke-dasharray="{}"/>"#,
                DASHES[style % DASHES.len()]
            );
        }
        Layer::Shade { label, .. } => {
            let _ = write!(
                body,
                r#"<rect x="{left}" y="{}" width="22" height="11" fill="{}" stroke="{RIM}" stroke-width="0.75"/>"#,
                n(y - 5.5),
                SHADES[shade_number(figure, label) % SHADES.len()]
            );
        }
    }
}

/// Draws the symbol of emphasised marks in the legend: their outline alone.
pub(super) fn strong_swatch(body: &mut String, at: (f64, f64)) {
    let _ = write!(
        body,
        r#"<path d="{}" fill="{GROUND}" stroke="{INK}" stroke-width="{OUTLINE}"/>"#,
        shape(0, at, 5.6)
    );
}

/// Draws the symbol of values that are not finite in the legend.
pub(super) fn off_scale_swatch(body: &mut String, at: (f64, f64)) {
    let _ = write!(
        body,
        r#"<path d="{}" fill="none" stroke="{INK}" stroke-width="2"/>"#,
        cross(at, 4.5)
    );
}

/// Two crossed strokes around a point.
fn cross((x, y): (f64, f64), r: f64) -> String {
    let (left, right, top, bottom) = (n(x - r), n(x + r), n(y - r), n(y + r));
    format!("M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}")
}

/// The colour of a layer. A level has that of its series.
fn color(figure: &Figure, number: usize) -> &'static str {
    let Layer::Level { series: of, .. } = &figure.layers[number] else {
        return series(style(figure, number));
    };
    let is_series = |layer: &Layer| !matches!(layer, Layer::Level { .. } | Layer::Shade { .. }) && layer.label() == of;
    let own = figure.layers.iter().position(is_series).filter(|_| !of.is_empty());
    own.map_or(FAINT, |own| series(style(figure, own)))
}

/// The smallest distance between two bars or boxes, which is the place that each
/// of them gets; `None` without any.
pub(super) fn smallest_gap(figure: &Figure) -> Option<f64> {
    let mut places: Vec<f64> = Vec::new();
    for layer in &figure.layers {
        match layer {
            Layer::Bars { marks, .. } => places.extend(marks.iter().map(|mark| mark.x)),
            Layer::Boxes { boxes, .. } => places.extend(boxes.iter().map(|mark| mark.x)),
            _ => {}
        }
    }
    places.retain(|place| place.abs() <= 1e300);
    places.sort_by(f64::total_cmp);
    places.dedup();
    let gaps = places.windows(2).map(|pair| pair[1] - pair[0]);
    let gap = gaps.fold(f64::INFINITY, f64::min);
    match places.len() {
        0 => None,
        1 => Some(1.0),
        _ if figure.x.names.is_empty() => Some(gap),
        _ => Some(gap.min(1.0)),
    }
}

/// The number of a layer among those that are distinguished in the same way: levels
/// by their dashes, all others by colour and shape.
fn style(figure: &Figure, number: usize) -> usize {
    let family = |layer: &Layer| match layer {
        Layer::Level { .. } => 0,
        Layer::Shade { .. } => 1,
        Layer::Line { .. } | Layer::Points { .. } | Layer::Bars { .. } | Layer::Boxes { .. } | Layer::Heat { .. } => 2,
    };
    let own = family(&figure.layers[number]);
    figure.layers[..number]
        .iter()
        .filter(|layer| family(layer) == own)
        .count()
}

/// The outline of a mark around a point, with radius `r`. The shape follows from
/// the number of the series.
fn shape(style: usize, (x, y): (f64, f64), r: f64) -> String {
    let points = |corners: &[(f64, f64)]| {
        let corner = |&(dx, dy): &(f64, f64)| format!("{} {}", n(x + r * dx), n(y + r * dy));
        format!("M{}Z", corners.iter().map(corner).collect::<Vec<_>>().join("L"))
    };
    // Colours repeat after six series; the shapes differ then.
    match (style + style / 6) % 6 {
        0 => {
            let (left, across) = (n(x - r), n(2.0 * r));
            format!(
                "M{left} {}a{r} {r} 0 1 0 {across} 0a{r} {r} 0 1 0 -{across} 0Z",
                n(y),
                r = n(r)
            )
        }
        1 => points(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => points(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
        3 => points(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => points(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
        _ => points(&[
            (-0.4, -1.2),
            (0.4, -1.2),
            (0.4, -0.4),
            (1.2, -0.4),
            (1.2, 0.4),
            (0.4, 0.4),
            (0.4, 1.2),
            (-0.4, 1.2),
            (-0.4, 0.4),
            (-1.2, 0.4),
            (-1.2, -0.4),
            (-0.4, -0.4),
        ]),
    }
}

/// Draws one layer.
struct Pen<'a> {
    body: &'a mut String,
    figure: &'a Figure,
    plot: &'a Plot,
    series: usize,
    row: usize,
    style: usize,
}

impl Pen<'_> {
    fn color(&self) -> &'static str {
        color(self.figure, self.series)
    }

    fn open(&mut self) {
        let _ = write!(self.body, r#"<g class="series" data-series="{}">"#, self.series);
    }

    fn close(&mut self) {
        self.body.push_str("</g>");
    }

    /// Writes one mark: its text around the elements in `shape`.
    fn mark(&mut self, words: &str, shape: &str) {
        let (words, series, row) = (escape(words), self.series, self.row);
        let _ = write!(
            self.body,
            r#"<g class="mark" data-series="{series}" data-row="{row}" data-text="{words}"><title>{words}</title>{shape}</g>"#
        );
    }

    /// The position of a point; `None` where the figure does not show it.
    fn place(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        Some((
            self.plot.column(self.plot.x.part(x)?),
            self.plot.row(self.plot.y.part(y)?),
        ))
    }

    fn line(&mut self, marks: &[Mark], id: &str) {
        self.open();
        let path = self.path(marks);
        if !path.is_empty() {
            let plot = self.plot;
            let clip = format!("{id}-clip{}", self.series);
            let _ = write!(
                self.body,
                r#"<clipPath id="{clip}"><rect x="{}" y="{}" width="{}" height="{}"/></clipPath><path d="{path}" clip-path="url(#{clip})" fill="none" stroke="{}" stroke-width="{}" stroke-linejoin="round"/>"#,
                n(plot.left),
                n(plot.top - 1.0),
                n(plot.right - plot.left),
                n(plot.bottom - plot.top + 2.0),
                self.color(),
                if marks.len() > 150 { "1.25" } else { "2" }
            );
        }
        self.dots(marks);
        self.close();
    }

    /// The line through the marks, with a gap where a mark has no position.
    fn path(&self, marks: &[Mark]) -> String {
        let mut path = String::new();
        let mut joined = false;
        for mark in marks {
            let place = self.plot.x.unbounded(mark.x).zip(self.plot.y.unbounded(mark.y));
            if let Some((x, y)) = place {
                // Far outside the plot the exact position does not matter.
                let (x, y) = (
                    self.plot.column(x.clamp(-50.0, 50.0)),
                    self.plot.row(y.clamp(-50.0, 50.0)),
                );
                let _ = write!(path, "{}{} {}", if joined { 'L' } else { 'M' }, n(x), n(y));
            }
            joined = place.is_some();
        }
        path
    }

    fn points(&mut self, marks: &[Mark]) {
        self.open();
        self.dots(marks);
        self.close();
    }

    fn dots(&mut self, marks: &[Mark]) {
        let radius = match marks.len() {
            0..=60 => 4.5,
            61..=150 => 3.2,
            _ => 1.8,
        };
        // Strong marks last, so that the others do not cover them.
        for strong in [false, true] {
            for mark in marks.iter().filter(|mark| mark.strong == strong) {
                let Some(at) = self.place(mark.x, mark.y) else {
                    self.off_scale(mark);
                    continue;
                };
                let r = if strong { radius * 1.2 + 0.8 } else { radius };
                let whisker = self.whisker(mark, at.0, radius);
                // An outline in the colour of the ground separates a mark from its
                // line, but would cut its whisker.
                let (rim, wide) = match (strong, whisker.is_empty() && radius > 3.0) {
                    (true, _) => (INK, OUTLINE),
                    (false, true) => (GROUND, 0.9),
                    (false, false) => (GROUND, 0.0),
                };
                let drawn = format!(
                    r#"{whisker}<path class="shape" d="{}" fill="{}" stroke="{rim}" stroke-width="{wide}"/>"#,
                    shape(self.style, at, r),
                    self.color(),
                );
                self.mark(&mark.words(), &drawn);
            }
        }
    }

    /// Draws a mark whose value is not finite as a cross at the edge of the plot.
    fn off_scale(&mut self, mark: &Mark) {
        if mark.y.is_finite() {
            return;
        }
        let Some(part) = self.plot.x.part(mark.x) else { return };
        let row = if mark.y == f64::NEG_INFINITY {
            self.plot.bottom - 7.0
        } else {
            self.plot.top + 7.0
        };
        let drawn = format!(
            r#"<path class="shape" d="{}" fill="none" stroke="{}" stroke-width="2.4"/>"#,
            cross((self.plot.column(part), row), 4.5),
            self.color()
        );
        self.mark(&mark.words(), &drawn);
    }

    fn whisker(&self, mark: &Mark, x: f64, radius: f64) -> String {
        self.whisker_in(self.color(), mark, x, radius)
    }

    fn whisker_in(&self, color: &str, mark: &Mark, x: f64, radius: f64) -> String {
        let ends = mark.interval.and_then(|(low, high)| {
            let (low, high) = (self.plot.y.clamped(low)?, self.plot.y.clamped(high)?);
            Some((self.plot.row(low), self.plot.row(high)))
        });
        let Some((low, high)) = ends else {
            return String::new();
        };
        let (cap, low, high) = (if radius > 3.0 { 3.5 } else { 1.5 }, n(low), n(high));
        let (left, right) = (n(x - cap), n(x + cap));
        format!(
            r#"<path d="M{x} {low}V{high}M{left} {low}H{right}M{left} {high}H{right}" fill="none" stroke="{color}" stroke-width="1.4"/>"#,
            x = n(x),
        )
    }

    /// Left edge and width of a bar or box at `x`. All layers with bars or boxes
    /// share the place, next to each other.
    fn slot(&self, x: f64) -> Option<(f64, f64)> {
        let middle = self.plot.x.part(x)?;
        let shares_place = |layer: &&Layer| matches!(layer, Layer::Bars { .. } | Layer::Boxes { .. });
        let count = self.figure.layers.iter().filter(shares_place).count().max(1) as f64;
        let before = self.figure.layers[..self.series].iter().filter(shares_place).count() as f64;
        let half = smallest_gap(self.figure).unwrap_or(1.0) / 2.0;
        let reach = |end: f64| self.plot.x.unbounded(end).map(|part| (part - middle).abs());
        // On a logarithmic axis the two sides differ: take the narrower one.
        let reach = reach(x - half)
            .unwrap_or(f64::INFINITY)
            .min(reach(x + half).unwrap_or(f64::INFINITY));
        let room = 2.0 * reach.min(0.5) * (self.plot.right - self.plot.left) * FILLED;
        let wide = (room / count).clamp(0.8, WIDEST_BAR);
        let left = self.plot.column(middle) + (before - count / 2.0) * wide;
        let left = left.clamp(self.plot.left, (self.plot.right - wide).max(self.plot.left));
        Some((left, wide))
    }

    fn bars(&mut self, marks: &[Mark]) {
        self.open();
        let foot = self.plot.y.clamped(0.0).unwrap_or(0.0);
        if foot > 0.0 {
            let (row, left, right) = (self.plot.row(foot), n(self.plot.left), n(self.plot.right));
            let _ = write!(self.body, r#"<path d="M{left} {}H{right}" stroke="{FAINT}"/>"#, n(row));
        }
        for mark in marks {
            let (Some((left, wide)), Some(end)) = (self.slot(mark.x), self.plot.y.clamped(mark.y)) else {
                self.off_scale(mark);
                continue;
            };
            let (end, foot) = (self.plot.row(end), self.plot.row(foot));
            let drawn = format!(
                r#"<rect class="shape" x="{}" y="{}" width="{}" height="{}" fill="{}"{}/>"#,
                n(left),
                n(end.min(foot)),
                n(wide),
                // A bar without height must still react to the pointer.
                n((end - foot).abs().max(0.6)),
                self.color(),
                if mark.strong {
                    format!(r#" stroke="{INK}" stroke-width="{OUTLINE}""#)
                } else {
                    String::new()
                }
            ) + &self.bar_whisker(mark, left + wide / 2.0, wide);
            self.mark(&mark.words(), &drawn);
        }
        self.close();
    }

    /// A whisker in a dark colour, because half of it lies on the bar.
    fn bar_whisker(&self, mark: &Mark, x: f64, wide: f64) -> String {
        self.whisker_in(INK, mark, x, if wide > 12.0 { 4.0 } else { 2.0 })
    }

    fn boxes(&mut self, boxes: &[BoxMark]) {
        self.open();
        for mark in boxes {
            let rows: Option<Vec<f64>> = mark.five.iter().map(|&value| self.plot.y.clamped(value)).collect();
            let (Some((left, wide)), Some(rows)) = (self.slot(mark.x), rows) else {
                continue;
            };
            let rows: Vec<f64> = rows.into_iter().map(|part| self.plot.row(part)).collect();
            let middle = left + wide / 2.0;
            let drawn =
                self.dots_of_box(mark, middle, wide.min(60.0)) + &self.one_box(left, wide.min(60.0), middle, &rows);
            self.mark(&mark.words(), &drawn);
        }
        self.close();
    }

    /// The values of a box as dots, spread over its width so that equal ones do
    /// not cover each other. The spread is the same in every drawing.
    fn dots_of_box(&self, mark: &BoxMark, middle: f64, wide: f64) -> String {
        // Multiples of the golden ratio are evenly spread however many there are.
        const GOLDEN: f64 = 0.618_033_988_749_895;
        let mut path = String::new();
        for (index, &value) in mark.values.iter().enumerate() {
            let Some(part) = self.plot.y.part(value) else { continue };
            let x = middle + ((index as f64 * GOLDEN).fract() - 0.5) * 0.8 * wide;
            let _ = write!(path, "M{} {}h.01", n(x), n(self.plot.row(part)));
        }
        if path.is_empty() {
            return path;
        }
        format!(
            r#"<path d="{path}" fill="none" stroke="{}" stroke-width="3" stroke-linecap="round" stroke-opacity="0.6"/>"#,
            self.color()
        )
    }

    fn one_box(&self, left: f64, wide: f64, middle: f64, rows: &[f64]) -> String {
        let left = left.max(middle - wide / 2.0);
        let (color, right, x, cap) = (self.color(), n(left + wide), n(middle), wide / 4.0);
        let (cap_left, cap_right) = (n(middle - cap), n(middle + cap));
        let [least, low, median, high, most] = [0, 1, 2, 3, 4].map(|index| n(rows[index]));
        format!(
            concat!(
                r#"<path d="M{x} {least}V{low}M{x} {high}V{most}M{cl} {least}H{cr}M{cl} {most}H{cr}" "#,
                r#"fill="none" stroke="{color}" stroke-width="1.4"/>"#,
                r#"<rect class="shape" x="{left}" y="{top}" width="{wide}" height="{tall}" "#,
                r#"fill="{color}" fill-opacity="0.3" stroke="{color}" stroke-width="1.4"/>"#,
                r#"<path d="M{left} {median}H{right}" stroke="{ink}" stroke-width="2"/>"#,
            ),
            x = x,
            least = least,
            low = low,
            median = median,
            high = high,
            most = most,
            cl = cap_left,
            cr = cap_right,
            color = color,
            ink = INK,
            left = n(left),
            top = n(rows[1].min(rows[3])),
            wide = n(wide),
            tall = n((rows[1] - rows[3]).abs().max(0.6)),
            right = right,
        )
    }

    /// Draws a matrix, its rows from top to bottom, in which order the arrow keys
    /// move.
    fn cells(&mut self, cells: &[Cell]) {
        self.open();
        let mut order: Vec<&Cell> = cells.iter().collect();
        order.sort_by_key(|cell| (cell.y, cell.x));
        let mut last = None;
        for cell in order {
            if last.is_some_and(|row| row != cell.y) {
                self.row += 1;
            }
            last = Some(cell.y);
            if let Some(drawn) = self.cell(cell) {
                self.mark(&cell.words(), &drawn);
            }
        }
        self.close();
    }

    fn cell(&self, cell: &Cell) -> Option<String> {
        let (x, y) = (cell.x as f64, cell.y as f64);
        self.plot.x.part(x)?;
        self.plot.y.part(y)?;
        let left = self.plot.column(self.plot.x.clamped(x - 0.5)?);
        let right = self.plot.column(self.plot.x.clamped(x + 0.5)?);
        let rows = [y - 0.5, y + 0.5].map(|end| self.plot.y.clamped(end).map(|part| self.plot.row(part)));
        let (one, other) = (rows[0]?, rows[1]?);
        let (top, bottom) = (one.min(other), one.max(other));
        let fill = match cell.value.zip(self.plot.heat) {
            Some((value, scale)) if value.abs() <= 1e300 => scale.color(value),
            _ => GROUND.to_string(),
        };
        let crossed = if cell.value.is_some_and(|value| !value.is_finite()) {
            let r = 0.3 * (right - left).min(bottom - top);
            let middle = ((left + right) / 2.0, (top + bottom) / 2.0);
            format!(
                r#"<path d="{}" fill="none" stroke="{INK}" stroke-width="1.5"/>"#,
                cross(middle, r)
            )
        } else {
            String::new()
        };
        Some(format!(
            r#"<rect class="shape" x="{}" y="{}" width="{}" height="{}" fill="{fill}" stroke="{GROUND}" stroke-width="{}"/>{crossed}"#,
            n(left),
            n(top),
            n(right - left),
            n(bottom - top),
            if right - left > 12.0 { "1" } else { "0.3" }
        ))
    }

    fn level(&mut self, label: &str, y: f64) {
        let Some(part) = self.plot.y.part(y) else { return };
        let (row, left, right) = (n(self.plot.row(part)), n(self.plot.left), n(self.plot.right));
        self.open();
        let _ = write!(
            self.body,
            r#"<path class="level" d="M{left} {row}H{right}" fill="none" stroke="{}" stroke-width="1.5" stroke-dasharray="{}"><title>{}</title></path>"#,
            color(self.figure, self.series),
            DASHES[self.style % DASHES.len()],
            escape(label)
        );
        self.close();
    }
}
