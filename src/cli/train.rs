//! The command `residua train`.

use std::path::{Path, PathBuf};

use super::args::AdapterArgs;
use super::exit::CliError;
use super::progress::{bar, note};
use super::trained::RUNS;
use super::tuning::TuningTeller;
use crate::graph::{Precision, Recompute};
use crate::models::ModelSpec;
use crate::schedule::Footprint;
use crate::train::{
    Config, Decay, Depth, DepthPer, DepthRule, Event, Kernels, Run, RunDirectory, Trainer, read_book, read_config,
};

/// How to train. Everything not given is taken from --config, else from the
/// default.
#[derive(Debug, clap::Args)]
pub struct SettingArgs {
    /// Model: resnetD, plain-D, preact-D, wrn-D-K, vgg15-128, with options
    /// behind a colon (resnet20:shortcut=B) [default: wrn-16-1]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Images: synthetic, cifar10:DIR or cifar100:DIR [default: synthetic]
    #[arg(long, value_name = "SPEC")]
    data: Option<String>,
    /// Mean of each channel, pixel values in [0, 1], or a named set
    /// [default: the data set's own]
    #[arg(long, value_name = "LIST|NAME", allow_hyphen_values = true)]
    mean: Option<String>,
    /// Standard deviation of each channel, or a named set [default: as for --mean]
    #[arg(long, value_name = "LIST|NAME", allow_hyphen_values = true)]
    std: Option<String>,
    /// Passes over the training images [default: 10; 2 for synthetic]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Stop after N steps instead of --epochs
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
    /// Images in a batch [default: 128; 32 for synthetic]
    #[arg(long, value_name = "N")]
    batch_size: Option<u32>,
    /// How activations and their gradients are stored: f32, or f16 with loss
    /// scaling, in half the memory; arithmetic and all that is learned stay in
    /// 32 bits [default: f32]
    #[arg(long, value_name = "WHAT", value_enum)]
    precision: Option<Precision>,
    /// Learning rate [default: 0.1]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    lr: Option<f64>,
    /// Learning rate over the run: constant, cosine, multi-step (a tenth at a
    /// half and three quarters) or multi-step:EPOCHS@FACTOR, as in
    /// multi-step:60,120,160@0.2 [default: cosine]
    #[arg(long, value_name = "SHAPE")]
    schedule: Option<String>,
    /// Steps over which the learning rate rises in a straight line [default: 0]
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u32>,
    /// A constant learning rate during --warmup instead
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    warmup_lr: Option<f64>,
    /// Momentum [default: 0.9]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    momentum: Option<f64>,
    /// Nesterov momentum
    #[arg(long)]
    nesterov: bool,
    /// Weight decay [default: 0.0005]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    weight_decay: Option<f64>,
    /// What decays: every parameter, or convolution and linear weights only [default: all]
    #[arg(long, value_name = "WHAT", value_enum)]
    decay: Option<Decay>,
    /// Dropout probability of a wide ResNet's blocks [default: the model's]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    dropout: Option<f64>,
    /// Stochastic depth: probability that the last block runs in a mini-batch;
    /// at test, branches are scaled by their probabilities
    #[arg(long, value_name = "P_L", allow_hyphen_values = true)]
    stochastic_depth: Option<f64>,
    /// Survival of the other blocks: in a straight line from 1 to P_L, or all
    /// alike [default: linear]
    #[arg(long, value_name = "RULE", value_enum)]
    depth_rule: Option<DepthRule>,
    /// What one draw of stochastic depth is for: a mini-batch, as in the paper
    /// (what does not run costs nothing), or each image, as in timm [default: batch]
    #[arg(long, value_name = "WHAT", value_enum)]
    depth_per: Option<DepthPer>,
    /// Train exactly N blocks, chosen at random, in every mini-batch
    #[arg(long, value_name = "N", conflicts_with = "stochastic_depth")]
    sample_blocks: Option<usize>,
    /// What is made again for the way back instead of being kept, to save
    /// memory; the result is the same to the bit [default: none]
    #[arg(long, value_name = "WHAT", value_enum)]
    recompute: Option<Recompute>,
    /// Seed of initial weights, order, augmentation, dropout and synthetic images [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Use only the first N training images [default: all]
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Use only the first N test images [default: all]
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
    /// Weights file to start from [default: drawn from the seed]
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Random changes to training images: none, flip (left-right), crop-flip
    /// (padded by 4 pixels) [default: crop-flip]
    #[arg(long, value_name = "KIND")]
    augment: Option<String>,
    /// How crops are padded: zero (black) or reflect [default: zero]
    #[arg(long, value_name = "KIND")]
    padding: Option<String>,
    /// Take the images in the order of the data set
    #[arg(long)]
    no_shuffle: bool,
    /// Keep steps.csv: step, loss, error, learning rate
    #[arg(long)]
    log_steps: bool,
    /// Keep gradients.csv: step, mean absolute gradient of the first
    /// convolution, 16 steps an epoch
    #[arg(long)]
    log_gradients: bool,
    /// Steps between checkpoints, besides the one at each epoch's end
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u32>,
    /// Settings from a file like a run's run.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Everything not given is taken from --config, else from the default.
#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    #[command(flatten)]
    settings: SettingArgs,
    /// Directory of the run [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in DIR, to the same bits as if it had never stopped;
    /// its settings are its own
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    resume: Option<PathBuf>,
    /// Replay the kernels of another run (its tuning.toml), or of a file from
    /// `tools tune --export`
    #[arg(long, value_name = "FILE", conflicts_with = "no_autotune")]
    tuning: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output, at the end
    #[arg(long)]
    json: bool,
}

