//! `models`: which networks have names, how large are they, and which errors are
//! published for them?

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{self, CliError};
use crate::graph::Mode;
use crate::models::published::{Catalogue, Entry, Family, PublishedError, Recipe, Seen};
use crate::models::{self, InputShape, ModelError, ModelSpec};
use crate::report::{Column, Item, Report, Table};
use crate::shown::shown;

/// Data sets with published errors: the key of facts, the name in print, and the
/// shape of the images.
const DATA: [(&str, &str, InputShape); 4] = [
    ("cifar10", "CIFAR-10", small(10)),
    ("cifar100", "CIFAR-100", small(100)),
    ("svhn", "SVHN", small(10)),
    ("imagenet", "ImageNet", InputShape::IMAGENET),
];

const fn small(classes: usize) -> InputShape {
    InputShape {
        channels: 3,
        height: 32,
        width: 32,
        classes,
    }
}

const AFTER_HELP: &str = "\
Without NAME all networks of the catalogue are listed, with a part of a name those that contain it. The name of one \
network, also of one that is not in the catalogue, shows all about it: its spellings, its size for each data set, the \
published errors with their sources, and the recipe of its paper as flags of `residua train`. Parameters and \
multiply-adds of a list are those for the images that the network is made for. --json has `models`, a list with \
`name`, `parameters`, `macs`, `blocks`, `input`, `classes` and `published`, a list with `data`, `error` (a fraction), \
`source` and more.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// A network, or a part of names, as in wrn or resnet110 [default: all]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn models(args: &Args) -> Result<String, CliError> {
    let catalogue = Catalogue::built_in();
    let Some(name) = &args.name else {
        return list(catalogue.entries().collect(), args.json);
    };
    match name.parse::<ModelSpec>() {
        Ok(spec) => describe(&spec, args.json),
        Err(error) => {
            let found: Vec<(&Family, &Entry)> = catalogue
                .entries()
                .filter(|(family, entry)| contains(family, entry, name))
                .collect();
            match (found.is_empty(), error) {
                (false, _) => list(found, args.json),
                (true, ModelError::UnknownModel { .. }) => Err(CliError::argument(format!(
                    "no network of the catalogue has '{}' in its name; `residua models` lists all: {}",
                    shown(name),
                    models::names()
                ))),
                (true, error) => Err(error.into()),
            }
        }
    }
}

/// Whether the name of an entry, or the title of its family, contains `part`, in
/// any spelling.
fn contains(family: &Family, entry: &Entry, part: &str) -> bool {
    let plain = |text: &str| -> String {
        let kept = text.chars().filter(|c| !matches!(c, '-' | '_' | ' '));
        kept.flat_map(char::to_lowercase).collect()
    };
    let part = plain(part);
    !part.is_empty() && (plain(&entry.name).contains(&part) || plain(&family.title).contains(&part))
}

/// How large a network is for images of one shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Size {
    input: [usize; 3],
    classes: usize,
    parameters: usize,
    macs: u64,
    blocks: usize,
}

impl Size {
    fn of(spec: &ModelSpec, input: &InputShape) -> Result<Self, ModelError> {
        let graph = spec.build(input, Mode::Eval)?.graph;
        Ok(Size {
            input: [input.channels, input.height, input.width],
            classes: input.classes,
            parameters: graph.parameter_count(),
            macs: graph.macs(),
            blocks: graph.blocks.len(),
        })
    }

    /// `3×32×32`.
    fn images(&self) -> String {
        self.input.map(|side| side.to_string()).join("×")
    }
}

/// A published error, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Fact<'a> {
    data: &'a str,
    error: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    top5_error: Option<f64>,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<&'a str>,
    seen: Seen,
    reproduction: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stochastic_depth: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_blocks: Option<usize>,
}

/// Per cent as a fraction, without the digits that a division adds.
fn fraction(percent: f64) -> f64 {
    (percent * 1e4).round() / 1e6
}

impl<'a> Fact<'a> {
    fn of(fact: &'a PublishedError) -> Self {
        Fact {
            data: &fact.data,
            error: fraction(fact.error),
            top5_error: fact.top5.map(fraction),
            source: Catalogue::built_in().cite(&fact.source),
            at: fact.at.as_deref(),
            seen: fact.seen,
            reproduction: fact.reproduction,
            note: fact.note.as_deref(),
            stochastic_depth: fact.stochastic_depth,
            sample_blocks: fact.sample_blocks,
        }
    }
}

