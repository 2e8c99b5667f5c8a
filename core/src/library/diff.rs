//! What changed between two versions, line by line: as written, and as rendered with the same variables.

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
    template::{Message, PromptBody, Role},
};

/// After this time a diff stops looking for the smallest one and takes what it has.
const PATIENCE: Duration = Duration::from_millis(50);

/// What changed from one version to another.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionDiff {
    /// The number of the older side.
    pub from: i32,
    /// The number of the newer side.
    pub to: i32,
    /// The templates. The messages of a chat begin with a line such as `[user]`.
    pub text: Vec<DiffLine>,
    /// Variables and parameters, as JSON.
    pub declarations: Vec<DiffLine>,
    /// Both versions rendered with the variables of the request, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<Vec<DiffLine>>,
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

/// Compares two versions of a prompt; a version is a number or an alias.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for a version that is not there, [`Error::Unrenderable`].
pub async fn compare_versions(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
    (from, to): (&str, &str),
    variables: Option<&Map<String, Value>>,
) -> Result<VersionDiff> {
    let prompt = super::find_prompt(conn, viewer, prompt).await?;
    let mut side = async |name: &str, reference: &str| {
        let found = resolve_version(conn, viewer, &format!("{}@{reference}", prompt.id)).await;
        found.map_err(|error| match error {
            Error::NotFound(what) => Error::invalid(name, format!("{what} was not found")),
            other => other,
        })
    };
    let (from, to) = (side("from", from).await?, side("to", to).await?);
    let rendered = match variables {
        None => None,
        Some(variables) => Some(lines(
            &flat(&render(&from, variables)?),
            &flat(&render(&to, variables)?),
        )),
    };
    Ok(VersionDiff {
        from: from.number,
        to: to.number,
        text: lines(&written(&from.body), &written(&to.body)),
        declarations: lines(&declarations(&from)?, &declarations(&to)?),
        rendered,
    })
}

/// The lines of both texts.
fn lines(from: &str, to: &str) -> Vec<DiffLine> {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(from, to);
    diff.iter_all_changes()
        .map(|change| DiffLine {
            change: match change.tag() {
                ChangeTag::Equal => Change::Equal,
                ChangeTag::Delete => Change::Removed,
                ChangeTag::Insert => Change::Added,
            },
            from_line: change.old_index().map(|at| at + 1),
            to_line: change.new_index().map(|at| at + 1),
            text: change.value().trim_end_matches(['\r', '\n']).to_owned(),
        })
        .collect()
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

    #[test]
    fn lines_are_told_apart() {
        let found = lines("a\nb\nc\n", "a\nx\nc\r\n");
        let found: Vec<_> = found
            .iter()
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
    fn two_large_texts_without_a_common_line_end_in_time() {
        let text = |start: u32| -> String {
            (start..start + 16_000)
                .map(|number| number.to_string() + "\n")
                .collect()
        };
        let started = std::time::Instant::now();
        assert_eq!(lines(&text(0), &text(50_000)).len(), 32_000);
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    }
}
