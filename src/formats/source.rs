//! From where are the bytes of a file read, and how much memory may its contents
//! need?

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

/// What is wrong with the bytes of a file whose name is not known here.
#[derive(Debug)]
pub(crate) enum FormatError {
    /// Bytes are missing or altered.
    Damaged(String),
    /// The bytes are whole, but cannot be read: why, and what helps.
    Unusable(String),
    /// The contents need far more memory than the file has bytes, because it
    /// refers to the same parts again and again: what does.
    Repeats(String),
    /// The operating system cannot read the file.
    Io(io::Error),
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Bytes are missing or altered.
pub(crate) fn damaged<T>(problem: impl Into<String>) -> Result<T, FormatError> {
    Err(FormatError::Damaged(problem.into()))
}

/// Bytes in memory, or those of an open file, which are read as they are needed;
/// or a part of either.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    place: Place<'a>,
    start: u64,
    size: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Memory(&'a [u8]),
    File(&'a File),
}

impl<'a> Source<'a> {
    /// The bytes of a slice.
    pub(crate) fn of_bytes(bytes: &'a [u8]) -> Self {
        Self {
            place: Place::Memory(bytes),
            start: 0,
            size: bytes.len() as u64,
        }
    }

    /// The bytes of a regular file with this size.
    pub(crate) fn of_file(file: &'a File, size: u64) -> Self {
        Self {
            place: Place::File(file),
            start: 0,
            size,
        }
    }

    /// The number of bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The bytes from `start` on; `None` if there are fewer than `size`.
    pub(crate) fn part(&self, start: u64, size: u64) -> Option<Self> {
        let fits = start.checked_add(size)? <= self.size;
        fits.then(|| Self {
            start: self.start + start,
            size,
            ..*self
        })
    }

    /// `count` bytes from `at` on.
    pub(crate) fn read(&self, at: u64, count: usize) -> Result<Cow<'a, [u8]>, FormatError> {
        let Some(part) = self.part(at, count as u64) else {
            return damaged("it is cut short");
        };
        Ok(match part.place {
            // A part of a slice lies within it.
            Place::Memory(bytes) => Cow::Borrowed(&bytes[part.start as usize..][..count]),
            Place::File(file) => Cow::Owned(read_from(file, part.start, count)?),
        })
    }

    /// The first bytes, at most `count`.
    pub(crate) fn beginning(&self, count: usize) -> Result<Cow<'a, [u8]>, FormatError> {
        self.read(0, count.min(usize::try_from(self.size).unwrap_or(usize::MAX)))
    }

    /// Whether the bytes are in memory, so that reading them needs no more.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }

    /// All bytes, one part after the other.
    pub(crate) fn each_part(&self, mut receive: impl FnMut(&[u8])) -> Result<(), FormatError> {
        const PART: u64 = 1 << 18;
        let mut at = 0;
        while at < self.size {
            let count = PART.min(self.size - at);
            receive(&self.read(at, count as usize)?);
            at += count;
        }
        Ok(())
    }
}

/// Bytes where they lie, or unpacked.
pub(crate) enum Content<'a> {
    /// They lie in the file.
    Stored(Source<'a>),
    /// They were deflated, or written as text.
    Owned(Vec<u8>),
}

impl Content<'_> {
    /// The bytes.
    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Self::Stored(source) => *source,
            Self::Owned(bytes) => Source::of_bytes(bytes),
        }
    }
}

fn read_from(mut file: &File, start: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A [`Source`] that is read from its beginning to its end.
pub(crate) struct Reader<'a> {
    source: Source<'a>,
    at: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self { source, at: 0 }
    }
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.source.size - self.at;
        let count = left.min(buffer.len() as u64).min(1 << 16) as usize;
        let bytes = match self.source.read(self.at, count) {
            Ok(bytes) => bytes,
            Err(FormatError::Io(error)) => return Err(error),
            Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        buffer[..count].copy_from_slice(&bytes);
        self.at += count as u64;
        Ok(count)
    }
}

/// How many bytes of memory the contents of a file may still need.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<u64>,
}

impl Budget {
    /// Twice the size of the file, and 16 MiB.
    pub(crate) fn of_file(size: u64) -> Self {
        Self::of(size.saturating_mul(2).saturating_add(16 << 20))
    }

    /// This many bytes.
    pub(crate) fn of(bytes: u64) -> Self {
        Self { left: Cell::new(bytes) }
    }

    /// Takes `bytes`; false if fewer are left.
    #[must_use]
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let left = self.left.get().checked_sub(bytes);
        left.inspect(|&left| self.left.set(left)).is_some()
    }

    /// Gives back what was taken for a moment.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.left.set(self.left.get().saturating_add(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn parts_of_a_file_and_of_memory_are_the_same() {
        let bytes: Vec<u8> = (0..=255).collect();
        let file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut &file, &bytes).unwrap();
        for source in [Source::of_bytes(&bytes), Source::of_file(&file, 256)] {
            let part = source.part(10, 100).unwrap().part(5, 20).unwrap();
            assert_eq!(&part.read(2, 3).unwrap()[..], [17, 18, 19]);
            assert!(part.read(18, 3).is_err());
            assert!(part.read(u64::MAX, 2).is_err());
            assert!(part.part(0, 21).is_none());
            let mut all = Vec::new();
            Reader::new(part).read_to_end(&mut all).unwrap();
            assert_eq!(all, bytes[15..35]);
        }
    }

    #[test]
    fn a_file_that_has_shrunk_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(Source::of_file(&file, 10).read(0, 5), Err(FormatError::Io(_))));
    }

    #[test]
    fn a_budget_ends() {
        let budget = Budget::of(10);
        assert!(budget.take(7) && !budget.take(4) && budget.take(3));
        budget.give_back(2);
        assert!(budget.take(2) && !budget.take(1));
    }
}
