//! `residua`: trains residual networks and studies them.

use std::process::ExitCode;

use residua::{cli, gpu};

fn main() -> ExitCode {
    // SAFETY: the first statement of the program; no thread has been started.
    unsafe { gpu::prepare_environment() };
    cli::main("residua")
}
