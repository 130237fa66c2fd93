//! Do small inputs that programs of others make give the right answers? Each
//! line of the cases' README names files and the right answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use residua::graph::Mode;
use residua::models::{InputShape, ModelSpec, shapes_of};
use residua::weights::{self, CanonicalWeights, NameOptions, Naming, WeightsError, contents, read_canonical};

use crate::support::program::{failure, json, printed, program};

/// What the answer says that a file without a fault gives.
const READS: &str = "reads: 37 tensors under canonical names";

/// The answer of the cases' README that allows an error, too.
const OR_ERROR: &str = "or an error that says";

/// A line of the README.
struct Line {
    /// The names in backquotes before the answer.
    files: Vec<String>,
    /// The right answer.
    answer: String,
}

/// How a file is checked that does not simply have the 37 tensors.
enum Check {
    /// It reads, and this is right about the result.
    Reads(fn(&Path, &CanonicalWeights)),
    /// It is refused within a second, in one line with these words.
    Refused(&'static [&'static str]),
    /// It reads, or is refused with these words.
    ReadsOrRefused(&'static [&'static str]),
    /// Another command must do this.
    Runs(fn(&Path)),
}

use Check::{Reads, ReadsOrRefused, Refused, Runs};

/// The files whose right answer is more, or other, than the 37 tensors.
const CHECKS: &[(&str, Check)] = &[
    ("w-list-of-state_dict.pth", ReadsOrRefused(&["list", "item 0"])),
    ("w-key-network.pth", Reads(|_, weights| table_is(weights, "network"))),
    ("w-key-weights.pth", Reads(|_, weights| table_is(weights, "weights"))),
    ("w-key-ema.pth", Reads(|_, weights| table_is(weights, "ema"))),
    (
        "w-key-state_dict_ema.pth",
        Reads(|_, weights| table_is(weights, "state_dict_ema")),
    ),
    (
        "w-key-model_ema.pth",
        Reads(|_, weights| table_is(weights, "model_ema")),
    ),
    ("w-key-module.pth", Reads(|_, weights| table_is(weights, "module"))),
    ("w-key-backbone.pth", Reads(|_, weights| table_is(weights, "backbone"))),
    (
        "w-nested-model.state_dict.pth",
        Reads(|_, weights| table_is(weights, "model.state_dict")),
    ),
    (
        "w-defaultdict-beside.pth",
        Reads(|_, weights| table_is(weights, "state_dict")),
    ),
    (
        "w-optimizer-object-beside.pth",
        Reads(|_, weights| table_is(weights, "state_dict")),
    ),
    ("w-prefix-model.pth", Reads(|_, weights| prefix_is(weights, "model."))),
    ("w-prefix-net.pth", Reads(|_, weights| prefix_is(weights, "net."))),
    (
        "w-prefix-backbone.pth",
        Reads(|_, weights| prefix_is(weights, "backbone.")),
    ),
    (
        "w-prefix-_orig_mod.pth",
        Reads(|_, weights| prefix_is(weights, "_orig_mod.")),
    ),
    (
        "w-prefix-module._orig_mod.pth",
        Reads(|_, weights| prefix_is(weights, "module._orig_mod.")),
    ),
    ("w-prefix-resnet.pth", Reads(|_, weights| prefix_is(weights, "resnet."))),
    (
        "w-prefix-student.pth",
        Reads(|_, weights| prefix_is(weights, "student.")),
    ),
    (
        "w-robustbench-mu-sigma.pt",
        Reads(|_, weights| assert!(weights.normalization.is_some())),
    ),
    ("w-conv-biases.pth", Reads(biases_are_folded)),
    ("w-thop-buffers.pth", Reads(|_, weights| noted(weights, "total_ops"))),
    ("w-torchscript.pt", Refused(&["TorchScript", "state_dict()"])),
    ("w-gzipped.pth.gz", ReadsOrRefused(&["gzip", "gunzip"])),
    ("w-deflated.pth", ReadsOrRefused(&["compressed", "zip -0"])),
    ("w-zip-around-pth.zip", Refused(&["zip", "resnet.pth", "unpack"])),
    ("w-numpy.npz", ReadsOrRefused(&["NumPy"])),
    ("w-numpy-dict.pkl", ReadsOrRefused(&["NumPy", "torch.save"])),
    (
        "w-plain-pickle-of-state_dict.pkl",
        Refused(&["pickle.dump", "torch.save"]),
    ),
    ("w-hf-folder", Runs(folder_offers_its_configuration)),
    (
        "w-convert-false-success.pth",
        Runs(convert_refuses_names_without_a_rule),
    ),
    ("h-p18-ordereddict-bomb-45KB.pth", Refused(&["repeats itself"])),
    ("h-p19-metadata-bomb-45KB.pth", Refused(&[])),
    ("h-p21-time-bomb-45KB.pth", Refused(&[])),
    ("h-s18-html.safetensors", Refused(&["HTML"])),
    ("h-s18b-git-lfs-pointer.safetensors", Refused(&["git lfs pull"])),
    (
        "h-p30-empty-state_dict-first.pth",
        Runs(the_table_with_tensors_is_taken),
    ),
    (
        "h-p04-negative-stride.pth",
        Refused(&["'layer1.0.conv1.weight' has a negative stride"]),
    ),
    ("h-p01-os-system.pth", Refused(&["os.system"])),
    ("h-p02-os-system-inner.pth", Refused(&["os.system"])),
    ("hostile/negvar.safetensors", Runs(a_negative_variance_is_named)),
    ("hostile/inf-loss.safetensors", Runs(an_infinite_loss_is_an_error)),
];

