//! How does a program run: arguments, command, output, exit code?
//!
//! The exit code is 0 on success, 2 on wrong arguments, 1 on everything else;
//! an error is one line on standard error.

use std::io::Write as _;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::error::ErrorKind;

use super::commands::{CommandLine, command_named};
use super::exit::CliError;
use super::{arguments, knobs, signals, threads};
use crate::gpu;

/// Parses the arguments, runs the command of the program `name`, prints what it
/// returns on standard output, and gives the exit code.
///
/// Signals end the command as `signals` says.
///
/// The environment variable `RUST_LOG` turns on log lines on standard error:
/// `RUST_LOG=residua=debug`.
pub fn main(name: &'static str) -> ExitCode {
    // Off without the variable: an error is one line, and it is the program's.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    // The loss of a device is an error of one line, not a panic.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !gpu::panics_become_errors() {
            hook(panic);
        }
    }));
    let result = arguments::read(std::env::args_os()).and_then(|arguments| run(name, &arguments));
    match result.and_then(|output| print(&output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = print(error.output()).err().unwrap_or(error);
            let _ = writeln!(std::io::stderr().lock(), "{}", error.line());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs the command that `arguments` name; returns what goes to standard output.
fn run(name: &'static str, arguments: &[String]) -> Result<String, CliError> {
    let matches = command_named(name).try_get_matches_from(arguments);
    let matches = matches.and_then(|matches| Ok((CommandLine::from_arg_matches(&matches)?, matches)));
    match matches {
        Ok((program, matches)) => {
            if let Some((command, given)) = matches.subcommand() {
                knobs::check(command, given)?;
            }
            signals::install(program.stops_gently())
                .map_err(|error| CliError::failure(format_args!("signals cannot be handled: {error}")))?;
            threads::prepare();
            program.run(name)
        }
        Err(error) if error.use_stderr() => {
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                let _ = writeln!(std::io::stderr().lock(), "{}", error.render());
            }
            Err(CliError::argument(usage(&error)))
        }
        Err(help) => Ok(help.render().to_string()),
    }
}

/// Writes `output` to standard output.
///
/// # Errors
/// Where it cannot be written. A reader that closes its pipe early (`… | head`)
/// is no error.
fn print(output: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(output.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::failure(format_args!(
            "standard output cannot be written: {error}"
        ))),
        _ => Ok(()),
    }
}

/// clap's message in one line: what is wrong, and its tips.
fn usage(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; --help lists them".to_string();
    }
    let text = error.render().to_string();
    let problem = text.split("\n\n").next().unwrap_or_default();
    let tips = text.lines().filter_map(|line| line.trim_start().strip_prefix("tip: "));
    let parts: Vec<&str> = [problem.trim_start_matches("error: ").trim()]
        .into_iter()
        .chain(tips)
        .chain(["--help lists the arguments"])
        .collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        usage(&command_named("residua").try_get_matches_from(arguments).unwrap_err())
    }

    #[test]
    fn tips_stand_in_the_line_of_the_error() {
        let line = refused(&["residua", "train", "--epoch", "3"]);
        let expected = "unexpected argument '--epoch' found; a similar argument exists: '--epochs'; --help lists the \
                        arguments";
        assert_eq!(line, expected);
        assert!(refused(&["residua", "train", "--epochs", "-1"]).contains("'-1' for '--epochs <N>'"));
        assert!(refused(&["residua", "trian"]).contains("; a similar subcommand exists: 'train'; "));
        let value = refused(&["residua", "inspect", "resnet8", "--precision", "f8"]);
        assert!(value.contains("possible values: f32, f16"), "{value}");
    }
}
