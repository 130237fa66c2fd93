//! How does stochastic depth change the error, the speed and the gradients of
//! a network? (Huang, Sun, Liu, Sedra and Weinberger 2016, arXiv:1603.09382)
//!
//! The study shows the error by the survival probability p_L of the last
//! block, by the rule for the other blocks and by the network's depth; the
//! speed of training; and the gradient that reaches the first convolution.
//! Constant depth is p_L = 1 under any rule.

use serde_json::{Value, json};

use super::error::StudyError;
use super::file_name::file_name;
use super::sweep::{
    SEED, SeedGroup, SweepPoint, TrainedPoint, curves_figure, groups, heat_cells, heat_figure, median_range,
    published_table, sweep_cost, sweep_json, sweep_provenance,
};
use crate::report::{Axis, Column, Figure, Item, Layer, Mark, Report, Table, number_or_word};
use crate::train::{Config, DepthRule, RunDirectory};

/// What the study varies.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthGrid {
    /// Models: the first with every rule, the others with the first rule.
    pub models: Vec<String>,
    /// Survival probabilities of the last block, above 0 and at most 1.
    pub survivals: Vec<f64>,
    /// Rules for the survival probabilities of the other blocks.
    pub rules: Vec<DepthRule>,
    /// Seeds to aggregate over. If there are none, the configuration's seed.
    pub seeds: Vec<u64>,
}

/// The points of the study: each model at constant depth and with every
/// survival probability. All other settings are those of `base`. All runs log
/// their gradients.
///
/// # Errors
/// Where there is no rule, a probability is out of range, or `base` varies the
/// depth itself.
pub fn depth_points(base: &Config, grid: &DepthGrid) -> Result<Vec<SweepPoint>, StudyError> {
    let sampled = base.sample_blocks.map(|blocks| ("sample-blocks", blocks.to_string()));
    let stochastic = base.stochastic_depth.map(|p| ("stochastic-depth", p.to_string()));
    if let Some((setting, value)) = stochastic.or(sampled) {
        let problem = "the study varies the depth itself; give survival probabilities and rules instead";
        return Err(StudyError::value(setting, format!("{value}: {problem}")));
    }
    if let Some(p) = grid.survivals.iter().find(|&&p| !(p > 0.0 && p <= 1.0)) {
        let problem = format!("{p} is not a probability above 0, at most 1");
        return Err(StudyError::value("survivals", problem));
    }
    let Some(&first_rule) = grid.rules.first() else {
        return Err(StudyError::value("rules", "is empty; use linear, uniform or both"));
    };
    let seeds = match grid.seeds.is_empty() {
        true => vec![None],
        false => grid.seeds.iter().copied().map(Some).collect(),
    };
    let mut points: Vec<SweepPoint> = Vec::new();
    for (index, model) in grid.models.iter().enumerate() {
        let rules = if index == 0 { &grid.rules[..] } else { &[first_rule] };
        let stochastic = grid.survivals.iter().filter(|&&p| p < 1.0);
        let stochastic = rules
            .iter()
            .flat_map(|rule| stochastic.clone().map(move |&p| Some((p, *rule))));
        for depth in std::iter::once(None).chain(stochastic) {
            for &seed in &seeds {
                let point = depth_point(base, model, depth, seed);
                // A point that is listed twice is trained once.
                if !points.contains(&point) {
                    points.push(point);
                }
            }
        }
    }
    Ok(points)
}

fn depth_point(base: &Config, model: &str, depth: Option<(f64, DepthRule)>, seed: Option<u64>) -> SweepPoint {
    let pair = |key: &str, value: String| (key.to_string(), value);
    let (p, rule) = match depth {
        Some((p, rule)) => (p, rule.to_string()),
        None => (1.0, "constant".to_string()),
    };
    let mut values = vec![
        pair("model", model.to_string()),
        pair("rule", rule),
        pair("p-last", p.to_string()),
    ];
    values.extend(seed.map(|seed| pair(SEED, seed.to_string())));
    let config = Config {
        model: model.to_string(),
        stochastic_depth: depth.map(|(p, _)| p),
        depth_rule: depth.map(|(_, rule)| rule).unwrap_or_default(),
        seed: seed.unwrap_or(base.seed),
        log_gradients: true,
        ..base.clone()
    };
    SweepPoint::new(values, config)
}

/// The results of the study.
#[derive(Debug)]
pub struct DepthStudy<'a> {
    results: &'a [TrainedPoint],
    conditions: Vec<Condition<'a>>,
}

