//! `residua eval`: how many test images does a trained network get wrong?

use crate::cli::{self, AdapterArgs, CliError, SubjectArgs};
use crate::train::{Split, evaluate};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn eval(args: &Args) -> Result<String, CliError> {
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
