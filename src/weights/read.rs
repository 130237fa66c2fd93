//! How is a weights file read, whatever its format?

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::container::{Container, LeftOut};
use super::error::Damage;
use super::tensor::check_finite;
use super::{Loaded, WeightsError, folder, foreign, npz, pth, safetensors};
use crate::files::{open_regular, read_open};
use crate::formats::source::{Budget, FormatError, Source};
use crate::formats::zip::{self, Archive};
use crate::hex::hex;

/// The bytes of a file that show its format.
const BEGINNING: usize = 512;

/// Reads the tensors of a file as f32: a safetensors file, one of PyTorch's
/// `torch.save`, or NumPy's `.npz`. The first bytes of the file show its format.
/// If the file has several tables of tensors, this is the first one.
///
/// F16, BF16 and F64 are converted. I64 and I32 tensors are left out: they are
/// PyTorch's `num_batches_tracked` counters, which are not needed.
///
/// # Errors
/// If the file is missing, incomplete or damaged, or a tensor has another type
/// or a value that is not finite.
pub fn read(path: &Path) -> Result<Loaded, WeightsError> {
    loaded(path, contents(path)?)
}

/// As [`read`], of a file whose bytes are in memory; `path` is for errors.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(path: &Path, bytes: &[u8]) -> Result<Loaded, WeightsError> {
    loaded(path, contents_of_bytes(path, bytes)?)
}

/// The bytes of a weights file that is read once, for several purposes.
///
/// # Errors
/// If the file is missing or cannot be read.
pub fn bytes_of(path: &Path) -> Result<Vec<u8>, WeightsError> {
    let (file, size) = open(path)?;
    read_open(&file, size, size).map_err(|source| WeightsError::Unreadable {
        path: path.to_path_buf(),
        source,
    })
}

fn loaded(path: &Path, mut container: Container) -> Result<Loaded, WeightsError> {
    let table = container.tables.swap_remove(0);
    check_finite(path, &table.tensors)?;
    let left_out = table.left_out.iter().find(|(_, reason)| !reason.is_counter());
    if let Some((name, reason)) = left_out {
        return Err(reason.of(path, name));
    }
    Ok(Loaded {
        tensors: table.tensors,
        metadata: container.facts,
    })
}

/// Reads everything that a weights file contains: each table of tensors, and the
/// other values. No table is chosen, and the tensors' values are not checked.
///
/// `path` may also be the index of shards (`*.index.json`), or a folder that has
/// `model.safetensors`, `pytorch_model.bin` or such an index; the values in the
/// folder's `config.json` are facts.
///
/// Reading needs no more memory than twice the size of the file and 20 MB, and
/// runs nothing.
///
/// # Errors
/// If the file is missing, incomplete or damaged, has another format, or has no
/// tensors.
pub fn contents(path: &Path) -> Result<Container, WeightsError> {
    WeightsFile::open(path)?.contents()
}

/// A weights file that is open. Its contents and its hash are of one state of the
/// file, also where another one takes its name meanwhile.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    /// `None` for a folder or an index of shards, which are several files.
    file: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    size: u64,
    modified: Option<SystemTime>,
}

impl Opened {
    fn source(&self) -> Source<'_> {
        Source::of_file(&self.file, self.size)
    }

    /// Whether nobody has written to the file since it was opened.
    fn is_unchanged(&self) -> bool {
        let now = self.file.metadata();
        now.is_ok_and(|now| now.len() == self.size && now.modified().ok() == self.modified)
    }
}

