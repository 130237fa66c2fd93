//! How is a network written as text?
//!
//! The text has only what differs from the defaults, and what all blocks have in
//! common once, at its top.

use super::unit::{KEYS, choices};
use crate::models::InputShape;
use crate::models::design::{ACTIVATIONS, Blocks, Design, HeadDesign, StemDesign};
use crate::models::request::{Choice, name_of};
use crate::models::residual::{BranchConv, Order};

/// A table of the file.
pub struct Section {
    /// Its line: `[[stage]]`; empty for the keys at the top.
    header: &'static str,
    /// What an error calls it: `stage 2`.
    place: String,
    /// Keys and values, as they are written.
    pub entries: Vec<(&'static str, String)>,
}

impl Section {
    fn new(header: &'static str, place: impl Into<String>) -> Self {
        Section {
            header,
            place: place.into(),
            entries: Vec::new(),
        }
    }

    fn add(&mut self, key: &'static str, value: impl ToString) {
        self.entries.push((key, value.to_string()));
    }

    /// Adds a value that is not the default.
    fn add_unusual<T: PartialEq + ToString>(&mut self, key: &'static str, value: T, usual: T) {
        if value != usual {
            self.add(key, value);
        }
    }

    fn add_choice(&mut self, choice: &Choice) {
        if !choice.is_default {
            let is_number = choice.value.parse::<f64>().is_ok();
            let value = match is_number {
                true => choice.value.clone(),
                false => quoted(&choice.value),
            };
            self.add(choice.option, value);
        }
    }
}

/// The text of these sections.
pub fn text(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections.iter().filter(|section| !section.is_empty()) {
        if !text.is_empty() {
            text.push('\n');
        }
        if !section.header.is_empty() {
            text.push_str(section.header);
            text.push('\n');
        }
        for (key, value) in &section.entries {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

impl Section {
    fn is_empty(&self) -> bool {
        self.header.is_empty() && self.entries.is_empty()
    }
}

/// Every key with its value and place, in words: `stage 2: blocks = 3`.
pub fn facts(sections: &[Section]) -> Vec<String> {
    let of = |section: &Section| -> Vec<String> {
        let place = &section.place;
        let fact = |(key, value): &(&str, String)| match place.is_empty() {
            true => format!("{key} = {value}"),
            false => format!("{place}: {key} = {value}"),
        };
        section.entries.iter().map(fact).collect()
    };
    sections.iter().flat_map(of).collect()
}

/// The sections of a network.
pub fn sections(name: &str, usual: &InputShape, design: &Design) -> Vec<Section> {
    let kinds: Vec<&Blocks> = design.stages.iter().flatten().collect();
    let shared = Shared::of(&kinds);
    let mut top = Section::new("", "");
    top.add("name", quoted(name));
    let default = InputShape::default();
    top.add_unusual("input", quoted(&usual.to_string()), quoted(&default.to_string()));
    top.add_unusual("classes", usual.classes, default.classes);
    top.add_unusual("bias", design.bias, false);
    shared.choices.iter().for_each(|choice| top.add_choice(choice));
    if let Some(strided) = shared.strided {
        top.add_unusual("stride-at", strided + 1, 1);
    }
    let order = |blocks: Option<&&Blocks>| blocks.map_or(Order::Original, |blocks| blocks.unit.order);
    let mut sections = vec![top, stem(&design.stem, order(kinds.first()))];
    for (number, kinds) in (1..).zip(&design.stages) {
        let place = format!("stage {number}");
        let mut stage = Section::new("[[stage]]", place.clone());
        match &kinds[..] {
            [blocks] => {
                stage.add("blocks", blocks.count);
                shared.add(blocks, &mut stage);
                sections.push(stage);
            }
            _ => {
                sections.push(stage);
                for (kind, blocks) in (1..).zip(kinds) {
                    let mut section = Section::new("[[stage.blocks]]", format!("{place}, blocks {kind}"));
                    section.add("count", blocks.count);
                    shared.add(blocks, &mut section);
                    sections.push(section);
                }
            }
        }
    }
    let head = head(&design.head, order(kinds.last()));
    if !head.entries.is_empty() {
        sections.push(head);
    }
    sections
}

/// What all blocks have in common.
struct Shared {
    choices: Vec<Choice>,
    /// The convolution that has the stride, where all that have one agree.
    strided: Option<usize>,
}

impl Shared {
    fn of(kinds: &[&Blocks]) -> Self {
        let all: Vec<Vec<Choice>> = kinds.iter().map(|blocks| choices(&blocks.unit)).collect();
        let common = |key: &&str| -> Option<Choice> {
            let mut values = all
                .iter()
                .map(|choices| choices.iter().find(|choice| choice.option == *key));
            let first = values.next()??;
            values.all(|value| value == Some(first)).then(|| first.clone())
        };
        let mut strided = kinds
            .iter()
            .filter(|blocks| blocks.stride != 1)
            .map(|blocks| blocks.unit.strided);
        let first = strided.next();
        Shared {
            choices: KEYS.iter().filter_map(common).collect(),
            strided: first.filter(|first| strided.all(|other| other == *first)),
        }
    }

    /// Adds the keys of `blocks` that are not shared.
    fn add(&self, blocks: &Blocks, section: &mut Section) {
        section.add("kernels", kernels(&blocks.unit.convs));
        section.add_unusual("stride", blocks.stride, 1);
        if self.strided.is_none() {
            section.add_unusual("stride-at", blocks.unit.strided + 1, 1);
        }
        for choice in choices(&blocks.unit) {
            if !self.choices.contains(&choice) {
                section.add_choice(&choice);
            }
        }
    }
}

fn stem(stem: &StemDesign, order: Order) -> Section {
    let mut section = Section::new("[stem]", "stem");
    section.add_unusual("kernel", stem.kernel, 3);
    section.add("width", stem.width);
    section.add_unusual("stride", stem.stride, 1);
    let name = |activation| quoted(name_of(activation, &ACTIVATIONS));
    let usual = StemDesign::usual_activation(order, stem.pool);
    section.add_unusual("activation", name(stem.activation), name(usual));
    section.add_unusual("pool", stem.pool, false);
    section
}

fn head(head: &HeadDesign, order: Order) -> Section {
    let mut section = Section::new("[head]", "head");
    let name = |activation| quoted(name_of(activation, &ACTIVATIONS));
    section.add_unusual(
        "activation",
        name(head.activation),
        name(HeadDesign::usual_activation(order)),
    );
    section.add_unusual("dropout", head.dropout, 0.0);
    section
}

/// `[[3, 16], [3, 16]]`; the third number of a kernel is that of its groups.
fn kernels(convs: &[BranchConv]) -> String {
    let one = |conv: &BranchConv| match conv.groups {
        1 => format!("[{}, {}]", conv.kernel, conv.width),
        groups => format!("[{}, {}, {groups}]", conv.kernel, conv.width),
    };
    format!("[{}]", convs.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// `text` as a TOML string; names and words have nothing to escape.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
