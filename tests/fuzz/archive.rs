//! How is a zip archive taken apart and put together, so that its files can be
//! altered and its checksums are right?

use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Names and bytes of the stored files of an archive; none if it has others.
pub fn unpack(archive: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let end = archive.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let number = |at: usize, size: usize| {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(archive.get(at..at + size)?);
        Some(u64::from_le_bytes(wide) as usize)
    };
    let (count, mut at) = (number(end + 10, 2)?, number(end + 16, 4)?);
    let mut files = Vec::new();
    for _ in 0..count {
        let [name, extra, comment] = [number(at + 28, 2)?, number(at + 30, 2)?, number(at + 32, 2)?];
        let (size, header) = (number(at + 24, 4)?, number(at + 42, 4)?);
        if number(at + 10, 2)? != 0 {
            return None;
        }
        let start = header + 30 + number(header + 26, 2)? + number(header + 28, 2)?;
        let text = String::from_utf8_lossy(archive.get(at + 46..at + 46 + name)?).into_owned();
        files.push((text, archive.get(start..start + size)?.to_vec()));
        at += 46 + name + extra + comment;
    }
    Some(files)
}

/// An archive of these files.
pub fn pack(files: &[(String, Vec<u8>)], deflate: bool) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let mut crc = Crc::new();
        crc.update(bytes);
        let packed = if deflate {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).expect("a vector takes all bytes");
            encoder.finish().expect("a vector takes all bytes")
        } else {
            bytes.clone()
        };
        let mut middle = vec![20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0, 0];
        middle.extend(crc.sum().to_le_bytes());
        middle.extend((packed.len() as u32).to_le_bytes());
        middle.extend((bytes.len() as u32).to_le_bytes());
        middle.extend((name.len() as u16).to_le_bytes());
        let start = archive.len() as u32;
        archive.extend([b"PK\x03\x04", &middle[..], &[0, 0], name.as_bytes(), &packed].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &middle[..], &[0; 12]].concat());
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = archive.len() as u32;
    let count = (files.len() as u16).to_le_bytes();
    archive.extend(&directory);
    archive.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0, 0]);
    archive
}
