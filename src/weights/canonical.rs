//! Which tensor of a model is each tensor of a file? A table is chosen, what is
//! no weight is left out, a prefix of all names is stripped, and the names are
//! translated: by a dialect's rules, else by the structure of the network.

use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;

use super::choose::{choose, rank};
use super::dialect::{Scheme, is_head, is_linear, split};
use super::layout::{Layer, Layout, layers_of};
use super::rename::{new_name, rename};
use super::tensor::check_finite;
use super::{Container, Dialect, Format, LeftOut, Rename, Table, Tensor, TensorMap, WeightsError, contents};
use super::{fold, structure, template};
use crate::shown::shown;

/// How the names in a weights file are to be understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NameOptions {
    /// The key of the table of tensors, where a file has several; by default the
    /// most usual one.
    pub table: Option<String>,
    /// Names to translate before a dialect is looked for.
    pub renames: Vec<Rename>,
}

/// By what the names of a file were translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// They are the model's own.
    Own,
    /// By the rules of a dialect.
    Dialect(Dialect),
    /// By the sequence and the shapes of the layers.
    Structure,
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Naming::Own => f.write_str("the model's own"),
            Naming::Dialect(dialect) => dialect.fmt(f),
            Naming::Structure => f.write_str("no known dialect's"),
        }
    }
}

/// The weights of a file under canonical names.
#[derive(Clone, Debug, PartialEq)]
pub struct CanonicalWeights {
    /// The tensors by their canonical names.
    pub tensors: TensorMap,
    /// How the file is built.
    pub format: Format,
    /// The key of the table that was taken, empty where the file is the table.
    pub table: String,
    /// What was stripped from the names, such as `module.`.
    pub prefix: String,
    /// By what the names were translated.
    pub naming: Naming,
    /// The name in the file and the canonical name of each tensor.
    pub names: Vec<(String, String)>,
    /// Other values of the file, as text.
    pub facts: BTreeMap<String, String>,
    /// Mean and standard deviation of each channel, where the file holds those of
    /// the images that the network was trained on.
    pub normalization: Option<[Vec<f32>; 2]>,
    /// What a user should know about how the file was read, one line each.
    pub notes: Vec<String>,
}

/// Reads the weights file at `path` as weights under canonical names. With
/// `layout`, those of a model: then a file may also have the model's own names,
/// and layers are matched with the model's where names follow no dialect.
///
/// # Errors
/// As [`contents`] and [`canonical`], and where a tensor holds a value that is
/// not finite.
pub fn read_canonical(
    path: &Path,
    options: &NameOptions,
    layout: Option<&Layout>,
) -> Result<CanonicalWeights, WeightsError> {
    let weights = canonical(contents(path)?, options, layout).map_err(|error| error.of(path))?;
    weights.check_finite(path)?;
    Ok(weights)
}

impl CanonicalWeights {
    /// The dialect of the names in the file, also where they are the model's own.
    pub fn dialect(&self) -> Option<Dialect> {
        match self.naming {
            Naming::Dialect(dialect) => Some(dialect),
            Naming::Structure => None,
            Naming::Own => {
                let stripped =
                    |(name, _): &'_ (String, String)| name.strip_prefix(&self.prefix).unwrap_or(name).to_owned();
                let names: Vec<String> = self.names.iter().map(stripped).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let known = |scheme: &Scheme| names.iter().all(|name| scheme.canonical_of(name).is_some());
                let mut found = candidates(&names, &self.prefix).into_iter();
                found.find(|(_, scheme)| known(scheme)).map(|(dialect, _)| dialect)
            }
        }
    }

    /// The shapes of the tensors by their canonical names.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shapes = self.tensors.iter();
        shapes
            .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
            .collect()
    }

    /// Refuses values that are infinite or not a number, and says that `path`
    /// holds them.
    ///
    /// # Errors
    /// For the first tensor with such a value.
    pub fn check_finite(&self, path: &Path) -> Result<(), WeightsError> {
        check_finite(path, &self.tensors)
    }
}

