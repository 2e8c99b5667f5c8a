//! The configuration file: its values become the defaults of the options.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, Args, Command, error::ErrorKind};

use crate::read_text;

/// The largest configuration file.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The option that names the configuration file; its value is read before the others are parsed.
#[derive(Debug, Clone, Args)]
pub struct FileSettings {
    /// TOML file with settings; its keys are the long options, and an option that may be repeated takes a list
    #[arg(
        long,
        env = "OPB_CONFIG",
        value_name = "FILE",
        global = true,
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
}

/// Turns the values of the file into defaults.
pub(crate) fn with_file_defaults(
    mut command: Command,
    words: &[OsString],
) -> Result<Command, clap::Error> {
    let Some(path) = file_path(words) else {
        return Ok(command);
    };
    let wrong = |message: String| clap::Error::raw(ErrorKind::InvalidValue, message);
    let text = read_text(&path, MAX_FILE_BYTES).map_err(|error| {
        wrong(format!(
            "the configuration file {} cannot be read: {error}",
            path.display()
        ))
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        wrong(format!(
            "the configuration file {} is not TOML: {}",
            path.display(),
            error.message()
        ))
    })?;
    for key in table.keys() {
        if !knows(&command, key) {
            return Err(wrong(format!(
                "the configuration file {} has the unknown setting `{key}`",
                path.display()
            )));
        }
    }
    for (key, value) in &table {
        let values = Values::of(value).and_then(|values| match values {
            Values::List(_) if !takes_list(&command, key) => Err("takes one value, not a list"),
            values => Ok(values),
        });
        match values {
            Ok(values) => command = apply(command, key, &values),
            Err(reason) => {
                return Err(wrong(format!(
                    "the setting `{key}` of the configuration file {} {reason}",
                    path.display()
                )));
            }
        }
    }
    Ok(command)
}

/// The file that `--config` or `OPB_CONFIG` names.
fn file_path(words: &[OsString]) -> Option<PathBuf> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word
            .to_str()
            .and_then(|word| word.strip_prefix("--config="))
        {
            return Some(PathBuf::from(path));
        }
    }
    let path = std::env::var_os("OPB_CONFIG").map(PathBuf::from);
    path.filter(|path| !path.as_os_str().is_empty())
}

/// What a key of the file is set to, in the words of the command line.
enum Values {
    One(String),
    List(Vec<String>),
}

impl Values {
    fn of(value: &toml::Value) -> Result<Self, &'static str> {
        let scalar = |value: &toml::Value| match value {
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                Some(value.to_string())
            }
            toml::Value::Datetime(time) => Some(time.to_string()),
            toml::Value::Array(_) | toml::Value::Table(_) => None,
        };
        match value {
            toml::Value::Array(list) => list
                .iter()
                .map(scalar)
                .collect::<Option<Vec<String>>>()
                .map(Self::List)
                .ok_or("must be a list of texts or numbers, without lists or tables in it"),
            toml::Value::Table(_) => Err("must be a text, a number or a list, not a table"),
            value => scalar(value).map(Self::One).ok_or("cannot be read"),
        }
    }
}

/// Makes the values the defaults of an option, in each command that has it and takes as many.
fn apply(mut command: Command, key: &str, values: &Values) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| apply(sub, key, values));
    }
    let arg = option(&command, key).map(|arg| (arg.get_id().clone(), is_list(arg)));
    match (arg, values) {
        (Some((id, _)), Values::One(text)) => command.mut_arg(id, |arg| {
            // Help is pasted into tickets: what the environment may not show, the file may not either.
            let is_secret = arg.is_hide_env_values_set();
            arg.default_value(text.clone())
                .hide_default_value(is_secret)
                .required(false)
        }),
        (Some((id, true)), Values::List(list)) if !list.is_empty() => {
            command.mut_arg(id, |arg| arg.default_values(list.clone()).required(false))
        }
        _ => command,
    }
}

pub(crate) fn option<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(key))
}

/// True for an option that may be repeated.
fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn takes_list(command: &Command, key: &str) -> bool {
    option(command, key).is_some_and(is_list)
        || command.get_subcommands().any(|sub| takes_list(sub, key))
}

fn knows(command: &Command, key: &str) -> bool {
    option(command, key).is_some() || command.get_subcommands().any(|sub| knows(sub, key))
}
