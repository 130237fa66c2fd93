//! `tools lesion`: what does a network lose with a block?

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use residua::cli::{self, AdapterArgs, CliError, Subject, SubjectArgs, range};
use residua::graph::{Block, parse_blocks};
use residua::report::Report;
use residua::studies::{
    Judge, Ledger, LesionFindings, Neighbour, RandomDeletions, Recalibration, Trials, delete, greedy, pairs,
    random_deletions, reorder, responses, without_shortcut,
};

/// Images on which the responses of blocks are measured, at most.
const RESPONSE_IMAGES: usize = 1000;
/// Images computed at once there: both sides of all blocks stay in memory.
const RESPONSE_BATCH: NonZeroUsize = NonZeroUsize::new(32).unwrap();

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Blocks to delete together, by number from 1 or by name: 5, 3,7-9,
    /// layer2.0; or `each`, one after the other [default: each, where nothing
    /// else is asked for]
    #[arg(long, value_name = "LIST")]
    delete_block: Option<String>,
    /// Delete so many blocks at random: a number or a range, as in 1..20 (both
    /// ends; what is beyond the model's blocks is left out)
    #[arg(long, value_name = "RANGE", value_parser = range)]
    delete_random: Option<RangeInclusive<usize>>,
    /// From which blocks --delete-random draws: all, those that do not
    /// downsample (plain), or both in turn
    #[arg(long, value_name = "POOL", default_value = "both", value_parser = ["all", "plain", "both"])]
    random_from: String,
    /// Let so many random pairs of blocks of one shape change places: a number
    /// or a range, as in 1..20
    #[arg(long, value_name = "RANGE", value_parser = range)]
    reorder: Option<RangeInclusive<usize>>,
    /// Random choices for each number of blocks or swaps
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    trials: u32,
    /// Seed of random choices
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Delete every pair of blocks, for the matrix of their interactions
    #[arg(long)]
    pairs: bool,
    /// Delete up to N blocks one after the other, each time the least missed
    #[arg(long, value_name = "N")]
    greedy: Option<usize>,
    /// As a control, take each block's shortcut instead of its branch
    #[arg(long)]
    without_shortcut: bool,
    /// Measure what each block adds: ‖F(x)‖/‖x‖, their angle, the standard deviation
    #[arg(long)]
    responses: bool,
    /// Take batch norms' statistics anew for each lesion, from N training images
    #[arg(long, value_name = "N", conflicts_with = "reorder")]
    recalibrate: Option<usize>,
    /// Another network on the same axes: a run's directory, or MODEL=WEIGHTS
    /// (on the same images); may be given several times
    #[arg(long, value_name = "RUN|MODEL=FILE")]
    beside: Vec<String>,
    /// Directory for the results: report.html, report.md, results.json, and
    /// tables and figures (CSV, SVG, PNG); a study interrupted goes on there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also keep label, loss and error of every image, a file a lesion
    #[arg(long, requires = "out")]
    save_images: bool,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn lesion(args: &Args) -> Result<String, CliError> {
    if args.recalibrate == Some(0) {
        return Err(CliError::argument(
            "--recalibrate 0: at least one training image is needed",
        ));
    }
    let training = args.recalibrate.is_some();
    let mut subject = Subject::open_with(&args.subject, &args.adapter, training)?;
    let deletions = deletions(args, &subject.engine.graph().blocks)?;
    cli::note(format_args!("{} on {}", subject.label(), subject.engine.name()));
    let mut findings = study(args, &mut subject, &deletions, "results.jsonl")?;
    for (index, beside) in args.beside.iter().enumerate() {
        findings.beside.push(neighbour(
            args,
            &subject,
            beside,
            &format!("beside-{}.jsonl", index + 1),
        )?);
    }
    let report = Report {
        title: format!("Lesions of {}", subject.label()),
        facts: facts(args, &subject)?,
        items: findings.items(),
    };
    let results = cli::results_of(&subject, args.seed, findings.json());
    cli::deliver(&report, &results, args.out.as_deref(), args.json)
}

/// The deletions that were asked for, with every block known to exist.
fn deletions(args: &Args, blocks: &[Block]) -> Result<Vec<Vec<usize>>, CliError> {
    let alone: Vec<Vec<usize>> = (1..=blocks.len()).map(|number| vec![number]).collect();
    // What is drawn beside or against single deletions needs them.
    let others = args.delete_random.is_some() || args.reorder.is_some() || args.greedy.is_some() || args.responses;
    let needs_each = args.pairs || args.without_shortcut || !args.beside.is_empty();
    let (each, deletions) = match args.delete_block.as_deref() {
        Some("each") => (true, alone),
        Some(list) => (false, vec![parse_blocks(list, blocks)?]),
        None if others && !needs_each => (false, Vec::new()),
        None => (true, alone),
    };
    if needs_each && !each {
        return Err(CliError::argument(
            "--pairs, --without-shortcut and --beside go with --delete-block each",
        ));
    }
    Ok(deletions)
}

/// Where the results come from.
fn facts(args: &Args, subject: &Subject) -> Result<Vec<(String, String)>, CliError> {
    let mut facts = subject.facts(args.seed)?;
    if let Some(images) = args.recalibrate {
        let shown = images.min(subject.training_images);
        facts.push((
            "batch norm".into(),
            format!("recalibrated on {shown} training images for each lesion"),
        ));
    }
    Ok(facts)
}

/// Opens the study's ledger in --out, or one that is forgotten.
fn ledger(args: &Args, subject: &Subject, file: &str) -> Result<Ledger, CliError> {
    let Some(out) = &args.out else {
        return Ok(Ledger::default());
    };
    let mut identity = subject.identity()?;
    identity.insert("recalibrate".into(), args.recalibrate.into());
    identity.insert("seed".into(), args.recalibrate.map(|_| args.seed).into());
    Ok(Ledger::open(&out.join(file), &identity.into())?)
}