fn table_is(weights: &CanonicalWeights, table: &str) {
    assert_eq!(weights.table, table);
    noted(weights, &format!("'{table}'"));
}

fn prefix_is(weights: &CanonicalWeights, prefix: &str) {
    assert_eq!(weights.prefix, prefix);
    noted(weights, &format!("'{prefix}'"));
}

fn noted(weights: &CanonicalWeights, words: &str) {
    assert!(
        weights.notes.iter().any(|note| note.contains(words)),
        "{words} in {:?}",
        weights.notes
    );
}

/// Each running mean is smaller by the bias that its convolution had.
fn biases_are_folded(path: &Path, weights: &CanonicalWeights) {
    noted(weights, "7 biases");
    let raw = contents(path).unwrap().tables.swap_remove(0).tensors;
    for (conv, norm) in [("conv1", "bn1"), ("layer2.0.conv2", "layer2.0.bn2")] {
        let (bias, mean) = (
            &raw[&format!("{conv}.bias")].data,
            &raw[&format!("{norm}.running_mean")].data,
        );
        let expected: Vec<f32> = std::iter::zip(mean, bias).map(|(mean, bias)| mean - bias).collect();
        assert!(bias.iter().any(|&bias| bias != 0.0));
        assert_eq!(weights.tensors[&format!("{norm}.running_mean")].data, expected);
    }
}

fn folder_offers_its_configuration(path: &Path) {
    let found = contents(path).unwrap();
    for value in ["resnet20", "10", "0.485", "0.229"] {
        assert!(
            found.facts.values().any(|fact| fact.contains(value)),
            "{value} in {:?}",
            found.facts
        );
    }
    let weights = read_canonical(path, &NameOptions::default(), None);
    let weights = weights.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        weights.normalization,
        Some([vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]])
    );
    has_the_tensors("w-hf-folder", &weights);
}

fn convert_refuses_names_without_a_rule(path: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let (code, error) = failure(program("tools").arg("convert").arg(path).arg(&out));
    assert_eq!(code, 1);
    assert!(error.contains("first_block.weight") && !out.exists(), "{error}");
}

