//! How does an image of any size become one that a network can read?

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::ArgumentError;

/// The largest side of an image after preparation, in pixels.
const MOST_PIXELS: usize = 4096;

/// To which size an image is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resize {
    /// The shorter side gets this number of pixels; the longer side follows.
    Side(usize),
    /// Height and width.
    Exactly(usize, usize),
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Side(side) => write!(f, "{side}"),
            Self::Exactly(height, width) => write!(f, "{height}x{width}"),
        }
    }
}

impl FromStr for Resize {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        let number = |text: &str| text.parse().ok().filter(|size| (1..=MOST_PIXELS).contains(size));
        let read = match text.split_once('x') {
            None => number(text).map(Self::Side),
            Some((height, width)) => number(height)
                .zip(number(width))
                .map(|(height, width)| Self::Exactly(height, width)),
        };
        read.ok_or_else(|| ArgumentError::UnknownWord {
            what: "size",
            given: text.to_owned(),
            choices: "the shorter side in pixels, as in 256, or height x width, as in 32x32; each from 1 to 4096",
        })
    }
}

/// How every image of a data set is changed once, when it is loaded.
///
/// The steps are taken in the order of the fields. Without any, an image stays
/// as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Preparation {
    /// Scale the image: bilinear, with a wider filter where it becomes smaller,
    /// as Pillow and torchvision do. Rows are filtered first, as Pillow does except
    /// where it is cheaper to begin with columns (since version 13).
    pub resize: Option<Resize>,
    /// Cut this number of pixels, in height and width, out of the middle.
    pub crop: Option<usize>,
    /// Add this number of black pixels on each side.
    pub pad: usize,
    /// The number of channels: 1 makes a grey image of a colour image, 3 makes
    /// three equal channels of one.
    pub channels: Option<usize>,
}

impl Preparation {
    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// [`ArgumentError::Preparation`] for the first one that is not.
    pub fn check(&self) -> Result<(), ArgumentError> {
        let refused = |what, value, least, most| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(ArgumentError::Preparation {
                what,
                value,
                least,
                most,
            }),
        };
        refused("crop", self.crop.unwrap_or(1), 1, MOST_PIXELS)?;
        refused("pad", self.pad, 0, MOST_PIXELS / 4)?;
        match self.channels {
            None | Some(1 | 3) => Ok(()),
            Some(given) => Err(ArgumentError::UnknownWord {
                what: "number of channels",
                given: given.to_string(),
                choices: "1 or 3",
            }),
        }
    }

    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = [
            self.resize.map(|resize| format!("resize {resize}")),
            self.crop.map(|size| format!("crop {size}")),
            (self.pad > 0).then(|| format!("pad {}", self.pad)),
            self.channels.map(|channels| format!("channels {channels}")),
        ];
        let steps: Vec<String> = steps.into_iter().flatten().collect();
        match steps[..] {
            [] => f.write_str("as they are"),
            _ => f.write_str(&steps.join(", ")),
        }
    }
}

