//! Do studies run from the library, on the reference adapter?

use std::path::{Path, PathBuf};

use super::*;
use crate::data::Batches;
use crate::models::{InputShape, Model, ModelSpec};
use crate::train::{Adapter, Record, Split, TrainedNetwork, TrainedNetworkOptions, checkpoint, initialise, open};

/// A weights file with the initial weights of `model`, in `folder`.
fn weights(folder: &Path, model: &str, classes: usize) -> PathBuf {
    let spec: Model = model.parse::<ModelSpec>().unwrap().into();
    let input = InputShape {
        classes,
        ..InputShape::default()
    };
    let mut engine = open(&Adapter::Reference, &spec, &input, None).unwrap();
    initialise(engine.as_mut(), 3);
    let path = folder.join(format!("{model}-{classes}.safetensors"));
    checkpoint::save(engine.as_mut(), &path, &Record::of_model(&spec, &input), None).unwrap();
    path
}

/// Options for an untrained network of three blocks and six test images of ten
/// classes.
fn small(folder: &Path) -> TrainedNetworkOptions {
    let weights = weights(folder, "resnet8", 10);
    TrainedNetworkOptions::from_weights(weights, "resnet8", "synthetic:8,6")
        .adapter(Adapter::Reference)
        .batch_size(4)
}

/// The same network with seven test images of a hundred classes.
fn hundred_classes(folder: &Path) -> TrainedNetwork {
    let mut bytes = Vec::new();
    for image in 0..7_u8 {
        bytes.extend([0, image * 13]);
        let pixel = |index: usize| ((index * (7 + usize::from(image))) % 251) as u8;
        bytes.extend((0..3 * 32 * 32).map(pixel));
    }
    std::fs::write(folder.join("test.bin"), bytes).unwrap();
    let data = format!("cifar100:{}", folder.display());
    TrainedNetworkOptions::from_weights(weights(folder, "resnet8", 100), "resnet8", data)
        .adapter(Adapter::Reference)
        .batch_size(4)
        .open()
        .unwrap()
}

#[test]
fn a_lesion_study_deletes_each_block_and_reports_progress() {
    let folder = tempfile::tempdir().unwrap();
    let mut network = small(folder.path()).open().unwrap();
    let mut phases = Vec::new();
    let findings = LesionStudy::default()
        .run(&mut network, &mut |progress| {
            assert!(progress.done <= progress.total);
            phases.push(progress.phase);
        })
        .unwrap();
    phases.dedup();
    assert_eq!(phases[..2], ["nothing deleted", "deleting blocks"]);
    assert_eq!((findings.whole.images, findings.lesions.len()), (6, 3));
    for (index, lesion) in findings.lesions.iter().enumerate() {
        assert_eq!(lesion.blocks, [index + 1]);
        assert_eq!(lesion.names, [network.engine.graph().blocks[index].name.clone()]);
        assert_ne!(lesion.evaluation.loss, findings.whole.loss);
        assert_eq!(lesion.evaluation.top5_wrong, None);
    }
    let json = findings.json();
    assert_eq!(json["baseline"]["wrong"], findings.whole.wrong);
    assert!(
        json["baseline"].get("top5_wrong").is_none(),
        "ten classes have no top-5"
    );
}

#[test]
fn networks_are_compared_on_the_same_images() {
    let folder = tempfile::tempdir().unwrap();
    let options = small(folder.path());
    let study = LesionStudy::default();
    let mut findings = study.run(&mut options.open().unwrap(), &mut |_| {}).unwrap();
    study
        .compare(&mut findings, &mut options.open().unwrap(), &mut |_| {})
        .unwrap();
    let losses = |lesions: &[Lesion]| -> Vec<f64> { lesions.iter().map(|lesion| lesion.evaluation.loss).collect() };
    assert_eq!(losses(&findings.compared[0].single), losses(&findings.lesions));
    assert_eq!(findings.compared[0].downsampling, [2, 3]);
}

#[test]
fn a_lesion_that_diverges_is_said_drawn_and_flagged() {
    use crate::report::{Item, Layer, Table};
    let folder = tempfile::tempdir().unwrap();
    let study = LesionStudy {
        pairs: true,
        ..LesionStudy::default()
    };
    let mut findings = study
        .run(&mut small(folder.path()).open().unwrap(), &mut |_| {})
        .unwrap();
    let table = |findings: &LesionFindings, wanted: &str| -> Table {
        let mut tables = findings.items().into_iter().filter_map(|item| match item {
            Item::Table(table) if table.name == wanted => Some(table),
            _ => None,
        });
        tables.next_back().unwrap()
    };
    let keys = |table: &Table| {
        table
            .columns
            .iter()
            .map(|column| column.key.clone())
            .collect::<Vec<_>>()
    };
    assert!(!findings.finding().contains("diverge"), "{}", findings.finding());
    assert!(!keys(&table(&findings, "lesions")).contains(&"images_not_finite".to_string()));

    for lesion in [&mut findings.lesions[1], &mut findings.pairs[0]] {
        lesion.evaluation.diverged = true;
        lesion.evaluation.images_not_finite = 3;
        lesion.evaluation.loss = f64::NAN;
    }
    let finding = findings.finding();
    assert!(
        finding.contains("most with block 2 (") && finding.contains("to divergence (the loss of 3 of "),
        "{finding}"
    );
    for (name, row) in [("lesions", 2), ("pairs", 0)] {
        let table = table(&findings, name);
        assert_eq!(keys(&table).last().unwrap(), "images_not_finite");
        assert_eq!(table.rows[row].last(), Some(&serde_json::json!(3)));
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{name}");
        assert!(table.csv().contains(",NaN,"), "{}", table.csv());
    }
    // Crosses: the block alone, and the pair twice with the block on the diagonal.
    for item in findings.items() {
        let Item::Figure(figure) = item else { continue };
        let crosses = match &figure.layers[..] {
            [Layer::Heat { cells, .. }] => cells.iter().filter(|cell| cell.value == Some(f64::INFINITY)).count(),
            layers => {
                let marks = layers.iter().flat_map(|layer| match layer {
                    Layer::Line { marks, .. } => &marks[..],
                    _ => &[],
                });
                marks.filter(|mark| mark.y == f64::INFINITY).count()
            }
        };
        let expected = match figure.name.as_str() {
            "lesions" => 1,
            "pairs" => 3,
            "interaction" => 2,
            _ => 0,
        };
        assert_eq!(crosses, expected, "{}", figure.name);
        assert_eq!(
            figure.svg().contains("not finite, off the scale"),
            expected > 0,
            "{}",
            figure.name
        );
    }
}

