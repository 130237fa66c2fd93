//! How are safetensors files read and written? They are a JSON header with
//! names, shapes and offsets, then the values
//! (<https://github.com/huggingface/safetensors>).

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::{Map, Value, json};

use super::error::Damage;
use super::float::Float;
use super::tensor::{check_finite, check_shapes};
use super::{Loaded, Tensor, TensorMap, WeightsError};
use crate::files::write_atomic;

/// The floating-point tensors of a safetensors file; integer counters are left
/// out.
pub(super) fn decode(bytes: &[u8]) -> Result<Loaded, Damage> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let mut tensors = TensorMap::new();
    for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
        let float = match view.dtype() {
            Dtype::F16 => Float::F16,
            Dtype::BF16 => Float::BF16,
            Dtype::F32 => Float::F32,
            Dtype::F64 => Float::F64,
            Dtype::I64 | Dtype::I32 => continue,
            other => {
                return Err(Damage::Type {
                    tensor: name.to_owned(),
                    dtype: other.to_string(),
                });
            }
        };
        let tensor = Tensor {
            shape: view.shape().to_vec(),
            data: float.decode_all(view.data()),
        };
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(Loaded {
        tensors,
        metadata: metadata.into_iter().collect(),
    })
}

impl From<SafeTensorError> for Damage {
    fn from(error: SafeTensorError) -> Self {
        Self::Form(error.to_string())
    }
}

/// Writes tensors and metadata as a safetensors file. The file appears complete
/// or not at all.
///
/// The same content gives the same bytes, because names are sorted. The writer of
/// the crate `safetensors` uses hash maps, which have no order.
///
/// # Errors
/// If a value is not finite, a tensor's number of values does not fit its
/// shape, or the file cannot be written. An existing file then stays unchanged.
pub fn write(path: &Path, tensors: &TensorMap, metadata: &BTreeMap<String, String>) -> Result<(), WeightsError> {
    check_shapes(tensors)?;
    check_finite(path, tensors)?;
    let mut bytes = header(tensors, metadata);
    for tensor in tensors.values() {
        bytes.extend(tensor.data.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(write_atomic(path, &bytes)?)
}

/// The length of the header, and the header. Spaces at its end let the values
/// begin at a multiple of 8 bytes, as the format requires.
fn header(tensors: &TensorMap, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += 4 * tensor.data.len();
        let entry = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end] });
        entries.insert(name.clone(), entry);
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{hash, read};
    use proptest::prelude::*;
    use std::fs;
    use tempfile::TempDir;

    fn sample() -> (TensorMap, BTreeMap<String, String>) {
        let tensor = |shape: &[usize]| Tensor {
            shape: shape.to_vec(),
            data: (0..shape.iter().product()).map(|i: usize| i as f32 - 0.5).collect(),
        };
        let tensors = [
            ("fc.weight", tensor(&[2, 3])),
            ("fc.bias", tensor(&[2])),
            ("scalar", tensor(&[])),
            ("empty", tensor(&[0, 4])),
        ];
        let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into();
        (tensors, [("model".to_owned(), "wrn-16-1".to_owned())].into())
    }

    fn written() -> (TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let (tensors, metadata) = sample();
        write(&path, &tensors, &metadata).unwrap();
        (folder, path)
    }

    /// A file with one tensor with the given type and bytes.
    fn one_tensor(dtype: &str, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
        let header = json!({
            "w": { "dtype": dtype, "shape": shape, "data_offsets": [0, bytes.len()] }
        });
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat()
    }

    fn read_of(bytes: &[u8]) -> Result<Loaded, WeightsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        read(file.path())
    }

    #[test]
    fn what_is_written_is_read() {
        let (_folder, path) = written();
        let (tensors, metadata) = sample();
        assert_eq!(read(&path).unwrap(), Loaded { tensors, metadata });
        let empty = path.with_file_name("empty.safetensors");
        write(&empty, &TensorMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(read(&empty).unwrap(), Loaded::default());
    }

    #[test]
    fn same_content_same_bytes() {
        let (_a, first) = written();
        let (_b, second) = written();
        assert_eq!(hash(&first).unwrap(), hash(&second).unwrap());
    }

    #[test]
    fn other_floats_are_converted_and_counters_left_out() {
        let only = |dtype, bytes: &[u8]| {
            read_of(&one_tensor(dtype, &[1], bytes)).map(|loaded| loaded.tensors.get("w").cloned())
        };
        for (dtype, bytes) in [
            ("F16", &0x3e00u16.to_le_bytes()[..]),
            ("BF16", &0x3fc0u16.to_le_bytes()),
            ("F32", &1.5f32.to_le_bytes()),
            ("F64", &1.5f64.to_le_bytes()),
        ] {
            assert_eq!(only(dtype, bytes).unwrap().unwrap().data, [1.5], "{dtype}");
        }
        assert_eq!(only("I64", &[0; 8]).unwrap(), None);
        assert_eq!(only("I32", &[0; 4]).unwrap(), None);
        let error = only("U8", &[0]).unwrap_err().to_string();
        assert!(error.contains("'w' is U8"), "{error}");
    }

    #[test]
    fn non_finite_values_are_neither_read_nor_written() {
        for value in [f32::NAN, f32::INFINITY] {
            let error = read_of(&one_tensor("F32", &[1], &value.to_le_bytes()));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("tensor 'w' holds"), "{error}");
        }
        let (_folder, path) = written();
        let before = hash(&path).unwrap();
        let (mut tensors, metadata) = sample();
        tensors.get_mut("fc.bias").unwrap().data[1] = f32::NAN;
        assert!(write(&path, &tensors, &metadata).is_err());
        assert_eq!(hash(&path).unwrap(), before);
    }

    #[test]
    fn shape_and_data_must_agree() {
        let (_folder, path) = written();
        for shape in [vec![3], vec![usize::MAX, 2]] {
            let tensor = Tensor {
                shape,
                data: vec![0.0; 2],
            };
            let tensors = [("w".to_owned(), tensor)].into();
            let error = write(&path, &tensors, &BTreeMap::new()).unwrap_err();
            assert!(matches!(error, WeightsError::Shape { .. }), "{error}");
        }
    }

    #[test]
    fn every_truncation_is_an_error_of_one_line() {
        let (_folder, path) = written();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("last.safetensors is not a whole"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(position in 0usize..512, byte: u8) {
            let (_folder, path) = written();
            let mut bytes = fs::read(&path).unwrap();
            let position = position % bytes.len();
            bytes[position] = byte;
            fs::write(&path, &bytes).unwrap();
            let _ = read(&path);
        }
    }
}
