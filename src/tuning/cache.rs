//! Which kernels were chosen on which devices, and how is that written to a
//! file?
//!
//! One text format serves all places: the user's cache folder, a run's
//! directory, an exported file. An entry is valid for one adapter, driver and
//! version of the shaders; a file may hold the entries of many.
//!
//! The file begins with the version of its format. Files of another version
//! are refused: their names of algorithms may mean something else today.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::CacheError;
use crate::gpu::AdapterInfo;
use crate::hex::hex;
use crate::kernels;
use crate::schedule::{KernelChoices, Timing, TunedKernel};
use crate::shown::{shown, shown_sentence};

/// The version of the file format, and of the algorithms' names in it. Files
/// of version 1 had no version number.
const VERSION: u32 = 2;
/// Increase this when the same name of an algorithm generates another kernel.
const GENERATOR: u32 = 1;
/// The tunable shaders, in addition to all convolutions.
const SHADERS: [&str; 3] = ["batch_norm", "linear", "reduce"];

/// What an entry of the tuning cache is valid for: a device and a version of
/// the kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TuningKey {
    /// The adapter's name.
    pub adapter: String,
    /// The graphics API.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's version.
    pub driver_version: String,
    /// This program's version.
    pub residua: String,
    /// A hash of the tunable shaders.
    pub kernels: String,
}

impl TuningKey {
    /// The key of `adapter` with the kernels of this program.
    pub fn of(adapter: &AdapterInfo) -> Self {
        TuningKey {
            adapter: adapter.name.clone(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            driver_version: adapter.driver_info.clone(),
            residua: env!("CARGO_PKG_VERSION").to_string(),
            kernels: kernels_version(),
        }
    }
}

/// Twelve hexadecimal digits that change when a tunable shader does.
fn kernels_version() -> String {
    let mut hash = Sha256::new();
    hash.update(GENERATOR.to_le_bytes());
    let is_tunable = |name: &str| name.starts_with("conv") || SHADERS.contains(&name);
    for (_, text) in kernels::files().filter(|(name, _)| is_tunable(name)) {
        hash.update(text);
    }
    hex(&hash.finalize()[..6])
}

/// Chosen kernels for several devices: what a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TuningCache {
    /// One entry per key.
    pub entries: Vec<(TuningKey, KernelChoices)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    #[serde(default, rename = "device")]
    devices: Vec<EntryText>,
}

