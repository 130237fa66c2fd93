//! How are safetensors files read and written? They are a JSON header with
//! names, shapes and offsets, then the values
//! (<https://github.com/huggingface/safetensors>).

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::container::{Container, Format, LeftOut, Table};
use super::error::Damage;
use super::float::Float;
use super::tensor::{check_finite, check_shapes};
use super::view::{Type, Values, View};
use super::{Exported, TensorMap, WeightsError, seal};
use crate::files::write_atomic;
use crate::formats::source::{Budget, FormatError, Reader, Source, damaged};
use crate::shown::shown;

/// The entry of the header that is no tensor.
const METADATA: &str = "__metadata__";

/// The longest header: the format allows no more.
const LONGEST_HEADER: u64 = 100_000_000;
/// Memory of an entry of the header beside its name and shape.
const ENTRY: u64 = 250;

/// Whether a file with these first bytes and this size can be a safetensors file.
pub(super) fn recognises(beginning: &[u8], size: u64) -> bool {
    match beginning.split_first_chunk() {
        Some((length, [b'{', ..])) => u64::from_le_bytes(*length) <= LONGEST_HEADER.max(size),
        _ => false,
    }
}

/// All tensors of a safetensors file.
pub(super) fn decode(source: Source, budget: &Budget) -> Result<Container, Damage> {
    let cut = || {
        FormatError::Damaged(
            if source.size() == 0 {
                "it is empty"
            } else {
                "it is cut short"
            }
            .into(),
        )
    };
    let length = source.part(0, 8).ok_or_else(cut)?.read(0, 8)?;
    let length = length[..].try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    if length > LONGEST_HEADER {
        return Err(FormatError::Damaged(format!("its header of {length} bytes is too long")).into());
    }
    let header = source.part(8, length).ok_or_else(cut)?;
    let values = source.part(8 + length, source.size() - 8 - length).ok_or_else(cut)?;
    let text = header;
    let mut header = parse_header(header, budget)?;
    if header.metadata.remove(seal::KEY).is_some() {
        seal::check(source, text, budget)?;
    }
    check_offsets(&header.tensors, values.size())?;
    let mut table = Table::default();
    for (name, info) in header.tensors {
        let kind = float(&info.dtype);
        let size = info.data_offsets[1] - info.data_offsets[0];
        let bytes = values.part(info.data_offsets[0], size).ok_or_else(cut)?;
        let Some(float) = kind else {
            table.left_out.insert(name, LeftOut::Type(info.dtype));
            continue;
        };
        let view = View {
            kind: Type::Float(float),
            big_endian: false,
            offset: 0,
            shape: info.shape.iter().map(|&extent| extent.cast_signed()).collect(),
            strides: None,
        };
        let count = info
            .shape
            .iter()
            .try_fold(1_u64, |count, &extent| count.checked_mul(extent));
        if count.and_then(|count| count.checked_mul(float.size() as u64)) != Some(size) {
            let problem = format!("the size of its tensor '{}' does not fit its shape", shown(&name));
            return Err(FormatError::Damaged(problem).into());
        }
        match view.values(&name, bytes, budget)? {
            Values::Tensor(tensor) => drop(table.tensors.insert(name, tensor)),
            Values::Problem(problem) => drop(table.left_out.insert(name, LeftOut::Problem(problem))),
        }
    }
    Ok(Container {
        format: Format::Safetensors,
        tables: vec![table],
        facts: header.metadata,
        notes: Vec::new(),
    })
}

fn float(dtype: &str) -> Option<Float> {
    match dtype {
        "F16" => Some(Float::F16),
        "BF16" => Some(Float::BF16),
        "F32" => Some(Float::F32),
        "F64" => Some(Float::F64),
        _ => None,
    }
}

/// A tensor, as the header describes it.
#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

#[derive(Default)]
struct Header {
    tensors: BTreeMap<String, Info>,
    metadata: BTreeMap<String, String>,
}

/// Reads the header piece by piece, so that it need not be in memory as a whole.
fn parse_header(header: Source, budget: &Budget) -> Result<Header, FormatError> {
    let reader = BufReader::with_capacity(1 << 16, Reader::new(header));
    let mut json = serde_json::Deserializer::from_reader(reader);
    let full = Cell::new(false);
    let entries = HeaderVisitor { budget, full: &full };
    let parsed = json
        .deserialize_map(entries)
        .and_then(|header| json.end().map(|()| header));
    match parsed {
        Ok(header) => Ok(header),
        Err(_) if full.get() => Err(FormatError::Repeats("its header has too many entries".into())),
        Err(error) if error.is_io() => Err(FormatError::Io(error.into())),
        Err(error) => damaged(format!("its header: {}", shown(&error.to_string()))),
    }
}

/// Reads the entries of a header, whose memory is taken from the budget.
struct HeaderVisitor<'a> {
    budget: &'a Budget,
    /// Set when the budget does not suffice.
    full: &'a Cell<bool>,
}

impl HeaderVisitor<'_> {
    fn charge<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        if self.budget.take(ENTRY + bytes as u64) {
            return Ok(());
        }
        self.full.set(true);
        Err(E::custom("too many entries"))
    }
}

impl<'de> Visitor<'de> for HeaderVisitor<'_> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a table of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                header.metadata = map.next_value()?;
                let texts = header.metadata.iter();
                let size: usize = texts.map(|(name, text)| name.len() + text.len() + 100).sum();
                self.charge(size)?;
                continue;
            }
            let info: Info = map.next_value()?;
            self.charge(name.len() + 8 * info.shape.len() + info.dtype.len())?;
            if let Some((name, _)) = header.tensors.insert(name.clone(), info).map(|info| (name, info)) {
                return Err(serde::de::Error::custom(format!(
                    "two tensors are named '{}'",
                    shown(&name)
                )));
            }
        }
        Ok(header)
    }
}

