//! Creating, changing, pausing and reading schedules. Only their owner and administrators can access them.

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Calendar, CatchUp, Firing, FiringState, NewSchedule, Schedule, TIMES_SHOWN, UpdateSchedule,
    catch_up::Pace,
    parts::{by_ids, name_parts},
};
use crate::{
    Error, FieldError, Result,
    auth::{CurrentUser, UserRole},
    locks::lock_count,
    nearest::{Named, pick},
    paging::Page,
    quotas::check_stored,
    runs::{self, RunRules, SubmitRun},
    texts,
};

/// Maximum number of schedules per user.
const MOST: i64 = 100;

/// Creates a schedule of the caller, unless a rule prevents its runs from being submitted. Its first tick is the first one
/// after now.
///
/// # Errors
/// [`Error::Invalid`], also if its run would be refused now; [`Error::Conflict`] if the caller has too many schedules,
/// or one with this name; [`Error::EmailNotVerified`].
pub async fn create_schedule(
    conn: &mut PgConnection,
    user: &CurrentUser,
    new: &NewSchedule,
    rules: &RunRules,
) -> Result<Schedule> {
    let mut tx = conn.begin().await?;
    runs::check_spender(&mut tx, user, rules).await?;
    check(&mut tx, user.id, &user.username, new).await?;
    let request = by_ids(&mut tx, &acting(user.id, &user.username), &new.request).await?;
    let id = Uuid::now_v7();
    lock_count(&mut tx, "schedules", user.id).await?;
    sqlx::query!(
        "-- manage::create_schedule
        insert into schedules (id, owner_id, name, cron, time_zone, request, catch_up, catch_up_limit, jitter_seconds)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id,
        user.id,
        new.name,
        new.cron,
        new.time_zone,
        Json(&request) as _,
        new.catch_up as CatchUp,
        new.catch_up_limit,
        new.jitter_seconds
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| taken(error, &new.name))?;
    let count = sqlx::query_scalar!(
        r#"-- manage::create_schedule (count)
        select count(*) as "count!" from schedules where owner_id = $1"#,
        user.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if count > MOST {
        return Err(Error::Conflict(format!(
            "you have {MOST} schedules; delete one first"
        )));
    }
    check_stored(&mut tx, user.id).await?;
    let schedule = plan_next(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(schedule)
}

/// Changes a schedule. If its times change, all ticks until now are settled.
///
/// # Errors
/// [`Error::NotFound`], also for another user's schedule; [`Error::Invalid`].
pub async fn update_schedule(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    change: UpdateSchedule,
) -> Result<Schedule> {
    let mut tx = conn.begin().await?;
    let owner_id = lock(&mut tx, user, id).await?;
    let old = find_stored(&mut tx, user, id).await?;
    let new_times = change.cron.is_some() || change.time_zone.is_some();
    let new = NewSchedule {
        name: change.name.unwrap_or(old.name),
        cron: change.cron.unwrap_or(old.cron),
        time_zone: change.time_zone.unwrap_or(old.time_zone),
        request: change.request.unwrap_or(old.request.0),
        catch_up: change.catch_up.unwrap_or(old.catch_up),
        catch_up_limit: change.catch_up_limit.unwrap_or(old.catch_up_limit),
        jitter_seconds: change.jitter_seconds.unwrap_or(old.jitter_seconds),
    };
    check(&mut tx, owner_id, &old.owner, &new).await?;
    let request = by_ids(&mut tx, &acting(owner_id, &old.owner), &new.request).await?;
    sqlx::query!(
        "-- manage::update_schedule
        update schedules
        set name = $2, cron = $3, time_zone = $4, request = $5, catch_up = $6, catch_up_limit = $7, jitter_seconds = $8,
            last_due_at = case when $9 then greatest(last_due_at, now()) else last_due_at end, updated_at = now()
        where id = $1",
        id,
        new.name,
        new.cron,
        new.time_zone,
        Json(&request) as _,
        new.catch_up as CatchUp,
        new.catch_up_limit,
        new.jitter_seconds,
        new_times
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| taken(error, &new.name))?;
    let schedule = plan_next(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(schedule)
}

/// Pauses a schedule: no tick is due until it is resumed.
///
/// # Errors
/// [`Error::NotFound`], also for another user's schedule; [`Error::Conflict`] if it is already paused.
pub async fn pause_schedule(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
) -> Result<Schedule> {
    let mut tx = conn.begin().await?;
    lock(&mut tx, user, id).await?;
    let paused = sqlx::query!(
        "-- manage::pause_schedule
        update schedules set paused_at = now(), next_at = null where id = $1 and paused_at is null",
        id
    )
    .execute(&mut *tx)
    .await?;
    if paused.rows_affected() == 0 {
        return Err(Error::Conflict("the schedule is paused already".into()));
    }
    let schedule = find_schedule(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(schedule)
}

/// Resumes a paused schedule with the first tick after now; the ticks of the pause do not count as missed.
///
/// # Errors
/// [`Error::NotFound`], also for another user's schedule; [`Error::Conflict`] if it is not paused.
pub async fn resume_schedule(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
) -> Result<Schedule> {
    let mut tx = conn.begin().await?;
    lock(&mut tx, user, id).await?;
    let resumed = sqlx::query!(
        "-- manage::resume_schedule
        update schedules set paused_at = null, last_due_at = greatest(last_due_at, now())
        where id = $1 and paused_at is not null",
        id
    )
    .execute(&mut *tx)
    .await?;
    if resumed.rows_affected() == 0 {
        return Err(Error::Conflict("the schedule is not paused".into()));
    }
    let schedule = plan_next(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(schedule)
}

/// Deletes a schedule and its firings. Its runs stay.
///
/// # Errors
/// [`Error::NotFound`], also for another user's schedule.
pub async fn delete_schedule(conn: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<()> {
    let deleted = sqlx::query!(
        "-- manage::delete_schedule
        delete from schedules where id = $1 and (owner_id = $2 or $3)",
        id,
        user.id,
        user.is_admin()
    )
    .execute(conn)
    .await?;
    if deleted.rows_affected() == 0 {
        return Err(not_found(id));
    }
    Ok(())
}

/// Resolves a reference, which is an id or the name of one of the caller's schedules, to the id.
///
/// # Errors
/// [`Error::NotFound`] for a name that no schedule of the caller has.
pub async fn name_schedule(
    conn: &mut PgConnection,
    user: &CurrentUser,
    reference: &str,
) -> Result<Uuid> {
    if let Ok(id) = Uuid::try_parse(reference) {
        return Ok(id);
    }
    let found = sqlx::query_as!(
        Named,
        "-- manage::name_schedule
        select id, name
        from schedules
        where owner_id = $1 and (name = $2 or similarity(name, $2) >= 0.3)
        order by name = $2 desc, similarity(name, $2) desc, id
        limit 2",
        user.id,
        reference
    )
    .fetch_all(conn)
    .await?;
    pick(&found, "schedule", reference)
}

/// Reads a schedule.
///
/// # Errors
/// [`Error::NotFound`], also for another user's schedule.
pub async fn find_schedule(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
) -> Result<Schedule> {
    let mut found = find_stored(conn, user, id).await?;
    name_parts(conn, user, std::iter::once(&mut found.request.0)).await?;
    Ok(found)
}

/// A schedule with its request as stored, with ids instead of slugs.
async fn find_stored(conn: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<Schedule> {
    let found = select_schedules(conn, user, Some(id), None, 1).await?;
    found.into_iter().next().ok_or_else(|| not_found(id))
}

/// A page of the caller's schedules, newest first.
///
/// # Errors
/// The database does not respond.
pub async fn list_schedules(
    conn: &mut PgConnection,
    user: &CurrentUser,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Schedule>> {
    let mut schedules = select_schedules(conn, user, None, before, limit + 1).await?;
    let requests = schedules.iter_mut().map(|schedule| &mut schedule.request.0);
    name_parts(conn, user, requests).await?;
    Ok(Page::cut(schedules, limit, |schedule| {
        schedule.id.to_string()
    }))
}

/// The firings of a schedule before a time, newest first, with one more than the limit if there are more.
///
/// # Errors
/// [`Error::NotFound`], also for another user's schedule.
pub async fn list_firings(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    before: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<Firing>> {
    find_schedule(conn, user, id).await?;
    let firings = sqlx::query_as!(
        Firing,
        r#"-- manage::list_firings
        select due_at, fired_at, state as "state: FiringState", missed, run_id, reason
        from firings
        where schedule_id = $1 and ($2::timestamptz is null or due_at < $2)
        order by due_at desc
        limit $3"#,
        id,
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(firings)
}

async fn check(
    tx: &mut PgConnection,
    owner_id: i64,
    owner: &str,
    schedule: &NewSchedule,
) -> Result<()> {
    let mut wrong = Vec::new();
    let name = &schedule.name;
    wrong.extend(texts::check_line("name", name, 1..=100).err());
    if !(1..=100).contains(&schedule.catch_up_limit) {
        let message = "must be between 1 and 100";
        wrong.push(FieldError::new("catch_up_limit", message));
    }
    if !(0..=3600).contains(&schedule.jitter_seconds) {
        let message = "must be between 0 and 3600";
        wrong.push(FieldError::new("jitter_seconds", message));
    }
    if let Err(Error::Invalid(fields)) = Calendar::parse(&schedule.cron, &schedule.time_zone) {
        wrong.extend(fields);
    }
    let owner = acting(owner_id, owner);
    let checked = runs::check_request(tx, &owner, &schedule.request).await;
    match checked.map_err(|error| error.below("request")) {
        Err(Error::Invalid(fields)) => wrong.extend(fields),
        other => other?,
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(wrong))
    }
}

/// The identity under which a schedule acts: its owner, with the rights of an ordinary user, regardless of who created
/// it and with which credential.
pub(super) fn acting(owner_id: i64, username: &str) -> CurrentUser {
    CurrentUser {
        id: owner_id,
        username: username.to_owned(),
        role: UserRole::User,
    }
}

/// Sets the time of the next check, and reads the schedule.
async fn plan_next(tx: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<Schedule> {
    let schedule = find_schedule(tx, user, id).await?;
    if schedule.paused_at.is_some() {
        return Ok(schedule);
    }
    let calendar = Calendar::parse(&schedule.cron, &schedule.time_zone)?;
    let settled = sqlx::query_scalar!(
        "-- manage::plan_next
        select last_due_at from schedules where id = $1",
        id
    )
    .fetch_one(&mut *tx)
    .await?;
    let next_at = Pace {
        id,
        calendar: &calendar,
        catch_up: schedule.catch_up,
        catch_up_limit: schedule.catch_up_limit.unsigned_abs(),
        jitter_seconds: schedule.jitter_seconds.unsigned_abs(),
    }
    .next_at(settled);
    sqlx::query!(
        "-- manage::plan_next (write)
        update schedules set next_at = $2 where id = $1",
        id,
        next_at
    )
    .execute(tx)
    .await?;
    Ok(schedule)
}

/// Locks a schedule that the caller may change; returns its owner.
async fn lock(tx: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<i64> {
    let owner_id = sqlx::query_scalar!(
        "-- manage::lock
        select owner_id from schedules where id = $1 and (owner_id = $2 or $3) for update",
        id,
        user.id,
        user.is_admin()
    )
    .fetch_optional(tx)
    .await?;
    owner_id.ok_or_else(|| not_found(id))
}

async fn select_schedules(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Option<Uuid>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Schedule>> {
    let rows = sqlx::query!(
        r#"-- manage::select_schedules
        select schedules.id, schedules.name, users.username as owner, cron, time_zone,
               request as "request: Json<SubmitRun>", catch_up as "catch_up: CatchUp", catch_up_limit, jitter_seconds,
               last_due_at, paused_at, schedules.created_at, schedules.updated_at, now() as "now!",
               last.due_at as "due_at?", last.fired_at as "fired_at?", last.state as "state?: FiringState",
               last.missed as "missed?", last.run_id, last.reason as "reason?"
        from schedules
        join users on users.id = owner_id
        left join lateral (select * from firings where schedule_id = schedules.id order by due_at desc limit 1) last on true
        where ($1::uuid is null or schedules.id = $1)
          and ($2::uuid is null or schedules.id < $2)
          and (owner_id = $3 or ($1 is not null and $4))
        order by schedules.id desc
        limit $5"#,
        id,
        before,
        user.id,
        user.is_admin(),
        limit
    )
    .fetch_all(conn)
    .await?;
    let mut schedules = Vec::with_capacity(rows.len());
    for row in rows {
        let next_times = if row.paused_at.is_some() {
            Vec::new()
        } else {
            let calendar = Calendar::parse(&row.cron, &row.time_zone)?;
            let after = row.last_due_at.max(row.now);
            calendar.ticks_after(after).take(TIMES_SHOWN).collect()
        };
        let last_firing = match (row.due_at, row.fired_at, row.state, row.missed, row.reason) {
            (Some(due_at), Some(fired_at), Some(state), Some(missed), Some(reason)) => {
                Some(Firing {
                    due_at,
                    fired_at,
                    state,
                    missed,
                    run_id: row.run_id,
                    reason,
                })
            }
            _ => None,
        };
        schedules.push(Schedule {
            id: row.id,
            name: row.name,
            owner: row.owner,
            cron: row.cron,
            time_zone: row.time_zone,
            request: row.request,
            catch_up: row.catch_up,
            catch_up_limit: row.catch_up_limit,
            jitter_seconds: row.jitter_seconds,
            paused_at: row.paused_at,
            next_times,
            last_firing,
            created_at: row.created_at,
            updated_at: row.updated_at,
        });
    }
    Ok(schedules)
}

fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("the schedule `{id}`"))
}

fn taken(error: sqlx::Error, name: &str) -> Error {
    Error::for_name(error, "schedules_owner_id_name_key", "a schedule", name)
}
