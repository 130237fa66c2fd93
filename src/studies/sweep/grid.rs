//! Which points does a grid have?
//!
//! A grid is a list of settings with several values each. Its points are all
//! combinations. The last setting changes fastest.

use std::collections::HashMap;
use std::str::FromStr;

use crate::models::{ModelSpec, OPTIONS, shown_name};
use crate::shown::shown;
use crate::studies::error::StudyError;
use crate::studies::file_name::file_name;
use crate::train::Config;

/// Settings whose values contain commas.
const WITH_COMMAS: [&str; 5] = ["mean", "std", "schedule", "data", "init"];
/// The setting that results are aggregated over.
pub const SEED: &str = "seed";
/// The largest number of points.
const MOST_POINTS: usize = 10_000;

/// A setting and its values: `dropout=0,0.3`.
///
/// Commas outside parentheses separate values. If a value contains commas, use
/// `|` instead: `model=wrn-16-1|wrn-16-1:l=3,dropout=0.3`. Values of mean, std,
/// schedule, data and init are always separated by `|`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridSetting {
    /// A key of `run.toml`, or one of a model's options.
    pub key: String,
    /// Its values, in the order given.
    pub values: Vec<String>,
}

impl FromStr for GridSetting {
    type Err = StudyError;

    fn from_str(text: &str) -> Result<Self, StudyError> {
        let problem =
            |problem: &str| StudyError::value("grid", format!("{}: {problem}; write KEY=VALUE,VALUE", shown(text)));
        let (key, list) = text.split_once('=').ok_or_else(|| problem("it has no '='"))?;
        let key = key.trim().to_string();
        let values = match WITH_COMMAS.contains(&key.as_str()) {
            true => split(list, '|'),
            false => split_values(list),
        };
        if key.is_empty() || values.iter().any(String::is_empty) {
            return Err(problem("the key or a value is empty"));
        }
        if let Some(twice) = (1..values.len()).find(|&at| values[..at].contains(&values[at])) {
            return Err(problem(&format!("the value {} is given twice", shown(&values[twice]))));
        }
        Ok(GridSetting { key, values })
    }
}

/// The values of `list`. They are separated by `|` if it contains one, else by
/// commas outside parentheses.
pub fn split_values(list: &str) -> Vec<String> {
    split(list, if list.contains('|') { '|' } else { ',' })
}

/// Splits `list` at the separators outside parentheses.
fn split(list: &str, separator: char) -> Vec<String> {
    let mut open = 0_usize;
    let outside = |c: char| {
        match c {
            '(' => open += 1,
            ')' => open = open.saturating_sub(1),
            _ => {}
        }
        c == separator && open == 0
    };
    list.split(outside).map(|piece| piece.trim().to_string()).collect()
}

/// One training run of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPoint {
    /// The name of its directory, made from the values.
    pub name: String,
    /// Keys and values of the settings that vary, in the order of the grid.
    pub values: Vec<(String, String)>,
    /// All settings.
    pub config: Config,
}

impl SweepPoint {
    /// The point with these settings.
    pub fn new(mut values: Vec<(String, String)>, config: Config) -> Self {
        for (_, model) in values.iter_mut().filter(|(key, _)| key == "model") {
            *model = shown_name(model);
        }
        SweepPoint {
            name: name_of(&values),
            values,
            config,
        }
    }
}

/// The points of a grid. All other settings are those of `base`.
///
/// # Errors
/// Where a key is not a setting, or a value is not valid for its setting.
pub fn grid_points(base: &Config, grid: &[GridSetting]) -> Result<Vec<SweepPoint>, StudyError> {
    let count = grid.iter().try_fold(1_usize, |product, setting| {
        let count = product.checked_mul(setting.values.len());
        count.filter(|&count| count <= MOST_POINTS)
    });
    if count.is_none() {
        let keys: Vec<&str> = grid.iter().map(|setting| setting.key.as_str()).collect();
        return Err(StudyError::value(
            "grid",
            format!("{}: more than {MOST_POINTS} points; give fewer values", keys.join(", ")),
        ));
    }
    if let Some(at) = (1..grid.len()).find(|&at| grid[..at].iter().any(|other| other.key == grid[at].key)) {
        return Err(StudyError::value(
            "grid",
            format!("{}: the key is given twice; give all its values together", grid[at].key),
        ));
    }
    let mut combinations: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for setting in grid {
        let extended = combinations.iter().flat_map(|earlier| {
            setting.values.iter().map(move |value| {
                let mut longer = earlier.clone();
                longer.push((setting.key.clone(), value.clone()));
                longer
            })
        });
        combinations = extended.collect();
    }
    let point = |values: Vec<(String, String)>| Ok(SweepPoint::new(values.clone(), with_all(base, &values)?));
    combinations.into_iter().map(point).collect()
}

