//! Do the programs do what they promise a user? Exit codes, one-line errors,
//! help, run directories, and a run that is killed and resumed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::metrics::without_time;
use crate::support::program::{failure, json, printed, program};
use assert_cmd::Command;

/// The settings of a run that trains in seconds on a software device.
const SMALL: [&str; 10] = [
    "--model",
    "resnet8",
    "--data",
    "synthetic:96,32",
    "--batch-size",
    "16",
    "--epochs",
    "2",
    "--lr",
    "0.05",
];

fn train(extra: &[&str], out: &Path) -> Command {
    let mut command = program("residua");
    command.arg("train").args(SMALL).args(extra).arg("--out").arg(out);
    command
}

/// Writes CIFAR-10 files with a few records each to `folder`.
pub fn cifar(folder: &Path, records: usize) -> String {
    for index in 0..6 {
        let name = if index == 5 {
            "test_batch.bin".to_string()
        } else {
            format!("data_batch_{}.bin", index + 1)
        };
        let record = |number: usize| {
            let mut bytes = vec![((number * 7 + index) % 10) as u8];
            bytes.extend((0..3072).map(|at| (at * (number + 3) % 251) as u8));
            bytes
        };
        fs::write(folder.join(name), (0..records).flat_map(record).collect::<Vec<u8>>()).unwrap();
    }
    format!("cifar10:{}", folder.display())
}

#[test]
fn wrong_arguments_exit_with_2_and_one_line() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["train", "--batch-size", "0"],
            "--batch-size 0 is not between 1 and 65536",
        ),
        (&["train", "--batch-size", "x"], "--batch-size"),
        (&["train", "--epochs", "0"], "--epochs 0"),
        (&["train", "--lr", "-1"], "--lr -1"),
        (&["train", "--lr", "NaN"], "--lr NaN"),
        (&["train", "--model", "resnet21"], "21"),
        (&["train", "--model", "wrn-16-1:colour=red"], "colour"),
        (&["train", "--data", "imagenet22:/tmp"], "imagenet22"),
        (&["train", "--schedule", "sometimes"], "sometimes"),
        (&["train", "--augment", "rotate"], "rotate"),
        (&["train", "--precision", "f8"], "--precision"),
        (
            &["train", "--precision", "f16", "--adapter", "reference"],
            "--precision f32",
        ),
        (&["train", "--dropout", "1.5"], "1.5"),
        (&["train", "--no-such-flag"], "--no-such-flag"),
        (&["train", "--epoch", "1"], "a similar argument exists: '--epochs'"),
        (&["trian"], "a similar subcommand exists: 'train'"),
        (&["train", "--recompute", "block"], "a similar value exists: 'blocks'"),
        (&["train", "--sample-blocks", "0"], "--sample-blocks 0"),
        (&["train", "--seed", "9223372036854775808"], "--seed"),
        (
            &["inspect", "resnet20", "--batch-size", "0"],
            "--batch-size 0 is not between 1 and 65536",
        ),
        (
            &["tune", "resnet20", "--batch-size", "65537"],
            "--batch-size 65537 is not between 1 and 65536",
        ),
        (&["completions", "sh"], "possible values: bash"),
        (&["nonsense"], "nonsense"),
        (&[], "a command is missing"),
    ];
    for (arguments, part) in cases {
        let (code, line) = failure(program("residua").args(*arguments));
        assert_eq!(code, 2, "{arguments:?}: {line}");
        assert!(line.contains(part), "{arguments:?}: {line}");
    }
    let (code, line) = failure(program("tools").args(["inspect", "resnet19"]));
    assert_eq!((code, line.contains("resnet19")), (2, true), "{line}");
}

