//! `bench`: how fast does an adapter compute residual networks?

use std::path::PathBuf;
use std::sync::Arc;

use crate::bench::{
    self, AdapterRecord, BenchBudget, BenchError, BenchProgress, BenchResults, NetworkCase, NetworkOptions, cases,
    kernel_rates, network_rates, with_choices,
};
use crate::cli::network::model_spec;
use crate::cli::{self, AdapterArgs, CliError};
use crate::gpu::{AdapterKind, Gpu};
use crate::graph::Precision;
use crate::models::InputShape;
use crate::schedule::{KernelChoices, target};
use crate::studies::split_values;
use crate::train::batch_size;
use crate::tuning::{TuningKey, cache_path, load_cache};

/// Models and batch sizes on a processor.
const SMALL: [(&str, usize); 2] = [("resnet20", 128), ("wrn-16-4", 32)];
/// Models and batch sizes on a GPU: those of a processor, and larger ones.
const LARGE: [(&str, usize); 5] = [
    ("resnet20", 128),
    ("wrn-16-4", 32),
    ("resnet110", 128),
    ("wrn-16-4", 128),
    ("wrn-28-10", 32),
];
/// Images in a batch of a model that was named, if its images are small.
const BATCH: usize = 128;
/// The same with images of ImageNet's size.
const LARGE_IMAGES_BATCH: usize = 8;

const HELP: &str = "\
JSON: adapter {name, backend, driver}, machine {host, cpu, memory (bytes), os, date}, program, version, command, device_timestamps, \
precision, tuned, rounds, peak {gflops, gbps, memory_gbps, \
multiply_add_candidates, stream_candidates} or null, kernels [{name, shape, way or null, tuned, seconds, median_seconds, gflops or null, gbps, \
percent_of_peak}], networks [{model, batch, training_images_per_second, training_images_per_second_median, \
inference_images_per_second, inference_images_per_second_median, training_gflops, inference_gflops, bytes, \
planned_bytes, recording_seconds, recording_share}]. Rates are those of the best round unless their names say median. \
With --compare: results [{file, adapter, machine, program, version, command, precision, tuned}], lines [{part, name, shape, unit, \
rates}]; a rate is null where the result does not have the measurement. For two results also a and b, the results, and in \
each line a, b and ratio = b / a, which are null in lines that only one result has.";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Only the peak rates of multiply-adds and of copies, and what other flags name
    #[arg(long)]
    peak: bool,
    /// Only the kernels with the peak rates, and what other flags name; a kernel has
    /// its default algorithm, and as -tuned another one that `residua tune` found
    /// to be faster
    #[arg(long)]
    kernels: bool,
    /// Only whole networks, and what other flags name; they run with the kernels
    /// that `residua tune` found for this device, with --no-autotune with the
    /// default algorithms
    #[arg(long)]
    networks: bool,
    /// Only kernels with one of these words in their names, as in
    /// conv-16ch-32,norm [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "compare")]
    only: Vec<String>,
    /// Models, as in resnet20,wrn-28-10; `|` separates names that contain commas.
    /// NAME@N has batches of N images. Images have the size that is usual for the
    /// model
    /// [default: resnet20 and wrn-16-4, on GPUs also resnet110 and wrn-28-10]
    #[arg(long, value_name = "LIST", conflicts_with = "compare")]
    models: Option<String>,
    /// Images in a batch [default: 128 with --models (8 for images of
    /// 224×224), else 32 or 128 by model]
    #[arg(long, value_name = "N", conflicts_with = "compare")]
    batch_size: Option<usize>,
    /// How activations and their gradients are stored: f32, or f16 (the adapter
    /// must have 16-bit floats)
    #[arg(long, value_enum, default_value_t, conflicts_with = "compare")]
    precision: Precision,
    /// Fewer and shorter rounds
    #[arg(long, conflicts_with = "compare")]
    quick: bool,
    /// Compare two or more results (files bench.json, or what --json printed) by the
    /// ratios of their rates to those of the first, instead of measuring
    /// [default: measure]
    #[arg(long, num_args = 2.., value_names = ["A", "B"], conflicts_with_all = ["peak", "kernels", "networks", "adapter"])]
    compare: Option<Vec<PathBuf>>,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Directory for the results: report.html, report.md, bench.json (with
    /// --compare: comparison.json), and tables (CSV) [default: none are written]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn bench(args: &Args) -> Result<String, CliError> {
    let out = args.out.as_deref();
    let _owner = cli::own_out(out)?;
    if let Some(files) = &args.compare {
        let read = |file| Ok((PathBuf::as_path(file), bench::read(file).map_err(fault)?));
        let results: Result<Vec<_>, CliError> = files.iter().map(read).collect();
        let comparison = bench::compare(&results?);
        return cli::deliver_as("comparison.json", &comparison.report(), &comparison, out, args.json);
    }
    let results = args.measure()?;
    cli::deliver_as("bench.json", &results.report(), &results, out, args.json)
}

