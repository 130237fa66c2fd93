//! Where do the images come from?

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::cifar_c;
use super::kind::Kind;
use super::picture::Preparation;
use super::synthetic;
use super::{ArgumentError, Corrupted, DataError, FileError, ImageSet, Normalization, Split};

const CHOICES: &str = "synthetic, a folder or file of images, or KIND:PATH, where KIND is cifar10, cifar100, svhn, \
    svhn-extra, mnist, fashion-mnist, stl10, tiny-imagenet, imagefolder, hf, cifar10-c, cifar10.1 or npz";

/// The largest number of images in a split of the synthetic set: 3 GB.
const MOST_SYNTHETIC: usize = 1_000_000;

/// A data set that can be loaded. As text it is `synthetic`,
/// `synthetic:TRAIN,TEST`, `PATH`, `KIND:PATH` as `cifar10:DIR`, or `KIND` for one
/// that lies in [`places`](super::places()).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The built-in set, drawn from the seed: `synthetic`, `synthetic:TRAIN` or
    /// `synthetic:TRAIN,TEST`.
    Synthetic {
        /// Number of training images.
        train: usize,
        /// Number of test images.
        test: usize,
    },
    /// Files of images.
    Files(Files),
}

/// A data set in files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Files {
    /// What the files are; `None`: recognised by what lies at the path.
    pub kind: Option<Kind>,
    /// The folder or file. A `~` in front stands for the user's own folder.
    pub path: PathBuf,
    /// How every image is changed when it is loaded. It is not a part of the
    /// text.
    pub preparation: Preparation,
}

/// The images of a data set.
#[derive(Clone, Debug)]
pub struct Splits {
    /// The training images.
    pub train: ImageSet,
    /// Training images that are held out ([`Splits::hold_out`]).
    pub validation: Option<ImageSet>,
    /// The test images.
    pub test: ImageSet,
    /// The data set's mean and standard deviation.
    pub normalization: Normalization,
    /// Whether they were measured on the images, as none are published for the
    /// data set.
    pub measured: bool,
}

/// The test images of a data set.
#[derive(Clone, Debug)]
pub struct TestSplit {
    /// The test images.
    pub images: ImageSet,
    /// The data set's mean and standard deviation.
    pub normalization: Normalization,
    /// Whether they were measured on the images, as none are published for the
    /// data set.
    pub measured: bool,
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
    /// The data set with images that are changed when they are loaded. The
    /// built-in images stay as they are.
    ///
    /// # Errors
    /// If a number is out of its range.
    pub fn with_preparation(self, preparation: Preparation) -> Result<Self, ArgumentError> {
        preparation.check()?;
        match self {
            Self::Files(files) => Ok(Self::Files(Files { preparation, ..files })),
            Self::Synthetic { .. } if !preparation.is_none() => Err(ArgumentError::PreparedSynthetic),
            synthetic @ Self::Synthetic { .. } => Ok(synthetic),
        }
    }

    /// How images are changed when they are loaded.
    pub fn preparation(&self) -> Preparation {
        match self {
            Self::Files(files) => files.preparation,
            Self::Synthetic { .. } => Preparation::default(),
        }
    }

    /// The data set with its path from the root, so that it is valid in every
    /// working directory.
    #[must_use]
    pub fn absolute(self) -> Self {
        match self {
            // A word that names no folder is told as an unknown data set later.
            Self::Files(files) if files.kind.is_none() && is_word(&files.path) && !files.path.exists() => {
                Self::Files(files)
            }
            Self::Files(files) => {
                let path = files.expanded();
                let path = std::path::absolute(&path).unwrap_or(path);
                Self::Files(Files { path, ..files })
            }
            synthetic @ Self::Synthetic { .. } => synthetic,
        }
    }

