//! How is the text of a network read, and what is wrong with it?

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use toml::de::{DeArray, DeTable, DeValue};

use super::unit::{self, KEYS};
use super::{NetworkFile, is_name};
use crate::models::design::{ACTIVATIONS, Activation, Blocks, Design, HeadDesign, StemDesign};
use crate::models::limits::{MAX_CHANNELS, MAX_CONVS, MAX_DEPTH, MAX_FILE, MAX_KERNEL, MAX_STAGES, MAX_STRIDE};
use crate::models::request::ModelRequest;
use crate::models::residual::{BranchConv, Connection, Order, UnitDesign};
use crate::models::skip::Skip;
use crate::models::{InputShape, ModelError};
use crate::shown::{one_line, shown};

/// What is wrong with a text, and where.
#[derive(Debug)]
pub struct Problem {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The table and key, what is wrong, and what is allowed.
    pub text: String,
}

type Read<T> = Result<T, Problem>;

/// The network that `text` describes; `name` is its name where the text has none.
pub fn network(text: &str, name: &str) -> Read<NetworkFile> {
    let whole = |text: String| Problem { line: None, text };
    if text.len() as u64 > MAX_FILE {
        return Err(whole(format!("it has more than {MAX_FILE} bytes")));
    }
    let table = DeTable::parse(text).map_err(|error| Problem {
        line: error.span().map(|span| line_of(text, span.start)),
        text: format!("it cannot be read as TOML: {}", one_line(error.message())),
    })?;
    let mut top = Section::new(text, "", 1, table.get_ref());
    let name = top.name(name)?;
    let usual = top.usual_input()?;
    let bias = top.flag("bias")?.unwrap_or(false);
    let mut inherited = Inherited::default();
    inherited.take(&mut top)?;
    let stem = top.table("stem")?;
    let stages = top.tables("stage")?;
    let head = top.table("head")?;
    top.finish("the top of the file")?;
    let Some(stem) = stem else {
        return Err(whole("it has no [stem] with the width of the first convolution".into()));
    };
    if stages.is_empty() || stages.len() > MAX_STAGES {
        let found = stages.len();
        return Err(whole(format!(
            "it has {found} stages: write 1 to {MAX_STAGES} [[stage]]"
        )));
    }
    let mut read: Vec<Vec<Placed>> = Vec::new();
    for stage in stages {
        read.push(inherited.stage(stage)?);
    }
    let order = |placed: Option<&Placed>| placed.map_or(Order::Original, |placed| placed.blocks.unit.order);
    let first = order(read.iter().flatten().next());
    let last = order(read.iter().flatten().last());
    let lines: Vec<Vec<Lines>> = read
        .iter()
        .map(|kinds| kinds.iter().map(|placed| placed.lines).collect())
        .collect();
    let design = Design {
        stem: stem.stem(first)?,
        stages: read
            .into_iter()
            .map(|kinds| kinds.into_iter().map(|placed| placed.blocks).collect())
            .collect(),
        head: head.map_or(Ok(HeadDesign::of(last)), |head| head.head(last))?,
        bias,
    };
    let layers = |blocks: &Blocks| blocks.count.saturating_mul(blocks.unit.convs.len());
    let depth = design
        .stages
        .iter()
        .flatten()
        .map(layers)
        .fold(0, usize::saturating_add);
    if depth > MAX_DEPTH {
        return Err(whole(format!(
            "its blocks have {depth} convolutions together: a network has at most {MAX_DEPTH}"
        )));
    }
    if let Some((place, at, text)) = misfit(&design) {
        let lines = lines[at.stage][at.kind];
        return Err(Problem {
            line: Some(if at.in_kernels { lines.kernels } else { lines.connection }),
            text: format!("{place}: {text}"),
        });
    }
    Ok(NetworkFile::new(name, usual, design))
}

/// Where something does not fit.
#[derive(Debug, Clone, Copy)]
pub struct Misplaced {
    /// The stage, from 0.
    stage: usize,
    /// The kind of blocks in it, from 0.
    kind: usize,
    /// Whether the kernels are at fault, rather than the shortcut.
    in_kernels: bool,
}

