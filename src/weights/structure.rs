//! Which layer of a file is which layer of a model, where the names follow no
//! dialect?
//!
//! Layers of one kind and shape are matched in their order: that of the file
//! where the file keeps one, else the natural order of the names. What the names
//! show besides must agree: layers whose names begin alike belong to one part of
//! the model. A match that another order contradicts is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::layout::{Layer, LayerKind, Layout, groups_of};

/// Why layers cannot be matched.
pub(super) type Reason = String;

/// For each layer of the file, the position of its layer in the layout.
type Match = Vec<usize>;

/// The most numbers of parts for which [`natural_orders`] gives orders.
const MOST_DEPTHS: usize = 6;

/// Parts of names that mark a shortcut.
const SHORTCUTS: [&str; 8] = [
    "short", "down", "skip", "proj", "identity", "res_conv", "convdim", "adapt",
];

/// The canonical name of each layer of `layers`, in their order. `ordered` says
/// whether that is the order of the file, in which its program created them.
///
/// # Errors
/// If the shapes differ, or the names leave open which layer is which.
pub(super) fn match_layers(layers: &[Layer], ordered: bool, layout: &Layout) -> Result<Vec<String>, Reason> {
    let mut found: Vec<Match> = Vec::new();
    let mut reason = None;
    let natural = natural_orders(layers);
    let unclear = look_alike(layers);
    let orders = ordered.then(|| (0..layers.len()).collect::<Vec<_>>()).into_iter();
    let orders = orders.chain(natural.into_iter().filter(|_| unclear.is_none()));
    for order in orders {
        match in_order(layers, &order, layout) {
            Ok(matched) if !found.contains(&matched) => found.push(matched),
            Ok(_) => {}
            Err(why) => drop(reason.get_or_insert(why)),
        }
    }
    match (&found[..], reason, unclear) {
        ([only], ..) => Ok(only.iter().map(|&at| layout.layers[at].name.clone()).collect()),
        ([first, second, ..], ..) => {
            let differ = (0..layers.len()).find(|&layer| first[layer] != second[layer]);
            let name = differ.map_or("", |layer| &layers[layer].name);
            Err(format!("the order of its layers leaves open which one '{name}' is"))
        }
        ([], Some(reason), _) => Err(reason),
        ([], None, Some((a, b))) => Err(format!("nothing says whether '{a}' or '{b}' comes first")),
        ([], None, None) => Err("it has no layers".into()),
    }
}

/// Orders of the layers by their names: parts of names as numbers where they
/// are; then, for each number of parts, with the names of at most so many parts
/// first, and last. Stem and head have fewer parts than the layers of blocks.
fn natural_orders(layers: &[Layer]) -> Vec<Vec<usize>> {
    let keys: Vec<_> = layers.iter().map(|layer| natural_key(&layer.name)).collect();
    let depth = |at: &usize| layers[*at].name.matches('.').count();
    let mut natural: Vec<usize> = (0..layers.len()).collect();
    natural.sort_by(|&a, &b| keys[a].cmp(&keys[b]));
    let depths: BTreeSet<usize> = natural.iter().map(depth).collect();
    let mut orders = vec![natural.clone()];
    for at_most in depths.into_iter().take(MOST_DEPTHS) {
        for last in [false, true] {
            let mut order = natural.clone();
            order.sort_by_key(|at| (depth(at) <= at_most) == last);
            orders.push(order);
        }
    }
    orders
}

