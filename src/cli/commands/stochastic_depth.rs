//! `stochastic-depth`: how does stochastic depth change the error, the speed
//! and the gradients of a network?

use crate::cli::network::model_text;
use crate::cli::{self, CliError, SettingArgs};
use crate::studies::{DepthGrid, DepthStudy, depth_points, split_values};
use crate::train::DepthRule;

use super::sweep::WorkArgs;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Survival probabilities of the last block; constant depth, which is 1,
    /// is always included
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "0.2,0.5,0.8",
        allow_hyphen_values = true
    )]
    p_last: Vec<f64>,
    /// Rules for the survival probabilities of the other blocks: linear, uniform,
    /// or both
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "linear,uniform",
        value_enum
    )]
    rule: Vec<DepthRule>,
    /// Several models in place of --model, such as resnet20,resnet32: the first
    /// with every rule, the others with the first; `|` separates names that
    /// contain commas [default: --model alone]
    #[arg(long, value_name = "LIST", conflicts_with = "model")]
    models: Option<String>,
    /// Several seeds in place of --seed; results are medians [default: --seed
    /// alone]
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "seed")]
    seeds: Vec<u64>,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    work: WorkArgs,
}

pub fn stochastic_depth(args: &Args) -> Result<String, CliError> {
    let base = args.settings.config()?;
    let models = match &args.models {
        Some(list) => split_values(list)
            .iter()
            .map(|model| model_text(model))
            .collect::<Result<_, _>>()?,
        None => vec![base.model.clone()],
    };
    let grid = DepthGrid {
        models,
        survivals: args.p_last.clone(),
        rules: args.rule.clone(),
        seeds: args.seeds.clone(),
    };
    let points = depth_points(&base, &grid)?;
    cli::check_settings(&args.settings.given()?, points.iter().map(|point| &point.config))?;
    args.work.run(&points, &mut |results| {
        let study = DepthStudy::new(results)?;
        Ok((study.report(&cli::command_line()), study.json()))
    })
}
