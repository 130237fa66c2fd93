//! Which built-in networks have parameters of these names and shapes?

use std::collections::BTreeMap;

use super::{InputShape, ModelSpec};
use crate::graph::{Graph, Mode, Param, State};

/// Options A, B and C of shortcuts, with the variants of A that have no
/// parameters.
const SHORTCUTS: [&str; 5] = ["A", "A-end", "A-avg", "B", "C"];

/// Types of a wide network's block, and the depth that its name counts for each
/// block of a stage.
const WIDE: [(&str, usize); 9] = [
    ("block=B(3,3)", 6),
    ("block=B(3,1)", 6),
    ("block=B(1,3)", 6),
    ("block=B(1,3,1)", 6),
    ("block=B(3,1,1)", 6),
    ("block=B(3,1,3)", 6),
    ("l=1", 3),
    ("l=3", 9),
    ("l=4", 12),
];

/// The built-in networks whose parameters and running states have exactly these
/// canonical names and shapes, the usual one first. Where there are several,
/// they differ in what has no parameters: how a shortcut without a convolution
/// fills new channels, or whether there is a shortcut at all.
///
/// ```
/// use residua::graph::Mode;
/// use residua::models::{self, InputShape, ModelSpec};
///
/// let spec: ModelSpec = "resnet8".parse()?;
/// let graph = spec.build(&InputShape::default(), Mode::Eval)?.graph;
/// let shapes = models::shapes_of(&graph);
/// let names: Vec<String> = models::fitting(&shapes).iter().map(ToString::to_string).collect();
/// assert_eq!(names, ["resnet8", "resnet8:shortcut=A-end", "resnet8:shortcut=A-avg", "plain-8"]);
/// # Ok::<(), models::ModelError>(())
/// ```
pub fn fitting(shapes: &BTreeMap<String, Vec<usize>>) -> Vec<ModelSpec> {
    let Some(input) = input_of(shapes) else {
        return Vec::new();
    };
    let mut fitting: Vec<ModelSpec> = Vec::new();
    for name in candidates(shapes) {
        let Ok(spec) = name.parse::<ModelSpec>() else { continue };
        if fitting.contains(&spec) {
            continue;
        }
        // Only hidden layers on the whole plane depend on its size.
        let plane = if name.ends_with("head=imagenet") {
            224
        } else {
            input.height
        };
        let images = InputShape {
            height: plane,
            width: plane,
            ..input
        };
        let network = spec.build(&images, Mode::Eval);
        if network.is_ok_and(|network| shapes_of(&network.graph) == *shapes) {
            fitting.push(spec);
        }
    }
    fitting
}

/// The canonical names and the shapes of all parameters and running states.
pub fn shapes_of(graph: &Graph) -> BTreeMap<String, Vec<usize>> {
    let params = graph.params.iter().flat_map(Param::tensors);
    let states = graph.states.iter().flat_map(|state: &State| {
        let channels = vec![state.channels];
        state.tensors().map(|name| (name, channels.clone()))
    });
    params.chain(states).collect()
}

/// Names of the first and of the last layer, in all families.
const ENDS: [(&str, &str); 6] = [
    ("conv1", "fc"),
    ("conv1", "linear"),
    ("features.conv0", "classifier"),
    ("features.conv1_1.conv", "classifier"),
    ("features.0", "classifier"),
    ("features.0", "classifier.6"),
];

/// The images and classes that the first and the last layer are for. The height
/// and width of images leave no trace in the shapes.
fn input_of(shapes: &BTreeMap<String, Vec<usize>>) -> Option<InputShape> {
    let of = |layer: &str| shapes.get(&format!("{layer}.weight"));
    let (first, last) = ENDS.iter().find_map(|&(first, last)| Some((of(first)?, of(last)?)))?;
    let (&[_, channels, _, _], &[classes, _]) = (&first[..], &last[..]) else {
        return None;
    };
    Some(InputShape {
        channels,
        classes,
        ..InputShape::default()
    })
}

/// Networks without numbers to vary, each with what leaves no trace in the
/// shapes as it usually is.
const NAMED: &[&str] = &[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet50-v1",
    "resnet101",
    "resnet101-v1",
    "resnet152",
    "resnet152-v1",
    "wide-resnet-50-2",
    "wide-resnet-101-2",
    "resnext-50-32x4d",
    "resnext-101-32x4d",
    "resnext-101-32x8d",
    "resnext-101-64x4d",
    "preact-18",
    "preact-34",
    "preact-50",
    "preact-101",
    "preact-152",
    "preact-200",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "dpn68",
    "dpn68b",
    "dpn92",
    "dpn98",
    "dpn107",
    "dpn131",
];

/// The networks of [`super::ImageNetVgg`] without batch norm.
const VGG: [&str; 4] = ["vgg11", "vgg13", "vgg16", "vgg19"];

/// Names of networks with as many blocks, or with as many layers.
fn candidates(shapes: &BTreeMap<String, Vec<usize>>) -> Vec<String> {
    let count = |wanted: &dyn Fn(usize) -> String| (0..).take_while(|&at| shapes.contains_key(&wanted(at))).count();
    let units = count(&|at| format!("layer1.{at}.conv1.weight"));
    let mut names = Vec::new();
    if units > 0 {
        let [basic, bottleneck] = [6 * units + 2, 9 * units + 2];
        names.extend(SHORTCUTS.map(|shortcut| format!("cifar-resnet{basic}:shortcut={shortcut}")));
        names.push(format!("plain-{basic}"));
        for shortcut in SHORTCUTS {
            names.push(format!("cifar-preact-{basic}:block=basic,shortcut={shortcut}"));
            names.push(format!(
                "cifar-preact-{bottleneck}:block=bottleneck,shortcut={shortcut}"
            ));
        }
        let width = shapes["layer1.0.conv1.weight"].first().copied().unwrap_or_default();
        let wide = WIDE.map(|(option, step)| format!("wrn-{}-{}:{option}", step * units + 4, width / 16));
        names.extend(wide);
    }
    if let Some(stem) = shapes.get("conv1.weight") {
        let layers = count(&|at| format!("conv{}.weight", at + 1));
        names.push(format!("vgg{layers}-{}", stem.first().copied().unwrap_or_default()));
    }
    let stems = ["imagenet", "cifar"];
    names.extend(
        NAMED
            .iter()
            .flat_map(|name| stems.map(|stem| format!("{name}:stem={stem}"))),
    );
    names.push("dmrnet-imagenet-50".to_string());
    let heads = ["imagenet", "linear", "hidden"];
    let with_norms = VGG
        .iter()
        .flat_map(|name| ["", "-bn"].map(|norms| format!("{name}{norms}")));
    names.extend(with_norms.flat_map(|name| heads.map(|head| format!("{name}:head={head}"))));
    names
}
