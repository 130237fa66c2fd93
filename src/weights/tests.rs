//! Are the tensors of other programs understood? Networks are stored under
//! invented names, in parts, several at once, and read back.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::graph::{Graph, Mode};
use crate::models::{InputShape, ModelSpec, shapes_of};

/// A file with one table.
pub(super) fn container(tensors: TensorMap) -> Container {
    file(vec![("", tensors)])
}

/// A file with these tables.
fn file(tables: Vec<(&str, TensorMap)>) -> Container {
    let table = |(path, tensors): (&str, TensorMap)| Table {
        path: path.to_owned(),
        tensors,
        ..Table::default()
    };
    Container {
        format: Format::Safetensors,
        tables: tables.into_iter().map(table).collect(),
        facts: BTreeMap::new(),
        notes: Vec::new(),
    }
}

fn graph(model: &str) -> Graph {
    let model: ModelSpec = model.parse().unwrap();
    model.build(&InputShape::default(), Mode::Eval).unwrap().graph
}

/// The tensors of a model, all values different.
fn network(model: &str) -> TensorMap {
    let mut next = 0.0;
    let mut tensor = |shape: Vec<usize>| {
        let data = (0..shape.iter().product()).map(|_| {
            next += 1.0;
            next
        });
        Tensor {
            data: data.collect(),
            shape,
        }
    };
    let shapes = shapes_of(&graph(model)).into_iter();
    shapes.map(|(name, shape)| (name, tensor(shape))).collect()
}

fn renamed(tensors: TensorMap, rename: impl Fn(&str) -> String) -> TensorMap {
    tensors
        .into_iter()
        .map(|(name, tensor)| (rename(&name), tensor))
        .collect()
}

fn read_back(tensors: TensorMap, layout: Option<&Layout>) -> Result<CanonicalWeights, WeightsError> {
    canonical(container(tensors), &NameOptions::default(), layout)
}

fn with_prefix(prefix: &str, tensors: TensorMap) -> TensorMap {
    renamed(tensors, |name| format!("{prefix}{name}"))
}

/// Names that no program uses: grouped by stage and block, each part by kind.
fn invented(name: &str) -> String {
    let (layer, part) = dialect::split(name);
    let layer = match layer {
        "conv1" => "stem.c".to_owned(),
        "bn1" => "stem.n".to_owned(),
        "bn" => "tail".to_owned(),
        "fc" => "predict".to_owned(),
        _ => {
            let numbers = pattern::read("layer{s}.{i}.conv{n}", layer).map(|numbers| ("c{n}", numbers));
            let numbers = numbers.or_else(|| Some(("n{n}", pattern::read("layer{s}.{i}.bn{n}", layer)?)));
            let numbers = numbers.or_else(|| Some(("skip.x{n}", pattern::read("layer{s}.{i}.downsample.{n}", layer)?)));
            let (last, numbers) = numbers.unwrap();
            pattern::write(&format!("stages.{{s-1}}.units.{{i}}.{last}"), &numbers).unwrap()
        }
    };
    format!("{layer}.{part}")
}

/// The tensors of a model with their shapes and one value each, all different:
/// nothing here reads more of them.
fn sketch(layout: &Layout) -> TensorMap {
    let shapes = layout.tensors().into_iter().enumerate();
    shapes
        .map(|(number, (name, shape))| {
            let data = vec![1.0 + number as f32];
            (name, Tensor { shape, data })
        })
        .collect()
}

fn layout_of(model: &str) -> Layout {
    let spec: ModelSpec = model.parse().unwrap();
    let input = InputShape {
        height: 64,
        width: 64,
        ..InputShape::default()
    };
    Layout::of(&spec.build(&input, Mode::Eval).unwrap().graph)
}

