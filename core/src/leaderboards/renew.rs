//! Rebuilds boards from the points of runs: when a run ends, and when the visible runs have changed.
//!
//! A line of a board is the point of its column with the most items, and of those the newest, among the runs of the
//! board's audience. A board has only its best lines, up to its maximum size. So narrowing the visibility of a run,
//! deleting it or hiding a column brings the earlier result back, and nothing hidden remains in ranks, trends or
//! counts.

use futures::TryStreamExt as _;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{audience::Audience, ranking::rank_board, refresh::tell, size::max_lines};
use crate::{Result, stats};

/// Maximum number of lines of a board that is rebuilt while the caller waits; larger boards are rebuilt by the next
/// scheduler.
const SMALL_BOARD: i64 = 100;
/// Maximum number of items of its benchmark version.
const SMALL_ITEMS: i32 = 2_000;

/// One board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Board {
    pub(super) benchmark_version_id: Uuid,
    pub(super) simulated: bool,
    pub(super) audience: Audience,
}

/// Rebuilds every board that is marked as stale. Safe to call at any time, also concurrently by several processes.
///
/// # Errors
/// The database does not respond; boards that are not finished stay marked.
pub async fn renew_stale_boards(conn: &mut PgConnection) -> Result<()> {
    loop {
        let stale = sqlx::query!(
            "-- renew::renew_stale_boards
            select benchmark_version_id, simulated, audience_id from stale_boards order by id limit 1"
        )
        .fetch_optional(&mut *conn)
        .await?;
        let Some(stale) = stale else {
            return Ok(());
        };
        let board = Board {
            benchmark_version_id: stale.benchmark_version_id,
            simulated: stale.simulated,
            audience: Audience::of(stale.audience_id),
        };
        renew_if_stale(conn, board).await?;
    }
}

