//! `residua tune`: which kernels are fastest for a model on this device?

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::network::model_spec;
use crate::cli::{self, AdapterArgs, CliError, TuningReporter};
use crate::files::write_new;
use crate::gpu::Gpu;
use crate::graph::{Mode, Precision};
use crate::kernels::Algorithm;
use crate::models::{InputShape, ModelSpec};
use crate::report::{Column, Item, Report, Table};
use crate::schedule::{KernelChoices, Session, TunedKernel, target};
use crate::train::{Adapter, RunDirectory, TrainError, batch_size, input_of};
use crate::tuning::{
    Job, Rejected, Tuned, TuningCache, TuningEvent, TuningKey, TuningProgress, add_to_cache, cache_path, clear_cache,
    jobs, load_cache, read_tuning_file, tune_jobs,
};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model; names as in `residua train --help`
    #[arg(required_unless_present_any = ["run", "export", "import", "list", "clear"], conflicts_with = "cache")]
    model: Option<String>,
    /// Tune for the model, images and batch size of the run in DIR [default: for
    /// MODEL]
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// Channels × height × width of the images, in pixels [default: those that the
    /// model is made for, 3x32x32 or 3x224x224]
    #[arg(long, value_name = "CxHxW")]
    input: Option<String>,
    /// Number of classes [default: those that the model is made for, 10 or 1000]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Images in a batch [default: 128, or those of a shard of the run]
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
        return Ok(format!("{}: imported {}\n", file.display(), kernels(cache.len())));
    }
    let (cache, note) = load_cache(&file);
    if let Some(note) = note {
        cli::note(format_args!("tuning cache: {note}"));
    }
    if let Some(to) = &args.export {
        write_new(to, cache.to_text().as_bytes()).map_err(TrainError::from)?;
        return Ok(format!("{}: exported {}\n", to.display(), kernels(cache.len())));
    }
    if args.list {
        return list(&cache, args.json);
    }
    tune_model(args, &file)
}

fn kernels(count: usize) -> String {
    format!("{count} {}", if count == 1 { "kernel" } else { "kernels" })
}

/// The network to tune, and how it is trained.
struct TuningTarget {
    model: ModelSpec,
    input: InputShape,
    batch: usize,
    precision: Precision,
}

/// The model, the shape of its images, the batch size and the precision.
fn tuning_target(args: &Args) -> Result<TuningTarget, CliError> {
    let (model, input, batch, precision): (ModelSpec, _, _, _) = match (&args.model, &args.run) {
        (Some(name), _) => {
            let model = model_spec(name)?;
            let input = cli::args::input_for(&model, args.input.as_deref(), args.classes)?;
            (model, input, 128, Precision::F32)
        }
        (None, Some(path)) => {
            let run = RunDirectory::open(path)?;
            run.read_model()?;
            let config = run.read_config()?;
            let settings = config.settings()?;
            let input = input_of(&settings.load()?.train);
            let images = settings.shard_size().get();
            (config.model.parse()?, input, images, config.precision)
        }
        (None, None) => {
            return Err(CliError::argument("give the name of a model, or a run: --run DIR"));
        }
    };
    let batch = args.batch_size.unwrap_or(batch);
    batch_size(batch)?;
    Ok(TuningTarget {
        model,
        input,
        batch,
        precision: args.precision.unwrap_or(precision),
    })
}

