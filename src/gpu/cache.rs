//! Where are compiled pipelines kept between runs?
//!
//! Only Vulkan lets a program keep them. The file's first line is the hash of
//! the rest: what a crash or a full disk left half written is not read.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// The pipelines of one adapter and driver.
pub(super) struct DiskCache {
    pub(super) raw: wgpu::PipelineCache,
    path: PathBuf,
    loaded: Option<Vec<u8>>,
}

/// The user's cache folder for this program, by the platform's custom.
pub fn folder() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
    };
    Some(base?.join("residua"))
}

impl DiskCache {
    /// Opens the cache of `adapter`; `None` where there is no place for one.
    pub(super) fn open(device: &wgpu::Device, adapter: &wgpu::Adapter) -> Option<Self> {
        let key = wgpu::util::pipeline_cache_key(&adapter.get_info())?;
        // The driver compiles differently for different vector widths.
        let width = std::env::var("LP_NATIVE_VECTOR_WIDTH").unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        let path = folder()?.join(format!("pipelines-{version}-{key}{width}"));
        let loaded = std::fs::read(&path).ok().and_then(|bytes| verified(&bytes));
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

    /// Writes what was compiled since [`Self::open`]. A cache is a
    /// convenience: where it cannot be written, the next run compiles again.
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

fn verified(bytes: &[u8]) -> Option<Vec<u8>> {
    let (hash, data) = bytes.split_at_checked(32)?;
    (Sha256::digest(data).as_slice() == hash).then(|| data.to_vec())
}
