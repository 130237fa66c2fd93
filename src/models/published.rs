//! Which networks does the literature compare, and which errors are published
//! for them?
//!
//! The facts are in `published.toml`, which is a part of the program. Its first
//! lines say what they mean.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{InputShape, ModelSpec};
use crate::graph::Mode;

/// The networks of the literature, with what is published about them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Papers and repositories of code.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Recipes of training.
    #[serde(rename = "recipe")]
    pub recipes: Vec<Recipe>,
    /// The families, in the order in which they are listed.
    #[serde(rename = "family")]
    pub families: Vec<Family>,
}

/// A paper or a repository of code.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What facts call it.
    pub id: String,
    /// Authors, year and number of the paper; or the address of the code.
    pub cite: String,
}

/// How a network was trained.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What families and models call it.
    pub id: String,
    /// What `residua train --recipe` calls it, where it can be asked for by name.
    pub name: Option<String>,
    /// The network that a recipe with a name trains, where no other is given.
    pub model: Option<String>,
    /// The [`Source::id`].
    pub source: String,
    /// The place in the source.
    pub at: Option<String>,
    /// The data sets that it is for: `cifar10`, `svhn`.
    pub data: Vec<String>,
    /// The flags of `residua train`, apart from model and data.
    pub flags: String,
    /// What the recipe has and the program does not, one sentence each.
    pub missing: Vec<String>,
}

/// Networks of one kind.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// What they are.
    pub title: String,
    /// The [`Source::id`] that introduces them.
    pub source: String,
    /// How their names are written: `resnet<6n+2>`.
    pub names: String,
    /// The recipes, as [`Recipe::id`], of models without their own.
    pub recipes: Vec<String>,
    /// The networks that are listed.
    #[serde(rename = "model")]
    pub models: Vec<Entry>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// A name that [`ModelSpec`] reads.
    pub name: String,
    /// Other networks that the sources do not tell apart from it.
    #[serde(default)]
    pub also: Vec<String>,
    /// The recipes, where they are not those of the family.
    pub recipes: Option<Vec<String>>,
    /// The errors; the first of a data set is the one to compare with.
    #[serde(default)]
    pub published: Vec<PublishedError>,
}

/// How a fact was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    /// In a table of the paper.
    Table,
    /// In the repository of the code.
    Code,
}

/// The error of a network on all test images of a data set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PublishedError {
    /// The data set: `cifar10`, `cifar100`, `svhn` or `imagenet`.
    pub data: String,
    /// Top-1 error in per cent.
    pub error: f64,
    /// Top-5 error in per cent.
    pub top5: Option<f64>,
    /// The [`Source::id`].
    pub source: String,
    /// The place in the source: `table 6`.
    pub at: Option<String>,
    /// How the number was seen.
    pub seen: Seen,
    /// Whether others than the authors of the network measured it.
    #[serde(default)]
    pub reproduction: bool,
    /// What else is to be known: the number of runs, the normalisation.
    pub note: Option<String>,
    /// The survival probability of the last block, for a network that was
    /// trained with stochastic depth.
    pub stochastic_depth: Option<f64>,
    /// The number of blocks that were trained in each mini-batch.
    pub sample_blocks: Option<usize>,
}

impl PublishedError {
    /// Top-1 error as a fraction.
    pub fn error_fraction(&self) -> f64 {
        fraction(self.error)
    }

    /// Top-5 error as a fraction.
    pub fn top5_fraction(&self) -> Option<f64> {
        self.top5.map(fraction)
    }
}

/// Per cent as a fraction, without the digits that a division adds.
fn fraction(percent: f64) -> f64 {
    (percent * 1e4).round() / 1e6
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let facts = include_str!("published.toml");
    toml::from_str(facts).unwrap_or_else(|error| panic!("published.toml, which is a part of the program: {error}"))
});

