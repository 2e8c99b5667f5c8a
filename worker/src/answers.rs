//! Looks up responses that need no call: cached ones, and those of the run that is rescored.

use opb_core::{
    metrics::METRICS,
    runs::{AnswerKey, ShardLease, answers_of, kept_answers},
};
use sqlx::PgPool;

use crate::{pending::PendingEvaluation, prepared::PreparedRun};

/// Looks up the responses of these evaluations, and sets their cache keys.
///
/// # Errors
/// The database does not respond.
pub(crate) async fn look_up(
    pool: &PgPool,
    run: &PreparedRun,
    lease: &ShardLease,
    pending: &mut [PendingEvaluation],
) -> anyhow::Result<()> {
    if let Some(source) = run.work.answers_of {
        let mut conn = pool.acquire().await?;
        let mut answers = answers_of(&mut conn, &run.work, lease, source).await?;
        for pending in pending {
            pending.answer = answers.remove(&pending.key);
        }
        return Ok(());
    }
    for pending in &mut *pending {
        pending.answer_key = answer_key(run, pending);
    }
    let keys: Vec<AnswerKey> = pending
        .iter()
        .filter_map(|pending| pending.answer_key)
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    let answers = {
        let mut conn = pool.acquire().await?;
        kept_answers(&mut conn, &keys).await?
    };
    for pending in pending {
        if let Some(key) = pending.answer_key {
            pending.answer = answers.get(&key).cloned();
            let outcome = if pending.answer.is_some() {
                "hit"
            } else {
                "miss"
            };
            METRICS.cache_lookups.with_label_values(&[outcome]).inc();
        }
    }
    Ok(())
}

fn answer_key(run: &PreparedRun, pending: &PendingEvaluation) -> Option<AnswerKey> {
    let (_, model) = run.column(pending.key)?;
    let keys = model.answer_keys.as_ref()?;
    let messages = pending.messages.as_deref()?.as_ref().ok()?;
    Some(keys.key(messages, pending.key.repeat))
}
