//! Writing messages, in the transaction of what they tell.

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{DOORBELL, WebhookEvent, outbox::ATTEMPTS};
use crate::{
    Result,
    auth::{CurrentUser, UserRole},
    doorbell,
    runs::{Run, find_run},
};

/// What to tell.
pub(crate) struct Message<'a> {
    pub(crate) event: WebhookEvent,
    /// A sentence for people.
    pub(crate) summary: &'a str,
    /// The thing that it is about, as REST shows it.
    pub(crate) data: &'a Value,
}

/// Writes a message to every webhook of a user that is told of such events.
pub(crate) async fn announce(
    tx: &mut PgConnection,
    owner_id: i64,
    message: &Message<'_>,
) -> Result<()> {
    let webhooks = subscribers(tx, owner_id, message.event).await?;
    post(tx, &webhooks, message).await
}

/// Tells the webhooks of a run's owner about the run.
pub(crate) async fn announce_run(
    tx: &mut PgConnection,
    run_id: Uuid,
    event: WebhookEvent,
) -> Result<()> {
    let owner = sqlx::query!(
        r#"-- announce::announce_run
        select users.id, username, role as "role: UserRole" from runs join users on users.id = owner_id where runs.id = $1"#,
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    let webhooks = subscribers(tx, owner.id, event).await?;
    if webhooks.is_empty() {
        return Ok(());
    }
    let owner = CurrentUser {
        id: owner.id,
        username: owner.username,
        role: owner.role,
    };
    let run = find_run(tx, Some(&owner), run_id).await?;
    let message = Message {
        event,
        summary: &sentence(&run, event),
        data: &json!(run),
    };
    post(tx, &webhooks, &message).await
}

/// Writes a message to these webhooks.
pub(super) async fn post(
    tx: &mut PgConnection,
    webhooks: &[Uuid],
    message: &Message<'_>,
) -> Result<()> {
    if webhooks.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = webhooks.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query!(
        "-- announce::post
        insert into webhook_deliveries (id, webhook_id, event, summary, data, attempts_left)
        select id, webhook_id, $3, $4, $5, $6 from unnest($1::uuid[], $2::uuid[]) as message (id, webhook_id)",
        &ids,
        webhooks,
        message.event as WebhookEvent,
        message.summary,
        message.data,
        ATTEMPTS
    )
    .execute(&mut *tx)
    .await?;
    doorbell::ring(tx, DOORBELL, "").await
}

async fn subscribers(
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

fn sentence(run: &Run, event: WebhookEvent) -> String {
    let name = if run.name.is_empty() {
        run.id.to_string()
    } else {
        format!("{} ({})", run.name, run.id)
    };
    if event == WebhookEvent::BudgetExhausted {
        return format!(
            "Run {name} on {} has paused: {}",
            run.benchmark, run.state_reason
        );
    }
    let state = match run.state {
        crate::runs::RunState::Completed => "completed",
        crate::runs::RunState::Cancelled => "cancelled",
        _ => "failed",
    };
    let reason = match run.state_reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!(
        "Run {name} on {} has {state}, {} of {} evaluations passed{reason}",
        run.benchmark,
        run.passed,
        run.planned - run.skipped
    )
}
