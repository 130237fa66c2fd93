//! Which operations change the whole image at random, each time it is used?
//!
//! The policies are those of torchvision's `transforms`, with its ranges of magnitudes.

use std::f64::consts::TAU;
use std::fmt;
use std::str::FromStr;

use super::operation::{Factor, Operation};
use super::{ArgumentError, Augment, Draw};
use crate::random::{Draws, Philox, Stream};

/// The most operations of RandAugment.
const MOST_OPERATIONS: u32 = 8;
/// The bins of magnitudes of RandAugment and TrivialAugment, and those of AutoAugment.
const BINS: u32 = 31;
const AUTO_BINS: u32 = 10;
/// The rectangles that are tried before the middle is taken.
const TRIES: usize = 10;
/// The smallest part of the area, and the ratios of width to height, of a rectangle.
const SMALLEST: f64 = 0.08;
const RATIOS: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

const CHOICES: &str = "none, flip or crop-flip, or also resized-crop, color-jitter:X, autoaugment, randaugment:N,M or \
    trivialaugment, joined by + in this order, as in flip+trivialaugment";

/// Operations that are drawn for each image, in the order of the fields, after crop and
/// flip. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distortions {
    /// Whether a random rectangle is scaled to the size of the image (Szegedy et al. 2015,
    /// arXiv:1409.4842), by the distribution of torchvision's `RandomResizedCrop`: 8 to
    /// 100 % of the area, width to height 3/4 to 4/3.
    pub resized_crop: bool,
    /// Brightness, contrast and saturation are multiplied, in a random order, each by a
    /// factor that is at most this far from 1; 0 for none.
    pub color_jitter: f64,
    /// Further operations.
    pub policy: Policy,
}

/// How operations and their magnitudes are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// There are none.
    #[default]
    None,
    /// One of the 25 pairs that Cubuk et al. 2019 (arXiv:1805.09501) found for CIFAR-10.
    Auto,
    /// Any operations of one magnitude (Cubuk et al. 2020, arXiv:1909.13719).
    Rand {
        /// The number of operations, from 1 to 8.
        operations: u32,
        /// Their magnitude, from 0 to 30.
        magnitude: u32,
    },
    /// One operation of any magnitude (Müller and Hutter 2021, arXiv:2103.10158).
    Trivial,
}

/// An operation of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

/// The operations of RandAugment and TrivialAugment.
const KINDS: [Kind; 14] = [
    Kind::Identity,
    Kind::ShearX,
    Kind::ShearY,
    Kind::TranslateX,
    Kind::TranslateY,
    Kind::Rotate,
    Kind::Brightness,
    Kind::Color,
    Kind::Contrast,
    Kind::Sharpness,
    Kind::Posterize,
    Kind::Solarize,
    Kind::AutoContrast,
    Kind::Equalize,
];

/// An operation of AutoAugment, its probability in tenths, and its magnitude.
type Part = (Kind, u32, u32);

