//! Which files are in a zip archive? They are stored or deflated (PKWARE's
//! APPNOTE, sections 4.3.7 to 4.3.16 and 4.5.3), and their checksums are verified.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::source::{Budget, Content, FormatError, Reader, Source, damaged};

const END: &[u8] = b"PK\x05\x06";
const END_SIZE: u64 = 22;
/// Archives of 4 GiB and more have a second end record, and a record that points
/// to it.
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_SIZE: u64 = 20;
const LARGE_END: &[u8] = b"PK\x06\x06";
const LARGE_END_SIZE: usize = 56;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;
const FILE: &[u8] = b"PK\x03\x04";
const FILE_SIZE: usize = 30;
const LONGEST_COMMENT: u64 = 65_535;
/// The memory of an entry beside its name.
const ENTRY_MEMORY: u64 = 150;

/// Whether the bytes begin like a zip archive.
pub(crate) fn recognises(bytes: &[u8]) -> bool {
    bytes.starts_with(FILE)
}

/// The directory of an archive.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    source: Source<'a>,
    members: BTreeMap<String, Member>,
    /// How many bytes of the archive are still read. Files that overlap would
    /// otherwise be unpacked again and again.
    work: Budget,
}

/// A file in an archive.
#[derive(Clone, Copy, Debug)]
struct Member {
    header: u64,
    packed: u64,
    size: u64,
    crc: u32,
    method: u16,
    encrypted: bool,
}

impl<'a> Archive<'a> {
    /// Reads the directory of an archive.
    pub(crate) fn open(source: Source<'a>, budget: &Budget) -> Result<Self, FormatError> {
        let (count, directory) = directory(source)?;
        let mut members = BTreeMap::new();
        let mut at = 0;
        for _ in 0..count {
            let Some(fixed) = directory.part(at, ENTRY_SIZE as u64) else {
                return damaged("its directory is cut short");
            };
            let fixed = fixed.read(0, ENTRY_SIZE)?;
            if !fixed.starts_with(ENTRY) {
                return damaged("its directory is damaged");
            }
            let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(word(&fixed, at)));
            at += ENTRY_SIZE as u64;
            if directory.part(at, (name + extra + comment) as u64).is_none() {
                return damaged("its directory is cut short");
            }
            if !budget.take(name as u64 + ENTRY_MEMORY) {
                return Err(FormatError::Repeats("its directory has too many files".into()));
            }
            let texts = directory.read(at, name + extra)?;
            at += (name + extra + comment) as u64;
            let (name, extra) = texts.split_at(name);
            let name = String::from_utf8_lossy(name).into_owned();
            members.insert(name, member(&fixed, extra));
        }
        let work = Budget::of(2 * source.size() + (1 << 16));
        Ok(Self { source, members, work })
    }

    /// The names of the files, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// The bytes of a file, whose checksum is right; `None` if there is no such
    /// file. The memory of a deflated one is taken from the budget.
    pub(crate) fn read(&self, name: &str, budget: &Budget) -> Result<Option<Content<'a>>, FormatError> {
        match self.members.get(name) {
            Some(member) => self.content(name, member, budget).map(Some),
            None => Ok(None),
        }
    }

    fn content(&self, name: &str, member: &Member, budget: &Budget) -> Result<Content<'a>, FormatError> {
        if member.encrypted {
            return Err(FormatError::Unusable("its files are encrypted; unpack it".into()));
        }
        let packed = self.packed(member)?;
        if !self.work.take(member.packed) {
            return Err(FormatError::Repeats("its files overlap".into()));
        }
        let mut crc = Crc::new();
        let content = match member.method {
            0 if member.packed != member.size => return damaged("a file in it has two sizes"),
            0 => {
                packed.each_part(|part| crc.update(part))?;
                Content::Stored(packed)
            }
            8 => {
                let bytes = self.inflate(name, packed, member.size, budget)?;
                crc.update(&bytes);
                Content::Owned(bytes)
            }
            method => {
                let problem =
                    format!("its files are compressed by method {method}; unpack it, and pack it by `zip -0`");
                return Err(FormatError::Unusable(problem));
            }
        };
        if crc.sum() != member.crc {
            return damaged(format!(
                "the checksum of '{}' in it is wrong",
                crate::shown::shown(name)
            ));
        }
        Ok(content)
    }

    fn inflate(&self, name: &str, packed: Source, size: u64, budget: &Budget) -> Result<Vec<u8>, FormatError> {
        if !budget.take(size) {
            return Err(FormatError::Repeats(format!(
                "'{}' in it unpacks to {size} bytes",
                crate::shown::shown(name)
            )));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        let unpacked = DeflateDecoder::new(Reader::new(packed))
            .take(size)
            .read_to_end(&mut bytes);
        match unpacked {
            Ok(_) if bytes.len() as u64 == size => Ok(bytes),
            _ => damaged("a deflated file in it is damaged"),
        }
    }

    fn packed(&self, member: &Member) -> Result<Source<'a>, FormatError> {
        let header = self.source.part(member.header, FILE_SIZE as u64);
        let header = header.map(|header| header.read(0, FILE_SIZE)).transpose()?;
        let Some(header) = header.filter(|header| header.starts_with(FILE)) else {
            return damaged("its directory does not point to its files");
        };
        let names = u64::from(word(&header, 26)) + u64::from(word(&header, 28));
        let start = member.header + FILE_SIZE as u64 + names;
        let packed = self.source.part(start, member.packed);
        packed.map_or_else(|| damaged("a file in it is cut short"), Ok)
    }
}

