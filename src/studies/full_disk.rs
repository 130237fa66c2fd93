//! Is nothing lost when the disk is full? Every operation on files of a run and of
//! a study fails once; then the run is resumed and the study continued.

use std::collections::BTreeMap;
use std::path::Path;

use super::{LesionStudy, StudyError};
use crate::files::fault;
use crate::formats::events::messages;
use crate::graph::{Graph, GraphError, NodeId, ResidualBlock};
use crate::models::{Architecture, Model, layers};
use crate::report::{Item, Report};
use crate::train::{Adapter, RunDirectory, Schedule, Settings, TrainError, TrainedNetworkOptions, Trainer, batch_size};

/// A network with one block, on images of a sixteenth of the size.
#[derive(Debug)]
struct Tiny;

impl Architecture for Tiny {
    fn name(&self) -> String {
        "tiny".to_string()
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        let x = layers::conv(g, "stem", images, 2, 1, 16)?;
        let block = ResidualBlock {
            name: "layer1.0",
            stage: 1,
            input: x,
            relu: true,
        };
        let x = g.residual(&block, |g| {
            let y = layers::conv(g, "conv1", x, 2, 1, 1)?;
            Ok((layers::batch_norm(g, "bn1", y), x))
        })?;
        Ok(layers::head(g, x, classes))
    }
}

/// Two epochs of two steps, with all tables and a checkpoint after every step.
fn settings() -> Settings {
    Settings {
        model: Model::own(Tiny).unwrap(),
        data: "synthetic:4,2".parse().unwrap(),
        batch_size: batch_size(2).unwrap(),
        epochs: 2,
        schedule: Schedule::Constant,
        log_steps: true,
        log_gradients: true,
        tensorboard: true,
        tensorboard_histograms: true,
        checkpoint_every: Some(1),
        ..Settings::default()
    }
}

/// Begins a run in `path`, or continues the one that is there.
fn train(path: &Path) -> Result<(), TrainError> {
    let mut trainer = Trainer::open(settings(), &Adapter::Reference)?;
    let (directory, resume) = match RunDirectory::resume(path) {
        Err(TrainError::NoRun { .. }) => (RunDirectory::create(path)?, false),
        directory => (directory?, true),
    };
    let mut run = match resume {
        true => trainer.resume(&directory)?,
        false => trainer.start(&directory)?,
    };
    run.train(|_| {})
}

/// The names and contents of the files in `folder`, without what depends on the
/// time of day.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = files(folder);
    // A run that was stopped has several event files.
    let events = found.extract_if(.., |name, _| name.contains("tfevents"));
    let events: Vec<u8> = events.flat_map(|(_, bytes)| timeless_events(&bytes)).collect();
    found.insert("events".to_string(), events);
    found
}

/// The events of a file without their times, and without speeds.
fn timeless_events(file: &[u8]) -> Vec<u8> {
    let is_speed = |message: &Vec<u8>| message.windows(10).any(|part| part == b"per_second");
    let values = messages(file).into_iter().skip(2).filter(|message| !is_speed(message));
    values.flat_map(|message| message[9..].to_vec()).collect()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        if name == "metrics.csv" {
            let text = String::from_utf8(bytes).unwrap();
            let without_time = |line: &str| line.split(',').take(6).collect::<Vec<_>>().join(",") + "\n";
            return (name, text.lines().map(without_time).collect::<String>().into_bytes());
        }
        (name, bytes)
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

fn one_line(error: &dyn std::error::Error) {
    let message = error.to_string();
    assert!(!message.contains('\n') && !message.is_empty(), "{message}");
}

#[test]
fn a_run_survives_a_full_disk_at_every_operation() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    train(&whole).unwrap();
    let whole = contents(&whole);
    let path = folder.path().join("full");
    let operations = (1..).take_while(|&number| {
        let (trained, failed) = fault::with(number, || train(&path));
        // Every failure is reported, and nothing else fails.
        match &trained {
            Ok(()) => assert!(!failed, "operation {number}"),
            Err(error) => one_line(error),
        }
        train(&path).unwrap_or_else(|error| panic!("after operation {number}: {error}"));
        assert!(contents(&path) == whole, "operation {number}");
        std::fs::remove_dir_all(&path).unwrap();
        failed
    });
    let operations = operations.count();
    assert!(operations > 60, "{operations} operations");
}

#[test]
fn a_study_survives_a_full_disk_at_every_operation() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&run).unwrap();
    let options = TrainedNetworkOptions::from_run(&run)
        .with_model(Model::own(Tiny).unwrap())
        .adapter(Adapter::Reference);
    let mut network = options.open().unwrap();
    let mut study = |out: &Path| -> Result<serde_json::Value, StudyError> {
        let study = LesionStudy {
            out: Some(out.to_path_buf()),
            save_images: true,
            without_shortcut: true,
            ..LesionStudy::default()
        };
        let findings = study.run(&mut network, &mut |_| {})?;
        let report = Report {
            title: "Lesions".to_string(),
            // Figures take time, and are written as tables are.
            items: findings.items().into_iter().filter(is_table).collect(),
            ..Report::default()
        };
        let written = report.write_with(out, "results.json", &findings.json());
        written.map_err(|error| StudyError::File {
            path: out.to_path_buf(),
            problem: error.to_string(),
        })?;
        let mut results = findings.json();
        strip_seconds(&mut results);
        Ok(results)
    };
    let whole = study(&folder.path().join("whole")).unwrap();
    let out = folder.path().join("full");
    let operations = (1..).take_while(|&number| {
        let (found, failed) = fault::with(number, || study(&out));
        match &found {
            Ok(_) => assert!(!failed, "operation {number}"),
            Err(error) => one_line(error),
        }
        let again = study(&out).unwrap_or_else(|error| panic!("after operation {number}: {error}"));
        assert!(again == whole, "operation {number}");
        std::fs::remove_dir_all(&out).unwrap();
        failed
    });
    let operations = operations.count();
    assert!(operations > 30, "{operations} operations");
}

fn is_table(item: &Item) -> bool {
    matches!(item, Item::Table(_))
}

fn strip_seconds(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|key, _| key != "seconds");
            fields.values_mut().for_each(strip_seconds);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip_seconds),
        _ => {}
    }
}
