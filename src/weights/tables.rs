//! Which tables of tensors, and which other values, does a pickle describe?

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::float::Float;
use super::view::{MOST_AXES, Type, View};
use crate::formats::pickle::{Id, Object, Pickle};
use crate::formats::source::{Budget, FormatError};
use crate::shown::shown;

/// Where a `state_dict` has the versions of its modules.
const VERSIONS: &str = "_metadata";
/// The most keys that lead to a table.
const DEEPEST: usize = 3;
/// The most modules within modules.
const DEEPEST_MODULE: usize = 100;
/// The most texts or numbers of a list that becomes a fact.
const LONGEST_LIST: usize = 4096;
/// Memory of an entry of a table beside its name and shape.
const ENTRY: u64 = 300;

/// What a pickle describes.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub tables: Vec<RawTable>,
    pub facts: BTreeMap<String, String>,
    pub notes: Vec<String>,
}

/// A table whose values were not read yet.
#[derive(Debug, Default)]
pub(super) struct RawTable {
    pub path: String,
    pub entries: BTreeMap<String, Entry>,
    /// The names in the order of the pickle.
    pub order: Vec<String>,
}

/// An entry of a table.
#[derive(Debug)]
pub(super) enum Entry {
    /// An array, and where its bytes are.
    Array(View, Data),
    /// A tensor that cannot be read: what it is.
    Unread(String),
}

/// Where the bytes of an array are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Data {
    /// In the storage with the key that this object is.
    Storage(Id),
    /// In this object.
    Object(Id),
}

/// Everything that a pickle describes.
pub(super) fn tables(pickle: &Pickle, budget: &Budget) -> Result<Tables, FormatError> {
    let mut walk = Walk {
        pickle,
        budget,
        visited: vec![false; pickle.len()],
        table_paths: HashMap::new(),
        modules: 0,
        facts: Budget::of(pickle.size() + 4096),
        found: Tables::default(),
    };
    walk.visit(pickle.root(), "", 0)?;
    Ok(walk.found)
}

struct Walk<'a> {
    pickle: &'a Pickle<'a>,
    budget: &'a Budget,
    /// Which objects were visited.
    visited: Vec<bool>,
    /// The paths of the tables that were found, by their objects.
    table_paths: HashMap<Id, String>,
    /// How many modules were visited.
    modules: usize,
    /// How many bytes of facts there may be.
    facts: Budget,
    found: Tables,
}

