//! What do the operations of data augmentation compute? The reference for the device's
//! kernel `distort`.
//!
//! They are those of Pillow by which torchvision augments images, in integers: coordinates
//! have 16 fractional bits, as in Pillow, so that the same pixels are taken, and factors
//! have 20, where Pillow computes with floats. So every device gives the same bytes.

/// Fractional bits of a factor.
const FACTOR: u32 = 20;
/// Half of the largest error of a product with a factor: products that are whole numbers
/// are not rounded down to the number before.
const HALF: i32 = 128;

/// A change of one image of bytes with 1 or 3 channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// No change.
    Identity,
    /// The pixel (x, y) becomes the one at (a·x + b·y + c, d·x + e·y + f), rounded down;
    /// outside of the image it is black. The numbers have 16 fractional bits.
    Affine([i32; 6]),
    /// A rectangle is scaled to the size of the image, bilinear.
    ResizedCrop {
        /// Its first row.
        top: u32,
        /// Its first column.
        left: u32,
        /// Its rows.
        height: u32,
        /// Its columns.
        width: u32,
    },
    /// The distance of every value from black times a factor.
    Brightness(Factor),
    /// The distance of every value from the grey of its pixel times a factor.
    Color(Factor),
    /// The distance of every value from the mean grey of the image times a factor.
    Contrast(Factor),
    /// The distance of every value from that of the smoothed image times a factor.
    Sharpness(Factor),
    /// Only the upper bits of every value, this number of them.
    Posterize(u32),
    /// Values from this one on are inverted.
    Solarize(u32),
    /// The values of every channel are stretched to 0 to 255.
    AutoContrast,
    /// The values of every channel get a uniform distribution.
    Equalize,
    /// Every value is inverted.
    Invert,
}

/// A factor with 20 fractional bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor(i32);

impl Factor {
    /// The nearest to `value`, which is between 0 and 4.
    pub fn of(value: f64) -> Self {
        Factor((value.clamp(0.0, 4.0) * f64::from(1 << FACTOR)).round() as i32)
    }

    /// The distance of `value` from `plain` times this factor.
    fn apply(self, plain: u8, value: u8) -> u8 {
        let (plain, value) = (i32::from(plain), i32::from(value));
        let mixed = (plain << FACTOR) + self.0 * (value - plain) + HALF;
        (mixed >> FACTOR).clamp(0, 255) as u8
    }
}

impl Operation {
    /// The affine change by the matrix `[a, b, c, d, e, f]` of continuous coordinates, in
    /// which the first pixel reaches from 0 to 1: as `Image.transform` of Pillow with the
    /// nearest pixel.
    pub fn affine([a, b, c, d, e, f]: [f64; 6]) -> Self {
        let fixed = |value: f64| (value * 65_536.0 + 0.5).floor() as i32;
        Operation::Affine([
            fixed(a),
            fixed(b),
            fixed(c + 0.5 * a + 0.5 * b),
            fixed(d),
            fixed(e),
            fixed(f + 0.5 * d + 0.5 * e),
        ])
    }

    /// The form that the device reads: the kind, then its numbers.
    pub fn pack(self) -> [i32; 8] {
        let with = |kind: i32, numbers: &[i32]| {
            let mut packed = [0; 8];
            packed[0] = kind;
            packed[1..=numbers.len()].copy_from_slice(numbers);
            packed
        };
        match self {
            Self::Identity => with(0, &[]),
            Self::Affine(numbers) => with(1, &numbers),
            Self::ResizedCrop {
                top,
                left,
                height,
                width,
            } => with(2, &[top, left, height, width].map(|number| number as i32)),
            Self::Brightness(factor) => with(3, &[factor.0]),
            Self::Color(factor) => with(4, &[factor.0]),
            Self::Sharpness(factor) => with(5, &[factor.0]),
            Self::Posterize(bits) => with(6, &[i32::from(mask(bits))]),
            Self::Solarize(threshold) => with(7, &[threshold as i32]),
            Self::Invert => with(8, &[]),
            // These read the whole image first.
            Self::Contrast(factor) => with(9, &[factor.0]),
            Self::AutoContrast => with(10, &[]),
            Self::Equalize => with(11, &[]),
        }
    }