/// Dialects with a network of each family that they have names for.
const EXPORTED: [(&str, &[&str]); 18] = [
    (
        "canonical",
        &[
            "densenet-bc-22-12",
            "dpn68b",
            "dpn26:variant=kuangliu",
            "preact-20",
            "dmrnet-32",
            "fractalnet-3-16",
        ],
    ),
    (
        "torchvision",
        &[
            "resnet18",
            "resnet50-v1",
            "resnext-50-32x4d",
            "wide-resnet-50-2",
            "resnet20:shortcut=B",
            "densenet121",
            "vgg16:head=hidden",
            "vgg11-bn:head=hidden",
        ],
    ),
    ("torchvision-old", &["densenet121"]),
    (
        "timm",
        &["resnet50", "se-resnet50", "densenet121", "dpn68", "dpn68b", "dpn92"],
    ),
    ("chenyaofo", &["resnet20:shortcut=B", "vgg16-bn:head=hidden"]),
    ("akamaster", &["resnet20", "resnet20:shortcut=B"]),
    (
        "kuangliu",
        &[
            "resnet18",
            "resnet50",
            "resnext-29-2x64d",
            "vgg11-bn:head=linear",
            "preact-18:last-norm=no",
            "dpn26:variant=kuangliu",
        ],
    ),
    ("xternalz", &["wrn-16-2", "wrn-10-1"]),
    ("meliketoy", &["wrn-16-2:bias=yes", "wrn-16-1:bias=yes"]),
    ("szagoruyko", &["wrn-16-2"]),
    (
        "bearpaw",
        &[
            "preact-20:shortcut=B",
            "resnet20",
            "resnext-29-2x64d",
            "densenet-bc-22-12",
            "vgg11-bn:head=linear",
        ],
    ),
    ("prlz77", &["resnext-29-2x64d"]),
    (
        "cadene",
        &["resnet50", "densenet121", "vgg11:head=hidden", "dpn68", "dpn92"],
    ),
    ("weiaicunzai", &["resnet18", "resnet50"]),
    ("transformers", &["resnet50"]),
    ("dnddnjs", &["resnet20"]),
    ("sequential", &["resnet20:shortcut=B"]),
    ("unnumbered-stem", &["resnet18"]),
];

#[test]
fn networks_come_back_from_every_dialect() {
    for (dialect, models) in EXPORTED {
        let dialect: Dialect = dialect.parse().unwrap();
        for model in models {
            let layout = layout_of(model);
            let tensors = sketch(&layout);
            let exported = to_dialect(tensors.clone(), dialect, Some(&layout), 7).unwrap();
            assert_eq!(
                (exported.tensors.len(), &exported.notes[..]),
                (tensors.len(), &[][..]),
                "{model}"
            );
            let norms = tensors.keys().filter(|name| name.ends_with("running_mean")).count();
            let counters = [0, norms][usize::from(!exported.counters.is_empty())];
            assert_eq!(exported.counters.len(), counters, "{dialect} {model}");
            for known in [None, Some(&layout)] {
                let read = read_back(exported.tensors.clone(), known)
                    .unwrap_or_else(|error| panic!("{dialect} {model}: {error}"));
                assert!(
                    matches!(read.naming, Naming::Dialect(_) | Naming::Own),
                    "{dialect} {model}"
                );
                assert!(read.tensors == tensors, "{dialect} {model}");
            }
        }
    }
    assert!(
        Dialect::ALL
            .iter()
            .all(|dialect| EXPORTED.iter().any(|(word, _)| *word == dialect.to_string()))
    );
}

#[test]
fn what_a_dialect_lacks_is_refused_with_the_reason() {
    for (dialect, model, reason) in [
        (
            "torchvision",
            "preact-8",
            "'bn.bias' has no name in the torchvision dialect",
        ),
        ("torchvision", "se-resnet50", "'layer1.0.se.fc1.bias' has no name"),
        (
            "torchvision",
            "densenet-bc-22-12",
            "'features.norm_final.bias' has no name",
        ),
        (
            "torchvision",
            "dpn68",
            "has no name in the torchvision dialect, which is for ResNet",
        ),
        ("torchvision", "vgg15-16", "has no name"),
        ("xternalz", "resnet8", "'bn1.bias' has no name"),
        ("prlz77", "resnet20:shortcut=B", "no layer 'layer1.0.conv3'"),
        ("bearpaw", "densenet121", "has no name"),
        ("kuangliu", "vgg11:head=hidden", "'classifier.0.bias' has no name"),
        ("torchvision", "vgg11-bn:head=linear", "has no name"),
        ("timm", "vgg11-bn:head=hidden", "cannot be a 7×7 convolution"),
        ("xternalz", "wrn-16-1:bias=yes", "no batch norm follows"),
        ("timm", "fusenet-cross-26", "has no name"),
    ] {
        let layout = layout_of(model);
        let error = to_dialect(sketch(&layout), dialect.parse().unwrap(), Some(&layout), 0).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(reason) && !error.contains('\n'),
            "{dialect} {model}: {error}"
        );
    }
}

