//! How are files of `torch.save` read? They contain a pickle that describes
//! the tensors, and the tensors' bytes: in a zip archive since PyTorch 1.6, one
//! after the other before. Other pickles have both in one.

use std::collections::BTreeMap;

use super::container::{Container, Format, LeftOut, Table};
use super::error::Damage;
use super::tables::{self, Data, Entry, Tables};
use super::view::{Type, Values, View};
use crate::formats::pickle::{Object, Pickle};
use crate::formats::source::{Budget, Content, FormatError, Source, damaged};
use crate::formats::zip::Archive;
use crate::shown::shown;

/// The pickle of PyTorch's magic number: the older format begins with it.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether the bytes begin like a file of `torch.save` before PyTorch 1.6. The
/// number is written in several ways.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    let magic = &LEGACY[2..];
    bytes.starts_with(LEGACY)
        || bytes.get(2..).is_some_and(|rest| rest.starts_with(magic))
        || bytes.get(11..).is_some_and(|rest| rest.starts_with(magic))
}

/// Whether the bytes begin like a pickle.
pub(super) fn is_pickle(bytes: &[u8]) -> bool {
    match bytes {
        [0x80, 0..=5, ..] => true,
        // The protocols 0 and 1: a table, a list, or a global object.
        [b'}', b'q' | b'(' | b'.', ..] | [b'(', b'd' | b'l' | b'i', b'p' | b'q' | b'c' | b'a'..=b'z', ..] => true,
        _ => bytes.starts_with(b"ccollections\n") || bytes.starts_with(b"ccopy_reg\n") || bytes.starts_with(b"cnumpy"),
    }
}

/// Everything in the files of an archive of `torch.save`. `folder` is the folder
/// in it, with a slash at the end.
pub(super) fn from_zip(archive: &Archive, folder: &str, size: u64, budget: &Budget) -> Result<Container, Damage> {
    let read = |name: &str| archive.read(&format!("{folder}{name}"), budget);
    if let Some(order) = read("byteorder")? {
        let order = order.source().beginning(16)?.into_owned();
        if order != b"little" {
            return Err(
                FormatError::Unusable("it was saved on a big-endian machine; save it on another".into()).into(),
            );
        }
    }
    let Some(content) = read("data.pkl")? else {
        return damaged("it has no data.pkl").map_err(Damage::from);
    };
    let pickle = Pickle::parse(content.source(), budget)?;
    let storages = Storages::Zip { archive, folder };
    contents(Format::PytorchZip, &pickle, &storages, size, budget)
}

/// The older format: five pickles (magic number, version, machine, tensors, keys
/// of the storages), then for each key the length and the bytes.
pub(super) fn from_legacy(source: Source, budget: &Budget) -> Result<Container, Damage> {
    let mut at = 0;
    let mut next = || {
        let Some(rest) = source.size().checked_sub(at).and_then(|size| source.part(at, size)) else {
            return damaged("it is cut short");
        };
        let pickle = Pickle::parse(rest, budget)?;
        at += pickle.size();
        Ok(pickle)
    };
    let (_magic, _version, _machine) = (next()?, next()?, next()?);
    let (pickle, keys) = (next()?, next()?);
    harmless(&pickle)?;
    let Object::List(order) = keys.object(keys.root()) else {
        return damaged("it does not list its storages").map_err(Damage::from);
    };
    let sizes = element_sizes(&pickle);
    let cut = || FormatError::Damaged("its storages are cut short".into());
    let mut storages = BTreeMap::new();
    for &id in order.iter() {
        let Some(key) = keys.text(id) else {
            return damaged("it does not name its storages").map_err(Damage::from);
        };
        let element = match sizes.get(key) {
            None => return damaged("it lists a storage that no tensor uses").map_err(Damage::from),
            Some((class, 0)) => {
                let problem = format!(
                    "its storage class {} is unknown; save it by PyTorch 1.6 or later",
                    shown(class)
                );
                return Err(FormatError::Unusable(problem).into());
            }
            Some((_, size)) => *size as u64,
        };
        let length = source.part(at, 8).ok_or_else(cut)?.read(0, 8)?;
        let length = length[..].try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let bytes = length.checked_mul(element).and_then(|size| source.part(at + 8, size));
        let bytes = bytes.ok_or_else(cut)?;
        at += 8 + bytes.size();
        if !budget.take(key.len() as u64 + 150) {
            return Err(FormatError::Repeats("it has too many storages".into()).into());
        }
        storages.insert(key.to_owned(), bytes);
    }
    let storages = Storages::Legacy(storages);
    contents(Format::PytorchLegacy, &pickle, &storages, source.size(), budget)
}

