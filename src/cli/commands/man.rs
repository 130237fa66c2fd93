//! `residua man`: what do the manual pages say?

use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;

use super::command_named;
use crate::cli::{CliError, note};
use crate::files::write_atomic;

/// The version that the pages are of.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory for the pages: NAME.1 for the program and NAME-COMMAND.1 for
    /// each command [default: the program's page alone, on standard output]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The page of the program `name`, or nothing where pages are written.
pub fn man(args: &Args, name: &'static str) -> Result<String, CliError> {
    let mut program = command_named(name).disable_help_subcommand(true);
    program.build();
    let Some(out) = &args.out else {
        return String::from_utf8(page(&program)?).map_err(CliError::failure);
    };
    std::fs::create_dir_all(out)
        .map_err(|error| CliError::failure(format_args!("{} cannot be made: {error}", out.display())))?;
    write_atomic(&out.join(format!("{name}.1")), &page(&program)?)?;
    for command in program.get_subcommands() {
        let title = command.get_display_name().unwrap_or(command.get_name());
        write_atomic(&out.join(format!("{title}.1")), &page(command)?)?;
    }
    note(format_args!("the pages are in {}", out.display()));
    Ok(String::new())
}

/// A page in the format of man(7).
fn page(command: &Command) -> Result<Vec<u8>, CliError> {
    let page = Man::new(command.clone().version(VERSION));
    let mut text = Vec::new();
    page.source(format!("residua {VERSION}"))
        .render(&mut text)
        .map_err(CliError::failure)?;
    Ok(text)
}