#[test]
fn biases_are_those_of_the_program() {
    let wide = layout_of("wrn-16-2");
    let tensors = sketch(&wide);
    let exported = to_dialect(tensors.clone(), Dialect::Meliketoy, Some(&wide), 0).unwrap();
    assert!(exported.notes[0].contains("16 are added"), "{:?}", exported.notes);
    assert_eq!(exported.tensors["layer1.0.shortcut.0.bias"].data, [0.0; 32]);
    assert!(read_back(exported.tensors, Some(&wide)).unwrap().tensors == tensors);

    // A post-activation network has a norm behind each convolution.
    let biased = layout_of("resnet8:bias=yes");
    let exported = to_dialect(sketch(&biased), Dialect::Torchvision, Some(&biased), 0).unwrap();
    let plain = layout_of("resnet8");
    let names: Vec<&String> = exported.tensors.keys().collect();
    let shapes = plain.tensors();
    assert_eq!(names, shapes.keys().collect::<Vec<_>>());
    let bias = &sketch(&biased)["layer1.0.conv1.bias"].data[0];
    let mean = &sketch(&biased)["layer1.0.bn1.running_mean"].data[0];
    assert_eq!(exported.tensors["layer1.0.bn1.running_mean"].data, [mean - bias]);
}

#[test]
fn invented_names_are_matched_by_structure() {
    for model in [
        "resnet8",
        "resnet20",
        "resnet8:shortcut=B",
        "preact-8",
        "preact-8:shortcut=B",
        "preact-20:block=bottleneck",
        "wrn-16-2",
    ] {
        let tensors = network(model);
        let foreign = renamed(tensors.clone(), invented);
        let layout = Layout::of(&graph(model));
        for layout in [None, Some(&layout)] {
            let weights = read_back(foreign.clone(), layout).unwrap_or_else(|error| panic!("{model}: {error}"));
            assert_eq!(weights.naming, Naming::Structure);
            assert!(weights.tensors == tensors, "{model}");
            assert!(
                weights.names.iter().all(|(file, name)| invented(name) == *file),
                "{model}"
            );
        }
    }
}

#[test]
fn a_model_with_another_order_of_layers_does_not_match() {
    for (file, model) in [
        ("resnet8", "preact-8"),
        ("preact-8", "resnet8"),
        ("resnet8", "resnet14"),
    ] {
        let foreign = renamed(network(file), invented);
        let error = read_back(foreign, Some(&Layout::of(&graph(model)))).unwrap_err();
        assert!(matches!(error, WeightsError::UnknownDialect { .. }), "{error}");
    }
}

/// `conv1` and `conv2` of a block have one shape: only their order tells them
/// apart.
fn words(name: &str) -> String {
    let name = invented(name);
    let name = name.replace(".c1.", ".one.").replace(".c2.", ".two.");
    name.replace(".n1.", ".three.").replace(".n2.", ".four.")
}

#[test]
fn names_that_show_no_order_need_the_order_of_the_file() {
    let tensors = network("resnet8");
    let foreign = renamed(tensors.clone(), words);
    let error = read_back(foreign.clone(), None).unwrap_err().to_string();
    assert!(error.contains("comes first"), "{error}");
    let layout = Layout::of(&graph("resnet8"));
    let order = layout.layers.iter().map(|layer| layer.name.as_str());
    let mut names = Vec::new();
    for layer in order {
        names.extend(
            tensors
                .keys()
                .filter(|name| dialect::split(name).0 == layer)
                .map(|name| words(name)),
        );
    }
    let mut file = container(foreign);
    file.tables[0].order = names;
    let weights = canonical(file, &NameOptions::default(), None).unwrap();
    assert!(weights.tensors == tensors);
}

