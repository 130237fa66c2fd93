//! Which images are trained and tested on, and in which order?
//!
//! A [`Source`] (`synthetic`, `cifar10:DIR`, …) is loaded into [`Splits`]: two
//! [`ImageSet`]s of bytes, and the [`Normalization`] of the data set.
//! [`Batches`] gives, for each epoch, the order of the images and how each is
//! cropped and flipped. A kernel gathers the pixels on the device; [`gather`]
//! computes the same on the CPU.

mod augment;
mod batches;
mod cifar;
mod error;
mod gather;
mod images;
mod normalization;
mod source;
pub mod synthetic;

pub use augment::{Augment, Draw, PAD, Padding};
pub use batches::{Batches, Epoch, ImageOrder};
pub use error::{ArgumentError, DataError, FileError};
pub use gather::gather;
pub use images::{ImageSet, Split};
pub use normalization::Normalization;
pub use source::{Source, Splits, TestSplit};
