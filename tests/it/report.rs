//! Does a report's page work in a browser, with the mouse and with the keyboard?

use crate::support::browser;
use std::path::{Path, PathBuf};

use residua::report::{Axis, BoxMark, Cell, Column, Figure, Item, Layer, Mark, Report, Table};
use serde_json::json;
use tempfile::TempDir;

fn mark(name: &str, x: f64, y: f64) -> Mark {
    Mark::new(x, y, format!("{name} <{x}> & \"{y:.2}\""))
}

fn figure(name: &str, x: Axis, y: Axis, layers: Vec<Layer>) -> Figure {
    Figure {
        name: name.to_string(),
        title: format!("The figure {name}: what <it> shows & why"),
        caption: format!("Large marks are those that the caption of {name} points to."),
        emphasis: "marks that are emphasised".to_string(),
        x,
        y,
        layers,
    }
}

/// A figure like that of a real lesion study: 54 blocks, intervals, stages.
fn lesions() -> Figure {
    let marks = (1..=54).map(|block| {
        let strong = block == 19 || block == 37;
        let error = if strong {
            42.0
        } else {
            8.0 + 90.0 / f64::from(block + 4)
        };
        Mark {
            interval: Some((error - 1.2, error + 1.3)),
            strong,
            ..Mark::new(f64::from(block), error, format!("block {block}: {error:.2} %"))
        }
    });
    let shade = |label: &str, from: f64| Layer::Shade {
        label: label.to_string(),
        from,
        to: from + 18.0,
    };
    figure(
        "lesions",
        Axis::linear("deleted block"),
        Axis::linear("test error (%)"),
        vec![
            shade("second stage", 18.5),
            Layer::Line {
                label: "one block deleted".to_string(),
                marks: marks.collect(),
            },
            Layer::Level {
                label: "nothing deleted: 7.31 %".to_string(),
                y: 7.31,
                series: "one block deleted".to_string(),
            },
        ],
    )
}

fn series() -> Figure {
    let line = |name: &str, rate: f64| Layer::Line {
        label: name.to_string(),
        marks: (1..=12)
            .map(|x| mark(name, f64::from(x), (-rate * f64::from(x)).exp()))
            .collect(),
    };
    figure(
        "series",
        Axis::linear("path length"),
        Axis::log("gradient norm"),
        vec![line("plain", 1.2), line("residual", 0.4), line("dropped", 0.15)],
    )
}

fn bars() -> Figure {
    let names: Vec<String> = (1..=9)
        .map(|block| format!("layer{}.{}", 1 + block / 4, block % 4))
        .collect();
    let layer = |label: &str, by: f64| Layer::Bars {
        label: label.to_string(),
        marks: (1..=9)
            .map(|x| mark(label, f64::from(x), by * f64::from(10 - x) - 1.0))
            .collect(),
    };
    figure(
        "bars",
        Axis::named("block", names),
        Axis::linear("change of the error (points)"),
        vec![layer("first seed", 1.0), layer("second seed", 1.3)],
    )
}

fn boxes() -> Figure {
    let boxed = |x: u32| {
        let at = f64::from(x);
        BoxMark {
            x: at,
            five: [at, at + 2.0, at + 3.0, at + 5.0, at + 9.0],
            values: vec![at, at + 2.0, at + 2.0, at + 5.0],
            text: format!("{x} blocks deleted: median {}", at + 3.0),
        }
    };
    figure(
        "boxes",
        Axis::linear("blocks deleted"),
        Axis::linear("test error (%)"),
        vec![
            Layer::Boxes {
                label: "20 draws".to_string(),
                boxes: (1..=8).map(boxed).collect(),
            },
            Layer::Points {
                label: "worst".to_string(),
                marks: (1..=8)
                    .map(|x| mark("worst", f64::from(x), f64::from(x) + 9.5))
                    .collect(),
            },
        ],
    )
}

