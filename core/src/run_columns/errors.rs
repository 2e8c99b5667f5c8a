//! Why evaluations of a run failed, column by column.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::ErrorKind;
use crate::{Result, leaderboards::ColumnKey};

/// Number of errors that are read to find the most frequent messages.
const ERRORS_LOOKED_AT: i64 = 20_000;
/// The characters of a message that are kept.
const MESSAGE_CHARACTERS: i32 = 500;

/// The kinds of error of each column, the most frequent first.
pub(super) async fn error_kinds(
    conn: &mut PgConnection,
    run_id: Uuid,
) -> Result<Vec<(ColumnKey, ErrorKind)>> {
    let counts = sqlx::query!(
        r#"-- run_columns::error_kinds
        select prompt_position, model_position, error_kind as "kind!", count(*) as "evaluations!"
        from evaluations
        where run_id = $1 and state = 'error'
        group by 1, 2, 3
        order by 4 desc, 3"#,
        run_id
    )
    .fetch_all(&mut *conn)
    .await?;
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let messages = sqlx::query!(
        r#"-- run_columns::error_kinds
        with looked_at as (
            select item_position, prompt_position, model_position, error_kind,
                   left(coalesce(error, ''), $3) as message
            from evaluations
            where run_id = $1 and state = 'error'
            order by item_position, repeat, prompt_position, model_position
            limit $2
        ), messages as (
            select prompt_position, model_position, error_kind, message, count(*) as evaluations,
                   min(item_position) as first_item
            from looked_at
            group by 1, 2, 3, 4
        ), commonest as (
            select distinct on (prompt_position, model_position, error_kind) *
            from messages
            order by prompt_position, model_position, error_kind, evaluations desc, first_item
        )
        select prompt_position as "prompt_position!", model_position as "model_position!", error_kind as "kind!",
               message as "message!", evaluations as "evaluations!", items.key as item
        from commonest
        join runs on runs.id = $1
        join items on items.benchmark_version_id = runs.benchmark_version_id and items.position = first_item"#,
        run_id,
        ERRORS_LOOKED_AT,
        MESSAGE_CHARACTERS
    )
    .fetch_all(conn)
    .await?;
    let mut messages: HashMap<(ColumnKey, String), (String, i64, String)> = messages
        .into_iter()
        .map(|row| {
            let key = ((row.prompt_position, row.model_position), row.kind);
            (key, (row.message, row.evaluations, row.item))
        })
        .collect();
    let kinds = counts.into_iter().map(|row| {
        let column = (row.prompt_position, row.model_position);
        let found = messages.remove(&(column, row.kind.clone()));
        let (message, message_evaluations, item) = found.unwrap_or_default();
        let kind = ErrorKind {
            kind: row.kind,
            evaluations: row.evaluations,
            message,
            message_evaluations,
            item,
        };
        (column, kind)
    });
    Ok(kinds.collect())
}
