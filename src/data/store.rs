//! Where are the files of a data set: in a folder, or in an archive that nobody
//! has unpacked?

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::FileError;
use super::error::{open, unreadable};

/// The files of a data set.
pub(super) enum Store {
    /// In a folder.
    Folder(PathBuf),
    /// From an archive: the files that were asked for, by their names without
    /// folders.
    Archive {
        path: PathBuf,
        files: BTreeMap<String, Vec<u8>>,
    },
}

/// The bytes of a file, and how many there are.
type Opened<'a> = (Box<dyn Read + 'a>, u64);

impl Store {
    pub(super) fn of_folder(path: PathBuf) -> Self {
        Self::Folder(path)
    }

    /// Reads the files with one of the names `wanted` out of a `.tar.gz`. None may
    /// have more than `limit` bytes.
    pub(super) fn of_archive(path: &Path, wanted: &[&str], limit: u64) -> Result<Self, FileError> {
        let mut files = BTreeMap::new();
        each_file(path, |name, size, reader| {
            let name = name.rsplit('/').next().unwrap_or_default();
            if wanted.contains(&name) && !files.contains_key(name) {
                if size > limit {
                    let problem = format!("{name} in it has {size} bytes, at most {limit} expected");
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
                }
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes)?;
                files.insert(name.to_owned(), bytes);
            }
            Ok(files.len() < wanted.len())
        })?;
        Ok(Self::Archive {
            path: path.to_path_buf(),
            files,
        })
    }

    /// The path of a file, for messages.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(path) | Self::Archive { path, .. } => path.join(name),
        }
    }

    /// Whether there is something with this name.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(path) => fs::metadata(path.join(name)).is_ok(),
            Self::Archive { files, .. } => files.contains_key(name),
        }
    }

    /// A file and its number of bytes; `None` if there is none.
    pub(super) fn open(&self, name: &str) -> Result<Option<Opened<'_>>, FileError> {
        match self {
            Self::Folder(_) if !self.has(name) => Ok(None),
            Self::Folder(path) => {
                let (file, size) = open(&path.join(name))?;
                Ok(Some((Box::new(file), size)))
            }
            Self::Archive { files, .. } => {
                let bytes = files.get(name);
                Ok(bytes.map(|bytes| (Box::new(&bytes[..]) as Box<dyn Read>, bytes.len() as u64)))
            }
        }
    }
}

/// The names in a folder, in order.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, FileError> {
    let entries = fs::read_dir(folder).map_err(unreadable(folder))?;
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let names: std::io::Result<Vec<String>> = entries.map(name).collect();
    let mut names = names.map_err(unreadable(folder))?;
    names.sort();
    Ok(names)
}

/// Whether the bytes begin like a gzip stream.
pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Whether `accept` is true for one of the first files of a `.tar.gz`.
pub(super) fn archive_has(path: &Path, accept: impl Fn(&str) -> bool) -> Result<bool, FileError> {
    const FIRST: usize = 16;
    let (mut seen, mut found) = (0, false);
    each_file(path, |name, _, _| {
        seen += 1;
        found = accept(name);
        Ok(!found && seen < FIRST)
    })?;
    Ok(found)
}

/// Calls `visit` with the name, size and bytes of each file of a `.tar.gz`, until
/// it returns false.
fn each_file(
    path: &Path,
    mut visit: impl FnMut(&str, u64, &mut dyn Read) -> io::Result<bool>,
) -> Result<(), FileError> {
    let (file, _) = open(path)?;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 18, file)));
    let mut walk = || -> io::Result<()> {
        // Raw: long names of extensions are not gathered in memory.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            let size = entry.size();
            if entry.header().entry_type().is_file() && !visit(&name, size, &mut entry)? {
                break;
            }
        }
        Ok(())
    };
    walk().map_err(unreadable(path))
}
