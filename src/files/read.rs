//! How is a file read, so that reading neither waits for ever nor needs more
//! memory than the caller allows?

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// The longest file of settings (`run.toml`, `--config`, class names): 1 MiB.
pub const SETTINGS_LIMIT: u64 = 1 << 20;

/// The longest text that a program of this library writes and reads again
/// (results, tables, tuning): 256 MiB.
pub const TEXT_LIMIT: u64 = 1 << 28;

/// Opens a regular file, also through symbolic links; also returns its number of
/// bytes.
///
/// Folders, named pipes, sockets and devices are refused before they are
/// opened: opening a pipe waits for its writer, and `/dev/zero` has no end.
///
/// # Errors
/// Those of the operating system; [`io::ErrorKind::InvalidInput`] for what is no
/// regular file.
pub fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    // The name may stand for another file by now.
    let size = regular(&file.metadata()?)?;
    Ok((file, size))
}

/// The bytes of a regular file that has no more than `limit` bytes.
///
/// # Errors
/// As [`open_regular`], and [`io::ErrorKind::FileTooLarge`] for a longer file, of
/// which nothing is read.
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, size) = open_regular(path)?;
    read_open(&file, size, limit)
}

/// The text of a regular file that has no more than `limit` bytes.
///
/// # Errors
/// As [`read_at_most`], and [`io::ErrorKind::InvalidData`] for bytes that are not
/// UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let bytes = read_at_most(path, limit)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))
}

/// The rest of an open file with `size` bytes, if it has no more than `limit`.
///
/// # Errors
/// As [`read_at_most`].
pub fn read_open(file: &File, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    let too_large = |size: u64| {
        let problem = format!("it has {size} bytes, and at most {limit} are read");
        io::Error::new(io::ErrorKind::FileTooLarge, problem)
    };
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // The file may have grown since its size was read.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The size of a regular file; an error that says what it is otherwise.
fn regular(metadata: &fs::Metadata) -> io::Result<u64> {
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let problem = format!("it is {}, not a file", kind(metadata));
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

fn kind(metadata: &fs::Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if metadata.is_dir() {
        "a folder"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        fs::write(&path, "seed = 7").unwrap();
        assert_eq!(read_text(&path, 8).unwrap(), "seed = 7");
        assert_eq!(open_regular(&path).unwrap().1, 8);
        let error = read_at_most(&path, 7).unwrap_err();
        assert_eq!(error.to_string(), "it has 8 bytes, and at most 7 are read");
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 8).unwrap_err().to_string(), "it is not text");
        assert_eq!(
            read_text(&folder.path().join("none"), 8).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_sparse_file_beyond_the_limit_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(100 << 30).unwrap();
        let error = read_text(file.path(), TEXT_LIMIT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (link, target) in [
            ("to-pipe", at("pipe")),
            ("zero", "/dev/zero".into()),
            ("here", ".".into()),
        ] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        for (name, kind) in [
            ("pipe", "a named pipe"),
            ("to-pipe", "a named pipe"),
            ("socket", "a socket"),
            ("zero", "a device"),
            ("here", "a folder"),
        ] {
            let error = read_text(&at(name), TEXT_LIMIT).unwrap_err().to_string();
            assert_eq!(error, format!("it is {kind}, not a file"), "{name}");
        }
    }
}