fn matrix() -> Figure {
    let names: Vec<String> = (1..=12)
        .map(|block| format!("layer{}.{}.residual", 1 + block / 5, block))
        .collect();
    let cell = |x: usize, y: usize| Cell {
        x,
        y,
        value: (x != y).then(|| ((x * y) as f64).sqrt()),
        text: format!("{x} and {y}"),
    };
    figure(
        "matrix",
        Axis::named("first block", names.clone()),
        Axis::named("second block", names),
        vec![Layer::Heat {
            label: "test error (%)".to_string(),
            signed: false,
            cells: (1..=12).flat_map(|x| (1..=12).map(move |y| cell(x, y))).collect(),
        }],
    )
}

/// The number of marks of each figure, in the order of the page.
const MARKS: [usize; 6] = [54, 36, 18, 16, 144, 0];

fn report() -> Report {
    let table = Table {
        name: "errors".to_string(),
        title: "Errors by block".to_string(),
        columns: vec![
            Column::plain("name", "block"),
            Column::percent("error", "test error (%)"),
        ],
        rows: vec![
            vec![json!("layer1.0"), json!(0.0875)],
            vec![json!("layer10.0"), json!(0.6575)],
            vec![json!("layer2.0"), json!(null)],
            vec![json!("layer3.0"), json!(0.0731)],
        ],
        file_only: false,
    };
    let empty = figure("empty", Axis::linear("nothing"), Axis::log("nothing"), Vec::new());
    let facts = [
        (
            "command",
            "residua lesion --run runs/resnet110 --delete-block each --out reports/resnet110",
        ),
        (
            "weights",
            "runs/resnet110/last.safetensors, sha256 2f1d6a0c8b1f4c11a5f0e2d3c4b5a69788776655443322110ffeeddccbbaa998",
        ),
        ("seed", "0"),
    ];
    Report {
        title: "Lesions of <resnet110> & friends".to_string(),
        finding: "Deleting one block of <resnet110> costs most with block 19.".to_string(),
        cost: "The command ran for 12.3 s.".to_string(),
        facts: facts
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .to_vec(),
        items: vec![
            Item::Heading {
                text: "Every block".to_string(),
            },
            Item::Text {
                text: "One block at a time is deleted, and the rest is left as it was trained.".to_string(),
            },
            Item::Table(table),
            Item::Figure(lesions()),
            Item::Heading {
                text: "More".to_string(),
            },
            Item::Figure(series()),
            Item::Figure(bars()),
            Item::Figure(boxes()),
            Item::Figure(matrix()),
            Item::Figure(empty),
        ],
    }
}

