//! Answers of the chat completions API: whole, or as a stream of server-sent events.
//!
//! The shapes are our own and lenient: the servers that speak this API differ in what they leave out or add, and a
//! missing field that we do not need shall not cost an answer that was paid for.

use std::{borrow::Cow, time::Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde::Deserialize;

use super::{CallError, CallErrorKind, Completion};

/// The largest event of a stream, in bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// More tokens than any call has: a count beyond is nonsense and treated as missing.
const MAX_TOKENS: i64 = 100_000_000;

/// Texts are borrowed where they can be: a streamed answer has as many of these as it has tokens.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default, borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<Usage>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(alias = "delta", borrow)]
    message: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
}

/// Reads a whole answer.
pub(super) fn read_whole(body: &[u8], started: Instant) -> Result<Completion, CallError> {
    let body = parse(body)?;
    let Some(choice) = body.choices.into_iter().next() else {
        return Err(CallError::new(
            CallErrorKind::Protocol,
            "the answer holds no choice",
        ));
    };
    let mut completion = Completion {
        text: choice
            .message
            .and_then(|message| message.content)
            .unwrap_or_default()
            .into_owned(),
        finish_reason: choice.finish_reason.map(Cow::into_owned),
        ..Completion::default()
    };
    count(&mut completion, body.usage);
    completion.latency = started.elapsed();
    Ok(completion)
}

/// Reads a streamed answer to its end mark.
pub(super) async fn read_stream(
    body: impl Stream<Item = Result<Bytes, CallError>>,
    started: Instant,
) -> Result<Completion, CallError> {
    let mut completion = Completion::default();
    let mut events = Events::default();
    let mut ended = false;
    let mut body = std::pin::pin!(body);
    while !ended && let Some(piece) = body.next().await {
        events.read(&piece?, |event| {
            ended |= event == b"[DONE]";
            if !ended {
                take(&mut completion, parse(event)?, started);
            }
            Ok(())
        })?;
    }
    // Some servers leave the end mark out; a reason to stop is one, too.
    if !ended && completion.finish_reason.is_none() {
        return Err(CallError::new(
            CallErrorKind::Read,
            "the stream ended before the answer did",
        ));
    }
    completion.latency = started.elapsed();
    Ok(completion)
}

/// Adds a part of a streamed answer.
fn take(completion: &mut Completion, part: Body<'_>, started: Instant) {
    if let Some(choice) = part.choices.into_iter().next() {
        let text = choice.message.and_then(|delta| delta.content);
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            completion
                .first_token_after
                .get_or_insert_with(|| started.elapsed());
            completion.text.push_str(&text);
        }
        if let Some(reason) = choice.finish_reason {
            completion.finish_reason = Some(reason.into_owned());
        }
    }
    count(completion, part.usage);
}

/// Cuts a stream of server-sent events into the data of its events.
///
/// Our own, because the crates for it look at the whole of an unfinished line with every piece: a provider that never
/// ends its line would take a core for minutes.
#[derive(Default)]
struct Events {
    /// The start of a line whose end is yet to come.
    line: Vec<u8>,
    /// The data of the event so far.
    data: Vec<u8>,
}

impl Events {
    /// Hands on the data of each event that ends in this piece.
    fn read(
        &mut self,
        piece: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.data.len() + part.len() > MAX_EVENT_BYTES {
                let message =
                    format!("an event of the stream is larger than {MAX_EVENT_BYTES} bytes");
                return Err(CallError::new(CallErrorKind::TooLarge, message));
            }
            if !part.ends_with(b"\n") {
                self.line.extend_from_slice(part);
            } else if self.line.is_empty() {
                self.end_line(part, &mut take)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.end_line(&line, &mut take)?;
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }

    /// Takes a whole line; an empty one ends the event.
    fn end_line(
        &mut self,
        line: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            if !self.data.is_empty() {
                take(&self.data)?;
                self.data.clear();
            }
        } else if let Some(data) = line.strip_prefix(b"data:") {
            // Other fields, and comments that keep the connection alive, say nothing about the answer.
            self.data.extend_from_slice(data.trim_ascii_start());
        }
        Ok(())
    }
}

