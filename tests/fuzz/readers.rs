//! Which readers are there, with which inputs to begin with?
//!
//! Inputs are the fixtures of this repository, and the small cases beside it where
//! they are.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use residua::weights::{self, Tensor};

use super::archive::{pack, unpack};
use super::mutate::{Random, mutate};

/// What reading gives: nothing, or an error in one line.
pub type Outcome = Result<(), String>;

/// What reads bytes and an empty folder for files that it needs.
type Read = dyn Fn(&[u8], &Path) -> Outcome;

/// A reader and the inputs that are altered for it.
pub struct Reader {
    pub name: &'static str,
    /// Parts of the format.
    pub words: &'static [&'static [u8]],
    pub inputs: Vec<Vec<u8>>,
    /// Alters an input.
    pub alter: fn(&mut Vec<u8>, &Reader, &mut Random),
    /// Reads the bytes; the folder is empty, and for files that are needed.
    pub read: Box<Read>,
}

const PICKLE: &[&[u8]] = &[
    b"(",
    b")",
    b".",
    b"0",
    b"1",
    b"2",
    b"N",
    b"\x88",
    b"K\x01",
    b"M\x00\x01",
    b"J\xff\xff\xff\x7f",
    b"\x8a\x01\x05",
    b"\x8b\x00\x00\x00\x00",
    b"I01\n",
    b"L5L\n",
    b"F1.5\n",
    b"G\x7f\xf0\0\0\0\0\0\0",
    b"\x8c\x01a",
    b"X\x01\0\0\0a",
    b"\x8d\x01\0\0\0\0\0\0\0a",
    b"Va\\u0041\n",
    b"S'a\\x41'\n",
    b"U\x01\xff",
    b"C\x01a",
    b"B\x01\0\0\0a",
    b"\x8e\x01\0\0\0\0\0\0\0a",
    b"\x96\x01\0\0\0\0\0\0\0a",
    b"cos\nsystem\n",
    b"ccollections\nOrderedDict\n",
    b"\x93",
    b"\x85",
    b"\x86",
    b"\x87",
    b"t",
    b"]",
    b"l",
    b"a",
    b"e",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"}",
    b"d",
    b"s",
    b"u",
    b"q\x00",
    b"r\0\0\0\0",
    b"p0\n",
    b"\x94",
    b"h\x00",
    b"j\0\0\0\0",
    b"g0\n",
    b"Q",
    b"P0\n",
    b"R",
    b"\x81",
    b"\x92",
    b"o",
    b"icollections\nOrderedDict\n",
    b"b",
    b"\x97",
    b"\x98",
    b"\x82\x01",
    b"\x80\x04",
    b"\x95\0\0\0\0\0\0\0\0",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"\x8c\x0b_parameters",
    b"\x8c\x08_buffers",
    b"\x8c\x08_modules",
    b"\x8c\x0astate_dict",
];
const ZIP: &[&[u8]] = &[
    b"PK\x01\x02",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
    b"\x08\x00",
    b"\x01\x00\x18\x00",
    b"\xff\xff\xff\xff",
];
const HEADER: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"F32\"",
    b"\"F16\"",
    b"\"I64\"",
    b"\"shape\"",
    b"\"data_offsets\"",
    b"\"dtype\"",
    b"\"__metadata__\"",
    b"18446744073709551615",
    b"-1",
    b"1e99",
    b"\\u0000",
    b"null",
    b"[[[[[[[[",
];
const ARRAY: &[&[u8]] = &[
    b"'descr'",
    b"'<f4'",
    b"'>f8'",
    b"'|O'",
    b"'fortran_order': True",
    b"'shape': (",
    b"18446744073709551615,",
    b"\x93NUMPY",
];
const TEXT: &[&[u8]] = &[
    b"\n",
    b" = ",
    b"[",
    b"]",
    b"\"",
    b"'",
    b",",
    b":",
    b"-1",
    b"nan",
    b"inf",
    b"1e308",
    b"18446744073709551616",
    b"\0",
    b"\xff",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"{",
    b"}",
    b"#",
    b"true",
    b"1970-01-01",
    b"(",
    b")",
    b"@",
    b"resnet20",
];