/// A network as `--json` shows it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'a str>,
    #[serde(flatten)]
    size: Size,
    published: Vec<Fact<'a>>,
}

/// A network of a list.
struct Row {
    family: &'static Family,
    entry: &'static Entry,
    size: Size,
}

fn list(entries: Vec<(&'static Family, &'static Entry)>, json: bool) -> Result<String, CliError> {
    let row = |(family, entry): (&'static Family, &'static Entry)| -> Result<Row, ModelError> {
        let spec: ModelSpec = entry.name.parse()?;
        let size = Size::of(&spec, &spec.usual_input())?;
        Ok(Row { family, entry, size })
    };
    let rows: Vec<Row> = entries.into_par_iter().map(row).collect::<Result<_, _>>()?;
    if json {
        let models = rows.iter().map(|row| Listed {
            name: row.entry.name.clone(),
            family: Some(&row.family.title),
            size: row.size.clone(),
            published: row.entry.published.iter().map(Fact::of).collect(),
        });
        return cli::json_line(&json!({ "models": models.collect::<Vec<_>>() }));
    }
    let mut items = Vec::new();
    for rows in rows.chunk_by(|one, next| std::ptr::eq(one.family, next.family)) {
        items.push(Item::Table(family_table(rows)));
        items.push(Item::text(sources_of(rows)));
    }
    items.push(Item::text(format!(
        "Parameters and multiply-adds (MACs, in millions) are those for the images that the network is made for, errors \
         are in % of all test images: the first that was published. `residua models NAME` shows all of them, the sizes \
         for other data, spellings and the recipe of training. Other sizes have names, too: {}.",
        models::names()
    )));
    let report = Report {
        items,
        ..Report::default()
    };
    Ok(report.text())
}

fn family_table(rows: &[Row]) -> Table {
    let data: Vec<&(&str, &str, InputShape)> = DATA
        .iter()
        .filter(|(key, ..)| rows.iter().any(|row| row.entry.first(key).is_some()))
        .collect();
    let mut columns = vec![
        Column::plain("model", "model"),
        Column::count("parameters", "parameters"),
        macs_column(),
        Column::plain("blocks", "blocks"),
    ];
    columns.extend(data.iter().map(|(key, name, _)| Column::number(key, name, 2)));
    let row = |row: &Row| {
        let errors = data
            .iter()
            .map(|(key, ..)| json!(row.entry.first(key).map(|fact| fact.error)));
        let mut cells = vec![
            json!(row.entry.name),
            json!(row.size.parameters),
            json!(row.size.macs),
            json!(row.size.blocks),
        ];
        cells.extend(errors);
        cells
    };
    Table {
        name: "models".into(),
        title: rows.first().map_or_else(String::new, |row| row.family.title.clone()),
        columns,
        rows: rows.iter().map(row).collect(),
        file_only: false,
    }
}

/// Multiply-adds in millions.
fn macs_column() -> Column {
    Column {
        factor: 1e-6,
        ..Column::number("macs", "MACs (M)", 1)
    }
}

/// How the names of a family are written, and where its errors are published.
fn sources_of(rows: &[Row]) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let mut places: Vec<(&str, Vec<&str>)> = Vec::new();
    let facts = rows
        .iter()
        .flat_map(|row| DATA.iter().filter_map(|(key, ..)| row.entry.first(key)));
    for fact in facts {
        let known = places.iter().position(|(source, _)| *source == fact.source);
        let index = known.unwrap_or_else(|| {
            places.push((&fact.source, Vec::new()));
            places.len() - 1
        });
        if let Some(at) = fact.at.as_deref().filter(|at| !places[index].1.contains(at)) {
            places[index].1.push(at);
        }
    }
    let catalogue = Catalogue::built_in();
    let place = |(source, at): &(&str, Vec<&str>)| {
        let at: Vec<&str> = std::iter::once(catalogue.cite(source))
            .chain(at.iter().copied())
            .collect();
        at.join(", ")
    };
    let introduced = catalogue.cite(&first.family.source);
    let places: Vec<String> = places.iter().map(place).collect();
    let errors = if places.is_empty() {
        String::new()
    } else {
        format!(" Errors: {}.", places.join("; "))
    };
    format!("{}. {introduced}.{errors}", first.family.names)
}

/// A network with all that is known about it.
struct Description<'a> {
    spec: &'a ModelSpec,
    /// For each data set that the network is for: its key, its name in print, and
    /// the network's size there.
    sizes: Vec<(&'static str, &'static str, Size)>,
    families: Vec<&'static Family>,
    published: Vec<&'static PublishedError>,
    recipes: Vec<&'static Recipe>,
}

