//! Taking networks apart.

mod figure;
mod lesion;

pub use figure::lesion_figure;
pub use lesion::{Lesion, delete, lesion_csv};
