//! Taking networks apart.

mod figure;
mod lesion;
mod stochastic_depth;
mod sweep;

pub use figure::lesion_figure;
pub use lesion::{Lesion, delete, lesion_csv};
pub use stochastic_depth::{DepthGrid, DepthStudy, depth_points};
pub use sweep::{
    Facts, Group, News, Point, Progress, Setting, Spread, Sweep, Trained, described, groups, list_of, points, spread,
    sweep_facts, sweep_json, sweep_report,
};
