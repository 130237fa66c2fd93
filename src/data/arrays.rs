//! How are images read that lie in NumPy's arrays?
//!
//! `x_train`, `y_train`, `x_test` and `y_test`, either in one `.npz` or as four
//! `.npy` files in a folder. Images are bytes, (N, H, W, C), (N, C, H, W) or
//! (N, H, W).

use std::path::{Path, PathBuf};

use super::error::{in_file, open, read};
use super::{FileError, ImageSet, Split, digits};
use crate::formats::npy;
use crate::formats::source::{Budget, Source};
use crate::formats::zip::Archive;

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 34;

/// Names of the images and labels of a split; the first two are Keras'.
fn names(split: Split) -> [[&'static str; 2]; 5] {
    match split {
        Split::Train => [
            ["x_train", "y_train"],
            ["X_train", "y_train"],
            ["train_images", "train_labels"],
            ["train_x", "train_y"],
            ["X_train", "Y_train"],
        ],
        Split::Test => [
            ["x_test", "y_test"],
            ["X_test", "y_test"],
            ["test_images", "test_labels"],
            ["test_x", "test_y"],
            ["X_test", "Y_test"],
        ],
    }
}

/// Whether a file name is one of the arrays' in a folder.
pub(super) fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(".npy");
    let known = |split| {
        names(split)
            .iter()
            .any(|pair| stem.is_some_and(|stem| pair.contains(&stem)))
    };
    known(Split::Train) || known(Split::Test)
}

/// The first `limit` images of a split of a folder or an `.npz`; `None` if it has
/// none. The classes are the numbers up to the largest label of both splits.
pub(super) fn load(path: &Path, split: Split, limit: usize) -> Result<Option<ImageSet>, FileError> {
    let files = Files::open(path)?;
    let Some([images, labels]) = files.pair(split)? else {
        return Ok(None);
    };
    let other = match split {
        Split::Train => Split::Test,
        Split::Test => Split::Train,
    };
    let mut classes = 0;
    if let Some([_, labels]) = files.pair(other)? {
        classes = most(&labels.labels()?);
    }
    let mut set = images.images(limit)?;
    set.name = match split {
        Split::Train => "arrays train".into(),
        Split::Test => "arrays test".into(),
    };
    attach(&mut set, &labels, classes, images.count()?)?;
    Ok(Some(set))
}

/// The first `limit` images of a file with the labels of another one.
pub(super) fn load_pair(images: &Path, labels: &Path, limit: usize) -> Result<ImageSet, FileError> {
    let [images, labels] = [File::read(images)?, File::read(labels)?];
    let mut set = images.images(limit)?;
    attach(&mut set, &labels, 0, images.count()?)?;
    Ok(set)
}

/// Gives the images their labels, and at least `classes` classes.
fn attach(set: &mut ImageSet, labels: &File, classes: usize, count: usize) -> Result<(), FileError> {
    let mut all = labels.labels()?;
    if all.len() != count {
        let problem = format!("it has {} labels, but there are {count} images", all.len());
        return Err(FileError::content(&labels.path, problem));
    }
    set.class_names = digits(most(&all).max(classes));
    all.truncate(set.images.len() / set.image_size());
    set.labels = all;
    Ok(())
}

/// One more than the largest label.
fn most(labels: &[u32]) -> usize {
    labels.iter().max().map_or(0, |&label| label as usize + 1)
}

/// The arrays that lie together.
enum Files {
    Folder(PathBuf),
    Archive {
        path: PathBuf,
        file: std::fs::File,
        size: u64,
    },
}

impl Files {
    fn open(path: &Path) -> Result<Self, FileError> {
        let path = path.to_path_buf();
        if path.is_dir() {
            return Ok(Self::Folder(path));
        }
        let (file, size) = open(&path)?;
        Ok(Self::Archive { path, file, size })
    }

    /// Images and labels of a split.
    fn pair(&self, split: Split) -> Result<Option<[File; 2]>, FileError> {
        for pair in names(split) {
            if let [Some(images), Some(labels)] = [self.file(pair[0])?, self.file(pair[1])?] {
                return Ok(Some([images, labels]));
            }
        }
        Ok(None)
    }

    fn file(&self, name: &str) -> Result<Option<File>, FileError> {
        let name = format!("{name}.npy");
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                path.is_file().then(|| File::read(&path)).transpose()
            }
            Self::Archive { path, file, size } => {
                let budget = Budget::of(LIMIT);
                let unpack = || {
                    let archive = Archive::open(Source::of_file(file, *size), &budget)?;
                    let Some(content) = archive.read(&name, &budget)? else {
                        return Ok(None);
                    };
                    let source = content.source();
                    Ok(Some(source.read(0, source.size() as usize)?.into_owned()))
                };
                let bytes = unpack().map_err(in_file(path))?;
                let path = path.join(name);
                Ok(bytes.map(|bytes| File { path, bytes }))
            }
        }
    }
}

/// The bytes of a `.npy` file.
struct File {
    /// Where it lies, for messages.
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    fn read(path: &Path) -> Result<Self, FileError> {
        Ok(Self {
            path: path.to_path_buf(),
            bytes: read(path, LIMIT)?,
        })
    }

