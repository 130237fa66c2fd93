//! Which images need no download? Ten classes of textures and shapes, drawn
//! from a seed.
//!
//! The set is for a first run, for tests and for machines without a network
//! connection. It can be learned within one or two minutes, but only by a
//! network with convolutions: colours, polarity, position, phase and scale are
//! random, so the mean image of every class is the same grey and a linear model
//! learns almost nothing. The mirror image of an image belongs to the same
//! class, so flips are a valid augmentation.
//!
//! Only the four basic operations and square roots are used, which IEEE 754
//! rounds the same way everywhere: a seed gives the same bytes on any machine.

use rayon::prelude::*;

use super::{ImageSet, Normalization, Split};
use crate::random::{Draws, Philox, Stream};

/// Height and width of an image, in pixels.
pub const SIZE: usize = 32;

/// The default number of training images.
pub const TRAIN_IMAGES: usize = 4096;

/// The default number of test images.
pub const TEST_IMAGES: usize = 1024;

const CHANNELS: usize = 3;
const PIXELS: usize = SIZE * SIZE;

/// The ten classes in the order of their labels.
const CLASSES: [(&str, Class); 10] = [
    ("horizontal stripes", horizontal_stripes),
    ("vertical stripes", vertical_stripes),
    ("diagonal stripes", diagonal_stripes),
    ("checkerboard", checkerboard),
    ("dots", dots),
    ("rings", rings),
    ("disc", disc),
    ("square", square),
    ("cross", cross),
    ("triangle", triangle),
];

/// The first `count` images of a split, 3×32×32; the ten classes follow each other in order.
///
/// An image depends on the seed, the split and its index only, not on `count`.
pub fn generate(split: Split, count: usize, seed: u64) -> ImageSet {
    let philox = Philox::new(seed);
    let mut images = vec![0; count * CHANNELS * PIXELS];
    images
        .par_chunks_exact_mut(CHANNELS * PIXELS)
        .enumerate()
        .for_each(|(index, image)| {
            let mut draws = philox.draws(Stream::Synthetic, split as u32, index as u32);
            paint(image, CLASSES[class_of(index)].1, &mut draws);
        });
    let split = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    ImageSet {
        name: format!("synthetic {split}"),
        channels: CHANNELS,
        height: SIZE,
        width: SIZE,
        class_names: CLASSES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        images,
        labels: (0..count).map(|index| class_of(index) as u32).collect(),
    }
}

/// The mean and standard deviation of the images.
pub(super) fn normalization() -> Normalization {
    Normalization::named("synthetic", CHANNELS).expect("the built-in set has a name")
}

fn class_of(index: usize) -> usize {
    index % CLASSES.len()
}

/// Whether the figure covers the point (x, y), in pixels from the upper left
/// corner.
type Pattern = Box<dyn Fn(f32, f32) -> bool>;

/// Draws one pattern of a class.
type Class = fn(&mut Draws) -> Pattern;

/// Paints one image, (3, 32, 32).
fn paint(image: &mut [u8], class: Class, draws: &mut Draws) {
    let cover = coverage(&class(draws));
    let slope = [draws.between(-0.1, 0.1), draws.between(-0.1, 0.1)];
    let noise = draws.between(0.02, 0.08);
    for plane in image.chunks_exact_mut(PIXELS) {
        let middle = draws.between(0.35, 0.65);
        // In each colour, the figure is lighter or darker than the background
        // at random, so no class has a colour or polarity of its own.
        let contrast = draws.between(0.15, 0.3) * if draws.coin() { 1.0 } else { -1.0 };
        for (position, byte) in plane.iter_mut().enumerate() {
            let (x, y) = (position % SIZE, position / SIZE);
            let light = slope[0] * along(x) + slope[1] * along(y);
            let value = middle + contrast * (2.0 * cover[position] - 1.0) + light;
            *byte = to_byte(value + noise * bell(draws.word()));
        }
    }
}

/// The fraction of each pixel that the pattern covers, (32, 32), from four
/// points per pixel.
fn coverage(pattern: &Pattern) -> Vec<f32> {
    const POINTS: [(f32, f32); 4] = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)];
    (0..PIXELS)
        .map(|position| {
            let (x, y) = ((position % SIZE) as f32, (position / SIZE) as f32);
            let hits = POINTS.iter().filter(|(dx, dy)| pattern(x + dx, y + dy)).count();
            hits as f32 / POINTS.len() as f32
        })
        .collect()
}

