//! What the scorers of one metric say together, column by column.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{PartScore, groups::score_interval};
use crate::{Result, leaderboards::ColumnKey};

/// Maximum number of metrics whose part scores are summed up. A version has no more, unless it came in parts or is older
/// than this rule.
const MAX_METRICS: i64 = 100;

/// Whether any scorer of the run's benchmark version names a metric.
pub(super) async fn has_part_scores(conn: &mut PgConnection, run_id: Uuid) -> Result<bool> {
    let has = sqlx::query_scalar!(
        r#"-- run_columns::has_part_scores
        select jsonb_path_exists(benchmark_versions.scorers, '$[*].metric')
               or exists(select from items where benchmark_version_id = benchmark_versions.id
                         and items.scorers is not null and jsonb_path_exists(items.scorers, '$[*].metric')) as "has!"
        from runs
        join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
        where runs.id = $1"#,
        run_id
    )
    .fetch_one(conn)
    .await?;
    Ok(has)
}

/// Part scores of each column over the first `items` items. In one evaluation a metric is the weighted mean of its
/// scorers, or their plain mean if all their weights are 0, as [`crate::scorers::combine`] has it; then each item counts the
/// same.
pub(super) async fn part_scores(
    conn: &mut PgConnection,
    run_id: Uuid,
    items: i32,
) -> Result<Vec<(ColumnKey, PartScore)>> {
    let rows = sqlx::query!(
        r#"-- run_columns::part_scores
        with lines as (
            select item_position, repeat, prompt_position, model_position, line ->> 'metric' as metric,
                   (line ->> 'score')::float8 as score,
                   coalesce((coalesce(items.scorers, benchmark_versions.scorers) -> (place - 1)::int ->> 'weight')::float8, 1)
                       as weight
            from runs
            join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
            join evaluations on evaluations.run_id = runs.id
            join items on items.benchmark_version_id = runs.benchmark_version_id and items.position = item_position
            cross join jsonb_array_elements(evaluations.scores) with ordinality as it (line, place)
            where runs.id = $1 and item_position < $2
              and line ->> 'outcome' = 'scored' and line ->> 'metric' is not null
        ), of_evaluations as (
            select item_position, prompt_position, model_position, metric,
                   coalesce(sum(weight * score) / nullif(sum(weight), 0), avg(score)) as score
            from lines
            group by item_position, repeat, prompt_position, model_position, metric
        ), of_items as (
            select prompt_position, model_position, metric, avg(score) as score, count(*) as evaluations
            from of_evaluations
            where metric in (select metric from lines group by metric order by metric limit $3)
            group by item_position, prompt_position, model_position, metric
        )
        select prompt_position, model_position, metric as "metric!", count(*) as "items!",
               sum(evaluations)::bigint as "evaluations!", avg(score) as "score!", stddev_samp(score) as deviation,
               bool_and(score in (0, 1)) as "is_all_or_nothing!"
        from of_items
        group by 1, 2, 3
        order by 1, 2, 3"#,
        run_id,
        items,
        MAX_METRICS
    )
    .fetch_all(conn)
    .await?;
    let parts = rows.into_iter().map(|row| {
        let items = u64::try_from(row.items).unwrap_or(0);
        let interval = score_interval(items, row.score, row.deviation, row.is_all_or_nothing);
        let part = PartScore {
            metric: row.metric,
            items: row.items,
            evaluations: row.evaluations,
            score: row.score,
            score_low: interval.low,
            score_high: interval.high,
        };
        ((row.prompt_position, row.model_position), part)
    });
    Ok(parts.collect())
}
