//! How is a drawing of boxes and arrows written as SVG?
//!
//! Coordinates are in pixels, from the top left corner. The drawing grows with
//! what is put on it.

use std::fmt::Write;

#[cfg(feature = "png")]
use super::ReportError;
use super::color::{FAINT, GROUND, INK, RIM, SHADES, series};
use super::plot::{MARGIN, TICK, n, text};
use super::svg::file;
use super::words::{bold_width, width, wrap};

/// Font size of the words in a box.
const WORDS: f64 = 13.0;
/// Font size of headings.
const HEADING: f64 = 16.0;
/// Height of a line in a box.
const LINE: f64 = 16.0;
/// Length and half the width of an arrow's head.
const HEAD: (f64, f64) = (8.0, 4.0);

/// The middle of the pixel that a line of one pixel covers: then it is not blurred.
fn crisp(place: f64) -> f64 {
    place.floor() + 0.5
}

/// What a box stands for; it decides the colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A layer with weights.
    Weights,
    /// Normalisation.
    Norm,
    /// Everything else.
    Other,
}

/// Where words stand, relative to their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// They begin there.
    Start,
    /// They are centred there.
    Middle,
}

/// A drawing of boxes and arrows.
#[derive(Debug, Clone, Default)]
pub struct Diagram {
    title: String,
    caption: String,
    body: String,
    width: f64,
    height: f64,
    /// Left, top, right and bottom of words and of boxes.
    #[cfg(test)]
    pub(crate) covered: [Vec<[f64; 4]>; 2],
    /// Left, top, right and bottom of every straight part of a line.
    #[cfg(test)]
    pub(crate) lines: Vec<[f64; 4]>,
}

impl Diagram {
    /// An empty drawing; `title` stands above it.
    pub fn new(title: impl Into<String>) -> Self {
        Diagram {
            title: title.into(),
            ..Diagram::default()
        }
    }

    /// Appends a sentence to the caption, which stands below the drawing.
    pub fn explain(&mut self, sentence: &str) {
        if !self.caption.is_empty() {
            self.caption.push(' ');
        }
        self.caption.push_str(sentence);
    }

    /// Width and height of what was drawn.
    pub fn size(&self) -> (f64, f64) {
        (self.width, self.height)
    }

    fn reach(&mut self, x: f64, y: f64) {
        (self.width, self.height) = (self.width.max(x), self.height.max(y));
    }

    /// Width and height of a box with these lines.
    pub fn box_size(lines: &[String]) -> (f64, f64) {
        let widest = lines.iter().map(|line| width(line, WORDS)).fold(0.0, f64::max);
        (widest + 20.0, LINE * lines.len() as f64 + 10.0)
    }

    /// A box around `centre` with lines of words.
    pub fn boxed(&mut self, centre: (f64, f64), (wide, high): (f64, f64), tone: Tone, lines: &[String]) {
        let (left, top) = (crisp(centre.0 - wide / 2.0), crisp(centre.1 - high / 2.0));
        let (wide, high) = (wide.ceil(), high.ceil());
        let (fill, stroke) = match tone {
            Tone::Weights => (SHADES[1], series(0)),
            Tone::Norm => (SHADES[2], series(1)),
            Tone::Other => (SHADES[0], RIM),
        };
        let _ = write!(
            self.body,
            r#"<rect x="{}" y="{}" width="{}" height="{}" rx="4" fill="{fill}" stroke="{stroke}"/>"#,
            n(left),
            n(top),
            n(wide),
            n(high)
        );
        #[cfg(test)]
        self.covered[1].push([left, top, left + wide, top + high]);
        for (number, line) in lines.iter().enumerate() {
            let y = top + 5.0 + LINE * number as f64 + 12.0;
            self.words((centre.0, y), Anchor::Middle, line);
        }
        self.reach(left + wide, top + high);
    }

    /// A circle around `centre` with a sign, such as that of a sum.
    pub fn circle(&mut self, centre: (f64, f64), radius: f64, sign: Sign) {
        let (x, y) = (crisp(centre.0), crisp(centre.1));
        let arm = (radius * 0.55).round();
        let stroke = match sign {
            Sign::Sum => format!(
                "M{} {}H{}M{} {}V{}",
                n(x - arm),
                n(y),
                n(x + arm),
                n(x),
                n(y - arm),
                n(y + arm)
            ),
            Sign::Product => {
                let arm = arm - 1.0;
                let (left, right, top, bottom) = (n(x - arm), n(x + arm), n(y - arm), n(y + arm));
                format!("M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}")
            }
        };
        let _ = write!(
            self.body,
            r#"<circle cx="{}" cy="{}" r="{}" fill="{GROUND}" stroke="{INK}"/><path d="{stroke}" fill="none" stroke="{INK}"/>"#,
            n(x),
            n(y),
            n(radius)
        );
        self.reach(x + radius, y + radius);
    }