/// A name as parts that compare as texts or as numbers.
fn natural_key(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(text);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (digits, after) = after.split_at(digits);
        parts.push((text.to_owned(), digits.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// Two layers or groups next to each other in the tree of names that have equal
/// shapes, and whose names differ by more than numbers: their names do not say
/// which comes first.
fn look_alike(layers: &[Layer]) -> Option<(String, String)> {
    // The layers below each name, and the names one level below each name.
    let mut below: BTreeMap<&str, Vec<&LayerKind>> = BTreeMap::new();
    let mut children: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for layer in layers {
        let name = layer.name.as_str();
        let ends = name.match_indices('.').map(|(end, _)| end).chain([name.len()]);
        let mut parent = "";
        for end in ends {
            below.entry(&name[..end]).or_default().push(&layer.kind);
            children.entry(parent).or_default().insert(&name[..end]);
            parent = &name[..end];
        }
    }
    below.values_mut().for_each(|kinds| kinds.sort());
    for siblings in children.values() {
        let mut seen: HashMap<(&[&LayerKind], bool), (String, &str)> = HashMap::new();
        for &name in siblings {
            let skeleton: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
            match seen.get(&(&below[name][..], is_shortcut(name))) {
                Some((other, first)) if *other != skeleton => return Some(((*first).to_owned(), name.to_owned())),
                Some(_) => {}
                None => drop(seen.insert((&below[name][..], is_shortcut(name)), (skeleton, name))),
            }
        }
    }
    None
}

/// Whether a part of the name marks a shortcut.
fn is_shortcut(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SHORTCUTS.iter().any(|mark| name.contains(mark))
}

/// Matches each kind and shape in this order, if the groups agree.
fn in_order(layers: &[Layer], order: &[usize], layout: &Layout) -> Result<Match, Reason> {
    let wants_mark = |layer: &Layer| layer.name.contains("downsample");
    let marked = layers.iter().any(|layer| is_shortcut(&layer.name));
    if !marked {
        unmarked_shortcuts(layout)?;
    }
    let mut waiting: HashMap<(&LayerKind, bool), VecDeque<usize>> = HashMap::new();
    for (at, layer) in layout.layers.iter().enumerate() {
        let key = (&layer.kind, marked && wants_mark(layer));
        waiting.entry(key).or_default().push_back(at);
    }
    if layers.len() != layout.layers.len() {
        return Err(format!("it has {} layers, not {}", layers.len(), layout.layers.len()));
    }
    let mut matched = vec![0; layers.len()];
    for &layer in order {
        let Layer { name, kind } = &layers[layer];
        let queue = waiting.get_mut(&(kind, marked && is_shortcut(name)));
        let next = queue.and_then(VecDeque::pop_front);
        matched[layer] = next.ok_or_else(|| format!("no layer has the shape of '{name}'"))?;
    }
    check_groups(layers, order, &matched, layout)?;
    Ok(matched)
}

/// Refuses to match a model in which a shortcut's convolution has the shape of
/// another one, where no name marks a shortcut.
fn unmarked_shortcuts(layout: &Layout) -> Result<(), Reason> {
    let (shortcuts, others): (Vec<&Layer>, Vec<&Layer>) = layout
        .layers
        .iter()
        .filter(|layer| matches!(layer.kind, LayerKind::Conv(_)))
        .partition(|layer| layer.name.contains("downsample"));
    let others: BTreeSet<&LayerKind> = others.into_iter().map(|layer| &layer.kind).collect();
    match shortcuts.iter().find(|layer| others.contains(&layer.kind)) {
        Some(layer) => Err(format!("no name marks the shortcut '{}'", layer.name)),
        None => Ok(()),
    }
}

/// Refuses a match in which a group of names and a part of the model overlap
/// without one being within the other. Where names show no groups, the order of
/// the file must be the model's, layer for layer.
fn check_groups(layers: &[Layer], order: &[usize], matched: &Match, layout: &Layout) -> Result<(), Reason> {
    let mut memberships: Vec<Vec<usize>> = vec![Vec::new(); layout.layers.len()];
    for (group, members) in layout.groups.iter().enumerate() {
        members.iter().for_each(|&at| memberships[at].push(group));
    }
    let groups = groups_of(layers);
    let tells = |group: &BTreeSet<usize>| group.len() > 1 && group.len() < layers.len();
    if !groups.iter().any(tells) {
        let same = order
            .iter()
            .enumerate()
            .all(|(position, &layer)| matched[layer] == position);
        return same.then_some(()).ok_or_else(|| {
            "its names do not show which layers belong together, and their order is not the model's".into()
        });
    }
    for group in &groups {
        let mut common: BTreeMap<usize, usize> = BTreeMap::new();
        for &layer in group {
            for &part in &memberships[matched[layer]] {
                *common.entry(part).or_default() += 1;
            }
        }
        let crossing = |(part, count): (&usize, &usize)| *count < group.len() && *count < layout.groups[*part].len();
        if common.iter().any(crossing) {
            let first = group.first().map_or("", |&layer| &layers[layer].name);
            return Err(format!(
                "the layers near '{first}' belong to several parts of the model"
            ));
        }
    }
    Ok(())
}
