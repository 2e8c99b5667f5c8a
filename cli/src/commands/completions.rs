//! `opb completions`: what a shell needs to complete commands.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Program;
use crate::outcome::Outcome;

/// Print a script that completes `opb` commands in a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example, for bash:\n  opb completions bash > ~/.local/share/bash-completion/completions/opb"
)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn execute(self) -> anyhow::Result<Outcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Program::command(), "opb", &mut script);
        super::print(String::from_utf8_lossy(&script).trim_end())?;
        Ok(Outcome::Done)
    }
}
