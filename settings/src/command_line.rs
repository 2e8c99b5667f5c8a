//! Reading the command line, over the environment, over the file.

use std::ffi::OsString;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, builder::Resettable};

use crate::{
    LogFormat,
    errors::{explain, is_help, name_variable, secret_options},
    file::with_file_defaults,
    log::last_line,
};

/// Parses the settings of a program from its command line, its environment and its file.
/// A bad setting ends the program with one line and exit code 2.
#[must_use]
pub fn parse<T: CommandFactory + FromArgMatches>() -> T {
    let words: Vec<OsString> = std::env::args_os().collect();
    match try_parse(&words) {
        Ok(settings) => settings,
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => {
            let line = explain(&error);
            // The setting itself was not read: its variable is all that is known of it.
            let is_json = std::env::var("OPB_LOG_FORMAT").is_ok_and(|format| format == "json");
            match line.strip_prefix("error: ").filter(|_| is_json) {
                Some(text) => eprintln!("{}", last_line(text, LogFormat::Json)),
                None => eprintln!("{line}"),
            }
            std::process::exit(2);
        }
    }
}

/// Parses settings from the given words; see [`parse`].
///
/// # Errors
/// What clap found wrong.
pub fn try_parse<T: CommandFactory + FromArgMatches>(words: &[OsString]) -> Result<T, clap::Error> {
    let command = with_file_defaults(T::command(), words)?;
    let matches = without_empty_variables(command.clone()).try_get_matches_from(words);
    let matches = match matches {
        // Help names every variable.
        Err(error) if is_help(&error) => command.clone().try_get_matches_from(words),
        matches => matches,
    };
    let parsed = matches.and_then(|matches: ArgMatches| T::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let secrets = secret_options(&command);
        name_variable(error, &secrets, &command, words)
    })
}

/// The command without the environment variables that are set to nothing: they count as not set, as Compose and shells
/// write them.
fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            arg.env(Resettable::Reset)
        } else {
            arg
        }
    });
    command.mut_subcommands(without_empty_variables)
}
