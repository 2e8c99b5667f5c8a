//! `opb completions`: what a shell needs to complete commands.

use clap::{Args, Command, CommandFactory as _, ValueHint};
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
        let mut program = without_file_names(Program::command());
        clap_complete::generate(self.shell, &mut program, "opb", &mut script);
        super::print(String::from_utf8_lossy(&script).trim_end())?;
        Ok(Outcome::Done)
    }
}

/// The command, where nothing but a path is completed with the names of files: a shell offers them for every value of which
/// it knows nothing.
fn without_file_names(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        if arg.get_action().takes_values() && arg.get_value_hint() == ValueHint::Unknown {
            arg.value_hint(ValueHint::Other)
        } else {
            arg
        }
    });
    command.mut_subcommands(without_file_names)
}
