//! How does a public data set come onto this computer?
//!
//! [`fetch`] gets the files of a [`Published`] data set, checks the sums that its
//! publisher gives, and unpacks them into a folder of its own. A download that
//! breaks off goes on where it stopped, also in a later call. Nothing has its final
//! name before it is complete.

mod download;
mod unpack;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;

use crate::files::{DirectoryLock, LockError};
use crate::shown::shown;
use crate::stop::StopToken;

/// A data set that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Its name, which is also that of its folder and of its kind.
    pub name: String,
    /// What it is, and who published it.
    pub title: String,
    /// Its files.
    pub files: Vec<PublishedFile>,
}

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedFile {
    /// Where it can be had; tried in this order.
    pub urls: Vec<String>,
    /// Its MD5 sum in hexadecimal digits.
    pub md5: String,
}

impl Published {
    /// Every data set that can be fetched.
    pub fn all() -> &'static [Published] {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Published>,
        }
        static ALL: OnceLock<Vec<Published>> = OnceLock::new();
        // A test reads the list: it is a part of this program.
        ALL.get_or_init(|| {
            toml::from_str::<List>(include_str!("datasets.toml")).map_or_else(|_| Vec::new(), |list| list.data)
        })
    }

    /// The data set of this name.
    pub fn named(name: &str) -> Option<&'static Published> {
        Self::all().iter().find(|data| data.name == name)
    }

    /// The same files from another server: `base/FILE`.
    #[must_use]
    pub fn at(mut self, base: &str) -> Self {
        for file in &mut self.files {
            file.urls = vec![format!("{}/{}", base.trim_end_matches('/'), file.name())];
        }
        self
    }
}

impl PublishedFile {
    /// The last part of its address.
    pub fn name(&self) -> &str {
        let url = self.urls.first().map_or("", String::as_str);
        let path = url.split(['?', '#']).next().unwrap_or(url);
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// Why a data set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server cannot be reached, or breaks off again and again.
    #[error(
        "{}: {problem}; what has arrived is kept, the same command goes on there",
        shown(url)
    )]
    Server {
        /// The address.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The server does not have the file.
    #[error("{}: the server answers {status}; name another server that has the file", shown(url))]
    Status {
        /// The address.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The bytes are not those that were published.
    #[error(
        "{}: the file has the MD5 sum {found}, not the published {wanted}; it was removed, try again or name another \
         server",
        shown(url)
    )]
    Sum {
        /// The address.
        url: String,
        /// The sum of what came.
        found: String,
        /// The published sum.
        wanted: String,
    },
    /// An archive with the right sum that cannot be unpacked.
    #[error("{}: {problem}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The folder is in use, or cannot be made.
    #[error(transparent)]
    Folder(#[from] LockError),
    /// A file cannot be written.
    #[error("cannot write {}: {source}; check the folder, its permissions and the free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A request to stop.
    #[error("stopped; what has arrived is kept, the same command goes on there")]
    Stopped,
}

impl FetchError {
    /// Whether another address of the file may help.
    fn may_help_elsewhere(&self) -> bool {
        matches!(
            self,
            FetchError::Server { .. } | FetchError::Status { .. } | FetchError::Sum { .. }
        )
    }
}

/// How persistent a download is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// How often a download is taken up again that made no progress.
    pub attempts: u32,
    /// The pause before the first of them; it doubles each time.
    pub pause: Duration,
    /// How long a server may send nothing.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            attempts: 5,
            pause: Duration::from_secs(1),
            silence: Duration::from_secs(30),
        }
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FetchProgress<'a> {
    /// Bytes of a file have arrived.
    Downloading {
        /// The file.
        file: &'a str,
        /// Its bytes that are here.
        bytes: u64,
        /// All its bytes, where the server says so.
        of: Option<u64>,
    },
    /// Its sum is computed.
    Checking {
        /// The file.
        file: &'a str,
    },
    /// It is unpacked.
    Unpacking {
        /// The file.
        file: &'a str,
    },
}

/// What [`fetch`] gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The folder of the data set.
    pub folder: PathBuf,
    /// Whether all of it was there before.
    pub was_there: bool,
}

/// Gets `data` into the folder of its name in `place`.
///
/// # Errors
/// Where a file cannot be had, is not what was published, or cannot be written.
/// What has arrived stays, and a later call goes on there.
pub fn fetch(
    data: &Published,
    place: &Path,
    patience: &Patience,
    stop: &StopToken,
    listener: &mut dyn FnMut(FetchProgress),
) -> Result<Fetched, FetchError> {
    let folder = place.join(&data.name);
    let _owner = DirectoryLock::exclusive(&folder)?;
    let mut was_there = true;
    for file in &data.files {
        let archive = unpack::Archive::of(file.name());
        // What an unpacked file leaves: its sum, as the sign that all of it is there.
        let sign = folder.join(format!(".{}.md5", file.name()));
        let path = folder.join(file.name());
        let is_there = match archive {
            Some(_) => fs::read_to_string(&sign).is_ok_and(|sum| sum == file.md5),
            None => path.is_file(),
        };
        if is_there {
            continue;
        }
        was_there = false;
        download::file(file, &path, patience, stop, listener)?;
        if let Some(archive) = archive {
            listener(FetchProgress::Unpacking { file: file.name() });
            archive.unpack(&path, &folder, stop)?;
            let written = fs::write(&sign, &file.md5).and_then(|()| fs::remove_file(&path));
            written.map_err(|source| FetchError::Write { path: sign, source })?;
        }
    }
    Ok(Fetched { folder, was_there })
}

#[cfg(test)]
mod tests;
