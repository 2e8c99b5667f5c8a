//! Follows a run by its live events, and polls it when no events arrive.

use std::time::Duration;

use eventsource_stream::{Event, Eventsource as _};
use futures::{Stream, StreamExt as _};
use opb_core::runs::{Run, RunState};
use uuid::Uuid;

use super::Client;

/// How long to wait for an event before polling the run instead.
const SILENCE: Duration = Duration::from_secs(5);
/// The pause before the events are opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a server may be unreachable before the command gives up.
const PATIENCE: Duration = Duration::from_mins(1);
/// Maximum number of bytes that are read before the events are opened again: an endless event would fill the memory.
const MAX_STREAM_BYTES: usize = 64 << 20;

/// Shows every state of a run until it ends or is paused, and returns the last.
///
/// Events only speed this up: if a proxy holds them back, the connection breaks or the server restarts, the run itself
/// is polled every few seconds.
///
/// # Errors
/// The server rejects the request, or is unreachable for a minute.
pub async fn follow_run(
    client: &Client,
    id: Uuid,
    mut show: impl FnMut(&Run),
) -> anyhow::Result<Run> {
    let mut last_seen = tokio::time::Instant::now();
    loop {
        let asked = client.get::<Run>(&format!("/api/v1/runs/{id}")).await;
        match asked {
            Ok(run) => {
                last_seen = tokio::time::Instant::now();
                show(&run);
                if has_stopped(&run) {
                    return Ok(run);
                }
            }
            Err(error) if last_seen.elapsed() > PATIENCE => return Err(error),
            Err(error) => tracing::debug!(%error, "could not read run {id}, trying again"),
        }
        match client
            .open_events(&format!("/api/v1/runs/{id}/events"))
            .await
        {
            Ok(response) => {
                let mut seen = 0;
                let pieces = response.bytes_stream().take_while(move |piece| {
                    seen += piece.as_ref().map_or(0, bytes::Bytes::len);
                    std::future::ready(seen <= MAX_STREAM_BYTES)
                });
                show_events(pieces.eventsource(), &mut show).await;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Shows the states that arrive as events, until they stop.
async fn show_events<E>(events: impl Stream<Item = Result<Event, E>>, show: &mut impl FnMut(&Run)) {
    let mut events = std::pin::pin!(events);
    loop {
        let Ok(event) = tokio::time::timeout(SILENCE, events.next()).await else {
            return;
        };
        match event {
            Some(Ok(event)) if event.event == "end" => return,
            Some(Ok(event)) if event.event == "run" => {
                let Ok(run) = serde_json::from_str::<Run>(&event.data) else {
                    continue;
                };
                show(&run);
                if has_stopped(&run) {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => {
                tokio::time::sleep(PAUSE).await;
                return;
            }
        }
    }
}

/// Whether the run has ended or is paused, so that nothing more happens unless the owner resumes it.
fn has_stopped(run: &Run) -> bool {
    run.state.has_ended() || run.state == RunState::Paused
}