/// The channels of the images and the number of classes of a network with these
/// tensors; `None` where the shapes do not say.
pub fn ends_of(tensors: &TensorMap) -> Option<[usize; 2]> {
    let shapes = || tensors.values().map(|tensor| tensor.shape.as_slice());
    let convs = || shapes().filter_map(|shape| <&[usize; 4]>::try_from(shape).ok());
    // Where channels are concatenated, no convolution writes what another one reads.
    let colours = || convs().map(|dims| dims[1]).find(|&channels| channels == 3);
    let channels = template::image_channels(convs()).or_else(colours)?;
    let mut linear = shapes().filter_map(|shape| match shape {
        [outputs, _] => Some(*outputs),
        _ => None,
    });
    let first = linear.next();
    let only = first.filter(|classes| linear.all(|other| other == *classes));
    let is_last = |layer: &str| {
        let inner = |(at, _): (usize, &str)| is_head(&layer[at + 1..]);
        is_head(layer) || layer.ends_with("classifier.6") || layer.match_indices('.').any(inner)
    };
    let by_name = || {
        let mut heads = tensors
            .iter()
            .filter(|(name, _)| split(name).1 == "weight" && is_last(split(name).0));
        heads.next().and_then(|(_, tensor)| tensor.shape.first().copied())
    };
    Some([channels, only.or_else(by_name)?])
}

/// How a checkpoint names what belongs to the tensor NAME and is no weight: its momentum,
/// or first moment.
pub const MOMENTUM: &str = "momentum.";
/// Its second moment.
pub const SECOND_MOMENT: &str = "exp_avg_sq.";
/// Its value in training, where NAME is the moving average.
pub const UNAVERAGED: &str = "unaveraged.";

