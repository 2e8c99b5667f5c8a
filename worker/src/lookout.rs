//! The lookout: every few seconds it says what the runs at hand wait for, and gives a shard back that another run is
//! owed more. It also shares with the other workers which providers have answered.

use std::{collections::HashSet, sync::Arc, time::Duration};

use opb_core::{
    models::{answered_among, mark_answered},
    runs::{report_waiting, run_to_give_way},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Worker;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Looks until `stop`.
pub(crate) async fn look_for_ever(worker: Arc<Worker>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(INTERVAL))
        .await
        .is_some()
    {
        if let Err(error) = look(&worker).await {
            tracing::warn!(%error, "the lookout sees nothing");
        }
    }
}

async fn look(worker: &Worker) -> opb_core::Result<()> {
    let at_work = worker.leases.at_work();
    let runs: HashSet<Uuid> = at_work.iter().copied().collect();
    let mut waiting = Vec::new();
    for run_id in &runs {
        if let Some(reason) = obstacle(worker, *run_id).await {
            waiting.push((*run_id, reason));
        }
    }
    share_answered(worker, !waiting.is_empty()).await?;
    // A worker that has room takes what it is owed without giving anything.
    let is_full = at_work.len() >= worker.capacity();
    if waiting.is_empty() && !is_full {
        return Ok(());
    }
    let mut conn = worker.pool.acquire().await?;
    if !waiting.is_empty() {
        report_waiting(&mut conn, &waiting).await?;
    }
    // Those that leave take memory and connections too, so they are never more than those at work.
    let leaving = worker.leases.leaving();
    if is_full && leaving.len() < worker.capacity() {
        let runs: Vec<Uuid> = runs.into_iter().collect();
        if let Some(run_id) = run_to_give_way(&mut conn, &runs, &leaving).await? {
            tracing::debug!(run.id = %run_id, "a shard gives way to another run");
            worker.leases.give_way(run_id);
        }
    }
    Ok(())
}

/// Tells the database which providers have answered, and asks what others know of them while runs wait.
async fn share_answered(worker: &Worker, is_waiting: bool) -> opb_core::Result<()> {
    let unmarked = worker.governors.unmarked();
    if !unmarked.is_empty() {
        let mut conn = worker.pool.acquire().await?;
        mark_answered(&mut conn, &unmarked).await?;
        for provider_id in unmarked {
            worker.governors.set_marked(provider_id, true);
        }
    }
    let unanswered = worker.governors.unanswered();
    if is_waiting && !unanswered.is_empty() {
        let mut conn = worker.pool.acquire().await?;
        for provider_id in answered_among(&mut conn, &unanswered).await? {
            worker.governors.set_marked(provider_id, true);
        }
    }
    Ok(())
}

/// What keeps the calls of a run from being made, if anything does.
async fn obstacle(worker: &Worker, run_id: Uuid) -> Option<String> {
    let runs = worker.runs.lock().await;
    let run = runs.get(&run_id)?;
    run.models
        .iter()
        .find_map(|model| model.governor.obstacle())
}
