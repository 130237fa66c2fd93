//! Do files for other programs have the names and shapes that their modules ask
//! for in strict mode? `tests/fixtures/foreign-names.txt` has what PyTorch says.

use std::collections::{BTreeMap, BTreeSet};

use residua::graph::Mode;
use residua::models::{InputShape, ModelSpec};
use residua::weights::{Layout, Tensor, TensorMap, to_dialect};

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