/// The tensor that `name` of a checkpoint belongs to, where it is no weight.
pub fn beside(name: &str) -> Option<&str> {
    let prefixes = [MOMENTUM, SECOND_MOMENT, UNAVERAGED];
    prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// The contents of a file as weights under canonical names, see
/// [`read_canonical`].
///
/// # Errors
/// If no table has tensors, a name has no rule and the structure leaves open
/// what it stands for, or two tensors stand for one.
pub fn canonical(
    container: Container,
    options: &NameOptions,
    layout: Option<&Layout>,
) -> Result<CanonicalWeights, WeightsError> {
    let Container {
        format,
        tables,
        facts,
        mut notes,
    } = container;
    // A group of names in the only table, such as `teacher`, can be asked for
    // like a table.
    let key = options.table.as_deref();
    let group = key.filter(|key| !tables.iter().any(|table| is_at(table, key)));
    let known_group = group.filter(|group| tables.iter().any(|table| has_group(table, group)));
    let (
        Table {
            path,
            tensors,
            order,
            left_out,
        },
        note,
    ) = choose(tables, key.filter(|_| known_group.is_none()))?;
    notes.extend(note);
    for (tensor, reason) in left_out.iter().filter(|(_, reason)| !reason.is_counter()) {
        if let LeftOut::Problem(problem) = reason {
            let (tensor, problem) = (tensor.clone(), problem.clone());
            return Err(WeightsError::Tensor { tensor, problem });
        }
        notes.push(reason.note(tensor));
    }

    let mut tensors = rename(tensors, &options.renames)?;
    let order: Vec<String> = order.iter().map(|name| new_name(name, &options.renames)).collect();
    notes.extend(fold::without_counters(&mut tensors));
    // What only training needs of a checkpoint are not weights.
    let is_of_training = |name: &&String| beside(name).is_some_and(|of| tensors.contains_key(of));
    let of_training: Vec<String> = tensors.keys().filter(is_of_training).cloned().collect();
    of_training.iter().for_each(|name| drop(tensors.remove(name)));
    let normalization = fold::take_normalization(&mut tensors).or_else(|| normalization_in(&facts));
    if let Some([mean, std]) = &normalization {
        notes.push(format!(
            "the file has the mean {mean:?} and the standard deviation {std:?} of its images"
        ));
    }
    notes.extend(fold::apply_reparametrizations(&mut tensors)?);

    let mut found = find_names(&tensors, &order, known_group, layout, &mut notes)?;
    let mut canonical = TensorMap::new();
    let mut names = Vec::with_capacity(found.names.len());
    for (name, tensor) in tensors {
        let Some(new) = found.names.remove(&name) else { continue };
        if let Some(other) = canonical.get(&new) {
            if *other != tensor {
                return Err(WeightsError::Duplicate { name: new });
            }
            notes.push(format!("'{}' is '{new}' once more", shown(&name)));
            continue;
        }
        canonical.insert(new.clone(), as_layer(&new, tensor));
        names.push((name, new));
    }
    let follows = match layout {
        Some(layout) => layout.clone(),
        None => Layout {
            norm_after: fold::norms_by_name(&canonical),
            ..Layout::default()
        },
    };
    notes.extend(fold::fold_biases(&mut canonical, &follows));
    if layout.is_some() {
        notes.extend(fold::without_zero_biases(&mut canonical, &follows));
    }
    if !found.prefix.is_empty() {
        notes.push(format!(
            "the names begin with '{}', which is left out",
            shown(&found.prefix)
        ));
    }
    if found.naming == Naming::Structure {
        notes.push("the names follow no known dialect; the layers' order and shapes say what they are".to_owned());
    }
    Ok(CanonicalWeights {
        tensors: canonical,
        format,
        table: path,
        prefix: found.prefix,
        naming: found.naming,
        names,
        facts,
        normalization,
        notes,
    })
}

/// The mean and the standard deviation of images among the values of a file, as
/// the configurations of timm and transformers have them.
fn normalization_in(facts: &BTreeMap<String, String>) -> Option<[Vec<f32>; 2]> {
    const KEYS: [[&str; 2]; 4] = [
        ["config.pretrained_cfg.mean", "config.pretrained_cfg.std"],
        ["config.mean", "config.std"],
        ["preprocessor_config.image_mean", "preprocessor_config.image_std"],
        ["mean", "std"],
    ];
    let list = |key: &str| -> Option<Vec<f32>> { serde_json::from_str(facts.get(key)?).ok() };
    let both = |[mean, std]: [&str; 2]| Some([list(mean)?, list(std)?]);
    let mut found = KEYS.into_iter().filter_map(both);
    found.find(|[mean, std]| mean.len() == std.len() && !mean.is_empty())
}

fn is_at(table: &Table, key: &str) -> bool {
    table.path == key || table.path.ends_with(&format!(".{key}"))
}

fn has_group(table: &Table, group: &str) -> bool {
    let begins = |name: &String| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'));
    table.tensors.keys().any(begins)
}

/// Some programs store a linear layer as a convolution over the whole plane.
fn as_layer(name: &str, mut tensor: Tensor) -> Tensor {
    tensor.shape = layer_shape(name, &tensor.shape);
    tensor
}

fn layer_shape(name: &str, shape: &[usize]) -> Vec<usize> {
    match (split(name), shape) {
        ((layer, "weight"), &[outputs, inputs, height, width]) if is_linear(layer) => {
            vec![outputs, inputs * height * width]
        }
        _ => shape.to_vec(),
    }
}

/// What names stand for.
struct Found {
    prefix: String,
    naming: Naming,
    /// The canonical name by the name in the file; a tensor that is missing is
    /// left out.
    names: HashMap<String, String>,
}

impl Found {
    /// Whether these are the tensors of a network from its images to its classes.
    fn is_whole(&self) -> bool {
        const FIRST: [&str; 4] = ["conv1", "features.0", "features.conv0", "features.conv1_1.conv"];
        const LAST: [&str; 4] = ["fc", "linear", "classifier", "classifier.6"];
        let layers: HashSet<&str> = self.names.values().map(|name| split(name).0).collect();
        [FIRST, LAST]
            .iter()
            .all(|ends| ends.iter().any(|end| layers.contains(end)))
    }
}

/// Finds what the names stand for. `group` is the beginning of names that the
/// user asks for.
fn find_names(
    tensors: &TensorMap,
    order: &[String],
    group: Option<&str>,
    layout: Option<&Layout>,
    notes: &mut Vec<String>,
) -> Result<Found, WeightsError> {
    let all: Vec<&str> = tensors.keys().map(String::as_str).collect();
    if let Some(group) = group {
        return find_group(tensors, &all, group, layout, notes)?.ok_or_else(|| no_rule(tensors, &all, String::new()));
    }
    if let Some(found) = by_prefixes(tensors, &all, layout, notes)? {
        return Ok(found);
    }
    let mut groups: Vec<&str> = all.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    groups.dedup();
    groups.sort_by_key(|group| rank(group));
    let mut usable = Vec::new();
    for group in groups {
        let found = find_group(tensors, &all, group, layout, &mut Vec::new())?;
        usable.extend(found.filter(Found::is_whole).map(|found| (group, found)));
    }
    if usable.len() > 1 || usable.first().is_some_and(|(group, _)| rank(group) < rank("")) {
        let others: Vec<String> = usable[1..]
            .iter()
            .map(|(group, _)| format!("'{}'", shown(group)))
            .collect();
        let also = if others.is_empty() {
            "other tensors".to_owned()
        } else {
            others.join(", ")
        };
        notes.push(format!(
            "takes the tensors of '{}'; there are also {also}",
            shown(usable[0].0)
        ));
        return Ok(usable.swap_remove(0).1);
    }
    by_structure(tensors, order, &all, layout, notes)
}

/// Finds what the names that begin with `group` stand for, and leaves out all
/// others.
fn find_group(
    tensors: &TensorMap,
    all: &[&str],
    group: &str,
    layout: Option<&Layout>,
    notes: &mut Vec<String>,
) -> Result<Option<Found>, WeightsError> {
    let begins = |name: &&str| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'));
    let of_group: Vec<&str> = all.iter().copied().filter(begins).collect();
    by_prefixes(tensors, &of_group, layout, notes)
}

/// Strips ever longer prefixes until the names are known.
fn by_prefixes(
    tensors: &TensorMap,
    names: &[&str],
    layout: Option<&Layout>,
    notes: &mut Vec<String>,
) -> Result<Option<Found>, WeightsError> {
    let own: Option<BTreeMap<String, Vec<usize>>> = layout.map(Layout::tensors);
    let mut first = None;
    let head = only_linear(tensors, names);
    let body = names
        .iter()
        .find(|name| !is_head(split(name).0) && Some(split(name).0) != head);
    let Some(body) = body.or(names.first()) else {
        return Ok(None);
    };
    let ends = body.match_indices('.').map(|(end, _)| end + 1);
    for end in std::iter::once(0).chain(ends) {
        let prefix = &body[..end];
        let Some(own_names) = strip(names, prefix, None).or_else(|| strip(names, prefix, head)) else {
            break;
        };
        let Some(stripped) = strip(names, prefix, head) else {
            break;
        };
        let stripped: Vec<&str> = stripped.iter().map(|name| &name[..]).collect();
        let found = |naming: Naming, translated: Vec<(usize, String)>| Found {
            prefix: prefix.to_owned(),
            naming,
            names: translated
                .into_iter()
                .map(|(at, new)| (names[at].to_owned(), new))
                .collect(),
        };
        if let Some(own) = &own {
            let has: BTreeSet<&str> = own_names.iter().map(|name| &name[..]).collect();
            if own.keys().all(|name| has.contains(&name[..])) {
                let same = own_names.iter().enumerate();
                return Ok(Some(found(
                    Naming::Own,
                    same.map(|(at, name)| (at, name.clone().into_owned())).collect(),
                )));
            }
        }
        for (dialect, scheme) in candidates(&stripped, prefix) {
            let Some((translated, note)) = translate(tensors, names, &stripped, scheme) else {
                continue;
            };
            // Of the dialects with these names, the one that has the model.
            let is_own = own
                .as_ref()
                .is_none_or(|own| has_shapes(tensors, names, &translated, own));
            if is_own || first.is_none() {
                first = Some((found(Naming::Dialect(dialect), translated), note));
            }
            if is_own {
                break;
            }
        }
        if let Some((found, note)) = first {
            notes.extend(note);
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The dialects that one of the names is a mark of, those with the file's head
/// and prefix first.
fn candidates(stripped: &[&str], prefix: &str) -> Vec<(Dialect, &'static Scheme)> {
    let layers: HashSet<&str> = stripped.iter().map(|name| split(name).0).collect();
    let marked = Dialect::all_schemes().filter(|(_, scheme)| scheme.is_marked(stripped));
    let mut candidates: Vec<_> = marked.collect();
    candidates.sort_by_key(|(_, scheme)| (!layers.contains(scheme.head.0), scheme.prefix.concat() != prefix));
    candidates
}

/// Whether the translated tensors have the names and shapes of the model's.
fn has_shapes(
    tensors: &TensorMap,
    names: &[&str],
    translated: &[(usize, String)],
    own: &BTreeMap<String, Vec<usize>>,
) -> bool {
    let shapes = translated
        .iter()
        .map(|(at, name)| (&name[..], layer_shape(name, &tensors[names[*at]].shape)));
    let shapes: HashMap<&str, Vec<usize>> = shapes.collect();
    own.iter().all(|(name, shape)| shapes.get(&name[..]) == Some(shape))
}

/// The only linear layer, which is the last one whatever its name is.
fn only_linear<'a>(tensors: &TensorMap, names: &[&'a str]) -> Option<&'a str> {
    let linear = |name: &&&str| tensors[**name].shape.len() == 2 && split(name).1 == "weight";
    let mut found = names.iter().filter(linear).map(|name| split(name).0);
    found.next().filter(|_| found.next().is_none())
}

/// The names without `prefix`. Names of the last layer may lack it: it is often
/// not a part of the module that has the prefix. The layer `head` gets a name
/// that is understood, unless it has one.
fn strip<'a>(names: &[&'a str], prefix: &str, head: Option<&str>) -> Option<Vec<Cow<'a, str>>> {
    let without = |name: &&'a str| {
        let rest = name.strip_prefix(prefix);
        let (layer, part) = split(name);
        let (rest_layer, _) = split(rest.unwrap_or(name));
        match rest {
            _ if is_head(rest_layer) => Some(Cow::Borrowed(rest.unwrap_or(name))),
            _ if head == Some(layer) => Some(Cow::Owned(format!("fc.{part}"))),
            rest => rest.map(Cow::Borrowed),
        }
    };
    names.iter().map(without).collect()
}

