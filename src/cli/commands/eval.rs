//! `residua eval`: how well does a trained network classify test images?

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::require_output;
use crate::cli::{self, AdapterArgs, CliError, NetworkArgs};
use crate::data::{Corrupted, DataError, ImageSet, Source};
use crate::files::AtomicFile;
use crate::report::{Column, Item, Report, Table};
use crate::studies::{Baseline, Comparison, RobustnessFindings, SeverityError};
use crate::train::{
    CALIBRATION_BINS, ClassificationReport, ImageResult, Outcome, Split, TrainError, TrainedNetwork,
    TrainedNetworkOptions, absolute_data, evaluate_with_logits, probabilities, require_finite,
};

/// Classes that the table lists at most: where there are more, those with the
/// largest error.
const LISTED: usize = 20;

const AFTER_HELP: &str = "\
Prints the top-1 error and the mean loss, then the top-5 error (for more than 5 classes), the expected calibration \
error (15 bins of equal width, Guo et al. 2017), and the error by class. On all test images of CIFAR-10, CIFAR-100, SVHN or \
ImageNet the published errors of the same network stand beside its own, with a 95 % Wilson interval (`published` in \
--json). --json has the confusion matrix, too: \
`confusion` is a list of rows, one for each true class, with the number of images for each predicted class.

With --data cifar10-c:DIR also the error by corruption and severity, and the mean corruption error (Hendrycks and \
Dietterich 2019): the mean over the 15 corruptions of the paper, each the mean over its five severities. DIR@3 is severity 3 \
alone, DIR/fog one corruption. Where corruptions are missing, the mean is over those that are there, which is said.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Write what the network predicts for each image, as CSV: index from 0,
    /// label, predicted class, and the probability of each class [default: none]
    #[arg(long, value_name = "FILE.csv")]
    predictions: Option<PathBuf>,
    /// With CIFAR-10-C: also divide the error of each corruption by that of another
    /// network, whose results.json (or output with --json) of the same evaluation this
    /// is [default: none]
    #[arg(long, value_name = "RESULTS.json")]
    baseline: Option<PathBuf>,
    /// Directory for the results: report.html, report.md, results.json, and tables and
    /// figures (CSV, SVG, PNG) [default: none are written]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn eval(args: &Args) -> Result<String, CliError> {
    let begin = Instant::now();
    if let Some(path) = &args.predictions {
        require_output("--predictions", path, "csv")?;
    }
    let baseline = args.baseline.as_deref().map(Baseline::read).transpose()?;
    let _owner = cli::own_out(args.out.as_deref())?;
    let options = args.network.options(&args.adapter)?;
    let parts = args.parts(&options)?;
    if parts.is_empty() && baseline.is_some() {
        return Err(CliError::argument(
            "--baseline has no effect without images of CIFAR-10-C",
        ));
    }
    let mut network = match parts.first() {
        Some((source, share)) => {
            let options = options.data(source.to_string());
            cli::open_network(&share.map_or(options.clone(), |share| options.limit_test(share)))?
        }
        None => cli::open_network(&options)?,
    };
    cli::note(format_args!("{} on {}", network.model, network.engine.name()));
    let mut predictions = args
        .predictions
        .as_deref()
        .map(|path| Predictions::create(path, &network.test.images))
        .transpose()?;
    let mut report = ClassificationReport::new(network.test.images.classes());
    let (mut each, mut corruptions) = (Vec::new(), Vec::new());
    for number in 0..parts.len().max(1) {
        if let Some((source, share)) = parts.get(number).filter(|_| number > 0) {
            load_test(&mut network, source, *share)?;
        }
        let results = evaluate_all(&mut network, &mut report, &mut predictions, each.len())?;
        if let Some((source, _)) = parts.get(number) {
            let found = source.corruptions(results.len()).map_err(TrainError::from)?;
            corruptions.extend(found.into_iter().flatten().map(|part| severity_error(part, &results)));
        }
        each.extend(results);
    }
    if let Some(predictions) = predictions {
        predictions.0.finish()?;
    }
    if let (Some(data), false) = (&args.network.data, parts.is_empty()) {
        network.source = absolute_data(data);
    }
    let outcome = Outcome::new(each);
    let robustness = match corruptions.is_empty() {
        true => None,
        false => {
            let mut found = RobustnessFindings::new(network.label(), corruptions);
            baseline.map_or(Ok(()), |baseline| found.compare(baseline))?;
            Some(found)
        }
    };
    let (test, preparation) = (&network.test.images, &network.preparation);
    let beside = network
        .model
        .spec()
        .filter(|_| robustness.is_none())
        .and_then(|spec| Comparison::new(spec, network.depth, test, preparation, outcome.wrong));
    let mut results = json!({
        "images": outcome.images,
        "wrong": outcome.wrong,
        "error": outcome.error,
        "loss": outcome.loss,
        "top5_wrong": report.top5_wrong,
        "top5_error": report.top5_error(),
        "ece": report.ece(),
        "confusion": report.confusion,
        "model": network.model.to_string(),
        "weights": network.weights,
        "data": network.source,
        "adapter": network.engine.name(),
    });
    if let Some(beside) = &beside {
        results["published"] = beside.json();
    }
    if let (Some(results), Some(Value::Object(found))) = (
        results.as_object_mut(),
        robustness.as_ref().map(RobustnessFindings::json),
    ) {
        results.extend(found);
    }
    let summary = summary(&outcome, &report, beside.as_ref());
    let finding = robustness.as_ref().map(RobustnessFindings::finding);
    let mut items = robustness.as_ref().map_or_else(Vec::new, RobustnessFindings::items);
    items.push(Item::heading("Error by class"));
    items.push(Item::Table(by_class(&report, &test.class_names)));
    if args.out.is_some() {
        let mut facts = network.provenance(&cli::command_line(), network.seed)?;
        let images = facts.iter_mut().find(|(name, _)| name == "test images");
        images
            .into_iter()
            .for_each(|(_, value)| *value = outcome.images.to_string());
        let page = Report {
            title: format!("{} on {}", network.label(), network.source),
            finding: finding.clone().unwrap_or_else(|| summary[0].clone()),
            items: [summary.iter().map(Item::text).collect(), items.clone()].concat(),
            cost: cli::cost("", begin, &network),
            facts,
        };
        cli::deliver_as("results.json", &page, &results, args.out.as_deref(), args.json)?;
    }
    if args.json {
        return cli::json_line(&results);
    }
    let lines = summary.into_iter().chain(finding).map(|line| line + "\n");
    let table = Report {
        items: items
            .into_iter()
            .filter(|item| matches!(item, Item::Table(_)))
            .collect(),
        ..Report::default()
    };
    Ok(lines.collect::<String>() + "\n" + &table.text())
}

