//! Following a run: by its live events, and by asking now and then where they do not come.

use std::time::Duration;

use eventsource_stream::{Event, Eventsource as _};
use futures::{Stream, StreamExt as _};
use opb_core::runs::{Run, RunState};
use uuid::Uuid;

use super::Client;

/// How long to wait for an event before asking for the run instead.
const SILENCE: Duration = Duration::from_secs(5);
/// How long to wait before the events are opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// For how long a server may be gone before the command gives up.
const PATIENCE: Duration = Duration::from_mins(1);
/// How many bytes of events are read before they are opened again: an event without an end would fill the memory.
const MAX_STREAM_BYTES: usize = 64 << 20;

/// Shows every state of a run until it ends or is paused, and returns the last.
///
/// Events only make it quick: a proxy that holds them back, a broken connection and a restart of the server cost a
/// second, and what counts is always the run itself.
///
/// # Errors
/// The server refuses, or is gone for a minute.
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
            Err(error) => tracing::debug!(%error, "the run could not be read, trying again"),
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

/// Shows the states that come as events, until they stop coming.
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

/// True when nothing happens any more, unless the owner of a paused run resumes it.
fn has_stopped(run: &Run) -> bool {
    run.state.has_ended() || run.state == RunState::Paused
}