/// Figures with the longest names, the most marks and the most unusual numbers.
fn hard() -> Report {
    let names = |count: usize| {
        (1..=count)
            .map(|block| format!("layer{}.{}.bottleneck.branch", 1 + block / 18, block))
            .collect::<Vec<_>>()
    };
    let line = |label: &str, from: f64, by: f64, count: u32| Layer::Line {
        label: label.to_string(),
        marks: (0..count)
            .map(|x| mark(label, f64::from(x), from + by * f64::from(x)))
            .collect(),
    };
    let cells = (1..=54).flat_map(|x| (1..=54).map(move |y| (x, y))).map(|(x, y)| Cell {
        x,
        y,
        value: (x <= y).then(|| 1e-7 * (x * y) as f64),
        text: format!("{x} and {y}"),
    });
    let labels = (1..=12).map(|number| {
        line(
            &format!("a series with a rather long name, {number}"),
            f64::from(number),
            0.1,
            30,
        )
    });
    let log_bars = Layer::Bars {
        label: "paths".to_string(),
        marks: (1..=30)
            .map(|x| mark("paths", f64::from(x), 10f64.powi(x - 9)))
            .collect(),
    };
    let below = Layer::Bars {
        label: "difference".to_string(),
        marks: (1..=54)
            .map(|x| Mark {
                interval: Some((-f64::from(x) - 3.0, 3.0 - f64::from(x))),
                strong: x % 9 == 0,
                ..mark("difference", f64::from(x), -f64::from(x))
            })
            .collect(),
    };
    let figures = vec![
        figure(
            "cells",
            Axis::named("first", names(54)),
            Axis::named("second", names(54)),
            vec![Layer::Heat {
                label: "gradient norm, relative to that of the whole network".to_string(),
                signed: true,
                cells: cells.collect(),
            }],
        ),
        figure("labels", Axis::linear("step"), Axis::linear("loss"), labels.collect()),
        figure("logarithms", Axis::linear("length"), Axis::log("paths"), vec![log_bars]),
        figure(
            "below",
            Axis::named("block", names(54)),
            Axis::linear("difference (points)"),
            vec![below],
        ),
        figure(
            "equal",
            Axis::linear("x"),
            Axis::linear("y"),
            vec![line("equal", 0.123_456_789, 0.0, 9)],
        ),
        figure(
            "fine",
            Axis::linear("x"),
            Axis::linear("y"),
            vec![line("fine", 123_456.0, 1e-3, 9)],
        ),
        figure(
            "large",
            Axis::linear("x"),
            Axis::linear("y"),
            vec![line("large", -3e12, 7e11, 900)],
        ),
        figure(
            "narrow",
            Axis::linear("x"),
            Axis::log("y"),
            vec![line("narrow", 0.011, 1e-5, 9)],
        ),
        figure(
            "one",
            Axis::log("x"),
            Axis::log("y"),
            vec![Layer::Points {
                label: "one".to_string(),
                marks: vec![mark("one", 1e-9, 1e30)],
            }],
        ),
    ];
    Report {
        title: "Hard figures".to_string(),
        items: figures.into_iter().map(Item::Figure).collect(),
        ..Report::default()
    }
}

#[test]
fn nothing_is_cut_off_in_hard_figures() {
    let folder = tempfile::tempdir().unwrap();
    let path = kept(&hard(), folder.path());
    let mut page = browser::open_report(&path);
    for figure in page.figures() {
        assert!(figure.marks > 0, "{figure:?}");
        assert!(figure.outside.is_empty() && figure.cut.is_empty(), "{figure:?}");
    }
    page.assert_quiet();
}

/// Writes the page to a folder that is removed after the test.
fn written() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = kept(&report(), &folder.path().join("a report"));
    (folder, path)
}

/// Writes a report and returns the path of its page. `RESIDUA_KEEP_REPORT` names a
/// folder for copies to inspect by hand.
fn kept(report: &Report, folder: &Path) -> PathBuf {
    if let Some(keep) = std::env::var_os("RESIDUA_KEEP_REPORT") {
        report
            .write(&PathBuf::from(keep).join(report.title.replace(|c: char| !c.is_alphanumeric(), "-")))
            .unwrap();
    }
    report.write(folder).unwrap().swap_remove(0)
}

#[test]
fn figures_are_drawn_whole_and_quietly() {
    let (_folder, path) = written();
    let mut page = browser::open_report(&path);
    let figures = page.figures();
    let marks: Vec<usize> = figures.iter().map(|figure| figure.marks).collect();
    assert_eq!(marks, MARKS);
    for figure in &figures {
        assert!(figure.width > 500.0 && figure.height > 200.0, "{figure:?}");
        assert!(figure.outside.is_empty() && figure.cut.is_empty(), "{figure:?}");
    }
    assert_eq!(page.text("document.title"), "Lesions of <resnet110> & friends");
    page.assert_quiet();
}

#[test]
fn the_mouse_finds_every_series() {
    let (_folder, path) = written();
    let mut page = browser::open_report(&path);
    for (figure, series) in [1, 3, 2, 2, 1, 0].into_iter().enumerate() {
        let pairs = page.hover_each_series(figure);
        assert_eq!(pairs.len(), series, "figure {figure}");
        for (words, tooltip) in pairs {
            assert!(!words.is_empty());
            assert_eq!(words, tooltip);
        }
    }
    page.move_mouse(2.0, 2.0);
    assert_eq!(page.tooltip(), "");
    page.assert_quiet();
}

