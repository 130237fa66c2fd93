//! `residua`: train, evaluate, list devices.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use residua::cli::{self, AdapterArgs, CliError, SubjectArgs};
use residua::gpu;
use residua::train::{Split, evaluate};

/// Trains residual networks on any GPU, and judges them.
#[derive(Debug, Parser)]
#[command(name = "residua", version, about, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network; without arguments, a small one on a built-in data set
    Train(Box<cli::TrainArgs>),
    /// Judge a trained network on test images
    Eval(Box<EvalArgs>),
    /// List the adapters that can compute
    Devices {
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct EvalArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    // SAFETY: the first statement of the program; no thread has been started.
    unsafe { gpu::prepare_environment() };
    cli::run(|cli: Cli| match cli.command {
        Command::Train(args) => cli::train(&args),
        Command::Eval(args) => eval(&args),
        Command::Devices { json } => devices(json),
    })
}

fn eval(args: &EvalArgs) -> Result<String, CliError> {
    let mut subject = args.subject.open(&args.adapter)?;
    cli::note(format_args!("{} on {}", subject.model, subject.engine.name()));
    let bar = cli::bar(subject.images() as u64, "images");
    let (images, routes) = (subject.images(), [subject.route.clone()]);
    let engine = subject.engine.as_mut();
    let outcomes = evaluate(engine, Split::Test, images, subject.batch_size, &routes, &mut |done| {
        bar.set_position(done as u64);
    })?;
    let outcome = &outcomes[0];
    bar.finish_and_clear();
    if args.json {
        return Ok(format!(
            "{}\n",
            serde_json::json!({
                "images": outcome.images,
                "wrong": outcome.wrong,
                "error": outcome.error,
                "loss": outcome.loss,
                "model": subject.model.to_string(),
                "weights": subject.weights,
                "data": subject.source,
                "adapter": subject.engine.name(),
            })
        ));
    }
    Ok(format!(
        "{} of {} images wrong: error {:.2} %, loss {:.4} nats\n",
        outcome.wrong,
        outcome.images,
        100.0 * outcome.error,
        outcome.loss
    ))
}

fn devices(json: bool) -> Result<String, CliError> {
    let adapters = gpu::adapters();
    if json {
        return Ok(format!("{}\n", serde_json::json!({ "adapters": adapters })));
    }
    if adapters.is_empty() {
        return Err(CliError::failure(gpu::GpuError::NoAdapter));
    }
    let line = |(index, adapter): (usize, &gpu::AdapterInfo)| {
        format!(
            "{index}  {adapter}\n   {:?}; bindings to {} MiB, buffers to {} MiB; subgroups of {}; 16-bit floats: {}; \
             timestamps: {}\n",
            adapter.kind,
            adapter.max_binding >> 20,
            adapter.max_buffer >> 20,
            if adapter.subgroup.0 == adapter.subgroup.1 {
                adapter.subgroup.0.to_string()
            } else {
                format!("{}–{}", adapter.subgroup.0, adapter.subgroup.1)
            },
            if adapter.f16 { "yes" } else { "no" },
            if adapter.timestamps { "yes" } else { "no" },
        )
    };
    let mut text: String = adapters.iter().enumerate().map(line).collect();
    text.push_str("`reference` computes on the processor in 64 bits, without a driver\n");
    Ok(text)
}
