//! How is a file written, so that it is complete or not there at all? How is a
//! file read within bounds? Who may write into a directory?

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

pub(crate) mod fault;
mod lock;
mod read;

pub(crate) use lock::has_no_locks;
pub use lock::{DirectoryLock, LockError};
pub use read::{SETTINGS_LIMIT, TEXT_LIMIT, open_regular, read_at_most, read_open, read_text};

/// The folder that a variable of the environment names; `None` where it is not set,
/// or empty.
pub(crate) fn folder_variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// How the names of temporary files begin and end.
const TEMPORARY: [&str; 2] = [".residua-", ".part"];

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; {}", path.display(), remedy(source))]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

/// What helps against an error of writing.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "choose another name, or remove the file",
        _ => "check the folder, its permissions and the free space",
    }
}

/// Writes `bytes` to `path`. A reader sees either the old file or the new one,
/// also after a crash, and never a part of it.
///
/// The bytes are written to a temporary file in the same folder and synced to
/// the disk; then the temporary file is renamed.
///
/// # Errors
/// If the folder is missing or not writable, or the disk is full. The old file,
/// if there is one, then stays unchanged.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|source| file.error(source))?;
    file.finish()
}

/// Adds `bytes` to the end of the file `path`, which must exist. They are not
/// synced to the disk: this is for tables that are written whole later.
///
/// # Errors
/// If there is no such file, it cannot be written, or the disk is full.
pub fn append(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    change(path, |file| file.write_all(bytes))
}

/// Cuts the file `path` to its first `length` bytes, for a table that is added to.
///
/// # Errors
/// If there is no such file, or it cannot be written.
pub fn cut(path: &Path, length: u64) -> Result<(), WriteError> {
    change(path, |file| {
        file.set_len(length)?;
        file.sync_all()
    })
}

/// Waits until what was added to the file `path` is on the disk.
///
/// # Errors
/// If there is no such file, or it cannot be written.
pub fn sync(path: &Path) -> Result<(), WriteError> {
    change(path, |file| file.sync_data())
}

/// Opens the file `path`, which must exist, and changes it in place.
fn change(path: &Path, change: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), WriteError> {
    let file = fault::check().and_then(|()| File::options().append(true).open(path));
    file.and_then(|mut file| change(&mut file))
        .map_err(|source| WriteError {
            path: path.to_path_buf(),
            source,
        })
}

/// Checks that files can be written in the folder `path`, which is there or can
/// be made. Nothing is made.
///
/// # Errors
/// Where it is no folder, lies in a file, has a name that the system refuses,
/// or cannot be written.
pub fn check_folder(path: &Path) -> Result<(), WriteError> {
    let nearest = path.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        match folder.metadata() {
            // A link to nothing has a name, and a folder of that name cannot be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.symlink_metadata().is_err() => None,
            Err(error) => Some(Err(error)),
            Ok(found) if !found.is_dir() => Some(Err(io::ErrorKind::NotADirectory.into())),
            Ok(_) => Some(Ok(folder)),
        }
    });
    let nearest = nearest.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    let probed = nearest.and_then(temporary_in);
    probed.map(drop).map_err(|source| WriteError {
        path: path.to_path_buf(),
        source,
    })
}

/// Checks that the file `path` can be written: its folder is there, and no file
/// or folder has its name. A file that somebody asked for by its name is never
/// replaced.
///
/// # Errors
/// Where it cannot.
pub fn check_file(path: &Path) -> Result<(), WriteError> {
    let probed = match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Err(exists()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => temporary_in(folder_of(path)),
    };
    probed.map(drop).map_err(|source| WriteError {
        path: path.to_path_buf(),
        source,
    })
}

/// As [`write_atomic`], for a file that was asked for by its name: a file that has
/// the name already is not replaced.
///
/// # Errors
/// As [`write_atomic`], and where there is such a file.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create_new(path)?;
    file.write_all(bytes).map_err(|source| file.error(source))?;
    file.finish()
}

/// The error of a file that would be replaced.
fn exists() -> io::Error {
    let problem = "a file of this name exists and is not replaced";
    io::Error::new(io::ErrorKind::AlreadyExists, problem)
}

/// A file that takes its name when it is complete, see [`write_atomic`]: for
/// contents that are too large to hold in memory. Dropped before
/// [`AtomicFile::finish`], it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
    replaces: bool,
}

