//! Who may write into a directory?
//!
//! A run's directory and a study's output have one owner at a time: the process
//! that holds the lock of the file `.lock` in them. The operating system
//! releases the lock however the process ends. Readers need no lock.
//!
//! Some network mounts have no file locks. There the directory is used without
//! one, and [`DirectoryLock::note`] says so.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::{fault, is_temporary};

/// The lock's file in a directory.
const NAME: &str = ".lock";
/// How long a lock is waited for that is held for a moment only: by a process
/// that just ends, or by a sweep that writes its report.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// A directory could not be made one's own.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process writes there.
    #[error("{path}: in use by {holder}; wait until it has ended, or choose another directory")]
    Held {
        /// The directory.
        path: PathBuf,
        /// Process, computer, start and command of the holder.
        holder: String,
    },
    /// The directory or the lock's file cannot be made.
    #[error("{path}: {source}; check the folder, its permissions and the free space")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Exclusive or shared ownership of a directory, until it is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    directory: PathBuf,
    file: File,
    /// Folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
    shared: bool,
    /// Why there is no lock, on file systems that have none.
    without: Option<io::Error>,
}

/// What one attempt gave.
enum Attempt {
    Locked(DirectoryLock),
    Held(File),
    /// The file was removed by its last owner in between.
    Removed,
}

impl DirectoryLock {
    /// Makes `directory` where it does not exist, and takes its lock. Temporary
    /// files that a killed owner left there are removed.
    ///
    /// # Errors
    /// Where another process holds the lock, or the directory cannot be made.
    pub fn exclusive(directory: &Path) -> Result<Self, LockError> {
        Self::take(directory, false, Duration::ZERO)
    }

    /// Makes `directory`, which must not exist, and takes its lock: `None` where
    /// somebody else has made it. Folders above it are made, too.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new_directory(directory: &Path) -> Result<Option<Self>, LockError> {
        let io_error = |source| LockError::Io {
            path: directory.to_path_buf(),
            source,
        };
        if let Some(parent) = directory.parent() {
            std::fs::create_dir_all(parent).map_err(io_error)?;
        }
        let made = fault::check().and_then(|()| std::fs::create_dir(directory));
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(io_error(error)),
        }
        let mut lock = Self::exclusive(directory)?;
        lock.made.push(directory.to_path_buf());
        Ok(Some(lock))
    }

    /// As [`Self::exclusive`], for owners that share the directory, and keep
    /// exclusive ones away.
    ///
    /// # Errors
    /// As [`Self::exclusive`].
    pub fn shared(directory: &Path) -> Result<Self, LockError> {
        Self::take(directory, true, PATIENCE)
    }

    /// Turns a shared lock into an exclusive one, if nobody else shares it:
    /// `None` where somebody does, who is then the one to do what the last
    /// owner does.
    ///
    /// # Errors
    /// Where the directory cannot be used any more.
    pub fn last_owner(self) -> Result<Option<Self>, LockError> {
        let directory = self.directory.clone();
        drop(self);
        match Self::exclusive(&directory) {
            Ok(lock) => Ok(Some(lock)),
            Err(LockError::Held { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A line for the user where the file system has no locks.
    pub fn note(&self) -> Option<String> {
        let error = self.without.as_ref()?;
        let path = self.directory.display();
        Some(format!(
            "{path}: this file system has no locks ({error}); start nothing else that writes there"
        ))
    }

    fn take(directory: &Path, shared: bool, patience: Duration) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io {
            path: directory.to_path_buf(),
            source,
        };
        let began = Instant::now();
        let mut made = Vec::new();
        loop {
            match Self::attempt(directory, shared, &mut made).map_err(io_error)? {
                Attempt::Locked(lock) => return Ok(lock),
                Attempt::Held(_) if began.elapsed() < patience => std::thread::sleep(PAUSE),
                Attempt::Held(file) => {
                    return Err(LockError::Held {
                        path: directory.to_path_buf(),
                        holder: holder(file),
                    });
                }
                Attempt::Removed => {}
            }
        }
    }

    fn attempt(directory: &Path, shared: bool, made: &mut Vec<PathBuf>) -> io::Result<Attempt> {
        make(directory, made)?;
        let path = directory.join(NAME);
        fault::check()?;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            // The last owner removed an empty directory of its own.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Removed),
            Err(error) => return Err(error),
        };
        let locked = if shared {
            file.try_lock_shared()
        } else {
            file.try_lock()
        };
        let without = match locked {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Held(file)),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => Some(error),
            Err(TryLockError::Error(error)) => return Err(error),
        };
        if without.is_none() && !is_file_at(&file, &path) {
            return Ok(Attempt::Removed);
        }
        let mut lock = DirectoryLock {
            directory: directory.to_path_buf(),
            file,
            made: std::mem::take(made),
            shared,
            without,
        };
        lock.introduce()?;
        if !shared && lock.without.is_none() {
            remove_temporary_files(directory);
        }
        Ok(Attempt::Locked(lock))
    }

    /// Writes into the lock's file who holds it.
    fn introduce(&mut self) -> io::Result<()> {
        fault::check()?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(own_words().as_bytes())
    }
}