    fn array(&self) -> Result<npy::Array<'_>, FileError> {
        npy::parse(&self.bytes).map_err(|problem| FileError::content(&self.path, problem))
    }

    /// The number of images in the file.
    fn count(&self) -> Result<usize, FileError> {
        Ok(self.array()?.shape.first().copied().unwrap_or(0))
    }

    /// The first `limit` images, without labels.
    fn images(&self, limit: usize) -> Result<ImageSet, FileError> {
        let array = self.array()?;
        let wrong = |problem: String| FileError::content(&self.path, problem);
        let shape = &array.shape[..];
        let (channels, height, width, last) = match *shape {
            [_, h, w, c @ (1 | 3)] => (c, h, w, true),
            [_, c @ (1 | 3), h, w] => (c, h, w, false),
            [_, h, w] => (1, h, w, false),
            _ => {
                let forms = "(N, H, W, C), (N, C, H, W) with 1 or 3 channels, or (N, H, W)";
                return Err(wrong(format!(
                    "its shape {shape:?} is no shape of images, which are {forms}"
                )));
            }
        };
        if height == 0 || width == 0 {
            return Err(wrong(format!("its shape {shape:?} has images without pixels")));
        }
        let Some(mut pixels) = array.to_bytes() else {
            let descr = array.descr;
            return Err(wrong(format!(
                "its values have the type {descr}, but images are bytes (uint8)"
            )));
        };
        let size = channels * height * width;
        pixels.truncate(size.saturating_mul(limit));
        let images = match last && channels > 1 {
            false => pixels,
            true => {
                let mut images = vec![0; pixels.len()];
                for (to, from) in images.chunks_exact_mut(size).zip(pixels.chunks_exact(size)) {
                    planes(to, from, channels);
                }
                images
            }
        };
        Ok(ImageSet {
            name: String::new(),
            channels,
            height,
            width,
            class_names: Vec::new(),
            images,
            labels: Vec::new(),
        })
    }

    fn labels(&self) -> Result<Vec<u32>, FileError> {
        /// A larger label is taken for a mistake: no data set has so many classes.
        const MOST: i64 = 100_000;
        let array = self.array()?;
        let wrong = |problem: String| FileError::content(&self.path, problem);
        // (N) or (N, 1).
        if array.shape.len() > 2 || array.shape.get(1).is_some_and(|&size| size != 1) {
            let shape = &array.shape;
            return Err(wrong(format!(
                "its shape {shape:?} is no list of labels, which is (N) or (N, 1)"
            )));
        }
        let Some(labels) = array.to_integers() else {
            let descr = array.descr;
            return Err(wrong(format!(
                "its values have the type {descr}, but labels are integers"
            )));
        };
        let label = |(index, &label): (usize, &i64)| match (0..MOST).contains(&label) {
            true => Ok(label as u32),
            false => Err(wrong(format!(
                "label {label} of image {index} is not between 0 and {}",
                MOST - 1
            ))),
        };
        labels.iter().enumerate().map(label).collect()
    }
}

/// Pixel by pixel to plane by plane: (H, W, C) becomes (C, H, W).
pub(super) fn planes(to: &mut [u8], from: &[u8], channels: usize) {
    let plane = to.len() / channels;
    for (channel, to) in to.chunks_exact_mut(plane).enumerate() {
        let from = from[channel..].iter().step_by(channels);
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;

    /// A `.npy` file in the order of C.
    pub(in crate::data) fn npy(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
        let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), data].concat()
    }

    fn folder_of(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn layouts_are_recognised_by_the_number_of_channels() {
        let load = |shape: &[usize]| {
            let pixels: Vec<u8> = (1..=12).collect();
            let folder = folder_of(&[
                ("x_test.npy", npy("|u1", shape, &pixels)),
                ("y_test.npy", npy("<i8", &[1], &[1, 0, 0, 0, 0, 0, 0, 0])),
            ]);
            let set = super::load(folder.path(), Split::Test, 9).unwrap().unwrap();
            ((set.channels, set.height, set.width), set.images)
        };
        let straight: Vec<u8> = (1..=12).collect();
        assert_eq!(load(&[1, 3, 2, 2]), ((3, 2, 2), straight.clone()));
        assert_eq!(load(&[1, 3, 4]), ((1, 3, 4), straight));
        let (shape, images) = load(&[1, 2, 2, 3]);
        assert_eq!(shape, (3, 2, 2));
        assert_eq!(images, [1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12]);
    }

    #[test]
    fn the_number_of_classes_comes_from_both_splits() {
        let folder = folder_of(&[
            ("x_train.npy", npy("|u1", &[1, 1, 1], &[0])),
            ("y_train.npy", npy("|u1", &[1, 1], &[6])),
            ("x_test.npy", npy("|u1", &[2, 1, 1], &[0, 1])),
            ("y_test.npy", npy("|u1", &[2], &[2, 1])),
        ]);
        let test = load(folder.path(), Split::Test, 1).unwrap().unwrap();
        assert_eq!((test.classes(), test.labels.as_slice()), (7, &[2][..]));
    }

    #[test]
    fn what_is_no_image_or_label_is_refused() {
        let problem = |images: Vec<u8>, labels: Vec<u8>| {
            let folder = folder_of(&[("x_test.npy", images), ("y_test.npy", labels)]);
            load(folder.path(), Split::Test, 9).unwrap_err().to_string()
        };
        let labels = npy("|u1", &[1], &[0]);
        let images = npy("|u1", &[1, 1, 1], &[0]);
        assert!(problem(npy("<f4", &[1, 1, 1], &[0; 4]), labels.clone()).contains("bytes (uint8)"));
        assert!(problem(npy("|u1", &[1, 5], &[0; 5]), labels.clone()).contains("[1, 5] is no shape"));
        assert!(problem(npy("|u1", &[2, 1, 1], &[0; 2]), labels).contains("1 labels, but there are 2"));
        assert!(problem(images.clone(), npy("<f4", &[1], &[0; 4])).contains("labels are integers"));
        assert!(problem(images.clone(), npy("|i1", &[1], &[255])).contains("label -1"));
        assert!(problem(images, npy("|u1", &[1, 2], &[0; 2])).contains("no list of labels"));
    }
}