/// The pairs of AutoAugment for CIFAR-10 (Cubuk et al. 2019, table 7).
const PAIRS: [[Part; 2]; 25] = [
    [(Kind::Invert, 1, 0), (Kind::Contrast, 2, 6)],
    [(Kind::Rotate, 7, 2), (Kind::TranslateX, 3, 9)],
    [(Kind::Sharpness, 8, 1), (Kind::Sharpness, 9, 3)],
    [(Kind::ShearY, 5, 8), (Kind::TranslateY, 7, 9)],
    [(Kind::AutoContrast, 5, 0), (Kind::Equalize, 9, 0)],
    [(Kind::ShearY, 2, 7), (Kind::Posterize, 3, 7)],
    [(Kind::Color, 4, 3), (Kind::Brightness, 6, 7)],
    [(Kind::Sharpness, 3, 9), (Kind::Brightness, 7, 9)],
    [(Kind::Equalize, 6, 0), (Kind::Equalize, 5, 0)],
    [(Kind::Contrast, 6, 7), (Kind::Sharpness, 6, 5)],
    [(Kind::Color, 7, 7), (Kind::TranslateX, 5, 8)],
    [(Kind::Equalize, 3, 0), (Kind::AutoContrast, 4, 0)],
    [(Kind::TranslateY, 4, 3), (Kind::Sharpness, 2, 6)],
    [(Kind::Brightness, 9, 6), (Kind::Color, 2, 8)],
    [(Kind::Solarize, 5, 2), (Kind::Invert, 0, 0)],
    [(Kind::Equalize, 2, 0), (Kind::AutoContrast, 6, 0)],
    [(Kind::Equalize, 2, 0), (Kind::Equalize, 6, 0)],
    [(Kind::Color, 9, 9), (Kind::Equalize, 6, 0)],
    [(Kind::AutoContrast, 8, 0), (Kind::Solarize, 2, 8)],
    [(Kind::Brightness, 1, 3), (Kind::Color, 7, 0)],
    [(Kind::Solarize, 4, 5), (Kind::AutoContrast, 9, 0)],
    [(Kind::TranslateY, 9, 9), (Kind::TranslateY, 7, 9)],
    [(Kind::AutoContrast, 9, 0), (Kind::Solarize, 8, 3)],
    [(Kind::Equalize, 8, 0), (Kind::Invert, 1, 0)],
    [(Kind::TranslateY, 7, 9), (Kind::AutoContrast, 9, 0)],
];

/// How strong operations are: the values of the last bin.
struct Range {
    bins: u32,
    shear: f64,
    /// Shifts along x and y, in pixels.
    shifts: [f64; 2],
    degrees: f64,
    factor: f64,
    /// Bits that posterising leaves out.
    bits: f64,
}

impl Range {
    /// That of AutoAugment and RandAugment, for images of `height`×`width` pixels.
    fn narrow(bins: u32, [height, width]: [usize; 2]) -> Self {
        Range {
            bins,
            shear: 0.3,
            shifts: [width, height].map(|size| 150.0 / 331.0 * size as f64),
            degrees: 30.0,
            factor: 0.9,
            bits: 4.0,
        }
    }

    /// That of TrivialAugment.
    fn wide() -> Self {
        Range {
            bins: BINS,
            shear: 0.99,
            shifts: [32.0; 2],
            degrees: 135.0,
            factor: 0.99,
            bits: 6.0,
        }
    }

    /// The operation `kind` of the magnitude `bin`, in the other direction where it is
    /// `negative`, of images with `height`×`width` pixels.
    fn operation(&self, kind: Kind, bin: u32, negative: bool, [height, width]: [usize; 2]) -> Operation {
        let last = f64::from(self.bins - 1);
        let part = f64::from(bin) / last;
        let sign = if negative { -1.0 } else { 1.0 };
        let factor = Factor::of(1.0 + sign * self.factor * part);
        let shift = |axis: usize| (sign * self.shifts[axis] * part).trunc();
        match kind {
            Kind::Identity => Operation::Identity,
            Kind::ShearX => Operation::affine([1.0, sign * self.shear * part, 0.0, 0.0, 1.0, 0.0]),
            Kind::ShearY => Operation::affine([1.0, 0.0, 0.0, sign * self.shear * part, 1.0, 0.0]),
            Kind::TranslateX => Operation::affine([1.0, 0.0, -shift(0), 0.0, 1.0, 0.0]),
            Kind::TranslateY => Operation::affine([1.0, 0.0, 0.0, 0.0, 1.0, -shift(1)]),
            Kind::Rotate => {
                // Against the clock, around the middle of the image.
                let (sin, cos) = (-sign * self.degrees * part / 360.0 * TAU).sin_cos();
                let (x, y) = (0.5 * width as f64, 0.5 * height as f64);
                let (c, f) = (x - cos * x - sin * y, y + sin * x - cos * y);
                Operation::affine([cos, sin, c, -sin, cos, f])
            }
            Kind::Brightness => Operation::Brightness(factor),
            Kind::Color => Operation::Color(factor),
            Kind::Contrast => Operation::Contrast(factor),
            Kind::Sharpness => Operation::Sharpness(factor),
            Kind::Posterize => Operation::Posterize(8 - (self.bits * part).round_ties_even() as u32),
            Kind::Solarize => Operation::Solarize((255.0 * (last - f64::from(bin)) / last).ceil() as u32),
            Kind::AutoContrast => Operation::AutoContrast,
            Kind::Equalize => Operation::Equalize,
            Kind::Invert => Operation::Invert,
        }
    }
}

