//! Secrets that a command sends: never words of the command line, which other users of the machine can read.

use std::io::Read as _;

use anyhow::Context as _;
use secrecy::SecretString;

use crate::outcome::BadUsage;

/// The secret from an environment variable or from standard input; none when neither is named.
/// `what` says in an error what it is.
pub(super) fn read_secret(
    what: &str,
    variable: Option<&str>,
    is_on_stdin: bool,
) -> anyhow::Result<Option<SecretString>> {
    let text = if let Some(variable) = variable {
        std::env::var(variable)
            .map_err(|_| BadUsage(format!("the environment variable {variable} is not set")))?
    } else if is_on_stdin {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .with_context(|| format!("the {what} cannot be read from standard input"))?;
        text
    } else {
        return Ok(None);
    };
    match text.trim() {
        "" => Err(BadUsage(format!("the {what} is empty")).into()),
        text => Ok(Some(text.into())),
    }
}
