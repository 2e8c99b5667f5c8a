//! Creating, changing, silencing and reading alerts. Only their owner can access them, as with schedules.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Alert, AlertEvent, AlertKind, AlertState, FiringSubject, NewAlert, Silence, UpdateAlert,
};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    locks::lock_count,
    nearest::{Named, pick},
    paging::Page,
    schedules, texts,
};

/// Maximum number of alerts per user.
const MOST: i64 = 200;

/// Creates an alert of the caller on one of their schedules. It starts with the next run that ends.
///
/// # Errors
/// [`Error::Invalid`]; [`Error::Conflict`] if the caller has too many alerts, or one with this name.
pub async fn create_alert(
    conn: &mut PgConnection,
    user: &CurrentUser,
    new: &NewAlert,
) -> Result<Alert> {
    let mut tx = conn.begin().await?;
    let mut wrong = check(&new.name, new.kind, new.threshold, new.false_alarm_runs);
    let schedule_id = match watched(&mut tx, user, &new.schedule).await {
        Ok(id) => Some(id),
        Err(Error::NotFound(what)) => {
            let message = format!("{what} was not found among your schedules");
            wrong.push(FieldError::new("schedule", message));
            None
        }
        Err(Error::Invalid(fields)) => {
            wrong.extend(fields);
            None
        }
        Err(error) => return Err(error),
    };
    let Some(schedule_id) = schedule_id.filter(|_| wrong.is_empty()) else {
        return Err(Error::Invalid(wrong));
    };
    let id = Uuid::now_v7();
    lock_count(&mut tx, "alerts", user.id).await?;
    sqlx::query!(
        "-- manage::create_alert
        insert into alerts (id, owner_id, schedule_id, name, kind, threshold, false_alarm_runs, mail)
        values ($1, $2, $3, $4, $5, $6, $7, $8)",
        id,
        user.id,
        schedule_id,
        new.name,
        new.kind as AlertKind,
        new.threshold,
        new.false_alarm_runs,
        new.mail
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| taken(error, &new.name))?;
    let count = sqlx::query_scalar!(
        r#"-- manage::create_alert (count)
        select count(*) as "count!" from alerts where owner_id = $1"#,
        user.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if count > MOST {
        return Err(Error::Conflict(format!(
            "you have {MOST} alerts; delete one first"
        )));
    }
    let alert = find_alert(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(alert)
}

/// The caller's schedule that a reference names.
async fn watched(tx: &mut PgConnection, user: &CurrentUser, reference: &str) -> Result<Uuid> {
    let id = schedules::name_schedule(tx, user, reference).await?;
    let schedule = schedules::find_schedule(tx, user, id).await?;
    // Administrators can also find other users' schedules.
    if schedule.owner == user.username {
        Ok(id)
    } else {
        Err(Error::NotFound(format!("the schedule `{reference}`")))
    }
}

/// Changes an alert of the caller.
///
/// # Errors
/// [`Error::NotFound`], also for another user's alert; [`Error::Invalid`].
pub async fn update_alert(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    change: UpdateAlert,
) -> Result<Alert> {
    let mut tx = conn.begin().await?;
    let old = find_alert(&mut tx, user, id).await?;
    let name = change.name.unwrap_or(old.name);
    let threshold = change.threshold.unwrap_or(old.threshold);
    let false_alarm_runs = change.false_alarm_runs.unwrap_or(old.false_alarm_runs);
    let wrong = check(&name, old.kind, threshold, false_alarm_runs);
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    sqlx::query!(
        "-- manage::update_alert
        update alerts
        set name = $2, threshold = $3, false_alarm_runs = $4, mail = coalesce($5, mail), updated_at = now()
        where id = $1",
        id,
        name,
        threshold,
        false_alarm_runs,
        change.mail
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| taken(error, &name))?;
    let alert = find_alert(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(alert)
}

/// Silences an alert until a time, or ends its silence.
///
/// # Errors
/// [`Error::NotFound`], also for another user's alert.
pub async fn silence_alert(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    silence: Silence,
) -> Result<Alert> {
    sqlx::query!(
        "-- manage::silence_alert
        update alerts set silenced_until = $3 where id = $1 and owner_id = $2",
        id,
        user.id,
        silence.until
    )
    .execute(&mut *conn)
    .await?;
    find_alert(conn, user, id).await
}

/// Resolves everything that fires: the current values become the new baseline.
///
/// # Errors
/// [`Error::NotFound`], also for another user's alert; [`Error::Conflict`] if nothing fires.
pub async fn resolve_alert(conn: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<Alert> {
    let mut tx = conn.begin().await?;
    find_alert(&mut tx, user, id).await?;
    let resolved = sqlx::query!(
        "-- manage::resolve_alert
        update alert_subjects set firing_since = null, summary = '', course_since = now()
        where alert_id = $1 and firing_since is not null
        returning subject, label",
        id
    )
    .fetch_all(&mut *tx)
    .await?;
    if resolved.is_empty() {
        return Err(Error::Conflict("the alert does not fire".into()));
    }
    let summary = format!("resolved by {}", user.username);
    for subject in &resolved {
        sqlx::query!(
            "-- manage::resolve_alert (event)
            insert into alert_events (id, alert_id, subject, label, state, summary, data, silenced, mail_waits)
            values ($1, $2, $3, $4, 'resolved', $5, $6, true, false)",
            Uuid::now_v7(),
            id,
            subject.subject,
            subject.label,
            summary,
            json!({})
        )
        .execute(&mut *tx)
        .await?;
    }
    let alert = find_alert(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(alert)
}

/// Deletes an alert of the caller with its history.
///
/// # Errors
/// [`Error::NotFound`], also for another user's alert.
pub async fn delete_alert(conn: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<()> {
    let deleted = sqlx::query!(
        "-- manage::delete_alert
        delete from alerts where id = $1 and owner_id = $2",
        id,
        user.id
    )
    .execute(conn)
    .await?;
    if deleted.rows_affected() == 0 {
        return Err(not_found(id));
    }
    Ok(())
}

/// Resolves a reference, which is an id or the name of one of the caller's alerts, to the id.
///
/// # Errors
/// [`Error::NotFound`] for a name that no alert of the caller has.
pub async fn name_alert(
    conn: &mut PgConnection,
    user: &CurrentUser,
    reference: &str,
) -> Result<Uuid> {
    if let Ok(id) = Uuid::try_parse(reference) {
        return Ok(id);
    }
    let found = sqlx::query_as!(
        Named,
        "-- manage::name_alert
        select id, name
        from alerts
        where owner_id = $1 and (name = $2 or similarity(name, $2) >= 0.3)
        order by name = $2 desc, similarity(name, $2) desc, id
        limit 2",
        user.id,
        reference
    )
    .fetch_all(conn)
    .await?;
    pick(&found, "alert", reference)
}

/// An alert of the caller.
///
/// # Errors
/// [`Error::NotFound`], also for another user's alert.
pub async fn find_alert(conn: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<Alert> {
    let found = select_alerts(conn, user, Some(id), None, 1).await?;
    found.into_iter().next().ok_or_else(|| not_found(id))
}

/// A page of the caller's alerts, newest first.
///
/// # Errors
/// The database does not respond.
pub async fn list_alerts(
    conn: &mut PgConnection,
    user: &CurrentUser,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Alert>> {
    let alerts = select_alerts(conn, user, None, before, limit + 1).await?;
    Ok(Page::cut(alerts, limit, |alert| alert.id.to_string()))
}

/// A page of an alert's history, newest first.
///
/// # Errors
/// [`Error::NotFound`], also for another user's alert.
pub async fn list_alert_events(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<AlertEvent>> {
    find_alert(conn, user, id).await?;
    let events = sqlx::query_as!(
        AlertEvent,
        r#"-- manage::list_alert_events
        select id, label, state as "state: AlertState", summary, data, run_id, silenced, created_at
        from alert_events
        where alert_id = $1 and ($2::uuid is null or id < $2)
        order by id desc
        limit $3"#,
        id,
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(events, limit, |event| event.id.to_string()))
}

async fn select_alerts(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Option<Uuid>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Alert>> {
    let alerts = sqlx::query_as!(
        Alert,
        r#"-- manage::select_alerts
        select id, name, schedule_id, (select name from schedules where schedules.id = schedule_id) as "schedule!",
               kind as "kind: AlertKind", threshold, false_alarm_runs, mail,
               silenced_until as "silenced_until: DateTime<Utc>", created_at, updated_at,
               coalesce((select jsonb_agg(jsonb_build_object('label', label, 'since', firing_since, 'summary', summary)
                                          order by firing_since, subject)
                         from alert_subjects where alert_id = alerts.id and firing_since is not null), '[]')
                   as "firing!: Json<Vec<FiringSubject>>"
        from alerts
        where owner_id = $1 and ($2::uuid is null or id = $2) and ($3::uuid is null or id < $3)
        order by id desc
        limit $4"#,
        user.id,
        id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(alerts)
}

fn check(name: &str, kind: AlertKind, threshold: f64, false_alarm_runs: i32) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    wrong.extend(texts::check_line("name", name, 1..=100).err());
    let (fits, message) = match kind {
        AlertKind::ScoreDrop => (
            (0.001..=1.0).contains(&threshold),
            "must be the smallest drop that matters, between 0.001 and 1, such as 0.02 for two points",
        ),
        AlertKind::Cost => (
            (0.0..1e15).contains(&threshold),
            "must be 0 or more, in micro-dollars",
        ),
        AlertKind::Latency => (
            (0.0..1e9).contains(&threshold),
            "must be milliseconds, 0 or more",
        ),
        AlertKind::FailureRate => (
            (0.0..1.0).contains(&threshold),
            "must be a share from 0 to below 1, such as 0.05",
        ),
        AlertKind::Budget => (
            threshold > 0.0 && threshold <= 1.0,
            "must be a share above 0 and up to 1, such as 0.8",
        ),
    };
    if !fits {
        wrong.push(FieldError::new("threshold", message));
    }
    if !(100..=1_000_000).contains(&false_alarm_runs) {
        let message = "must be between 100 and 1,000,000";
        wrong.push(FieldError::new("false_alarm_runs", message));
    }
    wrong
}

fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("the alert `{id}`"))
}

fn taken(error: sqlx::Error, name: &str) -> Error {
    Error::for_name(error, "alerts_owner_id_name_key", "an alert", name)
}
