//! Cache keys of responses.

use opb_core::{
    models::ProviderKind,
    runs::{AnswerKey, RunModel, RunWork},
    template::{Content, Message},
};
use sha2::{Digest as _, Sha256};

/// Number of leading bytes of a key that identify the user, the model and its parameters. So the responses of a column
/// are adjacent in the index, and recording and lookups touch few of its pages, however large it is.
const COLUMN_BYTES: usize = 4;

/// Marks the role of a message whose content has parts, in the hash of a request.
const PARTS: u8 = 0x80;

/// Generates the cache keys of a model's responses for the runs of one owner.
#[derive(Clone)]
pub(crate) struct AnswerKeys {
    column: [u8; COLUMN_BYTES],
    /// The hash of everything except the messages and the repeat.
    hash: Sha256,
}

impl AnswerKeys {
    /// Returns `None` if nothing is cached: the run disables the cache, or the model is free.
    ///
    /// The owner is part of the key, so that users cannot learn from a fast response what others have requested.
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

    /// Returns the key of a response to these messages.
    pub(crate) fn key(&self, messages: &[Message], repeat: i16) -> AnswerKey {
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
