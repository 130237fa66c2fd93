//! How are parameters read from and written to files, and how are their names
//! translated?
//!
//! [`contents`] gives everything in a file, [`read`] its [`TensorMap`] with the
//! names in the file. [`to_canonical`]
//! translates them to the names of this library, [`from_canonical`] to those
//! of a [`Dialect`].

mod container;
mod dialect;
mod error;
mod float;
mod pickle;
mod pth;
mod read;
mod safetensors;
mod tensor;
mod zip;

pub use container::{Container, Format, Table};
pub use dialect::{Dialect, from_canonical, to_canonical};
pub use error::WeightsError;
pub use read::{contents, hash, read};
pub use safetensors::write;
pub use tensor::{Loaded, Tensor, TensorMap};
