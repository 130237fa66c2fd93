//! What does a `.npy` file of NumPy hold?
//!
//! A text with type, order and shape, then the values (NumPy's documentation,
//! `numpy.lib.format`). The crate `npyz` multiplies the shape unchecked and
//! reserves what a header claims, so the header is read here.

use std::str::FromStr;

/// The bytes that every file begins with.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// A header is one line with a few words.
pub(crate) const LONGEST_HEADER: usize = 1 << 16;

/// An array of numbers.
#[derive(Debug, PartialEq)]
pub(crate) struct Array<'a> {
    /// The type in NumPy's notation: `|u1`, `<i8`.
    pub descr: &'a str,
    /// Whether the first index is the fastest, as in Fortran.
    pub fortran: bool,
    /// The number of values along each axis.
    pub shape: Vec<usize>,
    /// The bytes of the values.
    pub bytes: &'a [u8],
}

/// Whether the bytes begin like a `.npy` file.
pub(crate) fn recognises(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The array of a file with these bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<Array<'_>, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it is no .npy file")?;
    let (length, start) = match rest {
        [1, _, low, high, ..] => (usize::from(u16::from_le_bytes([*low, *high])), 4),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 6),
        [version @ (0 | 4..), ..] => return Err(format!("its .npy version {version} is unknown")),
        _ => return Err(CUT.into()),
    };
    if length > LONGEST_HEADER {
        return Err(format!("its header of {length} bytes is too long"));
    }
    let header = rest.get(start..start + length).ok_or(CUT)?;
    let header = str::from_utf8(header).map_err(|_| "its header is no text")?;
    let bytes = &rest[start + length..];
    let array = Array {
        descr: quoted(value(header, "descr")?).ok_or("its type is no plain number")?,
        fortran: match value(header, "fortran_order")? {
            text if text.starts_with("False") => false,
            text if text.starts_with("True") => true,
            _ => return Err("its order is neither True nor False".into()),
        },
        shape: sizes(value(header, "shape")?)
            .and_then(Iterator::collect)
            .ok_or("its shape is no list of sizes")?,
        bytes,
    };
    let size = array.value_size()?;
    let values = array.shape.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
    let needed = values.and_then(|values| values.checked_mul(size));
    if needed != Some(bytes.len()) {
        let shape = &array.shape;
        let needed = needed.map_or("too many".to_owned(), |needed| needed.to_string());
        return Err(format!(
            "its shape {shape:?} needs {needed} bytes, but {} follow the header",
            bytes.len()
        ));
    }
    Ok(array)
}

const CUT: &str = "it is cut short in its header";

/// As [`after`], of a header that must have the key.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    after(header, key).ok_or_else(|| format!("its header has no {key}"))
}

/// The text after `'key':` in a Python dictionary.
pub(crate) fn after<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = ['\'', '"']
        .into_iter()
        .find_map(|quote| header.split_once(&format!("{quote}{key}{quote}")))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// The text between the quotes that `text` begins with.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|first| ['\'', '"'].contains(first))?;
    Some(text[1..].split_once(quote)?.0)
}

/// The numbers of `(5, 32, 32)`, `(5,)` or `()`, each `None` if it is none;
/// Python 2 writes `5L` for some.
pub(crate) fn sizes<T: FromStr>(text: &str) -> Option<impl Iterator<Item = Option<T>> + '_> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
    Some(sizes.map(|size| size.trim_end_matches('L').parse().ok()))
}