/// Checks that all points differ, by settings and by name.
///
/// # Errors
/// For the first two points that do not.
pub fn distinct(points: &[SweepPoint]) -> Result<(), StudyError> {
    let mut names: HashMap<&str, &SweepPoint> = HashMap::new();
    for point in points {
        if let Some(other) = names.insert(&point.name, point) {
            return Err(StudyError::value(
                "grid",
                format!(
                    "{}: the directory {} would be shared with {}; sweep one of them separately, in another output \
                     directory",
                    describe(&point.values),
                    point.name,
                    describe(&other.values)
                ),
            ));
        }
    }
    // Compare settings by their text: `Config` has no hash, and comparing all
    // pairs of many points would take long.
    let mut seen: HashMap<String, &SweepPoint> = HashMap::new();
    for point in points {
        if let Some(other) = seen.insert(format!("{:?}", point.config), point) {
            return Err(StudyError::value(
                "grid",
                format!(
                    "{}: {} has the same settings; give one of them",
                    describe(&point.values),
                    describe(&other.values)
                ),
            ));
        }
    }
    Ok(())
}

/// Values in words: "resnet20, dropout 0.3, seed 1".
pub fn describe(values: &[(String, String)]) -> String {
    let word = |(key, value): &(String, String)| match key.as_str() {
        "model" => value.clone(),
        key => format!("{key} {value}"),
    };
    values.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// `base` with some settings changed. The model is changed first, because
/// options belong to it.
fn with_all(base: &Config, values: &[(String, String)]) -> Result<Config, StudyError> {
    let (models, others): (Vec<_>, Vec<_>) = values.iter().partition(|(key, _)| key == "model");
    let mut config = base.clone();
    for (key, value) in models.into_iter().chain(others) {
        config = with(&config, key, value)?;
    }
    Ok(config)
}

/// `base` with the setting `key` set to `value`.
fn with(base: &Config, key: &str, value: &str) -> Result<Config, StudyError> {
    if OPTIONS.contains(&key) {
        let model = base.model.parse::<ModelSpec>()?.with(key, value)?.text();
        return Ok(Config { model, ..base.clone() });
    }
    let problem = |problem: String| StudyError::value("grid", format!("{key}={value}: {problem}"));
    let mut rest = toml::Table::try_from(base).map_err(|error| problem(error.to_string()))?;
    rest.remove(key);
    if key == "epochs" {
        // As on the command line, a number of epochs replaces the number of
        // steps of a configuration file.
        rest.remove("steps");
    }
    let read = |value: toml::Value| {
        let mut table = rest.clone();
        table.insert(key.to_string(), value);
        table.try_into::<Config>()
    };
    // Try the value as a string first, so that strings need no quotes.
    let (mut config, string_error) = match read(toml::Value::String(value.to_string())) {
        Ok(config) => return Ok(absolute_init(config, key)),
        Err(error) => (None, error),
    };
    let literal = literal(value);
    let error = match literal.map(read) {
        Some(Ok(read)) => {
            config = Some(read);
            string_error
        }
        Some(Err(error)) => error,
        None => string_error,
    };
    // `none` removes a setting that may be absent. Whether the key is a setting
    // at all is tested with a number.
    if value == "none" && read(toml::Value::Integer(1)).is_ok() {
        let without: Option<Config> = rest.clone().try_into().ok();
        let absent = |config: &Config| toml::Table::try_from(config).is_ok_and(|table| !table.contains_key(key));
        config = without.filter(absent);
    }
    config.ok_or_else(|| {
        let options = OPTIONS.join("`, `");
        let hint = match error.message().contains("unknown field") {
            true => format!(", or of a model's options `{options}`"),
            false => String::new(),
        };
        problem(format!("{}{hint}", error.message()))
    })
}

/// `value` as a TOML number or boolean.
fn literal(value: &str) -> Option<toml::Value> {
    let integer = value.parse().ok().map(toml::Value::Integer);
    let float = || value.parse().ok().map(toml::Value::Float);
    let boolean = || value.parse().ok().map(toml::Value::Boolean);
    integer.or_else(float).or_else(boolean)
}

/// Makes the path of `init` absolute, as `residua train` does, so that it does
/// not depend on the working directory.
fn absolute_init(mut config: Config, key: &str) -> Config {
    if key == "init" {
        config.init = config.init.map(|path| std::path::absolute(&path).unwrap_or(path));
    }
    config
}

/// The name of the point with these values. It does not depend on the order of
/// the grid, and it is a valid file name on every system. It contains all keys
/// of the grid, including those with one value, so that a grid with more values
/// finds its old points again.
fn name_of(values: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = values.iter().collect();
    sorted.sort_by_key(|(key, _)| (key != "model", key.as_str()));
    let word = |(key, value): &&(String, String)| match key.as_str() {
        "model" => value.clone(),
        key => format!("{key}-{value}"),
    };
    let whole = sorted.iter().map(word).collect::<Vec<_>>().join("_");
    file_name(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(texts: &[&str]) -> Result<Vec<SweepPoint>, StudyError> {
        let settings: Result<Vec<GridSetting>, StudyError> = texts.iter().map(|text| text.parse()).collect();
        let points = grid_points(&Config::default(), &settings?)?;
        distinct(&points)?;
        Ok(points)
    }

    fn values(text: &str) -> Vec<String> {
        text.parse::<GridSetting>().unwrap().values
    }

    #[test]
    fn commas_separate_values_unless_a_value_contains_them() {
        assert_eq!(values("lr=0.1, 0.05"), ["0.1", "0.05"]);
        assert_eq!(values("block=B(1,3),B(3,3)"), ["B(1,3)", "B(3,3)"]);
        assert_eq!(
            values("model=wrn-16-1:l=3,dropout=0.3|resnet20"),
            ["wrn-16-1:l=3,dropout=0.3", "resnet20"]
        );
        assert_eq!(values("schedule=multi-step:60,120@0.2").len(), 1);
        assert_eq!(values("schedule=cosine|multi-step:60,120@0.2").len(), 2);
        assert_eq!(values("mean=0.5,0.5,0.5"), ["0.5,0.5,0.5"]);
        assert_eq!(values("data=synthetic:96,32"), ["synthetic:96,32"]);
    }

    #[test]
    fn points_are_all_combinations_and_the_last_setting_changes_fastest() {
        let points = grid(&["dropout=0,0.3", "model=wrn-16-1,wrn-40-2", "seed=0,1,2"]).unwrap();
        assert_eq!(points.len(), 12);
        assert_eq!(points[1].name, "wrn-16-1_dropout-0_seed-1");
        assert_eq!(points[11].name, "wrn-40-2_dropout-0.3_seed-2");
        assert_eq!(points[11].config.model, "wrn-40-2:dropout=0.3");
        assert_eq!(points[11].config.seed, 2);
        assert_eq!(describe(&points[1].values), "dropout 0, wrn-16-1, seed 1");
        // The name does not depend on the order of the grid.
        let reordered = grid(&["seed=0", "model=wrn-16-1", "dropout=0"]).unwrap();
        assert_eq!(reordered[0].name, points[0].name);
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let point = |text: &str| grid(&[text]).unwrap().remove(0).config;
        assert_eq!(point("lr=1").lr, 1.0);
        assert_eq!(point("lr=5e-2").lr, 0.05);
        assert!(point("nesterov=true,false").nesterov);
        assert_eq!(point("decay=weights").decay, crate::train::Decay::Weights);
        assert_eq!(point("augment=none").augment, "none");
        assert_eq!(point("mean=none").mean.as_deref(), Some("none"));
        assert_eq!(point("stochastic-depth=0.5,none").stochastic_depth, Some(0.5));
        assert_eq!(point("stochastic-depth=none,0.5").stochastic_depth, None);
        assert_eq!(point("limit-train=100").limit_train, Some(100));
        assert!(point("init=weights.pth").init.unwrap().is_absolute());
    }

    #[test]
    fn errors_of_grids_name_the_problem() {
        let wrong = |texts: &[&str]| {
            let error = grid(texts).unwrap_err();
            assert!(error.is_argument(), "{error}");
            error.to_string()
        };
        assert!(wrong(&["lr"]).contains("no '='"));
        assert!(wrong(&["=1"]).contains("empty"));
        assert!(wrong(&["lr=0.1,,0.2"]).contains("empty"));
        assert!(wrong(&["lr=0.1,0.1"]).contains("twice"));
        assert!(wrong(&["lr=0.1", "lr=0.2"]).contains("twice"));
        assert!(wrong(&["lr=0.1,0.10"]).contains("the same settings"));
        assert!(wrong(&["model=resnet20:shortcut=A,resnet20-shortcut=A"]).contains("shared"));
        assert!(wrong(&["lr=fast"]).contains("lr=fast"));
        assert!(wrong(&["lr=none"]).contains("lr=none"));
        assert!(wrong(&["seed=-1"]).contains("seed=-1"));
        assert!(wrong(&["epochs=1.5"]).contains("epochs=1.5"));
        let unknown = wrong(&["colour=none"]);
        assert!(
            unknown.contains("`weight-decay`") && unknown.contains("`dropout`"),
            "{unknown}"
        );
        assert!(wrong(&["dropout=2"]).contains('2'));
        let many = (0..101).map(|seed| seed.to_string()).collect::<Vec<_>>().join(",");
        let (seeds, warmups) = (format!("seed={many}"), format!("warmup={many}"));
        assert!(wrong(&[&seeds, &warmups]).contains("10000"));
    }

    #[test]
    fn names_are_file_names_on_every_system() {
        let long = format!("cifar10:/{}", "long/".repeat(60));
        let name = |value: &str| name_of(&[("data".into(), value.into())]);
        assert_eq!(name("cifar10:C:\\x y"), "data-cifar10-C--x-y");
        assert!(name(&long).len() < 140);
        assert_ne!(name(&long), name(&format!("{long}else")));
        assert!(name("cifar10:/ä/日本").is_ascii());
    }
}
