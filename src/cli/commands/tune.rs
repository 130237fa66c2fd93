//! `tools tune`: which kernels are fastest for a model on this device?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::{self, AdapterArgs, CliError, TuningTeller};
use crate::files::write_atomic;
use crate::gpu::Gpu;
use crate::graph::{Mode, Precision};
use crate::models::{InputShape, ModelSpec};
use crate::schedule::{
    Book, Choices, Device, Job, Progress, Session, Tuned, add_choices, choice_file, clear_choices, read_choices,
};
use crate::train::{Adapter, RunDirectory, TrainError, TuningNews, batch_size, read_book, tune_jobs};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model name, as in `residua train --help`
    #[arg(required_unless_present_any = ["run", "export", "import", "list", "clear"])]
    model: Option<String>,
    /// The model, images and batch size of the run in DIR
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// Channels × height × width of the images
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32")]
    input: String,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Images in a batch [default: 128, or the run's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// How activations and their gradients are stored [default: f32, or as in
    /// the run]
    #[arg(long, value_name = "WHAT", value_enum)]
    precision: Option<Precision>,
    /// Time all kernels anew, those that were chosen before, too
    #[arg(long)]
    again: bool,
    /// Write all choices to a file, for another computer of the same kind
    #[arg(long, value_name = "FILE", group = "book")]
    export: Option<PathBuf>,
    /// Take over the choices of a file: an exported one, or a run's tuning.toml
    #[arg(long, value_name = "FILE", group = "book")]
    import: Option<PathBuf>,
    /// List all choices
    #[arg(long, group = "book")]
    list: bool,
    /// Forget all choices
    #[arg(long, group = "book")]
    clear: bool,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn tune(args: &Args) -> Result<String, CliError> {
    let file = choice_file().ok_or_else(|| {
        CliError::failure("there is no folder for choices: neither XDG_CACHE_HOME nor HOME is set; set one")
    })?;
    if args.clear {
        clear_choices(&file).map_err(CliError::failure)?;
        return Ok(format!("{}: cleared\n", file.display()));
    }
    if let Some(from) = &args.import {
        let book = read_book(from)?;
        add_choices(&file, &book).map_err(CliError::failure)?;
        return Ok(format!("{}: {} choices taken over\n", file.display(), book.len()));
    }
    let (book, note) = read_choices(&file);
    if let Some(note) = note {
        cli::note(note);
    }
    if let Some(to) = &args.export {
        write_atomic(to, book.to_text().as_bytes()).map_err(TrainError::from)?;
        return Ok(format!("{}: {} choices\n", to.display(), book.len()));
    }
    if args.list {
        return Ok(list(&book, args.json));
    }
    tune_model(args, &file)
}

/// What a model is tuned for.
struct Subject {
    model: ModelSpec,
    input: InputShape,
    batch: usize,
    precision: Precision,
}

/// The model, the shape of its images, the batch size and the precision.
fn subject(args: &Args) -> Result<Subject, CliError> {
    let mut input: InputShape = args.input.parse()?;
    input.classes = args.classes;
    let (name, batch, precision) = match (&args.model, &args.run) {
        (Some(name), _) => (name.clone(), 128, Precision::F32),
        (None, Some(path)) => {
            let config = RunDirectory::open(path)?.read_config()?;
            if config.data.starts_with("cifar100") {
                input.classes = 100;
            }
            (config.model, config.batch_size as usize, config.precision)
        }
        (None, None) => {
            return Err(CliError::argument(
                "a model's name is missing; or name a run: --run DIR",
            ));
        }
    };
    let batch = args.batch_size.unwrap_or(batch);
    batch_size(batch)?;
    Ok(Subject {
        model: name.parse()?,
        input,
        batch,
        precision: args.precision.unwrap_or(precision),
    })
}

fn tune_model(args: &Args, file: &std::path::Path) -> Result<String, CliError> {
    let Subject {
        model,
        input,
        batch,
        precision,
    } = subject(args)?;
    let Adapter::Device(choice) = args.adapter.choice() else {
        return Err(CliError::argument(
            "the reference has no kernels to tune; name a device",
        ));
    };
    let mut train = model.build(&input, Mode::Train)?.graph;
    let mut eval = model.build(&input, Mode::Eval)?.graph;
    train.store_in(precision);
    eval.store_in(precision);
    let gpu = Arc::new(Gpu::open(&choice)?);
    let session = Session::new(gpu.clone(), Some(train), eval, |_| true)?;
    let (book, _) = read_choices(file);
    let known = book.page(&Device::of(gpu.info())).cloned().unwrap_or_default();
    let all = session.jobs(true, batch);
    // What was left to the rules for lack of time has no time noted; what is
    // too small to be timed never has.
    let is_known = |job: &&Job| {
        let choice = known.exact(&job.signature(), batch);
        !args.again && choice.is_some_and(|choice| choice.timed.is_some() || !job.matters())
    };
    let jobs: Vec<Job> = all.iter().filter(|job| !is_known(job)).cloned().collect();
    let mut tuned = Vec::new();
    if !jobs.is_empty() {
        let mut teller = TuningTeller::new(&model.to_string());
        tune_jobs(&session, &jobs, Some(file), &mut |news| {
            if let TuningNews::Progress(Progress::Tuned(job)) = news {
                tuned.push((*job).clone());
            }
            teller.tell(news);
        })?;
    }
    if args.json {
        let kernels: Vec<Value> = tuned.iter().map(row).collect();
        let value = json!({
            "model": model.to_string(), "batch_size": batch, "adapter": gpu.info().to_string(),
            "known": all.len() - jobs.len(), "tuned": kernels,
        });
        return Ok(format!("{value}\n"));
    }
    let mut text = table(&tuned);
    let (before, after) = (total(&tuned, true), total(&tuned, false));
    if before > 0.0 {
        let _ = writeln!(
            text,
            "in all, each as often as a training step does it: {:.1} ms by the rules, {:.1} ms as chosen",
            1e3 * before,
            1e3 * after
        );
    }
    let _ = writeln!(
        text,
        "{}: {} kernels of {model} at {batch} images, {} known before",
        file.display(),
        all.len(),
        all.len() - jobs.len()
    );
    Ok(text)
}

/// Seconds of a step's tuned kernels, by the rules or as chosen. Jobs that
/// were tuned with fewer images count in proportion.
fn total(tuned: &[Tuned], by_rules: bool) -> f64 {
    let seconds = |tuned: &Tuned| {
        let (own, rule) = tuned.choice.timed?;
        let share = tuned.job.batch as f64 / tuned.images as f64;
        Some(1e-3 * share * tuned.job.count as f64 * if by_rules { rule } else { own })
    };
    tuned.iter().filter_map(seconds).sum()
}

fn row(tuned: &Tuned) -> Value {
    let trial = |(candidate, outcome): &(crate::kernels::Algorithm, Result<f64, crate::schedule::Aside>)| {
        json!({
            "kernel": candidate.to_string(),
            "seconds": outcome.as_ref().ok(),
            "set_aside": outcome.as_ref().err().map(ToString::to_string),
        })
    };
    json!({
        "work": tuned.job.signature(),
        "times_a_step": tuned.job.count,
        "images": tuned.images,
        "macs": tuned.macs,
        "candidates": tuned.trials.iter().map(trial).collect::<Vec<_>>(),
        "chosen": tuned.choice.kernel.to_string(),
    })
}

/// For each piece of work its ways, the chosen one marked.
fn table(tuned: &[Tuned]) -> String {
    let mut text = String::new();
    for one in tuned {
        let gain = one.choice.timed.map_or(String::new(), |(own, rule)| {
            if own < rule {
                format!(", {:.0} % faster than the rules' choice", 100.0 * (rule / own - 1.0))
            } else {
                String::new()
            }
        });
        let _ = writeln!(
            text,
            "{} · {} a step, timed with {} images{gain}",
            one.job.signature(),
            one.job.count,
            one.images
        );
        for (index, (candidate, outcome)) in one.trials.iter().enumerate() {
            let mark = if *candidate == one.choice.kernel { "→" } else { " " };
            let by = if index == 0 { "  (the rules')" } else { "" };
            let result = match outcome {
                Ok(seconds) if one.macs > 0 => format!(
                    "{:>10.3} ms {:>8.1} GFLOP/s",
                    1e3 * seconds,
                    2e-9 * one.macs as f64 / seconds
                ),
                Ok(seconds) => format!("{:>10.3} ms", 1e3 * seconds),
                Err(aside) => aside.to_string(),
            };
            let _ = writeln!(text, "  {mark} {:<28} {result}{by}", candidate.to_string());
        }
    }
    text
}

fn list(book: &Book, json: bool) -> String {
    let choices = |choices: &Choices| -> Vec<Value> {
        let one = |(work, batch, choice): (&str, usize, crate::schedule::TunedKernel)| {
            json!({
                "work": work, "batch": batch, "kernel": choice.kernel.to_string(),
                "milliseconds": choice.timed.map(|timed| timed.0),
                "rule_milliseconds": choice.timed.map(|timed| timed.1),
            })
        };
        choices.iter().map(one).collect()
    };
    if json {
        let devices: Vec<Value> = book
            .pages
            .iter()
            .map(|(device, own)| json!({ "device": device, "choices": choices(own) }))
            .collect();
        return format!("{}\n", json!({ "devices": devices }));
    }
    let mut text = String::new();
    for (device, own) in &book.pages {
        let _ = writeln!(
            text,
            "{} ({}, {} {}), residua {}, kernels {}",
            device.adapter, device.backend, device.driver, device.driver_version, device.residua, device.kernels
        );
        for (work, batch, choice) in own.iter() {
            let times = choice
                .timed
                .map_or("the rules' choice, untimed".to_string(), |(own, rule)| {
                    format!("{own:.3} ms, by the rules {rule:.3}")
                });
            let _ = writeln!(text, "  {work}, batch {batch}: {} ({times})", choice.kernel);
        }
    }
    if text.is_empty() {
        text.push_str("no kernels were chosen yet\n");
    }
    text
}