#[test]
fn top5_errors_are_reported_for_more_than_ten_classes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("study");
    let mut network = hundred_classes(folder.path());
    let study = LesionStudy {
        out: Some(out.clone()),
        pairs: true,
        greedy: 1,
        ..LesionStudy::default()
    };
    let findings = study.run(&mut network, &mut |_| {}).unwrap();

    // The rank of each label, from the logits.
    let epoch = Batches::plain(7, network.batch_size).epoch(0);
    let logits = network
        .engine
        .logits(Split::Test, epoch.draws(), &network.route)
        .unwrap();
    let ranks = logits.chunks(100).zip(&network.test.images.labels);
    let ranks: Vec<usize> = ranks
        .map(|(logits, &label)| logits.iter().filter(|&&logit| logit > logits[label as usize]).count())
        .collect();
    let wrong = |from: usize| ranks.iter().filter(|&&rank| rank >= from).count();
    assert_eq!(findings.whole.wrong, wrong(1));
    assert_eq!(findings.whole.top5_wrong, Some(wrong(5)));
    assert_eq!(findings.whole.top5_error, Some(wrong(5) as f64 / 7.0));
    let json = findings.json();
    for lesion in json["lesions"].as_array().unwrap() {
        assert!(lesion["top5_wrong"].as_u64() <= lesion["wrong"].as_u64());
        assert!(lesion["top5_error"].is_f64());
    }
    for item in findings.items() {
        if let crate::report::Item::Table(table) = item {
            let keys: Vec<&str> = table.columns.iter().map(|column| column.key.as_str()).collect();
            assert!(table.rows.iter().all(|row| row.len() == keys.len()), "{}", table.name);
            let has_error = ["lesions", "pairs", "greedy"].contains(&table.name.as_str());
            assert_eq!(keys.contains(&"top5_error"), has_error, "{}", table.name);
        }
    }

    // A result log from before top-5 errors: its results are not complete.
    let path = out.join("results.jsonl");
    let old: String = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            let value = line["value"].as_object_mut().unwrap();
            value.retain(|key, _| !key.starts_with("top5"));
            format!("{line}\n")
        })
        .collect();
    assert!(!old.contains("top5"));
    std::fs::write(&path, old).unwrap();
    let again = study.run(&mut network, &mut |_| {}).unwrap();
    assert_eq!(again.whole.top5_wrong, findings.whole.top5_wrong);
    assert_eq!(
        again.pairs[0].evaluation.top5_error,
        findings.pairs[0].evaluation.top5_error
    );
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut network = small(folder.path()).open().unwrap();
    let mut refused = |study: LesionStudy| {
        let error = study.run(&mut network, &mut |_| {}).unwrap_err();
        assert!(error.is_argument(), "{error}");
        error.to_string()
    };
    let recalibrated = |images| LesionStudy {
        recalibrate: Some(images),
        ..LesionStudy::default()
    };
    assert!(refused(recalibrated(0)).starts_with("recalibrate 0:"));
    assert!(refused(recalibrated(4)).contains("training images"));
    let together = LesionStudy {
        deletions: Deletions::Together(vec![1, 2]),
        pairs: true,
        ..LesionStudy::default()
    };
    assert!(refused(together).starts_with("pairs needs"));
    let missing = LesionStudy {
        deletions: Deletions::Together(vec![4]),
        ..LesionStudy::default()
    };
    assert!(refused(missing).contains('4'));
    let unsaved = LesionStudy {
        save_images: true,
        ..LesionStudy::default()
    };
    assert!(refused(unsaved).starts_with("save images needs"));
    let paths = PathStudy::default().run(&mut network, &mut |_| {}).unwrap_err();
    assert!(paths.to_string().contains("training images"), "{paths}");
}

#[test]
fn a_path_study_samples_every_length_and_continues_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut network = small(folder.path()).training_images(true).open().unwrap();
    let study = PathStudy {
        samples: 2,
        sample_images: std::num::NonZeroUsize::new(2).unwrap(),
        out: Some(folder.path().join("paths")),
        ..PathStudy::default()
    };
    let findings = study.run(&mut network, &mut |_| {}).unwrap();
    assert_eq!(findings.in_blocks, [1.0, 3.0, 3.0, 1.0].map(|paths| paths / 8.0));
    let (lengths, norms) = findings.sampled.clone().unwrap();
    assert_eq!((lengths, norms.by_length.len()), (0..=3, 4));
    assert!(norms.by_length.iter().all(|norms| norms.len() == 2));
    let again = study.run(&mut network, &mut |_| {}).unwrap();
    assert_eq!(again, findings);
}
