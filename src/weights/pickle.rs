//! How is Python's pickle read, as far as checkpoints need it, without running
//! anything?
//!
//! A pickle is a program for a stack machine. This machine only builds objects: a
//! call becomes an object that names the function. Each instruction makes at most
//! one object, so memory is bounded by the size of the file. The instructions are
//! documented in Python's `pickletools`.

use std::collections::HashMap;

/// The index of an object in its [`Pickle`].
pub(super) type Id = usize;

/// A Python object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    Int(i64),
    Float(f64),
    Text(String),
    /// A class or function, `module.name`.
    Global(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An object that is stored elsewhere in the file: the tuple that describes
    /// it.
    Stored(Id),
    /// The result of a call, which is not computed.
    Call {
        function: Id,
        arguments: Id,
    },
    /// `None`, a Boolean, or an integer of more than 8 bytes: weights need none
    /// of them.
    Other,
}

/// The objects of a pickle. They refer to each other, possibly in circles.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    root: Id,
    size: usize,
}

impl Pickle {
    /// Reads the pickle at the beginning of the bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine {
            input: Input { bytes, at: 0 },
            ..Machine::default()
        };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Self {
            root,
            objects: machine.objects,
            size: machine.input.at,
        })
    }

    /// The object that was pickled.
    pub(super) fn root(&self) -> &Object {
        &self.objects[self.root]
    }

    /// The object with this index.
    pub(super) fn object(&self, id: Id) -> &Object {
        &self.objects[id]
    }

    /// All objects.
    pub(super) fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The number of bytes of the pickle.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// The bytes of a pickle, and the position of the next one.
#[derive(Default)]
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or("its pickle is cut short")?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "its pickle is cut short".into())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn long(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn text(&mut self, count: usize) -> Result<String, String> {
        let bytes = self.take(count)?.to_vec();
        String::from_utf8(bytes).map_err(|_| "its pickle holds a damaged text".into())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = self.text(end.ok_or("its pickle is cut short")?)?;
        self.at += 1;
        Ok(line)
    }
}

#[derive(Default)]
struct Machine<'a> {
    input: Input<'a>,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks that are set.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    /// Executes one instruction; false if it was the last.
    fn step(&mut self) -> Result<bool, String> {
        let code = self.input.byte()?;
        match code {
            b'.' => return Ok(false),
            // PROTO, FRAME: not needed, as the whole file is in memory.
            0x80 => drop(self.input.byte()?),
            0x95 => drop(self.input.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),

            b'N' | 0x88 | 0x89 => self.push(Object::Other),
            b'K' => self.integer(|input| input.byte().map(i64::from))?,
            b'M' => self.integer(|input| Ok(u16::from_le_bytes(input.array()?).into()))?,
            b'J' => self.integer(|input| Ok(i32::from_le_bytes(input.array()?).into()))?,
            0x8a => self.long_integer()?,
            b'G' => {
                let value = f64::from_be_bytes(self.input.array()?);
                self.push(Object::Float(value));
            }
            0x8c | b'U' => {
                let size = self.input.byte()?;
                self.text(size.into())?;
            }
            b'X' | b'T' => {
                let size = self.input.long()?;
                self.text(size as usize)?;
            }
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.push(Object::Global(format!("{module}.{name}")));
            }
            0x93 => self.stacked_global()?,

            b')' => self.push(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                let height = self.stack.len().checked_sub(usize::from(code - 0x84));
                let items = self.stack.split_off(height.ok_or(UNDERFLOW)?);
                self.push(Object::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Object::Tuple(items));
            }
            b']' => self.push(Object::List(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend_list(items)?;
            }
            b'}' => self.push(Object::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend_dict(&items)?;
            }

            b'q' => {
                let slot = self.input.byte()?;
                self.remember(slot.into())?;
            }
            b'r' => {
                let slot = self.input.long()?;
                self.remember(slot)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let slot = self.input.byte()?;
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = self.input.long()?;
                self.recall(slot)?;
            }

            b'Q' => {
                let description = self.pop()?;
                self.push(Object::Stored(description));
            }
            b'R' | 0x81 => self.call()?,
            // BUILD sets attributes, which are not needed for tensors and tables.
            b'b' => drop(self.pop()?),
            other => {
                return Err(format!("its pickle has the unknown instruction {other:#04x}"));
            }
        }
        Ok(true)
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| UNDERFLOW.into())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| UNDERFLOW.into())
    }

    /// Removes and returns what was pushed since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let height = self.marks.pop().ok_or(UNDERFLOW)?;
        if height > self.stack.len() {
            return Err(UNDERFLOW.into());
        }
        Ok(self.stack.split_off(height))
    }

    fn integer(&mut self, read: impl Fn(&mut Input) -> Result<i64, String>) -> Result<(), String> {
        let value = read(&mut self.input)?;
        self.push(Object::Int(value));
        Ok(())
    }

    /// An integer of any length in two's complement. The value of one with more
    /// than 8 bytes is not needed.
    fn long_integer(&mut self) -> Result<(), String> {
        let size = self.input.byte()?;
        let bytes = self.input.take(size.into())?;
        let negative = bytes.last().is_some_and(|&byte| byte >> 7 == 1);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        self.push(match wide.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Object::Int(i64::from_le_bytes(wide))
            }
            None => Object::Other,
        });
        Ok(())
    }

    fn text(&mut self, size: usize) -> Result<(), String> {
        let text = self.input.text(size)?;
        self.push(Object::Text(text));
        Ok(())
    }

    fn stacked_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Object::Text(module), Object::Text(name)) = (&self.objects[module], &self.objects[name]) else {
            return Err("its pickle names a class by something that is no text".into());
        };
        let global = Object::Global(format!("{module}.{name}"));
        self.push(global);
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.objects[top] {
            Object::List(list) => list.extend(items),
            _ => return Err("its pickle appends to something that is no list".into()),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        match (&mut self.objects[top], items.as_chunks()) {
            (Object::Dict(dict), (pairs, [])) => dict.extend(pairs.iter().map(|&[k, v]| (k, v))),
            _ => return Err("its pickle sets items of something that is no table".into()),
        }
        Ok(())
    }

    fn remember(&mut self, slot: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), String> {
        let id = self
            .memo
            .get(&slot)
            .ok_or("its pickle reads a memo entry that was never written")?;
        self.stack.push(*id);
        Ok(())
    }

    /// An `OrderedDict` is made by a call: it becomes a table. Every other call
    /// becomes an object.
    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let is_table = self.objects[function] == Object::Global("collections.OrderedDict".into());
        self.push(if is_table {
            Object::Dict(self.pairs(arguments))
        } else {
            Object::Call { function, arguments }
        });
        Ok(())
    }

    /// The pairs in `([[key, value], …],)`: Python 2 passes the items of an
    /// `OrderedDict` so. Python 3 passes none and sets them afterwards.
    fn pairs(&self, arguments: Id) -> Vec<(Id, Id)> {
        let items = |id: Id| match &self.objects[id] {
            Object::Tuple(items) | Object::List(items) => items.as_slice(),
            _ => &[],
        };
        let list = items(arguments).first().map_or(&[][..], |&list| items(list));
        let pairs = list.iter().map(|&pair| items(pair));
        pairs.filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect()
    }
}