/// A pickle without `torch.save`: of NumPy arrays.
pub(super) fn from_pickle(source: Source, budget: &Budget) -> Result<Container, Damage> {
    let pickle = Pickle::parse(source, budget)?;
    let is_torch =
        |object: &Object| matches!(object, Object::Global(name) if &**name == "torch.storage._load_from_bytes");
    harmless(&pickle)?;
    if pickle.objects().any(is_torch) {
        let problem = "its tensors were written by pickle.dump; load it by pickle.load, and write it by torch.save";
        return Err(FormatError::Unusable(problem.into()).into());
    }
    contents(Format::Pickle, &pickle, &Storages::None, source.size(), budget)
}

/// Refuses a pickle that would run a program if Python loaded it.
fn harmless(pickle: &Pickle) -> Result<(), Damage> {
    match pickle.harmful_call() {
        Some(function) => Err(Damage::Calls(function.to_owned())),
        None => Ok(()),
    }
}

/// The class and the number of bytes per element of each storage, by its key.
fn element_sizes<'a>(pickle: &'a Pickle) -> BTreeMap<&'a str, (&'a str, usize)> {
    let storages = pickle.objects().filter_map(|object| tables::storage(pickle, object));
    let sized = storages.filter_map(|(class, key)| Some((pickle.text(key)?, (class, tables::torch_type(class).1))));
    sized.collect()
}

/// Where the bytes of the storages are.
enum Storages<'a> {
    Zip { archive: &'a Archive<'a>, folder: &'a str },
    Legacy(BTreeMap<String, Source<'a>>),
    None,
}

impl Storages<'_> {
    fn open(&self, key: &str, budget: &Budget) -> Result<Option<Content<'_>>, FormatError> {
        match self {
            Self::Zip { archive, folder } => archive.read(&format!("{folder}data/{key}"), budget),
            Self::Legacy(storages) => Ok(storages.get(key).map(|source| Content::Stored(*source))),
            Self::None => Ok(None),
        }
    }
}

/// Reads the tensors of all tables, one storage after the other.
fn contents(
    format: Format,
    pickle: &Pickle,
    storages: &Storages,
    size: u64,
    budget: &Budget,
) -> Result<Container, Damage> {
    harmless(pickle)?;
    let Tables { tables, facts, notes } = tables::tables(pickle, budget)?;
    let mut container = Container {
        format,
        tables: Vec::with_capacity(tables.len()),
        facts,
        notes,
    };
    let mut arrays: BTreeMap<&str, Vec<(usize, String, View)>> = BTreeMap::new();
    for (at, raw) in tables.into_iter().enumerate() {
        let mut table = Table {
            path: raw.path,
            order: raw.order,
            ..Table::default()
        };
        for (name, entry) in raw.entries {
            match entry {
                Entry::Unread(kind) => drop(table.left_out.insert(name, LeftOut::Type(kind))),
                Entry::Array(
                    View {
                        kind: Type::Other(kind),
                        ..
                    },
                    _,
                ) => {
                    table.left_out.insert(name, LeftOut::Type(kind));
                }
                Entry::Array(view, Data::Storage(key)) => {
                    let key = pickle.text(key).unwrap_or_default();
                    arrays.entry(key).or_default().push((at, name, view));
                }
                Entry::Array(view, Data::Object(id)) => {
                    let bytes = pickle.bytes(id).map(|bytes| bytes.content(budget)).transpose()?;
                    let source = bytes.as_ref().map(Content::source);
                    insert(&mut table, name, &view, source, budget)?;
                    release(bytes, budget);
                }
            }
        }
        container.tables.push(table);
    }
    for (key, views) in arrays {
        let content = storages.open(key, budget)?;
        let source = content.as_ref().map(Content::source);
        for (at, name, view) in views {
            insert(&mut container.tables[at], name, &view, source, budget)?;
        }
        release(content, budget);
    }
    move_facts(&mut container, size);
    if container.tables.is_empty() {
        return Err(Damage::NoTable(what_is_it(pickle)));
    }
    Ok(container)
}

