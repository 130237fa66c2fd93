//! Which images are learned from? Data sets, and how an epoch goes through them.
//!
//! A [`Source`] (`synthetic`, `cifar10:DIR`, …) is loaded into [`Splits`]: two
//! [`ImageSet`]s of bytes and the [`Normalization`] that suits them.
//! [`Batches`] then says, for each epoch, which image comes when and how it is
//! cropped and flipped; the pixels themselves are gathered on the device, by a
//! kernel whose truth is [`gather`].

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
