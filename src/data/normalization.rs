//! How are bytes of an image converted to the numbers that a network reads?

use std::fmt;

use super::{ArgumentError, ImageSet};

/// The named sets, for error messages and help.
const CHOICES: &str = "a named set: cifar10, cifar10-legacy, cifar100, svhn, mnist, \
    fashion-mnist, stl10, tiny-imagenet, imagenet, synthetic, none";

/// Per-channel mean and standard deviation, in units of pixel values scaled to
/// [0, 1]: a byte v becomes (v / 255 − mean) / std.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalization {
    /// A normalisation with one mean and one standard deviation per channel.
    ///
    /// # Errors
    /// If the lists differ in length or are empty, a value is not finite, or a
    /// standard deviation is not greater than 0.
    pub fn new(mean: Vec<f32>, std: Vec<f32>) -> Result<Self, ArgumentError> {
        check_values("mean", &mean, mean.len().max(1), |value| value.is_finite())?;
        check_values("std", &std, mean.len(), is_deviation)?;
        Ok(Self { mean, std })
    }

    /// The named set, for images with `channels` channels. `None` if the name
    /// is unknown or the set has another number of channels.
    ///
    /// `cifar10-legacy` has the standard deviations that much published code
    /// uses for CIFAR-10: the mean over all images of each image's own standard
    /// deviation. They are too small by a fifth, but the networks trained with
    /// them need them.
    pub fn named(name: &str, channels: usize) -> Option<Self> {
        let (mean, std) = match name {
            "cifar10" => ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
            "cifar10-legacy" => ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
            "cifar100" => ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
            "imagenet" => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            "svhn" => ([0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970]),
            "stl10" => ([0.4467, 0.4398, 0.4066], [0.2603, 0.2566, 0.2713]),
            "tiny-imagenet" => ([0.4802, 0.4481, 0.3975], [0.2770, 0.2691, 0.2821]),
            "synthetic" => ([0.5; 3], [0.242; 3]),
            "mnist" => return Some(Self::equal(channels, 0.1307, 0.3081)),
            "fashion-mnist" => return Some(Self::equal(channels, 0.2860, 0.3530)),
            "none" => return Some(Self::equal(channels, 0.0, 1.0)),
            _ => return None,
        };
        (channels == mean.len()).then(|| Self {
            mean: mean.to_vec(),
            std: std.to_vec(),
        })
    }

    /// The same values for every channel.
    fn equal(channels: usize, mean: f32, std: f32) -> Self {
        Self {
            mean: vec![mean; channels],
            std: vec![std; channels],
        }
    }

    /// Mean and standard deviation of each channel over all pixels of a set. The
    /// deviation of a channel of one value is 1.
    pub fn measured(set: &ImageSet) -> Self {
        let plane = (set.height * set.width).max(1);
        let channels = (0..set.channels).map(|channel| {
            let planes = set.images.chunks_exact(plane).skip(channel).step_by(set.channels);
            // Sums of bytes and of their squares are exact in 64 bits.
            let (mut count, mut sum, mut squares) = (0_u64, 0_u64, 0_u64);
            for plane in planes {
                count += plane.len() as u64;
                sum += plane.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                squares += plane.iter().map(|&byte| u64::from(byte) * u64::from(byte)).sum::<u64>();
            }
            let count = count.max(1) as f64;
            let mean = sum as f64 / count;
            let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
            let deviation = if deviation > 0.0 { deviation / 255.0 } else { 1.0 };
            ((mean / 255.0) as f32, deviation as f32)
        });
        let (mean, std) = channels.unzip();
        Self { mean, std }
    }

    /// The normalisation with `mean` and `std` as text, for a data set for which
    /// none is published; the number of channels follows from the lists.
    ///
    /// # Errors
    /// As [`Self::resolve`], and if only one of them is given and it names no
    /// set.
    pub fn resolve_alone(mean: Option<&str>, std: Option<&str>) -> Result<Self, ArgumentError> {
        let is_list = |text: &&str| text.split(',').all(|word| word.trim().parse::<f32>().is_ok());
        let list = [mean, std].into_iter().flatten().find(is_list);
        let channels = list.map_or(3, |list| list.split(',').count());
        let named = |text: Option<&str>| text.and_then(|name| Self::named(name.trim(), channels));
        match (mean, std) {
            (Some(_), Some(_)) => Self::resolve(mean, std, &Self::equal(channels, 0.0, 1.0)),
            _ => match named(mean).or_else(|| named(std)) {
                Some(set) => Ok(set),
                None => {
                    let (what, given) = match mean {
                        Some(mean) => ("mean", mean),
                        None => ("std", std.unwrap_or_default()),
                    };
                    Err(invalid(
                        what,
                        given,
                        "is alone, and nothing is published for this data set".into(),
                    ))
                }
            },
        }
    }

    /// The normalisation with `mean` and `std` as text: each is a list of
    /// numbers separated by commas, or the name of a set.
    ///
    /// If one of them is not given, it comes from the set that the other one
    /// names, else from `default`, which also gives the number of channels.
    ///
    /// # Errors
    /// If a text is neither a list nor a name, the number of values is not the
    /// number of channels, a value is not finite, or a standard deviation is
    /// not greater than 0.
    pub fn resolve(mean: Option<&str>, std: Option<&str>, default: &Self) -> Result<Self, ArgumentError> {
        let channels = default.channels();
        let named = |text: Option<&str>| text.and_then(|name| Self::named(name.trim(), channels));
        let (mean_set, std_set) = (named(mean), named(std));
        let mean = match (mean, &mean_set) {
            (Some(text), None) => parse_list("mean", text, channels, |value| value.is_finite())?,
            _ => mean_set.as_ref().or(std_set.as_ref()).unwrap_or(default).mean.clone(),
        };
        let std = match (std, &std_set) {
            (Some(text), None) => parse_list("std", text, channels, is_deviation)?,
            _ => std_set.as_ref().or(mean_set.as_ref()).unwrap_or(default).std.clone(),
        };
        Ok(Self { mean, std })
    }

    /// Mean and standard deviation as [`Self::resolve`] reads them back, to the
    /// same bits.
    pub fn to_text(&self) -> [String; 2] {
        [&self.mean, &self.std].map(|values| values.iter().map(f32::to_string).collect::<Vec<_>>().join(","))
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// The mean of each channel, (C).
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The standard deviation of each channel, (C), greater than 0.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// The same function as one multiplication and one addition per pixel: for
    /// each channel (a, b) of a·v + b, where v is the byte.
    pub fn scale_and_shift(&self) -> Vec<(f64, f64)> {
        std::iter::zip(&self.mean, &self.std)
            .map(|(&mean, &std)| (1.0 / (255.0 * f64::from(std)), -f64::from(mean) / f64::from(std)))
            .collect()
    }
}

impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mean, std] = self.to_text();
        write!(f, "mean {mean} and std {std}")
    }
}

fn is_deviation(value: f32) -> bool {
    value.is_finite() && value > 0.0
}

fn parse_list(
    what: &'static str,
    text: &str,
    channels: usize,
    is_valid: impl Fn(f32) -> bool,
) -> Result<Vec<f32>, ArgumentError> {
    let values: Vec<f32> = text
        .split(',')
        .map(|word| word.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|_| invalid(what, text, "is neither a list of numbers nor a known name".into()))?;
    check_values(what, &values, channels, is_valid)?;
    Ok(values)
}

fn check_values(
    what: &'static str,
    values: &[f32],
    channels: usize,
    is_valid: impl Fn(f32) -> bool,
) -> Result<(), ArgumentError> {
    let given = || {
        let words: Vec<String> = values.iter().map(f32::to_string).collect();
        words.join(",")
    };
    if values.len() != channels {
        let problem = format!("has {} values for {channels} channels", values.len());
        return Err(invalid(what, &given(), problem));
    }
    match values.iter().find(|value| !is_valid(**value)) {
        None => Ok(()),
        Some(value) if value.is_finite() => {
            Err(invalid(what, &given(), format!("holds {value}, which is not above 0")))
        }
        Some(value) => Err(invalid(what, &given(), format!("holds {value}, which is not finite"))),
    }
}

