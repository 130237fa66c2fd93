//! Where are chosen kernels kept between runs? In the user's cache folder,
//! beside the compiled pipelines, in a file that people can read.
//!
//! Several programs may choose at once: each adds to what is there by then.
//! The file is a convenience: where it cannot be read or written, the next
//! run chooses again, and a note says so.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::choices::Book;
use crate::files::write_atomic;
use crate::gpu::cache_folder;

/// The file of this user.
pub fn choice_file() -> Option<PathBuf> {
    Some(cache_folder()?.join("tuning.toml"))
}

/// What `path` holds: nothing where there is no file. A damaged one is set
/// aside under another name, and the second result says so.
pub fn read_choices(path: &Path) -> (Book, Option<String>) {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| "it is no text".to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Book::default(), None),
        Err(error) => Err(error.to_string()),
    };
    match text.and_then(|text| Book::from_text(&text)) {
        Ok(book) => (book, None),
        Err(problem) => {
            let aside = path.with_extension("toml.damaged");
            let fate = match std::fs::rename(path, &aside) {
                Ok(()) => format!("set aside as {}", aside.display()),
                Err(_) => "not used".to_string(),
            };
            (Book::default(), Some(format!("{}: {problem}; {fate}", path.display())))
        }
    }
}

/// Adds `news` to what `path` holds by now; gives what went wrong, in one
/// line.
pub fn add_choices(path: &Path, news: &Book) -> Result<(), String> {
    change(path, |book| book.extend(news))
}

/// Forgets all choices of `path`.
pub fn clear_choices(path: &Path) -> Result<(), String> {
    change(path, |book| *book = Book::default())
}

fn change(path: &Path, change: impl FnOnce(&mut Book)) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(problem)?;
    // Released when the file is closed, by whatever end of the program.
    let lock = File::create(path.with_extension("lock")).map_err(problem)?;
    lock.lock().map_err(problem)?;
    let (mut book, _) = read_choices(path);
    change(&mut book);
    write_atomic(path, book.to_text().as_bytes()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::choices::Choices;
    use super::super::choices::tests::{choice, device};
    use super::*;

    fn book(kernel: &str, batch: usize) -> Book {
        let mut choices = Choices::default();
        choices.set("linear, N×64 to N×10", batch, choice(kernel, Some((0.5, 1.0))));
        Book::of(&device("a"), &choices)
    }

    #[test]
    fn choices_of_several_writers_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/tuning.toml");
        assert_eq!(read_choices(&path), (Book::default(), None));
        let both = std::thread::scope(|scope| {
            let write = |batch| add_choices(&path, &book("square 2 by 64", batch));
            let writers: Vec<_> = (1..=8).map(|batch| scope.spawn(move || write(batch))).collect();
            writers.into_iter().all(|writer| writer.join().unwrap().is_ok())
        });
        assert!(both);
        let (read, note) = read_choices(&path);
        assert_eq!((read.len(), note), (8, None));
        add_choices(&path, &book("square 8 by 64", 3)).unwrap();
        let (read, _) = read_choices(&path);
        let page = read.page(&device("a")).unwrap();
        assert_eq!(
            page.kernel("linear, N×64 to N×10", 3).unwrap().to_string(),
            "square 8 by 64"
        );
        clear_choices(&path).unwrap();
        assert!(read_choices(&path).0.is_empty());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuning.toml");
        for damaged in [&b"[[device"[..], b"\xff\xfe", b"device = 3"] {
            std::fs::write(&path, damaged).unwrap();
            let (book, note) = read_choices(&path);
            let note = note.unwrap();
            assert!(
                book.is_empty() && note.contains("set aside") && !note.contains('\n'),
                "{note}"
            );
            assert!(!path.exists());
            assert_eq!(std::fs::read(path.with_extension("toml.damaged")).unwrap(), damaged);
        }
        add_choices(&path, &book("plain", 1)).unwrap();
        assert_eq!(read_choices(&path).0.len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::write(&taken, "").unwrap();
        let error = add_choices(&taken.join("tuning.toml"), &book("plain", 1)).unwrap_err();
        assert!(error.contains("taken") && !error.contains('\n'), "{error}");
    }
}