fn tune_model(args: &Args, file: &std::path::Path) -> Result<String, CliError> {
    let TuningTarget {
        model,
        input,
        batch,
        precision,
    } = tuning_target(args)?;
    let Adapter::Device(choice) = args.adapter.choice() else {
        return Err(CliError::argument(
            "the reference engine has no kernels to tune; give a device: --adapter",
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
        return cli::json_line(&value);
    }
    let mut items: Vec<Item> = tuned.iter().map(|one| Item::Table(table(one))).collect();
    let (before, after) = (total(&tuned, true), total(&tuned, false));
    if before > 0.0 {
        items.push(Item::Text {
            text: format!(
                "A training step takes {:.1} ms in these kernels with the default algorithms, {:.1} ms as tuned.",
                1e3 * before,
                1e3 * after
            ),
        });
    }
    let result = format!(
        "{}: {} kernels of {model} at {batch} images, {} known before\n",
        file.display(),
        all.len(),
        all.len() - missing.len()
    );
    Ok(text(items) + &result)
}

/// `items` as text for a terminal.
fn text(items: Vec<Item>) -> String {
    let report = Report {
        title: "Tuning".to_string(),
        items,
        ..Report::default()
    };
    report.text()
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

/// The algorithms of one piece of work, as JSON.
fn row(tuned: &Tuned) -> Value {
    let algorithm = |(algorithm, result): &(Algorithm, Result<f64, Rejected>)| {
        json!({
            "kernel": algorithm.to_string(),
            "seconds": result.as_ref().ok(),
            "set_aside": result.as_ref().err().map(ToString::to_string),
        })
    };
    json!({
        "work": tuned.job.signature(),
        "times_a_step": tuned.job.count,
        "images": tuned.images,
        "macs": tuned.macs,
        "candidates": tuned.results.iter().map(algorithm).collect::<Vec<_>>(),
        "chosen": tuned.choice.algorithm.to_string(),
    })
}

/// The algorithms of one piece of work, the chosen one marked.
fn table(tuned: &Tuned) -> Table {
    let gain = tuned
        .choice
        .timing
        .map(|timing| timing.default_milliseconds / timing.milliseconds);
    let gain = gain.filter(|gain| *gain > 1.0).map_or(String::new(), |gain| {
        format!(", {:.0} % faster than the default algorithm", 100.0 * (gain - 1.0))
    });
    let row = |(index, (algorithm, result)): (usize, &(Algorithm, Result<f64, Rejected>))| {
        let chosen = if *algorithm == tuned.choice.algorithm {
            "→"
        } else {
            ""
        };
        let seconds = result.as_ref().ok();
        let rate = seconds.filter(|_| tuned.macs > 0);
        let remark = match result {
            Err(rejected) => rejected.to_string(),
            Ok(_) if index == 0 => "default".to_string(),
            Ok(_) => String::new(),
        };
        vec![
            chosen.into(),
            algorithm.to_string().into(),
            seconds.map(|seconds| 1e3 * seconds).into(),
            rate.map(|seconds| 2e-9 * tuned.macs as f64 / seconds).into(),
            remark.into(),
        ]
    };
    Table {
        name: "algorithms".into(),
        title: format!(
            "{}: {} per step, timed with {} images{gain}",
            tuned.job.signature(),
            tuned.job.count,
            tuned.images
        ),
        columns: vec![
            Column::plain("chosen", ""),
            Column::plain("algorithm", "algorithm"),
            Column::number("milliseconds", "ms", 3),
            Column::number("gflops", "GFLOP/s", 1),
            Column::plain("remark", ""),
        ],
        rows: tuned.results.iter().enumerate().map(row).collect(),
        file_only: false,
    }
}

/// The content of the tuning cache.
fn list(cache: &TuningCache, json: bool) -> Result<String, CliError> {
    if json {
        let kernel = |(work, batch, tuned): (&str, usize, TunedKernel)| {
            let default = tuned.timing.map(|timing| timing.default_milliseconds);
            json!({
                "work": work, "batch": batch, "kernel": tuned.algorithm.to_string(),
                "milliseconds": tuned.timing.map(|timing| timing.milliseconds),
                "default_milliseconds": default,
                // The name before there were default algorithms.
                "rule_milliseconds": default,
            })
        };
        let device = |(key, choices): &(TuningKey, KernelChoices)| json!({ "device": key, "choices": choices.iter().map(kernel).collect::<Vec<_>>() });
        let devices: Vec<Value> = cache.entries.iter().map(device).collect();
        return cli::json_line(&json!({ "devices": devices }));
    }
    if cache.entries.is_empty() {
        return Ok("no kernels were tuned yet\n".to_string());
    }
    Ok(text(cache.entries.iter().map(entry).map(Item::Table).collect()))
}

/// The kernels of one device.
fn entry((key, choices): &(TuningKey, KernelChoices)) -> Table {
    let row = |(work, batch, tuned): (&str, usize, TunedKernel)| {
        vec![
            work.into(),
            batch.into(),
            tuned.algorithm.to_string().into(),
            tuned.timing.map(|timing| timing.milliseconds).into(),
            tuned.timing.map(|timing| timing.default_milliseconds).into(),
        ]
    };
    Table {
        name: "kernels".into(),
        title: format!(
            "{} ({}, {} {}), residua {}, kernels {}",
            key.adapter, key.backend, key.driver, key.driver_version, key.residua, key.kernels
        ),
        columns: vec![
            Column::plain("work", "work"),
            Column::plain("batch", "batch"),
            Column::plain("algorithm", "algorithm"),
            Column::number("milliseconds", "ms", 3),
            Column::number("default_milliseconds", "default ms", 3),
        ],
        rows: choices.iter().map(row).collect(),
        file_only: false,
    }
}