fn the_table_with_tensors_is_taken(path: &Path) {
    let weights = read_canonical(path, &NameOptions::default(), None).unwrap();
    table_is(&weights, "model");
}

fn evaluated(path: &Path, model: &str) -> String {
    let (code, error) = failure(
        program("residua")
            .args([
                "eval",
                "--adapter",
                "reference",
                "--data",
                "synthetic:32,32",
                "--model",
                model,
                "--weights",
            ])
            .arg(path),
    );
    assert_eq!(code, 1, "{error}");
    error
}

fn a_negative_variance_is_named(path: &Path) {
    let error = evaluated(path, "resnet8");
    assert!(error.contains("running_var"), "{error}");
}

fn an_infinite_loss_is_an_error(path: &Path) {
    let error = evaluated(path, "resnet8");
    assert!(error.contains("not finite"), "{error}");
}

/// The folder of the cases.
fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases")
}

/// The lines about files whose names begin with one of `kinds`.
pub fn lines(readme: &str, kinds: &[&str]) -> Vec<(String, String)> {
    let parsed = readme.lines().filter_map(parse);
    let of_kind = |file: &String| {
        let name = file.rsplit('/').next().unwrap_or_default();
        kinds.iter().any(|kind| name.starts_with(kind)) || (kinds.contains(&"h-") && file.starts_with("hostile/"))
    };
    let pairs = parsed.flat_map(|line| line.files.into_iter().map(move |file| (file, line.answer.clone())));
    pairs.filter(|(file, _)| of_kind(file)).collect()
}

/// `- `file`, `file` — answer — today`: the files and the answer.
fn parse(line: &str) -> Option<Line> {
    let line = line.strip_prefix("- ")?;
    // In one line a colon takes the place of the dash.
    let (names, rest) = line.split_once(" — ").or_else(|| line.split_once(": "))?;
    let files: Vec<String> = names.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let answer = rest.split(" — today").next().unwrap_or(rest).to_owned();
    (!files.is_empty()).then_some(Line { files, answer })
}

/// The tensors that a file of the 37 has: those of a small `resnet8`.
fn expected() -> BTreeMap<String, Vec<usize>> {
    let model: ModelSpec = "resnet8".parse().unwrap();
    let graph = model.build(&InputShape::default(), Mode::Eval).unwrap().graph;
    let narrow = |extent: usize| match extent {
        16 => 2,
        32 => 4,
        64 => 8,
        other => other,
    };
    let shapes = shapes_of(&graph).into_iter();
    shapes
        .map(|(name, shape)| (name, shape.into_iter().map(narrow).collect()))
        .collect()
}

fn has_the_tensors(file: &str, weights: &CanonicalWeights) {
    let shapes = weights.tensors.iter();
    let shapes: BTreeMap<String, Vec<usize>> = shapes
        .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
        .collect();
    assert_eq!(shapes, expected(), "{file}");
}

/// Reads a file within a second: no file of the cases is large.
fn read_quickly(path: &Path) -> Result<CanonicalWeights, WeightsError> {
    let start = Instant::now();
    let read = read_canonical(path, &NameOptions::default(), None);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{}: {:?}",
        path.display(),
        start.elapsed()
    );
    read
}

fn refused(file: &str, error: &WeightsError, words: &[&str]) {
    let error = error.to_string();
    assert!(!error.contains('\n') && error.len() < 1000, "{error}");
    for word in words {
        assert!(error.contains(word), "{file}: '{word}' in '{error}'");
    }
}

