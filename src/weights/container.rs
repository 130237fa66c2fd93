//! What does a weights file contain, before a table is chosen or a name is
//! changed?

use std::collections::BTreeMap;
use std::fmt;

use super::TensorMap;

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
    /// Tensors of other types: their names, and the type of their elements.
    pub left_out: BTreeMap<String, String>,
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
