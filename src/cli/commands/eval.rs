//! `residua eval`: how well does a trained network classify test images?

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::require_output;
use crate::cli::{self, AdapterArgs, CliError, NetworkArgs};
use crate::data::ImageSet;
use crate::files::AtomicFile;
use crate::report::{Column, Item, Report, Table};
use crate::studies::Comparison;
use crate::train::{
    CALIBRATION_BINS, ClassificationReport, ImageResult, Outcome, Split, evaluate_with_logits, probabilities,
    require_finite,
};

/// Classes that the table lists at most: where there are more, those with the
/// largest error.
const LISTED: usize = 20;

const AFTER_HELP: &str = "\
Prints the top-1 error and the mean loss, then the top-5 error (for more than 5 classes), the expected calibration \
error (15 bins of equal width, Guo et al. 2017), and the error by class. On all test images of CIFAR-10, CIFAR-100, SVHN or \
ImageNet the published errors of the same network stand beside its own, with a 95 % Wilson interval (`published` in \
--json). --json has the confusion matrix, too: \
`confusion` is a list of rows, one for each true class, with the number of images for each predicted class.";

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
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn eval(args: &Args) -> Result<String, CliError> {
    if let Some(path) = &args.predictions {
        require_output("--predictions", path, "csv")?;
    }
    let mut network = args.network.open(&args.adapter)?;
    cli::note(format_args!("{} on {}", network.model, network.engine.name()));
    let set = &network.test.images;
    let mut predictions = args
        .predictions
        .as_deref()
        .map(|path| Predictions::create(path, set))
        .transpose()?;
    let bar = cli::bar(set.len() as u64, "images");
    let mut report = ClassificationReport::new(set.classes());
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
            if let Some(predictions) = &mut predictions {
                predictions.add(index, label, &image, &probabilities)?;
            }
        }
        bar.set_position(each.len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    require_finite(network.engine.as_mut(), Split::Test, &routes[0], &each)?;
    if let Some(predictions) = predictions {
        predictions.0.finish()?;
    }
    let outcome = Outcome::new(each);
    let (test, preparation) = (&network.test.images, &network.preparation);
    let beside = network
        .model
        .spec()
        .and_then(|spec| Comparison::new(spec, network.depth, test, preparation, outcome.wrong));
    if args.json {
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
        if let Some(beside) = beside {
            results["published"] = beside.json();
        }
        return cli::json_line(&results);
    }
    Ok(text(&outcome, &report, beside.as_ref(), &test.class_names))
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

fn text(outcome: &Outcome, report: &ClassificationReport, beside: Option<&Comparison>, names: &[String]) -> String {
    let mut text = format!(
        "{} of {} images wrong: error {:.2} %, loss {:.4} nats\n",
        outcome.wrong,
        outcome.images,
        100.0 * outcome.error,
        outcome.loss
    );
    if let (Some(wrong), Some(error)) = (report.top5_wrong, report.top5_error()) {
        text.push_str(&format!("top-5: {wrong} images wrong: error {:.2} %\n", 100.0 * error));
    }
    text.push_str(&format!(
        "expected calibration error: {:.2} % ({CALIBRATION_BINS} bins)\n",
        100.0 * report.ece()
    ));
    if let Some(beside) = beside {
        text.push_str(&format!("{}\n", beside.line()));
    }
    text.push('\n');
    let table = Report {
        items: vec![Item::Table(by_class(report, names))],
        ..Report::default()
    };
    text + &table.text()
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
        let text = text(&Outcome::new(each), &report, None, &names);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "3 of 6 images wrong: error 50.00 %, loss 0.5000 nats");
        assert_eq!(lines[1], "top-5: 0 images wrong: error 0.00 %");
        let row: Vec<&str> = lines[6].split_whitespace().collect();
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
