//! The outbox of webhooks: which message is sent next, and the log of attempts.
//!
//! A webhook gets one message at a time, and after failures the pauses between messages grow. Each owner has a few
//! slots for messages in flight. So receivers that hang only delay their own owner.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{TURN_SECONDS, WebhookEvent, WebhookFormat, manage::context};
use crate::{Result, sealing::MasterKey};

/// The pauses after each failed attempt of a message, in seconds; after the last attempt it is given up.
/// Close to the recommendation of Standard Webhooks: three days in total.
const PAUSES: [f64; 10] = [
    5.0, 30.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0,
];
/// Maximum number of attempts of a message.
pub(super) const ATTEMPTS: i32 = 11;
/// A webhook is disabled after this many days in which every attempt failed.
const DAYS_OF_FAILURE: i32 = 5;
/// Number of days that finished messages are kept.
const DAYS_KEPT: i32 = 30;

/// A message to be sent now.
#[derive(Debug)]
pub struct DueDelivery {
    /// Its id, the same at each attempt.
    pub id: Uuid,
    /// The id of the webhook.
    pub webhook_id: Uuid,
    /// The number of the attempt, from 1.
    pub attempt: i32,
    /// The owner of the webhook.
    pub owner_id: i64,
    /// True if the owner is an administrator, who may use addresses that others may not.
    pub by_admin: bool,
    /// The URL; an error if none of our keys opens it.
    pub url: anyhow::Result<SecretString>,
    /// The secret for the signature.
    pub secret: anyhow::Result<SecretString>,
    /// The format of the body.
    pub format: WebhookFormat,
    /// The event.
    pub event: WebhookEvent,
    /// The event as a sentence.
    pub summary: String,
    /// The subject of the event.
    pub data: Value,
    /// When the event happened.
    pub created_at: DateTime<Utc>,
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The receiver responded with this HTTP status.
    Status(u16),
    /// There was no response, or it was late or invalid. The owner does not learn which: that would reveal what is at
    /// an address.
    Nothing,
    /// The address is forbidden, or nothing can be sent there for another reason on our side.
    Refused(&'static str),
    /// The receiver accepted it, at an address where the owner may not learn more.
    Delivered,
    /// The receiver did not accept it, at an address where the owner may, or might, not learn more: nobody may use the
    /// bank to find out what listens in its network.
    Undelivered,
}

/// Maximum number of messages of one owner that a process has in flight.
const PLACES_OF_AN_OWNER: i64 = 4;

/// Takes the oldest due message of each idle webhook, if its owner has a free slot, and sets the time of its next
/// attempt. `under_way` holds the owner of each message that the caller has in flight. Owners take turns.
/// An attempt that never ends, because the process died, is therefore repeated automatically.
///
/// # Errors
/// The database does not respond.
pub async fn take_due(
    conn: &mut PgConnection,
    master_key: &MasterKey,
    under_way: &[i64],
    limit: i64,
) -> Result<Vec<DueDelivery>> {
    let rows = sqlx::query!(
        r#"-- outbox::take_due
        with taken as (
            select owner_id, count(*) as places from unnest($5::bigint[]) as owner_id group by owner_id
        ), waiting as (
            select webhooks.id, busy_until,
                   coalesce(places, 0) + row_number() over (partition by owner_id order by busy_until, webhooks.id) as place
            from webhooks left join taken using (owner_id)
            where disabled_at is null and busy_until <= now()
              and exists (select from webhook_deliveries
                          where webhook_id = webhooks.id and state = 'waiting' and next_attempt_at <= now())
        ), next as (
            select id from waiting where place <= $6 order by place, busy_until, id limit $1
        ), turn as (
            select webhooks.id, due.id as delivery_id
            from webhooks
            join next using (id)
            cross join lateral (select id from webhook_deliveries
                                where webhook_id = webhooks.id and state = 'waiting' and next_attempt_at <= now()
                                order by next_attempt_at, id limit 1) due
            where disabled_at is null and busy_until <= now()
            for update of webhooks skip locked
        ), busy as (
            update webhooks set busy_until = now() + $2 * interval '1 second'
            from turn
            where webhooks.id = turn.id
            returning webhooks.id, sealed_url, sealed_secret, format, owner_id,
                      (select role = 'admin' from users where users.id = owner_id) as by_admin
        )
        update webhook_deliveries
        set attempts = attempts + 1, attempts_left = greatest(attempts_left - 1, 0),
            next_attempt_at = now() + ($3::float8[])[greatest(1, least($4 - attempts_left + 1, cardinality($3::float8[])))]
                                      * interval '1 second'
        from turn
        join busy on busy.id = turn.id
        where webhook_deliveries.id = turn.delivery_id
        returning webhook_deliveries.id, webhook_id, attempts, owner_id, by_admin as "by_admin!", sealed_url, sealed_secret,
                  format as "format: WebhookFormat", event as "event: WebhookEvent", summary, data, created_at"#,
        limit,
        f64::from(TURN_SECONDS),
        &PAUSES,
        ATTEMPTS,
        under_way,
        PLACES_OF_AN_OWNER
    )
    .fetch_all(conn)
    .await?;
    let due = rows.into_iter().map(|row| DueDelivery {
        url: master_key.open(&row.sealed_url, &context(row.webhook_id, "url")),
        secret: master_key.open(&row.sealed_secret, &context(row.webhook_id, "secret")),
        id: row.id,
        webhook_id: row.webhook_id,
        attempt: row.attempts,
        owner_id: row.owner_id,
        by_admin: row.by_admin,
        format: row.format,
        event: row.event,
        summary: row.summary,
        data: row.data,
        created_at: row.created_at,
    });
    Ok(due.collect())
}

/// Records the result of an attempt: the message is delivered, waits for its next attempt, or is given up.
///
/// # Errors
/// The database does not respond; the message waits for its next attempt.
pub async fn note_attempt(
    conn: &mut PgConnection,
    delivery: &DueDelivery,
    answer: Answer,
    took: Option<Duration>,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let (status, error) = read(answer);
    sqlx::query!(
        "-- outbox::note_attempt
        insert into webhook_attempts (delivery_id, number, status, error, duration_ms) values ($1, $2, $3, $4, $5)
        on conflict do nothing",
        delivery.id,
        delivery.attempt,
        status,
        error,
        took.map(|took| i32::try_from(took.as_millis()).unwrap_or(i32::MAX))
    )
    .execute(&mut *tx)
    .await?;
    if error.is_none() {
        sqlx::query!(
            "-- outbox::note_attempt (delivered)
            update webhook_deliveries set state = 'delivered', ended_at = now() where id = $1 and state = 'waiting'",
            delivery.id
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "-- outbox::note_attempt (well)
            update webhooks set busy_until = now(), failures = 0, failing_since = null where id = $1",
            delivery.webhook_id
        )
        .execute(&mut *tx)
        .await?;
    } else {
        note_failure(&mut tx, delivery, answer).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Deletes messages that ended long enough ago, and the message counts of past hours.
///
/// # Errors
/// The database does not respond.
pub async fn delete_old(conn: &mut PgConnection) -> Result<u64> {
    sqlx::query!(
        "-- outbox::delete_old
        delete from webhook_hours where hour < now() - interval '2 hours'"
    )
    .execute(&mut *conn)
    .await?;
    let deleted = sqlx::query!(
        "-- outbox::delete_old
        delete from webhook_deliveries
        where id in (select id from webhook_deliveries
                     where state <> 'waiting' and ended_at < now() - make_interval(days => $1)
                     order by ended_at limit 1000)",
        DAYS_KEPT
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

async fn note_failure(tx: &mut PgConnection, delivery: &DueDelivery, answer: Answer) -> Result<()> {
    sqlx::query!(
        "-- outbox::note_failure
        update webhook_deliveries set state = 'failed', ended_at = now()
        where id = $1 and state = 'waiting' and attempts_left = 0",
        delivery.id
    )
    .execute(&mut *tx)
    .await?;
    // A receiver that responds is not overloaded; one that does not gets a pause of 2, 4 … 300 seconds.
    let rests = !matches!(answer, Answer::Status(_));
    let gone = answer == Answer::Status(410);
    let disabled = sqlx::query_scalar!(
        r#"-- outbox::note_failure (webhook)
        update webhooks
        set failures = failures + 1, failing_since = coalesce(failing_since, now()),
            busy_until = now() + case when $2 then least(300, power(2, least(failures + 1, 10))) else 0 end * interval '1 second',
            disabled_at = case when $3 or failing_since < now() - make_interval(days => $4) then now() else disabled_at end,
            disabled_reason = case when $3 then 'the receiver answered that it is gone'
                                   when failing_since < now() - make_interval(days => $4) then 'every attempt failed for days'
                                   else disabled_reason end
        where id = $1
        returning disabled_at is not null as "disabled!""#,
        delivery.webhook_id,
        rests,
        gone,
        DAYS_OF_FAILURE
    )
    .fetch_optional(&mut *tx)
    .await?;
    if disabled == Some(true) {
        tracing::warn!(
            webhook.id = %delivery.webhook_id,
            "webhook {} was disabled after failed attempts",
            delivery.webhook_id
        );
        give_up(tx, delivery.webhook_id).await?;
    }
    Ok(())
}

/// Gives up the waiting messages of a disabled webhook; they can be replayed.
pub(super) async fn give_up(tx: &mut PgConnection, webhook_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- outbox::give_up
        update webhook_deliveries set state = 'failed', ended_at = now() where webhook_id = $1 and state = 'waiting'",
        webhook_id
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The status, and the reason if the attempt failed.
fn read(answer: Answer) -> (Option<i16>, Option<&'static str>) {
    match answer {
        Answer::Status(status) => {
            let error = match status {
                200..=299 => None,
                300..=399 => Some("the receiver answered with a redirect, which is not followed"),
                410 => Some("the receiver answered that it is gone"),
                _ => Some("the receiver answered with an error"),
            };
            (i16::try_from(status).ok(), error)
        }
        Answer::Nothing => (
            None,
            Some("the receiver could not be reached, or gave no valid answer in time"),
        ),
        Answer::Refused(why) => (None, Some(why)),
        Answer::Delivered => (None, None),
        Answer::Undelivered => (None, Some("the message could not be delivered")),
    }
}
