//! What is wrong with a setting, in one line that shows no secret.

use std::{collections::BTreeSet, ffi::OsString};

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::file::option;

/// True when what clap has to say is help or a version, and no error.
#[must_use]
pub fn is_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// The first line of what clap says, which holds the option and what is wrong with it, and the way to more help.
#[must_use]
pub fn explain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"))
        .filter(|line| !line.is_empty());
    let first = parts
        .next()
        .unwrap_or("error: the command line is wrong")
        .to_owned();
    let rest: Vec<&str> = parts
        .filter(|line| !line.starts_with("For more information"))
        .collect();
    if rest.is_empty() {
        first
    } else {
        format!("{first} ({})", rest.join(", "))
    }
}

/// The same error with the name of the environment variable in the option's place, if the wrong value came from there.
pub(crate) fn name_variable(
    error: clap::Error,
    secrets: &BTreeSet<String>,
    command: &Command,
    words: &[OsString],
) -> clap::Error {
    let (Some(ContextValue::String(shown)), Some(ContextValue::String(value))) = (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidValue),
    ) else {
        return without_secret(error, secrets);
    };
    let mut words_of = shown.trim_start_matches('-').split([' ', '=', '[']);
    let long = words_of.next().unwrap_or_default();
    let is_given = words.iter().filter_map(|word| word.to_str()).any(|word| {
        let name = word.strip_prefix("--");
        name.is_some_and(|name| name.split('=').next() == Some(long))
    });
    let variable = variable_of(command, long).filter(|variable| {
        let set = std::env::var(variable);
        !is_given && set.is_ok_and(|set| set.split(',').any(|part| part == value.as_str()))
    });
    let Some(variable) = variable else {
        return without_secret(error, secrets);
    };
    let (shown, kind) = (shown.clone(), error.kind());
    let text = explain(&without_secret(error, secrets));
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = text.replace(
        &format!("'{shown}'"),
        &format!("the environment variable {variable}"),
    );
    clap::Error::raw(kind, text)
}

/// The environment variable of an option, in whichever command has it.
fn variable_of(command: &Command, long: &str) -> Option<String> {
    let own = option(command, long).and_then(Arg::get_env);
    match own.and_then(|variable| variable.to_str()) {
        Some(variable) => Some(variable.to_owned()),
        None => command
            .get_subcommands()
            .find_map(|sub| variable_of(sub, long)),
    }
}

/// The options whose values are never shown: those whose values from the environment help hides.
pub(crate) fn secret_options(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments();
    let own = own.filter(|arg| arg.is_hide_env_values_set());
    let own = own.filter_map(|arg| arg.get_long().map(|long| format!("--{long}")));
    let below = command.get_subcommands().flat_map(secret_options);
    own.chain(below).collect()
}

/// An error that does not repeat the wrong value of a secret.
pub(crate) fn without_secret(mut error: clap::Error, secrets: &BTreeSet<String>) -> clap::Error {
    let is_secret = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => {
            let name = arg.split([' ', '=']).next().unwrap_or_default();
            secrets.contains(name)
        }
        _ => false,
    };
    if is_secret && error.get(ContextKind::InvalidValue).is_some() {
        let hidden = ContextValue::String("[hidden]".to_owned());
        error.insert(ContextKind::InvalidValue, hidden);
    }
    error
}
