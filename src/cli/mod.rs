//! What the two programs share: arguments, progress, errors and exit codes.

mod args;
mod deliver;
mod exit;
mod progress;
mod subject;
mod train;
mod tuning;

pub use args::{AdapterArgs, ImageArgs, SubjectArgs, range};
pub use deliver::{deliver, results_of};
pub use exit::{CliError, run};
pub use progress::{WHOLE, bar, note, share_bar};
pub use subject::{RUNS, Subject, command_line};
pub use train::{SettingArgs, TrainArgs, train};
pub use tuning::{TuningTeller, set_aside, summary_lines};