/// Gives back the memory of bytes that are not needed any more.
fn release(content: Option<Content>, budget: &Budget) {
    if let Some(Content::Owned(bytes)) = content {
        budget.give_back(bytes.len() as u64);
    }
}

fn insert(
    table: &mut Table,
    name: String,
    view: &View,
    source: Option<Source>,
    budget: &Budget,
) -> Result<(), FormatError> {
    let values = match source {
        Some(source) => view.values(&name, source, budget)?,
        None => Values::Problem("has no storage in the file".into()),
    };
    match values {
        Values::Tensor(tensor) => drop(table.tensors.insert(name, tensor)),
        Values::Problem(problem) => drop(table.left_out.insert(name, LeftOut::Problem(problem))),
    }
    Ok(())
}

/// Single numbers beside the tables are facts (an accuracy as a tensor), not a
/// table.
fn move_facts(container: &mut Container, size: u64) {
    let is_single = |table: &Table| {
        let mut tensors = table.tensors.iter();
        table.left_out.is_empty() && tensors.all(|(name, tensor)| tensor.data.len() == 1 && !name.contains('.'))
    };
    if container.tables.iter().all(is_single) {
        return;
    }
    let mut room = size;
    container.tables.retain(|table| {
        if !is_single(table) {
            return true;
        }
        for (name, tensor) in &table.tensors {
            let name = match &*table.path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            room = room.saturating_sub(name.len() as u64);
            if room > 0 {
                container
                    .facts
                    .entry(name)
                    .or_insert_with(|| tensor.data[0].to_string());
            }
        }
        false
    });
}

/// What a pickle without a table is, after the words "it is".
fn what_is_it(pickle: &Pickle) -> String {
    let root = pickle.root();
    match pickle.object(root) {
        Object::Call(call) => {
            let class = pickle.global(call.function).unwrap_or("an unknown class");
            match class {
                "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_parameter" => "a single tensor".into(),
                "collections.OrderedDict" => "a table without tensors".into(),
                class => format!("an object of {}", shown(class)),
            }
        }
        Object::Dict(_) => "a table without tensors".into(),
        Object::List(_) | Object::Tuple(_) => "a list without tables of tensors".into(),
        Object::Text(_) => "a text".into(),
        Object::Stored(_) => "a single storage".into(),
        _ => "a value without tensors".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use crate::weights::{Container, WeightsError, contents_of_bytes};

    const SMALL: &[u8] = include_bytes!("fixtures/small.pth");
    const SMALL_LEGACY: &[u8] = include_bytes!("fixtures/small_legacy.pth");

    fn decode(bytes: &[u8]) -> Result<Container, WeightsError> {
        contents_of_bytes(Path::new("small.pth"), bytes)
    }

    fn check(container: &Container) {
        let [table] = &container.tables[..] else {
            panic!("{container:?}")
        };
        let names: Vec<&str> = table.tensors.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "bfloat",
                "double",
                "empty",
                "float",
                "half",
                "parameter",
                "scalar",
                "slice",
                "transposed"
            ]
        );
        let tensor = |name: &str| (&table.tensors[name].shape[..], &table.tensors[name].data[..]);
        for name in ["bfloat", "double", "float", "half", "parameter"] {
            assert_eq!(tensor(name), (&[2, 3][..], &[0., 1., 2., 3., 4., 5.][..]), "{name}");
        }
        assert_eq!(tensor("transposed"), (&[3, 2][..], &[0., 3., 1., 4., 2., 5.][..]));
        assert_eq!(tensor("slice"), (&[2][..], &[4., 5.][..]));
        assert_eq!(tensor("scalar"), (&[][..], &[2.5][..]));
        assert_eq!(tensor("empty"), (&[0, 3][..], &[][..]));
        assert_eq!(container.facts["epoch"], "12");
        assert_eq!(container.facts["arch"], "small");
    }

    #[test]
    fn reads_both_forms() {
        check(&decode(SMALL).unwrap());
        check(&decode(SMALL_LEGACY).unwrap());
    }

    #[test]
    fn every_truncation_is_an_error() {
        for whole in [SMALL, SMALL_LEGACY] {
            for length in 0..whole.len() {
                assert!(decode(&whole[..length]).is_err(), "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(position: prop::sample::Index, byte: u8) {
            for whole in [SMALL, SMALL_LEGACY] {
                let mut bytes = whole.to_vec();
                bytes[position.index(whole.len())] = byte;
                let _ = decode(&bytes);
            }
        }
    }
}
