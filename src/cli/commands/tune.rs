//! `tools tune`: which kernels are fastest for a model on this device?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::{self, AdapterArgs, CliError, TuningReporter};
use crate::files::write_atomic;
use crate::gpu::Gpu;
use crate::graph::{Mode, Precision};
use crate::kernels::Algorithm;
use crate::models::{InputShape, ModelSpec};
use crate::schedule::{KernelChoices, Session, TunedKernel, target};
use crate::train::{Adapter, RunDirectory, TrainError, batch_size};
use crate::tuning::{
    Job, Rejected, Tuned, TuningCache, TuningEvent, TuningKey, TuningProgress, add_to_cache, cache_path, clear_cache,
    jobs, load_cache, read_tuning_file, tune_jobs,
};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model; names as in `residua train --help`
    #[arg(required_unless_present_any = ["run", "export", "import", "list", "clear"])]
    model: Option<String>,
    /// Tune for the model, images and batch size of the run in DIR [default: for
    /// MODEL]
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// Channels × height × width of the images, in pixels
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32")]
    input: String,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Images in a batch [default: 128, or the run's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// How activations and their gradients are stored [default: f32, or the run's]
    #[arg(long, value_name = "WHAT", value_enum)]
    precision: Option<Precision>,
    /// Time all kernels, including those in the tuning cache
    #[arg(long)]
    again: bool,
    /// Write the whole tuning cache to a file, for another computer of the same
    /// kind [default: tune]
    #[arg(long, value_name = "FILE", group = "cache")]
    export: Option<PathBuf>,
    /// Add the kernels of a file to the tuning cache: an exported file, or a run's
    /// tuning.toml [default: tune]
    #[arg(long, value_name = "FILE", group = "cache")]
    import: Option<PathBuf>,
    /// List the tuning cache
    #[arg(long, group = "cache")]
    list: bool,
    /// Empty the tuning cache
    #[arg(long, group = "cache")]
    clear: bool,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn tune(args: &Args) -> Result<String, CliError> {
    let file = cache_path().ok_or_else(|| {
        CliError::failure("there is no folder for the tuning cache: neither XDG_CACHE_HOME nor HOME is set; set one")
    })?;
    if args.clear {
        clear_cache(&file).map_err(CliError::failure)?;
        return Ok(format!("{}: cleared\n", file.display()));
    }
    if let Some(from) = &args.import {
        let cache = read_tuning_file(from)?;
        add_to_cache(&file, &cache).map_err(CliError::failure)?;
        return Ok(format!("{}: {} kernels imported\n", file.display(), cache.len()));
    }
    let (cache, note) = load_cache(&file);
    if let Some(note) = note {
        cli::note(note);
    }
    if let Some(to) = &args.export {
        write_atomic(to, cache.to_text().as_bytes()).map_err(TrainError::from)?;
        return Ok(format!("{}: {} kernels exported\n", to.display(), cache.len()));
    }
    if args.list {
        return Ok(list(&cache, args.json));
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
    let (cache, _) = load_cache(file);
    let known = cache.entry(&TuningKey::of(gpu.info())).cloned().unwrap_or_default();
    let all = jobs(&session.request(true, batch), &target(&gpu));
    // Work that was left out for lack of time has no timing and is tuned now;
    // work that is too small never has one.
    let is_known = |job: &&Job| {
        let tuned = known.exact(&job.signature(), batch);
        !args.again && tuned.is_some_and(|tuned| tuned.timing.is_some() || !job.matters())
    };
    let missing: Vec<Job> = all.iter().filter(|job| !is_known(job)).cloned().collect();
    let mut tuned = Vec::new();
    if !missing.is_empty() {
        let mut reporter = TuningReporter::new(&model.to_string());
        tune_jobs(&session, &missing, Some(file), &mut |event| {
            if let TuningEvent::Progress(TuningProgress::Tuned(job)) = event {
                tuned.push((*job).clone());
            }
            reporter.report(event);
        })?;
    }
    if args.json {
        let kernels: Vec<Value> = tuned.iter().map(row).collect();
        let value = json!({
            "model": model.to_string(), "batch_size": batch, "adapter": gpu.info().to_string(),
            "known": all.len() - missing.len(), "tuned": kernels,
        });
        return Ok(format!("{value}\n"));
    }
    let mut text = table(&tuned);
    let (before, after) = (total(&tuned, true), total(&tuned, false));
    if before > 0.0 {
        let _ = writeln!(
            text,
            "total, each as often as a training step does it: {:.1} ms with the default algorithms, {:.1} ms as tuned",
            1e3 * before,
            1e3 * after
        );
    }
    let _ = writeln!(
        text,
        "{}: {} kernels of {model} at {batch} images, {} known before",
        file.display(),
        all.len(),
        all.len() - missing.len()
    );
    Ok(text)
}

/// Seconds of a step's tuned kernels, with the default algorithms or as tuned.
/// Jobs that were tuned with fewer images count in proportion.
fn total(tuned: &[Tuned], default: bool) -> f64 {
    let seconds = |tuned: &Tuned| {
        let timing = tuned.choice.timing?;
        let milliseconds = if default {
            timing.default_milliseconds
        } else {
            timing.milliseconds
        };
        let share = tuned.job.batch as f64 / tuned.images as f64;
        Some(1e-3 * share * tuned.job.count as f64 * milliseconds)
    };
    tuned.iter().filter_map(seconds).sum()
}

fn row(tuned: &Tuned) -> Value {
    let trial = |(candidate, outcome): &(Algorithm, Result<f64, Rejected>)| {
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
        "candidates": tuned.results.iter().map(trial).collect::<Vec<_>>(),
        "chosen": tuned.choice.algorithm.to_string(),
    })
}

