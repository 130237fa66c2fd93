//! What can go wrong when a network is prepared for a device and run on it?

use crate::gpu::GpuError;
use crate::graph::{NameError, RouteError};

/// What can go wrong in a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The route is not valid for this network or this pass.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A node whose value cannot be read.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The network is stored in 16 bits and the adapter has no 16-bit floats.
    #[error("{adapter} has no 16-bit floats")]
    NoF16 {
        /// The adapter's name.
        adapter: String,
    },
    /// The network is stored in 16 bits and has a value with a single number
    /// per image: devices read 16-bit floats two at a time.
    #[error("a {op} of the network gives one number per image, which is too few for 16-bit storage")]
    ScalarF16 {
        /// The operation.
        op: &'static str,
    },
    /// A parameter of which even the weights of one output channel exceed the
    /// adapter's largest binding.
    #[error("parameter {name} takes {bytes} bytes for each output channel; the adapter binds at most {limit}")]
    WeightTooLarge {
        /// The parameter's name.
        name: String,
        /// Bytes of one output channel, or of the parameter where it has no
        /// output channels.
        bytes: u64,
        /// The largest binding in bytes.
        limit: u64,
    },
    /// A batch whose images are changed has operations for other images.
    #[error("a batch of {images} images has {operations} operations, which are not as many for each of them")]
    Operations {
        /// The images of the batch.
        images: usize,
        /// The operations that were set.
        operations: usize,
    },
    /// Images of a batch that random operations change do not fit a binding.
    #[error(
        "a batch of {batch} images whose pixels are changed exceeds the adapter's largest binding: at most {most} fit"
    )]
    BatchTooLarge {
        /// The images of the batch.
        batch: usize,
        /// The most images that fit.
        most: usize,
    },
    /// An image index that the set does not have.
    #[error("image {index} was requested from a set with {images} images")]
    NoSuchImage {
        /// The requested index.
        index: u32,
        /// The number of images in the set.
        images: usize,
    },
}
