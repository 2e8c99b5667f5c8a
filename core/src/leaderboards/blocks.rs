//! Blocks: ranges of items by which an open run is summarised once all of their evaluations are recorded.
//!
//! The summary of a block is computed only from its evaluations, so that computing it twice changes nothing, and losing
//! it loses nothing. Recording evaluations does not depend on it.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt as _;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::summary::{Counted, Histogram, Summary, Sums};
use crate::{Result, runs::RunShape};

/// The approximate number of blocks of a run.
const AIMED_BLOCKS: i32 = 200;
/// The approximate number of evaluations that are read at once, which limits memory.
const READ_AT_ONCE: i64 = 50_000;

/// A column of a run: the positions of its prompt version and its model.
pub(crate) type ColumnKey = (i16, i16);

/// Summarises every column of a run that has a recorded evaluation.
pub(crate) async fn summarise_run(
    conn: &mut PgConnection,
    run_id: Uuid,
    shape: RunShape,
) -> Result<BTreeMap<ColumnKey, Summary>> {
    Blocks::of(run_id, shape).load(conn, true).await
}

/// The division of a run into blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    run_id: Uuid,
    shape: RunShape,
    items_per_block: i32,
}

impl Blocks {
    pub(super) fn of(run_id: Uuid, shape: RunShape) -> Self {
        Self {
            run_id,
            shape,
            items_per_block: blocks_of(shape.items, AIMED_BLOCKS).max(1),
        }
    }

    /// Summarises and stores the blocks that no open shard touches and that are not stored yet.
    pub(super) async fn keep_complete(self, conn: &mut PgConnection) -> Result<()> {
        let mut wanted = self.missing(conn).await?;
        for shard in self.load_open_shards(conn).await? {
            wanted.retain(|block| !shard.contains(block));
        }
        for range in self.ranges(&wanted) {
            for (column, summary) in self.sum_up(conn, range).await? {
                self.keep(conn, column, &summary).await?;
            }
        }
        Ok(())
    }

    /// The summary of every column over all stored blocks, and with `whole` also over the rest of the run.
    pub(super) async fn load(
        self,
        conn: &mut PgConnection,
        whole: bool,
    ) -> Result<BTreeMap<ColumnKey, Summary>> {
        let mut columns = self.load_kept(conn).await?;
        if whole {
            let missing = self.missing(conn).await?;
            for range in self.ranges(&missing) {
                for (column, summary) in self.sum_up(conn, range).await? {
                    columns.entry(column).or_default().take_in(&summary);
                }
            }
        }
        let items = usize::try_from(self.shape.items).unwrap_or(0);
        for summary in columns.values_mut() {
            summary.item_scores.resize(items, None);
        }
        Ok(columns)
    }

    fn count(self) -> i32 {
        blocks_of(self.shape.items, self.items_per_block)
    }

    /// The blocks that are not stored.
    async fn missing(self, conn: &mut PgConnection) -> Result<BTreeSet<i32>> {
        let kept = sqlx::query_scalar!(
            "-- blocks::missing
            select distinct first_item from run_summaries where run_id = $1",
            self.run_id
        )
        .fetch_all(conn)
        .await?;
        let mut missing: BTreeSet<i32> = (0..self.count()).collect();
        for first_item in kept {
            missing.remove(&(first_item / self.items_per_block));
        }
        Ok(missing)
    }

    /// The blocks that each open shard touches.
    async fn load_open_shards(
        self,
        conn: &mut PgConnection,
    ) -> Result<Vec<std::ops::RangeInclusive<i32>>> {
        let shards = sqlx::query!(
            "-- blocks::load_open_shards
            select first_ordinal, size from shards where run_id = $1 and state in ('available', 'running')",
            self.run_id
        )
        .fetch_all(conn)
        .await?;
        let block_of = |ordinal| self.shape.key(ordinal).item / self.items_per_block;
        let mut touched: Vec<_> = shards
            .iter()
            .map(|shard| {
                let last = shard.first_ordinal + i64::from(shard.size) - 1;
                block_of(shard.first_ordinal)..=block_of(last)
            })
            .collect();
        touched.sort_unstable_by_key(|blocks| (*blocks.start(), *blocks.end()));
        touched.dedup();
        Ok(touched)
    }

    /// Ranges of items that cover the blocks, each short enough to be read at once.
    fn ranges(self, blocks: &BTreeSet<i32>) -> Vec<(i32, i32)> {
        let evaluations = self.shape.evaluations() / i64::from(self.shape.items.max(1));
        let most = i32::try_from(READ_AT_ONCE / evaluations.max(1)).unwrap_or(i32::MAX);
        let mut ranges: Vec<(i32, i32)> = Vec::new();
        for block in blocks {
            let first = block * self.items_per_block;
            let end = (first + self.items_per_block).min(self.shape.items);
            match ranges.last_mut() {
                Some(range) if range.1 == first && end - range.0 <= most => range.1 = end,
                _ => ranges.push((first, end)),
            }
        }
        ranges
    }

