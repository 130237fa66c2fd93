//! Where do data sets lie that are named without a path?
//!
//! In `$RESIDUA_DATA`, in `data` of the working directory, and in the user's own
//! data folder, in this order.

use std::path::{Path, PathBuf};

use super::Kind;
use crate::files::folder_variable;

/// The variable of the environment that names the folder of data sets.
pub const VARIABLE: &str = "RESIDUA_DATA";

/// The folders that data sets are looked for in, in this order. They need not
/// exist.
pub fn places() -> Vec<PathBuf> {
    let own = [folder_variable(VARIABLE), Some(PathBuf::from("data")), users_folder()];
    own.into_iter().flatten().collect()
}

/// The folder that new data sets are put into: `$RESIDUA_DATA`; else `data` in the
/// working directory, if it is there; else the user's own. `None` where the
/// environment names none.
pub fn destination() -> Option<PathBuf> {
    let here = Path::new("data");
    folder_variable(VARIABLE)
        .or_else(|| here.is_dir().then(|| here.to_path_buf()))
        .or_else(users_folder)
}

/// Where a data set of `kind` lies, by the names that its publisher and `residua
/// fetch` give its folder.
pub(super) fn find(kind: Kind) -> Option<PathBuf> {
    find_in(&places(), kind)
}

fn find_in(places: &[PathBuf], kind: Kind) -> Option<PathBuf> {
    let folders = places
        .iter()
        .flat_map(|place| kind.folders().iter().map(move |name| place.join(name)));
    folders.into_iter().find(|folder| folder.is_dir())
}

/// The folders of [`places`] in words, for messages.
pub(super) fn in_words() -> String {
    let places = places();
    let words: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    words.join(", ")
}

/// The folder for data of this user, by the platform's convention.
fn users_folder() -> Option<PathBuf> {
    let base = if cfg!(windows) {
        folder_variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder_variable("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        folder_variable("XDG_DATA_HOME").or_else(|| folder_variable("HOME").map(|home| home.join(".local/share")))
    };
    Some(base?.join("residua"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_with_a_folder_of_the_kind_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["one", "two"].map(|name| folder.path().join(name));
        let places = [first.clone(), second.clone()];
        assert_eq!(find_in(&places, Kind::Cifar10), None);
        std::fs::create_dir_all(second.join("cifar10")).unwrap();
        assert_eq!(find_in(&places, Kind::Cifar10), Some(second.join("cifar10")));
        std::fs::create_dir_all(first.join("cifar-10-batches-py")).unwrap();
        assert_eq!(find_in(&places, Kind::Cifar10), Some(first.join("cifar-10-batches-py")));
        assert_eq!(find_in(&places, Kind::Svhn), None);
    }
}
