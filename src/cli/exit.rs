//! What does an error say to the user of a program, and with which exit code?

use std::path::Path;

use super::signals;
use crate::data::{ArgumentError, DataError};
use crate::gpu::GpuError;
use crate::models::ModelError;
use crate::schedule::SessionError;
use crate::shown::{one_line, shown_path};
use crate::studies::StudyError;
use crate::train::{TrainError, Unsaid};
use crate::tuning::{CacheError, TuningError};

/// An error as the user sees it.
#[derive(Debug)]
pub struct CliError {
    message: String,
    kind: Kind,
    /// What goes to standard output before the error is printed.
    output: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Argument,
    Failure,
    Stopped,
}

impl CliError {
    /// Wrong arguments: exit code 2.
    pub fn argument(message: impl std::fmt::Display) -> Self {
        CliError {
            message: message.to_string(),
            kind: Kind::Argument,
            output: String::new(),
        }
    }

    /// Anything else: exit code 1.
    pub fn failure(message: impl std::fmt::Display) -> Self {
        CliError {
            message: message.to_string(),
            kind: Kind::Failure,
            output: String::new(),
        }
    }

    /// A signal ended the command: its exit code is the signal's. `message` says
    /// what is stored and how to go on.
    pub fn stopped(message: impl std::fmt::Display) -> Self {
        CliError {
            message: message.to_string(),
            kind: Kind::Stopped,
            output: String::new(),
        }
    }

    /// This error of a command that found what it was asked for: `output` goes to
    /// standard output.
    pub fn with_output(self, output: String) -> Self {
        CliError { output, ..self }
    }

    /// What goes to standard output before the error is printed.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// This error; where a signal ended the command, with `message` instead.
    pub fn or_stopped(self, message: impl FnOnce() -> String) -> Self {
        match self.kind {
            Kind::Stopped => CliError::stopped(message()),
            Kind::Argument | Kind::Failure => self,
        }
    }

    fn new(message: String, is_stopped: bool, is_argument: bool) -> Self {
        let kind = match (is_stopped, is_argument) {
            (true, _) => Kind::Stopped,
            (false, true) => Kind::Argument,
            (false, false) => Kind::Failure,
        };
        let output = String::new();
        CliError { message, kind, output }
    }

    /// The message in one line, as it is printed.
    pub fn line(&self) -> String {
        let lines = self.message.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = one_line(&lines.collect::<Vec<_>>().join(" "));
        match self.kind {
            Kind::Stopped => message,
            Kind::Argument | Kind::Failure => format!("error: {message}"),
        }
    }

    /// 2 for wrong arguments, that of the signal where one ended the command, 1
    /// for everything else.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Argument => 2,
            Kind::Failure => 1,
            Kind::Stopped => signals::exit_code(),
        }
    }
}

impl<E: Into<TrainError>> From<E> for CliError {
    fn from(error: E) -> Self {
        let error = error.into();
        CliError::new(with_flags(&error), error.is_stopped(), error.is_argument())
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
        CliError::new(message, error.is_stopped(), error.is_argument())
    }
}

/// The error of a study whose results are stored in `out`. A study that a signal
/// ended says what is there and how to go on.
pub fn study_error(error: StudyError, out: Option<&Path>) -> CliError {
    CliError::from(error).or_stopped(|| match out {
        Some(out) => format!(
            "stopped; the results so far are in {}, the same command continues there",
            out.display()
        ),
        None => "stopped; results are kept only in a directory: --out DIR".to_string(),
    })
}

/// The library's error in the words of the programs: a setting has the name of
/// its flag, and a flag or command that helps is named.
fn with_flags(error: &TrainError) -> String {
    let message = match error {
        TrainError::Value { setting, problem } => format!("--{setting} {problem}"),
        TrainError::Contradiction { path, said, asked } => format!(
            "{}: the file says {said}, --model says {asked}; leave --model out, or name another file",
            shown_path(path)
        ),
        TrainError::Data(DataError::Argument(error @ ArgumentError::NotFound { kind, .. })) if is_fetched(kind) => {
            format!("{error}, or run `residua fetch {kind}`")
        }
        _ => error.to_string(),
    };
    match hint(error) {
        Some(hint) => format!("{message}; {hint}"),
        None => message,
    }
}

