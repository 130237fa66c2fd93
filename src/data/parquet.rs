//! How are the parquet files of Hugging Face's data sets read?
//!
//! A file has a column of images, `{bytes, path}` with a PNG or JPEG file in
//! `bytes`, and a column of labels. Its metadata may name the classes.

use std::cell::Cell;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Once;

use parquet::basic::Type;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::decode::decode_all;
use super::error::{open, unreadable};
use super::picture::Preparation;
use super::{FileError, ImageSet, Split, digits};
use crate::shown::shown;

/// Names of the column of labels; the first that a file has is taken.
const LABELS: [&str; 6] = ["label", "labels", "fine_label", "target", "class", "coarse_label"];

/// How deep the files may lie: `plain_text/train-00000-of-00001.parquet`.
const DEPTH: usize = 2;

/// The number of rows that are read at a time.
const ROWS: usize = 256;

/// Beginnings of the names of a split's files; the first that there is is taken.
fn beginnings(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &["train"],
        Split::Test => &["test", "validation", "valid", "val"],
    }
}

/// Whether a folder holds such files.
pub(super) fn is_in(path: &Path) -> bool {
    files_in(path).is_ok_and(|files| !files.is_empty())
}

/// All parquet files in a folder and in its folders, in order.
fn files_in(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), FileError> {
        for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            if path.extension().is_some_and(|end| end == "parquet") {
                files.push(path);
            } else if depth > 0 && path.is_dir() {
                collect(&path, depth - 1, files)?;
            }
        }
        Ok(())
    }
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    collect(path, DEPTH, &mut files)?;
    files.sort();
    Ok(files)
}

/// The files of a split. A file that is given itself belongs to the split that its
/// name shows, else to the test images.
fn files_of(path: &Path, split: Split) -> Result<Vec<PathBuf>, FileError> {
    let all = files_in(path)?;
    let starts = |file: &Path, beginning: &str| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        // `d-test-00000…` and `my_test.parquet` are files of the test split, too.
        let word = |part: &str| part.split('.').next() == Some(beginning);
        name.split(['-', '_']).any(word)
    };
    for beginning in beginnings(split) {
        let files: Vec<PathBuf> = all.iter().filter(|file| starts(file, beginning)).cloned().collect();
        if !files.is_empty() {
            return Ok(files);
        }
    }
    let other = beginnings(Split::Train).iter().any(|beginning| starts(path, beginning));
    Ok(match path.is_file() && split == Split::Test && !other {
        true => all,
        false => Vec::new(),
    })
}