/// The number of entries of the directory, and its bytes.
fn directory(source: Source) -> Result<(u64, Source), FormatError> {
    let missing = || damaged("its end is missing");
    let Some(last) = source.size().checked_sub(END_SIZE) else {
        return missing();
    };
    let first = last.saturating_sub(LONGEST_COMMENT);
    // A comment of unknown length may follow the end record.
    let tail = source.read(first, (source.size() - first) as usize)?;
    let found = (0..=(last - first) as usize)
        .rev()
        .find(|&at| tail[at..].starts_with(END));
    let Some(at) = found else { return missing() };
    let end = &tail[at..];
    let (mut count, mut start) = (u64::from(word(end, 10)), u64::from(double(end, 16)));
    if let Some(large) = large_end(source, first + at as u64)? {
        (count, start) = (quad(&large, 32), quad(&large, 48));
    }
    let size = source.size().checked_sub(start);
    let directory = size.and_then(|size| source.part(start, size));
    directory.map_or_else(
        || damaged("its directory is missing"),
        |directory| Ok((count, directory)),
    )
}

/// The end record of an archive of 4 GiB and more, if there is one.
fn large_end(source: Source, end: u64) -> Result<Option<Cow<[u8]>>, FormatError> {
    let Some(at) = end.checked_sub(LOCATOR_SIZE) else {
        return Ok(None);
    };
    let locator = source.read(at, LOCATOR_SIZE as usize)?;
    if !locator.starts_with(LOCATOR) {
        return Ok(None);
    }
    match source.part(quad(&locator, 8), LARGE_END_SIZE as u64) {
        Some(record) => {
            let record = record.read(0, LARGE_END_SIZE)?;
            if record.starts_with(LARGE_END) {
                Ok(Some(record))
            } else {
                damaged("its end is damaged")
            }
        }
        None => damaged("its end is damaged"),
    }
}

/// A directory entry: `fixed` has [`ENTRY_SIZE`] bytes. Numbers that do not fit
/// are in the extra field 1, in this order.
fn member(fixed: &[u8], extra: &[u8]) -> Member {
    let mut large = large_numbers(extra);
    let mut wide = |at| match double(fixed, at) {
        u32::MAX => large.next().unwrap_or(u64::MAX),
        number => number.into(),
    };
    let size = wide(24);
    let packed = wide(20);
    let header = wide(42);
    Member {
        header,
        packed,
        size,
        crc: double(fixed, 16),
        method: word(fixed, 10),
        encrypted: word(fixed, 8) & 1 == 1,
    }
}

fn large_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while let [a, b, c, d, rest @ ..] = extra {
        let size = usize::from(u16::from_le_bytes([*c, *d])).min(rest.len());
        if u16::from_le_bytes([*a, *b]) == 1 {
            found = &rest[..size];
            break;
        }
        extra = &rest[size..];
    }
    found.chunks_exact(8).map(|bytes| quad(bytes, 0))
}

/// The number in the two bytes at `at`, which exist.
fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The number in four bytes.
fn double(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) | u32::from(word(bytes, at + 2)) << 16
}

