//! What does a run depend on, beside its position?
//!
//! Every checkpoint stores it. A run that continues is compared with it: what
//! would change the run is refused, what changes its bits only is said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::Config;
use super::directory::MadeBy;
use crate::data::Splits;
use crate::hex::hex;
use crate::tuning::TuningCache;

/// Settings that may differ: where files are, how far a run goes, how much is
/// written and recomputed. None of them changes a step that is taken.
const FREE: [&str; 10] = [
    "data",
    "init",
    "table",
    "rename",
    "epochs",
    "steps",
    "checkpoint-every",
    "recompute",
    "tensorboard",
    "tensorboard-histograms",
];

/// What a run depends on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The program's version.
    version: String,
    /// Adapter, interface and driver.
    adapter: String,
    /// The settings, as `run.toml` has them, without the free ones.
    settings: BTreeMap<String, String>,
    /// Hashes of labels and sizes: of the training images, with those that are held out
    /// after a space, and of the test images.
    images: [String; 2],
    /// A hash of the kernels in `tuning.toml`.
    kernels: String,
    /// Steps of the whole run.
    steps: u32,
}

/// The rows of a table that belong to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableRows {
    /// Their number.
    pub count: usize,
    /// The SHA-256 of what does not depend on the time of day in them.
    sha256: String,
}

impl Origin {
    /// What a run of `config` depends on.
    pub fn new(config: &Config, made_by: &MadeBy, splits: &Splits, kernels: &TuningCache) -> Self {
        let per_epoch = splits.train.len().div_ceil((config.batch_size as usize).max(1));
        let mut trained_on = splits.train.fingerprint();
        if let Some(validation) = &splits.validation {
            trained_on = format!("{trained_on} {}", validation.fingerprint());
        }
        Origin {
            version: made_by.version.clone(),
            adapter: made_by.adapter.clone(),
            settings: settings_of(config),
            images: [trained_on, splits.test.fingerprint()],
            kernels: hash_of_kernels(kernels),
            steps: config.total_steps(per_epoch as u32),
        }
    }

    /// Compares with what the last checkpoint says. Returns what the user should
    /// know, a line each.
    ///
    /// # Errors
    /// The file of the run's directory that is not what it was, and what is
    /// wrong with it.
    pub fn continues(&self, before: &Origin) -> Result<Vec<String>, (&'static str, String)> {
        // Versions that did not have a setting did what its default says.
        let defaults = settings_of(&Config::default());
        let value = |origin: &Origin, key: &String| origin.settings.get(key).or(defaults.get(key)).cloned();
        let keys = before.settings.keys().chain(self.settings.keys());
        let differs = |key: &&String| value(before, key) != value(self, key);
        if let Some(key) = keys.into_iter().find(differs) {
            let of = |origin: &Origin| value(origin, key).unwrap_or_else(|| "not set".to_string());
            let problem = format!(
                "{key} is {}, but the checkpoint was made with {}; restore the file, or start a new run",
                of(self),
                of(before)
            );
            return Err(("run.toml", problem));
        }
        if self.images != before.images {
            let problem = "the images of its data are others than those of the checkpoint; give the same data";
            return Err(("run.toml", problem.to_string()));
        }
        if self.kernels != before.kernels {
            let problem = "it is missing, or its kernels are others than those of the checkpoint; restore the file";
            return Err(("tuning.toml", problem.to_string()));
        }
        let mut notes = Vec::new();
        let mut compare = |what: &str, before: &str, now: &str| {
            if before != now {
                notes.push(format!(
                    "begun {what} {before}, continues {what} {now}: not the same bits as without the change"
                ));
            }
        };
        compare("by version", &before.version, &self.version);
        compare("on", &before.adapter, &self.adapter);
        if self.steps != before.steps {
            notes.push(format!(
                "begun for {} steps, continues to step {}",
                before.steps, self.steps
            ));
        }
        Ok(notes)
    }
}

/// The settings of `config` that a run depends on, by their keys.
fn settings_of(config: &Config) -> BTreeMap<String, String> {
    let table = toml::Table::try_from(config).unwrap_or_default();
    let settings = table.into_iter().filter(|(key, _)| !FREE.contains(&key.as_str()));
    settings.map(|(key, value)| (key, value.to_string())).collect()
}

impl TableRows {
    /// The rows `lines`, each without what depends on the time of day.
    pub fn of(lines: impl Iterator<Item = String>) -> Self {
        let mut hash = Sha256::new();
        let mut count = 0;
        for line in lines {
            hash.update(line);
            hash.update("\n");
            count += 1;
        }
        TableRows {
            count,
            sha256: hex(&hash.finalize()),
        }
    }

    /// Compares `found`, the rows of the table up to the checkpoint, with these.
    ///
    /// # Errors
    /// What is wrong with the table.
    pub fn check(&self, found: &TableRows, is_there: bool) -> Result<(), String> {
        let restore = "restore the file from a copy, or start a new run";
        if self == found {
            return Ok(());
        }
        Err(match is_there {
            false => format!(
                "the file is missing, but the checkpoint has {} rows of it; {restore}",
                self.count
            ),
            true if self.count != found.count => format!(
                "it has {} rows up to the checkpoint, and the checkpoint {}; {restore}",
                found.count, self.count
            ),
            true => format!("its rows are not those that the run wrote; {restore}"),
        })
    }
}

/// The work and the algorithm of every kernel. Times are left out: they change
/// no bit.
fn hash_of_kernels(cache: &TuningCache) -> String {
    let mut hash = Sha256::new();
    for (_, choices) in &cache.entries {
        for (work, batch, tuned) in choices.iter() {
            hash.update(format!("{work}, {batch}: {}\n", tuned.algorithm));
        }
    }
    hex(&hash.finalize())
}