impl SettingArgs {
    /// The settings that were asked for.
    pub fn config(&self) -> Result<Config, CliError> {
        let read = self.config.as_deref().map(read_config).transpose()?;
        let default = || Config::for_data(self.data.as_deref().unwrap_or("synthetic"));
        self.over(read.unwrap_or_else(default))
    }

    /// The settings of the run: what the arguments say, over what `base` says.
    fn over(&self, base: Config) -> Result<Config, CliError> {
        let own = |value: &Option<String>, base: String| value.clone().unwrap_or(base);
        let mut model = own(&self.model, base.model);
        if let Some(p) = self.dropout {
            model = model.parse::<ModelSpec>()?.with("dropout", &p.to_string())?.to_string();
        }
        Ok(Config {
            model,
            data: own(&self.data, base.data),
            mean: self.mean.clone().or(base.mean),
            std: self.std.clone().or(base.std),
            epochs: self.epochs.unwrap_or(base.epochs),
            steps: self.steps.or(base.steps.filter(|_| self.epochs.is_none())),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            precision: self.precision.unwrap_or(base.precision),
            lr: self.lr.unwrap_or(base.lr),
            schedule: own(&self.schedule, base.schedule),
            warmup: self.warmup.unwrap_or(base.warmup),
            warmup_lr: self.warmup_lr.or(base.warmup_lr),
            momentum: self.momentum.unwrap_or(base.momentum),
            nesterov: self.nesterov || base.nesterov,
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            decay: self.decay.unwrap_or(base.decay),
            stochastic_depth: self.stochastic_depth.or(base.stochastic_depth),
            depth_rule: self.depth_rule.unwrap_or(base.depth_rule),
            depth_per: self.depth_per.unwrap_or(base.depth_per),
            sample_blocks: self.sample_blocks.or(base.sample_blocks),
            recompute: self.recompute.unwrap_or(base.recompute),
            seed: self.seed.unwrap_or(base.seed),
            limit_train: self.limit_train.or(base.limit_train),
            limit_test: self.limit_test.or(base.limit_test),
            init: self.init.as_deref().map(absolute).or(base.init),
            augment: own(&self.augment, base.augment),
            padding: own(&self.padding, base.padding),
            shuffle: base.shuffle && !self.no_shuffle,
            log_steps: self.log_steps || base.log_steps,
            log_gradients: self.log_gradients || base.log_gradients,
            checkpoint_every: self.checkpoint_every.or(base.checkpoint_every),
        })
    }

    /// The first setting that was given.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("--model", self.model.is_some()),
            ("--data", self.data.is_some()),
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
            ("--epochs", self.epochs.is_some()),
            ("--steps", self.steps.is_some()),
            ("--batch-size", self.batch_size.is_some()),
            ("--precision", self.precision.is_some()),
            ("--lr", self.lr.is_some()),
            ("--schedule", self.schedule.is_some()),
            ("--warmup", self.warmup.is_some()),
            ("--warmup-lr", self.warmup_lr.is_some()),
            ("--momentum", self.momentum.is_some()),
            ("--nesterov", self.nesterov),
            ("--weight-decay", self.weight_decay.is_some()),
            ("--decay", self.decay.is_some()),
            ("--dropout", self.dropout.is_some()),
            ("--stochastic-depth", self.stochastic_depth.is_some()),
            ("--depth-rule", self.depth_rule.is_some()),
            ("--depth-per", self.depth_per.is_some()),
            ("--sample-blocks", self.sample_blocks.is_some()),
            ("--recompute", self.recompute.is_some()),
            ("--seed", self.seed.is_some()),
            ("--limit-train", self.limit_train.is_some()),
            ("--limit-test", self.limit_test.is_some()),
            ("--init", self.init.is_some()),
            ("--augment", self.augment.is_some()),
            ("--padding", self.padding.is_some()),
            ("--no-shuffle", self.no_shuffle),
            ("--log-steps", self.log_steps),
            ("--log-gradients", self.log_gradients),
            ("--checkpoint-every", self.checkpoint_every.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }
}

