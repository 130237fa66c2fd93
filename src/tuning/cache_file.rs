//! Where are tuned kernels stored between runs? In the user's cache folder,
//! next to the compiled pipelines, in a text file.
//!
//! Several programs may tune at once: each adds to what the file holds by
//! then. The file is a convenience: where it cannot be read or written, the
//! next run tunes again, and a note says so.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::cache::TuningCache;
use super::error::{CacheError, TuningError};
use crate::files::{TEXT_LIMIT, read_at_most, write_atomic};
use crate::gpu::cache_folder;

/// This user's file; `None` where the system names no cache folder.
pub fn cache_path() -> Option<PathBuf> {
    Some(cache_folder()?.join("tuning.toml"))
}

/// The content of the cache file `path`: empty where there is no file. A file
/// that is damaged or of another version is renamed, and the second result
/// says so in one line.
pub fn load_cache(path: &Path) -> (TuningCache, Option<String>) {
    let text = match read_at_most(path, TEXT_LIMIT) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| CacheError::Malformed("it is not text".to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (TuningCache::default(), None),
        Err(error) => {
            let note = format!("{}: cannot be read: {error}; not used", path.display());
            return (TuningCache::default(), Some(note));
        }
    };
    match text.and_then(|text| TuningCache::from_text(&text)) {
        Ok(cache) => {
            log::debug!("{}: {} tuned kernels read", path.display(), cache.len());
            (cache, None)
        }
        Err(error) => {
            let renamed = path.with_extension(match error {
                CacheError::Malformed(_) => "toml.damaged",
                CacheError::Older | CacheError::Newer => "toml.old",
            });
            let result = match std::fs::rename(path, &renamed) {
                Ok(()) => format!("renamed to {}", renamed.display()),
                Err(_) => "not used".to_string(),
            };
            let note = format!("{}: {error}; {result}; kernels are tuned again", path.display());
            (TuningCache::default(), Some(note))
        }
    }
}

/// Adds `new` to what the cache file `path` holds by now.
///
/// # Errors
/// Where the file cannot be written: one line.
pub fn add_to_cache(path: &Path, new: &TuningCache) -> Result<(), String> {
    change(path, |cache| cache.extend(new))
}

/// Removes all entries of the cache file `path`.
///
/// # Errors
/// Where the file cannot be written: one line.
pub fn clear_cache(path: &Path) -> Result<(), String> {
    change(path, |cache| *cache = TuningCache::default())
}

/// Reads a file of tuned kernels to replay: a run's `tuning.toml`, or an
/// exported one. Unlike the user's cache it is never renamed.
///
/// # Errors
/// Where there is no such file, or it is not a tuning cache of this version.
pub fn read_tuning_file(path: &Path) -> Result<TuningCache, TuningError> {
    let path_buf = || path.to_path_buf();
    let bytes = read_at_most(path, TEXT_LIMIT).map_err(|error| TuningError::Read {
        path: path_buf(),
        error,
    })?;
    let text = String::from_utf8(bytes).map_err(|_| CacheError::Malformed("it is not text".to_string()));
    text.and_then(|text| TuningCache::from_text(&text))
        .map_err(|error| TuningError::Cache {
            path: path_buf(),
            error,
        })
}

fn change(path: &Path, change: impl FnOnce(&mut TuningCache)) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(problem)?;
    // Released when the file is closed, however the program ends.
    let lock = File::create(path.with_extension("lock")).map_err(problem)?;
    lock.lock().map_err(problem)?;
    let (mut cache, _) = load_cache(path);
    change(&mut cache);
    write_atomic(path, cache.to_text().as_bytes()).map_err(|error| error.to_string())?;
    log::debug!("{}: {} tuned kernels written", path.display(), cache.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cache::tests::{OLD_FILE, key, tuned};
    use super::*;
    use crate::schedule::KernelChoices;

    fn cache(algorithm: &str, batch: usize) -> TuningCache {
        let mut choices = KernelChoices::default();
        choices.set("linear, N×64 to N×10", batch, tuned(algorithm, Some((0.5, 1.0))));
        TuningCache::of(&key("a"), &choices)
    }

    #[test]
    fn entries_of_several_writers_are_merged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/tuning.toml");
        assert_eq!(load_cache(&path), (TuningCache::default(), None));
        let both = std::thread::scope(|scope| {
            let write = |batch| add_to_cache(&path, &cache("linear 2x2 wg 64", batch));
            let writers: Vec<_> = (1..=8).map(|batch| scope.spawn(move || write(batch))).collect();
            writers.into_iter().all(|writer| writer.join().unwrap().is_ok())
        });
        assert!(both);
        let (read, note) = load_cache(&path);
        assert_eq!((read.len(), note), (8, None));
        add_to_cache(&path, &cache("linear 8x8 wg 64", 3)).unwrap();
        let (read, _) = load_cache(&path);
        let entry = read.entry(&key("a")).unwrap();
        assert_eq!(
            entry.algorithm("linear, N×64 to N×10", 3).unwrap().to_string(),
            "linear 8x8 wg 64"
        );
        clear_cache(&path).unwrap();
        assert!(load_cache(&path).0.is_empty());
    }

    #[test]
    fn a_damaged_file_is_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuning.toml");
        for damaged in [&b"[[device"[..], b"\xff\xfe", b"version = 2\ndevice = 3"] {
            std::fs::write(&path, damaged).unwrap();
            let (read, note) = load_cache(&path);
            let note = note.unwrap();
            assert!(
                read.is_empty() && note.contains("renamed") && !note.contains('\n'),
                "{note}"
            );
            assert!(!path.exists());
            assert_eq!(std::fs::read(path.with_extension("toml.damaged")).unwrap(), damaged);
        }
        add_to_cache(&path, &cache("plain", 1)).unwrap();
        assert_eq!(load_cache(&path).0.len(), 1);
    }

    #[test]
    fn a_file_of_an_older_version_is_renamed_and_tuned_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuning.toml");
        std::fs::write(&path, OLD_FILE).unwrap();
        let (read, note) = load_cache(&path);
        let note = note.unwrap();
        assert!(read.is_empty(), "{read:?}");
        for part in ["older version", "tuning.toml.old", "tuned again"] {
            assert!(note.contains(part) && !note.contains('\n'), "{note}");
        }
        assert_eq!(
            std::fs::read_to_string(path.with_extension("toml.old")).unwrap(),
            OLD_FILE
        );
        assert_eq!(load_cache(&path), (TuningCache::default(), None));
        // A program that adds to it without reading it first loses nothing.
        std::fs::write(&path, OLD_FILE).unwrap();
        add_to_cache(&path, &cache("plain", 1)).unwrap();
        assert_eq!(load_cache(&path).0.len(), 1);
    }

    #[test]
    fn a_file_to_replay_of_an_older_version_is_an_error_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exported.toml");
        std::fs::write(&path, OLD_FILE).unwrap();
        let error = read_tuning_file(&path).unwrap_err().to_string();
        for part in ["exported.toml", "older version", "remove it"] {
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        assert!(path.exists());
        assert!(read_tuning_file(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::write(&taken, "").unwrap();
        let error = add_to_cache(&taken.join("tuning.toml"), &cache("plain", 1)).unwrap_err();
        assert!(error.contains("taken") && !error.contains('\n'), "{error}");
    }
}
