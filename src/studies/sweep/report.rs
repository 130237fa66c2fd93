//! What did a sweep find?

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::aggregate::SeedGroup;
use super::grid::{SEED, describe};
use super::{MedianRange, TrainedPoint, groups};
use crate::report::{Axis, Cell, Column, Figure, Item, Layer, Mark, Report, Table, number_or_word};
use crate::studies::published::{Comparison, comparison_table};
use crate::train::RunDirectory;

/// The report of a sweep: a table with one row per point, where runs that
/// differ only in their seed are aggregated to median and range; test error by
/// epoch and by point; and, if exactly two settings vary, by both. `command` is
/// the command line of the program.
pub fn sweep_report(command: &str, results: &[TrainedPoint]) -> Report {
    let groups = groups(results);
    let keys = keys(&groups);
    let aggregated = has_seeds(results);
    let what = if keys.is_empty() { vec![SEED] } else { keys.clone() };
    let mut items = vec![
        Item::heading("Points"),
        Item::Figure(points_figure(&groups, aggregated)),
        Item::Table(points_table(&groups, &keys, aggregated)),
    ];
    if aggregated {
        items.push(Item::Table(runs_table(results)));
    }
    items.extend(published_table(results).map(Item::Table));
    if let [first, second] = varying(&groups, &keys)[..] {
        let title = format!("Test error by {first} and {second}");
        let (columns, rows) = (distinct(&groups, first), distinct(&groups, second));
        let (x, y) = (Axis::named(first, columns.clone()), Axis::named(second, rows.clone()));
        let cells = heat_cells(&columns, &rows, |column, row| {
            let own = |group: &&SeedGroup| group.value(first) == Some(column) && group.value(second) == Some(row);
            groups
                .iter()
                .find(own)
                .and_then(|group| group.median(TrainedPoint::test_error))
        });
        items.push(Item::heading(title.clone()));
        items.push(Item::Figure(heat_figure("heat", &title, x, y, cells)));
    }
    items.push(Item::heading("Epochs"));
    items.push(Item::Figure(curves_figure("curves", "Test error by epoch", &groups)));
    Report {
        title: format!("Sweep over {}", what.join(", ")),
        finding: finding(&groups),
        items,
        cost: sweep_cost(results),
        facts: sweep_provenance(command, results),
    }
}

/// The points with the smallest and the largest test error, and how many
/// diverged, in one or two sentences.
fn finding(groups: &[SeedGroup]) -> String {
    let errors: Vec<(&SeedGroup, f64)> = groups
        .iter()
        .filter_map(|group| Some((group, group.median(TrainedPoint::test_error)?)))
        .collect();
    let seeds = if groups.iter().any(|group| group.runs.len() > 1) {
        ", median over seeds"
    } else {
        ""
    };
    let words = |&(group, error): &(&SeedGroup, f64)| format!("{} ({:.2} %{seeds})", label(group), 100.0 * error);
    let by_error = |one: &&(&SeedGroup, f64), other: &&(&SeedGroup, f64)| one.1.total_cmp(&other.1);
    let best = errors.iter().min_by(by_error).map(words);
    let worst = errors.iter().max_by(by_error).filter(|_| errors.len() > 1).map(words);
    let diverged = groups.iter().filter(|group| diverged(group).is_some()).count();
    let mut text = match (best, worst) {
        (Some(best), Some(worst)) => format!("The smallest test error has {best}, the largest {worst}."),
        (Some(best), None) => format!("The only point with a test error is {best}."),
        _ => String::new(),
    };
    if diverged > 0 {
        text.push_str(&format!(" Of {} points, {diverged} diverged.", groups.len()));
    }
    text.trim().to_string()
}

/// What the runs of a sweep cost, in one sentence.
pub fn sweep_cost(results: &[TrainedPoint]) -> String {
    let seconds: f64 = results.iter().map(TrainedPoint::seconds).sum();
    let adapters: BTreeSet<&str> = results.iter().map(|run| run.adapter.as_str()).collect();
    let adapters: Vec<&str> = adapters.into_iter().collect();
    format!(
        "{} {} trained for {seconds:.0} s on {}.",
        results.len(),
        if results.len() == 1 { "run" } else { "runs" },
        adapters.join("; ")
    )
}

