//! The differences between two versions, line by line: of the templates, and of both rendered with the same variables.
//!
//! Comparing and rendering take time, so both work on texts that were loaded before, and never while a connection is
//! held.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{PromptVersion, preview::render, resolve_version};
use crate::{
    Error, Result,
    auth::CurrentUser,
    paging::json_bytes,
    template::{Message, PromptBody, Role},
};

/// Time limit for finding the smallest diff; after it, the diff may be larger than necessary.
const PATIENCE: Duration = Duration::from_millis(50);
/// Number of unchanged lines shown around a change.
const CONTEXT: usize = 3;
/// Maximum number of lines in a response.
const MAX_LINES: usize = 5_000;
/// Maximum size of a response, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// The differences between two versions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionDiff {
    /// The number of the older side.
    pub from: i32,
    /// The number of the newer side.
    pub to: i32,
    /// The changes of the templates. Each message of a chat begins with a line such as `[user]`.
    pub text: Vec<Hunk>,
    /// The changes of variables and parameters, as JSON.
    pub declarations: Vec<Hunk>,
    /// The changes of the rendered text, if the request has variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<Vec<Hunk>>,
}

/// Changed lines with up to three unchanged lines before and after them. The lines between two hunks are the same on
/// both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hunk {
    /// The lines, in order.
    pub lines: Vec<DiffLine>,
}

/// A line of either side or of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffLine {
    /// Which side it is on.
    pub change: Change,
    /// Its line number on the older side, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_line: Option<usize>,
    /// Its line number on the newer side, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_line: Option<usize>,
    /// The line without its line ending.
    pub text: String,
}

/// Which side a line is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// On both sides.
    Equal,
    /// On the older side only.
    Removed,
    /// On the newer side only.
    Added,
}

/// Two versions of a prompt to compare.
#[derive(Debug, Clone)]
pub struct Sides {
    from: PromptVersion,
    to: PromptVersion,
}

/// Loads two versions of a prompt, each named by number or alias.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for an unknown version.
pub async fn find_sides(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
    (from, to): (&str, &str),
) -> Result<Sides> {
    let prompt = super::find_prompt(conn, viewer, prompt).await?;
    let mut side = async |name: &str, reference: &str| {
        let found = resolve_version(conn, viewer, &format!("{}@{reference}", prompt.id)).await;
        found.map_err(|error| match error {
            Error::NotFound(what) => Error::invalid(name, format!("{what} was not found")),
            other => other,
        })
    };
    Ok(Sides {
        from: side("from", from).await?,
        to: side("to", to).await?,
    })
}

impl Sides {
    /// Computes the differences. It may take a tenth of a second: do not call it while holding a connection.
    ///
    /// # Errors
    /// [`Error::Unrenderable`], [`Error::Invalid`] if the differences exceed the maximum size of a response.
    pub fn compare(&self, variables: Option<&Map<String, Value>>) -> Result<VersionDiff> {
        let Self { from, to } = self;
        let mut left = Left {
            lines: MAX_LINES,
            bytes: MAX_BYTES,
        };
        let text = hunks(&mut left, "to", &written(&from.body), &written(&to.body))?;
        let declared = (declarations(from)?, declarations(to)?);
        let declarations = hunks(&mut left, "to", &declared.0, &declared.1)?;
        let rendered = match variables {
            None => None,
            Some(variables) => {
                let from = flat(&render(from, variables)?);
                let to = flat(&render(to, variables)?);
                Some(hunks(&mut left, "variables", &from, &to)?)
            }
        };
        Ok(VersionDiff {
            from: self.from.number,
            to: self.to.number,
            text,
            declarations,
            rendered,
        })
    }
}

/// What is left of the size limits of a response.
struct Left {
    lines: usize,
    bytes: usize,
}

impl Left {
    /// Subtracts a line.
    fn pay(&mut self, field: &str, line: &DiffLine) -> Result<()> {
        let (lines, bytes) = (
            self.lines.checked_sub(1),
            self.bytes.checked_sub(json_bytes(line)),
        );
        let (Some(lines), Some(bytes)) = (lines, bytes) else {
            let message = format!(
                "gives a difference of more than {MAX_LINES} lines or {MAX_BYTES} bytes; compare versions or variables that differ in less"
            );
            return Err(Error::invalid(field, message));
        };
        (self.lines, self.bytes) = (lines, bytes);
        Ok(())
    }
}

