//! Early stopping: skips the remaining evaluations of columns whose place in the ranking is decided.
//!
//! From time to time, the worker that ends a shard compares the columns on the complete items ([`stats::settled`]).
//! Each comparison starts from the stored evaluations, so that comparing twice changes nothing and losing a comparison
//! loses nothing. The next one is due when the run has grown by a quarter of the evaluations read, so that all of them
//! together cost no more than a few times the last. They may happen at any time, since the comparison is anytime-valid.
//!
//! Items count in order and without gaps: a slow item is waited for, not skipped. An item's score is the mean over its
//! repeats; failed evaluations, and items without a score in one of two columns, are left out, as in standings and
//! comparisons.

use std::collections::HashMap;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{RunShape, RunState, bells::tell, extend::load_shape};
use crate::{Error, Result, models::dollars, stats};

/// Maximum number of columns of a run that stops early: they are compared pairwise.
pub(super) const MAX_COLUMNS: usize = 100;
/// Minimum number of items between two comparisons.
const ITEMS_BETWEEN: i64 = 20;
/// Items needed to separate two columns of which one is always right and the other always wrong.
pub(super) const LEAST_ITEMS: u32 = 16;
/// Confidence level of the whole order.
const CONFIDENCE: f64 = 0.95;
/// Approximate number of evaluations read at once, which bounds the memory.
const READ_AT_ONCE: i64 = 50_000;

/// The positions of a column's prompt version and model.
type ColumnKey = (i16, i16);

/// The settled columns of a run, each with the first item that is skipped.
pub(super) type Settled = HashMap<ColumnKey, i32>;

/// Compares the columns of a run that stops early, if it is due, and settles those whose place is decided.
///
/// # Errors
/// The database does not respond; a later comparison makes up for it.
pub(super) async fn look(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let shape = load_shape(conn, run_id).await?;
    let Some(recorded) = take_look(conn, run_id, shape).await? else {
        return Ok(()); // Another worker compares, or the run has ended.
    };
    let items = complete_items(conn, run_id, shape).await?;
    let settled = load_settled(conn, run_id).await?;
    let columns: Vec<ColumnKey> = (0..shape.prompts)
        .flat_map(|prompt| (0..shape.models).map(move |model| (prompt, model)))
        .collect();
    let open: Vec<ColumnKey> = columns
        .iter()
        .filter(|column| !settled.contains_key(column))
        .copied()
        .collect();
    let scores = load_scores(conn, run_id, shape, items, &open).await?;
    let count = columns.len();
    // No database transaction is open meanwhile.
    let decided = tokio::task::spawn_blocking(move || stats::settled(&scores, count, CONFIDENCE))
        .await
        .map_err(|error| Error::Internal(format!("comparing columns failed: {error}")))?;
    let newly: Vec<ColumnKey> = open
        .iter()
        .zip(decided)
        .filter_map(|(column, decided)| decided.then_some(*column))
        .collect();
    let read = i64::from(items) * per_item(shape, open.len());
    settle(conn, run_id, shape, &newly, items, recorded + read / 4).await?;
    if !newly.is_empty() {
        tracing::info!(
            run.id = %run_id,
            run.settled = settled.len() + newly.len(),
            items,
            "the places of {} columns of run {run_id} are decided after {items} items",
            settled.len() + newly.len()
        );
    }
    Ok(())
}

