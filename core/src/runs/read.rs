//! Reading runs.

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

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "run_state", rename_all = "snake_case")]
pub enum RunState {
    /// No result yet.
    Queued,
    /// Some results.
    Running,
    /// Waits for its owner: no new call begins until it is resumed.
    Paused,
    /// All results; the standings are being computed.
    Finishing,
    /// Ended, with results.
    Completed,
    /// Ended by its owner.
    Cancelled,
    /// Ended without results.
    Failed,
}

impl RunState {
    /// True when nothing will change any more.
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
    /// A short number, which names the run wherever its id does.
    pub number: i64,
    /// The name that its owner gave it.
    pub name: String,
    /// The name of its owner.
    pub owner: String,
    /// `slug@number` of the benchmark version; `(hidden)` when you may no longer see it.
    pub benchmark: String,
    /// `slug@number` of each prompt version, by position; `(hidden)` for one that you may no longer see.
    pub prompts: Vec<String>,
    /// True when its benchmark or one of its prompts may no longer be seen by you: their owners have narrowed or deleted
    /// them. The numbers of the run stay, what was asked and answered does not.
    pub parts_hidden: bool,
    /// `provider:name` of each model, by position.
    pub models: Vec<String>,
    /// What is sent along with every call of each model, by position.
    #[schema(value_type = Vec<Object>)]
    pub parameters: Vec<Value>,
    /// May answers of earlier runs of its owner be taken, and its own be kept for later ones?
    pub cache: bool,
    /// The run whose answers it scores, without calling a model; null for a run that asks.
    pub answers_of: Option<Uuid>,
    /// Are columns not asked any more once their place among the others is decided?
    pub stop_early: bool,
    /// How many columns have their place, and are not asked any more.
    pub settled: i32,
    /// True when some of its answers are simulated, or mere echoes.
    pub simulated: bool,
    /// Where it stands.
    pub state: RunState,
    /// Why it stands there, if there is something to say.
    pub state_reason: String,
    /// What its evaluations wait for at the moment, though nobody has paused it: a provider that is down, say. It goes on
    /// by itself.
    pub waiting_reason: Option<String>,
    /// Each step doubles the share of the workers that it gets.
    pub priority: i16,
    /// Who may see it, as its owner wished. Nobody who may not see its benchmark and all of its prompts can read it.
    pub visibility: Visibility,
    /// How often each item is asked.
    pub repeats: i16,
    /// The seed.
    pub seed: i64,
    /// Evaluations to do.
    pub planned: i64,
    /// Evaluations done.
    pub recorded: i64,
    /// Evaluations that will not be done, since the place of their column is decided.
    pub skipped: i64,
    /// Evaluations that passed.
    pub passed: i64,
    /// Evaluations that ended in an error.
    pub errors: i64,
    /// Calls that were repeated after a failure.
    pub retries: i64,
    /// Micro-dollars, once for each recorded evaluation.
    pub cost_microusd: i64,
    /// Evaluations with an answer whose cost is unknown, so that `cost_microusd` lacks them; a price of 0 is known.
    #[serde(default)]
    pub unpriced: i64,
    /// Micro-dollars, every call counted.
    pub spend_microusd: i64,
    /// The most micro-dollars that it may spend; null for no bound.
    pub budget_microusd: Option<i64>,
    /// Micro-dollars that are reserved for calls that may run now; only with a budget.
    pub reserved_microusd: i64,
    /// Micro-dollars of calls that may have been paid for without telling their cost, at most; only with a budget.
    pub unaccounted_microusd: i64,
    /// Tokens of all prompts.
    pub input_tokens: i64,
    /// Tokens of all answers.
    pub output_tokens: i64,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// When it was submitted, or last resumed, retried or extended: how long it took is counted from here.
    pub active_since: DateTime<Utc>,
    /// When the first result came in.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When its outputs, and the reasons of its scorers, were forgotten; null while they are there.
    pub pruned_at: Option<DateTime<Utc>>,
}

/// The run of an id. Its owner finds it always, with the names of parts that they may no longer see left out.
///
/// # Errors
/// [`Error::NotFound`], also for a run of somebody else that the viewer may not read, or a part of which.
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

/// The run of an id, if the viewer may read all that it holds: items, prompts, answers, scores and reasons.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] for a run of the viewer's own with a part that they may no longer see.
pub async fn find_readable_run(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    run_id: Uuid,
) -> Result<Run> {
    let run = find_run(conn, viewer, run_id).await?;
    if run.parts_hidden {
        return Err(Error::Forbidden(
            "the benchmark of this run, or one of its prompts, was made private or deleted by its owner; \
             you see the numbers of your run, but no longer what was asked and answered",
        ));
    }
    Ok(run)
}

/// A page of the viewer's own runs and of those that everybody may read, newest first.
///
/// # Errors
/// The database does not answer.
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
               runs.cache, runs.answers_of, stop_early, settled, runs.state as "state: RunState", state_reason,
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