/// All readers.
pub fn all() -> Vec<Reader> {
    let small = include_bytes!("../../src/weights/fixtures/small.pth").to_vec();
    let legacy = include_bytes!("../../src/weights/fixtures/small_legacy.pth").to_vec();
    let mut zips = vec![small];
    let mut legacies = vec![legacy];
    let mut pickles = vec![
        b"\x80\x02}q\x00(X\x01\0\0\0aq\x01K\x01u.".to_vec(),
        b"(dp0\nVa\np1\nI1\ns.".to_vec(),
    ];
    let mut npzs = vec![pack(&[("a.npy".into(), npy("<f4", "(2, 1)", &[0; 8]))], false)];
    for bytes in cases(&["weights", "hostile"]) {
        let of = match &bytes[..] {
            [b'P', b'K', ..] if bytes.windows(4).any(|part| part == b".npy") => &mut npzs,
            [b'P', b'K', ..] => &mut zips,
            [0x80, 2, 0x8a, 0x0a, ..] => &mut legacies,
            [0x80, ..] => &mut pickles,
            _ => continue,
        };
        of.push(bytes);
    }
    let inner = zips.iter().filter_map(|archive| unpack(archive)).flatten();
    pickles.extend(
        inner
            .filter(|(name, _)| name.ends_with("data.pkl"))
            .map(|(_, bytes)| bytes),
    );
    let weights_reader = |name, words, inputs, alter| Reader {
        name,
        words,
        inputs,
        alter,
        read: Box::new(read_weights),
    };
    let mut readers = vec![
        weights_reader("safetensors", HEADER, safetensors(), plain),
        weights_reader("pth, the archive", ZIP, zips.clone(), plain),
        weights_reader("pth, the pickle in it", PICKLE, zips, repacked),
        weights_reader("pth before 1.6", PICKLE, legacies, plain),
        weights_reader("pickle", PICKLE, pickles, plain),
        weights_reader("npz, the archive", ZIP, npzs.clone(), plain),
        weights_reader("npz, the arrays in it", ARRAY, npzs, repacked),
    ];
    readers.extend(texts());
    readers.extend(data_sets());
    readers
}

fn plain(bytes: &mut Vec<u8>, reader: &Reader, random: &mut Random) {
    mutate(bytes, &reader.inputs, reader.words, random);
}

/// Alters a file in an archive, so that its checksum is right.
fn repacked(bytes: &mut Vec<u8>, reader: &Reader, random: &mut Random) {
    let Some(mut files) = unpack(bytes).filter(|files| !files.is_empty()) else {
        return plain(bytes, reader, random);
    };
    let pickle = files.iter().position(|(name, _)| name.ends_with("data.pkl"));
    let at = match pickle {
        Some(at) if random.below(8) > 0 => at,
        _ => random.below(files.len()),
    };
    let others: Vec<Vec<u8>> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
    mutate(&mut files[at].1, &others, reader.words, random);
    *bytes = pack(&files, random.below(8) == 0);
}

/// Reads weights from memory, and sometimes from a file.
fn read_weights(bytes: &[u8], folder: &Path) -> Outcome {
    let path = folder.join("w.pth");
    let from_memory = weights::contents_of_bytes(&path, bytes);
    if bytes.len().is_multiple_of(8) {
        write(&path, bytes)?;
        let from_file = weights::contents(&path);
        match (&from_memory, &from_file) {
            (Ok(_), Ok(_)) => {}
            (memory, file) => {
                let text = |result: &Result<_, weights::WeightsError>| result.as_ref().err().map(ToString::to_string);
                assert_eq!(text(memory), text(file), "memory and file differ");
            }
        }
    }
    let options = weights::NameOptions::default();
    let named = from_memory.and_then(|contents| weights::canonical(contents, &options, None));
    named.map(drop).map_err(|error| error.to_string())
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    fs::write(path, bytes).map_err(|error| panic!("{}: {error}", path.display()))
}

/// The files of some folders of the small cases; none, with a line, if they are
/// missing.
fn cases(folders: &[&str]) -> Vec<Vec<u8>> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
    if !all.is_dir() {
        eprintln!("no ../shared/cases here: only the fixtures are altered");
        return Vec::new();
    }
    let files = folders.iter().flat_map(|folder| files_of(&all.join(folder)));
    files
        .filter(|(_, bytes)| bytes.len() < 1 << 17)
        .map(|(_, bytes)| bytes)
        .collect()
}