/// The names under "Commands:" of a program's help, but for `help` itself.
fn commands(name: &str) -> Vec<String> {
    let help = printed(program(name).arg("--help"));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_string())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn both_programs_have_every_command_and_its_help() {
    let names = commands("residua");
    assert_eq!(names, commands("tools"));
    for name in [
        "train",
        "eval",
        "explain",
        "devices",
        "doctor",
        "lesion",
        "paths",
        "sweep",
        "stochastic-depth",
        "features",
        "curves",
        "models",
        "draw",
        "inspect",
        "bench",
        "tune",
        "convert",
        "completions",
        "man",
    ] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        let help = |program_name: &str| printed(program(program_name).args([name, "--help"]));
        let usage = format!("Usage: residua {name}");
        assert!(help("residua").contains(&usage), "{name}");
        assert_eq!(
            help("residua").replace(&usage, ""),
            help("tools").replace(&format!("Usage: tools {name}"), "")
        );
    }
    let inspected = |name: &str| json(program(name).args(["inspect", "resnet8", "--json"]));
    assert_eq!(inspected("residua"), inspected("tools"));
}

#[test]
fn without_a_command_the_help_is_shown() {
    let output = program("residua").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(
        text.contains("Commands:") && text.contains("stochastic-depth"),
        "{text}"
    );
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("error: a command is missing"), "{text}");
}

#[test]
fn each_shell_gets_its_completions() {
    for (shell, parts) in [
        ("bash", ["complete -F _residua", "stochastic-depth"]),
        ("zsh", ["#compdef residua", "--batch-size"]),
        ("fish", ["complete -c residua", "-l batch-size"]),
        ("elvish", ["edit:completion:arg-completer[residua]", "--batch-size"]),
        ("powershell", ["Register-ArgumentCompleter", "'--batch-size'"]),
    ] {
        let script = printed(program("residua").args(["completions", shell]));
        for part in parts {
            assert!(script.contains(part), "{shell}: {part}");
        }
    }
    assert!(printed(program("tools").args(["completions", "bash"])).contains("complete -F _tools"));
    // A shell that is installed can parse the script.
    let script = printed(program("residua").args(["completions", "bash"]));
    let mut bash = Command::new("bash");
    if std::process::Command::new("bash").arg("--version").output().is_ok() {
        bash.arg("-n").write_stdin(script).assert().success();
    }
}

#[test]
fn manual_pages_are_printed_or_written() {
    let page = printed(program("residua").arg("man"));
    assert!(
        page.contains(".TH residua 1") && page.contains("stochastic\\-depth"),
        "{page}"
    );
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pages");
    program("residua").args(["man", "--out"]).arg(&out).assert().success();
    let mut written: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected: Vec<String> = commands("residua")
        .iter()
        .map(|name| format!("residua-{name}.1"))
        .collect();
    expected.push("residua.1".into());
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
    assert_eq!(fs::read_to_string(out.join("residua.1")).unwrap(), page);
    let train = fs::read_to_string(out.join("residua-train.1")).unwrap();
    assert!(train.contains(".TH residua-train 1"), "{train}");
    assert!(
        train.contains("residua train") && train.contains("\\-\\-batch\\-size"),
        "{train}"
    );
}

#[test]
fn log_lines_are_written_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = |log: Option<&str>, name: &str| {
        let out = folder.path().join(name);
        let mut command = train(&["--epochs", "1", "--no-autotune", "--json"], &out);
        command.env_remove("RUST_LOG").envs(log.map(|log| ("RUST_LOG", log)));
        let output = command.output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("one JSON object and nothing else");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!run(None, "quiet").contains("DEBUG"));
    let text = run(Some("residua=debug"), "loud");
    for part in ["opened", "compiled in", "last.safetensors"] {
        assert!(
            text.lines().any(|line| line.contains("DEBUG") && line.contains(part)),
            "{part} in {text}"
        );
    }
}