    /// A line through `points` without a head.
    pub fn line(&mut self, points: &[(f64, f64)]) {
        let mut path = String::new();
        let mut last = None;
        for (x, y) in points.iter().map(|&(x, y)| (crisp(x), crisp(y))) {
            let _ = match last {
                None => write!(path, "M{} {}", n(x), n(y)),
                Some((before, _)) if before == x => write!(path, "V{}", n(y)),
                Some((_, before)) if before == y => write!(path, "H{}", n(x)),
                Some(_) => write!(path, "L{} {}", n(x), n(y)),
            };
            #[cfg(test)]
            self.lines
                .extend(last.map(|(x0, y0): (f64, f64)| [x0.min(x), y0.min(y), x0.max(x), y0.max(y)]));
            last = Some((x, y));
            self.reach(x, y);
        }
        let _ = write!(self.body, r#"<path d="{path}" fill="none" stroke="{INK}"/>"#);
    }

    /// A line through `points` with a head at its end.
    pub fn arrow(&mut self, points: &[(f64, f64)]) {
        let mut shaft: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (crisp(x), crisp(y))).collect();
        let [.., (x0, y0), (x, y)] = shaft[..] else { return };
        let length = (x - x0).hypot(y - y0).max(f64::MIN_POSITIVE);
        let (dx, dy) = ((x - x0) / length, (y - y0) / length);
        if let Some(last) = shaft.last_mut() {
            *last = (x - HEAD.0 * dx, y - HEAD.0 * dy);
        }
        self.line(&shaft);
        // From the tip to both corners of its foot.
        let _ = write!(
            self.body,
            r#"<path d="M{} {}l{} {}l{} {}z" fill="{INK}"/>"#,
            n(x),
            n(y),
            n(-HEAD.0 * dx - HEAD.1 * dy),
            n(-HEAD.0 * dy + HEAD.1 * dx),
            n(2.0 * HEAD.1 * dy),
            n(-2.0 * HEAD.1 * dx)
        );
        self.reach(x, y);
    }

    /// Words on their baseline at `at`.
    pub fn words(&mut self, at: (f64, f64), anchor: Anchor, words: &str) {
        self.write(at, WORDS, INK, anchor, "", width(words, WORDS), words);
    }

    /// Small, faint words, as for shapes along arrows.
    pub fn note(&mut self, at: (f64, f64), anchor: Anchor, words: &str) {
        self.write(at, TICK, FAINT, anchor, "", width(words, TICK), words);
    }

    /// The width of [`Self::note`].
    pub fn note_width(words: &str) -> f64 {
        width(words, TICK)
    }

    /// Small words on a line: the ground hides the line behind them.
    pub fn note_on_line(&mut self, centre: (f64, f64), words: &str) {
        let wide = width(words, TICK) + 8.0;
        let _ = write!(
            self.body,
            r#"<rect x="{}" y="{}" width="{}" height="18" fill="{GROUND}"/>"#,
            n(centre.0 - wide / 2.0),
            n(centre.1 - 9.0),
            n(wide)
        );
        self.note((centre.0, centre.1 + 4.0), Anchor::Middle, words);
    }

    /// A heading that begins at `at`.
    pub fn heading(&mut self, at: (f64, f64), words: &str) {
        let bold = r#" font-weight="600""#;
        self.write(at, WORDS, INK, Anchor::Start, bold, bold_width(words, WORDS), words);
    }

    /// The width of [`Self::heading`].
    pub fn heading_width(words: &str) -> f64 {
        bold_width(words, WORDS)
    }

    #[allow(clippy::too_many_arguments, reason = "the properties of a line of words")]
    fn write(&mut self, at: (f64, f64), size: f64, fill: &str, anchor: Anchor, more: &str, wide: f64, words: &str) {
        let (anchored, right) = match anchor {
            Anchor::Start => ("", at.0 + wide),
            Anchor::Middle => (r#" text-anchor="middle""#, at.0 + wide / 2.0),
        };
        #[cfg(test)]
        if !words.is_empty() {
            self.covered[0].push([right - wide, at.1 - 0.75 * size, right, at.1 + 0.2 * size]);
        }
        text(&mut self.body, at, size, fill, &format!("{more}{anchored}"), words);
        self.reach(right, at.1 + 4.0);
    }

    /// Another drawing with its top left corner at `at`; its title is left out.
    pub fn place(&mut self, (x, y): (f64, f64), other: &Diagram) {
        let _ = write!(
            self.body,
            r#"<g transform="translate({},{})">{}</g>"#,
            n(x),
            n(y),
            other.body
        );
        self.reach(x + other.width, y + other.height);
        #[cfg(test)]
        {
            let moved = |&[left, top, right, bottom]: &[f64; 4]| [left + x, top + y, right + x, bottom + y];
            for (own, others) in self.covered.iter_mut().zip(&other.covered) {
                own.extend(others.iter().map(moved));
            }
            self.lines.extend(other.lines.iter().map(moved));
        }
        if !other.caption.is_empty() {
            self.explain(&other.caption);
        }
    }

    /// The drawing as an SVG file, with its title and caption.
    pub fn svg(&self) -> String {
        let titled = bold_width(&self.title, HEADING).min(640.0);
        let inner = self.width.max(titled).max(360.0);
        let mut body = String::new();
        let mut y = MARGIN;
        for line in wrap(&self.title, inner, |line| bold_width(line, HEADING)) {
            y += HEADING * 1.25;
            text(
                &mut body,
                (MARGIN, y - 4.0),
                HEADING,
                INK,
                r#" font-weight="600""#,
                &line,
            );
        }
        y += 10.0;
        let _ = write!(
            body,
            r#"<g transform="translate({},{})">{}</g>"#,
            n(MARGIN),
            n(y),
            self.body
        );
        y += self.height + 8.0;
        for line in wrap(&self.caption, inner, |line| width(line, TICK)) {
            y += TICK * 1.4;
            text(&mut body, (MARGIN, y), TICK, FAINT, "", &line);
        }
        let size = ((inner + 2.0 * MARGIN).ceil(), (y + MARGIN).ceil());
        file(&body, size, "drawing", &self.title, &self.caption)
    }

    /// The drawing as a PNG file, twice as wide as the SVG.
    ///
    /// # Errors
    /// When the drawing is too large for the memory.
    #[cfg(feature = "png")]
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        super::png::raster(&self.svg()).map_err(|problem| ReportError::Raster {
            name: self.title.clone(),
            problem,
        })
    }
}

/// The sign in a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A plus.
    Sum,
    /// A cross.
    Product,
}
