//! `sweep`: how do the results of training depend on its settings?

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::network::model_text;
use crate::cli::{self, AdapterArgs, CliError, LogArgs, SettingArgs};
use crate::report::Report;
use crate::studies::{
    GridSetting, StudyError, Sweep, SweepEvent, SweepPoint, SweepProgress, SweepResults, TrainedPoint, describe,
    grid_points, sweep_json, sweep_report,
};
use crate::train::Event;
use indicatif::HumanDuration;
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A setting and its values, once for each setting: model=plain-20,resnet20,
    /// seed=0,1,2, or any other key of run.toml; also the model's options dropout,
    /// dropout-at, block, l and shortcut. `|` separates values that contain
    /// commas: schedule=cosine|multi-step:60,120@0.2; `none` stands for no value
    #[arg(long, value_name = "KEY=V,V", required = true)]
    grid: Vec<String>,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    work: WorkArgs,
}

/// Where the points of a study are trained, and by what.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    /// Directory of the report and, under runs/, of the runs; finished runs
    /// there are not trained again, unfinished runs continue
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Print the points as a JSON list: number, name, directory, steps done, steps, share
    /// of the work; train nothing
    #[arg(long)]
    list: bool,
    /// Train only the point with this number in --list, and write no report; the same
    /// command without --point trains what is left and writes it. SIGTERM ends it with
    /// exit code 75: start it again, and it continues [default: all points]
    #[arg(long, value_name = "I", conflicts_with = "list")]
    point: Option<usize>,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

pub fn sweep(args: &Args) -> Result<String, CliError> {
    let mut grid: Vec<GridSetting> = args.grid.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    for setting in grid.iter_mut().filter(|setting| setting.key == "model") {
        setting.values = setting
            .values
            .iter()
            .map(|model| model_text(model))
            .collect::<Result<_, _>>()?;
    }
    let points = grid_points(&args.settings.config()?, &grid)?;
    let mut given = args.settings.given()?;
    if let Some(setting) = grid.iter().find(|setting| given.contains_key(&setting.key)) {
        let key = &setting.key;
        return Err(CliError::argument(format!(
            "--{key} has no effect: --grid has the values of {key}"
        )));
    }
    let varied = grid.iter().map(|setting| (setting.key.clone(), true.into()));
    given.extend(varied);
    cli::check_settings(&given, points.iter().map(|point| &point.config))?;
    args.work.run(&points, &mut |results| {
        Ok((sweep_report(&cli::command_line(), results), sweep_json(results)))
    })
}

/// Makes the report and the JSON object of trained points.
type MakeReport<'a> = dyn FnMut(&[TrainedPoint]) -> Result<(Report, Value), StudyError> + 'a;

impl WorkArgs {
    /// Trains the points that are not trained yet. The last program that trains
    /// points of this directory writes the report, which `report` makes from all
    /// of them. Returns what goes to standard output.
    pub fn run(&self, points: &[SweepPoint], report: &mut MakeReport) -> Result<String, CliError> {
        // Before anything is made: points that cannot be trained are refused.
        let mut sweep = self.plan(points)?;
        if self.list {
            return cli::json_pretty(&sweep.list());
        }
        if let Some(number) = self.point {
            return self.train_point(sweep.only(number)?);
        }
        let mut trained = 0;
        loop {
            let shared = cli::share_out(&self.out)?;
            let results = self.train(&sweep)?;
            let all = results.elsewhere.is_empty();
            match shared.last_owner()? {
                Some(_owner) if all => {
                    let (report, json) = report(&results.points)?;
                    return cli::deliver_as("results.json", &report, &json, Some(&self.out), self.json);
                }
                // Others ended before their points were trained.
                Some(_) if results.points.len() > trained => trained = results.points.len(),
                _ => return self.without_report(&results, report),
            }
            sweep = self.plan(points)?;
        }
    }