    /// The image with this change: bytes of `dims`, (C, H, W).
    pub fn apply(self, image: &[u8], dims: [usize; 3]) -> Vec<u8> {
        let [_, height, width] = dims;
        let view = View { image, dims };
        let each = |change: &dyn Fn(usize, usize, usize) -> u8| -> Vec<u8> {
            let places = (0..image.len()).map(|at| (at / (height * width), at / width % height, at % width));
            places.map(|(c, y, x)| change(c, y, x)).collect()
        };
        let of_value = |change: &dyn Fn(usize, u8) -> u8| each(&|c, y, x| change(c, view.at(c, y, x)));
        match self {
            Self::Identity => image.to_vec(),
            Self::Affine(numbers) => each(&|c, y, x| {
                let [from_x, from_y] = [0, 3].map(|first| {
                    let along = |number: i32, at: usize| i64::from(number) * at as i64;
                    (along(numbers[first], x) + along(numbers[first + 1], y) + i64::from(numbers[first + 2])) >> 16
                });
                let inside = (0..width as i64).contains(&from_x) && (0..height as i64).contains(&from_y);
                if inside {
                    view.at(c, from_y as usize, from_x as usize)
                } else {
                    0
                }
            }),
            Self::ResizedCrop {
                top,
                left,
                height: rows,
                width: columns,
            } => each(&|c, y, x| {
                let (across, down) = (Taps::new(x, columns, width), Taps::new(y, rows, height));
                let value = |row: u32| {
                    let pixel = |column: u32| view.at(c, (top + row) as usize, (left + column) as usize);
                    across.mix(pixel(across.first), pixel(across.second))
                };
                down.mix(value(down.first), value(down.second))
            }),
            Self::Brightness(factor) => of_value(&|_, value| factor.apply(0, value)),
            Self::Color(factor) => each(&|c, y, x| factor.apply(view.grey(y, x), view.at(c, y, x))),
            Self::Contrast(factor) => {
                let greys = (0..height * width).map(|at| u64::from(view.grey(at / width, at % width)));
                let (sum, count) = (greys.sum::<u64>(), (height * width) as u64);
                let mean = ((sum + count / 2) / count.max(1)) as u8;
                of_value(&|_, value| factor.apply(mean, value))
            }
            Self::Sharpness(factor) => each(&|c, y, x| factor.apply(view.smooth(c, y, x), view.at(c, y, x))),
            Self::Posterize(bits) => of_value(&|_, value| value & mask(bits)),
            Self::Solarize(threshold) => of_value(&|_, value| {
                if u32::from(value) < threshold {
                    value
                } else {
                    255 - value
                }
            }),
            Self::Invert => of_value(&|_, value| 255 - value),
            Self::AutoContrast | Self::Equalize => {
                let tables: Vec<[u8; 256]> = (0..dims[0]).map(|c| view.table(c, self == Self::Equalize)).collect();
                of_value(&|c, value| tables[c][usize::from(value)])
            }
        }
    }
}

/// The upper `bits` of a byte.
fn mask(bits: u32) -> u8 {
    !(0xff_u32 >> bits.min(8)) as u8
}

/// The two neighbouring pixels that a scaled one is between.
struct Taps {
    first: u32,
    second: u32,
    /// The part of the second one, with 16 fractional bits.
    part: u32,
}

impl Taps {
    /// Those of the pixel `at` where `from` pixels become `to`, which are not fewer.
    fn new(at: usize, from: u32, to: usize) -> Self {
        let (at, from, to) = (at as i64, i64::from(from), to as i64);
        // The centre of the pixel, in units of 1 / (2 to) pixels after the first centre.
        let place = (2 * at + 1) * from - to;
        let (whole, rest) = (place.div_euclid(2 * to), place.rem_euclid(2 * to));
        Taps {
            first: whole.max(0) as u32,
            second: (whole + 1).min(from - 1) as u32,
            part: ((rest * 65_536 + to) / (2 * to)) as u32,
        }
    }