impl Walk<'_> {
    /// Finds the tables and facts in an object, to which `depth` keys lead.
    fn visit(&mut self, id: Id, path: &str, depth: usize) -> Result<(), FormatError> {
        if std::mem::replace(&mut self.visited[id as usize], true) {
            if let Some(first) = self.table_paths.get(&id) {
                let note = format!("'{}' is the same table as '{}'", shown(path), shown(first));
                self.note(note)?;
            }
            return Ok(());
        }
        if self.entry(id)?.is_some() {
            return Ok(());
        }
        if let Some([parameters, buffers, modules]) = self.module(id) {
            let mut table = RawTable::default();
            self.collect([parameters, buffers, modules], "", 0, &mut table)?;
            let class = self.pickle.call(id).and_then(|call| self.pickle.global(call.function));
            self.note(format!(
                "holds a whole module ({}): its parameters and buffers are read, nothing is run",
                shown(class.unwrap_or("of an unknown class"))
            ))?;
            self.add(id, path, table)?;
            return Ok(());
        }
        let mut table = RawTable::default();
        let mut inner = Vec::new();
        for (name, value) in self.children(id) {
            let Some(name) = self.name(name).filter(|name| name != VERSIONS) else {
                continue;
            };
            if let Some(entry) = self.entry(value)? {
                self.insert(&mut table, name, entry)?;
                continue;
            }
            let below = joined(path, &name);
            match self.fact(value) {
                Some(fact) => self.add_fact(below, fact)?,
                None if depth < DEEPEST && self.is_inner(value) => {
                    self.charge(below.len() as u64 + ENTRY)?;
                    inner.push((below, value));
                }
                None => {}
            }
        }
        self.add(id, path, table)?;
        for (below, value) in inner {
            self.visit(value, &below, depth + 1)?;
        }
        Ok(())
    }

    fn add(&mut self, id: Id, path: &str, table: RawTable) -> Result<(), FormatError> {
        if !table.entries.is_empty() {
            self.charge(2 * path.len() as u64 + ENTRY)?;
            self.table_paths.insert(id, path.to_owned());
            self.found.tables.push(RawTable {
                path: path.to_owned(),
                ..table
            });
        }
        Ok(())
    }

    /// The named values in an object: of a table, of a list by their indices, and
    /// the attributes of an object.
    fn children(&self, id: Id) -> Vec<(Name, Id)> {
        if let Some(items) = self.pickle.items(id) {
            let inner = items.iter().enumerate().filter(|&(_, &item)| self.is_inner(item));
            return inner.map(|(index, &item)| (Name::Index(index), item)).collect();
        }
        let pairs = self.pickle.pairs(id).unwrap_or_default().into_iter();
        let attributes = self.pickle.attributes(id).unwrap_or_default().into_iter();
        let named = pairs.chain(attributes);
        named.map(|[key, value]| (Name::Key(key), value)).collect()
    }

    fn name(&self, name: Name) -> Option<String> {
        match name {
            Name::Index(index) => Some(index.to_string()),
            Name::Key(key) => match self.pickle.object(key) {
                Object::Text(text) => Some(text.to_string()),
                _ => None,
            },
        }
    }

    /// Whether something can be in an object.
    fn is_inner(&self, id: Id) -> bool {
        matches!(
            self.pickle.object(id),
            Object::Dict(_) | Object::List(_) | Object::Tuple(_) | Object::Call(_)
        )
    }

    /// The parameters, buffers and inner modules of a PyTorch module.
    fn module(&self, id: Id) -> Option<[Id; 3]> {
        let attributes = self.pickle.attributes(id)?;
        let of = |wanted: &str| {
            let found = attributes
                .iter()
                .find(|[key, _]| self.pickle.text(*key) == Some(wanted));
            found.map(|[_, value]| *value)
        };
        Some([of("_parameters")?, of("_buffers")?, of("_modules")?])
    }

    /// Collects the tensors of a module and of those in it.
    fn collect(
        &mut self,
        [parameters, buffers, modules]: [Id; 3],
        prefix: &str,
        depth: usize,
        table: &mut RawTable,
    ) -> Result<(), FormatError> {
        self.modules += 1;
        // A module in two places has both names. More visits than objects are
        // no network.
        if depth > DEEPEST_MODULE || self.modules > self.pickle.len() {
            return Err(FormatError::Repeats("its modules contain each other".into()));
        }
        for part in [parameters, buffers] {
            for [key, value] in self.pickle.pairs(part).unwrap_or_default() {
                if let (Some(name), Some(entry)) = (self.pickle.text(key), self.entry(value)?) {
                    let name = joined(prefix, name);
                    self.insert(table, name, entry)?;
                }
            }
        }
        for [key, value] in self.pickle.pairs(modules).unwrap_or_default() {
            if let (Some(name), Some(inner)) = (self.pickle.text(key), self.module(value)) {
                let name = joined(prefix, name);
                self.collect(inner, &name, depth + 1, table)?;
            }
        }
        Ok(())
    }

    fn insert(&self, table: &mut RawTable, name: String, entry: Entry) -> Result<(), FormatError> {
        let axes = match &entry {
            Entry::Array(view, _) => view.shape.len() as u64,
            Entry::Unread(_) => 0,
        };
        self.charge(ENTRY + 2 * name.len() as u64 + 40 * axes)?;
        if !table.entries.contains_key(&name) {
            table.order.push(name.clone());
        }
        table.entries.insert(name, entry);
        Ok(())
    }

    fn charge(&self, bytes: u64) -> Result<(), FormatError> {
        if self.budget.take(bytes) {
            return Ok(());
        }
        Err(FormatError::Repeats("its tables have too many entries".into()))
    }

    fn note(&mut self, note: String) -> Result<(), FormatError> {
        self.charge(note.len() as u64 + ENTRY)?;
        self.found.notes.push(note);
        Ok(())
    }

    fn add_fact(&mut self, name: String, fact: Fact) -> Result<(), FormatError> {
        let size = self.size(fact) + name.len() as u64;
        if !self.facts.take(size) || !self.budget.take(4 * size + ENTRY) {
            return Err(FormatError::Repeats(format!(
                "its value '{}' needs too much",
                shown(&name)
            )));
        }
        if let Some(text) = self.fact_text(fact) {
            self.found.facts.insert(name, text);
        }
        Ok(())
    }

    /// A value that becomes a fact; its text is made later.
    fn fact(&self, id: Id) -> Option<Fact> {
        match self.pickle.object(id) {
            Object::Bool(_) | Object::Int(_) | Object::Float(_) | Object::Text(_) => Some(Fact::One(id)),
            Object::Call(_) => self.is_scalar(id).then_some(Fact::One(id)),
            _ => {
                let items = self.pickle.items(id)?;
                let plain = |&item: &Id| {
                    matches!(
                        self.pickle.object(item),
                        Object::Int(_) | Object::Float(_) | Object::Text(_)
                    )
                };
                let is_plain = (1..=LONGEST_LIST).contains(&items.len()) && items.iter().all(plain);
                is_plain.then_some(Fact::Many(id))
            }
        }
    }

    fn is_scalar(&self, id: Id) -> bool {
        matches!(
            self.pickle.called(id),
            Some(("numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar", _))
        )
    }

    /// The number of bytes of a fact's text, about.
    fn size(&self, fact: Fact) -> u64 {
        let of = |id: Id| self.pickle.text(id).map_or(8, |text| text.len() as u64);
        match fact {
            Fact::One(id) => of(id),
            Fact::Many(id) => self.pickle.items(id).into_iter().flatten().map(|&item| of(item)).sum(),
        }
    }

    fn fact_text(&self, fact: Fact) -> Option<String> {
        match fact {
            Fact::One(id) => match self.pickle.object(id) {
                Object::Bool(value) => Some(value.to_string()),
                Object::Int(value) => Some(value.to_string()),
                Object::Float(value) => Some(value.to_string()),
                Object::Text(text) => Some(text.to_string()),
                _ => self.scalar(id),
            },
            Fact::Many(id) => {
                let value = |&item: &Id| match self.pickle.object(item) {
                    Object::Int(value) => Value::from(*value),
                    Object::Float(value) => Value::from(*value),
                    Object::Text(text) => Value::from(&**text),
                    _ => Value::Null,
                };
                let values = self.pickle.items(id)?.iter().map(value).collect();
                Some(Value::Array(values).to_string())
            }
        }
    }

    /// A NumPy scalar.
    fn scalar(&self, id: Id) -> Option<String> {
        let (_, [kind, bytes]) = self.pickle.called(id)? else {
            return None;
        };
        let bytes = self.pickle.bytes(*bytes)?.read().ok()?;
        let (letter, big_endian) = self.numpy_type(*kind)?;
        match numpy_type(&letter) {
            Type::Float(Float::F64) => {
                let value: [u8; 8] = bytes[..].try_into().ok()?;
                let value = if big_endian {
                    f64::from_be_bytes(value)
                } else {
                    f64::from_le_bytes(value)
                };
                Some(value.to_string())
            }
            Type::Float(float) => float.decode(&bytes, big_endian).map(|value| value.to_string()),
            Type::Other(_) if matches!(letter.as_bytes(), [b'i' | b'u' | b'b', ..]) && bytes.len() <= 8 => {
                let mut value: Vec<u8> = bytes.to_vec();
                if !big_endian {
                    value.reverse();
                }
                let negative = letter.starts_with('i') && value.first().is_some_and(|&byte| byte >> 7 == 1);
                let start = if negative { -1 } else { 0 };
                let value = value
                    .iter()
                    .fold(start, |value: i128, &byte| value << 8 | i128::from(byte));
                Some(value.to_string())
            }
            Type::Other(_) => None,
        }
    }

    /// The tensor or array that an object is.
    fn entry(&self, id: Id) -> Result<Option<Entry>, FormatError> {
        let Some((function, arguments)) = self.pickle.called(id) else {
            return Ok(None);
        };
        self.rebuilt(function, arguments, id, 0)
    }

    fn rebuilt(&self, function: &str, arguments: &[Id], id: Id, depth: usize) -> Result<Option<Entry>, FormatError> {
        let inner = |call: Id| match self.pickle.called(call) {
            Some((function, arguments)) if depth < 8 => self.rebuilt(function, arguments, call, depth + 1),
            _ => Ok(None),
        };
        match (function, arguments) {
            (
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state"
                | "torch.nn.parameter.Parameter",
                [tensor, ..],
            ) => inner(*tensor),
            (
                "torch._tensor._rebuild_from_type_v2" | "torch._tensor._rebuild_from_type",
                [function, _, arguments, ..],
            ) => match (self.pickle.global(*function), self.pickle.items(*arguments)) {
                (Some(function), Some(arguments)) if depth < 8 => self.rebuilt(function, arguments, id, depth + 1),
                _ => Ok(None),
            },
            (
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor_v3",
                [storage, offset, shape, strides, rest @ ..],
            ) => {
                let Some((class, key)) = self.storage(*storage) else {
                    return Ok(Some(Entry::Unread("has no storage in the file".into())));
                };
                let kind = match (function, rest) {
                    ("torch._utils._rebuild_tensor_v3", [_, _, kind, ..]) => {
                        let name = self.pickle.global(*kind).unwrap_or("an unknown type");
                        torch_type(name).0
                    }
                    _ => torch_type(class).0,
                };
                let view = View {
                    kind,
                    big_endian: false,
                    offset: self.pickle.int(*offset).unwrap_or(-1),
                    shape: self.numbers(*shape)?,
                    strides: Some(self.numbers(*strides)?),
                };
                Ok(Some(Entry::Array(view, Data::Storage(key))))
            }
            ("numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct", _) => {
                let state = self.pickle.call(id).and_then(|call| call.state);
                match state.and_then(|state| self.pickle.items(state)) {
                    Some([_, shape, kind, fortran, data]) => {
                        let fortran = self.pickle.int(*fortran) == Some(1);
                        self.numpy(*shape, *kind, fortran, *data)
                    }
                    _ => Ok(None),
                }
            }
            ("numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer", [data, kind, shape, order]) => {
                self.numpy(*shape, *kind, self.pickle.text(*order) == Some("F"), *data)
            }
            _ => match function.strip_prefix("torch._utils._rebuild_") {
                Some(kind) => Ok(Some(Entry::Unread(kind.trim_end_matches("_tensor").to_owned()))),
                None => Ok(None),
            },
        }
    }

    /// The class and the key of `('storage', class, key, location, size, …)`.
    fn storage(&self, id: Id) -> Option<(&str, Id)> {
        storage(self.pickle, self.pickle.object(id))
    }

    fn numpy(&self, shape: Id, kind: Id, fortran: bool, data: Id) -> Result<Option<Entry>, FormatError> {
        let Some((letter, big_endian)) = self.numpy_type(kind) else {
            return Ok(None);
        };
        let shape = self.numbers(shape)?;
        let view = View {
            kind: numpy_type(&letter),
            big_endian,
            offset: 0,
            strides: if fortran { Some(fortran_strides(&shape)) } else { None },
            shape,
        };
        Ok(Some(Entry::Array(view, Data::Object(data))))
    }

    /// The letter and size of a NumPy type, and whether the first byte is the most
    /// significant.
    fn numpy_type(&self, id: Id) -> Option<(String, bool)> {
        let ("numpy.dtype", [name, ..]) = self.pickle.called(id)? else {
            return None;
        };
        let state = self.pickle.call(id)?.state;
        let order = state.and_then(|state| self.pickle.items(state)?.get(1).copied());
        let big_endian = order.and_then(|order| self.pickle.text(order)) == Some(">");
        Some((self.pickle.text(*name)?.to_owned(), big_endian))
    }

    /// The numbers of a shape; -1 for what is no number.
    fn numbers(&self, id: Id) -> Result<Vec<i64>, FormatError> {
        let id = match self.pickle.called(id) {
            Some(("torch.Size", [inner])) => *inner,
            _ => id,
        };
        let Some(items) = self.pickle.items(id) else {
            return Ok(vec![-1]);
        };
        if items.len() > MOST_AXES {
            return Err(FormatError::Repeats(format!("a tensor has {} axes", items.len())));
        }
        Ok(items.iter().map(|&item| self.pickle.int(item).unwrap_or(-1)).collect())
    }
}