/// Where the results of a sweep come from: pairs of a name and a value. Values
/// that differ between runs are listed in the order of the runs.
pub fn sweep_provenance(command: &str, results: &[TrainedPoint]) -> Vec<(String, String)> {
    let listed = |of: &dyn Fn(&TrainedPoint) -> String| {
        let mut seen: Vec<String> = Vec::new();
        for value in results.iter().map(of) {
            if !seen.contains(&value) {
                seen.push(value);
            }
        }
        seen.join("; ")
    };
    let images = |run: &TrainedPoint| format!("{} training, {} test", run.sizes.train_images, run.sizes.test_images);
    let fact = |name: &str, value: String| (name.to_string(), value);
    vec![
        fact("command", command.to_string()),
        fact("model", listed(&|run| run.point.config.model_name())),
        fact("data", listed(&|run| run.point.config.data.clone())),
        fact("images", listed(&images)),
        fact("adapter", listed(&|run| run.adapter.clone())),
        fact("seed", listed(&|run| run.point.config.seed.to_string())),
        fact("version", env!("CARGO_PKG_VERSION").to_string()),
    ]
}

/// The results as one JSON object: every run, every group, and the adapters.
pub fn sweep_json(results: &[TrainedPoint]) -> Value {
    let adapters: BTreeSet<&str> = results.iter().map(|run| run.adapter.as_str()).collect();
    json!({
        "points": results.iter().map(run_json).collect::<Vec<Value>>(),
        "groups": groups(results).iter().map(group_json).collect::<Vec<Value>>(),
        "adapter": adapters.into_iter().collect::<Vec<_>>().join("; "),
    })
}

/// `object` without the keys whose value does not exist, but with `diverged`: a
/// run that diverged has no error and no loss.
fn existing(mut object: Value) -> Value {
    if let Value::Object(object) = &mut object {
        object.retain(|key, value| !value.is_null() || key == "diverged");
    }
    object
}

/// The runs beside published errors, as a table; `None` where nothing is published.
pub fn published_table(results: &[TrainedPoint]) -> Option<Table> {
    let compared = results
        .iter()
        .filter_map(|run| Some((run.point.name.clone(), published(run)?)));
    comparison_table(&compared.collect::<Vec<_>>())
}

/// What is published for the network of a run on its images.
fn published(run: &TrainedPoint) -> Option<Comparison> {
    run.test_error()?;
    Comparison::of_run(&RunDirectory::open(&run.run).ok()?)
}

fn run_json(run: &TrainedPoint) -> Value {
    existing(json!({
        "name": run.point.name,
        "values": values_json(&run.point.values),
        "run": run.run,
        "model": run.point.config.model_name(),
        "seed": run.point.config.seed,
        "parameters": run.sizes.parameters,
        "macs": run.sizes.macs,
        "epochs": run.epochs.len(),
        "test_error": run.test_error(),
        "best_test_error": run.best_test_error(),
        "test_loss": run.test_loss(),
        "train_error": run.train_error(),
        "train_loss": run.train_loss(),
        "images_per_second": run.images_per_second(),
        "seconds": run.seconds(),
        "diverged": run.diverged,
        "published": published(run).map(|published| published.json()),
    }))
}

/// A group as a JSON object: its values, and median and range over its seeds.
fn group_json(group: &SeedGroup) -> Value {
    let range = |range: Option<MedianRange>| {
        range.map(|range| json!({ "median": range.median, "least": range.least, "most": range.most }))
    };
    existing(json!({
        "values": values_json(&group.values),
        "runs": group.runs.len(),
        "test_error": range(group.median_range(TrainedPoint::test_error)),
        "best_test_error": range(group.median_range(TrainedPoint::best_test_error)),
    }))
}

fn values_json(values: &[(String, String)]) -> Value {
    let pair = |(key, value): &(String, String)| (key.clone(), Value::String(value.clone()));
    Value::Object(values.iter().map(pair).collect::<Map<String, Value>>())
}

/// The keys of the groups' values, in their order.
fn keys<'a>(groups: &'a [SeedGroup]) -> Vec<&'a str> {
    let first = groups.first().map(|group| &group.values[..]).unwrap_or_default();
    first.iter().map(|(key, _)| key.as_str()).collect()
}

/// The keys with more than one value.
fn varying<'a>(groups: &[SeedGroup], keys: &[&'a str]) -> Vec<&'a str> {
    let varies = |key: &&&str| distinct(groups, key).len() > 1;
    keys.iter().filter(varies).copied().collect()
}