/// The differences between two texts. If they are too large, the error names `field`.
fn hunks(left: &mut Left, field: &str, from: &str, to: &str) -> Result<Vec<Hunk>> {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(from, to);
    let mut hunks = Vec::new();
    for group in diff.grouped_ops(CONTEXT) {
        let mut lines = Vec::new();
        for change in group
            .iter()
            .flat_map(|operation| diff.iter_changes(operation))
        {
            let line = DiffLine {
                change: match change.tag() {
                    ChangeTag::Equal => Change::Equal,
                    ChangeTag::Delete => Change::Removed,
                    ChangeTag::Insert => Change::Added,
                },
                from_line: change.old_index().map(|at| at + 1),
                to_line: change.new_index().map(|at| at + 1),
                text: change.value().trim_end_matches(['\r', '\n']).to_owned(),
            };
            left.pay(field, &line)?;
            lines.push(line);
        }
        hunks.push(Hunk { lines });
    }
    Ok(hunks)
}

fn written(body: &PromptBody) -> String {
    match body {
        PromptBody::Text { text } => text.clone(),
        PromptBody::Chat { messages } => flat(messages),
    }
}

fn flat(messages: &[Message]) -> String {
    // A text prompt is one user message, and reads better without a heading.
    if let [only] = messages
        && only.role == Role::User
    {
        return only.content.shown().into_owned();
    }
    let heading = |role| match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let mut text = String::new();
    for message in messages {
        text.push('[');
        text.push_str(heading(message.role));
        text.push_str("]\n");
        text.push_str(&message.content.shown());
        text.push('\n');
    }
    text
}

fn declarations(version: &PromptVersion) -> Result<String> {
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| Error::Internal(format!("declarations do not serialise: {error}")))
    };
    let mut text = String::new();
    if !version.variables.is_empty() {
        text.push_str(&json(serde_json::to_string_pretty(&version.variables))?);
        text.push('\n');
    }
    if !version.parameters.are_none() {
        text.push_str(&json(serde_json::to_string_pretty(&version.parameters))?);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(from: &str, to: &str) -> Result<Vec<Hunk>> {
        let mut left = Left {
            lines: MAX_LINES,
            bytes: MAX_BYTES,
        };
        hunks(&mut left, "to", from, to)
    }

    #[test]
    fn lines_are_told_apart() {
        let found = compare("a\nb\nc\n", "a\nx\nc\r\n").unwrap();
        let found: Vec<_> = found
            .iter()
            .flat_map(|hunk| &hunk.lines)
            .map(|line| {
                (
                    line.change,
                    line.from_line,
                    line.to_line,
                    line.text.as_str(),
                )
            })
            .collect();
        let expect = [
            (Change::Equal, Some(1), Some(1), "a"),
            (Change::Removed, Some(2), None, "b"),
            (Change::Removed, Some(3), None, "c"),
            (Change::Added, None, Some(2), "x"),
            (Change::Added, None, Some(3), "c"),
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn what_both_sides_have_is_left_out_but_for_a_few_lines() {
        let text = |changed: &[usize]| -> String {
            let line = |number| {
                let new = if changed.contains(&number) {
                    "new "
                } else {
                    ""
                };
                format!("{new}{number}\n")
            };
            (1..=300).map(line).collect()
        };
        let found = compare(&text(&[]), &text(&[50, 200])).unwrap();
        let firsts: Vec<_> = found
            .iter()
            .map(|hunk| (hunk.lines[0].from_line, hunk.lines.len()))
            .collect();
        assert_eq!(firsts, [(Some(47), 8), (Some(197), 8)]);
        assert_eq!(compare(&text(&[]), &text(&[])).unwrap(), []);
    }

    #[test]
    fn a_difference_that_is_too_large_is_refused() {
        let text = |start: u32, lines: u32| -> String {
            (start..start + lines)
                .map(|number| number.to_string() + "\n")
                .collect()
        };
        let refused = |from: &str, to: &str| {
            let Err(Error::Invalid(fields)) = compare(from, to) else {
                panic!("{} and {} bytes were compared", from.len(), to.len());
            };
            assert_eq!(fields[0].path, "to");
        };
        // Exceeds the number of lines, with no line in common, and the number of bytes.
        refused(&text(0, 16_000), &text(50_000, 16_000));
        refused("", &"x".repeat(MAX_BYTES));
        // Bytes are counted as they are in JSON, where this character is longer.
        refused("", &"\u{1}".repeat(MAX_BYTES / 5));
        assert!(compare(&text(0, 2_000), &text(50_000, 2_000)).is_ok());
    }
}