impl Kind {
    /// Whether its magnitude has two directions.
    fn is_signed(self) -> bool {
        use Kind::{Brightness, Color, Contrast, Rotate, Sharpness, ShearX, ShearY, TranslateX, TranslateY};
        let signed = [
            ShearX, ShearY, TranslateX, TranslateY, Rotate, Brightness, Color, Contrast, Sharpness,
        ];
        signed.contains(&self)
    }
}

impl Policy {
    /// Whether the numbers of RandAugment are within their ranges.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Rand { operations, magnitude } => {
                (1..=MOST_OPERATIONS).contains(&operations) && (0..BINS).contains(&magnitude)
            }
            Self::None | Self::Auto | Self::Trivial => true,
        }
    }

    /// The number of operations.
    fn operations(self) -> usize {
        match self {
            Self::None => 0,
            Self::Auto => 2,
            Self::Rand { operations, .. } => operations as usize,
            Self::Trivial => 1,
        }
    }

    fn draw(self, draws: &mut Draws, size: [usize; 2]) -> Vec<Operation> {
        let any = |draws: &mut Draws| KINDS[draws.below(KINDS.len() as u32) as usize];
        match self {
            Self::None => Vec::new(),
            Self::Auto => {
                let range = Range::narrow(AUTO_BINS, size);
                let pair = PAIRS[draws.below(PAIRS.len() as u32) as usize];
                let drawn = pair.map(|(kind, tenths, bin)| {
                    let (happens, negative) = (draws.below(10) < tenths, draws.coin());
                    match happens {
                        true => range.operation(kind, bin, kind.is_signed() && negative, size),
                        false => Operation::Identity,
                    }
                });
                drawn.to_vec()
            }
            Self::Rand { operations, magnitude } => {
                let range = Range::narrow(BINS, size);
                let one = |_| {
                    let (kind, negative) = (any(draws), draws.coin());
                    range.operation(kind, magnitude, kind.is_signed() && negative, size)
                };
                (0..operations).map(one).collect()
            }
            Self::Trivial => {
                let (kind, bin, negative) = (any(draws), draws.below(BINS), draws.coin());
                vec![Range::wide().operation(kind, bin, kind.is_signed() && negative, size)]
            }
        }
    }
}

impl Distortions {
    /// The number of operations of each image.
    pub fn operations(&self) -> usize {
        usize::from(self.resized_crop) + if self.color_jitter > 0.0 { 3 } else { 0 } + self.policy.operations()
    }

    /// The operations of the image `draw`, of height and width `size`, in a run with this
    /// seed: [`Self::operations`] of them.
    pub fn draw(&self, seed: u64, draw: Draw, size: [usize; 2]) -> Vec<Operation> {
        if self.operations() == 0 {
            return Vec::new();
        }
        let mut draws = Philox::new(seed).draws(Stream::Distortion, draw.epoch, draw.position);
        let mut drawn = Vec::with_capacity(self.operations());
        if self.resized_crop {
            drawn.push(resized_crop(&mut draws, size));
        }
        if self.color_jitter > 0.0 {
            let mut kinds = [Operation::Brightness, Operation::Contrast, Operation::Color];
            draws.choose(&mut kinds, 3);
            for kind in kinds {
                let factor = 1.0 + self.color_jitter * (2.0 * f64::from(draws.unit()) - 1.0);
                drawn.push(kind(Factor::of(factor)));
            }
        }
        drawn.extend(self.policy.draw(&mut draws, size));
        drawn
    }

