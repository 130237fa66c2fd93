//! How are images shown in rows and columns, with words beside them?
//!
//! The drawing is SVG with the images in it, as PNG. The PNG file has the words of the
//! drawing, and the same pixels.

use std::fmt::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use serde::Serialize;

use super::color::{FAINT, INK, rgb};
use super::plot::{MARGIN, TICK, n, text};
use super::svg::{document, file};
use super::words::{bold_width, escape, shorten, width, wrap};

/// Side of the square in which an image is shown, pixels.
const TILE: f64 = 128.0;
/// Between two images.
const GAP: f64 = 10.0;
/// Font size of the title.
const TITLE: f64 = 16.0;
/// Height of a line of words.
const LINE: f64 = 16.0;
/// The most room for the words of a row.
const WORDS: f64 = 190.0;

/// Images in rows and columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pictures {
    /// Its file names without their extensions.
    pub name: String,
    /// What it shows, in one line above it.
    pub title: String,
    /// What to notice in it, in a sentence or two below it.
    pub caption: String,
    /// The words above the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<PictureRow>,
}

/// A row of images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PictureRow {
    /// The lines of words at its beginning.
    pub words: Vec<String>,
    /// An image for each column.
    pub pictures: Vec<Picture>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Picture {
    /// Its width in pixels.
    pub width: usize,
    /// Its height in pixels.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row.
    #[serde(skip)]
    pub pixels: Vec<[u8; 3]>,
    /// What it is, for those who cannot see it.
    pub text: String,
}

/// Where an image is drawn: left, top, width and height.
type Place = [f64; 4];

impl Picture {
    /// Values as colours, over a pale image: zero is the image alone, `most` and more the
    /// strongest colour. Negative values have another colour.
    pub fn of_values(image: &Picture, values: &[f64], most: f64, text: String) -> Self {
        let colour = |(pixel, value): (&[u8; 3], &f64)| {
            let grey = 0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2]);
            let pale = 150.0 + 0.4 * grey;
            let part = (value / most.max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0);
            let strong = rgb(part.signum());
            let mix = |at: usize| (pale + part.abs() * (f64::from(strong[at]) - pale)).round() as u8;
            [mix(0), mix(1), mix(2)]
        };
        Picture {
            pixels: image.pixels.iter().zip(values).map(colour).collect(),
            text,
            ..*image
        }
    }

    /// The image as a PNG file.
    fn png(&self) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |kind: &[u8; 4], data: &[u8]| {
            let mut sum = Crc::new();
            sum.update(kind);
            sum.update(data);
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(kind);
            bytes.extend(data);
            bytes.extend(sum.sum().to_be_bytes());
        };
        let mut head = Vec::from((self.width as u32).to_be_bytes());
        head.extend((self.height as u32).to_be_bytes());
        // Eight bits of red, green and blue.
        head.extend([8, 2, 0, 0, 0]);
        chunk(b"IHDR", &head);
        let mut data = ZlibEncoder::new(Vec::new(), Compression::best());
        for row in self.pixels.chunks(self.width.max(1)) {
            let line: Vec<u8> = std::iter::once(0).chain(row.iter().flatten().copied()).collect();
            std::io::Write::write_all(&mut data, &line).expect("memory can be written");
        }
        chunk(b"IDAT", &data.finish().expect("memory can be written"));
        chunk(b"IEND", &[]);
        bytes
    }
}

impl Pictures {
    /// The drawing as an SVG file, with its caption.
    pub fn svg(&self) -> String {
        let (body, size, _) = self.drawn(true);
        file(&body, size, &self.name, &self.title, &self.caption)
    }

    /// The drawing for an HTML page, which shows the caption itself.
    pub(super) fn inline_svg(&self, id: &str) -> String {
        let (body, size, _) = self.drawn(false);
        document(&body, size, id, &self.title, &self.caption, "")
    }

