//! What is in a file of CIFAR's version for Python?
//!
//! A file is a pickled table. A batch has `data`, an array of N rows of 3,072
//! bytes, and a list of labels; the file of class names has a list of texts. Names
//! are bytes or texts, depending on the version of Python that wrote them.

use crate::formats::pickle::{Id, Pickle};
use crate::formats::source::{Budget, FormatError, Source, damaged};

/// The images of a batch, N rows of `size` bytes, and its labels, which have the
/// name `key`.
pub(super) fn batch(file: &[u8], key: &str, size: usize) -> Result<(Vec<u8>, Vec<i64>), FormatError> {
    let table = Table::parse(file)?;
    let array = table.value("data")?;
    let Some(state) = table.pickle.call(array).and_then(|call| call.state) else {
        return damaged("its data are no array of NumPy");
    };
    // NumPy's state: version, shape, type, whether in the order of Fortran, bytes.
    let Some(&[_, shape, dtype, fortran, bytes]) = table.pickle.items(state) else {
        return damaged("its array has another form than NumPy's");
    };
    let shape: Option<Vec<i64>> = table
        .pickle
        .items(shape)
        .and_then(|sizes| sizes.iter().map(|&size| table.pickle.int(size)).collect());
    let is_bytes = match table.pickle.called(dtype) {
        Some(("numpy.dtype", [name, ..])) => table.text(*name).is_some_and(|name| name == "u1" || name == "uint8"),
        _ => false,
    };
    if !is_bytes || table.pickle.int(fortran) != Some(0) {
        return damaged("its images are no rows of bytes");
    }
    let Some(bytes) = table.pickle.bytes(bytes) else {
        return damaged("its array has no bytes");
    };
    let images = bytes.read()?.into_owned();
    let labels = table.list(key, |id| table.pickle.int(id), "a whole number")?;
    let rows = images.len() / size;
    if shape.as_deref() != Some(&[rows as i64, size as i64]) || rows * size != images.len() {
        let bytes = images.len();
        return damaged(format!("its array has {bytes} bytes, which are no rows of {size}"));
    }
    if labels.len() != rows {
        return damaged(format!("it has {rows} images and {} labels", labels.len()));
    }
    Ok((images, labels))
}

/// The texts in the list `key`.
pub(super) fn class_names(file: &[u8], key: &str) -> Result<Vec<String>, FormatError> {
    let table = Table::parse(file)?;
    table.list(key, |id| table.text(id), "a text")
}

/// A pickled table.
struct Table<'a> {
    pickle: Pickle<'a>,
    pairs: Vec<[Id; 2]>,
}

impl<'a> Table<'a> {
    fn parse(file: &'a [u8]) -> Result<Self, FormatError> {
        let pickle = Pickle::parse(Source::of_bytes(file), &Budget::of_file(file.len() as u64))?;
        match pickle.pairs(pickle.root()) {
            Some(pairs) => Ok(Self { pickle, pairs }),
            None => damaged("its pickle is no table"),
        }
    }

    /// A text, or bytes that are one.
    fn text(&self, id: Id) -> Option<String> {
        if let Some(text) = self.pickle.text(id) {
            return Some(text.to_owned());
        }
        let bytes = self.pickle.bytes(id)?.read().ok()?.into_owned();
        String::from_utf8(bytes).ok()
    }

    fn value(&self, key: &str) -> Result<Id, FormatError> {
        let mut pairs = self.pairs.iter();
        match pairs.find(|[name, _]| self.text(*name).is_some_and(|name| name == key)) {
            Some(&[_, value]) => Ok(value),
            None => damaged(format!("its table has no {key}")),
        }
    }

    fn list<T>(&self, key: &str, read: impl Fn(Id) -> Option<T>, what: &str) -> Result<Vec<T>, FormatError> {
        let items = self.pickle.items(self.value(key)?);
        let values = items.and_then(|items| items.iter().map(|&id| read(id)).collect());
        match values {
            Some(values) => Ok(values),
            None => damaged(format!("its {key} are no list, or an item is not {what}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A batch of two images of 3 bytes, as Python 2 wrote them.
    fn python2() -> Vec<u8> {
        let array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR\
            (K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\
            \x89T\x06\x00\x00\x00\x01\xfe\x03\x04\x05\x06tb";
        [&b"\x80\x02}(U\x04data"[..], array, b"U\x06labels](K\x09K\x00eu."].concat()
    }

    #[test]
    fn reads_raw_bytes_as_python_2_wrote_them() {
        let (images, labels) = batch(&python2(), "labels", 3).unwrap();
        assert_eq!(images, [1, 0xfe, 3, 4, 5, 6]);
        assert_eq!(labels, [9, 0]);
    }

    #[test]
    fn class_names_are_texts() {
        let names = class_names(
            b"\x80\x02}U\x0blabel_names](U\x03catX\x03\x00\x00\x00doges.",
            "label_names",
        );
        assert_eq!(names.unwrap(), ["cat", "dog"]);
    }

    #[test]
    fn wrong_contents_are_named() {
        let problem = |file: &[u8], key, size| match batch(file, key, size) {
            Err(FormatError::Damaged(problem)) => problem,
            other => panic!("{other:?}"),
        };
        let file = python2();
        assert!(problem(&file, "fine_labels", 3).contains("no fine_labels"));
        assert!(problem(&file, "labels", 2).contains("no rows of 2"));
        assert!(problem(b"\x80\x02].", "labels", 3).contains("no table"));
        assert!(problem(b"\x80\x02}U\x04dataK\x01s.", "labels", 3).contains("no array"));
        assert!(batch(&file[..file.len() - 9], "labels", 3).is_err());
    }

    proptest! {
        #[test]
        fn no_change_of_a_byte_panics(at in 0_usize..200, byte: u8) {
            let mut file = python2();
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            let _ = batch(&file, "labels", 3);
            let _ = class_names(&file, "labels");
        }
    }
}
