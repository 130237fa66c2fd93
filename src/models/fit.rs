//! Which built-in networks have parameters of these names and shapes?

use std::collections::{BTreeMap, BTreeSet};

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
        // Only hidden layers on the whole plane depend on its size.
        let plane = if name.contains("head=imagenet") {
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
        let fits = network.is_ok_and(|network| shapes_of(&network.graph) == *shapes);
        // A network may have two names.
        if fits && fitting.iter().all(|known| known.difference(&spec).is_some()) {
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
    let ends = ENDS.iter().map(|&(first, last)| (first.to_owned(), last));
    let fractal = deepest_column(shapes).map(|(_, layer)| (layer, "fc"));
    let (first, last) = ends
        .chain(fractal)
        .find_map(|(first, last)| Some((of(&first)?, of(last)?)))?;
    let (&[_, channels, _, _], &[classes, _]) = (&first[..], &last[..]) else {
        return None;
    };
    Some(InputShape {
        channels,
        classes,
        ..InputShape::default()
    })
}

/// Networks with stages and without numbers to vary, each with what leaves no
/// trace in the shapes as it usually is.
const STAGED: &[&str] = &[
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
    "preact-18",
    "preact-34",
    "preact-50",
    "preact-101",
    "preact-152",
    "preact-200",
];

/// DenseNets for ImageNet.
const DENSE: [&str; 5] = [
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet264",
];

/// Dual Path Networks of the paper, and those of the port for CIFAR.
const DUAL_PATH: [&str; 6] = ["dpn68", "dpn68b", "dpn92", "dpn98", "dpn107", "dpn131"];
const PORTED: [&str; 2] = ["dpn26", "dpn92"];

/// The networks of [`super::ImageNetVgg`] without batch norm.
const VGG: [&str; 4] = ["vgg11", "vgg13", "vgg16", "vgg19"];

/// Fused networks: how layers are fused, and the layers of the plain network that
/// a block has, where it is always the same number.
const FUSED: [(&str, Option<usize>); 7] = [
    ("plain", Some(1)),
    ("resnet", Some(2)),
    ("half", Some(4)),
    ("side", Some(4)),
    ("cross", Some(4)),
    ("fuse3", None),
    ("fuse6", None),
];

const STEMS: [&str; 2] = ["imagenet", "cifar"];

type Shapes = BTreeMap<String, Vec<usize>>;

/// Names of networks with as many blocks, or with as many layers.
fn candidates(shapes: &Shapes) -> Vec<String> {
    let with = |layer: &str| shapes.contains_key(&format!("{layer}.weight"));
    let mut names = staged(shapes);
    names.push("dmrnet-imagenet-50".to_owned());
    if let Some((columns, layer)) = deepest_column(shapes) {
        names.push(format!("fractalnet-{columns}-{}", filters(shapes, &layer)));
    }
    if with("conv1") && with("conv2") {
        let layers = count(shapes, |at| format!("conv{}", at + 1));
        names.push(format!("vgg{layers}-{}", filters(shapes, "conv1")));
    }
    let stems = |name: &&str| STEMS.map(|stem| format!("{name}:stem={stem}"));
    if with("features.conv0") {
        names.extend(DENSE.iter().flat_map(stems));
        let layers = count(shapes, |at| format!("features.denseblock1.denselayer{}.conv1", at + 1));
        let last = |conv: &str| filters(shapes, &format!("features.denseblock1.denselayer1.{conv}"));
        names.push(format!("densenet-bc-{}-{}", 6 * layers + 4, last("conv2")));
        names.push(format!("densenet-{}-{}", 3 * layers + 4, last("conv1")));
    }
    if with("features.conv1_1.conv") {
        names.extend(DUAL_PATH.iter().flat_map(stems));
    }
    if with("layer1.0.shortcut.0") {
        names.extend(PORTED.map(|name| format!("{name}:variant=kuangliu")));
    }
    if with("features.0") {
        let with_norms = VGG
            .iter()
            .flat_map(|name| ["", "-bn"].map(|norms| format!("{name}{norms}")));
        let heads = ["imagenet", "linear", "hidden"];
        let headed = with_norms.flat_map(|name| heads.map(|head| format!("{name}:head={head}")));
        names.extend(headed.flat_map(|name| ["yes", "no"].map(|bias| format!("{name},bias={bias}"))));
    }
    names
}

/// Networks of stages of residual units, and fused ones.
fn staged(shapes: &Shapes) -> Vec<String> {
    let with = |layer: &str| shapes.contains_key(&format!("{layer}.weight"));
    let mut names = Vec::new();
    let units = count(shapes, |at| format!("layer1.{at}.conv1"));
    if units > 0 {
        let [basic, bottleneck] = [6 * units + 2, 9 * units + 2];
        names.extend(SHORTCUTS.map(|shortcut| format!("cifar-resnet{basic}:shortcut={shortcut}")));
        names.push(format!("plain-{basic}"));
        let width = filters(shapes, "layer1.0.conv1");
        names.extend(WIDE.map(|(option, step)| format!("wrn-{}-{}:{option}", step * units + 4, width / 16)));
        for shortcut in SHORTCUTS {
            names.push(format!("cifar-preact-{basic}:block=basic,shortcut={shortcut}"));
            names.push(format!(
                "cifar-preact-{bottleneck}:block=bottleneck,shortcut={shortcut}"
            ));
        }
    }
    if with("layer4.0.conv1") {
        names.extend(
            STAGED
                .iter()
                .flat_map(|name| STEMS.map(|stem| format!("{name}:stem={stem}"))),
        );
    }
    if let Some(&[inner, of_group, 3, 3]) = shapes.get("layer1.0.conv2.weight").map(Vec::as_slice)
        && of_group > 0
    {
        let groups = inner / of_group;
        names.push(format!("resnext-{}-{groups}x{of_group}d", 9 * units + 2));
        // With one group it is a ResNet.
        let deep = [50, 101, 152].into_iter().filter(|_| groups > 1);
        names.extend(
            deep.flat_map(|depth| STEMS.map(|stem| format!("resnext-{depth}-{groups}x{of_group}d:stem={stem}"))),
        );
    }
    // What shapes show of the options that these families have.
    let mut options = Vec::new();
    let mut squeezed = shapes.iter().filter(|(name, _)| name.ends_with(".se.fc1.weight"));
    if let Some((_, &[narrow, channels])) = squeezed.next_back().map(|(name, shape)| (name, &shape[..]))
        && narrow > 0
    {
        options.push(format!("se={}", channels / narrow));
    }
    if shapes.contains_key("conv1.bias") {
        options.push("bias=yes".to_owned());
    }
    if !with("bn") && !with("bn1") {
        options.push("last-norm=no".to_owned());
    }
    for name in &mut names {
        for option in &options {
            name.push(if name.contains(':') { ',' } else { ':' });
            name.push_str(option);
        }
    }
    names.extend(fused(shapes));
    names
}

fn fused(shapes: &Shapes) -> Vec<String> {
    const FIRST: [&str; 5] = ["conv", "branch.conv1", "branch1.conv1", "line1.conv1", "shortcut.conv"];
    let has = |layer: &&str| shapes.contains_key(&format!("layer1.0.{layer}.weight"));
    if !FIRST.iter().any(has) {
        return Vec::new();
    }
    let block = |name: &String| {
        let mut parts = name.strip_prefix("layer")?.split('.');
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    let blocks = shapes.keys().filter_map(block).collect::<BTreeSet<_>>().len();
    let own_step = count(shapes, |at| format!("layer1.0.conv{}", at + 1));
    let width = match filters(shapes, "conv1") / 16 {
        1 => String::new(),
        widening => format!("-{widening}"),
    };
    let name = |(fusion, step): (&str, Option<usize>)| {
        let depth = blocks * step.unwrap_or(own_step) + 2;
        format!("fusenet-{fusion}-{depth}{width}")
    };
    FUSED.map(name).to_vec()
}

/// The deepest column of a fractal network, and its first layer.
fn deepest_column(shapes: &Shapes) -> Option<(usize, String)> {
    const MOST: usize = 8;
    let columns = (1..=MOST)
        .rev()
        .map(|column| (column, format!("block1.join1.column{column}.conv1")));
    let mut known = columns.filter(|(_, layer)| shapes.contains_key(&format!("{layer}.weight")));
    known.next()
}

/// How many of the layers with these names there are, from 0 on.
fn count(shapes: &Shapes, name: impl Fn(usize) -> String) -> usize {
    let known = (0..).take_while(|&at| shapes.contains_key(&format!("{}.weight", name(at))));
    known.count()
}

/// The output channels of a convolution.
fn filters(shapes: &Shapes, layer: &str) -> usize {
    let shape = shapes.get(&format!("{layer}.weight"));
    shape.and_then(|shape| shape.first().copied()).unwrap_or_default()
}