/// Positions of names with their canonical names, and a note for users.
type Translation = (Vec<(usize, String)>, Option<String>);

/// The positions of the names that have a canonical name in the scheme, and
/// this name. Names without a rule are left out, with a note, if their tensors
/// are those of others once more; otherwise the scheme does not fit.
fn translate(tensors: &TensorMap, names: &[&str], stripped: &[&str], scheme: &Scheme) -> Option<Translation> {
    let mut translated = Vec::with_capacity(names.len());
    let mut without = Vec::new();
    for (at, name) in stripped.iter().enumerate() {
        match scheme.canonical_of(name) {
            Some(new) => translated.push((at, new)),
            None => without.push(at),
        }
    }
    let known: Vec<&str> = translated.iter().map(|(at, _)| stripped[*at]).collect();
    let shape_of = |layer: &str| {
        let mut found = translated.iter().filter(|(_, name)| split(name) == (layer, "weight"));
        found.next().map(|(at, _)| tensors[names[*at]].shape.as_slice())
    };
    let fits = scheme.shapes.is_none_or(|fit| fit(&shape_of));
    if !scheme.is_marked(&known) || !fits || !norms_fit(tensors, names, &translated) {
        return None;
    }
    if without.is_empty() {
        return Some((translated, None));
    }
    let known: Vec<&str> = translated.iter().map(|(at, _)| names[*at]).collect();
    let without: Vec<&str> = without.iter().map(|at| names[*at]).collect();
    let again = are_again(tensors, &without, &known);
    again.then(|| (translated, Some(again_note(&without))))
}

