//! Firing: a due tick becomes a run, in one transaction with the row that records it.
//!
//! The row of the schedule is locked with `skip locked`, so that schedulers never wait for each other. The key of
//! `firings`, schedule and due time, guarantees that each tick fires at most once. The database's clock is used, never
//! a scheduler's own.

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Calendar, CatchUp, Firing, FiringState,
    catch_up::{Pace, Step},
    manage::acting,
    parts::with_slugs,
};
use crate::{
    Error, Result,
    auth::{CurrentUser, UserRole},
    runs::{self, RunRules, SubmitRun},
};

/// Number of days that firings are kept.
const DAYS_KEPT: i32 = 400;

/// A due schedule, locked.
struct Due {
    id: Uuid,
    owner_id: i64,
    owner: String,
    owner_disabled: bool,
    owner_role: UserRole,
    name: String,
    cron: String,
    time_zone: String,
    request: Json<SubmitRun>,
    catch_up: CatchUp,
    catch_up_limit: i32,
    jitter_seconds: i32,
    last_due_at: DateTime<Utc>,
    next_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

/// Settles the next tick of the schedule that has waited longest; `None` if none is due.
///
/// # Errors
/// The database does not respond; the tick stays due. A schedule that cannot be settled for another reason is retried a
/// minute later, so that it does not hold up the others.
pub async fn fire_due(conn: &mut PgConnection, rules: &RunRules) -> Result<Option<Firing>> {
    let mut tx = conn.begin().await?;
    let Some(due) = take_due(&mut tx).await? else {
        return Ok(None);
    };
    match settle(&mut tx, &due, rules).await {
        Ok(firing) => {
            tx.commit().await?;
            Ok(firing)
        }
        Err(error) => {
            tx.rollback().await?;
            put_off(conn, &due).await?;
            tracing::error!(
                schedule.id = %due.id,
                error = ?error,
                "could not settle a tick of schedule {}, trying again in a minute",
                due.id
            );
            Err(error)
        }
    }
}

/// Deletes old firings.
///
/// # Errors
/// The database does not respond.
pub async fn delete_old_firings(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!(
        "-- fire::delete_old_firings
        delete from firings
        where (schedule_id, due_at) in (select schedule_id, due_at from firings
                                        where fired_at < now() - make_interval(days => $1)
                                        order by fired_at limit 1000)",
        DAYS_KEPT
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

async fn take_due(tx: &mut PgConnection) -> Result<Option<Due>> {
    let due = sqlx::query_as!(
        Due,
        r#"-- fire::take_due
        select schedules.id, owner_id, username as owner, disabled_at is not null as "owner_disabled!", role as "owner_role: UserRole", name, cron, time_zone,
               request as "request: Json<SubmitRun>", catch_up as "catch_up: CatchUp", catch_up_limit, jitter_seconds,
               last_due_at, next_at, now() as "now!"
        from schedules
        join users on users.id = owner_id
        where next_at <= now()
        order by next_at
        limit 1
        for update of schedules skip locked"#
    )
    .fetch_optional(tx)
    .await?;
    Ok(due)
}

async fn settle(tx: &mut PgConnection, due: &Due, rules: &RunRules) -> Result<Option<Firing>> {
    let calendar = Calendar::parse(&due.cron, &due.time_zone)?;
    let pace = Pace {
        id: due.id,
        calendar: &calendar,
        catch_up: due.catch_up,
        catch_up_limit: due.catch_up_limit.unsigned_abs(),
        jitter_seconds: due.jitter_seconds.unsigned_abs(),
    };
    // No tick is due if the clock of the database was set back in the meantime.
    let step = pace.step(due.last_due_at, due.now);
    let firing = match step {
        Some(step) => Some(settle_tick(tx, due, step, rules).await?),
        None => None,
    };
    let settled = step.map_or(due.last_due_at, |step| step.due);
    sqlx::query!(
        "-- fire::settle
        update schedules set last_due_at = $2, next_at = $3 where id = $1",
        due.id,
        settled,
        pace.next_at(settled)
    )
    .execute(tx)
    .await?;
    Ok(firing)
}

async fn settle_tick(
    tx: &mut PgConnection,
    due: &Due,
    step: Step,
    rules: &RunRules,
) -> Result<Firing> {
    let (state, run_id, reason) = if !step.fires {
        (FiringState::Skipped, None, "the tick was missed".to_owned())
    } else if due.owner_disabled {
        let reason = "the account of the schedule's owner is disabled";
        (FiringState::Refused, None, reason.to_owned())
    } else {
        match submit(tx, due, rules).await {
            Ok(run_id) => (FiringState::Submitted, Some(run_id), String::new()),
            Err(error @ (Error::Database(_) | Error::Queue(_) | Error::Internal(_))) => {
                return Err(error);
            }
            Err(error) => {
                let reason = with_slugs(tx, &due.request, error.to_string()).await?;
                (FiringState::Refused, None, reason)
            }
        }
    };
    let missed = i32::try_from(step.missed).unwrap_or(i32::MAX);
    let reason: String = reason.chars().take(1000).collect();
    let firing = sqlx::query_as!(
        Firing,
        r#"-- fire::settle_tick
        insert into firings (schedule_id, due_at, state, missed, run_id, reason)
        values ($1, $2, $3, $4, $5, $6)
        returning due_at, fired_at, state as "state: FiringState", missed, run_id, reason"#,
        due.id,
        step.due,
        state as FiringState,
        missed,
        run_id,
        reason
    )
    .fetch_one(tx)
    .await?;
    tracing::info!(
        schedule.id = %due.id,
        due_at = %step.due,
        state = ?state,
        missed,
        "schedule {} was due at {}: {}",
        due.id,
        step.due,
        state.word()
    );
    Ok(firing)
}

/// Submits the run of a schedule; a refused run leaves no trace in the database.
async fn submit(tx: &mut PgConnection, due: &Due, rules: &RunRules) -> Result<Uuid> {
    let owner: CurrentUser = acting(due.owner_id, &due.owner);
    let mut request = due.request.0.clone();
    // The purpose of a schedule is to measure again.
    request.cache = false;
    if request.name.is_empty() {
        request.name.clone_from(&due.name);
    }
    let rules = RunRules {
        // Administrators are exempt from this rule by their account's role, which the acting user does not have.
        require_verified_email: rules.require_verified_email && due.owner_role != UserRole::Admin,
        ..rules.clone()
    };
    let mut attempt = tx.begin().await?;
    let submitted = runs::submit_run(&mut attempt, &owner, &request, None, &rules).await;
    match submitted {
        Ok(run) => {
            attempt.commit().await?;
            Ok(run.id)
        }
        Err(error) => {
            attempt.rollback().await?;
            Err(error)
        }
    }
}

async fn put_off(conn: &mut PgConnection, due: &Due) -> Result<()> {
    sqlx::query!(
        "-- fire::put_off
        update schedules set next_at = now() + interval '1 minute' where id = $1 and next_at = $2",
        due.id,
        due.next_at
    )
    .execute(conn)
    .await?;
    Ok(())
}
