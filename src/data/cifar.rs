//! How are the official binary files of CIFAR-10 and CIFAR-100 read
//! (Krizhevsky 2009)?
//!
//! A file is a list of records without a header. A record is the label bytes,
//! then 3,072 bytes: the red, green and blue planes of 32×32 pixels.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{FileError, ImageSet};
use crate::files::{SETTINGS_LIMIT, open_regular, read_text};

const CHANNELS: usize = 3;
const SIZE: usize = 32;
const IMAGE: usize = CHANNELS * SIZE * SIZE;

/// One of the two binary formats.
pub(super) struct Format {
    name: &'static str,
    /// The folder in the official archive.
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// The largest number of records in a training file; test files have at
    /// most 10,000.
    train_records: u64,
    /// Number of label bytes before an image; the last of them is the class.
    labels: usize,
    names: &'static str,
    classes: &'static [&'static str],
    remedy: &'static str,
}

/// One label byte; five training files.
pub(super) const CIFAR10: Format = Format {
    name: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    train_records: 10_000,
    labels: 1,
    names: "batches.meta.txt",
    classes: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    remedy: "unpack the CIFAR-10 binary version from https://www.cs.toronto.edu/~kriz/cifar.html",
};

/// Two label bytes: the coarse label, which is not used, and the fine one; one
/// training file.
pub(super) const CIFAR100: Format = Format {
    name: "CIFAR-100",
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: "test.bin",
    train_records: 50_000,
    labels: 2,
    names: "fine_label_names.txt",
    #[rustfmt::skip]
    classes: &[
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
        "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard",
        "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse",
        "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
        "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray",
        "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
        "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
        "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    ],
    remedy: "unpack the CIFAR-100 binary version from https://www.cs.toronto.edu/~kriz/cifar.html",
};

const TEST_RECORDS: u64 = 10_000;

impl Format {
    /// The first `limit` training images; further files are not read.
    pub(super) fn load_train(&self, folder: &Path, limit: usize) -> Result<ImageSet, FileError> {
        let folder = self.find(folder)?;
        let mut set = self.empty_set("train", &folder)?;
        for name in self.train {
            if set.len() < limit {
                self.append(&mut set, &folder.join(name), self.train_records, limit)?;
            }
        }
        Ok(set)
    }

    /// The first `limit` test images.
    pub(super) fn load_test(&self, folder: &Path, limit: usize) -> Result<ImageSet, FileError> {
        let folder = self.find(folder)?;
        let mut set = self.empty_set("test", &folder)?;
        self.append(&mut set, &folder.join(self.test), TEST_RECORDS, limit)?;
        Ok(set)
    }

    /// The folder of the archive inside `folder`, else `folder` itself.
    fn find(&self, folder: &Path) -> Result<PathBuf, FileError> {
        let within = folder.join(self.folder);
        if within.is_dir() {
            return Ok(within);
        }
        if folder.is_dir() {
            return Ok(folder.to_path_buf());
        }
        Err(FileError::NoFolder {
            path: folder.to_path_buf(),
            remedy: self.remedy,
        })
    }

    fn empty_set(&self, split: &str, folder: &Path) -> Result<ImageSet, FileError> {
        Ok(ImageSet {
            name: format!("{} {split}", self.name),
            channels: CHANNELS,
            height: SIZE,
            width: SIZE,
            class_names: self.class_names(&folder.join(self.names))?,
            images: Vec::new(),
            labels: Vec::new(),
        })
    }

    /// The names in the file, or the official names if there is no file.
    fn class_names(&self, path: &Path) -> Result<Vec<String>, FileError> {
        let text = match read_text(path, SETTINGS_LIMIT) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.classes.join("\n"),
            Err(error) => return Err(unreadable(path)(error)),
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let names: Vec<String> = lines.map(str::to_owned).collect();
        if names.len() == self.classes.len() {
            return Ok(names);
        }
        Err(FileError::ClassNames {
            path: path.to_path_buf(),
            found: names.len(),
            classes: self.classes.len(),
        })
    }

    /// Appends records of a file until it ends or the set has `limit` images.
    fn append(&self, set: &mut ImageSet, path: &Path, most_records: u64, limit: usize) -> Result<(), FileError> {
        let file = self.open(path)?;
        let bytes = file.metadata().map_err(unreadable(path))?.len();
        let records = self.count_records(path, bytes, most_records)?;
        let wanted = records.min((limit - set.len()) as u64);
        set.images.reserve(wanted as usize * IMAGE);
        let mut reader = BufReader::with_capacity(1 << 18, file);
        for record in 1..=wanted {
            let label = self
                .read_record(&mut reader, &mut set.images)
                .map_err(unreadable(path))?;
            set.labels.push(self.check_label(path, record, label)?);
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<File, FileError> {
        let opened = open_regular(path).map(|(file, _)| file);
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileError::NoFile {
                path: path.to_path_buf(),
                remedy: self.remedy,
            },
            _ => unreadable(path)(error),
        })
    }

    /// The number of records in a file with `bytes` bytes.
    fn count_records(&self, path: &Path, bytes: u64, most_records: u64) -> Result<u64, FileError> {
        let record = (self.labels + IMAGE) as u64;
        let most = most_records * record;
        let (path, remedy) = (path.to_path_buf(), self.remedy);
        let whole = bytes / record;
        if bytes > most {
            Err(FileError::OverLong {
                path,
                bytes,
                most,
                record,
                remedy,
            })
        } else if bytes == 0 {
            Err(FileError::Empty { path, record, remedy })
        } else if !bytes.is_multiple_of(record) {
            Err(FileError::Truncated {
                path,
                bytes,
                record,
                whole,
                remedy,
            })
        } else {
            Ok(whole)
        }
    }

    /// Appends a record's pixels to `images` and returns its label.
    fn read_record(&self, reader: &mut impl Read, images: &mut Vec<u8>) -> io::Result<u8> {
        let mut labels = [0; 2];
        let labels = &mut labels[..self.labels];
        reader.read_exact(labels)?;
        let start = images.len();
        images.resize(start + IMAGE, 0);
        reader.read_exact(&mut images[start..])?;
        Ok(labels[self.labels - 1])
    }

    fn check_label(&self, path: &Path, record: u64, label: u8) -> Result<u32, FileError> {
        if usize::from(label) < self.classes.len() {
            return Ok(u32::from(label));
        }
        Err(FileError::Label {
            path: path.to_path_buf(),
            record,
            label,
            classes: self.classes.len(),
            remedy: self.remedy,
        })
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Unreadable {
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::test_data;
    use tempfile::TempDir;

    /// `count` records whose pixels repeat the record's number.
    fn records(format: &Format, count: usize) -> Vec<u8> {
        let record = |number: usize| {
            let class = (number % format.classes.len()) as u8;
            let label = [7, class][2 - format.labels..].to_vec();
            [label, vec![number as u8; IMAGE]].concat()
        };
        (0..count).flat_map(record).collect()
    }

    fn folder_of(format: &Format, train: usize, test: usize) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in format.train {
            fs::write(folder.path().join(name), records(format, train)).unwrap();
        }
        fs::write(folder.path().join(format.test), records(format, test)).unwrap();
        folder
    }

    fn one_line(error: FileError, parts: &[&str]) {
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn reads_labels_and_pixels_of_both_forms() {
        for format in [&CIFAR10, &CIFAR100] {
            let folder = folder_of(format, 12, 3);
            let train = format.load_train(folder.path(), usize::MAX).unwrap();
            assert_eq!(train.len(), 12 * format.train.len());
            assert_eq!((train.labels[9], train.image(9)), (9, &[9; IMAGE][..]));
            assert_eq!(train.classes(), format.classes.len());
            let test = format.load_test(folder.path(), usize::MAX).unwrap();
            assert_eq!(test.labels, [0, 1, 2]);
        }
    }

    #[test]
    fn looks_into_the_archives_own_folder() {
        let inner = folder_of(&CIFAR10, 1, 2);
        let outer = tempfile::tempdir().unwrap();
        fs::rename(inner.path(), outer.path().join(CIFAR10.folder)).unwrap();
        assert_eq!(CIFAR10.load_test(outer.path(), 9).unwrap().len(), 2);
    }

    #[test]
    fn stops_at_the_limit_without_opening_more_files() {
        let folder = folder_of(&CIFAR10, 4, 1);
        for name in &CIFAR10.train[2..] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let set = CIFAR10.load_train(folder.path(), 6).unwrap();
        assert_eq!(set.labels, [0, 1, 2, 3, 0, 1]);
        let error = CIFAR10.load_train(folder.path(), 9).unwrap_err();
        one_line(error, &["no file", "data_batch_3.bin", "kriz"]);
    }

    #[test]
    fn damaged_files_are_named_with_their_sizes() {
        let folder = folder_of(&CIFAR10, 1, 1);
        let path = folder.path().join(CIFAR10.test);
        let load = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            CIFAR10.load_test(folder.path(), 1).unwrap_err()
        };
        let whole = records(&CIFAR10, 3);
        let cut = load(&whole[..whole.len() - 1]);
        one_line(
            cut,
            &["test_batch.bin", "cut short", "9218 bytes", "2 records", "record 3"],
        );
        one_line(load(&[]), &["empty", "3073"]);
        let mut label = whole;
        label[0] = 10;
        one_line(load(&label), &["record 1", "label 10", "0 to 9"]);
        // Sparse: only its size is read.
        let long = File::create(&path).unwrap();
        long.set_len(10_001 * 3073).unwrap();
        let long = CIFAR10.load_test(folder.path(), 1).unwrap_err();
        one_line(long, &["over-long", "30733073 bytes", "30730000", "10000 records"]);
    }

    #[test]
    fn missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = CIFAR100.load_test(&folder.path().join("nowhere"), 1).unwrap_err();
        one_line(error, &["no folder", "nowhere", "CIFAR-100 binary"]);
    }

    #[test]
    fn class_names_are_read_where_there_is_a_file() {
        let folder = folder_of(&CIFAR10, 1, 1);
        let path = folder.path().join(CIFAR10.names);
        fs::write(&path, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        let set = CIFAR10.load_test(folder.path(), 1).unwrap();
        assert_eq!(set.class_names[9], "j");
        fs::write(&path, "a\nb\n").unwrap();
        let error = CIFAR10.load_test(folder.path(), 1).unwrap_err();
        one_line(error, &["batches.meta.txt", "2 classes instead of 10"]);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        let error = CIFAR10.load_test(folder.path(), 1).unwrap_err();
        one_line(error, &["cannot read", "batches.meta.txt"]);
    }

    #[test]
    fn hundred_fine_classes_in_alphabetical_order() {
        assert_eq!(CIFAR100.classes.len(), 100);
        assert!(CIFAR100.classes.is_sorted());
    }

    #[test]
    fn real_cifar10_has_the_known_mean() {
        let Some(data) = test_data(CIFAR10.folder) else {
            return;
        };
        let test = CIFAR10.load_test(&data, usize::MAX).unwrap();
        assert_eq!(test.len(), 10_000);
        assert_eq!(test.labels[..5], [3, 8, 8, 0, 6]);
        let train = CIFAR10.load_train(&data, usize::MAX).unwrap();
        assert_eq!(train.len(), 50_000);
        for (channel, expected) in [0.491_399_7, 0.482_158_3, 0.446_530_8].into_iter().enumerate() {
            let planes = train.images.chunks_exact(SIZE * SIZE).skip(channel).step_by(CHANNELS);
            let sum: u64 = planes.flatten().map(|&byte| u64::from(byte)).sum();
            let mean = sum as f64 / 255.0 / (50_000.0 * (SIZE * SIZE) as f64);
            assert!((mean - expected).abs() < 1e-6, "channel {channel}: {mean}");
        }
    }
}
