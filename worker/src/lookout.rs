//! The lookout: every few seconds it says what the runs at hand wait for, and gives a shard back that another run is
//! owed more. It also shares with the other workers which providers have answered.

use std::{collections::HashSet, sync::Arc, time::Duration};

use opb_core::{
    models::{answered_among, mark_answered},
    runs::{report_waiting, run_to_give_way},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{governor::Governors, leases::Leases, prepared::PreparedRuns};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// What it looks at.
pub(crate) struct Lookout {
    pub(crate) pool: PgPool,
    pub(crate) governors: Arc<Governors>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) runs: Arc<PreparedRuns>,
    /// How many shards this worker works on at most.
    pub(crate) places: usize,
}

/// Looks until `stop`.
pub(crate) async fn look_for_ever(lookout: Lookout, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(INTERVAL))
        .await
        .is_some()
    {
        if let Err(error) = look(&lookout).await {
            tracing::warn!(%error, "the lookout sees nothing");
        }
    }
}

async fn look(lookout: &Lookout) -> opb_core::Result<()> {
    let at_work = lookout.leases.at_work();
    let runs: HashSet<Uuid> = at_work.iter().copied().collect();
    let mut waiting = Vec::new();
    lookout.runs.forget_idle(&runs);
    for run_id in &runs {
        if let Some(reason) = lookout.runs.obstacle(*run_id) {
            waiting.push((*run_id, reason));
        }
    }
    share_answered(lookout, !waiting.is_empty()).await?;
    // A worker that has room takes what it is owed without giving anything.
    let is_full = at_work.len() >= lookout.places;
    if waiting.is_empty() && !is_full {
        return Ok(());
    }
    let mut conn = lookout.pool.acquire().await?;
    if !waiting.is_empty() {
        report_waiting(&mut conn, &waiting).await?;
    }
    // Those that leave take memory and connections too, so they are never more than those at work.
    let leaving = lookout.leases.leaving();
    if is_full && leaving.len() < lookout.places {
        let runs: Vec<Uuid> = runs.into_iter().collect();
        if let Some(run_id) = run_to_give_way(&mut conn, &runs, &leaving).await? {
            tracing::debug!(run.id = %run_id, "a shard gives way to another run");
            lookout.leases.give_way(run_id);
        }
    }
    Ok(())
}

/// Tells the database which providers have answered, and asks what others know of them while runs wait.
async fn share_answered(lookout: &Lookout, is_waiting: bool) -> opb_core::Result<()> {
    let unmarked = lookout.governors.unmarked();
    if !unmarked.is_empty() {
        let mut conn = lookout.pool.acquire().await?;
        mark_answered(&mut conn, &unmarked).await?;
        for provider_id in unmarked {
            lookout.governors.set_marked(provider_id, true);
        }
    }
    let unanswered = lookout.governors.unanswered();
    if is_waiting && !unanswered.is_empty() {
        let mut conn = lookout.pool.acquire().await?;
        for provider_id in answered_among(&mut conn, &unanswered).await? {
            lookout.governors.set_marked(provider_id, true);
        }
    }
    Ok(())
}