    /// Reads the evaluations of a range of items, and summarises them by block and column.
    async fn sum_up(
        self,
        conn: &mut PgConnection,
        (first, end): (i32, i32),
    ) -> Result<Vec<(ColumnKey, Summary)>> {
        // One row per column with arrays is a tenth of the cost of one row per evaluation.
        let columns = sqlx::query!(
            r#"-- blocks::sum_up
            select prompt_position, model_position,
                   array_agg(item_position) as "items!", array_agg(state = 'error') as "failed!",
                   array_agg(score) as "scores!: Vec<Option<f32>>", array_agg(passed) as "passed!: Vec<Option<bool>>",
                   array_agg(cost_microusd) as "costs!: Vec<Option<i64>>",
                   array_agg(latency_ms) as "latencies!: Vec<Option<i32>>",
                   array_agg(first_token_ms) as "first_tokens!: Vec<Option<i32>>",
                   array_agg(output_tokens) as "output_tokens!: Vec<Option<i32>>",
                   array_agg(reasoning_tokens) as "reasoning_tokens!: Vec<Option<i32>>"
            from evaluations
            where run_id = $1 and item_position >= $2 and item_position < $3
            group by prompt_position, model_position"#,
            self.run_id,
            first,
            end
        )
        .fetch_all(conn)
        .await?;
        let mut found = Vec::new();
        for row in &columns {
            let mut blocks: BTreeMap<i32, Vec<Counted>> = BTreeMap::new();
            for (at, item) in row.items.iter().enumerate() {
                let block = blocks.entry(item / self.items_per_block).or_default();
                block.push(Counted {
                    item: *item,
                    failed: row.failed[at],
                    score: row.scores[at],
                    passed: row.passed[at],
                    cost_microusd: row.costs[at],
                    latency_ms: row.latencies[at],
                    first_token_ms: row.first_tokens[at],
                    output_tokens: row.output_tokens[at],
                    reasoning_tokens: row.reasoning_tokens[at],
                });
            }
            for (block, evaluations) in blocks {
                let first = block * self.items_per_block;
                let end = (first + self.items_per_block).min(self.shape.items);
                let count = usize::try_from(end - first).unwrap_or(0);
                let summary = Summary::of(first, count, evaluations.into_iter());
                found.push(((row.prompt_position, row.model_position), summary));
            }
        }
        Ok(found)
    }

    async fn keep(
        self,
        conn: &mut PgConnection,
        (prompt_position, model_position): ColumnKey,
        summary: &Summary,
    ) -> Result<()> {
        let (latencies, latency_counts) = summary.latencies.parts();
        let (first_tokens, first_token_counts) = summary.first_tokens.parts();
        sqlx::query!(
            "-- blocks::keep
            insert into run_summaries (run_id, first_item, prompt_position, model_position, sums, item_scores, item_passes,
                item_costs, latencies_ms, latency_counts, first_tokens_ms, first_token_counts)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            on conflict do nothing",
            self.run_id,
            summary.first_item,
            prompt_position,
            model_position,
            Json(summary.sums) as _,
            &summary.item_scores as _,
            &summary.item_passes,
            &summary.item_costs as _,
            &latencies,
            &latency_counts,
            &first_tokens,
            &first_token_counts
        )
        .execute(conn)
        .await?;
        Ok(())
    }

    /// The stored summaries by column; read row by row, because all rows together may be large.
    async fn load_kept(self, conn: &mut PgConnection) -> Result<BTreeMap<ColumnKey, Summary>> {
        let mut columns: BTreeMap<ColumnKey, Summary> = BTreeMap::new();
        let mut rows = sqlx::query!(
            r#"-- blocks::load_kept
            select first_item, prompt_position, model_position, sums as "sums: Json<Sums>",
                   item_scores as "item_scores: Vec<Option<f32>>", item_passes,
                   item_costs as "item_costs: Vec<Option<i64>>", latencies_ms, latency_counts, first_tokens_ms,
                   first_token_counts
            from run_summaries
            where run_id = $1"#,
            self.run_id
        )
        .fetch(conn);
        while let Some(row) = rows.try_next().await? {
            let column = (row.prompt_position, row.model_position);
            let summary = Summary {
                first_item: row.first_item,
                sums: row.sums.0,
                item_scores: row.item_scores,
                item_passes: row.item_passes,
                item_costs: row.item_costs,
                latencies: Histogram::of(&row.latencies_ms, &row.latency_counts),
                first_tokens: Histogram::of(&row.first_tokens_ms, &row.first_token_counts),
            };
            columns.entry(column).or_default().take_in(&summary);
        }
        Ok(columns)
    }
}

/// The number of blocks of this size for this number of items; the last one may be smaller.
fn blocks_of(items: i32, size: i32) -> i32 {
    items / size + i32::from(items % size > 0)
}