/// What can be read from a file of any version.
#[derive(Deserialize)]
struct VersionText {
    version: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct EntryText {
    #[serde(flatten)]
    key: TuningKey,
    #[serde(default, rename = "kernel")]
    kernels: Vec<KernelText>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct KernelText {
    work: String,
    batch: usize,
    algorithm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_milliseconds: Option<f64>,
}

impl TuningCache {
    /// A cache with one entry.
    pub fn of(key: &TuningKey, choices: &KernelChoices) -> Self {
        TuningCache {
            entries: vec![(key.clone(), choices.clone())],
        }
    }

    /// The entry for exactly `key`.
    pub fn entry(&self, key: &TuningKey) -> Option<&KernelChoices> {
        let entry = self.entries.iter().find(|(own, _)| own == key);
        entry.map(|(_, choices)| choices)
    }

    /// The kernels to replay on the device of `key`: its own entry, or the
    /// only entry of the cache, since every algorithm runs on every device.
    pub fn replay(&self, key: &TuningKey) -> Option<&KernelChoices> {
        self.entry(key).or(match &self.entries[..] {
            [(_, only)] => Some(only),
            _ => None,
        })
    }

    /// Copies all entries of `other`; where both have a kernel for the same
    /// work, that of `other` stays.
    pub fn extend(&mut self, other: &TuningCache) {
        for (key, choices) in &other.entries {
            match self.entries.iter_mut().find(|(own, _)| own == key) {
                Some((_, own)) => own.extend(choices),
                None => self.entries.push((key.clone(), choices.clone())),
            }
        }
    }

    /// The number of chosen kernels in all entries.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|(_, choices)| choices.len()).sum()
    }

    /// Whether no entry has a kernel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of a file with these entries.
    pub fn to_text(&self) -> String {
        let kernel = |(work, batch, tuned): (&str, usize, TunedKernel)| KernelText {
            work: work.to_string(),
            batch,
            algorithm: tuned.algorithm.to_string(),
            milliseconds: tuned.timing.map(|timing| timing.milliseconds),
            default_milliseconds: tuned.timing.map(|timing| timing.default_milliseconds),
        };
        let entry = |(key, choices): &(TuningKey, KernelChoices)| EntryText {
            key: key.clone(),
            kernels: choices.iter().map(kernel).collect(),
        };
        let text = toml::to_string(&FileText {
            version: VERSION,
            devices: self.entries.iter().map(entry).collect(),
        });
        format!(
            "# Kernels that residua chose by timing them.\n\n{}",
            text.expect("strings and numbers are valid TOML")
        )
    }

    /// Reads the text of a file. An empty text is an empty cache.
    ///
    /// # Errors
    /// For a text of another version, and for one that is not a tuning cache.
    /// A kernel that this version does not have is an error, too: a run that
    /// replays the file would not give the same numbers.
    pub fn from_text(text: &str) -> Result<Self, CacheError> {
        let malformed = |problem: &str| CacheError::Malformed(problem.to_string());
        let syntax = |error: toml::de::Error| {
            let words: Vec<&str> = error.message().split_whitespace().collect();
            malformed(&shown_sentence(&words.join(" ")))
        };
        let table: toml::Table = toml::from_str(text).map_err(syntax)?;
        if table.is_empty() {
            return Ok(TuningCache::default());
        }
        match toml::from_str::<VersionText>(text).map_err(syntax)?.version {
            Some(VERSION) => {}
            None if table.contains_key("device") => return Err(CacheError::Older),
            None => return Err(malformed("it has no version")),
            Some(version) if version < VERSION => return Err(CacheError::Older),
            Some(_) => return Err(CacheError::Newer),
        }
        let read: FileText = toml::from_str(text).map_err(syntax)?;
        let mut cache = TuningCache::default();
        for entry in read.devices {
            let mut choices = KernelChoices::default();
            for kernel in entry.kernels {
                if kernel.work.is_empty() || kernel.batch == 0 {
                    return Err(malformed("a kernel without work or batch size"));
                }
                let algorithm = kernel.algorithm.parse();
                let algorithm = algorithm.map_err(|error| malformed(&format!("{}: {error}", shown(&kernel.work))))?;
                let timing = kernel.milliseconds.zip(kernel.default_milliseconds);
                let timing = timing.map(|(milliseconds, default_milliseconds)| Timing {
                    milliseconds,
                    default_milliseconds,
                });
                choices.set(&kernel.work, kernel.batch, TunedKernel { algorithm, timing });
            }
            cache.extend(&TuningCache::of(&entry.key, &choices));
        }
        Ok(cache)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file of the first version, as it was written before files had a
    /// version number.
    pub(in crate::tuning) const OLD_FILE: &str = "# Kernels that residua chose by timing them.\n\n\
        [[device]]\nadapter = \"a\"\nbackend = \"Vulkan\"\ndriver = \"d\"\ndriver-version = \"1\"\n\
        residua = \"0.1.0\"\nkernels = \"0123456789ab\"\n\n[[device.choice]]\nwork = \"linear, N×64 to N×10\"\n\
        batch = 7\nkernel = \"linear 2x2 wg 64\"\nmilliseconds = 0.5\nrule-milliseconds = 1.0\n";

    pub(in crate::tuning) fn key(name: &str) -> TuningKey {
        TuningKey {
            adapter: name.into(),
            backend: "Vulkan".into(),
            driver: "d".into(),
            driver_version: "1".into(),
            residua: "0".into(),
            kernels: "k".into(),
        }
    }

    pub(in crate::tuning) fn tuned(algorithm: &str, timing: Option<(f64, f64)>) -> TunedKernel {
        TunedKernel {
            algorithm: algorithm.parse().unwrap(),
            timing: timing.map(|(milliseconds, default_milliseconds)| Timing {
                milliseconds,
                default_milliseconds,
            }),
        }
    }

    #[test]
    fn a_cache_is_written_and_read_back() {
        let mut choices = KernelChoices::default();
        choices.set(
            "convolution 3x3, N×16×32×32",
            128,
            tuned("direct 8x4x16 wg 32", Some((1.25, 1.5))),
        );
        choices.set("channel sum, N×16", 7, tuned("plain", None));
        let mut cache = TuningCache::of(&key("a \"quoted\" name"), &choices);
        cache.extend(&TuningCache::of(&key("b"), &KernelChoices::default()));
        let text = cache.to_text();
        assert_eq!(TuningCache::from_text(&text).as_ref(), Ok(&cache), "{text}");
        assert_eq!(TuningCache::from_text(""), Ok(TuningCache::default()));
        for damaged in [
            &text[..text.len() / 2],
            "version = 2\n[[device]]\n",
            "nonsense = 1",
            &text.replace("direct 8x4x16", "direct 8x4"),
            &text.replace("batch = 7", "batch = -7"),
            &text.replace("version = 2", "version = -2"),
        ] {
            let error = TuningCache::from_text(damaged).unwrap_err();
            assert!(matches!(error, CacheError::Malformed(_)), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_file_of_another_version_is_refused() {
        assert_eq!(TuningCache::from_text(OLD_FILE), Err(CacheError::Older));
        let text = TuningCache::of(&key("a"), &KernelChoices::default()).to_text();
        assert!(text.contains("version = 2\n"), "{text}");
        let other = |version: &str| TuningCache::from_text(&text.replace("version = 2", version));
        assert_eq!(other("version = 1"), Err(CacheError::Older));
        assert_eq!(other("version = 3"), Err(CacheError::Newer));
        assert_eq!(other(""), Err(CacheError::Older));
    }

    #[test]
    fn only_an_entry_of_its_own_is_replayed_where_there_are_several() {
        let mut choices = KernelChoices::default();
        choices.set("linear", 1, tuned("plain", None));
        let mut cache = TuningCache::of(&key("a"), &choices);
        assert_eq!(cache.entry(&key("b")), None);
        assert_eq!(cache.replay(&key("b")), Some(&choices));
        cache.extend(&TuningCache::of(&key("c"), &KernelChoices::default()));
        assert_eq!(cache.replay(&key("b")), None);
        assert_eq!(cache.replay(&key("a")), Some(&choices));
    }
}
