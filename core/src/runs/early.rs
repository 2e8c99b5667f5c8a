//! Early stopping: columns whose place among the others is decided are not asked any more.
//!
//! Now and then whoever closes a shard looks: [`stats::settled`] compares the columns on the items that are complete. The
//! look begins from the evaluations each time, so that looking twice changes nothing and losing a look loses nothing; and
//! it comes again when the run has grown by a quarter of what it has read, so that all looks together cost no more than a
//! few times the last. When to look is free, since the comparison is right at any time.
//!
//! Items count in their order and without gaps: an item that is slow to answer is waited for, and not passed over. An
//! item's score is the mean over its repeats; evaluations that failed, and items that one of two columns has no score for,
//! are left out, as they are in standings and comparisons.

use std::collections::HashMap;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{RunShape, RunState, bells::tell, extend::load_shape};
use crate::{Error, Result, models::dollars, stats};

/// The most columns of a run that stops early: every two of them are compared.
pub(super) const MAX_COLUMNS: usize = 100;
/// No look is sooner than so many items after the one before.
const ITEMS_BETWEEN: i64 = 20;
/// So many items tell two columns apart of which one is always right and the other always wrong.
pub(super) const LEAST_ITEMS: u32 = 16;
/// How sure the whole order is.
const CONFIDENCE: f64 = 0.95;
/// About so many evaluations are read at once, which bounds the memory.
const READ_AT_ONCE: i64 = 50_000;

/// The positions of a column's prompt version and model.
type ColumnKey = (i16, i16);

/// The settled columns of a run, each with the item from which on it is not asked any more.
pub(super) type Settled = HashMap<ColumnKey, i32>;

/// Compares the columns of a run that stops early, if that is due, and settles those whose place is decided.
///
/// # Errors
/// The database does not answer; another look comes later.
pub(super) async fn look(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let shape = load_shape(conn, run_id).await?;
    let Some(recorded) = take_look(conn, run_id, shape).await? else {
        return Ok(()); // Somebody else looks, or the run has ended.
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
    // No connection to the database waits in a transaction meanwhile.
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
        tracing::info!(run.id = %run_id, run.settled = settled.len() + newly.len(), items, "columns have their place");
    }
    Ok(())
}

/// What a run that has ended says about what it did not ask; nothing when it asked everything.
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
            "{skipped} of {planned} evaluations have no answer: the run that is scored again stopped early"
        );
        return Ok(Some(text));
    }
    let decided = if i64::from(run.settled) == run.columns {
        format!(
            "decided after {} of {planned} evaluations; {skipped} were not asked",
            grouped(run.recorded)
        )
    } else {
        format!(
            "the places of {} of {} columns were decided early; {skipped} of {planned} evaluations were not asked",
            run.settled, run.columns
        )
    };
    Ok(Some(match run.saved_microusd {
        0 => decided,
        saved => format!("{decided}, about {} saved", about(saved)),
    }))
}

/// Opens the columns of a run again. The caller's transaction extends the run.
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

/// The columns of a run that have their place.
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

/// Takes the look that is due, so that nobody else does. Returns how many evaluations are recorded.
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

/// How many of the first items have no evaluation that is still to do.
async fn complete_items(conn: &mut PgConnection, run_id: Uuid, shape: RunShape) -> Result<i32> {
    let first_open = sqlx::query_scalar!(
        "-- early::complete_items
        select min(first_ordinal) from shards where run_id = $1 and state in ('available', 'running')",
        run_id
    )
    .fetch_one(conn)
    .await?;
    // A run that was extended meanwhile has other ordinals, and settles nothing by this look.
    let first_open = first_open.filter(|ordinal| *ordinal < shape.evaluations());
    Ok(first_open.map_or(shape.items, |ordinal| shape.key(ordinal).item))
}

/// The scores of these columns on the first items.
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

/// Settles columns, and says when to look again.
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
    // A run that has ended meanwhile may have been extended: then these were other columns.
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

/// How many evaluations an item has in so many columns.
fn per_item(shape: RunShape, columns: usize) -> i64 {
    i64::from(shape.repeats) * i64::try_from(columns).unwrap_or(i64::MAX)
}

/// Money to the cent, as far as there are cents.
fn about(microusd: i64) -> String {
    const CENT: i64 = 10_000;
    if microusd < CENT {
        return dollars(microusd);
    }
    dollars((microusd + CENT / 2) / CENT * CENT)
}

/// A count with its thousands apart.
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

    /// No two columns differ more, and with more of them each pair has to be surer.
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