/// The names below a folder and the bytes of all files in it, sorted.
fn files_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for path in entries {
        let name = PathBuf::from(path.file_name().unwrap_or_default());
        if path.is_dir() {
            let inner = files_of(&path).into_iter();
            files.extend(inner.map(|(below, bytes)| (name.join(below), bytes)));
        } else if let Ok(bytes) = fs::read(&path) {
            files.push((name, bytes));
        }
    }
    files
}

fn safetensors() -> Vec<Vec<u8>> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let tensor = |shape: &[usize]| Tensor {
        shape: shape.to_vec(),
        data: vec![0.5; shape.iter().product()],
    };
    let tensors = [
        ("conv1.weight", tensor(&[2, 3, 3, 3])),
        ("fc.weight", tensor(&[2, 2])),
        ("fc.bias", tensor(&[2])),
    ];
    let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into();
    let metadata = BTreeMap::from([("model".to_owned(), "resnet8".to_owned())]);
    weights::write(file.path(), &tensors, &metadata).expect("a temporary file");
    let written = fs::read(file.path()).expect("a temporary file");
    let small = br#"{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"I64","shape":[],"data_offsets":[2,10]}}"#;
    vec![
        written,
        [&(small.len() as u64).to_le_bytes()[..], small, &[0; 10]].concat(),
    ]
}

/// A `.npy` file.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), values].concat()
}

/// Readers of texts: files that the programs write, and arguments.
fn texts() -> Vec<Reader> {
    let reader = |name, inputs: &[&str], read: fn(&[u8], &Path) -> Outcome| Reader {
        name,
        words: TEXT,
        inputs: inputs.iter().map(|text| text.as_bytes().to_vec()).collect(),
        alter: plain,
        read: Box::new(read),
    };
    vec![
        reader(
            "run.toml",
            &[
                "model = \"resnet8\"\ndata = \"synthetic\"\nepochs = 2\nlr = \"0.1\"\nmilestones = [1, 2]\n[made-by]\nversion = \"0.1.0\"\n",
            ],
            |bytes, folder| {
                let path = folder.join("run.toml");
                write(&path, bytes)?;
                let read = residua::train::read_config(&path);
                read.map(drop).map_err(|error| error.to_string())
            },
        ),
        reader("network.toml", NETWORKS, |bytes, folder| {
            let path = folder.join("own.toml");
            write(&path, bytes)?;
            let file = residua::models::NetworkFile::read(&path).map_err(|error| error.to_string())?;
            assert_eq!(file.text().parse(), Ok(file), "the text of a network is read back");
            Ok(())
        }),
        reader(
            "metrics.csv",
            &["epoch,step,lr,train_loss,train_error,test_loss,test_error,seconds\n1,10,0.1,2.3,0.9,2.2,0.85,1.5\n"],
            |bytes, folder| {
                for name in ["run.toml", "last.safetensors"] {
                    write(&folder.join(name), b"model = \"resnet8\"\n")?;
                }
                for name in ["metrics.csv", "steps.csv", "gradients.csv"] {
                    write(&folder.join(name), bytes)?;
                }
                let run = residua::train::RunDirectory::open(folder).map_err(|error| error.to_string())?;
                let read = run.read_metrics().map(drop);
                let read = read.and_then(|()| run.read_steps().map(drop));
                read.and_then(|()| run.read_gradients().map(drop))
                    .map_err(|error| error.to_string())
            },
        ),
        reader(
            "test.toml",
            &[
                "epoch = 2\nvalidation-error = 0.25\nimages = 32\nwrong = 8\nerror = 0.25\nloss = 0.9\nweights = \"a1\"\n",
            ],
            |bytes, folder| {
                write(&folder.join("run.toml"), b"model = \"resnet8\"\n")?;
                write(&folder.join("test.toml"), bytes)?;
                let run = residua::train::RunDirectory::open(folder).map_err(|error| error.to_string())?;
                run.read_test().map(drop).map_err(|error| error.to_string())
            },
        ),
        reader("tuning.toml", &[TUNING], |bytes, folder| {
            let path = folder.join("tuning.toml");
            write(&path, bytes)?;
            residua::tuning::read_tuning_file(&path)
                .map(drop)
                .map_err(|error| error.to_string())
        }),
        reader(
            "bench.json",
            &["{\"version\": 1, \"adapter\": {}, \"peak\": [], \"kernels\": []}"],
            |bytes, folder| {
                let path = folder.join("bench.json");
                write(&path, bytes)?;
                residua::bench::read(&path).map(drop).map_err(|error| error.to_string())
            },
        ),
        reader(
            "result log",
            &["{\"key\":\"study\",\"value\":{\"model\":\"resnet8\"}}\n{\"key\":\"a\",\"value\":[1,2.5]}\n"],
            |bytes, folder| {
                let path = folder.join("results.jsonl");
                write(&path, bytes)?;
                let identity = serde_json::json!({"model": "resnet8"});
                let log = residua::studies::ResultLog::open(&path, &identity);
                log.map(drop).map_err(|error| error.to_string())
            },
        ),
        reader(
            "arguments",
            &[
                "resnet20:shortcut=A-avg",
                "wrn-28-10:block=B(1,3,1):l=3:dropout=0.3",
                "preact-164",
                "plain-56",
                "vgg15-128",
                "cifar10:DIR",
                "synthetic:16,8",
                "step",
                "cosine",
                "poly:2",
                "crop-flip",
                "reference",
                "torchvision",
                "encoder.=",
                "lr=0.1,0.2",
                "seed=1..5",
                "linear",
                "conv 8x8 wg 64",
                "3x32x32",
            ],
            parse_arguments,
        ),
    ]
}

