//! The doorbell: one LISTEN connection per process that wakes waiting tasks.
//!
//! A notification can be spurious, and one can be lost (the connection may break), so waiting tasks also poll.

use std::time::Duration;

use sqlx::{PgConnection, PgPool, postgres::PgListener};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::Result;

/// A notification: its channel and its payload.
#[derive(Debug, Clone)]
pub struct Ring {
    /// The Postgres notification channel.
    pub channel: String,
    /// The notification's payload.
    pub payload: String,
}

/// Sends a notification when the caller's transaction commits; duplicates within a transaction are sent once.
///
/// # Errors
/// The database does not respond.
pub async fn ring(conn: &mut PgConnection, channel: &str, text: &str) -> Result<()> {
    sqlx::query!(
        r#"-- doorbell::ring
        select pg_notify($1, $2)::text as "rung""#,
        channel,
        text
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Distributes the notifications of a set of channels.
#[derive(Debug, Clone)]
pub struct Doorbell {
    rings: broadcast::Sender<Ring>,
}

impl Doorbell {
    /// Listens in the background until `stop` is cancelled. It opens its own connection to the pool's server, which
    /// must not be a transaction pooler, because LISTEN needs a session.
    #[must_use]
    pub fn listen(
        pool: PgPool,
        channels: &'static [&'static str],
        stop: CancellationToken,
    ) -> Self {
        let (rings, _) = broadcast::channel(1024);
        let sender = rings.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled(listen_for_ever(&pool, channels, &sender))
                .await;
        });
        Self { rings }
    }

    /// A receiver of all notifications from now on. A slow receiver misses some, and must poll anyway.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Ring> {
        self.rings.subscribe()
    }
}

/// Waits for the next notification of a channel, or until some may have been missed.
pub async fn rung(rings: &mut broadcast::Receiver<Ring>, channel: &str) {
    while let Ok(ring) = rings.recv().await {
        if ring.channel == channel {
            return;
        }
    }
}

async fn listen_for_ever(pool: &PgPool, channels: &[&str], rings: &broadcast::Sender<Ring>) {
    loop {
        if let Err(error) = listen_once(pool, channels, rings).await {
            tracing::warn!(%error, "lost the connection for notifications, listening again");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn listen_once(
    pool: &PgPool,
    channels: &[&str],
    rings: &broadcast::Sender<Ring>,
) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all(channels.iter().copied()).await?;
    loop {
        let notification = listener.recv().await?;
        // Without a receiver, sending fails, which is fine: no task is waiting.
        let _ = rings.send(Ring {
            channel: notification.channel().to_owned(),
            payload: notification.payload().to_owned(),
        });
    }
}
