//! `tools sweep`: what comes out of training at other settings?

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{self, AdapterArgs, CliError, SettingArgs};
use crate::report::Report;
use crate::studies::{News, Point, Progress, Setting, Sweep, Trained, described, points, sweep_json, sweep_report};
use crate::train::Event;
use indicatif::HumanDuration;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A setting and its values, again for each setting: model=plain-20,resnet20,
    /// seed=0,1,2, or any other key of run.toml; dropout, dropout-at, block, l
    /// and shortcut are the model's. `|` separates values that hold commas:
    /// schedule=cosine|multi-step:60,120@0.2; `none` is no value
    #[arg(long, value_name = "KEY=V,V", required = true)]
    grid: Vec<String>,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Where and on what points are trained.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    /// Directory of the report and, under runs/, of the runs; finished runs
    /// that are there are not trained again, others go on where they stood
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn sweep(args: &Args) -> Result<String, CliError> {
    let grid: Vec<Setting> = args.grid.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let points = points(&args.settings.config()?, &grid)?;
    let results = args.work.train(points)?;
    args.work
        .report(&sweep_report(&cli::command_line(), &results), &sweep_json(&results))
}

impl WorkArgs {
    /// Trains the points, or finds them trained, with a line for each.
    pub fn train(&self, points: Vec<Point>) -> Result<Vec<Trained>, CliError> {
        let sweep = Sweep::plan(points, &self.out)?.with_kernels(self.adapter.kernels());
        cli::note(format_args!(
            "{} runs, {} of them trained already",
            sweep.len(),
            sweep.finished()
        ));
        let bar = cli::share_bar();
        let trained = sweep.train(&self.adapter.choice(), &mut |progress| {
            bar.set_position((f64::from(cli::WHOLE) * progress.share) as u64);
            match progress.news {
                News::Training(event) => bar.set_message(stand(progress, event)),
                News::Found(run) => bar.suspend(|| cli::note(line(progress, run, "trained before"))),
                News::Ended(run) => {
                    let left = format!("{} left", HumanDuration(progress.left.unwrap_or(Duration::ZERO)));
                    bar.suspend(|| cli::note(line(progress, run, &left)));
                }
            }
        });
        bar.finish_and_clear();
        Ok(trained?)
    }

    /// Writes the report; gives what goes to standard output.
    pub fn report(&self, report: &Report, json: &serde_json::Value) -> Result<String, CliError> {
        report.write(&self.out).map_err(CliError::failure)?;
        if self.json {
            return Ok(format!("{json}\n"));
        }
        Ok(format!(
            "{}\nthe report and the runs are in {}\n",
            report.text(),
            self.out.display()
        ))
    }
}

/// Which point it is: "2 of 8: resnet20, seed 1".
fn head(progress: &Progress) -> String {
    let Progress { number, of, point, .. } = progress;
    format!("{number} of {of}: {}", described(&point.values))
}

/// Where training stands: "2 of 8: resnet20, seed 1 · step 30 of 40, loss 1.203".
fn stand(progress: &Progress, event: &Event) -> String {
    let head = head(progress);
    let left = progress
        .left
        .map(|left| format!(" · {} left", HumanDuration(left)))
        .unwrap_or_default();
    match event {
        Event::Step { done, of, loss, .. } => {
            let loss = loss.map(|loss| format!(", loss {loss:.3}")).unwrap_or_default();
            format!("{head} · step {done} of {of}{loss}{left}")
        }
        Event::Epoch(row) => format!(
            "{head} · epoch {}, test error {:.2} %{left}",
            row.epoch,
            100.0 * row.test_error
        ),
    }
}

/// What a point came to.
fn line(progress: &Progress, run: &Trained, more: &str) -> String {
    let head = head(progress);
    let result = match (run.diverged, run.test_error().zip(run.best_test_error())) {
        (Some(step), _) => format!("diverged at step {step}"),
        (None, Some((last, best))) => {
            format!(
                "test error {:.2} % (best epoch {:.2} %), {:.0} s",
                100.0 * last,
                100.0 * best,
                run.seconds()
            )
        }
        (None, None) => "no epoch".to_string(),
    };
    format!("{head} · {result} · {more}")
}
