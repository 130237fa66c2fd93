//! How does a program end?
//!
//! 0 on success, 2 on wrong arguments, 1 on everything else; an error is one
//! line on standard error.

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use super::commands::Program;
use crate::studies::StudyError;
use crate::train::TrainError;

/// An error on its way to the user.
#[derive(Debug)]
pub struct CliError {
    message: String,
    argument: bool,
}

impl CliError {
    /// Wrong arguments: exit code 2.
    pub fn argument(message: impl std::fmt::Display) -> Self {
        CliError {
            message: message.to_string(),
            argument: true,
        }
    }

    /// Anything else: exit code 1.
    pub fn failure(message: impl std::fmt::Display) -> Self {
        CliError {
            message: message.to_string(),
            argument: false,
        }
    }
}

impl<E: Into<TrainError>> From<E> for CliError {
    fn from(error: E) -> Self {
        let error = error.into();
        CliError {
            argument: error.is_argument(),
            message: with_flags(&error),
        }
    }
}

impl From<StudyError> for CliError {
    fn from(error: StudyError) -> Self {
        let message = match &error {
            StudyError::Value {
                setting,
                value,
                problem,
            } => {
                // Most settings of a study have the name of their flag.
                let flag = match *setting {
                    "survivals" => "p-last",
                    "rules" => "rule",
                    other => other,
                };
                let value = match value.as_str() {
                    "" => String::new(),
                    value => format!(" {value}"),
                };
                format!("--{flag}{value}: {problem}")
            }
            StudyError::Train(error) => with_flags(error),
            _ => error.to_string(),
        };
        CliError {
            argument: error.is_argument(),
            message,
        }
    }
}

/// The library's error in the words of the programs: settings are named by
/// their flags, and a flag or command that helps is named as well.
fn with_flags(error: &TrainError) -> String {
    let message = match error {
        TrainError::Value { setting, problem } => format!("--{setting} {problem}"),
        _ => error.to_string(),
    };
    match hint(error) {
        Some(hint) => format!("{message}; {hint}"),
        None => message,
    }
}

/// Which flag or command helps?
fn hint(error: &TrainError) -> Option<&'static str> {
    match error {
        TrainError::Diverged { .. } | TrainError::DivergedWeights { .. } => Some("use a smaller --lr or a --warmup"),
        TrainError::DivergedGradients { .. } => Some("use a smaller --lr, a --warmup or --precision f32"),
        _ => None,
    }
}

/// Parses the arguments, runs the command of the program `name`, prints what it
/// returns on standard output, and gives the exit code.
pub fn main(name: &'static str) -> ExitCode {
    let matches = Program::command().name(name).try_get_matches();
    let result = match matches.and_then(|matches| Program::from_arg_matches(&matches)) {
        Ok(program) => program.run(name),
        Err(error) if error.use_stderr() => {
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                let _ = write!(std::io::stderr().lock(), "{}\n", error.render());
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
            let line = error.message.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(std::io::stderr().lock(), "error: {line}");
            ExitCode::from(if error.argument { 2 } else { 1 })
        }
    }
}

/// The first paragraph of clap's message, which says what is wrong.
fn usage(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; --help lists them".to_string();
    }
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    format!(
        "{}; --help lists the arguments",
        paragraph.trim_start_matches("error: ").trim()
    )
}
