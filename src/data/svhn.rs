//! How is SVHN read, 32×32 (Netzer et al. 2011)?
//!
//! `train_32x32.mat`, `test_32x32.mat` and `extra_32x32.mat` hold X, the images,
//! (H, W, C, N) with the first index the fastest, and y, the labels, where 10
//! stands for the digit 0.

use std::path::{Path, PathBuf};

use super::error::read;
use super::{FileError, ImageSet, Split, digits};
use crate::formats::mat::{self, Array, Values};

/// `extra`, the largest file, unpacks to 1.6 GB.
const LIMIT: u64 = 1 << 32;

const REMEDY: &str = "download train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers/";

/// The files of a split. `extra` are further training images. A file that is
/// given itself belongs to the split that its name shows, else to the test images.
fn files(path: &Path, split: Split, extra: bool) -> Vec<PathBuf> {
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let train = name.contains("train") || name.contains("extra");
        let own = if train { Split::Train } else { Split::Test };
        return (own == split).then(|| path.to_path_buf()).into_iter().collect();
    }
    let names: &[&str] = match split {
        Split::Test => &["test_32x32.mat"],
        Split::Train if extra => &["train_32x32.mat", "extra_32x32.mat"],
        Split::Train => &["train_32x32.mat"],
    };
    names.iter().map(|name| path.join(name)).collect()
}

/// Whether a file name is one of this data set's.
pub(super) fn is_name(name: &str) -> bool {
    ["train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"].contains(&name)
}

/// The first `limit` images of a split; `None` for a file of the other split.
pub(super) fn load(path: &Path, split: Split, extra: bool, limit: usize) -> Result<Option<ImageSet>, FileError> {
    let mut set: Option<ImageSet> = None;
    for file in files(path, split, extra) {
        let so_far = set.as_ref().map_or(0, ImageSet::len);
        if so_far >= limit {
            break;
        }
        if !file.exists() {
            return Err(FileError::NoFile {
                path: file,
                remedy: REMEDY,
            });
        }
        let bytes = read(&file, LIMIT)?;
        let part = images(&bytes, limit - so_far).map_err(|problem| FileError::content(&file, problem))?;
        match &mut set {
            None => set = Some(part),
            Some(set) if [set.height, set.width] == [part.height, part.width] => {
                set.images.extend(part.images);
                set.labels.extend(part.labels);
            }
            Some(_) => {
                return Err(FileError::content(
                    &file,
                    "its images have another size than those of train_32x32.mat",
                ));
            }
        }
    }
    let word = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    Ok(set.map(|set| ImageSet {
        name: format!("SVHN {word}"),
        ..set
    }))
}

/// The first `limit` images of a file with these bytes.
fn images(file: &[u8], limit: usize) -> Result<ImageSet, String> {
    let mut arrays = mat::arrays(file, &["X", "y"], LIMIT)?;
    let mut take = |name: &str| -> Result<Array, String> {
        let at = arrays.iter().position(|array| array.name == name);
        Ok(arrays.swap_remove(at.ok_or_else(|| format!("it holds no array {name}"))?))
    };
    let (x, y) = (take("X")?, take("y")?);
    // MATLAB leaves out trailing sizes of 1, also the number of images.
    let (height, width, channels, count) = match x.shape[..] {
        [height, width, channels, count] => (height, width, channels, count),
        [height, width, channels] => (height, width, channels, 1),
        _ => return Err(format!("X has the shape {:?} instead of H, W, C, N", x.shape)),
    };
    let Values::Bytes(pixels) = &x.values else {
        return Err("X is no array of bytes (uint8)".into());
    };
    if height == 0 || width == 0 || channels == 0 {
        return Err(format!("X has the shape {:?}, in which a size is 0", x.shape));
    }
    if y.values.len() != count {
        return Err(format!("it has {count} images and {} labels", y.values.len()));
    }
    let kept = count.min(limit);
    let mut set = ImageSet {
        name: String::new(),
        channels,
        height,
        width,
        class_names: digits(10),
        images: vec![0; kept * channels * height * width],
        labels: Vec::with_capacity(kept),
    };
    let plane = height * width;
    for (to, from) in set.images.chunks_exact_mut(plane).zip(pixels.chunks_exact(plane)) {
        // A plane is stored column by column.
        for (row, to) in to.chunks_exact_mut(width).enumerate() {
            for (column, to) in to.iter_mut().enumerate() {
                *to = from[column * height + row];
            }
        }
    }
    for index in 0..kept {
        let label = y.values.get(index).unwrap_or(f64::NAN);
        set.labels.push(match label {
            10.0 => 0,
            label if (0.0..10.0).contains(&label) && label.fract() == 0.0 => label as u32,
            _ => {
                return Err(format!(
                    "image {} has the label {label}, but labels go from 1 to 10",
                    index + 1
                ));
            }
        });
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::mat::tests::{file, variable};

    #[test]
    fn columns_become_rows_and_ten_becomes_zero() {
        let x = variable("X", &[2, 3, 1, 2], &[1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12]);
        let set = images(&file(&[x, variable("y", &[2, 1], &[10, 3])]), 9).unwrap();
        assert_eq!(set.images, (1..=12).collect::<Vec<u8>>());
        assert_eq!((set.height, set.width, set.channels), (2, 3, 1));
        assert_eq!(set.labels, [0, 3]);
    }

    #[test]
    fn a_single_image_has_no_fourth_axis() {
        let x = variable("X", &[1, 1, 3], &[1, 2, 3]);
        let set = images(&file(&[x, variable("y", &[1, 1], &[1])]), 9).unwrap();
        assert_eq!((set.len(), set.image(0)), (1, &[1, 2, 3][..]));
    }

    #[test]
    fn wrong_contents_are_named() {
        let problem = |x: &[u8], y: &[u8]| {
            let x = variable("X", &[1, 1, 1, x.len() as i32], x);
            images(&file(&[x, variable("y", &[y.len() as i32, 1], y)]), 9).unwrap_err()
        };
        assert!(problem(&[1, 2], &[1]).contains("2 images and 1 labels"));
        assert!(problem(&[1], &[11]).contains("label 11"));
        assert!(images(&file(&[]), 9).unwrap_err().contains("no array X"));
    }

    #[test]
    fn more_training_images_come_from_extra() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, label: u8| {
            let x = variable("X", &[1, 1, 1, 2], &[label, label]);
            let bytes = file(&[x, variable("y", &[2, 1], &[label, label])]);
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        write("train_32x32.mat", 1);
        write("extra_32x32.mat", 2);
        let labels = |extra, limit| load(folder.path(), Split::Train, extra, limit).unwrap().unwrap().labels;
        assert_eq!(labels(false, 9), [1, 1]);
        assert_eq!(labels(true, 3), [1, 1, 2]);
        let missing = load(folder.path(), Split::Test, false, 1).unwrap_err().to_string();
        assert!(
            missing.contains("test_32x32.mat") && missing.contains("ufldl"),
            "{missing}"
        );
        let file = folder.path().join("train_32x32.mat");
        assert!(load(&file, Split::Test, false, 1).unwrap().is_none());
        assert_eq!(load(&file, Split::Train, false, 1).unwrap().unwrap().len(), 1);
    }
}
