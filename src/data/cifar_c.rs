//! How are test sets for networks of CIFAR-10 read: CIFAR-10-C (Hendrycks and
//! Dietterich 2019) and CIFAR-10.1 (Recht et al. 2018)?
//!
//! Both are NumPy's arrays: (N, 32, 32, 3) bytes, and (N) labels. CIFAR-10-C has
//! one file for each corruption, with the same images at five severities one
//! after the other, and `labels.npy` for all of them.

use std::fs;
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

/// The first `limit` images of CIFAR-10-C.
///
/// `path` is the folder: all corruptions, in the order of their names. Or it is
/// one corruption in it, with or without `.npy`. `@3` behind it leaves only the
/// images of severity 3.
pub(super) fn load(path: &Path, limit: usize) -> Result<ImageSet, FileError> {
    let (path, severity) = split_severity(path)?;
    let (folder, corruptions) = corruptions(&path)?;
    let labels = folder.join(LABELS);
    if !labels.exists() {
        return Err(FileError::NoFile {
            path: labels,
            remedy: REMEDY,
        });
    }
    let mut set: Option<ImageSet> = None;
    for file in &corruptions {
        let so_far = set.as_ref().map_or(0, ImageSet::len);
        if so_far >= limit {
            break;
        }
        let mut part = arrays::load_pair(file, &labels, limit_of(severity, limit - so_far))?;
        check_shape(&part, file)?;
        if let Some(severity) = severity {
            part = of_severity(part, severity, file)?.take(limit - so_far);
        }
        match &mut set {
            None => set = Some(part),
            Some(set) => {
                set.images.extend(part.images);
                set.labels.extend(part.labels);
            }
        }
    }
    let mut set = set.ok_or_else(|| FileError::content(&path, format!("it holds no corruption; {REMEDY}")))?;
    let what = match &corruptions[..] {
        [one] => one.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        several => format!("{} corruptions", several.len()),
    };
    set.name = match severity {
        Some(severity) => format!("CIFAR-10-C {what}, severity {severity}, test"),
        None => format!("CIFAR-10-C {what} test"),
    };
    set.class_names = CIFAR10.class_list();
    Ok(set)
}

/// The number of images to read of a file: a severity lies anywhere in it.
fn limit_of(severity: Option<usize>, limit: usize) -> usize {
    match severity {
        Some(_) => usize::MAX,
        None => limit,
    }
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

/// The images of one severity, of a file with all five.
fn of_severity(set: ImageSet, severity: usize, file: &Path) -> Result<ImageSet, FileError> {
    let count = set.len();
    if count == 0 || !count.is_multiple_of(SEVERITIES) {
        return Err(FileError::content(
            file,
            format!("its {count} images are no {SEVERITIES} severities of the same number"),
        ));
    }
    let each = count / SEVERITIES;
    let range = (severity - 1) * each..severity * each;
    let size = set.image_size();
    Ok(ImageSet {
        images: set.images[range.start * size..range.end * size].to_vec(),
        labels: set.labels[range].to_vec(),
        ..set
    })
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
        assert_eq!(load("", 13).unwrap().len(), 13);
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
