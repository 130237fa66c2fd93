//! Which part of an image does a score depend on, by covering it?
//!
//! A window of one colour moves over the image (Zeiler and Fergus 2014,
//! arXiv:1311.2901). The value of a pixel is the mean over the windows that cover it
//! of how much the score falls.

use super::scores::Scores;
use crate::data::{ImageSet, Normalization};
use crate::studies::error::StudyError;

/// Where windows of `window` pixels begin along a side, every `stride` pixels, so that
/// the last one reaches the end.
fn places(side: usize, window: usize, stride: usize) -> Vec<usize> {
    let last = side.saturating_sub(window);
    (0..last.div_ceil(stride) + 1)
        .map(|step| (step * stride).min(last))
        .collect()
}

/// The values of each image, N×H×W. `before` is the score of each image as it is,
/// `colour` the byte of each channel that covers.
pub(super) fn occlusion(
    scores: &mut Scores,
    images: &ImageSet,
    before: &[f32],
    normalization: &Normalization,
    colour: &[u8],
    (window, stride): (usize, usize),
    done: &mut dyn FnMut(),
) -> Result<Vec<f32>, StudyError> {
    let (high, wide) = (images.height, images.width);
    let plane = high * wide;
    let rows = places(high, window, stride);
    let columns = places(wide, window, stride);
    let mut sums = vec![0.0_f64; images.len() * plane];
    let mut counts = vec![0_u32; plane];
    for &top in &rows {
        for &left in &columns {
            let covered: Vec<usize> = (top..top + window)
                .flat_map(|row| (left..left + window).map(move |column| row * wide + column))
                .collect();
            let mut changed = images.clone();
            for (number, pixels) in changed.images.chunks_mut(plane).enumerate() {
                covered
                    .iter()
                    .for_each(|&at| pixels[at] = colour[number % images.channels]);
            }
            scores.load(&changed, normalization)?;
            let after = scores.scores()?;
            for ((sums, before), after) in sums.chunks_mut(plane).zip(before).zip(after) {
                covered.iter().for_each(|&at| sums[at] += f64::from(before - after));
            }
            covered.iter().for_each(|&at| counts[at] += 1);
            done();
        }
    }
    let mean = |(at, sum): (usize, &f64)| (sum / f64::from(counts[at % plane].max(1))) as f32;
    Ok(sums.iter().enumerate().map(mean).collect())
}

/// The number of windows.
pub(super) fn windows(images: &ImageSet, window: usize, stride: usize) -> usize {
    places(images.height, window, stride).len() * places(images.width, window, stride).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_reach_the_end() {
        assert_eq!(places(8, 4, 2), [0, 2, 4]);
        assert_eq!(places(8, 3, 2), [0, 2, 4, 5]);
        assert_eq!(places(4, 9, 2), [0]);
    }
}