#[test]
fn the_keyboard_reads_a_figure() {
    let (_folder, path) = written();
    let mut page = browser::open_report(&path);
    page.tab_to(".plot");
    for (key, words) in [
        ("ArrowRight", "block 1: 26.00 %"),
        ("ArrowRight", "block 2: 23.00 %"),
        ("End", "block 54: 9.55 %"),
        ("ArrowRight", "block 54: 9.55 %"),
        ("ArrowLeft", "block 53: 9.58 %"),
        ("Home", "block 1: 26.00 %"),
    ] {
        page.press(key);
        assert_eq!(page.announced(), words, "after {key}");
        assert_eq!(page.tooltip(), words, "after {key}");
    }
    page.press("Escape");
    assert_eq!(page.tooltip(), "");

    page.tab_to(".plot");
    for (key, words) in [
        ("ArrowRight", "plain <1> & \"0.30\""),
        ("ArrowDown", "residual <1> & \"0.67\""),
        ("ArrowRight", "residual <2> & \"0.45\""),
        ("ArrowDown", "dropped <2> & \"0.74\""),
        ("ArrowDown", "dropped <2> & \"0.74\""),
        ("ArrowUp", "residual <2> & \"0.45\""),
    ] {
        page.press(key);
        assert_eq!(page.announced(), words, "after {key}");
    }
    page.assert_quiet();
}

#[test]
fn the_legend_hides_a_series() {
    let (_folder, path) = written();
    let mut page = browser::open_report(&path);
    let shown = r#"[...document.querySelectorAll(".plot")[1].querySelectorAll(".mark")]
        .filter((mark) => mark.getBoundingClientRect().width > 0).length"#;
    assert_eq!(page.eval(shown), json!(36));
    page.click("figure:nth-of-type(1) .entry");
    let pressed = r#"document.querySelector("figure .entry").getAttribute("aria-pressed")"#;
    assert_eq!(page.text(pressed), "false");
    page.tab_to(r#".entry[aria-label="residual"]"#);
    page.press(" ");
    assert_eq!(page.eval(shown), json!(24));
    assert_eq!(page.announced(), "residual: hidden");
    page.press("Enter");
    assert_eq!(page.eval(shown), json!(36));
    page.assert_quiet();
}

#[test]
fn tables_are_sorted_by_what_their_numbers_are() {
    let (_folder, path) = written();
    let mut page = browser::open_report(&path);
    let names = r#"[...document.querySelectorAll("table.sortable tbody tr")]
        .map((row) => row.cells[0].textContent).join(" ")"#;
    page.click("table.sortable th:nth-child(2) button");
    assert_eq!(page.text(names), "layer3.0 layer1.0 layer10.0 layer2.0");
    let order = r#"document.querySelector("table.sortable th:nth-child(2)").getAttribute("aria-sort")"#;
    assert_eq!(page.text(order), "ascending");
    page.press("Enter");
    assert_eq!(page.text(order), "descending");
    assert_eq!(page.text(names), "layer10.0 layer1.0 layer3.0 layer2.0");
    page.click("table.sortable th:nth-child(1) button");
    assert_eq!(page.text(names), "layer1.0 layer2.0 layer3.0 layer10.0");
    page.assert_quiet();
}

/// Loads DejaVu Sans into the page and asks every drawing to use it; returns what
/// is not in its place.
const MISPLACED: &str = r#"(async (regular, bold) => {
    const load = async (weight, digits) => {
        const bytes = Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));
        document.fonts.add(await new FontFace("Widest", bytes, { weight }).load());
    };
    await load("400", regular);
    await load("700", bold);
    const problems = [];
    for (const svg of document.querySelectorAll("svg")) {
        svg.setAttribute("font-family", "Widest");
        const sheet = svg.getBoundingClientRect();
        const report = (words, what) => problems.push(`${svg.querySelector("title").textContent}: ${words} ${what}`);
        const rows = new Map();
        for (const text of svg.querySelectorAll("text")) {
            const own = text.getBoundingClientRect();
            if (own.left < sheet.left || own.right > sheet.right || own.top < sheet.top || own.bottom > sheet.bottom) {
                report(text.textContent, "leaves the drawing");
            }
            if (!text.hasAttribute("transform")) {
                const row = Math.round(own.bottom);
                rows.set(row, [...(rows.get(row) ?? []), { own, words: text.textContent }]);
            }
        }
        for (const row of rows.values()) {
            row.sort((one, other) => one.own.left - other.own.left);
            row.slice(1).forEach((next, index) => {
                if (next.own.left < row[index].own.right) {
                    report(next.words, `covers ${row[index].words}`);
                }
            });
        }
        for (const entry of svg.querySelectorAll(".entry, .note")) {
            const room = entry.querySelector("rect").getBBox();
            const words = entry.querySelector("text").getBBox();
            if (words.x + words.width > room.x + room.width) {
                report(entry.textContent, "leaves its entry of the legend");
            }
        }
    }
    return problems;
})"#;

