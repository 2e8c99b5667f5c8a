//! A standing as shown on a board, and the query for the standings of a board.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    BoardFilter, Figures,
    renew::Board,
    size::{MAX_LINES, max_provisional},
};
use crate::{
    Result,
    auth::CurrentUser,
    stats::{FrontierPlace, Rank},
};

/// One line of a leaderboard.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// One plus the number of standings that are significantly better.
    pub rank_low: i32,
    /// The number of standings minus those that are significantly worse.
    pub rank_high: i32,
    /// Standings of one group are not significantly different from the group's best.
    pub tie_group: i32,
    /// The place relative to the Pareto frontier of score, cost and latency.
    pub frontier: FrontierPlace,
    /// `slug@number` of the prompt version; `(hidden)` on your own board if you may no longer read the prompt.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// The parameters that are sent with every call.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// True if the model is simulated.
    pub simulated: bool,
    /// True if an administrator or a moderator measured it.
    pub verified: bool,
    /// Number of evaluations, including errors.
    pub evaluations: i64,
    /// Number of evaluations that ended in an error.
    pub errors: i64,
    /// True if the run stopped evaluating this column early, because its place among the run's columns was settled. Its
    /// rank is as reliable as stated; the score of a column that stopped early is slightly biased away from those of
    /// the others.
    pub stopped_early: bool,
    /// Number of completed runs of this column that count on the board.
    pub runs: i32,
    /// The difference from the score of the previous run, on the items of both.
    pub trend: Option<f64>,
    /// Lower bound of the trend's interval; absent if the differences have no spread.
    pub trend_low: Option<f64>,
    /// Upper bound of the trend's interval.
    pub trend_high: Option<f64>,
    /// The measured figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// The run that it comes from.
    pub run_id: Uuid,
    /// When it was computed.
    pub updated_at: DateTime<Utc>,
}

/// A standing with the comparisons behind its rank.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// `None` for a provisional standing.
    pub(super) id: Option<i64>,
    pub(super) prompt_version_id: Uuid,
    pub(super) model_id: Uuid,
    /// Ids of the standings that are significantly better.
    pub(super) worse_than: Vec<i64>,
    /// Ids of the standings that are significantly worse; only for a provisional standing.
    pub(super) better_than: Vec<i64>,
    pub(super) standing: Standing,
}

impl Standing {
    pub(super) fn set_rank(&mut self, rank: Rank) {
        let narrow = |rank: usize| i32::try_from(rank).unwrap_or(i32::MAX);
        self.rank_low = narrow(rank.rank_low);
        self.rank_high = narrow(rank.rank_high);
        self.tie_group = narrow(rank.tie_group);
    }
}