    fn mix(&self, first: u8, second: u8) -> u8 {
        let sum = u32::from(first) * (65_536 - self.part) + u32::from(second) * self.part;
        ((sum + 32_768) >> 16) as u8
    }
}

/// An image of bytes, (C, H, W).
struct View<'a> {
    image: &'a [u8],
    dims: [usize; 3],
}

impl View<'_> {
    fn at(&self, c: usize, y: usize, x: usize) -> u8 {
        let [_, height, width] = self.dims;
        self.image[(c * height + y) * width + x]
    }

    fn grey(&self, y: usize, x: usize) -> u8 {
        match self.dims[0] {
            3 => super::picture::grey(self.at(0, y, x), self.at(1, y, x), self.at(2, y, x)),
            _ => self.at(0, y, x),
        }
    }

    /// The weighted mean of a pixel and its neighbours; at the edges the pixel itself, as
    /// by Pillow's filter SMOOTH.
    fn smooth(&self, c: usize, y: usize, x: usize) -> u8 {
        let [_, height, width] = self.dims;
        if y == 0 || x == 0 || y + 1 >= height || x + 1 >= width {
            return self.at(c, y, x);
        }
        let around = (y - 1..=y + 1).flat_map(|row| (x - 1..=x + 1).map(move |column| (row, column)));
        let sum: u32 = around.map(|(row, column)| u32::from(self.at(c, row, column))).sum();
        let sum = sum + 4 * u32::from(self.at(c, y, x));
        ((2 * sum + 13) / 26) as u8
    }

    /// What each value of channel `c` becomes where the channel is equalised, or its
    /// values are stretched.
    fn table(&self, c: usize, equalize: bool) -> [u8; 256] {
        let plane = self.dims[1] * self.dims[2];
        let mut counts = [0_u32; 256];
        self.image[c * plane..][..plane]
            .iter()
            .for_each(|&value| counts[usize::from(value)] += 1);
        let low = counts.iter().position(|&count| count > 0).unwrap_or(0) as u32;
        let high = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        let step = (plane as u32 - counts[high]) / 255;
        let (mut sum, high) = (step / 2, high as u32);
        let mut table = [0; 256];
        for (value, count) in (0..).zip(counts) {
            let new = match equalize {
                true if step > 0 => sum / step,
                false if high > low => (value.max(low) - low) * 255 / (high - low),
                _ => value,
            };
            table[value as usize] = new.min(255) as u8;
            sum += count;
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_of_whole_numbers_are_exact() {
        for tenths in 0..=20 {
            let factor = Factor::of(f64::from(tenths) / 10.0);
            for value in (0..=120_u8).step_by(10) {
                let truth = u32::from(value) * tenths / 10;
                assert_eq!(u32::from(factor.apply(0, value)), truth.min(255), "{tenths} {value}");
            }
            assert_eq!(factor.apply(99, 99), 99);
        }
        assert_eq!(Factor::of(2.0).apply(200, 100), 0);
        assert_eq!(Factor::of(0.0).apply(200, 100), 200);
    }

    #[test]
    fn a_whole_image_is_scaled_to_itself_and_edges_stay() {
        let image: Vec<u8> = (0..60).map(|at| (at * 37 % 251) as u8).collect();
        let crop = |top, left, height, width| Operation::ResizedCrop {
            top,
            left,
            height,
            width,
        };
        assert_eq!(crop(0, 0, 5, 4).apply(&image, [3, 5, 4]), image);
        let one = crop(2, 1, 1, 1).apply(&image, [3, 5, 4]);
        assert!(
            one.chunks(20)
                .enumerate()
                .all(|(c, plane)| plane.iter().all(|&value| value == image[20 * c + 9]))
        );
    }

    #[test]
    fn an_image_of_one_value_stays() {
        for operation in [Operation::AutoContrast, Operation::Equalize, Operation::Posterize(8)] {
            assert_eq!(operation.apply(&[7; 12], [3, 2, 2]), [7; 12]);
        }
    }
}