fn again_note(names: &[&str]) -> String {
    let first = shown(names.first().copied().unwrap_or_default());
    format!(
        "left out: {} tensors that are others once more (the first is '{first}')",
        names.len()
    )
}

/// Whether each layer of `names` has the tensors of one layer of `known`, to the
/// bit, and they are not constant, as those of different layers can be before
/// training.
fn are_again(tensors: &TensorMap, names: &[&str], known: &[&str]) -> bool {
    let mut by_hash: HashMap<u64, Vec<&str>> = HashMap::new();
    for name in known {
        by_hash
            .entry(fingerprint([&tensors[*name]]))
            .or_default()
            .push(split(name).0);
    }
    let layers: BTreeSet<&str> = names.iter().map(|name| split(name).0).collect();
    layers.iter().all(|layer| {
        let mut candidates: Option<BTreeSet<&str>> = None;
        let mut varies = false;
        for name in names.iter().filter(|name| split(name).0 == *layer) {
            let tensor = &tensors[*name];
            varies |= tensor.data.windows(2).any(|pair| pair[0] != pair[1]);
            let same: BTreeSet<&str> = by_hash
                .get(&fingerprint([tensor]))
                .into_iter()
                .flatten()
                .copied()
                .collect();
            candidates = Some(match candidates {
                Some(before) => &before & &same,
                None => same,
            });
        }
        varies && candidates.is_some_and(|candidates| !candidates.is_empty())
    })
}

/// A hash of the shape and the bits of tensors: equal for equal ones.
fn fingerprint<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for tensor in tensors {
        tensor.shape.hash(&mut hasher);
        tensor.data.iter().for_each(|value| value.to_bits().hash(&mut hasher));
    }
    hasher.finish()
}

/// Whether the first and the last batch norm have the channels of what they
/// normalise. A dialect that exchanges them is the wrong one.
fn norms_fit(tensors: &TensorMap, names: &[&str], translated: &[(usize, String)]) -> bool {
    let shape = |canonical: &str| {
        let at = translated.iter().find(|(_, name)| name == canonical)?.0;
        Some(tensors[names[at]].shape.as_slice())
    };
    let differ = |norm: Option<&[usize]>, channels: Option<&usize>| match (norm, channels) {
        (Some([norm]), Some(channels)) => norm != channels,
        _ => false,
    };
    let stem = shape("conv1.weight").filter(|shape| shape.len() == 4);
    let head = shape("fc.weight").filter(|shape| shape.len() == 2);
    !differ(shape("bn1.weight"), stem.and_then(|shape| shape.first()))
        && !differ(shape("bn.weight"), head.and_then(|shape| shape.get(1)))
}

