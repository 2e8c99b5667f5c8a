//! Sends webhook messages about a run to its owner's webhooks, in the transaction that changes the run.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Run, RunState, find_run};
use crate::{
    Result,
    auth::{CurrentUser, UserRole},
    webhooks::{Message, WebhookEvent, post, subscribers},
};

/// Posts a message about a run to its owner's webhooks that subscribe to the event.
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
        RunState::Completed => "completed",
        RunState::Cancelled => "cancelled",
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
