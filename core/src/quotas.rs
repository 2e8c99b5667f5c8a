//! Quotas: what a user who is not an administrator may use of the bank free of charge.
//!
//! Paid calls are limited by money (`runs/quota.rs`). Free operations still take CPU time and disk space:
//! evaluations on simulated and free models in 24 hours, open runs, and stored bytes. The functions that use them check
//! the quota in their own transaction, so that every way to use them is limited.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::{CurrentUser, UserRole},
};

/// The approximate size of a row in addition to its texts, in bytes: numbers, keys and index entries.
const ROW_BYTES: i64 = 500;

/// The quotas of a user; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Evaluations on free models, in 24 hours.
    pub free_evaluations: Option<i64>,
    /// Number of runs that have not ended.
    pub open_runs: Option<i64>,
    /// Bytes of everything that the user has written or recorded: benchmarks, prompts, outputs, and 500 bytes for each
    /// evaluation.
    pub stored_bytes: Option<i64>,
}

/// The use of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Used {
    /// The amount used.
    pub used: i64,
    /// The maximum; absent if unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<i64>,
}

/// A user's use of all quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Evaluations on free models, requested in the last 24 hours.
    pub free_evaluations: Used,
    /// Number of runs that have not ended.
    pub open_runs: Used,
    /// Bytes of everything that the user has written or recorded: benchmarks, prompts, outputs, and 500 bytes for each
    /// evaluation.
    pub stored_bytes: Used,
}