/// The position of a row or column, from −1 to 1 across the image.
fn along(position: usize) -> f32 {
    (2 * position + 1) as f32 / SIZE as f32 - 1.0
}

/// An approximately standard normal number from a random word: the sum of its
/// four bytes, centred and scaled.
fn bell(word: u32) -> f32 {
    const MEAN: f32 = 4.0 * 127.5;
    const DEVIATION: f32 = 147.8;
    let sum: u32 = word.to_le_bytes().into_iter().map(u32::from).sum();
    (sum as f32 - MEAN) / DEVIATION
}

fn to_byte(value: f32) -> u8 {
    (value * 255.0).round().clamp(0.0, 255.0) as u8
}

/// Whether a point along an axis is on a stripe. Stripes are as wide as the
/// gaps between them; the period, in pixels, is a stripe and a gap.
fn on_stripe(position: f32, period: f32) -> bool {
    let turns = position / period;
    turns - turns.floor() < 0.5
}

fn horizontal_stripes(draws: &mut Draws) -> Pattern {
    let (period, phase) = (draws.between(4.0, 9.0), draws.between(0.0, 9.0));
    Box::new(move |_, y| on_stripe(y + phase, period))
}

fn vertical_stripes(draws: &mut Draws) -> Pattern {
    let (period, phase) = (draws.between(4.0, 9.0), draws.between(0.0, 9.0));
    Box::new(move |x, _| on_stripe(x + phase, period))
}

/// Rising or falling, at random.
fn diagonal_stripes(draws: &mut Draws) -> Pattern {
    // Along an axis, the period of a diagonal is longer by √2.
    let (period, phase) = (draws.between(6.0, 12.0), draws.between(0.0, 12.0));
    let rise = if draws.coin() { 1.0 } else { -1.0 };
    Box::new(move |x, y| on_stripe(x + rise * y + phase, period))
}

fn checkerboard(draws: &mut Draws) -> Pattern {
    let period = draws.between(5.0, 12.0);
    let phase = [draws.between(0.0, 12.0), draws.between(0.0, 12.0)];
    Box::new(move |x, y| on_stripe(x + phase[0], period) != on_stripe(y + phase[1], period))
}

/// Round dots on a square lattice.
fn dots(draws: &mut Draws) -> Pattern {
    let period = draws.between(5.0, 10.0);
    let radius = period * draws.between(0.25, 0.38);
    let phase = [draws.between(0.0, 10.0), draws.between(0.0, 10.0)];
    let from_centre = move |position: f32| position - period * (position / period).round();
    Box::new(move |x, y| length(from_centre(x + phase[0]), from_centre(y + phase[1])) < radius)
}

/// Rings around a point near the middle of the image.
fn rings(draws: &mut Draws) -> Pattern {
    let (period, phase) = (draws.between(5.0, 10.0), draws.between(0.0, 10.0));
    let centre = point(draws, 8.0);
    Box::new(move |x, y| on_stripe(length(x - centre[0], y - centre[1]) + phase, period))
}

fn disc(draws: &mut Draws) -> Pattern {
    let radius = draws.between(6.5, 11.0);
    let centre = point(draws, radius + 1.0);
    Box::new(move |x, y| length(x - centre[0], y - centre[1]) < radius)
}

fn square(draws: &mut Draws) -> Pattern {
    let half = draws.between(6.0, 10.0);
    let centre = point(draws, half + 1.0);
    Box::new(move |x, y| (x - centre[0]).abs().max((y - centre[1]).abs()) < half)
}

/// A horizontal and a vertical bar of one size that cross in their middle.
fn cross(draws: &mut Draws) -> Pattern {
    let half = draws.between(7.0, 12.0);
    let thickness = half * draws.between(0.2, 0.35);
    let centre = point(draws, half + 1.0);
    Box::new(move |x, y| {
        let (across, down) = ((x - centre[0]).abs(), (y - centre[1]).abs());
        across.max(down) < half && across.min(down) < thickness
    })
}

/// As wide as high, pointing up or down at random.
fn triangle(draws: &mut Draws) -> Pattern {
    let half = draws.between(7.5, 12.0);
    let centre = point(draws, half + 1.0);
    let down = if draws.coin() { 1.0 } else { -1.0 };
    Box::new(move |x, y| {
        let from_base = half - down * (centre[1] - y);
        let from_tip = 2.0 * half - from_base;
        from_base > 0.0 && from_tip > 0.0 && 2.0 * (x - centre[0]).abs() < from_tip
    })
}

