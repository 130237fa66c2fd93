//! Do explanations have captum's values, on a device and in the reference? Do deleted
//! blocks change them? `tests/fixtures/make_explain.py` made captum's.

use std::fs;
use std::path::{Path, PathBuf};

use residua::graph::Mode;
use residua::models::{InputShape, ModelSpec};
use residua::studies::{Attribution, ExplainStudy, Method, Target};
use residua::train::{Adapter, TrainedNetwork, TrainedNetworkOptions};
use residua::weights::{Tensor, TensorMap};
use serde_json::Value;

use crate::support::family;
use crate::support::fixture::{self, Fixture};
use crate::support::npy::npy;
use crate::support::program::{failure, json, program};
use crate::support::reference_run::to_f64;

const SIDE: usize = 16;
const BATCH: usize = 2;

/// The network and the images of the fixture, in files: weights and data set.
fn files(folder: &Path) -> (PathBuf, String) {
    let spec: ModelSpec = "resnet8".parse().unwrap();
    let input = InputShape {
        channels: 3,
        height: SIDE,
        width: SIDE,
        classes: 10,
    };
    let graph = spec.build(&input, Mode::Eval).unwrap().graph;
    let mut tensors = TensorMap::new();
    let mut add = |name: String, shape: Vec<usize>, data: Vec<f32>| drop(tensors.insert(name, Tensor { shape, data }));
    for (name, shape) in graph.params.iter().flat_map(|param| param.tensors()) {
        let data = fixture::varied(&name, &shape);
        add(name, shape, data);
    }
    for state in &graph.states {
        let [mean, variance] = state.tensors();
        add(mean, vec![state.channels], vec![0.0; state.channels]);
        add(variance, vec![state.channels], vec![1.0; state.channels]);
    }
    let weights = folder.join("weights.safetensors");
    residua::weights::write(&weights, &tensors, &Default::default()).unwrap();
    let (images, labels) = fixture::images_of(SIDE, 0, BATCH);
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    let labels: Vec<u8> = labels.iter().map(|&label| label as u8).collect();
    // Ten classes, of which the test images have some.
    let all: Vec<u8> = (0..10).collect();
    for (split, images, labels) in [("test", images, labels), ("train", vec![0; 10 * 3 * SIDE * SIDE], all)] {
        let count = labels.len();
        let shape = format!("{count}, 3, {SIDE}, {SIDE}");
        fs::write(data.join(format!("x_{split}.npy")), npy(&shape, &images)).unwrap();
        fs::write(data.join(format!("y_{split}.npy")), npy(&format!("{count},"), &labels)).unwrap();
    }
    (weights, format!("npz:{}", data.display()))
}

fn open(folder: &Path, adapter: &Adapter) -> TrainedNetwork {
    let (weights, data) = files(folder);
    TrainedNetworkOptions::from_weights(weights, "resnet8", data)
        .mean("0.4914,0.4822,0.4465")
        .std("0.2470,0.2435,0.2616")
        .adapter(adapter.clone())
        .open()
        .unwrap()
}

fn study() -> ExplainStudy {
    ExplainStudy {
        images: (0..BATCH).collect(),
        target: Target::Label,
        window: Some(4),
        stride: Some(2),
        ..ExplainStudy::default()
    }
}

#[test]
fn explanations_are_captums() {
    let truth = Fixture::load("explain");
    for (adapter, tolerance) in [(Adapter::Reference, 1e-5), (Adapter::default(), 2e-4)] {
        let folder = tempfile::tempdir().unwrap();
        let mut network = open(folder.path(), &adapter);
        let found = study().run(&mut network, &adapter, &mut |_| {}).unwrap();
        for Attribution { method, values, .. } in &found.attributions {
            let distance = family::distance(&to_f64(values), &truth.tensor(method.name()));
            println!("{adapter:?}, {}: {distance:.1e}", method.name());
            assert!(distance < tolerance, "{adapter:?}, {}: {distance}", method.name());
        }
        let logits = truth.tensor("logits");
        for (number, image) in found.images.iter().enumerate() {
            let own = logits[10 * number + image.class as usize];
            assert!((f64::from(image.score) - own).abs() < 1e-3);
            // Integrated gradients are complete.
            let [baseline, sum] = image.integral.unwrap();
            let difference = f64::from(image.score) - baseline;
            assert!(
                (sum - difference).abs() < 0.02 * difference.abs().max(1.0),
                "{sum}, {difference}"
            );
        }
    }
}