impl<'a> Description<'a> {
    fn of(spec: &'a ModelSpec) -> Result<Self, ModelError> {
        let catalogue = Catalogue::built_in();
        let usual = spec.usual_input();
        let mut found = Description {
            spec,
            sizes: Vec::new(),
            families: Vec::new(),
            published: Vec::new(),
            recipes: Vec::new(),
        };
        for (key, name, input) in &DATA {
            // A name that leaves its stem open stands for two networks.
            let is_usual = (input.height, input.width) == (usual.height, usual.width);
            if !is_usual && spec.note(input).is_none() {
                continue;
            }
            found.sizes.push((key, name, Size::of(spec, input)?));
            for (family, entry) in catalogue.of(spec, input) {
                let facts = entry.published.iter().filter(|fact| fact.data == *key);
                found.published.extend(facts);
                let recipes = catalogue.recipes(family, entry).into_iter();
                for recipe in recipes.filter(|recipe| recipe.data.iter().any(|data| data == key)) {
                    if !found.recipes.contains(&recipe) {
                        found.recipes.push(recipe);
                    }
                }
                if !found.families.contains(&family) {
                    found.families.push(family);
                }
            }
        }
        Ok(found)
    }

    /// The size for the images that the network is made for.
    fn usual_size(&self) -> Result<Size, ModelError> {
        Size::of(self.spec, &self.spec.usual_input())
    }

    fn json(&self) -> Result<Value, ModelError> {
        let listed = Listed {
            name: self.spec.to_string(),
            family: self.families.first().map(|family| family.title.as_str()),
            size: self.usual_size()?,
            published: self.published.iter().map(|fact| Fact::of(fact)).collect(),
        };
        let sizes: Vec<Value> = self
            .sizes
            .iter()
            .map(|(key, _, size)| {
                json!({ "data": key, "input": size.input, "classes": size.classes,
                "parameters": size.parameters, "macs": size.macs, "blocks": size.blocks })
            })
            .collect();
        let recipe = |recipe: &&Recipe| {
            json!({
                "data": recipe.data,
                "source": cited(&recipe.source, recipe.at.as_deref()),
                "command": self.command(recipe).join(" "),
                "missing": recipe.missing,
            })
        };
        let mut object = json!(listed);
        object["in_full"] = json!(self.spec.in_full());
        object["spellings"] = json!(self.spec.spellings());
        object["sizes"] = json!(sizes);
        object["recipes"] = json!(self.recipes.iter().map(recipe).collect::<Vec<_>>());
        Ok(object)
    }

    /// The command that trains the network by a recipe, in pieces that belong
    /// together.
    fn command(&self, recipe: &Recipe) -> Vec<String> {
        let data = match recipe.data.first().map(String::as_str) {
            Some("svhn") => "svhn-extra",
            Some("imagenet") => "imagefolder",
            Some(data) => data,
            None => "synthetic",
        };
        let model = cli::quoted(self.spec.to_string().as_ref());
        let mut pieces = vec![format!("residua train --model {model} --data {data}:DIR")];
        for word in recipe.flags.split_whitespace() {
            match pieces.last_mut() {
                Some(last) if !word.starts_with("--") => last.push_str(&format!(" {word}")),
                _ => pieces.push(word.to_string()),
            }
        }
        pieces
    }

    fn text(&self) -> Result<String, ModelError> {
        let size = self.usual_size()?;
        let count = |value: u64| Column::count("", "").show(&value.into());
        let spec = self.spec;
        let mut items = Vec::new();
        let titles: Vec<String> = self
            .families
            .iter()
            .map(|family| format!("{} ({})", family.title, cited(&family.source, None)))
            .collect();
        if !titles.is_empty() {
            items.push(Item::text(format!("{}.", titles.join("; "))));
        }
        let spellings = spec.spellings();
        if !spellings.is_empty() {
            items.push(Item::text(format!("Also written {}.", spellings.join(", "))));
        }
        if spec.in_full() != spec.to_string() {
            items.push(Item::text(format!("With all options: {}", spec.in_full())));
        }
        items.push(Item::Table(self.size_table()));
        if self.published.is_empty() {
            items.push(Item::text("No error of this network is in the catalogue."));
        } else {
            items.push(Item::Table(self.error_table()));
        }
        let report = Report {
            finding: format!(
                "{spec} for {} images and {} classes: {} parameters, {} multiply-adds an image, {} blocks",
                size.images(),
                size.classes,
                count(size.parameters as u64),
                count(size.macs),
                size.blocks
            ),
            items,
            ..Report::default()
        };
        let mut text = report.text();
        for recipe in &self.recipes {
            let source = cited(&recipe.source, recipe.at.as_deref());
            text.push_str(&format!("\nRecipe for {} ({source})\n\n", names_of(&recipe.data)));
            text.push_str(&folded(&self.command(recipe)));
            let missing = match recipe.missing.is_empty() {
                true => "This program has all of it.".to_string(),
                false => format!("What differs: {}.", recipe.missing.join("; ")),
            };
            let note = Report {
                items: vec![Item::text(missing)],
                ..Report::default()
            };
            text.push_str(&format!("\n{}", note.text()));
        }
        Ok(text)
    }

