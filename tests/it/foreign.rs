//! Do files for other programs have the names and shapes that their modules ask
//! for in strict mode? `tests/fixtures/foreign-names.txt` has what PyTorch says.
//! Where PyTorch is at hand and asked for, it loads them and computes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use residua::graph::Mode;
use residua::models::{InputShape, ModelSpec};
use residua::weights::{self, Layout, Tensor, TensorMap, to_dialect};

use crate::support::program::{failure, printed, program};
use crate::support::python::python_with;

const NAMES: &str = include_str!("../fixtures/foreign-names.txt");

/// Names of tensors with their shapes; a counter has none.
type Shapes = BTreeMap<String, Vec<usize>>;

/// The cases of the file: a dialect, a model, the side of its images and its
/// classes; and the lines of each.
fn cases() -> Vec<(&'static str, BTreeSet<&'static str>)> {
    let mut cases: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for block in NAMES.split("\n= ").skip(1) {
        let mut lines = block.lines().filter(|line| !line.is_empty());
        let title = lines.next().unwrap();
        let mut own = BTreeSet::new();
        for line in lines {
            if let Some(other) = line.strip_prefix("as ") {
                own.clone_from(&cases.iter().find(|(title, _)| *title == other).unwrap().1);
            } else if let Some(without) = line.strip_prefix("- ") {
                assert!(own.remove(without), "{title}: {without}");
            } else {
                own.insert(line);
            }
        }
        cases.push((title, own));
    }
    cases
}

/// The tensors that the lines stand for.
fn listed(lines: &BTreeSet<&str>) -> Shapes {
    let mut shapes = Shapes::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let &[layer, kind, shape] = &words[..] else {
            panic!("{line}")
        };
        let shape: Vec<usize> = match shape {
            "one" => Vec::new(),
            shape => shape.split('×').map(|extent| extent.parse().unwrap()).collect(),
        };
        let mut add = |part: &str, shape: &[usize]| drop(shapes.insert(format!("{layer}.{part}"), shape.to_vec()));
        match kind {
            "norm" => {
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    add(part, &shape);
                }
                add("num_batches_tracked", &[]);
            }
            "conv" => add("weight", &shape),
            "linear" => {
                add("weight", &shape);
                add("bias", &shape[..1]);
            }
            "-" => drop(shapes.insert(layer.to_owned(), shape)),
            part => add(part, &shape),
        }
    }
    shapes
}

/// The names and shapes of what this program writes for the model. Only the shapes
/// of its tensors count.
fn written(title: &str) -> Shapes {
    let words: Vec<&str> = title.split(' ').collect();
    let &[dialect, model, side, classes] = &words[..] else {
        panic!("{title}")
    };
    let side = side.parse().unwrap();
    let input = InputShape {
        channels: 3,
        height: side,
        width: side,
        classes: classes.parse().unwrap(),
    };
    let model: ModelSpec = model.parse().unwrap();
    let layout = Layout::of(&model.build(&input, Mode::Eval).unwrap().graph);
    let tensors: TensorMap = layout
        .tensors()
        .into_iter()
        .map(|(name, shape)| (name, Tensor { shape, data: vec![] }))
        .collect();
    let exported = to_dialect(tensors, dialect.parse().unwrap(), Some(&layout), 0).unwrap();
    let tensors = exported.tensors.into_iter().map(|(name, tensor)| (name, tensor.shape));
    let counters = exported.counters.into_keys().map(|name| (name, Vec::new()));
    tensors.chain(counters).collect()
}

#[test]
fn files_for_other_programs_have_the_names_and_shapes_of_their_modules() {
    let cases = cases();
    assert_eq!(cases.len(), NAMES.lines().filter(|line| line.starts_with("= ")).count());
    for (title, lines) in cases {
        let (wanted, found) = (listed(&lines), written(title));
        for (name, shape) in &wanted {
            assert_eq!(found.get(name), Some(shape), "{title}: {name}");
        }
        for name in found.keys() {
            assert!(wanted.contains_key(name), "{title}: {name} is no tensor of the module");
        }
    }
}

/// A file of `model` under the names of `dialect`, each after `prefix`, that says
/// nothing of its training.
fn foreign_file(folder: &Path, model: &str, dialect: &str, prefix: &str) -> PathBuf {
    let spec: ModelSpec = model.parse().unwrap();
    let layout = Layout::of(&spec.build(&InputShape::default(), Mode::Eval).unwrap().graph);
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let value = if name.ends_with("running_var") { 1.0 } else { 0.01 };
        let data = vec![value; shape.iter().product()];
        (name, Tensor { shape, data })
    };
    let tensors = layout.tensors().into_iter().map(tensor).collect();
    let exported = to_dialect(tensors, dialect.parse().unwrap(), Some(&layout), 0).unwrap();
    let named = exported
        .tensors
        .into_iter()
        .map(|(name, tensor)| (format!("{prefix}{name}"), tensor));
    let path = folder.join(format!("{dialect}.safetensors"));
    weights::write(&path, &named.collect(), &BTreeMap::new()).unwrap();
    path
}

