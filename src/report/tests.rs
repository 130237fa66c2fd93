//! Does a report contain its data, whatever the data is?

use proptest::prelude::*;

use super::*;

/// One layer of each kind that an axis of numbers can have.
pub(super) fn every_layer() -> Figure {
    let mark = |x: f64, y: f64| Mark::new(x, y, format!("place {x} <&\"> {y}"));
    Figure {
        name: "every".to_string(),
        title: "Every kind of layer & <more>".to_string(),
        caption: "A caption with \"quotes\".".to_string(),
        emphasis: "what is emphasised".to_string(),
        x: Axis::linear("place"),
        y: Axis::linear("value (%)"),
        layers: vec![
            Layer::Shade {
                label: "stage 2".to_string(),
                from: 2.5,
                to: 4.5,
            },
            Layer::Bars {
                label: "bars".to_string(),
                marks: vec![mark(1.0, 4.0), mark(2.0, 7.5), mark(3.0, -1.0)],
            },
            Layer::Boxes {
                label: "boxes".to_string(),
                boxes: vec![BoxMark {
                    x: 4.0,
                    five: [1.0, 2.0, 3.5, 5.0, 9.0],
                    values: vec![1.0, 2.0, 3.5, 5.0, 9.0],
                    text: "a box".to_string(),
                }],
            },
            Layer::Line {
                label: "line".to_string(),
                marks: (1..=5).map(|x| mark(f64::from(x), f64::from(x * x) / 3.0)).collect(),
            },
            Layer::Points {
                label: "points".to_string(),
                marks: vec![
                    Mark {
                        interval: Some((2.0, 6.0)),
                        strong: true,
                        ..mark(2.0, 4.0)
                    },
                    mark(5.0, 1.0),
                ],
            },
            Layer::Level {
                label: "level: 3 %".to_string(),
                y: 3.0,
                series: "line".to_string(),
            },
        ],
    }
}

pub(super) fn matrix() -> Figure {
    let cell = |x: usize, y: usize| Cell {
        x,
        y,
        value: (x != y).then_some((x * y) as f64),
        text: String::new(),
    };
    let names: Vec<String> = (1..=4).map(|number| format!("layer{number}.0")).collect();
    Figure {
        name: "matrix".to_string(),
        title: "A matrix".to_string(),
        caption: String::new(),
        emphasis: String::new(),
        x: Axis::named("first", names.clone()),
        y: Axis::named("second", names),
        layers: vec![Layer::Heat {
            label: "error (%)".to_string(),
            signed: false,
            cells: (1..=4).flat_map(|x| (1..=4).map(move |y| cell(x, y))).collect(),
        }],
    }
}