/// The first place where parts of a network do not fit each other: its name in
/// words, the place, and what is wrong.
pub fn misfit(design: &Design) -> Option<(String, Misplaced, String)> {
    let mut channels = design.stem.width;
    for (stage, kinds) in design.stages.iter().enumerate() {
        for (kind, blocks) in kinds.iter().enumerate() {
            let firsts = [(channels, blocks.stride), (blocks.unit.width(), 1)];
            for (channels, stride) in firsts.into_iter().take(blocks.count) {
                if let Err((in_kernels, text)) = fits(&blocks.unit, channels, stride) {
                    let place = match kinds.len() {
                        1 => format!("stage {}", stage + 1),
                        _ => format!("stage {}, blocks {}", stage + 1, kind + 1),
                    };
                    let at = Misplaced {
                        stage,
                        kind,
                        in_kernels,
                    };
                    return Some((place, at, text));
                }
            }
            channels = blocks.unit.width();
        }
    }
    None
}

/// Whether a unit fits an input with `channels`; else whether its kernels are at
/// fault, and why.
fn fits(unit: &UnitDesign, channels: usize, stride: usize) -> Result<(), (bool, String)> {
    let mut inputs = channels;
    for (number, conv) in (1..).zip(&unit.convs) {
        let BranchConv { width, groups, .. } = *conv;
        if !inputs.is_multiple_of(groups) || !width.is_multiple_of(groups) {
            return Err((
                true,
                format!(
                    "kernel {number}: {inputs} input and {width} output channels do not divide into {groups} groups"
                ),
            ));
        }
        inputs = width;
    }
    let width = unit.width();
    let problem = |text: String| Err((false, text));
    let changes = if stride != 1 {
        format!(" and a stride of {stride}")
    } else {
        String::new()
    };
    match unit.connection {
        Connection::None if unit.order != Order::Original => {
            problem("a block with shortcut = \"none\" is convolution, batch norm, ReLU: it has order = \"post\"".into())
        }
        Connection::None if unit.skip != Skip::IDENTITY || unit.excite.is_some() => {
            problem("a block with shortcut = \"none\" has no skip and no se".into())
        }
        Connection::Identity if stride != 1 || width != channels => problem(format!(
            "shortcut = \"identity\" needs blocks that keep the shape, and this one has {channels} input and {width} \
             output channels{changes}: take B, C or A"
        )),
        Connection::Shortcut(shortcut) if shortcut.is_parameter_free() && width < channels => problem(format!(
            "a shortcut A adds channels, and this block has {channels} input and {width} output channels: take B or C"
        )),
        _ if !unit.dropout.fits(unit.convs.len()) => {
            problem("a block with one convolution has no place for dropout other than dropout-at = \"end\"".into())
        }
        Connection::None | Connection::Identity | Connection::Shortcut(_) => Ok(()),
    }
}

/// The line of the byte at `at`, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// A key of a table and its value.
#[derive(Clone, Copy)]
struct Entry<'t> {
    key: &'t str,
    line: usize,
    value: &'t DeValue<'t>,
}

