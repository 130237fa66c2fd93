//! `tools paths`: how long are a network's paths, and which carry the gradient?

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::ValueEnum;
use residua::cli::{self, AdapterArgs, CliError, Subject, SubjectArgs, range};
use residua::graph::Mode;
use residua::report::Report;
use residua::studies::{Ledger, PathFindings, Sampling, lengths_in_blocks, lengths_in_convolutions, path_norms};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Paths sampled for each length; 0 for the distribution of lengths alone
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    samples: u32,
    /// Lengths to sample, in blocks, as in 0..20 [default: all]
    #[arg(long, value_name = "RANGE", value_parser = range)]
    lengths: Option<RangeInclusive<usize>>,
    /// Training images that each path is measured on
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    sample_images: u32,
    /// Statistics of batch norm, forward and backward: the running ones
    /// (frozen), or the batch's, whose own gradient then counts
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Statistics::Running)]
    batch_norm: Statistics,
    /// Seed of images and paths
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Directory for the results: report.html, report.md, results.json, and
    /// tables and figures (CSV, SVG, PNG); a study interrupted goes on there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Statistics {
    /// Running statistics, as in evaluation
    Running,
    /// The batch's own, as in training
    Batch,
}

impl Statistics {
    fn mode(self) -> Mode {
        match self {
            Statistics::Running => Mode::Eval,
            Statistics::Batch => Mode::Train,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Statistics::Running => "running statistics",
            Statistics::Batch => "the batch's statistics",
        }
    }
}

pub fn paths(args: &Args) -> Result<String, CliError> {
    let mut subject = Subject::open_with(&args.subject, &args.adapter, true)?;
    let graph = subject.engine.graph().clone();
    let in_blocks = lengths_in_blocks(&graph);
    let longest = in_blocks.len() - 1;
    let lengths = args.lengths.clone().unwrap_or(0..=longest);
    if *lengths.end() > longest {
        return Err(CliError::argument(format!(
            "--lengths {}..{}: the longest path has {longest} blocks",
            lengths.start(),
            lengths.end()
        )));
    }
    if graph.blocks.iter().any(|block| block.default.shortcut == 0.0) && args.samples > 0 {
        return Err(CliError::argument(format!(
            "{}: a model without shortcuts has one path; give a residual model, or --samples 0",
            subject.model
        )));
    }
    cli::note(format_args!("{} on {}", subject.label(), subject.engine.name()));
    let sampled = if args.samples > 0 {
        Some((lengths.clone(), sample(args, &mut subject, lengths)?))
    } else {
        None
    };
    let findings = PathFindings {
        label: subject.label(),
        residual_blocks: graph
            .blocks
            .iter()
            .filter(|block| block.default.shortcut != 0.0)
            .count(),
        in_convolutions: lengths_in_convolutions(&graph),
        in_blocks,
        sampled,
        post_activation: graph.blocks.iter().any(|block| block.output != block.join),
    };
    told(args, &subject, &findings)
}

fn sample(
    args: &Args,
    subject: &mut Subject,
    lengths: RangeInclusive<usize>,
) -> Result<residua::studies::PathNorms, CliError> {
    let sampling = Sampling {
        lengths: lengths.clone(),
        samples: args.samples,
        images: NonZeroUsize::new(args.sample_images as usize).unwrap_or(NonZeroUsize::MIN),
        of: subject.training_images,
        batch_norm: args.batch_norm.mode(),
        seed: args.seed,
    };
    let mut ledger = match &args.out {
        Some(out) => {
            let mut identity = subject.identity()?;
            identity.insert("lengths".into(), vec![*lengths.start(), *lengths.end()].into());
            identity.insert("sample-images".into(), args.sample_images.into());
            identity.insert("batch-norm".into(), args.batch_norm.name().into());
            identity.insert("seed".into(), args.seed.into());
            Ledger::open(&out.join("results.jsonl"), &identity.into())?
        }
        None => Ledger::default(),
    };
    let bar = cli::bar(0, "paths");
    let route = subject.route.clone();
    let norms = path_norms(
        subject.engine.as_mut(),
        &route,
        &sampling,
        &mut ledger,
        &mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
        },
    )?;
    bar.finish_and_clear();
    Ok(norms)
}

/// Writes and tells the findings.
fn told(args: &Args, subject: &Subject, findings: &PathFindings) -> Result<String, CliError> {
    let mut facts = subject.facts(args.seed)?;
    facts.push(("batch norm".into(), args.batch_norm.name().into()));
    facts.push((
        "samples".into(),
        format!(
            "{} paths a length, each on {} training images",
            args.samples, args.sample_images
        ),
    ));
    let report = Report {
        title: format!("Paths of {}", subject.label()),
        facts,
        items: findings.items(),
    };
    let mut results = cli::results_of(subject, args.seed, findings.json());
    results["batch_norm"] = args.batch_norm.name().into();
    cli::deliver(&report, &results, args.out.as_deref(), args.json)
}
