//! How is Python's pickle read, without running anything?
//!
//! A pickle is a program for a stack machine. This machine only builds objects: a
//! call becomes an object that names the function. It knows all instructions of
//! the protocols 0 to 5 (Python's `pickletools`), except those that refer to what
//! is not in the file. An instruction makes at most one object, an object never
//! copies another, and their memory is taken from a [`Budget`].

use std::borrow::Cow;
use std::collections::HashMap;

use super::source::{Budget, Content, FormatError, Source, damaged};

/// The index of an object in its [`Pickle`].
pub(crate) type Id = u32;

/// A Python object.
#[expect(
    clippy::box_collection,
    reason = "a pickle has many objects, so each of them is kept small"
)]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 8 bytes.
    Large,
    Float(f64),
    Text(Box<str>),
    /// Bytes: where they lie in the pickle's [`Source`].
    Bytes {
        start: u64,
        size: u64,
    },
    /// A class or function, `module.name`.
    Global(Box<str>),
    Tuple(Box<[Id]>),
    List(Box<Vec<Id>>),
    Set(Box<Vec<Id>>),
    Dict(Box<Vec<[Id; 2]>>),
    /// An object that is stored elsewhere in the file: the tuple that describes
    /// it.
    Stored(Id),
    /// The result of a call, which is not made.
    Call(Box<Call>),
}

/// A call that makes an object, and what is set on the object afterwards.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: Id,
    /// A tuple.
    pub(crate) arguments: Id,
    /// The object's attributes.
    pub(crate) state: Option<Id>,
    /// Items of a table.
    pairs: Vec<[Id; 2]>,
    /// Items of a list or set.
    items: Vec<Id>,
}

/// Memory of an object, without what it points to.
const OBJECT: u64 = 24;
/// Memory of a call.
const CALL: u64 = 96;
/// Memory of a box.
const BOX: u64 = 40;
/// Memory of an index in a vector that grows.
const INDEX: u64 = 12;
/// Memory of a memo entry.
const MEMO: u64 = 24;

/// The objects that every pickle has: `None`, `False`, `True`, `()`, and the
/// numbers of one byte.
const COMMON: Id = 4 + 256;
const NONE: Id = 0;
const FALSE: Id = 1;
const TRUE: Id = 2;
const EMPTY: Id = 3;
const ZERO: Id = 4;

/// The objects of a pickle. They refer to each other, possibly in circles.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    source: Source<'a>,
    objects: Objects,
    root: Id,
    size: u64,
}

/// Objects by their indices, in parts of equal length: a vector that grows would
/// need three times the memory for a moment.
#[derive(Debug, Default)]
struct Objects {
    parts: Vec<Vec<Object>>,
}

const PART: usize = 1 << 10;

impl Objects {
    fn len(&self) -> usize {
        match self.parts.last() {
            Some(last) => (self.parts.len() - 1) * PART + last.len(),
            None => 0,
        }
    }

    fn push(&mut self, object: Object) -> Id {
        let id = self.len();
        match self.parts.last_mut() {
            Some(last) if last.len() < PART => last.push(object),
            _ => {
                // The first part of a small pickle grows with it.
                let mut part = Vec::with_capacity(if self.parts.is_empty() { COMMON as usize } else { PART });
                part.push(object);
                self.parts.push(part);
            }
        }
        id as Id
    }

    fn get(&self, id: Id) -> &Object {
        &self.parts[id as usize / PART][id as usize % PART]
    }