/// Networks in files: one with few keys, and one with all.
const NETWORKS: &[&str] = &[
    "[stem]\nwidth = 16\n[[stage]]\nblocks = 3\nkernels = [[3, 16], [3, 16]]\n",
    "name = \"a\"\ninput = \"3x32x32\"\nclasses = 10\nbias = true\norder = \"pre\"\nshortcut = \"B\"\nproject = \"raw\"\n\
     skip = \"shortcut-gate\"\ngate-bias = -5\nse = 4\ndropout = 0.3\ndropout-at = \"end\"\nstride-at = 2\n\
     [stem]\nkernel = 7\nwidth = 16\nstride = 2\nactivation = \"bn-relu\"\npool = true\n[[stage]]\nstride = 2\n\
     [[stage.blocks]]\ncount = 2\nkernels = [[1, 8], [3, 8, 4], [1, 16]]\n[[stage.blocks]]\ncount = 1\nstride = 2\n\
     kernels = [[5, 32], [1, 32]]\n[head]\nactivation = \"relu\"\ndropout = 0.1\n",
];

const TUNING: &str = include_str!("tuning.toml");

/// Reads an argument as everything that arguments can be.
fn parse_arguments(bytes: &[u8], _: &Path) -> Outcome {
    let text = String::from_utf8_lossy(bytes);
    let as_is = |error: &dyn ToString| error.to_string();
    let results = [
        text.parse::<residua::models::ModelSpec>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::data::Source>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::data::Augmentation>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::data::Padding>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::train::Schedule>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::train::DepthRule>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::weights::Dialect>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::weights::Rename>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::kernels::Algorithm>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::models::InputShape>()
            .map(drop)
            .map_err(|error| as_is(&error)),
        text.parse::<residua::studies::GridSetting>()
            .map(drop)
            .map_err(|error| as_is(&error)),
    ];
    results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
}

/// A data set among the small cases: its kind in `--data`, and the files or folders
/// with the names that they have in it.
type DataCase = (&'static str, &'static [(&'static str, &'static str)]);

