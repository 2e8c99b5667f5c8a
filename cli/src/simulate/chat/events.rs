//! The response as server-sent events, with the timing of each token.

use bytes::Bytes;
use futures::stream::{self, Stream};
use serde::Serialize;
use tokio::time::Instant;

use super::{Chat, FINGERPRINT, Usage};
use crate::simulate::settings::Latency;

/// Characters in one event, as in the token estimate.
const PIECE_CHARACTERS: usize = 4;

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'static str,
    system_fingerprint: &'static str,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl Chat {
    /// All events at once.
    pub(in crate::simulate) fn to_events(&self) -> Bytes {
        let mut out = Vec::new();
        let mut rest = self.reply.text.as_str();
        self.write_start(&mut out);
        while let Some(piece) = take_piece(&mut rest) {
            self.write_piece(&mut out, piece);
        }
        self.write_end(&mut out);
        Bytes::from(out)
    }

    /// The events with their timing; events that are due together are sent together.
    pub(in crate::simulate) fn into_timed_events(
        self,
        latency: Latency,
    ) -> impl Stream<Item = Bytes> + Send {
        let first = latency.of(self.reply.first_token_after);
        let writing = latency.of(self.reply.total).saturating_sub(first);
        let pieces = self.reply.completion_tokens.max(1);
        let start = Instant::now();
        let due = move |piece: u32| start + first + writing * piece / pieces;

        // The state: the chat, the bytes sent and the pieces sent; `None` after the end.
        stream::unfold(Some((self, 0, 0_u32)), move |state| async move {
            let (chat, sent_bytes, mut sent_pieces) = state?;
            tokio::time::sleep_until(due(sent_pieces)).await;
            let mut out = Vec::new();
            if sent_pieces == 0 {
                chat.write_start(&mut out);
            }
            let mut rest = &chat.reply.text[sent_bytes..];
            let now = Instant::now();
            while due(sent_pieces) <= now
                && let Some(piece) = take_piece(&mut rest)
            {
                chat.write_piece(&mut out, piece);
                sent_pieces += 1;
            }
            if rest.is_empty() && due(sent_pieces) <= now {
                chat.write_end(&mut out);
                return Some((Bytes::from(out), None));
            }
            let sent_bytes = chat.reply.text.len() - rest.len();
            Some((Bytes::from(out), Some((chat, sent_bytes, sent_pieces))))
        })
    }

    fn write_start(&self, out: &mut Vec<u8>) {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(""),
        };
        self.write_choice(out, delta, None);
    }

    fn write_piece(&self, out: &mut Vec<u8>, piece: &str) {
        let delta = Delta {
            role: None,
            content: Some(piece),
        };
        self.write_choice(out, delta, None);
    }

    /// Writes the finish reason, the usage and the end mark.
    ///
    /// Usage has its own chunk if the client asked for it, as with `OpenAI`; otherwise it is in the chunk of the last
    /// choice, as with many other providers.
    fn write_end(&self, out: &mut Vec<u8>) {
        let choice = ChunkChoice {
            index: 0,
            delta: Delta::default(),
            finish_reason: Some(self.finish_reason()),
        };
        if self.includes_usage {
            self.write_chunk(out, &[choice], None);
            self.write_chunk(out, &[], Some(self.usage()));
        } else {
            self.write_chunk(out, &[choice], Some(self.usage()));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn write_choice(
        &self,
        out: &mut Vec<u8>,
        delta: Delta<'_>,
        finish_reason: Option<&'static str>,
    ) {
        self.write_chunk(
            out,
            &[ChunkChoice {
                index: 0,
                delta,
                finish_reason,
            }],
            None,
        );
    }

    fn write_chunk(&self, out: &mut Vec<u8>, choices: &[ChunkChoice<'_>], usage: Option<Usage>) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.name,
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
        };
        out.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut *out, &chunk)
            .expect("a chunk of texts and numbers is always JSON");
        out.extend_from_slice(b"\n\n");
    }
}

/// Removes the next few characters from the front; `None` at the end.
fn take_piece<'a>(rest: &mut &'a str) -> Option<&'a str> {
    if rest.is_empty() {
        return None;
    }
    let end = rest
        .char_indices()
        .nth(PIECE_CHARACTERS)
        .map_or(rest.len(), |(place, _)| place);
    let (piece, after) = rest.split_at(end);
    *rest = after;
    Some(piece)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;
    use opb_worker::simulation::AnswerKey;

    use super::*;

    #[test]
    fn pieces_are_whole_characters_and_lose_nothing() {
        for text in ["", "a", "abcd", "abcde", "Grüße, Köln! 你好"] {
            let mut rest = text;
            let mut pieces = Vec::new();
            while let Some(piece) = take_piece(&mut rest) {
                pieces.push(piece);
            }
            assert_eq!(pieces.concat(), text);
            assert!(
                pieces
                    .iter()
                    .all(|piece| piece.chars().count() <= PIECE_CHARACTERS)
            );
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_before_it_is_due() {
        let body =
            br#"{"model":"strong","messages":[{"role":"user","content":"Think step by step."}]}"#;
        let create = || Chat::create(body, &AnswerKey::default(), 0, 0).unwrap();
        for latency in [Latency::Real, Latency::Fixed(Duration::from_millis(20))] {
            let started = Instant::now();
            let pieces: Vec<Bytes> = create().into_timed_events(latency).collect().await;
            assert!(started.elapsed() >= latency.of(create().total()));
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            assert_eq!(pieces.concat().len(), create().to_events().len());
        }
    }
}
