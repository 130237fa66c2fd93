//! How is the gradient integrated from a baseline to an image?
//!
//! Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv:1703.01365) are the
//! difference of image and baseline times the mean gradient on the straight line
//! between them. Their sum is the difference of the two scores.

use super::scores::Scores;
use crate::data::{ImageSet, Normalization};
use crate::studies::error::StudyError;
use crate::train::TrainError;

/// The places and weights of Gauss and Legendre on [0, 1], for `count` points.
pub(super) fn gauss_legendre(count: usize) -> Vec<(f64, f64)> {
    let n = count as f64;
    let point = |index: usize| {
        // Newton's method, from Tricomi's approximation of the root.
        let mut x = (std::f64::consts::PI * (index as f64 + 0.75) / (n + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut before, mut value) = (1.0, x);
            for degree in 2..=count {
                let degree = degree as f64;
                (before, value) = (
                    value,
                    ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * before) / degree,
                );
            }
            slope = n * (x * value - before) / (x * x - 1.0);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        ((1.0 - x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..count).map(point).collect()
}

/// The normalisation by which images that are loaded become points of the line from
/// the baseline, a colour in [0, 1] for each channel, to them: the part `at` of it.
fn part_of_line(normalization: &Normalization, baseline: &[f32], at: f64) -> Result<Normalization, TrainError> {
    let pairs = normalization.mean().iter().zip(normalization.std()).zip(baseline);
    // (b + at·(v − b) − m) / s = (v − (b + (m − b)/at)) / (s/at)
    let (mean, std): (Vec<f32>, Vec<f32>) = pairs
        .map(|((&mean, &std), &colour)| {
            let [mean, std, colour] = [mean, std, colour].map(f64::from);
            ((colour + (mean - colour) / at) as f32, (std / at) as f32)
        })
        .unzip();
    Ok(Normalization::new(mean, std).map_err(crate::data::DataError::from)?)
}

/// The integrated gradients of `images`, N×C×H×W, and the score of the baseline for
/// the class of each image.
pub(super) fn integrated_gradients(
    scores: &mut Scores,
    images: &ImageSet,
    normalization: &Normalization,
    baseline: &[f32],
    steps: usize,
    done: &mut dyn FnMut(),
) -> Result<(Vec<f32>, Vec<f32>), StudyError> {
    let mut sum: Vec<f64> = vec![0.0; images.images.len()];
    for (at, weight) in gauss_legendre(steps) {
        scores.load(images, &part_of_line(normalization, baseline, at)?)?;
        for (sum, gradient) in sum.iter_mut().zip(scores.image_gradients()?) {
            *sum += weight * f64::from(gradient);
        }
        done();
    }
    let plane = images.height * images.width;
    let difference = |index: usize| {
        let channel = index / plane % images.channels;
        let colour = f64::from(images.images[index]) / 255.0 - f64::from(baseline[channel]);
        colour / f64::from(normalization.std()[channel])
    };
    let values = sum
        .iter()
        .enumerate()
        .map(|(index, sum)| (sum * difference(index)) as f32);
    let values = values.collect();
    // Black images, normalised to the baseline.
    let pairs = normalization.mean().iter().zip(normalization.std()).zip(baseline);
    let mean = pairs.map(|((mean, std), colour)| (mean - colour) / std).collect();
    let to_baseline = Normalization::new(mean, vec![1.0; images.channels]).map_err(crate::data::DataError::from)?;
    let black = ImageSet {
        images: vec![0; images.images.len()],
        ..images.clone()
    };
    scores.load(&black, &to_baseline)?;
    Ok((values, scores.scores()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_integrated_exactly() {
        for count in [1, 2, 5, 50] {
            let points = gauss_legendre(count);
            let degree = 2 * count as i32 - 1;
            let integral: f64 = points.iter().map(|(at, weight)| weight * at.powi(degree)).sum();
            assert!(
                (integral - 1.0 / f64::from(degree + 1)).abs() < 1e-14,
                "{count}: {integral}"
            );
            assert!(points.is_sorted_by(|a, b| a.0 < b.0));
        }
    }

    #[test]
    fn images_become_points_of_the_line() {
        let normalization = Normalization::new(vec![0.5], vec![0.25]).unwrap();
        for (colour, at) in [(0.0, 0.25), (0.5, 0.001), (1.0, 0.9)] {
            let line = part_of_line(&normalization, &[colour], at).unwrap();
            for byte in [0_u8, 100, 255] {
                let value = f64::from(byte) / 255.0;
                let expected = (f64::from(colour) + at * (value - f64::from(colour)) - 0.5) / 0.25;
                let found = (value - f64::from(line.mean()[0])) / f64::from(line.std()[0]);
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{colour} {at} {byte}: {found}, {expected}"
                );
            }
        }
    }
}