/// The different values of a setting, in the order of the sweep.
fn distinct(groups: &[SeedGroup], key: &str) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for value in groups.iter().filter_map(|group| group.value(key)) {
        if !seen.iter().any(|other| other == value) {
            seen.push(value.to_string());
        }
    }
    seen
}

fn has_seeds(results: &[TrainedPoint]) -> bool {
    results
        .iter()
        .any(|run| run.point.values.iter().any(|(key, _)| key == SEED))
}

/// A number, or null if there is none.
fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Null, number_or_word)
}

fn points_table(groups: &[SeedGroup], keys: &[&str], aggregated: bool) -> Table {
    let mut columns: Vec<Column> = keys.iter().map(|key| Column::plain(key, key)).collect();
    columns.push(Column::plain("parameters", "parameters"));
    columns.push(Column::number("macs", "MMAC per image", 1));
    if aggregated {
        columns.push(Column::plain("runs", "seeds"));
    }
    if let Some(macs) = columns.iter_mut().find(|column| column.key == "macs") {
        macs.factor = 1e-6;
    }
    columns.push(Column::percent("test_error", "test error (%)"));
    if aggregated {
        columns.push(Column::percent("test_error_least", "smallest test error (%)"));
        columns.push(Column::percent("test_error_most", "largest test error (%)"));
    }
    columns.push(Column::percent("best_test_error", "test error of the best epoch (%)"));
    columns.push(Column::percent("train_error", "training error (%)"));
    columns.push(Column::number("images_per_second", "images/s", 0));
    columns.push(Column::number("seconds", "seconds", 0));
    let diverged = groups.iter().any(|group| diverged(group).is_some());
    if diverged {
        columns.push(Column::plain("diverged", "diverged"));
    }
    let row = |group: &SeedGroup| {
        let sizes = group.runs[0].sizes;
        let mut row: Vec<Value> = keys
            .iter()
            .map(|key| json!(group.value(key).unwrap_or_default()))
            .collect();
        row.extend([json!(sizes.parameters), json!(sizes.macs)]);
        if aggregated {
            row.push(json!(group.runs.len()));
        }
        let error = group.median_range(TrainedPoint::test_error);
        row.push(number(error.map(|error| error.median)));
        if aggregated {
            row.push(number(error.map(|error| error.least)));
            row.push(number(error.map(|error| error.most)));
        }
        row.push(number(group.median(TrainedPoint::best_test_error)));
        row.push(number(group.median(TrainedPoint::train_error)));
        row.push(number(group.median(TrainedPoint::images_per_second)));
        row.push(number(group.median(|run| Some(run.seconds()))));
        if diverged {
            row.push(json!(self::diverged(group)));
        }
        row
    };
    let title = match aggregated {
        true => "Every point after its last epoch: the median over its seeds, and the range of the test error",
        false => "Every point after its last epoch",
    };
    Table {
        name: "points".into(),
        title: title.into(),
        rows: groups.iter().map(row).collect(),
        columns,
        file_only: false,
    }
}

/// The steps at which runs of a group diverged, in words; `None` if none did.
fn diverged(group: &SeedGroup) -> Option<String> {
    let steps: Vec<u32> = group.runs.iter().filter_map(|run| run.diverged).collect();
    let steps = (!steps.is_empty()).then_some(steps)?;
    let listed: Vec<String> = steps.iter().map(u32::to_string).collect();
    Some(format!("at step {}", listed.join(", ")))
}

/// Every run on its own, for readers who aggregate in another way.
fn runs_table(results: &[TrainedPoint]) -> Table {
    let values = results.first().map(|run| &run.point.values[..]).unwrap_or_default();
    let mut columns: Vec<Column> = values.iter().map(|(key, _)| Column::plain(key, key)).collect();
    columns.extend([
        Column::percent("test_error", "test error (%)"),
        Column::percent("best_test_error", "test error of the best epoch (%)"),
        Column::number("test_loss", "test loss (nats)", 4),
        Column::percent("train_error", "training error (%)"),
        Column::number("train_loss", "training loss (nats)", 4),
        Column::number("images_per_second", "images/s", 0),
        Column::number("seconds", "seconds", 0),
    ]);
    let row = |run: &TrainedPoint| {
        let mut row: Vec<Value> = run.point.values.iter().map(|(_, value)| json!(value)).collect();
        row.extend([
            number(run.test_error()),
            number(run.best_test_error()),
            number(run.test_loss()),
            number(run.train_error()),
            number(run.train_loss()),
            number(run.images_per_second()),
            json!(run.seconds()),
        ]);
        row
    };
    Table {
        name: "runs".into(),
        title: "Every run on its own".into(),
        rows: results.iter().map(row).collect(),
        columns,
        file_only: true,
    }
}

