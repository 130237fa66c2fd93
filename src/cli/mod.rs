//! The programs `residua` and `tools`: arguments in, the library called,
//! results out.
//!
//! Both have the same commands. [`main`] is all that a binary calls.

// What is printed goes through `program`, which reports where it cannot be
// written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod arguments;
mod commands;
mod deliver;
mod exit;
mod json;
mod knobs;
mod launcher;
mod log_lines;
mod machine;
mod network;
mod npy;
mod output;
mod program;
mod progress;
mod signals;
mod study_progress;
mod threads;
mod train;
mod trained;
mod tuning;
mod weights_file;

use args::{AdapterArgs, NetworkArgs, range};
use deliver::{command_line, cost, deliver, deliver_as, quoted, results_of};
use exit::{CliError, study_error};
use json::{json_line, json_pretty};
use knobs::check_settings;
use log_lines::LogArgs;
use machine::machine;
use npy::write_npy;
use output::{OutputArgs, PartArgs, own_out, part_text, share_out};
pub use program::main;
use progress::{WHOLE, bar, note, share_bar};
use signals::{expect_requeue, stop};
use study_progress::StudyBar;
use train::SettingArgs;
use trained::open_network;
use tuning::TuningReporter;
pub use tuning::{rejected_lines, summary_lines};
