//! Writes messages to webhooks, in the transaction of the event.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{DOORBELL, WebhookEvent, outbox::ATTEMPTS};
use crate::{Result, doorbell};

/// Maximum number of messages per hour that all webhooks of one user together send to one host, so that a user cannot
/// flood a host.
const MESSAGES_AN_HOUR: i64 = 600;

/// A message to write.
pub(crate) struct Message<'a> {
    pub(crate) event: WebhookEvent,
    /// A sentence for people.
    pub(crate) summary: &'a str,
    /// The subject of the event, as in the REST API.
    pub(crate) data: &'a Value,
}

/// Writes a message to every webhook of a user that is subscribed to this event.
pub(crate) async fn announce(
    tx: &mut PgConnection,
    owner_id: i64,
    message: &Message<'_>,
) -> Result<()> {
    let webhooks = subscribers(tx, owner_id, message.event).await?;
    post(tx, &webhooks, message).await
}

/// Writes a message to these webhooks of one user. Of the messages to a host beyond [`MESSAGES_AN_HOUR`], the first is
/// written as failed, with the reason, and the others are dropped. Test messages that a user requests have a limit of
/// their own.
pub(crate) async fn post(
    tx: &mut PgConnection,
    webhooks: &[Uuid],
    message: &Message<'_>,
) -> Result<()> {
    if webhooks.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = webhooks.iter().map(|_| Uuid::now_v7()).collect();
    let max_messages = match message.event {
        WebhookEvent::WebhookTest => i64::MAX,
        _ => MESSAGES_AN_HOUR,
    };
    sqlx::query!(
        "-- announce::post
        with counted as (
            insert into webhook_hours (owner_id, host, hour, messages)
            select owner_id, host, date_trunc('hour', now(), 'UTC'), count(*)
            from webhooks
            where id = any($2)
            group by owner_id, host
            order by owner_id, host
            on conflict (owner_id, host, hour) do update
            set messages = webhook_hours.messages + excluded.messages
            returning owner_id, host, messages
        ), numbered as (
            select message.id, webhook_id,
                   messages - row_number() over (partition by owner_id, host order by webhook_id desc) as before
            from unnest($1::uuid[], $2::uuid[]) as message (id, webhook_id)
            join webhooks on webhooks.id = webhook_id
            join counted using (owner_id, host)
        ), written as (
            insert into webhook_deliveries (id, webhook_id, event, summary, data, state, attempts, attempts_left, ended_at)
            select id, webhook_id, $3, $4, $5,
                   case when before < $7 then 'waiting' else 'failed' end::delivery_state,
                   case when before < $7 then 0 else 1 end,
                   case when before < $7 then $6 else 0 end,
                   case when before >= $7 then now() end
            from numbered
            where before <= $7
            returning id, state
        )
        insert into webhook_attempts (delivery_id, number, error)
        select id, 1, $8 from written where state = 'failed'",
        &ids,
        webhooks,
        message.event as WebhookEvent,
        message.summary,
        message.data,
        ATTEMPTS,
        max_messages,
        format!(
            "the webhooks of one user send at most {MESSAGES_AN_HOUR} messages an hour to one host: this one and further ones in this hour are not sent"
        )
    )
    .execute(&mut *tx)
    .await?;
    doorbell::ring(tx, DOORBELL, "").await
}

/// The webhooks of a user that are told of such events.
pub(crate) async fn subscribers(
    tx: &mut PgConnection,
    owner_id: i64,
    event: WebhookEvent,
) -> Result<Vec<Uuid>> {
    let webhooks = sqlx::query_scalar!(
        "-- announce::subscribers
        select id from webhooks where owner_id = $1 and $2 = any(events) and disabled_at is null order by id",
        owner_id,
        event as WebhookEvent
    )
    .fetch_all(tx)
    .await?;
    Ok(webhooks)
}
