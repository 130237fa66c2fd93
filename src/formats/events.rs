//! What is in an event file of TensorBoard?
//!
//! The file is a row of records, as TensorFlow's TFRecord: the number of bytes (64
//! bits), the masked CRC-32C of these 8 bytes, the bytes themselves, and their
//! masked CRC-32C. The bytes of each are a message `Event` of TensorFlow's
//! event.proto, with the messages of summary.proto in it.

use std::io::{self, Read};

use super::protobuf::{Message, integer_of};

/// The contents of the first record of every file.
const VERSION: &str = "brain.Event:2";
/// Bytes of a record beside its message: the length, and two sums.
const FRAME: u64 = 16;
/// The number of equal parts of a histogram's range, as TensorBoard's own.
const BUCKETS: usize = 30;

/// A value that is shown under a tag.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shown {
    /// A number. TensorBoard stores 32 bits.
    Scalar(f64),
    /// How values are distributed.
    Histogram(Histogram),
}

/// How many values lie in each part of their range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    least: f64,
    most: f64,
    count: usize,
    sum: f64,
    sum_of_squares: f64,
    /// The upper ends of the parts, and how many values are in each.
    limits: Vec<f64>,
    counts: Vec<f64>,
}

impl Histogram {
    /// Of `values`; `None` where there are none, or one is not finite.
    pub(crate) fn of(values: &[f32]) -> Option<Self> {
        let wide = || values.iter().map(|&value| f64::from(value));
        if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
            return None;
        }
        let least = wide().fold(f64::INFINITY, f64::min);
        let most = wide().fold(f64::NEG_INFINITY, f64::max);
        let width = (most - least) / BUCKETS as f64;
        let (limits, counts) = if width > 0.0 {
            let mut counts = vec![0.0; BUCKETS];
            for value in wide() {
                let part = ((value - least) / width) as usize;
                counts[part.min(BUCKETS - 1)] += 1.0;
            }
            let inner = (1..BUCKETS).map(|part| least + part as f64 * width);
            (inner.chain([most]).collect(), counts)
        } else {
            (vec![most], vec![values.len() as f64])
        };
        Some(Histogram {
            least,
            most,
            count: values.len(),
            sum: wide().sum(),
            sum_of_squares: wide().map(|value| value * value).sum(),
            limits,
            counts,
        })
    }

    /// `HistogramProto`.
    fn message(&self) -> Message {
        Message::default()
            .double(1, self.least)
            .double(2, self.most)
            .double(3, self.count as f64)
            .double(4, self.sum)
            .double(5, self.sum_of_squares)
            .doubles(6, &self.limits)
            .doubles(7, &self.counts)
    }
}

/// An `Event`; `wall` is the time in seconds since 1970.
fn event(wall: f64, step: u32) -> Message {
    Message::default().double(1, wall).integer(2, step.into())
}

/// The records that a file begins with. `first` is the first step of its events:
/// what TensorBoard has seen of this step and later ones was lost with a run that
/// was stopped, and is no longer shown.
pub(crate) fn beginning(wall: f64, first: u32) -> Vec<u8> {
    let start = Message::default().integer(1, 1);
    let mut bytes = record(&event(wall, 0).text(3, VERSION).finish());
    bytes.extend(record(&event(wall, first).message(7, &start).finish()));
    bytes
}

/// The record of values at a step, each with its tag.
pub(crate) fn values(wall: f64, step: u32, values: &[(String, Shown)]) -> Vec<u8> {
    let value = |(tag, shown): &(String, Shown)| {
        let value = Message::default().text(1, tag);
        match shown {
            Shown::Scalar(number) => value.float(2, *number as f32),
            Shown::Histogram(histogram) => value.message(5, &histogram.message()),
        }
    };
    let summary = values
        .iter()
        .fold(Message::default(), |summary, shown| summary.message(1, &value(shown)));
    record(&event(wall, step).message(5, &summary).finish())
}

/// A record with this message.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked_sum(&length).to_le_bytes());
    bytes.extend(message);
    bytes.extend(masked_sum(message).to_le_bytes());
    bytes
}

/// The beginning of a file of `size` bytes that holds the events up to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// Its number of bytes.
    pub(crate) bytes: u64,
    /// The largest step of its values; 0 without any.
    pub(crate) step: u32,
}

