//! How are CIFAR-10 and CIFAR-100 read (Krizhevsky 2009)?
//!
//! There is a binary version and one for Python, each in a folder or in its
//! unopened archive. A file of the binary version is a list of records without a
//! header. A record is the label bytes, then 3,072 bytes: the red, green and
//! blue planes of 32×32 pixels.

use std::io::{self, BufReader, Read};
use std::path::Path;

use super::cifar_python;
use super::error::{in_file, unreadable};
use super::store::{Store, names_in};
use super::{FileError, ImageSet, Split};
use crate::files::SETTINGS_LIMIT;

const CHANNELS: usize = 3;
const SIZE: usize = 32;
const IMAGE: usize = CHANNELS * SIZE * SIZE;

/// One of the two data sets.
pub(super) struct Format {
    name: &'static str,
    binary: Version,
    python: Version,
    /// The largest number of records in a training file; test files have at
    /// most 10,000.
    train_records: u64,
    /// Number of label bytes before an image; the last of them is the class.
    labels: usize,
    /// What the Python version calls the labels, and the names of the classes.
    python_keys: [&'static str; 2],
    classes: &'static [&'static str],
    remedy: &'static str,
}

/// The files of a version.
pub(super) struct Version {
    /// The folder in the official archive.
    pub folder: &'static str,
    /// The official archive.
    pub archive: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// The file with the names of the classes.
    names: &'static str,
}

