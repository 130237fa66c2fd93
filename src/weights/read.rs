//! How is a weights file read, whatever its format?

use std::fmt::Write;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::container::{Container, Format, Table};
use super::error::Damage;
use super::tensor::check_finite;
use super::{Loaded, WeightsError, pth, safetensors};
use crate::files::{open_regular, read_open};

/// Reads the tensors of a file as f32: a safetensors file, or one of PyTorch's
/// `torch.save`. The first bytes of the file show its format.
///
/// F16, BF16 and F64 are converted. I64 and I32 tensors are left out: they are
/// PyTorch's `num_batches_tracked` counters, which are not needed.
///
/// # Errors
/// If the file is missing, incomplete or damaged, or a tensor has another type
/// or a value that is not finite.
pub fn read(path: &Path) -> Result<Loaded, WeightsError> {
    let mut container = contents(path)?;
    let table = container.tables.pop().unwrap_or_default();
    check_finite(path, &table.tensors)?;
    Ok(Loaded {
        tensors: table.tensors,
        metadata: container.facts,
    })
}

/// Reads everything that a weights file contains: each table of tensors, and the
/// other values. No table is chosen, and the tensors' values are not checked.
///
/// # Errors
/// If the file is missing, incomplete or damaged.
pub fn contents(path: &Path) -> Result<Container, WeightsError> {
    let bytes = read_bytes(path)?;
    let (format, loaded) = if pth::recognises(&bytes) {
        (Format::PytorchZip, pth::decode(&bytes))
    } else {
        (Format::Safetensors, safetensors::decode(&bytes))
    };
    let name = match format {
        Format::Safetensors => "safetensors",
        _ => "PyTorch",
    };
    let loaded = loaded.map_err(|damage| in_file(path, name, damage))?;
    Ok(Container {
        format,
        tables: vec![Table {
            tensors: loaded.tensors,
            ..Table::default()
        }],
        facts: loaded.metadata,
        notes: Vec::new(),
    })
}

/// The SHA-256 of a file's bytes, in hexadecimal.
///
/// # Errors
/// If the file is missing or cannot be read.
pub fn hash(path: &Path) -> Result<String, WeightsError> {
    let digest = Sha256::digest(read_bytes(path)?);
    let mut hex = String::with_capacity(2 * digest.len());
    for byte in digest {
        write!(hex, "{byte:02x}").expect("a String takes every write");
    }
    Ok(hex)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, WeightsError> {
    let read = open_regular(path).and_then(|(file, size)| read_open(&file, size, size));
    read.map_err(|source| {
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
        Damage::Form(problem) => WeightsError::Corrupt { path, format, problem },
        Damage::NoTable => WeightsError::NoTable { path },
        Damage::Type { tensor, dtype } => WeightsError::Type { path, tensor, dtype },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::test_data;
    use crate::weights::{Dialect, NameOptions, Naming, read_canonical};

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
        for bytes in [&b""[..], b"PK", b"PK\x03\x04rest", b"\x80\x02", b"<html>\n404\n"] {
            fs::write(file.path(), bytes).unwrap();
            let error = read(file.path()).unwrap_err().to_string();
            assert!(error.contains("is not a whole"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
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
