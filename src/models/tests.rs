use proptest::prelude::*;

use super::*;
use crate::graph::{Gains, Init, Op, ResidualBlock};

/// One small and quick network of every family, and each option.
const SAMPLES: &[&str] = &[
    "resnet8",
    "resnet8:shortcut=A-end",
    "resnet8:shortcut=A-avg",
    "resnet8:shortcut=B",
    "resnet8:shortcut=C",
    "cifar-resnet50",
    "plain-8",
    "preact-8",
    "preact-8:shortcut=B",
    "preact-11",
    "preact-20:block=bottleneck",
    "preact-11:shortcut=A",
    "wrn-10-1",
    "wrn-10-2",
    "wrn-10-2:block=B(1,3,1)",
    "wrn-10-2:block=B(3,1),dropout=0.3",
    "wrn-7-2:l=1",
    "wrn-13-2:l=3,dropout=0.25,dropout-at=before-bn",
    "wrn-16-1:l=4",
    "wrn-7-1:l=1,dropout=0.5,dropout-at=end",
    "vgg5-8",
    "vgg10-4",
    "resnet8:skip=exclusive-gate,gate-bias=-5",
    "resnet8:skip=half-both,se=4",
    "resnet8:shortcut=A-avg,bias=yes",
    "resnet18",
    "resnet18:stem=imagenet,shortcut=A",
    "resnet50-v1",
    "wide-resnet-50-2:stem=cifar,se=16",
    "resnext-11-4x16d",
    "resnext-50-32x4d",
    "preact-18",
    "preact-50:stem=imagenet",
    "cifar-preact-50",
    "preact-8:order=original",
    "preact-8:order=no-relu-after-add",
    "preact-8:order=bn-after-add",
    "preact-11:order=relu-before-add",
    "preact-8:order=relu-only",
    "preact-11:project=raw",
    "preact-18:last-norm=no",
    "preact-11:stride-at=3x3",
    "wrn-10-2:dropout=0.3,dropout-at=before-bn,project=raw,stride-at=last,bias=yes",
    "vgg11",
    "vgg11-bn:head=hidden",
    "vgg13:head=linear,bias=no,last-pool=no",
    "densenet-10-4",
    "densenet-bc-16-4:dropout=0.2",
    "densenet121",
    "dpn26:variant=kuangliu",
    "dpn68:stem=cifar",
    "dpn68b",
    "fusenet-plain-5",
    "fusenet-resnet-8",
    "fusenet-half-14",
    "fusenet-side-14",
    "fusenet-cross-14-2",
    "fusenet-fuse3-8",
    "fusenet-fuse6-14",
    "fusenet-ensemble-8",
    "dmrnet-imagenet-50",
    "fractalnet-2-4",
    "fractalnet-3-4:pool=join,dropout=0.4,drop-path=0.15,drop-global=0.5",
];