/// Rebuilds the stale boards of a run's benchmark version if they are small, so that a user sees a change at once;
/// large ones are left to the schedulers.
///
/// # Errors
/// The database does not respond; boards that are not finished stay marked.
pub async fn renew_small_boards(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let benchmark_version_id = sqlx::query_scalar!(
        "-- renew::renew_small_boards
        select benchmark_version_id from runs where id = $1",
        run_id
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(benchmark_version_id) = benchmark_version_id else {
        return Ok(());
    };
    let stale = sqlx::query!(
        r#"-- renew::renew_small_boards
        select distinct stale_boards.simulated, stale_boards.audience_id
        from stale_boards
        join benchmark_versions on benchmark_versions.id = benchmark_version_id
        where benchmark_version_id = $1 and item_count <= $2
          and (select count(*) from standing_points points
               where points.benchmark_version_id = $1 and points.simulated = stale_boards.simulated) <= $3"#,
        benchmark_version_id,
        SMALL_ITEMS,
        SMALL_BOARD
    )
    .fetch_all(&mut *conn)
    .await?;
    for row in stale {
        let board = Board {
            benchmark_version_id,
            simulated: row.simulated,
            audience: Audience::of(row.audience_id),
        };
        renew_if_stale(conn, board).await?;
    }
    Ok(())
}

async fn renew_if_stale(conn: &mut PgConnection, board: Board) -> Result<()> {
    let mut tx = conn.begin().await?;
    lock_boards(&mut tx, board.benchmark_version_id).await?;
    // Boards that are marked after this statement are rebuilt again.
    let marks = sqlx::query!(
        "-- renew::renew_if_stale
        delete from stale_boards
        where benchmark_version_id = $1 and simulated = $2 and audience_id is not distinct from $3",
        board.benchmark_version_id,
        board.simulated,
        board.audience.id()
    )
    .execute(&mut *tx)
    .await?;
    if marks.rows_affected() > 0 {
        renew_board(&mut tx, board, None).await?;
        tell(&mut tx, board.benchmark_version_id).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Locks the boards of a benchmark version until the transaction ends.
pub(super) async fn lock_boards(tx: &mut PgConnection, benchmark_version_id: Uuid) -> Result<()> {
    sqlx::query_scalar!(
        r#"-- renew::lock_boards
        select pg_advisory_xact_lock(hashtextextended($1, 0)) is null as "locked""#,
        benchmark_version_id.to_string()
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Rebuilds the lines of a board, all of them or those of a run's columns, and ranks the board. The caller holds its
/// lock.
pub(super) async fn renew_board(
    tx: &mut PgConnection,
    board: Board,
    columns_of: Option<Uuid>,
) -> Result<()> {
    let (lines, max_lines) = count_lines(tx, board).await?;
    // A full board has excluded lines, one of which may have to replace a line that got worse.
    let columns_of = columns_of.filter(|_| lines < max_lines);
    let runs = counted_runs(tx, board, columns_of).await?;
    choose_lines(tx, board, columns_of, &runs, max_lines).await?;
    keep_best(tx, board, max_lines).await?;
    renew_trends(tx, board, columns_of, &runs).await?;
    rank_board(tx, board).await
}

/// The number of lines of a board, and its maximum.
pub(super) async fn count_lines(conn: &mut PgConnection, board: Board) -> Result<(i64, i64)> {
    let row = sqlx::query!(
        r#"-- renew::count_lines
        select item_count,
               (select count(*) from standings
                where benchmark_version_id = benchmark_versions.id and simulated = $2
                  and audience_id is not distinct from $3) as "lines!"
        from benchmark_versions where id = $1"#,
        board.benchmark_version_id,
        board.simulated,
        board.audience.id()
    )
    .fetch_one(conn)
    .await?;
    Ok((row.lines, max_lines(row.item_count)))
}

/// Deletes the lines with the lowest scores that exceed the board's maximum size.
async fn keep_best(tx: &mut PgConnection, board: Board, max_lines: i64) -> Result<()> {
    sqlx::query!(
        "-- renew::keep_best
        delete from standings
        where id in (select id from standings
                     where benchmark_version_id = $1 and simulated = $2 and audience_id is not distinct from $3
                     order by score desc, id
                     offset $4)",
        board.benchmark_version_id,
        board.simulated,
        board.audience.id(),
        max_lines
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The runs that count on the board.
async fn counted_runs(
    tx: &mut PgConnection,
    board: Board,
    columns_of: Option<Uuid>,
) -> Result<Vec<Uuid>> {
    let runs = sqlx::query_scalar!(
        r#"-- renew::counted_runs
        with measured as materialized (
            select distinct run_id from standing_points points
            where benchmark_version_id = $1 and simulated = $2
              and ($4::uuid is null
                   or exists (select from standing_points own
                              where own.run_id = $4 and own.prompt_version_id = points.prompt_version_id
                                and own.model_id = points.model_id))
        )
        select run_id as "run_id!" from public_runs(array(select run_id from measured)) as run_id
        where $3::bigint is null
        union all
        select id from runs
        where id in (select run_id from measured) and owner_id = $3 and deleted_at is null"#,
        board.benchmark_version_id,
        board.simulated,
        board.audience.id(),
        columns_of
    )
    .fetch_all(tx)
    .await?;
    Ok(runs)
}

async fn choose_lines(
    tx: &mut PgConnection,
    board: Board,
    columns_of: Option<Uuid>,
    runs: &[Uuid],
    max_lines: i64,
) -> Result<()> {
    sqlx::query!(
        "-- renew::choose_lines
        with newest as (
            select distinct on (prompt_version_id, model_id) points.*
            from standing_points points
            where benchmark_version_id = $1 and simulated = $2 and run_id = any($5)
              and ($4::uuid is null
                   or exists (select from standing_points own
                              where own.run_id = $4 and own.prompt_version_id = points.prompt_version_id
                                and own.model_id = points.model_id))
              and not exists (select from hidden_columns hidden
                              where hidden.run_id = points.run_id
                                and hidden.prompt_version_id = points.prompt_version_id
                                and hidden.model_id = points.model_id
                                and (hidden.hidden_by = 'owner' or $3::bigint is null))
            order by prompt_version_id, model_id, items desc, measured_at desc, run_id desc
        ), chosen as materialized (
            select * from newest
            order by (figures ->> 'score')::float8 desc, prompt_version_id, model_id
            limit $6
        ), gone as (
            delete from standings
            where benchmark_version_id = $1 and simulated = $2 and audience_id is not distinct from $3
              and ($4::uuid is null
                   or exists (select from standing_points own
                              where own.run_id = $4 and own.prompt_version_id = standings.prompt_version_id
                                and own.model_id = standings.model_id))
              and not exists (select from chosen
                              where chosen.prompt_version_id = standings.prompt_version_id
                                and chosen.model_id = standings.model_id)
        )
        insert into standings (audience_id, benchmark_version_id, prompt_version_id, model_id, run_id, simulated,
            evaluations, errors, item_scores, figures, rank_low, rank_high, tie_group, runs, stopped_early, updated_at)
        select $3, benchmark_version_id, prompt_version_id, model_id, run_id, simulated,
            evaluations, errors, item_scores, figures, 0, 0, 0, 1, stopped_early, measured_at
        from chosen
        on conflict on constraint standings_column_key do update
        set run_id = excluded.run_id, evaluations = excluded.evaluations, errors = excluded.errors,
            item_scores = excluded.item_scores, figures = excluded.figures, stopped_early = excluded.stopped_early,
            updated_at = excluded.updated_at
        where (standings.run_id, standings.updated_at) is distinct from (excluded.run_id, excluded.updated_at)",
        board.benchmark_version_id,
        board.simulated,
        board.audience.id(),
        columns_of,
        runs,
        max_lines
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Updates the number of runs of each line's column, and the line's difference from the previous run.
async fn renew_trends(
    tx: &mut PgConnection,
    board: Board,
    columns_of: Option<Uuid>,
    runs: &[Uuid],
) -> Result<()> {
    let mut lines = sqlx::query!(
        r#"-- renew::renew_trends
        with counted as materialized (
            select points.run_id, prompt_version_id, model_id, measured_at
            from standing_points points
            where benchmark_version_id = $1 and simulated = $2 and run_id = any($5)
              and not exists (select from hidden_columns hidden
                              where hidden.run_id = points.run_id
                                and hidden.prompt_version_id = points.prompt_version_id
                                and hidden.model_id = points.model_id
                                and (hidden.hidden_by = 'owner' or $3::bigint is null))
        )
        select standings.id, standings.item_scores as "item_scores: Vec<Option<f32>>",
               (select count(*) from counted
                where counted.prompt_version_id = standings.prompt_version_id
                  and counted.model_id = standings.model_id) as "runs!",
               before.item_scores as "before?: Vec<Option<f32>>"
        from standings
        left join lateral (
            select item_scores from standing_points points
            where (points.run_id, points.prompt_version_id, points.model_id) = (
                select counted.run_id, counted.prompt_version_id, counted.model_id
                from counted
                where counted.prompt_version_id = standings.prompt_version_id and counted.model_id = standings.model_id
                  and (counted.measured_at, counted.run_id) < (standings.updated_at, standings.run_id)
                order by counted.measured_at desc, counted.run_id desc
                limit 1)
        ) before on true
        where benchmark_version_id = $1 and simulated = $2 and audience_id is not distinct from $3
          and ($4::uuid is null
               or exists (select from standing_points own
                          where own.run_id = $4 and own.prompt_version_id = standings.prompt_version_id
                            and own.model_id = standings.model_id))"#,
        board.benchmark_version_id,
        board.simulated,
        board.audience.id(),
        columns_of,
        runs
    )
    .fetch(&mut *tx);
    let (mut ids, mut counts) = (Vec::new(), Vec::new());
    let (mut trends, mut lows, mut highs) = (Vec::new(), Vec::new(), Vec::new());
    // Line by line: twice the scores of all items of all lines would take much memory.
    while let Some(line) = lines.try_next().await? {
        let before = line.before.as_deref();
        let trend = before
            .map(|before| stats::paired_difference(&line.item_scores, before))
            .filter(|trend| trend.shared_items > 0);
        let interval = trend.and_then(|trend| trend.interval);
        let interval = interval.map(|interval| interval.within(-1.0, 1.0));
        ids.push(line.id);
        counts.push(i32::try_from(line.runs.max(1)).unwrap_or(i32::MAX));
        trends.push(trend.map(|trend| trend.difference));
        lows.push(interval.map(|interval| interval.low));
        highs.push(interval.map(|interval| interval.high));
    }
    drop(lines);
    sqlx::query!(
        "-- renew::renew_trends
        update standings
        set runs = line.runs, trend = line.trend, trend_low = line.low, trend_high = line.high
        from unnest($1::bigint[], $2::int[], $3::float8[], $4::float8[], $5::float8[])
             as line (id, runs, trend, low, high)
        where standings.id = line.id
          and (standings.runs, standings.trend, standings.trend_low, standings.trend_high)
              is distinct from (line.runs, line.trend, line.low, line.high)",
        &ids,
        &counts,
        &trends as _,
        &lows as _,
        &highs as _
    )
    .execute(tx)
    .await?;
    Ok(())
}