/// Matches the layers with those of the model, else with those of a residual
/// network of these shapes.
fn by_structure(
    tensors: &TensorMap,
    order: &[String],
    all: &[&str],
    layout: Option<&Layout>,
    notes: &mut Vec<String>,
) -> Result<Found, WeightsError> {
    let in_file: Vec<&str> = order
        .iter()
        .filter(|name| tensors.contains_key(*name))
        .map(String::as_str)
        .collect();
    let ordered = in_file.len() == tensors.len();
    let names = if ordered { &in_file[..] } else { all };
    let (mut layers, unknown) = layers_of(tensors, names.iter().copied());
    if let Some(name) = unknown.first() {
        let reason = format!(
            "'{}' is no tensor of a convolution, batch norm or linear layer",
            shown(name)
        );
        return Err(no_rule(tensors, all, reason));
    }
    let again = repeated(tensors, &layers);
    if !again.is_empty() {
        let names: Vec<&str> = again.iter().map(String::as_str).collect();
        notes.push(again_note(&names));
        layers.retain(|layer| !again.contains(&layer.name));
    }
    let layouts = match layout {
        Some(layout) => vec![layout.clone()],
        None => template::layouts(&layers),
    };
    let mut matches: Vec<Vec<String>> = Vec::new();
    let mut reason = None;
    for layout in &layouts {
        match structure::match_layers(&layers, ordered, layout) {
            Ok(matched) if !matches.contains(&matched) => matches.push(matched),
            Ok(_) => {}
            Err(why) => drop(reason.get_or_insert(why)),
        }
    }
    let canonical = match &mut matches[..] {
        [only] => std::mem::take(only),
        [] => {
            let reason = reason.unwrap_or_else(|| "they are not those of a residual network".to_owned());
            return Err(no_rule(tensors, all, reason));
        }
        _ => return Err(no_rule(tensors, all, "they fit several residual networks".to_owned())),
    };
    let by_layer: HashMap<&str, &str> = layers
        .iter()
        .zip(&canonical)
        .map(|(layer, canonical)| (&layer.name[..], &canonical[..]))
        .collect();
    let names = all.iter().filter_map(|name| {
        let (layer, part) = split(name);
        let part = if part.is_empty() { "weight" } else { part };
        Some(((*name).to_owned(), format!("{}.{part}", by_layer.get(layer)?)))
    });
    Ok(Found {
        prefix: String::new(),
        naming: Naming::Structure,
        names: names.collect(),
    })
}

/// Names of layers whose weights are those of an earlier layer, to the bit.
fn repeated(tensors: &TensorMap, layers: &[Layer]) -> BTreeSet<String> {
    let mut known: Vec<&str> = Vec::new();
    let mut again = BTreeSet::new();
    let mut seen: HashSet<u64> = HashSet::new();
    for layer in layers {
        let names: Vec<&str> = tensors
            .range(layer.name.clone()..)
            .take_while(|(name, _)| name.starts_with(&layer.name))
            .filter(|(name, _)| split(name).0 == layer.name)
            .map(|(name, _)| name.as_str())
            .collect();
        let all = fingerprint(names.iter().map(|name| &tensors[*name]));
        if seen.contains(&all) && are_again(tensors, &names, &known) {
            again.insert(layer.name.clone());
        } else {
            seen.insert(all);
            known.extend(names);
        }
    }
    again
}

fn no_rule(tensors: &TensorMap, all: &[&str], reason: String) -> WeightsError {
    // The names that the scheme with the fewest of them has no rule for.
    let without = |(_, scheme): (Dialect, &Scheme)| -> Vec<&str> {
        let names = all.iter().copied();
        names.filter(|name| scheme.canonical_of(name).is_none()).collect()
    };
    let names = Dialect::all_schemes().map(without).filter(|names| !names.is_empty());
    let names = names.min_by_key(Vec::len).unwrap_or_else(|| all.to_vec());
    let first = names.first().copied().unwrap_or_default();
    WeightsError::UnknownDialect {
        first: first.to_owned(),
        names: names.len(),
        tensors: tensors.len(),
        reason,
    }
}