impl Catalogue {
    /// The catalogue of this program.
    pub fn built_in() -> &'static Catalogue {
        &CATALOGUE
    }

    /// How the source with this [`Source::id`] is cited.
    pub fn cite(&self, id: &str) -> &str {
        let found = self.sources.iter().find(|source| source.id == id);
        found.map_or("", |source| &source.cite)
    }

    /// The recipes that can be asked for by name, each with its name.
    pub fn named_recipes(&self) -> impl Iterator<Item = (&str, &Recipe)> {
        self.recipes
            .iter()
            .filter_map(|recipe| Some((recipe.name.as_deref()?, recipe)))
    }

    /// Every listed network with its family.
    pub fn entries(&self) -> impl Iterator<Item = (&Family, &Entry)> {
        let families = self.families.iter();
        families.flat_map(|family| family.models.iter().map(move |entry| (family, entry)))
    }

    /// The entries of the network `spec` for images of shape `input`. There can
    /// be several: the same network in two papers.
    pub fn of(&self, spec: &ModelSpec, input: &InputShape) -> Vec<(&Family, &Entry)> {
        let all = self.entries();
        all.filter(|(_, entry)| entry.stands_for(spec, input)).collect()
    }

    /// The recipes of an entry.
    pub fn recipes(&self, family: &Family, entry: &Entry) -> Vec<&Recipe> {
        let ids = entry.recipes.as_ref().unwrap_or(&family.recipes);
        let recipe = |id: &String| self.recipes.iter().find(|recipe| recipe.id == *id);
        ids.iter().filter_map(recipe).collect()
    }
}

impl Entry {
    /// Whether `spec` is this network, or one that its sources do not tell apart
    /// from it, for images of shape `input`.
    fn stands_for(&self, spec: &ModelSpec, input: &InputShape) -> bool {
        let names = std::iter::once(&self.name).chain(&self.also);
        let mut specs = names.filter_map(|name| name.parse::<ModelSpec>().ok());
        specs.any(|other| is_same(spec, &other, input))
    }

    /// The error to compare with: the first that is published for the data set.
    pub fn first(&self, data: &str) -> Option<&PublishedError> {
        self.published.iter().find(|fact| fact.data == data)
    }
}

/// Whether two models are one network for these images: a name can leave open
/// what their size decides, as the stem.
fn is_same(one: &ModelSpec, other: &ModelSpec, input: &InputShape) -> bool {
    let graph = |spec: &ModelSpec| spec.build(input, Mode::Train).map(|network| network.graph);
    one == other
        || one.base() == other.base() && matches!((graph(one), graph(other)), (Ok(own), Ok(others)) if own == others)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_one_of_a_network_and_stands_for_one_only() {
        let mut names = BTreeSet::new();
        for (_, entry) in Catalogue::built_in().entries() {
            for name in std::iter::once(&entry.name).chain(&entry.also) {
                let spec: ModelSpec = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(
                    spec.to_string().contains(':'),
                    name.contains(':') || name.starts_with("se-"),
                    "{name}"
                );
            }
            assert!(names.insert(&entry.name), "{} is listed twice", entry.name);
        }
    }

    #[test]
    fn every_fact_has_its_source() {
        let catalogue = Catalogue::built_in();
        let known: BTreeSet<&str> = catalogue.sources.iter().map(|source| source.id.as_str()).collect();
        assert_eq!(known.len(), catalogue.sources.len());
        let mut used = BTreeSet::new();
        for recipe in &catalogue.recipes {
            used.insert(recipe.source.as_str());
        }
        for (family, entry) in catalogue.entries() {
            used.insert(&family.source);
            for fact in &entry.published {
                used.insert(&fact.source);
                assert!((0.0..100.0).contains(&fact.error), "{}: {fact:?}", entry.name);
                assert!(
                    fact.top5.is_none_or(|top5| top5 < fact.error),
                    "{}: {fact:?}",
                    entry.name
                );
                let known = ["cifar10", "cifar100", "svhn", "imagenet"];
                assert!(known.contains(&&*fact.data), "{}: {fact:?}", entry.name);
            }
            let ids = entry.recipes.as_ref().unwrap_or(&family.recipes);
            assert_eq!(catalogue.recipes(family, entry).len(), ids.len(), "{}", entry.name);
        }
        assert_eq!(used, known, "sources that are used, and that there are");
    }

    #[test]
    fn a_network_is_found_by_what_it_computes() {
        let found = |name: &str, input: InputShape| -> Vec<f64> {
            let spec = name.parse().unwrap();
            let entries = Catalogue::built_in().of(&spec, &input);
            let facts = entries.iter().flat_map(|(_, entry)| &entry.published);
            facts.map(|fact| fact.error).collect()
        };
        let small = InputShape::default();
        assert_eq!(found("resnet20", small), [8.75, 8.27, 8.29]);
        assert_eq!(found("resnet20:shortcut=A-end", small), [8.75, 8.27, 8.29]);
        assert_eq!(found("resnet20:shortcut=B", small), [7.40]);
        assert!(found("resnet20:shortcut=C", small).is_empty());
        assert_eq!(found("resnet18", small), found("resnet18:stem=cifar", small));
        assert_eq!(found("resnet18", InputShape::IMAGENET)[0], 30.43);
        assert_ne!(found("wrn-28-10", small), found("wrn-28-10:dropout=0.3", small));
    }
}