    fn get_mut(&mut self, id: Id) -> &mut Object {
        &mut self.parts[id as usize / PART][id as usize % PART]
    }
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the beginning of the bytes.
    pub(crate) fn parse(source: Source<'a>, budget: &Budget) -> Result<Self, FormatError> {
        let mut machine = Machine::new(source, budget);
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Self {
            source,
            root,
            objects: machine.objects,
            size: machine.input.at,
        })
    }

    /// The object that was pickled.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    /// The object with this index.
    pub(crate) fn object(&self, id: Id) -> &Object {
        self.objects.get(id)
    }

    /// All objects.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.parts.iter().flatten()
    }

    /// The number of objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The number of bytes of the pickle.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The text of an object.
    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.object(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The name of a class or function.
    pub(crate) fn global(&self, id: Id) -> Option<&str> {
        match self.object(id) {
            Object::Global(name) => Some(name),
            _ => None,
        }
    }

    /// The whole number of an object.
    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.object(id) {
            Object::Int(value) => Some(*value),
            Object::Bool(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub(crate) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.object(id) {
            Object::Tuple(items) => Some(items),
            Object::List(items) => Some(items),
            _ => None,
        }
    }

    /// A call that makes the object.
    pub(crate) fn call(&self, id: Id) -> Option<&Call> {
        match self.object(id) {
            Object::Call(call) => Some(call),
            _ => None,
        }
    }

    /// The name of the function whose result an object is, and its arguments.
    pub(crate) fn called(&self, id: Id) -> Option<(&str, &[Id])> {
        let call = self.call(id)?;
        Some((self.global(call.function)?, self.items(call.arguments)?))
    }

    /// The pairs of a table: a `dict`, or an object of a class that behaves like
    /// one (`OrderedDict`, `defaultdict`, and their subclasses).
    pub(crate) fn pairs(&self, id: Id) -> Option<Vec<[Id; 2]>> {
        match self.object(id) {
            Object::Dict(pairs) => Some(pairs.to_vec()),
            Object::Call(call) => {
                let mut pairs = self.first_pairs(call);
                let is_table = self.global(call.function).is_some_and(is_table);
                pairs.extend_from_slice(&call.pairs);
                (is_table || !call.pairs.is_empty()).then_some(pairs)
            }
            _ => None,
        }
    }

    /// The pairs in the arguments `([[key, value], …],)` or `({key: value, …},)`:
    /// Python 2 passes the items of an `OrderedDict` so.
    fn first_pairs(&self, call: &Call) -> Vec<[Id; 2]> {
        let list = self.pair_list(call.function, call.arguments);
        let pair = |&id: &Id| match self.items(id) {
            Some([key, value, ..]) => Some([*key, *value]),
            _ => None,
        };
        match list.map(|id| self.object(id)) {
            Some(Object::Dict(pairs)) => pairs.to_vec(),
            Some(Object::List(items)) => items.iter().filter_map(pair).collect(),
            Some(Object::Tuple(items)) => items.iter().filter_map(pair).collect(),
            _ => Vec::new(),
        }
    }

    fn pair_list(&self, function: Id, arguments: Id) -> Option<Id> {
        let is_table = self.global(function).is_some_and(is_table);
        self.items(arguments)?.last().copied().filter(|_| is_table)
    }

    /// The bytes of an object: `bytes`, or the text that Python 3 writes for them
    /// in the protocols 0 to 2.
    pub(crate) fn bytes(&self, id: Id) -> Option<Bytes<'_>> {
        match self.object(id) {
            Object::Bytes { start, size } => Some(Bytes::There(self.source.part(*start, *size)?)),
            Object::Text(text) => Some(Bytes::Text(text)),
            Object::Call(_) => match self.called(id)? {
                ("_codecs.encode", [text, ..]) => Some(Bytes::Text(self.text(*text)?)),
                ("builtins.bytes" | "__builtin__.bytes" | "builtins.bytearray" | "__builtin__.bytearray", []) => {
                    Some(Bytes::Text(""))
                }
                ("builtins.bytearray" | "__builtin__.bytearray", [inner, ..]) if *inner < id => self.bytes(*inner),
                _ => None,
            },
            _ => None,
        }
    }

    /// The attributes of an object, as a table; also those of `__slots__`.
    pub(crate) fn attributes(&self, id: Id) -> Option<Vec<[Id; 2]>> {
        let state = self.call(id)?.state?;
        match self.object(state) {
            Object::Tuple(parts) => {
                let tables = parts.iter().filter_map(|&part| match self.object(part) {
                    Object::Dict(pairs) => Some(pairs.iter().copied()),
                    _ => None,
                });
                Some(tables.flatten().collect())
            }
            _ => self.pairs(state),
        }
    }

    /// Functions that a pickle calls and that could do harm: they run programs,
    /// open files or run code. Saved values have no use for them.
    pub(crate) fn harmful_call(&self) -> Option<&str> {
        let calls = self.objects().filter_map(|object| match object {
            Object::Call(call) => self.global(call.function),
            _ => None,
        });
        let mut calls = calls;
        calls.find(|name| is_harmful(name))
    }
}

/// Bytes of an object: in the file, or one for each character of a text.
pub(crate) enum Bytes<'a> {
    There(Source<'a>),
    Text(&'a str),
}

impl<'a> Bytes<'a> {
    /// All bytes.
    pub(crate) fn read(&self) -> Result<Cow<'a, [u8]>, FormatError> {
        match self {
            Self::There(source) => source.read(0, source.size() as usize),
            Self::Text(text) => Ok(Cow::Owned(latin1(text)?)),
        }
    }

    /// The bytes where they lie, or, with their memory from the budget, decoded.
    pub(crate) fn content(self, budget: &Budget) -> Result<Content<'a>, FormatError> {
        match self {
            Self::There(source) => Ok(Content::Stored(source)),
            Self::Text(text) if budget.take(text.len() as u64) => Ok(Content::Owned(latin1(text)?)),
            Self::Text(_) => Err(FormatError::Repeats("its pickle has too many bytes".into())),
        }
    }
}