    /// Loads both splits. A limit keeps only the first images of a split.
    ///
    /// `seed` is the run's seed; only synthetic images depend on it.
    ///
    /// # Errors
    /// [`DataError::Argument`] for a limit of 0, [`DataError::File`] for files
    /// that are missing or damaged, or without training images.
    pub fn load(&self, limit_train: Option<usize>, limit_test: Option<usize>, seed: u64) -> Result<Splits, DataError> {
        let train_limit = check_limit("training", limit_train)?;
        let test_limit = check_limit("test", limit_test)?;
        match self {
            Self::Synthetic { train, test } => Ok(Splits {
                test: synthetic::generate(Split::Test, test_limit.min(*test), seed),
                train: synthetic::generate(Split::Train, train_limit.min(*train), seed),
                validation: None,
                normalization: synthetic::normalization(),
                measured: false,
            }),
            Self::Files(files) => {
                let (kind, path) = files.open()?;
                let test = kind.load(&path, Split::Test, test_limit, &files.preparation)?;
                let train = kind.load(&path, Split::Train, train_limit, &files.preparation)?;
                files.check_alike(&train, &test)?;
                let (normalization, measured) = normalization(kind, &train);
                Ok(Splits {
                    train,
                    validation: None,
                    test,
                    normalization,
                    measured,
                })
            }
        }
    }

    /// Loads the test split. The training files are read only if no mean and
    /// standard deviation are published for the data set: then they are measured
    /// on all training images, or on the test images if there are no others.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_test(&self, limit: Option<usize>, seed: u64) -> Result<TestSplit, DataError> {
        let limit = check_limit("test", limit)?;
        match self {
            Self::Synthetic { test, .. } => Ok(TestSplit {
                images: synthetic::generate(Split::Test, limit.min(*test), seed),
                normalization: synthetic::normalization(),
                measured: false,
            }),
            Self::Files(files) => {
                let (kind, path) = files.open()?;
                let images = kind.load(&path, Split::Test, limit, &files.preparation)?;
                let (normalization, measured) = match kind.normalization(shape(&images)) {
                    Some(published) => (published, false),
                    None => match kind.load(&path, Split::Train, usize::MAX, &files.preparation) {
                        Ok(train) => (Normalization::measured(&train), true),
                        Err(FileError::NoSplit { .. }) => (Normalization::measured(&images), true),
                        Err(error) => return Err(error.into()),
                    },
                };
                Ok(TestSplit {
                    images,
                    normalization,
                    measured,
                })
            }
        }
    }

    /// The first images of one split, of a data set that may have no others.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_split(&self, split: Split, limit: Option<usize>, seed: u64) -> Result<ImageSet, DataError> {
        match self {
            Self::Synthetic { train, test } => {
                let all = match split {
                    Split::Train => *train,
                    Split::Test => *test,
                };
                Ok(synthetic::generate(split, limit.unwrap_or(all).min(all), seed))
            }
            Self::Files(files) => {
                let (kind, path) = files.open()?;
                let limit = limit.unwrap_or(usize::MAX);
                Ok(kind.load(&path, split, limit, &files.preparation)?)
            }
        }
    }

    /// The mean and standard deviation that images of this data set are normalised
    /// by, and whether they are measured on `set`, as none are published.
    ///
    /// # Errors
    /// Where nothing is recognised.
    pub fn normalization_of(&self, set: &ImageSet) -> Result<(Normalization, bool), DataError> {
        match self {
            Self::Synthetic { .. } => Ok((synthetic::normalization(), false)),
            Self::Files(files) => Ok(normalization(files.open()?.0, set)),
        }
    }

    /// Which images have which corruption, of a set of `images` test images that was
    /// loaded from here; `None` where the data set is not CIFAR-10-C.
    ///
    /// # Errors
    /// Where nothing is recognised, or the files have gone.
    pub fn corruptions(&self, images: usize) -> Result<Option<Vec<Corrupted>>, DataError> {
        match self.corrupted()? {
            Some((path, _)) => Ok(Some(cifar_c::parts(&path, images)?)),
            None => Ok(None),
        }
    }

    /// The data sets that this one consists of, each with its number of test images
    /// where all together are limited to `limit`: of CIFAR-10-C one for each
    /// corruption, as all of it needs much memory; otherwise this one alone.
    ///
    /// # Errors
    /// As [`Self::corruptions`], and for a limit of 0.
    pub fn parts(&self, limit: Option<usize>) -> Result<Vec<(Self, Option<usize>)>, DataError> {
        let Some((path, preparation)) = self.corrupted()? else {
            return Ok(vec![(self.clone(), limit)]);
        };
        let parts = cifar_c::each(&path, check_limit("test", limit)?)?.into_iter();
        let own = |(path, share)| {
            let files = Files {
                kind: Some(Kind::Cifar10C),
                path,
                preparation,
            };
            (Self::Files(files), Some(share))
        };
        Ok(parts.filter(|(_, share)| *share > 0).map(own).collect())
    }

    /// Path and preparation of CIFAR-10-C; `None` for other data sets.
    fn corrupted(&self) -> Result<Option<(PathBuf, Preparation)>, DataError> {
        let Self::Files(files) = self else {
            return Ok(None);
        };
        let (kind, path) = files.open()?;
        Ok((kind == Kind::Cifar10C).then_some((path, files.preparation)))
    }

    /// A short name for titles and file names: the kind, else the last part of the
    /// path.
    pub fn short_name(&self) -> String {
        match self {
            Self::Synthetic { .. } => "synthetic".into(),
            Self::Files(Files { kind: Some(kind), .. }) => kind.to_string(),
            Self::Files(Files { path, .. }) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                name.to_string_lossy().into_owned()
            }
        }
    }

    /// The mean and standard deviation that are published for the data set;
    /// `None` if they are measured on its images, and if its files are not there.
    pub fn published_normalization(&self) -> Option<Normalization> {
        match self {
            Self::Synthetic { .. } => Some(synthetic::normalization()),
            Self::Files(files) => {
                let kind = files.kind.or_else(|| Kind::recognise(&files.expanded()).ok())?;
                let [channels, height, width] = kind.usual_shape()?;
                kind.normalization([files.preparation.channels.unwrap_or(channels), height, width])
            }
        }
    }
}

