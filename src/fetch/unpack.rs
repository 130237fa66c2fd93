//! How is an archive unpacked, so that it can write nowhere else?

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::FetchError;
use crate::formats::source::{Budget, FormatError, Source};
use crate::formats::zip;
use crate::shown::shown;
use crate::stop::StopToken;

/// The largest file in a zip archive, in bytes: it is unpacked in memory.
const LARGEST: u64 = 1 << 30;

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Archive {
    Tar,
    TarGz,
    Zip,
}

impl Archive {
    /// The form of the file with this name; `None` if it is no archive, or one that
    /// is read as it is.
    pub(super) fn of(name: &str) -> Option<Self> {
        let endings = [(".tar.gz", Self::TarGz), (".tar", Self::Tar), (".zip", Self::Zip)];
        endings
            .into_iter()
            .find(|(ending, _)| name.ends_with(ending))
            .map(|(_, archive)| archive)
    }

    /// Unpacks the regular files of `path` below `folder`.
    pub(super) fn unpack(self, path: &Path, folder: &Path, stop: &StopToken) -> Result<(), FetchError> {
        let failed = |error: io::Error| FetchError::Archive {
            path: path.to_path_buf(),
            problem: format!("cannot be unpacked: {error}; check the free space, or remove the file and try again"),
        };
        let file = File::open(path).map_err(failed)?;
        let unpacked = match self {
            Archive::Tar => tar_files(BufReader::new(file), folder, stop),
            Archive::TarGz => tar_files(MultiGzDecoder::new(BufReader::new(file)), folder, stop),
            Archive::Zip => zip_files(&file, folder, stop),
        };
        match unpacked {
            Ok(()) if stop.is_stopped() => Err(FetchError::Stopped),
            Ok(()) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

fn tar_files(archive: impl Read, folder: &Path, stop: &StopToken) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if stop.is_stopped() {
            return Ok(());
        }
        // Links and devices are none of a data set's files.
        if entry.header().entry_type().is_file() {
            let target = within(folder, &entry.path()?)?;
            io::copy(&mut entry, &mut File::create(target)?)?;
        }
    }
    Ok(())
}

fn zip_files(file: &File, folder: &Path, stop: &StopToken) -> io::Result<()> {
    let size = file.metadata()?.len();
    let archive = zip::Archive::open(Source::of_file(file, size), &Budget::of_file(size)).map_err(invalid)?;
    for name in archive.names().filter(|name| !name.ends_with('/')) {
        if stop.is_stopped() {
            return Ok(());
        }
        let target = within(folder, Path::new(name))?;
        if let Some(content) = archive.read(name, &Budget::of(LARGEST)).map_err(invalid)? {
            let mut target = File::create(target)?;
            let mut written = Ok(());
            content
                .source()
                .each_part(|part| {
                    if written.is_ok() {
                        written = target.write_all(part);
                    }
                })
                .map_err(invalid)?;
            written?;
        }
    }
    Ok(())
}

fn invalid(error: FormatError) -> io::Error {
    match error {
        FormatError::Io(error) => error,
        FormatError::Damaged(problem) | FormatError::Unusable(problem) | FormatError::Repeats(problem) => {
            io::Error::new(io::ErrorKind::InvalidData, problem)
        }
    }
}

/// The place of `name` below `folder`; its folders are made.
fn within(folder: &Path, name: &Path) -> io::Result<PathBuf> {
    let mut target = folder.to_path_buf();
    for component in name.components() {
        match component {
            Component::Normal(part) => target.push(part),
            Component::CurDir => {}
            _ => {
                let problem = format!(
                    "it has a file outside of its folder, '{}'",
                    shown(&name.to_string_lossy())
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
        }
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(target)
}