/// One byte for each character.
fn latin1(text: &str) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u8::try_from(u32::from(character)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => return damaged("its pickle holds damaged bytes"),
        }
    }
    Ok(bytes)
}

fn is_table(class: &str) -> bool {
    matches!(
        class,
        "collections.OrderedDict"
            | "collections.defaultdict"
            | "collections.Counter"
            | "builtins.dict"
            | "__builtin__.dict"
            | "torch._ordered_dict.OrderedDict"
    )
}

fn is_harmful(name: &str) -> bool {
    const MODULES: [&str; 24] = [
        "os",
        "posix",
        "nt",
        "sys",
        "subprocess",
        "commands",
        "pty",
        "popen2",
        "shutil",
        "socket",
        "ctypes",
        "runpy",
        "importlib",
        "imp",
        "webbrowser",
        "urllib",
        "requests",
        "http",
        "ftplib",
        "code",
        "bdb",
        "pdb",
        "timeit",
        "multiprocessing",
    ];
    const FUNCTIONS: [&str; 8] = [
        "eval",
        "exec",
        "execfile",
        "compile",
        "__import__",
        "open",
        "input",
        "breakpoint",
    ];
    let (module, function) = name.rsplit_once('.').unwrap_or(("", name));
    let top = module.split('.').next().unwrap_or_default();
    let is_builtin = matches!(module, "builtins" | "__builtin__" | "io");
    MODULES.contains(&top)
        || module.split('.').any(|part| matches!(part, "os" | "subprocess"))
        || is_builtin && FUNCTIONS.contains(&function)
        || name == "torch.hub.load"
}

/// The bytes of a pickle, and the position of the next one.
struct Input<'a> {
    source: Source<'a>,
    at: u64,
    /// Bytes that were read already, from `window_at` on.
    window: Cow<'a, [u8]>,
    window_at: u64,
}

const CUT: &str = "its pickle is cut short";
/// The bytes that are read from a file at once.
const WINDOW: u64 = 1 << 16;
/// The longest line of a text instruction.
const LONGEST_LINE: u64 = 1 << 24;

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&[u8], FormatError> {
        let from = self.window_from(count as u64)?;
        self.at += count as u64;
        Ok(&self.window[from..from + count])
    }

    /// The position in the window of the next `count` bytes, after they were read.
    fn window_from(&mut self, count: u64) -> Result<usize, FormatError> {
        let left = self.source.size() - self.at;
        if count > left {
            return damaged(CUT);
        }
        let end = self.window_at + self.window.len() as u64;
        if self.at < self.window_at || self.at + count > end {
            let size = if self.source.is_in_memory() {
                left
            } else {
                left.min(count.max(WINDOW))
            };
            self.window = self.source.read(self.at, size as usize)?;
            self.window_at = self.at;
        }
        Ok((self.at - self.window_at) as usize)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    /// A number of `N` bytes.
    fn size<const N: usize>(&mut self) -> Result<u64, FormatError> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        Ok(u64::from_le_bytes(wide))
    }

    /// Passes over bytes; returns where they lie.
    fn skip(&mut self, size: u64) -> Result<Object, FormatError> {
        let start = self.at;
        if size > self.source.size() - start {
            return damaged(CUT);
        }
        self.at += size;
        Ok(Object::Bytes { start, size })
    }

    /// The bytes up to the next line feed, which is passed.
    fn line(&mut self) -> Result<&[u8], FormatError> {
        let left = self.source.size() - self.at;
        let mut known = 0;
        loop {
            let count = left.min((2 * known).max(256));
            let from = self.window_from(count)?;
            let bytes = &self.window[from..from + count as usize];
            if let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
                self.at += end as u64 + 1;
                return Ok(&self.window[from..from + end]);
            }
            if count == left || count > LONGEST_LINE {
                return damaged(CUT);
            }
            known = count;
        }
    }

    fn text_line(&mut self) -> Result<String, FormatError> {
        Ok(String::from_utf8_lossy(self.line()?).into_owned())
    }
}

struct Machine<'a, 'b> {
    input: Input<'a>,
    budget: &'b Budget,
    objects: Objects,
    stack: Vec<Id>,
    /// The greatest height of the stack so far.
    height: usize,
    /// Heights of the stack at the marks that are set.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// How many items of lists the calls that make tables have as arguments.
    listed: u64,
}

impl<'a, 'b> Machine<'a, 'b> {
    fn new(source: Source<'a>, budget: &'b Budget) -> Self {
        let mut objects = Objects::default();
        let common = [
            Object::None,
            Object::Bool(false),
            Object::Bool(true),
            Object::Tuple(Box::default()),
        ];
        for object in common.into_iter().chain((0..256).map(Object::Int)) {
            objects.push(object);
        }
        Self {
            input: Input {
                source,
                at: 0,
                window: Cow::Borrowed(&[]),
                window_at: 0,
            },
            budget,
            objects,
            stack: Vec::new(),
            height: 0,
            marks: Vec::new(),
            memo: HashMap::new(),
            listed: 0,
        }
    }

