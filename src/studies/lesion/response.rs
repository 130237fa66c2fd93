//! How large is the contribution of each block?
//!
//! For a block that computes x + F(x): the ratio of the norms of F(x) and x,
//! the angle between the two, and the standard deviation of F(x), which He et
//! al. 2015 (arXiv:1512.03385, figure 7) call the layer response.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::data::Batches;
use crate::graph::Route;
use crate::train::{BatchRef, Engine, Split, TrainError, locate};

/// The contribution of one block, averaged over images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct BlockResponse {
    /// ‖F(x)‖ / ‖shortcut(x)‖.
    pub ratio: f64,
    /// Cosine of the angle between F(x) and the shortcut.
    pub cosine: f64,
    /// Standard deviation of the elements of F(x), over all images.
    pub deviation: f64,
}

/// Sums over images, from which a [`BlockResponse`] is computed.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    ratio: f64,
    cosine: f64,
    images: f64,
    values: f64,
    squares: f64,
    elements: f64,
}

/// Measures every block on the first `images` test images under `route`. Both
/// sides of all blocks stay in memory for one batch.
///
/// # Errors
/// Where the adapter fails, or a block's values are not finite.
pub fn responses(
    engine: &mut dyn Engine,
    route: &Route,
    images: usize,
    batch_size: NonZeroUsize,
) -> Result<Vec<BlockResponse>, TrainError> {
    let mut sums = vec![Sums::default(); engine.graph().blocks.len()];
    let mut first = 0;
    for draws in Batches::plain(images as u32, batch_size).epoch(0).batches() {
        engine.check_stop()?;
        let batch = BatchRef {
            split: Split::Test,
            draws,
            seed: 0,
            step: 0,
        };
        let values = engine.block_values(&batch, route)?;
        let sides = values.iter().flatten();
        let broken = sides.filter_map(|values| {
            let at = values.iter().position(|value| !value.is_finite())?;
            Some(first + at / (values.len() / draws.len()).max(1))
        });
        if let Some(image) = broken.min() {
            return Err(locate(engine, Split::Test, image, route)?.into());
        }
        for (sums, [branch, shortcut]) in sums.iter_mut().zip(&values) {
            sums.add(branch, shortcut, draws.len());
        }
        first += draws.len();
    }
    Ok(sums.iter().map(Sums::response).collect())
}

impl Sums {
    fn add(&mut self, branch: &[f32], shortcut: &[f32], images: usize) {
        let per_image = (branch.len() / images.max(1)).max(1);
        for (f, x) in branch.chunks(per_image).zip(shortcut.chunks(per_image)) {
            let dot =
                |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
            let (ff, xx, fx) = (dot(f, f), dot(x, x), dot(f, x));
            if ff > 0.0 && xx > 0.0 {
                self.ratio += (ff / xx).sqrt();
                self.cosine += fx / (ff * xx).sqrt();
            }
            self.images += 1.0;
            self.values += f.iter().map(|&value| f64::from(value)).sum::<f64>();
            self.squares += ff;
            self.elements += f.len() as f64;
        }
    }

    fn response(&self) -> BlockResponse {
        let (images, elements) = (self.images.max(1.0), self.elements.max(1.0));
        let mean = self.values / elements;
        BlockResponse {
            ratio: self.ratio / images,
            cosine: self.cosine / images,
            deviation: (self.squares / elements - mean * mean).max(0.0).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_images_by_hand() {
        let mut sums = Sums::default();
        // F = (3, 4), x = (6, 8): half the norm, same direction.
        // F = (0, 1), x = (2, 0): half the norm, at a right angle.
        sums.add(&[3.0, 4.0, 0.0, 1.0], &[6.0, 8.0, 2.0, 0.0], 2);
        let response = sums.response();
        assert!((response.ratio - 0.5).abs() < 1e-12);
        assert!((response.cosine - 0.5).abs() < 1e-12);
        assert!((response.deviation - 2.5_f64.sqrt()).abs() < 1e-12);
    }
}
