//! Which data set is in a folder or file?

use std::fmt;
use std::path::{Path, PathBuf};

use super::cifar::{CIFAR10, CIFAR100};
use super::error::{open, unreadable};
use super::picture::{Picture, Preparation};
use super::store::names_in;
use super::{ArgumentError, FileError, ImageSet, Normalization, Split};
use super::{arrays, cifar_c, idx, places, stl10, store, svhn};
use crate::formats::{mat, npy, zip};

/// A data set, or a form in which data sets are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// CIFAR-10, in its binary version or the one for Python.
    Cifar10,
    /// CIFAR-100, in its binary version or the one for Python, with its 100 fine
    /// labels.
    Cifar100,
    /// SVHN, 32×32: `train_32x32.mat`, `test_32x32.mat`.
    Svhn,
    /// SVHN, with `extra_32x32.mat` as further training images.
    SvhnExtra,
    /// MNIST, or another data set in its form.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
    /// STL-10 in its binary form.
    Stl10,
    /// Tiny-ImageNet.
    TinyImagenet,
    /// A folder of PNG and JPEG files for each class.
    ImageFolder,
    /// Hugging Face's parquet files.
    HuggingFace,
    /// CIFAR-10-C: test images of CIFAR-10 with corruptions.
    Cifar10C,
    /// CIFAR-10.1: further test images for CIFAR-10.
    Cifar10_1,
    /// Arrays of NumPy.
    Arrays,
}

/// Every kind with its names; the first is the usual one.
const NAMES: [(Kind, &[&str]); 13] = [
    (Kind::Cifar10, &["cifar10"]),
    (Kind::Cifar100, &["cifar100"]),
    (Kind::Svhn, &["svhn"]),
    (Kind::SvhnExtra, &["svhn-extra"]),
    (Kind::Mnist, &["mnist"]),
    (Kind::FashionMnist, &["fashion-mnist"]),
    (Kind::Stl10, &["stl10"]),
    (Kind::TinyImagenet, &["tiny-imagenet"]),
    (Kind::ImageFolder, &["imagefolder", "folder"]),
    (Kind::HuggingFace, &["hf", "parquet"]),
    (Kind::Cifar10C, &["cifar10-c"]),
    (Kind::Cifar10_1, &["cifar10.1"]),
    (Kind::Arrays, &["npz", "npy"]),
];

