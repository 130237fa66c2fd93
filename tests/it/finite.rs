//! What do the programs say about values that are not finite? Weights that give
//! them, a lesion that makes a network diverge, a variance that cannot be.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use residua::models::{InputShape, ModelSpec};
use residua::train::{Adapter, checkpoint, initialise, open};
use residua::weights::TensorMap;
use serde_json::{Value, json};

use crate::support::program::{failure, json, printed, program};

const MODEL: &str = "resnet8";
const DATA: &str = "synthetic:60,40";

/// Untrained weights after `change`, in a file. The library's own writer would put a
/// record of the network beside them.
fn weights(folder: &Path, name: &str, change: impl FnOnce(&mut TensorMap)) -> PathBuf {
    let spec: ModelSpec = MODEL.parse().unwrap();
    let mut engine = open(&Adapter::Reference, &spec.into(), &InputShape::default(), None).unwrap();
    initialise(engine.as_mut(), 3);
    let mut tensors = checkpoint::tensors(engine.as_mut(), false).unwrap();
    change(&mut tensors);
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in &tensors {
        let first = data.len();
        data.extend(tensor.data.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [first, data.len()] });
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let path = folder.join(name);
    fs::write(
        &path,
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat(),
    )
    .unwrap();
    path
}

fn fill(tensors: &mut TensorMap, name: &str, value: f32) {
    tensors.get_mut(name).unwrap().data.fill(value);
}

/// `command` on the network in `weights`, on the CPU reference or on a device.
fn on(command: &[&str], weights: &Path, adapter: &[&str]) -> Command {
    let mut run = program("residua");
    run.args(command).args(["--model", MODEL, "--data", DATA]);
    run.args(adapter).arg("--weights").arg(weights);
    run
}

const ADAPTERS: [&[&str]; 2] = [&["--no-autotune"], &["--adapter", "reference"]];

#[test]
fn values_that_are_not_finite_end_every_command_with_image_and_layer() {
    let folder = tempfile::tempdir().unwrap();
    let broken = weights(folder.path(), "overflow.safetensors", |tensors| {
        fill(tensors, "layer2.0.conv1.weight", 3e38);
    });
    let npy = folder.path().join("x.npy").display().to_string();
    for adapter in ADAPTERS {
        for command in [
            &["eval"][..],
            &["lesion", "--delete-block", "each"],
            &["paths", "--samples", "2", "--sample-images", "2"],
            &["features", "--layer", "logits", "--out", &npy],
        ] {
            // In 64 bits a gradient does not overflow.
            if command[0] == "paths" && adapter.contains(&"reference") {
                continue;
            }
            let (code, error) = failure(&mut on(command, &broken, adapter));
            assert_eq!(code, 1, "{command:?}: {error}");
            let place = "not finite, first in the output of layer2.0.conv1";
            assert!(
                error.contains(" image ") && error.contains(place),
                "{command:?}: {error}"
            );
        }
        assert!(!Path::new(&npy).exists(), "no file is left of what failed");
    }
    let sum = weights(folder.path(), "sum.safetensors", |tensors| {
        // Small enough for the transforms of the convolution that reads it.
        fill(tensors, "bn1.bias", 5e36);
        fill(tensors, "layer1.0.conv1.weight", 0.0);
        fill(tensors, "layer1.0.bn2.bias", 3.4e38);
    });
    let (code, error) = failure(&mut on(&["eval"], &sum, &["--no-autotune"]));
    assert_eq!(code, 1);
    assert!(error.contains("image 0 of the test images"), "{error}");
    assert!(error.contains("the sum of block layer1.0"), "{error}");
}

#[test]
fn training_from_weights_that_overflow_diverges_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let broken = weights(folder.path(), "overflow.safetensors", |tensors| {
        fill(tensors, "layer2.0.conv1.weight", 3e38);
    });
    let mut train = program("residua");
    train.args([
        "train",
        "--model",
        MODEL,
        "--data",
        DATA,
        "--epochs",
        "1",
        "--no-autotune",
    ]);
    train
        .arg("--init")
        .arg(&broken)
        .arg("--out")
        .arg(folder.path().join("run"));
    let (code, error) = failure(&mut train);
    assert_eq!(code, 1);
    assert!(error.contains("diverged: the loss of step 1 is"), "{error}");
}

#[test]
fn a_lesion_that_makes_the_network_diverge_is_a_result() {
    let folder = tempfile::tempdir().unwrap();
    // Block 1 removes what the stem adds. Without it block 2 overflows.
    let fragile = weights(folder.path(), "fragile.safetensors", |tensors| {
        fill(tensors, "bn1.weight", 0.0);
        fill(tensors, "bn1.bias", 1e37);
        fill(tensors, "layer1.0.conv1.weight", 0.0);
        fill(tensors, "layer1.0.bn2.weight", 0.0);
        fill(tensors, "layer1.0.bn2.bias", -1e37);
        for weight in &mut tensors.get_mut("layer2.0.conv1.weight").unwrap().data {
            *weight *= 1e6;
        }
    });
    let out = folder.path().join("study");
    let arguments = [
        "lesion",
        "--delete-block",
        "each",
        "--greedy",
        "2",
        "--out",
        &out.display().to_string(),
    ];
    let found = json(on(&arguments, &fragile, &["--no-autotune"]).arg("--json"));
    let lesion = &found["lesions"][0];
    assert_eq!(
        (&lesion["diverged"], &lesion["images_not_finite"]),
        (&json!(true), &json!(40)),
        "{lesion}"
    );
    assert_eq!((&lesion["wrong"], lesion.get("loss")), (&json!(40), None));
    for finite in [&found["baseline"], &found["lesions"][1]] {
        assert!(finite["loss"].is_f64() && finite.get("diverged").is_none(), "{finite}");
    }
    assert_ne!(
        found["greedy"][0]["blocks"],
        json!([1]),
        "the block that costs most goes last"
    );
    // A second start reads the results back.
    let log = fs::read(out.join("results.jsonl")).unwrap();
    let again = json(on(&arguments, &fragile, &["--no-autotune"]).arg("--json"));
    assert_eq!(again["lesions"], found["lesions"]);
    assert_eq!(fs::read(out.join("results.jsonl")).unwrap(), log);
    let text = printed(&mut on(&arguments[..3], &fragile, &["--no-autotune"]));
    assert!(text.contains("not finite"), "{text}");
}

#[test]
fn a_negative_variance_is_refused_wherever_weights_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let negative = weights(folder.path(), "negative.safetensors", |tensors| {
        tensors.get_mut("layer3.0.bn1.running_var").unwrap().data[5] = -0.25;
    });
    let good = weights(folder.path(), "good.safetensors", |_| {});
    let mut init = program("residua");
    init.args([
        "train",
        "--model",
        MODEL,
        "--data",
        DATA,
        "--steps",
        "1",
        "--no-autotune",
        "--init",
    ]);
    init.arg(&negative).arg("--out").arg(folder.path().join("run"));
    let reference = &["--adapter", "reference"];
    let other = format!("{MODEL}={}", negative.display());
    let mut beside = on(&["lesion", "--beside", &other], &good, reference);
    for command in [
        &mut on(&["eval"], &negative, reference),
        &mut on(&["lesion"], &negative, reference),
        &mut init,
        &mut beside,
    ] {
        let (code, error) = failure(command);
        assert_eq!(code, 1, "{error}");
        assert!(error.contains("tensor layer3.0.bn1.running_var holds -0.25"), "{error}");
    }
}
