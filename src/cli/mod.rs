//! What the two programs share: arguments, progress, errors and exit codes.

mod args;
mod deliver;
mod exit;
mod progress;
mod train;
mod trained;
mod tuning;

pub use args::{AdapterArgs, ImageArgs, SubjectArgs, range};
pub use deliver::{command_line, deliver, results_of};
pub use exit::{CliError, run};
pub use progress::{WHOLE, bar, note, share_bar, show};
pub use train::{SettingArgs, TrainArgs, train};
pub use trained::{RUNS, open_network};
pub use tuning::{TuningTeller, set_aside, summary_lines};
