//! Which numeric arrays are in a MATLAB file of level 5?
//!
//! A file is a header of 128 bytes, then elements: a type, a number of bytes,
//! and that many bytes. An element may be a zlib stream that holds another one;
//! arrays are elements that hold elements (MathWorks, "MAT-File Format").

use std::io::Read;

use flate2::read::ZlibDecoder;

const HEADER: usize = 128;
const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;

/// An array of numbers, the first index the fastest.
#[derive(Debug, PartialEq)]
pub(crate) struct Array {
    /// The name of the variable.
    pub name: String,
    /// The number of values along each axis.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Values,
}

/// The values of an array.
#[derive(Debug, PartialEq)]
pub(crate) enum Values {
    /// Bytes, as of images.
    Bytes(Vec<u8>),
    /// Numbers of any other type.
    Numbers(Vec<f64>),
}

impl Values {
    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        match self {
            Values::Bytes(bytes) => bytes.len(),
            Values::Numbers(numbers) => numbers.len(),
        }
    }

    /// The value at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<f64> {
        match self {
            Values::Bytes(bytes) => bytes.get(index).map(|&byte| f64::from(byte)),
            Values::Numbers(numbers) => numbers.get(index).copied(),
        }
    }
}

/// Whether the bytes begin like a MATLAB file of level 5.
pub(crate) fn recognises(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MATLAB 5.0 MAT-file")
}

/// The numeric arrays that have one of `names`; other variables are skipped.
/// None may unpack to more than `limit` bytes.
pub(crate) fn arrays(file: &[u8], names: &[&str], limit: u64) -> Result<Vec<Array>, String> {
    match file.get(HEADER - 4..HEADER) {
        Some([0, 1, b'I', b'M']) => {}
        Some([1, 0, b'M', b'I']) => return Err("its numbers are big-endian, which is not read".into()),
        _ => return Err("it is no MATLAB file of level 5; save it with -v7".into()),
    }
    let mut found = Vec::new();
    let mut rest = &file[HEADER..];
    while !rest.is_empty() {
        let element = Element::take(&mut rest)?;
        match element.kind {
            COMPRESSED => {
                let mut unpacked = Vec::new();
                let stream = ZlibDecoder::new(element.data).take(limit.saturating_add(1));
                named(stream, names, limit, &mut unpacked)?;
                if let Some(mut inner) = (!unpacked.is_empty()).then_some(&unpacked[..]) {
                    let element = Element::take(&mut inner)?;
                    found.extend(matrix(&element, names)?);
                }
            }
            MATRIX => found.extend(matrix(&element, names)?),
            _ => {}
        }
    }
    Ok(found)
}

/// Unpacks the stream into `unpacked` if it holds a variable with one of
/// `names`; else only its beginning is unpacked, and `unpacked` stays empty.
fn named(mut stream: impl Read, names: &[&str], limit: u64, unpacked: &mut Vec<u8>) -> Result<(), String> {
    const BEGINNING: u64 = 4096;
    let damaged = |error: std::io::Error| format!("it cannot be unpacked: {error}");
    (&mut stream).take(BEGINNING).read_to_end(unpacked).map_err(damaged)?;
    let header = unpacked.get(8..).and_then(|body| Matrix::header(body).ok());
    let wanted = header.is_some_and(|header| names.contains(&header.name.as_str()));
    if !wanted {
        unpacked.clear();
        return Ok(());
    }
    stream.read_to_end(unpacked).map_err(damaged)?;
    if unpacked.len() as u64 > limit {
        return Err(format!("a variable unpacks to more than {limit} bytes"));
    }
    Ok(())
}

/// One element: its type and its bytes.
struct Element<'a> {
    kind: u32,
    data: &'a [u8],
}

impl<'a> Element<'a> {
    /// The first element of `rest`, which is removed there.
    fn take(rest: &mut &'a [u8]) -> Result<Self, String> {
        const CUT: &str = "it is cut short";
        let word = |at: usize| -> Result<u32, String> {
            let bytes = rest.get(at..at + 4).ok_or(CUT)?;
            Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let first = word(0)?;
        // A small element has its size in the upper half of the first word.
        let (kind, size, start) = match first >> 16 {
            0 => (first, word(4)? as usize, 8),
            size => (first & 0xffff, size as usize, 4),
        };
        let data = rest.get(start..).and_then(|data| data.get(..size)).ok_or(CUT)?;
        // Elements begin at multiples of 8 bytes; compressed ones are not padded.
        let end = match (start, kind) {
            (4, _) => 8,
            (_, COMPRESSED) => start + size,
            _ => (start + size).next_multiple_of(8),
        };
        *rest = rest.get(end..).unwrap_or_default();
        Ok(Element { kind, data })
    }
}

/// The beginning of an array: everything before its values.
struct Matrix<'a> {
    numeric: bool,
    name: String,
    shape: Vec<usize>,
    rest: &'a [u8],
}

