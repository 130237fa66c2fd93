//! Which commands are there? `residua` and `tools` have all of them.

mod bench;
mod completions;
mod convert;
mod curves;
mod data;
mod devices;
mod doctor;
mod draw;
mod eval;
mod explain;
mod export;
mod features;
#[cfg(feature = "fetch")]
mod fetch;
mod inspect;
mod inspect_file;
mod lesion;
mod man;
mod models;
mod paths;
mod plan;
mod stochastic_depth;
mod sweep;
mod tune;

use std::path::Path;

use clap::{Arg, CommandFactory, Parser, Subcommand};

use super::exit::CliError;
use super::knobs;
use super::train::{self, TrainArgs};
use crate::files::check_file;

/// Trains residual networks on any GPU, and studies them.
#[derive(Debug, Parser)]
#[command(version, about, args_override_self = true, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network; without arguments, a small one on a built-in data set
    Train(Box<TrainArgs>),
    /// Evaluate a trained network on test images
    Eval(Box<eval::Args>),
    /// Show what a folder or file of images holds
    Data(data::Args),
    /// Get a public data set from its publisher
    #[cfg(feature = "fetch")]
    Fetch(fetch::Args),
    /// List the adapters that can compute
    Devices(devices::Args),
    /// Examine an adapter and its driver: every kernel against the reference, clock and
    /// memory
    Doctor(doctor::Args),
    /// Delete blocks of a trained network and measure what it loses
    Lesion(lesion::Args),
    /// Count a network's paths by length, and measure which carry the gradient
    Paths(paths::Args),
    /// Train at all combinations of some settings, and compare
    Sweep(Box<sweep::Args>),
    /// Train with stochastic depth of several kinds, and compare with constant depth
    StochasticDepth(Box<stochastic_depth::Args>),
    /// Show which pixels a network looks at, by gradients, Grad-CAM and occlusion
    Explain(Box<explain::Args>),
    /// Write the activations of a layer or block for each test image
    Features(Box<features::Args>),
    /// Compare the test and training error of several runs
    Curves(curves::Args),
    /// List the networks that have names, with their sizes and published errors; or
    /// all that is known about one, with the recipe of its paper
    Models(models::Args),
    /// Draw a network: its stages, its blocks, and the paths through few blocks
    Draw(draw::Args),
    /// Show a model's blocks, parameters, multiply-adds and memory; or what is in a
    /// weights file
    Inspect(inspect::Args),
    /// Measure how fast an adapter is: peak rates, every kernel, whole networks
    Bench(bench::Args),
    /// Find the fastest kernels for a model on this device
    Tune(tune::Args),
    /// Rewrite a weights file under other names
    Convert(convert::Args),
    /// Write a trained network as an ONNX model, for programs that evaluate it
    Export(export::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page, or write a page for every command
    Man(man::Args),
}

/// The arguments of the program `name`. A negative number is the value of the
/// flag before it, so that the error about it names that flag.
pub fn command_named(name: &'static str) -> clap::Command {
    let negative = |argument: Arg| match argument.get_action().takes_values() && !argument.is_positional() {
        true => argument.allow_negative_numbers(true),
        false => argument,
    };
    let program = CommandLine::command().name(name);
    program.mut_subcommands(|command| {
        let own = command.get_name().to_string();
        command.mut_args(|argument| knobs::listed(&own, negative(argument)))
    })
}

impl CommandLine {
    /// Whether a signal lets the command store what it has before it ends.
    pub fn stops_gently(&self) -> bool {
        match self.command {
            Command::Train(_)
            | Command::Eval(_)
            | Command::Lesion(_)
            | Command::Paths(_)
            | Command::Sweep(_)
            | Command::StochasticDepth(_)
            | Command::Features(_) => true,
            #[cfg(feature = "fetch")]
            Command::Fetch(_) => true,
            Command::Data(_)
            | Command::Devices(_)
            | Command::Doctor(_)
            | Command::Curves(_)
            | Command::Models(_)
            | Command::Draw(_)
            | Command::Inspect(_)
            | Command::Bench(_)
            | Command::Tune(_)
            | Command::Convert(_)
            | Command::Explain(_)
            | Command::Export(_)
            | Command::Completions(_)
            | Command::Man(_) => false,
        }
    }

    /// Runs the command of the program `name`; returns what goes to standard
    /// output.
    pub fn run(&self, name: &'static str) -> Result<String, CliError> {
        match &self.command {
            Command::Train(args) => train::train(args),
            Command::Eval(args) => eval::eval(args),
            Command::Data(args) => data::data(args),
            #[cfg(feature = "fetch")]
            Command::Fetch(args) => fetch::fetch_data(args),
            Command::Devices(args) => devices::devices(args),
            Command::Doctor(args) => doctor::doctor(args),
            Command::Lesion(args) => lesion::lesion(args),
            Command::Paths(args) => paths::paths(args),
            Command::Sweep(args) => sweep::sweep(args),
            Command::StochasticDepth(args) => stochastic_depth::stochastic_depth(args),
            Command::Explain(args) => explain::explain(args),
            Command::Features(args) => features::features(args),
            Command::Curves(args) => curves::curves(args),
            Command::Models(args) => models::models(args),
            Command::Draw(args) => draw::run(args),
            Command::Inspect(args) => inspect::inspect(args),
            Command::Bench(args) => bench::bench(args),
            Command::Tune(args) => tune::tune(args),
            Command::Convert(args) => convert::convert(args),
            Command::Export(args) => export::export(args),
            Command::Completions(args) => completions::completions(args, name),
            Command::Man(args) => man::man(args, name),
        }
    }
}

/// Refuses a file that cannot be written, before any work begins, and a file name
/// with another extension than `extension`, before a file of another kind is
/// replaced by mistake.
fn require_output(flag: &str, path: &Path, extension: &str) -> Result<(), CliError> {
    if path
        .extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(extension))
    {
        return Ok(check_file(path)?);
    }
    let path = path.display();
    Err(CliError::argument(format!(
        "{flag} {path}: the name must end in .{extension}"
    )))
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        command_named("residua").debug_assert();
    }

    #[test]
    fn every_flag_says_its_default() {
        let has_value = |argument: &&Arg| {
            matches!(argument.get_action(), ArgAction::Set | ArgAction::Append) && argument.get_long().is_some()
        };
        for command in command_named("residua").get_subcommands() {
            for argument in command.get_arguments().filter(has_value) {
                let help = argument.get_help().expect("every flag has a help").to_string();
                let said = help.contains("[default: ") || !argument.get_default_values().is_empty();
                let name = (command.get_name(), argument.get_long());
                assert!(said || argument.is_required_set(), "{name:?}: {help}");
            }
        }
    }
}
