//! How are test sets for networks of CIFAR-10 read: CIFAR-10-C (Hendrycks and
//! Dietterich 2019) and CIFAR-10.1 (Recht et al. 2018)?
//!
//! Both are NumPy's arrays: (N, 32, 32, 3) bytes, and (N) labels. CIFAR-10-C has
//! one file for each corruption, with the same images at five severities one
//! after the other, and `labels.npy` for all of them.

use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use super::arrays;
use super::cifar::CIFAR10;
use super::error::unreadable;
use super::{FileError, ImageSet};

const SEVERITIES: usize = 5;

const LABELS: &str = "labels.npy";

const REMEDY: &str = "unpack CIFAR-10-C.tar from https://zenodo.org/record/2535967";

/// Whether a folder with the entries `names` holds CIFAR-10-C.
pub(super) fn is_in(names: &[String]) -> bool {
    let corruption =
        |name: &String| name.ends_with(".npy") && name != LABELS && !is_name_of_10_1(name) && !arrays::is_name(name);
    names.iter().any(|name| name == LABELS) && names.iter().any(corruption)
}

/// Whether a file name is one of CIFAR-10.1's.
pub(super) fn is_name_of_10_1(name: &str) -> bool {
    name.starts_with("cifar10.1_") && (name.ends_with("_data.npy") || name.ends_with("_labels.npy"))
}

/// Images with one corruption at one severity, within a set of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupted {
    /// The corruption: `fog`.
    pub corruption: String,
    /// Its severity, from 1 to 5.
    pub severity: usize,
    /// Where its images are in the set.
    pub images: Range<usize>,
}

/// What a path to CIFAR-10-C stands for.
struct Request {
    folder: PathBuf,
    /// The files of the corruptions, in the order of their names.
    files: Vec<PathBuf>,
    /// One severity alone.
    severity: Option<usize>,
}

impl Request {
    fn of(path: &Path) -> Result<Self, FileError> {
        let (path, severity) = split_severity(path)?;
        let (folder, files) = corruptions(&path)?;
        match files.is_empty() {
            true => Err(FileError::content(&path, format!("it holds no corruption; {REMEDY}"))),
            false => Ok(Request {
                folder,
                files,
                severity,
            }),
        }
    }

    /// The severities that are asked for.
    fn severities(&self) -> RangeInclusive<usize> {
        match self.severity {
            Some(severity) => severity..=severity,
            None => 1..=SEVERITIES,
        }
    }
}

/// The number of images in each of `parts` parts that give `images` images in turn.
fn in_turn(images: usize, parts: usize) -> impl Iterator<Item = usize> {
    (0..parts).map(move |part| images / parts + usize::from(part < images % parts))
}

/// The corruptions of `path`, each with the path of its own images and their number,
/// where all of them together are limited to `limit`.
pub(super) fn each(path: &Path, limit: usize) -> Result<Vec<(PathBuf, usize)>, FileError> {
    let request = Request::of(path)?;
    let severities = request.severities().count();
    let shares: Vec<usize> = in_turn(limit, request.files.len() * severities).collect();
    let shares = shares.chunks(severities).map(|parts| {
        let sum = parts.iter().try_fold(0_usize, |sum, &part| sum.checked_add(part));
        sum.unwrap_or(usize::MAX)
    });
    let own = |file: &PathBuf| match request.severity {
        // The name without its end: with `@`, a file's own name has none behind it.
        Some(severity) => format!("{}@{severity}", file.with_extension("").display()).into(),
        None => file.clone(),
    };
    Ok(request.files.iter().map(own).zip(shares).collect())
}

/// Which images of a set of `images` images that was loaded from `path` have which
/// corruption.
pub(super) fn parts(path: &Path, images: usize) -> Result<Vec<Corrupted>, FileError> {
    let request = Request::of(path)?;
    let name = |file: &PathBuf| file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let kinds = request
        .files
        .iter()
        .flat_map(|file| request.severities().map(move |severity| (name(file), severity)));
    let kinds: Vec<(String, usize)> = kinds.collect();
    let mut begin = 0;
    let counts = in_turn(images, kinds.len());
    let part = |((corruption, severity), count): ((String, usize), usize)| {
        let images = begin..begin + count;
        begin = images.end;
        Corrupted {
            corruption,
            severity,
            images,
        }
    };
    Ok(kinds.into_iter().zip(counts).map(part).collect())
}

