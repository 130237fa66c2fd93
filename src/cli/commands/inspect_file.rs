//! `inspect FILE`: what is in a weights file, and which models does it fit?

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::inspect::Args;
use crate::cli::json::json_line_where;
use crate::cli::{CliError, note};
use crate::data::Normalization;
use crate::graph::Mode;
use crate::models::{ModelSpec, fitting};
use crate::report::{Column, Item, Report, Table};
use crate::shown::{shown, shown_path};
use crate::train::{Record, Split, TrainedNetworkOptions, evaluate};
use crate::weights::{self, CanonicalWeights, Layout, Naming, TensorMap};

/// The weights of a run's directory.
const OF_A_RUN: &str = "last.safetensors";
/// Normalisations that `--data` tries, beside the file's and the data set's own.
const NORMALIZATIONS: [&str; 4] = ["cifar10", "cifar10-legacy", "imagenet", "none"];
/// Keys that are `null` where the file does not say it, or its names are not
/// understood.
const MAY_BE_NULL: [&str; 14] = [
    "table",
    "prefix",
    "names",
    "problem",
    "tensors",
    "parameters",
    "blocks",
    "channels",
    "classes",
    "mean",
    "std",
    "model",
    "mapping",
    "shape",
];
/// The most facts that are shown, and the longest text of one, in characters.
const MOST_FACTS: usize = 40;

/// A table of tensors, as `--json` shows it.
#[derive(Debug, Serialize)]
struct TableRow {
    path: String,
    tensors: usize,
    values: usize,
}

/// How a model with a normalisation does on the images of `--data`.
#[derive(Debug, Serialize)]
struct Rank {
    model: String,
    normalization: String,
    mean: Vec<f32>,
    std: Vec<f32>,
    images: usize,
    wrong: usize,
    error: f64,
    loss: f64,
}

