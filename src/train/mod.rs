//! Training and evaluation: the loop, learning rates, checkpoints, metrics.

pub mod checkpoint;
mod engine;
mod error;
mod evaluate;
mod init;
mod rate;

pub use engine::{DeviceEngine, Engine, Part, StepPlan};
pub use error::TrainError;
pub use evaluate::{Outcome, evaluate};
pub use init::initialise;
pub use rate::{Rate, Schedule, WarmUp};