    /// Executes one instruction; false if it was the last.
    fn step(&mut self) -> Result<bool, FormatError> {
        let code = self.input.byte()?;
        match code {
            b'.' => return Ok(false),
            // PROTO, FRAME: not needed.
            0x80 => drop(self.input.byte()?),
            0x95 => drop(self.input.array::<8>()?),
            b'(' => {
                self.charge(2 * INDEX)?;
                self.marks.push(self.stack.len());
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }

            b'N' => self.push_id(NONE)?,
            0x88 => self.push_id(TRUE)?,
            0x89 => self.push_id(FALSE)?,
            b'K' => {
                let value = self.input.byte()?;
                self.push_id(ZERO + Id::from(value))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.input.array()?);
                self.push(Object::Int(value.into()), 0)?;
            }
            b'J' => {
                let value = i32::from_le_bytes(self.input.array()?);
                self.push(Object::Int(value.into()), 0)?;
            }
            0x8a => {
                let size = self.input.size::<1>()?;
                self.long_integer(size)?;
            }
            0x8b => {
                let size = self.input.size::<4>()?;
                self.long_integer(size)?;
            }
            b'I' | b'L' => {
                let line = self.input.text_line()?;
                self.push(integer(&line)?, 0)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.input.array()?);
                self.push(Object::Float(value), 0)?;
            }
            b'F' => {
                let line = self.input.text_line()?;
                let Ok(value) = line.trim().parse() else {
                    return damaged("its pickle has a damaged number");
                };
                self.push(Object::Float(value), 0)?;
            }

            0x8c => self.text::<1>()?,
            b'X' => self.text::<4>()?,
            0x8d => self.text::<8>()?,
            b'V' => {
                let text = unescaped(self.input.line()?, false);
                self.push_text(text)?;
            }
            b'S' => {
                let text = unescaped(unquoted(self.input.line()?), true);
                self.push_text(text)?;
            }
            // Texts of Python 2 are bytes, and mostly text.
            b'U' => self.old_text::<1>()?,
            b'T' => self.old_text::<4>()?,
            b'C' => self.bytes::<1>()?,
            b'B' => self.bytes::<4>()?,
            0x8e | 0x96 => self.bytes::<8>()?,

            b'c' => {
                let global = self.global()?;
                self.push_id(global)?;
            }
            0x93 => self.stacked_global()?,