/// One image of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture<'a> {
    /// C, H and W.
    pub shape: [usize; 3],
    /// The pixels, (C, H, W).
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Picture<'a> {
    /// The image as `preparation` says, or what is wrong.
    pub(super) fn prepared(self, preparation: &Preparation) -> Result<Picture<'a>, String> {
        let mut picture = self;
        if let Some(resize) = preparation.resize {
            picture = picture.resized(resize)?;
        }
        if let Some(size) = preparation.crop {
            picture = picture.cropped(size)?;
        }
        if preparation.pad > 0 {
            picture = picture.padded(preparation.pad);
        }
        match preparation.channels {
            Some(channels) => picture.with_channels(channels),
            None => Ok(picture),
        }
    }

    fn planes(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact((self.shape[1] * self.shape[2]).max(1))
    }

    /// The image with every plane changed to `height`×`width` pixels.
    fn map(&self, [height, width]: [usize; 2], change: impl Fn(&[u8]) -> Vec<u8>) -> Picture<'a> {
        Picture {
            shape: [self.shape[0], height, width],
            bytes: self.planes().flat_map(change).collect(),
        }
    }

    fn resized(self, resize: Resize) -> Result<Picture<'a>, String> {
        let [_, height, width] = self.shape;
        let target = match resize {
            Resize::Exactly(height, width) => [height, width],
            // The longer side is rounded down, as in torchvision.
            Resize::Side(side) if height <= width => [side, side * width / height.max(1)],
            Resize::Side(side) => [side * height / width.max(1), side],
        };
        if target == [height, width] {
            return Ok(self);
        }
        if let Some(long) = target.into_iter().find(|&side| side > 8 * MOST_PIXELS) {
            return Err(format!("has {height}×{width} pixels, and would have {long} on a side"));
        }
        let (across, down) = (Filter::new(width, target[1]), Filter::new(height, target[0]));
        Ok(self.map(target, |plane| down.columns(&across.rows(plane), target[1])))
    }

    fn cropped(self, size: usize) -> Result<Picture<'a>, String> {
        let [_, height, width] = self.shape;
        if height < size || width < size {
            return Err(format!(
                "has {height}×{width} pixels, fewer than a crop of {size}; scale the images first"
            ));
        }
        // Python's round, as in torchvision: halves go to the even number.
        let offset = |all: usize| ((all - size) as f64 / 2.0).round_ties_even() as usize;
        let (top, left) = (offset(height), offset(width));
        Ok(self.map([size, size], |plane| {
            let rows = plane.chunks_exact(width).skip(top).take(size);
            rows.flat_map(|row| &row[left..left + size]).copied().collect()
        }))
    }

    fn padded(&self, pad: usize) -> Picture<'a> {
        let [_, height, width] = self.shape;
        let (tall, wide) = (height + 2 * pad, width + 2 * pad);
        self.map([tall, wide], |plane| {
            let mut larger = vec![0; tall * wide];
            let rows = larger.chunks_exact_mut(wide).skip(pad);
            for (row, old) in rows.zip(plane.chunks_exact(width)) {
                row[pad..pad + width].copy_from_slice(old);
            }
            larger
        })
    }

    fn with_channels(self, channels: usize) -> Result<Picture<'a>, String> {
        let [from, height, width] = self.shape;
        let bytes = match (from, channels) {
            (1, 3) => self.bytes.repeat(3),
            (3, 1) => {
                let (red, rest) = self.bytes.split_at(height * width);
                let (green, blue) = rest.split_at(height * width);
                let colours = red.iter().zip(green).zip(blue);
                colours.map(|((&red, &green), &blue)| grey(red, green, blue)).collect()
            }
            _ if from == channels => return Ok(self),
            _ => return Err(format!("has {from} channels, of which {channels} cannot be made")),
        };
        Ok(Picture {
            shape: [channels, height, width],
            bytes: bytes.into(),
        })
    }
}

/// The luma of ITU-R 601 in 16-bit fixed point, as Pillow computes it.
pub(super) fn grey(red: u8, green: u8, blue: u8) -> u8 {
    let sum = u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000;
    (sum >> 16) as u8
}

/// Fractional bits of the weights of a filter, as in Pillow.
const FRACTION: u32 = 22;

/// Bilinear scaling along one axis. The filter covers two pixels of the coarser
/// grid; its weights are fixed-point numbers. These are Pillow's
/// (`src/libImaging/Resample.c`).
struct Filter {
    /// The number of pixels before scaling.
    from: usize,
    /// For each new pixel: the first old pixel, and the weights of those from there.
    taps: Vec<(usize, Vec<i32>)>,
}

impl Filter {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let support = scale.max(1.0);
        let tap = |index: usize| {
            let centre = (index as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights = (first..end).map(|pixel| {
                let distance = (pixel as f64 - centre + 0.5) / support;
                (1.0 - distance.abs()).max(0.0)
            });
            let weights: Vec<f64> = weights.collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: &f64| (0.5 + weight / sum * f64::from(1 << FRACTION)) as i32;
            (first, weights.iter().map(fixed).collect())
        };
        Self {
            from,
            taps: (0..to).map(tap).collect(),
        }
    }

    /// The plane, (H, from), with every row scaled.
    fn rows(&self, plane: &[u8]) -> Vec<u8> {
        if self.taps.len() == self.from {
            return plane.to_vec();
        }
        let rows = plane.chunks_exact(self.from);
        rows.flat_map(|row| {
            self.taps
                .iter()
                .map(|(first, weights)| weigh(&row[*first..], weights, 1))
        })
        .collect()
    }

    /// The plane, (from, `width`), with every column scaled.
    fn columns(&self, plane: &[u8], width: usize) -> Vec<u8> {
        if self.taps.len() == self.from {
            return plane.to_vec();
        }
        let rows = self.taps.iter();
        rows.flat_map(|(first, weights)| {
            (0..width).map(move |column| weigh(&plane[first * width + column..], weights, width))
        })
        .collect()
    }
}