fn parse(body: &[u8]) -> Result<Body<'_>, CallError> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| {
        let kind = if error.is_eof() {
            CallErrorKind::Read
        } else {
            CallErrorKind::Protocol
        };
        CallError::new(
            kind,
            format!("the answer is not a chat completion: {error}"),
        )
    })?;
    match body.error {
        None | Some(serde_json::Value::Null) => Ok(body),
        Some(error) => {
            let said = error
                .get("message")
                .and_then(serde_json::Value::as_str)
                .unwrap_or("no reason given");
            let said: String = said.chars().filter(|c| !c.is_control()).take(500).collect();
            Err(CallError::new(
                CallErrorKind::Server,
                format!("the provider reports an error: {said}"),
            ))
        }
    }
}

fn count(completion: &mut Completion, usage: Option<Usage>) {
    let sane = |tokens: Option<i64>| {
        tokens
            .filter(|tokens| (0..MAX_TOKENS).contains(tokens))
            .and_then(|tokens| i32::try_from(tokens).ok())
    };
    if let Some(usage) = usage {
        completion.input_tokens = sane(usage.prompt_tokens).or(completion.input_tokens);
        completion.output_tokens = sane(usage.completion_tokens).or(completion.output_tokens);
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[test]
    fn reads_whole_answers() {
        let check = |body: &str, expect: Result<(&str, Option<i32>), CallErrorKind>| {
            let read = read_whole(body.as_bytes(), Instant::now());
            let read = read
                .map(|read| (read.text, read.output_tokens))
                .map_err(|error| error.kind);
            assert_eq!(
                read,
                expect.map(|(text, tokens)| (text.to_owned(), tokens)),
                "{body}"
            );
        };
        check(
            r#"{"choices":[{"message":{"content":"4"}}],"usage":{"completion_tokens":1}}"#,
            Ok(("4", Some(1))),
        );
        check(
            r#"{"choices":[{"message":{"content":null}}]}"#,
            Ok(("", None)),
        );
        check(
            r#"{"choices":[{"message":{"content":"4"}}],"usage":{"completion_tokens":-1}}"#,
            Ok(("4", None)),
        );
        check(
            r#"{"choices":[{"message":{"content":"4"}}],"usage":{"completion_tokens":1000000000000000000}}"#,
            Ok(("4", None)),
        );
        check(r#"{"choices":[]}"#, Err(CallErrorKind::Protocol));
        check(
            r#"{"error":{"message":"boom"}}"#,
            Err(CallErrorKind::Server),
        );
        check(r#"{"choices":[{"mess"#, Err(CallErrorKind::Read));
        check("<html>", Err(CallErrorKind::Protocol));
        check(&"[".repeat(100_000), Err(CallErrorKind::Protocol));
    }

    #[tokio::test]
    async fn reads_streams_however_they_are_cut() {
        let text = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"für\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\" 4\"},\"finish_reason\":\"stop\"}]}\n\n\
                    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        for size in [1, 2, 3, 7, 64, 4096] {
            let pieces = text
                .as_bytes()
                .chunks(size)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect::<Vec<_>>();
            let read = read_stream(stream::iter(pieces), Instant::now())
                .await
                .unwrap();
            assert_eq!(
                (read.text.as_str(), read.input_tokens, read.output_tokens),
                ("für 4", Some(5), Some(2))
            );
            assert!(read.first_token_after.is_some());
        }
    }

    #[tokio::test]
    async fn a_stream_without_an_end_is_no_answer() {
        let check = async |text: &str, expect: CallErrorKind| {
            let read = read_stream(
                stream::iter([Ok(Bytes::copy_from_slice(text.as_bytes()))]),
                Instant::now(),
            )
            .await;
            assert_eq!(read.unwrap_err().kind, expect, "{text}");
        };
        check(
            "data: {\"choices\":[{\"delta\":{\"content\":\"4\"}}]}\n\n",
            CallErrorKind::Read,
        )
        .await;
        check("", CallErrorKind::Read).await;
        check("data: {\"choi\n\n", CallErrorKind::Read).await;
        check(&"x".repeat(MAX_EVENT_BYTES + 1), CallErrorKind::TooLarge).await;
        check(
            "data: {\"error\":{\"message\":\"boom\"}}\n\n",
            CallErrorKind::Server,
        )
        .await;
    }
}
