//! How are images read that lie in a folder for each class, also those of
//! Tiny-ImageNet?
//!
//! `train/CLASS/…` are the training images, `val/CLASS/…` or `test/CLASS/…` the
//! test images. Classes and images are in the order of their names.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::decode::decode_all;
use super::error::{read, unreadable};
use super::picture::Preparation;
use super::{FileError, ImageSet, Split};
use crate::files::{TEXT_LIMIT, read_text};

/// Folders of a split; the first that holds images is taken.
fn folders(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &["train"],
        Split::Test => &["val", "valid", "validation", "test"],
    }
}

const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// How deep images may lie in the folder of their class.
const DEPTH: usize = 8;

/// The largest image file, in bytes.
const LARGEST: u64 = 1 << 28;

/// Whether a folder holds a folder of classes.
pub(super) fn is_in(path: &Path) -> bool {
    [Split::Train, Split::Test]
        .into_iter()
        .any(|split| matches!(find(path, split), Ok(Some(_))))
}

/// An image's file and its label.
type Item = (PathBuf, u32);

/// The first `limit` images of a split, prepared.
///
/// With a limit, images of all classes are taken in turn: the first of every
/// class, then the second, so that few images show many classes.
pub(super) fn load(
    path: &Path,
    split: Split,
    limit: usize,
    preparation: &Preparation,
) -> Result<Option<ImageSet>, FileError> {
    let Some(folder) = find(path, split)? else {
        return Ok(None);
    };
    // The classes are those of the training images, if there are any.
    let classes = match find(path, Split::Train)? {
        Some(train) if split == Split::Test => class_folders(&train)?,
        _ => class_folders(&folder)?,
    };
    let label_of: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let mut items = Vec::new();
    for class in class_folders(&folder)? {
        let inside = folder.join(&class);
        let Some(&label) = label_of.get(class.as_str()) else {
            let problem = format!("there are no training images of the class {class}");
            return Err(FileError::content(&inside, problem));
        };
        let mut files = Vec::new();
        collect(&inside, DEPTH, &mut files)?;
        if files.is_empty() && split == Split::Train {
            return Err(FileError::content(&inside, "it holds no .png, .jpg or .jpeg file"));
        }
        files.sort();
        items.push(files.into_iter().map(|file| (file, label)).collect());
    }
    let mut set = decode_items(&first_of(items, limit), preparation)?;
    set.name = format!("{} {}", name_of(path), name_of(&folder));
    set.class_names = classes;
    Ok(Some(set))
}

fn decode_items(items: &[Item], preparation: &Preparation) -> Result<ImageSet, FileError> {
    let mut set = decode_all(
        items,
        |(path, _)| read(path, LARGEST),
        |(path, _)| path.clone(),
        preparation,
    )?;
    set.labels = items.iter().map(|(_, label)| *label).collect();
    Ok(set)
}

/// All images in the order of the classes if there are no more than `limit`;
/// else the first `limit`, taken from the classes in turn, in the same order.
fn first_of(classes: Vec<Vec<Item>>, limit: usize) -> Vec<Item> {
    let all: usize = classes.iter().map(Vec::len).sum();
    let mut left = limit.min(all);
    let mut kept = vec![0; classes.len()];
    while left > 0 {
        for (kept, class) in kept.iter_mut().zip(&classes) {
            if left > 0 && *kept < class.len() {
                *kept += 1;
                left -= 1;
            }
        }
    }
    let parts = classes.into_iter().zip(kept);
    parts.flat_map(|(class, kept)| class.into_iter().take(kept)).collect()
}

