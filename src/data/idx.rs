//! How are MNIST and data sets of its form read (LeCun et al. 1998; Xiao et al.
//! 2017)?
//!
//! A file is 0, 0, the type of its values (8: bytes), the number of axes, their
//! sizes as big-endian 32-bit numbers, and the values. Files may be compressed.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::error::{open, unreadable};
use super::store::is_gzip;
use super::{FileError, ImageSet, Split, digits};

/// Folders in which torchvision and others store the files.
const FOLDERS: [&str; 6] = ["", "raw", "MNIST/raw", "FashionMNIST/raw", "mnist", "fashion-mnist"];

const REMEDY: &str = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
    t10k-labels-idx1-ubyte are needed, each perhaps with .gz";

/// The names of Fashion-MNIST's classes.
#[rustfmt::skip]
pub(super) const FASHION: [&str; 10] = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
];

fn prefix(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "t10k",
    }
}

/// Names under which a file is distributed: `train-images-idx3-ubyte`,
/// `train-images.idx3-ubyte`, each perhaps with `.gz`.
fn names(split: Split, what: &str, axes: u8) -> impl Iterator<Item = String> {
    let stem = format!("{}-{what}", prefix(split));
    ["-", "."]
        .into_iter()
        .flat_map(move |dash| ["", ".gz"].map(|end| format!("{stem}{dash}idx{axes}-ubyte{end}")))
}

/// Whether a file name is that of images.
pub(super) fn is_name(name: &str) -> bool {
    name.contains("images") && name.contains("idx3")
}

/// The file of a split, in `path` or a folder of [`FOLDERS`] in it; or `path`
/// itself, a file of images, and the file of labels beside it.
fn find(path: &Path, split: Split, what: &str, axes: u8) -> Option<PathBuf> {
    if path.is_file() {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let own = if name.contains("train") {
            Split::Train
        } else {
            Split::Test
        };
        let beside = name.replace("images", what).replace("idx3", &format!("idx{axes}"));
        let packed = beside.trim_end_matches(".gz").to_owned();
        let files = [beside, format!("{packed}.gz"), packed].map(|name| path.with_file_name(name));
        return files.into_iter().find(|file| own == split && file.is_file());
    }
    let folders = FOLDERS.iter().map(|folder| path.join(folder));
    let mut files = folders.flat_map(|folder| names(split, what, axes).map(move |name| folder.join(name)));
    files.find(|file| file.is_file())
}

/// The file of images in a folder, if it holds such files.
pub(super) fn images_path(path: &Path) -> Option<PathBuf> {
    [Split::Test, Split::Train]
        .into_iter()
        .find_map(|split| find(path, split, "images", 3))
}

/// The first `limit` images of a split. Without `class_names`, the classes are
/// the numbers up to the largest label, at least 0 to 9.
pub(super) fn load(
    path: &Path,
    split: Split,
    name: &str,
    class_names: Option<&[&str]>,
    limit: usize,
) -> Result<ImageSet, FileError> {
    let missing = |what| FileError::NoFile {
        path: path.join(format!("{}-{what}-ubyte", prefix(split))),
        remedy: REMEDY,
    };
    let image_file = find(path, split, "images", 3).ok_or_else(|| missing("images-idx3"))?;
    let label_file = find(path, split, "labels", 1).ok_or_else(|| missing("labels-idx1"))?;
    let ([count, height, width], images) = array(&image_file, limit)?;
    let ([labelled], labels) = array(&label_file, limit)?;
    if count != labelled {
        let problem = format!("it has {labelled} labels, but there are {count} images");
        return Err(FileError::content(&label_file, problem));
    }
    let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
    let most = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let class_names = match class_names {
        Some(names) if most <= names.len() => names.iter().map(|&name| name.to_owned()).collect(),
        Some(names) => {
            let problem = format!(
                "it has the label {}, but labels go from 0 to {}",
                most - 1,
                names.len() - 1
            );
            return Err(FileError::content(&label_file, problem));
        }
        None => digits(most.max(10)),
    };
    let word = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    Ok(ImageSet {
        name: format!("{name} {word}"),
        channels: 1,
        height,
        width,
        class_names,
        images,
        labels,
    })
}