/// Whether `residua fetch` knows the data set.
#[cfg(feature = "fetch")]
fn is_fetched(kind: &str) -> bool {
    crate::fetch::Published::named(kind).is_some()
}

/// Whether `residua fetch` knows the data set: this build has no such command.
#[cfg(not(feature = "fetch"))]
fn is_fetched(_: &str) -> bool {
    false
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
        TrainError::OutOfMemory { .. } => {
            "set them with --batch-size or --shards; --recompute blocks and --precision f16 need less"
        }
        TrainError::Model(ModelError::UnknownModel { .. }) => "`residua models` lists those of the literature",
        TrainError::Unsaid {
            what: Unsaid::Model, ..
        } => "name it: --model NAME",
        TrainError::SeveralModels { .. } => {
            "name one of them: --model NAME (`residua inspect FILE --data SPEC` compares their errors)"
        }
        TrainError::Unsaid { what: Unsaid::Data, .. } => "name them: --data SPEC, such as cifar10:DIR",
        TrainError::Session(SessionError::BatchTooLarge { .. }) => "set it with --batch-size, or cut it with --shards",
        TrainError::Data(DataError::Argument(ArgumentError::HeldOut { .. })) => "--validation sets it",
        TrainError::RunExists { .. } => "choose another --out, or continue the run: --resume",
        TrainError::NoRun { .. } => "give the directory of a run that `residua train` made",
        TrainError::NoRuns { .. } => "train a network first (`residua train`), or name weights: --weights FILE",
        _ => return None,
    })
}

fn gpu_hint(error: &GpuError) -> Option<&'static str> {
    Some(match error {
        GpuError::NoAdapter => "choose it with --adapter reference",
        GpuError::NoSuchAdapter { .. } | GpuError::Open { .. } | GpuError::Wrong { .. } => {
            "`residua devices` lists the adapters"
        }
        GpuError::Quarantined { .. } => {
            "`residua doctor` found it and examines it again, `residua doctor --forget` lifts the ban"
        }
        GpuError::Lost { .. } | GpuError::Dropped { .. } => {
            "`residua train --resume DIR` does that, and --auto-resume by itself"
        }
        GpuError::OutOfMemory { .. } | GpuError::TooLarge { .. } => "set it with --batch-size",
        GpuError::Stopped | GpuError::Setting { .. } | GpuError::Validation(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Config;

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
        assert_eq!(shown.kind, Kind::Argument);
        let study = CliError::from(StudyError::from(Config { lr: -1.0, ..wrong }.settings().unwrap_err()));
        assert!(study.message.starts_with("--batch-size 0"), "{}", study.message);
    }

    #[test]
    fn a_message_is_one_line_that_cannot_disturb_a_terminal() {
        let shown = |message: &str| CliError::failure(message).line();
        assert_eq!(
            shown("two  spaces\n  and \x1b[31mred"),
            "error: two  spaces and \\u{1b}[31mred"
        );
        assert_eq!(CliError::stopped("stopped").line(), "stopped");
    }

    #[test]
    fn flags_and_commands_that_help_are_named() {
        let shown = |error: TrainError| CliError::from(error).message;
        let lr = 0.1;
        let step = 3;
        let loss = f32::NAN;
        let diverged = shown(TrainError::Diverged { step, loss, lr });
        assert!(diverged.contains("last checkpoint") && diverged.ends_with("use a smaller --lr or a --warmup"));
        let name = "alexnet".to_string();
        assert!(shown(ModelError::UnknownModel { name }.into()).contains("residua models"));
        let path = "runs/a".into();
        assert!(shown(TrainError::RunExists { path }).ends_with("--resume"));
        let adapter = "a GPU".to_string();
        let without_f16 = shown(SessionError::NoF16 { adapter }.into());
        assert!(without_f16.contains("--precision f32") && without_f16.contains("residua devices"));
        assert!(shown(SessionError::ScalarF16 { op: "conv" }.into()).ends_with("use --precision f32"));
        assert!(shown(GpuError::NoAdapter.into()).contains("--adapter reference"));
        let what = "a buffer".to_string();
        assert!(shown(GpuError::OutOfMemory { what }.into()).contains("--batch-size"));
    }
}
