//! Submits runs: inserts a validated request and divides it into shards, or enqueues a job for that, in one
//! transaction.
//!
//! Writes a few shards, never evaluations: its duration does not depend on the number of evaluations.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Run,
    check::{Checked, check},
    cut::cut,
    find_run,
    quota::check_quota,
    rules::{RunRules, check_spender},
};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    bounds,
    library::PromptVersion,
    models::{ModelRequest, check_keys},
    quotas::count_run,
};

/// A request for a run: each item of a benchmark, with every prompt on every model, repeated.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRun {
    /// `slug` or `slug@number`; without a number, the newest version.
    pub benchmark: String,
    /// `slug`, `slug@number` or `slug@alias` each; without a version, the newest.
    pub prompts: Vec<String>,
    /// `provider:name` each, or an object with parameters.
    pub models: Vec<ModelRequest>,
    /// Number of repeats of each item, 1 to 1,000.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 1000)]
    pub repeats: i32,
    /// Number of items, from the start of the benchmark; absent: all.
    #[schema(minimum = 1)]
    pub limit: Option<i32>,
    /// Maximum spend of the run in micro-dollars, at which it pauses. Absent: no limit.
    #[serde(
        default,
        deserialize_with = "bounds::optional_microusd",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub budget_microusd: Option<i64>,
    /// -5 to 5: each step doubles the run's share of the workers relative to other runs. Only administrators may set
    /// more than 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schema(minimum = -5, maximum = 5)]
    pub priority: i16,
    /// Whether cached responses of your earlier runs are used instead of new calls, and those of this run are cached;
    /// absent: true. A cached response matches by model, parameters, messages, seed and repeat. Its latency and cost
    /// are those of the original call, and nothing is spent.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub cache: bool,
    /// Whether columns (a prompt on a model) stop early. A column is settled once it is significantly better or worse
    /// than each other one; its remaining evaluations are skipped, and the run ends when all columns are settled. Equal
    /// columns are never settled, so they run to the end. The order is correct with 95 % confidence, for items whose
    /// order is unrelated to the columns. For at most 100 columns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop_early: bool,
    /// Number of concurrent calls of the run to each provider, per worker process, 1 to 10,000: that many begin at once, and
    /// never more run. If absent, each worker finds the number by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub concurrency: Option<i32>,
    /// The seed, which makes simulated responses, and those of models that accept a seed, reproducible.
    #[serde(default)]
    pub seed: i64,
    /// A name for the run.
    #[serde(default)]
    pub name: String,
    /// Who may see the run: `private`, `unlisted` or `public`, not wider than its benchmark and its prompts. Absent:
    /// the server's default, or narrower if one of them is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

/// Validates and inserts a run, unless a rule forbids it. The same idempotency key with the same request returns the
/// first run. Without a visibility in the request, the run gets the default of the rules, narrowed to its benchmark and
/// its prompts.
///
/// # Errors
/// [`Error::Invalid`] with the path of each invalid field, [`Error::Conflict`] if the key was used for another request,
/// [`Error::QuotaExceeded`], [`Error::EmailNotVerified`].
pub async fn submit_run(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    request: &SubmitRun,
    idempotency_key: Option<&str>,
    rules: &RunRules,
) -> Result<Run> {
    let mut tx = conn.begin().await?;
    check_spender(&mut tx, owner, rules).await?;
    let default = rules.default_visibility;
    let run = find_or_submit(&mut tx, owner, request, idempotency_key, default).await?;
    check_quota(&mut tx, owner, run.id, rules.user_daily_budget).await?;
    tx.commit().await?;
    tracing::info!(
        run.id = %run.id,
        run.planned = run.planned,
        "submitted run {} with {} evaluations",
        run.id,
        run.planned
    );
    Ok(run)
}

/// Returns the run that this request created before, or a new one; `default` is the visibility if the request has none.
async fn find_or_submit(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    request: &SubmitRun,
    idempotency_key: Option<&str>,
    default: Visibility,
) -> Result<Run> {
    let request_hash = hash(request)?;
    let mut tx = conn.begin().await?;
    if let Some(run) = find_earlier(&mut tx, owner, idempotency_key, &request_hash).await? {
        return Ok(run);
    }
    let checked = check(&mut tx, owner, request).await?;
    refuse_without_keys(&mut tx, &checked.model_ids).await?;
    let visibility = checked.parts.choose(request.visibility, default)?;
    let run_id = Uuid::now_v7();
    let inserted = insert_run(
        &mut tx,
        run_id,
        owner,
        request,
        (&checked, visibility),
        idempotency_key,
        &request_hash,
    )
    .await;
    match inserted {
        // A concurrent request with this key was faster: return its run.
        Err(error) if error.violates("runs_idempotency_key") => {
            tx.rollback().await?;
            let earlier = find_earlier(conn, owner, idempotency_key, &request_hash).await?;
            return earlier
                .ok_or_else(|| Error::Internal("an idempotency key is taken by no run".into()));
        }
        other => other?,
    }
    insert_columns(
        &mut tx,
        run_id,
        (0, &checked.prompts),
        (0, &checked.model_ids),
    )
    .await?;
    cut(&mut tx, run_id, checked.shape).await?;
    count_run(&mut tx, owner, run_id, checked.shape.evaluations()).await?;
    let run = find_run(&mut tx, Some(owner), run_id).await?;
    tx.commit().await?;
    Ok(run)
}