fn invalid(what: &'static str, given: &str, problem: String) -> ArgumentError {
    ArgumentError::Normalization {
        what,
        given: given.to_owned(),
        problem,
        choices: CHOICES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cifar() -> Normalization {
        Normalization::named("cifar10", 3).unwrap()
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(Normalization::resolve(None, None, &cifar()), Ok(cifar()));
    }

    #[test]
    fn one_name_gives_both() {
        let imagenet = Normalization::named("imagenet", 3).unwrap();
        for (mean, std) in [(Some("imagenet"), None), (None, Some("imagenet"))] {
            let resolved = Normalization::resolve(mean, std, &cifar()).unwrap();
            assert_eq!(resolved, imagenet);
        }
    }

    #[test]
    fn lists_and_names_mix() {
        let mixed = Normalization::resolve(Some("0.485, 0.456,0.406"), Some("cifar10-legacy"), &cifar());
        let mixed = mixed.unwrap();
        assert_eq!(mixed.mean(), [0.485, 0.456, 0.406]);
        assert_eq!(mixed.std(), [0.2023, 0.1994, 0.2010]);
        let numbers_only = Normalization::resolve(Some("0,0,0"), None, &cifar()).unwrap();
        assert_eq!(numbers_only.std(), cifar().std());
    }

    #[test]
    fn bad_values_are_refused_in_one_line() {
        for (mean, std, part) in [
            (Some("0.5,0.5"), None, "2 values for 3 channels"),
            (Some("grey"), None, "neither"),
            (Some(""), None, "neither"),
            (Some("nan,0,0"), None, "not finite"),
            (None, Some("0.2,0,0.2"), "not above 0"),
            (None, Some("0.2,-1,0.2"), "not above 0"),
            (None, Some("inf,1,1"), "not finite"),
        ] {
            let error = Normalization::resolve(mean, std, &cifar()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains('\n'));
        }
        assert!(Normalization::new(vec![], vec![]).is_err());
        assert!(Normalization::new(vec![0.5], vec![0.0]).is_err());
        assert!(Normalization::new(vec![0.5], vec![0.1, 0.2]).is_err());
    }

    #[test]
    fn a_set_is_measured_exactly() {
        let set = ImageSet {
            name: String::new(),
            channels: 2,
            height: 1,
            width: 2,
            class_names: vec!["only".into()],
            images: vec![0, 255, 51, 51, 0, 255, 51, 51],
            labels: vec![0, 0],
        };
        let measured = Normalization::measured(&set);
        assert_eq!((measured.mean(), measured.std()), (&[0.5, 0.2][..], &[0.5, 1.0][..]));
    }

    #[test]
    fn without_published_values_both_are_needed() {
        let alone = Normalization::resolve_alone;
        assert_eq!(alone(Some("0.5"), Some("0.25")).unwrap().channels(), 1);
        assert_eq!(alone(Some("cifar10"), None), Ok(cifar()));
        assert_eq!(
            alone(Some("0.5,0.5,0.5"), Some("cifar10")).unwrap().std(),
            cifar().std()
        );
        let error = alone(Some("0.5,0.5,0.5"), None).unwrap_err().to_string();
        assert!(error.contains("is alone"), "{error}");
        assert!(alone(None, Some("grey")).is_err());
        assert!(alone(Some("0.5"), Some("0.5,0.5")).is_err());
    }

    #[test]
    fn named_sets_have_three_channels_but_none_has_any() {
        assert_eq!(Normalization::named("cifar10", 1), None);
        assert_eq!(Normalization::named("none", 1).unwrap().channels(), 1);
    }
}
