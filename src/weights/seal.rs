//! Is a weights file of this program as it was written?
//!
//! The metadata of every file that this program writes has a checksum: the
//! SHA-256 of the whole file, with zeros in the place of the checksum itself.
//! A file of another program has none, and is read without one.

use sha2::{Digest, Sha256};

use super::error::Damage;
use crate::formats::source::{Budget, FormatError, Source, damaged};
use crate::hex::hex;

/// The key of the checksum in the metadata.
pub(super) const KEY: &str = "residua-sha256";
/// What stands before the checksum in the bytes of a file.
const BEFORE: &[u8] = b"\"residua-sha256\":\"";
/// The number of hexadecimal digits of a checksum.
const DIGITS: usize = 64;
/// The bytes before the header: its length.
const LENGTH: usize = 8;

/// The place of a checksum that is not known yet.
pub(super) fn unknown() -> String {
    "0".repeat(DIGITS)
}

/// Writes the checksum of `bytes`, a safetensors file, into its place there.
pub(super) fn seal(bytes: &mut [u8]) {
    let place = place_in(&bytes[LENGTH..]).expect("the writer leaves a place for the checksum");
    let mut hash = Sha256::new();
    hash.update(&bytes);
    let checksum = hex(&hash.finalize());
    bytes[place..][..DIGITS].copy_from_slice(checksum.as_bytes());
}

/// Compares the checksum in `header`, the header of the whole file `source`, with
/// the bytes of the file.
pub(super) fn check(source: Source, header: Source, budget: &Budget) -> Result<(), Damage> {
    if !budget.take(header.size()) {
        return Err(FormatError::Repeats("its header".into()).into());
    }
    let (place, checksum) = {
        let header = header.beginning(header.size() as usize)?;
        let Some(place) = place_in(&header) else {
            return damaged("its checksum is cut short").map_err(Damage::from);
        };
        (place, header[place - LENGTH..][..DIGITS].to_vec())
    };
    budget.give_back(header.size());
    let mut hash = Sha256::new();
    let mut at = 0;
    source.each_part(|part| {
        // With zeros in the place of the checksum, which two parts may share.
        let begins = place.clamp(at, at + part.len()) - at;
        let ends = (place + DIGITS).clamp(at, at + part.len()) - at;
        hash.update(&part[..begins]);
        hash.update(&unknown()[..ends - begins]);
        hash.update(&part[ends..]);
        at += part.len();
    })?;
    match hex(&hash.finalize()).as_bytes() == checksum {
        true => Ok(()),
        false => damaged("its checksum is not that of its bytes").map_err(Damage::from),
    }
}

/// Where in the file the checksum is that stands in its header.
fn place_in(header: &[u8]) -> Option<usize> {
    let begins = header.windows(BEFORE.len()).position(|window| window == BEFORE)?;
    let place = begins + BEFORE.len();
    header.get(place..place + DIGITS).map(|_| LENGTH + place)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::weights::{Tensor, TensorMap, exact, read, write, write_exact};

    fn sample() -> (TensorMap, BTreeMap<String, String>) {
        let tensor = Tensor {
            shape: vec![2],
            data: vec![1.0, -2.0],
        };
        let tensors = [("fc.bias".to_string(), tensor)].into();
        (tensors, [("position".to_string(), "{}".to_string())].into())
    }

    #[test]
    fn a_change_of_any_byte_of_the_values_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let (tensors, metadata) = sample();
        write(&path, &tensors, &metadata).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let loaded = read(&path).unwrap();
        assert_eq!(loaded.metadata, metadata, "the checksum is no value of the user's");
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            match read(&path) {
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
                // The key of the checksum is damaged: the file counts as one
                // without.
                Ok(found) => assert_eq!(
                    (found.tensors, found.metadata.len()),
                    (tensors.clone(), 2),
                    "byte {place}"
                ),
            }
        }
    }

    #[test]
    fn values_in_64_bits_are_read_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let (tensors, metadata) = sample();
        let values: BTreeMap<String, Vec<f64>> = [("fc.bias".to_string(), vec![1.0 + 1e-12, -2.0])].into();
        write_exact(&path, &tensors, &values, &metadata).unwrap();
        assert_eq!(exact(&std::fs::read(&path).unwrap()), values);
        assert_eq!(read(&path).unwrap().tensors, tensors);
        assert_eq!(exact(b"nothing of the kind"), BTreeMap::new());
    }
}