/// A path that means the same from every folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Trains, or goes on training; gives what goes to standard output.
pub fn train(args: &TrainArgs) -> Result<String, CliError> {
    let (config, resumed) = match &args.resume {
        Some(path) => {
            let out = args.out.is_some().then_some("--out");
            let tuning = args.tuning.is_some().then_some("--tuning");
            if let Some(flag) = args.settings.given().or(out).or(tuning) {
                return Err(CliError::argument(format!(
                    "{flag} cannot be changed with --resume; start a new run"
                )));
            }
            let run = RunDirectory::open(path)?;
            run.read_model()?;
            (run.read_config()?, Some(run))
        }
        None => (args.settings.config()?, None),
    };
    let mut trainer = Trainer::open(config, &args.adapter.choice())?;
    let (config, settings, made_by) = (trainer.config().clone(), trainer.settings.clone(), trainer.made_by());
    note(format_args!(
        "{} ({} parameters) on {} training and {} test images of {}, by {}",
        settings.model,
        trainer.engine.graph().parameter_count(),
        trainer.splits.train.len(),
        trainer.splits.test.len(),
        config.data,
        made_by.adapter
    ));
    if let Depth::Stochastic { p_last, rule } | Depth::BySample { p_last, rule } = settings.depth {
        let blocks = trainer.engine.graph().blocks.len();
        note(format_args!(
            "stochastic depth, {rule} to {p_last}: {:.2} of {blocks} blocks run on average",
            settings.depth.expected(blocks)
        ));
    }
    let resume = resumed.is_some();
    if !resume {
        let kernels = match &args.tuning {
            Some(path) => Kernels::Replay(read_book(path)?),
            None => args.adapter.kernels(),
        };
        let mut teller = TuningTeller::new(&config.model);
        teller.tells_short = true;
        trainer.choose_kernels(&kernels, &mut |news| teller.tell(news))?;
    }
    let directory = match resumed {
        Some(run) => run,
        None => {
            let unused = || RunDirectory::unused(Path::new(RUNS), &config.model, &config.data);
            RunDirectory::create(&args.out.clone().unwrap_or_else(unused))?
        }
    };
    let planned = trainer.footprint();
    if let Some(planned) = planned {
        note(format_args!("{}", memory_in_words(&planned)));
    }
    let mut run = trainer.run(&directory, resume)?;
    follow(&mut run)?;
    if let Some(loss) = run.loss_scale()? {
        note(format_args!(
            "loss scale {} at the end; {} of {} steps overflowed and were skipped",
            loss.scale,
            loss.skipped,
            run.progress().0
        ));
    }
    let last = run.epochs().last().copied();
    let best = run
        .epochs()
        .iter()
        .map(|row| row.test_error)
        .fold(f64::INFINITY, f64::min);
    let Some(last) = last else {
        return Ok(String::new());
    };
    let reported = trainer.engine.session().and_then(|session| session.gpu().reported());
    if args.json {
        return Ok(format!(
            "{}\n",
            serde_json::json!({
                "run": directory.path(),
                "model": config.model,
                "epochs": last.epoch,
                "train_loss": last.train_loss,
                "train_error": last.train_error,
                "test_loss": last.test_loss,
                "test_error": last.test_error,
                "best_test_error": best,
                "images_per_second": last.images_per_second,
                "adapter": made_by.adapter,
                "memory": planned.map(|planned| serde_json::json!({
                    "planned": planned.total(),
                    "reported": reported.map(|reported| reported.used),
                    "reserved": reported.map(|reported| reported.reserved),
                })),
            })
        ));
    }
    Ok(format!(
        "{}: test error {:.2} % (best epoch {:.2} %)\n",
        directory.path().display(),
        100.0 * last.test_error,
        100.0 * best
    ))
}

/// What a run takes of the device's memory, in a line.
fn memory_in_words(planned: &Footprint) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "memory: {:.1} MiB at the peak ({:.1} MiB of activations and their gradients, {:.1} MiB of parameters, gradients \
         and momenta, {:.1} MiB of images)",
        mib(planned.total()),
        mib(planned.activations),
        mib(planned.weights),
        mib(planned.images)
    )
}

/// Trains with a progress bar and a line for every epoch.
fn follow(run: &mut Run) -> Result<(), CliError> {
    let (done, of) = run.progress();
    let bar = bar(u64::from(of), "steps");
    bar.set_position(u64::from(done));
    bar.reset_eta();
    let images = run.images_per_step();
    let trained =
        run.train(&mut |event| {
            match event {
        Event::Step { done, loss, error, .. } => {
            bar.set_position(u64::from(*done));
            let speed = bar.per_sec() * images;
            let losses = loss.zip(*error).map(|(loss, error)| format!("loss {loss:.3}, error {:.1} %", 100.0 * error));
            bar.set_message(format!("{} · {speed:.0} images/s", losses.unwrap_or_else(|| "compiling kernels".into())));
        }
        Event::Epoch(row) => bar.suspend(|| {
            note(format_args!(
                "epoch {:3}: loss {:.4}, error {:6.2} % · test loss {:.4}, error {:6.2} % · lr {:.4} · {:.0} images/s",
                row.epoch,
                row.train_loss,
                100.0 * row.train_error,
                row.test_loss,
                100.0 * row.test_error,
                row.lr,
                row.images_per_second
            ));
        }),
    }
        });
    bar.finish_and_clear();
    Ok(trained?)
}
