//! Creating, changing and reading webhooks and their messages. Only their owner can access them, not even
//! administrators.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use url::Url;
use uuid::Uuid;

use super::{
    Attempt, Delivery, DeliveryState, Message, NewWebhook, UpdateWebhook, Webhook, WebhookEvent,
    WebhookFormat,
    announce::post,
    outbox::{ATTEMPTS, give_up},
};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    doorbell,
    locks::lock_count,
    nearest::{Named, pick},
    outbound::OutboundPolicy,
    paging::Page,
    sealing::MasterKey,
    texts::check_line,
};

/// Maximum number of webhooks per user.
const MOST: i64 = 20;
/// Maximum number of tests and replays per user and minute.
const TRIES_A_MINUTE: i32 = 10;

/// Creates a webhook of the caller. The secret that signs its messages is only returned here.
///
/// # Errors
/// [`Error::Invalid`], also for an address that this installation may not connect to; [`Error::Conflict`] if the caller
/// has too many webhooks, or one with this name.
pub async fn create_webhook(
    conn: &mut PgConnection,
    user: &CurrentUser,
    master_key: &MasterKey,
    outbound: &OutboundPolicy,
    new: &NewWebhook,
) -> Result<(Webhook, SecretString)> {
    let mut wrong = check(Some(&new.name), Some(&new.events));
    let url = check_url(outbound, &new.url, &mut wrong);
    let (Some(url), true) = (url, wrong.is_empty()) else {
        return Err(Error::Invalid(wrong));
    };
    let id = Uuid::now_v7();
    let secret = new_secret();
    let mut tx = conn.begin().await?;
    lock_count(&mut tx, "webhooks", user.id).await?;
    sqlx::query!(
        "-- manage::create_webhook
        insert into webhooks (id, owner_id, name, host, sealed_url, sealed_secret, format, events)
        values ($1, $2, $3, $4, $5, $6, $7, $8)",
        id,
        user.id,
        new.name,
        shown(&url),
        master_key.seal(&String::from(url).into(), &context(id, "url")),
        master_key.seal(&secret, &context(id, "secret")),
        new.format as WebhookFormat,
        &new.events as &[WebhookEvent]
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| taken(error, &new.name))?;
    let count = sqlx::query_scalar!(
        r#"-- manage::create_webhook (count)
        select count(*) as "count!" from webhooks where owner_id = $1"#,
        user.id
    )
    .fetch_one(&mut *tx)
    .await?;
    if count > MOST {
        return Err(Error::Conflict(format!(
            "you have {MOST} webhooks; delete one first"
        )));
    }
    let webhook = find_webhook(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok((webhook, secret))
}

/// Changes a webhook of the caller.
///
/// # Errors
/// [`Error::NotFound`], also for another user's webhook; [`Error::Invalid`].
pub async fn update_webhook(
    conn: &mut PgConnection,
    user: &CurrentUser,
    master_key: &MasterKey,
    outbound: &OutboundPolicy,
    id: Uuid,
    change: &UpdateWebhook,
) -> Result<Webhook> {
    let mut tx = conn.begin().await?;
    find_webhook(&mut tx, user, id).await?;
    let mut wrong = check(change.name.as_deref(), change.events.as_deref());
    let url = change.url.as_ref();
    let url = url.and_then(|url| check_url(outbound, url, &mut wrong));
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let host = url.as_ref().map(shown);
    let moved = url.is_some();
    let sealed_url = url.map(|url| master_key.seal(&String::from(url).into(), &context(id, "url")));
    sqlx::query!(
        "-- manage::update_webhook
        update webhooks
        set name = coalesce($2, name), host = coalesce($3, host), sealed_url = coalesce($4, sealed_url),
            format = coalesce($5, format), events = coalesce($6, events),
            disabled_at = case when $7 then null when not $7 then coalesce(disabled_at, now()) else disabled_at end,
            disabled_reason = case when $7 then '' when not $7 then 'its owner stopped it' else disabled_reason end,
            failures = case when $7 or $8 then 0 else failures end,
            failing_since = case when $7 or $8 then null else failing_since end,
            updated_at = now()
        where id = $1",
        id,
        change.name,
        host,
        sealed_url,
        change.format as Option<WebhookFormat>,
        change.events.as_deref() as Option<&[WebhookEvent]>,
        change.enabled,
        moved
    )
    .execute(&mut *tx)
    .await
    .map_err(|error| taken(error, change.name.as_deref().unwrap_or_default()))?;
    if change.enabled == Some(false) {
        give_up(&mut tx, id).await?;
    }
    let webhook = find_webhook(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(webhook)
}

/// Replaces the secret that signs the messages of a webhook. The new secret is only returned here.
///
/// # Errors
/// [`Error::NotFound`], also for another user's webhook.
pub async fn rotate_secret(
    conn: &mut PgConnection,
    user: &CurrentUser,
    master_key: &MasterKey,
    id: Uuid,
) -> Result<SecretString> {
    let secret = new_secret();
    let rotated = sqlx::query!(
        "-- manage::rotate_secret
        update webhooks set sealed_secret = $3, updated_at = now() where id = $1 and owner_id = $2",
        id,
        user.id,
        master_key.seal(&secret, &context(id, "secret"))
    )
    .execute(conn)
    .await?;
    if rotated.rows_affected() == 0 {
        return Err(not_found(id));
    }
    Ok(secret)
}

/// Deletes a webhook of the caller with all its messages.
///
/// # Errors
/// [`Error::NotFound`], also for another user's webhook.
pub async fn delete_webhook(conn: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<()> {
    let deleted = sqlx::query!(
        "-- manage::delete_webhook
        delete from webhooks where id = $1 and owner_id = $2",
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

/// Resolves a reference, which is an id or the name of one of the caller's webhooks, to the id.
///
/// # Errors
/// [`Error::NotFound`] for a name that no webhook of the caller has.
pub async fn name_webhook(
    conn: &mut PgConnection,
    user: &CurrentUser,
    reference: &str,
) -> Result<Uuid> {
    if let Ok(id) = Uuid::try_parse(reference) {
        return Ok(id);
    }
    let found = sqlx::query_as!(
        Named,
        "-- manage::name_webhook
        select id, name
        from webhooks
        where owner_id = $1 and (name = $2 or similarity(name, $2) >= 0.3)
        order by name = $2 desc, similarity(name, $2) desc, id
        limit 2",
        user.id,
        reference
    )
    .fetch_all(conn)
    .await?;
    pick(&found, "webhook", reference)
}

/// A webhook of the caller.
///
/// # Errors
/// [`Error::NotFound`], also for another user's webhook.
pub async fn find_webhook(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
) -> Result<Webhook> {
    let found = select_webhooks(conn, user, Some(id)).await?;
    found.into_iter().next().ok_or_else(|| not_found(id))
}

/// The webhooks of the caller, newest first.
///
/// # Errors
/// The database does not respond.
pub async fn list_webhooks(conn: &mut PgConnection, user: &CurrentUser) -> Result<Vec<Webhook>> {
    select_webhooks(conn, user, None).await
}

/// Writes a test message. If an earlier one is still waiting for its next attempt, that one is sent now instead.
///
/// # Errors
/// [`Error::NotFound`], also for another user's webhook; [`Error::Conflict`] if it is disabled;
/// [`Error::TooManyAttempts`].
pub async fn test_webhook(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
) -> Result<Delivery> {
    let mut tx = conn.begin().await?;
    let webhook = find_webhook(&mut tx, user, id).await?;
    require_enabled(&webhook)?;
    count_try(&mut tx, user).await?;
    if let Some(waiting) = waiting_test(&mut tx, id).await? {
        // Only one at a time: the waiting one is sent now.
        send_now(&mut tx, waiting).await?;
        let delivery = find_delivery(&mut tx, user, id, waiting).await?;
        tx.commit().await?;
        return Ok(delivery);
    }
    let message = Message {
        event: WebhookEvent::WebhookTest,
        summary: "A test: messages of this bank arrive here",
        data: &json!({"webhook_id": id}),
    };
    post(&mut tx, &[id], &message).await?;
    let mut newest = select_deliveries(&mut tx, id, None, None, 1).await?;
    tx.commit().await?;
    newest
        .pop()
        .ok_or_else(|| Error::Internal("a message was written and is not there".into()))
}

/// A page of the messages of a webhook, newest first.
///
/// # Errors
/// [`Error::NotFound`], also for another user's webhook.
pub async fn list_deliveries(
    conn: &mut PgConnection,
    user: &CurrentUser,
    webhook_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Delivery>> {
    find_webhook(conn, user, webhook_id).await?;
    let deliveries = select_deliveries(conn, webhook_id, None, before, limit + 1).await?;
    Ok(Page::cut(deliveries, limit, |delivery| {
        delivery.id.to_string()
    }))
}

/// The attempts of a message, in order.
///
/// # Errors
/// [`Error::NotFound`], also for another user's message.
pub async fn list_attempts(
    conn: &mut PgConnection,
    user: &CurrentUser,
    webhook_id: Uuid,
    delivery_id: Uuid,
) -> Result<Vec<Attempt>> {
    find_delivery(conn, user, webhook_id, delivery_id).await?;
    let attempts = sqlx::query_as!(
        Attempt,
        "-- manage::list_attempts
        select number, status, error, duration_ms, ended_at from webhook_attempts where delivery_id = $1 order by number",
        delivery_id
    )
    .fetch_all(conn)
    .await?;
    Ok(attempts)
}

/// Sends a message again, with the same id, immediately and with the full number of attempts.
///
/// # Errors
/// [`Error::NotFound`], also for another user's message; [`Error::Conflict`] if its webhook is disabled;
/// [`Error::TooManyAttempts`].
pub async fn replay_delivery(
    conn: &mut PgConnection,
    user: &CurrentUser,
    webhook_id: Uuid,
    delivery_id: Uuid,
) -> Result<Delivery> {
    let mut tx = conn.begin().await?;
    find_delivery(&mut tx, user, webhook_id, delivery_id).await?;
    require_enabled(&find_webhook(&mut tx, user, webhook_id).await?)?;
    count_try(&mut tx, user).await?;
    send_now(&mut tx, delivery_id).await?;
    let delivery = find_delivery(&mut tx, user, webhook_id, delivery_id).await?;
    tx.commit().await?;
    Ok(delivery)
}

/// Makes a message due immediately, with the full number of attempts.
async fn send_now(tx: &mut PgConnection, delivery_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- manage::send_now
        update webhook_deliveries
        set state = 'waiting', attempts_left = $2, next_attempt_at = now(), ended_at = null
        where id = $1",
        delivery_id,
        ATTEMPTS
    )
    .execute(&mut *tx)
    .await?;
    doorbell::ring(tx, super::DOORBELL, "").await
}

/// The undelivered test message of a webhook.
async fn waiting_test(tx: &mut PgConnection, webhook_id: Uuid) -> Result<Option<Uuid>> {
    let waiting = sqlx::query_scalar!(
        "-- manage::waiting_test
        select id
        from webhook_deliveries
        where webhook_id = $1 and event = 'webhook.test' and state = 'waiting'
        order by id desc
        limit 1",
        webhook_id
    )
    .fetch_optional(tx)
    .await?;
    Ok(waiting)
}

/// Counts a message that a user requests, and refuses more than [`TRIES_A_MINUTE`], so that the bank floods nobody's
/// server.
async fn count_try(tx: &mut PgConnection, user: &CurrentUser) -> Result<()> {
    let counted = sqlx::query!(
        r#"-- manage::count_try
        insert into webhook_tries as kept (user_id, began_at, tries) values ($1, now(), 1)
        on conflict (user_id) do update
        set began_at = case when kept.began_at <= now() - interval '1 minute' then now() else kept.began_at end,
            tries = case when kept.began_at <= now() - interval '1 minute' then 1 else kept.tries + 1 end
        returning tries, extract(epoch from began_at + interval '1 minute' - now())::float8 as "seconds_left!""#,
        user.id
    )
    .fetch_one(tx)
    .await?;
    if counted.tries <= TRIES_A_MINUTE {
        return Ok(());
    }
    Err(Error::TooManyAttempts {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 60"
        )]
        retry_after_seconds: counted.seconds_left.ceil().clamp(1.0, 60.0) as u64,
    })
}

/// Re-encrypts the addresses and secrets of all webhooks with a new key; returns the number of webhooks.
///
/// # Errors
/// The database does not respond; [`Error::Conflict`] if a value opens with neither key; the transaction must not be
/// committed then.
pub async fn reseal_webhooks(
    conn: &mut PgConnection,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<usize> {
    let rows = sqlx::query!(
        "-- manage::reseal_webhooks (read)
        select webhooks.id, name, sealed_url, sealed_secret, username as owner
        from webhooks
        join users on users.id = owner_id
        order by webhooks.id
        for update of webhooks"
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut changed = 0;
    for row in rows {
        let reseal = |sealed: &[u8], what: &str| {
            let resealed = new.reseal(old, sealed, &context(row.id, what));
            resealed.map_err(|_| {
                Error::Conflict(format!(
                    "the {what} of the webhook `{}` ({}) of {} opens with neither key; delete the webhook first",
                    row.name, row.id, row.owner
                ))
            })
        };
        let url = reseal(&row.sealed_url, "url")?;
        let secret = reseal(&row.sealed_secret, "secret")?;
        if url.is_none() && secret.is_none() {
            continue;
        }
        sqlx::query!(
            "-- manage::reseal_webhooks (write)
            update webhooks set sealed_url = coalesce($2, sealed_url), sealed_secret = coalesce($3, sealed_secret)
            where id = $1",
            row.id,
            url,
            secret
        )
        .execute(&mut *conn)
        .await?;
        changed += 1;
    }
    Ok(changed)
}

/// The context of an encrypted value: it only opens in its own row, and only for its own purpose.
pub(super) fn context(id: Uuid, what: &str) -> Vec<u8> {
    [b"webhook:", what.as_bytes(), b":", id.as_bytes()].concat()
}

async fn find_delivery(
    conn: &mut PgConnection,
    user: &CurrentUser,
    webhook_id: Uuid,
    delivery_id: Uuid,
) -> Result<Delivery> {
    // Whatever is missing, the error names the message that was requested.
    let not_found = || Error::NotFound(format!("the delivery `{delivery_id}`"));
    match find_webhook(conn, user, webhook_id).await {
        Err(Error::NotFound(_)) => return Err(not_found()),
        other => other?,
    };
    let found = select_deliveries(conn, webhook_id, Some(delivery_id), None, 1).await?;
    found.into_iter().next().ok_or_else(not_found)
}

async fn select_webhooks(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Option<Uuid>,
) -> Result<Vec<Webhook>> {
    let webhooks = sqlx::query_as!(
        Webhook,
        r#"-- manage::select_webhooks
        select id, name, host, format as "format: WebhookFormat", events as "events: Vec<WebhookEvent>", failures,
               failing_since, disabled_at, disabled_reason, created_at, updated_at
        from webhooks
        where owner_id = $1 and ($2::uuid is null or id = $2)
        order by id desc"#,
        user.id,
        id
    )
    .fetch_all(conn)
    .await?;
    Ok(webhooks)
}

async fn select_deliveries(
    conn: &mut PgConnection,
    webhook_id: Uuid,
    id: Option<Uuid>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let deliveries = sqlx::query_as!(
        Delivery,
        r#"-- manage::select_deliveries
        select id, event as "event: WebhookEvent", summary, data, state as "state: DeliveryState", attempts,
               case when state = 'waiting' then next_attempt_at end as next_attempt_at, ended_at, created_at
        from webhook_deliveries
        where webhook_id = $1 and ($2::uuid is null or id = $2) and ($3::uuid is null or id < $3)
        order by id desc
        limit $4"#,
        webhook_id,
        id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(deliveries)
}

fn check(name: Option<&str>, events: Option<&[WebhookEvent]>) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    if let Some(name) = name {
        wrong.extend(check_line("name", name, 1..=100).err());
    }
    if events.is_some_and(|events| events.is_empty() || events.len() > 10) {
        wrong.push(FieldError::new("events", "must name 1 to 10 events"));
    }
    wrong
}

fn check_url(
    outbound: &OutboundPolicy,
    url: &SecretString,
    wrong: &mut Vec<FieldError>,
) -> Option<Url> {
    let checked = outbound.check_address(url.expose_secret());
    let refuse = |fault: crate::outbound::UrlFault| FieldError::new("url", fault.to_string());
    checked.map_err(|fault| wrong.push(refuse(fault))).ok()
}

fn require_enabled(webhook: &Webhook) -> Result<()> {
    if webhook.disabled_at.is_some() {
        let message = "the webhook is disabled; enable it first";
        return Err(Error::Conflict(message.into()));
    }
    Ok(())
}

/// 32 random bytes, in the format of Standard Webhooks.
fn new_secret() -> SecretString {
    let mut bytes = [0_u8; 32];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    format!("whsec_{}", BASE64_STANDARD.encode(bytes)).into()
}

/// The part of an address that is shown.
fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("the webhook `{id}`"))
}

fn taken(error: sqlx::Error, name: &str) -> Error {
    Error::for_name(error, "webhooks_owner_id_name_key", "a webhook", name)
}