            b')' => self.push_id(EMPTY)?,
            0x85..=0x87 => {
                let height = self.stack.len().checked_sub(usize::from(code - 0x84));
                let Some(height) = height else {
                    return damaged(UNDERFLOW);
                };
                let items = self.stack.split_off(height);
                self.push_tuple(items)?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push_tuple(items)?;
            }
            b']' => self.push(Object::List(Box::default()), BOX)?,
            b'l' => {
                let items = self.since_mark()?;
                let memory = BOX + INDEX * items.len() as u64;
                self.push(Object::List(Box::new(items)), memory)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend_list(items)?;
            }
            0x8f => self.push(Object::Set(Box::default()), BOX)?,
            0x90 => {
                let items = self.since_mark()?;
                self.extend_list(items)?;
            }
            0x91 => {
                let items = self.since_mark()?;
                let memory = BOX + INDEX * items.len() as u64;
                self.push(Object::Set(Box::new(items)), memory)?;
            }
            b'}' => self.push(Object::Dict(Box::default()), BOX)?,
            b'd' => {
                let items = self.since_mark()?;
                self.push(Object::Dict(Box::default()), BOX)?;
                self.extend_dict(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend_dict(&items)?;
            }

            b'q' => {
                let slot = self.input.size::<1>()?;
                self.remember(slot)?;
            }
            b'r' => {
                let slot = self.input.size::<4>()?;
                self.remember(slot)?;
            }
            b'p' => {
                let slot = self.slot()?;
                self.remember(slot)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'h' => {
                let slot = self.input.size::<1>()?;
                self.recall(slot)?;
            }
            b'j' => {
                let slot = self.input.size::<4>()?;
                self.recall(slot)?;
            }
            b'g' => {
                let slot = self.slot()?;
                self.recall(slot)?;
            }

            b'Q' => {
                let description = self.pop()?;
                self.push(Object::Stored(description), 0)?;
            }
            b'P' => {
                let text = self.input.text_line()?;
                self.push_text(text)?;
                let description = self.pop()?;
                self.push(Object::Stored(description), 0)?;
            }
            // REDUCE, NEWOBJ.
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.push_call(function, arguments)?;
            }
            // NEWOBJ_EX: also has named arguments.
            0x92 => {
                let (_named, arguments, function) = (self.pop()?, self.pop()?, self.pop()?);
                self.push_call(function, arguments)?;
            }
            // INST, OBJ.
            b'i' => {
                let function = self.global()?;
                let arguments = self.since_mark()?;
                self.push_tuple(arguments)?;
                let arguments = self.pop()?;
                self.push_call(function, arguments)?;
            }
            b'o' => {
                let mut parts = self.since_mark()?;
                if parts.is_empty() {
                    return damaged(UNDERFLOW);
                }
                let function = parts.remove(0);
                self.push_tuple(parts)?;
                let arguments = self.pop()?;
                self.push_call(function, arguments)?;
            }
            b'b' => self.build()?,
            0x97 | 0x98 => {
                let problem = "its pickle refers to buffers outside the file; save it by torch.save";
                return Err(FormatError::Unusable(problem.into()));
            }
            0x82..=0x84 => {
                let problem =
                    "its pickle uses Python's extension registry; save the model's state_dict() by torch.save";
                return Err(FormatError::Unusable(problem.into()));
            }
            other => return damaged(format!("its pickle has the unknown instruction {other:#04x}")),
        }
        Ok(true)
    }

    /// Takes memory from the budget.
    fn charge(&self, bytes: u64) -> Result<(), FormatError> {
        if self.budget.take(bytes) {
            return Ok(());
        }
        Err(FormatError::Repeats("its pickle has too many objects".into()))
    }

    /// Pushes an object that points to `memory` bytes.
    fn push(&mut self, object: Object, memory: u64) -> Result<(), FormatError> {
        let id = self.add(object, memory)?;
        self.push_id(id)
    }

    fn add(&mut self, object: Object, memory: u64) -> Result<Id, FormatError> {
        self.charge(OBJECT + memory)?;
        if self.objects.len() >= Id::MAX as usize {
            return Err(FormatError::Repeats("its pickle has too many objects".into()));
        }
        Ok(self.objects.push(object))
    }

    fn push_id(&mut self, id: Id) -> Result<(), FormatError> {
        self.stack.push(id);
        if self.stack.len() > self.height {
            self.height = self.stack.len();
            self.charge(INDEX)?;
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, FormatError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => damaged(UNDERFLOW),
        }
    }

    fn top(&self) -> Result<Id, FormatError> {
        self.stack.last().copied().map_or_else(|| damaged(UNDERFLOW), Ok)
    }

    /// Removes and returns what was pushed since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>, FormatError> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => damaged(UNDERFLOW),
        }
    }

    /// An integer of any length in two's complement.
    fn long_integer(&mut self, size: u64) -> Result<(), FormatError> {
        if size > 8 {
            self.input.skip(size)?;
            return self.push(Object::Large, 0);
        }
        let bytes = self.input.take(size as usize)?;
        let negative = bytes.last().is_some_and(|&byte| byte >> 7 == 1);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Object::Int(i64::from_le_bytes(wide)), 0)
    }

    /// A text, after its size in `N` bytes. What is not UTF-8 (a lone surrogate)
    /// becomes a replacement character.
    fn text<const N: usize>(&mut self) -> Result<(), FormatError> {
        let bytes = self.counted::<N>()?;
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.push_text(text)
    }

    fn old_text<const N: usize>(&mut self) -> Result<(), FormatError> {
        let start = self.input.at + N as u64;
        let bytes = self.counted::<N>()?;
        match str::from_utf8(bytes) {
            Ok(text) => {
                let text = text.to_owned();
                self.push_text(text)
            }
            Err(_) => {
                let size = bytes.len() as u64;
                self.push(Object::Bytes { start, size }, 0)
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<(), FormatError> {
        let size = self.input.size::<N>()?;
        let bytes = self.input.skip(size)?;
        self.push(bytes, 0)
    }

    /// The bytes after their size in `N` bytes.
    fn counted<const N: usize>(&mut self) -> Result<&[u8], FormatError> {
        let size = self.input.size::<N>()?;
        if size > self.input.source.size() - self.input.at {
            return damaged(CUT);
        }
        self.input.take(size as usize)
    }

    fn push_text(&mut self, text: String) -> Result<(), FormatError> {
        let memory = BOX + text.len() as u64;
        self.push(Object::Text(text.into()), memory)
    }

    fn push_tuple(&mut self, items: Vec<Id>) -> Result<(), FormatError> {
        let memory = BOX + INDEX * items.len() as u64;
        self.push(Object::Tuple(items.into()), memory)
    }

    fn push_call(&mut self, function: Id, arguments: Id) -> Result<(), FormatError> {
        self.check_listed(function, arguments)?;
        let call = Call {
            function,
            arguments,
            state: None,
            pairs: Vec::new(),
            items: Vec::new(),
        };
        self.push(Object::Call(Box::new(call)), CALL)
    }

    /// Python would copy the list that a table is made from. A pickle that makes
    /// many tables from one list needs far more memory than its size.
    fn check_listed(&mut self, function: Id, arguments: Id) -> Result<(), FormatError> {
        let is_class = matches!(self.objects.get(function), Object::Global(name) if is_table(name));
        let Object::Tuple(arguments) = self.objects.get(arguments) else {
            return Ok(());
        };
        let sizes = arguments.iter().map(|&id| match self.objects.get(id) {
            Object::Tuple(items) => items.len(),
            Object::List(items) => items.len(),
            Object::Dict(pairs) => pairs.len(),
            _ => 0,
        });
        self.listed += if is_class { sizes.sum::<usize>() as u64 } else { 0 };
        if self.listed > self.input.at {
            return Err(FormatError::Repeats(
                "its pickle makes many tables from one list".into(),
            ));
        }
        Ok(())
    }

    /// A class or function of two lines.
    fn global(&mut self) -> Result<Id, FormatError> {
        let (module, name) = (self.input.text_line()?, self.input.text_line()?);
        self.add_global(&module, &name)
    }

    fn stacked_global(&mut self) -> Result<(), FormatError> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Object::Text(module), Object::Text(name)) = (self.objects.get(module), self.objects.get(name)) else {
            return damaged("its pickle names a class by something that is no text");
        };
        let (module, name) = (module.clone(), name.clone());
        let id = self.add_global(&module, &name)?;
        self.push_id(id)
    }

    fn add_global(&mut self, module: &str, name: &str) -> Result<Id, FormatError> {
        let size = (module.len() + name.len()) as u64;
        self.charge(size)?;
        self.add(Object::Global(format!("{module}.{name}").into()), BOX)
    }

    fn extend_list(&mut self, mut items: Vec<Id>) -> Result<(), FormatError> {
        self.charge(INDEX * items.len() as u64)?;
        let top = self.top()?;
        match self.objects.get_mut(top) {
            Object::List(list) | Object::Set(list) => list.append(&mut items),
            Object::Call(call) => call.items.append(&mut items),
            _ => return damaged("its pickle appends to something that is no list"),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<(), FormatError> {
        self.charge(INDEX * items.len() as u64)?;
        let top = self.top()?;
        let (pairs, []) = items.as_chunks() else {
            return damaged("its pickle sets a key without a value");
        };
        match self.objects.get_mut(top) {
            Object::Dict(dict) => dict.extend_from_slice(pairs),
            Object::Call(call) => call.pairs.extend_from_slice(pairs),
            // Objects of any class may define how items are set.
            _ => return damaged("its pickle sets items of something that is no table"),
        }
        Ok(())
    }

    /// Sets the attributes of an object. Those of a plain table are not needed.
    fn build(&mut self) -> Result<(), FormatError> {
        let state = self.pop()?;
        let top = self.top()?;
        if let Object::Call(call) = self.objects.get_mut(top) {
            call.state = Some(state);
        }
        Ok(())
    }

    fn slot(&mut self) -> Result<u64, FormatError> {
        let line = self.input.text_line()?;
        line.trim()
            .parse()
            .or_else(|_| damaged("its pickle has a damaged number"))
    }

    fn remember(&mut self, slot: u64) -> Result<(), FormatError> {
        let top = self.top()?;
        if self.memo.insert(slot, top).is_none() {
            self.charge(MEMO)?;
        }
        Ok(())
    }

    fn recall(&mut self, slot: u64) -> Result<(), FormatError> {
        match self.memo.get(&slot) {
            Some(&id) => self.push_id(id),
            None => damaged("its pickle reads a memo entry that was never written"),
        }
    }
}

const UNDERFLOW: &str = "its pickle pops from an empty stack";

/// A number of the protocol 0: decimal, `00` and `01` for Booleans, with an `L` at
/// the end of Python 2's long ones.
fn integer(line: &str) -> Result<Object, FormatError> {
    let digits = line.trim();
    let digits = digits.strip_suffix('L').unwrap_or(digits);
    match digits {
        "00" => return Ok(Object::Bool(false)),
        "01" => return Ok(Object::Bool(true)),
        _ => {}
    }
    if let Ok(value) = digits.parse() {
        return Ok(Object::Int(value));
    }
    let plain = digits.strip_prefix('-').unwrap_or(digits);
    if !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Object::Large);
    }
    damaged("its pickle has a damaged number")
}

