//! `tools`: look into networks and take them apart.

mod bench;
mod convert;
mod curves;
mod inspect;
mod lesion;
mod paths;
mod plan;
mod stochastic_depth;
mod sweep;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use residua::{cli, gpu};

/// Looks into residual networks and takes them apart.
#[derive(Debug, Parser)]
#[command(name = "tools", version, about, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A model's blocks, parameters, multiply-adds and memory
    Inspect(inspect::Args),
    /// Delete blocks of a trained network and see what it loses
    Lesion(lesion::Args),
    /// How long a network's paths are, and which of them carry the gradient
    Paths(paths::Args),
    /// Test and training error of several runs, side by side
    Curves(curves::Args),
    /// Train at all combinations of some settings, and compare
    Sweep(Box<sweep::Args>),
    /// Train with stochastic depth of several kinds, and compare with constant depth
    StochasticDepth(Box<stochastic_depth::Args>),
    /// How fast an adapter is: peak rates, every kernel, whole networks
    Bench(bench::Args),
    /// Find the fastest kernels for a model on this device
    Tune(tune::Args),
    /// Rewrite a weights file under other names
    Convert(convert::Args),
}

fn main() -> ExitCode {
    // SAFETY: the first statement of the program; no thread has been started.
    unsafe { gpu::prepare_environment() };
    cli::run(|cli: Cli| match cli.command {
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Lesion(args) => lesion::lesion(&args),
        Command::Paths(args) => paths::paths(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::StochasticDepth(args) => stochastic_depth::stochastic_depth(&args),
        Command::Curves(args) => curves::curves(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Tune(args) => tune::tune(&args),
        Command::Convert(args) => convert::convert(&args),
    })
}