/// The name of a group in a figure.
fn label(group: &SeedGroup) -> String {
    match group.values.is_empty() {
        true => "all runs".to_string(),
        false => describe(&group.values),
    }
}

/// Test error by epoch, a line per group: median and range if the group has
/// several seeds.
pub fn curves_figure(name: &str, title: &str, groups: &[SeedGroup]) -> Figure {
    let line = |group: &SeedGroup| {
        let epochs = group.runs.iter().map(|run| run.epochs.len()).max().unwrap_or(0);
        let mark = |index: usize| {
            let error = group.median_range(|run| run.epochs.get(index).map(|row| 100.0 * row.test_error))?;
            let epoch = index + 1;
            let text = format!(
                "{}, epoch {epoch}: {}",
                label(group),
                error_words(error, group.runs.len())
            );
            let interval = (group.runs.len() > 1).then_some((error.least, error.most));
            Some(Mark {
                interval,
                ..Mark::new(epoch as f64, error.median, text)
            })
        };
        Layer::Line {
            label: label(group),
            marks: (0..epochs).filter_map(mark).collect(),
        }
    };
    let mut runs = groups.iter().flat_map(|group| &group.runs);
    let (images, error) = match runs.any(|run| run.test.is_some()) {
        true => (
            "validation images of the runs that have some, else on the test images,",
            "error (%)",
        ),
        false => ("test images", "test error (%)"),
    };
    Figure {
        name: name.to_string(),
        title: title.to_string(),
        caption: match groups.iter().any(|group| group.runs.len() > 1) {
            true => format!("Error on the {images} after every epoch: the median over the seeds, with their range."),
            false => format!("Error on the {images} after every epoch."),
        },
        emphasis: String::new(),
        x: Axis::linear("epoch"),
        y: Axis::linear(error),
        layers: groups.iter().map(line).collect(),
    }
}

/// An error in words, in per cent: "12.34 %", or with its range.
fn error_words(error: MedianRange, runs: usize) -> String {
    match runs {
        1 => format!("{:.2} %", error.median),
        _ => format!("{:.2} % ({:.2} to {:.2} %)", error.median, error.least, error.most),
    }
}

/// Test error by point: medians, and every run if there are several seeds.
fn points_figure(groups: &[SeedGroup], aggregated: bool) -> Figure {
    let mut medians = Vec::new();
    let mut runs = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let place = index as f64 + 1.0;
        for run in &group.runs {
            if let Some(error) = run.test_error() {
                let text = format!("{}: {:.2} %", describe(&run.point.values), 100.0 * error);
                runs.push(Mark::new(place, 100.0 * error, text));
            }
        }
        if let Some(error) = group.median_range(|run| run.test_error().map(|error| 100.0 * error)) {
            let text = format!("{}: {}", label(group), error_words(error, group.runs.len()));
            let interval = (group.runs.len() > 1).then_some((error.least, error.most));
            medians.push(Mark {
                interval,
                ..Mark::new(place, error.median, text)
            });
        }
    }
    let mut layers = Vec::new();
    if aggregated {
        layers.push(Layer::Points {
            label: "a run".into(),
            marks: runs,
        });
    }
    layers.push(Layer::Points {
        label: if aggregated {
            "median over seeds"
        } else {
            "after the last epoch"
        }
        .into(),
        marks: medians,
    });
    Figure {
        name: "points".into(),
        title: "Test error by point".into(),
        caption: "Error on the test images after the last epoch. Points that diverged are left out.".into(),
        emphasis: String::new(),
        x: Axis::named("point", groups.iter().map(label).collect()),
        y: Axis::linear("test error (%)"),
        layers,
    }
}

/// The cells of a matrix. `error` returns the test error (a fraction) for a
/// column and a row.
pub fn heat_cells(columns: &[String], rows: &[String], error: impl Fn(&str, &str) -> Option<f64>) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (y, row) in rows.iter().enumerate() {
        for (x, column) in columns.iter().enumerate() {
            let value = error(column, row).map(|error| 100.0 * error);
            let number = value.map_or_else(|| "no result".to_string(), |value| format!("{value:.2} %"));
            cells.push(Cell {
                x: x + 1,
                y: y + 1,
                value,
                text: format!("{column}, {row}: {number}"),
            });
        }
    }
    cells
}

