//! Parameters in and out of files, and the names that others give them.
//!
//! A file is [`read`] into a [`TensorMap`] under the names that it uses;
//! [`to_canonical`] turns those into the names of this program and
//! [`from_canonical`] back into those of a [`Dialect`].

mod dialect;
mod error;
mod float;
mod pickle;
mod pth;
mod read;
mod safetensors;
mod tensor;
mod zip;

pub use dialect::{Dialect, from_canonical, to_canonical};
pub use error::WeightsError;
pub use read::{hash, read};
pub use safetensors::write;
pub use tensor::{Loaded, Tensor, TensorMap};
