//! Taking networks apart.

mod curves;
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
mod stochastic_depth;
mod sweep;

pub use curves::{RunCurve, curves_items, curves_json};
pub use judge::{Case, Judge, Verdict};
pub use ledger::Ledger;
pub use lesion::{Lesion, Reordering, Trials, delete, greedy, pairs, random_deletions, reorder, without_shortcut};
pub use lesion_report::{LesionFindings, Neighbour, RandomDeletions};
pub use path::{contributions, effective_range, lengths_in_blocks, lengths_in_convolutions, share_of_paths};
pub use path_gradient::{PathNorms, Sampling, path_norms};
pub use path_report::PathFindings;
pub use recalibrate::Recalibration;
pub use response::{Response, responses};
pub use stochastic_depth::{DepthGrid, DepthStudy, depth_points};
pub use sweep::{
    Facts, Group, News, Point, Progress, Setting, Spread, Sweep, Trained, described, groups, list_of, points, spread,
    sweep_facts, sweep_json, sweep_report,
};
