//! How is a figure rendered as a PNG file?
//!
//! With fonts that are part of the program, never the system's, so that a
//! figure gives the same pixels on every machine.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

use super::error::ReportError;
use super::figure::Figure;

/// Pixels for each unit of the drawing.
pub(super) const SCALE: f32 = 2.0;

impl Figure {
    /// The figure as a PNG file, twice as wide as the SVG.
    ///
    /// # Errors
    /// When the drawing cannot be parsed or is too large for the memory.
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        raster(&self.svg()).map_err(|problem| ReportError::Raster {
            name: self.name.clone(),
            problem,
        })
    }
}

/// A drawing as a PNG file.
pub(super) fn raster(svg: &str) -> Result<Vec<u8>, String> {
    pixels(svg)?.encode_png().map_err(|error| error.to_string())
}

/// The pixels of a drawing, without images in it.
pub(super) fn pixels(svg: &str) -> Result<Pixmap, String> {
    let options = Options {
        fontdb: fonts(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or("it has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("it is too large")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    Ok(pixels)
}

/// DejaVu Sans, regular and bold (Bitstream Vera licence): the widest of the
/// families for which figures are laid out.
fn fonts() -> Arc<Database> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    let load = || {
        let mut fonts = Database::new();
        fonts.load_font_data(dejavu::sans::regular().to_vec());
        fonts.load_font_data(dejavu::sans::bold().to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        Arc::new(fonts)
    };
    Arc::clone(FONTS.get_or_init(load))
}
