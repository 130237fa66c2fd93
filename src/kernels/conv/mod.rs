//! Which algorithms compute convolutions, their input gradients and their
//! weight gradients?
//!
//! [`problem`] says what is computed. Each algorithm has a file, which owns its
//! tile, its text and its dispatches, and a shader of the same name.
//! `convolution` and `wgrad` list them and choose the default.

mod convolution;
pub mod depthwise;
pub mod direct;
pub mod gemm;
mod plain;
pub mod problem;
mod stats;
pub mod subgroup;
mod tile;
mod wgrad;
pub mod wgrad_strips;
pub mod wgrad_subgroup;
mod wgrad_walk;
pub mod wgrad_winograd;

pub use stats::ConvStats;
