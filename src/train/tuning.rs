//! Which kernels does an engine take, and which does a resumed run replay?

use super::engine::Engine;
use super::{RunDirectory, TrainError};
use crate::schedule::KernelChoices;
use crate::tuning::{self, KernelSource, TuningEvent, TuningKey, Workload};

/// Gives `engine` the kernels that `source` names for `work`, and returns
/// them. The reference engine has no kernels to choose.
///
/// # Errors
/// As [`tuning::choose_kernels`].
pub fn choose_kernels(
    engine: &mut dyn Engine,
    source: &KernelSource,
    work: &Workload,
    report: &mut dyn FnMut(&TuningEvent),
) -> Result<KernelChoices, TrainError> {
    match engine.device_session() {
        Some(session) => Ok(tuning::choose_kernels(session, source, work, report)?),
        None => Ok(KernelChoices::default()),
    }
}

/// Gives `engine` the kernels that the run in `directory` was started with.
///
/// # Errors
/// Where the run's `tuning.toml` is damaged or of another version.
pub(super) fn replay_run(engine: &mut dyn Engine, directory: &RunDirectory) -> Result<(), TrainError> {
    let Some(session) = engine.device_session() else {
        return Ok(());
    };
    let cache = directory.read_tuning()?;
    let choices = cache.replay(&TuningKey::of(session.gpu().info())).cloned();
    session.set_choices(choices.unwrap_or_default());
    Ok(())
}