/// One label byte; five training files.
pub(super) const CIFAR10: Format = Format {
    name: "CIFAR-10",
    #[rustfmt::skip]
    binary: Version {
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        train: &[
            "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test: "test_batch.bin",
        names: "batches.meta.txt",
    },
    #[rustfmt::skip]
    python: Version {
        folder: "cifar-10-batches-py",
        archive: "cifar-10-python.tar.gz",
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: "test_batch",
        names: "batches.meta",
    },
    train_records: 10_000,
    labels: 1,
    python_keys: ["labels", "label_names"],
    #[rustfmt::skip]
    classes: &[
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ],
    remedy: "unpack the CIFAR-10 binary version from https://www.cs.toronto.edu/~kriz/cifar.html",
};

/// Two label bytes: the coarse label, which is not used, and the fine one; one
/// training file.
pub(super) const CIFAR100: Format = Format {
    name: "CIFAR-100",
    binary: Version {
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        train: &["train.bin"],
        test: "test.bin",
        names: "fine_label_names.txt",
    },
    python: Version {
        folder: "cifar-100-python",
        archive: "cifar-100-python.tar.gz",
        train: &["train"],
        test: "test",
        names: "meta",
    },
    train_records: 50_000,
    labels: 2,
    python_keys: ["fine_labels", "fine_label_names"],
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

/// The files of a data set as they lie on the disk.
struct Found<'a> {
    store: Store,
    version: &'a Version,
    python: bool,
}

impl Format {
    /// The first `limit` images of a split; further files are not read.
    pub(super) fn load(&self, path: &Path, split: Split, limit: usize) -> Result<ImageSet, FileError> {
        let found = self.find(path, split)?;
        let names = match split {
            Split::Train => found.version.train,
            Split::Test => &[found.version.test],
        };
        let word = match split {
            Split::Train => "train",
            Split::Test => "test",
        };
        let mut set = ImageSet {
            name: format!("{} {word}", self.name),
            channels: CHANNELS,
            height: SIZE,
            width: SIZE,
            class_names: self.class_names(&found)?,
            images: Vec::new(),
            labels: Vec::new(),
        };
        let most = match split {
            Split::Train => self.train_records,
            Split::Test => TEST_RECORDS,
        };
        for name in names {
            if set.len() < limit {
                let file = found.store.path(name);
                let (reader, bytes) = found.store.open(name)?.ok_or_else(|| FileError::NoFile {
                    path: file.clone(),
                    remedy: self.remedy,
                })?;
                match found.python {
                    false => self.append(&mut set, &file, reader, bytes, most, limit)?,
                    true => self.append_python(&mut set, &file, reader, bytes, most, limit)?,
                }
            }
        }
        Ok(set)
    }

    /// The official names of the classes.
    pub(super) fn class_list(&self) -> Vec<String> {
        self.classes.iter().map(|&name| name.to_owned()).collect()
    }

    /// Whether files of this data set are in a folder with the entries `names`.
    pub(super) fn is_in(&self, path: &Path, names: &[String]) -> bool {
        // `train` and `test` are files here, and folders of images elsewhere.
        let has = |name: &str| path.join(name).is_file();
        let version = |version: &Version| {
            let train = version.train.iter().any(|name| has(name));
            let files = [train, has(version.test), has(version.names)];
            let archive = names.iter().any(|name| name.ends_with(version.archive));
            archive || path.join(version.folder).is_dir() || files.into_iter().filter(|&there| there).count() >= 2
        };
        version(&self.binary) || version(&self.python)
    }

    /// Whether a file in an archive has this name, folder included.
    pub(super) fn has_file(&self, name: &str) -> bool {
        [&self.binary, &self.python].into_iter().any(|version| {
            let inside = name
                .strip_prefix(version.folder)
                .and_then(|rest| rest.strip_prefix('/'));
            inside.is_some_and(|file| file == version.test || version.train.contains(&file))
        })
    }

    /// Looks for a version in the order in which they are read fastest: in
    /// `path` or its own folder in it, in an archive in `path`; `path` itself may
    /// be an archive.
    fn find(&self, path: &Path, split: Split) -> Result<Found<'_>, FileError> {
        let versions = [(&self.binary, false), (&self.python, true)];
        let found = |store, (version, python)| Found { store, version, python };
        let archive = |path: &Path, version| -> Result<Option<Found<'_>>, FileError> {
            let (version, python): (&Version, bool) = version;
            let files = match split {
                Split::Train => version.train,
                Split::Test => std::slice::from_ref(&version.test),
            };
            let wanted: Vec<&str> = files.iter().copied().chain([version.names]).collect();
            let limit = self.train_records * (2 * (self.labels + IMAGE) + 64) as u64;
            let store = Store::of_archive(path, &wanted, limit)?;
            Ok(store.has(files[0]).then(|| found(store, (version, python))))
        };
        if path.is_dir() {
            for version in versions {
                let within = path.join(version.0.folder);
                if within.is_dir() {
                    return Ok(found(Store::of_folder(within), version));
                }
            }
            for version in versions {
                let store = Store::of_folder(path.to_path_buf());
                if store.has(version.0.test) || version.0.train.iter().any(|name| store.has(name)) {
                    return Ok(found(store, version));
                }
            }
            for version in versions {
                for name in names_in(path)? {
                    if name.ends_with(version.0.archive)
                        && let Some(found) = archive(&path.join(name), version)?
                    {
                        return Ok(found);
                    }
                }
            }
            return Ok(found(Store::of_folder(path.to_path_buf()), versions[0]));
        }
        if path.is_file() {
            for version in versions {
                if let Some(found) = archive(path, version)? {
                    return Ok(found);
                }
            }
            return Err(FileError::content(path, format!("it holds no files of {}", self.name)));
        }
        Err(FileError::NoFolder {
            path: path.to_path_buf(),
            remedy: self.remedy,
        })
    }

    /// The names in the file, or the official names if there is no file.
    fn class_names(&self, found: &Found) -> Result<Vec<String>, FileError> {
        let path = found.store.path(found.version.names);
        let Some((reader, _)) = found.store.open(found.version.names)? else {
            return Ok(self.class_list());
        };
        let mut bytes = Vec::new();
        reader
            .take(SETTINGS_LIMIT)
            .read_to_end(&mut bytes)
            .map_err(unreadable(&path))?;
        let names: Vec<String> = match found.python {
            true => cifar_python::class_names(&bytes, self.python_keys[1]).map_err(in_file(&path))?,
            false => {
                let text = String::from_utf8(bytes)
                    .map_err(|_| unreadable(&path)(io::Error::new(io::ErrorKind::InvalidData, "it is not text")))?;
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                lines.map(str::to_owned).collect()
            }
        };
        if names.len() == self.classes.len() {
            return Ok(names);
        }
        Err(FileError::ClassNames {
            path,
            found: names.len(),
            classes: self.classes.len(),
        })
    }

    /// Appends records of a file until it ends or the set has `limit` images.
    fn append(
        &self,
        set: &mut ImageSet,
        path: &Path,
        reader: impl Read,
        bytes: u64,
        most_records: u64,
        limit: usize,
    ) -> Result<(), FileError> {
        let records = self.count_records(path, bytes, most_records)?;
        let wanted = records.min((limit - set.len()) as u64);
        set.images.reserve(wanted as usize * IMAGE);
        let mut reader = BufReader::with_capacity(1 << 18, reader);
        for record in 1..=wanted {
            let label = self
                .read_record(&mut reader, &mut set.images)
                .map_err(unreadable(path))?;
            set.labels.push(self.check_label(path, record, label.into())?);
        }
        Ok(())
    }

    /// As [`Self::append`], for a file of the Python version.
    fn append_python(
        &self,
        set: &mut ImageSet,
        path: &Path,
        reader: impl Read,
        bytes: u64,
        most_records: u64,
        limit: usize,
    ) -> Result<(), FileError> {
        // A record has a text for its file name, too. Python 3 writes bytes as
        // text in the protocols 0 to 2, where most take two bytes.
        let most = most_records * (2 * (self.labels + IMAGE) + 64) as u64;
        if bytes > most {
            let problem = format!("it has {bytes} bytes, at most {most} expected; {}", self.remedy);
            return Err(FileError::content(path, problem));
        }
        let mut pickle = Vec::with_capacity(bytes as usize);
        reader.take(most).read_to_end(&mut pickle).map_err(unreadable(path))?;
        let (images, labels) = cifar_python::batch(&pickle, self.python_keys[0], IMAGE).map_err(in_file(path))?;
        let wanted = labels.len().min(limit - set.len());
        set.images.extend_from_slice(&images[..wanted * IMAGE]);
        for (record, label) in (1..).zip(&labels[..wanted]) {
            set.labels.push(self.check_label(path, record, *label)?);
        }
        Ok(())
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

    fn check_label(&self, path: &Path, record: u64, label: i64) -> Result<u32, FileError> {
        if (0..self.classes.len() as i64).contains(&label) {
            return Ok(label as u32);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_data;
    use std::fs::{self, File};
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
        for name in format.binary.train {
            fs::write(folder.path().join(name), records(format, train)).unwrap();
        }
        fs::write(folder.path().join(format.binary.test), records(format, test)).unwrap();
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
            let train = format.load(folder.path(), Split::Train, usize::MAX).unwrap();
            assert_eq!(train.len(), 12 * format.binary.train.len());
            assert_eq!((train.labels[9], train.image(9)), (9, &[9; IMAGE][..]));
            assert_eq!(train.classes(), format.classes.len());
            let test = format.load(folder.path(), Split::Test, usize::MAX).unwrap();
            assert_eq!(test.labels, [0, 1, 2]);
        }
    }

    #[test]
    fn looks_into_the_archives_own_folder() {
        let inner = folder_of(&CIFAR10, 1, 2);
        let outer = tempfile::tempdir().unwrap();
        fs::rename(inner.path(), outer.path().join(CIFAR10.binary.folder)).unwrap();
        assert_eq!(CIFAR10.load(outer.path(), Split::Test, 9).unwrap().len(), 2);
    }

    #[test]
    fn stops_at_the_limit_without_opening_more_files() {
        let folder = folder_of(&CIFAR10, 4, 1);
        for name in &CIFAR10.binary.train[2..] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let set = CIFAR10.load(folder.path(), Split::Train, 6).unwrap();
        assert_eq!(set.labels, [0, 1, 2, 3, 0, 1]);
        let error = CIFAR10.load(folder.path(), Split::Train, 9).unwrap_err();
        one_line(error, &["no file", "data_batch_3.bin", "kriz"]);
    }

    #[test]
    fn damaged_files_are_named_with_their_sizes() {
        let folder = folder_of(&CIFAR10, 1, 1);
        let path = folder.path().join(CIFAR10.binary.test);
        let load = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            CIFAR10.load(folder.path(), Split::Test, 1).unwrap_err()
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
        let long = CIFAR10.load(folder.path(), Split::Test, 1).unwrap_err();
        one_line(long, &["over-long", "30733073 bytes", "30730000", "10000 records"]);
    }

    #[test]
    fn missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = CIFAR100
            .load(&folder.path().join("nowhere"), Split::Test, 1)
            .unwrap_err();
        one_line(error, &["no folder", "nowhere", "CIFAR-100 binary"]);
    }

    #[test]
    fn class_names_are_read_where_there_is_a_file() {
        let folder = folder_of(&CIFAR10, 1, 1);
        let path = folder.path().join(CIFAR10.binary.names);
        fs::write(&path, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        let set = CIFAR10.load(folder.path(), Split::Test, 1).unwrap();
        assert_eq!(set.class_names[9], "j");
        fs::write(&path, "a\nb\n").unwrap();
        let error = CIFAR10.load(folder.path(), Split::Test, 1).unwrap_err();
        one_line(error, &["batches.meta.txt", "2 classes instead of 10"]);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        let error = CIFAR10.load(folder.path(), Split::Test, 1).unwrap_err();
        one_line(error, &["cannot read", "batches.meta.txt"]);
    }

    #[test]
    fn hundred_fine_classes_in_alphabetical_order() {
        assert_eq!(CIFAR100.classes.len(), 100);
        assert!(CIFAR100.classes.is_sorted());
    }

    #[test]
    fn real_cifar10_has_the_known_mean() {
        let Some(data) = test_data(CIFAR10.binary.folder) else {
            return;
        };
        let test = CIFAR10.load(&data, Split::Test, usize::MAX).unwrap();
        assert_eq!(test.len(), 10_000);
        assert_eq!(test.labels[..5], [3, 8, 8, 0, 6]);
        let train = CIFAR10.load(&data, Split::Train, usize::MAX).unwrap();
        assert_eq!(train.len(), 50_000);
        for (channel, expected) in [0.491_399_7, 0.482_158_3, 0.446_530_8].into_iter().enumerate() {
            let planes = train.images.chunks_exact(SIZE * SIZE).skip(channel).step_by(CHANNELS);
            let sum: u64 = planes.flatten().map(|&byte| u64::from(byte)).sum();
            let mean = sum as f64 / 255.0 / (50_000.0 * (SIZE * SIZE) as f64);
            assert!((mean - expected).abs() < 1e-6, "channel {channel}: {mean}");
        }
    }
}
