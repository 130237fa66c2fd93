//! Where do the images come from?

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Split;
use super::synthetic;
use super::{ArgumentError, DataError, ImageSet, Normalization, cifar};

const CHOICES: &str = "synthetic, cifar10:DIR or cifar100:DIR";

/// The largest number of images in a split of the synthetic set: 3 GB.
const MOST_SYNTHETIC: usize = 1_000_000;

/// A data set that can be loaded. As text it is `synthetic`,
/// `synthetic:TRAIN,TEST`, `cifar10:DIR` or `cifar100:DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The built-in set, drawn from the seed: `synthetic`, `synthetic:TRAIN` or
    /// `synthetic:TRAIN,TEST`.
    Synthetic {
        /// Number of training images.
        train: usize,
        /// Number of test images.
        test: usize,
    },
    /// CIFAR-10 in its binary form in a folder, `cifar10:DIR`.
    Cifar10(PathBuf),
    /// CIFAR-100 in its binary form in a folder, `cifar100:DIR`.
    Cifar100(PathBuf),
}

/// The images of a data set.
#[derive(Clone, Debug)]
pub struct Splits {
    /// The training images.
    pub train: ImageSet,
    /// The test images.
    pub test: ImageSet,
    /// The data set's mean and standard deviation.
    pub normalization: Normalization,
}

/// The test images of a data set.
#[derive(Clone, Debug)]
pub struct TestSplit {
    /// The test images.
    pub images: ImageSet,
    /// The data set's mean and standard deviation.
    pub normalization: Normalization,
}

impl Default for Source {
    fn default() -> Self {
        Self::Synthetic {
            train: synthetic::TRAIN_IMAGES,
            test: synthetic::TEST_IMAGES,
        }
    }
}

impl Source {
    /// Loads both splits. A limit keeps only the first images of a split.
    ///
    /// `seed` is the run's seed; only synthetic images depend on it.
    ///
    /// # Errors
    /// [`DataError::Argument`] for a limit of 0, [`DataError::File`] for files
    /// that are missing or damaged.
    pub fn load(&self, limit_train: Option<usize>, limit_test: Option<usize>, seed: u64) -> Result<Splits, DataError> {
        let train_limit = check_limit("training", limit_train)?;
        let TestSplit {
            images: test,
            normalization,
        } = self.load_test(limit_test, seed)?;
        let train = match self {
            Self::Synthetic { train, .. } => synthetic::generate(Split::Train, train_limit.min(*train), seed),
            Self::Cifar10(folder) => cifar::CIFAR10.load_train(folder, train_limit)?,
            Self::Cifar100(folder) => cifar::CIFAR100.load_train(folder, train_limit)?,
        };
        Ok(Splits {
            train,
            test,
            normalization,
        })
    }

    /// Loads the test split only; the training files are not read.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_test(&self, limit: Option<usize>, seed: u64) -> Result<TestSplit, DataError> {
        let limit = check_limit("test", limit)?;
        let test = match self {
            Self::Synthetic { test, .. } => synthetic::generate(Split::Test, limit.min(*test), seed),
            Self::Cifar10(folder) => cifar::CIFAR10.load_test(folder, limit)?,
            Self::Cifar100(folder) => cifar::CIFAR100.load_test(folder, limit)?,
        };
        Ok(TestSplit {
            images: test,
            normalization: self.normalization(),
        })
    }

    /// The data set's mean and standard deviation.
    pub fn normalization(&self) -> Normalization {
        let name = match self {
            Self::Synthetic { .. } => "synthetic",
            Self::Cifar10(_) => "cifar10",
            Self::Cifar100(_) => "cifar100",
        };
        Normalization::named(name, 3).expect("every source names a set of three channels")
    }
}

/// The limit as a number of images; without a limit, the largest number.
fn check_limit(split: &'static str, limit: Option<usize>) -> Result<usize, ArgumentError> {
    match limit {
        Some(0) => Err(ArgumentError::ZeroLimit { split }),
        Some(limit) => Ok(limit),
        None => Ok(usize::MAX),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synthetic { .. } if *self == Self::default() => f.write_str("synthetic"),
            Self::Synthetic { train, test } => write!(f, "synthetic:{train},{test}"),
            Self::Cifar10(folder) => write!(f, "cifar10:{}", folder.display()),
            Self::Cifar100(folder) => write!(f, "cifar100:{}", folder.display()),
        }
    }
}

impl FromStr for Source {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let folder = |kind| match rest {
            Some(folder) if !folder.is_empty() => Ok(PathBuf::from(folder)),
            _ => Err(ArgumentError::NoFolder { kind }),
        };
        match kind {
            "synthetic" => rest.map_or(Ok(Self::default()), synthetic_of_size),
            "cifar10" => folder("cifar10").map(Self::Cifar10),
            "cifar100" => folder("cifar100").map(Self::Cifar100),
            _ => Err(ArgumentError::UnknownSource {
                given: text.to_owned(),
                choices: CHOICES,
            }),
        }
    }
}

fn synthetic_of_size(sizes: &str) -> Result<Source, ArgumentError> {
    let size = |word: &str| {
        let size = word.parse().ok();
        size.filter(|size| (1..=MOST_SYNTHETIC).contains(size))
    };
    let parsed = match sizes.split_once(',') {
        Some((train, test)) => size(train).zip(size(test)),
        None => size(sizes).zip(Some(synthetic::TEST_IMAGES)),
    };
    match parsed {
        Some((train, test)) => Ok(Source::Synthetic { train, test }),
        None => Err(ArgumentError::SyntheticSize {
            given: sizes.to_owned(),
            most: MOST_SYNTHETIC,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were_written() {
        for word in ["synthetic", "synthetic:20,10", "cifar10:a:b", "cifar100:/x y"] {
            assert_eq!(word.parse::<Source>().unwrap().to_string(), word);
        }
        assert_eq!("synthetic:4096".parse(), Ok(Source::default()));
    }

    #[test]
    fn wrong_words_say_what_exists() {
        for (word, part) in [
            ("mnist:x", CHOICES),
            ("", CHOICES),
            ("cifar10", "cifar10:DIR"),
            ("cifar100:", "cifar100:DIR"),
            ("synthetic:", "synthetic:TRAIN"),
            ("synthetic:0", "from 1 to"),
            ("synthetic:5,", "from 1 to"),
            ("synthetic:99999999999999999999", "from 1 to"),
        ] {
            let error = word.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn limits_cut_and_never_extend() {
        let source: Source = "synthetic:30,20".parse().unwrap();
        let splits = source.load(Some(12), Some(99), 1).unwrap();
        assert_eq!((splits.train.len(), splits.test.len()), (12, 20));
        let test = source.load_test(Some(20), 1).unwrap().images;
        assert_eq!(test, splits.test);
    }

    #[test]
    fn a_limit_of_zero_is_an_argument_error() {
        let source = Source::default();
        for error in [
            source.load(Some(0), None, 1).unwrap_err(),
            source.load_test(Some(0), 1).unwrap_err(),
        ] {
            assert!(matches!(error, DataError::Argument(_)), "{error}");
        }
    }
}
