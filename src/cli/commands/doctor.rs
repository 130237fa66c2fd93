//! `residua doctor`: do an adapter and its driver work?

use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::require_output;
use crate::cli::{self, AdapterArgs, CliError, quoted};
use crate::doctor::{self, Children, DoctorError, DoctorOptions, DoctorProgress, Examined, Extent, Findings};
use crate::files::write_atomic;
use crate::gpu::{AdapterKind, Gpu, change_quarantine, quarantine_path};
use crate::train::{Adapter, TrainError};

const HELP: &str = "\
The exit code is 0 where everything is sound, and 1 where something is wrong. A kernel that is wrong or does not come back \
is put in quarantine, by adapter, driver and version of the shaders: quarantine.toml in the cache folder lists it, and it \
is not chosen again, neither by default nor by tuning.

JSON: verdict (sound or unsound), problems (a line each), adapter {name, kind, backend, driver, driver_info, …}, adapters, \
capabilities [{name, value, gives_up}], shaders, seed, cases, seconds, examined [{name, kernel, rank (default, alternative \
or further), shape, verdict (agrees, wrong, refused, hung or crashed), distance and compile_seconds, or problem or \
seconds; where it is not sound also reproduce, a command}], clock {seconds (of a piece of work and of twice as much), device_seconds, rate, problem}, submission_seconds, steps [{model, batch, \
seconds, longest_seconds, submissions}], memory {bytes, refused, \
problem}, quarantine [{kernel, problem, …}].";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Only the default kernels, for about a quarter of a minute, and no question for
    /// memory
    #[arg(long, conflicts_with_all = ["all", "only"])]
    quick: bool,
    /// Every text of every kernel, however long it takes [default: default kernels and
    /// those that tuning may choose, for about a minute]
    #[arg(long, conflicts_with = "only")]
    all: bool,
    /// Only kernels whose names contain CASE; may be repeated [default: all]
    #[arg(long, value_name = "CASE", action = clap::ArgAction::Append)]
    only: Vec<String>,
    /// Seed of the random shapes and numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Seconds after which a kernel does not come back
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    /// List the kernels that would be examined
    #[arg(long, conflicts_with = "report")]
    list: bool,
    /// Empty this adapter's quarantine
    #[arg(long, conflicts_with_all = ["quick", "all", "only", "list", "report", "json"])]
    forget: bool,
    /// Write the report to FILE.md, for a bug tracker [default: not written]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Examine the kernels whose names are read from standard input
    #[arg(long, hide = true)]
    child: bool,
}

pub fn doctor(args: &Args) -> Result<String, CliError> {
    if let Some(file) = &args.report {
        require_output("--report", file, "md")?;
    }
    if !args.child && !args.list && !args.forget {
        args.with_children(2, |children| children.check_opening())
            .map_err(fault)?;
    }
    let gpu = Arc::new(args.open()?);
    if args.child {
        // The pipe has no other reader.
        let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
        doctor::serve(&gpu, args.seed, &mut input, &mut output).map_err(CliError::failure)?;
        return Ok(String::new());
    }
    if args.forget {
        return forget(&gpu);
    }
    if args.list {
        return args.list(&gpu);
    }
    let findings = args.examine(&gpu)?;
    let report = findings.report(&cli::command_line(), &|case| args.reproduce(case));
    if let Some(file) = &args.report {
        write_atomic(file, report.markdown_alone().as_bytes()).map_err(TrainError::from)?;
    }
    let problems = findings.problems();
    let text = match args.json {
        true => cli::json_line(&args.results(&findings, &problems)?)?,
        false => report.text(),
    };
    match problems.len() {
        0 => Ok(text),
        _ => Err(CliError::failure(findings.finding()).with_output(text)),
    }
}

/// Empties the quarantine of the adapter.
fn forget(gpu: &Gpu) -> Result<String, CliError> {
    let count = gpu.quarantined().len();
    if let Some(path) = quarantine_path().filter(|_| count > 0) {
        change_quarantine(&path, |all| all.retain(|kernel| !kernel.is_of(gpu.info()))).map_err(CliError::failure)?;
    }
    Ok(format!("{}: kernels no longer in quarantine: {count}\n", gpu.info()))
}