#[test]
fn missing_and_damaged_files_exit_with_1_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    fs::create_dir(&good).unwrap();
    cifar(&good, 4);
    let spoil = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let bad = folder.path().join(name);
        fs::create_dir(&bad).unwrap();
        cifar(&bad, 4);
        let path = bad.join("data_batch_2.bin");
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        format!("cifar10:{}", bad.display())
    };
    let cases = [
        (
            spoil("short", &|bytes| bytes.truncate(3073 * 3 + 17)),
            "data_batch_2.bin",
        ),
        (
            spoil("long", &|bytes| bytes.resize(3073 * 10_001, 0)),
            "data_batch_2.bin",
        ),
        (spoil("label", &|bytes| bytes[3073] = 10), "data_batch_2.bin"),
        (format!("cifar10:{}/nowhere", folder.path().display()), "nowhere"),
    ];
    for (data, part) in cases {
        let out = folder.path().join("out");
        let (code, line) = failure(program("residua").args(["train", "--data", &data, "--out"]).arg(&out));
        assert_eq!(code, 1, "{line}");
        assert!(line.contains(part), "{line}");
        assert!(!out.exists(), "nothing is written for {data}");
    }
    let (code, line) = failure(program("residua").args(["eval", "--run", "/nonexistent-run"]));
    assert_eq!((code, line.contains("/nonexistent-run")), (1, true), "{line}");
    let (code, line) = failure(
        program("residua")
            .args(["eval", "--adapter", "no such adapter", "--run"])
            .arg(&good),
    );
    assert_eq!(code, 1, "{line}");
}

#[test]
fn a_run_leaves_its_files_and_can_be_evaluated_and_lesioned() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let result = json(&mut train_json(&["--log-steps"], &out));
    assert_eq!(result["epochs"], 2);
    for name in [
        "run.toml",
        "metrics.csv",
        "steps.csv",
        "curves.svg",
        "last.safetensors",
        "best.safetensors",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let metrics = fs::read_to_string(out.join("metrics.csv")).unwrap();
    let header =
        "epoch,train_loss,train_error,test_loss,test_error,lr,images_per_second,seconds,gradient_norm,loss_scale";
    assert_eq!(metrics.lines().next(), Some(header));
    assert_eq!(metrics.lines().count(), 3);
    let steps = fs::read_to_string(out.join("steps.csv")).unwrap();
    assert_eq!(steps.lines().next(), Some("step,loss,error,lr"));
    assert_eq!(steps.lines().count(), 13);

    let planned = result["memory"]["planned"].as_f64().unwrap();
    if let Some(reported) = result["memory"]["reported"].as_f64() {
        assert!((reported / planned - 1.0).abs() < 0.05, "{}", result["memory"]);
    }

    let evaluated = json(program("residua").args(["eval", "--json", "--run"]).arg(&out));
    assert_eq!(evaluated["images"], 32);
    assert_eq!(evaluated["error"], result["test_error"]);

    let mut lesion = program("tools");
    lesion
        .args(["lesion", "--json", "--delete-block", "each", "--run"])
        .arg(&out);
    let lesions = json(&mut lesion);
    assert_eq!(lesions["baseline"]["wrong"], evaluated["wrong"]);
    let rows = lesions["lesions"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2]["blocks"], serde_json::json!([3]));
    assert_eq!(rows[2]["names"], serde_json::json!(["layer3.0"]));
    for row in rows {
        assert_eq!(row["images"], 32);
        assert_ne!(row["loss"], lesions["baseline"]["loss"]);
    }
    let mut beyond = program("tools");
    beyond.args(["lesion", "--delete-block", "4", "--run"]).arg(&out);
    let (code, line) = failure(&mut beyond);
    assert_eq!(code, 2, "{line}");
    assert!(line.contains("block 4") && line.contains("1 to 3"), "{line}");

    // The run's own settings, given back with --config, train the same bits.
    let again = folder.path().join("again");
    let mut fed = program("residua");
    fed.args(["train", "--config"])
        .arg(out.join("run.toml"))
        .arg("--out")
        .arg(&again);
    fed.assert().success();
    assert_same(&out.join("last.safetensors"), &again.join("last.safetensors"));

    // A run is never overwritten.
    let before = fs::read(out.join("last.safetensors")).unwrap();
    let (code, line) = failure(&mut train(&[], &out));
    assert_eq!((code, line.contains("--resume")), (1, true), "{line}");
    assert_eq!(fs::read(out.join("last.safetensors")).unwrap(), before);

    // A checkpoint that is truncated is refused, and a model that contradicts it.
    let cut = folder.path().join("cut.safetensors");
    fs::write(&cut, &before[..before.len() / 2]).unwrap();
    for (weights, model, expected) in [(&cut, "resnet8", 1), (&out.join("last.safetensors"), "resnet14", 2)] {
        let mut eval = program("residua");
        eval.args(["eval", "--data", "synthetic:96,32", "--model", model, "--weights"])
            .arg(weights);
        let (code, line) = failure(&mut eval);
        assert_eq!(code, expected, "{line}");
        assert!(line.contains("safetensors"), "{line}");
    }
}