/// What of a file of `size` bytes to keep: its whole records up to the first of a
/// step after `last`. What follows a damaged record cannot be read.
///
/// # Errors
/// Where the file cannot be read.
pub(crate) fn up_to(mut file: impl Read, size: u64, last: u32) -> io::Result<Beginning> {
    let mut kept = Beginning { bytes: 0, step: 0 };
    loop {
        let rest = size.saturating_sub(kept.bytes);
        let mut head = [0; 12];
        if rest < FRAME || !filled(&mut file, &mut head)? {
            return Ok(kept);
        }
        let (length, sum) = head.split_at(8);
        let count = length.try_into().map_or(0, u64::from_le_bytes);
        if sum != masked_sum(length).to_le_bytes() || count > rest - FRAME {
            return Ok(kept);
        }
        let mut body = vec![0; count as usize + 4];
        if !filled(&mut file, &mut body)? {
            return Ok(kept);
        }
        let (message, sum) = body.split_at(count as usize);
        let step = integer_of(message, 2).and_then(|step| u32::try_from(step).ok());
        let Some(step) = step.filter(|_| sum == masked_sum(message).to_le_bytes()) else {
            return Ok(kept);
        };
        if step > last {
            return Ok(kept);
        }
        kept.bytes += FRAME + count;
        kept.step = kept.step.max(step);
    }
}

/// Fills `bytes` from `file`; `false` where it ends before.
fn filled(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// For each value of a byte, its remainder by Castagnoli's polynomial.
const REMAINDERS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 {
                rest >> 1 ^ 0x82f6_3b78
            } else {
                rest >> 1
            };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
};

/// The CRC-32C of `bytes`, rotated and increased: a sum over bytes that contain
/// their own sum would say little.
fn masked_sum(bytes: &[u8]) -> u32 {
    let step = |rest: u32, byte: &u8| REMAINDERS[(rest as u8 ^ byte) as usize] ^ rest >> 8;
    let sum = !bytes.iter().fold(u32::MAX, step);
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The messages of a whole file.
#[cfg(test)]
pub(crate) fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u64::from_le_bytes(*length) as usize;
        found.push(rest[4..4 + length].to_vec());
        bytes = &rest[8 + length..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(step: u32, value: f64) -> Vec<u8> {
        values(1.5, step, &[("loss/train".to_string(), Shown::Scalar(value))])
    }

    #[test]
    fn the_sum_is_that_of_the_standard() {
        let unmasked = |bytes| masked_sum(bytes).wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(unmasked(b"123456789"), 0xe306_9283);
        assert_eq!(unmasked(&[0; 32]), 0x8a91_36aa, "RFC 3720, appendix B.4");
    }

    #[test]
    fn a_histogram_has_all_values() {
        let values: Vec<f32> = (0..=60).map(|value| value as f32 - 30.0).collect();
        let histogram = Histogram::of(&values).unwrap();
        assert_eq!((histogram.least, histogram.most, histogram.count), (-30.0, 30.0, 61));
        assert_eq!((histogram.limits.len(), histogram.limits[29]), (30, 30.0));
        assert_eq!(
            (histogram.counts[0], histogram.counts[29]),
            (2.0, 3.0),
            "the end belongs to the last part"
        );
        assert_eq!(histogram.counts.iter().sum::<f64>(), 61.0);
        assert_eq!((histogram.sum, histogram.sum_of_squares), (0.0, 2.0 * 9455.0));
        let same = Histogram::of(&[0.5; 4]).unwrap();
        assert_eq!((same.limits, same.counts), (vec![0.5], vec![4.0]));
        assert_eq!(Histogram::of(&[]), None);
        assert_eq!(Histogram::of(&[1.0, f32::NAN]), None);
    }

    #[test]
    fn whole_records_up_to_a_step_are_kept() {
        let parts = [
            beginning(1.0, 1),
            scalar(1, 0.5),
            scalar(2, 0.25),
            scalar(2, 0.5),
            scalar(4, 0.1),
        ];
        let whole = parts.concat();
        let length = |count: usize| parts[..count].iter().map(Vec::len).sum::<usize>() as u64;
        let kept = |bytes: &[u8], last| up_to(bytes, bytes.len() as u64, last).unwrap();
        for (last, count, step) in [(1, 2, 1), (2, 4, 2), (3, 4, 2), (4, 5, 4), (99, 5, 4)] {
            let expected = Beginning {
                bytes: length(count),
                step,
            };
            assert_eq!(kept(&whole, last), expected, "step {last}");
        }
        // Cut anywhere, the records before are kept.
        for end in 0..whole.len() {
            let found = kept(&whole[..end], 99);
            assert!(found.bytes <= end as u64);
            let longer = (0..=5)
                .map(length)
                .filter(|&length| length > found.bytes && length <= end as u64);
            // The beginning has two records.
            assert_eq!(longer.count(), 0, "{end}");
        }
        // So they are before a changed byte.
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            assert!(kept(&changed, 99).bytes <= at as u64, "{at}");
        }
        assert_eq!(kept(&[0xff; 64], 99).bytes, 0);
    }
}
