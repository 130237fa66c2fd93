//! `residua completions`: how does a shell complete the commands and flags?

use clap_complete::Shell;

use super::command_named;
use crate::cli::CliError;

const HELP: &str = "\
For example:
  bash  residua completions bash > ~/.local/share/bash-completion/completions/residua
  zsh   residua completions zsh > \"${fpath[1]}/_residua\"
  fish  residua completions fish > ~/.config/fish/completions/residua.fish";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Shell that reads the script
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// The completion script of the program `name`.
pub fn completions(args: &Args, name: &'static str) -> Result<String, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_named(name), name, &mut script);
    String::from_utf8(script).map_err(CliError::failure)
}