/// The longest list of names in a message.
const MOST_SHOWN: usize = 8;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(_, names)| names.contains(&name));
        found.map(|(kind, _)| *kind)
    }

    /// The name in front of the colon.
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(kind, _)| *kind == self);
        found.map_or("", |(_, names)| names[0])
    }

    /// The kind of what lies at `path`.
    ///
    /// # Errors
    /// [`FileError::Unrecognised`] if it is no known one,
    /// [`FileError::SeveralKinds`] if there is more than one, and where the folder
    /// cannot be read.
    pub fn recognise(path: &Path) -> Result<Self, FileError> {
        if path.is_dir() {
            return Self::of_folder(path);
        }
        if path.exists() {
            return Self::of_file(path);
        }
        // `DIR/fog@3`, `DIR/fog`: a corruption of CIFAR-10-C.
        let text = path.to_string_lossy();
        let stem = PathBuf::from(text.rsplit_once('@').map_or(&*text, |(stem, _)| stem));
        let folder = if stem.is_dir() { Some(&*stem) } else { stem.parent() };
        match folder.map(names_in) {
            Some(Ok(names)) if cifar_c::is_in(&names) => Ok(Self::Cifar10C),
            _ => Err(FileError::Nothing {
                path: path.to_path_buf(),
            }),
        }
    }

    fn of_folder(path: &Path) -> Result<Self, FileError> {
        let names = names_in(path)?;
        let has = |known: fn(&str) -> bool| names.iter().any(|name| known(name));
        let digits = idx::images_path(path).map(|inside| idx_kind(&inside));
        let found = [
            CIFAR10.is_in(path, &names).then_some(Self::Cifar10),
            CIFAR100.is_in(path, &names).then_some(Self::Cifar100),
            has(svhn::is_name).then_some(Self::Svhn),
            digits,
            has(stl10::is_name).then_some(Self::Stl10),
            cifar_c::is_in(&names).then_some(Self::Cifar10C),
            names.iter().any(|name| name == "CIFAR-10-C").then_some(Self::Cifar10C),
            has(cifar_c::is_name_of_10_1).then_some(Self::Cifar10_1),
            has(arrays::is_name).then_some(Self::Arrays),
        ];
        let mut found: Vec<Self> = found.into_iter().flatten().collect();
        found.extend(images_in(path, &names));
        found.dedup();
        match found[..] {
            [kind] => Ok(kind),
            [] => Err(FileError::Unrecognised {
                path: path.to_path_buf(),
                found: shown(&names),
            }),
            _ => Err(FileError::SeveralKinds {
                path: path.to_path_buf(),
                kinds: found.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    fn of_file(path: &Path) -> Result<Self, FileError> {
        use std::io::Read;
        let (file, _) = open(path)?;
        let mut start = Vec::new();
        file.take(128).read_to_end(&mut start).map_err(unreadable(path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if store::is_gzip(&start) && !idx::is_name(&name) {
            for (format, kind) in [(&CIFAR10, Self::Cifar10), (&CIFAR100, Self::Cifar100)] {
                if store::archive_has(path, |name| format.has_file(name))? {
                    return Ok(kind);
                }
            }
        }
        let kind = if mat::recognises(&start) {
            Some(Self::Svhn)
        } else if npy::recognises(&start) {
            Some(if cifar_c::is_name_of_10_1(&name) {
                Self::Cifar10_1
            } else {
                Self::Cifar10C
            })
        } else if zip::recognises(&start) {
            Some(Self::Arrays)
        } else if start.starts_with(b"PAR1") {
            Some(Self::HuggingFace)
        } else if idx::is_name(&name) {
            Some(idx_kind(path))
        } else {
            None
        };
        kind.ok_or_else(|| FileError::UnknownFile {
            path: path.to_path_buf(),
        })
    }

    /// The first `limit` images of a split.
    pub(super) fn load(
        self,
        path: &Path,
        split: Split,
        limit: usize,
        preparation: &Preparation,
    ) -> Result<ImageSet, FileError> {
        let as_stored = |set: ImageSet| prepared(set, path, preparation);
        let found = match self {
            Self::Cifar10 => Some(as_stored(CIFAR10.load(path, split, limit)?)?),
            Self::Cifar100 => Some(as_stored(CIFAR100.load(path, split, limit)?)?),
            Self::Svhn => svhn::load(path, split, false, limit)?.map(as_stored).transpose()?,
            Self::SvhnExtra => svhn::load(path, split, true, limit)?.map(as_stored).transpose()?,
            Self::Mnist => Some(as_stored(idx::load(path, split, "MNIST", None, limit)?)?),
            Self::FashionMnist => {
                let set = idx::load(path, split, "Fashion-MNIST", Some(&idx::FASHION), limit)?;
                Some(as_stored(set)?)
            }
            Self::Stl10 => Some(as_stored(stl10::load(path, split, limit)?)?),
            Self::Cifar10C if split == Split::Test => Some(as_stored(cifar_c::load(path, limit)?)?),
            Self::Cifar10_1 if split == Split::Test => Some(as_stored(cifar_c::load_10_1(path, limit)?)?),
            Self::Cifar10C | Self::Cifar10_1 => None,
            Self::Arrays => arrays::load(path, split, limit)?.map(as_stored).transpose()?,
            Self::TinyImagenet | Self::ImageFolder | Self::HuggingFace => {
                self.load_encoded(path, split, limit, preparation)?
            }
        };
        match found {
            Some(set) if !set.is_empty() => Ok(set),
            _ => Err(FileError::NoSplit {
                path: path.to_path_buf(),
                split: match split {
                    Split::Train => "training",
                    Split::Test => "test",
                },
                expected: self.expects(split),
            }),
        }
    }

    #[cfg(feature = "images")]
    fn load_encoded(
        self,
        path: &Path,
        split: Split,
        limit: usize,
        preparation: &Preparation,
    ) -> Result<Option<ImageSet>, FileError> {
        match self {
            Self::TinyImagenet => super::image_folder::load_tiny(path, split, limit, preparation).map(Some),
            #[cfg(feature = "parquet")]
            Self::HuggingFace => super::parquet::load(path, split, limit, preparation),
            #[cfg(not(feature = "parquet"))]
            Self::HuggingFace => Err(FileError::content(
                path,
                "this program was built without the feature parquet",
            )),
            _ => super::image_folder::load(path, split, limit, preparation),
        }
    }

    #[cfg(not(feature = "images"))]
    fn load_encoded(
        self,
        path: &Path,
        _split: Split,
        _limit: usize,
        _preparation: &Preparation,
    ) -> Result<Option<ImageSet>, FileError> {
        Err(FileError::content(
            path,
            "this program was built without the feature images",
        ))
    }

    /// What a split is stored in.
    fn expects(self, split: Split) -> &'static str {
        match (self, split) {
            (Self::Cifar10C | Self::Cifar10_1, Split::Train) => "it is a set of test images only; train on cifar10",
            (Self::ImageFolder, Split::Train) => "train/CLASS/*.png or *.jpg is needed",
            (Self::ImageFolder, Split::Test) => "val/CLASS/ or test/CLASS/ with *.png or *.jpg is needed",
            (Self::HuggingFace, Split::Train) => "train-*.parquet is needed",
            (Self::HuggingFace, Split::Test) => "test-*.parquet or validation-*.parquet is needed",
            (Self::Svhn | Self::SvhnExtra, Split::Train) => "train_32x32.mat is needed",
            (Self::Svhn | Self::SvhnExtra, Split::Test) => "test_32x32.mat is needed",
            (Self::Arrays, Split::Train) => "the arrays x_train and y_train are needed",
            (Self::Arrays, Split::Test) => "the arrays x_test and y_test are needed",
            _ => "its files hold no image",
        }
    }

    /// The mean and standard deviation that are published for the data set, for
    /// images of this shape (C, H, W); `None` if they are to be measured.
    pub(super) fn normalization(self, [channels, height, width]: [usize; 3]) -> Option<Normalization> {
        let name = match self {
            Self::Cifar10 | Self::Cifar10C | Self::Cifar10_1 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Svhn | Self::SvhnExtra => "svhn",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Stl10 => "stl10",
            Self::TinyImagenet => "tiny-imagenet",
            Self::ImageFolder | Self::HuggingFace if (height, width) == (224, 224) => "imagenet",
            Self::ImageFolder | Self::HuggingFace | Self::Arrays => return None,
        };
        Normalization::named(name, channels)
    }

    /// The usual shape of an image (C, H, W), without preparation; `None` if the
    /// kind has none.
    pub(super) fn usual_shape(self) -> Option<[usize; 3]> {
        Some(match self {
            Self::Cifar10 | Self::Cifar10C | Self::Cifar10_1 | Self::Cifar100 => [3, 32, 32],
            Self::Svhn | Self::SvhnExtra => [3, 32, 32],
            Self::Mnist | Self::FashionMnist => [1, 28, 28],
            Self::Stl10 => [3, 96, 96],
            Self::TinyImagenet => [3, 64, 64],
            Self::ImageFolder | Self::HuggingFace | Self::Arrays => return None,
        })
    }

    /// The names of folders that hold such a data set, in the folders for data.
    pub(super) fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Cifar10 => &["cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"],
            Self::Cifar100 => &["cifar100", "cifar-100-binary", "cifar-100-python"],
            Self::Svhn => &["svhn", "svhn-extra"],
            Self::SvhnExtra => &["svhn-extra"],
            Self::Mnist => &["mnist", "MNIST/raw"],
            Self::FashionMnist => &["fashion-mnist", "FashionMNIST/raw"],
            Self::Stl10 => &["stl10", "stl10_binary"],
            Self::TinyImagenet => &["tiny-imagenet", "tiny-imagenet-200"],
            Self::Cifar10C => &["cifar10-c", "CIFAR-10-C"],
            Self::Cifar10_1 => &["cifar10.1"],
            // Files of anything: they have no usual name.
            Self::ImageFolder | Self::HuggingFace | Self::Arrays => &[],
        }
    }

    /// Where such a data set lies, if no path was given.
    ///
    /// # Errors
    /// Where it is in none of the folders for data.
    pub(super) fn place(self) -> Result<PathBuf, ArgumentError> {
        if self.folders().is_empty() {
            return Err(ArgumentError::NoFolder { kind: self.name() });
        }
        places::find(self).ok_or_else(|| ArgumentError::NotFound {
            kind: self.name(),
            places: places::in_words(),
        })
    }
}

/// Kinds whose files are found in folders.
#[cfg(feature = "images")]
fn images_in(path: &Path, names: &[String]) -> Option<Kind> {
    use super::image_folder::{self, TINY, WNIDS};
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has(TINY) || has(WNIDS) && has("train") {
        return Some(Kind::TinyImagenet);
    }
    #[cfg(feature = "parquet")]
    if super::parquet::is_in(path) {
        return Some(Kind::HuggingFace);
    }
    image_folder::is_in(path).then_some(Kind::ImageFolder)
}

#[cfg(not(feature = "images"))]
fn images_in(_path: &Path, _names: &[String]) -> Option<Kind> {
    None
}

/// MNIST and Fashion-MNIST differ only in where they lie.
fn idx_kind(path: &Path) -> Kind {
    match path.to_string_lossy().to_lowercase().contains("fashion") {
        true => Kind::FashionMnist,
        false => Kind::Mnist,
    }
}

/// Some of the names in a folder, for a message.
fn shown(names: &[String]) -> String {
    let first: Vec<String> = names
        .iter()
        .take(MOST_SHOWN)
        .map(|name| crate::shown::shown(name))
        .collect();
    match names.len() {
        0 => "nothing".into(),
        all if all <= MOST_SHOWN => first.join(", "),
        all => format!("{} and {} more", first.join(", "), all - MOST_SHOWN),
    }
}

/// The set with every image prepared.
fn prepared(set: ImageSet, path: &Path, preparation: &Preparation) -> Result<ImageSet, FileError> {
    use rayon::prelude::*;
    if preparation.is_none() || set.is_empty() {
        return Ok(set);
    }
    let shape = [set.channels, set.height, set.width];
    let prepare = |index: usize| {
        let picture = Picture {
            shape,
            bytes: set.image(index).into(),
        };
        picture.prepared(preparation)
    };
    let wrong = |problem: String| FileError::content(path, format!("an image {problem}"));
    let [channels, height, width] = prepare(0).map_err(wrong)?.shape;
    let size = channels * height * width;
    let mut images = vec![0; set.len() * size];
    let each = images.par_chunks_exact_mut(size).enumerate();
    each.try_for_each(|(index, to)| {
        to.copy_from_slice(&prepare(index)?.bytes);
        Ok(())
    })
    .map_err(wrong)?;
    Ok(ImageSet {
        channels,
        height,
        width,
        images,
        ..set
    })
}
