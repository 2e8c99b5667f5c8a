//! Every few seconds, reports what the runs of this worker wait for, and returns a shard if another run has less than
//! its fair share. Also shares with the other workers which providers have responded, and how many concurrent calls each
//! model accepts.

use std::{collections::HashSet, sync::Arc, time::Duration};

use opb_core::{
    models::{answered_among, mark_answered, store_learned},
    runs::{report_waiting, run_to_give_way},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{governor::Governors, leases::Leases, prepared::PreparedRuns};

/// The interval of reports.
const INTERVAL: Duration = Duration::from_secs(2);

/// The dependencies of reporting.
pub(crate) struct WaitingReasons {
    pub(crate) pool: PgPool,
    pub(crate) governors: Arc<Governors>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) runs: Arc<PreparedRuns>,
    /// Maximum number of shards that this worker works on concurrently.
    pub(crate) places: usize,
}

/// Reports until `stop`.
pub(crate) async fn report_until(this: WaitingReasons, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(INTERVAL))
        .await
        .is_some()
    {
        if let Err(error) = report(&this).await {
            tracing::warn!(%error, "could not report waiting runs, trying again");
        }
    }
    if let Err(error) = share_learned(&this).await {
        tracing::warn!(%error, "could not store how many concurrent calls models accept");
    }
}

async fn report(this: &WaitingReasons) -> opb_core::Result<()> {
    let at_work = this.leases.at_work();
    let runs: HashSet<Uuid> = at_work.iter().copied().collect();
    let mut waiting = Vec::new();
    this.runs.forget_idle(&runs);
    for run_id in &runs {
        if let Some(reason) = this.runs.obstacle(*run_id) {
            waiting.push((*run_id, reason));
        }
    }
    share_answered(this, !waiting.is_empty()).await?;
    if let Err(error) = share_learned(this).await {
        tracing::warn!(%error, "could not store how many concurrent calls models accept");
    }
    // A worker with free capacity claims other shards without returning one.
    let is_full = at_work.len() >= this.places;
    if waiting.is_empty() && !is_full {
        return Ok(());
    }
    let mut conn = this.pool.acquire().await?;
    if !waiting.is_empty() {
        report_waiting(&mut conn, &waiting).await?;
    }
    // Leaving shards use memory and connections too, so there are never more of them than active ones.
    let leaving = this.leases.leaving();
    if is_full && leaving.len() < this.places {
        let runs: Vec<Uuid> = runs.into_iter().collect();
        if let Some(run_id) = run_to_give_way(&mut conn, &runs, &leaving).await? {
            tracing::debug!(
                run.id = %run_id,
                "returning a shard of run {run_id} in favour of another run"
            );
            this.leases.give_way(run_id);
        }
    }
    Ok(())
}

/// Stores which providers have responded, and loads what other workers have stored while runs wait.
async fn share_answered(this: &WaitingReasons, is_waiting: bool) -> opb_core::Result<()> {
    let unmarked = this.governors.unmarked();
    if !unmarked.is_empty() {
        let mut conn = this.pool.acquire().await?;
        mark_answered(&mut conn, &unmarked).await?;
        for provider_id in unmarked {
            this.governors.set_marked(provider_id, true);
        }
    }
    let unanswered = this.governors.unanswered();
    if is_waiting && !unanswered.is_empty() {
        let mut conn = this.pool.acquire().await?;
        for provider_id in answered_among(&mut conn, &unanswered).await? {
            this.governors.set_marked(provider_id, true);
        }
    }
    Ok(())
}

/// Stores how many concurrent calls models accept, for workers that start later.
async fn share_learned(this: &WaitingReasons) -> opb_core::Result<()> {
    let learned = this.governors.take_learned();
    if learned.is_empty() {
        return Ok(());
    }
    let mut conn = this.pool.acquire().await?;
    store_learned(&mut conn, &learned).await
}