fn marks(svg: &str) -> usize {
    svg.matches(r#"class="mark""#).count()
}

#[test]
fn every_mark_is_drawn_with_its_words() {
    let svg = every_layer().svg();
    assert_eq!(marks(&svg), 3 + 1 + 5 + 2);
    assert!(svg.contains(r#"data-text="place 2 &lt;&amp;&quot;&gt; 4""#));
    assert!(svg.contains("Every kind of layer &amp; &lt;more&gt;</title>"));
    assert!(!svg.contains("<more>"));
    assert_eq!(marks(&matrix().svg()), 16);
}

#[test]
fn a_colour_stands_for_a_series_and_the_legend_has_every_sign() {
    let mut figure = every_layer();
    let colors = |svg: &str, part: &str| {
        let place = svg.find(part).unwrap_or_else(|| panic!("{part}: {svg}"));
        let color = svg[place..].find("fill=\"#").unwrap();
        svg[place + color + 6..place + color + 13].to_string()
    };
    // The strong and the other mark of a series differ by their outline.
    let svg = figure.svg();
    assert!(svg.contains(r#">what is emphasised</text>"#));
    assert_eq!(
        colors(&svg, r#"data-text="place 2 &lt;&amp;&quot;&gt; 4"><title>"#),
        colors(&svg, r#"data-text="place 5 &lt;&amp;&quot;&gt; 1"><title>"#)
    );
    // The level has the colour of the line, in the legend and in the plot.
    let line = color::series(2);
    assert_eq!(
        svg.matches(&format!(r#"stroke="{line}" stroke-width="1.5""#)).count(),
        2,
        "{svg}"
    );
    assert!(!svg.contains("not finite"));

    // A value that is not finite is marked at the edge, for every kind of mark.
    for layer in 0..figure.layers.len() {
        let before = marks(&figure.svg());
        match &mut figure.layers[layer] {
            Layer::Line { marks, .. } | Layer::Points { marks, .. } | Layer::Bars { marks, .. } => {
                marks.push(Mark::new(3.0, f64::INFINITY, "diverged"));
                marks.push(Mark::new(4.0, f64::NAN, "no number"));
            }
            _ => continue,
        }
        let svg = figure.svg();
        assert_eq!(marks(&svg), before + 2);
        assert!(svg.contains(">not finite, off the scale</text>") && svg.contains(r#"data-text="diverged""#));
    }
    let mut matrix = matrix();
    let Layer::Heat { cells, .. } = &mut matrix.layers[0] else {
        panic!("a matrix has cells");
    };
    cells[1].value = Some(f64::INFINITY);
    assert!(matrix.svg().contains(">not finite, off the scale</text>"));
    matrix.png().unwrap();
}

#[test]
fn a_matrix_runs_as_a_table_does() {
    let svg = matrix().svg();
    let row = |text: &str| -> f64 {
        let mark = &svg[svg.find(text).unwrap_or_else(|| panic!("{text}: {svg}"))..];
        let y = &mark[mark.find(r#" y=""#).unwrap() + 4..];
        y[..y.find('"').unwrap()].parse().unwrap()
    };
    assert!(row(r#"data-text="2, 1: 2""#) < row(r#"data-text="2, 3: 6""#));
    let label = |text: &str| svg.rfind(&format!(">{text}</text>")).unwrap();
    assert!(label("layer1.0") != label("layer4.0"));
}

#[test]
fn zero_is_in_the_middle_of_a_signed_matrix_whatever_its_values() {
    let mut figure = matrix();
    let Layer::Heat { signed, .. } = &mut figure.layers[0] else {
        panic!("a matrix has cells");
    };
    *signed = true;
    // All values are positive, the largest is 12.
    let scale = axes::heat_scale(&figure).unwrap();
    assert_eq!((scale.low, scale.high), (-12.0, 12.0));
    let svg = figure.svg();
    assert!(svg.contains(">−10</text>") && svg.contains(">10</text>"), "{svg}");
}

#[test]
fn a_drawing_follows_the_readers_ground_and_a_picture_is_light() {
    let svg = every_layer().svg();
    let rules = svg.find("@media screen and (prefers-color-scheme:dark){[").unwrap();
    let style = &svg[rules..svg.find("</style>").unwrap()];
    // Each colour that the drawing uses has a rule, so nothing stays dark on dark.
    let body = &svg[svg.find("</style>").unwrap()..];
    for property in ["fill", "stroke"] {
        for part in body.split(&format!(" {property}=\"#")).skip(1) {
            let rule = format!("[{property}=\"#{}\"]", &part[..6]);
            assert!(style.contains(&rule), "{rule} is missing");
        }
    }
    let light = resvg::tiny_skia::Pixmap::decode_png(&every_layer().png().unwrap()).unwrap();
    let corner = light.pixel(1, 1).unwrap();
    assert_eq!([corner.red(), corner.green(), corner.blue()], [255; 3]);
    // In a page the rules stand once, for all figures.
    assert_eq!(report().html().matches("prefers-color-scheme:dark").count(), 1);
}

#[test]
fn drawing_twice_gives_the_same_bytes() {
    assert_eq!(every_layer().svg(), every_layer().svg());
    assert_eq!(every_layer().png().unwrap(), every_layer().png().unwrap());
}

#[test]
fn the_picture_is_not_blank_and_has_words() {
    let png = every_layer().png().unwrap();
    let pixels = resvg::tiny_skia::Pixmap::decode_png(&png).unwrap();
    assert_eq!(pixels.width(), 1720);
    let dark = |pixels: &resvg::tiny_skia::Pixmap, rows: std::ops::Range<usize>| {
        let row = pixels.width() as usize;
        let pixels = &pixels.pixels()[rows.start * row..rows.end * row];
        pixels
            .iter()
            .filter(|pixel| pixel.red() < 100 && pixel.blue() < 100)
            .count()
    };
    assert!(dark(&pixels, 0..pixels.height() as usize) > 2000);
    assert!(dark(&pixels, 28..68) > 200, "the title has no letters");
}

#[test]
fn figures_without_much_in_them_are_drawn() {
    let empty = |layers| Figure {
        layers,
        title: String::new(),
        ..every_layer()
    };
    for layers in [
        vec![],
        vec![Layer::Line {
            label: String::new(),
            marks: vec![],
        }],
        vec![Layer::Heat {
            label: String::new(),
            signed: true,
            cells: vec![],
        }],
        vec![Layer::Boxes {
            label: String::new(),
            boxes: vec![],
        }],
        vec![Layer::Points {
            label: String::new(),
            marks: vec![Mark::new(f64::NAN, f64::INFINITY, "")],
        }],
    ] {
        let figure = empty(layers);
        assert_eq!(marks(&figure.svg()), 0);
        figure.png().unwrap();
    }
    let single = empty(vec![Layer::Points {
        label: "one".to_string(),
        marks: vec![Mark::new(3.0, 3.0, "")],
    }]);
    assert_eq!(marks(&single.svg()), 1);
}

#[test]
fn what_is_not_positive_has_no_place_among_logarithms() {
    let mut figure = every_layer();
    figure.y = Axis::log("value");
    figure.layers.retain(|layer| matches!(layer, Layer::Line { .. }));
    if let Layer::Line { marks, .. } = &mut figure.layers[0] {
        marks.push(Mark::new(6.0, 0.0, "zero"));
        marks.push(Mark::new(7.0, -1.0, "negative"));
    }
    assert_eq!(marks(&figure.svg()), 5);
    assert_eq!(figure.layers[0].words().len(), 7, "the words of all marks stay");
}

#[test]
fn many_marks_are_drawn() {
    let mut figure = every_layer();
    figure.layers = vec![Layer::Line {
        label: "steps".to_string(),
        marks: (0..900)
            .map(|x| Mark::new(f64::from(x), f64::from(x % 17), ""))
            .collect(),
    }];
    assert_eq!(marks(&figure.svg()), 900);
}

#[test]
fn figures_are_stacked_in_one_file() {
    let both = stack(&[every_layer(), matrix()]);
    assert_eq!(marks(&both), marks(&every_layer().svg()) + marks(&matrix().svg()));
    assert_eq!(both.matches("<svg").count(), 1);
}

fn report() -> Report {
    let column = |key: &str| Column::percent(key, &format!("{key} | rate (%)"));
    Report {
        title: "Lesions <of> resnet20".to_string(),
        finding: "Block 4 <costs> most.".to_string(),
        cost: "It took 3 s.".to_string(),
        facts: vec![
            ("seed".to_string(), "0".to_string()),
            ("note".to_string(), "a|b".to_string()),
        ],
        items: vec![
            Item::Heading {
                text: "Results".to_string(),
            },
            Item::Text {
                text: "What was found.".to_string(),
            },
            Item::Table(Table {
                name: "errors".to_string(),
                title: "Errors".to_string(),
                columns: vec![Column::plain("name", "name"), column("error")],
                rows: vec![
                    vec![serde_json::json!("x|y"), serde_json::json!(0.125)],
                    vec![serde_json::json!("z"), serde_json::json!(1.0)],
                ],
                file_only: false,
            }),
            Item::Table(Table {
                name: "images".to_string(),
                title: "Each image".to_string(),
                columns: vec![Column::plain("image", "image")],
                rows: vec![vec![serde_json::json!(1)]],
                file_only: true,
            }),
            Item::Figure(every_layer()),
        ],
    }
}

#[test]
fn markdown_holds_everything_in_its_cells() {
    let text = report().markdown();
    assert!(text.starts_with("# Lesions <of> resnet20\n\n**Block 4 <costs> most.**\n\n## Results\n"));
    assert!(
        text.ends_with("\n## Cost\n\nIt took 3 s.\n\n## Origin\n\n| | |\n|:--|:--|\n| seed | 0 |\n| note | a\\|b |\n")
    );
    assert!(text.contains("| name | error \\| rate (%) |\n| :-- | --: |\n| x\\|y | 12.50 |\n| z | 100.00 |\n"));
    assert!(text.contains("![Every kind of layer & <more>](every.svg)"));
    assert!(!text.contains("| image |"));
}

#[test]
fn a_page_has_the_finding_then_contents_then_sections_then_cost() {
    let mut report = report();
    report.items.push(Item::heading("By [class]"));
    let page = report.html();
    let places = [
        "<h1>",
        "<p class=\"finding\">Block 4 &lt;costs&gt; most.</p>",
        "<li><a href=\"#heading5\">By [class]</a></li>",
        "<h2 id=\"heading5\">",
        "<h2 id=\"cost\">Cost</h2>\n<p>It took 3 s.</p>",
        "<h2 id=\"origin\">",
        "<dd>a|b</dd>",
    ]
    .map(|part| page.find(part).unwrap_or_else(|| panic!("{part} is missing")));
    assert!(places.is_sorted(), "{places:?}");
    let text = report.markdown();
    assert!(
        text.contains("most.**\n\n- [Results](#results)\n- [By \\[class\\]](#by-class)\n\n## Results\n"),
        "{text}"
    );
}

#[test]
fn the_terminal_gets_aligned_columns() {
    let text = report().text();
    assert_eq!(
        text,
        "Block 4 <costs> most.\n\nResults\n=======\n\nWhat was found.\n\nErrors\nname  error | rate (%)\n\
         x|y              12.50\nz               100.00\n\nCost\n====\n\nIt took 3 s.\n"
    );
}

#[test]
fn the_page_is_whole_and_escaped() {
    let page = report().html();
    assert!(page.contains("<h1>Lesions &lt;of&gt; resnet20</h1>"));
    assert!(!page.contains("<of>") && !page.contains("<more>"));
    assert!(page.contains(r#"<td class="number" data-value="0.125">12.50</td>"#));
    assert!(page.contains("Each image: 1 row,"));
    assert_eq!(page, report().html());
}

#[test]
fn a_report_is_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("new/report");
    let paths = report().write(&directory).unwrap();
    let names: Vec<_> = paths
        .iter()
        .map(|path| path.strip_prefix(&directory).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "report.html",
            "report.md",
            "report.json",
            "errors.csv",
            "images.csv",
            "every.svg",
            "every.png"
        ]
    );
    assert!(paths.iter().all(|path| path.metadata().unwrap().len() > 0));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&paths[2]).unwrap()).unwrap();
    assert_eq!(json["items"][4]["layers"][1]["marks"][1]["y"], 7.5);
}

#[test]
fn numbers_that_are_none_are_null() {
    let mut report = report();
    let mut figure = every_layer();
    figure.layers = vec![Layer::Level {
        label: String::new(),
        y: f64::NAN,
        series: String::new(),
    }];
    report.items = vec![Item::Figure(figure)];
    assert!(report.json().unwrap().contains("\"y\": null"));
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "../up", "a/b", ".hidden", "a b"] {
        let mut report = report();
        report.items.push(Item::Figure(Figure {
            name: name.to_string(),
            ..every_layer()
        }));
        assert!(
            matches!(report.write(folder.path()), Err(ReportError::Name { .. })),
            "{name}"
        );
    }
    let mut twice = report();
    twice.items.push(Item::Figure(every_layer()));
    let error = twice.write(folder.path()).unwrap_err().to_string();
    assert_eq!(
        error,
        "'every' cannot be the name of a figure: another one has it already"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn any_mark() -> impl Strategy<Value = Mark> {
    let value = proptest::num::f64::ANY;
    (
        value,
        value,
        proptest::option::of((value, value)),
        any::<bool>(),
        any::<String>(),
    )
        .prop_map(|(x, y, interval, strong, text)| Mark {
            x,
            y,
            interval,
            strong,
            text,
        })
}

fn any_layer() -> impl Strategy<Value = Layer> {
    use proptest::collection::vec;
    let value = proptest::num::f64::ANY;
    let boxed = (value, any::<[f64; 5]>(), vec(value, 0..5)).prop_map(|(x, five, values)| BoxMark {
        x,
        five,
        values,
        text: String::new(),
    });
    let cell = (any::<usize>(), 0usize..9, proptest::option::of(value)).prop_map(|(x, y, value)| Cell {
        x,
        y,
        value,
        text: String::new(),
    });
    prop_oneof![
        (any::<String>(), vec(any_mark(), 0..9)).prop_map(|(label, marks)| Layer::Line { label, marks }),
        (any::<String>(), vec(any_mark(), 0..9)).prop_map(|(label, marks)| Layer::Points { label, marks }),
        (any::<String>(), vec(any_mark(), 0..9)).prop_map(|(label, marks)| Layer::Bars { label, marks }),
        (any::<String>(), vec(boxed, 0..5)).prop_map(|(label, boxes)| Layer::Boxes { label, boxes }),
        (any::<String>(), any::<bool>(), vec(cell, 0..9)).prop_map(|(label, signed, cells)| Layer::Heat {
            label,
            signed,
            cells
        }),
        (any::<String>(), value, "|a").prop_map(|(label, y, series)| Layer::Level { label, y, series }),
        (any::<String>(), value, value).prop_map(|(label, from, to)| Layer::Shade { label, from, to }),
    ]
}

fn any_axis() -> impl Strategy<Value = Axis> {
    let value = proptest::num::f64::ANY;
    let names = proptest::collection::vec(any::<String>(), 0..5);
    (
        any::<String>(),
        any::<bool>(),
        proptest::option::of((value, value)),
        names,
    )
        .prop_map(|(label, log, range, names)| Axis {
            label,
            scale: if log { Scale::Log } else { Scale::Linear },
            range,
            names,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_figure_is_a_valid_drawing(
        title in any::<String>(),
        x in any_axis(),
        y in any_axis(),
        layers in proptest::collection::vec(any_layer(), 0..5),
    ) {
        let figure = Figure { name: "any".to_string(), title, caption: String::new(), emphasis: "some".to_string(), x, y, layers };
        let svg = figure.svg();
        prop_assert!(!svg.contains("NaN") || figure.layers.iter().any(|layer| layer.words().join("").contains("NaN")));
        prop_assert!(resvg::usvg::Tree::from_str(&svg, &resvg::usvg::Options::default()).is_ok(), "{}", svg);
    }
}