/// What the README's line demands of a weights file.
fn check(file: &str, answer: &str, path: &Path) {
    let special = CHECKS.iter().find(|(name, _)| *name == file).map(|(_, check)| check);
    let reads = answer.contains(READS) || answer.contains("reads: the 37 tensors");
    match special {
        Some(Runs(run)) => run(path),
        Some(Reads(more)) => {
            let weights = read_quickly(path).unwrap_or_else(|error| panic!("{file}: {error}"));
            let is_read = reads || answer.contains("fold") || answer.contains("left out");
            assert!(is_read, "{file}: {answer}");
            has_the_tensors(file, &weights);
            more(path, &weights);
        }
        Some(Refused(words)) => match read_quickly(path) {
            Ok(_) => panic!("{file} was read"),
            Err(error) => refused(file, &error, words),
        },
        Some(ReadsOrRefused(words)) => {
            assert!(reads && answer.contains(OR_ERROR), "{file}: {answer}");
            match read_quickly(path) {
                Ok(weights) => has_the_tensors(file, &weights),
                Err(error) => refused(file, &error, words),
            }
        }
        None => {
            let by_name = answer.starts_with("reads: `num_batches_tracked`");
            assert!(reads || by_name, "{file} has no check for the answer: {answer}");
            let weights = read_quickly(path).unwrap_or_else(|error| panic!("{file}: {error}"));
            has_the_tensors(file, &weights);
        }
    }
}

/// Checks every line about the given kinds, and says all that are wrong.
fn check_lines(kinds: &[&str], folder: &str, check: impl Fn(&str, &str, &Path) + std::panic::RefUnwindSafe) {
    let cases = cases();
    let Ok(readme) = fs::read_to_string(cases.join("README.md")) else {
        eprintln!("skipped: there is no {}", cases.join("README.md").display());
        return;
    };
    let lines = lines(&readme, kinds);
    assert!(lines.len() > 5, "the README has no lines about {kinds:?}");
    let wrong = lines.iter().filter(|(file, answer)| {
        let name = file.rsplit('/').next().unwrap_or(file);
        let path = cases.join(folder).join(name);
        assert!(path.exists(), "{} is missing", path.display());
        std::panic::catch_unwind(|| check(file, answer, &path)).is_err()
    });
    let wrong: Vec<&str> = wrong.map(|(file, _)| file.as_str()).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} are wrong: {wrong:?}",
        wrong.len(),
        lines.len()
    );
}

#[test]
fn foreign_weights_have_the_right_answers() {
    check_lines(&["w-"], "weights", check);
}

#[test]
fn hostile_weights_have_the_right_answers() {
    check_lines(&["h-"], "hostile", check);
}

#[test]
fn no_check_is_for_a_file_that_no_line_names() {
    let Ok(readme) = fs::read_to_string(cases().join("README.md")) else {
        eprintln!("skipped: there is no {}", cases().join("README.md").display());
        return;
    };
    let named = lines(&readme, &["w-", "h-"]);
    for (file, _) in CHECKS {
        assert!(named.iter().any(|(name, _)| name == file), "{file}");
    }
}

/// The names of dialects need the rules of one; the others are matched by
/// structure.
#[test]
fn names_of_no_dialect_are_matched_by_structure() {
    let path = cases().join("weights/w-names-weiaicunzai.pth");
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return;
    }
    let renames = [
        "conv1.0=stem.c",
        "conv1.1=stem.n",
        "conv2_x=a1",
        "conv3_x=a2",
        "conv4_x=a3",
    ];
    let options = NameOptions {
        table: None,
        renames: renames.iter().map(|rename| rename.parse().unwrap()).collect(),
    };
    let known = read_canonical(&path, &NameOptions::default(), None).unwrap();
    let unknown = read_canonical(&path, &options, None).unwrap();
    assert_eq!(unknown.naming, Naming::Structure);
    assert_eq!(unknown.tensors, known.tensors);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo.pth");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let zero = folder.path().join("zero.pth");
    std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
    for path in [fifo.as_path(), Path::new("/dev/zero"), &zero] {
        let error = read_quickly(path).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        let out = folder.path().join("out.safetensors");
        let (code, _) = failure(program("residua").arg("convert").arg(path).arg(&out));
        assert_eq!(code, 1);
        assert!(weights::hash(path).is_err());
    }
}

