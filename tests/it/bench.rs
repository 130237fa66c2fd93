//! Does `bench` do what it promises a user? Plausible results, a comparison of
//! two results, and one-line errors.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use residua::gpu::{AdapterChoice, Gpu};
use residua::schedule::{KernelChoices, TunedKernel};
use residua::tuning::{TuningCache, TuningKey};
use serde_json::{Value, json};

use crate::support::program::{printed, program};
use crate::support::report::assert_clear;

/// On the adapter as it is: peak rates of a GPU take a processor minutes.
fn bench(arguments: &[&str]) -> Command {
    let mut command = program("tools");
    command.env_remove("RESIDUA_TEST_DEVICE").arg("bench").args(arguments);
    command
}

/// Runs a command that must fail and write one line only; returns its exit code
/// and that line.
fn refusal(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().count(), 1, "one line in: {error}");
    assert!(error.starts_with("error: "), "{error}");
    (output.status.code().unwrap(), error)
}

fn positive(value: &Value) -> f64 {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"));
    assert!(number.is_finite() && number > 0.0, "{number}");
    number
}

#[test]
fn one_kernel_is_measured_together_with_the_peak() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bench");
    // If another algorithm was chosen for this device, both are measured.
    let gpu = Gpu::open(&AdapterChoice::Best).unwrap();
    let work = "weight gradient 3x3 stride 1 padding 1, N×16×32×32 to N×16×32×32";
    let algorithm = "wgrad strips 4x4x2 splits 64 wg 64".parse().unwrap();
    let mut choices = KernelChoices::default();
    choices.set(work, 128, TunedKernel::untimed(algorithm));
    let book = folder.path().join("book.toml");
    fs::write(&book, TuningCache::of(&TuningKey::of(gpu.info()), &choices).to_text()).unwrap();
    let mut import = program("tools");
    let caches = ["XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"].map(|variable| (variable, folder.path()));
    import
        .args(["tune", "--import"])
        .arg(&book)
        .envs(caches)
        .assert()
        .success();
    let mut command = bench(&[
        "--quick",
        "--kernels",
        "--only",
        "conv-16ch-32-wgrad",
        "--json",
        "--out",
    ]);
    let text = printed(command.arg(&out).envs(caches));
    let found: Value = serde_json::from_str(&text).expect("one JSON object and nothing else");
    assert_eq!(fs::read_to_string(out.join("bench.json")).unwrap(), text);
    assert_clear(&out);
    for name in ["report.html", "report.md", "kernels.csv"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    for key in ["name", "backend", "driver"] {
        assert!(
            found["adapter"][key].as_str().is_some_and(|text| !text.is_empty()),
            "{key}"
        );
    }
    assert_eq!(found["networks"], json!([]));
    let peak = &found["peak"];
    let (gflops, gbps) = (positive(&peak["gflops"]), positive(&peak["gbps"]));
    assert!(positive(&peak["memory_gbps"]) <= gbps);
    let [kernel, tuned] = &found["kernels"].as_array().unwrap()[..] else {
        panic!("one kernel was asked for, by rule and tuned: {found}");
    };
    assert_eq!(kernel["name"], "conv-16ch-32-wgrad");
    assert_eq!((&kernel["tuned"], kernel["way"].is_string()), (&json!(false), true));
    assert_eq!(tuned["name"], "conv-16ch-32-wgrad-tuned");
    assert_eq!(
        (&tuned["tuned"], &tuned["way"]),
        (&json!(true), &json!("wgrad strips 4x4x2 splits 64 wg 64"))
    );
    assert!(positive(&tuned["seconds"]) != positive(&kernel["seconds"]));
    let seconds = positive(&kernel["seconds"]);
    assert!(positive(&kernel["median_seconds"]) >= seconds);
    // 128 images, 16 × 16 channels, 3 × 3 taps, 32 × 32 pixels.
    let operations = 2.0 * (128 * 16 * 16 * 9 * 1024) as f64;
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
    assert!(close(positive(&kernel["gflops"]), 1e-9 * operations / seconds));
    // Two activations of 8 MiB and the weights.
    let bytes = (2 * (8 << 20) + 4 * 16 * 16 * 9) as f64;
    assert!(close(positive(&kernel["gbps"]), 1e-9 * bytes / seconds));
    let share = (operations / gflops).max(bytes / gbps) * 1e-7 / seconds;
    assert!(close(positive(&kernel["percent_of_peak"]), share));
}

