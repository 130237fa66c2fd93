//! Which files are in a zip archive of `torch.save`? They are stored without
//! compression, and the archive is smaller than 4 GiB (PKWARE's APPNOTE,
//! sections 4.3.7 to 4.3.16).

use std::collections::BTreeMap;

const END: &[u8] = b"PK\x05\x06";
const END_SIZE: usize = 22;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;
const FILE: &[u8] = b"PK\x03\x04";
const FILE_SIZE: usize = 30;
const LONGEST_COMMENT: usize = 65_535;

/// What is wrong with an archive.
type Problem = &'static str;

/// The bytes of each file by its name.
pub(super) fn files(archive: &[u8]) -> Result<BTreeMap<&str, &[u8]>, Problem> {
    let end = find_end(archive)?;
    let count = word(end, 10)?;
    let mut at = double(end, 16)?;
    let mut files = BTreeMap::new();
    for _ in 0..count {
        let entry = archive.get(at..).ok_or("its directory is cut short")?;
        let (name, data) = file(archive, entry)?;
        files.insert(name, data);
        at += ENTRY_SIZE + word(entry, 28)? + word(entry, 30)? + word(entry, 32)?;
    }
    Ok(files)
}

/// The end record of the archive, which has the position of the directory. A
/// comment of unknown length may follow it.
fn find_end(archive: &[u8]) -> Result<&[u8], Problem> {
    let last = archive.len().checked_sub(END_SIZE).ok_or("its end is missing")?;
    let first = last.saturating_sub(LONGEST_COMMENT);
    (first..=last)
        .rev()
        .map(|at| &archive[at..])
        .find(|record| record.starts_with(END))
        .ok_or("its end is missing")
}

/// The name and bytes of the file of a directory entry.
fn file<'a>(archive: &'a [u8], entry: &'a [u8]) -> Result<(&'a str, &'a [u8]), Problem> {
    if !entry.starts_with(ENTRY) {
        return Err("its directory is damaged");
    }
    if word(entry, 10)? != 0 {
        return Err("its files are compressed");
    }
    let size = double(entry, 20)?;
    let name = part(entry, ENTRY_SIZE, word(entry, 28)?)?;
    let name = str::from_utf8(name).map_err(|_| "a name in its directory is damaged")?;
    let header = archive.get(double(entry, 42)?..).unwrap_or_default();
    if !header.starts_with(FILE) {
        return Err("its directory does not point to its files");
    }
    let start = FILE_SIZE + word(header, 26)? + word(header, 28)?;
    Ok((name, part(header, start, size)?))
}

fn part(bytes: &[u8], start: usize, size: usize) -> Result<&[u8], Problem> {
    bytes
        .get(start..)
        .and_then(|rest| rest.get(..size))
        .ok_or("a file in it is cut short")
}

/// The number in the two bytes at `at`.
fn word(bytes: &[u8], at: usize) -> Result<usize, Problem> {
    let bytes = part(bytes, at, 2)?;
    Ok(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

/// Four bytes at a place, as a number.
fn double(bytes: &[u8], at: usize) -> Result<usize, Problem> {
    Ok(word(bytes, at)? | word(bytes, at + 2)? << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &[u8] = include_bytes!("fixtures/small.pth");

    #[test]
    fn finds_the_files_of_a_checkpoint() {
        let files = files(SMALL).unwrap();
        assert!(files["small/data.pkl"].starts_with(&[0x80, 2]));
        assert_eq!(files["small/byteorder"], b"little");
    }

    #[test]
    fn every_truncation_is_an_error() {
        for length in 0..SMALL.len() {
            assert!(files(&SMALL[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn compressed_files_are_refused() {
        let mut archive = SMALL.to_vec();
        let entry = archive.windows(4).position(|bytes| bytes == ENTRY).unwrap();
        archive[entry + 10] = 8;
        assert_eq!(files(&archive), Err("its files are compressed"));
    }
}
