//! Which network does a file describe?
//!
//! `--model FILE.toml` is a network of one's own without Rust: a stem, stages
//! of blocks, and a head. `docs/networks.md` describes the keys.
//!
//! The text of the network, in its canonical form, is what `run.toml` and
//! weights files store, so that nothing needs the file again. Programs show it
//! by its name and a hash of that text.

mod read;
mod unit;
mod write;

use std::path::Path;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

#[cfg(test)]
use super::design::Blocks;
use super::design::Design;
use super::family::Family;
use super::limits::MAX_FILE;
use super::request::ModelRequest;
use super::residual::UnitDesign;
use super::{InputShape, ModelError, ModelSpec};
use crate::files::read_text;
use crate::hex::hex;
use crate::shown::{shown_path, shown_sentence};

/// Its names, for messages.
pub(super) const NAMES: &str = "FILE.toml (`residua models --template NAME` writes one)";

/// A network in a file is no name.
pub(super) fn read(_request: &mut ModelRequest) -> Option<Result<ModelSpec, ModelError>> {
    None
}

/// The name that a network has where neither its text nor a file's name gives it
/// another.
const NAMELESS: &str = "network";

/// A network of residual units that is described in a file.
///
/// ```
/// use residua::models::{ModelSpec, NetworkFile};
///
/// let file: NetworkFile = "
/// name = 'small'
/// [stem]
/// width = 16
/// [[stage]]
/// blocks = 2
/// kernels = [[3, 16], [3, 16]]
/// [[stage]]
/// blocks = 2
/// stride = 2
/// kernels = [[3, 32], [3, 32]]
/// "
/// .parse()?;
/// let spec = ModelSpec::from(file);
/// assert!(spec.to_string().starts_with("small@"));
/// # Ok::<(), residua::models::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkFile {
    name: String,
    /// The images that the network is made for.
    usual: InputShape,
    design: Design,
}

impl NetworkFile {
    /// The network that the file at `path` describes. Where the file gives it no
    /// name, it has the file's.
    ///
    /// # Errors
    /// [`ModelError::File`] where the file cannot be read, or something in it is
    /// wrong: with its line and key, and what is allowed.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let shown = shown_path(path);
        let text = read_text(path, MAX_FILE).map_err(|error| ModelError::File {
            place: shown.clone(),
            problem: format!("it cannot be read: {error}"),
        })?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        let name = stem.filter(|stem| is_name(stem));
        Self::of_text(&text, name.as_deref().unwrap_or(NAMELESS), &shown)
    }

    /// Whether `text` describes a network, in contrast to the name of one.
    pub fn is_text(text: &str) -> bool {
        text.contains('\n') && text.contains('=')
    }

    /// The text of the network: equal networks have equal texts.
    pub fn text(&self) -> String {
        write::text(&self.sections())
    }

    /// The built-in network `spec`, under its name.
    pub(super) fn of_spec(spec: &ModelSpec) -> Option<Self> {
        let usual = spec.usual_input();
        let design = spec.family().design(usual.height.min(usual.width))?;
        Some(NetworkFile::new(spec.base(), usual, design))
    }

    fn new(name: String, usual: InputShape, design: Design) -> Self {
        let mut file = NetworkFile { name, usual, design };
        file.normalise();
        file
    }

    fn of_text(text: &str, name: &str, shown: &str) -> Result<Self, ModelError> {
        read::network(text, name).map_err(|read::Problem { line, text }| ModelError::File {
            place: match line {
                Some(line) => format!("{shown}, line {line}"),
                None => shown.to_string(),
            },
            problem: shown_sentence(&text),
        })
    }

    /// Gives what has no effect its default, so that equal networks are equal.
    fn normalise(&mut self) {
        for kinds in &mut self.design.stages {
            for blocks in kinds.iter_mut() {
                unit::normalise(blocks);
            }
            // Blocks after others of their kind are one kind.
            kinds.dedup_by(|later, earlier| {
                // Where there is no stride, no convolution has it.
                let alike = UnitDesign {
                    strided: later.unit.strided,
                    ..earlier.unit.clone()
                };
                let same = later.unit == alike && later.stride == 1;
                if same {
                    earlier.count += later.count;
                }
                same
            });
        }
    }

    /// Eight digits of a hash of everything but the name.
    fn hash(&self) -> String {
        let mut sections = self.sections();
        sections[0].entries.retain(|(key, _)| *key != "name");
        let digest = Sha256::digest(write::text(&sections).as_bytes());
        hex(&digest[..4])
    }

    /// What this network and `other` say where they differ, in a few words.
    pub(super) fn difference(&self, other: &Self) -> (String, String) {
        let (own, others) = (write::facts(&self.sections()), write::facts(&other.sections()));
        let only = |file: &Self, these: &[String], those: &[String]| {
            const MOST: usize = 3;
            let only: Vec<&String> = these.iter().filter(|fact| !those.contains(fact)).collect();
            let mut words: Vec<&str> = only.iter().take(MOST).map(|fact| fact.as_str()).collect();
            if only.len() > MOST {
                words.push("…");
            }
            match words.is_empty() {
                true => file.base(),
                false => format!("{} ({})", file.base(), words.join("; ")),
            }
        };
        (only(self, &own, &others), only(other, &others, &own))
    }

    /// Whether `other` is this network but for its dropout.
    pub(super) fn is_but_for_dropout(&self, other: &Self) -> bool {
        let without = |file: &Self| {
            let mut design = file.design.clone();
            design.head.dropout = 0.0;
            for blocks in design.stages.iter_mut().flatten() {
                blocks.unit.dropout = super::residual::Dropout::NONE;
            }
            NetworkFile::new(String::new(), file.usual, design)
        };
        without(self) == without(other)
    }

    /// This network with an option of all its blocks set to `value`.
    pub(super) fn with(&self, option: &str, value: &str) -> Result<Self, ModelError> {
        let mut changed = self.clone();
        for blocks in changed.design.stages.iter_mut().flatten() {
            let mut request = ModelRequest::new(&self.base(), unit::values(&blocks.unit));
            request.set(option, value);
            blocks.unit = unit::read(&mut request, blocks.unit.convs.clone(), blocks.unit.strided)?;
            request.finish()?;
        }
        changed.normalise();
        match read::misfit(&changed.design) {
            None => Ok(changed),
            Some((place, _, problem)) => Err(ModelError::File {
                place: format!("{} with {option}={value}, {place}", self.base()),
                problem,
            }),
        }
    }

    fn sections(&self) -> Vec<write::Section> {
        write::sections(&self.name, &self.usual, &self.design)
    }

    /// All kinds of blocks, in order.
    #[cfg(test)]
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Blocks> {
        self.design.stages.iter().flatten()
    }
}

impl Family for NetworkFile {
    fn base(&self) -> String {
        format!("{}@{}", self.name, self.hash())
    }

    fn usual_input(&self) -> InputShape {
        self.usual
    }

    fn design(&self, _side: usize) -> Option<Design> {
        Some(self.design.clone())
    }
}

impl From<NetworkFile> for ModelSpec {
    fn from(file: NetworkFile) -> Self {
        ModelSpec::NetworkFile(file)
    }
}

impl FromStr for NetworkFile {
    type Err = ModelError;

    /// Reads the text of a network.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        Self::of_text(text, NAMELESS, "the text of the network")
    }
}

/// Whether a network in a file may have this name.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= 60 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

#[cfg(test)]
mod tests;