/// A point at a distance of at least `margin` pixels from every edge.
fn point(draws: &mut Draws, margin: f32) -> [f32; 2] {
    let far = SIZE as f32 - margin;
    [draws.between(margin, far), draws.between(margin, far)]
}

fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Batches, Draw, Padding, gather};
    use sha2::{Digest, Sha256};
    use std::num::NonZeroUsize;

    #[test]
    fn same_seed_same_bytes_whatever_the_count() {
        let many = generate(Split::Train, 200, 5);
        assert_eq!(many, generate(Split::Train, 200, 5));
        assert_eq!(many.clone().take(30), generate(Split::Train, 30, 5));
        assert_ne!(many.images, generate(Split::Train, 200, 6).images);
        assert_ne!(many.images, generate(Split::Test, 200, 5).images);
        assert!(generate(Split::Test, 0, 5).is_empty());
    }

    /// Runs of other days and machines are compared on these images: a change
    /// of their bytes makes another data set.
    #[test]
    fn images_are_those_of_every_other_machine() {
        let set = generate(Split::Train, 100, 0);
        let digest = Sha256::digest(&set.images);
        assert_eq!(digest[..8], [187, 225, 81, 0, 128, 235, 25, 126]);
    }

    #[test]
    fn classes_are_balanced() {
        let set = generate(Split::Test, TEST_IMAGES, 0);
        let mut counts = [0u32; 10];
        for label in &set.labels {
            counts[*label as usize] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(102) <= 1));
    }

    #[test]
    fn normalisation_suits_the_pixels() {
        let set = generate(Split::Train, 1000, 1);
        let all = Batches::plain(1000, NonZeroUsize::MAX).epoch(0);
        let normalization = Normalization::named("synthetic", 3).unwrap();
        let pixels = gather(&set, all.draws(), Padding::Zero, &normalization);
        let count = pixels.len() as f32;
        let mean = pixels.iter().sum::<f32>() / count;
        let variance = pixels.iter().map(|v| v * v).sum::<f32>() / count;
        assert!(mean.abs() < 0.05, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.1, "variance {variance}");
    }

    #[test]
    fn a_linear_model_fails() {
        let accuracy = softmax_regression_accuracy(2000, 500, 6);
        assert!(accuracy < 0.5, "{accuracy}");
    }

    /// Test accuracy of softmax regression on the pixels after `epochs` epochs of
    /// plain SGD.
    fn softmax_regression_accuracy(train: usize, test: usize, epochs: u32) -> f64 {
        const FEATURES: usize = CHANNELS * PIXELS;
        const RATE: f32 = 0.001;
        let (train, test) = (generate(Split::Train, train, 0), generate(Split::Test, test, 0));
        let normalization = Normalization::named("synthetic", 3).unwrap();
        let pixels = |set: &ImageSet, draw: Draw| gather(set, &[draw], Padding::Zero, &normalization);
        let mut weights = vec![[0f32; FEATURES]; 10];
        let scores = |weights: &[[f32; FEATURES]], x: &[f32]| -> Vec<f32> {
            let dot = |row: &[f32; FEATURES]| std::iter::zip(row, x).map(|(w, x)| w * x).sum();
            weights.iter().map(dot).collect()
        };
        let mut batches = Batches::plain(train.len() as u32, NonZeroUsize::MIN);
        batches.order = crate::data::ImageOrder::Shuffled;
        for epoch in 0..epochs {
            for draw in batches.epoch(epoch).draws() {
                let x = pixels(&train, *draw);
                let label = train.labels[draw.index as usize] as usize;
                let scores = scores(&weights, &x);
                let most = scores.iter().copied().fold(f32::MIN, f32::max);
                let total: f32 = scores.iter().map(|score| (score - most).exp()).sum();
                for (class, row) in weights.iter_mut().enumerate() {
                    let probability = (scores[class] - most).exp() / total;
                    let step = RATE * (probability - f32::from(u8::from(class == label)));
                    std::iter::zip(row, &x).for_each(|(w, x)| *w -= step * x);
                }
            }
        }
        let right = (0..test.len())
            .filter(|&index| {
                let scores = scores(&weights, &pixels(&test, Draw::unchanged(index as u32)));
                let best = (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                best == Some(test.labels[index] as usize)
            })
            .count();
        right as f64 / test.len() as f64
    }
}
