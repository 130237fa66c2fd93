//! Taking networks apart.

mod figure;
mod lesion;
mod sweep;

pub use figure::lesion_figure;
pub use lesion::{Lesion, delete, lesion_csv};
pub use sweep::{
    Facts, Group, News, Point, Progress, Setting, Spread, Sweep, Trained, described, groups, points, spread,
    sweep_facts, sweep_json, sweep_report,
};