/// One model with one survival probability and rule, for all seeds.
#[derive(Debug)]
struct Condition<'a> {
    group: SeedGroup<'a>,
    model: String,
    /// Survival probability and rule; `None` at constant depth.
    depth: Option<(f64, DepthRule)>,
    blocks: usize,
    /// Mean absolute gradient of the first convolution by epoch, the median
    /// over the seeds.
    gradients: Vec<f64>,
}

impl<'a> DepthStudy<'a> {
    /// Reads the gradients of the runs in `results`.
    ///
    /// # Errors
    /// Where a run's gradients cannot be read.
    pub fn new(results: &'a [TrainedPoint]) -> Result<Self, StudyError> {
        let conditions = groups(results)
            .into_iter()
            .map(Condition::new)
            .collect::<Result<_, _>>()?;
        Ok(DepthStudy { results, conditions })
    }

    /// Names of the models, in their order.
    fn models(&self) -> Vec<String> {
        let mut models: Vec<String> = self
            .conditions
            .iter()
            .map(|condition| condition.model.clone())
            .collect();
        models.dedup();
        models
    }

    fn of_model<'b>(&'b self, model: &'b str) -> impl Iterator<Item = &'b Condition<'a>> {
        self.conditions.iter().filter(move |condition| condition.model == model)
    }

    /// Training speed relative to constant depth.
    fn speed(&self, condition: &Condition) -> Option<f64> {
        let constant = self
            .of_model(&condition.model)
            .find(|condition| condition.depth.is_none())?;
        let speed = |condition: &Condition| condition.group.median(TrainedPoint::images_per_second);
        Some(speed(condition)? / speed(constant).filter(|&speed| speed > 0.0)?)
    }

    /// The report. `command` is the command line of the program.
    pub fn report(&self, command: &str) -> Report {
        let models = self.models();
        let mut items = vec![
            Item::heading("Error and speed"),
            Item::Text {
                text: "In every mini-batch, block l of L runs with probability p_l; otherwise it is replaced by its \
                       shortcut. Linear rule: p_l = 1 − (l/L)(1 − p_L). Uniform rule: p_l = p_L. In evaluation all \
                       blocks run, and their branches are scaled by p_l. Constant depth is p_L = 1."
                    .into(),
            },
            Item::Table(self.table()),
        ];
        items.extend(published_table(self.results).map(Item::Table));
        if let Some(first) = models.first() {
            items.extend(self.rules_figure(first).map(Item::Figure));
        }
        if models.len() > 1 {
            items.push(Item::Figure(self.models_figure(&models)));
        }
        for model in &models {
            items.push(Item::heading(format!("Epochs of {model}")));
            items.push(Item::Figure(self.curves(model)));
            items.push(Item::Figure(self.gradients_figure(model)));
        }
        Report {
            title: format!("Stochastic depth: {}", models.join(", ")),
            finding: models
                .iter()
                .filter_map(|model| self.finding(model))
                .collect::<Vec<_>>()
                .join(" "),
            items,
            cost: sweep_cost(self.results),
            facts: sweep_provenance(command, self.results),
        }
    }

    /// What stochastic depth changes in `model`, in one sentence: the depth with
    /// the smallest test error, its speed, and the error of constant depth.
    fn finding(&self, model: &str) -> Option<String> {
        let error = |condition: &Condition| condition.group.median(TrainedPoint::test_error);
        let constant = self.of_model(model).find(|condition| condition.depth.is_none())?;
        let stochastic = self.of_model(model).filter(|condition| condition.depth.is_some());
        let with_error = stochastic.filter_map(|condition| Some((condition, error(condition)?)));
        let (best, smallest) = with_error.min_by(|one, other| one.1.total_cmp(&other.1))?;
        let speed = self
            .speed(best)
            .map_or_else(String::new, |speed| format!(", and trains {speed:.2} times as fast"));
        let beside = error(constant).map_or_else(
            || "constant depth diverged".to_string(),
            |error| format!("constant depth has {:.2} %", 100.0 * error),
        );
        Some(format!(
            "{model} with stochastic depth has a test error of {:.2} % at best ({}){speed}; {beside}.",
            100.0 * smallest,
            best.label()
        ))
    }

    /// The results as one JSON object: that of a sweep, where each group also has
    /// its depth, speed and gradients.
    pub fn json(&self) -> Value {
        let mut json = sweep_json(self.results);
        let groups = json.get_mut("groups").and_then(Value::as_array_mut);
        for (group, condition) in groups.into_iter().flatten().zip(&self.conditions) {
            group["blocks"] = json!(condition.blocks);
            group["expected_depth"] = json!(condition.expected_depth());
            group["relative_speed"] = json!(self.speed(condition));
            group["mean_abs_gradients"] = json!(condition.gradients);
        }
        json
    }

    fn table(&self) -> Table {
        let aggregated = self.conditions.iter().any(|condition| condition.group.runs.len() > 1);
        let mut columns = vec![
            Column::plain("model", "model"),
            Column::plain("rule", "rule"),
            Column::number("p_last", "p_L", 2),
            Column::plain("blocks", "blocks"),
            Column::number("expected_depth", "expected depth (blocks)", 2),
            Column::number("images_per_second", "images/s", 0),
            Column::number("relative_speed", "relative speed", 2),
            Column::percent("test_error", "test error (%)"),
        ];
        if aggregated {
            columns.push(Column::percent("test_error_least", "smallest test error (%)"));
            columns.push(Column::percent("test_error_most", "largest test error (%)"));
        }
        columns.push(Column::percent("best_test_error", "test error of the best epoch (%)"));
        columns.push(Column::percent("train_error", "training error (%)"));
        let number = |value: Option<f64>| value.map_or(Value::Null, number_or_word);
        let row = |condition: &Condition| {
            let error = condition.group.median_range(TrainedPoint::test_error);
            let mut row = vec![
                json!(condition.model),
                json!(condition.rule()),
                json!(condition.p_last()),
                json!(condition.blocks),
                json!(condition.expected_depth()),
                number(condition.group.median(TrainedPoint::images_per_second)),
                number(self.speed(condition)),
                number(error.map(|error| error.median)),
            ];
            if aggregated {
                row.push(number(error.map(|error| error.least)));
                row.push(number(error.map(|error| error.most)));
            }
            row.push(number(condition.group.median(TrainedPoint::best_test_error)));
            row.push(number(condition.group.median(TrainedPoint::train_error)));
            row
        };
        Table {
            name: "depths".into(),
            title: "Expected depth, speed (relative to constant depth) and errors after the last epoch".into(),
            rows: self.conditions.iter().map(row).collect(),
            columns,
            file_only: false,
        }
    }

    /// Test error of a model for p_L = `p` under `rule`. All rules with p_L = 1
    /// are constant depth.
    fn error(&self, model: &str, p: f64, rule: DepthRule) -> Option<f64> {
        let wanted = (p < 1.0).then_some((p, rule));
        let condition = self.of_model(model).find(|condition| condition.depth == wanted)?;
        condition.group.median(TrainedPoint::test_error)
    }

    /// The survival probabilities of the study in ascending order, including 1.
    fn survivals(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.conditions.iter().map(Condition::p_last).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }

    /// The rules of a model, in the order of the study.
    fn rules(&self, model: &str) -> Vec<DepthRule> {
        let mut rules: Vec<DepthRule> = Vec::new();
        for (_, rule) in self.of_model(model).filter_map(|condition| condition.depth) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        rules
    }

    /// Error by probability and rule; `None` unless the model has two rules.
    fn rules_figure(&self, model: &str) -> Option<Figure> {
        let rules = self.rules(model);
        if rules.len() < 2 {
            return None;
        }
        let names: Vec<String> = rules.iter().map(DepthRule::to_string).collect();
        let title = format!("{model}: test error by p_L and rule");
        Some(self.heat("heat-rules", &title, "rule", &names, |row, p| {
            self.error(model, p, rules[row])
        }))
    }

    /// Error by probability and model, under the rule that all models have.
    fn models_figure(&self, models: &[String]) -> Figure {
        let rule = models
            .first()
            .and_then(|model| self.rules(model).first().copied())
            .unwrap_or_default();
        let title = format!("Test error by p_L and model, {rule} rule");
        self.heat("heat-models", &title, "model", models, |row, p| {
            self.error(&models[row], p, rule)
        })
    }

    fn heat(
        &self,
        name: &str,
        title: &str,
        label: &str,
        rows: &[String],
        error: impl Fn(usize, f64) -> Option<f64>,
    ) -> Figure {
        let survivals = self.survivals();
        let columns: Vec<String> = survivals.iter().map(f64::to_string).collect();
        let cells = heat_cells(&columns, rows, |column, row| {
            let place = |names: &[String], name: &str| names.iter().position(|other| other == name);
            error(place(rows, row)?, survivals[place(&columns, column)?])
        });
        let (x, y) = (Axis::named("p_L", columns), Axis::named(label, rows.to_vec()));
        heat_figure(name, title, x, y, cells)
    }

    fn curves(&self, model: &str) -> Figure {
        let groups: Vec<SeedGroup> = self.of_model(model).map(|condition| condition.group.clone()).collect();
        let name = format!("curves-{}", file_name(model));
        curves_figure(&name, &format!("{model}: test error by epoch"), &groups)
    }

    fn gradients_figure(&self, model: &str) -> Figure {
        let line = |condition: &Condition| {
            let mark = |(index, &gradient): (usize, &f64)| {
                let text = format!("{}, epoch {}: {gradient:.3e}", condition.label(), index + 1);
                Mark::new(index as f64 + 1.0, gradient, text)
            };
            Layer::Line {
                label: condition.label(),
                marks: condition.gradients.iter().enumerate().map(mark).collect(),
            }
        };
        Figure {
            name: format!("gradients-{}", file_name(model)),
            title: format!("{model}: gradient of the first convolution by epoch"),
            caption:
                "Mean absolute value of the weight gradient of the first convolution, averaged over up to 16 evenly \
                      spaced steps of each epoch. The gradient reaches this layer through all blocks."
                    .into(),
            emphasis: String::new(),
            x: Axis::linear("epoch"),
            y: Axis::log("mean |gradient|"),
            layers: self.of_model(model).map(line).collect(),
        }
    }
}

