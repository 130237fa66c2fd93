//! Which algorithms compute linear layers and their gradients? `problem` says what is computed, `layer`
//! lists the algorithms.

mod layer;
mod problem;
pub mod register_tile;

pub use problem::LinearLayer;
