//! Python's pickle, as far as checkpoints need it, and nothing that runs.
//!
//! A pickle is a program for a stack machine. This machine builds plain nodes
//! and never calls anything: a call is a node that says what would be called.
//! Each instruction makes at most one node, so memory is bounded by the size
//! of the file. The instructions are those of Python's `pickletools`.

use std::collections::HashMap;

/// A node's place in its [`Pickle`].
pub(super) type Id = usize;

/// A Python object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Int(i64),
    Float(f64),
    Text(String),
    /// A class or function, `module.name`.
    Global(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// What the file keeps elsewhere: the tuple that describes it.
    Stored(Id),
    /// What a function would return for these arguments.
    Call {
        function: Id,
        arguments: Id,
    },
    /// None, a truth value or a number too long: nothing that weights need.
    Other,
}

/// What a pickle builds: nodes that refer to each other, possibly in circles.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
    size: usize,
}

impl Pickle {
    /// Runs the pickle that the bytes begin with.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine {
            input: Input { bytes, at: 0 },
            ..Machine::default()
        };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Self {
            root,
            nodes: machine.nodes,
            size: machine.input.at,
        })
    }

    /// The object that was pickled.
    pub(super) fn root(&self) -> &Node {
        &self.nodes[self.root]
    }

    /// The node at a place that another node names.
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many bytes the pickle takes.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// The bytes of a pickle and how far they are read.
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
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack that later instructions gather down to.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    /// Follows one instruction; false when it was the last.
    fn step(&mut self) -> Result<bool, String> {
        let code = self.input.byte()?;
        match code {
            b'.' => return Ok(false),
            // PROTO, FRAME: nothing that a reader of whole files needs.
            0x80 => drop(self.input.byte()?),
            0x95 => drop(self.input.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),

            b'N' | 0x88 | 0x89 => self.push(Node::Other),
            b'K' => self.integer(|input| input.byte().map(i64::from))?,
            b'M' => self.integer(|input| Ok(u16::from_le_bytes(input.array()?).into()))?,
            b'J' => self.integer(|input| Ok(i32::from_le_bytes(input.array()?).into()))?,
            0x8a => self.long_integer()?,
            b'G' => {
                let value = f64::from_be_bytes(self.input.array()?);
                self.push(Node::Float(value));
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
                self.push(Node::Global(format!("{module}.{name}")));
            }
            0x93 => self.stacked_global()?,

            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let height = self.stack.len().checked_sub(usize::from(code - 0x84));
                let items = self.stack.split_off(height.ok_or(UNDERFLOW)?);
                self.push(Node::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items));
            }
            b']' => self.push(Node::List(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend_list(items)?;
            }
            b'}' => self.push(Node::Dict(Vec::new())),
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
                self.push(Node::Stored(description));
            }
            b'R' | 0x81 => self.call()?,
            // BUILD sets attributes, which no tensor and no table needs.
            b'b' => drop(self.pop()?),
            other => {
                return Err(format!("its pickle has the unknown instruction {other:#04x}"));
            }
        }
        Ok(true)
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| UNDERFLOW.into())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| UNDERFLOW.into())
    }

    /// Takes what was pushed since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let height = self.marks.pop().ok_or(UNDERFLOW)?;
        if height > self.stack.len() {
            return Err(UNDERFLOW.into());
        }
        Ok(self.stack.split_off(height))
    }

    fn integer(&mut self, read: impl Fn(&mut Input) -> Result<i64, String>) -> Result<(), String> {
        let value = read(&mut self.input)?;
        self.push(Node::Int(value));
        Ok(())
    }

    /// A two's complement number of any length; above 8 bytes its value is of
    /// no interest.
    fn long_integer(&mut self) -> Result<(), String> {
        let size = self.input.byte()?;
        let bytes = self.input.take(size.into())?;
        let negative = bytes.last().is_some_and(|&byte| byte >> 7 == 1);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        self.push(match wide.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Node::Int(i64::from_le_bytes(wide))
            }
            None => Node::Other,
        });
        Ok(())
    }

    fn text(&mut self, size: usize) -> Result<(), String> {
        let text = self.input.text(size)?;
        self.push(Node::Text(text));
        Ok(())
    }

    fn stacked_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
            return Err("its pickle names a class by something that is no text".into());
        };
        let global = Node::Global(format!("{module}.{name}"));
        self.push(global);
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend(items),
            _ => return Err("its pickle appends to something that is no list".into()),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        match (&mut self.nodes[top], items.as_chunks()) {
            (Node::Dict(dict), (pairs, [])) => dict.extend(pairs.iter().map(|&[k, v]| (k, v))),
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
        let id = self.memo.get(&slot).ok_or("its pickle recalls what it never kept")?;
        self.stack.push(*id);
        Ok(())
    }

    /// Ordered tables are made by a call; every other call stays one.
    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let is_table = self.nodes[function] == Node::Global("collections.OrderedDict".into());
        self.push(if is_table {
            Node::Dict(self.pairs(arguments))
        } else {
            Node::Call { function, arguments }
        });
        Ok(())
    }

    /// The pairs in `([[key, value], …],)`, which is how Python 2 fills an
    /// ordered table; Python 3 gives none and sets the items afterwards.
    fn pairs(&self, arguments: Id) -> Vec<(Id, Id)> {
        let items = |id: Id| match &self.nodes[id] {
            Node::Tuple(items) | Node::List(items) => items.as_slice(),
            _ => &[],
        };
        let list = items(arguments).first().map_or(&[][..], |&list| items(list));
        let pairs = list.iter().map(|&pair| items(pair));
        pairs.filter_map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect()
    }
}

const UNDERFLOW: &str = "its pickle takes what it never made";

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
        let Node::Dict(pairs) = pickle.root() else {
            panic!("{pickle:?}")
        };
        assert_eq!(pickle.node(pairs[0].0), &Node::Text("a".into()));
        assert_eq!(pickle.node(pairs[0].1), &Node::Int(1));
        let Node::Tuple(items) = pickle.node(pairs[1].1) else {
            panic!("{pickle:?}")
        };
        assert_eq!(pickle.node(items[0]), &Node::Int(-2));
        assert_eq!(pickle.node(items[1]), &Node::Float(0.5));
    }

    #[test]
    fn fills_an_ordered_table_as_python_2_did() {
        let bytes = b"ccollections\nOrderedDict\n](U\x01kK\x07ta\x85R.";
        let pickle = Pickle::parse(bytes).unwrap();
        let Node::Dict(pairs) = pickle.root() else {
            panic!("{pickle:?}")
        };
        assert_eq!(pickle.node(pairs[0].1), &Node::Int(7));
    }

    #[test]
    fn long_numbers_keep_their_sign() {
        let root = |bytes: &[u8]| Pickle::parse(bytes).unwrap().root().clone();
        assert_eq!(root(b"\x8a\x01\xff."), Node::Int(-1));
        assert_eq!(root(b"\x8a\x02\xff\x00."), Node::Int(255));
        assert_eq!(root(b"\x8a\x00."), Node::Int(0));
        assert_eq!(root(b"\x8a\x09123456789."), Node::Other);
    }

    #[test]
    fn calls_nothing() {
        let bytes = b"cos\nsystem\nU\x02ls\x85R.";
        let pickle = Pickle::parse(bytes).unwrap();
        assert!(matches!(pickle.root(), Node::Call { .. }));
    }

    /// A known instruction, or a small number for one to read.
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