impl Drop for DirectoryLock {
    /// Removes the lock's file, and the folders that were made for nothing.
    fn drop(&mut self) {
        // Where a file's identity cannot be checked, the file stays.
        if !cfg!(unix) || self.without.is_some() {
            return;
        }
        // Others may share it: the last owner removes the file.
        if self.shared && self.file.try_lock().is_err() {
            return;
        }
        let path = self.directory.join(NAME);
        if is_file_at(&self.file, &path) {
            let _ = std::fs::remove_file(&path);
            for folder in &self.made {
                // Succeeds for an empty folder only.
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}

/// Makes `directory` and what is missing above it; adds what it made to `made`,
/// the innermost first.
fn make(directory: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|folder| {
        let named = !folder.as_os_str().is_empty();
        named && !folder.exists()
    });
    let missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
    for folder in missing.iter().rev() {
        fault::check()?;
        match std::fs::create_dir(folder) {
            Ok(()) => made.insert(0, folder.clone()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    if directory.is_dir() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"))
}

/// Whether an error means that the file system has no locks, rather than that
/// the lock is held.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    /// The error number of "no locks available" on Linux, macOS and the BSDs.
    const ENOLCK: i32 = if cfg!(target_os = "linux") { 37 } else { 77 };
    error.kind() == io::ErrorKind::Unsupported || cfg!(unix) && error.raw_os_error() == Some(ENOLCK)
}

/// Whether `path` still leads to the open `file`.
#[cfg(unix)]
fn is_file_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

/// The file is never removed where its identity cannot be checked.
#[cfg(not(unix))]
fn is_file_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Removes the temporary files of [`super::AtomicFile`] that a killed process
/// left. Only the owner of the directory may do this.
fn remove_temporary_files(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if is_temporary(&entry.file_name()) && std::fs::remove_file(entry.path()).is_ok() {
            log::debug!("{}: left by a killed process, removed", entry.path().display());
        }
    }
}

/// The holder in words, as the lock's file has them.
fn holder(mut file: File) -> String {
    let began = Instant::now();
    loop {
        let mut words = String::new();
        // On Windows a locked file cannot be read.
        let readable = file.rewind().and_then(|()| file.read_to_string(&mut words)).is_ok();
        let words = in_one_line(&words);
        if !words.is_empty() {
            return words;
        }
        // The holder may not have written its words yet.
        if !readable || began.elapsed() > PATIENCE / 10 {
            return "another process".to_string();
        }
        std::thread::sleep(PAUSE / 4);
    }
}

/// This process in words: `process 71 on host (residua train), since 2026-01-31 10:00:00 UTC`.
fn own_words() -> String {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let mut command = in_one_line(&arguments.join(" "));
    if let Some((at, _)) = command.char_indices().nth(200) {
        command.truncate(at);
        command.push('…');
    }
    let since = utc(SystemTime::now());
    format!(
        "process {} on {} ({command}), since {since}\n",
        std::process::id(),
        host()
    )
}

fn in_one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The computer's name.
fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let variable = || {
        ["HOSTNAME", "COMPUTERNAME"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok())
    };
    let name = kernel.or_else(variable).map(|name| in_one_line(&name));
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "this computer".to_string())
}

/// Date and time of day, in the Gregorian calendar and without leap seconds.
fn utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (mut day, of_day) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = |year| if is_leap(year) { 366 } else { 365 };
    while day >= days(year) {
        day -= days(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DirectoryLock::exclusive(&path).unwrap();
        assert_eq!(first.note(), None);
        for refused in [DirectoryLock::exclusive(&path), DirectoryLock::shared(&path)] {
            let message = refused.unwrap_err().to_string();
            assert!(
                message.contains(&format!("process {} on ", std::process::id())),
                "{message}"
            );
            assert!(message.contains(" UTC"), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
        drop(first);
        assert!(!folder.path().join("a").exists(), "nothing was written, nothing stays");
    }

    #[test]
    fn shared_owners_keep_exclusive_ones_away_until_the_last_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (first, second) = (
            DirectoryLock::shared(path).unwrap(),
            DirectoryLock::shared(path).unwrap(),
        );
        assert!(DirectoryLock::exclusive(path).is_err());
        assert!(first.last_owner().unwrap().is_none());
        let last = second.last_owner().unwrap().expect("nobody else is left");
        assert!(DirectoryLock::exclusive(path).is_err());
        drop(last);
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn temporary_files_of_a_killed_owner_go() {
        let folder = tempfile::tempdir().unwrap();
        let (left, other) = (".residua-a1B2.part", "notes.part");
        for name in [left, other] {
            std::fs::write(folder.path().join(name), "half").unwrap();
        }
        let _lock = DirectoryLock::exclusive(folder.path()).unwrap();
        assert!(!folder.path().join(left).exists());
        assert!(folder.path().join(other).exists());
    }

    #[test]
    fn many_owners_follow_each_other_without_meeting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let inside = std::sync::atomic::AtomicU32::new(0);
        let owners = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while owners.load(std::sync::atomic::Ordering::SeqCst) < 200 {
                        let Ok(lock) = DirectoryLock::exclusive(&path) else {
                            continue;
                        };
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        owners.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::write(&path, "").unwrap();
        let message = DirectoryLock::exclusive(&path).unwrap_err().to_string();
        assert!(message.contains("taken") && message.contains("no folder"), "{message}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (1_798_675_200, "2026-12-31 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
    }
}