/// For each piece of work its algorithms, the chosen one marked.
fn table(tuned: &[Tuned]) -> String {
    let mut text = String::new();
    for one in tuned {
        let gain = one
            .choice
            .timing
            .map(|timing| timing.default_milliseconds / timing.milliseconds);
        let gain = gain.filter(|gain| *gain > 1.0).map_or(String::new(), |gain| {
            format!(", {:.0} % faster than the default algorithm", 100.0 * (gain - 1.0))
        });
        let _ = writeln!(
            text,
            "{} · {} per step, timed with {} images{gain}",
            one.job.signature(),
            one.job.count,
            one.images
        );
        for (index, (algorithm, result)) in one.results.iter().enumerate() {
            let mark = if *algorithm == one.choice.algorithm { "→" } else { " " };
            let default = if index == 0 { "  (default)" } else { "" };
            let result = match result {
                Ok(seconds) if one.macs > 0 => format!(
                    "{:>10.3} ms {:>8.1} GFLOP/s",
                    1e3 * seconds,
                    2e-9 * one.macs as f64 / seconds
                ),
                Ok(seconds) => format!("{:>10.3} ms", 1e3 * seconds),
                Err(rejected) => rejected.to_string(),
            };
            let _ = writeln!(text, "  {mark} {:<28} {result}{default}", algorithm.to_string());
        }
    }
    text
}

fn list(cache: &TuningCache, json: bool) -> String {
    let kernels = |choices: &KernelChoices| -> Vec<Value> {
        let one = |(work, batch, tuned): (&str, usize, TunedKernel)| {
            let default = tuned.timing.map(|timing| timing.default_milliseconds);
            json!({
                "work": work, "batch": batch, "kernel": tuned.algorithm.to_string(),
                "milliseconds": tuned.timing.map(|timing| timing.milliseconds),
                "default_milliseconds": default,
                "rule_milliseconds": default,
            })
        };
        choices.iter().map(one).collect()
    };
    if json {
        let devices: Vec<Value> = cache
            .entries
            .iter()
            .map(|(key, choices)| json!({ "device": key, "choices": kernels(choices) }))
            .collect();
        return format!("{}\n", json!({ "devices": devices }));
    }
    let mut text = String::new();
    for (key, choices) in &cache.entries {
        let _ = writeln!(
            text,
            "{} ({}, {} {}), residua {}, kernels {}",
            key.adapter, key.backend, key.driver, key.driver_version, key.residua, key.kernels
        );
        for (work, batch, tuned) in choices.iter() {
            let times = tuned
                .timing
                .map_or("default algorithm, not timed".to_string(), |timing| {
                    format!(
                        "{:.3} ms, default {:.3}",
                        timing.milliseconds, timing.default_milliseconds
                    )
                });
            let _ = writeln!(text, "  {work}, batch {batch}: {} ({times})", tuned.algorithm);
        }
    }
    if text.is_empty() {
        text.push_str("no kernels were tuned yet\n");
    }
    text
}
