//! Do `eval` and `features` report what the network computes? Against PyTorch
//! on trained weights, and against the f64 reference.

use std::fs;
use std::path::{Path, PathBuf};

use npyz::NpyFile;
use serde_json::Value;

use crate::cli::real_data;
use crate::support::program::{failure, json, program};
use crate::support::reference_run;
use residua::data::Draw;
use residua::models::{InputShape, Model, ModelSpec};
use residua::train::{
    Adapter, ImageResult, Record, Split, TrainedNetwork, TrainedNetworkOptions, checkpoint, initialise, open, predicted,
};

/// What `tests/fixtures/make_eval.py` wrote.
fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/eval-resnet20.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// On the first 1,000 test images, or on all 10,000 (a minute on two cores)
/// where `RESIDUA_ALL_IMAGES` is set.
#[test]
fn evaluation_agrees_with_pytorch() {
    let Some(data) = real_data() else { return };
    let all = std::env::var_os("RESIDUA_ALL_IMAGES").is_some();
    let truth = &fixture()["first"][usize::from(all)];
    let images = truth["images"].as_u64().unwrap();
    let (weights, set) = (data.join("cifar10-weights/resnet20.safetensors"), cifar(&data));
    let found = json(
        program("residua")
            .args([
                "eval", "--json", "--model", "resnet20", "--mean", "imagenet", "--std", "imagenet",
            ])
            .args(["--limit-test", &images.to_string(), "--data", &set, "--weights"])
            .arg(weights),
    );
    println!("{images} images: {found}");
    for key in ["images", "wrong", "top5_wrong", "confusion"] {
        assert_eq!(found[key], truth[key], "{key}");
    }
    for (key, tolerance) in [("loss", 1e-5), ("ece", 1e-4)] {
        let (found, truth) = (found[key].as_f64().unwrap(), truth[key].as_f64().unwrap());
        assert!((found - truth).abs() < tolerance, "{key}: {found} is not {truth}");
    }
    // Published errors are of all test images.
    let published = &found["published"]["errors"][0]["error"];
    assert_eq!(published.as_f64(), all.then_some(0.0875), "{found}");
    let per_image = |key: &str| found[key].as_u64().unwrap() as f64 / images as f64;
    assert_eq!(found["top5_error"].as_f64().unwrap(), per_image("top5_wrong"));
}

fn cifar(data: &Path) -> String {
    format!("cifar10:{}", data.join("cifar-10-batches-bin").display())
}

#[test]
fn logits_agree_with_pytorch() {
    let Some(data) = real_data() else { return };
    let truth: Vec<Vec<f64>> = serde_json::from_value(fixture()["logits"].clone()).unwrap();
    let weights = data.join("cifar10-weights/resnet20.safetensors");
    let options = TrainedNetworkOptions::from_weights(weights, "resnet20", cifar(&data));
    let options = options.mean("imagenet").std("imagenet").limit_test(truth.len());
    let draws: Vec<Draw> = (0..truth.len() as u32).map(Draw::unchanged).collect();
    for adapter in [Adapter::default(), Adapter::Reference] {
        let mut network = options.clone().adapter(adapter).open().unwrap();
        let found = network.engine.logits(Split::Test, &draws, &network.route).unwrap();
        let error = reference_run::distance(&reference_run::to_f64(&found), &truth.concat())
            / reference_run::norm(&truth.concat());
        assert!(error < 1e-5, "{}: off by {error:.1e}", network.engine.name());
    }
}

const MODEL: &str = "resnet8";
const DATA: &str = "synthetic:1,40";
const IMAGES: usize = 40;

/// Untrained weights in a file, and the arguments that name them.
fn untrained(folder: &Path) -> (PathBuf, Vec<String>) {
    let spec: ModelSpec = MODEL.parse().unwrap();
    let (model, input) = (Model::from(spec), InputShape::default());
    let mut engine = open(&Adapter::Reference, &model, &input, None).unwrap();
    initialise(engine.as_mut(), 3);
    let path = folder.join("untrained.safetensors");
    checkpoint::save(engine.as_mut(), &path, &Record::of_model(&model, &input), None).unwrap();
    let arguments = [
        "--model",
        MODEL,
        "--data",
        DATA,
        "--batch-size",
        "16",
        "--weights",
        &path.display().to_string(),
    ];
    (path.clone(), arguments.map(String::from).to_vec())
}

/// The same network on the f64 reference.
fn reference(weights: &Path) -> TrainedNetwork {
    let options = TrainedNetworkOptions::from_weights(weights, MODEL, DATA).adapter(Adapter::Reference);
    options.open().unwrap()
}

fn all_images() -> Vec<Draw> {
    (0..IMAGES as u32).map(Draw::unchanged).collect()
}

