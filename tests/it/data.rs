//! Do data sets of every form give the bytes that Python's own readers give? Each
//! line that begins with `d-` in the cases' README names a small one.
//!
//! The expected hashes are those of `tests/fixtures/data/make.py`'s `digest` of what
//! NumPy, SciPy, Pillow and pyarrow read from the same files. That script also
//! compares files of full size.

use std::fs;
use std::path::{Path, PathBuf};

use residua::data::{Kind, Preparation, Source, Split};
use serde_json::Value;

use crate::support::program::{failure, json, program};

/// Ten images, one of each class, which most of the samples hold.
const TEN: (usize, &str) = (10, "11fcbcfe76c024ec");

/// How a sample is opened, and the images of both splits that it must give: their
/// number and the beginning of their hash.
struct Sample {
    /// The files or folders of the sample.
    files: &'static [&'static str],
    /// Their names in a folder of the data set; empty: the file itself is opened.
    names: &'static [&'static str],
    kind: Kind,
    classes: usize,
    train: Option<(usize, &'static str)>,
    test: Option<(usize, &'static str)>,
}

const SAMPLES: &[Sample] = &[
    Sample {
        files: &["d-cifar-10-batches-py"],
        names: &[],
        kind: Kind::Cifar10,
        classes: 10,
        train: Some((50, "dbce27f56ee184a6")),
        test: Some(TEN),
    },
    Sample {
        files: &["d-cifar-10-batches-py"],
        names: &["cifar-10-batches-py"],
        kind: Kind::Cifar10,
        classes: 10,
        train: Some((50, "dbce27f56ee184a6")),
        test: Some(TEN),
    },
    Sample {
        files: &["d-cifar-10-python.tar.gz"],
        names: &[],
        kind: Kind::Cifar10,
        classes: 10,
        train: Some((50, "dbce27f56ee184a6")),
        test: Some(TEN),
    },
    Sample {
        files: &["d-cifar-10-binary.tar.gz"],
        names: &["cifar-10-binary.tar.gz"],
        kind: Kind::Cifar10,
        classes: 10,
        train: Some((50, "dbce27f56ee184a6")),
        test: Some(TEN),
    },
    Sample {
        files: &["d-cifar-100-python"],
        names: &[],
        kind: Kind::Cifar100,
        classes: 100,
        train: Some(TEN),
        test: Some(TEN),
    },
    Sample {
        files: &["d-svhn-test_32x32.mat"],
        names: &["test_32x32.mat"],
        kind: Kind::Svhn,
        classes: 10,
        train: None,
        test: Some(TEN),
    },
    Sample {
        files: &["d-imagefolder"],
        names: &[],
        kind: Kind::ImageFolder,
        classes: 3,
        train: Some((6, "1e03f9fb3158dbd5")),
        test: Some((6, "1e03f9fb3158dbd5")),
    },
    Sample {
        files: &["d-t10k-images-idx3-ubyte.gz", "d-t10k-labels-idx1-ubyte.gz"],
        names: &["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"],
        kind: Kind::Mnist,
        classes: 10,
        train: None,
        test: Some((10, "3ecfeb69a1c55910")),
    },
    Sample {
        files: &["d-test-00000-of-00001.parquet"],
        names: &["data/test-00000-of-00001.parquet"],
        kind: Kind::HuggingFace,
        classes: 10,
        train: None,
        test: Some(TEN),
    },
    Sample {
        files: &["d-cifar10c-gaussian_noise.npy", "d-cifar10c-labels.npy"],
        names: &["gaussian_noise.npy", "labels.npy"],
        kind: Kind::Cifar10C,
        classes: 10,
        train: None,
        test: Some(TEN),
    },
    Sample {
        files: &["d-arrays.npz"],
        names: &[],
        kind: Kind::Arrays,
        classes: 10,
        train: Some((5, "61ab8f22094e779e")),
        test: Some((5, "92d76f0f9fbf09a1")),
    },
    Sample {
        files: &["d-stl10_binary"],
        names: &["stl10_binary"],
        kind: Kind::Stl10,
        classes: 10,
        train: None,
        test: Some((1, "6742ff6748aa917c")),
    },
];

/// The folder of samples. `None`, with a message, if it is missing.
fn samples() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no {} here", folder.display());
    None
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            copy(&path, &to.join(path.file_name().unwrap()));
        }
    } else {
        fs::write(to, fs::read(from).unwrap()).unwrap();
    }
}

impl Sample {
    /// The path to open, and the folder that must outlive it.
    fn place(&self, data: &Path) -> (PathBuf, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        for (file, name) in self.files.iter().zip(self.names) {
            copy(&data.join(file), &folder.path().join(name));
        }
        match self.names {
            [] => (data.join(self.files[0]), folder),
            _ => (folder.path().to_path_buf(), folder),
        }
    }

    fn check(&self, path: &Path) {
        assert_eq!(Kind::recognise(path).unwrap(), self.kind, "{}", self.files[0]);
        for spec in [path.display().to_string(), format!("{}:{}", self.kind, path.display())] {
            let source: Source = spec.parse().unwrap();
            for (split, expected) in [(Split::Train, self.train), (Split::Test, self.test)] {
                let found = source.load_split(split, None, 0);
                let Some((images, hash)) = expected else {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains(path.to_str().unwrap()), "{spec}: {error}");
                    continue;
                };
                let set = found.unwrap();
                assert_eq!(set.len(), images, "{spec}");
                assert_eq!(set.classes(), self.classes, "{spec}");
                assert!(
                    set.content_hash().starts_with(hash),
                    "{spec} {split:?}: {}",
                    set.content_hash()
                );
                let limited = source.load_split(split, Some(1), 0).unwrap();
                assert_eq!(limited.image(0), set.image(0), "{spec}");
            }
        }
    }
}