impl<'a> Matrix<'a> {
    fn header(mut body: &'a [u8]) -> Result<Self, String> {
        const DAMAGED: &str = "a variable's description is damaged";
        let rest = &mut body;
        let flags = Element::take(rest)?;
        let class = *flags.data.first().ok_or(DAMAGED)?;
        let complex = flags.data.get(1).is_some_and(|flags| flags & 8 != 0);
        let sizes = Element::take(rest)?;
        let shape = sizes.data.chunks_exact(4).map(|bytes| {
            let size = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            usize::try_from(size).map_err(|_| DAMAGED.to_owned())
        });
        let shape = shape.collect::<Result<_, _>>()?;
        let name = String::from_utf8_lossy(Element::take(rest)?.data).into_owned();
        Ok(Matrix {
            // Classes 6 to 15 are numbers; others are cells, structures, texts.
            numeric: (6..=15).contains(&class) && !complex,
            name,
            shape,
            rest: body,
        })
    }
}

/// The array in an element, if it is numeric and has one of `names`.
fn matrix(element: &Element, names: &[&str]) -> Result<Option<Array>, String> {
    if element.kind != MATRIX || element.data.is_empty() {
        return Ok(None);
    }
    let Matrix {
        numeric,
        name,
        shape,
        rest,
    } = Matrix::header(element.data)?;
    if !numeric || !names.contains(&name.as_str()) {
        return Ok(None);
    }
    let mut rest = rest;
    let stored = Element::take(&mut rest)?;
    let values = values(&stored).ok_or_else(|| format!("the values of {name} have an unknown type"))?;
    let needed = shape.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
    if needed != Some(values.len()) {
        return Err(format!("{name} has the shape {shape:?}, but {} values", values.len()));
    }
    Ok(Some(Array { name, shape, values }))
}

/// The values of an element of numbers. MATLAB stores them in the smallest type
/// that holds them.
fn values(stored: &Element) -> Option<Values> {
    let data = stored.data;
    macro_rules! numbers {
        ($type:ty) => {
            data.as_chunks()
                .0
                .iter()
                .map(|&bytes| <$type>::from_le_bytes(bytes) as f64)
                .collect()
        };
    }
    Some(match stored.kind {
        2 => Values::Bytes(data.to_vec()),
        1 => Values::Numbers(numbers!(i8)),
        3 => Values::Numbers(numbers!(i16)),
        4 => Values::Numbers(numbers!(u16)),
        5 => Values::Numbers(numbers!(i32)),
        6 => Values::Numbers(numbers!(u32)),
        7 => Values::Numbers(numbers!(f32)),
        9 => Values::Numbers(numbers!(f64)),
        12 => Values::Numbers(numbers!(i64)),
        13 => Values::Numbers(numbers!(u64)),
        _ => return None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn element(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// A variable of bytes, as an element.
    pub(crate) fn variable(name: &str, shape: &[i32], data: &[u8]) -> Vec<u8> {
        let sizes: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
        let parts = [
            element(6, &[9, 0, 0, 0, 0, 0, 0, 0]),
            element(5, &sizes),
            element(1, name.as_bytes()),
            element(2, data),
        ];
        element(MATRIX, &parts.concat())
    }

    /// A file of compressed variables.
    pub(crate) fn file(variables: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
        bytes.resize(HEADER - 4, b' ');
        bytes.extend([0, 1, b'I', b'M']);
        for variable in variables {
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(variable).unwrap();
            let packed = packed.finish().unwrap();
            bytes.extend(COMPRESSED.to_le_bytes());
            bytes.extend((packed.len() as u32).to_le_bytes());
            bytes.extend(packed);
        }
        bytes
    }

    #[test]
    fn reads_the_named_arrays() {
        let file = file(&[
            variable("other", &[1, 1], &[9]),
            variable("X", &[2, 3], &[1, 2, 3, 4, 5, 6]),
            variable("y", &[1, 2], &[7, 8]),
        ]);
        let found = arrays(&file, &["X", "y"], 1 << 20).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].shape.as_slice()), ("X", &[2, 3][..]));
        assert_eq!(found[0].values, Values::Bytes(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(found[1].values.get(1), Some(8.0));
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let file = file(&[variable("X", &[1 << 20, 10], &vec![0; 10 << 20])]);
        let problem = arrays(&file, &["X"], 1 << 20).unwrap_err();
        assert!(problem.contains("more than 1048576 bytes"), "{problem}");
        assert_eq!(arrays(&file, &["y"], 1 << 20), Ok(vec![]));
    }

    #[test]
    fn damage_is_an_error() {
        let whole = file(&[variable("X", &[2, 3], &[1, 2, 3, 4, 5, 6])]);
        for length in (0..whole.len()).filter(|&length| length != HEADER) {
            assert!(arrays(&whole[..length], &["X"], 1 << 20).is_err(), "{length}");
        }
        let shape = file(&[variable("X", &[2, 4], &[1, 2, 3, 4, 5, 6])]);
        assert!(arrays(&shape, &["X"], 1 << 20).unwrap_err().contains("6 values"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = arrays(&[&file(&[])[..], &bytes].concat(), &["X"], 1 << 16);
            let mut variable = variable("X", &[1, 1], &[9]);
            variable.extend(&bytes);
            let _ = arrays(&file(&[variable]), &["X"], 1 << 16);
        }

        #[test]
        fn no_change_of_a_byte_panics(at in 0_usize..200, byte: u8) {
            let mut variable = variable("X", &[2, 3], &[1, 2, 3, 4, 5, 6]);
            if let Some(place) = variable.get_mut(at) {
                *place = byte;
            }
            let _ = arrays(&file(&[variable]), &["X"], 1 << 16);
        }
    }
}