impl Files {
    /// What the files are, and where they are.
    ///
    /// # Errors
    /// Where nothing is recognised. A word that is no path is told as an unknown
    /// data set.
    pub fn open(&self) -> Result<(Kind, PathBuf), DataError> {
        let path = self.expanded();
        match self.kind {
            Some(kind) => Ok((kind, path)),
            None => match Kind::recognise(&path) {
                Err(FileError::Nothing { .. }) if is_word(&self.path) => Err(ArgumentError::UnknownSource {
                    given: self.path.display().to_string(),
                    choices: CHOICES,
                }
                .into()),
                kind => Ok((kind?, path)),
            },
        }
    }

    /// The path without a `~` in front.
    fn expanded(&self) -> PathBuf {
        match (self.path.strip_prefix("~"), std::env::home_dir()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => self.path.clone(),
        }
    }

    /// Checks that training and test images have one shape and the same classes.
    fn check_alike(&self, train: &ImageSet, test: &ImageSet) -> Result<(), FileError> {
        let path = &self.path;
        let words = |set: &ImageSet| format!("{}×{}×{}", set.channels, set.height, set.width);
        if shape(train) != shape(test) {
            let problem = format!(
                "training images have the shape {}, test images {}: scale them to one size",
                words(train),
                words(test)
            );
            return Err(FileError::content(path, problem));
        }
        if train.classes() != test.classes() {
            let problem = format!(
                "there are {} classes of training images, but {} of test images",
                train.classes(),
                test.classes()
            );
            return Err(FileError::content(path, problem));
        }
        Ok(())
    }
}

/// The published normalisation, else the measured one, and whether it is that.
fn normalization(kind: Kind, train: &ImageSet) -> (Normalization, bool) {
    match kind.normalization(shape(train)) {
        Some(published) => (published, false),
        None => (Normalization::measured(train), true),
    }
}

fn shape(set: &ImageSet) -> [usize; 3] {
    [set.channels, set.height, set.width]
}