#[test]
fn a_network_is_measured_alone() {
    let text = printed(&mut bench(&[
        "--quick",
        "--networks",
        "--models",
        "resnet8",
        "--batch-size",
        "8",
        "--json",
    ]));
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&found["peak"], &found["kernels"]), (&Value::Null, &json!([])));
    let network = &found["networks"][0];
    assert_eq!((&network["model"], &network["batch"]), (&json!("resnet8"), &json!(8)));
    for part in ["training", "inference"] {
        let best = positive(&network[format!("{part}_images_per_second")]);
        assert!(best >= positive(&network[format!("{part}_images_per_second_median")]));
    }
    let (training, inference) = (&network["training_gflops"], &network["inference_gflops"]);
    let rate = |gflops: &Value, part: &str| positive(gflops) / positive(&network[format!("{part}_images_per_second")]);
    // The backward pass is twice the work of the forward pass, except in the
    // first layer.
    let ratio = rate(training, "training") / rate(inference, "inference");
    assert!((2.8..3.0).contains(&ratio), "{ratio}");
    // The plan is for activations only; images and parameters are added.
    assert!(positive(&network["bytes"]) > positive(&network["planned_bytes"]));
    assert!(positive(&network["recording_share"]) < 1.0);
}

/// A result with these kernels (name, seconds) and networks (model, images per second).
fn result(gflops: f64, kernels: &[(&str, f64)], networks: &[(&str, f64)]) -> Value {
    let kernel = |&(name, seconds): &(&str, f64)| {
        let convolution = name.starts_with("conv");
        json!({
            "name": name, "shape": "1×2", "seconds": seconds, "median_seconds": 2.0 * seconds,
            "gflops": convolution.then_some(8.0 / seconds), "gbps": 4.0 / seconds, "percent_of_peak": 50.0,
        })
    };
    let network = |&(model, rate): &(&str, f64)| {
        json!({
            "model": model, "batch": 16, "training_images_per_second": rate,
            "training_images_per_second_median": rate / 2.0, "inference_images_per_second": 4.0 * rate,
            "inference_images_per_second_median": rate, "training_gflops": 1.0, "inference_gflops": 1.0,
            "bytes": 1, "planned_bytes": 1, "recording_seconds": 0.5, "recording_share": 0.25,
        })
    };
    json!({
        "adapter": {"name": format!("GPU {gflops}"), "backend": "Metal", "driver": "1"},
        "version": "0.1.0", "command": "tools bench", "device_timestamps": true, "rounds": 3,
        "peak": {
            "gflops": gflops, "gbps": 16.0, "memory_gbps": 8.0,
            "multiply_add_candidates": 1, "stream_candidates": 1,
        },
        "kernels": kernels.iter().map(kernel).collect::<Vec<_>>(),
        "networks": networks.iter().map(network).collect::<Vec<_>>(),
    })
}

fn save(folder: &Path, name: &str, result: &Value) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, result.to_string()).unwrap();
    path
}

#[test]
fn two_results_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let a = result(
        64.0,
        &[("conv-a", 2.0), ("add", 1.0), ("old", 1.0)],
        &[("resnet20", 10.0)],
    );
    let b = result(
        160.0,
        &[("new", 1.0), ("add", 4.0), ("conv-a", 0.5)],
        &[("resnet20", 25.0)],
    );
    let (a, b) = (save(folder.path(), "a.json", &a), save(folder.path(), "b.json", &b));
    let compare = |more: &[&str]| printed(bench(&["--compare"]).args([&a, &b]).args(more));
    let found: Value = serde_json::from_str(&compare(&["--json"])).unwrap();
    assert_eq!(found["a"]["adapter"]["name"], "GPU 64");
    assert_eq!(found["b"]["adapter"]["name"], "GPU 160");
    let lines: Vec<Value> = found["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            json!([
                line["part"],
                line["name"],
                line["unit"],
                line["a"],
                line["b"],
                line["ratio"]
            ])
        })
        .collect();
    let expected = [
        json!(["peak", "multiply-adds", "GFLOP/s", 64.0, 160.0, 2.5]),
        json!(["peak", "streams", "GB/s", 16.0, 16.0, 1.0]),
        json!(["peak", "streams of memory", "GB/s", 8.0, 8.0, 1.0]),
        json!(["kernel", "conv-a", "GFLOP/s", 4.0, 16.0, 4.0]),
        json!(["kernel", "add", "GB/s", 4.0, 1.0, 0.25]),
        json!(["kernel", "old", "GB/s", 4.0, null, null]),
        json!(["training", "resnet20", "images/s", 10.0, 25.0, 2.5]),
        json!(["inference", "resnet20", "images/s", 40.0, 100.0, 2.5]),
        json!(["kernel", "new", "GB/s", null, 4.0, null]),
    ];
    assert_eq!(lines, expected);

    let out = folder.path().join("both");
    let text = compare(&["--out", out.to_str().unwrap()]);
    assert_clear(&out);
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_string();
    assert!(line(" conv-a ").ends_with("4.000"), "{text}");
    assert!(
        line(" old ").ends_with("only in A") && line(" new ").ends_with("only in B"),
        "{text}"
    );
    let written: Value = serde_json::from_slice(&fs::read(out.join("comparison.json")).unwrap()).unwrap();
    assert_eq!(written, found);
}