/// The text between two quotes.
fn unquoted(line: &[u8]) -> &[u8] {
    match line {
        [b'\'', text @ .., b'\''] | [b'"', text @ .., b'"'] => text,
        _ => line,
    }
}

/// A text of the protocol 0. Bytes are Latin-1 characters; `\uXXXX` and
/// `\UXXXXXXXX` are characters, and with `all`, so are `\xXX`, `\n`, `\'` and the
/// like.
fn unescaped(bytes: &[u8], all: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        let escape = match (byte, after) {
            (b'\\', [kind, digits @ ..]) => escaped(*kind, digits, all),
            _ => None,
        };
        let (character, used) = escape.unwrap_or((char::from(*byte), 1));
        text.push(character);
        rest = &rest[used..];
    }
    text
}

/// The character of an escape, and the number of its bytes.
fn escaped(kind: u8, digits: &[u8], all: bool) -> Option<(char, usize)> {
    let hex = |count: usize| {
        let digits = str::from_utf8(digits.get(..count)?).ok()?;
        let code = u32::from_str_radix(digits, 16).ok()?;
        Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), count + 2))
    };
    match kind {
        b'u' => hex(4),
        b'U' => hex(8),
        _ if !all => None,
        b'x' => hex(2),
        b'n' => Some(('\n', 2)),
        b'r' => Some(('\r', 2)),
        b't' => Some(('\t', 2)),
        b'\\' | b'\'' | b'"' => Some((char::from(kind), 2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with<T>(bytes: &[u8], check: impl FnOnce(&Pickle, &Object) -> T) -> T {
        let budget = Budget::of(1 << 20);
        let pickle = Pickle::parse(Source::of_bytes(bytes), &budget).unwrap();
        check(&pickle, pickle.object(pickle.root()))
    }

    fn root(bytes: &[u8]) -> Object {
        with(bytes, |_, root| root.clone())
    }

    fn problem(bytes: &[u8]) -> FormatError {
        Pickle::parse(Source::of_bytes(bytes), &Budget::of(1 << 20)).unwrap_err()
    }

    #[test]
    fn builds_a_table_of_numbers() {
        // pickle.dumps({'a': 1, 'b': (-2, 0.5)}, protocol=2)
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01X\x01\x00\x00\x00bq\x02\
            J\xfe\xff\xff\xffG?\xe0\x00\x00\x00\x00\x00\x00\x86q\x03u.rest";
        with(bytes, |pickle, root| {
            assert_eq!(pickle.size(), bytes.len() as u64 - 4);
            let Object::Dict(pairs) = root else { panic!("{root:?}") };
            assert_eq!(pickle.text(pairs[0][0]), Some("a"));
            assert_eq!(pickle.int(pairs[0][1]), Some(1));
            let items = pickle.items(pairs[1][1]).unwrap();
            assert_eq!(pickle.object(items[0]), &Object::Int(-2));
            assert_eq!(pickle.object(items[1]), &Object::Float(0.5));
        });
    }

    #[test]
    fn every_protocol_gives_the_same_table() {
        // pickle.dumps({'a': 1, 'b': [True, None, -70000, 2.5, b'\x00\xff', 'ü\n'], 'c': {3}}, protocol=…)
        // for the protocols 0 to 5, by Python 3.
        let protocols = include!("fixtures/protocols.rs");
        for (protocol, bytes) in protocols.iter().enumerate() {
            with(bytes, |pickle, root| {
                let Object::Dict(pairs) = root else { panic!("{root:?}") };
                assert_eq!(pickle.int(pairs[0][1]), Some(1), "{protocol}");
                let items = pickle.items(pairs[1][1]).unwrap();
                let [yes, none, number, float, raw, text] = items else {
                    panic!("{items:?}")
                };
                assert_eq!(pickle.object(*yes), &Object::Bool(true), "{protocol}");
                assert_eq!(pickle.object(*none), &Object::None, "{protocol}");
                assert_eq!(pickle.int(*number), Some(-70_000), "{protocol}");
                assert_eq!(pickle.object(*float), &Object::Float(2.5), "{protocol}");
                let raw = pickle.bytes(*raw).unwrap().read().unwrap();
                assert_eq!(&raw[..], b"\x00\xff", "{protocol}");
                assert_eq!(pickle.text(*text), Some("ü\n"), "{protocol}");
                let is_set = matches!(pickle.object(pairs[2][1]), Object::Set(_) | Object::Call(_));
                assert!(is_set, "{protocol}");
            });
        }
    }

    #[test]
    fn fills_an_ordered_table_as_python_2_did() {
        with(b"ccollections\nOrderedDict\n](U\x01kK\x07ta\x85R.", |pickle, _| {
            let pairs = pickle.pairs(pickle.root()).unwrap();
            assert_eq!(pickle.int(pairs[0][1]), Some(7));
        });
    }

    #[test]
    fn long_numbers_keep_their_sign() {
        assert_eq!(root(b"\x8a\x01\xff."), Object::Int(-1));
        assert_eq!(root(b"\x8a\x02\xff\x00."), Object::Int(255));
        assert_eq!(root(b"\x8a\x00."), Object::Int(0));
        assert_eq!(root(b"\x8b\x01\x00\x00\x00\xfe."), Object::Int(-2));
        assert_eq!(root(b"\x8a\x09123456789."), Object::Large);
        assert_eq!(root(b"L12L\n."), Object::Int(12));
        assert_eq!(root(b"I01\n."), Object::Bool(true));
        assert_eq!(root(b"L-123456789012345678901234567890L\n."), Object::Large);
    }

    #[test]
    fn objects_of_any_class_are_kept_apart() {
        for bytes in [
            &b"cos\nsystem\nU\x02ls\x85R."[..],
            b"(U\x02lsios\nsystem\n.",
            b"(cos\nsystem\nU\x02lso.",
            b"\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85\x81.",
            b"cos\nsystem\nU\x02ls\x85}\x92.",
        ] {
            with(bytes, |pickle, root| {
                assert!(matches!(root, Object::Call(_)), "{root:?}");
                assert_eq!(pickle.called(pickle.root()).unwrap().0, "os.system");
                assert_eq!(pickle.harmful_call(), Some("os.system"));
            });
        }
        with(b"ccollections\ndefaultdict\n)R(U\x01kK\x07u}b.", |pickle, _| {
            assert_eq!(pickle.pairs(pickle.root()).unwrap().len(), 1);
            assert!(pickle.attributes(pickle.root()).is_some());
            assert_eq!(pickle.harmful_call(), None);
        });
    }

    #[test]
    fn harm_is_known_by_its_name() {
        for name in [
            "os.system",
            "posix.system",
            "builtins.eval",
            "subprocess.Popen",
            "torch.os.popen",
            "io.open",
        ] {
            assert!(is_harmful(name), "{name}");
        }
        for name in [
            "collections.OrderedDict",
            "builtins.getattr",
            "torch.optim.sgd.SGD",
            "pathlib.PosixPath",
            "x",
        ] {
            assert!(!is_harmful(name), "{name}");
        }
    }

    #[test]
    fn what_lies_outside_the_file_is_refused() {
        assert!(matches!(problem(b"\x97."), FormatError::Unusable(_)));
        assert!(matches!(problem(b"\x82\x01."), FormatError::Unusable(_)));
    }

    #[test]
    fn many_tables_from_one_list_are_refused() {
        let list = [&b"U\x01aK\x01\x86q\x000]q\x01("[..], &b"h\x00".repeat(1000), b"e0"].concat();
        let calls = b"ccollections\nOrderedDict\nh\x01\x85R".repeat(100);
        let bytes = [&list[..], &calls, b"."].concat();
        assert!(matches!(problem(&bytes), FormatError::Repeats(_)));
    }

    #[test]
    fn memory_is_bounded() {
        let budget = Budget::of(1 << 20);
        for part in [
            &b"N"[..],
            b"]",
            b"}\x94",
            b"(",
            b"X\x01\x00\x00\x00a",
            b"h\x00h\x00h\x00",
            b"h\x01a",
            b"K\x07\x85",
        ] {
            let bytes = [&b"Nq\x00]q\x01"[..], &part.repeat(1 << 19), b"."].concat();
            assert!(
                matches!(
                    Pickle::parse(Source::of_bytes(&bytes), &budget),
                    Err(FormatError::Repeats(_))
                ),
                "{part:?}"
            );
        }
    }

    #[test]
    fn a_file_is_read_as_memory_is() {
        let mut bytes = b"\x80\x04]\x94(".to_vec();
        for number in 0..30_000_u32 {
            bytes.extend(b"\x8c\x05abcdeM\x10\x27");
            bytes.extend([b"B\x03\x00\x00\x00", &number.to_le_bytes()[..3]].concat());
        }
        bytes.extend(b"e.");
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let budget = Budget::of(100 << 20);
        let memory = Pickle::parse(Source::of_bytes(&bytes), &budget).unwrap();
        let there = Pickle::parse(Source::of_file(&file, bytes.len() as u64), &budget).unwrap();
        assert!(memory.objects().eq(there.objects()));
        let last = *there.items(there.root()).unwrap().last().unwrap();
        assert_eq!(
            &there.bytes(last).unwrap().read().unwrap()[..],
            &29_999_u32.to_le_bytes()[..3]
        );
    }

    /// A known instruction, or a small number as an operand.
    fn instruction() -> impl Strategy<Value = u8> {
        prop::sample::select(&b"().(}]NKtsueaqQRbh0U\x85\x86\x87\x93\x94\x8f\x90\x91\x92iold12gpVSILF\n\x00\x01"[..])
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Pickle::parse(Source::of_bytes(&bytes), &Budget::of(1 << 20));
        }

        #[test]
        fn no_instructions_panic(codes in prop::collection::vec(instruction(), 0..60)) {
            let _ = Pickle::parse(Source::of_bytes(&codes), &Budget::of(1 << 20));
        }
    }
}