fn train_json(extra: &[&str], out: &Path) -> Command {
    let mut command = train(extra, out);
    command.arg("--json");
    command
}

fn assert_same(a: &Path, b: &Path) {
    assert!(
        fs::read(a).unwrap() == fs::read(b).unwrap(),
        "{} and {} differ",
        a.display(),
        b.display()
    );
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let settings = &["--checkpoint-every", "2", "--log-steps", "--log-gradients"];
    train(settings, &whole).assert().success();

    let killed = folder.path().join("killed");
    // Killed three times: at once, within the first epoch, and later.
    for (attempt, wait) in [0u64, 700, 1500].into_iter().enumerate() {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("residua"));
        child.arg("train");
        if attempt == 0 || !killed.join("run.toml").exists() {
            let _ = fs::remove_dir_all(&killed);
            // Recomputation changes no bit.
            child.args(SMALL).args(settings).args(["--recompute", "blocks"]);
            child.arg("--out").arg(&killed);
        } else {
            child.arg("--resume").arg(&killed);
        }
        child
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null());
        let mut child = child.spawn().unwrap();
        let started = std::time::Instant::now();
        // Counted from the moment when the run exists, so that slow machines are
        // also interrupted in the middle.
        while !killed.join("run.toml").exists() && started.elapsed() < Duration::from_secs(120) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    program("residua")
        .args(["train", "--resume"])
        .arg(&killed)
        .assert()
        .success();
    for name in ["last.safetensors", "best.safetensors", "steps.csv", "gradients.csv"] {
        assert_same(&whole.join(name), &killed.join(name));
    }
    assert_eq!(without_time(&whole), without_time(&killed));

    let (code, line) = failure(program("residua").args(["train", "--lr", "1", "--resume"]).arg(&killed));
    assert_eq!((code, line.contains("--lr")), (2, true), "{line}");
    let recompute = ["train", "--recompute", "none", "--resume"];
    let (code, line) = failure(program("residua").args(recompute).arg(&killed));
    assert_eq!((code, line.contains("--recompute")), (2, true), "{line}");
}

#[test]
fn a_diverging_run_stops_and_says_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (code, line) = failure(&mut train(
        &["--lr", "1e6", "--schedule", "constant", "--epochs", "9"],
        &out,
    ));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("diverged") && line.contains("step"), "{line}");
}

