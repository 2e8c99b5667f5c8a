//! Reads runs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    paging::Page,
};

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "run_state", rename_all = "snake_case")]
pub enum RunState {
    /// No shard claimed yet since it was submitted, retried or extended.
    Queued,
    /// A shard was claimed.
    Running,
    /// Waits for its owner: no new calls start until it is resumed.
    Paused,
    /// All results are recorded; the standings are being computed.
    Finishing,
    /// Ended, with results.
    Completed,
    /// Ended by its owner.
    Cancelled,
    /// Ended without results.
    Failed,
}

impl RunState {
    /// Returns whether the state is final.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of its own in the API, and they are independent"
)]
pub struct Run {
    /// The run's id.
    pub id: Uuid,
    /// A short number that identifies the run, as an alternative to its id.
    pub number: i64,
    /// The name given by its owner.
    pub name: String,
    /// The name of its owner.
    pub owner: String,
    /// `slug@number` of the benchmark version; `(hidden)` if you may no longer see it.
    pub benchmark: String,
    /// `slug@number` of each prompt version, by position; `(hidden)` if you may no longer see it.
    pub prompts: Vec<String>,
    /// Whether you may no longer see its benchmark or one of its prompts, because their owners restricted or deleted
    /// them. Counters and scores stay visible, prompts, items and responses do not.
    pub parts_hidden: bool,
    /// `provider:name` of each model, by position.
    pub models: Vec<String>,
    /// The parameters sent with every call of each model, by position.
    #[schema(value_type = Vec<Object>)]
    pub parameters: Vec<Value>,
    /// Whether it uses cached responses of its owner's earlier runs, and adds its own to the cache.
    pub cache: bool,
    /// The run whose responses it rescores without calling a model; null for a run that calls models.
    pub answers_of: Option<Uuid>,
    /// Whether it stops early: the remaining evaluations of a column are skipped once its place is decided.
    pub stop_early: bool,
    /// Number of concurrent calls to each provider, per worker process; null if workers find it by themselves.
    pub concurrency: Option<i32>,
    /// Number of columns whose place is decided, so that their remaining evaluations are skipped.
    pub settled: i32,
    /// Whether some of its models are simulated or echo the prompt.
    pub simulated: bool,
    /// The state of the run.
    pub state: RunState,
    /// The reason of the state, if any.
    pub state_reason: String,
    /// What its evaluations are waiting for although it is not paused, such as a provider that is down. It continues
    /// automatically.
    pub waiting_reason: Option<String>,
    /// Each step doubles its share of the workers.
    pub priority: i16,
    /// Its visibility as set by its owner. Users who may not see its benchmark and all of its prompts cannot read it.
    pub visibility: Visibility,
    /// Number of repeats of each item.
    pub repeats: i16,
    /// The seed.
    pub seed: i64,
    /// Number of planned evaluations.
    pub planned: i64,
    /// Number of recorded evaluations.
    pub recorded: i64,
    /// Number of evaluations skipped because the place of their column is decided.
    pub skipped: i64,
    /// Number of evaluations that passed.
    pub passed: i64,
    /// Number of evaluations that ended in an error.
    pub errors: i64,
    /// Number of retried calls.
    pub retries: i64,
    /// Cost of the recorded evaluations in micro-dollars, each counted once.
    pub cost_microusd: i64,
    /// Number of evaluations with a response of unknown cost, which `cost_microusd` does not include; a price of 0 is
    /// known.
    #[serde(default)]
    pub unpriced: i64,
    /// Spend in micro-dollars, including every call.
    pub spend_microusd: i64,
    /// Maximum spend in micro-dollars; null for no budget.
    pub budget_microusd: Option<i64>,
    /// Micro-dollars reserved for calls in flight; only with a budget.
    pub reserved_microusd: i64,
    /// Maximum cost of calls that may have been paid for but whose cost is unknown, in micro-dollars; only with a
    /// budget.
    pub unaccounted_microusd: i64,
    /// Number of input tokens.
    pub input_tokens: i64,
    /// Number of output tokens.
    pub output_tokens: i64,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// When it was submitted, or last resumed, retried or extended: its duration is measured from here.
    pub active_since: DateTime<Utc>,
    /// When its first shard was claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When its outputs and the reasons of its scorers were pruned; null if they are still stored.
    pub pruned_at: Option<DateTime<Utc>>,
}