impl WeightsFile {
    /// Opens the file, folder or index at `path`.
    ///
    /// # Errors
    /// If it is missing, no regular file, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = if path.is_dir() || folder::is_index(path) {
            None
        } else {
            let (file, size) = open(path)?;
            let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
            Some(Opened { file, size, modified })
        };
        Ok(Self {
            path: path.to_path_buf(),
            file,
        })
    }

    /// Everything in the file, see [`contents`].
    ///
    /// # Errors
    /// As [`contents`].
    pub fn contents(&self) -> Result<Container, WeightsError> {
        match &self.file {
            Some(opened) => contents_of(&self.path, opened.source()),
            None if self.path.is_dir() => folder::read(&self.path),
            None => folder::read_index(&self.path),
        }
    }

    /// The SHA-256 of the file's bytes, in hexadecimal; of a folder or an index, of
    /// the names and hashes of the files that it is read from.
    ///
    /// # Errors
    /// If the file cannot be read, or was written to since it was opened.
    pub fn hash(&self) -> Result<String, WeightsError> {
        let mut digest = Sha256::new();
        match &self.file {
            Some(opened) => {
                let read = opened.source().each_part(|part| digest.update(part));
                // A file that became shorter could not be read to its end.
                if !opened.is_unchanged() {
                    return Err(WeightsError::Changed {
                        path: self.path.clone(),
                    });
                }
                read.map_err(|error| in_file(&self.path, "weights", error.into()))?;
            }
            None => {
                for part in folder::files(&self.path)? {
                    let name = part.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    digest.update(format!("{}  {name}\n", hash(&part)?));
                }
            }
        }
        Ok(hex(&digest.finalize()))
    }
}

/// As [`contents`], of a file whose bytes are in memory; `path` is for errors. An
/// index of shards is refused, as its shards are other files.
///
/// # Errors
/// As [`contents`].
pub fn contents_of_bytes(path: &Path, bytes: &[u8]) -> Result<Container, WeightsError> {
    contents_of(path, Source::of_bytes(bytes))
}

fn contents_of(path: &Path, source: Source) -> Result<Container, WeightsError> {
    let budget = Budget::of_file(source.size());
    let (format, container) = decode(source, &budget).map_err(|damage| in_file(path, "weights", damage))?;
    let mut container = container.map_err(|damage| in_file(path, format, damage))?;
    if container.tables.iter().any(|table| !table.tensors.is_empty()) {
        container.leave_out_tables();
        return Ok(container);
    }
    let mut left_out = container.tables.iter().flat_map(|table| &table.left_out);
    match left_out.find(|(_, reason)| !reason.is_counter()) {
        Some((name, reason)) => Err(reason.of(path, name)),
        None => Ok(container),
    }
}

/// The name of the format, and what the bytes hold.
type Decoded = (&'static str, Result<Container, Damage>);

/// Recognises the format of the bytes and reads them. An error of the outer result
/// is of a file of no known format.
fn decode(source: Source, budget: &Budget) -> Result<Decoded, Damage> {
    let beginning = source.beginning(BEGINNING)?;
    if zip::recognises(&beginning) {
        return Ok(match decode_zip(source, budget) {
            Ok(decoded) => decoded,
            Err(damage) => ("zip", Err(damage)),
        });
    }
    if pth::is_legacy(&beginning) {
        return Ok(("PyTorch", pth::from_legacy(source, budget)));
    }
    if safetensors::recognises(&beginning, source.size()) {
        return Ok(("safetensors", safetensors::decode(source, budget)));
    }
    let end = source.size().saturating_sub(8);
    let end = source.read(end, (source.size() - end) as usize)?;
    if let Some(what) = foreign::recognise(&beginning, &end) {
        return Err(Damage::Foreign(what.to_owned()));
    }
    if pth::is_pickle(&beginning) {
        return Ok(("pickle", pth::from_pickle(source, budget)));
    }
    Ok(("safetensors", safetensors::decode(source, budget)))
}

fn decode_zip(source: Source, budget: &Budget) -> Result<Decoded, Damage> {
    let archive = Archive::open(source, budget)?;
    let folder = archive.names().find_map(|name| match name.strip_suffix("data.pkl") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => Some(folder),
        _ => None,
    });
    if let (Some(folder), false) = (folder, foreign::is_torchscript(&archive)) {
        return Ok(("PyTorch", pth::from_zip(&archive, folder, source.size(), budget)));
    }
    if npz::recognises(&archive) {
        return Ok(("NumPy .npz", npz::read(&archive, budget)));
    }
    Err(Damage::Foreign(foreign::of_archive(&archive)))
}

/// The SHA-256 of a file's bytes, in hexadecimal.
///
/// # Errors
/// If the file is missing or cannot be read.
pub fn hash(path: &Path) -> Result<String, WeightsError> {
    WeightsFile::open(path)?.hash()
}

fn open(path: &Path) -> Result<(File, u64), WeightsError> {
    open_regular(path).map_err(|source| {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => WeightsError::NoFile { path },
            _ => WeightsError::Unreadable { path, source },
        }
    })
}

