//! Answers that need not be asked for: those of the cache, and those of the run that is scored again.

use std::{collections::HashMap, sync::Arc};

use opb_core::{
    metrics::METRICS,
    models::ProviderKind,
    runs::{
        Answer, AnswerKey, EvaluationKey, RunModel, RunWork, ShardLease, answers_of, kept_answers,
    },
    template::{Content, Message},
};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::{evaluate::PreparedItem, prepared::PreparedRun};

/// What is known of an evaluation before it is made.
#[derive(Default)]
pub(crate) struct Known {
    /// Its answer, if it is there already.
    pub(crate) answer: Option<Answer>,
    /// Under which key its answer is kept.
    pub(crate) key: Option<AnswerKey>,
}

/// How many bytes of a key tell who asks which model with which parameters. The answers of a column lie together in the
/// index then, so that recording and looking up touch few of its pages, however large it is.
const COLUMN_BYTES: usize = 4;

/// Marks the role of a message whose content has parts, in the hash of a question.
const PARTS: u8 = 0x80;

/// Makes the keys under which the answers of a model to one owner's run are kept.
#[derive(Clone)]
pub(crate) struct AnswerKeys {
    column: [u8; COLUMN_BYTES],
    /// Has taken in all but the messages and the repeat.
    hash: Sha256,
}

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
        let hash = Sha256::new_with_prefix(asked.to_string());
        let mut column = [0; COLUMN_BYTES];
        column.copy_from_slice(&hash.clone().finalize()[..COLUMN_BYTES]);
        Some(Self { column, hash })
    }

    /// The key of an answer to these messages.
    fn key(&self, messages: &[Message], repeat: i16) -> AnswerKey {
        let mut hash = self.hash.clone();
        hash.update(repeat.to_le_bytes());
        for message in messages {
            match &message.content {
                Content::Text(text) => {
                    hash.update([message.role as u8]);
                    hash.update(text.len().to_le_bytes());
                    hash.update(text);
                }
                Content::Parts(parts) => {
                    hash.update([message.role as u8 | PARTS]);
                    hash.update(serde_json::to_vec(parts).unwrap_or_default());
                }
            }
        }
        let mut key = [0; 16];
        let (column, question) = key.split_at_mut(COLUMN_BYTES);
        column.copy_from_slice(&self.column);
        question.copy_from_slice(&hash.finalize()[..question.len()]);
        AnswerKey::from_bytes(key)
    }
}

/// Looks up what is known of these evaluations, in their order.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn look_up(
    pool: &PgPool,
    run: &PreparedRun,
    lease: &ShardLease,
    open: &[(EvaluationKey, Arc<PreparedItem>)],
) -> anyhow::Result<Vec<Known>> {
    if let Some(source) = run.work.answers_of {
        let mut conn = pool.acquire().await?;
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
        let mut conn = pool.acquire().await?;
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