/// Finds a run by id. Its owner always finds it, without the names of parts that they may no longer see.
///
/// # Errors
/// [`Error::NotFound`], also for another user's run if the viewer may not read it or a part of it.
pub async fn find_run(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    run_id: Uuid,
) -> Result<Run> {
    let runs = select_runs(conn, viewer, Some(run_id), None, 1).await?;
    runs.into_iter()
        .next()
        .ok_or_else(|| Error::NotFound(format!("the run `{run_id}`")))
}

/// Finds a run by id, if the viewer may read all of it: items, prompts, responses, scores and reasons.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] for the viewer's own run with a part that they may no longer see.
pub async fn find_readable_run(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    run_id: Uuid,
) -> Result<Run> {
    let run = find_run(conn, viewer, run_id).await?;
    if run.parts_hidden {
        return Err(Error::Forbidden(
            "the benchmark of this run, or one of its prompts, was made private or deleted by its owner; \
             you can see the counters of your run, but no longer its prompts, items and responses",
        ));
    }
    Ok(run)
}

/// Returns a page of the viewer's own runs and of public runs, newest first.
///
/// # Errors
/// The database does not respond.
pub async fn list_runs(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Run>> {
    let runs = select_runs(conn, viewer, None, before, limit + 1).await?;
    Ok(Page::cut(runs, limit, |run| run.id.to_string()))
}

async fn select_runs(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    run_id: Option<Uuid>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Run>> {
    let runs = sqlx::query_as!(
        Run,
        r#"-- read::select_runs
        select runs.id, runs.number, runs.name, users.username as owner,
               case when can_see_part(benchmarks.visibility, benchmarks.owner_id, false,
                                      benchmarks.deleted_at is not null or benchmark_versions.withdrawn_at is not null,
                                      runs.owner_id, $3, $4)
                    then benchmarks.slug || '@' || benchmark_versions.number else '(hidden)' end as "benchmark!",
               array(select case when can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                                   prompt_versions.withdrawn_at is not null, runs.owner_id, $3, $4)
                                 then prompts.slug || '@' || prompt_versions.number else '(hidden)' end
                     from run_prompts
                     join prompt_versions on prompt_versions.id = prompt_version_id
                     join prompts on prompts.id = prompt_id
                     where run_id = runs.id order by position) as "prompts!",
               not can_see_parts(runs.id, $3, $4) as "parts_hidden!",
               array(select providers.name || ':' || models.name
                     from run_models
                     join models on models.id = model_id
                     join providers on providers.id = provider_id
                     where run_id = runs.id order by position) as "models!",
               array(select models.parameters
                     from run_models
                     join models on models.id = model_id
                     where run_id = runs.id order by position) as "parameters!",
               exists(select 1 from run_models
                      join models on models.id = model_id
                      join providers on providers.id = provider_id
                      where run_id = runs.id and providers.kind in ('simulated', 'echo')) as "simulated!",
               runs.cache, runs.answers_of, stop_early, runs.concurrency, settled, runs.state as "state: RunState", state_reason,
               case when runs.state not in ('queued', 'running') then null
                    when waiting_until > now() then waiting_reason
                    else no_worker_reason(runs.created_at) end as waiting_reason,
               priority, runs.visibility as "visibility: Visibility",
               repeats, seed, planned, counts.recorded as "recorded!", counts.skipped as "skipped!", counts.passed as "passed!",
               counts.errors as "errors!", counts.retries as "retries!", counts.cost_microusd as "cost_microusd!",
               counts.unpriced as "unpriced!", counts.spend_microusd as "spend_microusd!",
               budget_microusd, reserved_microusd, unaccounted_microusd, counts.input_tokens as "input_tokens!",
               counts.output_tokens as "output_tokens!", runs.created_at, active_since, started_at, finished_at, pruned_at
        from runs
        join run_counts as counts on counts.run_id = runs.id
        join users on users.id = runs.owner_id
        join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_id
        where ($1::uuid is null or runs.id = $1)
          and ($2::uuid is null or runs.id < $2)
          and runs.deleted_at is null
          and (runs.owner_id = $3
               or case when $1 is null then runs.visibility = 'public' and is_public_run(runs.id)
                       else can_see_run(runs.id, $3, $4) end)
        order by runs.id desc
        limit $5"#,
        run_id,
        before,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(runs)
}
