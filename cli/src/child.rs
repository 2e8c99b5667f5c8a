//! Child processes: the only place where opb starts programs.
//!
//! A child inherits no secret. Our environment holds keys of providers, the master key and passwords, and every process
//! of the child's user can read the child's environment in `/proc`. So a child gets a short list of harmless variables
//! and nothing else.
#![expect(
    clippy::disallowed_methods,
    reason = "all other modules must use this one"
)]

use std::{ffi::OsStr, process::Command};

/// The variables that programs need to find programs, libraries, locale and a folder for temporary files.
const HARMLESS: [&str; 7] = [
    "PATH",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "NIX_LD",
    "TMPDIR",
    "TZ",
];

/// A command whose environment holds no secret.
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

/// The same as [`command`], for tokio.
pub fn awaited(program: impl AsRef<OsStr>) -> tokio::process::Command {
    command(program).into()
}

/// A program that the user named on our command line: it inherits the whole environment.
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