#[test]
fn models_lists_networks_and_tells_the_recipe_of_one() {
    let listed = json(program("tools").args(["models", "WRN_28", "--json"]));
    let listed = listed["models"].as_array().unwrap();
    assert!(
        listed
            .iter()
            .all(|model| model["name"].as_str().unwrap().starts_with("wrn-28"))
    );
    assert!(
        listed.iter().any(|model| model["parameters"] == 36_479_194),
        "{listed:?}"
    );
    let text = printed(program("residua").args(["models", "resnet110"]));
    for part in [
        "1 727 962",
        "6.43  He et al. 2015, arXiv:1512.03385, table 6",
        "--model resnet110 --data cifar10:DIR",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (code, line) = failure(program("residua").args(["models", "alexnet"]));
    assert_eq!((code, line.contains("`residua models` lists all")), (2, true), "{line}");
}

/// `resnet18` is another network on small images than on photographs.
#[test]
fn a_name_that_leaves_the_stem_open_says_which_one_it_has() {
    let said = |input: &str| {
        let output = program("residua")
            .args(["inspect", "resnet18", "--input", input, "--json"])
            .output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    let small = said("3x32x32");
    assert!(
        small.starts_with("resnet18 on 3x32x32 images has the stem for small images"),
        "{small}"
    );
    assert_eq!(said("3x224x224"), "");
}

#[test]
fn inspect_and_devices_answer_in_json() {
    let inspected = json(program("tools").args(["inspect", "resnet20", "--json"]));
    assert_eq!(inspected["parameters"], 269_722);
    assert_eq!(inspected["macs"], 40_551_040);
    let peak = |recompute: &str| {
        let arguments = ["inspect", "resnet20", "--recompute", recompute, "--json"];
        let inspected = json(program("tools").args(arguments));
        assert_eq!(inspected["memory"]["recompute"], recompute);
        inspected["memory"]["peak_training"].as_u64().unwrap()
    };
    let (none, cheap, blocks) = (peak("none"), peak("cheap"), peak("blocks"));
    assert_eq!(inspected["memory"]["peak_training"], none);
    assert!(4 * cheap < 3 * none && 2 * blocks < none, "{none}, {cheap}, {blocks}");
    let blocks = inspected["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 9);
    assert_eq!(
        (&blocks[3]["number"], &blocks[3]["name"]),
        (&4.into(), &"layer2.0".into())
    );
    let devices = json(program("residua").args(["devices", "--json"]));
    assert!(
        !devices["adapters"].as_array().unwrap().is_empty(),
        "tests need a Vulkan device: see `make test`"
    );
}

/// The folder with real data, if there is one.
pub fn real_data() -> Option<PathBuf> {
    let named = std::env::var_os("RESIDUA_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let found = named
        .into_iter()
        .chain([beside])
        .find(|path| path.join("cifar10-weights").is_dir());
    if found.is_none() {
        eprintln!("RUNS WITHOUT REAL DATA: neither $RESIDUA_DATA nor ../shared/data is there");
    }
    found
}

#[test]
fn trained_weights_score_what_their_makers_say() {
    let Some(data) = real_data() else { return };
    // The first 1,000 test images: PyTorch gets 85 of them wrong, with a mean
    // loss of 0.384205 (for all 10,000 see the README).
    let mut eval = program("residua");
    eval.args([
        "eval", "--json", "--model", "resnet20", "--mean", "imagenet", "--std", "imagenet",
    ])
    .args(["--limit-test", "1000", "--weights"])
    .arg(data.join("cifar10-weights/resnet20.safetensors"))
    .arg("--data")
    .arg(format!("cifar10:{}", data.join("cifar-10-batches-bin").display()));
    let evaluated = json(&mut eval);
    assert_eq!(evaluated["images"], 1000);
    assert_eq!(evaluated["wrong"], 85);
    let loss = evaluated["loss"].as_f64().unwrap();
    assert!((loss - 0.384_205).abs() < 1e-5, "{loss}");
}

#[test]
fn kernels_are_recorded_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let tools = |arguments: &[&str]| {
        let output = program("tools")
            .arg("tune")
            .args(arguments)
            .env("XDG_CACHE_HOME", &cache)
            .env("HOME", &cache)
            .env("LOCALAPPDATA", &cache)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(output.stderr));
        text(output.stdout)
    };
    let path = |name: &str| folder.path().join(name).display().to_string();
    // Written by hand, for a device that does not exist: kernels run on any.
    let work = "weight gradient 3x3 stride 1 padding 1, N×16×32×32 to N×16×32×32";
    let kernels = format!(
        "version = 2\n[[device]]\nadapter = 'a'\nbackend = 'b'\ndriver = 'c'\ndriver-version = '1'\nresidua = '0'\n\
         kernels = 'k'\n[[device.kernel]]\nwork = '{work}'\nbatch = 16\nalgorithm = 'wgrad strips 4x4x2 splits 64 wg 64'\n"
    );
    fs::write(path("kernels.toml"), &kernels).unwrap();
    assert!(tools(&["--list"]).contains("no kernels"));
    assert!(tools(&["--import", &path("kernels.toml")]).contains("imported 1 kernel"));
    assert!(tools(&["--list"]).contains("wgrad strips 4x4x2 splits 64 wg 64"));
    assert!(tools(&["--export", &path("exported.toml")]).contains("exported 1 kernel"));
    tools(&["--clear"]);
    assert!(tools(&["--list"]).contains("no kernels"));

    // The chosen kernel adds in another order than the default algorithm.
    let runs = ["default", "replayed", "resumed"].map(|name| folder.path().join(name));
    let short = ["--limit-train", "48", "--limit-test", "16", "--schedule", "constant"];
    train(&short, &runs[0]).arg("--no-autotune").assert().success();
    let replay = ["--tuning", &path("exported.toml")];
    train(&short, &runs[1]).args(replay).assert().success();
    assert!(!runs[0].join("tuning.toml").exists());
    let recorded = fs::read_to_string(runs[1].join("tuning.toml")).unwrap();
    assert!(
        recorded.contains(work) && recorded.contains("wgrad strips 4x4x2 splits 64 wg 64"),
        "{recorded}"
    );
    let weights = |run: &Path| fs::read(run.join("last.safetensors")).unwrap();
    assert!(weights(&runs[0]) != weights(&runs[1]));

    // A resumed run uses the kernels in its own file. This one had to stop after
    // its first epoch; then it goes on.
    let replay = ["--tuning", &runs[1].join("tuning.toml").display().to_string()];
    let epochs = SMALL.iter().position(|argument| *argument == "--epochs").unwrap();
    let without_epochs = [&SMALL[..epochs], &SMALL[epochs + 2..]].concat();
    program("residua")
        .arg("train")
        .args(without_epochs)
        .args(short)
        .args(["--steps", "3"])
        .args(replay)
        .arg("--out")
        .arg(&runs[2])
        .assert()
        .success();
    program("residua")
        .args(["train", "--epochs", "2", "--resume"])
        .arg(&runs[2])
        .assert()
        .success();
    assert!(weights(&runs[2]) == weights(&runs[1]));

    let cases: [(&[&str], i32, &str); 4] = [
        (&["train", "--tuning", &path("old.toml")], 1, "older version"),
        (&["train", "--tuning", "f", "--no-autotune"], 2, "--no-autotune"),
        (&["train", "--tuning", &path("none.toml")], 1, "none.toml"),
        (&["train", "--tuning", &path("damaged.toml")], 1, "damaged.toml"),
    ];
    fs::write(path("damaged.toml"), kernels.replace("4x4x2", "4x4")).unwrap();
    // A file as it was before files had a version.
    let old = kernels
        .replace("version = 2\n", "")
        .replace("device.kernel", "device.choice");
    let old = old.replace("algorithm = ", "kernel = ");
    fs::write(path("old.toml"), &old).unwrap();
    for (arguments, expected, part) in cases {
        let (code, line) = failure(program("residua").args(arguments).args(["--out", &path("x")]));
        assert_eq!((code, line.contains(part)), (expected, true), "{line}");
    }
    // A run with such a file does not resume with other kernels.
    fs::write(runs[2].join("tuning.toml"), &old).unwrap();
    let (code, line) = failure(program("residua").args(["train", "--resume"]).arg(&runs[2]));
    assert_eq!((code, line.contains("older version")), (1, true), "{line}");
    // The user's cache of that form is renamed.
    let places = ["residua", "Library/Caches/residua"].map(|place| cache.join(place).join("tuning.toml"));
    let own = places.iter().find(|place| place.exists()).unwrap();
    fs::write(own, &old).unwrap();
    assert!(tools(&["--list"]).contains("no kernels"));
    assert_eq!(fs::read_to_string(own.with_extension("toml.old")).unwrap(), old);
    let (code, line) = failure(
        program("residua")
            .args(["train", "--tuning", "f", "--resume"])
            .arg(&runs[1]),
    );
    assert_eq!((code, line.contains("--tuning")), (2, true), "{line}");
    let (code, line) = failure(program("tools").args(["tune"]));
    assert_eq!(code, 2, "{line}");
}