    /// Trains the one point of `sweep`.
    fn train_point(&self, sweep: Sweep) -> Result<String, CliError> {
        cli::expect_requeue();
        let _shared = cli::share_out(&self.out)?;
        let results = self.train(&sweep)?;
        let Some(run) = results.points.first() else {
            let elsewhere = results.elsewhere.join(", ");
            return Err(CliError::failure(format_args!(
                "{elsewhere} is trained by another program"
            )));
        };
        match self.json {
            true => cli::json_line(&sweep_json(&results.points)),
            false => Ok(format!("{}: {}\n", run.run.display(), outcome(run))),
        }
    }

    /// The output of a program that is not the last one.
    fn without_report(&self, results: &SweepResults, report: &mut MakeReport) -> Result<String, CliError> {
        let SweepResults { points, elsewhere } = results;
        if elsewhere.is_empty() {
            cli::note("another program trains points of this directory; the last one to end writes the report");
            let (report, json) = report(points)?;
            return cli::deliver_as("results.json", &report, &json, None, self.json);
        }
        cli::note(format_args!(
            "{} of {} points are trained by another program ({}); the last one to end writes the report",
            elsewhere.len(),
            points.len() + elsewhere.len(),
            elsewhere.join(", ")
        ));
        if !self.json {
            return Ok(String::new());
        }
        let mut json = sweep_json(points);
        json["elsewhere"] = elsewhere.clone().into();
        cli::json_line(&json)
    }

    fn plan(&self, points: &[SweepPoint]) -> Result<Sweep, CliError> {
        Ok(Sweep::plan(points.to_vec(), &self.out)?
            .with_kernels(self.adapter.kernels())
            .heed(cli::stop()))
    }

    /// Trains the points that are not trained yet; prints a line for each.
    fn train(&self, sweep: &Sweep) -> Result<SweepResults, CliError> {
        cli::note(format_args!(
            "{} runs, {} of them trained already",
            sweep.len(),
            sweep.finished()
        ));
        let bar = cli::share_bar();
        let mut lines = self.log.lines();
        let trained = sweep.train(&self.adapter.choice(), &mut |progress| {
            bar.set_position((f64::from(cli::WHOLE) * progress.share) as u64);
            match progress.event {
                SweepEvent::Note(line) => bar.suspend(|| cli::note(format_args!("{}: {line}", head(progress)))),
                SweepEvent::Training(event) => {
                    bar.set_message(state(progress, event));
                    lines.write(|| state(progress, event));
                }
                SweepEvent::Found(run) => bar.suspend(|| cli::note(result(progress, run, "trained before"))),
                SweepEvent::Ended(run) => {
                    let left = format!("{} left", HumanDuration(progress.left.unwrap_or(Duration::ZERO)));
                    bar.suspend(|| cli::note(result(progress, run, &left)));
                }
            }
        });
        bar.finish_and_clear();
        trained.map_err(|error| cli::study_error(error, Some(&self.out)))
    }
}

/// The point in words: "2 of 8: resnet20, seed 1".
fn head(progress: &SweepProgress) -> String {
    let SweepProgress {
        number, total, point, ..
    } = progress;
    format!("{number} of {total}: {}", describe(&point.values))
}

/// The state of training in words: "2 of 8: resnet20, seed 1 · step 30 of 40, loss 1.203".
fn state(progress: &SweepProgress, event: &Event) -> String {
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
        Event::Compiling => format!("{head} · compiling kernels{left}"),
        Event::Epoch(row) => format!(
            "{head} · epoch {}, {} error {:.2} %{left}",
            row.epoch,
            progress.point.config.evaluated(),
            100.0 * row.test_error
        ),
    }
}

/// The end of a run in words: "test error 3.12 % (best epoch 2.98 %), 12 s".
fn outcome(run: &TrainedPoint) -> String {
    match (run.diverged, run.test_error().zip(run.best_test_error())) {
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
    }
}

/// A line about the result of a point.
fn result(progress: &SweepProgress, run: &TrainedPoint, more: &str) -> String {
    let (head, result) = (head(progress), outcome(run));
    format!("{head} · {result} · {more}")
}