#[test]
fn words_keep_their_places_in_the_widest_font() {
    let folder = tempfile::tempdir().unwrap();
    let reports = [report(), hard()];
    let drawings = reports
        .iter()
        .flat_map(|report| &report.items)
        .filter_map(|item| match item {
            Item::Figure(figure) => {
                let caption =
                    "A caption of several lines, whose words are as wide as those that a reader meets. ".repeat(4);
                Some(
                    Figure {
                        caption,
                        ..figure.clone()
                    }
                    .svg(),
                )
            }
            _ => None,
        });
    let path = folder.path().join("drawings.html");
    let all = drawings.collect::<Vec<_>>().join("\n");
    std::fs::write(&path, format!("<!DOCTYPE html><meta charset=\"utf-8\">{all}")).unwrap();
    let mut page = browser::open_report(&path);
    let digits = |font: &[u8]| font.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (regular, bold) = (digits(dejavu::sans::regular()), digits(dejavu::sans::bold()));
    let problems = page.eval(&format!("{MISPLACED}('{regular}', '{bold}')"));
    assert_eq!(problems, json!([]));
    let used = page.text("document.fonts.check('12px Widest') && document.fonts.check('600 16px Widest')");
    assert_eq!(used, "true");
}

#[test]
fn a_page_is_dark_where_the_reader_prefers_it_and_says_where_it_scrolls() {
    let (_folder, path) = written();
    let mut page = browser::open_report(&path);
    let ground = r#"getComputedStyle(document.querySelector(".plot svg > rect")).fill"#;
    let title = r#"getComputedStyle(document.querySelector(".plot svg > text")).fill"#;
    let cell =
        r#"getComputedStyle(document.querySelectorAll(".plot")[4].querySelector(".mark rect[fill^='#f']")).fill"#;
    let hints = r#"[...document.querySelectorAll(".hint")].filter((hint) => hint.checkVisibility()).length"#;
    assert_eq!(page.text(ground), "rgb(255, 255, 255)");
    assert_eq!(page.text(title), "rgb(34, 34, 34)");
    let light = page.text(cell);
    assert_eq!(page.eval(hints), json!(0));
    page.emulate(true, 375);
    assert_eq!(page.text(ground), "rgb(22, 24, 27)");
    assert_eq!(page.text(title), "rgb(232, 232, 232)");
    assert_ne!(page.text(cell), light, "a matrix has other colours on a dark ground");
    // The six figures scroll in their boxes; the page itself does not.
    assert_eq!(page.eval(hints), json!(6));
    let beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(page.eval(beyond), json!(0));
    page.assert_quiet();
}