/// The images of CIFAR-10-C: all, or `limit`, which all corruptions and severities
/// give in turn, each its first images.
///
/// `path` is the folder: all corruptions, in the order of their names. Or it is
/// one corruption in it, with or without `.npy`. `@3` behind it leaves only the
/// images of severity 3.
pub(super) fn load(path: &Path, limit: usize) -> Result<ImageSet, FileError> {
    let request = Request::of(path)?;
    let labels = request.folder.join(LABELS);
    if !labels.exists() {
        return Err(FileError::NoFile {
            path: labels,
            remedy: REMEDY,
        });
    }
    let mut set: Option<ImageSet> = None;
    for (file, (_, share)) in request.files.iter().zip(each(path, limit)?) {
        if share == 0 {
            break;
        }
        let part = arrays::load_pair(file, &labels, usize::MAX)?;
        check_shape(&part, file)?;
        let part = of_severities(part, request.severities(), share, file)?;
        match &mut set {
            None => set = Some(part),
            Some(set) => {
                set.images.extend(part.images);
                set.labels.extend(part.labels);
            }
        }
    }
    let mut set = set.expect("a limit is at least 1, and there is a corruption");
    let what = match &request.files[..] {
        [one] => one.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        several => format!("{} corruptions", several.len()),
    };
    set.name = match request.severity {
        Some(severity) => format!("CIFAR-10-C {what}, severity {severity}, test"),
        None => format!("CIFAR-10-C {what} test"),
    };
    set.class_names = CIFAR10.class_list();
    Ok(set)
}

/// `DIR/fog@3` is `DIR/fog` and 3, unless there is a file of that name.
fn split_severity(path: &Path) -> Result<(PathBuf, Option<usize>), FileError> {
    let Some((start, severity)) = path.to_str().and_then(|text| text.rsplit_once('@')) else {
        return Ok((path.to_path_buf(), None));
    };
    if path.exists() {
        return Ok((path.to_path_buf(), None));
    }
    match severity.parse() {
        Ok(severity @ 1..=SEVERITIES) => Ok((start.into(), Some(severity))),
        _ => Err(FileError::content(
            path,
            format!("severity '{severity}' is none from 1 to {SEVERITIES}"),
        )),
    }
}

/// The folder and the files of the corruptions.
fn corruptions(path: &Path) -> Result<(PathBuf, Vec<PathBuf>), FileError> {
    let with_end = PathBuf::from(format!("{}.npy", path.display()));
    let file = match path.is_file() {
        true => path,
        false => &with_end,
    };
    if file.is_file() {
        let folder = file.parent().unwrap_or_else(|| Path::new("")).to_path_buf();
        return Ok((folder, vec![file.to_path_buf()]));
    }
    let inner = path.join("CIFAR-10-C");
    let folder = if inner.is_dir() { &inner } else { path };
    if !folder.is_dir() {
        return Err(FileError::NoFolder {
            path: path.to_path_buf(),
            remedy: REMEDY,
        });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path.file_name().unwrap_or_default();
        if path.extension().is_some_and(|end| end == "npy") && name != LABELS {
            files.push(path);
        }
    }
    files.sort();
    Ok((folder.to_path_buf(), files))
}

fn check_shape(set: &ImageSet, file: &Path) -> Result<(), FileError> {
    let classes = CIFAR10.class_list().len();
    if set.classes() > classes {
        return Err(FileError::content(
            file,
            "its labels go beyond the 10 classes of CIFAR-10",
        ));
    }
    if (set.channels, set.height, set.width) == (3, 32, 32) {
        return Ok(());
    }
    let shape = format!("{}×{}×{}", set.channels, set.height, set.width);
    Err(FileError::content(
        file,
        format!("its images have the shape {shape} instead of 3×32×32"),
    ))
}

/// `limit` images of some severities, of a file with all five.
fn of_severities(
    set: ImageSet,
    severities: RangeInclusive<usize>,
    limit: usize,
    file: &Path,
) -> Result<ImageSet, FileError> {
    let count = set.len();
    if count == 0 || !count.is_multiple_of(SEVERITIES) {
        return Err(FileError::content(
            file,
            format!("its {count} images are no {SEVERITIES} severities of the same number"),
        ));
    }
    let each = count / SEVERITIES;
    let size = set.image_size();
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let parts = severities.clone().count();
    for (severity, share) in severities.zip(in_turn(limit, parts)) {
        let range = (severity - 1) * each..(severity - 1) * each + share.min(each);
        images.extend_from_slice(&set.images[range.start * size..range.end * size]);
        labels.extend_from_slice(&set.labels[range]);
    }
    Ok(ImageSet { images, labels, ..set })
}

