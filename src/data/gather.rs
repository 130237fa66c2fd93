//! Which pixels does a batch have? The reference for the device's kernel.

use super::{Draw, ImageSet, Normalization, Operation, PAD, Padding};

/// The images of a batch, cropped, flipped and normalised, (N, C, H, W), where
/// N is the number of draws.
///
/// Computed in f64 and rounded once to f32: the kernel is compared with it.
///
/// # Panics
/// If a draw's index is outside the set, or the normalisation has fewer
/// channels than the images.
pub fn gather(set: &ImageSet, draws: &[Draw], padding: Padding, normalization: &Normalization) -> Vec<f32> {
    gather_distorted(set, draws, padding, normalization, &|_| Vec::new())
}

/// As [`gather`], with the `operations` of each draw after crop and flip.
///
/// # Panics
/// As [`gather`].
pub fn gather_distorted(
    set: &ImageSet,
    draws: &[Draw],
    padding: Padding,
    normalization: &Normalization,
    operations: &dyn Fn(Draw) -> Vec<Operation>,
) -> Vec<f32> {
    let plane = set.height * set.width;
    let factors = normalization.scale_and_shift();
    let mut batch = Vec::with_capacity(draws.len() * set.image_size());
    for draw in draws {
        let planes = set.image(draw.index as usize).chunks_exact(plane);
        let mut image: Vec<u8> = planes
            .flat_map(|plane| window(plane, set.width, *draw, padding))
            .collect();
        for operation in operations(*draw) {
            image = operation.apply(&image, [set.channels, set.height, set.width]);
        }
        for (plane, (scale, shift)) in image.chunks_exact(plane).zip(&factors) {
            let normalized = |&byte: &u8| (f64::from(byte) * scale + shift) as f32;
            batch.extend(plane.iter().map(normalized));
        }
    }
    batch
}

/// The bytes of one plane, (H, W), cropped and flipped as `draw` says.
fn window(plane: &[u8], width: usize, draw: Draw, padding: Padding) -> impl Iterator<Item = u8> {
    let height = plane.len() / width;
    (0..height).flat_map(move |y| {
        let row = source(y, draw.dy, height, padding);
        (0..width).map(move |x| {
            let x = if draw.flip { width - 1 - x } else { x };
            match (row, source(x, draw.dx, width, padding)) {
                (Some(row), Some(column)) => plane[row * width + column],
                _ => 0,
            }
        })
    })
}

/// The source of a pixel of the window along an axis of `size` pixels; `None`
/// where the padding is black.
fn source(position: usize, offset: u8, size: usize, padding: Padding) -> Option<usize> {
    let unpadded = position as i64 + i64::from(offset) - i64::from(PAD);
    let last = size as i64 - 1;
    let inside = match padding {
        Padding::Zero => unpadded,
        // Mirrored at both ends, the image repeats with period 2·(size − 1).
        Padding::Reflect if last > 0 => last - (unpadded.rem_euclid(2 * last) - last).abs(),
        Padding::Reflect => 0,
    };
    (0..=last).contains(&inside).then_some(inside as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One image with the bytes 1, 2, 3, ….
    fn ramp(channels: usize, height: usize, width: usize) -> ImageSet {
        ImageSet {
            name: "ramp".into(),
            channels,
            height,
            width,
            class_names: vec!["only".into()],
            images: (1..).take(channels * height * width).collect(),
            labels: vec![0],
        }
    }

    fn bytes(set: &ImageSet, draw: Draw, padding: Padding) -> Vec<i32> {
        let none = Normalization::named("none", set.channels).unwrap();
        gather(set, &[draw], padding, &none)
            .into_iter()
            .map(|value| (value * 255.0).round() as i32)
            .collect()
    }

    #[test]
    fn unchanged_draw_gives_the_image() {
        let set = ramp(3, 5, 6);
        for padding in [Padding::Zero, Padding::Reflect] {
            let same = bytes(&set, Draw::unchanged(0), padding);
            assert!(same.into_iter().eq(set.images.iter().map(|&b| i32::from(b))));
        }
    }

    #[test]
    fn flip_mirrors_each_row() {
        let draw = Draw {
            flip: true,
            ..Draw::unchanged(0)
        };
        assert_eq!(bytes(&ramp(1, 2, 3), draw, Padding::Zero), [3, 2, 1, 6, 5, 4]);
    }

    #[test]
    fn crop_comes_before_flip_and_beyond_the_edge_is_black() {
        let draw = Draw {
            dx: PAD + 1,
            dy: PAD - 1,
            flip: true,
            ..Draw::unchanged(0)
        };
        let seen = bytes(&ramp(1, 2, 3), draw, Padding::Zero);
        assert_eq!(seen, [0, 0, 0, 0, 3, 2]);
    }

    #[test]
    fn reflection_leaves_out_the_edge_pixel() {
        let row = |dx| {
            let draw = Draw {
                dx,
                ..Draw::unchanged(0)
            };
            bytes(&ramp(1, 1, 6), draw, Padding::Reflect)
        };
        assert_eq!(row(0), [5, 4, 3, 2, 1, 2]);
        assert_eq!(row(2 * PAD), [5, 6, 5, 4, 3, 2]);
    }

    #[test]
    fn images_smaller_than_the_padding_reflect_too() {
        let draw = Draw {
            dx: 0,
            dy: 8,
            ..Draw::unchanged(0)
        };
        assert_eq!(bytes(&ramp(1, 1, 1), draw, Padding::Reflect), [1]);
        assert_eq!(bytes(&ramp(1, 2, 2), draw, Padding::Reflect), [1, 2, 3, 4]);
    }

    #[test]
    fn normalises_by_channel() {
        let mut set = ramp(2, 1, 1);
        set.images = vec![0, 255];
        let normalization = Normalization::new(vec![0.5, 0.25], vec![0.25, 0.5]).unwrap();
        let batch = gather(&set, &[Draw::unchanged(0); 2], Padding::Zero, &normalization);
        assert_eq!(batch, [-2.0, 1.5, -2.0, 1.5]);
    }
}