/// The number in eight bytes.
fn quad(bytes: &[u8], at: usize) -> u64 {
    u64::from(double(bytes, at)) | u64::from(double(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::DeflateEncoder};
    use std::io::Write as _;

    const SMALL: &[u8] = include_bytes!("../weights/fixtures/small.pth");

    fn all(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, FormatError> {
        let budget = Budget::of(1 << 20);
        let archive = Archive::open(Source::of_bytes(archive), &budget)?;
        let read = |name: &str| {
            let content = archive.read(name, &budget)?.unwrap();
            let source = content.source();
            Ok((name.to_owned(), source.read(0, source.size() as usize)?.into_owned()))
        };
        archive.names().map(read).collect()
    }

    /// An archive with one file `a`; with `large`, its numbers are those of an
    /// archive of 4 GiB and more.
    pub(crate) fn of_one(bytes: &[u8], deflated: bool, large: bool) -> Vec<u8> {
        let mut crc = Crc::new();
        crc.update(bytes);
        let packed = if deflated {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            bytes.to_vec()
        };
        let method = if deflated { 8_u16 } else { 0 };
        let (size, packed_size) = (bytes.len() as u64, packed.len() as u64);
        let short = |number: u64| if large { u32::MAX } else { number as u32 };
        let middle = |sizes: [u32; 2]| {
            let mut part = vec![20, 0, 0, 0];
            part.extend(method.to_le_bytes());
            part.extend([0; 4]);
            part.extend(crc.sum().to_le_bytes());
            part.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
            part.extend([1, 0]);
            part
        };
        let mut archive = [FILE, &middle([packed_size as u32, size as u32]), &[0, 0], b"a", &packed].concat();
        let start = archive.len() as u64;
        let mut extra = Vec::new();
        if large {
            extra.extend([1, 0, 24, 0]);
            extra.extend([size, packed_size, 0].iter().flat_map(|number| number.to_le_bytes()));
        }
        archive.extend([ENTRY, &[20, 0], &middle([short(packed_size), short(size)])].concat());
        archive.extend((extra.len() as u16).to_le_bytes());
        archive.extend([0; 10]);
        archive.extend(short(0).to_le_bytes());
        archive.push(b'a');
        archive.extend(extra);
        let end = archive.len() as u64;
        if large {
            let record = [44, 0, 0, 1, 1, end - start, start];
            archive.extend(LARGE_END);
            archive.extend(record[0].to_le_bytes());
            archive.extend([0; 12]);
            archive.extend(record[3..].iter().flat_map(|number| number.to_le_bytes()));
            archive.extend(LOCATOR);
            archive.extend([0; 4]);
            archive.extend(end.to_le_bytes());
            archive.extend([1, 0, 0, 0]);
        }
        archive.extend(END);
        archive.extend([0, 0, 0, 0]);
        archive.extend(if large { [0xff; 4] } else { [1, 0, 1, 0] });
        archive.extend(short(end - start).to_le_bytes());
        archive.extend(short(start).to_le_bytes());
        archive.extend([0, 0]);
        archive
    }

    #[test]
    fn finds_the_files_of_a_checkpoint() {
        let files = all(SMALL).unwrap();
        assert!(files["small/data.pkl"].starts_with(&[0x80, 2]));
        assert_eq!(files["small/byteorder"], b"little");
    }

    #[test]
    fn stored_and_deflated_small_and_large_archives_are_read() {
        let bytes = b"abcabcabc".repeat(100);
        for (deflated, large) in [(false, false), (true, false), (false, true), (true, true)] {
            let archive = of_one(&bytes, deflated, large);
            assert_eq!(all(&archive).unwrap()["a"], bytes, "{deflated} {large}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for length in 0..SMALL.len() {
            assert!(all(&SMALL[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn an_altered_byte_is_found() {
        for deflated in [false, true] {
            let archive = of_one(b"abcdefgh", deflated, false);
            for at in 31..38 {
                let mut altered = archive.clone();
                altered[at] ^= 1;
                match all(&altered) {
                    Err(FormatError::Damaged(_)) => {}
                    // Some bits of a deflated stream do not matter.
                    Ok(files) if deflated => assert_eq!(files["a"], b"abcdefgh", "{at}"),
                    other => panic!("{deflated} {at}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_file_that_unpacks_to_too_much_is_refused() {
        let archive = of_one(&vec![0; 2 << 20], true, false);
        assert!(archive.len() < 4000);
        assert!(matches!(all(&archive), Err(FormatError::Repeats(_))));
    }

    #[test]
    fn other_methods_and_encryption_are_named() {
        let with = |at: usize, byte: u8| {
            let mut archive = SMALL.to_vec();
            let entry = archive.windows(4).position(|bytes| bytes == ENTRY).unwrap();
            archive[entry + at] = byte;
            match all(&archive) {
                Err(FormatError::Unusable(problem)) => problem,
                other => panic!("{other:?}"),
            }
        };
        assert!(with(10, 14).contains("method 14"));
        assert!(with(8, 1).contains("encrypted"));
    }
}
