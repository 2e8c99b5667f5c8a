//! Jobs of whole runs, delivered by apalis. A worker runs up to four of them concurrently.
//!
//! apalis only delivers jobs. Each start of its worker has a new name (a name that registers again would keep its dead
//! jobs forever), a separate heartbeat task, and a delay after it ends.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use apalis::prelude::*;
use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy, PollWith};
use apalis_postgres::{Config, PostgresStorage};
use futures::{FutureExt as _, Stream, StreamExt as _};
use opb_core::{
    doorbell::Doorbell,
    finishing,
    queue::{self, Job},
    runs,
};
use sqlx::PgPool;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Number of concurrent jobs. With more than four and batches of one, apalis hangs when it stops.
const AT_ONCE: usize = 4;
/// Polling interval without notifications.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Heartbeat interval; after four missed heartbeats, jobs are given to other workers.
const BEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Maximum delay between two starts.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// The dependencies of running jobs.
#[derive(Clone)]
pub(crate) struct Jobs {
    /// For the queue's own statements.
    pub(crate) queue: PgPool,
    /// For the work.
    pub(crate) pool: PgPool,
    pub(crate) doorbell: Doorbell,
    /// Cancelled when no new jobs may start.
    pub(crate) stop: CancellationToken,
}

/// Runs jobs until the worker stops, under a new name after each failure.
pub(crate) async fn serve_for_ever(jobs: Jobs) {
    let mut pause = Duration::from_millis(100);
    while !jobs.stop.is_cancelled() {
        let name = format!(
            "{}-{}-{}",
            host(),
            std::process::id(),
            Uuid::new_v4().simple()
        );
        let started = tokio::time::Instant::now();
        let ended = tokio::select! {
            ended = AssertUnwindSafe(serve(jobs.clone(), name.clone())).catch_unwind() => ended,
            () = beat_for_ever(&jobs.queue, &name) => Ok(Ok(())),
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the delivery of jobs ended, restarting it");
            }
            Err(_) => tracing::error!("the delivery of jobs panicked, restarting it"),
        }
        give_back(&jobs.queue, &name).await;
        if started.elapsed() > MAX_PAUSE {
            pause = Duration::from_millis(100);
        }
        jobs.stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn serve(jobs: Jobs, name: String) -> Result<(), WorkerError> {
    let config = Config::default()
        .queue(queue::JOBS)
        .batch_size(1)
        .heartbeat_interval(BEAT_INTERVAL)
        .missed_heartbeats(4)
        .lock_tasks(false);
    let backend = PostgresStorage::<Job>::new(&jobs.queue).with_config(config);
    let stop = jobs.stop.clone();
    WorkerBuilder::new(name)
        .backend(PollWith::new(backend, Wakeups::new(&jobs.doorbell)))
        .concurrency(AT_ONCE)
        .data(jobs.pool)
        .build(work)
        .run_until(async move {
            stop.cancelled().await;
            Ok::<(), WorkerError>(())
        })
        .await
}

/// Never returns an error to apalis: housekeeping finds unfinished work in the tables.
async fn work(job: Job, pool: Data<PgPool>) {
    // A separate task turns a panic into an error; dropping the guard aborts it together with this one.
    let done = tokio::spawn(carry_out(job, PgPool::clone(&pool)));
    let _stop = AbortOnDrop(done.abort_handle());
    match done.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(
            ?job, %error, source = ?std::error::Error::source(&error), "could not complete {job:?}"
        ),
        Err(error) => tracing::error!(?job, %error, "{job:?} panicked"),
    }
}

async fn carry_out(job: Job, pool: PgPool) -> opb_core::Result<()> {
    let mut conn = pool.acquire().await?;
    match job {
        Job::Plan { run_id } => runs::plan_run(&mut conn, run_id).await,
        Job::Finish { run_id } => finishing::finish_run(&mut conn, run_id).await,
        Job::Prune { run_id } => runs::prune_run(&mut conn, run_id).await,
    }
}

async fn beat_for_ever(queue: &PgPool, name: &str) {
    loop {
        tokio::time::sleep(BEAT_INTERVAL).await;
        let beaten = async {
            let mut conn = queue.acquire().await?;
            queue::beat(&mut conn, name).await
        };
        if let Err(error) = beaten.await {
            tracing::warn!(%error, "could not send a heartbeat to the job queue");
        }
    }
}

/// Returns this worker's jobs to the queue; if this fails, they return after missed heartbeats.
async fn give_back(queue: &PgPool, name: &str) {
    let given = async {
        let mut conn = queue.acquire().await?;
        queue::give_back(&mut conn, name).await
    };
    if let Err(error) = given.await {
        tracing::debug!(
            %error,
            "could not return jobs to the queue, they return after missed heartbeats"
        );
    }
}

/// When to poll for jobs: at every notification, and at every tick.
///
/// apalis' own strategies lose a notification that arrives during a fetch. This one drains all notifications and
/// requests another poll, so that a fetch starts after them.
struct Wakeups(Pin<Box<dyn Stream<Item = ()> + Send + Sync>>);

impl Wakeups {
    fn new(doorbell: &Doorbell) -> Self {
        let rings = BroadcastStream::new(doorbell.subscribe()).map(|_| ());
        let ticks = IntervalStream::new(tokio::time::interval(POLL_INTERVAL)).map(|_| ());
        Self(Box::pin(futures::stream::select(rings, ticks)))
    }
}

impl PollStrategy for Wakeups {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut woken = false;
        while let Poll::Ready(Some(())) = self.0.poll_next_unpin(cx) {
            woken = true;
        }
        if !woken {
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Ready(Some(()))
    }
}

/// The host name, so that operators can see where jobs run.
fn host() -> String {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    if name.is_empty() {
        "worker".to_owned()
    } else {
        name
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