/// The last part of a path, for messages.
fn name_of(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folder of a split: the first that has folders in it, of which one has an
/// image.
fn find(path: &Path, split: Split) -> Result<Option<PathBuf>, FileError> {
    for name in folders(split) {
        let folder = path.join(name);
        if !folder.is_dir() {
            continue;
        }
        for class in class_folders(&folder)? {
            if has_image(&folder.join(class), DEPTH)? {
                return Ok(Some(folder));
            }
        }
    }
    Ok(None)
}

/// The names of the folders in a folder, in order. Hidden ones are left out.
fn class_folders(folder: &Path) -> Result<Vec<String>, FileError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let entry = entry.map_err(unreadable(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn has_image(folder: &Path, depth: usize) -> Result<bool, FileError> {
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if is_image(&path) || depth > 0 && path.is_dir() && has_image(&path, depth - 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Appends the image files in a folder and in the folders inside it.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if is_image(&path) {
            files.push(path);
        } else if depth > 0 && path.is_dir() {
            collect(&path, depth - 1, files)?;
        }
    }
    Ok(())
}

/// The file with the identifiers of Tiny-ImageNet's classes.
pub(super) const WNIDS: &str = "wnids.txt";

/// The folder in Tiny-ImageNet's archive.
pub(super) const TINY: &str = "tiny-imagenet-200";

/// The first `limit` images of a split of Tiny-ImageNet: `train/ID/images/…`, and
/// `val/images/…` with their classes in `val/val_annotations.txt`. Classes are in
/// the order of their identifiers; `words.txt` has their names.
pub(super) fn load_tiny(
    path: &Path,
    split: Split,
    limit: usize,
    preparation: &Preparation,
) -> Result<ImageSet, FileError> {
    const REMEDY: &str = "unpack tiny-imagenet-200.zip from http://cs231n.stanford.edu/tiny-imagenet-200.zip";
    let inner = path.join(TINY);
    let path = if inner.is_dir() { &inner } else { path };
    let text = |name: &str| {
        let file = path.join(name);
        match file.exists() {
            true => read_text(&file, TEXT_LIMIT).map_err(unreadable(&file)),
            false => Err(FileError::NoFile {
                path: file,
                remedy: REMEDY,
            }),
        }
    };
    let mut ids: Vec<String> = text(WNIDS)?.split_whitespace().map(str::to_owned).collect();
    ids.sort();
    let label_of: HashMap<&str, u32> = ids.iter().map(String::as_str).zip(0..).collect();
    let mut classes = vec![Vec::new(); ids.len()];
    match split {
        Split::Train => {
            for (id, items) in ids.iter().zip(&mut classes) {
                let folder = path.join("train").join(id);
                if !folder.is_dir() {
                    return Err(FileError::NoFolder {
                        path: folder,
                        remedy: REMEDY,
                    });
                }
                let mut files = Vec::new();
                collect(&folder, DEPTH, &mut files)?;
                files.sort();
                items.extend(files.into_iter().map(|file| (file, label_of[id.as_str()])));
            }
        }
        Split::Test => {
            let list = path.join("val/val_annotations.txt");
            for (number, line) in (1..).zip(text("val/val_annotations.txt")?.lines()) {
                let mut words = line.split('\t');
                let known = words.next().zip(words.next().and_then(|id| label_of.get(id.trim())));
                let Some((file, &label)) = known else {
                    let problem = format!("line {number} has no file name and class of {WNIDS}");
                    return Err(FileError::content(&list, problem));
                };
                let file = Path::new(file).file_name().unwrap_or_default();
                classes[label as usize].push((path.join("val/images").join(file), label));
            }
            classes.iter_mut().for_each(|items| items.sort());
        }
    }
    let mut set = decode_items(&first_of(classes, limit), preparation)?;
    set.name = match split {
        Split::Train => "Tiny-ImageNet train".into(),
        Split::Test => "Tiny-ImageNet val".into(),
    };
    set.class_names = class_words(path, &ids)?;
    Ok(set)
}

/// The first word of each class in `words.txt`, else its identifier.
fn class_words(path: &Path, ids: &[String]) -> Result<Vec<String>, FileError> {
    let file = path.join("words.txt");
    if !file.exists() {
        return Ok(ids.to_vec());
    }
    let text = read_text(&file, TEXT_LIMIT).map_err(unreadable(&file))?;
    let words = text.lines().filter_map(|line| line.split_once('\t'));
    let words: HashMap<&str, &str> = words
        .map(|(id, words)| (id, words.split(',').next().unwrap_or(words).trim()))
        .collect();
    let name = |id: &String| words.get(id.as_str()).map_or(id.clone(), |&name| name.to_owned());
    Ok(ids.iter().map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::decode::tests::png;

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn load_all(folder: &Path, split: Split, limit: usize) -> Result<Option<ImageSet>, FileError> {
        load(folder, split, limit, &Preparation::default())
    }

    #[test]
    fn classes_and_images_are_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (name, value) in [
            ("b/2.png", 4),
            ("b/10.PNG", 3),
            ("a/x/1.png", 1),
            ("a/x.png", 2),
            ("c/0.png", 5),
        ] {
            write(folder, &format!("train/{name}"), &png(1, 1, value));
        }
        write(folder, "train/b/.hidden.png", b"");
        write(folder, "train/b/notes.txt", b"");
        write(folder, "train/.git/x.png", b"");
        write(folder, "test/c/0.png", &png(1, 1, 6));
        let train = load_all(folder, Split::Train, 9).unwrap().unwrap();
        assert_eq!(train.class_names, ["a", "b", "c"]);
        let first = |set: &ImageSet| set.images.iter().step_by(3).copied().collect::<Vec<u8>>();
        assert_eq!(
            (first(&train), train.labels.as_slice()),
            (vec![1, 2, 3, 4, 5], &[0, 0, 1, 1, 2][..])
        );
        let test = load_all(folder, Split::Test, 9).unwrap().unwrap();
        assert_eq!((first(&test), test.labels.as_slice()), (vec![6], &[2][..]));
        let few = load_all(folder, Split::Train, 4).unwrap().unwrap();
        assert_eq!(first(&few), [1, 2, 3, 5]);
        write(folder, "val/d/0.png", &png(1, 1, 6));
        let error = load_all(folder, Split::Test, 9).unwrap_err().to_string();
        assert!(error.contains("no training images of the class d"), "{error}");
        assert!(load_all(&folder.join("train"), Split::Train, 9).unwrap().is_none());
    }

    #[test]
    fn a_class_without_images_is_named() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "train/a/1.png", &png(1, 1, 1));
        write(folder.path(), "train/b/1.gif", b"");
        let error = load_all(folder.path(), Split::Train, 9).unwrap_err().to_string();
        assert!(error.contains("train/b: it holds no .png"), "{error}");
    }

    #[test]
    fn tiny_imagenet_has_its_own_layout() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let inner = folder.join(TINY);
        write(&inner, WNIDS, b"n2\nn1\n");
        write(&inner, "words.txt", b"n1\tgoldfish, Carassius auratus\nn9\tother\n");
        write(&inner, "train/n1/images/n1_0.JPEG", &png(1, 1, 1));
        write(&inner, "train/n2/images/n2_0.JPEG", &png(1, 1, 2));
        write(
            &inner,
            "val/val_annotations.txt",
            b"val_1.JPEG\tn2\t0\t0\t1\t1\nval_0.JPEG\tn1\t0\t0\t1\t1\n",
        );
        write(&inner, "val/images/val_0.JPEG", &png(1, 1, 3));
        write(&inner, "val/images/val_1.JPEG", &png(1, 1, 4));
        let load = |split| load_tiny(folder, split, 9, &Preparation::default());
        let train = load(Split::Train).unwrap();
        assert_eq!(
            (train.class_names.as_slice(), train.labels.as_slice()),
            (&["goldfish".to_owned(), "n2".to_owned()][..], &[0, 1][..])
        );
        let test = load(Split::Test).unwrap();
        assert_eq!(
            (test.images[0], test.images[3], test.labels.as_slice()),
            (3, 4, &[0, 1][..])
        );
        write(&inner, "val/val_annotations.txt", b"val_1.JPEG\tn7\n");
        assert!(load(Split::Test).unwrap_err().to_string().contains("line 1"));
    }
}
