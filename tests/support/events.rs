//! What is in the event files of a run? A reader of its own, which takes nothing
//! from the writer, and checks every sum.

use std::collections::BTreeMap;
use std::path::Path;

/// The values of a tag with their steps, in the order of the files.
pub type Series = BTreeMap<String, Vec<(u64, f64)>>;

/// What the event files in a folder hold.
#[derive(Debug, Default, PartialEq)]
pub struct Events {
    pub scalars: Series,
    /// The number of values of each histogram.
    pub histograms: Series,
    /// The first step of each file.
    pub starts: Vec<u64>,
}

/// A field of a message.
enum Field<'a> {
    Integer(u64),
    Double(f64),
    Float(f32),
    Bytes(&'a [u8]),
}

fn integer(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0.. {
        let byte = rest[0];
        *rest = &rest[1..];
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = integer(&mut rest);
        let field = match key & 7 {
            0 => Field::Integer(integer(&mut rest)),
            1 => {
                let (value, after) = rest.split_at(8);
                rest = after;
                Field::Double(f64::from_le_bytes(value.try_into().unwrap()))
            }
            2 => {
                let length = integer(&mut rest) as usize;
                let (value, after) = rest.split_at(length);
                rest = after;
                Field::Bytes(value)
            }
            5 => {
                let (value, after) = rest.split_at(4);
                rest = after;
                Field::Float(f32::from_le_bytes(value.try_into().unwrap()))
            }
            other => panic!("a field of type {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

/// The masked CRC-32C, bit by bit.
fn masked_sum(bytes: &[u8]) -> u32 {
    let mut rest = u32::MAX;
    for &byte in bytes {
        rest ^= u32::from(byte);
        for _ in 0..8 {
            rest = (rest >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(rest & 1));
        }
    }
    (!rest).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The messages of a file; their sums must be right.
fn messages(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut found = Vec::new();
    let sum = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(masked_sum(&rest[..8]), sum(&rest[8..12]), "the sum of a length");
        let message = &rest[12..12 + length];
        assert_eq!(
            masked_sum(message),
            sum(&rest[12 + length..16 + length]),
            "the sum of a message"
        );
        found.push(message);
        rest = &rest[16 + length..];
    }
    found
}

/// Where in a file the events of steps after `last` begin.
pub fn after_step(bytes: &[u8], last: u64) -> usize {
    let step = |message: &[u8]| {
        let step = fields(message)
            .into_iter()
            .find_map(|(field, value)| match (field, value) {
                (2, Field::Integer(step)) => Some(step),
                _ => None,
            });
        step.unwrap_or(0)
    };
    let before = messages(bytes).into_iter().take_while(|message| step(message) <= last);
    before.map(|message| message.len() + 16).sum()
}

impl Events {
    /// Reads all event files in `folder`, in the order of their names.
    pub fn of(folder: &Path) -> Self {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.file_name().unwrap().to_string_lossy().contains("tfevents"));
        files.sort();
        let mut events = Events::default();
        for path in files {
            let bytes = std::fs::read(path).unwrap();
            for (number, message) in messages(&bytes).into_iter().enumerate() {
                events.add(number, message);
            }
        }
        events
    }

    fn add(&mut self, number: usize, message: &[u8]) {
        let mut step = 0;
        for (field, value) in fields(message) {
            match (field, value) {
                (1, Field::Double(wall)) => assert!(wall > 1.6e9, "the time {wall}"),
                (2, Field::Integer(value)) => step = value,
                (3, Field::Bytes(version)) => assert_eq!((number, version), (0, &b"brain.Event:2"[..])),
                (5, Field::Bytes(summary)) => self.add_summary(step, summary),
                (7, Field::Bytes(session)) => {
                    assert_eq!((number, session), (1, &[0x08, 1][..]), "the session begins");
                    self.starts.push(step);
                }
                (other, _) => panic!("an event with field {other}"),
            }
        }
    }

    fn add_summary(&mut self, step: u64, summary: &[u8]) {
        for (_, value) in fields(summary) {
            let Field::Bytes(value) = value else {
                panic!("a value is a message")
            };
            let mut tag = String::new();
            for (field, value) in fields(value) {
                match (field, value) {
                    (1, Field::Bytes(text)) => tag = String::from_utf8(text.to_vec()).unwrap(),
                    (2, Field::Float(value)) => {
                        self.scalars.entry(tag.clone()).or_default().push((step, value.into()));
                    }
                    (5, Field::Bytes(histogram)) => {
                        let count = histogram_count(histogram);
                        self.histograms.entry(tag.clone()).or_default().push((step, count));
                    }
                    (other, _) => panic!("a value with field {other}"),
                }
            }
        }
    }

    /// The scalars that do not depend on how fast the computer is.
    pub fn without_time(&self) -> Series {
        let mut scalars = self.scalars.clone();
        scalars.retain(|tag, _| !tag.contains("images_per_second"));
        scalars
    }
}

/// The number of values of a histogram, which its parts must have.
fn histogram_count(histogram: &[u8]) -> f64 {
    let doubles = |bytes: &[u8]| -> Vec<f64> {
        let parts = bytes.chunks_exact(8);
        parts
            .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    };
    let (mut ends, mut count, mut limits, mut counts) = ([0.0; 2], 0.0, Vec::new(), Vec::new());
    for (field, value) in fields(histogram) {
        match (field, value) {
            (1, Field::Double(value)) => ends[0] = value,
            (2, Field::Double(value)) => ends[1] = value,
            (3, Field::Double(value)) => count = value,
            (4 | 5, Field::Double(_)) => {}
            (6, Field::Bytes(bytes)) => limits = doubles(bytes),
            (7, Field::Bytes(bytes)) => counts = doubles(bytes),
            (other, _) => panic!("a histogram with field {other}"),
        }
    }
    assert_eq!(limits.len(), counts.len());
    assert!(limits.is_sorted_by(|a, b| a < b) && ends[0] <= limits[0] && limits.last() == Some(&ends[1]));
    assert_eq!(counts.iter().sum::<f64>(), count);
    count
}