#[test]
fn a_network_with_deleted_blocks_is_explained_as_it_is_then() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = Adapter::Reference;
    let mut network = open(folder.path(), &adapter);
    let gradient = |network: &mut TrainedNetwork, deleted: &[usize]| {
        let study = ExplainStudy {
            methods: vec![Method::Gradient],
            deleted: deleted.to_vec(),
            ..study()
        };
        let found = study.run(network, &adapter, &mut |_| {}).unwrap();
        (found.images[0].score, found.attributions[0].values.clone())
    };
    let whole = gradient(&mut network, &[]);
    let deleted = gradient(&mut network, &[2]);
    assert_ne!(whole.0, deleted.0);
    assert_ne!(whole.1, deleted.1);
    let problem = |study: ExplainStudy, network: &mut TrainedNetwork| {
        study.run(network, &adapter, &mut |_| {}).unwrap_err().to_string()
    };
    let with = |change: fn(&mut ExplainStudy)| {
        let mut study = study();
        change(&mut study);
        study
    };
    for (study, part) in [
        (
            with(|study| study.images = vec![2]),
            "2 does not exist: there are 2 test images",
        ),
        (with(|study| study.target = Target::Class(10)), "10 does not exist"),
        (with(|study| study.window = Some(17)), "17 is not between"),
        (with(|study| study.stride = Some(5)), "5 is not between"),
        (with(|study| study.deleted = vec![4]), "4"),
        (with(|study| study.layer = Some("fc".into())), "fc has no plane"),
        (with(|study| study.layer = Some("nowhere".into())), "nowhere"),
    ] {
        let found = problem(study, &mut network);
        assert!(found.contains(part) && !found.contains('\n'), "{found}");
    }
}

#[test]
fn the_command_writes_pictures_and_arrays() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, data) = files(folder.path());
    let out = folder.path().join("out");
    let explain = |more: &[&str]| {
        let mut command = program("residua");
        command.args([
            "explain",
            "--model",
            "resnet8",
            "--no-autotune",
            "--data",
            &data,
            "--weights",
        ]);
        command.arg(&weights).args(more);
        command
    };
    let found = json(
        explain(&[
            "--json",
            "--images",
            "0-1",
            "--steps",
            "4",
            "--delete-block",
            "3",
            "--out",
        ])
        .arg(&out),
    );
    assert_eq!(found["images"].as_array().unwrap().len(), BATCH);
    for method in found["methods"].as_array().unwrap() {
        let file = fs::read(out.join(method["file"].as_str().unwrap())).unwrap();
        let npy = npyz::NpyFile::new(&file[..]).unwrap();
        let shape: Vec<Value> = npy.shape().iter().map(|&size| size.into()).collect();
        assert_eq!(Value::from(shape), method["shape"]);
    }
    let svg = fs::read_to_string(out.join("explanations.svg")).unwrap();
    assert_eq!(svg.matches("<image ").count(), BATCH * 5);
    for file in ["report.html", "results.json", "explanations.png", "scores.csv"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    for (arguments, part) in [
        (&["--images", "7-3"][..], "7-3"),
        (&["--images", "9"], "--images 9 does not exist"),
        (&["--methods", "magic"], "magic"),
        (&["--class", "x"], "predicted, label"),
        (&["--images", "0", "--window", "0"], "--window 0"),
    ] {
        let (code, line) = failure(&mut explain(arguments));
        assert!(code == 2 && line.contains(part), "{arguments:?}: {code} {line}");
    }
}
