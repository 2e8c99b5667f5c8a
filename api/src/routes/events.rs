//! Live events of a run (server-sent events).
//!
//! A stream must never hold a database connection while it waits, and it ends soon after its credential does.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::HeaderName,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use opb_core::{
    doorbell::Ring,
    runs::{self, Run, RunReference},
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    caller::{Turn, Viewer, Watch},
    parameters::Path,
    problem::Result,
    seats::Seat,
};

/// Minimum time between two events of a stream: a tenth of the time that it has lasted, within these limits. A short run is
/// followed closely, and a long one gets five events a second.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_millis(200);
/// How often a stream polls, in case a ring of the doorbell was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Interval of keep-alive comments on an idle stream.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(follow_run))
}

/// Follows a run by server-sent events.
///
/// Sends an event `run` with the run as JSON, at once and after each progress, and an event `end` when the run has
/// ended.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}/events",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 429, description = "The caller has too many live streams", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn follow_run(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    watch: Watch,
    Turn(asker): Turn,
    Path(run): Path<RunReference>,
) -> Result<impl IntoResponse> {
    let seat = state.seats.take(asker)?;
    let run_id = {
        let mut conn = state.conn().await?;
        runs::resolve_run(&mut conn, viewer.as_ref(), &run)
            .await?
            .id
    };
    // Subscribing before reading, so that no change in between is missed.
    let rings = state.doorbell.subscribe();
    let follower = Follower {
        run_id,
        watch,
        rings,
        shown: None,
        began: Instant::now(),
        next_at: Instant::now(),
        step: Step::Look,
        state,
        _seat: seat,
    };
    let first = follower.read().await?;
    let events = Sse::new(follow(follower, first))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL));
    // Turns off buffering in nginx.
    Ok((
        [(HeaderName::from_static("x-accel-buffering"), "no")],
        events,
    ))
}

/// One client that follows one run.
struct Follower {
    state: AppState,
    watch: Watch,
    run_id: Uuid,
    rings: Receiver<Ring>,
    /// The state that was sent last.
    shown: Option<Run>,
    began: Instant,
    /// No event is sent before this time.
    next_at: Instant,
    step: Step,
    _seat: Seat,
}

enum Step {
    /// Check whether the run progressed.
    Look,
    /// Wait until it may have progressed.
    Wait,
    /// Send the event `end`.
    End,
    /// End the stream.
    Done,
}

fn follow(follower: Follower, first: Run) -> impl Stream<Item = Result<Event, Infallible>> {
    let state = follower.state.clone();
    let later = stream::unfold((follower, Some(first)), async |(mut follower, first)| {
        let event = follower.next(first).await?;
        Some((Ok(event), (follower, None)))
    });
    // Live streams end on shutdown, so that the process can stop.
    futures::StreamExt::take_until(later, async move { state.stop.cancelled().await })
}

impl Follower {
    /// The next event; `None` after the last.
    async fn next(&mut self, mut read: Option<Run>) -> Option<Event> {
        loop {
            match self.step {
                Step::Done => return None,
                Step::End => {
                    self.step = Step::Done;
                    return Some(Event::default().event("end").data("{}"));
                }
                Step::Wait => {
                    self.wait().await;
                    self.step = Step::Look;
                }
                Step::Look => {
                    let run = match read.take() {
                        Some(run) => run,
                        None => match self.read().await {
                            Ok(run) => run,
                            Err(refusal) if refusal.is_final() => return None,
                            // The error is logged; the stream continues with later events.
                            Err(_) => {
                                self.step = Step::Wait;
                                continue;
                            }
                        },
                    };
                    self.step = if run.state.has_ended() {
                        Step::End
                    } else {
                        Step::Wait
                    };
                    if self.shown.as_ref() == Some(&run) {
                        continue;
                    }
                    let interval = self.began.elapsed() / 10;
                    let interval = interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
                    self.next_at = Instant::now() + interval;
                    let event = Event::default().event("run").json_data(&run);
                    self.shown = Some(run);
                    if let Ok(event) = event {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// Waits for a ring of this run, at most the poll interval, and at least until the next event may be sent.
    async fn wait(&mut self) {
        let run_id = self.run_id.to_string();
        let rings = &mut self.rings;
        let rung = async {
            loop {
                match rings.recv().await {
                    Ok(ring) if ring.payload != run_id => {}
                    // The missed rings may include one of this run.
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        // After a ring or a timeout alike, the run is read again.
        let _ = tokio::time::timeout(POLL_INTERVAL, rung).await;
        tokio::time::sleep_until(self.next_at).await;
    }

    async fn read(&self) -> Result<Run> {
        // The stream ends for a caller who has logged out or may no longer read the run.
        let viewer = self.watch.viewer(&self.state).await?;
        let mut conn = self.state.conn().await?;
        Ok(runs::find_run(&mut conn, viewer.as_ref(), self.run_id).await?)
    }
}
