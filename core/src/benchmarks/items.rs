//! Checking stored items: a fault that every evaluation of an item would end with is found before a call is paid.
//!
//! Versions are checked when they are published; this is for those that were published under older rules.

use futures::TryStreamExt as _;
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::check::fault;
use crate::{
    Result,
    scorers::{Effort, Scorer, ScorerSpec},
};

/// The rules that items are checked by when a version is published. Goes up with each new rule: items of older versions are
/// then checked when a run is submitted.
pub(super) const ITEM_RULES: i16 = 1;

/// Says what is wrong with one of the first so many items of a version, if something is.
///
/// # Errors
/// The database does not answer.
pub async fn faulty_item(
    conn: &mut PgConnection,
    benchmark_version_id: Uuid,
    items: i32,
) -> Result<Option<String>> {
    let version = sqlx::query!(
        r#"-- items::faulty_item
        select item_rules, scorers as "scorers: Json<Vec<ScorerSpec>>" from benchmark_versions where id = $1"#,
        benchmark_version_id
    )
    .fetch_one(&mut *conn)
    .await?;
    if version.item_rules >= ITEM_RULES {
        return Ok(None);
    }
    let scorers = match compile(&version.scorers) {
        Ok(scorers) => scorers,
        Err(message) => return Ok(Some(message)),
    };
    let mut rows = sqlx::query!(
        r#"-- items::faulty_item
        select key, vars as "vars: Json<Map<String, Value>>", expected, scorers as "scorers: Json<Vec<ScorerSpec>>"
        from items
        where benchmark_version_id = $1 and position < $2
        order by position"#,
        benchmark_version_id,
        items
    )
    .fetch(conn);
    let mut found = None;
    // Read to the end: what is left of a stream would have to be read by whoever uses the connection next.
    while let Some(item) = rows.try_next().await? {
        if found.is_some() {
            continue;
        }
        let own = item
            .scorers
            .as_ref()
            .map(|specs| compile(specs))
            .transpose();
        found = match &own {
            Err(message) => Some(format!("of the item `{}`: {message}", item.key)),
            Ok(own) => fault(
                &item.key,
                (item.expected.as_ref(), &item.vars),
                own.as_deref().unwrap_or(&scorers),
                &Effort::default(),
            ),
        };
    }
    Ok(found)
}

fn compile(specs: &[ScorerSpec]) -> std::result::Result<Vec<Scorer>, String> {
    let compiled = specs.iter().map(Scorer::compile);
    compiled
        .map(|scorer| scorer.map_err(|error| format!("a scorer is at fault: {error}")))
        .collect()
}