impl Args {
    fn measure(&self) -> Result<BenchResults, CliError> {
        let gpu = Arc::new(self.open()?);
        let all = !(self.peak || self.kernels || self.networks);
        let budget = if self.quick {
            BenchBudget::QUICK
        } else {
            BenchBudget::FULL
        };
        let networks = if all || self.networks {
            self.networks(&gpu)?
        } else {
            Vec::new()
        };
        let choices = self.choices(&gpu);
        let cases = if all || self.kernels {
            let all = cases(&target(&gpu), self.precision);
            let defaults = bench::select(all, &self.only).map_err(fault)?;
            with_choices(defaults, &choices, &target(&gpu))
        } else {
            Vec::new()
        };
        let bar = cli::bar(0, "measurements");
        let mut listener = |progress: BenchProgress| {
            bar.set_length(progress.of as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(progress.what.to_string());
        };
        let mut results = BenchResults {
            adapter: AdapterRecord::of(&gpu),
            machine: Some(cli::machine()),
            program: bench::this_program(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            command: cli::command_line(),
            device_timestamps: gpu.has_timestamps(),
            precision: self.precision,
            tuned: choices != KernelChoices::default(),
            rounds: budget.rounds,
            peak: None,
            kernels: Vec::new(),
            networks: Vec::new(),
        };
        if all || self.peak || self.kernels {
            let (peak, kernels) = kernel_rates(&gpu, &cases, self.precision, &budget, &mut listener).map_err(fault)?;
            results.peak = Some(peak);
            results.kernels = kernels;
        }
        let options = NetworkOptions {
            precision: self.precision,
            choices,
        };
        results.networks = network_rates(&gpu, &networks, &options, &budget, &mut listener).map_err(fault)?;
        bar.finish_and_clear();
        Ok(results)
    }

    /// What tuning chose on this device; nothing with --no-autotune.
    fn choices(&self, gpu: &Gpu) -> KernelChoices {
        let file = cache_path().filter(|_| !self.adapter.no_autotune);
        let (cache, note) = file.map(|file| load_cache(&file)).unwrap_or_default();
        if let Some(note) = note {
            cli::note(format_args!("tuning cache: {note}"));
        }
        cache.entry(&TuningKey::of(gpu.info())).cloned().unwrap_or_default()
    }

    fn open(&self) -> Result<Gpu, CliError> {
        match self.adapter.choice() {
            crate::train::Adapter::Device(choice) => Ok(Gpu::open(&choice)?),
            crate::train::Adapter::Reference => Err(CliError::argument(
                "--adapter reference has no kernels to measure; name a device (see `residua devices`)",
            )),
        }
    }

    /// The networks to measure.
    fn networks(&self, gpu: &Gpu) -> Result<Vec<NetworkCase>, CliError> {
        if let Some(images) = self.batch_size {
            batch_size(images)?;
        }
        let with_size = |(name, size): (&str, usize)| (name.to_string(), Some(self.batch_size.unwrap_or(size)));
        let own: Vec<(String, Option<usize>)> = match &self.models {
            Some(list) => split_values(list)
                .into_iter()
                .map(with_own_batch)
                .collect::<Result<_, _>>()?,
            None if gpu.info().kind == AdapterKind::Cpu => SMALL.map(with_size).to_vec(),
            None => LARGE.map(with_size).to_vec(),
        };
        let mut networks: Vec<NetworkCase> = Vec::with_capacity(own.len());
        for (name, size) in own {
            let model = model_spec(&name)?;
            let usual = if model.usual_input() == InputShape::IMAGENET {
                LARGE_IMAGES_BATCH
            } else {
                BATCH
            };
            let batch = size.or(self.batch_size).unwrap_or(usual);
            let network = NetworkCase { model, batch };
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        Ok(networks)
    }
}

/// The model and the batch size of NAME or NAME@N.
fn with_own_batch(text: String) -> Result<(String, Option<usize>), CliError> {
    let Some((name, images)) = text.rsplit_once('@') else {
        return Ok((text, None));
    };
    let size = images.parse().map_err(|_| {
        CliError::argument(format!(
            "--models {text}: '{images}' is not a number of images; write NAME@N, as in resnet20@64"
        ))
    })?;
    batch_size(size)?;
    Ok((name.to_string(), Some(size)))
}

fn fault(error: BenchError) -> CliError {
    match error {
        BenchError::Train(error) => error.into(),
        BenchError::NoSuchCase { .. } => CliError::argument(format!("--only: {error}")),
        BenchError::File { .. } | BenchError::Impossible { .. } => CliError::failure(error),
    }
}
