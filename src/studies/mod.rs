//! Taking networks apart.

mod lesion;

pub use lesion::{Lesion, delete};
