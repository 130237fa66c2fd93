//! The graph computed plainly in f64 on the CPU: the truth that kernels,
//! tuner and doctor are held against, and the adapter of last resort.
//!
//! Nothing here is clever. Each file holds the formulas of one family of
//! operations, forward and backward side by side; [`run`] walks the graph and
//! calls them. Work is shared among threads only where every output has one
//! owner, and every sum has a fixed order, so the same inputs give the same
//! bits on any number of threads.

mod channels;
mod conv;
mod dropout;
mod linear;
mod loss;
mod norm;
mod plane;
mod pointwise;
mod pool;
mod run;

pub use run::{Inputs, ReferenceError, Values, run};

#[cfg(test)]
mod tests;