/// Whether a path is a mere word, which names no folder.
fn is_word(path: &Path) -> bool {
    path.components().count() <= 1 && path.extension().is_none()
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
            Self::Files(Files {
                kind: Some(kind), path, ..
            }) => write!(f, "{kind}:{}", path.display()),
            Self::Files(Files { kind: None, path, .. }) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for Source {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        let files = |kind, path: PathBuf| {
            Self::Files(Files {
                kind,
                path,
                preparation: Preparation::default(),
            })
        };
        let (before, rest) = match text.split_once(':') {
            Some((before, rest)) => (before, Some(rest)),
            None => (text, None),
        };
        match (before, Kind::named(before), rest) {
            ("synthetic", _, None) => Ok(Self::default()),
            ("synthetic", _, Some(sizes)) => synthetic_of_size(sizes),
            (_, Some(kind), Some(path)) if !path.is_empty() => Ok(files(Some(kind), path.into())),
            (_, Some(kind), Some(_)) => Err(ArgumentError::NoFolder { kind: kind.name() }),
            // A folder here goes before one of that name elsewhere.
            (_, Some(kind), None) if Path::new(text).is_dir() => Ok(files(Some(kind), text.into())),
            (_, Some(kind), None) => Ok(files(Some(kind), kind.place()?)),
            // `./a:b` is a path, and so is `C:\\images`; `imagenet:x` names no kind.
            (_, None, Some(_)) if is_kind_like(before) => Err(unknown(text)),
            ("", ..) => Err(unknown(text)),
            _ => Ok(files(None, text.into())),
        }
    }
}

/// Whether the text in front of a colon looks like a kind, not like a path.
fn is_kind_like(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    text.len() > 1 && text.chars().all(letter)
}

fn unknown(text: &str) -> ArgumentError {
    ArgumentError::UnknownSource {
        given: text.to_owned(),
        choices: CHOICES,
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
        for word in [
            "synthetic",
            "synthetic:20,10",
            "cifar10:a:b",
            "cifar100:/x y",
            "./a:b",
            "C:\\x",
            "~/x",
        ] {
            assert_eq!(word.parse::<Source>().unwrap().to_string(), word);
        }
        assert_eq!("synthetic:4096".parse(), Ok(Source::default()));
    }

    #[test]
    fn wrong_words_say_what_exists() {
        for (word, part) in [
            ("imagenet:x", CHOICES),
            ("", CHOICES),
            (":x", CHOICES),
            ("cifar10:", "cifar10:DIR"),
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
    fn a_word_that_is_no_path_is_an_argument_error() {
        let error = |word: &str| word.parse::<Source>().unwrap().load(None, None, 0).unwrap_err();
        assert!(matches!(
            error("imagenet"),
            DataError::Argument(ArgumentError::UnknownSource { .. })
        ));
        assert!(matches!(error("no/such"), DataError::File(FileError::Nothing { .. })));
        assert!(matches!(
            error("cifar10:no/such"),
            DataError::File(FileError::NoFolder { .. })
        ));
    }

    #[test]
    fn a_folder_that_is_no_data_set_says_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().to_str().unwrap();
        let error = || {
            text.parse::<Source>()
                .unwrap()
                .load_test(None, 0)
                .unwrap_err()
                .to_string()
        };
        assert!(
            error().contains("looked for CIFAR-10") && error().ends_with("found nothing"),
            "{}",
            error()
        );
        for name in 0..9 {
            std::fs::write(folder.path().join(format!("{name}\n.txt")), b"").unwrap();
        }
        assert!(
            error().ends_with("and 1 more") && !error().contains('\n'),
            "{}",
            error()
        );
        for name in ["stl10_binary", "cifar-10-batches-py"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert!(error().contains("cifar10, stl10"), "{}", error());
    }

    #[test]
    fn short_names_and_preparation() {
        let source = |word: &str| word.parse::<Source>().unwrap();
        assert_eq!(source("/a/b/photos").short_name(), "photos");
        assert_eq!(source("svhn:/a/b").short_name(), "svhn");
        let small = Preparation {
            crop: Some(8),
            ..Preparation::default()
        };
        let prepared = source("svhn:x").with_preparation(small).unwrap();
        assert_eq!((prepared.preparation(), prepared.to_string()), (small, "svhn:x".into()));
        assert_eq!(
            source("synthetic").with_preparation(small),
            Err(ArgumentError::PreparedSynthetic)
        );
        assert!(matches!(source("a/b").absolute(), Source::Files(files) if files.path.is_absolute()));
        // A word alone may be a misspelt kind, which is reported as it was written.
        assert_eq!(source("svnh").absolute(), source("svnh"));
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
