//! Ranks a board: the significant differences are stored with the standings, so that reading compares nothing.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{CONFIDENCE, refresh::MeasuredRun, renew::Board, size::max_provisional};
use crate::{
    Error, Result,
    stats::{self, RankEntry},
};

/// Compares all standings of a board, and gives each its range of ranks.
pub(super) async fn rank_board(tx: &mut PgConnection, board: Board) -> Result<()> {
    let (ids, entries) = load_entries(tx, board).await?;
    let (ranks, verdicts) = away(move || {
        let scores: Vec<f64> = entries.iter().map(|entry| entry.score).collect();
        let verdicts = stats::verdicts(&entries, 0, 1.0 - CONFIDENCE);
        let ranks = stats::place(&scores, |better, worse| verdicts.says(better, worse));
        (ranks, verdicts)
    })
    .await?;
    let narrow = |rank: usize| i32::try_from(rank).unwrap_or(i32::MAX);
    let lows: Vec<i32> = ranks.iter().map(|rank| narrow(rank.rank_low)).collect();
    let highs: Vec<i32> = ranks.iter().map(|rank| narrow(rank.rank_high)).collect();
    let groups: Vec<i32> = ranks.iter().map(|rank| narrow(rank.tie_group)).collect();
    let (mut better, mut worse) = (Vec::new(), Vec::new());
    for (i, first) in ids.iter().enumerate() {
        for (j, second) in ids.iter().enumerate() {
            if verdicts.says(i, j) {
                better.push(*first);
                worse.push(*second);
            }
        }
    }
    sqlx::query!(
        "-- ranking::rank_board
        update standings
        set rank_low = ranked.low, rank_high = ranked.high, tie_group = ranked.tie_group,
            worse_than = coalesce(beaten.by, '{}')
        from unnest($1::bigint[], $2::int[], $3::int[], $4::int[]) as ranked (id, low, high, tie_group)
        left join (select worse, array_agg(better) as by from unnest($5::bigint[], $6::bigint[]) as pair (better, worse)
                   group by worse) as beaten on beaten.worse = ranked.id
        where standings.id = ranked.id
          and (standings.rank_low, standings.rank_high, standings.tie_group, standings.worse_than)
              is distinct from (ranked.low, ranked.high, ranked.tie_group, coalesce(beaten.by, '{}'))",
        &ids,
        &lows,
        &highs,
        &groups,
        &better,
        &worse
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Compares the best columns of an open run with the standings of each board that shows them. The standings themselves
/// are not changed.
pub(super) async fn rank_provisional(
    tx: &mut PgConnection,
    run: &MeasuredRun,
    simulated: bool,
) -> Result<()> {
    let columns = sqlx::query!(
        r#"-- ranking::rank_provisional
        select prompt_version_id, model_id, score, item_scores as "item_scores: Vec<Option<f32>>"
        from provisional_standings
        where run_id = $1 and simulated = $2
        order by score desc, prompt_version_id, model_id
        limit $3"#,
        run.id,
        simulated,
        max_provisional(run.shape.items)
    )
    .fetch_all(&mut *tx)
    .await?;
    // A standing's id belongs to one board, so that the results for several boards can be stored together.
    let mut said: HashMap<(Uuid, Uuid), (Vec<i64>, Vec<i64>)> = HashMap::new();
    for board in run.boards(simulated) {
        let (ids, mut entries) = load_entries(tx, board).await?;
        entries.extend(columns.iter().map(|column| RankEntry {
            score: column.score,
            item_scores: column.item_scores.clone(),
        }));
        let newcomers = ids.len();
        let compare = move || stats::verdicts(&entries, newcomers, 1.0 - CONFIDENCE);
        let verdicts = away(compare).await?;
        for (at, column) in columns.iter().enumerate() {
            let at = ids.len() + at;
            let (worse_than, better_than) = said
                .entry((column.prompt_version_id, column.model_id))
                .or_default();
            for (other, id) in ids.iter().enumerate() {
                if verdicts.says(other, at) {
                    worse_than.push(*id);
                }
                if verdicts.says(at, other) {
                    better_than.push(*id);
                }
            }
        }
    }
    for ((prompt_version_id, model_id), (worse_than, better_than)) in said {
        sqlx::query!(
            "-- ranking::rank_provisional
            update provisional_standings set worse_than = $4, better_than = $5
            where run_id = $1 and prompt_version_id = $2 and model_id = $3",
            run.id,
            prompt_version_id,
            model_id,
            &worse_than,
            &better_than
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// The standings of a board with the score of each item.
async fn load_entries(tx: &mut PgConnection, board: Board) -> Result<(Vec<i64>, Vec<RankEntry>)> {
    let rows = sqlx::query!(
        r#"-- ranking::load_entries
        select id, score, item_scores as "item_scores: Vec<Option<f32>>"
        from standings
        where benchmark_version_id = $1 and simulated = $2 and audience_id is not distinct from $3
        order by score desc, prompt_version_id, model_id"#,
        board.benchmark_version_id,
        board.simulated,
        board.audience.id()
    )
    .fetch_all(tx)
    .await?;
    let entries = rows.into_iter().map(|row| {
        let entry = RankEntry {
            score: row.score,
            item_scores: row.item_scores,
        };
        (row.id, entry)
    });
    Ok(entries.unzip())
}

/// Runs a computation that may take seconds outside the async threads.
async fn away<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Internal("the ranking broke off".into()))
}
