//! Which kernels were chosen for which work, on which device?
//!
//! One text format for all places: the user's cache folder, a run's
//! directory, an exported file. A choice is good for one adapter, driver and
//! version of the shaders; a file may hold those of many.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gpu::AdapterInfo;
use crate::kernels::{self, Algorithm};

/// Raised when the same text of a kernel means something else.
const GENERATOR: u32 = 1;
/// The shaders that choices are about, beside all of convolutions.
const SHADERS: [&str; 3] = ["batch_norm", "linear", "reduce"];

/// What a choice is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Device {
    /// The adapter's name.
    pub adapter: String,
    /// The interface.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's version.
    pub driver_version: String,
    /// This program's version.
    pub residua: String,
    /// The shaders' version.
    pub kernels: String,
}

impl Device {
    /// The device of `adapter`, with the kernels of this program.
    pub fn of(adapter: &AdapterInfo) -> Self {
        Device {
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
    hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The kernel chosen for a piece of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TunedKernel {
    /// The kernel.
    pub kernel: Algorithm,
    /// Milliseconds that it took, and that the rules' choice took; none where
    /// there was no time to look for better than the rules'.
    pub timed: Option<(f64, f64)>,
}

/// Chosen kernels, by work and number of images. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choices {
    by_work: Arc<BTreeMap<String, BTreeMap<usize, TunedKernel>>>,
}

impl Choices {
    /// The choice for exactly this work and batch.
    pub fn exact(&self, signature: &str, batch: usize) -> Option<TunedKernel> {
        self.by_work.get(signature)?.get(&batch).copied()
    }

    /// The kernel for this work: chosen at this batch, else at the next larger
    /// one, else at the largest. A program compiled for full batches then
    /// serves the last, smaller one as well.
    pub fn kernel(&self, signature: &str, batch: usize) -> Option<Algorithm> {
        let batches = self.by_work.get(signature)?;
        let nearest = batches.range(batch..).next().or_else(|| batches.last_key_value());
        nearest.map(|(_, choice)| choice.kernel)
    }

    /// Makes a choice.
    pub fn set(&mut self, signature: &str, batch: usize, choice: TunedKernel) {
        let by_work = Arc::make_mut(&mut self.by_work);
        by_work.entry(signature.to_string()).or_default().insert(batch, choice);
    }

    /// Takes over all choices of `other`.
    pub fn extend(&mut self, other: &Choices) {
        for (signature, batch, choice) in other.iter() {
            self.set(signature, batch, choice);
        }
    }

    /// All choices, by work and batch.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize, TunedKernel)> {
        let of_work = |(signature, batches)| {
            let signature: &String = signature;
            let batches: &BTreeMap<usize, TunedKernel> = batches;
            batches
                .iter()
                .map(move |(&batch, &choice)| (signature.as_str(), batch, choice))
        };
        self.by_work.iter().flat_map(of_work)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_work.values().map(BTreeMap::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_work.is_empty()
    }
}

/// Choices for several devices: what a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Book {
    /// Each device once.
    pub pages: Vec<(Device, Choices)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BookText {
    #[serde(default, rename = "device")]
    devices: Vec<PageText>,
}

#[derive(Serialize, Deserialize)]
struct PageText {
    #[serde(flatten)]
    device: Device,
    #[serde(default, rename = "choice")]
    choices: Vec<ChoiceText>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ChoiceText {
    work: String,
    batch: usize,
    kernel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_milliseconds: Option<f64>,
}

impl Book {
    /// A book of one page.
    pub fn of(device: &Device, choices: &Choices) -> Self {
        Book {
            pages: vec![(device.clone(), choices.clone())],
        }
    }

    /// The choices for `device`.
    pub fn page(&self, device: &Device) -> Option<&Choices> {
        let page = self.pages.iter().find(|(own, _)| own == device);
        page.map(|(_, choices)| choices)
    }

    /// The choices to replay on `device`: its own, or those of the only device
    /// there is: they are kernels on any.
    pub fn replay(&self, device: &Device) -> Option<&Choices> {
        self.page(device).or(match &self.pages[..] {
            [(_, only)] => Some(only),
            _ => None,
        })
    }

    /// Takes over all choices of `other`.
    pub fn extend(&mut self, other: &Book) {
        for (device, choices) in &other.pages {
            match self.pages.iter_mut().find(|(own, _)| own == device) {
                Some((_, own)) => own.extend(choices),
                None => self.pages.push((device.clone(), choices.clone())),
            }
        }
    }

    /// How many choices there are.
    pub fn len(&self) -> usize {
        self.pages.iter().map(|(_, choices)| choices.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let microsecond = |milliseconds: f64| (milliseconds * 1e3).round() / 1e3;
        let choice = |(work, batch, choice): (&str, usize, TunedKernel)| ChoiceText {
            work: work.to_string(),
            batch,
            kernel: choice.kernel.to_string(),
            milliseconds: choice.timed.map(|(own, _)| microsecond(own)),
            rule_milliseconds: choice.timed.map(|(_, rule)| microsecond(rule)),
        };
        let page = |(device, choices): &(Device, Choices)| PageText {
            device: device.clone(),
            choices: choices.iter().map(choice).collect(),
        };
        let text = toml::to_string(&BookText {
            devices: self.pages.iter().map(page).collect(),
        });
        format!(
            "# Kernels that residua chose by timing them.\n\n{}",
            text.expect("words and numbers are TOML")
        )
    }

    /// Reads a file's text; says in one line what is wrong with it. Kernels
    /// that this version does not have are an error: a run that replays them
    /// would not be the same.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let read: BookText = toml::from_str(text).map_err(|error| {
            let words: Vec<&str> = error.message().split_whitespace().collect();
            format!("no file of chosen kernels: {}", words.join(" "))
        })?;
        let mut book = Book::default();
        for page in read.devices {
            let mut choices = Choices::default();
            for choice in page.choices {
                let kernel: Algorithm = choice
                    .kernel
                    .parse()
                    .map_err(|error| format!("{}: {error}", choice.work))?;
                if choice.work.is_empty() || choice.batch == 0 {
                    return Err("no file of chosen kernels: a choice for no work".to_string());
                }
                let timed = choice.milliseconds.zip(choice.rule_milliseconds);
                choices.set(&choice.work, choice.batch, TunedKernel { kernel, timed });
            }
            book.extend(&Book::of(&page.device, &choices));
        }
        Ok(book)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::schedule) fn device(name: &str) -> Device {
        Device {
            adapter: name.into(),
            backend: "Vulkan".into(),
            driver: "d".into(),
            driver_version: "1".into(),
            residua: "0".into(),
            kernels: "k".into(),
        }
    }

    pub(in crate::schedule) fn choice(kernel: &str, timed: Option<(f64, f64)>) -> TunedKernel {
        TunedKernel {
            kernel: kernel.parse().unwrap(),
            timed,
        }
    }

    #[test]
    fn a_book_is_written_and_read_back() {
        let mut choices = Choices::default();
        choices.set(
            "convolution 3x3, N×16×32×32",
            128,
            choice("tile 8x4x16 by 32", Some((1.25, 1.5))),
        );
        choices.set("channel sum, N×16", 7, choice("plain", None));
        let mut book = Book::of(&device("a \"quoted\" name"), &choices);
        book.extend(&Book::of(&device("b"), &Choices::default()));
        let text = book.to_text();
        assert_eq!(Book::from_text(&text).as_ref(), Ok(&book), "{text}");
        assert_eq!(Book::from_text(""), Ok(Book::default()));
        for damaged in [
            &text[..text.len() / 2],
            "[[device]]\n",
            "nonsense = 1",
            &text.replace("tile 8x4x16", "tile 8x4"),
            &text.replace("batch = 7", "batch = -7"),
        ] {
            let error = Book::from_text(damaged).unwrap_err();
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_smaller_batch_takes_the_choice_of_the_next_larger() {
        let mut choices = Choices::default();
        for (batch, kernel) in [(32, "square 2 by 64"), (128, "square 4 by 64")] {
            choices.set("linear", batch, choice(kernel, None));
        }
        let kernel = |batch| choices.kernel("linear", batch).unwrap().to_string();
        assert_eq!(kernel(8), "square 2 by 64");
        assert_eq!(kernel(33), "square 4 by 64");
        assert_eq!(kernel(500), "square 4 by 64");
        assert_eq!(choices.kernel("else", 32), None);
        assert_eq!(choices.exact("linear", 8), None);
    }

    #[test]
    fn only_a_page_of_its_own_is_replayed_where_there_are_several() {
        let mut choices = Choices::default();
        choices.set("linear", 1, choice("plain", None));
        let mut book = Book::of(&device("a"), &choices);
        assert_eq!(book.page(&device("b")), None);
        assert_eq!(book.replay(&device("b")), Some(&choices));
        book.extend(&Book::of(&device("c"), &Choices::default()));
        assert_eq!(book.replay(&device("b")), None);
        assert_eq!(book.replay(&device("a")), Some(&choices));
    }
}