/// A table of the text, whose keys are taken one after the other.
struct Section<'t> {
    text: &'t str,
    /// What an error calls it: `stage 2`; empty for the top of the file.
    place: String,
    line: usize,
    entries: Vec<Entry<'t>>,
    /// The keys that it can have: those that were asked for.
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    fn new(text: &'t str, place: impl Into<String>, line: usize, table: &'t DeTable<'t>) -> Self {
        let entry = |(key, value): (&'t toml::Spanned<_>, &'t toml::Spanned<DeValue<'t>>)| Entry {
            key: text_of(key),
            line: line_of(text, key.span().start),
            value: value.get_ref(),
        };
        Section {
            text,
            place: place.into(),
            line,
            entries: table.iter().map(entry).collect(),
            known: Vec::new(),
        }
    }

    fn problem<T>(&self, line: usize, text: impl std::fmt::Display) -> Read<T> {
        let text = match self.place.is_empty() {
            true => text.to_string(),
            false => format!("{}: {text}", self.place),
        };
        Err(Problem { line: Some(line), text })
    }

    fn take(&mut self, key: &'static str) -> Option<Entry<'t>> {
        self.known.push(key);
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// Refuses a key that is left.
    fn finish(&self, what: &str) -> Read<()> {
        match self.entries.first() {
            None => Ok(()),
            Some(entry) => {
                let known = self.known.join(", ");
                self.problem(
                    entry.line,
                    format!("there is no key '{}': {what} has {known}", shown(entry.key)),
                )
            }
        }
    }

    /// The value of `key`, as `read` understands it; `expected` says what it
    /// accepts.
    fn value<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Read<Option<(T, usize)>> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        match read(entry.value) {
            Some(value) => Ok(Some((value, entry.line))),
            None => self.problem(
                entry.line,
                format!("{key} = {} is not possible: {key} is {expected}", in_short(entry.value)),
            ),
        }
    }

    fn number(&mut self, key: &'static str, range: RangeInclusive<usize>) -> Read<Option<usize>> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.value(key, &expected, |value| number(value).filter(|n| range.contains(n)))?;
        Ok(number.map(|(number, _)| number))
    }

    fn flag(&mut self, key: &'static str) -> Read<Option<bool>> {
        Ok(self
            .value(key, "true or false", |value| value.as_bool())?
            .map(|(flag, _)| flag))
    }

    fn activation(&mut self, allowed: &[Activation]) -> Read<Option<Activation>> {
        let choices = ACTIVATIONS
            .iter()
            .filter(|(_, activation)| allowed.contains(activation));
        let names: Vec<&str> = choices.clone().map(|&(name, _)| name).collect();
        let named = |text: &str| {
            choices
                .clone()
                .find(|(name, _)| *name == text)
                .map(|&(_, activation)| activation)
        };
        let read = self.value("activation", &names.join(" or "), |value| named(value.as_str()?))?;
        Ok(read.map(|(activation, _)| activation))
    }

    fn table(&mut self, key: &'static str) -> Read<Option<Section<'t>>> {
        let expected = format!("a table: write [{key}] and its keys below");
        let table = self.value(key, &expected, |value| value.as_table())?;
        Ok(table.map(|(table, line)| Section::new(self.text, key, line, table)))
    }

    /// The tables of an array of tables.
    fn tables(&mut self, key: &'static str) -> Read<Vec<Section<'t>>> {
        let expected = format!("a list of tables: write [[{key}]] and its keys below");
        let all = |value: &'t DeValue<'t>| -> Option<Vec<(usize, &'t DeTable<'t>)>> {
            let table = |item: &'t toml::Spanned<DeValue<'t>>| Some((item.span().start, item.get_ref().as_table()?));
            value.as_array()?.iter().map(table).collect()
        };
        let found = self.value(key, &expected, all)?;
        let tables = found.into_iter().flat_map(|(tables, _)| tables);
        let section = |(number, (at, table))| {
            let line = line_of(self.text, at);
            Section::new(self.text, format!("{key} {number}"), line, table)
        };
        Ok((1..).zip(tables).map(section).collect())
    }

    fn name(&mut self, usual: &str) -> Read<String> {
        let expected = "1 to 60 ASCII letters, digits and -_. in quotes, a letter or digit first";
        let name = self.value("name", expected, |value| value.as_str().filter(|name| is_name(name)))?;
        Ok(name.map_or_else(|| usual.to_string(), |(name, _)| name.to_string()))
    }

    fn usual_input(&mut self) -> Read<InputShape> {
        let default = InputShape::default();
        let expected = "channels, height and width of the images, as in \"3x32x32\"";
        let shape = self.value("input", expected, |value| value.as_str()?.parse::<InputShape>().ok())?;
        let classes = self.number("classes", 1..=100_000)?;
        Ok(InputShape {
            classes: classes.unwrap_or(default.classes),
            ..shape.map_or(default, |(shape, _)| shape)
        })
    }

    fn stem(mut self, order: Order) -> Read<StemDesign> {
        let kernel = self.number("kernel", 1..=MAX_KERNEL)?.unwrap_or(3);
        let width = self.number("width", 1..=MAX_CHANNELS)?;
        let stride = self.number("stride", 1..=MAX_STRIDE)?.unwrap_or(1);
        let activation = self.activation(&[
            Activation::None,
            Activation::Relu,
            Activation::Norm,
            Activation::NormRelu,
        ])?;
        let pool = self.flag("pool")?.unwrap_or(false);
        self.finish("a stem")?;
        let Some(width) = width else {
            return self.problem(
                self.line,
                "width is missing: the output channels of the first convolution",
            );
        };
        Ok(StemDesign {
            kernel,
            stride,
            width,
            activation: activation.unwrap_or(StemDesign::usual_activation(order, pool)),
            pool,
        })
    }

    fn head(mut self, order: Order) -> Read<HeadDesign> {
        let activation = self.activation(&[Activation::None, Activation::Relu, Activation::NormRelu])?;
        let expected = "a probability of at least 0 and less than 1";
        let dropout = self.value("dropout", expected, |value| {
            scalar(value)?.parse::<f32>().ok().filter(|p| (0.0..1.0).contains(p))
        })?;
        self.finish("a head")?;
        Ok(HeadDesign {
            activation: activation.unwrap_or(HeadDesign::usual_activation(order)),
            dropout: dropout.map_or(0.0, |(p, _)| p),
        })
    }
}

/// Blocks, and the lines that say what they are.
struct Placed {
    blocks: Blocks,
    lines: Lines,
}

#[derive(Debug, Clone, Copy)]
struct Lines {
    kernels: usize,
    connection: usize,
}

/// What blocks are, as far as the tables around them say.
#[derive(Clone, Default)]
struct Inherited {
    /// Keys with one value: the value and its line.
    values: BTreeMap<&'static str, (String, usize)>,
    kernels: Option<(Vec<BranchConv>, usize)>,
    /// The number, from 1, of the convolution that has the stride.
    strided: Option<(usize, usize)>,
}

impl Inherited {
    /// Takes the keys of blocks out of `section`.
    fn take(&mut self, section: &mut Section) -> Read<()> {
        let expected = format!(
            "a list of 1 to {MAX_CONVS} kernels, each [size, width] or [size, width, groups]: size 1 to {MAX_KERNEL}, \
             width and groups 1 to {MAX_CHANNELS}"
        );
        let kernels = section.value("kernels", &expected, |value| kernels(value.as_array()?))?;
        self.kernels = kernels.or(self.kernels.take());
        let expected = "the number of the kernel that has the stride, from 1";
        let strided = section.value("stride-at", expected, |value| {
            number(value).filter(|n| (1..=MAX_CONVS).contains(n))
        })?;
        self.strided = strided.or(self.strided);
        for key in KEYS {
            let value = section.value(key, "text or a number", scalar)?;
            self.values.extend(value.map(|value| (key, value)));
        }
        Ok(())
    }

    /// The blocks of a stage.
    fn stage(&self, mut section: Section) -> Read<Vec<Placed>> {
        let mut own = self.clone();
        own.take(&mut section)?;
        let stride = section.number("stride", 1..=MAX_STRIDE)?;
        let is_list = section
            .entries
            .iter()
            .any(|entry| entry.key == "blocks" && entry.value.is_array());
        if !is_list {
            let count = section.number("blocks", 1..=MAX_DEPTH)?;
            section.finish("a stage")?;
            let Some(count) = count else {
                return section.problem(
                    section.line,
                    "blocks is missing: their number, or tables [[stage.blocks]]",
                );
            };
            return Ok(vec![own.blocks(&section, count, stride.unwrap_or(1))?]);
        }
        let kinds = section.tables("blocks")?;
        section.finish("a stage")?;
        let mut read = Vec::new();
        for mut kind in kinds {
            // Only the first kind has the stage's stride.
            let inherited = if read.is_empty() { stride } else { None };
            kind.place = format!("{}, {}", section.place, kind.place);
            let mut own = own.clone();
            own.take(&mut kind)?;
            let count = kind.number("count", 1..=MAX_DEPTH)?;
            let stride = kind.number("stride", 1..=MAX_STRIDE)?;
            kind.finish("a table [[stage.blocks]]")?;
            let Some(count) = count else {
                return kind.problem(kind.line, "count is missing: the number of blocks");
            };
            read.push(own.blocks(&kind, count, stride.or(inherited).unwrap_or(1))?);
        }
        match read.is_empty() {
            true => section.problem(
                section.line,
                "blocks is empty: write their number, or tables [[stage.blocks]]",
            ),
            false => Ok(read),
        }
    }

    /// `count` blocks of `section`, the first with `stride`.
    fn blocks(&self, section: &Section, count: usize, stride: usize) -> Read<Placed> {
        let Some((convs, line)) = self.kernels.clone() else {
            return section.problem(
                section.line,
                "kernels are missing: the convolutions of a block, as in kernels = [[3, 16], [3, 16]]",
            );
        };
        let strided = match self.strided {
            Some((number, at)) if number > convs.len() => {
                let kernels = convs.len();
                return section.problem(at, format!("stride-at = {number}, but a block has {kernels} kernels"));
            }
            strided => strided.map_or(0, |(number, _)| number - 1),
        };
        let given = self
            .values
            .iter()
            .map(|(key, (value, _))| (key.to_string(), value.clone()));
        let mut request = ModelRequest::new("a block", given);
        let line_of = |key: &str| self.values.get(key).map_or(section.line, |&(_, line)| line);
        let unit = match unit::read(&mut request, convs, strided) {
            Ok(unit) => unit,
            Err(ModelError::Value {
                option,
                value,
                expected,
                ..
            }) => {
                let value = shown(&value);
                return section.problem(
                    line_of(option),
                    format!("{option} = \"{value}\" is not possible: {option} is {expected}"),
                );
            }
            Err(ModelError::Conflict { first, second, .. }) => {
                return section.problem(line_of(first), format!("{first} and {second} exclude each other"));
            }
            Err(error) => return section.problem(section.line, error),
        };
        Ok(Placed {
            blocks: Blocks { count, stride, unit },
            lines: Lines {
                kernels: line,
                connection: line_of("shortcut"),
            },
        })
    }
}

/// The kernels of a branch.
fn kernels(list: &DeArray) -> Option<Vec<BranchConv>> {
    let one = |numbers: &[usize]| {
        let (&[kernel, width] | &[kernel, width, _]) = numbers else {
            return None;
        };
        let groups = numbers.get(2).copied().unwrap_or(1);
        let in_range = (1..=MAX_KERNEL).contains(&kernel)
            && (1..=MAX_CHANNELS).contains(&width)
            && (1..=MAX_CHANNELS).contains(&groups);
        in_range.then_some(BranchConv { kernel, width, groups })
    };
    let read = |item: &toml::Spanned<DeValue>| {
        let numbers: Option<Vec<usize>> = item.get_ref().as_array()?.iter().map(|n| number(n.get_ref())).collect();
        one(&numbers?)
    };
    let kernels: Option<Vec<BranchConv>> = list.iter().map(read).collect();
    kernels.filter(|kernels| (1..=MAX_CONVS).contains(&kernels.len()))
}

fn number(value: &DeValue) -> Option<usize> {
    let integer = value.as_integer()?;
    usize::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Text or a number, as text.
fn scalar(value: &DeValue) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(_) => number(value).map(|number| number.to_string()).or_else(|| {
            let integer = value.as_integer()?;
            Some(i64::from_str_radix(integer.as_str(), integer.radix()).ok()?.to_string())
        }),
        DeValue::Float(float) => Some(float.as_str().to_string()),
        DeValue::Boolean(flag) => Some(if *flag { "yes" } else { "no" }.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A value in an error.
fn in_short(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shown(text)),
        DeValue::Array(_) => "[…]".to_string(),
        DeValue::Table(_) => "{…}".to_string(),
        DeValue::Integer(number) => shown(&number.to_string()),
        DeValue::Float(number) => shown(number.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
    }
}

/// The text of a key.
fn text_of<'t>(key: &'t toml::Spanned<std::borrow::Cow<'t, str>>) -> &'t str {
    key.get_ref()
}
