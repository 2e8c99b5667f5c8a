//! What changed between two versions, line by line: as written, and as rendered with the same variables.
//!
//! Comparing renders and takes time: it is done from texts that were loaded before, never while a connection is held.

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

/// After this time a diff stops looking for the smallest one and takes what it has.
const PATIENCE: Duration = Duration::from_millis(50);
/// How many lines that both sides have are shown around what changed.
const CONTEXT: usize = 3;
/// The most lines of an answer.
const MAX_LINES: usize = 5_000;
/// The most bytes of an answer.
const MAX_BYTES: usize = 256 * 1024;

/// What changed from one version to another.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionDiff {
    /// The number of the older side.
    pub from: i32,
    /// The number of the newer side.
    pub to: i32,
    /// The templates. The messages of a chat begin with a line such as `[user]`.
    pub text: Vec<Hunk>,
    /// Variables and parameters, as JSON.
    pub declarations: Vec<Hunk>,
    /// Both versions rendered with the variables of the request, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<Vec<Hunk>>,
}

/// Lines that changed, with up to three lines before and after them that did not. What lies between two hunks is the
/// same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hunk {
    /// The lines, in order.
    pub lines: Vec<DiffLine>,
}

/// A line of either side or of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffLine {
    /// On which side it is.
    pub change: Change,
    /// Its number on the older side, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_line: Option<usize>,
    /// Its number on the newer side, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_line: Option<usize>,
    /// The line without its end.
    pub text: String,
}

/// On which side a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// On both.
    Equal,
    /// On the older only.
    Removed,
    /// On the newer only.
    Added,
}

/// Two versions of a prompt that are to be compared.
#[derive(Debug, Clone)]
pub struct Sides {
    from: PromptVersion,
    to: PromptVersion,
}

/// Loads two versions of a prompt; a version is a number or an alias.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for a version that is not there.
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
    /// What changed. Nothing for whoever holds a connection: it may take a tenth of a second.
    ///
    /// # Errors
    /// [`Error::Unrenderable`], [`Error::Invalid`] when more changed than an answer may hold.
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

/// How much an answer may still hold.
struct Left {
    lines: usize,
    bytes: usize,
}

impl Left {
    /// Pays for a line.
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

/// What changed from one text to the other. A difference that is too large is found at `field`.
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
    // A text prompt is one message of the user, and reads better without a heading.
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
        // By its lines, without one in common, and by its bytes.
        refused(&text(0, 16_000), &text(50_000, 16_000));
        refused("", &"x".repeat(MAX_BYTES));
        // What becomes longer in JSON counts as long as it is there.
        refused("", &"\u{1}".repeat(MAX_BYTES / 5));
        assert!(compare(&text(0, 2_000), &text(50_000, 2_000)).is_ok());
    }
}
