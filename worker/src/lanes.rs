//! Lanes: apalis workers under supervision. A lane fetches one task at a time and works on up to four.
//!
//! apalis delivers; it does not protect. Every start of a lane has a new name (a name that registers again would keep
//! its dead tasks for ever), beats from a task of its own, and is restarted with a pause when it ends.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use apalis::prelude::*;
use apalis_core::backend::ext::poll_strategy::PollWith;
use apalis_postgres::{Config, PostgresStorage};
use futures::FutureExt as _;
use opb_core::{
    doorbell::Doorbell,
    queue::{self, FinishTask, ShardTask},
    runs,
};
use sqlx::PgPool;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{Worker, WorkerSettings, shard, wakeups::Wakeups};

/// Tasks that one lane works on at once. More than four with batches of one hangs apalis when it stops.
pub(crate) const TASKS_PER_LANE: usize = 4;
/// How often a lane says that it lives; after four silent intervals its tasks are given to others.
const BEAT_INTERVAL: Duration = Duration::from_secs(15);
/// The longest pause between two starts of a lane.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Starts the lanes of a worker: those for shards, and one that finishes runs.
pub(crate) fn spawn(
    tracker: &TaskTracker,
    worker: &Arc<Worker>,
    queue: &PgPool,
    doorbell: &Doorbell,
) {
    for number in 0..count(&worker.settings) {
        let lane = Lane::new(format!("shards-{number}"), worker, queue, doorbell);
        tracker.spawn(supervise(lane, serve_shards));
    }
    let lane = Lane::new("finish".to_owned(), worker, queue, doorbell);
    tracker.spawn(supervise(lane, serve_finishes));
}

/// How many lanes work on shards.
pub(crate) fn count(settings: &WorkerSettings) -> usize {
    let shards = usize::try_from(settings.shards).unwrap_or(usize::MAX);
    shards.div_ceil(TASKS_PER_LANE)
}

/// One lane: a series of apalis workers, one after the other.
#[derive(Clone)]
struct Lane {
    label: String,
    worker: Arc<Worker>,
    queue: PgPool,
    doorbell: Doorbell,
}

impl Lane {
    fn new(label: String, worker: &Arc<Worker>, queue: &PgPool, doorbell: &Doorbell) -> Self {
        Self {
            label,
            worker: Arc::clone(worker),
            queue: queue.clone(),
            doorbell: doorbell.clone(),
        }
    }

    fn config(queue: &str) -> Config {
        Config::default()
            .queue(queue)
            .batch_size(1)
            .heartbeat_interval(BEAT_INTERVAL)
            .missed_heartbeats(4)
            .lock_tasks(false)
    }
}

/// Runs a lane until the worker stops, with a new name each time.
async fn supervise<F>(lane: Lane, serve: impl Fn(Lane, String) -> F)
where
    F: Future<Output = Result<(), WorkerError>> + Send,
{
    let mut pause = Duration::from_millis(100);
    while !lane.worker.stop.is_cancelled() {
        let name = format!(
            "{}-{}-{}-{}",
            host(),
            std::process::id(),
            lane.label,
            Uuid::new_v4().simple()
        );
        let started = tokio::time::Instant::now();
        let beating = beat_for_ever(&lane.queue, &name);
        let ended = tokio::select! {
            ended = AssertUnwindSafe(serve(lane.clone(), name.clone())).catch_unwind() => ended,
            () = beating => Ok(Ok(())),
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(lane = lane.label, %error, "a lane ended and starts again");
            }
            Err(_) => tracing::error!(lane = lane.label, "a lane panicked and starts again"),
        }
        give_back(&lane.queue, &name).await;
        if started.elapsed() > MAX_PAUSE {
            pause = Duration::from_millis(100);
        }
        lane.worker
            .stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn serve_shards(lane: Lane, name: String) -> Result<(), WorkerError> {
    let backend =
        PostgresStorage::<ShardTask>::new(&lane.queue).with_config(Lane::config(queue::SHARDS));
    WorkerBuilder::new(name)
        .backend(PollWith::new(backend, Wakeups::new(&lane.doorbell)))
        .concurrency(TASKS_PER_LANE)
        .data(Arc::clone(&lane.worker))
        .build(execute_shard)
        .run_until(stopped(lane))
        .await
}

async fn serve_finishes(lane: Lane, name: String) -> Result<(), WorkerError> {
    let backend = PostgresStorage::<FinishTask>::new(&lane.queue)
        .with_config(Lane::config(queue::FINISHED_RUNS));
    WorkerBuilder::new(name)
        .backend(PollWith::new(backend, Wakeups::new(&lane.doorbell)))
        .data(Arc::clone(&lane.worker))
        .build(finish_run)
        .run_until(stopped(lane))
        .await
}

/// Never fails the task: what a task leaves undone, housekeeping finds in the tables.
async fn execute_shard(task: ShardTask, worker: Data<Arc<Worker>>) {
    // The task of its own turns a panic into an error; dropping the handle's guard stops it with us.
    let execution = tokio::spawn(shard::execute(Arc::clone(&worker)));
    let _stop = AbortOnDrop(execution.abort_handle());
    match execution.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(task.shard_id = %task.shard_id, error = format!("{error:#}"), "a shard was left");
        }
        Err(error) => {
            tracing::error!(task.shard_id = %task.shard_id, %error, "a shard's work panicked");
        }
    }
}

async fn finish_run(task: FinishTask, worker: Data<Arc<Worker>>) {
    let finished = async {
        let mut conn = worker.pool.acquire().await.map_err(opb_core::Error::from)?;
        runs::finish_run(&mut conn, task.run_id).await
    };
    if let Err(error) = finished.await {
        tracing::error!(run.id = %task.run_id, %error, source = ?std::error::Error::source(&error), "a run was not finished");
    }
}

async fn stopped(lane: Lane) -> Result<(), WorkerError> {
    lane.worker.stop.cancelled().await;
    Ok(())
}

async fn beat_for_ever(queue: &PgPool, name: &str) {
    let names = [name.to_owned()];
    loop {
        tokio::time::sleep(BEAT_INTERVAL).await;
        let beaten = async {
            let mut conn = queue.acquire().await?;
            queue::beat(&mut conn, &names).await
        };
        if let Err(error) = beaten.await {
            tracing::warn!(%error, "a lane could not say that it lives");
        }
    }
}

/// Gives the tasks of a lane that ended to others at once; if this fails, they come back when its beats are missed.
async fn give_back(queue: &PgPool, name: &str) {
    let given = async {
        let mut conn = queue.acquire().await?;
        queue::give_back(&mut conn, name).await
    };
    if let Err(error) = given.await {
        tracing::debug!(%error, "a lane's tasks come back later");
    }
}

/// The machine's name, so that an operator can see where a lane runs.
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
