//! Which images are trained and tested on, and in which order?
//!
//! A [`Source`] (`synthetic`, `cifar10:DIR`, a folder, …) is loaded into
//! [`Splits`]: two [`ImageSet`]s of bytes, and the [`Normalization`] of the data
//! set. [`Kind`] recognises what lies in a folder; there is one file for each form
//! in which data sets are stored. [`Batches`] gives, for each epoch, the order of
//! the images and how each is cropped and flipped. A kernel gathers the pixels on
//! the device; [`gather`] computes the same on the CPU.

mod arrays;
mod augment;
mod batches;
mod cifar;
mod cifar_c;
mod cifar_python;
#[cfg(feature = "images")]
mod decode;
mod distortion;
mod error;
mod gather;
mod held_out;
mod idx;
#[cfg(feature = "images")]
mod image_folder;
mod images;
mod kind;
mod known;
mod mixing;
mod normalization;
mod operation;
#[cfg(feature = "parquet")]
mod parquet;
mod picture;
mod places;
mod source;
mod stl10;
mod store;
mod svhn;
pub mod synthetic;

pub use augment::{Augment, Draw, PAD, Padding};
pub use batches::{Batches, Epoch, ImageOrder};
pub use cifar_c::Corrupted;
pub use distortion::{Augmentation, Distortions, Policy};
pub use error::{ArgumentError, DataError, FileError};
pub use gather::{gather, gather_distorted};
pub use images::{ImageSet, Split};
pub use kind::Kind;
pub use known::DataSet;
pub use mixing::{Mix, MixKind, Mixing, soft_targets};
pub use normalization::Normalization;
pub use operation::{Factor, Operation};
pub use picture::{Preparation, Resize};
pub use places::{destination, places};
pub use source::{Files, Source, Splits, TestSplit};

/// The names of `classes` classes that have none: their numbers.
fn digits(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}
