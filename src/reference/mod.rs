//! How is a graph computed in f64 on the CPU?
//!
//! This is the reference that kernels and the tuner are compared with, and it
//! computes where no device is available. Each file holds the formulas of one
//! family of operations, forward and backward next to each other, under the name
//! of the kernel and of the shader; [`run`] evaluates the nodes of the graph in
//! order. Threads share work only where each output is written by one thread, and
//! every sum has a fixed order. So the same inputs give the same bits with any
//! number of threads.

mod batch_norm;
mod channels;
mod conv;
mod dropout;
mod gate;
mod linear;
mod loss;
mod plane;
mod pointwise;
mod pool;
mod reduce;
mod run;
mod update;

pub(crate) use run::operation;
pub use run::{Inputs, ReferenceError, Values, run};
pub use update::{Moments, Rates, adamw, average, clip_factor, lars_rate, sgd};

#[cfg(test)]
mod tests;