#[test]
fn flat_names_need_the_models_own_order() {
    let layout = Layout::of(&graph("resnet8"));
    let tensors = network("resnet8");
    // As one long Sequential would name them.
    let number = |name: &str| {
        let (layer, part) = dialect::split(name);
        let at = layout.layers.iter().position(|known| known.name == layer).unwrap();
        format!("net.{at}.{part}")
    };
    let numbered = renamed(tensors.clone(), number);
    let weights = read_back(numbered.clone(), Some(&layout)).unwrap();
    assert!(weights.tensors == tensors);
    // A pre-activation network could have the same sequence of shapes.
    let error = read_back(numbered, None).unwrap_err().to_string();
    assert!(error.contains("several residual networks"), "{error}");
    // The norm of the stem is in another place.
    let moved = |name: &str| number(name).replace("net.1.", "net.7x.");
    assert!(read_back(renamed(tensors, moved), Some(&layout)).is_err());
}

#[test]
fn the_usual_table_is_taken_and_the_others_are_named() {
    let tensors = network("resnet8");
    let other = || BTreeMap::from([("exp_avg.conv1".to_owned(), tensors["fc.bias"].clone())]);
    let tables = || {
        vec![
            ("state_dict", TensorMap::new()),
            ("optimizer.state", other()),
            ("model_ema", tensors.clone()),
            ("model", tensors.clone()),
        ]
    };
    let weights = canonical(file(tables()), &NameOptions::default(), None).unwrap();
    assert_eq!(weights.table, "model");
    assert!(weights.notes[0].contains("'model'; there are also 'model_ema', 'optimizer.state'"));
    let asked = |table: &str| NameOptions {
        table: Some(table.to_owned()),
        ..NameOptions::default()
    };
    assert_eq!(
        canonical(file(tables()), &asked("model_ema"), None).unwrap().table,
        "model_ema"
    );
    let error = canonical(file(tables()), &asked("teacher"), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("'teacher'") && error.contains("'model_ema'"), "{error}");
    let error = canonical(file(vec![("a", TensorMap::new())]), &NameOptions::default(), None);
    assert!(matches!(error, Err(WeightsError::Empty)));
}

#[test]
fn networks_side_by_side_in_one_table_are_told_apart() {
    let (student, teacher) = (network("resnet8"), network("resnet14"));
    let mut both = with_prefix("student.", student.clone());
    both.extend(with_prefix("teacher.", teacher.clone()));
    let weights = read_back(both.clone(), None).unwrap();
    assert!(weights.tensors == student);
    assert!(
        weights
            .notes
            .iter()
            .any(|note| note.contains("'student'") && note.contains("'teacher'"))
    );
    let options = NameOptions {
        table: Some("teacher".to_owned()),
        ..NameOptions::default()
    };
    let weights = canonical(container(both), &options, None).unwrap();
    assert!(weights.tensors == teacher);
}

#[test]
fn prefixes_are_stripped_and_the_head_may_lack_them() {
    let tensors = network("resnet8");
    for prefix in ["module.", "module._orig_mod.", "encoder.body."] {
        let weights = read_back(with_prefix(prefix, tensors.clone()), None).unwrap();
        assert_eq!((&weights.prefix[..], weights.tensors == tensors), (prefix, true));
    }
    let head_apart = renamed(tensors.clone(), |name| match name.strip_prefix("fc.") {
        Some(part) => format!("head.fc.{part}"),
        None => format!("backbone.{name}"),
    });
    let weights = read_back(head_apart, None).unwrap();
    assert!(weights.tensors == tensors && weights.prefix == "backbone.");
    // The only linear layer is the last one.
    for name in ["net.answer", "answer.7", "net.module.fc"] {
        let weights = read_back(
            renamed(tensors.clone(), |own| match own.strip_prefix("fc.") {
                Some(part) => format!("{name}.{part}"),
                None => format!("net.{own}"),
            }),
            None,
        );
        assert!(weights.unwrap().tensors == tensors, "{name}");
    }
}