/// The remark of an ended run about skipped evaluations; `None` if there are none.
pub(crate) async fn early_remark(tx: &mut PgConnection, run_id: Uuid) -> Result<Option<String>> {
    let run = sqlx::query!(
        r#"-- early::early_remark
        select planned, recorded, skipped, settled, answers_of,
               (select count(*) from run_prompts where run_id = $1) * (select count(*) from run_models where run_id = $1)
                   as "columns!",
               (select coalesce(sum(spent * (item_count::bigint * repeats - asked) / asked), 0)::bigint
                from (select count(*) as asked, coalesce(sum(cost_microusd) filter (where not cached), 0) as spent
                      from evaluations
                      where run_id = $1 and skipped > 0
                      group by prompt_position, model_position) as columns) as "saved_microusd!"
        from runs where id = $1"#,
        run_id
    )
    .fetch_one(tx)
    .await?;
    if run.skipped == 0 {
        return Ok(None);
    }
    let (planned, skipped) = (grouped(run.planned), grouped(run.skipped));
    if run.answers_of.is_some() {
        let text = format!(
            "{skipped} of {planned} evaluations have no response: the rescored run stopped early"
        );
        return Ok(Some(text));
    }
    let decided = if i64::from(run.settled) == run.columns {
        format!(
            "decided after {} of {planned} evaluations; {skipped} were skipped",
            grouped(run.recorded)
        )
    } else {
        format!(
            "the places of {} of {} columns were decided early; {skipped} of {planned} evaluations were skipped",
            run.settled, run.columns
        )
    };
    Ok(Some(match run.saved_microusd {
        0 => decided,
        saved => format!("{decided}, about {} saved", about(saved)),
    }))
}

