//! Reading runs and their evaluations.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{EvaluationKey, Logprobs, ScoredLine};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    library::Page,
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
pub struct Run {
    /// The run's id.
    pub id: Uuid,
    /// The name that its owner gave it.
    pub name: String,
    /// The name of its owner.
    pub owner: String,
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// `slug@number` of each prompt version, by position.
    pub prompts: Vec<String>,
    /// `provider:name` of each model, by position.
    pub models: Vec<String>,
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
    /// Who may see it.
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
    /// When the first result came in.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When its outputs, and the reasons of its scorers, were forgotten; null while they are there.
    pub pruned_at: Option<DateTime<Utc>>,
}

/// A recorded evaluation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Evaluation {
    /// The item's position in the benchmark version.
    pub item_position: i32,
    /// The item's own id.
    pub item: String,
    /// Counts from 0.
    pub repeat: i16,
    /// The prompt version's position in the run.
    pub prompt_position: i16,
    /// The model's position in the run.
    pub model_position: i16,
    /// Weighted mean of the scorers.
    pub score: Option<f32>,
    /// Did every scorer pass?
    pub passed: Option<bool>,
    /// What each scorer said.
    #[schema(value_type = Option<Vec<ScoredLine>>)]
    pub scores: Option<Json<Vec<ScoredLine>>>,
    /// What the model said.
    pub output: Option<String>,
    /// How likely the model thought the tokens of its answer; null unless the model's parameters ask for that
    /// (`logprobs`).
    #[schema(value_type = Option<Logprobs>)]
    pub logprobs: Option<Json<Logprobs>>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// The kind of failure.
    pub error_kind: Option<String>,
    /// What failed.
    pub error: Option<String>,
    /// How many calls it took.
    pub attempts: i16,
    /// Milliseconds to the last byte.
    pub latency_ms: Option<i32>,
    /// Milliseconds to the first piece of text.
    pub first_token_ms: Option<i32>,
    /// Tokens of the prompt.
    pub input_tokens: Option<i32>,
    /// Tokens of the prompt that the provider had in its cache; absent when it did not say.
    pub cached_input_tokens: Option<i32>,
    /// Tokens of the answer.
    pub output_tokens: Option<i32>,
    /// Tokens of the answer that were spent on reasoning; absent when the provider did not say.
    pub reasoning_tokens: Option<i32>,
    /// Micro-dollars; absent when the price is unknown.
    pub cost_microusd: Option<i64>,
    /// True when the answer was there already: latency and cost are those of the call that was made for it, and nothing
    /// was spent.
    pub cached: bool,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// The run of an id.
///
/// # Errors
/// [`Error::NotFound`], also for a private run of somebody else.
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

/// A page of the runs that the viewer may find, newest first.
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
        select runs.id, runs.name, users.username as owner,
               benchmarks.slug || '@' || benchmark_versions.number as "benchmark!",
               array(select prompts.slug || '@' || prompt_versions.number
                     from run_prompts
                     join prompt_versions on prompt_versions.id = prompt_version_id
                     join prompts on prompts.id = prompt_id
                     where run_id = runs.id order by position) as "prompts!",
               array(select providers.name || ':' || models.name
                     from run_models
                     join models on models.id = model_id
                     join providers on providers.id = provider_id
                     where run_id = runs.id order by position) as "models!",
               exists(select 1 from run_models
                      join models on models.id = model_id
                      join providers on providers.id = provider_id
                      where run_id = runs.id and providers.kind in ('simulated', 'echo')) as "simulated!",
               runs.cache, runs.answers_of, stop_early, settled, runs.state as "state: RunState", state_reason,
               case when runs.state not in ('queued', 'running') then null
                    when waiting_until > now() then waiting_reason
                    else no_worker_reason(runs.created_at) end as waiting_reason,
               priority, runs.visibility as "visibility: Visibility",
               repeats, seed, planned, recorded, skipped, passed, errors, retries, cost_microusd, spend_microusd,
               budget_microusd, reserved_microusd, unaccounted_microusd, input_tokens, output_tokens, runs.created_at, started_at, finished_at, pruned_at
        from runs
        join users on users.id = runs.owner_id
        join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_id
        where ($1::uuid is null or runs.id = $1)
          and ($2::uuid is null or runs.id < $2)
          and (runs.visibility = 'public' or runs.owner_id = $3
               or ($1 is not null and (runs.visibility = 'unlisted' or $4)))
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

/// A page of a run's evaluations in the order of their keys, after `after`.
///
/// # Errors
/// The database does not answer.
pub async fn list_evaluations(
    conn: &mut PgConnection,
    run_id: Uuid,
    after: Option<EvaluationKey>,
    errors_only: bool,
    limit: i64,
) -> Result<Vec<Evaluation>> {
    let after = after.unwrap_or(EvaluationKey {
        item: -1,
        ..EvaluationKey::default()
    });
    let evaluations = sqlx::query_as!(
        Evaluation,
        r#"-- read::list_evaluations
        select item_position, items.key as item, repeat, prompt_position, model_position, score, evaluations.passed,
               scores as "scores: Json<Vec<ScoredLine>>", output, logprobs as "logprobs: Json<Logprobs>", finish_reason, error_kind, error, attempts,
               latency_ms, first_token_ms, evaluations.input_tokens, cached_input_tokens,
               evaluations.output_tokens, reasoning_tokens, evaluations.cost_microusd, cached, recorded_at
        from evaluations
        join runs on runs.id = run_id
        join items on items.benchmark_version_id = runs.benchmark_version_id and items.position = item_position
        where run_id = $1
          and (item_position, repeat, prompt_position, model_position) > ($2, $3, $4, $5)
          and (not $6 or evaluations.state = 'error')
        order by item_position, repeat, prompt_position, model_position
        limit $7"#,
        run_id,
        after.item,
        after.repeat,
        after.prompt,
        after.model,
        errors_only,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(evaluations)
}
