//! How are parameters read from and written to files, and how are their names
//! translated?
//!
//! [`contents`] gives everything in a file, [`read`] its [`TensorMap`] with the
//! names in the file. [`canonical`] chooses a table and translates the names to
//! those of this library, [`to_dialect`] translates them to those of a
//! [`Dialect`]. [`read_canonical`] reads and translates.

mod canonical;
mod choose;
mod container;
mod dialect;
mod error;
mod export;
mod float;
mod fold;
mod folder;
mod foreign;
mod layout;
mod npz;
mod pattern;
mod pth;
mod read;
mod rename;
mod safetensors;
mod seal;
mod structure;
mod tables;
mod template;
mod tensor;
mod view;

pub use canonical::{
    CanonicalWeights, MOMENTUM, NameOptions, Naming, SECOND_MOMENT, UNAVERAGED, beside, canonical, ends_of,
    read_canonical,
};
pub use container::{Container, Format, LeftOut, Table};
pub use dialect::Dialect;
pub use error::WeightsError;
pub use export::{Exported, to_dialect};
pub use layout::{Layer, LayerKind, Layout};
pub use read::{WeightsFile, bytes_of, contents, contents_of_bytes, hash, read, read_bytes};
pub use rename::Rename;
pub use safetensors::{exact, write, write_exact, write_exported};
pub use tensor::{Loaded, Tensor, TensorMap};

#[cfg(test)]
mod tests;
