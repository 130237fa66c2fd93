//! `paths`: how long are a network's paths, and which carry the gradient?

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Instant;

use crate::cli::{
    self, AdapterArgs, CliError, LogArgs, NetworkArgs, OutputArgs, PartArgs, StudyBar, open_network, range,
};
use crate::graph::Mode;
use crate::report::Report;
use crate::studies::PathStudy;
use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Paths to sample for each length; 0 gives the distribution of lengths alone
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    samples: u32,
    /// Lengths to sample, in blocks, as in 0..20 [default: all]
    #[arg(long, value_name = "RANGE", value_parser = range)]
    lengths: Option<RangeInclusive<usize>>,
    /// Training images that each path is measured on
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    sample_images: u32,
    /// Statistics of batch norm in the forward and the backward pass: the
    /// running ones (frozen), or the batch's, whose own gradient then counts
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Statistics::Running)]
    batch_norm: Statistics,
    /// Seed of images and paths
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    #[command(flatten)]
    part: PartArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Statistics {
    /// Running statistics, as in evaluation
    Running,
    /// The batch's own, as in training
    Batch,
}

pub fn paths(args: &Args) -> Result<String, CliError> {
    let begin = Instant::now();
    let (part, _owner) = args.part.own(&args.output)?;
    let options = args.network.options(&args.adapter)?.training_images(true);
    let mut network = open_network(&options)?;
    cli::note(format_args!("{} on {}", network.label(), network.engine.name()));
    let study = PathStudy {
        samples: args.samples,
        lengths: args.lengths.clone(),
        sample_images: NonZeroUsize::new(args.sample_images as usize).unwrap_or(NonZeroUsize::MIN),
        batch_norm: match args.batch_norm {
            Statistics::Running => Mode::Eval,
            Statistics::Batch => Mode::Train,
        },
        seed: args.seed,
        out: args.output.out.clone(),
    };
    let mut bar = StudyBar::new("paths", &args.log);
    let failed = |error| cli::study_error(error, args.output.out.as_deref());
    if let Some(part) = part {
        let results = study.run_part(&mut network, part, &mut |progress| bar.show(progress));
        bar.finish();
        return cli::part_text(part, results.map_err(failed)?, &args.output);
    }
    let findings = study
        .run(&mut network, &mut |progress| bar.show(progress))
        .map_err(failed)?;
    bar.finish();
    let mut facts = network.provenance(&cli::command_line(), args.seed)?;
    facts.push(("batch norm".into(), study.batch_norm_name().into()));
    facts.push((
        "samples".into(),
        format!(
            "{} paths of each length, each on {} training images",
            args.samples, args.sample_images
        ),
    ));
    let report = Report {
        title: format!("Paths of {}", network.label()),
        finding: findings.finding(),
        items: findings.items(),
        cost: cli::cost("", begin, &network),
        facts,
    };
    let mut results = cli::results_of(&network, args.seed, findings.json());
    results["batch_norm"] = study.batch_norm_name().into();
    cli::deliver(&report, &results, &args.output)
}