/// The final and the provisional standings of a board that match the filter, best first, at most twice [`MAX_LINES`].
/// Visibility of the runs is checked here again, because a board is only rebuilt some time after a change.
#[expect(clippy::too_many_lines, reason = "one statement and its columns")]
pub(super) async fn load_lines(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    board: Board,
    item_count: i32,
    filter: &BoardFilter,
) -> Result<(Vec<Line>, Vec<Line>)> {
    let rows = sqlx::query!(
        r#"-- standing::load_lines
        with recursive wanted_categories as (
            select slug from categories where slug = $6
            union
            select categories.slug from categories join wanted_categories on categories.parent = wanted_categories.slug
        ), lines as (
            select id, benchmark_version_id, prompt_version_id, model_id, run_id, simulated, evaluations, errors,
                   figures, score, cost_per_1000_microusd, latency_p95_ms, worse_than, '{}'::bigint[] as better_than,
                   stopped_early, runs, trend, trend_low, trend_high, updated_at
            from standings
            where benchmark_version_id = $1 and simulated = $2 and audience_id is not distinct from $11
            union all
            select null, benchmark_version_id, prompt_version_id, model_id, run_id, simulated, evaluations, errors,
                   figures, score, cost_per_1000_microusd, latency_p95_ms, worse_than, better_than,
                   false, 0, null, null, null, updated_at
            from (select provisional_standings.*,
                         row_number() over (partition by run_id order by score desc, prompt_version_id, model_id) as place
                  from provisional_standings
                  where benchmark_version_id = $1 and simulated = $2) as of_open_runs
            where place <= $15
        ), shown_runs as materialized (
            select id from public_runs(array(select run_id from lines)) as id
            where $11::bigint is null
            union all
            select id from runs
            where id in (select run_id from lines) and owner_id = $11 and deleted_at is null
        )
        select lines.id, prompt_version_id as "prompt_version_id!", lines.model_id as "model_id!",
               worse_than as "worse_than!", better_than as "better_than!",
               case when is_seen then prompts.slug || '@' || prompt_versions.number else '(hidden)' end as "prompt!",
               providers.name || ':' || models.name as "model!", models.parameters,
               simulated as "simulated!", users.role in ('admin', 'moderator') and not simulated as "verified!",
               evaluations as "evaluations!", lines.errors as "errors!", figures as "figures!: Json<Figures>",
               stopped_early as "stopped_early!", lines.runs as "runs!", trend, trend_low, trend_high,
               run_id as "run_id!", lines.updated_at as "updated_at!"
        from lines
        join prompt_versions on prompt_versions.id = prompt_version_id
        join prompts on prompts.id = prompt_id
        join models on models.id = model_id
        join providers on providers.id = provider_id
        join runs on runs.id = run_id
        join users on users.id = runs.owner_id
        cross join lateral (
            select can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                prompt_versions.withdrawn_at is not null, runs.owner_id, $3, $4) as is_seen) part
        where run_id in (select id from shown_runs)
          and (lines.id is not null or runs.finished_at is null)
          and not exists (select from hidden_columns hidden
                          where hidden.run_id = lines.run_id and hidden.prompt_version_id = lines.prompt_version_id
                            and hidden.model_id = lines.model_id
                            and (hidden.hidden_by = 'owner' or $11::bigint is null))
          and ($12::text is null or (is_seen and $12 in (prompts.slug, prompts.slug || '@' || prompt_versions.number)))
          and (not $13 or not exists (select from lines others
                                      join prompt_versions newer on newer.id = others.prompt_version_id
                                      where newer.prompt_id = prompts.id and newer.number > prompt_versions.number
                                        and others.run_id in (select id from shown_runs)))
          and ($14::jsonb is null or models.parameters @> $14)
          and ($6::text is null or (is_seen and prompts.category in (select slug from wanted_categories)))
          and ($7::text is null
               or lower(models.name) ~ $7 or lower(providers.name || ':' || models.name) ~ $7)
          and ($8::bigint is null or cost_per_1000_microusd <= $8)
          and ($9::float8 is null or latency_p95_ms <= $9)
          and ($10::timestamptz is null or lines.updated_at >= $10)
          and (not $5 or (users.role in ('admin', 'moderator') and not simulated))
        order by lines.id is null, score desc, 6, 7, lines.model_id, run_id
        limit $16"#,
        board.benchmark_version_id,
        board.simulated,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        filter.verified,
        filter.category,
        filter.family.as_deref().map(family_pattern),
        filter.max_cost_per_1000_microusd,
        filter.max_latency_p95_ms,
        filter.since,
        board.audience.id(),
        filter.prompt.as_deref().map(str::trim),
        filter.newest,
        filter.wanted_parameters()?,
        max_provisional(item_count),
        2 * MAX_LINES
    )
    .fetch_all(conn)
    .await?;
    let lines = rows.into_iter().map(|row| Line {
        id: row.id,
        prompt_version_id: row.prompt_version_id,
        model_id: row.model_id,
        worse_than: row.worse_than,
        better_than: row.better_than,
        standing: Standing {
            rank_low: 0,
            rank_high: 0,
            tie_group: 0,
            frontier: FrontierPlace::On,
            prompt: row.prompt,
            model: row.model,
            parameters: row.parameters,
            simulated: row.simulated,
            verified: row.verified,
            evaluations: row.evaluations,
            errors: row.errors,
            stopped_early: row.stopped_early,
            runs: row.runs,
            trend: row.trend,
            trend_low: row.trend_low,
            trend_high: row.trend_high,
            figures: row.figures.0,
            run_id: row.run_id,
            updated_at: row.updated_at,
        },
    });
    Ok(lines.partition(|line| line.id.is_some()))
}

/// A pattern for names that begin with a family: `gpt-5` matches `gpt-5-mini` but not `gpt-55`.
pub(super) fn family_pattern(family: &str) -> String {
    let mut pattern = String::from("^");
    for character in family.to_lowercase().chars() {
        if !character.is_alphanumeric() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push_str("($|[^a-z0-9])");
    pattern
}
