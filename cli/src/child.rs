//! Programs that opb starts: the only place where that may happen.
//!
//! A child inherits no secret. Our environment holds keys of providers, the master key and passwords, and what a child's
//! environment holds can be read in `/proc` by whoever runs as the child's user, so a child gets a short list of harmless
//! variables and nothing else.
#![expect(clippy::disallowed_methods, reason = "everybody else is sent here")]

use std::{ffi::OsStr, process::Command};

/// What programs need to find themselves, their libraries, their words and a place for temporary files.
const HARMLESS: [&str; 7] = [
    "PATH",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "NIX_LD",
    "TMPDIR",
    "TZ",
];

/// A program with an environment that holds no secret.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for (name, value) in std::env::vars_os() {
        let is_locale = name.as_encoded_bytes().starts_with(b"LC_");
        if is_locale || HARMLESS.iter().any(|harmless| name == *harmless) {
            command.env(name, value);
        }
    }
    command
}

/// The same for programs that are awaited.
pub fn awaited(program: impl AsRef<OsStr>) -> tokio::process::Command {
    command(program).into()
}

/// A program of the user's own choice, named on our command line: it runs as it would without us.
pub fn inheriting(program: impl AsRef<OsStr>) -> tokio::process::Command {
    tokio::process::Command::new(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_sees_the_short_list_only() {
        let output = command("env").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            let name = line.split('=').next().unwrap_or_default();
            assert!(
                name.starts_with("LC_") || HARMLESS.contains(&name),
                "{name}"
            );
        }
        assert!(text.lines().any(|line| line.starts_with("PATH=")), "{text}");
    }
}