impl<'a> Condition<'a> {
    fn new(group: SeedGroup<'a>) -> Result<Self, StudyError> {
        let first = group.runs[0];
        let of_runs: Vec<Vec<f64>> = group.runs.iter().map(|run| gradients(run)).collect::<Result<_, _>>()?;
        // A run that diverged has fewer epochs than the others.
        let epochs = of_runs.iter().map(Vec::len).max().unwrap_or(0);
        let median = |epoch: usize| median_range(of_runs.iter().filter_map(|run| run.get(epoch).copied()));
        Ok(Condition {
            model: first.point.config.model_name(),
            depth: first
                .point
                .config
                .stochastic_depth
                .map(|p| (p, first.point.config.depth_rule)),
            blocks: first.sizes.blocks,
            gradients: (0..epochs).filter_map(median).map(|range| range.median).collect(),
            group,
        })
    }

    fn p_last(&self) -> f64 {
        self.depth.map_or(1.0, |(p, _)| p)
    }

    fn rule(&self) -> String {
        self.depth
            .map_or_else(|| "constant".to_string(), |(_, rule)| rule.to_string())
    }

    /// The expected number of blocks that run in training.
    fn expected_depth(&self) -> f64 {
        let settings = self.group.runs[0].point.config.settings();
        settings.map_or(self.blocks as f64, |settings| settings.depth.expected(self.blocks))
    }