/// Sets the quotas of all users without quotas of their own who are not administrators.
///
/// # Errors
/// The database does not respond.
pub async fn set_default_quotas(
    conn: &mut PgConnection,
    (free_evaluations, open_runs, stored_bytes): (i64, i64, i64),
) -> Result<()> {
    sqlx::query!(
        "-- quotas::set_default_quotas
        insert into quotas (free_evaluations, open_runs, stored_bytes) values ($1, $2, $3)
        on conflict (singleton) do update
        set free_evaluations = excluded.free_evaluations, open_runs = excluded.open_runs,
            stored_bytes = excluded.stored_bytes",
        free_evaluations,
        open_runs,
        stored_bytes
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sets a user's own quotas; absent ones are the defaults.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`] if there is no such user,
/// [`Error::Invalid`] for a negative number.
pub async fn set_user_quotas(
    conn: &mut PgConnection,
    user: &CurrentUser,
    username: &str,
    quotas: &Quotas,
) -> Result<()> {
    user.require_admin("only administrators can set quotas")?;
    for (path, quota) in [
        ("free_evaluations", quotas.free_evaluations),
        ("open_runs", quotas.open_runs),
        ("stored_bytes", quotas.stored_bytes),
    ] {
        if quota.is_some_and(|quota| quota < 0) {
            return Err(Error::invalid(path, "must be at least 0"));
        }
    }
    let set = sqlx::query!(
        "-- quotas::set_user_quotas
        update users set free_evaluations = $2, open_runs = $3, stored_bytes = $4 where lower(username) = lower($1)",
        username,
        quotas.free_evaluations,
        quotas.open_runs,
        quotas.stored_bytes
    )
    .execute(conn)
    .await?;
    if set.rows_affected() == 0 {
        return Err(Error::NotFound(format!("the user `{username}`")));
    }
    Ok(())
}

/// A user's use of all quotas.
///
/// # Errors
/// The database does not respond.
pub async fn find_usage(conn: &mut PgConnection, user: &CurrentUser) -> Result<Usage> {
    let quotas = read_quotas(conn, user.id).await?;
    let taken = taken(conn, user.id).await?;
    Ok(Usage {
        free_evaluations: Used {
            used: taken.free_evaluations,
            allowed: quotas.free_evaluations,
        },
        open_runs: Used {
            used: taken.open_runs,
            allowed: quotas.open_runs,
        },
        stored_bytes: Used {
            used: taken.stored_bytes,
            allowed: quotas.stored_bytes,
        },
    })
}

/// Counts evaluations of a run that the caller's transaction has just submitted or queued again, and returns an error
/// if they exceed a quota.
///
/// # Errors
/// [`Error::QuotaExceeded`].
pub(crate) async fn count_run(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    evaluations: i64,
) -> Result<()> {
    let quotas = lock_quotas(tx, user.id).await?;
    if quotas == Quotas::default() {
        return Ok(());
    }
    sqlx::query!(
        "-- quotas::count_run (forget)
        delete from free_evaluations where user_id = $1 and hour < now() - interval '25 hours'",
        user.id
    )
    .execute(&mut *tx)
    .await?;
    // Rescoring calls no model, whatever the cost of the models.
    sqlx::query!(
        "-- quotas::count_run
        insert into free_evaluations (user_id, hour, evaluations)
        select $1, date_trunc('hour', now(), 'UTC'),
               case when (select answers_of from runs where id = $2) is not null then $3::bigint
                    else $3::bigint * count(*) filter (where not model_costs(model_id)) / greatest(count(*), 1) end
        from run_models
        where run_id = $2
        on conflict (user_id, hour) do update
        set evaluations = free_evaluations.evaluations + excluded.evaluations",
        user.id,
        run_id,
        evaluations
    )
    .execute(&mut *tx)
    .await?;
    let taken = taken(tx, user.id).await?;
    let with_it = "with this run it would be";
    refuse_more(
        quotas.free_evaluations,
        taken.free_evaluations,
        |allowed, taken| {
            format!(
                "you may ask for {allowed} free evaluations in 24 hours, and {with_it} {taken}; wait, make the run smaller"
            )
        },
    )?;
    refuse_more(quotas.open_runs, taken.open_runs, |allowed, taken| {
        format!(
            "you may have {allowed} runs that have not ended, and {with_it} {taken}; wait until some end, cancel some"
        )
    })?;
    refuse_more(quotas.stored_bytes, taken.stored_bytes, stored_message)
}

/// Returns an error if the rows inserted by the caller's transaction exceed the user's quota of stored bytes.
///
/// # Errors
/// [`Error::QuotaExceeded`].
pub(crate) async fn check_stored(tx: &mut PgConnection, user_id: i64) -> Result<()> {
    let quotas = lock_quotas(tx, user_id).await?;
    if quotas.stored_bytes.is_none() {
        return Ok(());
    }
    let taken = taken(tx, user_id).await?;
    refuse_more(quotas.stored_bytes, taken.stored_bytes, stored_message)
}

/// Why no more of a user's data may be recorded, if they exceed their quota of stored bytes. For runs that have begun.
///
/// # Errors
/// The database does not respond.
pub(crate) async fn find_overfull(conn: &mut PgConnection, user_id: i64) -> Result<Option<String>> {
    let Some(allowed) = read_quotas(conn, user_id).await?.stored_bytes else {
        return Ok(None);
    };
    let taken = taken(conn, user_id).await?.stored_bytes;
    Ok((taken > allowed).then(|| {
        format!(
            "the quota of {allowed} stored bytes is used up: {taken}; delete what is not needed, or ask an administrator for more, and resume"
        )
    }))
}

fn stored_message(allowed: i64, taken: i64) -> String {
    format!(
        "you may store {allowed} bytes of benchmarks, prompts and outputs, and it would be {taken}; delete what you do not need"
    )
}

fn refuse_more(
    allowed: Option<i64>,
    taken: i64,
    message: impl Fn(i64, i64) -> String,
) -> Result<()> {
    match allowed.filter(|allowed| taken > *allowed) {
        None => Ok(()),
        Some(allowed) => Err(Error::QuotaExceeded(format!(
            "{}, or ask an administrator for more",
            message(allowed, taken)
        ))),
    }
}

/// The amounts that a user has used.
struct Taken {
    free_evaluations: i64,
    open_runs: i64,
    stored_bytes: i64,
}

async fn taken(conn: &mut PgConnection, user_id: i64) -> Result<Taken> {
    let taken = sqlx::query_as!(
        Taken,
        r#"-- quotas::taken
        select (select coalesce(sum(evaluations), 0) from free_evaluations
                where user_id = $1 and hour > now() - interval '24 hours')::bigint as "free_evaluations!",
               (select count(*) from runs where owner_id = $1 and finished_at is null) as "open_runs!",
               ((select coalesce(sum(size_bytes), 0) from benchmark_versions
                 join benchmarks on benchmarks.id = benchmark_id where owner_id = $1)
                + (select coalesce(sum(size_bytes), 0) from prompt_versions
                   join prompts on prompts.id = prompt_id where owner_id = $1)
                + (select coalesce(sum(octet_length(description)), 0) from prompts where owner_id = $1)
                + (select coalesce(sum(run_counts.output_bytes + $2 * run_counts.recorded), 0) from runs
                   join run_counts on run_id = id
                   where owner_id = $1 and deleted_at is null)
                + (select coalesce(sum(pg_column_size(models.parameters)), 0) from run_models
                   join runs on runs.id = run_id join models on models.id = model_id
                   where owner_id = $1 and deleted_at is null and models.parameters <> '{}')
                + (select coalesce(sum(pg_column_size(body) + pg_column_size(variables) + pg_column_size(parameters)), 0)
                   from change_requests where author_id = $1)
                + (select coalesce(sum(octet_length(text)), 0) from change_request_comments where author_id = $1)
                + (select coalesce(sum(octet_length(body)), 0) from comments where author_id = $1)
                + (select coalesce(sum(pg_column_size(request)), 0) from schedules where owner_id = $1)
                + (select coalesce(sum(octet_length(title) + octet_length(description) + $2), 0)
                   from collections where owner_id = $1)
                + (select coalesce(sum(pg_column_size(query) + $2), 0) from saved_searches where user_id = $1)
                + (select coalesce(sum(pg_column_size(data) + octet_length(summary) + $2 * (1 + attempts)), 0)
                   from webhook_deliveries
                   join webhooks on webhooks.id = webhook_id where owner_id = $1))::bigint as "stored_bytes!""#,
        user_id,
        ROW_BYTES
    )
    .fetch_one(conn)
    .await?;
    Ok(taken)
}

/// The user's quotas. The lock serialises the user's transactions, so that two at once cannot both use the rest. Users
/// without a limit take no lock.
async fn lock_quotas(tx: &mut PgConnection, user_id: i64) -> Result<Quotas> {
    let quotas = read_quotas(tx, user_id).await?;
    if quotas != Quotas::default() {
        sqlx::query_scalar!(
            "-- quotas::lock_quotas
            select id from users where id = $1 for no key update",
            user_id
        )
        .fetch_optional(tx)
        .await?;
    }
    Ok(quotas)
}

async fn read_quotas(conn: &mut PgConnection, user_id: i64) -> Result<Quotas> {
    let row = sqlx::query!(
        r#"-- quotas::read_quotas
        select role as "role: UserRole", users.free_evaluations, users.open_runs, users.stored_bytes,
               quotas.free_evaluations as "usual_evaluations?", quotas.open_runs as "usual_runs?",
               quotas.stored_bytes as "usual_bytes?"
        from users left join quotas on singleton
        where users.id = $1"#,
        user_id
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::UserGone)?;
    let is_bounded = row.role != UserRole::Admin;
    let quota = |own: Option<i64>, usual: Option<i64>| own.or(usual.filter(|_| is_bounded));
    Ok(Quotas {
        free_evaluations: quota(row.free_evaluations, row.usual_evaluations),
        open_runs: quota(row.open_runs, row.usual_runs),
        stored_bytes: quota(row.stored_bytes, row.usual_bytes),
    })
}