/// Refuses models whose provider has no credential: every call would fail. Not part of validation, since estimates need
/// no credentials.
pub(super) async fn refuse_without_keys(tx: &mut PgConnection, model_ids: &[Uuid]) -> Result<()> {
    let mut wrong = Vec::new();
    check_keys(tx, model_ids, &mut wrong).await?;
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(wrong))
    }
}

/// Finds the run that this idempotency key created before, if any.
async fn find_earlier(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    idempotency_key: Option<&str>,
    request_hash: &[u8],
) -> Result<Option<Run>> {
    let Some(key) = idempotency_key else {
        return Ok(None);
    };
    let earlier = sqlx::query!(
        "-- submit::find_earlier
        select id, request_hash, deleted_at from runs where owner_id = $1 and idempotency_key = $2",
        owner.id,
        key
    )
    .fetch_optional(&mut *conn)
    .await?;
    match earlier {
        None => Ok(None),
        Some(earlier) if earlier.deleted_at.is_some() => Err(Error::Conflict(
            "the run of this idempotency key was deleted; use a new key".into(),
        )),
        Some(earlier) if earlier.request_hash.as_deref() == Some(request_hash) => {
            Ok(Some(find_run(conn, Some(owner), earlier.id).await?))
        }
        Some(_) => Err(Error::Conflict(
            "this idempotency key was used for another request; use a new key".into(),
        )),
    }
}

/// Stores the id of the request that submitted a run, so that workers can log it. The first id is kept.
///
/// # Errors
/// The database does not respond.
pub async fn note_request(tx: &mut PgConnection, run_id: Uuid, request_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- submit::note_request
        update runs set request_id = $2 where id = $1 and request_id is null",
        run_id,
        request_id
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_run(
    tx: &mut PgConnection,
    run_id: Uuid,
    owner: &CurrentUser,
    request: &SubmitRun,
    (checked, visibility): (&Checked, Visibility),
    idempotency_key: Option<&str>,
    request_hash: &[u8],
) -> Result<()> {
    sqlx::query!(
        "-- submit::insert_run
        insert into runs (id, owner_id, name, benchmark_version_id, seed, repeats, item_count, visibility,
                          planned, idempotency_key, request_hash, budget_microusd, priority, cache, stop_early,
                          concurrency)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        run_id,
        owner.id,
        request.name,
        checked.benchmark.id,
        request.seed,
        checked.shape.repeats,
        checked.shape.items,
        visibility as Visibility,
        checked.shape.evaluations(),
        idempotency_key,
        idempotency_key.map(|_| request_hash),
        request.budget_microusd,
        request.priority,
        request.cache,
        request.stop_early,
        request.concurrency
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Inserts prompt versions and models, starting at the given positions.
pub(super) async fn insert_columns(
    tx: &mut PgConnection,
    run_id: Uuid,
    (first_prompt, prompts): (i16, &[PromptVersion]),
    (first_model, model_ids): (i16, &[Uuid]),
) -> Result<()> {
    let prompt_version_ids: Vec<Uuid> = prompts.iter().map(|prompt| prompt.id).collect();
    sqlx::query!(
        "-- submit::insert_columns
        insert into run_prompts (run_id, position, prompt_version_id)
        select $1, $3 + ordinality - 1, id from unnest($2::uuid[]) with ordinality as version (id, ordinality)",
        run_id,
        &prompt_version_ids,
        i64::from(first_prompt)
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- submit::insert_columns
        insert into run_models (run_id, position, model_id)
        select $1, $3 + ordinality - 1, id from unnest($2::uuid[]) with ordinality as model (id, ordinality)",
        run_id,
        model_ids,
        i64::from(first_model)
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn hash(request: &SubmitRun) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(request)
        .map_err(|error| Error::Internal(format!("a request does not serialise: {error}")))?;
    Ok(Sha256::digest(text).to_vec())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &i16) -> bool {
    *number == 0
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_yes(answer: &bool) -> bool {
    *answer
}

fn one() -> i32 {
    1
}