    /// What stands after the word of `augment` in the text of both.
    fn words(&self) -> Vec<String> {
        let words = [
            self.resized_crop.then(|| "resized-crop".to_string()),
            (self.color_jitter > 0.0).then(|| format!("color-jitter:{}", self.color_jitter)),
            match self.policy {
                Policy::None => None,
                Policy::Auto => Some("autoaugment".to_string()),
                Policy::Rand { operations, magnitude } => Some(format!("randaugment:{operations},{magnitude}")),
                Policy::Trivial => Some("trivialaugment".to_string()),
            },
        ];
        words.into_iter().flatten().collect()
    }
}

/// A rectangle as torchvision's `RandomResizedCrop.get_params` draws it.
fn resized_crop(draws: &mut Draws, [height, width]: [usize; 2]) -> Operation {
    let area = (height * width) as f64;
    let logs = RATIOS.map(f64::ln);
    for _ in 0..TRIES {
        let part = SMALLEST + (1.0 - SMALLEST) * f64::from(draws.unit());
        let ratio = (logs[0] + (logs[1] - logs[0]) * f64::from(draws.unit())).exp();
        // Python's round: halves go to the even number.
        let [columns, rows] = [ratio, 1.0 / ratio].map(|ratio| (area * part * ratio).sqrt().round_ties_even() as usize);
        if (1..=width).contains(&columns) && (1..=height).contains(&rows) {
            return Operation::ResizedCrop {
                top: draws.below((height - rows) as u32 + 1),
                left: draws.below((width - columns) as u32 + 1),
                height: rows as u32,
                width: columns as u32,
            };
        }
    }
    middle([height, width])
}

/// The largest rectangle in the middle whose ratio is allowed.
fn middle([height, width]: [usize; 2]) -> Operation {
    let ratio = width as f64 / height as f64;
    let (mut rows, mut columns) = (height, width);
    if ratio < RATIOS[0] {
        rows = (width as f64 / RATIOS[0]).round_ties_even() as usize;
    } else if ratio > RATIOS[1] {
        columns = (height as f64 * RATIOS[1]).round_ties_even() as usize;
    }
    Operation::ResizedCrop {
        top: (height - rows) as u32 / 2,
        left: (width - columns) as u32 / 2,
        height: rows as u32,
        width: columns as u32,
    }
}

/// All random changes to an image as text: `crop-flip`, `flip+resized-crop`,
/// `crop-flip+randaugment:2,9`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Crops and flips.
    pub augment: Augment,
    /// What follows them.
    pub distortions: Distortions,
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.augment.fmt(f)?;
        self.distortions
            .words()
            .into_iter()
            .try_for_each(|word| write!(f, "+{word}"))
    }
}

impl FromStr for Augmentation {
    type Err = ArgumentError;