/// Test error by two settings, as a heat map.
pub fn heat_figure(name: &str, title: &str, x: Axis, y: Axis, cells: Vec<Cell>) -> Figure {
    Figure {
        name: name.to_string(),
        title: title.to_string(),
        caption: "Error on the test images after the last epoch; the median if there are several seeds.".into(),
        emphasis: String::new(),
        x,
        y,
        layers: vec![Layer::Heat {
            label: "test error (%)".into(),
            signed: false,
            cells,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::trained;
    use super::*;

    fn table(report: &Report) -> &Table {
        match report.items.iter().find(|item| matches!(item, Item::Table(_))) {
            Some(Item::Table(table)) => table,
            _ => panic!("a report has a table"),
        }
    }

    fn figures(report: &Report) -> Vec<&Figure> {
        let mut figures = Vec::new();
        for item in &report.items {
            if let Item::Figure(figure) = item {
                figures.push(figure);
            }
        }
        figures
    }

    #[test]
    fn seeds_are_aggregated_to_median_and_range() {
        let run = |lr: &str, seed: &str, error: f64| trained(&[("lr", lr), ("seed", seed)], &[0.9, error]);
        let results = [
            run("0.1", "0", 0.4),
            run("0.1", "1", 0.2),
            run("0.1", "2", 0.3),
            run("0.2", "0", 0.5),
        ];
        let report = sweep_report("tools sweep", &results);
        let table = table(&report);
        let keys: Vec<&str> = table.columns.iter().map(|column| column.key.as_str()).collect();
        assert_eq!(
            keys[..6],
            ["lr", "parameters", "macs", "runs", "test_error", "test_error_least"]
        );
        assert_eq!(table.rows.len(), 2);
        assert_eq!(table.rows[0][3..7], [json!(3), json!(0.3), json!(0.2), json!(0.4)]);
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
        assert_eq!(figures(&report).len(), 2);
        let Layer::Line { marks, .. } = &figures(&report)[1].layers[0] else {
            panic!("curves are lines");
        };
        assert_eq!((marks[1].y, marks[1].interval), (30.0, Some((20.0, 40.0))));
        let json = sweep_json(&results);
        assert_eq!(json["points"].as_array().unwrap().len(), 4);
        assert_eq!(json["groups"][0]["test_error"]["median"], 0.3);
        assert_eq!(json["points"][3]["values"]["lr"], "0.2");
    }

    #[test]
    fn two_settings_give_a_heat_map() {
        let run = |model: &str, lr: &str, error: f64| trained(&[("model", model), ("lr", lr)], &[error]);
        let results = [
            run("a", "0.1", 0.1),
            run("a", "0.2", 0.2),
            run("b", "0.1", 0.3),
            run("b", "0.2", 0.4),
        ];
        let report = sweep_report("", &results);
        let heat = figures(&report)[1];
        assert_eq!(
            report.finding,
            "The smallest test error has a, lr 0.1 (10.00 %), the largest b, lr 0.2 (40.00 %)."
        );
        assert_eq!(
            (&heat.x.names, &heat.y.names),
            (&vec!["a".into(), "b".into()], &vec!["0.1".into(), "0.2".into()])
        );
        let Layer::Heat { cells, .. } = &heat.layers[0] else {
            panic!("a matrix is shown as colour");
        };
        assert_eq!((cells[1].x, cells[1].y, cells[1].value), (2, 1, Some(30.0)));
        assert_eq!(cells[1].text, "b, 0.1: 30.00 %");
    }

    #[test]
    fn a_run_that_diverged_is_marked() {
        let mut results = [trained(&[("lr", "0.1")], &[0.1]), trained(&[("lr", "9")], &[])];
        results[1].diverged = Some(3);
        let report = sweep_report("", &results);
        let rows = &table(&report).rows;
        assert_eq!(rows[1].last(), Some(&json!("at step 3")));
        assert_eq!(rows[0].last(), Some(&Value::Null));
        assert!(
            report.finding.ends_with("Of 2 points, 1 diverged."),
            "{}",
            report.finding
        );
        assert_eq!(sweep_json(&results)["points"][1]["test_error"], Value::Null);
    }
}