    fn label(&self) -> String {
        match self.depth {
            Some((p, rule)) => format!("{rule} to {p}"),
            None => "constant depth".to_string(),
        }
    }
}

/// The mean of a run's logged gradients in each epoch.
fn gradients(run: &TrainedPoint) -> Result<Vec<f64>, StudyError> {
    let rows = RunDirectory::open(&run.run)?.read_gradients()?;
    let per_epoch = run.sizes.steps_per_epoch.max(1);
    let mut sums = vec![(0.0, 0_u32); run.epochs.len()];
    for row in rows {
        let epoch = (row.step.saturating_sub(1) / per_epoch) as usize;
        // Leave out the rows of an unfinished epoch.
        if let Some((sum, count)) = sums.get_mut(epoch) {
            *sum += row.mean_abs;
            *count += 1;
        }
    }
    if let Some(epoch) = sums.iter().position(|&(_, count)| count == 0) {
        return Err(StudyError::File {
            path: run.run.join("gradients.csv"),
            problem: format!(
                "there is no row for epoch {}; remove the run to train it again",
                epoch + 1
            ),
        });
    }
    Ok(sums.into_iter().map(|(sum, count)| sum / f64::from(count)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::PointSizes;
    use crate::train::{EpochRow, GradientRow, MadeBy};

    fn grid() -> DepthGrid {
        DepthGrid {
            models: vec!["resnet110".into(), "resnet20".into()],
            survivals: vec![0.5, 1.0, 0.2, 0.5],
            rules: vec![DepthRule::Linear, DepthRule::Uniform],
            seeds: Vec::new(),
        }
    }

    #[test]
    fn constant_depth_is_always_included_once() {
        let points = depth_points(&Config::default(), &grid()).unwrap();
        let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "resnet110_p-last-1_rule-constant",
                "resnet110_p-last-0.5_rule-linear",
                "resnet110_p-last-0.2_rule-linear",
                "resnet110_p-last-0.5_rule-uniform",
                "resnet110_p-last-0.2_rule-uniform",
                "resnet20_p-last-1_rule-constant",
                "resnet20_p-last-0.5_rule-linear",
                "resnet20_p-last-0.2_rule-linear",
            ]
        );
        assert!(points.iter().all(|point| point.config.log_gradients));
        assert_eq!(points[0].config.stochastic_depth, None);
        assert_eq!(points[4].config.stochastic_depth, Some(0.2));
        let seeded = DepthGrid {
            seeds: vec![3, 4],
            ..grid()
        };
        assert_eq!(depth_points(&Config::default(), &seeded).unwrap().len(), 16);
    }

    #[test]
    fn invalid_studies_are_refused() {
        let wrong = |base: Config, grid: DepthGrid| depth_points(&base, &grid).unwrap_err().to_string();
        let with_p = |p: f64| DepthGrid {
            survivals: vec![p],
            ..grid()
        };
        assert!(wrong(Config::default(), with_p(0.0)).contains("survivals 0 "));
        assert!(wrong(Config::default(), with_p(f64::NAN)).contains("survivals NaN "));
        let sampled = Config {
            sample_blocks: Some(3),
            ..Config::default()
        };
        assert!(wrong(sampled, grid()).contains("sample blocks 3:"));
    }

    /// Invented results: error and speed are functions of the depth.
    fn results(folder: &std::path::Path) -> Vec<TrainedPoint> {
        let points = depth_points(&Config::default(), &grid()).unwrap();
        let result = |point: SweepPoint| {
            let p = point.config.stochastic_depth.unwrap_or(1.0);
            let run = folder.join(&point.name);
            let directory = RunDirectory::create(&run).unwrap();
            let made_by = MadeBy {
                version: String::new(),
                adapter: String::new(),
                extended: Vec::new(),
            };
            directory.write_config(&point.config, &made_by).unwrap();
            let row = |step: u32| GradientRow {
                step,
                mean_abs: f64::from(step) / p,
            };
            directory
                .write_gradients(&(1..=8).map(row).collect::<Vec<_>>())
                .unwrap();
            let epoch = |epoch: u32| EpochRow {
                epoch,
                train_loss: 1.0,
                train_error: 0.5,
                test_loss: 1.0,
                test_error: p / 10.0,
                lr: 0.1,
                images_per_second: 100.0 / p,
                seconds: 1.0,
                gradient_norm: None,
                loss_scale: None,
            };
            TrainedPoint {
                run,
                sizes: PointSizes {
                    parameters: 1,
                    macs: 1,
                    blocks: if point.config.model == "resnet110" { 54 } else { 9 },
                    train_images: 64,
                    test_images: 32,
                    steps_per_epoch: 4,
                },
                epochs: [1, 2].map(epoch).to_vec(),
                diverged: None,
                test: None,
                adapter: String::new(),
                point,
            }
        };
        points.into_iter().map(result).collect()
    }

    #[test]
    fn the_report_has_expected_depth_and_gradients_by_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let results = results(folder.path());
        let study = DepthStudy::new(&results).unwrap();
        assert!((study.conditions[1].expected_depth() - 40.25).abs() < 1e-9);
        assert_eq!(study.conditions[0].expected_depth(), 54.0);
        assert_eq!(study.speed(&study.conditions[1]), Some(2.0));
        assert_eq!(study.conditions[0].gradients, [2.5, 6.5]);
        assert_eq!(study.conditions[1].gradients, [5.0, 13.0]);

        let report = study.report("tools stochastic-depth");
        let figures: Vec<&Figure> = report
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Figure(figure) => Some(figure),
                _ => None,
            })
            .collect();
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "heat-rules",
                "heat-models",
                "curves-resnet110",
                "gradients-resnet110",
                "curves-resnet20",
                "gradients-resnet20"
            ]
        );
        assert_eq!(figures[0].x.names, ["0.2", "0.5", "1"]);
        let Layer::Heat { cells, .. } = &figures[0].layers[0] else {
            panic!("a matrix is shown as colour");
        };
        // Constant depth is in both rows.
        let values: Vec<Option<f64>> = cells.iter().map(|cell| cell.value).collect();
        assert_eq!(values, [2.0, 5.0, 10.0, 2.0, 5.0, 10.0].map(Some));
        let json = study.json();
        assert_eq!(json["groups"][2]["mean_abs_gradients"], json!([12.5, 32.5]));
        assert_eq!(json["groups"].as_array().unwrap().len(), 8);

        // The error names a run whose gradients were removed.
        std::fs::remove_file(results[3].run.join("gradients.csv")).unwrap();
        let error = DepthStudy::new(&results).unwrap_err().to_string();
        assert!(
            error.contains(&results[3].point.name) && error.contains("epoch 1"),
            "{error}"
        );
    }
}
