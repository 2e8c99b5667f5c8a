//! References to runs: by number, id, the end of an id, or the newest run.

use std::{convert::Infallible, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Run, find_readable_run, find_run};
use crate::{Error, Result, auth::CurrentUser};

/// Minimum number of characters of the end of an id. Ids begin with a timestamp, so runs of one day share a prefix.
const SHORTEST_END: usize = 4;
/// Maximum number of runs to check whose ids have the same end.
const MAX_CANDIDATES: i64 = 20;

/// A reference to a run: its number (`128` or `#128`), its id, the last characters of its id (four or more), or `last`
/// for the caller's newest run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "128")]
pub struct RunReference(String);

/// A parsed reference.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Last,
    Id(Uuid),
    /// A number, and the same digits if they may also be the end of an id.
    Number(i64, Option<String>),
    End(String),
}

/// Finds the run of a reference, if the viewer may see it.
///
/// A number takes precedence over the end of an id with the same digits.
///
/// # Errors
/// [`Error::NotFound`], also for a run that the viewer may not see; [`Error::Invalid`] at `run` if the reference is
/// malformed, or the end of several ids; [`Error::Unauthenticated`] for `last` without a user.
pub async fn resolve_run(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &RunReference,
) -> Result<Run> {
    let missing = || Error::NotFound(format!("the run `{reference}`"));
    match reference.named()? {
        Named::Id(id) => find_run(conn, viewer, id).await,
        Named::Last => {
            let Some(viewer) = viewer else {
                return Err(Error::Unauthenticated(
                    "`last` is your newest run: log in, or send an API key",
                ));
            };
            let id = newest_of(conn, viewer.id).await?.ok_or_else(missing)?;
            find_run(conn, Some(viewer), id).await
        }
        Named::Number(number, end) => {
            if let Some(id) = id_of(conn, number).await? {
                match find_run(conn, viewer, id).await {
                    Err(Error::NotFound(_)) => {}
                    found => return found,
                }
            }
            match end {
                Some(end) => by_end(conn, viewer, &end).await?.ok_or_else(missing),
                None => Err(missing()),
            }
        }
        Named::End(end) => by_end(conn, viewer, &end).await?.ok_or_else(missing),
    }
}

/// Finds the run of a reference, if the viewer may read its prompts, items and responses.
///
/// # Errors
/// Those of [`resolve_run`], and of [`find_readable_run`].
pub async fn resolve_readable_run(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    reference: &RunReference,
) -> Result<Run> {
    let run = resolve_run(conn, viewer, reference).await?;
    find_readable_run(conn, viewer, run.id).await
}

/// Finds the only visible run whose id ends like this.
async fn by_end(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    end: &str,
) -> Result<Option<Run>> {
    let backwards: String = end.chars().rev().collect();
    let ids = sqlx::query_scalar!(
        r#"-- reference::by_end
        select id from runs
        where reverse(id::text) collate "C" >= $1 and reverse(id::text) collate "C" < $1 || 'g'
        order by id desc
        limit $2"#,
        backwards,
        MAX_CANDIDATES
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut found = Vec::new();
    for id in ids {
        match find_run(conn, viewer, id).await {
            Err(Error::NotFound(_)) => {}
            run => found.push(run?),
        }
    }
    if found.len() > 1 {
        let numbers: Vec<String> = found.iter().map(|run| format!("#{}", run.number)).collect();
        let message = format!(
            "`{end}` is the end of the ids of several runs: {}; name one by its number",
            numbers.join(", ")
        );
        return Err(Error::invalid("run", message));
    }
    Ok(found.pop())
}

async fn newest_of(conn: &mut PgConnection, owner_id: i64) -> Result<Option<Uuid>> {
    let id = sqlx::query_scalar!(
        "-- reference::newest_of
        select id from runs where owner_id = $1 and deleted_at is null order by id desc limit 1",
        owner_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

async fn id_of(conn: &mut PgConnection, number: i64) -> Result<Option<Uuid>> {
    let id = sqlx::query_scalar!(
        "-- reference::id_of
        select id from runs where number = $1",
        number
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

impl RunReference {
    fn named(&self) -> Result<Named> {
        let text = self.0.trim().to_ascii_lowercase();
        if text == "last" {
            return Ok(Named::Last);
        }
        if let Ok(id) = Uuid::try_parse(&text) {
            return Ok(Named::Id(id));
        }
        let is_end = (SHORTEST_END..36).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        let digits = text.strip_prefix('#').unwrap_or(&text);
        if digits.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(number) = digits.parse()
        {
            return Ok(Named::Number(number, is_end.then(|| text.clone())));
        }
        if is_end {
            return Ok(Named::End(text));
        }
        Err(Error::invalid(
            "run",
            format!(
                "must be a run: its number such as `128`, its id, the last {SHORTEST_END} or more characters of its id, or `last`"
            ),
        ))
    }
}

impl From<Uuid> for RunReference {
    fn from(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

impl FromStr for RunReference {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RunReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RunReference {
    /// Accepts a number or a string.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a run: its number, its id, the end of its id, or `last`"
        )]
        enum Written {
            Number(i64),
            Text(String),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_in_four_ways() {
        let check = |text: &str, expect: Option<Named>| {
            assert_eq!(RunReference(text.to_owned()).named().ok(), expect, "{text}");
        };
        let id = "0190c5a4-0000-7000-8000-00000000abcd";
        check("last", Some(Named::Last));
        check(" LAST ", Some(Named::Last));
        check(id, Some(Named::Id(id.parse().unwrap())));
        check("7", Some(Named::Number(7, None)));
        check("#7", Some(Named::Number(7, None)));
        check("1234", Some(Named::Number(1234, Some("1234".into()))));
        check("#1234", Some(Named::Number(1234, None)));
        check("ABcd", Some(Named::End("abcd".into())));
        check(
            "00-8000-00000000abcd",
            Some(Named::End("00-8000-00000000abcd".into())),
        );
        // More digits than a number can have, but valid as the end of an id.
        check(
            "99999999999999999999",
            Some(Named::End("99999999999999999999".into())),
        );
        for wrong in [
            "", "#", "abc", "xyzw", "first", "-1", "1.5", "#abcd", "12 34", "ｌast",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn json_takes_numbers_and_texts() {
        let check = |json: &str, expect: Option<&str>| {
            let found: Option<RunReference> = serde_json::from_str(json).ok();
            assert_eq!(found.map(|found| found.0).as_deref(), expect, "{json}");
        };
        check("128", Some("128"));
        check("\"#128\"", Some("#128"));
        check("true", None);
    }
}
