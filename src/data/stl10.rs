//! How is STL-10 read in its binary form (Coates et al. 2011)?
//!
//! `train_X.bin` and `test_X.bin` hold 3 planes of 96×96 bytes for each image,
//! each plane column by column; `train_y.bin` and `test_y.bin` a byte for each
//! label, from 1.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{open, read, unreadable};
use super::{FileError, ImageSet, Split};

const CHANNELS: usize = 3;
const SIZE: usize = 96;
const IMAGE: usize = CHANNELS * SIZE * SIZE;

/// The folder in the official archive.
pub(super) const FOLDER: &str = "stl10_binary";

#[rustfmt::skip]
const CLASSES: [&str; 10] = [
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
];

const REMEDY: &str = "unpack stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10/";

/// Whether a file name is one of this data set's.
pub(super) fn is_name(name: &str) -> bool {
    name == FOLDER || name == "train_X.bin" || name == "test_X.bin"
}

/// The first `limit` images of a split. The unlabelled ones are not used.
pub(super) fn load(path: &Path, split: Split, limit: usize) -> Result<ImageSet, FileError> {
    let word = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    let file = |kind: &str| -> Result<PathBuf, FileError> {
        let name = format!("{word}_{kind}.bin");
        let places = [path.join(FOLDER).join(&name), path.join(&name)];
        let missing = || FileError::NoFile {
            path: path.join(&name),
            remedy: REMEDY,
        };
        places.into_iter().find(|file| file.exists()).ok_or_else(missing)
    };
    let (image_file, label_file) = (file("X")?, file("y")?);
    let (mut images, bytes) = open(&image_file)?;
    let labels = read(&label_file, 1 << 20)?;
    if bytes != (labels.len() * IMAGE) as u64 {
        let problem = format!(
            "it has {bytes} bytes, but {} labels in {} need {}; {REMEDY}",
            labels.len(),
            label_file.display(),
            labels.len() * IMAGE
        );
        return Err(FileError::content(&image_file, problem));
    }
    let kept = labels.len().min(limit);
    let mut set = ImageSet {
        name: format!("STL-10 {word}"),
        channels: CHANNELS,
        height: SIZE,
        width: SIZE,
        class_names: CLASSES.map(str::to_owned).to_vec(),
        images: vec![0; kept * IMAGE],
        labels: Vec::with_capacity(kept),
    };
    images.read_exact(&mut set.images).map_err(unreadable(&image_file))?;
    set.images.chunks_exact_mut(SIZE * SIZE).for_each(transpose);
    for (index, &label) in labels[..kept].iter().enumerate() {
        match usize::from(label) {
            1..=10 => set.labels.push(u32::from(label) - 1),
            _ => {
                let problem = format!("image {} has the label {label}, but labels go from 1 to 10", index + 1);
                return Err(FileError::content(&label_file, problem));
            }
        }
    }
    Ok(set)
}

/// Exchanges rows and columns of a plane.
fn transpose(plane: &mut [u8]) {
    for row in 0..SIZE {
        for column in 0..row {
            plane.swap(row * SIZE + column, column * SIZE + row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder_of(labels: &[u8], images: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..images * IMAGE).map(|at| (at % SIZE) as u8).collect();
        fs::write(folder.path().join("test_X.bin"), bytes).unwrap();
        fs::write(folder.path().join("test_y.bin"), labels).unwrap();
        folder
    }

    #[test]
    fn columns_become_rows_and_labels_begin_at_0() {
        let folder = folder_of(&[1, 10], 2);
        let set = load(folder.path(), Split::Test, 9).unwrap();
        assert_eq!(set.labels, [0, 9]);
        let rows = set.image(1).chunks_exact(SIZE);
        assert!(
            rows.enumerate()
                .all(|(row, bytes)| bytes.iter().all(|&byte| byte == (row % SIZE) as u8))
        );
        assert_eq!(load(folder.path(), Split::Test, 1).unwrap().len(), 1);
    }

    #[test]
    fn damage_is_named() {
        let error = |folder: tempfile::TempDir, split| load(folder.path(), split, 9).unwrap_err().to_string();
        assert!(error(folder_of(&[1, 2], 1), Split::Test).contains("need 55296"));
        assert!(error(folder_of(&[0], 1), Split::Test).contains("label 0"));
        assert!(error(folder_of(&[1], 1), Split::Train).contains("train_X.bin"));
    }
}
