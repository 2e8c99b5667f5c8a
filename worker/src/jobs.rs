//! Jobs: what concerns a whole run, delivered by apalis. A worker does up to four of them at once.
//!
//! apalis delivers; it does not protect. Every start of its worker has a new name (a name that registers again would keep
//! its dead jobs for ever), beats from a task of its own, and is restarted with a pause when it ends.

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

/// Jobs that are worked on at once. More than four with batches of one hangs apalis when it stops.
const AT_ONCE: usize = 4;
/// How often it looks for a job when no bell rings.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often it says that it lives; after four silent intervals its jobs are given to others.
const BEAT_INTERVAL: Duration = Duration::from_secs(15);
/// The longest pause between two starts.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// What jobs are delivered by and done with.
#[derive(Clone)]
pub(crate) struct Jobs {
    /// For the queue's own statements.
    pub(crate) queue: PgPool,
    /// For the work.
    pub(crate) pool: PgPool,
    pub(crate) doorbell: Doorbell,
    /// Cancelled when no new job shall begin.
    pub(crate) stop: CancellationToken,
}

/// Does jobs until the worker stops, under a new name after each failure.
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
                tracing::warn!(%error, "the delivery of jobs ended and starts again");
            }
            Err(_) => tracing::error!("the delivery of jobs panicked and starts again"),
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

/// Never fails the job: what it leaves undone, housekeeping finds in the tables.
async fn work(job: Job, pool: Data<PgPool>) {
    // The task of its own turns a panic into an error; dropping the guard stops it with us.
    let done = tokio::spawn(carry_out(job, PgPool::clone(&pool)));
    let _stop = AbortOnDrop(done.abort_handle());
    match done.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(
            ?job, %error, source = ?std::error::Error::source(&error), "a job was not done"
        ),
        Err(error) => tracing::error!(?job, %error, "a job panicked"),
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
            tracing::warn!(%error, "the queue could not be told that this worker lives");
        }
    }
}

/// Gives the jobs that it still holds to others at once; if this fails, they come back when its beats are missed.
async fn give_back(queue: &PgPool, name: &str) {
    let given = async {
        let mut conn = queue.acquire().await?;
        queue::give_back(&mut conn, name).await
    };
    if let Err(error) = given.await {
        tracing::debug!(%error, "jobs come back later");
    }
}

/// When it looks for jobs: at every ring of the doorbell, and at every tick.
///
/// apalis' own strategies forget a ring that comes while it fetches. This one reads until nothing is left, and asks to be
/// polled again after a ring, so that a fetch begins after it.
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

/// The machine's name, so that an operator can see where jobs run.
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
