//! Studies of trained networks and of training: lesions, paths, stochastic
//! depth, sweeps over settings; their tables and figures.

mod curves;
mod error;
mod evaluator;
mod explain;
mod file_name;
#[cfg(test)]
mod full_disk;
mod lesion;
mod part;
mod paths;
mod published;
mod recalibrate;
mod result_log;
mod robustness;
pub mod statistics;
mod stochastic_depth;
mod sweep;
#[cfg(test)]
mod tests;

pub use curves::{RunCurve, curves_cost, curves_finding, curves_items, curves_json};
pub use error::StudyError;
pub use evaluator::{Evaluation, Evaluator, NamedRoute, SeverityCount, StudyProgress};
pub use explain::{
    Attribution, Baseline as ExplanationBaseline, ExplainStudy, ExplainedImage, Explanations, Method, Target,
};
pub use lesion::{
    BlockPool, BlockResponse, ComparedNetwork, Deletions, Lesion, LesionFindings, LesionStudy, RandomDeletions,
    Reordering, Trials, all_pairs, delete, delete_random, greedy, random_deletions, reorder, responses,
    without_shortcut,
};
pub use part::Part;
pub use paths::{
    LengthUnit, PathFindings, PathLengths, PathNorms, PathSampling, PathStudy, contributions, effective_range,
    lengths_in_blocks, lengths_in_convolutions, path_lengths, path_norms, share_of_paths,
};
pub use published::{Comparison, comparison_table};
pub use recalibrate::Recalibration;
pub use result_log::ResultLog;
pub use robustness::{Baseline, CORRUPTIONS, CorruptionErrors, RobustnessFindings, SeverityError};
pub use stochastic_depth::{DepthGrid, DepthStudy, depth_points};
pub use sweep::{
    GridSetting, ListedPoint, MedianRange, PointSizes, SeedGroup, Sweep, SweepEvent, SweepPoint, SweepProgress,
    SweepResults, TrainedPoint, describe, grid_points, groups, median_range, split_values, sweep_json,
    sweep_provenance, sweep_report,
};
