//! Is this process one of several that a launcher started?

use super::exit::CliError;

/// What tells a process how many there are, and who sets it.
const COUNTS: [(&str, &str); 3] = [
    ("OMPI_COMM_WORLD_SIZE", "Open MPI"),
    ("PMI_SIZE", "MPICH"),
    ("SLURM_STEP_NUM_TASKS", "srun"),
];

/// Refuses to be one of several tasks, which would each train the same network on its
/// own.
///
/// # Errors
/// With the variable that says so.
pub fn check_alone() -> Result<(), CliError> {
    for (variable, launcher) in COUNTS {
        let tasks = std::env::var(variable).ok().and_then(|value| value.parse::<u64>().ok());
        if let Some(tasks) = tasks.filter(|tasks| *tasks > 1) {
            return Err(CliError::failure(format!(
                "this is one of {tasks} tasks of {launcher} ({variable}), and each would train the network on its own; \
                 start one task, or unset {variable} for trainings that have nothing to do with each other"
            )));
        }
    }
    Ok(())
}