impl Args {
    /// The corruptions of CIFAR-10-C, each with its number of images: one is loaded at
    /// a time. None of other data.
    fn parts(&self, options: &TrainedNetworkOptions) -> Result<Vec<(Source, Option<usize>)>, CliError> {
        let Some(data) = &self.network.data else {
            return Ok(Vec::new());
        };
        let source: Source = absolute_data(data).parse().map_err(DataError::from)?;
        if source.corruptions(0)?.is_none() {
            return Ok(Vec::new());
        }
        let limit = self
            .network
            .images
            .limit_test
            .map_or_else(|| options.recorded_limit_test(), |limit| Ok(Some(limit)));
        Ok(source.parts(limit?)?)
    }
}

/// Gives `network` the test images of `source`.
fn load_test(network: &mut TrainedNetwork, source: &Source, limit: Option<usize>) -> Result<(), TrainError> {
    let source = source
        .clone()
        .with_preparation(network.preparation)
        .map_err(DataError::from)?;
    let images = source.load_split(Split::Test, limit, network.seed)?;
    network.engine.load(Split::Test, &images, &network.normalization)?;
    network.test.images = images;
    Ok(())
}

/// Evaluates all test images of `network`; returns loss and error of each. Predictions
/// are numbered from `begin`.
fn evaluate_all(
    network: &mut TrainedNetwork,
    report: &mut ClassificationReport,
    predictions: &mut Option<Predictions>,
    begin: usize,
) -> Result<Vec<[f32; 2]>, CliError> {
    let set = &network.test.images;
    let bar = cli::bar(set.len() as u64, "images");
    let mut each = Vec::with_capacity(set.len());
    let routes = [network.route.clone()];
    let (engine, size) = (network.engine.as_mut(), network.batch_size);
    evaluate_with_logits(engine, Split::Test, set.len(), size, &routes, &mut |first, scores| {
        for (index, (result, logits)) in (first..).zip(scores[0].images()) {
            let label = set.labels[index];
            let image = ImageResult::new(result, logits, label);
            let probabilities = probabilities(logits);
            report.add(&image, &probabilities, label);
            each.push(result);
            if let Some(predictions) = predictions {
                predictions.add(begin + index, label, &image, &probabilities)?;
            }
        }
        bar.set_position(each.len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    require_finite(network.engine.as_mut(), Split::Test, &routes[0], &each)?;
    Ok(each)
}

/// The errors of one corruption at one severity, from loss and error of each image.
fn severity_error(part: Corrupted, results: &[[f32; 2]]) -> (String, SeverityError) {
    let outcome = Outcome::new(results[part.images].to_vec());
    let error = SeverityError {
        severity: part.severity,
        images: outcome.images,
        wrong: outcome.wrong,
        loss: outcome.loss,
    };
    (part.corruption, error)
}

/// The file that `--predictions` names.
struct Predictions(AtomicFile);

impl Predictions {
    /// Creates the file and writes its header.
    fn create(path: &Path, set: &ImageSet) -> Result<Self, CliError> {
        let mut file = AtomicFile::create_new(path)?;
        let keys = ["index", "label", "predicted"].into_iter();
        let keys = keys.chain(set.class_names.iter().map(String::as_str));
        let header = Table {
            name: "predictions".to_string(),
            title: String::new(),
            columns: keys.map(|key| Column::plain(key, key)).collect(),
            rows: Vec::new(),
            file_only: true,
        };
        file.write_all(header.csv().as_bytes())
            .map_err(|error| file.error(error))?;
        Ok(Predictions(file))
    }

    /// Writes the row of one image.
    fn add(
        &mut self,
        index: usize,
        label: u32,
        image: &ImageResult,
        probabilities: &[f64],
    ) -> Result<(), crate::files::WriteError> {
        let mut row = format!("{index},{label},{}", image.predicted);
        for &probability in probabilities {
            // Six significant digits and more, in as few characters as possible.
            row.push_str(&format!(",{:?}", probability as f32));
        }
        row.push('\n');
        self.0.write_all(row.as_bytes()).map_err(|error| self.0.error(error))
    }
}

/// The results of all images together, a line each.
fn summary(outcome: &Outcome, report: &ClassificationReport, beside: Option<&Comparison>) -> Vec<String> {
    let mut lines = vec![format!(
        "{} of {} images wrong: error {:.2} %, loss {:.4} nats",
        outcome.wrong,
        outcome.images,
        100.0 * outcome.error,
        outcome.loss
    )];
    if let (Some(wrong), Some(error)) = (report.top5_wrong, report.top5_error()) {
        lines.push(format!("top-5: {wrong} images wrong: error {:.2} %", 100.0 * error));
    }
    lines.push(format!(
        "expected calibration error: {:.2} % ({CALIBRATION_BINS} bins)",
        100.0 * report.ece()
    ));
    lines.extend(beside.map(Comparison::line));
    lines
}

/// Images, errors and the most frequent wrong prediction of each class.
fn by_class(report: &ClassificationReport, names: &[String]) -> Table {
    let error = |class: usize| report.wrong_of(class) as f64 / report.images_of(class).max(1) as f64;
    let mut classes: Vec<usize> = (0..names.len()).collect();
    let mut title = "Error by class".to_string();
    if classes.len() > LISTED {
        classes.sort_by(|&a, &b| error(b).total_cmp(&error(a)));
        classes.truncate(LISTED);
        title = format!(
            "Error by class: the {LISTED} of {} classes with the largest error",
            names.len()
        );
    }
    let row = |class: usize| {
        let others = (0..names.len()).filter(|&other| other != class);
        let confused = others.max_by_key(|&other| (report.confusion[class][other], std::cmp::Reverse(other)));
        let confused = confused.filter(|&other| report.confusion[class][other] > 0);
        vec![
            json!(names[class]),
            json!(report.images_of(class)),
            json!(report.wrong_of(class)),
            json!(error(class)),
            json!(report.taken_for(class)),
            json!(confused.map(|other| format!("{} ({})", names[other], report.confusion[class][other]))),
        ]
    };
    Table {
        name: "classes".to_string(),
        title,
        columns: vec![
            Column::plain("class", "class"),
            Column::plain("images", "images"),
            Column::plain("wrong", "wrong"),
            Column::percent("error", "error (%)"),
            Column::plain("taken_for", "others taken for it"),
            Column::plain("confused", "most often taken for"),
        ],
        rows: classes.into_iter().map(row).collect(),
        file_only: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(classes: usize) -> (ClassificationReport, Vec<String>) {
        let mut report = ClassificationReport::new(classes);
        let mut add = |label: u32, predicted: u32| {
            let mut logits = vec![0.0; classes];
            logits[predicted as usize] = 2.0;
            let result = ImageResult::new([0.5, f32::from(label != predicted)], &logits, label);
            report.add(&result, &probabilities(&logits), label);
        };
        for (label, predicted) in [(0, 0), (0, 1), (0, 2), (0, 1), (1, 1), (2, 2)] {
            add(label, predicted);
        }
        (report, (0..classes).map(|class| format!("class {class}")).collect())
    }

    #[test]
    fn people_read_the_error_of_each_class() {
        let (report, names) = report(6);
        let each = vec![[0.5, 1.0], [0.5, 1.0], [0.5, 1.0], [0.5, 0.0], [0.5, 0.0], [0.5, 0.0]];
        let lines = summary(&Outcome::new(each), &report, None);
        assert_eq!(lines[0], "3 of 6 images wrong: error 50.00 %, loss 0.5000 nats");
        assert_eq!(lines[1], "top-5: 0 images wrong: error 0.00 %");
        let table = Report {
            items: vec![Item::Table(by_class(&report, &names))],
            ..Report::default()
        };
        let text = table.text();
        let row: Vec<&str> = text.lines().nth(2).unwrap_or_default().split_whitespace().collect();
        assert_eq!(
            row,
            ["class", "0", "4", "3", "75.00", "0", "class", "1", "(2)"],
            "{text}"
        );
    }

    #[test]
    fn of_many_classes_the_worst_are_listed() {
        let (report, names) = report(100);
        let table = by_class(&report, &names);
        assert_eq!((table.rows.len(), &table.rows[0][0]), (LISTED, &json!("class 0")));
        assert!(table.title.contains("of 100 classes"), "{}", table.title);
    }
}