#[test]
fn a_dialect_that_exchanges_norms_is_not_the_right_one() {
    // Wide networks have their last norm under this name.
    let tensors = network("resnet8");
    let foreign = renamed(tensors.clone(), |name| match name.strip_prefix("layer") {
        Some(rest) => format!("block{}", rest.replacen('.', ".layer.", 1)),
        None => name.to_owned(),
    });
    let weights = read_back(foreign, None).unwrap();
    assert_eq!(weights.naming, Naming::Structure);
    assert!(weights.tensors == tensors);
}

#[test]
fn what_is_no_weight_is_left_out_with_a_note() {
    let tensors = network("resnet8");
    let mut more = tensors.clone();
    let one = Tensor {
        shape: vec![1],
        data: vec![3.0],
    };
    for name in [
        "bn1.num_batches_tracked",
        "total_ops",
        "layer1.0.total_params",
        "momentum.fc.bias",
    ] {
        more.insert(name.to_owned(), one.clone());
    }
    more.insert("alias.weight".to_owned(), tensors["conv1.weight"].clone());
    more.insert("linear.bias".to_owned(), tensors["fc.bias"].clone());
    let weights = read_back(more.clone(), None).unwrap();
    assert!(weights.tensors == tensors);
    for words in ["1 total_ops, 1 total_params", "'alias.weight'", "'linear.bias'"] {
        assert!(
            weights.notes.iter().any(|note| note.contains(words)),
            "{words}: {:?}",
            weights.notes
        );
    }
    // Something else under such a name is an error.
    more.get_mut("alias.weight").unwrap().data[0] += 1.0;
    let error = read_back(more, None).unwrap_err().to_string();
    assert!(error.contains("'alias.weight'"), "{error}");
}

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor {
        shape: shape.to_vec(),
        data: data.to_vec(),
    }
}

#[test]
fn weights_in_parts_are_put_together() {
    let whole = |parts: &[(&str, Tensor)]| {
        let mut tensors: TensorMap = parts
            .iter()
            .map(|(name, tensor)| ((*name).to_owned(), tensor.clone()))
            .collect();
        let notes = fold::apply_reparametrizations(&mut tensors).unwrap();
        assert_eq!((tensors.len(), notes.len()), (1, 1), "{notes:?}");
        tensors.pop_first().unwrap()
    };
    let v = tensor(&[2, 2], &[3.0, 4.0, 0.0, 2.0]);
    let mask = tensor(&[2, 2], &[1.0, 0.0, 1.0, 0.0]);
    let (name, pruned) = whole(&[("fc.weight_orig", v.clone()), ("fc.weight_mask", mask)]);
    assert_eq!((&name[..], &pruned.data[..]), ("fc.weight", &[3.0, 0.0, 0.0, 0.0][..]));
    let g = tensor(&[2, 1], &[10.0, 1.0]);
    for names in [
        ["fc.weight_g", "fc.weight_v"],
        [
            "fc.parametrizations.weight.original0",
            "fc.parametrizations.weight.original1",
        ],
    ] {
        let (name, normed) = whole(&[(names[0], g.clone()), (names[1], v.clone())]);
        assert_eq!((&name[..], &normed.data[..]), ("fc.weight", &[6.0, 8.0, 0.0, 1.0][..]));
    }
    // σ = uᵀWv with u = (1, 0) and v = (0, 1) is 4.
    let (first, second) = (tensor(&[2], &[1.0, 0.0]), tensor(&[2], &[0.0, 1.0]));
    for names in [
        ["fc.weight_orig", "fc.weight_u", "fc.weight_v"],
        [
            "fc.parametrizations.weight.original",
            "fc.parametrizations.weight.0._u",
            "fc.parametrizations.weight.0._v",
        ],
    ] {
        let (name, spectral) = whole(&[
            (names[0], v.clone()),
            (names[1], first.clone()),
            (names[2], second.clone()),
        ]);
        assert_eq!(
            (&name[..], &spectral.data[..]),
            ("fc.weight", &[0.75, 1.0, 0.0, 0.5][..])
        );
    }
    let short = [("fc.weight_orig", v), ("fc.weight_mask", tensor(&[1], &[1.0]))];
    let mut tensors: TensorMap = short
        .iter()
        .map(|(name, tensor)| ((*name).to_owned(), tensor.clone()))
        .collect();
    assert!(fold::apply_reparametrizations(&mut tensors).is_err());
}