/// Runs all that was asked for on one network.
fn study(args: &Args, subject: &mut Subject, deletions: &[Vec<usize>], file: &str) -> Result<LesionFindings, CliError> {
    let label = subject.label();
    let ledger = ledger(args, subject, file)?;
    let bar = cli::bar(0, "images");
    let test = &subject.test.test;
    let route = &subject.route;
    let mut judge = Judge {
        engine: subject.engine.as_mut(),
        labels: &test.labels,
        classes: test.classes(),
        batch_size: subject.batch_size,
        ledger,
        recalibration: args.recalibrate.map(|images| Recalibration {
            images,
            batch_size: subject.batch_size,
            of: subject.training_images,
            seed: args.seed,
        }),
        each_image: args
            .out
            .as_ref()
            .filter(|_| args.save_images)
            .map(|out| out.join("images")),
        warm: false,
        progress: &mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
        },
    };
    let judge = &mut judge;
    let blocks = judge.graph().blocks.clone();
    let phase = |name: &'static str| {
        bar.set_message(name);
        bar.reset();
    };
    let trials = |counts: &RangeInclusive<usize>| Trials {
        counts: counts.clone(),
        trials: args.trials,
        seed: args.seed,
    };
    phase("nothing deleted");
    let whole = delete(judge, route, &[Vec::new()])?.remove(0).verdict;
    phase("deleting blocks");
    let lesions = delete(judge, route, deletions)?;
    let mut random = Vec::new();
    for (name, pool) in pools(args, &blocks) {
        if let Some(counts) = &args.delete_random {
            phase("deleting many blocks");
            let lesions = delete(judge, route, &random_deletions(&pool, &trials(counts)))?;
            random.push(RandomDeletions { pool: name, lesions });
        }
    }
    phase("reordering blocks");
    let reorderings = match &args.reorder {
        Some(counts) => reorder(judge, route, &trials(counts))?,
        None => Vec::new(),
    };
    phase("deleting pairs");
    let pairs = if args.pairs {
        delete(judge, route, &pairs(blocks.len()))?
    } else {
        Vec::new()
    };
    phase("deleting the least missed");
    let greedy = greedy(judge, route, args.greedy.unwrap_or(0))?;
    phase("taking shortcuts");
    let controls = if args.without_shortcut {
        let all: Vec<usize> = (1..=blocks.len()).collect();
        let with_shortcut = |number: &usize| blocks[number - 1].default.shortcut != 0.0;
        let numbers: Vec<usize> = all.into_iter().filter(with_shortcut).collect();
        without_shortcut(judge, route, &numbers)?
    } else {
        Vec::new()
    };
    phase("measuring responses");
    let responses = if args.responses {
        let images = judge.labels.len().min(RESPONSE_IMAGES);
        responses(judge.engine, route, images, RESPONSE_BATCH)?
    } else {
        Vec::new()
    };
    bar.finish_and_clear();
    Ok(LesionFindings {
        label,
        class_images: class_images(&test.labels, test.classes()),
        classes: test.class_names.clone(),
        blocks,
        whole,
        lesions,
        random,
        reorderings,
        pairs,
        greedy,
        without_shortcut: controls,
        responses,
        beside: Vec::new(),
    })
}

/// The pools that --delete-random draws from, with their names.
fn pools(args: &Args, blocks: &[Block]) -> Vec<(String, Vec<usize>)> {
    let all: Vec<usize> = (1..=blocks.len()).collect();
    let plain: Vec<usize> = all
        .iter()
        .copied()
        .filter(|number| !blocks[number - 1].downsamples)
        .collect();
    let all = ("all blocks".to_string(), all);
    let plain = ("blocks that do not downsample".to_string(), plain);
    match args.random_from.as_str() {
        "all" => vec![all],
        "plain" => vec![plain],
        _ => vec![all, plain],
    }
}

fn class_images(labels: &[u32], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for &label in labels {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    counts
}

/// Deletes each block of another network in turn, on the same images.
fn neighbour(args: &Args, subject: &Subject, beside: &str, file: &str) -> Result<Neighbour, CliError> {
    let mut other = args.subject.clone();
    // A run brings its model and normalisation along; weights alone are taken
    // to be normalised as the first network's.
    if let (false, Some((model, weights))) = (Path::new(beside).exists(), beside.split_once('=')) {
        other.run = None;
        other.model = Some(model.to_string());
        other.weights = Some(weights.into());
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        other
            .images
            .mean
            .get_or_insert_with(|| list(subject.normalization.mean()));
        other
            .images
            .std
            .get_or_insert_with(|| list(subject.normalization.std()));
    } else {
        other.run = Some(beside.into());
        (other.model, other.weights) = (None, None);
    }
    other.data = Some(subject.source.clone());
    other.images.limit_test = Some(subject.images());
    let mut other = Subject::open_with(&other, &args.adapter, args.recalibrate.is_some())?;
    let blocks = other.engine.graph().blocks.len();
    let each: Vec<Vec<usize>> = (1..=blocks).map(|number| vec![number]).collect();
    let alone = Args {
        delete_random: None,
        reorder: None,
        pairs: false,
        greedy: None,
        without_shortcut: false,
        responses: false,
        save_images: false,
        ..args.clone()
    };
    let findings = study(&alone, &mut other, &each, file)?;
    let numbers = 1..=findings.blocks.len();
    Ok(Neighbour {
        downsampling: numbers
            .filter(|number| findings.blocks[number - 1].downsamples)
            .collect(),
        label: findings.label,
        whole: findings.whole,
        single: findings.lesions,
    })
}
