//! Mails about alerts. The process that sends mail writes them, because only it has the key to encrypt them.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::AlertState;
use crate::{
    Result,
    mail::{Mail, MailKind, Outbox},
};

/// How long the mail is worth sending.
const NEWS_LIFETIME: Duration = Duration::from_hours(24);

/// Writes the pending mails; returns their number. Only verified addresses get mail.
///
/// # Errors
/// The database does not respond.
pub async fn write_mails(conn: &mut PgConnection, outbox: &Outbox) -> Result<usize> {
    let mut tx = conn.begin().await?;
    let waiting = sqlx::query!(
        r#"-- mail_templates::write_mails
        select alert_events.id, alerts.name, label, state as "state: AlertState", summary, username, email,
               email_verified_at is not null and disabled_at is null as "readable!"
        from alert_events
        join alerts on alerts.id = alert_id
        join users on users.id = owner_id
        where mail_waits
        order by alert_events.id
        limit 20
        for update of alert_events skip locked"#
    )
    .fetch_all(&mut *tx)
    .await?;
    for event in &waiting {
        sqlx::query!(
            "-- mail_templates::write_mails (write)
            update alert_events set mail_waits = false where id = $1",
            event.id
        )
        .execute(&mut *tx)
        .await?;
        if !event.readable {
            continue;
        }
        let state = match event.state {
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        };
        let text = format!(
            "Hello {},\n\nyour alert {} is {state}.\n\n{}: {}\n\n-- \nOpenPromptBank at {}\n",
            event.username, event.name, event.label, event.summary, outbox.public_url
        );
        let mail = Mail {
            kind: MailKind::Alert,
            recipient: event.email.clone(),
            subject: format!("Alert {state}: {}", event.name),
            text: text.into(),
            useful_for: NEWS_LIFETIME,
        };
        outbox.post(&mut tx, mail).await?;
    }
    tx.commit().await?;
    Ok(waiting.len())
}