/// The values of the tensors must follow each other without gaps, as the format
/// requires.
fn check_offsets(tensors: &BTreeMap<String, Info>, size: u64) -> Result<(), FormatError> {
    let mut ranges: Vec<[u64; 2]> = tensors.values().map(|info| info.data_offsets).collect();
    ranges.sort_unstable();
    let mut end = 0;
    for [start, next] in ranges {
        if start != end || next < start {
            return damaged("the values of its tensors have gaps or overlap");
        }
        end = next;
    }
    match size.cmp(&end) {
        Ordering::Equal => Ok(()),
        Ordering::Less => damaged("its values are cut short"),
        Ordering::Greater => damaged("it has bytes that belong to no tensor"),
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
    write_exact(path, tensors, &BTreeMap::new(), metadata)
}

/// As [`write`]; the tensors that `exact` has values for are stored as F64, with
/// these values instead of the rounded ones.
///
/// # Errors
/// As [`write`].
pub fn write_exact(
    path: &Path,
    tensors: &TensorMap,
    exact: &BTreeMap<String, Vec<f64>>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    let mut entries = entries(tensors);
    for (name, values) in exact {
        if let Some((_, entry)) = entries.get_mut(name.as_str()) {
            *entry = Entry::F64(values);
        }
    }
    write_entries(path, tensors, &entries, metadata)
}

/// As [`write`], with the counters of `exported` as I64.
///
/// # Errors
/// As [`write`].
pub fn write_exported(
    path: &Path,
    exported: &Exported,
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    let mut entries = entries(&exported.tensors);
    for (name, &count) in &exported.counters {
        entries.insert(name, (&[], Entry::I64(count)));
    }
    write_entries(path, &exported.tensors, &entries, metadata)
}

/// The values of a tensor, as they are stored.
enum Entry<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(i64),
}

impl Entry<'_> {
    /// Bytes of one value.
    fn width(&self) -> usize {
        match self {
            Entry::F32(_) => 4,
            Entry::F64(_) | Entry::I64(_) => 8,
        }
    }
}

/// Shapes and values by name.
type Entries<'a> = BTreeMap<&'a str, (&'a [usize], Entry<'a>)>;

fn entries(tensors: &TensorMap) -> Entries<'_> {
    let entries = tensors.iter();
    entries
        .map(|(name, tensor)| (name.as_str(), (&tensor.shape[..], Entry::F32(&tensor.data))))
        .collect()
}

/// The entries in the order of their values in the file: the widest types first,
/// so that each begins at a multiple of its width, as PyTorch's reader needs.
fn in_order<'a>(entries: &'a Entries) -> impl Iterator<Item = (&'a str, &'a (&'a [usize], Entry<'a>))> {
    let of_width = |width| entries.iter().filter(move |(_, (_, entry))| entry.width() == width);
    of_width(8).chain(of_width(4)).map(|(name, entry)| (*name, entry))
}

fn write_entries(
    path: &Path,
    tensors: &TensorMap,
    entries: &Entries,
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    check_shapes(tensors)?;
    check_finite(path, tensors)?;
    let mut bytes = header(entries, metadata);
    for (_, (_, values)) in in_order(entries) {
        match values {
            Entry::F32(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Entry::F64(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Entry::I64(count) => bytes.extend(count.to_le_bytes()),
        }
    }
    seal::seal(&mut bytes);
    Ok(write_atomic(path, &bytes)?)
}

/// The values of the F64 tensors of the safetensors file with these bytes, as
/// they are; its other tensors are left out. Nothing for bytes of another
/// format.
pub fn exact(bytes: &[u8]) -> BTreeMap<String, Vec<f64>> {
    let header = || {
        let (length, rest) = bytes.split_first_chunk()?;
        let (header, values) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let budget = Budget::of_file(bytes.len() as u64);
        Some((parse_header(Source::of_bytes(header), &budget).ok()?, values))
    };
    let Some((header, values)) = header() else {
        return BTreeMap::new();
    };
    let values_of = |info: &Info| -> Option<Vec<f64>> {
        let [start, end] = info.data_offsets.map(|offset| offset as usize);
        let values = values.get(start..end)?.as_chunks().0;
        Some(values.iter().map(|&value| f64::from_le_bytes(value)).collect())
    };
    let tensors = header.tensors.into_iter().filter(|(_, info)| info.dtype == "F64");
    tensors
        .filter_map(|(name, info)| Some((name, values_of(&info)?)))
        .collect()
}

/// The length of the header, and the header. Spaces at its end let the values
/// begin at a multiple of 8 bytes, as the format requires.
fn header(entries: &Entries, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut metadata = metadata.clone();
    metadata.insert(seal::KEY.to_owned(), seal::unknown());
    let mut header = Map::new();
    header.insert(METADATA.to_owned(), json!(metadata));
    let mut end = 0;
    for (name, (shape, values)) in in_order(entries) {
        let start = end;
        let (dtype, count) = match values {
            Entry::F32(values) => ("F32", values.len()),
            Entry::F64(values) => ("F64", values.len()),
            Entry::I64(_) => ("I64", 1),
        };
        end += values.width() * count;
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        header.insert(name.to_owned(), entry);
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Loaded, Tensor, hash, read};
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