#[test]
fn any_number_of_results_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (1..=4)
        .map(|rate| {
            // The third lacks the network.
            let networks = [("resnet20", 10.0 * f64::from(rate))];
            let networks = if rate == 3 { &[][..] } else { &networks[..] };
            save(
                folder.path(),
                &format!("{rate}.json"),
                &result(64.0, &[("add", 1.0)], networks),
            )
        })
        .collect();
    let found: Value = serde_json::from_str(&printed(bench(&["--compare"]).args(&files).arg("--json"))).unwrap();
    assert_eq!(found["results"].as_array().map(Vec::len), Some(4));
    assert!(found.get("a").is_none());
    let line = |part: &str| {
        let lines = found["lines"].as_array().unwrap();
        lines.iter().find(|line| line["part"] == part).unwrap()
    };
    assert_eq!(line("training")["rates"], json!([10.0, 20.0, null, 40.0]));
    assert_eq!(line("kernel")["rates"], json!([4.0, 4.0, 4.0, 4.0]));
    // Lines are folded.
    let text = printed(bench(&["--compare"]).args(&files));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("D's rates are 1.000 times A's in the median of 6"),
        "{text}"
    );
    assert!(text.contains("only in A, B, D"), "{text}");
}

#[test]
fn kernels_and_networks_are_measured_in_16_bits() {
    let gpu = Gpu::open(&AdapterChoice::Best).unwrap();
    if !gpu.info().f16 {
        let (code, line) = refusal(&mut bench(&["--kernels", "--precision", "f16"]));
        assert!(code == 1 && line.contains("16-bit floats"), "{line}");
        println!("only the refusal is tested: {} has no 16-bit floats", gpu.info().name);
        return;
    }
    let text = printed(
        bench(&["--quick", "--kernels", "--networks", "--json", "--no-autotune"]).args([
            "--only",
            "add-16ch",
            "--models",
            "resnet8@8",
            "--precision",
            "f16",
        ]),
    );
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&found["precision"], &found["tuned"]), (&json!("f16"), &json!(false)));
    // Three activations of two bytes a value.
    let kernel = &found["kernels"][0];
    let bytes = positive(&kernel["gbps"]) * positive(&kernel["seconds"]) * 1e9;
    assert!(
        (bytes / f64::from(3 * 2 * 128 * 16 * 1024) - 1.0).abs() < 1e-9,
        "{bytes}"
    );
    positive(&found["networks"][0]["training_images_per_second"]);
}

#[test]
fn what_cannot_be_measured_or_compared_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = save(folder.path(), "good.json", &result(1.0, &[], &[]));
    let no_json = folder.path().join("cut.json");
    fs::write(&no_json, &result(1.0, &[], &[]).to_string()[..40]).unwrap();
    let mut other = result(1.0, &[], &[]);
    other.as_object_mut().unwrap().remove("kernels");
    let bad = [
        (folder.path().join("nowhere.json"), "cannot be read"),
        (no_json, "not a result"),
        (save(folder.path(), "other.json", &other), "kernels"),
        (save(folder.path(), "zero.json", &result(0.0, &[], &[])), "above 0"),
    ];
    for (path, part) in &bad {
        for pair in [[path, &good], [&good, path]] {
            let (code, line) = refusal(bench(&["--compare"]).args(pair));
            assert_eq!(code, 1, "{line}");
            assert!(line.contains(part) && line.contains(path.to_str().unwrap()), "{line}");
        }
    }
    let good = good.to_str().unwrap();
    let wrong: &[(&[&str], &str)] = &[
        (&["--compare", good], "--compare"),
        (&["--compare", good, good, "--quick"], "--quick"),
        (&["--kernels", "--only", "lstm"], "lstm"),
        (&["--networks", "--models", "resnet21"], "21"),
        (&["--networks", "--batch-size", "0"], "--batch-size 0"),
        (&["--networks", "--models", "resnet20@many"], "'many'"),
        (&["--networks", "--models", "resnet20@0"], "0"),
        (&["--peak", "--adapter", "reference"], "reference"),
    ];
    for (arguments, part) in wrong {
        let (code, line) = refusal(&mut bench(arguments));
        assert_eq!(code, 2, "{line}");
        assert!(line.contains(part), "{line}");
    }
}