const UNDERFLOW: &str = "its pickle pops from an empty stack";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn builds_a_table_of_numbers() {
        // pickle.dumps({'a': 1, 'b': (-2, 0.5)}, protocol=2)
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01X\x01\x00\x00\x00bq\x02\
            J\xfe\xff\xff\xffG?\xe0\x00\x00\x00\x00\x00\x00\x86q\x03u.rest";
        let pickle = Pickle::parse(bytes).unwrap();
        assert_eq!(pickle.size(), bytes.len() - 4);
        let Object::Dict(pairs) = pickle.root() else {
            panic!("{pickle:?}")
        };
        assert_eq!(pickle.object(pairs[0].0), &Object::Text("a".into()));
        assert_eq!(pickle.object(pairs[0].1), &Object::Int(1));
        let Object::Tuple(items) = pickle.object(pairs[1].1) else {
            panic!("{pickle:?}")
        };
        assert_eq!(pickle.object(items[0]), &Object::Int(-2));
        assert_eq!(pickle.object(items[1]), &Object::Float(0.5));
    }

    #[test]
    fn fills_an_ordered_table_as_python_2_did() {
        let bytes = b"ccollections\nOrderedDict\n](U\x01kK\x07ta\x85R.";
        let pickle = Pickle::parse(bytes).unwrap();
        let Object::Dict(pairs) = pickle.root() else {
            panic!("{pickle:?}")
        };
        assert_eq!(pickle.object(pairs[0].1), &Object::Int(7));
    }

    #[test]
    fn long_numbers_keep_their_sign() {
        let root = |bytes: &[u8]| Pickle::parse(bytes).unwrap().root().clone();
        assert_eq!(root(b"\x8a\x01\xff."), Object::Int(-1));
        assert_eq!(root(b"\x8a\x02\xff\x00."), Object::Int(255));
        assert_eq!(root(b"\x8a\x00."), Object::Int(0));
        assert_eq!(root(b"\x8a\x09123456789."), Object::Other);
    }

    #[test]
    fn calls_nothing() {
        let bytes = b"cos\nsystem\nU\x02ls\x85R.";
        let pickle = Pickle::parse(bytes).unwrap();
        assert!(matches!(pickle.root(), Object::Call { .. }));
    }

    /// A known instruction, or a small number as an operand.
    fn instruction() -> impl Strategy<Value = u8> {
        prop::sample::select(&b"().(}]NKtsueaqQRbh0U\x85\x86\x87\x93\x94\x00\x01"[..])
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Pickle::parse(&bytes);
        }

        #[test]
        fn no_instructions_panic(codes in prop::collection::vec(instruction(), 0..60)) {
            let _ = Pickle::parse(&codes);
        }
    }
}
