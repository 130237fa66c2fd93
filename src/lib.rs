//! Residua trains residual networks on any GPU with its own compute shaders,
//! and takes them apart.
#![deny(missing_docs)]

pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod files;
pub mod gpu;
pub mod graph;
pub mod half;
pub mod kernels;
pub mod models;
pub mod random;
pub mod reference;
pub mod report;
pub mod schedule;
pub mod studies;
pub mod train;
pub mod tuning;
pub mod weights;