    /// Reads words joined by `+`. Without a word for crop and flip, images are only
    /// flipped before a resized crop, else cropped and flipped.
    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        let unknown = || ArgumentError::UnknownWord {
            what: "augmentation",
            given: text.to_owned(),
            choices: CHOICES,
        };
        let mut words = text.split('+').peekable();
        let augment = words.next_if(|word| word.parse::<Augment>().is_ok());
        let mut distortions = Distortions::default();
        for word in words {
            // Each at most once, in the order in which they are applied.
            let (name, value) = word
                .split_once(':')
                .map_or((word, None), |(name, value)| (name, Some(value)));
            match (name, value) {
                ("resized-crop", None) if distortions == Distortions::default() => distortions.resized_crop = true,
                ("color-jitter", Some(value))
                    if distortions.color_jitter == 0.0 && distortions.policy == Policy::None =>
                {
                    let jitter = value.parse().ok().filter(|jitter| *jitter > 0.0 && *jitter <= 1.0);
                    distortions.color_jitter = jitter.ok_or_else(unknown)?;
                }
                _ if distortions.policy == Policy::None => {
                    distortions.policy = policy(name, value).ok_or_else(unknown)?;
                }
                _ => return Err(unknown()),
            }
        }
        let augment = match augment {
            Some(word) => word.parse()?,
            None if distortions.resized_crop => Augment::Flip,
            None => Augment::CropFlip,
        };
        Ok(Augmentation { augment, distortions })
    }
}

