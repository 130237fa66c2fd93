//! `lesion`: what does a network lose when blocks are deleted?

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Instant;

use crate::cli::{
    self, AdapterArgs, CliError, LogArgs, NetworkArgs, OutputArgs, PartArgs, StudyBar, open_network, range,
};
use crate::graph::parse_blocks;
use crate::report::Report;
use crate::studies::{BlockPool, Deletions, LesionStudy, StudyProgress};
use crate::train::{TrainedNetwork, TrainedNetworkOptions};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Blocks to delete together, by number from 1 or by name: 5, 3,7-9,
    /// layer2.0; or `each`, to delete each block alone [default: each, unless
    /// another experiment is asked for]
    #[arg(long, value_name = "LIST")]
    delete_block: Option<String>,
    /// Delete this number of blocks at random: a number or a range, as in 1..20
    /// (both ends included; numbers above the number of blocks are left out)
    /// [default: none]
    #[arg(long, value_name = "RANGE", value_parser = range)]
    delete_random: Option<RangeInclusive<usize>>,
    /// Blocks that --delete-random chooses from: all, those that do not
    /// downsample (plain), or both sets one after the other
    #[arg(long, value_name = "POOL", default_value = "both", value_parser = ["all", "plain", "both"])]
    random_from: String,
    /// Exchange the parameters of this number of random pairs of blocks of one
    /// shape: a number or a range, as in 1..20 [default: none]
    #[arg(long, value_name = "RANGE", value_parser = range)]
    reorder: Option<RangeInclusive<usize>>,
    /// Random choices for each number of blocks or pairs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    trials: u32,
    /// Seed of random choices
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Delete every pair of blocks, for the matrix of their interactions
    #[arg(long)]
    pairs: bool,
    /// Delete N blocks one after the other, each time the block whose deletion
    /// increases the loss least [default: none]
    #[arg(long, value_name = "N")]
    greedy: Option<usize>,
    /// As a control, remove each block's shortcut instead of its branch
    #[arg(long)]
    without_shortcut: bool,
    /// Measure the contribution of each block: ‖F(x)‖/‖x‖, the angle between
    /// F(x) and x, the standard deviation of F(x)
    #[arg(long)]
    responses: bool,
    /// Recompute the statistics of batch norms for each lesion, from N training
    /// images [default: the network's statistics stay]
    #[arg(long, value_name = "N", conflicts_with = "reorder")]
    recalibrate: Option<usize>,
    /// Another network to compare with, on the same images: a run's directory, a
    /// weights file, or MODEL=FILE where the file does not say its model; may be
    /// given several times [default: none]
    #[arg(long, value_name = "RUN|FILE|MODEL=FILE")]
    beside: Vec<String>,
    /// Also write label, loss and error of every image, a file per lesion
    #[arg(long, requires = "out")]
    save_images: bool,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    #[command(flatten)]
    part: PartArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub fn lesion(args: &Args) -> Result<String, CliError> {
    let begin = Instant::now();
    let mut study = args.study();
    study.check()?;
    let (part, _owner) = args.part.own(&args.output)?;
    let training = args.recalibrate.is_some();
    let options = args.network.options(&args.adapter)?.training_images(training);
    let mut network = open_network(&options)?;
    study.deletions = args.deletions(&network)?;
    cli::note(format_args!("{} on {}", network.label(), network.engine.name()));
    let mut bar = StudyBar::new("images", &args.log);
    let failed = |error| cli::study_error(error, args.output.out.as_deref());
    if let Some(part) = part {
        let shown = &mut |progress: &StudyProgress| bar.show(progress);
        let mut results = study.run_part(&mut network, part, shown).map_err(failed)?;
        for (number, other) in (1..).zip(&args.beside) {
            let mut other = open_network(&compared(&options, &network, other))?;
            results += study.compare_part(number, &mut other, part, shown).map_err(failed)?;
        }
        bar.finish();
        return cli::part_text(part, results, &args.output);
    }
    let mut findings = study
        .run(&mut network, &mut |progress| bar.show(progress))
        .map_err(failed)?;
    for other in &args.beside {
        let mut other = open_network(&compared(&options, &network, other))?;
        study
            .compare(&mut findings, &mut other, &mut |progress| bar.show(progress))
            .map_err(failed)?;
    }
    bar.finish();
    let mut facts = network.provenance(&cli::command_line(), args.seed)?;
    if let Some(images) = args.recalibrate {
        let used = images.min(network.training_images);
        facts.push((
            "batch norm".into(),
            format!("recalibrated on {used} training images for each lesion"),
        ));
    }
    let report = Report {
        title: format!("Lesions of {}", network.label()),
        finding: findings.finding(),
        items: findings.items(),
        cost: cli::cost(&findings.cost(), begin, &network),
        facts,
    };
    let results = cli::results_of(&network, args.seed, findings.json());
    cli::deliver(&report, &results, &args.output)
}

impl Args {
    /// The study that the arguments ask for, before blocks are known.
    fn study(&self) -> LesionStudy {
        LesionStudy {
            deletions: Deletions::default(),
            random: self.delete_random.clone(),
            random_from: match self.random_from.as_str() {
                "all" => BlockPool::All,
                "plain" => BlockPool::Plain,
                _ => BlockPool::Both,
            },
            reorder: self.reorder.clone(),
            trials: self.trials,
            seed: self.seed,
            pairs: self.pairs,
            greedy: self.greedy.unwrap_or(0),
            without_shortcut: self.without_shortcut,
            responses: self.responses,
            recalibrate: self.recalibrate,
            out: self.output.out.clone(),
            save_images: self.save_images,
        }
    }

    /// The blocks to delete from `network`.
    fn deletions(&self, network: &TrainedNetwork) -> Result<Deletions, CliError> {
        let blocks = &network.engine.graph().blocks;
        match self.delete_block.as_deref() {
            Some("each") => Ok(Deletions::Each),
            Some(list) => {
                let numbers = parse_blocks(list, blocks)?;
                if self.pairs || self.without_shortcut || !self.beside.is_empty() {
                    return Err(CliError::argument(
                        "--pairs, --without-shortcut and --beside need --delete-block each",
                    ));
                }
                Ok(Deletions::Together(numbers))
            }
            None if !self.beside.is_empty() => Ok(Deletions::Each),
            None => Ok(Deletions::Unspecified),
        }
    }
}

/// Options for the network `name` of `--beside`, on the images of `network`. A
/// run, or a file with a record, has its own model and normalisation. Where a
/// file does not say how images are normalised, it is as for the first network.
fn compared(options: &TrainedNetworkOptions, network: &TrainedNetwork, name: &str) -> TrainedNetworkOptions {
    let options = options.clone().images_of(network);
    match name.split_once('=').filter(|_| !Path::new(name).exists()) {
        Some((model, weights)) => options.with_file(weights).model_name(model),
        None if Path::new(name).is_file() => options.with_file(name),
        None => options.with_run(name),
    }
}