/// The sizes and the values of a file, of which only the first `limit` entries
/// along the first axis.
fn array<const AXES: usize>(path: &Path, limit: usize) -> Result<([usize; AXES], Vec<u8>), FileError> {
    let (mut file, size) = open(path)?;
    let mut start = [0; 2];
    file.read_exact(&mut start).map_err(unreadable(path))?;
    let whole = io::Cursor::new(start).chain(file);
    let most = match is_gzip(&start) {
        // No byte of a deflate stream stands for more than 1032 bytes.
        true => size.saturating_mul(1032),
        false => size,
    };
    let parsed = match is_gzip(&start) {
        true => values(BufReader::new(MultiGzDecoder::new(BufReader::new(whole))), most, limit),
        false => values(BufReader::new(whole), most, limit),
    };
    parsed.map_err(|error| match error {
        ValuesError::Io(source) => unreadable(path)(source),
        ValuesError::Form(problem) => FileError::content(path, problem),
    })
}

enum ValuesError {
    Io(io::Error),
    Form(String),
}

impl From<io::Error> for ValuesError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Form("it is cut short".into()),
            _ => Self::Io(error),
        }
    }
}

/// The sizes and values of a stream of at most `most` bytes.
fn values<const AXES: usize>(
    mut stream: impl Read,
    most: u64,
    limit: usize,
) -> Result<([usize; AXES], Vec<u8>), ValuesError> {
    let mut magic = [0; 4];
    stream.read_exact(&mut magic)?;
    if magic != [0, 0, 8, AXES as u8] {
        return Err(ValuesError::Form(format!(
            "it is no idx file of bytes with {AXES} axes"
        )));
    }
    let mut sizes = [0; AXES];
    for size in &mut sizes {
        let mut word = [0; 4];
        stream.read_exact(&mut word)?;
        *size = u32::from_be_bytes(word) as usize;
    }
    let each = sizes[1..]
        .iter()
        .try_fold(1_u64, |all, &size| all.checked_mul(size as u64));
    let all = each.and_then(|each| each.checked_mul(sizes[0] as u64));
    let (Some(each), Some(_)) = (each.filter(|&each| each > 0), all.filter(|&all| all <= most)) else {
        return Err(ValuesError::Form(format!(
            "it claims the sizes {sizes:?}, which it cannot hold"
        )));
    };
    let wanted = each * sizes[0].min(limit) as u64;
    let mut bytes = Vec::new();
    stream.take(wanted).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < wanted {
        return Err(ValuesError::Form("it is cut short".into()));
    }
    Ok((sizes, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::fs;
    use std::io::Write;

    fn file(sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn reads_both_forms_also_in_a_folder_of_torchvision() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("FashionMNIST/raw");
        fs::create_dir_all(&raw).unwrap();
        fs::write(raw.join("t10k-images-idx3-ubyte"), file(&[2, 1, 2], &[1, 2, 3, 4])).unwrap();
        fs::write(raw.join("t10k-labels-idx1-ubyte.gz"), packed(&file(&[2], &[9, 0]))).unwrap();
        let set = load(folder.path(), Split::Test, "Fashion-MNIST", Some(&FASHION), 9).unwrap();
        assert_eq!(
            (set.images.as_slice(), set.labels.as_slice()),
            (&[1, 2, 3, 4][..], &[9, 0][..])
        );
        assert_eq!(
            (set.name.as_str(), set.class_names[9].as_str()),
            ("Fashion-MNIST test", "Ankle boot")
        );
        let one = load(folder.path(), Split::Test, "MNIST", None, 1).unwrap();
        assert_eq!((one.len(), one.classes()), (1, 10));
        let error = load(folder.path(), Split::Train, "MNIST", None, 1)
            .unwrap_err()
            .to_string();
        assert!(error.contains("train-images-idx3-ubyte"), "{error}");
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |images: Vec<u8>, labels: Vec<u8>| {
            fs::write(folder.path().join("t10k-images-idx3-ubyte"), images).unwrap();
            fs::write(folder.path().join("t10k-labels-idx1-ubyte"), labels).unwrap();
            load(folder.path(), Split::Test, "Fashion-MNIST", Some(&FASHION), 9)
                .unwrap_err()
                .to_string()
        };
        let labels = file(&[2], &[1, 2]);
        assert!(problem(file(&[2, 1, 1], &[1]), labels.clone()).contains("cut short"));
        assert!(problem(file(&[u32::MAX; 3], &[]), labels.clone()).contains("cannot hold"));
        assert!(problem(file(&[1, 1, 1], &[1]), labels).contains("2 labels"));
        assert!(problem(file(&[1, 1, 1], &[1]), file(&[1], &[10])).contains("label 10"));
        assert!(problem(b"not an idx".to_vec(), vec![]).contains("no idx file"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, sizes in prop::array::uniform3(0_u32..9)) {
            let _ = values::<3>(&bytes[..], 100, 9);
            let _ = values::<3>(&file(&sizes, &bytes)[..], 100, 9);
        }
    }
}
