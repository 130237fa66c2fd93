//! How does a program end: with which exit code, and which message?
//!
//! 0 on success, 2 on wrong arguments, 1 on everything else; an error is one
//! line on standard error.

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use super::commands::Program;
use crate::gpu::GpuError;
use crate::schedule::SessionError;
use crate::studies::StudyError;
use crate::train::TrainError;
use crate::tuning::{CacheError, TuningError};

/// An error as the user sees it.
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
            // Most settings of a study have the name of their flag.
            StudyError::Value { setting, problem } => match *setting {
                "survivals" => format!("--p-last {problem}"),
                "rules" => format!("--rule {problem}"),
                setting => format!("--{setting} {problem}"),
            },
            StudyError::Train(error) => with_flags(error),
            _ => error.to_string(),
        };
        CliError {
            argument: error.is_argument(),
            message,
        }
    }
}

/// The library's error in the words of the programs: a setting has the name of
/// its flag, and a flag or command that helps is named.
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
    Some(match error {
        TrainError::Value {
            setting: "precision", ..
        }
        | TrainError::Session(SessionError::NoF16 { .. }) => {
            "use --precision f32, or an adapter with 16-bit floats (see `residua devices`)"
        }
        TrainError::Session(SessionError::ScalarF16 { .. }) => "use --precision f32",
        TrainError::Session(SessionError::Gpu(error)) => return gpu_hint(error),
        TrainError::Diverged { .. } | TrainError::DivergedWeights { .. } => "use a smaller --lr or a --warmup",
        TrainError::DivergedGradients { .. } => "use a smaller --lr, a --warmup or --precision f32",
        TrainError::Tuning(TuningError::Cache {
            error: CacheError::Older | CacheError::Newer,
            ..
        }) => "`residua tune MODEL` tunes again, `residua tune --export FILE` writes the result to a file",
        TrainError::RunExists { .. } => "choose another --out, or continue the run: --resume",
        TrainError::NoRun { .. } => "give the directory of a run that `residua train` made",
        TrainError::NoRuns { .. } => {
            "train a network first (`residua train`), or name weights: --weights FILE --model NAME"
        }
        _ => return None,
    })
}

fn gpu_hint(error: &GpuError) -> Option<&'static str> {
    Some(match error {
        GpuError::NoAdapter => "choose it with --adapter reference",
        GpuError::NoSuchAdapter { .. } | GpuError::Open { .. } => "`residua devices` lists the adapters",
        GpuError::Lost { .. } => "`residua train --resume DIR` does that",
        GpuError::OutOfMemory { .. } | GpuError::TooLarge { .. } => "set it with --batch-size",
        GpuError::Validation(_) => return None,
    })
}

/// Parses the arguments, runs the command of the program `name`, prints what it
/// returns on standard output, and gives the exit code.
///
/// The environment variable `RUST_LOG` turns on log lines on standard error:
/// `RUST_LOG=residua=debug`.
pub fn main(name: &'static str) -> ExitCode {
    // Off without the variable: an error is one line, and it is the program's.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    let matches = Program::command().name(name).try_get_matches();
    let result = match matches.and_then(|matches| Program::from_arg_matches(&matches)) {
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
            let line = error.message.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(std::io::stderr().lock(), "error: {line}");
            ExitCode::from(if error.argument { 2 } else { 1 })
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
    use crate::train::Config;

    fn refused(arguments: &[&str]) -> String {
        usage(&Program::command().try_get_matches_from(arguments).unwrap_err())
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

    #[test]
    fn settings_have_the_names_of_their_flags() {
        let wrong = Config {
            batch_size: 0,
            ..Config::default()
        };
        let error = wrong.settings().unwrap_err();
        assert_eq!(error.to_string(), "batch size 0 is not between 1 and 65536 images");
        let shown = CliError::from(error);
        assert_eq!(shown.message, "--batch-size 0 is not between 1 and 65536 images");
        assert!(shown.argument);
        let study = CliError::from(StudyError::from(Config { lr: -1.0, ..wrong }.settings().unwrap_err()));
        assert!(study.message.starts_with("--batch-size 0"), "{}", study.message);
    }

    #[test]
    fn flags_and_commands_that_help_are_named() {
        let shown = |error: TrainError| CliError::from(error).message;
        let lr = 0.1;
        let step = 3;
        let loss = f32::NAN;
        let diverged = shown(TrainError::Diverged { step, loss, lr });
        assert!(diverged.contains("last checkpoint") && diverged.ends_with("use a smaller --lr or a --warmup"));
        let path = "runs/a".into();
        assert!(shown(TrainError::RunExists { path }).ends_with("--resume"));
        assert!(shown(GpuError::NoAdapter.into()).contains("--adapter reference"));
        let what = "a buffer".to_string();
        assert!(shown(GpuError::OutOfMemory { what }.into()).contains("--batch-size"));
    }
}