enum Name {
    Key(Id),
    Index(usize),
}

/// A value, or a list of values.
#[derive(Clone, Copy)]
enum Fact {
    One(Id),
    Many(Id),
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The class and the key of a storage, which is the tuple `('storage', class, key,
/// location, size, …)`.
pub(super) fn storage<'a>(pickle: &'a Pickle, object: &Object) -> Option<(&'a str, Id)> {
    let Object::Stored(id) = object else { return None };
    let [_, class, key, ..] = *pickle.items(*id)? else {
        return None;
    };
    pickle.text(key)?;
    Some((pickle.global(class)?, key))
}

/// Strides without gaps, the first axis the fastest; too large ones are refused
/// when the view is read.
pub(super) fn fortran_strides(shape: &[i64]) -> Vec<i64> {
    let next = |stride: &mut i64, &extent: &i64| {
        let this = *stride;
        *stride = stride.saturating_mul(extent.max(1));
        Some(this)
    };
    shape.iter().scan(1, next).collect()
}

/// The type of the elements of a storage class or of a `torch.dtype`, and its
/// number of bytes; 0 if that is unknown.
pub(super) fn torch_type(class: &str) -> (Type, usize) {
    let name = class.strip_prefix("torch.").unwrap_or(class);
    let name = name.strip_prefix("cuda.").unwrap_or(name);
    let other = |name: &str, size| (Type::Other(name.to_owned()), size);
    let float = |float: Float| (Type::Float(float), float.size());
    match name {
        "HalfStorage" | "float16" | "half" => float(Float::F16),
        "BFloat16Storage" | "bfloat16" => float(Float::BF16),
        "FloatStorage" | "float32" | "float" => float(Float::F32),
        "DoubleStorage" | "float64" | "double" => float(Float::F64),
        "BoolStorage" | "bool" => other("BOOL", 1),
        "ByteStorage" | "uint8" => other("U8", 1),
        "CharStorage" | "int8" => other("I8", 1),
        "ShortStorage" | "int16" => other("I16", 2),
        "uint16" => other("U16", 2),
        "IntStorage" | "int32" => other("I32", 4),
        "uint32" => other("U32", 4),
        "LongStorage" | "int64" => other("I64", 8),
        "uint64" => other("U64", 8),
        "ComplexHalfStorage" | "complex32" => other("C32", 4),
        "ComplexFloatStorage" | "complex64" => other("C64", 8),
        "ComplexDoubleStorage" | "complex128" => other("C128", 16),
        "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" => other("quantized", 1),
        "QInt32Storage" => other("quantized", 4),
        "storage.UntypedStorage" | "UntypedStorage" => other("bytes", 1),
        name => other(name, 0),
    }
}

/// The type of the elements of a NumPy array: `f4`, `i8`.
pub(super) fn numpy_type(letter: &str) -> Type {
    let plain = letter.trim_start_matches(['<', '>', '=', '|']);
    match plain {
        "f2" => Type::Float(Float::F16),
        "f4" => Type::Float(Float::F32),
        "f8" => Type::Float(Float::F64),
        "b1" | "?" => Type::Other("BOOL".into()),
        _ => {
            let bits = plain.get(1..).and_then(|size| size.parse::<u8>().ok());
            let bits = bits.map(|size| 8 * u32::from(size));
            Type::Other(match (plain.chars().next(), bits) {
                (Some('i'), Some(bits)) => format!("I{bits}"),
                (Some('u'), Some(bits)) => format!("U{bits}"),
                (Some('c'), Some(bits)) => format!("C{bits}"),
                (Some('O'), _) => "Python objects".into(),
                _ => format!("NumPy's {plain}"),
            })
        }
    }
}