/// The policy `name` with the numbers `value`.
fn policy(name: &str, value: Option<&str>) -> Option<Policy> {
    match (name, value) {
        ("autoaugment", None) => Some(Policy::Auto),
        ("trivialaugment", None) => Some(Policy::Trivial),
        ("randaugment", None) => policy(name, Some("2,9")),
        ("randaugment", Some(numbers)) => {
            let (operations, magnitude) = numbers.split_once(',')?;
            let operations = operations.parse().ok();
            let magnitude = magnitude.parse().ok();
            let rand = Policy::Rand {
                operations: operations?,
                magnitude: magnitude?,
            };
            Some(rand).filter(|policy| policy.is_valid())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::hex::hex;

    #[test]
    fn words_come_back_as_they_were_written() {
        for word in [
            "none",
            "crop-flip",
            "flip+resized-crop",
            "none+color-jitter:0.4",
            "crop-flip+autoaugment",
            "flip+resized-crop+color-jitter:0.4+randaugment:3,15",
            "none+trivialaugment",
        ] {
            assert_eq!(word.parse::<Augmentation>().unwrap().to_string(), word);
        }
        for (word, whole) in [
            ("autoaugment", "crop-flip+autoaugment"),
            ("randaugment", "crop-flip+randaugment:2,9"),
            ("resized-crop", "flip+resized-crop"),
        ] {
            assert_eq!(word.parse::<Augmentation>().unwrap().to_string(), whole);
        }
        for word in [
            "",
            "crop",
            "flip+flip",
            "flip+",
            "autoaugment+trivialaugment",
            "trivialaugment+resized-crop",
            "randaugment:2",
            "randaugment:0,9",
            "randaugment:9,9",
            "randaugment:2,31",
            "color-jitter:NaN",
            "color-jitter:0",
            "color-jitter",
        ] {
            let error = word.parse::<Augmentation>().unwrap_err().to_string();
            assert!(
                error.contains("trivialaugment") && !error.contains('\n'),
                "{word}: {error}"
            );
        }
    }

    fn drawn(word: &str, count: u32, size: [usize; 2]) -> Vec<Vec<Operation>> {
        let distortions = word.parse::<Augmentation>().unwrap().distortions;
        let draw = |position| Draw {
            epoch: 3,
            position,
            ..Draw::unchanged(0)
        };
        let drawn: Vec<_> = (0..count).map(|at| distortions.draw(7, draw(at), size)).collect();
        assert!(
            drawn
                .iter()
                .all(|operations| operations.len() == distortions.operations())
        );
        drawn
    }

    #[test]
    fn every_operation_comes_as_often_as_the_others() {
        let all = drawn("randaugment:2,9", 7000, [32, 32]).concat();
        let count = |wanted: fn(&Operation) -> bool| all.iter().filter(|one| wanted(one)).count();
        // 1000 each, with a standard deviation of 30.
        let near = |count: usize, truth: usize| count.abs_diff(truth) < 5 * (truth as f64).sqrt() as usize;
        assert!(near(count(|one| matches!(one, Operation::Affine(_))), 5000));
        for wanted in [
            (|one: &Operation| matches!(one, Operation::Equalize)) as fn(&Operation) -> bool,
            |one| matches!(one, Operation::Solarize(179)),
            |one| matches!(one, Operation::Posterize(7)),
            |one| matches!(one, Operation::Identity),
            |one| matches!(one, Operation::Contrast(_)),
        ] {
            assert!(near(count(wanted), 1000), "{}", count(wanted));
        }
        let up = Operation::Brightness(Factor::of(1.27));
        assert!(near(all.iter().filter(|one| **one == up).count(), 500));
        // The probabilities of AutoAugment: 1 in 25 pairs inverts, one time in ten.
        let auto = drawn("autoaugment", 25_000, [32, 32]);
        let inverted = auto.iter().filter(|pair| pair.contains(&Operation::Invert)).count();
        assert!(near(inverted, 200), "{inverted}");
    }

    /// What torchvision and Pillow compute: `tests/fixtures/make_distortions.py`.
    fn torchvision() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/distortions.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn bytes(value: &Value) -> Vec<u8> {
        // The alphabet of RFC 4648, without its padding.
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = value.as_str().unwrap().chars().filter_map(|digit| ALPHABET.find(digit));
        let bits: Vec<u8> = digits
            .flat_map(|digit| (0..6).rev().map(move |bit| (digit >> bit & 1) as u8))
            .collect();
        let byte = |bits: &[u8]| bits.iter().fold(0, |byte, bit| byte << 1 | bit);
        bits.chunks_exact(8).map(byte).collect()
    }

    const NAMES: [(&str, Kind); 15] = [
        ("Identity", Kind::Identity),
        ("ShearX", Kind::ShearX),
        ("ShearY", Kind::ShearY),
        ("TranslateX", Kind::TranslateX),
        ("TranslateY", Kind::TranslateY),
        ("Rotate", Kind::Rotate),
        ("Brightness", Kind::Brightness),
        ("Color", Kind::Color),
        ("Contrast", Kind::Contrast),
        ("Sharpness", Kind::Sharpness),
        ("Posterize", Kind::Posterize),
        ("Solarize", Kind::Solarize),
        ("AutoContrast", Kind::AutoContrast),
        ("Equalize", Kind::Equalize),
        ("Invert", Kind::Invert),
    ];

    fn kind(name: &Value) -> Kind {
        NAMES.iter().find(|(known, _)| name == known).unwrap().1
    }

    #[test]
    fn operations_give_the_bytes_of_torchvision() {
        let truth = torchvision();
        let image = bytes(&truth["image"]);
        let size = [0, 1].map(|axis| truth["size"][axis].as_u64().unwrap() as usize);
        let dims = [3, size[0], size[1]];
        let (mut far, mut compared) = (Vec::new(), 0);
        let mut check = |case: &Value, operation: Operation| {
            let found = operation.apply(&image, dims);
            if case.get("sha256").is_some() {
                let hash = hex(&Sha256::digest(&found));
                assert_eq!(case["sha256"], hash, "{case}");
                return;
            }
            let truth = bytes(&case["seventh"]);
            let found: Vec<u8> = found.into_iter().step_by(7).collect();
            assert_eq!(found.len(), truth.len());
            compared += truth.len();
            let distances = found.iter().zip(&truth).map(|(found, truth)| found.abs_diff(*truth));
            far.extend(distances.filter(|distance| *distance > 0));
        };
        let cases = truth["operations"].as_array().unwrap();
        assert!(cases.len() > 90);
        let mut changed = 0;
        for case in cases {
            let range = match case["range"].as_str().unwrap() {
                "auto" => Range::narrow(AUTO_BINS, size),
                "rand" => Range::narrow(BINS, size),
                _ => Range::wide(),
            };
            let bin = case["bin"].as_u64().unwrap() as u32;
            let negative = case["negative"] == true;
            let operation = range.operation(kind(&case["kind"]), bin, negative, size);
            changed += usize::from(operation.apply(&image, dims) != image);
            check(case, operation);
        }
        assert!(changed > 85, "{changed} operations change the image");
        for case in truth["crops"].as_array().unwrap() {
            let [top, left, height, width] = [0, 1, 2, 3].map(|at| case["rectangle"][at].as_u64().unwrap() as u32);
            let crop = Operation::ResizedCrop {
                top,
                left,
                height,
                width,
            };
            check(case, crop);
        }
        // Pillow computes these with floats: a few values differ, by one level.
        println!("{} of {compared} bytes differ from torchvision's", far.len());
        assert!(far.iter().all(|distance| *distance == 1), "{far:?}");
        assert!(300 * far.len() < compared, "{} of {compared} bytes differ", far.len());
    }

    #[test]
    fn the_pairs_of_autoaugment_are_those_of_torchvision() {
        let truth = torchvision();
        let truth = truth["pairs"].as_array().unwrap();
        assert_eq!(truth.len(), PAIRS.len());
        for (pair, truth) in PAIRS.iter().zip(truth) {
            for (&(own, tenths, bin), truth) in pair.iter().zip(truth.as_array().unwrap()) {
                assert_eq!(own, kind(&truth[0]), "{truth}");
                assert_eq!(f64::from(tenths) / 10.0, truth[1].as_f64().unwrap(), "{truth}");
                assert_eq!(u64::from(bin), truth[2].as_u64().unwrap_or(0), "{truth}");
            }
        }
    }

    #[test]
    fn rectangles_are_distributed_as_those_of_torchvision() {
        let truth = torchvision();
        for truth in truth["rectangles"].as_array().unwrap() {
            let size = [0, 1].map(|axis| truth["size"][axis].as_u64().unwrap() as usize);
            let mut sums = [[0.0; 2]; 2];
            let count = 20_000;
            for operations in drawn("resized-crop", count, size) {
                let [
                    Operation::ResizedCrop {
                        top,
                        left,
                        height,
                        width,
                    },
                ] = operations[..]
                else {
                    panic!("{operations:?}");
                };
                assert!(top + height <= size[0] as u32 && left + width <= size[1] as u32);
                for (sums, side) in sums.iter_mut().zip([height, width].map(f64::from)) {
                    sums[0] += side;
                    sums[1] += side * side;
                }
            }
            for (axis, sums) in sums.iter().enumerate() {
                let found = sums[0] / f64::from(count);
                let spread = (sums[1] / f64::from(count) - found * found).sqrt();
                let of = |what: &str| truth[what][axis].as_f64().unwrap();
                // Five standard deviations of a mean of 20,000 sides.
                assert!(
                    (found - of("mean")).abs() < 5.0 * of("deviation") / 141.0,
                    "{truth}: {found}"
                );
                assert!((spread / of("deviation") - 1.0).abs() < 0.025, "{truth}: {spread}");
            }
        }
        // Nothing of an image that is too wide fits: a square of its middle does.
        assert_eq!(
            middle([10, 40]),
            Operation::ResizedCrop {
                top: 0,
                left: 13,
                height: 10,
                width: 13
            }
        );
    }

    #[test]
    fn draws_depend_on_epoch_and_position_only() {
        let one = drawn("trivialaugment", 50, [32, 32]);
        assert_eq!(one, drawn("trivialaugment", 50, [32, 32]));
        let distortions = "trivialaugment".parse::<Augmentation>().unwrap().distortions;
        let other = |draw: Draw| distortions.draw(7, draw, [32, 32]);
        let draw = Draw {
            epoch: 3,
            position: 5,
            ..Draw::unchanged(9)
        };
        assert_eq!(other(draw), one[5]);
        let epochs: Vec<_> = (0..20).map(|epoch| other(Draw { epoch, ..draw })).collect();
        assert!(epochs.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
