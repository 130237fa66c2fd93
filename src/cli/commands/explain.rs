//! `residua explain`: which pixels does a network look at?

use std::time::Instant;

use crate::cli::{self, AdapterArgs, CliError, LogArgs, NetworkArgs, OutputArgs, StudyBar};
use crate::files::AtomicFile;
use crate::graph::parse_blocks;
use crate::report::Report;
use crate::studies::{ExplainStudy, ExplanationBaseline, Explanations, Method, Target};

const AFTER_HELP: &str = "\
The score is the logit of a class, before the softmax. Values are written with --out, as arrays of NumPy (f32), the first \
axis counts the images:
  gradient.npy    N×C×H×W: the gradient with respect to the normalised image
  integrated.npy  N×C×H×W: integrated gradients (Sundararajan et al. 2017); their sum is the difference of the scores \
of image and baseline
  grad-cam.npy    N×H×W of the layer (Selvaraju et al. 2017)
  occlusion.npy   N×H×W: how much the score falls where a window covers the pixel (Zeiler and Fergus 2014)

Examples:
  residua explain --out explained
  residua explain --images 3,10-14 --class label --methods grad-cam --delete-block 5 --out explained";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Test images, by number from 0: 3 or 0-7 or 3,10-14
    #[arg(long, value_name = "LIST", default_value = "0-7", value_parser = images)]
    images: Images,
    /// Methods, separated by commas: gradient, integrated, grad-cam, occlusion
    #[arg(long, value_name = "LIST", default_value = "gradient,integrated,grad-cam,occlusion", value_parser = methods)]
    methods: Methods,
    /// The class whose score is explained: the one that the network predicts, the
    /// label of the image, or a number from 0
    #[arg(long, value_name = "predicted|label|N", default_value = "predicted", value_parser = target)]
    class: Target,
    /// Blocks to delete together, by number from 1 or by name: 5, 3,7-9, layer2.0
    /// [default: none]
    #[arg(long, value_name = "LIST")]
    delete_block: Option<String>,
    /// Points of integrated gradients between baseline and image
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    steps: u32,
    /// Side of the window of occlusion, pixels [default: a quarter of the image's]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Pixels from one window to the next [default: half a window]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// What covers pixels, and where integrated gradients begin: black, or the mean
    /// colour
    #[arg(long, value_name = "COLOUR", default_value = "black", value_parser = ["black", "mean"])]
    baseline: String,
    /// The layer or block of Grad-CAM, as in `residua features` [default: what the
    /// last pooling reads]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Numbers of images.
#[derive(Debug, Clone)]
struct Images(Vec<usize>);

/// Methods in the order in which they were given.
#[derive(Debug, Clone)]
struct Methods(Vec<Method>);

/// The largest number of images at once: each is a row of pictures.
const MOST_IMAGES: usize = 1000;

fn images(text: &str) -> Result<Images, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let ends = match part.split_once('-') {
            Some((from, to)) => from.trim().parse::<usize>().ok().zip(to.trim().parse::<usize>().ok()),
            None => part.trim().parse().ok().map(|one| (one, one)),
        };
        let Some((from, to)) = ends.filter(|(from, to)| from <= to) else {
            return Err(format!("'{part}' is neither a number nor a range such as 3-7"));
        };
        if to - from >= MOST_IMAGES || all.len() + to - from >= MOST_IMAGES {
            return Err(format!("these are more than {MOST_IMAGES} images"));
        }
        all.extend(from..=to);
    }
    Ok(Images(all))
}

fn methods(text: &str) -> Result<Methods, String> {
    let mut all = Vec::new();
    for name in text.split(',').map(str::trim) {
        let Some(method) = Method::ALL.into_iter().find(|method| method.name() == name) else {
            let names = Method::ALL.map(Method::name).join(", ");
            return Err(format!("'{name}' is none of {names}"));
        };
        if !all.contains(&method) {
            all.push(method);
        }
    }
    Ok(Methods(all))
}

fn target(text: &str) -> Result<Target, String> {
    match text {
        "predicted" => Ok(Target::Predicted),
        "label" => Ok(Target::Label),
        number => number
            .parse()
            .map(Target::Class)
            .map_err(|_| "predicted, label or the number of a class is needed".to_string()),
    }
}

pub fn explain(args: &Args) -> Result<String, CliError> {
    let begin = Instant::now();
    let _owner = args.output.own()?;
    let mut network = args.network.open(&args.adapter)?;
    let deleted = match &args.delete_block {
        Some(list) => parse_blocks(list, &network.engine.graph().blocks)?,
        None => Vec::new(),
    };
    cli::note(format_args!("{} on {}", network.label(), network.engine.name()));
    let study = ExplainStudy {
        images: args.images.0.clone(),
        methods: args.methods.0.clone(),
        target: args.class,
        deleted,
        steps: args.steps as usize,
        window: args.window,
        stride: args.stride,
        baseline: match args.baseline.as_str() {
            "mean" => ExplanationBaseline::Mean,
            _ => ExplanationBaseline::Black,
        },
        layer: args.layer.clone(),
    };
    let mut bar = StudyBar::new("passes", &args.log);
    let found = study.run(&mut network, &args.adapter.choice(), &mut |progress| bar.show(progress))?;
    bar.finish();
    let report = Report {
        title: format!("What {} looks at", network.label()),
        finding: found.finding(),
        items: found.items(),
        cost: cli::cost("", begin, &network),
        facts: network.provenance(&cli::command_line(), network.seed)?,
    };
    let results = cli::results_of(&network, network.seed, found.json());
    let text = cli::deliver(&report, &results, &args.output)?;
    write_arrays(args, &found)?;
    Ok(text)
}

/// Writes the values of each method beside the report.
fn write_arrays(args: &Args, found: &Explanations) -> Result<(), CliError> {
    let Some(out) = &args.output.out else {
        return Ok(());
    };
    for one in &found.attributions {
        let path = out.join(format!("{}.npy", one.method.name()));
        let shape: Vec<u64> = [found.images.len()]
            .iter()
            .chain(&one.shape)
            .map(|&size| size as u64)
            .collect();
        cli::write_npy(&path, AtomicFile::create(&path)?, &shape, |push| Ok(push(&one.values)?))?;
    }
    Ok(())
}
