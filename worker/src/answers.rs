//! Answers that need not be asked for: those of the cache, and those of the run that is scored again.

use std::{collections::HashMap, sync::Arc};

use opb_core::{
    metrics::METRICS,
    models::ProviderKind,
    runs::{
        Answer, AnswerKey, EvaluationKey, RunModel, RunWork, ShardLease, answers_of, kept_answers,
    },
    template::Message,
};
use sha2::{Digest as _, Sha256};

use crate::{Worker, evaluate::PreparedItem, prepared::PreparedRun};

/// What is known of an evaluation before it is made.
#[derive(Default)]
pub(crate) struct Known {
    /// Its answer, if it is there already.
    pub(crate) answer: Option<Answer>,
    /// Under which key its answer is kept.
    pub(crate) key: Option<AnswerKey>,
}

/// Makes the keys under which the answers of a model to one owner's run are kept.
#[derive(Clone)]
pub(crate) struct AnswerKeys(Sha256);

impl AnswerKeys {
    /// None when nothing is kept: the run wants none, or the model's answers cost nothing.
    ///
    /// The owner is part of the key, so that nobody learns from a fast answer what somebody else has asked.
    pub(crate) fn new(work: &RunWork, model: &RunModel) -> Option<Self> {
        let provider = &model.provider;
        let free = matches!(provider.kind, ProviderKind::Simulated | ProviderKind::Echo);
        if free || !work.cache {
            return None;
        }
        let asked = serde_json::json!([
            "opb-answer-1",
            work.owner_id,
            provider.id,
            provider.kind,
            provider.base_url,
            provider.settings,
            model.name,
            model.parameters,
            work.seed,
        ]);
        Some(Self(Sha256::new_with_prefix(asked.to_string())))
    }

    /// The key of an answer to these messages.
    fn key(&self, messages: &[Message], repeat: i16) -> AnswerKey {
        let mut hash = self.0.clone();
        hash.update(repeat.to_le_bytes());
        for message in messages {
            hash.update([message.role as u8]);
            hash.update(message.content.len().to_le_bytes());
            hash.update(&message.content);
        }
        let mut key = AnswerKey::default();
        key.copy_from_slice(&hash.finalize()[..16]);
        key
    }
}

/// Looks up what is known of these evaluations, in their order.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn look_up(
    worker: &Worker,
    run: &PreparedRun,
    lease: &ShardLease,
    open: &[(EvaluationKey, Arc<PreparedItem>)],
) -> anyhow::Result<Vec<Known>> {
    if let Some(source) = run.work.answers_of {
        let mut conn = worker.pool.acquire().await?;
        let mut answers = answers_of(&mut conn, &run.work, lease, source).await?;
        let known = open.iter().map(|(key, _)| Known {
            answer: answers.remove(key),
            key: None,
        });
        return Ok(known.collect());
    }
    let keys: Vec<Option<AnswerKey>> = open
        .iter()
        .map(|(key, item)| {
            let (prompt, model) = run.column(*key)?;
            let keys = model.answer_keys.as_ref()?;
            let messages = prompt.render(&item.vars).ok()?;
            Some(keys.key(&messages, key.repeat))
        })
        .collect();
    let asked: Vec<AnswerKey> = keys.iter().flatten().copied().collect();
    let answers = if asked.is_empty() {
        HashMap::new()
    } else {
        let mut conn = worker.pool.acquire().await?;
        kept_answers(&mut conn, &asked).await?
    };
    let known = keys.into_iter().map(|key| {
        let answer = key.and_then(|key| answers.get(&key).cloned());
        if key.is_some() {
            let outcome = if answer.is_some() { "hit" } else { "miss" };
            METRICS.cache_lookups.with_label_values(&[outcome]).inc();
        }
        Known { answer, key }
    });
    Ok(known.collect())
}
