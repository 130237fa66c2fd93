//! Which kernels must not run on an adapter, and where is that stored?
//!
//! A kernel that gave wrong results, or never came back, is listed in a text file
//! in the user's cache folder, by adapter, driver and version of the shaders. This
//! module knows kernels by name only. An opened device has the entries of its
//! adapter; whoever chooses kernels asks it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{AdapterInfo, Gpu, cache_folder};
use crate::files::{TEXT_LIMIT, read_text, write_atomic};

/// The version of the file's format.
const VERSION: u32 = 1;

/// A kernel that must not run on one adapter and driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct QuarantinedKernel {
    /// The adapter's name.
    pub adapter: String,
    /// The graphics API.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's version.
    pub driver_version: String,
    /// A hash of all shaders: an entry holds for this version of them.
    pub shaders: String,
    /// The kernel: its operation, its precision and its algorithm.
    pub kernel: String,
    /// What is wrong with it, in a few words.
    pub problem: String,
}

impl QuarantinedKernel {
    /// The entry of `kernel` for `adapter`, with the shaders of the hash `shaders`.
    pub fn new(adapter: &AdapterInfo, shaders: &str, kernel: &str, problem: &str) -> Self {
        QuarantinedKernel {
            adapter: adapter.name.clone(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            driver_version: adapter.driver_info.clone(),
            shaders: shaders.to_string(),
            kernel: kernel.to_string(),
            problem: problem.to_string(),
        }
    }

    /// Whether the entry is one of `adapter` with its present driver.
    pub fn is_of(&self, adapter: &AdapterInfo) -> bool {
        let own = (&self.adapter, &self.backend, &self.driver, &self.driver_version);
        own == (&adapter.name, &adapter.backend, &adapter.driver, &adapter.driver_info)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    #[serde(default, rename = "kernel")]
    kernels: Vec<QuarantinedKernel>,
}

/// This user's file; `None` where the system names no cache folder.
pub fn quarantine_path() -> Option<PathBuf> {
    Some(cache_folder()?.join("quarantine.toml"))
}

/// The entries of the file `path`; none where there is no file.
///
/// # Errors
/// Where the file cannot be read, or is not such a file: one line.
pub fn read_quarantine(path: &Path) -> Result<Vec<QuarantinedKernel>, String> {
    let problem = |problem: &dyn std::fmt::Display| {
        let problem = problem.to_string();
        format!("{}: {}", path.display(), problem.lines().next().unwrap_or_default())
    };
    let text = match read_text(path, TEXT_LIMIT) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|error| problem(&error))?,
    };
    let read: FileText = toml::from_str(&text).map_err(|error| problem(&error.message()))?;
    match read.version {
        VERSION => Ok(read.kernels),
        version => Err(problem(&format!(
            "version {version}, and this program reads version {VERSION}"
        ))),
    }
}

/// Lets `change` change the entries of the file `path`, one program at a time.
/// Returns the entries afterwards. A file that cannot be read is replaced: its
/// kernels are examined again.
///
/// # Errors
/// Where the file cannot be written: one line.
pub fn change_quarantine(
    path: &Path,
    change: impl FnOnce(&mut Vec<QuarantinedKernel>),
) -> Result<Vec<QuarantinedKernel>, String> {
    let problem = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(problem)?;
    // Released when the file is closed, however the program ends.
    let lock = File::create(path.with_extension("lock")).map_err(problem)?;
    lock.lock().map_err(problem)?;
    let mut kernels = read_quarantine(path).unwrap_or_default();
    change(&mut kernels);
    let text = toml::to_string(&FileText {
        version: VERSION,
        kernels: kernels.clone(),
    })
    .map_err(|error| format!("{}: {error}", path.display()))?;
    let text = format!(
        "# Kernels that `residua doctor` found not to work. `residua doctor --forget` empties the list.\n\n{text}"
    );
    write_atomic(path, text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(kernels)
}

/// The entries of this user's file for `adapter`.
pub(super) fn of_adapter(adapter: &AdapterInfo) -> Vec<QuarantinedKernel> {
    let Some(path) = quarantine_path() else {
        return Vec::new();
    };
    let mut kernels = read_quarantine(&path).unwrap_or_else(|problem| {
        log::warn!("quarantine of kernels: {problem}");
        Vec::new()
    });
    kernels.retain(|kernel| kernel.is_of(adapter));
    kernels
}

impl Gpu {
    /// The kernels that must not run on this adapter, of all versions of the
    /// shaders.
    pub fn quarantined(&self) -> &[QuarantinedKernel] {
        &self.quarantined
    }

    /// From now on `kernels` are the ones that must not run, instead of those of the
    /// user's file.
    pub fn set_quarantined(&mut self, kernels: Vec<QuarantinedKernel>) {
        self.quarantined = kernels.into();
    }
}

#[cfg(test)]
mod tests {
    use super::super::AdapterKind;
    use super::*;

    fn adapter(driver_info: &str) -> AdapterInfo {
        AdapterInfo {
            name: "a \"quoted\" name".into(),
            kind: AdapterKind::Discrete,
            backend: "Vulkan".into(),
            driver: "d".into(),
            driver_info: driver_info.into(),
            max_binding: 1,
            max_buffer: 1,
            subgroup: (8, 8),
            f16: true,
            timestamps: true,
        }
    }

    #[test]
    fn entries_of_several_writers_are_kept_by_driver() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/quarantine.toml");
        assert_eq!(read_quarantine(&path), Ok(Vec::new()));
        let entry = |driver: &str, kernel: &str| QuarantinedKernel::new(&adapter(driver), "0123", kernel, "is wrong");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (path, entry) = (&path, &entry);
                scope.spawn(move || {
                    let new = entry(["1", "2"][number % 2], &format!("kernel {number}"));
                    change_quarantine(path, |all| all.push(new)).unwrap();
                });
            }
        });
        let all = read_quarantine(&path).unwrap();
        assert_eq!(all.len(), 8);
        assert_eq!(all.iter().filter(|one| one.is_of(&adapter("2"))).count(), 4);
        let left = change_quarantine(&path, |all| all.retain(|one| !one.is_of(&adapter("2")))).unwrap();
        assert_eq!((left.len(), read_quarantine(&path).unwrap()), (4, left));
    }

    #[test]
    fn a_damaged_file_is_one_line_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quarantine.toml");
        for damaged in ["[[kernel", "version = 2\n", "version = 1\n[[kernel]]\nadapter = 3\n"] {
            std::fs::write(&path, damaged).unwrap();
            let problem = read_quarantine(&path).unwrap_err();
            assert!(
                problem.contains("quarantine.toml") && !problem.contains('\n'),
                "{problem}"
            );
        }
        assert_eq!(change_quarantine(&path, |_| {}), Ok(Vec::new()));
        assert_eq!(read_quarantine(&path), Ok(Vec::new()));
    }
}
