//! Secrets that a command sends: never taken from the command line, which other users of the machine can read.

use secrecy::SecretString;

use crate::{
    files::{MAX_SECRET_BYTES, read_bounded, read_line_bounded},
    outcome::BadUsage,
};

/// Reads the secret from an environment variable or from standard input; `None` if neither is given. Errors call it
/// `what`.
pub(super) fn read_secret(
    what: &str,
    variable: Option<&str>,
    is_on_stdin: bool,
) -> anyhow::Result<Option<SecretString>> {
    let text = if let Some(variable) = variable {
        let value = std::env::var(variable).ok();
        let value = value.filter(|value| !value.is_empty());
        value.ok_or_else(|| BadUsage(format!("the environment variable {variable} is not set")))?
    } else if is_on_stdin {
        let read = read_bounded(std::io::stdin(), MAX_SECRET_BYTES);
        read.map_err(|error| unreadable(what, &error))?
    } else {
        return Ok(None);
    };
    match text.trim() {
        "" => Err(BadUsage(format!("the {what} is empty")).into()),
        text => Ok(Some(text.into())),
    }
}

/// Reads the next line of standard input, such as a username or a password. Errors call it `what`.
pub(super) fn read_line(what: &str) -> anyhow::Result<String> {
    let read = read_line_bounded(std::io::stdin().lock(), MAX_SECRET_BYTES);
    Ok(read.map_err(|error| unreadable(what, &error))?)
}

fn unreadable(what: &str, error: &anyhow::Error) -> BadUsage {
    BadUsage(format!(
        "the {what} cannot be read from standard input: {error:#}"
    ))
}