#[test]
fn every_sample_is_recognised_and_gives_the_bytes_of_python() {
    let Some(folder) = samples() else {
        return;
    };
    let data = folder.join("data");
    for sample in SAMPLES {
        let (path, _kept) = sample.place(&data);
        sample.check(&path);
    }
    // Every line of the README about data is a sample, or Tiny-ImageNet below.
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut lines = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("- `d-")) {
        let name = format!("d-{}", line.split('`').next().unwrap());
        lines += 1;
        let known = SAMPLES.iter().any(|sample| sample.files.contains(&name.as_str()));
        assert!(known || name == "d-tiny-imagenet-200", "{name} has no test");
    }
    assert!(lines >= 14, "{lines}");
}

/// JPEG decoders differ by rounding: Pillow's mean of this image is 81.37.
#[test]
fn tiny_imagenet_has_its_own_layout() {
    let Some(folder) = samples() else {
        return;
    };
    let path = folder.join("data/d-tiny-imagenet-200");
    assert_eq!(Kind::recognise(&path).unwrap(), Kind::TinyImagenet);
    let source: Source = path.to_str().unwrap().parse().unwrap();
    let splits = source.load(None, None, 0).unwrap();
    assert_eq!((splits.train.len(), splits.test.len()), (2, 1));
    assert_eq!(splits.train.class_names, ["n00000000", "n00000001"]);
    assert_eq!(
        (splits.train.labels.as_slice(), splits.test.labels.as_slice()),
        (&[0, 1][..], &[0][..])
    );
    let image = splits.test.image(0);
    let mean = image.iter().map(|&byte| f64::from(byte)).sum::<f64>() / image.len() as f64;
    assert!((mean - 81.37).abs() < 0.3, "{mean}");
    assert!(!splits.measured);
}

#[test]
fn images_are_scaled_cropped_and_padded_as_python_does() {
    let Some(folder) = samples() else {
        return;
    };
    let data = folder.join("data");
    let hash = |spec: String, preparation: Preparation| {
        let source = spec.parse::<Source>().unwrap().with_preparation(preparation).unwrap();
        source.load_split(Split::Test, None, 0).unwrap().content_hash()
    };
    let none = Preparation::default();
    let smaller = Preparation {
        resize: Some("24".parse().unwrap()),
        crop: Some(20),
        ..none
    };
    let found = hash(format!("imagefolder:{}", data.join("d-imagefolder").display()), smaller);
    assert!(found.starts_with("ec44f1ec651db911"), "{found}");
    let colours = Preparation {
        pad: 2,
        channels: Some(3),
        ..none
    };
    let digits = data.join("d-t10k-images-idx3-ubyte.gz");
    let found = hash(format!("mnist:{}", digits.display()), colours);
    assert!(found.starts_with("c8be4c8f7d8f9c84"), "{found}");
    let found = hash(digits.display().to_string(), none);
    assert!(found.starts_with("3ecfeb69a1c55910"), "{found}");
}

/// The programs on images that are not 3×32×32, and on a set without training
/// images.
#[test]
fn networks_are_trained_and_evaluated_on_what_lies_in_a_folder() {
    let Some(folder) = samples() else {
        return;
    };
    let data = folder.join("data");
    let runs = tempfile::tempdir().unwrap();
    let run = runs.path().join("run");
    let images = data.join("d-imagefolder");
    let trained: Value = json(
        program("residua")
            .args([
                "train",
                "--json",
                "--no-autotune",
                "--model",
                "resnet8",
                "--epochs",
                "1",
                "--batch-size",
                "6",
            ])
            .args(["--resize", "20", "--out"])
            .arg(&run)
            .arg("--data")
            .arg(&images),
    );
    assert_eq!(trained["epochs"], 1);
    let settings = fs::read_to_string(run.join("run.toml")).unwrap();
    assert!(settings.contains("resize = \"20\""), "{settings}");
    let evaluated = json(
        program("residua")
            .args(["eval", "--no-autotune", "--json", "--run"])
            .arg(&run),
    );
    assert_eq!(
        (evaluated["images"].as_u64(), evaluated["loss"].as_f64()),
        (Some(6), trained["test_loss"].as_f64())
    );

    let grey = format!("mnist:{}", data.join("d-t10k-images-idx3-ubyte.gz").display());
    let held = json(program("residua").args(["data", "--json", "--channels", "3", "--pad", "2", &grey]));
    assert_eq!(held["shape"], serde_json::json!([3, 32, 32]));
    assert_eq!(
        (held["train"].is_null(), held["measured"].as_bool()),
        (true, Some(false))
    );

    let (code, error) = failure(program("residua").args(["train", "--data", &grey]));
    assert_eq!(code, 1);
    assert!(error.contains("train-images"), "{error}");
    let (code, error) = failure(program("residua").args(["train", "--data", "imagenet"]));
    assert_eq!(code, 2);
    assert!(
        error.contains("unknown data 'imagenet'") && error.contains("tiny-imagenet"),
        "{error}"
    );
}