/// The first `limit` images of CIFAR-10.1: of a folder, its newest version.
pub(super) fn load_10_1(path: &Path, limit: usize) -> Result<ImageSet, FileError> {
    const REMEDY: &str = "cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy are needed, \
        from https://github.com/modestyachts/CIFAR-10.1";
    let missing = || FileError::NoFile {
        path: path.join("cifar10.1_v6_data.npy"),
        remedy: REMEDY,
    };
    let (data, labels) = match path.is_file() {
        true => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let labels = name.replace("_data.npy", "_labels.npy");
            (path.to_path_buf(), path.with_file_name(labels))
        }
        false => {
            let versions = ["datasets", ""].into_iter().flat_map(|folder| {
                ["v6", "v4"].map(|version| {
                    let file = |kind| path.join(folder).join(format!("cifar10.1_{version}_{kind}.npy"));
                    (file("data"), file("labels"))
                })
            });
            versions
                .into_iter()
                .find(|(data, _)| data.is_file())
                .ok_or_else(missing)?
        }
    };
    let mut set = arrays::load_pair(&data, &labels, limit)?;
    check_shape(&set, &data)?;
    set.name = "CIFAR-10.1 test".into();
    set.class_names = CIFAR10.class_list();
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::arrays::tests::npy;

    const IMAGE: usize = 3 * 32 * 32;

    /// Ten images, whose pixels are their number.
    fn folder_of(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..10).flat_map(|image| [image; IMAGE]).collect();
        for name in names {
            fs::write(folder.path().join(name), npy("|u1", &[10, 32, 32, 3], &pixels)).unwrap();
        }
        let labels: Vec<u8> = (0..10).collect();
        fs::write(folder.path().join(LABELS), npy("|u1", &[10], &labels)).unwrap();
        folder
    }

    #[test]
    fn one_corruption_all_of_them_or_one_severity() {
        let folder = folder_of(&["fog.npy", "brightness.npy"]);
        let load = |rest: &str, limit| {
            let path = PathBuf::from(format!("{}{rest}", folder.path().display()));
            load(&path, limit)
        };
        let all = load("", usize::MAX).unwrap();
        assert_eq!((all.len(), all.name.as_str()), (20, "CIFAR-10-C 2 corruptions test"));
        // All corruptions and severities give images in turn.
        let some = load("", 13).unwrap();
        assert_eq!(some.labels, [0, 1, 2, 3, 4, 5, 6, 8, 0, 2, 4, 6, 8]);
        let place = |rest: &str| PathBuf::from(format!("{}{rest}", folder.path().display()));
        let found = parts(&place(""), 13).unwrap();
        let named = |part: &Corrupted| (part.corruption.clone(), part.severity, part.images.clone());
        assert_eq!(found.len(), 10);
        assert_eq!(named(&found[0]), ("brightness".to_string(), 1, 0..2));
        assert_eq!(named(&found[4]), ("brightness".to_string(), 5, 7..8));
        assert_eq!(named(&found[9]), ("fog".to_string(), 5, 12..13));
        assert_eq!(named(&parts(&place("@3"), 4).unwrap()[1]), ("fog".to_string(), 3, 2..4));
        // Corruptions one by one are the same images.
        for (rest, limit) in [
            ("", 13),
            ("", 3),
            ("", usize::MAX),
            ("@3", 3),
            ("/fog", 7),
            ("/fog@2", 1),
        ] {
            let whole = load(rest, limit).unwrap();
            let single = each(&place(rest), limit)
                .unwrap()
                .into_iter()
                .filter(|(_, share)| *share > 0);
            let single = single.flat_map(|(path, share)| super::load(&path, share).unwrap().images);
            assert!(whole.images == single.collect::<Vec<u8>>(), "{rest} {limit}");
        }
        for one in ["/fog", "/fog.npy"] {
            assert_eq!(load(one, 99).unwrap().labels, (0..10).collect::<Vec<_>>());
        }
        let severe = load("/fog@4", 99).unwrap();
        assert_eq!((severe.labels.as_slice(), severe.image(0)[0]), (&[6, 7][..], 6));
        assert_eq!(severe.name, "CIFAR-10-C fog, severity 4, test");
        assert_eq!(severe.class_names[0], "airplane");
        assert_eq!(load("@1", 99).unwrap().labels, [0, 1, 0, 1]);
        assert!(load("/fog@6", 1).unwrap_err().to_string().contains("severity '6'"));
        assert!(load("/rain", 1).unwrap_err().to_string().contains("rain"));
    }

    #[test]
    fn the_newest_version_of_cifar_10_1_is_taken() {
        let folder = folder_of(&["cifar10.1_v4_data.npy", "cifar10.1_v6_data.npy"]);
        fs::copy(
            folder.path().join(LABELS),
            folder.path().join("cifar10.1_v6_labels.npy"),
        )
        .unwrap();
        assert_eq!(load_10_1(folder.path(), 3).unwrap().labels, [0, 1, 2]);
        let file = folder.path().join("cifar10.1_v6_data.npy");
        assert_eq!(load_10_1(&file, 99).unwrap().len(), 10);
        let error = load_10_1(&folder.path().join("none"), 1).unwrap_err().to_string();
        assert!(error.contains("cifar10.1_v6_data.npy"), "{error}");
    }
}