/// The weighted sum of every `step`th byte, rounded.
fn weigh(bytes: &[u8], weights: &[i32], step: usize) -> u8 {
    let pairs = bytes.iter().step_by(step).zip(weights);
    let sum: i32 = pairs.map(|(&byte, weight)| i32::from(byte) * weight).sum();
    ((sum + (1 << (FRACTION - 1))) >> FRACTION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(shape: [usize; 3], bytes: &[u8]) -> Picture<'_> {
        Picture {
            shape,
            bytes: bytes.into(),
        }
    }

    fn ramp(count: usize) -> Vec<u8> {
        (0..count).map(|index| (index * 37 % 251) as u8).collect()
    }

    /// Expected bytes are Pillow's: `Image.fromarray(a).resize((w, h), Image.BILINEAR)`
    /// of a[i] = 37·i mod 251.
    #[test]
    fn scaling_gives_the_bytes_of_pillow() {
        let scaled = |[height, width]: [usize; 2], resize: &str| {
            let bytes = ramp(height * width);
            let scaled = picture([1, height, width], &bytes).resized(resize.parse().unwrap());
            scaled.unwrap().bytes.into_owned()
        };
        assert_eq!(scaled([5, 7], "2x3"), PILLOW_SMALLER);
        assert_eq!(scaled([3, 4], "5x6"), PILLOW_LARGER);
    }

    const PILLOW_SMALLER: [u8; 6] = [40, 119, 198, 56, 135, 186];
    const PILLOW_LARGER: [u8; 30] = [
        0, 19, 43, 68, 93, 111, 59, 78, 102, 127, 102, 70, 148, 167, 191, 216, 115, 8, 86, 105, 129, 154, 129, 97, 45,
        64, 88, 113, 138, 156,
    ];

    #[test]
    fn the_shorter_side_is_scaled_and_the_longer_rounded_down() {
        for (from, resize, to) in [
            ([375, 500], 256, [256, 341]),
            ([500, 375], 256, [341, 256]),
            ([32, 32], 32, [32, 32]),
        ] {
            let bytes = vec![9; from[0] * from[1]];
            let scaled = picture([1, from[0], from[1]], &bytes)
                .resized(Resize::Side(resize))
                .unwrap();
            assert_eq!(scaled.shape[1..], to);
            assert!(scaled.bytes.iter().all(|&byte| byte == 9));
        }
    }

    #[test]
    fn crops_come_from_the_middle() {
        let bytes: Vec<u8> = (0..20).collect();
        let cropped = picture([1, 4, 5], &bytes).cropped(2).unwrap();
        // (5 − 2) / 2 is 1.5, which is rounded to 2; (4 − 2) / 2 is 1.
        assert_eq!(*cropped.bytes, [7, 8, 12, 13]);
        let problem = picture([1, 4, 5], &bytes).cropped(5).unwrap_err();
        assert!(problem.contains("4×5"), "{problem}");
    }

    #[test]
    fn padding_and_channels() {
        let preparation = Preparation {
            pad: 1,
            channels: Some(3),
            ..Preparation::default()
        };
        let prepared = picture([1, 1, 1], &[7]).prepared(&preparation).unwrap();
        assert_eq!(prepared.shape, [3, 3, 3]);
        assert_eq!(*prepared.bytes, [0, 0, 0, 0, 7, 0, 0, 0, 0].repeat(3));
        let grey = picture([3, 1, 1], &[200, 100, 50]).with_channels(1).unwrap();
        // Image.new('RGB', (1, 1), (200, 100, 50)).convert('L')
        assert_eq!(*grey.bytes, [124]);
        assert!(picture([4, 1, 1], &[0; 4]).with_channels(3).is_err());
    }

    #[test]
    fn sizes_are_read_and_checked() {
        for text in ["256", "32x48"] {
            assert_eq!(text.parse::<Resize>().unwrap().to_string(), text);
        }
        for text in ["", "0", "5000", "3x", "x", "32x0", "-1"] {
            assert!(text.parse::<Resize>().is_err(), "{text}");
        }
        let refused = |preparation: Preparation| preparation.check().unwrap_err().to_string();
        let none = Preparation::default();
        assert!(refused(Preparation { crop: Some(0), ..none }).contains("crop 0"));
        assert!(refused(Preparation { pad: 9999, ..none }).contains("pad 9999"));
        assert!(
            refused(Preparation {
                channels: Some(2),
                ..none
            })
            .contains("1 or 3")
        );
        assert!(none.is_none() && none.check().is_ok());
    }
}
