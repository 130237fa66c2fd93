//! Does `eval` on CIFAR-10-C give the errors that each corruption and severity has
//! alone, and do lesions count them by severity?

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::npy::npy;
use crate::support::program::{failure, json, printed, program};

/// Corruptions of a small folder: two of the paper, and one that is not counted.
const NAMES: [&str; 3] = ["brightness", "gaussian_noise", "spatter"];
/// Images at each severity.
const IMAGES: usize = 4;

/// Writes a small CIFAR-10-C to `folder`: pixels of every file differ.
fn corrupted(folder: &Path) -> String {
    let count = 5 * IMAGES;
    fs::create_dir_all(folder).unwrap();
    for (number, name) in NAMES.iter().enumerate() {
        let pixels: Vec<u8> = (0..count * 3072)
            .map(|at| ((at * (7 + 4 * number) + at / 3072 * 31) % 253) as u8)
            .collect();
        fs::write(
            folder.join(format!("{name}.npy")),
            npy(&format!("{count}, 32, 32, 3"), &pixels),
        )
        .unwrap();
    }
    let labels: Vec<u8> = (0..count).map(|image| (image % IMAGES * 3 % 10) as u8).collect();
    fs::write(folder.join("labels.npy"), npy(&format!("{count},"), &labels)).unwrap();
    format!("cifar10-c:{}", folder.display())
}

/// A run on images of CIFAR-10's shape.
fn trained(folder: &Path) -> PathBuf {
    let run = folder.join("run");
    let data = folder.join("cifar");
    fs::create_dir(&data).unwrap();
    let arguments = [
        "train",
        "--model",
        "resnet8",
        "--steps",
        "2",
        "--batch-size",
        "8",
        "--no-autotune",
    ];
    let data = crate::cli::cifar(&data, 8);
    printed(
        program("residua")
            .args(arguments)
            .args(["--data", &data, "--out"])
            .arg(&run),
    );
    run
}

#[test]
fn errors_by_corruption_are_those_of_each_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path());
    let data = corrupted(&folder.path().join("CIFAR-10-C"));
    let eval = |data: &str, more: &[&str]| {
        let mut command = program("residua");
        command
            .args(["eval", "--json", "--no-autotune", "--data", data, "--run"])
            .arg(&run)
            .args(more);
        command
    };
    let out = folder.path().join("out");
    let found = json(eval(&data, &["--out"]).arg(&out));
    let number = |value: &Value, key: &str| value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"));
    let order: Vec<&str> = found["corruptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["corruption"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["gaussian_noise", "brightness", "spatter"]);
    let mut means = Vec::new();
    let mut wrong = 0;
    for one in found["corruptions"].as_array().unwrap() {
        let name = one["corruption"].as_str().unwrap();
        let severities = one["severities"].as_array().unwrap();
        assert_eq!(severities.len(), 5);
        // Each evaluation is a program: the weakest and the strongest are compared.
        for at in [&severities[0], &severities[4]] {
            let alone = json(&mut eval(&format!("{data}/{name}@{}", at["severity"]), &[]));
            for key in ["images", "wrong", "error", "loss"] {
                assert_eq!(at[key], alone[key], "{name} at {}: {key}", at["severity"]);
            }
        }
        wrong += severities.iter().map(|at| at["wrong"].as_u64().unwrap()).sum::<u64>();
        let mean = severities.iter().map(|at| number(at, "error")).sum::<f64>() / 5.0;
        assert!((number(one, "error") - mean).abs() < 1e-12);
        if one["counted"] == true {
            means.push(mean);
        }
    }
    assert_eq!(means.len(), 2, "spatter is not counted");
    let mean = means.iter().sum::<f64>() / 2.0;
    assert!((number(&found, "mean_corruption_error") - mean).abs() < 1e-12);
    let counts = ["images", "wrong"].map(|key| found[key].as_u64().unwrap());
    assert_eq!(counts, [3 * 5 * IMAGES as u64, wrong]);
    for file in [
        "report.html",
        "results.json",
        "corruptions.csv",
        "corruptions.svg",
        "severities.csv",
        "severities.png",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let written: Value = serde_json::from_str(&fs::read_to_string(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(written, found);

    // Relative to itself, every error is 1.
    let baseline = out.join("results.json");
    let itself = json(eval(&data, &["--baseline"]).arg(&baseline));
    assert!((number(&itself, "relative_mean_corruption_error") - 1.0).abs() < 1e-12);
    let (code, line) = failure(eval("synthetic:64,32", &["--baseline"]).arg(&baseline));
    assert!(code == 2 && line.contains("--baseline has no effect"), "{line}");

    // A limit takes images of all corruptions and severities.
    let some = json(&mut eval(&data, &["--limit-test", "30"]));
    let images = |value: &Value| -> Vec<u64> {
        let all = value["corruptions"].as_array().unwrap().iter();
        let each = all.flat_map(|one| one["severities"].as_array().unwrap().clone());
        each.map(|at| at["images"].as_u64().unwrap()).collect()
    };
    assert_eq!(images(&some), [2; 15]);
    let one = json(&mut eval(&format!("{data}@3"), &[]));
    assert_eq!(images(&one), [IMAGES as u64; 3]);
    let words = printed(
        program("residua")
            .args(["eval", "--no-autotune", "--data", &data, "--run"])
            .arg(&run),
    );
    assert!(words.contains("over 2 of the 15 corruptions"), "{words}");
    assert!(words.contains("gaussian_noise"), "{words}");
}

#[test]
fn lesions_count_errors_by_severity() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path());
    let data = corrupted(&folder.path().join("CIFAR-10-C"));
    let lesion = |data: &str| {
        let mut command = program("residua");
        command
            .args(["lesion", "--json", "--no-autotune", "--data", data, "--run"])
            .arg(&run);
        json(&mut command)
    };
    let found = lesion(&data);
    let alone = [1, 4].map(|severity| (severity, lesion(&format!("{data}@{severity}"))));
    let check = |whole: &Value, at: &dyn Fn(&Value) -> Value| {
        let counts = whole["by_severity"].as_array().unwrap();
        assert_eq!(counts.len(), 5);
        for (severity, alone) in &alone {
            let (count, alone) = (&counts[severity - 1], at(alone));
            assert_eq!(count["severity"], *severity);
            assert_eq!((&count["images"], &count["wrong"]), (&alone["images"], &alone["wrong"]));
        }
    };
    check(&found["baseline"], &|found| found["baseline"].clone());
    for number in 0..3 {
        check(&found["lesions"][number], &|found| found["lesions"][number].clone());
    }
    assert!(lesion("synthetic:64,32")["baseline"]["by_severity"].is_null());
}
