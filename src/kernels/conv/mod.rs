//! Which algorithms compute a convolution and its gradients?

mod gemm;
mod plain;
mod problem;
mod stats;
mod subgroup;
mod tile;
mod wgrad;
mod wgrad_winograd;

pub use gemm::GemmTile;
pub use problem::Direction;
pub use stats::ConvStats;
pub use tile::{ChannelTile, Tile, TurnTile, WeightTile};
pub use wgrad::WeightGradient;
