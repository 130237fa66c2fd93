//! Which table of tensors of a file is the network's, where there are several?

use super::{Table, WeightsError};
use crate::shown::shown;

/// Keys under which training programs save a network, the most usual first.
const USUAL: [&str; 14] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "student",
    "backbone",
    "encoder_q",
    "classifier",
    "online",
];

/// Words in keys of other tables: what an optimizer stores, and copies of the
/// network.
const OPTIMIZERS: [&str; 5] = ["optim", "momentum", "exp_avg", "scaler", "sched"];
const COPIES: [&str; 7] = ["ema", "teacher", "average", "swa", "momentum", "target", "encoder_k"];

/// The more usual, the smaller.
pub(super) fn rank(path: &str) -> (bool, bool, usize) {
    let lower = path.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let place = |key: &str| USUAL.iter().position(|usual| *usual == key);
    let usual = path.rsplit('.').find_map(place).unwrap_or(USUAL.len());
    (has(&OPTIMIZERS), has(&COPIES), usual)
}

/// The table of tensors at the path `wanted`, else the most usual one that has
/// tensors; and a line that names it and the others.
///
/// # Errors
/// If there is no such table, or none has tensors.
pub(super) fn choose(mut tables: Vec<Table>, wanted: Option<&str>) -> Result<(Table, Option<String>), WeightsError> {
    tables.retain(|table| !table.tensors.is_empty());
    let order = |table: &Table| (rank(&table.path), std::cmp::Reverse(table.tensors.len()));
    tables.sort_by_key(order);
    let at = match wanted {
        None => 0,
        Some(wanted) => {
            let found = tables.iter().position(|table| table.path == wanted);
            let ends = |table: &Table| table.path.ends_with(&format!(".{wanted}"));
            let found = found.or_else(|| tables.iter().position(ends));
            found.ok_or_else(|| WeightsError::NoSuchTable {
                wanted: wanted.to_owned(),
                known: listed(tables.iter()),
            })?
        }
    };
    if tables.is_empty() {
        return Err(WeightsError::Empty);
    }
    let table = tables.remove(at);
    let others = listed(tables.iter());
    let note = match (&table.path[..], &others[..]) {
        ("", "") => None,
        ("", others) => Some(format!(
            "takes the tensors at the top of the file; there are also {others}"
        )),
        (path, "") => Some(format!("takes the tensors under '{}'", shown(path))),
        (path, others) => Some(format!(
            "takes the tensors under '{}'; there are also {others}",
            shown(path)
        )),
    };
    Ok((table, note))
}

fn listed<'a>(tables: impl Iterator<Item = &'a Table>) -> String {
    let names: Vec<String> = tables.map(|table| format!("'{}'", shown(&table.path))).collect();
    const MOST: usize = 12;
    match names.len() {
        0..=MOST => names.join(", "),
        count => format!("{} and {} more", names[..MOST].join(", "), count - MOST),
    }
}
