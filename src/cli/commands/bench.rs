//! `bench`: how fast does an adapter compute residual networks?

use std::path::PathBuf;
use std::sync::Arc;

use crate::bench::{
    self, AdapterRecord, BenchBudget, BenchError, BenchProgress, BenchResults, NetworkCase, cases, kernel_rates,
    network_rates, with_choices,
};
use crate::cli::network::model_spec;
use crate::cli::{self, AdapterArgs, CliError};
use crate::gpu::{AdapterKind, Gpu};
use crate::models::InputShape;
use crate::schedule::target;
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
JSON: adapter {name, backend, driver}, machine {host, cpu, memory (bytes), os, date}, version, command, device_timestamps, rounds, peak {gflops, gbps, memory_gbps, \
multiply_add_candidates, stream_candidates} or null, kernels [{name, shape, way or null, tuned, seconds, median_seconds, gflops or null, gbps, \
percent_of_peak}], networks [{model, batch, training_images_per_second, training_images_per_second_median, \
inference_images_per_second, inference_images_per_second_median, training_gflops, inference_gflops, bytes, \
planned_bytes, recording_seconds, recording_share}]. Rates are those of the best round unless their names say median. \
With --compare: a and b {file, adapter, version, command}, lines [{part, name, shape, unit, a, b, ratio}], where a, b and \
ratio = b / a are null in lines that only one file has.";

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
    /// Only whole networks, and what other flags name
    #[arg(long)]
    networks: bool,
    /// Only kernels with one of these words in their names, as in
    /// conv-16ch-32,norm [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "compare")]
    only: Vec<String>,
    /// Models, as in resnet20,wrn-28-10; `|` separates names that contain commas.
    /// Images have the size that is usual for the model
    /// [default: resnet20 and wrn-16-4, on GPUs also resnet110 and wrn-28-10]
    #[arg(long, value_name = "LIST", conflicts_with = "compare")]
    models: Option<String>,
    /// Images in a batch [default: 128 with --models (8 for images of
    /// 224×224), else 32 or 128 by model]
    #[arg(long, value_name = "N", conflicts_with = "compare")]
    batch_size: Option<usize>,
    /// Fewer and shorter rounds
    #[arg(long, conflicts_with = "compare")]
    quick: bool,
    /// Compare two results (files bench.json, or what --json printed) by the ratio
    /// B/A of their rates, instead of measuring [default: measure]
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["peak", "kernels", "networks", "adapter"])]
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
    if let Some([a, b]) = args.compare.as_deref() {
        let (of_a, of_b) = (bench::read(a).map_err(fault)?, bench::read(b).map_err(fault)?);
        let comparison = bench::compare(&of_a, &of_b, [a, b]);
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
        let cases = if all || self.kernels {
            let defaults = bench::select(cases(&target(&gpu)), &self.only).map_err(fault)?;
            let file = cache_path().filter(|_| !self.adapter.no_autotune);
            let (cache, note) = file.map(|file| load_cache(&file)).unwrap_or_default();
            if let Some(note) = note {
                cli::note(format_args!("tuning cache: {note}"));
            }
            match cache.entry(&TuningKey::of(gpu.info())) {
                Some(choices) => with_choices(defaults, choices, &target(&gpu)),
                None => defaults,
            }
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
            version: env!("CARGO_PKG_VERSION").to_string(),
            command: cli::command_line(),
            device_timestamps: gpu.has_timestamps(),
            rounds: budget.rounds,
            peak: None,
            kernels: Vec::new(),
            networks: Vec::new(),
        };
        if all || self.peak || self.kernels {
            let (peak, kernels) = kernel_rates(&gpu, &cases, &budget, &mut listener).map_err(fault)?;
            results.peak = Some(peak);
            results.kernels = kernels;
        }
        results.networks = network_rates(&gpu, &networks, &budget, &mut listener).map_err(fault)?;
        bar.finish_and_clear();
        Ok(results)
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
        let with_size = |(name, size): (&str, usize)| (name.to_string(), Some(size));
        let own: Vec<(String, Option<usize>)> = match &self.models {
            Some(list) => split_values(list).into_iter().map(|name| (name, None)).collect(),
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
            let batch = self.batch_size.or(size).unwrap_or(usual);
            let network = NetworkCase { model, batch };
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        Ok(networks)
    }
}

fn fault(error: BenchError) -> CliError {
    match error {
        BenchError::Train(error) => error.into(),
        BenchError::NoSuchCase { .. } => CliError::argument(format!("--only: {error}")),
        BenchError::File { .. } | BenchError::Impossible { .. } => CliError::failure(error),
    }
}