/// Every kind of data set. A new one is one line here.
const DATA_SETS: [DataCase; 13] = [
    ("cifar10", &[("d-cifar-10-batches-py", "")]),
    ("cifar10", &[("d-cifar-10-python.tar.gz", "cifar-10-python.tar.gz")]),
    ("cifar10", &[("d-cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz")]),
    ("cifar100", &[("d-cifar-100-python", "")]),
    (
        "svhn",
        &[
            ("d-svhn-test_32x32.mat", "test_32x32.mat"),
            ("d-svhn-test_32x32.mat", "train_32x32.mat"),
        ],
    ),
    ("imagefolder", &[("d-imagefolder", "")]),
    (
        "mnist",
        &[
            ("d-t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
            ("d-t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        ],
    ),
    (
        "hf",
        &[("d-test-00000-of-00001.parquet", "test-00000-of-00001.parquet")],
    ),
    (
        "cifar10-c",
        &[
            ("d-cifar10c-gaussian_noise.npy", "gaussian_noise.npy"),
            ("d-cifar10c-labels.npy", "labels.npy"),
        ],
    ),
    ("npz", &[("d-arrays.npz", "arrays.npz")]),
    ("stl10", &[("d-stl10_binary", "")]),
    ("tiny-imagenet", &[("d-tiny-imagenet-200", "")]),
    // What a user gives without its kind.
    ("", &[("d-cifar-10-batches-py", "")]),
];

fn data_sets() -> Vec<Reader> {
    let record = |label: u8| [&[label][..], &[label; 3072]].concat();
    let mut files: Vec<(PathBuf, Vec<u8>)> = (1..=5)
        .map(|batch| (format!("data_batch_{batch}.bin").into(), record(batch)))
        .collect();
    files.push(("test_batch.bin".into(), [record(0), record(9)].concat()));
    files.push(("batches.meta.txt".into(), b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n".to_vec()));
    let mut readers = vec![data_set("CIFAR-10, binary", "cifar10", files)];
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases/data");
    for (kind, parts) in DATA_SETS {
        let files = parts.iter().flat_map(|(case, name)| {
            let path = cases.join(case);
            match path.is_dir() {
                true => files_of(&path),
                false => fs::read(&path)
                    .map(|bytes| vec![(PathBuf::from(name), bytes)])
                    .unwrap_or_default(),
            }
        });
        let files: Vec<_> = files.collect();
        if !files.is_empty() {
            readers.push(data_set(parts[0].0, kind, files));
        }
    }
    readers
}

/// The reader of `kind:FOLDER`, or of `kind:FILE` for a single file; its inputs are
/// the files, of which one is altered.
fn data_set(name: &'static str, kind: &'static str, files: Vec<(PathBuf, Vec<u8>)>) -> Reader {
    let inputs = files.iter().map(|(_, bytes)| bytes.clone()).collect();
    Reader {
        name,
        words: TEXT,
        inputs,
        alter: inside_gzip,
        read: Box::new(move |bytes, folder| {
            // Which file is altered follows from the bytes, so that the same
            // bytes are read in the same way.
            let sum: usize = bytes.iter().map(|&byte| usize::from(byte)).sum();
            let altered = sum % files.len();
            for (at, (name, whole)) in files.iter().enumerate() {
                let path = folder.join(name);
                fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(|error| error.to_string())?;
                write(&path, if at == altered { bytes } else { whole })?;
            }
            let path = match &files[..] {
                [(name, _)] => folder.join(name),
                _ => folder.to_path_buf(),
            };
            let text = match kind {
                "" => path.display().to_string(),
                kind => format!("{kind}:{}", path.display()),
            };
            let source: residua::data::Source = text.parse().map_err(|error| format!("{error}"))?;
            let of = |split| {
                source
                    .load_split(split, None, 0)
                    .map(drop)
                    .map_err(|error| error.to_string())
            };
            let train = of(residua::data::Split::Train);
            of(residua::data::Split::Test).and(train)
        }),
    }
}

/// Alters what a gzip file packs, so that its checksum is right; sometimes, and in
/// other files, the bytes themselves.
fn inside_gzip(bytes: &mut Vec<u8>, reader: &Reader, random: &mut Random) {
    let mut inner = Vec::new();
    let is_gzip = bytes.starts_with(b"\x1f\x8b") && random.below(8) > 0;
    if !is_gzip || GzDecoder::new(&bytes[..]).read_to_end(&mut inner).is_err() {
        return plain(bytes, reader, random);
    }
    mutate(&mut inner, &reader.inputs, reader.words, random);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&inner).expect("a vector takes all bytes");
    *bytes = encoder.finish().expect("a vector takes all bytes");
}