fn spec(text: &str) -> ModelSpec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn build(text: &str, classes: usize, mode: Mode) -> Network {
    let input = InputShape {
        classes,
        ..InputShape::default()
    };
    let network = spec(text).build(&input, mode);
    network.unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn graph(text: &str) -> Graph {
    build(text, 10, Mode::Eval).graph
}

fn refusal(text: &str) -> String {
    let built = text
        .parse::<ModelSpec>()
        .and_then(|spec| spec.build(&InputShape::default(), Mode::Eval));
    match built {
        Ok(_) => panic!("{text} was accepted"),
        Err(error) => error.to_string(),
    }
}

/// Exact numbers of parameters. Those of published networks agree with the
/// papers and with weights that others published.
const PARAMETERS: &[(&str, usize)] = &[
    ("resnet20", 269_722),
    ("resnet20:shortcut=A-end", 269_722),
    ("resnet20:shortcut=A-avg", 269_722),
    ("resnet20:shortcut=B", 272_474),
    ("resnet20:shortcut=C", 283_962),
    ("resnet32", 464_154),
    ("resnet32:shortcut=B", 466_906),
    ("resnet44", 658_586),
    ("resnet44:shortcut=B", 661_338),
    ("resnet56", 853_018),
    ("resnet56:shortcut=B", 855_770),
    ("resnet110", 1_727_962),
    ("resnet110:shortcut=B", 1_730_714),
    ("resnet1202", 19_421_274),
    ("plain-20", 269_722),
    ("plain-32", 464_154),
    ("plain-44", 658_586),
    ("plain-56", 853_018),
    ("plain-110", 1_727_962),
    ("preact-110", 1_727_962),
    ("preact-110:shortcut=B", 1_730_522),
    ("preact-164", 1_703_258),
    ("preact-1001", 10_327_706),
    ("wrn-16-1", 175_066),
    ("wrn-16-4", 2_748_890),
    ("wrn-16-8", 10_961_370),
    ("wrn-16-10", 17_116_634),
    ("wrn-22-8", 17_158_106),
    ("wrn-22-10", 26_797_914),
    ("wrn-28-1", 369_498),
    ("wrn-28-2", 1_467_610),
    ("wrn-28-10", 36_479_194),
    ("wrn-28-10:dropout=0.3", 36_479_194),
    ("wrn-28-12", 52_517_850),
    ("wrn-28-20", 145_815_514),
    ("wrn-40-1", 563_930),
    ("wrn-40-2", 2_243_546),
    ("wrn-40-4", 8_949_210),
    ("wrn-40-8", 35_748_314),
    ("wrn-40-10", 55_841_754),
    ("wrn-40-14", 109_416_410),
    // Table 2 of the WRN paper.
    ("wrn-40-2:block=B(1,3,1)", 1_429_082),
    ("wrn-40-2:block=B(3,1)", 1_211_354),
    ("wrn-40-2:block=B(1,3)", 1_297_370),
    ("wrn-40-2:block=B(3,1,1)", 1_343_066),
    ("wrn-28-2:block=B(3,3)", 1_467_610),
    ("wrn-22-2:block=B(3,1,3)", 1_145_498),
    // Table 3.
    ("wrn-40-2:l=1", 2_243_546),
    ("wrn-40-2:l=2", 2_243_546),
    ("wrn-40-2:l=3", 2_243_546),
    ("wrn-40-2:l=4", 2_243_546),
    ("vgg15-128", 2_069_760 + 3_840 + 1_290),
];

#[test]
fn parameters_of_known_networks() {
    for &(name, parameters) in PARAMETERS {
        assert_eq!(graph(name).parameter_count(), parameters, "{name}");
    }
}

/// The network for the images that it is made for.
fn usual(name: &str, mode: Mode) -> Network {
    let spec = spec(name);
    let network = spec.build(&spec.usual_input(), mode);
    network.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Exact numbers of parameters for images and classes that the name stands for.
/// Those of torchvision and timm are the same.
const USUAL_PARAMETERS: &[(&str, usize)] = &[
    ("resnet18", 11_689_512),
    ("resnet34", 21_797_672),
    ("resnet50", 25_557_032),
    ("resnet50-v1", 25_557_032),
    ("resnet101", 44_549_160),
    ("resnet152", 60_192_808),
    ("wide-resnet-50-2", 68_883_240),
    ("wide-resnet-101-2", 126_886_696),
    ("resnext-50-32x4d", 25_028_904),
    ("resnext-101-32x4d", 44_177_704),
    ("resnext-101-32x8d", 88_791_336),
    ("resnext-101-64x4d", 83_455_272),
    ("resnext-29-8x64d", 34_426_698),
    ("resnext-29-16x64d", 68_155_210),
    ("resnext-29-32x4d", 4_775_754),
    ("resnext-29-4x64d", 17_562_442),
    ("resnext-29-2x64d", 9_130_314),
    ("resnext-29-1x64d", 4_914_250),
    ("densenet-40-12", 1_019_722),
    ("densenet-100-12", 6_979_642),
    ("densenet-100-24", 27_249_082),
    ("densenet-bc-100-12", 769_162),
    ("densenet-bc-250-24", 15_324_406),
    ("densenet-bc-190-40", 25_624_430),
    ("densenet121", 7_978_856),
    ("densenet169", 14_149_480),
    ("densenet201", 20_013_928),
    ("densenet161", 28_681_000),
    ("densenet264", 33_337_704),
    ("dpn68", 12_611_602),
    ("dpn68b", 12_611_602),
    ("dpn92", 37_668_392),
    ("dpn98", 61_570_728),
    ("dpn131", 79_254_504),
    ("dpn107", 86_917_800),
    ("dpn26:variant=kuangliu", 11_574_842),
    ("dpn92:variant=kuangliu", 34_236_634),
    ("vgg11-bn:head=linear", 9_231_114),
    ("vgg13-bn:head=linear", 9_416_010),
    ("vgg16-bn:head=linear", 14_728_266),
    ("vgg19-bn:head=linear", 20_040_522),
    ("vgg19-bn:head=linear,bias=no", 20_035_018),
    ("vgg16-bn:head=hidden", 15_253_578),
    ("vgg16", 138_357_544),
    ("vgg19-bn", 143_678_248),
    ("dmrnet-56", 1_710_426),
    ("dmrnet-32-4", 14_851_402),
    ("dmrnet-50-4", 24_151_882),
    ("dmrnet-imagenet-50", 46_395_048),
    ("fractalnet-3", 33_724_618),
    ("fractalnet-4", 76_106_634),
    ("fractalnet-6-16", 21_083_466),
    ("resnet110:shortcut=A-avg,bias=yes", 1_732_010),
    ("cifar-resnet152:shortcut=A-avg,bias=yes", 2_414_090),
    ("wrn-28-10:project=raw,stride-at=last,bias=yes", 36_489_290),
    ("preact-110:order=original", 1_727_962),
];

#[test]
fn parameters_of_networks_for_imagenet_and_of_ports() {
    for &(name, parameters) in USUAL_PARAMETERS {
        assert_eq!(usual(name, Mode::Eval).graph.parameter_count(), parameters, "{name}");
    }
}

/// Every network whose number of parameters is known stands in the catalogue, with
/// this number; networks that the catalogue does not tell apart share a row.
#[test]
fn the_catalogue_lists_every_known_network() {
    let catalogue = published::Catalogue::built_in();
    let names = |entry: &published::Entry| -> Vec<ModelSpec> {
        let names = std::iter::once(&entry.name).chain(&entry.also);
        names.map(|name| spec(name)).collect()
    };
    let listed: Vec<(ModelSpec, Vec<ModelSpec>)> = catalogue
        .entries()
        .map(|(_, entry)| (spec(&entry.name), names(entry)))
        .collect();
    for (name, parameters) in PARAMETERS.iter().chain(USUAL_PARAMETERS) {
        let known = spec(name);
        let row = listed.iter().find(|(_, names)| names.contains(&known));
        let (listed, _) = row.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
        let count = usual(&listed.to_string(), Mode::Eval).graph.parameter_count();
        assert_eq!(count, *parameters, "{name}, listed as {listed}");
    }
}

#[test]
fn a_network_is_known_by_every_spelling_of_its_name() {
    for (name, spellings) in [
        (
            "wrn-28-10",
            "wrn_28_10 WRN-28-10 wrn28_10 wrn28-10 wrn28x10 wide-resnet-28-10 wide_resnet_28_10 WideResNet28x10",
        ),
        (
            "wide-resnet-50-2",
            "wide_resnet50_2 wrn_50_2 WRN-50-2-bottleneck wideresnet50-2",
        ),
        ("resnet20", "resnet_20 resnet-20 ResNet20 RESNET-20 cifar_resnet20"),
        (
            "resnet50",
            "resnet-50 resnet_50 resnet50_v1_5 resnet50v1.5 resnet50-v1.5",
        ),
        ("resnet50-v1", "resnet50_v1 resnet-50-v1"),
        ("cifar-resnet50", "cifar_resnet50 cifar-resnet-50"),
        ("plain-20", "plain20 plain_20 plainnet-20"),
        (
            "preact-20",
            "preresnet-20 preresnet20 pre-resnet-20 preact_resnet20 pre-act-resnet-20 PreActResNet20",
        ),
        ("preact-18", "preact_resnet18 preresnet18 PreActResNet18"),
        (
            "preact-164",
            "pre-resnet-164 preresnet164 pre_act_resnet_164 pre-act-164",
        ),
        (
            "resnext-29-8x64d",
            "resnext29_8x64d ResNeXt29-8x64d resnext-29-8-64 resnext_29_8x64d",
        ),
        ("resnext-50-32x4d", "resnext50_32x4d ResNeXt-50-32x4d"),
        ("resnet50:se=16", "se_resnet50 se-resnet-50 seresnet50 SE-ResNet50"),
        ("resnext-50-32x4d:se=16", "se_resnext50_32x4d seresnext50_32x4d"),
        (
            "densenet-bc-100-12",
            "densenet_bc_100_12 DenseNet-BC-100-12 densenet-bc-L100-k12 densenet_100_12_bc",
        ),
        ("densenet-40-12", "densenet_40_12 densenet40-12 densenet-L40-k12"),
        ("densenet121", "densenet-121 densenet_121 DenseNet121"),
        ("vgg16-bn", "vgg16_bn vgg16bn VGG-16-BN"),
        ("vgg16", "vgg-16 VGG_16"),
        ("vgg15-128", "vgg_15_128 vgg-15-128"),
        ("dpn68b", "dpn-68b DPN_68B"),
        ("dpn92", "dpn-92 dpn_92"),
        ("fusenet-cross-110", "dmrnet-56 dmrnet_56 DFN-MR-56 fusenet_cross_110"),
    ] {
        for spelling in spellings.split(' ') {
            assert_eq!(spec(spelling), spec(name), "{spelling}");
        }
        assert_eq!(spec(name).to_string(), name);
    }
    assert_eq!(spec("ResNeXt-29, 8×64d"), spec("resnext-29-8x64d"));
    assert_eq!(spec("WRN 28 10:dropout=0.3"), spec("wrn-28-10:dropout=0.3"));
}

#[test]
fn spellings_that_are_offered_are_read() {
    for name in SAMPLES {
        let spellings = spec(name).spellings();
        assert!(!spellings.contains(&spec(name).to_string()), "{name}: {spellings:?}");
        for spelling in spellings {
            assert_eq!(spec(&spelling), spec(name), "{spelling}");
        }
    }
    let wide = spec("wrn-28-10").spellings();
    for spelling in ["wrn_28_10", "wrn28_10", "wide-resnet-28-10", "wide_resnet_28_10"] {
        assert!(wide.contains(&spelling.to_string()), "{wide:?}");
    }
}

#[test]
fn parameters_for_a_hundred_classes() {
    for (name, parameters) in [
        ("resnet20", 275_572),
        ("preact-164", 1_726_388),
        ("preact-1001", 10_350_836),
        ("wrn-28-10", 36_536_884),
        ("resnext-29-8x64d", 34_518_948),
        ("resnext-29-16x64d", 68_247_460),
        ("fractalnet-3", 33_770_788),
        ("resnet110:shortcut=A-avg,bias=yes", 1_737_860),
    ] {
        let network = build(name, 100, Mode::Eval);
        assert_eq!(network.graph.parameter_count(), parameters, "{name}");
        assert_eq!(network.graph.shape(network.logits).dims, [100], "{name}");
    }
}

/// The strides are where the papers have them. At another place the number of
/// parameters would be the same, but not these numbers.
#[test]
fn multiply_adds_of_known_networks() {
    for (name, digits, unit, count) in [
        ("resnet20", 2, 1e6, "40.55"),
        ("resnet20:shortcut=B", 2, 1e6, "40.81"),
        ("resnet56:shortcut=B", 2, 1e6, "125.75"),
        ("resnet110", 1, 1e6, "252.9"),
        ("resnet1202", 2, 1e9, "2.83"),
        ("preact-164", 1, 1e6, "244.5"),
        ("preact-1001", 3, 1e9, "1.488"),
        ("wrn-28-10", 3, 1e9, "5.243"),
        ("wrn-16-8", 3, 1e9, "1.548"),
        ("wrn-40-4", 3, 1e9, "1.299"),
    ] {
        let macs = graph(name).macs() as f64 / unit;
        assert_eq!(format!("{macs:.digits$}"), count, "{name}");
    }
}

/// The same for images that the name stands for. That ResNet-50 v1 and v1.5
/// differ shows that the stride is in the right convolution.
#[test]
fn multiply_adds_of_networks_for_imagenet() {
    for (name, digits, count) in [
        ("resnet18", 3, "1.814"),
        ("resnet50-v1", 3, "3.858"),
        ("resnet50", 3, "4.089"),
        ("resnet101", 2, "7.80"),
        ("resnext-50-32x4d", 3, "4.230"),
        ("wide-resnet-50-2", 2, "11.40"),
        ("resnext-29-8x64d", 2, "5.39"),
        ("fractalnet-3", 6, "0.845223"),
        ("fractalnet-4", 6, "2.036078"),
        ("resnext-29-16x64d", 2, "10.69"),
        ("dpn68", 1, "2.3"),
        ("dpn92", 1, "6.5"),
        ("dpn98", 1, "11.7"),
        ("dpn131", 1, "16.0"),
        ("dpn107", 1, "18.3"),
    ] {
        let macs = usual(name, Mode::Eval).graph.macs() as f64 / 1e9;
        assert_eq!(format!("{macs:.digits$}"), count, "{name}");
    }
}

/// A name without a stem has the one for the size of the images, and says so.
#[test]
fn small_images_get_the_stem_for_small_images() {
    let small = InputShape::default();
    for name in ["resnet18", "resnext-50-32x4d", "preact-18", "densenet121", "dpn68"] {
        let open = spec(name);
        let cifar = spec(&format!("{name}:stem=cifar"));
        let nodes = |spec: &ModelSpec| spec.build(&small, Mode::Eval).unwrap().graph.nodes;
        assert_eq!(nodes(&open), nodes(&cifar), "{name}");
        let note = open.note(&small).unwrap();
        assert!(note.contains(&format!("{name}:stem=imagenet")), "{note}");
        assert_eq!(cifar.note(&small), None);
        assert_eq!(open.note(&InputShape::IMAGENET), None);
        assert_eq!(open.usual_input(), InputShape::IMAGENET);
        assert_eq!(cifar.usual_input(), small);
    }
    let kuangliu = graph("resnet18");
    assert_eq!(kuangliu.parameter_count(), 11_173_962);
    assert!(spec("vgg16").note(&small).unwrap().contains("vgg16:head=imagenet"));
    assert_eq!(spec("resnet20").note(&small), None);
}

/// A template is read back as the network that it was made from.
#[test]
fn a_network_in_a_file_is_the_one_that_was_written_to_it() {
    let mut written = 0;
    for name in SAMPLES {
        let model = spec(name);
        let Ok(file) = model.in_file() else {
            let others = ["vgg", "densenet", "dpn", "fusenet", "fractalnet", "dmrnet"];
            assert!(others.iter().any(|family| name.starts_with(family)), "{name}");
            continue;
        };
        written += 1;
        let read: NetworkFile = file.text().parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read, file, "{name}");
        let read = ModelSpec::from(read);
        let input = model.usual_input();
        assert_eq!(read.usual_input(), input, "{name}");
        for mode in [Mode::Train, Mode::Eval] {
            let graph = |spec: &ModelSpec| spec.build(&input, mode).unwrap().graph;
            assert_eq!(graph(&read), graph(&model), "{name}");
        }
    }
    assert!(written >= 35, "{written}");
}

#[test]
fn blocks_are_counted_as_the_papers_do() {
    for (name, blocks, downsampling) in [
        ("resnet20", 9, &[4, 7][..]),
        ("resnet110", 54, &[19, 37]),
        ("preact-110", 54, &[19, 37]),
        ("preact-164", 54, &[1, 19, 37]),
        ("preact-1001", 333, &[1, 112, 223]),
        ("wrn-16-1", 6, &[3, 5]),
        ("wrn-28-10", 12, &[1, 5, 9]),
        ("wrn-40-2:l=1", 36, &[1, 13, 25]),
        ("wrn-40-2:l=4", 9, &[1, 4, 7]),
        ("plain-20", 16, &[]),
        ("vgg15-128", 14, &[]),
        ("resnext-29-8x64d", 9, &[1, 4, 7]),
        ("resnet50", 16, &[1, 4, 8, 14]),
        ("preact-18", 8, &[3, 5, 7]),
        ("densenet-40-12", 36, &[]),
        ("dmrnet-56", 54, &[19, 20, 37, 38]),
        ("fusenet-half-14", 6, &[3, 4, 5, 6]),
        ("vgg16", 9, &[]),
        ("dmrnet-imagenet-50", 24, &[]),
        ("fractalnet-2", 10, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (
            "fractalnet-3:pool=join",
            25,
            &[1, 2, 3, 6, 7, 8, 11, 12, 13, 16, 17, 18],
        ),
    ] {
        let graph = graph(name);
        assert_eq!(graph.blocks.len(), blocks, "{name}");
        let found: Vec<usize> = (1..)
            .zip(&graph.blocks)
            .filter(|(_, block)| block.downsamples)
            .map(|(number, _)| number)
            .collect();
        assert_eq!(found, downsampling, "{name}");
    }
}

#[test]
fn blocks_are_named_as_in_weights_files() {
    let names = |name: &str| -> Vec<String> { graph(name).blocks.into_iter().map(|block| block.name).collect() };
    assert_eq!(names("resnet8"), ["layer1.0", "layer2.0", "layer3.0"]);
    assert_eq!(names("preact-14")[..3], ["layer1.0", "layer1.1", "layer2.0"]);
    assert_eq!(
        names("plain-8"),
        ["layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2"]
    );
    assert_eq!(names("vgg5-8"), ["conv2", "conv3", "conv4", "conv5"]);
    assert_eq!(
        names("dpn68")[..2],
        ["features.conv2_1.residual", "features.conv2_1.dense"]
    );
    assert_eq!(names("densenet-10-4")[0], "features.denseblock1.denselayer1");
    assert_eq!(names("dmrnet-8")[..2], ["layer1.0.line1", "layer1.0.line2"]);
    assert_eq!(names("dmrnet-imagenet-50")[0], "layer2.1.line1");
    assert_eq!(
        names("fractalnet-3")[..5],
        [
            "join1.column2",
            "join1.column3",
            "join2.column1",
            "join2.column2",
            "join2.column3"
        ]
        .map(|path| format!("block1.{path}"))
    );
    let stages: Vec<usize> = graph("vgg15-128").blocks.iter().map(|block| block.stage).collect();
    assert_eq!(stages, [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]);
}

#[test]
fn parameters_are_named_in_the_order_of_the_forward_pass() {
    let names = |name: &str| -> Vec<String> { graph(name).params.into_iter().map(|param| param.name).collect() };
    let resnet = names("resnet8:shortcut=B");
    assert_eq!(
        resnet[..6].join(" "),
        "conv1 bn1 layer1.0.conv1 layer1.0.bn1 layer1.0.conv2 layer1.0.bn2"
    );
    assert_eq!(resnet[10..12], ["layer2.0.downsample.0", "layer2.0.downsample.1"]);
    let wide = names("wrn-10-2");
    assert_eq!(
        wide[..6].join(" "),
        "conv1 layer1.0.bn1 layer1.0.conv1 layer1.0.bn2 layer1.0.conv2 layer1.0.downsample.0"
    );
    assert_eq!(wide[wide.len() - 3..], ["bn", "fc", "fc"]);
}

#[test]
fn layers_without_shortcuts_are_silent_blocks() {
    for name in ["plain-8", "vgg5-8"] {
        for block in &graph(name).blocks {
            assert_eq!(block.default, Gains::PLAIN, "{name}");
            assert_eq!(block.shortcut, block.input, "{name}");
        }
    }
}

#[test]
fn only_units_that_reshape_share_their_activation() {
    let graph = graph("wrn-16-1");
    let sources: Vec<&str> = graph
        .blocks
        .iter()
        .map(|block| match graph.node(block.shortcut).inputs[0] {
            _ if block.shortcut == block.input => "identity",
            source => graph.node(source).op.name(),
        })
        .collect();
    let (same, changed) = ("identity", "relu");
    assert_eq!(sources, [same, same, changed, same, changed, same]);
}

#[test]
fn dropout_stands_where_the_option_says() {
    for (name, before) in [
        ("wrn-10-2:dropout=0.3", "relu"),
        ("wrn-10-2:dropout=0.3,dropout-at=before-bn", "conv"),
        ("wrn-10-2:dropout=0.3,dropout-at=end", "conv"),
    ] {
        let graph = build(name, 10, Mode::Train).graph;
        let at_end = name.ends_with("end");
        let drops: Vec<NodeId> = graph
            .ids()
            .filter(|&id| matches!(graph.node(id).op, Op::Dropout { .. }))
            .collect();
        assert_eq!(drops.len(), 3, "{name}");
        for (drop, block) in drops.into_iter().zip(&graph.blocks) {
            let input = graph.node(drop).inputs[0];
            assert_eq!(graph.node(input).op.name(), before, "{name}");
            assert_eq!(block.branch == drop, at_end, "{name}");
        }
        let evaluated = build(name, 10, Mode::Eval).graph;
        assert!(
            evaluated.find(|op| matches!(op, Op::Dropout { .. })).is_none(),
            "{name}"
        );
    }
}

#[test]
fn weights_start_by_fan_in() {
    let graph = graph("resnet8");
    let of = |name: &str| graph.params.iter().find(|param| param.name == name).unwrap().init;
    assert_eq!(of("conv1"), Init::Normal((2.0_f32 / 27.0).sqrt()));
    assert_eq!(of("fc"), Init::Uniform(0.125));
}

#[test]
fn training_and_evaluation_have_the_same_parameters() {
    for &name in SAMPLES {
        let (train, eval) = (build(name, 10, Mode::Train), build(name, 10, Mode::Eval));
        assert_eq!(train.graph.params, eval.graph.params, "{name}");
        assert_eq!(train.graph.states, eval.graph.states, "{name}");
    }
}

#[test]
fn every_parameter_has_a_gradient_of_its_shape() {
    for &name in SAMPLES {
        let Network { mut graph, loss, .. } = build(name, 10, Mode::Train);
        let gradients = graph.differentiate(loss, true, true);
        assert_eq!(gradients.params.len(), graph.params.len(), "{name}");
        for &(param, node) in &gradients.params {
            assert_eq!(graph.shape(node).dims, graph.params[param.0].dims, "{name}");
        }
        assert!(gradients.images.is_some(), "{name}");
    }
}

#[test]
fn parameter_names_are_unique() {
    for &name in SAMPLES {
        let mut tensors: Vec<String> = Vec::new();
        for param in &graph(name).params {
            tensors.extend(param.tensors().into_iter().map(|(name, _)| name));
        }
        let count = tensors.len();
        tensors.sort();
        tensors.dedup();
        assert_eq!(tensors.len(), count, "{name}");
    }
}

#[test]
fn every_family_has_a_sample_and_its_names_and_options_are_listed() {
    // No name stands for a network in a file, the last family.
    for (index, read) in READERS.iter().enumerate().take(READERS.len() - 1) {
        let reads = |name: &&str| read(&mut name.parse().unwrap()).is_some();
        assert!(SAMPLES.iter().any(reads), "no sample is of the family {index}");
    }
    for &name in SAMPLES {
        let family: String = name.chars().take_while(char::is_ascii_alphabetic).collect();
        assert!(names().contains(&family), "{name}");
        let separator = if name.contains(':') { ',' } else { ':' };
        match format!("{name}{separator}nonsense=1").parse::<ModelSpec>() {
            Err(ModelError::UnknownOption { known, .. }) => {
                assert!(known.iter().all(|option| OPTIONS.contains(option)), "{name}: {known:?}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn canonical_names_are_read_back() {
    for &name in SAMPLES {
        assert_eq!(spec(name).to_string(), name);
    }
    for (written, canonical) in [
        ("ResNet-20", "resnet20"),
        ("resnet20:shortcut=a", "resnet20"),
        ("resnet20:shortcut=A-sym", "resnet20"),
        ("cifar-resnet20", "resnet20"),
        ("cifar-resnet152:shortcut=B", "cifar-resnet152:shortcut=B"),
        ("plain20", "plain-20"),
        ("preact-164:block=bottleneck,shortcut=B", "preact-164"),
        ("preact-110:block=basic", "preact-110"),
        ("preact-182:block=basic", "preact-182:block=basic"),
        ("preact-110:block=bottleneck", "preact-110:block=bottleneck"),
        ("WRN-28-10 : dropout = 0.30", "wrn-28-10:dropout=0.3"),
        ("wrn-28x10:dropout=0", "wrn-28-10"),
        ("wrn-40-2:l=2", "wrn-40-2"),
        ("wrn-40-2:block=B(3,3)", "wrn-40-2"),
        (
            "wrn-40-2:dropout=0.3,block=b(1,3,1)",
            "wrn-40-2:block=B(1,3,1),dropout=0.3",
        ),
        ("vgg-15x128", "vgg15-128"),
        ("wrn_28_10", "wrn-28-10"),
        ("wide-resnet-28-10", "wrn-28-10"),
        ("WideResNet28x10", "wrn-28-10"),
        ("resnet_20", "resnet20"),
        ("preresnet-20", "preact-20"),
        ("PreActResNet18", "preact-18"),
        ("resnext50_32x4d", "resnext-50-32x4d"),
        ("resnext29-8x64", "resnext-29-8x64d"),
        ("wide_resnet50_2", "wide-resnet-50-2"),
        ("wrn-50-2", "wide-resnet-50-2"),
        ("resnet50-v1.5", "resnet50"),
        ("resnet18-v1", "resnet18"),
        ("se-resnet50", "resnet50:se=16"),
        ("se-resnet20:se=8", "resnet20:se=8"),
        ("se-resnext-50-32x4d:se=0", "resnext-50-32x4d"),
        ("vgg16_bn:stem=cifar", "vgg16-bn:head=linear"),
        ("densenet-121", "densenet121"),
        ("dpn-68b", "dpn68b"),
        ("dmrnet-56", "fusenet-cross-110"),
        ("dmrnet-32-4", "fusenet-cross-62-4"),
        ("FractalNet", "fractalnet-3"),
        ("fractalnet20", "fractalnet-3"),
        ("fractalnet-40:dropout=0.4", "fractalnet-4:dropout=0.4"),
        ("fractalnet-3-64:pool=paths", "fractalnet-3"),
    ] {
        assert_eq!(spec(written).to_string(), canonical, "{written}");
        assert_eq!(spec(canonical), spec(written), "{written}");
    }
    assert_eq!(ModelSpec::default(), spec("wrn-16-1"));
}

#[test]
fn an_option_may_be_set_later() {
    let set = |name: &str, option: &str, value: &str| spec(name).with(option, value).map(|spec| spec.to_string());
    assert_eq!(set("wrn-16-1", "dropout", "0.3").unwrap(), "wrn-16-1:dropout=0.3");
    assert_eq!(
        set("wrn-16-1:dropout=0.3", "dropout", "0.5").unwrap(),
        "wrn-16-1:dropout=0.5"
    );
    assert_eq!(set("wrn-16-1:dropout=0.3", "dropout", "0").unwrap(), "wrn-16-1");
    assert!(set("resnet20", "dropout", "0.3").is_err());
    assert!(set("wrn-16-1", "dropout", "1").is_err());
}

#[test]
fn refusals_say_what_exists() {
    for (text, words) in [
        ("", "wrn-<6n+4>-<k>"),
        ("resnet", "resnet<6n+2>"),
        ("resnet51", "6n+2; take 50 or 56"),
        ("resnext-30-8x64d", "9n+2; take 29 or 38"),
        ("resnext-29-0x64d", "cardinality must be 1 to 4096"),
        (
            "resnet20:gate-bias=-3",
            "gate-bias and a shortcut without a gate exclude each other",
        ),
        ("dpn26", "kuangliu for dpn26"),
        ("dpn27", "unknown model"),
        ("densenet-41-12", "3n+4; take 40 or 43"),
        ("fusenet-cross-56", "4n+2 with n ≥ 3; take 54 or 58"),
        ("vgg16:head=big", "head is auto or imagenet or linear or hidden"),
        ("alex\nnet", r"'alex\nnet'"),
        ("resnet21", "a depth of 21 is not 6n+2; take 20 or 26"),
        ("resnet0", "take 8"),
        ("resnet9999", "take 9998"),
        ("resnet10007", "at most 10000 layers"),
        ("resnet99999999999999999999999", "at most 10000 layers"),
        ("plain-21", "take 20 or 26"),
        ("preact-109", "6n+2 or 9n+2; take 104 or 110"),
        ("preact-20:block=basic,shortcut=C", "A or A-sym or A-end or A-avg or B"),
        ("preact-14:block=bottleneck", "take 11 or 20"),
        ("wrn-20-1", "6n+4; take 16 or 22"),
        ("wrn-28-0", "widening factor k must be 1 to 64"),
        ("wrn-28-65", "widening factor k must be 1 to 64"),
        ("wrn-28", "unknown model 'wrn-28'"),
        ("wrn-9994-64", "parameters, more than"),
        ("wrn-40-2:l=5", "l is 1 or 2 or 3 or 4"),
        ("wrn-40-2:l=1,block=B(3,3)", "exclude each other"),
        ("wrn-40-2:l=1,dropout=0.3", "dropout-at=end"),
        ("wrn-40-2:block=B(1,3", "no block=B(1,3: block is B(3,3) or B(3,1)"),
        ("wrn-28-10:dropout=1", "at least 0 and less than 1"),
        ("wrn-28-10:dropout=NaN", "at least 0 and less than 1"),
        ("wrn-28-10:dropout=-0.1", "at least 0 and less than 1"),
        (
            "wrn-28-10:droput=0.1",
            "no option 'droput': it has block, l, dropout, dropout-at",
        ),
        ("plain-20:shortcut=A", "no option 'shortcut': it has none"),
        ("resnet20:shortcut=D", "no shortcut=D: shortcut is A or A-sym"),
        ("resnet20:", "'' is not an option"),
        ("resnet20:shortcut", "'shortcut' is not an option: write name:key=value"),
        ("resnet20:shortcut=A,shortcut=B", "given twice"),
        ("vgg16-128", "5n; take 15 or 20"),
        ("vgg15-0", "number of channels must be 1 to 4096"),
        ("fractalnet-9", "number of columns must be 1 to 8"),
        ("fractalnet-3:drop-global=1.5", "drop-global is a share from 0 to 1"),
        ("fractalnet-3:drop-path=1", "at least 0 and less than 1"),
        ("dmrnet-imagenet-101", "unknown model"),
    ] {
        let message = refusal(text);
        assert!(message.contains(words), "{text}: {message}");
        assert!(!message.contains('\n'), "{text}: {message}");
    }
}

#[test]
fn input_shapes_are_read_and_checked() {
    let shape: InputShape = "1x28x30".parse().unwrap();
    assert_eq!(
        (shape.channels, shape.height, shape.width, shape.classes),
        (1, 28, 30, 10)
    );
    assert_eq!(shape.to_string(), "1x28x30");
    for text in [
        "",
        "3x32",
        "3x32x32x1",
        "3xx32",
        "0x32x32",
        "3x32x99999999999",
        "3x-1x3",
    ] {
        assert!(text.parse::<InputShape>().is_err(), "{text}");
    }
    let none = InputShape {
        classes: 0,
        ..InputShape::default()
    };
    assert!(spec("resnet8").build(&none, Mode::Eval).is_err());
}

#[test]
fn images_that_are_too_small_are_refused() {
    let tiny: InputShape = "3x8x8".parse().unwrap();
    let error = spec("vgg15-128").build(&tiny, Mode::Eval).unwrap_err().to_string();
    assert!(error.starts_with("vgg15-128 does not fit 3x8x8 images"), "{error}");
    let odd: InputShape = "3x7x7".parse().unwrap();
    assert!(spec("resnet8:shortcut=A").build(&odd, Mode::Eval).is_ok());
    assert!(spec("resnet8:shortcut=A-avg").build(&odd, Mode::Eval).is_err());
}

/// A text like a spec; most parts of half of them are well formed.
fn nearly_a_spec() -> impl Strategy<Value = String> {
    let families =
        "resnet|cifar-resnet|se-resnet|resnext|wide-resnet|plain|preact|wrn|vgg|densenet|densenet-bc|dpn|dmrnet";
    let name = format!("({families}|fusenet-half)-?[0-9]{{0,4}}[x-]?[0-9]{{0,3}}([x-][0-9]{{1,2}}d)?(-bn|-v1)?");
    let option = r"(,?(shortcut|block|l|dropout|dropout-at|se|stem|skip|order|head|bias)=[AB01.(),3a-z-]{0,7}){0,3}";
    proptest::string::string_regex(&format!("{name}:?{option}")).unwrap()
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<ModelSpec>();
        let _ = text.parse::<InputShape>();
    }

    #[test]
    fn what_is_read_is_written_and_read_again(text in nearly_a_spec()) {
        match text.parse::<ModelSpec>() {
            Ok(spec) => prop_assert_eq!(spec.to_string().parse::<ModelSpec>(), Ok(spec)),
            Err(error) => prop_assert_eq!(error.to_string().lines().count(), 1),
        }
    }
}

/// A network of one's own: what its forward function adds, under a name.
struct Own {
    name: &'static str,
    forward: fn(&mut Graph, NodeId, usize) -> Result<NodeId, GraphError>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Architecture for Own {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn forward(&self, g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
        (self.forward)(g, images, classes)
    }
}

fn linear(g: &mut Graph, images: NodeId, classes: usize) -> Result<NodeId, GraphError> {
    Ok(layers::head(g, images, classes))
}

#[test]
fn a_network_of_ones_own_has_a_name_of_its_own() {
    for name in [
        "resnet20",
        "resnet21",
        "ResNet-20",
        "wrn-16-1:dropout=7",
        "vgg5-8:",
        "",
        "my net",
        "a\nb",
    ] {
        let refused = Model::own(Own { name, forward: linear }).unwrap_err();
        assert!(matches!(refused, ModelError::OwnName { .. }), "{name}: {refused}");
        assert_eq!(refused.to_string().lines().count(), 1, "{refused}");
    }
    for name in [
        "my-net",
        "MyNet_2.1",
        "resnetish",
        "resnet20b",
        "my-net:width=4,block=(1,3)",
    ] {
        let model = Model::own(Own { name, forward: linear }).unwrap();
        assert_eq!((model.name(), model.spec()), (name.to_string(), None));
    }
}

#[test]
fn a_graph_of_ones_own_is_checked() {
    let problem = |forward| {
        let model = Model::own(Own {
            name: "my-net",
            forward,
        })
        .unwrap();
        match model.build(&InputShape::default(), Mode::Train) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(problem(linear), "");
    let wrong_logits = problem(|g, images, classes| linear(g, images, classes + 1));
    assert!(wrong_logits.contains("N×11, not N×10"), "{wrong_logits}");
    let one_name = problem(|g, images, classes| {
        let x = layers::conv(g, "conv", images, 4, 3, 1)?;
        let x = layers::conv(g, "conv", x, 4, 3, 1)?;
        linear(g, x, classes)
    });
    assert!(one_name.contains("'conv.weight'"), "{one_name}");
    let unused = problem(|g, images, classes| {
        layers::conv(g, "aside", images, 4, 3, 1)?;
        linear(g, images, classes)
    });
    assert!(unused.contains("do not depend on layer 'aside'"), "{unused}");
    let with_loss = problem(|g, images, classes| {
        let logits = linear(g, images, classes)?;
        g.cross_entropy(logits);
        Ok(logits)
    });
    assert!(with_loss.contains("adds images or a loss"), "{with_loss}");
    let overlapping = problem(|g, images, classes| {
        let block = |name| ResidualBlock {
            name,
            stage: 1,
            input: images,
            relu: false,
        };
        g.residual(&block("outer"), |g| {
            let inner = g.residual(&block("inner"), |g| {
                Ok((layers::conv(g, "conv", images, 3, 3, 1)?, images))
            })?;
            Ok((inner, images))
        })
        .map(|x| layers::head(g, x, classes))
    });
    assert!(overlapping.contains("before block 'outer.inner' ends"), "{overlapping}");
}

#[test]
fn dropout_can_be_left_out_without_changing_the_name() {
    let model = Model::from(spec("wrn-10-2:dropout=0.3"));
    let drops = |model: &Model| {
        let network = model.build(&InputShape::default(), Mode::Train).unwrap();
        network.graph.find(|op| matches!(op, Op::Dropout { .. })).is_some()
    };
    let without = model.without_dropout();
    assert!(drops(&model) && !drops(&without));
    assert_eq!(without.name(), model.name());
    let plain = spec("wrn-10-2").build(&InputShape::default(), Mode::Train).unwrap();
    let nodes = without.build(&InputShape::default(), Mode::Train).unwrap().graph.nodes;
    assert_eq!(nodes, plain.graph.nodes);
}

#[test]
fn a_full_name_has_every_option_and_is_the_same_network() {
    for name in SAMPLES {
        let (model, full) = (spec(name), spec(name).in_full());
        assert_eq!(spec(&full), model, "{full}");
        assert_eq!(spec(&full).in_full(), full);
        assert_eq!(model.difference(&spec(&full)), None);
    }
    assert_eq!(
        spec("resnet8").in_full(),
        "resnet8:shortcut=A,skip=identity,se=0,bias=no"
    );
    assert_eq!(
        spec("preact-11").in_full(),
        "preact-11:block=bottleneck,shortcut=B,order=full,project=activated,last-norm=yes,stride-at=first"
    );
    assert_eq!(
        spec("wrn-13-2:l=3").in_full(),
        "wrn-13-2:l=3,dropout=0,dropout-at=between,project=activated,stride-at=first,bias=no"
    );
    assert_eq!(spec("plain-8").in_full(), "plain-8");
}

#[test]
fn a_difference_names_what_differs() {
    for (own, other, difference) in [
        ("resnet8", "resnet8:shortcut=A-avg", ("shortcut=A", "shortcut=A-avg")),
        ("resnet8", "plain-8", ("resnet8", "plain-8")),
        ("resnet8:shortcut=B", "resnet14", ("resnet8:shortcut=B", "resnet14")),
        (
            "wrn-16-1:l=4",
            "wrn-16-1:dropout=0.5",
            ("l=4,dropout=0", "block=B(3,3),dropout=0.5"),
        ),
    ] {
        let (said, asked) = spec(own).difference(&spec(other)).unwrap();
        assert_eq!((said.as_str(), asked.as_str()), difference);
    }
    assert_eq!(spec("resnet8:shortcut=A-sym").difference(&spec("resnet8")), None);
    assert_eq!(spec("preact-8:shortcut=B").difference(&spec("wrn-10-1")), None);
    assert!(spec("wrn-10-2").is_but_for_dropout(&spec("wrn-10-2:dropout=0.3,dropout-at=end")));
    assert!(!spec("wrn-10-2").is_but_for_dropout(&spec("wrn-10-2:block=B(3,1),dropout=0.3")));
}

/// Weights do not show which of these networks they belong to, so a reader of
/// weights has to say which one it took.
#[test]
fn models_with_the_same_tensors_know_of_each_other() {
    type Tensors = Vec<(String, Vec<usize>)>;
    let graph = |spec: &ModelSpec| spec.build(&InputShape::default(), Mode::Eval).unwrap().graph;
    let tensors = |graph: &Graph| -> Tensors {
        let params = graph.params.iter().flat_map(|param| param.tensors());
        params
            .chain(
                graph
                    .states
                    .iter()
                    .map(|state| (state.name.clone(), vec![state.channels])),
            )
            .collect()
    };
    // No public weights are of the ablations of the 2016 paper.
    let is_public = |spec: &ModelSpec| {
        !["skip=", "order="]
            .iter()
            .any(|option| spec.to_string().contains(option))
    };
    let mut specs: Vec<ModelSpec> = SAMPLES.iter().map(|name| spec(name)).filter(is_public).collect();
    let look_alikes: Vec<ModelSpec> = specs.iter().flat_map(ModelSpec::look_alikes).collect();
    specs.extend(look_alikes);
    let built: Vec<(ModelSpec, Graph, Tensors)> = specs
        .into_iter()
        .map(|spec| {
            let graph = graph(&spec);
            let tensors = tensors(&graph);
            (spec, graph, tensors)
        })
        .collect();
    for (one, own, tensors) in &built {
        let known = one.look_alikes();
        for (other, others, their_tensors) in &built {
            // A WRN with k = 1 is also a pre-activation ResNet, which does not
            // look for the ports of WRN.
            let is_wide = |spec: &ModelSpec| matches!(spec, ModelSpec::WideResNet(_));
            if is_wide(one) != is_wide(other) {
                continue;
            }
            let same = tensors == their_tensors && own != others;
            assert_eq!(known.contains(other), same, "{one} and {other}");
        }
    }
    let names: Vec<String> = spec("resnet20")
        .look_alikes()
        .iter()
        .map(ModelSpec::to_string)
        .collect();
    assert_eq!(
        names,
        ["resnet20:shortcut=A-end", "resnet20:shortcut=A-avg", "plain-20"]
    );
}

#[test]
fn a_network_fits_its_own_shapes_and_only_look_alikes_do_besides() {
    let build = |model: &ModelSpec| {
        let input = InputShape {
            classes: 100,
            ..InputShape::default()
        };
        model.build(&input, Mode::Eval).unwrap().graph
    };
    let of = |model: &ModelSpec| super::shapes_of(&build(model));
    // Variants that are not looked for: those of no public weights.
    let others = [
        "skip=",
        "order=",
        "project=",
        "stride-at=",
        "ensemble",
        "drop-",
        "pool=join",
        "last-pool=",
        "stem=imagenet,shortcut=A",
    ];
    let looked_for = |name: &&&str| !others.iter().any(|other| name.contains(other));
    for name in SAMPLES.iter().filter(looked_for) {
        let model = spec(name);
        let shapes = of(&model);
        let fitting = super::fitting(&shapes);
        // Dropout has no parameters, so shapes never show it.
        let without_dropout = |model: &ModelSpec| match model.with("dropout", "0") {
            Ok(model) => model.with("dropout-at", "between").unwrap_or(model),
            Err(_) => model.clone(),
        };
        // The name may leave the stem open, which shapes show.
        let same = build(&without_dropout(&model));
        assert!(fitting.iter().any(|other| build(other) == same), "{name}: {fitting:?}");
        assert!(fitting.iter().all(|other| of(other) == shapes), "{name}");
    }
    assert!(super::fitting(&Default::default()).is_empty());
}
