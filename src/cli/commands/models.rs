//! `models`: which networks have names, how large are they, and which errors are
//! published for them?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::require_output;
use crate::cli::network::{model_spec, model_text};
use crate::cli::{self, CliError};
use crate::data::DataSet;
use crate::files::write_new;
use crate::graph::Mode;
use crate::models::published::{Catalogue, Entry, Family, PublishedError, Recipe, Seen};
use crate::models::{self, InputShape, ModelError, ModelSpec};
use crate::report::{Column, Item, Report, Table};
use crate::shown::{shown, shown_path};
use crate::train::TrainError;

/// The images that a network for this data set is built for.
fn input_of(data: DataSet) -> InputShape {
    let [channels, height, width] = data.shape();
    InputShape {
        channels,
        height,
        width,
        classes: data.classes(),
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
    /// Print the network NAME as a file for --model FILE.toml, to change it
    /// [default: none]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "json"])]
    template: Option<String>,
    /// Write the --template to this file, which must not exist [default: standard
    /// output]
    #[arg(long, value_name = "FILE", requires = "template")]
    out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn models(args: &Args) -> Result<String, CliError> {
    if let Some(name) = &args.template {
        return template(name, args.out.as_deref());
    }
    let catalogue = Catalogue::built_in();
    let Some(name) = &args.name else {
        return list(catalogue.entries().collect(), args.json);
    };
    let name = &model_text(name)?;
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

/// The network `name` as a file: printed, or written to `out`.
fn template(name: &str, out: Option<&Path>) -> Result<String, CliError> {
    let spec = model_spec(name)?;
    let text = format!("{}{}", about(&spec), spec.in_file()?.text());
    let Some(out) = out else { return Ok(text) };
    require_output("--out", out, "toml")?;
    write_new(out, text.as_bytes()).map_err(TrainError::from)?;
    Ok(format!("{}: {spec}\n", shown_path(out)))
}

/// The comment at the top of a template.
fn about(spec: &ModelSpec) -> String {
    format!(
        "# {spec} as a file: change it, and train it by --model FILE.toml.\n\
         # kernels = [size, width] or [size, width, groups] of each convolution of a block;\n\
         # stride = that of the first block. docs/networks.md describes every key.\n"
    )
}

/// Whether the name of an entry, in one of its spellings, or the title of its
/// family contains `part`.
fn contains(family: &Family, entry: &Entry, part: &str) -> bool {
    let plain = |text: &str| -> String {
        let kept = text.chars().filter(|c| !matches!(c, '-' | '_' | ' '));
        kept.flat_map(char::to_lowercase).collect()
    };
    let part = plain(part);
    let spellings = entry.name.parse().map(|spec: ModelSpec| spec.spellings());
    let mut names = spellings
        .into_iter()
        .flatten()
        .chain([entry.name.clone(), family.title.clone()]);
    !part.is_empty() && names.any(|name| plain(&name).contains(&part))
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

impl<'a> Fact<'a> {
    fn of(fact: &'a PublishedError) -> Self {
        Fact {
            data: &fact.data,
            error: fact.error_fraction(),
            top5_error: fact.top5_fraction(),
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
    let is_used = |data: &DataSet| rows.iter().any(|row| row.entry.first(data.key()).is_some());
    let used: Vec<DataSet> = DataSet::ALL.into_iter().filter(is_used).collect();
    let mut columns = vec![
        Column::plain("model", "model"),
        Column::count("parameters", "parameters"),
        macs_column(),
        Column::plain("blocks", "blocks"),
    ];
    columns.extend(used.iter().map(|data| Column::number(data.key(), &data.to_string(), 2)));
    let row = |row: &Row| {
        let errors = used
            .iter()
            .map(|data| json!(row.entry.first(data.key()).map(|fact| fact.error)));
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
        title: rows
            .first()
            .map_or_else(String::new, |row| format!("{}: {}", row.family.title, row.family.names)),
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

/// Where the errors of a table are published, and the paper of its networks.
fn sources_of(rows: &[Row]) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let mut places: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    // The paper comes first.
    places.push((&first.family.source, BTreeSet::new()));
    let facts = rows
        .iter()
        .flat_map(|row| DataSet::ALL.into_iter().filter_map(|data| row.entry.first(data.key())));
    for fact in facts {
        let known = places.iter().position(|(source, _)| *source == fact.source);
        let index = known.unwrap_or_else(|| {
            places.push((&fact.source, BTreeSet::new()));
            places.len() - 1
        });
        places[index].1.extend(fact.at.as_deref());
    }
    let place = |(source, at): &(&str, BTreeSet<&str>)| {
        let at: Vec<&str> = at.iter().copied().collect();
        cited(source, (!at.is_empty()).then(|| at.join(", ")).as_deref())
    };
    places.iter().map(place).collect::<Vec<_>>().join("; ") + "."
}

/// A network with all that is known about it.
struct Description<'a> {
    spec: &'a ModelSpec,
    /// The network's size for each data set that it is for.
    sizes: Vec<(DataSet, Size)>,
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
        for data in DataSet::ALL {
            let input = &input_of(data);
            // A name that leaves its stem open stands for two networks.
            let is_usual = (input.height, input.width) == (usual.height, usual.width);
            if !is_usual && spec.note(input).is_none() {
                continue;
            }
            found.sizes.push((data, Size::of(spec, input)?));
            for (family, entry) in catalogue.of(spec, input) {
                let facts = entry.published.iter().filter(|fact| fact.data == data.key());
                found.published.extend(facts);
                let recipes = catalogue.recipes(family, entry).into_iter();
                for recipe in recipes.filter(|recipe| recipe.data.iter().any(|key| key == data.key())) {
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
            .map(|(data, size)| {
                json!({ "data": data.key(), "input": size.input, "classes": size.classes,
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
            if let Some(name) = &recipe.name {
                text.push_str(&format!("\nThe same settings by name: --recipe {name}\n"));
            }
            if !recipe.missing.is_empty() {
                text.push_str("\nWhat this program does in another way:\n");
            }
            for difference in &recipe.missing {
                let item = Report {
                    items: vec![Item::text(format!("- {difference}"))],
                    ..Report::default()
                };
                text.push_str(&item.text());
            }
        }
        Ok(text)
    }

    /// The network's size for each data set, those of one size in one row.
    fn size_table(&self) -> Table {
        let mut rows: Vec<(Vec<String>, &Size)> = Vec::new();
        for (data, size) in &self.sizes {
            match rows.iter_mut().find(|(_, known)| *known == size) {
                Some((names, _)) => names.push(data.to_string()),
                None => rows.push((vec![data.to_string()], size)),
            }
        }
        let row = |(names, size): &(Vec<String>, &Size)| {
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
    let named = DataSet::ALL
        .into_iter()
        .filter(|set| data.iter().any(|key| key == set.key()));
    named.map(|set| set.to_string()).collect::<Vec<_>>().join(" and ")
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

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches};

    use super::*;
    use crate::cli::{SettingArgs, check_settings};

    fn models(name: Option<&str>, json: bool) -> Result<String, CliError> {
        super::models(&Args {
            name: name.map(str::to_string),
            json,
            template: None,
            out: None,
        })
    }

    fn listed(name: Option<&str>) -> Vec<Value> {
        let text = models(name, true).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        object["models"].as_array().unwrap().clone()
    }

    #[test]
    fn every_recipe_is_a_command_that_train_takes() {
        for (family, entry) in Catalogue::built_in().entries() {
            let spec: ModelSpec = entry.name.parse().unwrap();
            let description = Description::of(&spec).unwrap();
            for recipe in Catalogue::built_in().recipes(family, entry) {
                assert!(!recipe.data.is_empty(), "{}", recipe.id);
                let command = description.command(recipe).join(" ").replace('\'', "");
                let words = command.split(' ').skip(1);
                let matches = SettingArgs::augment_args(Command::new("train"))
                    .try_get_matches_from(words)
                    .unwrap_or_else(|error| panic!("{command}: {error}"));
                let settings = SettingArgs::from_arg_matches(&matches).unwrap();
                let config = settings.config().unwrap();
                assert!(
                    check_settings(&settings.given().unwrap(), std::iter::once(&config)).is_ok(),
                    "{command}"
                );
                assert!(config.settings().is_ok(), "{command}");
            }
        }
    }

    #[test]
    fn a_part_of_a_name_lists_and_a_name_describes() {
        let all = listed(None);
        assert!(all.len() > 150, "{}", all.len());
        let wide = listed(Some("WRN"));
        let names: Vec<&str> = wide.iter().filter_map(|model| model["name"].as_str()).collect();
        assert!(names.contains(&"wrn-28-10") && names.len() < all.len(), "{names:?}");
        assert!(
            names.iter().all(|name| name.contains("wrn") || name.contains("wide")),
            "{names:?}"
        );
        assert!(
            listed(Some("preresnet"))
                .iter()
                .any(|model| model["name"] == "preact-164")
        );
        assert_eq!(listed(Some("wrn-28")).len(), listed(Some("WRN_28")).len());
        let one = &listed(Some("ResNet_110"))[0];
        assert_eq!(
            (&one["name"], &one["parameters"], &one["blocks"], &one["classes"]),
            (&json!("resnet110"), &json!(1_727_962), &json!(54), &json!(10))
        );
        assert_eq!(
            (&one["input"], &one["macs"]),
            (&json!([3, 32, 32]), &json!(252_887_680))
        );
        let paper = &one["published"][0];
        assert_eq!((&paper["data"], &paper["error"]), (&json!("cifar10"), &json!(0.0643)));
        assert_eq!(paper["source"], "He et al. 2015, arXiv:1512.03385");
        assert_eq!(one["sizes"][1]["classes"], 100);
        assert!(
            one["recipes"][0]["command"].as_str().unwrap().contains("--warmup 400"),
            "{one}"
        );
    }

    #[test]
    fn a_network_without_a_stem_in_its_name_is_described_for_both_sizes() {
        let model = &listed(Some("resnet18"))[0];
        assert_eq!(
            (&model["parameters"], &model["classes"]),
            (&json!(11_689_512), &json!(1000))
        );
        let data: Vec<&Value> = model["published"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fact| &fact["data"])
            .collect();
        assert!(
            data.contains(&&json!("cifar10")) && data.contains(&&json!("imagenet")),
            "{data:?}"
        );
        let text = models(Some("resnet18"), false).unwrap();
        assert!(text.contains("11 173 962") && text.contains("11 689 512"), "{text}");
    }

    #[test]
    fn a_network_that_is_not_listed_has_a_name_and_a_size_too() {
        let text = models(Some("resnet26:shortcut=B"), false).unwrap();
        assert!(
            text.contains("369 690 parameters") && text.contains("No error of this network"),
            "{text}"
        );
    }

    #[test]
    fn text_fits_a_terminal_of_eighty_columns_but_for_tables_of_long_names() {
        let text = models(None, false).unwrap();
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 88).collect();
        assert!(wide.len() < 12, "{}", wide.join("\n"));
        for name in ["resnet110", "wrn-28-10", "resnet50"] {
            let text = models(Some(name), false).unwrap();
            let commands: Vec<&str> = text
                .lines()
                .skip_while(|line| !line.starts_with("    residua"))
                .collect();
            assert!(commands[0].ends_with('\\'), "{text}");
            assert!(commands.iter().all(|line| line.chars().count() <= 88), "{text}");
        }
    }

    #[test]
    fn what_is_not_found_says_what_there_is() {
        for (name, part) in [
            ("alexnet", "`residua models` lists all: resnet<6n+2>"),
            ("resnet51", "6n+2; take 50 or 56"),
            ("wrn-28-10:droput=1", "no option 'droput'"),
            ("", "lists all"),
        ] {
            let error = models(Some(name), false).unwrap_err();
            assert_eq!(
                (error.exit_code(), error.line().contains(part)),
                (2, true),
                "{}",
                error.line()
            );
        }
    }
}
