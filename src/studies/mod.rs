//! Taking networks apart.

mod judge;
mod ledger;
mod lesion;
mod lesion_report;
mod path;
mod path_gradient;
mod path_report;
mod recalibrate;
mod response;
pub mod statistics;

pub use judge::{Case, Judge, Verdict};
pub use ledger::Ledger;
pub use lesion::{Lesion, Reordering, Trials, delete, greedy, pairs, random_deletions, reorder, without_shortcut};
pub use lesion_report::{LesionFindings, Neighbour, RandomDeletions};
pub use path::{contributions, effective_range, lengths_in_blocks, lengths_in_convolutions, share_of_paths};
pub use path_gradient::{PathNorms, Sampling, path_norms};
pub use path_report::PathFindings;
pub use recalibrate::Recalibration;
pub use response::{Response, responses};
