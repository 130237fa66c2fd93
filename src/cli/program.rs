//! How does a program run: arguments, command, output, exit code?
//!
//! The exit code is 0 on success, 2 on wrong arguments, 1 on everything else;
//! an error is one line on standard error.

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use super::commands::CommandLine;
use super::exit::CliError;

/// Parses the arguments, runs the command of the program `name`, prints what it
/// returns on standard output, and gives the exit code.
///
/// The environment variable `RUST_LOG` turns on log lines on standard error:
/// `RUST_LOG=residua=debug`.
pub fn main(name: &'static str) -> ExitCode {
    // Off without the variable: an error is one line, and it is the program's.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    let matches = CommandLine::command().name(name).try_get_matches();
    let result = match matches.and_then(|matches| CommandLine::from_arg_matches(&matches)) {
        Ok(program) => program.run(name),
        Err(error) if error.use_stderr() => {
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                let _ = writeln!(std::io::stderr().lock(), "{}", error.render());
            }
            Err(CliError::argument(usage(&error)))
        }
        Err(help) => Ok(help.render().to_string()),
    };
    match result {
        Ok(output) => {
            // The reader may close a pipe early (`… | head`): no failure.
            let _ = std::io::stdout().lock().write_all(output.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {}", error.line());
            ExitCode::from(error.exit_code())
        }
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
        usage(&CommandLine::command().try_get_matches_from(arguments).unwrap_err())
    }

    #[test]
    fn tips_stand_in_the_line_of_the_error() {
        let line = refused(&["residua", "train", "--epoch", "3"]);
        let expected = "unexpected argument '--epoch' found; a similar argument exists: '--epochs'; --help lists the \
                        arguments";
        assert_eq!(line, expected);
        assert!(refused(&["residua", "trian"]).contains("; a similar subcommand exists: 'train'; "));
        let value = refused(&["residua", "inspect", "resnet8", "--precision", "f8"]);
        assert!(value.contains("possible values: f32, f16"), "{value}");
    }
}
