//! Naming a run on the command line. What a name means is for the server to say.

use std::{fmt, str::FromStr};

use crate::client::segment;

/// A run's number, its id, the end of its id, or `last`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunName(String);

impl RunName {
    /// The address of the run.
    pub fn path(&self) -> String {
        format!("/api/v1/runs/{}", segment(&self.0))
    }
}

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '#' | '-');
        if !text.is_empty() && text.chars().all(is_name) {
            return Ok(Self(text.to_owned()));
        }
        Err("expected a run: its number such as 128, its id, the end of its id, or last; `opb run list` lists them".to_owned())
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_segment() {
        for (text, expect) in [
            ("128", Some("/api/v1/runs/128")),
            ("#128", Some("/api/v1/runs/%23128")),
            ("last", Some("/api/v1/runs/last")),
            ("", None),
            ("..", None),
            ("1/2", None),
            ("1 2", None),
        ] {
            let path = text.parse().ok().map(|name: RunName| name.path());
            assert_eq!(path.as_deref(), expect, "{text}");
        }
    }
}