#[test]
fn a_file_that_does_not_say_its_model_is_of_the_only_one_that_has_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data", "synthetic:64,32", "--no-autotune"];
    let wide = foreign_file(folder.path(), "wrn-16-2", "xternalz", "");
    let output = program("residua")
        .arg("eval")
        .args(data)
        .arg("--weights")
        .arg(&wide)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("it is wrn-16-2 by its tensors"), "{said}");
    // Ports with the same tensors compute something else.
    assert!(said.contains("wrn-16-2:project=raw"), "{said}");

    // The stem is the one that the file has, whatever images the name is for.
    for stem in ["cifar", "imagenet"] {
        let model = format!("resnet18:stem={stem}");
        let file = foreign_file(folder.path(), &model, "kuangliu", "");
        let out = folder.path().join(format!("{stem}.safetensors"));
        let said = printed(
            program("residua")
                .args(["convert", "--model", "resnet18"])
                .arg(&file)
                .arg(&out),
        );
        assert!(said.contains("102 tensors"), "{said}");
    }

    let open = foreign_file(folder.path(), "resnet8", "akamaster", "");
    for command in ["eval", "lesion", "paths"] {
        let (code, error) = failure(program("residua").arg(command).args(data).arg("--weights").arg(&open));
        assert_eq!(code, 2, "{error}");
        let named = error.contains("resnet8, resnet8:shortcut=A-end, resnet8:shortcut=A-avg, plain-8");
        assert!(named && error.contains("--model NAME"), "{error}");
    }
}

#[test]
fn training_starts_from_weights_under_any_names() {
    let folder = tempfile::tempdir().unwrap();
    let steps = ["--data", "synthetic:64,32", "--no-autotune", "--steps", "1"];
    let table = foreign_file(folder.path(), "wrn-10-1", "xternalz", "student.");
    let renamed = foreign_file(folder.path(), "wrn-10-1", "szagoruyko", "my_");
    for (number, (init, flags)) in [(&table, ["--table", "student"]), (&renamed, ["--rename", "my_="])]
        .into_iter()
        .enumerate()
    {
        let out = folder.path().join(number.to_string());
        let mut train = program("residua");
        train
            .arg("train")
            .args(steps)
            .args(flags)
            .arg("--init")
            .arg(init)
            .arg("--out")
            .arg(&out);
        let said = String::from_utf8(train.output().unwrap().stderr).unwrap();
        assert!(said.contains("it is wrn-10-1 by its tensors"), "{said}");
        let settings = std::fs::read_to_string(out.join("run.toml")).unwrap();
        assert!(
            settings.contains("wrn-10-1") && settings.contains(flags[1]),
            "{settings}"
        );
        // A run that goes on has the settings of its beginning.
        printed(program("residua").args(["train", "--steps", "2", "--resume"]).arg(&out));
    }
    let (code, error) = failure(program("residua").arg("train").args(steps).args(["--rename", "a=b"]));
    assert!(
        code == 2 && error.contains("--rename has no effect without --init"),
        "{error}"
    );
}

/// Asks for the comparison with PyTorch: `1` to install it in `target/`, or the path
/// of a Python that has it.
const PYTORCH: &str = "RESIDUA_PYTORCH";

/// What is installed for it.
const PACKAGES: [&str; 8] = [
    "torch",
    "torchvision",
    "timm",
    "pretrainedmodels",
    "six",
    "numpy",
    "pillow",
    "safetensors",
];

#[test]
fn pytorch_loads_what_is_written_and_computes_the_same() {
    let Some(asked) = std::env::var(PYTORCH).ok().filter(|asked| !asked.is_empty()) else {
        eprintln!(
            "NOT RUN: {PYTORCH}=1 installs PyTorch and compares with it, {PYTORCH}=PYTHON compares with that one"
        );
        return;
    };
    let python = match python_with(&asked, "foreign-python", &PACKAGES) {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("CANNOT RUN: PyTorch cannot be installed (is there a network?): {reason}");
            return;
        }
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/foreign/check.py");
    let output = Command::new(python)
        .arg(script)
        .arg(assert_cmd::cargo::cargo_bin("residua"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let [printed, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    println!("{printed}");
    assert!(output.status.success(), "{printed}{error}");
}