pub(super) fn inspect(given: &Path, args: &Args) -> Result<String, CliError> {
    let path = match given.join(OF_A_RUN) {
        inner if inner.is_file() => inner,
        _ => given.to_path_buf(),
    };
    let contents = weights::contents(&path)?;
    let format = contents.format.to_string();
    let tables: Vec<TableRow> = contents
        .tables
        .iter()
        .map(|table| TableRow {
            path: table.path.clone(),
            tensors: table.tensors.len(),
            values: count_values(&table.tensors),
        })
        .collect();
    let facts = contents.facts.clone();
    let container_notes = contents.notes.clone();
    // What the file records is not open.
    let record = Record::read(&facts, &path)?;
    let recorded: Option<ModelSpec> = record.model.as_deref().and_then(|name| name.parse().ok());
    let shape = record.shape(&contents, recorded.as_ref());
    let network = recorded.as_ref().and_then(|spec| spec.build(&shape, Mode::Eval).ok());
    let layout = network.map(|network| Layout::of(&network.graph));
    // A file whose names say nothing is described as far as it can be read.
    let understood = weights::canonical(contents, &args.names.options(), layout.as_ref());
    let (weights, problem) = match understood {
        Ok(weights) => (Some(weights), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let models = weights
        .as_ref()
        .map_or_else(Vec::new, |weights| fitting(&weights.shapes()));
    let open = recorded.clone().map_or_else(|| models.clone(), |known| vec![known]);
    let ranks = match (&args.data, &weights) {
        (Some(data), Some(weights)) => rank(&path, args, data, &open, weights)?,
        _ => Vec::new(),
    };
    let seen = Inspected {
        path,
        format,
        tables,
        facts,
        notes: weights
            .as_ref()
            .map_or(container_notes, |weights| weights.notes.clone()),
        weights,
        problem,
        models,
        recorded,
        ranks,
    };
    if args.json {
        return json_line_where(&seen.json(), &MAY_BE_NULL);
    }
    Ok(seen.report().text())
}

/// What was found in a file.
struct Inspected {
    path: PathBuf,
    format: String,
    tables: Vec<TableRow>,
    facts: BTreeMap<String, String>,
    notes: Vec<String>,
    weights: Option<CanonicalWeights>,
    /// Why the names are not understood.
    problem: Option<String>,
    models: Vec<ModelSpec>,
    /// The model that the file says it is of.
    recorded: Option<ModelSpec>,
    ranks: Vec<Rank>,
}

impl Inspected {
    fn json(&self) -> serde_json::Value {
        let weights = self.weights.as_ref();
        let mapping = |weights: &CanonicalWeights| -> Vec<serde_json::Value> {
            let row = |(file, name): &(String, String)| {
                let shape = weights.tensors.get(name).map(|tensor| tensor.shape.clone());
                json!({ "file": file, "name": name, "shape": shape })
            };
            weights.names.iter().map(row).collect()
        };
        json!({
            "file": self.path.display().to_string(),
            "format": self.format,
            "tables": self.tables,
            "table": weights.map(|weights| &weights.table),
            "prefix": weights.map(|weights| &weights.prefix),
            "names": weights.map(naming_word),
            "problem": self.problem,
            "tensors": weights.map(|weights| weights.tensors.len()),
            "parameters": weights.map(|weights| parameters(&weights.tensors)),
            "blocks": weights.map(|weights| blocks(&weights.tensors)),
            "channels": weights.and_then(|weights| weights::ends_of(&weights.tensors)).map(|[channels, _]| channels),
            "classes": weights.and_then(|weights| weights::ends_of(&weights.tensors)).map(|[_, classes]| classes),
            "mean": weights.and_then(|weights| weights.normalization.as_ref()).map(|[mean, _]| mean),
            "std": weights.and_then(|weights| weights.normalization.as_ref()).map(|[_, std]| std),
            "facts": self.facts,
            "model": self.recorded.as_ref().map(ToString::to_string),
            "models": self.models.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "mapping": weights.map(mapping),
            "notes": self.notes,
            "ranks": self.ranks,
        })
    }

    fn report(&self) -> Report {
        let text = |text: String| Item::Text { text };
        let mut items = Vec::new();
        items.extend(self.notes.iter().map(|note| text(note.clone())));
        if let Some(problem) = &self.problem {
            items.push(text(format!("the names are not understood: {problem}")));
        }
        items.extend(
            self.weights
                .as_ref()
                .map(|_| text(models_line(&self.models, self.recorded.as_ref()))),
        );
        if self.tables.len() > 1 {
            items.push(Item::Table(tables_of(&self.tables)));
        }
        if !self.facts.is_empty() {
            items.push(Item::Table(facts_of(&self.facts)));
        }
        if let Some(weights) = &self.weights
            && weights.naming == Naming::Structure
        {
            items.push(Item::Table(mapping_of(weights)));
        }
        if !self.ranks.is_empty() {
            items.push(Item::Table(ranks_of(&self.ranks)));
        }
        Report {
            title: shown_path(&self.path),
            finding: self.summary(),
            items,
            ..Report::default()
        }
    }

    /// The file in one sentence.
    fn summary(&self) -> String {
        let path = shown_path(&self.path);
        let Some(weights) = &self.weights else {
            let tensors: usize = self.tables.iter().map(|table| table.tensors).sum();
            return format!("{path}: {}, {tensors} tensors", self.format);
        };
        let grouped = |count: usize| Column::count("", "").show(&count.into());
        let mut parts = vec![
            self.format.clone(),
            format!("{} tensors", weights.tensors.len()),
            format!("{} parameters", grouped(parameters(&weights.tensors))),
        ];
        parts.push(match (weights.dialect(), weights.naming) {
            (Some(dialect), _) => format!("{dialect} names"),
            (None, Naming::Own) => "the model's own names".to_owned(),
            (None, _) => "names of no known dialect".to_owned(),
        });
        let blocks = blocks(&weights.tensors);
        if !blocks.is_empty() {
            let stages: Vec<String> = blocks.iter().map(usize::to_string).collect();
            let all: usize = blocks.iter().sum();
            parts.push(format!("{all} blocks ({} by stage)", stages.join(", ")));
        }
        if let Some([channels, classes]) = weights::ends_of(&weights.tensors) {
            parts.push(format!("images of {channels} channels, {classes} classes"));
        }
        format!("{path}: {}", parts.join(", "))
    }
}

fn naming_word(weights: &CanonicalWeights) -> String {
    match (weights.dialect(), weights.naming) {
        (Some(dialect), _) => dialect.to_string(),
        (None, Naming::Own) => "own".to_owned(),
        (None, _) => "structure".to_owned(),
    }
}

fn models_line(models: &[ModelSpec], recorded: Option<&ModelSpec>) -> String {
    if let Some(known) = recorded {
        return format!("the file says that it is of {known}");
    }
    let names: Vec<String> = models.iter().map(ToString::to_string).collect();
    match &names[..] {
        [] => "fits no built-in model".to_owned(),
        [only] => format!("fits {only}"),
        _ => format!(
            "fits {}: these differ in what has no parameters, so the file does not say which it is; --data compares \
             their errors",
            names.join(", ")
        ),
    }
}

fn tables_of(tables: &[TableRow]) -> Table {
    let row = |row: &TableRow| vec![shown(&row.path).into(), row.tensors.into(), row.values.into()];
    let columns = vec![
        Column::plain("table", "table"),
        Column::plain("tensors", "tensors"),
        Column::count("values", "values"),
    ];
    Table::new("tables", "Tables of tensors", columns, tables.iter().map(row).collect())
}

fn facts_of(facts: &BTreeMap<String, String>) -> Table {
    let row = |(key, value): (&String, &String)| vec![shown(key).into(), shown(value).into()];
    let columns = vec![Column::plain("key", "key"), Column::plain("value", "value")];
    let mut rows: Vec<Vec<serde_json::Value>> = facts.iter().take(MOST_FACTS).map(row).collect();
    if facts.len() > MOST_FACTS {
        let more = format!("{} more; --json has all", facts.len() - MOST_FACTS);
        rows.push(vec!["…".into(), more.into()]);
    }
    Table::new("facts", "Other values of the file", columns, rows)
}

fn mapping_of(weights: &CanonicalWeights) -> Table {
    let row = |(file, name): &(String, String)| vec![shown(file).into(), name.as_str().into()];
    let columns = vec![
        Column::plain("file", "name in the file"),
        Column::plain("name", "canonical name"),
    ];
    Table::new(
        "mapping",
        "What the names stand for",
        columns,
        weights.names.iter().map(row).collect(),
    )
}

fn ranks_of(ranks: &[Rank]) -> Table {
    let row = |rank: &Rank| {
        vec![
            rank.model.as_str().into(),
            rank.normalization.as_str().into(),
            rank.error.into(),
            rank.loss.into(),
            rank.images.into(),
        ]
    };
    let columns = vec![
        Column::plain("model", "model"),
        Column::plain("normalization", "normalisation"),
        Column::percent("error", "error (%)"),
        Column::number("loss", "loss", 4),
        Column::plain("images", "images"),
    ];
    Table::new(
        "ranks",
        "Models and normalisations, the smallest error first",
        columns,
        ranks.iter().map(row).collect(),
    )
}

fn count_values(tensors: &TensorMap) -> usize {
    tensors.values().map(|tensor| tensor.data.len()).sum()
}

/// The trained values: running statistics are not counted.
fn parameters(tensors: &TensorMap) -> usize {
    let trained = tensors.iter().filter(|(name, _)| !name.contains(".running_"));
    trained.map(|(_, tensor)| tensor.data.len()).sum()
}

/// The number of blocks of each stage, by the canonical names.
fn blocks(tensors: &TensorMap) -> Vec<usize> {
    let mut stages: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for name in tensors.keys() {
        let parts = name.strip_prefix("layer").and_then(|rest| rest.split_once('.'));
        if let Some((stage, rest)) = parts
            && let (Ok(stage), Some((block, _))) = (stage.parse(), rest.split_once('.'))
        {
            stages.entry(stage).or_default().insert(block);
        }
    }
    stages.into_values().map(|blocks| blocks.len()).collect()
}

/// Evaluates every model that fits with every normalisation on the first test
/// images.
fn rank(
    path: &Path,
    args: &Args,
    data: &str,
    models: &[ModelSpec],
    weights: &CanonicalWeights,
) -> Result<Vec<Rank>, CliError> {
    if models.is_empty() {
        return Err(CliError::failure(format!(
            "{} fits no built-in model, so there is nothing to evaluate",
            shown_path(path)
        )));
    }
    let mut ranks = Vec::new();
    for model in models {
        note(format_args!("evaluating {model}"));
        let options = TrainedNetworkOptions::from_weights(path, model.to_string(), data)
            .limit_test(args.limit_test)
            .names(args.names.options())
            .adapter(args.adapter.choice())
            .kernels(args.adapter.kernels());
        let mut network = options.open()?;
        let channels = network.normalization.mean().len();
        let mut tried = vec![("the default".to_owned(), network.normalization.clone())];
        if let Some([mean, std]) = &weights.normalization
            && let Ok(own) = Normalization::new(mean.clone(), std.clone())
        {
            tried.push(("the file's".to_owned(), own));
        }
        let named = NORMALIZATIONS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), Normalization::named(name, channels)?)));
        tried.extend(named);
        let mut seen: Vec<Normalization> = Vec::new();
        for (name, normalization) in tried {
            if seen.contains(&normalization) {
                continue;
            }
            let images = network.images();
            network.engine.load(Split::Test, &network.test.images, &normalization)?;
            let routes = [network.route.clone()];
            let outcome = evaluate(
                network.engine.as_mut(),
                Split::Test,
                images,
                network.batch_size,
                &routes,
                &mut |_| {},
            )?;
            let [outcome] = &outcome[..] else { continue };
            ranks.push(Rank {
                model: model.to_string(),
                normalization: name,
                mean: normalization.mean().to_vec(),
                std: normalization.std().to_vec(),
                images: outcome.images,
                wrong: outcome.wrong,
                error: outcome.error,
                loss: outcome.loss,
            });
            seen.push(normalization);
        }
    }
    ranks.sort_by(|a, b| a.error.total_cmp(&b.error).then(a.loss.total_cmp(&b.loss)));
    Ok(ranks)
}