/// Unsettles the columns of a run. The caller's transaction extends the run.
pub(super) async fn unsettle(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- early::unsettle
        delete from settled_columns where run_id = $1",
        run_id
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- early::unsettle
        update runs set settled = 0 where id = $1",
        run_id
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Loads the settled columns of a run.
pub(super) async fn load_settled(conn: &mut PgConnection, run_id: Uuid) -> Result<Settled> {
    let rows = sqlx::query!(
        "-- early::load_settled
        select prompt_position, model_position, from_item from settled_columns where run_id = $1",
        run_id
    )
    .fetch_all(conn)
    .await?;
    let settled = rows
        .into_iter()
        .map(|row| ((row.prompt_position, row.model_position), row.from_item));
    Ok(settled.collect())
}

/// Claims the comparison that is due, so that no other worker makes it. Returns the number of recorded evaluations.
async fn take_look(conn: &mut PgConnection, run_id: Uuid, shape: RunShape) -> Result<Option<i64>> {
    let columns = usize::from(shape.prompts.unsigned_abs() * shape.models.unsigned_abs());
    let recorded = sqlx::query_scalar!(
        "-- early::take_look
        update runs set next_look = recorded + $2
        where id = $1 and stop_early and recorded >= next_look and state in ('queued', 'running', 'paused')
        returning recorded",
        run_id,
        ITEMS_BETWEEN * per_item(shape, columns)
    )
    .fetch_optional(conn)
    .await?;
    Ok(recorded)
}

/// Returns how many of the first items have no open evaluations.
async fn complete_items(conn: &mut PgConnection, run_id: Uuid, shape: RunShape) -> Result<i32> {
    let first_open = sqlx::query_scalar!(
        "-- early::complete_items
        select min(first_ordinal) from shards where run_id = $1 and state in ('available', 'running')",
        run_id
    )
    .fetch_one(conn)
    .await?;
    // A run that was extended meanwhile has other ordinals; its columns are not settled by this comparison.
    let first_open = first_open.filter(|ordinal| *ordinal < shape.evaluations());
    Ok(first_open.map_or(shape.items, |ordinal| shape.key(ordinal).item))
}

/// Loads the scores of these columns on the first items.
async fn load_scores(
    conn: &mut PgConnection,
    run_id: Uuid,
    shape: RunShape,
    items: i32,
    open: &[ColumnKey],
) -> Result<Vec<Vec<Option<f32>>>> {
    let slots: HashMap<ColumnKey, usize> = open.iter().copied().zip(0..).collect();
    let mut scores = vec![vec![None; usize::try_from(items).unwrap_or(0)]; open.len()];
    let step = READ_AT_ONCE / per_item(shape, open.len()).max(1);
    let step = i32::try_from(step).unwrap_or(i32::MAX).max(1);
    let mut first = 0;
    while first < items {
        let end = first.saturating_add(step).min(items);
        let columns = sqlx::query!(
            r#"-- early::load_scores
            select prompt_position, model_position, array_agg(item_position) as "items!", array_agg(score) as "scores!"
            from (select prompt_position, model_position, item_position, avg(score)::real as score
                  from evaluations
                  where run_id = $1 and item_position >= $2 and item_position < $3 and score is not null
                  group by prompt_position, model_position, item_position) as means
            group by prompt_position, model_position"#,
            run_id,
            first,
            end
        )
        .fetch_all(&mut *conn)
        .await?;
        for column in columns {
            let Some(slot) = slots.get(&(column.prompt_position, column.model_position)) else {
                continue;
            };
            for (item, score) in column.items.iter().zip(column.scores) {
                if let Ok(item) = usize::try_from(*item) {
                    scores[*slot][item] = Some(score);
                }
            }
        }
        first = end;
    }
    Ok(scores)
}

/// Settles columns and schedules the next comparison.
async fn settle(
    conn: &mut PgConnection,
    run_id: Uuid,
    shape: RunShape,
    columns: &[ColumnKey],
    from_item: i32,
    next_look: i64,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let run = sqlx::query!(
        r#"-- early::settle
        select state as "state: RunState", planned from runs where id = $1 for update"#,
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    // A run that ended meanwhile may have been extended: then these were other columns.
    let open = matches!(
        run.state,
        RunState::Queued | RunState::Running | RunState::Paused
    );
    if !open || run.planned != shape.evaluations() {
        return Ok(());
    }
    let prompts: Vec<i16> = columns.iter().map(|(prompt, _)| *prompt).collect();
    let models: Vec<i16> = columns.iter().map(|(_, model)| *model).collect();
    sqlx::query!(
        "-- early::settle
        insert into settled_columns (run_id, prompt_position, model_position, from_item)
        select $1, prompt, model, $4 from unnest($2::smallint[], $3::smallint[]) as settled (prompt, model)
        on conflict do nothing",
        run_id,
        &prompts,
        &models,
        from_item
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- early::settle
        update runs
        set settled = (select count(*) from settled_columns where run_id = $1), next_look = greatest(next_look, $2)
        where id = $1",
        run_id,
        next_look
    )
    .execute(&mut *tx)
    .await?;
    if !columns.is_empty() {
        tell(&mut tx, run_id).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The number of evaluations per item in this many columns.
fn per_item(shape: RunShape, columns: usize) -> i64 {
    i64::from(shape.repeats) * i64::try_from(columns).unwrap_or(i64::MAX)
}

/// Formats money to the cent, or exactly below a cent.
fn about(microusd: i64) -> String {
    const CENT: i64 = 10_000;
    if microusd < CENT {
        return dollars(microusd);
    }
    dollars((microusd + CENT / 2) / CENT * CENT)
}

/// Formats a count with thousands separators.
fn grouped(count: i64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        for (count, expect) in [
            (0, "0"),
            (999, "999"),
            (3_200, "3,200"),
            (16_800_000, "16,800,000"),
        ] {
            assert_eq!(grouped(count), expect);
        }
        for (microusd, expect) in [
            (1_203_456, "$1.20"),
            (995_000, "$1.00"),
            (10_000, "$0.01"),
            (1_234, "$0.001234"),
        ] {
            assert_eq!(about(microusd), expect);
        }
    }

    /// No two columns differ more than these, and more columns require more confidence for each pair.
    #[test]
    fn no_fewer_items_tell_two_columns_apart() {
        let settled = |items| {
            let columns = [vec![Some(1.0); items], vec![Some(0.0); items]];
            stats::settled(&columns, 2, CONFIDENCE) == [true, true]
        };
        let least = (1..100).find(|items| settled(*items));
        assert_eq!(least, Some(LEAST_ITEMS as usize));
    }
}