#[test]
fn biases_go_into_the_norm_behind_them_and_nowhere_else() {
    for (model, conv, norm) in [
        ("resnet8", "layer2.0.conv2", Some("layer2.0.bn2")),
        (
            "resnet8:shortcut=B",
            "layer2.0.downsample.0",
            Some("layer2.0.downsample.1"),
        ),
        ("preact-8", "layer2.0.conv1", Some("layer2.0.bn2")),
        // The sum of branch and shortcut reads this one.
        ("preact-8", "layer2.0.conv2", None),
        // This network has biases.
        ("vgg5-16", "conv2", None),
    ] {
        let mut tensors = network(model);
        let bias = format!("{conv}.bias");
        let channels = tensors[&format!("{conv}.weight")].shape[0];
        tensors.insert(bias.clone(), tensor(&[channels], &vec![0.5; channels]));
        let layout = Layout::of(&graph(model));
        for layout in [None, Some(&layout)] {
            let read = read_back(tensors.clone(), layout).unwrap().tensors;
            assert_eq!(read.contains_key(&bias), norm.is_none(), "{model} {conv}");
            if let Some(norm) = norm {
                let mean = format!("{norm}.running_mean");
                let expected: Vec<f32> = tensors[&mean].data.iter().map(|mean| mean - 0.5).collect();
                assert_eq!(read[&mean].data, expected, "{model} {conv}");
            }
        }
    }
}

#[test]
fn translations_of_the_user_come_first() {
    let tensors = network("resnet8");
    let foreign = renamed(tensors.clone(), |name| {
        format!("net_{}", name.replace("fc.", "answer."))
    });
    let options = |renames: &[&str]| NameOptions {
        table: None,
        renames: renames.iter().map(|rename| rename.parse().unwrap()).collect(),
    };
    let read = |renames: &[&str]| canonical(container(foreign.clone()), &options(renames), None);
    assert!(read(&["net_answer=fc", "net_="]).unwrap().tensors == tensors);
    let error = read(&["net_=", "absent=x"]).unwrap_err().to_string();
    assert!(error.contains("absent=x"), "{error}");
    assert!(matches!(
        read(&["net_answer.bias=x", "net_answer.weight=x", "net_="]),
        Err(WeightsError::Duplicate { .. })
    ));
    for wrong in ["", "=", "=x", "name"] {
        assert!(wrong.parse::<Rename>().is_err(), "{wrong}");
    }
}

#[test]
fn the_normalization_of_the_images_is_no_weight() {
    let tensors = network("resnet8");
    let mut more = with_prefix("model.", tensors.clone());
    more.insert("mu".to_owned(), tensor(&[1, 3, 1, 1], &[0.1, 0.2, 0.3]));
    more.insert("sigma".to_owned(), tensor(&[1, 3, 1, 1], &[0.4, 0.5, 0.6]));
    let weights = read_back(more, None).unwrap();
    assert!(weights.tensors == tensors);
    assert_eq!(weights.normalization, Some([vec![0.1, 0.2, 0.3], vec![0.4, 0.5, 0.6]]));
}

proptest! {
    #[test]
    fn no_names_and_shapes_panic(
        names in prop::collection::vec(r"[a-c0-2.]{0,6}(weight|bias|running_mean|weight_g|weight_v)?", 0..12),
        shapes in prop::collection::vec(prop::collection::vec(0usize..4, 0..5), 12),
    ) {
        let tensors: TensorMap = names.into_iter().zip(shapes).map(|(name, shape)| {
            let data = vec![1.0; shape.iter().product()];
            (name, Tensor { shape, data })
        }).collect();
        let layout = Layout::of(&graph("resnet8"));
        for layout in [None, Some(&layout)] {
            let _ = read_back(tensors.clone(), layout);
        }
    }
}
