//! Where are compiled pipelines stored between runs?
//!
//! Only Vulkan lets a program store them. The file begins with the SHA-256 hash
//! of the rest (32 bytes), so that a damaged or incomplete file is ignored.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::files::{folder_variable, read_at_most};

/// The longest file that is read: 1 GiB.
const LONGEST: u64 = 1 << 30;

/// The stored pipelines of one adapter and driver.
pub(super) struct DiskCache {
    pub(super) raw: wgpu::PipelineCache,
    path: PathBuf,
    loaded: Option<Vec<u8>>,
}

/// This program's directory for cached files, by the platform's convention
/// (`XDG_CACHE_HOME` on Linux); `None` where the environment names no place.
pub fn folder() -> Option<PathBuf> {
    let base = if cfg!(windows) {
        folder_variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder_variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        folder_variable("XDG_CACHE_HOME").or_else(|| folder_variable("HOME").map(|home| home.join(".cache")))
    };
    Some(base?.join("residua"))
}

impl DiskCache {
    /// Opens the cache of `adapter`; `None` where it has no place or no support.
    pub(super) fn open(device: &wgpu::Device, adapter: &wgpu::Adapter) -> Option<Self> {
        let key = wgpu::util::pipeline_cache_key(&adapter.get_info())?;
        // Lavapipe compiles differently for each vector width.
        let width = std::env::var("LP_NATIVE_VECTOR_WIDTH").unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        let path = folder()?.join(format!("pipelines-{version}-{key}{width}"));
        let loaded = read_at_most(&path, LONGEST).ok().and_then(|bytes| verified(&bytes));
        // SAFETY: the data was written by `save` from `get_data` of a cache
        // with the same adapter key, and its hash shows that it is unaltered;
        // without data the cache is empty.
        let raw = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("residua"),
                data: loaded.as_deref(),
                fallback: true,
            })
        };
        Some(DiskCache { raw, path, loaded })
    }

    /// Writes the cache if anything was compiled since [`Self::open`]. Errors are
    /// ignored: without the file, the next run compiles again.
    pub(super) fn save(&self) {
        let Some(data) = self.raw.get_data().filter(|data| Some(data) != self.loaded.as_ref()) else {
            return;
        };
        let Some(folder) = self.path.parent() else { return };
        let mut bytes = Sha256::digest(&data).to_vec();
        bytes.extend_from_slice(&data);
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| tempfile::NamedTempFile::new_in(folder))
            .and_then(|file| std::fs::write(file.path(), &bytes).map(|()| file));
        if let Ok(file) = written {
            let _ = file.persist(&self.path);
        }
    }
}

/// The data of a file, if its hash is right.
fn verified(bytes: &[u8]) -> Option<Vec<u8>> {
    let (hash, data) = bytes.split_at_checked(32)?;
    (Sha256::digest(data).as_slice() == hash).then(|| data.to_vec())
}