impl Args {
    fn open(&self) -> Result<Gpu, CliError> {
        match self.adapter.choice() {
            Adapter::Device(choice) => Ok(Gpu::open(&choice)?),
            Adapter::Reference => Err(CliError::argument(
                "--adapter reference is what devices are compared with; name a device (see `residua devices`)",
            )),
        }
    }

    fn options(&self) -> DoctorOptions {
        DoctorOptions {
            extent: match (self.quick, self.all) {
                (true, _) => Extent::Quick,
                (_, true) => Extent::All,
                _ => Extent::Usual,
            },
            only: self.only.clone(),
            seed: self.seed,
        }
    }

    fn list(&self, gpu: &Gpu) -> Result<String, CliError> {
        let cases = doctor::select(gpu, &self.options()).map_err(fault)?;
        if self.json {
            let cases: Vec<_> = cases
                .iter()
                .map(|case| json!({ "name": case.name, "kernel": case.kernel, "rank": case.rank, "shape": case.shape }))
                .collect();
            return cli::json_line(&json!({ "cases": cases }));
        }
        let lines = cases.iter().map(|case| format!("{}  ({})\n", case.name, case.shape));
        Ok(lines.collect())
    }

    /// Runs `work` with the way to start processes, `workers` at a time.
    fn with_children<T>(
        &self,
        workers: usize,
        work: impl FnOnce(&Children) -> Result<T, DoctorError>,
    ) -> Result<T, DoctorError> {
        let program = std::env::current_exe().map_err(|error| DoctorError::Child {
            problem: format!("this program cannot find itself: {error}"),
            is_crash: false,
        })?;
        let command = || {
            let mut command = Command::new(&program);
            command.args(["doctor", "--child", "--seed", &self.seed.to_string()]);
            if let Some(adapter) = &self.adapter.adapter {
                command.args(["--adapter", adapter]);
            }
            command
        };
        work(&Children {
            command: &command,
            timeout: Duration::from_secs(self.timeout.into()),
            workers,
        })
    }

    fn examine(&self, gpu: &Gpu) -> Result<Findings, CliError> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let workers = match gpu.info().kind {
            AdapterKind::Cpu => cores.min(4),
            _ => 2,
        };
        let bar = cli::bar(0, "kernels");
        let file = quarantine_path();
        let mut report = |progress: &DoctorProgress| {
            bar.set_length(progress.of as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(progress.last.kernel.clone());
            if !progress.last.outcome.is_sound() {
                bar.suspend(|| cli::note(format_args!("{}: {}", progress.last.name, progress.last.outcome)));
            }
        };
        let findings = self.with_children(workers, |children| {
            doctor::examine(gpu, &self.options(), children, file.as_deref(), &mut report)
        });
        bar.finish_and_clear();
        findings.map_err(fault)
    }

    /// The command that examines one case alone.
    fn reproduce(&self, case: &Examined) -> String {
        let mut words = vec!["residua".to_string(), "doctor".to_string()];
        if let Some(adapter) = &self.adapter.adapter {
            words.extend(["--adapter".to_string(), quoted(adapter.as_ref())]);
        }
        if self.seed != 0 {
            words.extend(["--seed".to_string(), self.seed.to_string()]);
        }
        words.extend(["--only".to_string(), quoted(case.name.as_ref())]);
        words.join(" ")
    }

    fn results(&self, findings: &Findings, problems: &[String]) -> Result<serde_json::Value, CliError> {
        let mut results = json!({
            "verdict": if problems.is_empty() { "sound" } else { "unsound" },
            "problems": problems,
        });
        let mut found = serde_json::to_value(findings).map_err(CliError::failure)?;
        if let Some(examined) = found["examined"].as_array_mut() {
            for (row, case) in examined.iter_mut().zip(&findings.examined) {
                if !case.outcome.is_sound() {
                    row["reproduce"] = self.reproduce(case).into();
                }
            }
        }
        if let (Some(results), serde_json::Value::Object(found)) = (results.as_object_mut(), found) {
            results.extend(found);
        }
        Ok(results)
    }
}

fn fault(error: DoctorError) -> CliError {
    match error {
        DoctorError::Gpu(error) => error.into(),
        DoctorError::NoSuchCase { .. } => CliError::argument(format!("--only: {error}")),
        DoctorError::Child { .. } | DoctorError::Quarantine { .. } => CliError::failure(error),
    }
}
