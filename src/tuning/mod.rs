//! Tuning: which kernel is the fastest for each piece of a network's work on
//! this device, and where is that stored?
//!
//! Many pieces of work have several algorithms, each with tile sizes and
//! workgroup sizes. The default algorithm is a good guess; tuning runs all of
//! them on random inputs, rejects those that fail or compute something else,
//! times the rest, and stores the fastest in a [`TuningCache`]. Training with
//! tuned kernels gives other rounding errors than with the default ones, and
//! the same bits each time.
//!
//! To tune a session's training steps and let the session use the result:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use residua::gpu::{AdapterChoice, Gpu};
//! use residua::graph::Mode;
//! use residua::models::{InputShape, ModelSpec};
//! use residua::schedule::{Session, target};
//! use residua::tuning::{Budget, TuningProgress, jobs, tune};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gpu = Arc::new(Gpu::open(&AdapterChoice::Best)?);
//! let (model, input): (ModelSpec, InputShape) = ("resnet20".parse()?, "3x32x32".parse()?);
//! let (train, eval) = (model.build(&input, Mode::Train)?, model.build(&input, Mode::Eval)?);
//! let mut session = Session::new(gpu.clone(), Some(train.graph), eval.graph, |_| true)?;
//!
//! // The work of a training step with 128 images that has several algorithms.
//! let jobs = jobs(&session.request(true, 128), &target(&gpu));
//! let choices = tune(&gpu, &jobs, &Budget::default(), &mut |progress| {
//!     if let TuningProgress::Tuned(tuned) = progress {
//!         println!("{}: {}", tuned.job.signature(), tuned.choice.algorithm);
//!     }
//! })?;
//! session.set_choices(choices);
//! # Ok(())
//! # }
//! ```
//!
//! [`choose_kernels`] does this with the user's cache file, and only where the
//! work ahead is long enough to pay the tuning back.

mod cache;
mod cache_file;
mod choose;
mod error;
mod job;
mod tune;
mod tuner;

pub use cache::{TuningCache, TuningKey};
pub use cache_file::{add_to_cache, cache_path, clear_cache, load_cache, read_tuning_file};
pub use choose::{KernelSource, TuningEvent, TuningSummary, Workload, choose_kernels, tune_jobs};
pub use error::{CacheError, TuningError};
pub use job::{Job, LoweredAlgorithm, jobs};
pub use tune::{KeptDefault, TuningProgress, tune};
pub use tuner::{Budget, Rejected, Tuned, Tuner};
