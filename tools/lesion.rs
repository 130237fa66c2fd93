//! `tools lesion`: what does a network lose with a block?

use std::path::{Path, PathBuf};

use residua::cli::{self, AdapterArgs, CliError, Subject, SubjectArgs};
use residua::files::write_atomic;
use residua::graph::parse_blocks;
use residua::studies::{Lesion, delete, lesion_csv, lesion_figure};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Blocks to delete together, by number from 1 or by name: 5, 3,7-9,
    /// layer2.0; or `each`, one after the other
    #[arg(long, value_name = "LIST")]
    delete_block: String,
    /// Directory for lesions.csv and lesions.svg
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn lesion(args: &Args) -> Result<String, CliError> {
    let mut subject = Subject::open(&args.subject, &args.adapter)?;
    let blocks = &subject.engine.graph().blocks;
    // The whole network first, as the baseline.
    let mut deletions = vec![Vec::new()];
    match args.delete_block.as_str() {
        "each" => deletions.extend((1..=blocks.len()).map(|number| vec![number])),
        list => deletions.push(parse_blocks(list, blocks)?),
    }
    cli::note(format_args!("{} on {}", subject.model, subject.engine.name()));
    let images = subject.images();
    let bar = cli::bar(images as u64, "images");
    let (engine, route, batch_size) = (subject.engine.as_mut(), &subject.route, subject.batch_size);
    let mut lesions = delete(engine, route, images, batch_size, &deletions, &mut |done| {
        bar.set_position(done as u64);
    })?;
    let baseline = lesions.remove(0);
    bar.finish_and_clear();
    if let Some(out) = &args.out {
        write_out(out, &subject, &baseline, &lesions)?;
    }
    if args.json {
        return Ok(format!(
            "{}\n",
            serde_json::json!({
                "model": subject.model.to_string(),
                "weights": subject.weights,
                "data": subject.source,
                "adapter": subject.engine.name(),
                "baseline": baseline.outcome,
                "lesions": lesions,
            })
        ));
    }
    Ok(table(&baseline, &lesions))
}

fn write_out(out: &Path, subject: &Subject, baseline: &Lesion, lesions: &[Lesion]) -> Result<(), CliError> {
    std::fs::create_dir_all(out)
        .map_err(|error| CliError::failure(format!("{} cannot be made: {error}", out.display())))?;
    let title = format!("{}: test error with one block deleted", subject.model);
    let blocks = &subject.engine.graph().blocks;
    let figure = lesion_figure(&title, baseline, lesions, blocks);
    write_atomic(&out.join("lesions.csv"), lesion_csv(baseline, lesions).as_bytes())?;
    write_atomic(&out.join("lesions.svg"), figure.svg().as_bytes())?;
    Ok(())
}

fn table(baseline: &Lesion, lesions: &[Lesion]) -> String {
    let row = |lesion: &Lesion| {
        let list: Vec<String> = lesion.blocks.iter().map(usize::to_string).collect();
        let deleted = if list.is_empty() {
            "nothing".to_string()
        } else {
            format!("{} ({})", list.join(","), lesion.names.join(", "))
        };
        let outcome = &lesion.outcome;
        let more = 100.0 * (outcome.error - baseline.outcome.error);
        format!(
            "{deleted:<24}  {:>6}  {:>7.2} %  {more:>+8.2}  {:>9.4}\n",
            outcome.wrong,
            100.0 * outcome.error,
            outcome.loss
        )
    };
    let mut text = format!("of {} images\n", baseline.outcome.images);
    text.push_str("deleted                    wrong      error     points       loss\n");
    text.push_str(&row(baseline));
    text.extend(lesions.iter().map(row));
    text
}
