use super::*;
use crate::graph::Mode;
use crate::models::Network;

fn file(text: &str) -> NetworkFile {
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refusal(text: &str) -> String {
    text.parse::<NetworkFile>().expect_err(text).to_string()
}

/// A stage with a basic block of this width and these further keys.
fn stage(width: usize, more: &str) -> String {
    format!("[[stage]]\nblocks = 3\nkernels = [[3, {width}], [3, {width}]]\n{more}\n")
}

/// Networks of the literature as one writes them, and their names.
const WRITTEN: &[(&str, &str)] = &[
    (
        "resnet20",
        r#"
shortcut = "A"
[stem]
width = 16
[[stage]]
blocks = 3
kernels = [[3, 16], [3, 16]]
[[stage]]
blocks = 3
stride = 2
kernels = [[3, 32], [3, 32]]
[[stage]]
blocks = 3
stride = 2
kernels = [[3, 64], [3, 64]]
"#,
    ),
    (
        "wrn-28-10:dropout=0.3",
        r#"
order = "pre"
dropout = 0.3
[stem]
width = 16
[[stage]]
blocks = 4
kernels = [[3, 160], [3, 160]]
[[stage]]
blocks = 4
stride = 2
kernels = [[3, 320], [3, 320]]
[[stage]]
blocks = 4
stride = 2
kernels = [[3, 640], [3, 640]]
"#,
    ),
    (
        "resnext-29-8x64d",
        r#"
stride-at = 2
[stem]
width = 64
[[stage]]
blocks = 3
kernels = [[1, 512], [3, 512, 8], [1, 256]]
[[stage]]
blocks = 3
stride = 2
kernels = [[1, 1024], [3, 1024, 8], [1, 512]]
[[stage]]
blocks = 3
stride = 2
kernels = [[1, 2048], [3, 2048, 8], [1, 1024]]
"#,
    ),
    (
        "preact-164",
        r#"
order = "pre"
[stem]
width = 16
[[stage]]
blocks = 18
kernels = [[1, 16], [3, 16], [1, 64]]
[[stage]]
blocks = 18
stride = 2
kernels = [[1, 32], [3, 32], [1, 128]]
[[stage]]
blocks = 18
stride = 2
kernels = [[1, 64], [3, 64], [1, 256]]
"#,
    ),
    (
        "se-resnet50:stem=imagenet",
        r#"
input = "3x224x224"
classes = 1000
se = 16
stride-at = 2
[stem]
kernel = 7
stride = 2
width = 64
pool = true
[[stage]]
blocks = 3
kernels = [[1, 64], [3, 64], [1, 256]]
[[stage]]
blocks = 4
stride = 2
kernels = [[1, 128], [3, 128], [1, 512]]
[[stage]]
blocks = 6
stride = 2
kernels = [[1, 256], [3, 256], [1, 1024]]
[[stage]]
blocks = 3
stride = 2
kernels = [[1, 512], [3, 512], [1, 2048]]
"#,
    ),
    (
        "plain-20",
        r#"
shortcut = "none"
[stem]
width = 16
[[stage]]
blocks = 3
kernels = [[3, 16], [3, 16]]
[[stage]]
blocks = 3
stride = 2
kernels = [[3, 32], [3, 32]]
[[stage]]
blocks = 3
stride = 2
kernels = [[3, 64], [3, 64]]
"#,
    ),
];

fn built(spec: &ModelSpec, mode: Mode) -> Network {
    spec.build(&spec.usual_input(), mode)
        .unwrap_or_else(|error| panic!("{spec}: {error}"))
}

/// The same graph has the same parameters under the same names, the same initial
/// weights and, as nothing else decides them, the same bits in every result.
#[test]
fn networks_of_the_literature_in_a_few_lines_are_the_built_in_ones() {
    for (name, text) in WRITTEN {
        let lines = text.trim().lines().count();
        assert!((10..=25).contains(&lines), "{name} has {lines} lines");
        let (own, built_in): (ModelSpec, ModelSpec) = (file(text).into(), name.parse().unwrap());
        assert_eq!(own.usual_input(), built_in.usual_input(), "{name}");
        for mode in [Mode::Train, Mode::Eval] {
            assert_eq!(built(&own, mode).graph, built(&built_in, mode).graph, "{name}");
        }
        assert_eq!(own.difference(&built_in), None, "{name}");
    }
}

#[test]
fn a_text_is_short_and_read_back() {
    for (name, text) in WRITTEN {
        let own = file(text);
        assert_eq!(file(&own.text()), own, "{name}");
        // The name is added, and lines between the tables.
        assert!(
            own.text().lines().count() <= text.trim().lines().count() + 7,
            "{}",
            own.text()
        );
        assert_eq!(own.text().parse::<ModelSpec>().unwrap().text(), own.text());
    }
}

#[test]
fn equal_networks_have_equal_hashes_and_others_have_not() {
    let of = |text: &str| file(text).base();
    let usual = format!("[stem]\nwidth = 16\n{}{}", stage(16, ""), stage(32, "stride = 2"));
    let spelled = format!(
        "bias = false\norder = 'original'\ndropout = 0.0\nproject = 'raw'\n[stem]\nkernel = 0x3\nstride = 1\nwidth = 1_6\n\
         activation = 'bn-relu'\n{}{}[head]\nactivation = 'none'\n",
        stage(16, "shortcut = 'B'"),
        "[[stage]]\nstride = 2\nkernels = [[3, 32, 1], [3, 32]]\n[[stage.blocks]]\ncount = 1\n[[stage.blocks]]\ncount = 2\n"
    );
    assert_eq!(of(&usual), of(&spelled));
    let named = format!("name = 'mine'\n{usual}");
    assert_eq!(of(&named), of(&usual).replace("network@", "mine@"));
    for change in [
        "shortcut = 'A'",
        "shortcut = 'C'",
        "order = 'pre'",
        "skip = 'half'",
        "se = 4",
        "dropout = 0.1",
        "bias = true",
        "stride-at = 2",
        "classes = 100",
    ] {
        assert_ne!(of(&format!("{change}\n{usual}")), of(&usual), "{change}");
    }
}

#[test]
fn what_differs_is_named() {
    let with = |more: &str| -> ModelSpec {
        let text = format!("name = 'a'\n{more}\n[stem]\nwidth = 16\n{}", stage(16, "dropout = 0.2"));
        file(&text).into()
    };
    let (own, others) = with("").difference(&with("se = 4")).unwrap();
    assert!(own.starts_with("a@") && !own.contains('('), "{own}");
    assert!(others.ends_with("(se = 4)"), "{others}");
    let deeper: ModelSpec = file("name = 'a'\n[stem]\nwidth = 16\n[[stage]]\nblocks = 4\nkernels = [[3, 16]]\n").into();
    let (own, others) = with("").difference(&deeper).unwrap();
    assert!(own.contains("stage 1: blocks = 3"), "{own}");
    assert!(
        others.contains("stage 1: blocks = 4") && others.contains("kernels = [[3, 16]]"),
        "{others}"
    );
    let (own, other) = with("").difference(&ModelSpec::default()).unwrap();
    assert!(own.starts_with("a@") && other == "wrn-16-1");
    assert!(with("").is_but_for_dropout(&with("").with("dropout", "0").unwrap()));
    assert!(!with("").is_but_for_dropout(&with("se = 4")));
}

#[test]
fn an_option_changes_every_block() {
    let own: ModelSpec = file(WRITTEN[0].1).into();
    for (option, value) in [("shortcut", "B"), ("shortcut", "A-avg"), ("se", "4"), ("skip", "half")] {
        let changed = own.with(option, value).unwrap();
        let built_in: ModelSpec = format!("resnet20:{option}={value}").parse().unwrap();
        assert_eq!(built(&changed, Mode::Train).graph, built(&built_in, Mode::Train).graph);
    }
    let refused = |option: &str, value: &str| own.with(option, value).unwrap_err().to_string();
    assert!(refused("head", "linear").contains("has no option 'head': it has order, shortcut"));
    assert!(refused("dropout", "2").contains("probability"));
    assert!(refused("shortcut", "identity").contains("stage 2: shortcut = \"identity\" needs blocks"));
}

/// Each stage may have blocks of several kinds, and every order.
#[test]
fn blocks_of_one_stage_may_differ() {
    let text = "
        [stem]
        width = 8
        activation = 'bn-relu'
        [[stage]]
        stride = 2
        [[stage.blocks]]
        count = 2
        kernels = [[3, 8], [3, 16]]
        [[stage.blocks]]
        count = 1
        order = 'pre'
        kernels = [[5, 32, 4], [1, 16]]
        dropout = 0.5
        dropout-at = 'before-bn'
        [head]
        activation = 'bn-relu'
        dropout = 0.25
        ";
    let own = file(text);
    assert_eq!(own.kinds().map(|blocks| blocks.count).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(file(&own.text()), own);
    let graph = built(&own.into(), Mode::Train).graph;
    let names: Vec<&str> = graph.blocks.iter().map(|block| &block.name[..]).collect();
    assert_eq!(names, ["layer1.0", "layer1.1", "layer1.2"]);
    let downsampling: Vec<bool> = graph.blocks.iter().map(|block| block.downsamples).collect();
    assert_eq!(downsampling, [true, false, false]);
    assert!(graph.params.iter().any(|param| param.name == "bn"));
    let grouped = graph
        .params
        .iter()
        .find(|param| param.name == "layer1.2.conv1")
        .unwrap();
    assert_eq!(grouped.dims, [32, 4, 5, 5]);
}

#[test]
fn errors_name_the_line_the_key_and_what_is_allowed() {
    let stem = "[stem]\nwidth = 16\n";
    let basic = stage(16, "");
    let wrong = |more: &str| refusal(&format!("{stem}{}", stage(16, more)));
    for (error, parts) in [
        (refusal("a = \n"), &["line 1", "TOML"][..]),
        (
            refusal(&format!("widht = 3\n{stem}{basic}")),
            &["line 1: there is no key 'widht'", "has name, input"],
        ),
        (refusal(&basic), &["no [stem]"]),
        (
            refusal(&format!("[stem]\nkernel = 3\n{basic}")),
            &["line 1", "stem: width is missing"],
        ),
        (
            refusal(&format!("[stem]\nwidth = 0\n{basic}")),
            &["line 2", "stem: width = 0", "1 to 4096"],
        ),
        (
            refusal(&format!("[stem]\nwidth = 5000\n{basic}")),
            &["5000", "1 to 4096"],
        ),
        (
            refusal(&format!("[stem]\nwidth = '16'\n{basic}")),
            &["width = \"16\"", "whole number"],
        ),
        (
            refusal(&format!("[stem]\nwidth = 16\npool = 1\n{basic}")),
            &["line 3", "pool = 1", "true or false"],
        ),
        (
            refusal(&format!("[stem]\nwidth = 16\nactivation = 'gelu'\n{basic}")),
            &["gelu", "none or relu or bn or bn-relu"],
        ),
        (refusal(stem), &["0 stages", "[[stage]]"]),
        (
            refusal(&format!("{stem}[stage]\nblocks = 1\n")),
            &["line 3", "stage", "[[stage]]"],
        ),
        (refusal(&format!("stem = 3\n{basic}")), &["line 1", "[stem]"]),
        (
            refusal(&format!("name = 'a b'\n{stem}{basic}")),
            &["line 1", "name = \"a b\"", "letters"],
        ),
        (
            refusal(&format!("input = '3x0x3'\n{stem}{basic}")),
            &["line 1", "3x32x32"],
        ),
        (
            refusal(&format!("classes = 0\n{stem}{basic}")),
            &["classes = 0", "1 to 100000"],
        ),
        (
            refusal(&format!("order = 'past'\n{stem}{basic}")),
            &["line 1", "order = \"past\"", "post or pre"],
        ),
        (
            wrong("strides = 2"),
            &[
                "line 6: stage 1: there is no key 'strides'",
                "a stage has kernels, stride-at",
            ],
        ),
        (wrong("stride = 17"), &["line 6: stage 1: stride = 17", "1 to 16"]),
        (wrong("stride-at = 3"), &["line 6: stage 1: stride-at = 3", "2 kernels"]),
        (
            wrong("shortcut = 'D'"),
            &["line 6: stage 1: shortcut = \"D\"", "none or identity or A"],
        ),
        (wrong("dropout = 1.0"), &["dropout", "less than 1"]),
        (wrong("dropout = [1]"), &["dropout = […]", "text or a number"]),
        (
            wrong("gate-bias = -5"),
            &["gate-bias and a shortcut without a gate exclude"],
        ),
        (
            wrong("shortcut = 'none'\nse = 4"),
            &["line 6: stage 1", "no skip and no se"],
        ),
        (wrong("shortcut = 'none'\norder = 'pre'"), &["order = \"post\""]),
        (
            wrong("shortcut = 'identity'\nstride = 2"),
            &["line 6: stage 1", "identity", "stride of 2", "take B"],
        ),
        (
            refusal(&format!("[stem]\nwidth = 32\n{}", stage(16, "shortcut = 'A'"))),
            &["line 6", "32 input and 16 output"],
        ),
        (
            refusal(&format!("{stem}[[stage]]\nkernels = [[3, 16]]\n")),
            &["line 3: stage 1: blocks is missing"],
        ),
        (
            refusal(&format!("{stem}[[stage]]\nblocks = 3\n")),
            &["line 3: stage 1: kernels are missing"],
        ),
        (
            refusal(&format!("{stem}[[stage]]\nblocks = 0\nkernels = [[3, 16]]\n")),
            &["line 4", "blocks = 0"],
        ),
        (
            refusal(&format!("{stem}[[stage]]\nblocks = []\nkernels = [[3, 16]]\n")),
            &["line 3", "blocks is empty"],
        ),
        (
            refusal(&format!(
                "{stem}[[stage]]\nkernels = [[3, 16]]\n[[stage.blocks]]\nstride = 1\n"
            )),
            &["stage 1, blocks 1: count is missing"],
        ),
        (
            refusal(&format!(
                "{stem}[[stage]]\nblocks = 3\nkernels = [[3, 16, 5], [3, 16]]\n"
            )),
            &["line 5: stage 1: kernel 1", "5 groups"],
        ),
        (
            refusal(&format!("{stem}[[stage]]\nblocks = 3\nkernels = [3, 16]\n")),
            &["line 5: stage 1: kernels = […]", "[size, width]"],
        ),
        (
            refusal(&format!("{stem}[[stage]]\nblocks = 3\nkernels = [[33, 16]]\n")),
            &["size 1 to 31"],
        ),
        (
            refusal(&format!(
                "dropout = 0.5\n{stem}[[stage]]\nblocks = 3\nkernels = [[3, 16]]\n"
            )),
            &["one convolution", "dropout-at = \"end\""],
        ),
        (
            refusal(&format!(
                "{stem}[[stage]]\nblocks = 9000\nkernels = [[3, 16], [3, 16]]\n"
            )),
            &["18000 convolutions", "at most 10000"],
        ),
        (
            refusal(&format!("{stem}{}", basic.repeat(65))),
            &["65 stages", "1 to 64"],
        ),
        (
            refusal(&format!("{stem}{basic}[head]\nwidth = 3\n")),
            &["head: there is no key 'width'", "activation, dropout"],
        ),
        (
            refusal(&format!("#{}\n{stem}{basic}", "x".repeat(70_000))),
            &["65536 bytes"],
        ),
        (refusal(&format!("x = 'a\u{1b}[2J'\n{stem}{basic}")), &["line 1"]),
    ] {
        assert!(error.starts_with("the text of the network"), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} in {error}");
        assert!(!error.contains(['\n', '\u{1b}']), "{error:?}");
    }
}

#[test]
fn a_file_is_named_and_limited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("narrow-net.toml");
    let text = format!("[stem]\nwidth = 8\n{}", stage(8, ""));
    std::fs::write(&path, &text).unwrap();
    let own = NetworkFile::read(&path).unwrap();
    assert!(own.base().starts_with("narrow-net@"));
    std::fs::write(&path, format!("{text}x = 1\n")).unwrap();
    let error = NetworkFile::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("narrow-net.toml, line 7: stage 1: there is no key 'x'"),
        "{error}"
    );
    std::fs::write(&path, "#".repeat(1 << 17)).unwrap();
    assert!(
        NetworkFile::read(&path)
            .unwrap_err()
            .to_string()
            .contains("at most 65536")
    );
    assert!(NetworkFile::read(folder.path()).is_err());
}

#[test]
fn other_networks_are_refused_with_the_reason() {
    for name in ["densenet121", "dpn92", "dmrnet-56", "vgg16", "vgg15-128"] {
        let error = name.parse::<ModelSpec>().unwrap().in_file().unwrap_err().to_string();
        assert!(error.starts_with(name) || error.starts_with("fusenet-cross"), "{error}");
        assert!(error.contains("a row of convolutions"), "{error}");
    }
}