#[test]
fn predictions_are_written_image_by_image() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, arguments) = untrained(folder.path());
    let path = folder.path().join("predictions.csv");
    let mut eval = program("residua");
    eval.arg("eval")
        .args(&arguments)
        .arg("--json")
        .arg("--predictions")
        .arg(&path);
    let found = json(&mut eval);
    let mut network = reference(&weights);
    let set = network.test.images.clone();
    let logits = network
        .engine
        .logits(Split::Test, &all_images(), &network.route)
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    let header = format!("index,label,predicted,{}", set.class_names.join(","));
    assert_eq!(lines.next().unwrap(), header);
    let (mut wrong, mut top5_wrong) = (0, 0);
    let mut confusion = vec![vec![0_u64; 10]; 10];
    for (index, line) in lines.enumerate() {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        assert_eq!(cells.len(), 13);
        let (label, probabilities) = (cells[1] as u32, &cells[3..]);
        assert_eq!((cells[0] as usize, label), (index, set.labels[index]));
        let logits = &logits[10 * index..][..10];
        assert_eq!(cells[2] as u32, predicted(logits));
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        let truth = residua::train::probabilities(logits);
        assert!(
            probabilities
                .iter()
                .zip(&truth)
                .all(|(found, truth)| (found - truth).abs() < 1e-5)
        );
        let image = ImageResult::new([0.0, f32::from(predicted(logits) != label)], logits, label);
        wrong += u64::from(image.is_wrong());
        top5_wrong += u64::from(image.is_top5_wrong());
        confusion[label as usize][image.predicted as usize] += 1;
    }
    assert_eq!(
        (&found["wrong"], &found["top5_wrong"]),
        (&wrong.into(), &top5_wrong.into())
    );
    assert_eq!(found["confusion"], serde_json::to_value(confusion).unwrap());
    let text = program("residua").arg("eval").args(&arguments).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with(&format!("{wrong} of 40 images wrong: error ")),
        "{text}"
    );
    assert!(
        text.contains("top-5: ") && text.contains("calibration") && text.contains(&set.class_names[3]),
        "{text}"
    );
}

/// An array of a file, and its shape.
fn array<T: npyz::Deserialize>(path: &Path) -> (Vec<u64>, Vec<T>) {
    let bytes = fs::read(path).unwrap();
    let file = NpyFile::new(&bytes[..]).unwrap();
    assert_eq!(file.order(), npyz::Order::C);
    (file.shape().to_vec(), file.into_vec().unwrap())
}

#[test]
fn features_are_the_activations_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, arguments) = untrained(folder.path());
    let (out, labels) = (folder.path().join("x.npy"), folder.path().join("y.npy"));
    let mut network = reference(&weights);
    for (place, name, shape) in [
        ("--block", "layer2.0", vec![40, 32, 16, 16]),
        ("--block", "2", vec![40, 32, 16, 16]),
        ("--layer", "layer3.0.bn1", vec![40, 64, 8, 8]),
        ("--layer", "pool", vec![40, 64]),
    ] {
        // Files that exist are not replaced.
        for file in [&out, &labels].into_iter().filter(|file| file.exists()) {
            fs::remove_file(file).unwrap();
        }
        let mut features = program("tools");
        features
            .arg("features")
            .args(&arguments)
            .args([place, name, "--json", "--out"])
            .arg(&out);
        let reported = json(features.arg("--labels").arg(&labels));
        assert_eq!(reported["shape"], serde_json::to_value(&shape).unwrap());
        let (found_shape, found) = array::<f32>(&out);
        assert_eq!(found_shape, shape, "{name}");
        let header = fs::read(&out).unwrap()[..128].to_vec();
        assert!(header.starts_with(b"\x93NUMPY") && String::from_utf8_lossy(&header).contains("'<f4'"));
        let node = network.engine.graph().activation(name).unwrap();
        let truth = network
            .engine
            .activations(Split::Test, &all_images(), &network.route, &[node])
            .unwrap();
        let (found, truth) = (reference_run::to_f64(&found), reference_run::to_f64(&truth[0]));
        let error = reference_run::distance(&found, &truth) / reference_run::norm(&truth);
        assert!(error < 1e-5, "{name}: off by {error:.1e}");
        assert_eq!(array::<u32>(&labels), (vec![40], network.test.images.labels.clone()));
    }
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "nothing else is left: {names:?}");

    for (arguments_of, code, part) in [
        (
            ["--block", "layer9.0", "--out", "z.npy"],
            2,
            "layer1.0, layer2.0, layer3.0",
        ),
        (["--layer", "conv9", "--out", "z.npy"], 2, "conv1, bn1, layer1.0.conv1"),
        (["--layer", "pool", "--out", "x.safetensors"], 2, ".npy"),
        (["--layer", "pool", "--out", "no/folder/x.npy"], 1, "folder"),
    ] {
        let mut features = program("tools");
        features
            .current_dir(folder.path())
            .arg("features")
            .args(&arguments)
            .args(arguments_of);
        let (found, line) = failure(&mut features);
        assert_eq!((found, line.contains(part)), (code, true), "{line}");
    }
    let (code, line) = failure(
        program("tools")
            .arg("features")
            .args(&arguments)
            .args(["--out", "z.npy"]),
    );
    assert_eq!((code, line.contains("--block")), (2, true), "{line}");
}