    /// The drawing, its size, and where the images are.
    fn drawn(&self, with_caption: bool) -> (String, (f64, f64), Vec<Place>) {
        let longest = self
            .rows
            .iter()
            .flat_map(|row| &row.words)
            .map(|line| width(line, TICK));
        let left = MARGIN + longest.fold(0.0, f64::max).min(WORDS) + GAP;
        let columns = self.columns.len() as f64;
        let wide = (left + columns * (TILE + GAP) - GAP).max(MARGIN + bold_width(&self.title, TITLE)) + MARGIN;
        let mut body = String::new();
        let mut y = MARGIN;
        for line in wrap(&self.title, wide - 2.0 * MARGIN, |line| bold_width(line, TITLE)) {
            y += TITLE + 2.0;
            text(&mut body, (MARGIN, y), TITLE, INK, r#" font-weight="bold""#, &line);
        }
        y += LINE + 8.0;
        for (column, words) in self.columns.iter().enumerate() {
            let middle = left + column as f64 * (TILE + GAP) + TILE / 2.0;
            let words = shorten(words, TICK, TILE + GAP);
            text(&mut body, (middle, y), TICK, INK, r#" text-anchor="middle""#, &words);
        }
        y += 8.0;
        let mut places = Vec::new();
        for row in &self.rows {
            for (line, words) in row.words.iter().enumerate() {
                let fill = if line == 0 { INK } else { FAINT };
                let at = (MARGIN, y + LINE * (line as f64 + 1.0));
                text(&mut body, at, TICK, fill, "", &shorten(words, TICK, WORDS));
            }
            for (column, picture) in row.pictures.iter().enumerate() {
                let factor = TILE / picture.width.max(picture.height).max(1) as f64;
                let (wide, high) = (factor * picture.width as f64, factor * picture.height as f64);
                let x = left + column as f64 * (TILE + GAP) + (TILE - wide) / 2.0;
                let top = y + (TILE - high) / 2.0;
                let rendering = if factor > 1.0 {
                    r#" style="image-rendering:pixelated""#
                } else {
                    ""
                };
                let _ = write!(
                    body,
                    r#"<image x="{}" y="{}" width="{}" height="{}"{rendering} role="img" aria-label="{}" href="data:image/png;base64,{}"><title>{}</title></image>"#,
                    n(x),
                    n(top),
                    n(wide),
                    n(high),
                    escape(&picture.text),
                    base64(&picture.png()),
                    escape(&picture.text)
                );
                places.push([x, top, wide, high]);
            }
            y += TILE + GAP;
        }
        if with_caption {
            for line in wrap(&self.caption, wide - 2.0 * MARGIN, |line| width(line, TICK)) {
                y += LINE;
                text(&mut body, (MARGIN, y), TICK, FAINT, "", &line);
            }
        }
        (body, (wide, y + MARGIN), places)
    }

    /// The drawing as a PNG file, twice as wide as the SVG.
    ///
    /// # Errors
    /// When the drawing cannot be parsed or is too large for the memory.
    #[cfg(feature = "png")]
    pub fn png(&self) -> Result<Vec<u8>, super::ReportError> {
        let failed = |problem| super::ReportError::Raster {
            name: self.name.clone(),
            problem,
        };
        let (_, _, places) = self.drawn(true);
        let mut drawing = super::png::pixels(&self.svg()).map_err(failed)?;
        let pictures = self.rows.iter().flat_map(|row| &row.pictures);
        for (picture, place) in pictures.zip(places) {
            let [left, top, wide, high] = place.map(|value| (value * f64::from(super::png::SCALE)).round() as usize);
            let across = drawing.width() as usize;
            for (row, column) in (0..high).flat_map(|row| (0..wide).map(move |column| (row, column))) {
                // The nearest pixel.
                let from = (row * picture.height / high, column * picture.width / wide);
                let [red, green, blue] = picture.pixels[from.0 * picture.width + from.1];
                let color = resvg::tiny_skia::ColorU8::from_rgba(red, green, blue, 255).premultiply();
                if let Some(pixel) = drawing.pixels_mut().get_mut((top + row) * across + left + column) {
                    *pixel = color;
                }
            }
        }
        drawing.encode_png().map_err(|error| failed(error.to_string()))
    }
}

/// Bytes as text (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |at: usize| part.get(at).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..4 {
            match letter <= part.len() {
                true => text.push(LETTERS[(bits >> (18 - 6 * letter) & 63) as usize].into()),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_text_as_the_standard_says() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
    }

    fn pictures() -> Pictures {
        let image = Picture {
            width: 2,
            height: 1,
            pixels: vec![[255, 0, 0], [0, 0, 255]],
            text: "an <image>".to_string(),
        };
        Pictures {
            name: "grid".to_string(),
            title: "Two".to_string(),
            caption: "A caption.".to_string(),
            columns: vec!["image".to_string(), "values".to_string()],
            rows: vec![PictureRow {
                words: vec!["first".to_string()],
                pictures: vec![
                    image.clone(),
                    Picture::of_values(&image, &[1.0, -1.0], 1.0, "values".to_string()),
                ],
            }],
        }
    }

    #[test]
    fn the_drawing_holds_its_images() {
        let svg = pictures().svg();
        assert_eq!(svg.matches("<image ").count(), 2);
        assert!(
            svg.contains("an &lt;image&gt;") && !svg.contains("<image>"),
            "words are escaped"
        );
        let values = &pictures().rows[0].pictures[1].pixels;
        assert!(
            values[0][0] > values[0][2] && values[1][2] > values[1][0],
            "above zero red, below blue: {values:?}"
        );
    }

    #[cfg(feature = "png")]
    #[test]
    fn the_png_file_shows_the_pixels() {
        let bytes = pictures().png().unwrap();
        let drawing = resvg::tiny_skia::Pixmap::decode_png(&bytes).unwrap();
        let has = |red, green, blue| {
            drawing
                .pixels()
                .iter()
                .any(|pixel| (pixel.red(), pixel.green(), pixel.blue()) == (red, green, blue))
        };
        assert!(has(255, 0, 0) && has(0, 0, 255));
        let own = pictures().rows[0].pictures[0].png();
        let own = resvg::tiny_skia::Pixmap::decode_png(&own).unwrap();
        assert_eq!((own.width(), own.height(), own.pixels()[1].blue()), (2, 1, 255));
    }
}