#[test]
fn convert_says_what_it_did_and_writes_only_safetensors() {
    let path = cases().join("weights/w-prefix-module._orig_mod.pth");
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let said = printed(program("tools").arg("convert").arg(&path).arg(&out));
    assert!(
        said.contains("37 tensors, torchvision names to canonical names"),
        "{said}"
    );
    let (code, error) = failure(
        program("tools")
            .arg("convert")
            .arg(&path)
            .arg(folder.path().join("out.pth")),
    );
    assert_eq!(code, 2);
    assert!(error.contains(".safetensors"), "{error}");
    let another = folder.path().join("another.safetensors");
    let (code, error) = failure(
        program("tools")
            .args(["convert", "--model", "resnet8"])
            .arg(&path)
            .arg(&another),
    );
    assert_eq!(code, 1);
    assert!(error.contains("does not fit resnet8") && !another.exists(), "{error}");
}

#[test]
fn inspect_says_what_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let known = cases().join("hostile/inf-loss.safetensors");
    let small = cases().join("weights/w-prefix-module._orig_mod.pth");
    if !known.exists() || !small.exists() {
        eprintln!("skipped: there is no {}", known.display());
        return;
    }
    let inspected = |path: &Path| json(program("residua").args(["inspect", "--json"]).arg(path));
    let found = inspected(&known);
    assert_eq!(found["models"][0], "resnet8");
    assert_eq!(found["models"].as_array().unwrap().len(), 4);
    assert_eq!((&found["classes"], &found["channels"]), (&10.into(), &3.into()));
    assert_eq!(
        (&found["parameters"], &found["names"]),
        (&75_290.into(), &"torchvision".into())
    );
    assert_eq!(found["blocks"], serde_json::json!([1, 1, 1]));
    assert_eq!(found["facts"]["model"], "resnet8");
    let found = inspected(&small);
    assert_eq!(
        (&found["prefix"], &found["tensors"]),
        (&"module._orig_mod.".into(), &37.into())
    );
    assert_eq!(found["models"], serde_json::json!([]));
    let text = printed(program("residua").arg("inspect").arg(&known));
    // Lines are broken by the length of the path.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("of resnet8") && text.contains("75 290"), "{text}");
    // What cannot be understood is described as far as it is readable.
    let found = inspected(&cases().join("weights/w-convert-false-success.pth"));
    assert!(found["problem"].as_str().unwrap().contains("first_block"), "{found}");
    // A name that is no file is a model's.
    let (code, error) = failure(
        program("residua")
            .args(["inspect", "no-such-file.pth"])
            .current_dir(folder.path()),
    );
    assert_eq!(code, 2, "{error}");
    let (code, error) = failure(program("residua").args(["inspect", "resnet8", "--data", "synthetic"]));
    assert!(code == 2 && error.contains("--data"), "{error}");
}

#[test]
fn inspect_ranks_normalisations_of_the_model_that_the_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let small = [
        "train",
        "--model",
        "resnet8:shortcut=A-end",
        "--data",
        "synthetic:64,32",
        "--steps",
        "2",
    ];
    printed(
        program("residua")
            .args(small)
            .args(["--batch-size", "16", "--adapter", "reference", "--out"])
            .arg(&run),
    );
    let ranks = [
        "inspect",
        "--json",
        "--data",
        "synthetic:64,32",
        "--limit-test",
        "8",
        "--adapter",
        "reference",
    ];
    let found = json(program("residua").args(ranks).arg(&run));
    let ranks = found["ranks"].as_array().unwrap();
    let models: std::collections::BTreeSet<&str> = ranks.iter().map(|rank| rank["model"].as_str().unwrap()).collect();
    // The run's file says which model it is of.
    assert_eq!(Vec::from_iter(models.clone()), ["resnet8:shortcut=A-end"]);
    let errors: Vec<f64> = ranks.iter().map(|rank| rank["error"].as_f64().unwrap()).collect();
    assert!(errors.is_sorted() && errors.len() >= 3 * models.len(), "{errors:?}");
}
