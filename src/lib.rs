//! Residua trains residual networks on any GPU with its own compute shaders,
//! and takes them apart.
#![deny(missing_docs)]

pub mod graph;