thread_local! {
    /// Whether a panic of this thread is caught, and is not to be printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The first `limit` images of a split, prepared; `None` if there are none.
///
/// The crate `parquet` panics on some damaged files where it should give an
/// error (a page that refers to a dictionary that is not there).
pub(super) fn load(
    path: &Path,
    split: Split,
    limit: usize,
    preparation: &Preparation,
) -> Result<Option<ImageSet>, FileError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                print(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let loaded = panic::catch_unwind(|| load_files(path, split, limit, preparation));
    QUIET.set(before);
    loaded.unwrap_or_else(|_| {
        let problem = "it is damaged: its parquet pages do not belong together; copy or download it again";
        Err(FileError::content(path, problem.to_owned()))
    })
}

fn load_files(
    path: &Path,
    split: Split,
    limit: usize,
    preparation: &Preparation,
) -> Result<Option<ImageSet>, FileError> {
    let files = files_of(path, split)?;
    if files.is_empty() {
        return Ok(None);
    }
    let mut rows: Vec<(ByteArray, PathBuf)> = Vec::new();
    let (mut labels, mut names, mut most) = (Vec::new(), None, 0);
    for file in &files {
        let table = Table::open(file)?;
        names = names.or_else(|| table.class_names());
        let found = table.labels(usize::MAX)?;
        most = most.max(largest(&found));
        let wanted = limit.saturating_sub(rows.len());
        if wanted > 0 {
            let images = table.images(wanted)?;
            labels.extend(&found[..images.len().min(found.len())]);
            rows.extend(images.into_iter().map(|bytes| (bytes, file.clone())));
        }
    }
    let class_names = match names {
        Some(names) if most <= names.len() => names,
        Some(names) => {
            let problem = format!("it has the label {}, but names only {} classes", most - 1, names.len());
            return Err(FileError::content(&files[0], problem));
        }
        None => {
            let other = match split {
                Split::Train => Split::Test,
                Split::Test => Split::Train,
            };
            for file in files_of(path, other)? {
                most = most.max(largest(&Table::open(&file)?.labels(usize::MAX)?));
            }
            digits(most)
        }
    };
    let mut set = decode_all(
        &rows,
        |(bytes, _)| Ok(bytes.data().to_vec()),
        |(_, file)| file.clone(),
        preparation,
    )?;
    set.labels = labels;
    set.class_names = class_names;
    set.name = match split {
        Split::Train => "parquet train".into(),
        Split::Test => "parquet test".into(),
    };
    Ok(Some(set))
}

/// One more than the largest label.
fn largest(labels: &[u32]) -> usize {
    labels.iter().max().map_or(0, |&label| label as usize + 1)
}

/// A file, and the columns that are read.
struct Table {
    path: PathBuf,
    reader: SerializedFileReader<fs::File>,
    /// The places of images and labels among the columns.
    images: usize,
    labels: usize,
    /// The name of the column of labels.
    label_name: String,
}

impl Table {
    fn open(path: &Path) -> Result<Self, FileError> {
        let (file, _) = open(path)?;
        let damaged = |error: parquet::errors::ParquetError| {
            FileError::content(
                path,
                format!("it is no parquet file that can be read: {}", shown(&error.to_string())),
            )
        };
        let reader = SerializedFileReader::new(file).map_err(damaged)?;
        let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
        let parts = |at: usize| columns[at].path().parts().to_vec();
        let mut places = 0..columns.len();
        let images = places.find(|&at| {
            columns[at].physical_type() == Type::BYTE_ARRAY && parts(at).last().is_some_and(|name| name == "bytes")
        });
        let label = |name: &&str| {
            let at = (0..columns.len()).find(|&at| parts(at) == [name.to_string()]);
            at.filter(|&at| matches!(columns[at].physical_type(), Type::INT64 | Type::INT32))
        };
        let labels = LABELS.iter().find_map(label);
        let (Some(images), Some(labels)) = (images, labels) else {
            let all: Vec<String> = (0..columns.len()).take(12).map(|at| parts(at).join(".")).collect();
            let problem = format!(
                "it has no column of images (IMAGE.bytes) and labels ({}): its columns are {}",
                LABELS.join(", "),
                shown(&all.join(", "))
            );
            return Err(FileError::content(path, problem));
        };
        for at in [images, labels] {
            if columns[at].max_rep_level() > 0 {
                let problem = format!("the column {} holds lists", parts(at).join("."));
                return Err(FileError::content(path, problem));
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            label_name: parts(labels).join("."),
            reader,
            images,
            labels,
        })
    }

    /// The classes that the metadata names.
    fn class_names(&self) -> Option<Vec<String>> {
        let pairs = self.reader.metadata().file_metadata().key_value_metadata()?;
        let text = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_deref()?;
        let value: Value = serde_json::from_str(text).ok()?;
        let names = value
            .pointer(&format!("/info/features/{}/names", self.label_name))?
            .as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// The first `limit` image files.
    fn images(&self, limit: usize) -> Result<Vec<ByteArray>, FileError> {
        self.column(self.images, limit, |reader, rows, levels, values| match reader {
            ColumnReader::ByteArrayColumnReader(reader) => reader.read_records(rows, Some(levels), None, values),
            _ => Ok((0, 0, 0)),
        })
    }

    /// The first `limit` labels.
    fn labels(&self, limit: usize) -> Result<Vec<u32>, FileError> {
        /// A larger label is taken for a mistake: no data set has so many classes.
        const MOST: i64 = 100_000;
        let labels: Vec<i64> = self.column(self.labels, limit, |reader, rows, levels, values| match reader {
            ColumnReader::Int64ColumnReader(reader) => reader.read_records(rows, Some(levels), None, values),
            ColumnReader::Int32ColumnReader(reader) => {
                let mut narrow = Vec::new();
                let read = reader.read_records(rows, Some(levels), None, &mut narrow);
                values.extend(narrow.into_iter().map(i64::from));
                read
            }
            _ => Ok((0, 0, 0)),
        })?;
        let label = |(row, label): (usize, i64)| match (0..MOST).contains(&label) {
            true => Ok(label as u32),
            false => {
                let problem = format!("label {label} of row {row} is not between 0 and {}", MOST - 1);
                Err(FileError::content(&self.path, problem))
            }
        };
        labels.into_iter().enumerate().map(label).collect()
    }

    /// The first `limit` values of a column, in which none may be missing.
    fn column<T>(
        &self,
        column: usize,
        limit: usize,
        read: impl Fn(
            &mut ColumnReader,
            usize,
            &mut Vec<i16>,
            &mut Vec<T>,
        ) -> parquet::errors::Result<(usize, usize, usize)>,
    ) -> Result<Vec<T>, FileError> {
        let damaged = |error: parquet::errors::ParquetError| {
            FileError::content(&self.path, format!("it is damaged: {}", shown(&error.to_string())))
        };
        let mut values = Vec::new();
        for group in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(group).map_err(damaged)?;
            let mut reader = group.get_column_reader(column).map_err(damaged)?;
            while values.len() < limit {
                let (before, mut levels) = (values.len(), Vec::new());
                let rows = ROWS.min(limit - before);
                let (records, ..) = read(&mut reader, rows, &mut levels, &mut values).map_err(damaged)?;
                if records == 0 {
                    break;
                }
                if values.len() - before != records {
                    let problem = format!("a row between {before} and {} has no value", before + records);
                    return Err(FileError::content(&self.path, problem));
                }
            }
        }
        Ok(values)
    }
}
