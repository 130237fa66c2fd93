//! The programs `residua` and `tools`: arguments in, the library called,
//! results out.
//!
//! Both have the same commands. [`main`] is all that a binary calls.

mod args;
mod commands;
mod deliver;
mod exit;
mod program;
mod progress;
mod train;
mod trained;
mod tuning;

use args::{AdapterArgs, NetworkArgs, range};
use deliver::{command_line, cost, deliver, deliver_as, results_of};
use exit::CliError;
pub use program::main;
use progress::{WHOLE, bar, note, share_bar, show};
use train::SettingArgs;
use trained::open_network;
use tuning::TuningReporter;
pub use tuning::{rejected_lines, summary_lines};