fn in_file(path: &Path, format: &'static str, damage: Damage) -> WeightsError {
    let path = path.to_path_buf();
    match damage {
        Damage::Form(FormatError::Damaged(problem)) => WeightsError::Corrupt { path, format, problem },
        Damage::Form(FormatError::Unusable(problem)) => WeightsError::Unusable { path, format, problem },
        Damage::Form(FormatError::Repeats(what)) => WeightsError::Repeats { path, what },
        Damage::Form(FormatError::Io(source)) => WeightsError::Unreadable { path, source },
        Damage::Foreign(what) => WeightsError::Foreign { path, what },
        Damage::NoTable(what) => WeightsError::NoTable { path, what },
        Damage::Calls(function) => WeightsError::Calls { path, function },
    }
}

impl LeftOut {
    /// The error about a tensor of this file that is needed.
    pub(super) fn of(&self, path: &Path, tensor: &str) -> WeightsError {
        let (path, tensor) = (path.to_path_buf(), tensor.to_owned());
        match self.clone() {
            LeftOut::Type(dtype) => WeightsError::Type { path, tensor, dtype },
            LeftOut::Problem(problem) => WeightsError::Tensor { tensor, problem }.of(&path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::test_data;
    use crate::weights::{Dialect, Format, NameOptions, Naming, read_canonical};

    #[test]
    fn missing_file_is_named() {
        let nowhere = Path::new("nowhere.safetensors");
        let error = read(nowhere).unwrap_err().to_string();
        assert_eq!(error, "no weights file nowhere.safetensors: check the name");
        assert!(hash(nowhere).is_err());
    }

    #[test]
    fn other_files_are_refused_in_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bytes, wanted) in [
            (&b""[..], "is not a whole safetensors file: it is empty"),
            (b"PK", "is not a whole"),
            (b"PK\x03\x04rest", "is not a whole zip file"),
            (b"\x80\x02", "is not a whole pickle file"),
            (b"<html>\n404\n", "is an HTML page"),
        ] {
            fs::write(file.path(), bytes).unwrap();
            let error = read(file.path()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    /// The folder of small inputs that are not in the repository; `None`, with a
    /// message, if it is missing.
    fn cases() -> Option<std::path::PathBuf> {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
        if !cases.is_dir() {
            eprintln!("SKIPPED: no ../shared/cases here");
        }
        cases.is_dir().then_some(cases)
    }

    #[test]
    fn tables_of_other_programs_are_found() {
        let Some(cases) = cases() else { return };
        for (name, format, tables) in [
            ("w-protocol4-set-bytes.pth", Format::PytorchZip, &["state_dict"][..]),
            ("w-long4.pth", Format::PytorchZip, &["state_dict"]),
            ("w-complex-beside-legacy.pth", Format::PytorchLegacy, &["state_dict"]),
            ("w-key-network.pth", Format::PytorchZip, &["network"]),
            ("w-key-model_ema.pth", Format::PytorchZip, &["model_ema"]),
            (
                "w-nested-model.state_dict.pth",
                Format::PytorchZip,
                &["model.state_dict"],
            ),
            ("w-list-of-state_dict.pth", Format::PytorchZip, &["0"]),
            ("w-prefix-net.pth", Format::PytorchZip, &[""]),
            ("w-lightning.ckpt", Format::PytorchZip, &["state_dict"]),
            ("w-whole-module.pth", Format::PytorchZip, &[""]),
            ("w-deflated.pth", Format::PytorchZip, &[""]),
            ("w-numpy.npz", Format::Npz, &[""]),
            ("w-numpy-dict.pkl", Format::Pickle, &[""]),
            ("w-hf-folder", Format::Safetensors, &[""]),
            ("w-defaultdict-beside.pth", Format::PytorchZip, &["state_dict"]),
            ("w-optimizer-object-beside.pth", Format::PytorchZip, &["state_dict"]),
        ] {
            let container = contents(&cases.join("weights").join(name)).unwrap_or_else(|error| panic!("{error}"));
            let found: Vec<&str> = container.tables.iter().map(|table| table.path.as_str()).collect();
            assert_eq!((container.format, &found[..]), (format, tables), "{name}");
            let count = container.tables[0].tensors.len();
            assert!((37..=44).contains(&count), "{name}: {count}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_remedy() {
        let Some(cases) = cases() else { return };
        for (name, wanted) in [
            ("weights/w-torchscript.pt", "is a TorchScript archive"),
            ("weights/w-gzipped.pth.gz", "is gzip-compressed: unpack it by `gunzip`"),
            (
                "weights/w-zip-around-pth.zip",
                "is a zip archive that holds resnet.pth: unpack it",
            ),
            ("weights/w-plain-pickle-of-state_dict.pkl", "written by pickle.dump"),
            (
                "hostile/h-p18-ordereddict-bomb-45KB.pth",
                "repeats itself beyond its size",
            ),
            ("hostile/h-p19-metadata-bomb-45KB.pth", "repeats itself beyond its size"),
            ("hostile/h-p21-time-bomb-45KB.pth", "repeats itself beyond its size"),
            ("hostile/h-s18-html.safetensors", "is an HTML page"),
            ("hostile/h-s18b-git-lfs-pointer.safetensors", "run `git lfs pull`"),
            (
                "hostile/h-p04-negative-stride.pth",
                "tensor 'layer1.0.conv1.weight' has a negative stride",
            ),
            ("hostile/h-p01-os-system.pth", "the pickle calls os.system"),
            ("hostile/h-p02-os-system-inner.pth", "the pickle calls os.system"),
        ] {
            let error = contents(&cases.join(name)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{name}: {error}");
            assert!(!error.contains("download it again") && !error.contains('\n'), "{error}");
        }
        let container = contents(&cases.join("hostile/h-p30-empty-state_dict-first.pth")).unwrap();
        assert_eq!(container.tables[0].path, "model");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("weights.pth");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [&pipe, Path::new("/dev/zero")] {
            let error = contents(path).unwrap_err().to_string();
            assert!(error.contains("not a file"), "{error}");
        }
    }

    #[test]
    fn a_sparse_file_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(100 << 30).unwrap();
        let error = contents(file.path()).unwrap_err().to_string();
        assert!(error.contains("is not a whole"), "{error}");
    }

    #[test]
    fn contents_and_hash_are_of_the_file_that_was_opened() {
        let Some(folder) = test_data("cifar10-weights") else {
            return;
        };
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("weights.safetensors");
        fs::copy(folder.join("resnet20.safetensors"), &path).unwrap();
        let whole = hash(&path).unwrap();
        let opened = WeightsFile::open(&path).unwrap();
        let other = place.path().join("other");
        fs::copy(folder.join("resnet32.safetensors"), &other).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(
            opened.contents().unwrap().tables[0].tensors["module.linear.bias"].shape,
            [10]
        );
        assert_eq!(opened.hash().unwrap(), whole);
        assert_ne!(hash(&path).unwrap(), whole);
        // A file that is written to has no hash of what was read.
        let opened = WeightsFile::open(&path).unwrap();
        fs::write(&path, b"shorter").unwrap();
        let error = opened.hash().unwrap_err().to_string();
        assert!(error.contains("has changed"), "{error}");
    }

    #[test]
    fn hash_is_sha256() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"abc").unwrap();
        assert_eq!(
            hash(file.path()).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn real_weights_have_the_published_sizes() {
        let Some(folder) = test_data("cifar10-weights") else {
            return;
        };
        for (depth, parameters) in [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)] {
            let path = folder.join(format!("resnet{depth}.safetensors"));
            let weights = read_canonical(&path, &NameOptions::default(), None).unwrap();
            assert_eq!(weights.naming, Naming::Dialect(Dialect::Akamaster));
            let tensors = weights.tensors;
            let trained = tensors.iter().filter(|(name, _)| !name.contains("running"));
            let count: usize = trained.map(|(_, tensor)| tensor.data.len()).sum();
            assert_eq!(count, parameters, "resnet{depth}");
            assert_eq!(tensors["fc.weight"].shape, [10, 64]);
        }
    }

    #[test]
    fn real_legacy_pickle_holds_what_the_safetensors_do() {
        let Some(folder) = test_data("cifar10-weights") else {
            return;
        };
        let pickled = read(&folder.join("resnet20-12fca82f.th")).unwrap();
        let safe = read(&folder.join("resnet20.safetensors")).unwrap();
        assert_eq!(pickled.tensors, safe.tensors);
        assert!(pickled.metadata["best_prec1"].starts_with("91.78"));
    }
}