impl AtomicFile {
    /// A file that will be `path`.
    ///
    /// # Errors
    /// When the folder is missing or not writable.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let path = path.to_path_buf();
        match temporary_in(folder_of(&path)) {
            Ok(file) => Ok(AtomicFile {
                file: BufWriter::new(file),
                path,
                replaces: true,
            }),
            Err(source) => Err(WriteError { path, source }),
        }
    }

    /// As [`Self::create`], for a file that was asked for by its name: a file that
    /// has the name already is not replaced.
    ///
    /// # Errors
    /// As [`Self::create`], and where there is such a file.
    pub fn create_new(path: &Path) -> Result<Self, WriteError> {
        check_file(path)?;
        let file = Self::create(path)?;
        Ok(AtomicFile {
            replaces: false,
            ..file
        })
    }

    /// Gives the file its name, and replaces the file that had it unless it was
    /// to be a new one.
    ///
    /// # Errors
    /// When the disk is full; a file of that name is then untouched.
    pub fn finish(self) -> Result<(), WriteError> {
        let AtomicFile { file, path, replaces } = self;
        let persist = || {
            fault::check()?;
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            fault::check()?;
            file.as_file().sync_all()?;
            fault::check()?;
            match replaces {
                true => file.persist(&path).map_err(|error| error.error)?,
                false => file.persist_noclobber(&path).map_err(|error| error.error)?,
            };
            sync_folder(folder_of(&path));
            Ok(())
        };
        persist().map_err(|source| WriteError {
            path: path.clone(),
            source,
        })
    }

    /// The error of writing to this file.
    pub fn error(&self, source: io::Error) -> WriteError {
        WriteError {
            path: self.path.clone(),
            source,
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fault::check()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    fault::check()?;
    let mut builder = Builder::new();
    let [prefix, suffix] = TEMPORARY;
    builder.prefix(prefix).suffix(suffix);
    // Temporary files can be read by their owner only. This one becomes a
    // result for others, too, so it gets the usual mode: 0666 and the umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Whether a file of this name is one that was not finished.
fn is_temporary(name: &OsStr) -> bool {
    let [prefix, suffix] = TEMPORARY;
    name.to_str()
        .is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix))
}

/// The rename is permanent only when the folder's entry is on the disk. Some
/// mounts refuse to sync a folder; the file is complete there, too, and the
/// entry follows when the system writes it.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Err(error) = File::open(folder).and_then(|folder| folder.sync_all())
    {
        log::debug!("{}: the folder cannot be synced: {error}", folder.display());
    }
}

/// A folder of test data that is not in the repository: under `RESIDUA_DATA`,
/// else under `../shared/data`. `None`, with a message, if it is missing.
#[cfg(test)]
pub(crate) fn test_data(folder: &str) -> Option<PathBuf> {
    let data = std::env::var_os("RESIDUA_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let found = data.join(folder);
    if found.is_dir() {
        return Some(found);
    }
    eprintln!("SKIPPED: no {folder} here; set RESIDUA_DATA to the folder that holds it");
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn replaces_a_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/such.toml");
        let error = write_atomic(&path, b"").unwrap_err().to_string();
        assert!(error.contains("such.toml"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn a_folder_is_checked_without_being_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        check_folder(folder.path()).unwrap();
        check_folder(&at("new/and/newer")).unwrap();
        check_folder(Path::new("new")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(at("file"), b"").unwrap();
        for name in ["file", "file/below"] {
            assert!(check_folder(&at(name)).is_err(), "{name}");
        }
        assert!(check_folder(&at(&"a".repeat(300))).is_err());
        let message = check_file(&at("file")).unwrap_err().to_string();
        assert!(message.contains("is not replaced"), "{message}");
        check_file(&at("other")).unwrap();
        for path in [
            folder.path().to_path_buf(),
            at("no/folder"),
            at("file/below"),
            at(&"a".repeat(300)),
        ] {
            assert!(check_file(&path).is_err(), "{}", path.display());
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
            assert!(check_folder(&at("link")).is_err());
        }
    }

    #[test]
    fn a_file_that_was_asked_for_by_its_name_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exported.toml");
        let file = AtomicFile::create_new(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        file.finish().unwrap_err();
        let message = write_new(&path, b"new").unwrap_err().to_string();
        assert!(message.contains("is not replaced; choose another name"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::remove_file(&path).unwrap();
        write_new(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.npy");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"first half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"first half, ").unwrap();
        file.write_all(b"second half").unwrap();
        assert!(!path.exists());
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first half, second half");
    }

    #[test]
    fn failure_keeps_the_old_file_and_clears_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_atomic(&taken, b"bytes").is_err());
        assert!(taken.is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_keeps_the_old_file_at_every_operation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        write_atomic(&path, b"old").unwrap();
        let failing = |number| fault::with(number, || write_atomic(&path, b"new"));
        let operations = (1..).take_while(|&number| {
            let (written, failed) = failing(number);
            assert_eq!(written.is_err(), failed, "operation {number}");
            if failed {
                assert_eq!(fs::read(&path).unwrap(), b"old", "operation {number}");
            }
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "operation {number}");
            failed
        });
        assert!(operations.count() >= 4, "create, write, sync and rename");
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn result_is_readable_by_more_than_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (plain, atomic) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&plain, b"").unwrap();
        write_atomic(&atomic, b"").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(plain), mode(atomic));
    }

    #[test]
    fn bare_name_means_the_current_folder() {
        assert_eq!(folder_of(Path::new("run.toml")), Path::new("."));
    }
}