    /// The network's size for each data set, those of one size in one row.
    fn size_table(&self) -> Table {
        let mut rows: Vec<(Vec<&str>, &Size)> = Vec::new();
        for (_, name, size) in &self.sizes {
            match rows.iter_mut().find(|(_, known)| *known == size) {
                Some((names, _)) => names.push(name),
                None => rows.push((vec![name], size)),
            }
        }
        let row = |(names, size): &(Vec<&str>, &Size)| {
            vec![
                json!(names.join(", ")),
                json!(size.images()),
                json!(size.classes),
                json!(size.parameters),
                json!(size.macs),
                json!(size.blocks),
            ]
        };
        Table {
            name: "sizes".into(),
            title: "Size".into(),
            columns: vec![
                Column::plain("data", "data"),
                Column::plain("input", "images"),
                Column::plain("classes", "classes"),
                Column::count("parameters", "parameters"),
                macs_column(),
                Column::plain("blocks", "blocks"),
            ],
            rows: rows.iter().map(row).collect(),
            file_only: false,
        }
    }

    fn error_table(&self) -> Table {
        let row = |fact: &&PublishedError| {
            let trained = fact.stochastic_depth.map(|p| format!("stochastic depth {p}"));
            let sampled = fact.sample_blocks.map(|blocks| format!("{blocks} blocks a step"));
            let notes: Vec<String> = [trained, sampled, fact.note.clone()].into_iter().flatten().collect();
            vec![
                json!(names_of(std::slice::from_ref(&fact.data))),
                json!(fact.error),
                json!(fact.top5),
                json!(cited(&fact.source, fact.at.as_deref())),
                json!(notes.join("; ")),
            ]
        };
        let mut columns = vec![
            Column::plain("data", "data"),
            Column::number("error", "error", 2),
            Column::number("top5_error", "top-5", 2),
            Column::plain("source", "source"),
            Column::plain("note", "note"),
        ];
        let mut rows: Vec<Vec<Value>> = self.published.iter().map(row).collect();
        if self.published.iter().all(|fact| fact.top5.is_none()) {
            columns.remove(2);
            rows.iter_mut().for_each(|row| {
                row.remove(2);
            });
        }
        Table {
            name: "published".into(),
            title: "Published errors on all test images (%)".into(),
            columns,
            rows,
            file_only: false,
        }
    }
}

/// A source and the place in it.
fn cited(source: &str, at: Option<&str>) -> String {
    let cite = Catalogue::built_in().cite(source);
    at.map_or_else(|| cite.to_string(), |at| format!("{cite}, {at}"))
}

/// The names in print of data sets.
fn names_of(data: &[String]) -> String {
    let named = DATA.iter().filter(|(key, ..)| data.iter().any(|known| known == key));
    named.map(|(_, name, _)| *name).collect::<Vec<_>>().join(" and ")
}

/// A command in lines of a terminal's width, each but the last with a backslash
/// at its end, so that a shell reads it as one.
fn folded(pieces: &[String]) -> String {
    const WIDTH: usize = 72;
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(last) if last.chars().count() + piece.chars().count() < WIDTH => last.push_str(&format!(" {piece}")),
            _ => lines.push(piece.clone()),
        }
    }
    format!("    {}\n", lines.join(" \\\n        "))
}

fn describe(spec: &ModelSpec, json: bool) -> Result<String, CliError> {
    let found = Description::of(spec)?;
    if json {
        return cli::json_line(&json!({ "models": [found.json()?] }));
    }
    Ok(found.text()?)
}