impl Array<'_> {
    /// The letter of the type (`u`, `i`, `f`, `b`) and the number of bytes of a
    /// value.
    fn kind(&self) -> Option<(char, usize)> {
        let plain = self.descr.trim_start_matches(['<', '>', '=', '|']);
        let mut letters = plain.chars();
        let kind = letters.next().filter(char::is_ascii_alphabetic)?;
        let size = letters.as_str().parse().ok().filter(|size| (1..=16).contains(size))?;
        Some((kind, size))
    }

    fn value_size(&self) -> Result<usize, String> {
        let kind = self.kind().filter(|(kind, _)| "biuf".contains(*kind));
        let unreadable = || format!("its values have the type {}, which are no plain numbers", self.descr);
        Ok(kind.ok_or_else(unreadable)?.1)
    }

    /// The values as bytes, the last index the fastest; `None` if they have
    /// another type.
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.kind() != Some(('u', 1)) {
            return None;
        }
        if !self.fortran || self.shape.len() < 2 {
            return Some(self.bytes.to_vec());
        }
        // The distance between two neighbours along each axis.
        let strides = self.shape.iter().scan(1, |stride, &size| {
            let this = *stride;
            *stride *= size;
            Some(this)
        });
        let strides: Vec<usize> = strides.collect();
        let mut index = vec![0; self.shape.len()];
        let mut values = Vec::with_capacity(self.bytes.len());
        for _ in 0..self.bytes.len() {
            let at: usize = index.iter().zip(&strides).map(|(index, stride)| index * stride).sum();
            values.push(self.bytes[at]);
            for (place, &size) in index.iter_mut().zip(&self.shape).rev() {
                *place += 1;
                if *place < size {
                    break;
                }
                *place = 0;
            }
        }
        Some(values)
    }

    /// The values as integers; `None` if they are none, or are too large.
    pub(crate) fn to_integers(&self) -> Option<Vec<i64>> {
        let (kind, size) = self.kind()?;
        let big = self.descr.starts_with('>');
        if !matches!((kind, size), ('i' | 'u' | 'b', 1 | 2 | 4 | 8)) {
            return None;
        }
        let value = |bytes: &[u8]| {
            let mut wide = [0; 8];
            for (place, &byte) in wide.iter_mut().zip(bytes) {
                *place = byte;
            }
            if big {
                wide[..size].reverse();
            }
            let value = u64::from_le_bytes(wide);
            if kind == 'i' {
                let unused = 64 - 8 * size;
                return Some(value.cast_signed() << unused >> unused);
            }
            i64::try_from(value).ok()
        };
        self.bytes.chunks_exact(size).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of version 1 with this header.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    #[test]
    fn reads_type_order_and_shape() {
        let bytes = file(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }\n",
            &[1, 2, 3, 4, 5, 6],
        );
        let array = parse(&bytes).unwrap();
        assert_eq!((array.descr, array.shape.as_slice()), ("|u1", &[2, 3][..]));
        assert_eq!(array.to_bytes().unwrap(), [1, 2, 3, 4, 5, 6]);
        let bytes = file(
            "{'descr': '|u1', 'fortran_order': True, 'shape': (2L, 3L), }",
            &[1, 2, 3, 4, 5, 6],
        );
        assert_eq!(parse(&bytes).unwrap().to_bytes().unwrap(), [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn integers_keep_sign_and_byte_order() {
        let integers = |descr: &str, data: &[u8]| {
            let count = data.len() / descr[2..].parse::<usize>().unwrap();
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count},), }}");
            parse(&file(&header, data)).unwrap().to_integers()
        };
        assert_eq!(integers("<i2", &[0xff, 0xff, 7, 0]), Some(vec![-1, 7]));
        assert_eq!(integers(">u2", &[1, 0]), Some(vec![256]));
        assert_eq!(integers("<i8", &[9, 0, 0, 0, 0, 0, 0, 0]), Some(vec![9]));
        assert_eq!(integers("<u8", &[0xff; 8]), None);
        assert_eq!(integers("<f4", &[0; 4]), None);
    }

    #[test]
    fn headers_that_claim_too_much_are_refused() {
        for (header, part) in [
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}",
                "needs 2 bytes, but 1",
            ),
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
                "needs too many bytes",
            ),
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
                "no plain numbers",
            ),
            (
                "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,)}",
                "no plain number",
            ),
            ("{'fortran_order': False, 'shape': (1,)}", "no descr"),
        ] {
            let problem = parse(&file(header, &[0])).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(version in 0_u8..5, bytes: Vec<u8>) {
            let _ = parse(&[MAGIC, &[version, 0], &bytes].concat());
        }

        #[test]
        fn no_header_panics(header in "\\{'descr': '[<>|]?[biufO][0-9]{0,3}', 'fortran_order': (True|False), 'shape': \\([0-9, ]{0,24}\\)\\}", data: Vec<u8>) {
            if let Ok(array) = parse(&file(&header, &data)) {
                let _ = (array.to_bytes(), array.to_integers());
            }
        }
    }
}
