//! What does a weights file contain, before a table is chosen or a name is
//! changed?

use std::collections::BTreeMap;
use std::fmt;

use super::TensorMap;
use crate::shown::shown;

/// The contents of a weights file, as [`contents`](super::contents) reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// How the file is built.
    pub format: Format,
    /// Every table of tensors of the file, in the order of the file. A file of
    /// one table has it at the empty path.
    pub tables: Vec<Table>,
    /// Other values of the file as text, by the keys that lead to them, joined by
    /// dots: `epoch`, `args.arch`. Lists of texts or numbers are JSON.
    pub facts: BTreeMap<String, String>,
    /// What was left out or is unusual, each in one line without the file's name.
    pub notes: Vec<String>,
}

impl Container {
    /// Leaves out the tables without floating-point tensors, with a note.
    pub(super) fn leave_out_tables(&mut self) {
        let notes = &mut self.notes;
        self.tables.retain(|table| {
            let has_tensors = !table.tensors.is_empty();
            if let (false, Some((name, reason))) = (has_tensors, table.left_out.first_key_value()) {
                notes.push(reason.note(name));
            }
            has_tensors
        });
    }
}

/// Tensors that a file holds under one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The keys that lead to the table, joined by dots: `state_dict`,
    /// `model.state_dict`, `0` for the first item of a list. Empty if the file
    /// itself is the table.
    pub path: String,
    /// The floating-point tensors by their names in the file.
    pub tensors: TensorMap,
    /// The names of the tensors in the order of the file, in which its program
    /// created them. Empty where a file keeps no such order.
    pub order: Vec<String>,
    /// Tensors that have no floating-point values: their names, and why.
    pub left_out: BTreeMap<String, LeftOut>,
}

/// Why a tensor has no values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its elements have another type. The types of safetensors have their names
    /// there (`I64`, `U8`), others are described (`quantized`, `sparse`).
    Type(String),
    /// What is wrong with it, after the words "tensor NAME": `has a negative
    /// stride`.
    Problem(String),
}

impl LeftOut {
    /// The line that says that a tensor is left out.
    pub(super) fn note(&self, tensor: &str) -> String {
        let tensor = shown(tensor);
        match self {
            LeftOut::Type(kind) => format!("tensor '{tensor}' is left out: it is {kind}"),
            LeftOut::Problem(problem) => format!("tensor '{tensor}' is left out: it {problem}"),
        }
    }

    /// Whether it is a counter, such as `num_batches_tracked`.
    pub fn is_counter(&self) -> bool {
        matches!(self, LeftOut::Type(kind) if kind == "I64" || kind == "I32")
    }
}

/// How a weights file is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A safetensors file.
    Safetensors,
    /// A zip archive of `torch.save`, since PyTorch 1.6.
    PytorchZip,
    /// A file of `torch.save` before PyTorch 1.6.
    PytorchLegacy,
    /// A pickle of Python without `torch.save`.
    Pickle,
    /// NumPy's `.npz`.
    Npz,
    /// Several safetensors or PyTorch files and their index.
    Shards,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::PytorchZip => "PyTorch (zip)",
            Format::PytorchLegacy => "PyTorch (before 1.6)",
            Format::Pickle => "Python pickle",
            Format::Npz => "NumPy .npz",
            Format::Shards => "shards with an index",
        })
    }
}
